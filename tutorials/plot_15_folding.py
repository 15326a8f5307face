r"""
.. _lesson-folding:

Inference for nothing
=====================

*In evaluation a batch norm is a straight line for each feature. Who pays for it?*  About 15 minutes.
:ref:`lesson-update-averages` comes before.

With the averages fixed, :math:`y = a\,x + b` for each feature, with :math:`a = \gamma/\sqrt{V + \varepsilon}` and
:math:`b = \beta - a\,M`.  A line behind a sum of products is another sum of products: multiply the weights of the
dense layer by :math:`a`, and :math:`b` is its bias.  The batch norm is gone.  Here that is done to trained networks,
and what it costs in digits is measured.
"""

import warnings

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson
from pybn.study import fold, interop

drawings = lesson.drawings()
SEEDS = lesson.seeds()
NORMS = {
    f"/layer_{index}/batch_normalization": f"/layer_{index}/dense" for index in range(2)
}

# %%
# The network, and the one without
# --------------------------------
# Two blocks of dense, batch norm and relu.  The plain model is the same function without the norms; its dense layers
# have the bias that the others had no use for.


def model(ctx, images):
    """Two blocks of dense, batch norm and relu."""
    x = layers.flatten(images)
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(here, x))
    return layers.dense(ctx.in_scope("output"), x, 10)


def plain_model(ctx, images):
    """Three dense layers, and nothing to normalize."""
    x = layers.flatten(images)
    for index in range(2):
        x = layers.relu(layers.dense(ctx.in_scope(f"layer_{index}"), x, 64))
    return layers.dense(ctx.in_scope("output"), x, 10)


def predictions(ctx, model, images):
    """In evaluation."""
    with ctx.forward_pass():
        return model(ctx, images).value


def wide(ctx):
    """The same variables in float64: what they say without rounding."""
    copy = pybn.Context()
    for each in ctx.variables():
        copy.add_variable(
            pybn.Variable(
                each.path, each.value.astype(np.float64), each.trainable, each.role
            )
        )
    return copy


# %%
# Fold, and look at what it costs
# -------------------------------
# An error is counted in units of the last place of a number's own type, of :math:`\max(|y|, 1)`: both networks compute
# in float32, and the exact answer is the first one's, in float64.

runs = [experiments.recorded(seed, model, every=50).steps(150) for seed in SEEDS]


def folded_and_compared(run):
    """The folded network's variables, and the report on its predictions for the test
    digits.
    """
    ctx, images = run.trainer.context, run.digits.test.inputs
    plain = fold.fold(ctx, NORMS)
    exact = predictions(wide(ctx), model, images.astype(np.float64))
    apart, folded = (
        predictions(ctx, model, images),
        predictions(plain, plain_model, images),
    )
    return plain, fold.report(exact, apart, folded)


# %%

# Folded: the check that dense layers alone are left, and that they predict the same
for run, seed in zip(runs, SEEDS, strict=True):
    plain, found = folded_and_compared(run)
    print(f"seed {seed}: {found.text}\n")
    assert len(plain.variables()) == 6 < len(run.trainer.context.variables())
    assert found.agreement == 1
    # Three sums of 64 products each, none of which cancels: units, not digits.
    assert found.folded.max() < 64

# %%
# The same predictions, of a network with nothing in it but products and sums.
#
# Where it loses
# --------------
# The images come from another file, where ink is written as 1000 plus ink.  A batch norm on the pixels takes the 1000
# away *before* anything is multiplied: nothing is lost.  Fold it into the layer behind it, and every product has the
# 1000 in it; the bias must take away what 64 of them add up to.  (A pixel that is always 1000 has no variance to
# compare with its mean but epsilon's.)


def fold_pixels(run, added):
    """A batch norm on the pixels folded into the first dense layer: the report, and
    what it warns of.
    """
    x = (run.digits.test.inputs.reshape(-1, 64) + added).astype(np.float32)
    weights = run.trainer.context.get_variable("/layer_0/dense/weights").value
    _, mean, variance = pybn.reference.moments(x)
    state = interop.State(mean, variance, epsilon=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folded = fold.into_next(state, weights)

    def normalized(x):
        return pybn.reference.batch_norm_inference(
            x, None, None, mean, variance, epsilon=1e-3
        )

    exact = normalized(x.astype(np.float64)) @ weights.astype(np.float64)
    report = fold.report(
        exact, normalized(x) @ weights, x @ folded.weights + folded.bias
    )
    told = [
        str(each.message) for each in caught if each.category is fold.FoldingWarning
    ]
    return report, told


report_of, warned = {}, {}
for run, seed in zip(runs, SEEDS, strict=True):
    for added in (0, 1000):
        report_of[seed, added], warned[seed, added] = fold_pixels(run, added)

of_first = {f"ink + {added}": report_of[SEEDS[0], added] for added in (0, 1000)}
drawings.errors_apart_and_folded(of_first)

# %%

# Folded: the check that the far mean is warned of, and costs thirty times and more
print(warned[SEEDS[0], 1000][0], "\n")
for seed in SEEDS:
    near, far = report_of[seed, 0], report_of[seed, 1000]
    assert not warned[seed, 0]
    assert len(warned[seed, 1000]) == 1
    assert far.folded.max() > 30 * far.apart.max()
    assert near.folded.max() < 10 * near.apart.max()
    print(
        f"seed {seed}: off by {near.apart.max():.0f} units apart and "
        f"{near.folded.max():.0f} folded; "
        f"with 1000 added by {far.apart.max():.0f} and {far.folded.max():.0f}"
    )

# %%
# So fold, and look at the report.  Weights of another library go the same way: ``interop.from_pytorch(state_dict,
# count=math.inf)`` is a state that ``fold.into_previous`` takes.  And fold last: a folded network has no averages to
# update, and trains as one without batch norm does.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("folding")
