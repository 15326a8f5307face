r"""
.. _lesson-gradient:

The gradient through the statistics
===================================

*What does the gradient lose if mean and variance are taken for constants?*  About 20 minutes.  You should know the
chain rule; :ref:`lesson-one-feature` comes before.

In training :math:`\mu` and :math:`\sigma^2` are made of the batch, so every :math:`x_i` acts on the output in three
ways: by itself, through the mean, and through the variance.  The gradient has a term for each
(with :math:`g_i` the gradient that arrives at :math:`y_i`):

.. math::

    \frac{\partial L}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}} \Bigl(
        \underbrace{g_i}_{\text{by itself}}
        - \underbrace{\tfrac1n \textstyle\sum_j g_j}_{\text{through the mean}}
        - \underbrace{\hat x_i \, \tfrac1n \textstyle\sum_j g_j \hat x_j}_{\text{through the variance}} \Bigr)

It is tempting to take the statistics for constants, as in inference, and keep the first term alone.  We look at what
the other two do, check them, fall into a trap while checking, and train without them.
"""

import textwrap

import numpy as np

import pybn
from pybn import Node, gradient, initializers, layers, ops, reference
from pybn.lessons import experiments, lesson
from pybn.study.gradcheck import CannotJudgeError, check_gradients

drawings = lesson.drawings()
SEEDS = lesson.seeds()
EPSILON = 1e-3


def normalize(x, through_statistics):
    """Line by line, over the first axis; the gradient stops at the statistics where it
    shall not go through them.
    """
    mean = ops.mean(x, axis=0)
    variance = ops.mean((x - mean) ** 2, axis=0)
    if not through_statistics:
        mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
    return (x - mean) / ops.sqrt(variance + EPSILON)


# %%
# Eight images, one pixel
# -----------------------
# Row :math:`i` of the Jacobian is the gradient of :math:`y_i` alone: how it changes with each of the eight inputs.

pixel = pybn.datasets.digits()[0][:8, 2, 4].astype(np.float64)


def jacobian(through_statistics):
    x = Node(pixel[:, None])
    y = normalize(x, through_statistics)
    return np.array(
        [gradient(y, [x], dy=row[:, None])[0].value[:, 0] for row in np.eye(8)]
    )


full, stopped = jacobian(True), jacobian(False)

drawings.jacobians_with_their_row_sums(
    {"the gradient": full, "statistics taken for constants": stopped}
)

# %%

# Folded: the check that rows sum to zero, and that stretching along x-hat does little
sums, of_stopped = np.abs(full.sum(axis=1)).max(), stopped.sum(axis=1).max()
assert sums < 1e-14
normalized = (pixel - pixel.mean()) / np.sqrt(pixel.var() + EPSILON)
shrinks = EPSILON / (pixel.var() + EPSILON)
assert np.allclose(
    full @ normalized, shrinks * stopped @ normalized, rtol=0, atol=1e-14
)
print(
    f"each row sums to {sums:.0e} at most, with statistics taken for constants to "
    f"{of_stopped:.2f}"
)
print(
    f"stretching the batch along x-hat moves the outputs by {shrinks:.4f} of what "
    f"constants promise"
)

# %%
# Each row sums to zero: darken all eight images alike and no output moves.  Stretch them along :math:`\hat x`, and but
# for :math:`\varepsilon` no output moves either.  Those two are what normalizing takes out of the data, and a gradient
# in their direction is a promise that cannot be kept.  The one on the right promises just that.
#
# Is the formula right?
# ---------------------
# It is checked against differences of the function itself, in float64 and for a random arriving gradient.  Here the
# reference's, and a wrong one that lacks the third term:


def forward(x, scale, offset):
    return reference.batch_norm_training(x, scale, offset, epsilon=EPSILON)[0]


def backward(dy, x, scale, offset):
    return reference.batch_norm_gradient(
        x, scale, x.mean(axis=0), x.var(axis=0), dy, epsilon=EPSILON
    )


def without_variance_path(dy, x, scale, offset):
    dx = scale / np.sqrt(x.var(axis=0) + EPSILON) * (dy - dy.mean(axis=0))
    return dx, *backward(dy, x, scale, offset)[1:]


# %%

# Folded: the check of both formulas on random inputs, and the report on the wrong one
for seed in SEEDS:
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(3, 2, (8, 5)), rng.normal(1, 0.5, 5), rng.normal(0, 1, 5)]
    # Another seed: dy must not resemble x.
    assert check_gradients(forward, inputs, vjp=backward, seed=100 + seed)
    report = check_gradients(
        forward, inputs, vjp=without_variance_path, seed=100 + seed
    )
    assert not report
print(report.text)

# %%
# The trap: loss = sum(y)
# -----------------------
# It is the loss that comes to mind first, and the gradient that arrives from it is 1 everywhere.  But the outputs of a
# batch sum to :math:`n\beta`, whatever x is: the true gradient is **zero**, and so is that of many a wrong formula.

ones = np.ones((8, 5))
right, wrong = backward(ones, *inputs)[0], without_variance_path(ones, *inputs)[0]
print(f"from sum(y), the right dx is {np.abs(right).max():.0e} at most")
print(f"and the wrong one {np.abs(wrong).max():.0e}")

# %%

# Folded: the check that both vanish, and that pybn does not take that for a proof
assert max(np.abs(right).max(), np.abs(wrong).max()) < 1e-14


def sum_of_outputs(x):
    return forward(x, *inputs[1:]).sum()


try:
    check_gradients(sum_of_outputs, inputs[:1], vjp=lambda dy, x: dy * np.zeros_like(x))
    raise AssertionError("a loss that does not depend on x must be refused")
except CannotJudgeError as refusal:
    print("pybn's check refuses:", *textwrap.wrap(str(refusal), 88), sep="\n  ")

# %%
# Training without the two terms
# ------------------------------
# Four layers learn the digits.  Each dense layer has a bias, which the normalization behind it takes out again.


def model(through_statistics):
    def forward(ctx, images):
        x = layers.flatten(images)
        for index in range(4):
            here = ctx.in_scope(f"layer_{index}")
            x = normalize(layers.dense(here, x, 64), through_statistics)
            scale = here.variable("scale", (64,), initializer=initializers.ones).node
            offset = here.variable("offset", (64,), initializer=initializers.zeros).node
            x = layers.relu(x * scale + offset)
        return layers.dense(ctx.in_scope("output"), x, 10)

    return forward


def train(seed, through_statistics, epochs=10):
    """After each epoch: accuracy on the test digits, length of all biases in front of a
    normalization.
    """
    digits = experiments.digits(seed)
    trainer = experiments.trainer(seed, model(through_statistics), learning_rate=0.2)
    loop, measured = pybn.Loop(trainer), []
    for _ in range(epochs):
        loop.run_epochs(digits.train, 1)
        variables = trainer.context.variables()
        biases = [v.value for v in variables if v.path.endswith("dense/bias")][:-1]
        measured.append((trainer.eval(digits.test)["accuracy"], np.linalg.norm(biases)))
    return np.array(measured).T


# %%

whole, constants = (
    np.stack([train(seed, through) for seed in SEEDS]) for through in (True, False)
)

drawings.learning_with_and_without_the_statistics(whole, constants)

# %%

# Folded: the check that the accuracy falls behind, and that the biases grow for nothing
assert np.all(whole[:, 0, -1] - constants[:, 0, -1] > 0.05)
assert np.all(whole[:, 1] < 1e-3)
assert np.all(np.diff(constants[:, 1]) > 0)
for seed, a, b in zip(SEEDS, whole, constants, strict=True):
    print(
        f"seed {seed}, the whole gradient: accuracy {a[0, -1]:.3f}, biases "
        f"{a[1, -1]:.0e} long"
    )
    print(
        f"        statistics taken for constants: accuracy {b[0, -1]:.3f}, biases "
        f"{b[1, -1]:.1f} long"
    )

# %%
# The optimizer believes that a larger bias would lower the loss, and enlarges it; the mean grows along, the loss stays,
# and it does so again: so begins section 2 of the paper (`arXiv:1502.03167 <https://arxiv.org/abs/1502.03167>`_).  With
# the whole gradient the biases stay, which is why a dense layer in front of a normalization needs none
# (``use_bias=False``).

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("gradient")
