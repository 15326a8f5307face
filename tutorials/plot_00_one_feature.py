r"""
.. _lesson-one-feature:

What batch normalization does to one feature
============================================

*What does batch normalization do to a number?*  About 10 minutes.  You should know mean and variance, and read a
little NumPy.

Batch normalization is four lines of arithmetic, done to each feature apart from the others
(Ioffe & Szegedy 2015, `arXiv:1502.03167 <https://arxiv.org/abs/1502.03167>`_, Algorithm 1).
For the :math:`n` values :math:`x_i` that one feature takes in a batch:

.. math::

    \mu &= \tfrac{1}{n} \textstyle\sum_i x_i                  &&\quad \text{1. the mean} \\
    \sigma^2 &= \tfrac{1}{n} \textstyle\sum_i (x_i - \mu)^2   && \text{2. the variance} \\
    \hat{x}_i &= (x_i - \mu) \,/\, \sqrt{\sigma^2 + \varepsilon} && \text{3. normalize} \\
    y_i &= \gamma \hat{x}_i + \beta                           && \text{4. scale and offset, which are learned}

Here the feature is one pixel of the handwritten digits, and we follow it through the four lines;
then we see why training and inference cannot use the same :math:`\mu` and :math:`\sigma^2`.
"""

import numpy as np

import pybn
from pybn.lessons import lesson

drawings = lesson.drawings()
SEEDS = lesson.seeds()

EPSILON = 1e-3
# The pixel: on the upper stroke of some digits, in the hole of others.
ROW, COLUMN = 2, 4

images, labels = pybn.datasets.digits()
# Its ink in each of 1797 images, from 0 to 1.
pixel = images[:, ROW, COLUMN].astype(np.float64)


def batch(seed, size=64):
    """The pixel in `size` images drawn at random."""
    return np.random.default_rng(seed).choice(pixel, size, replace=False)


# %%
# The four lines
# --------------
# The third line is the point: whatever came in, what goes out has mean 0 and (nearly) variance 1.
# The fourth can take any of it back: it gives the network the scale and the offset to learn, in place
# of those that the data happened to have.

x = batch(SEEDS[0])
scale, offset = 0.5, 1.0  # as if the network had learned these

mean = x.sum() / len(x)
variance = ((x - mean) ** 2).sum() / len(x)
normalized = (x - mean) / np.sqrt(variance + EPSILON)
y = scale * normalized + offset

drawings.one_feature_after_each_line(x, normalized, y, scale, offset)

# %%
# Three things are true of every batch; the cell below tries three.
#
# * What leaves the third line has mean 0 and variance :math:`\sigma^2/(\sigma^2 + \varepsilon)`, a little below 1.
# * The unit of the feature is forgotten: had the scanner given three times the ink plus seven, the
#   network would see the same numbers, but for what :math:`\varepsilon` is against the variance.
# * With :math:`\gamma = \sqrt{\sigma^2 + \varepsilon}` and :math:`\beta = \mu` the fourth line undoes the third:
#   a network that needs the feature as it was can have it.


def normalize(x, scale=1.0, offset=0.0):
    """The four lines as pybn computes them: x of shape (n,) is a batch with one
    feature.
    """
    y, mean, variance = pybn.reference.batch_norm_training(
        x[:, None], np.array([scale]), np.array([offset]), epsilon=EPSILON
    )
    return y[:, 0], mean[0], variance[0]


# %%

# Folded: the check that pybn computes these four lines, and of the three things
assert np.allclose(normalize(x, scale, offset)[0], y, rtol=0, atol=1e-14)

for seed in SEEDS:
    x = batch(seed)
    y, mean, variance = normalize(x)
    of_rescaled = normalize(3 * x + 7)[0]
    restored = normalize(x, np.sqrt(variance + EPSILON), mean)[0]

    assert abs(y.mean()) < 1e-14
    assert np.isclose(y.var(), variance / (variance + EPSILON), rtol=1e-12)
    # sqrt(v / (v + eps)) is all that can differ: half of eps / variance, times the
    # largest normalized value
    assert np.abs(of_rescaled - y).max() < 0.5 * EPSILON / variance * np.abs(y).max()
    assert np.abs(restored - x).max() < 1e-14
    print(
        f"batch {seed}: mean {mean:.3f} and variance {variance:.3f} became 0 and "
        f"{y.var():.4f};\n"
        f"  3 x + 7 instead of x changes y by {np.abs(of_rescaled - y).max():.4f} at "
        f"most;\n"
        f"  scale and offset can bring x back to {np.abs(restored - x).max():.0e}"
    )

# %%
# Training and inference
# ----------------------
# In training the mean and the variance are those of the batch, so what becomes of an image depends on
# its neighbours.  That is tolerable noise while learning, but a prediction must not depend on which
# other images arrive at the same time, and a single image has no variance at all.  So the layer keeps moving
# averages of what it saw in training, and inference normalizes with these.

ctx = pybn.Context()
dataset = pybn.InMemoryDataset(
    pixel[:, None], labels, batch_size=64, shuffle=True, rng=SEEDS[0]
)
for values, _ in dataset:
    with ctx.forward_pass(training=True):
        pybn.batch_norm(ctx, values, epsilon=EPSILON)
        ctx.apply()  # the step is done: the averages move


def through_layer(followed, neighbours, *, training):
    """What the layer makes of the value `followed` in a batch with its neighbours."""
    values = np.append(followed, neighbours)[:, None]
    with ctx.forward_pass(training=training):
        return pybn.batch_norm(ctx, values, epsilon=EPSILON).value[0, 0]


neighbourhoods = [batch(seed, 63) for seed in lesson.seeds(60)]
followed = pixel[6]
in_training = [
    through_layer(followed, others, training=True) for others in neighbourhoods
]
in_inference = [
    through_layer(followed, others, training=False) for others in neighbourhoods
]

drawings.one_image_among_different_neighbours(in_training, in_inference)

# %%
# Three images, each in sixty batches, and in inference also in a batch of its own:

# Folded: the check that training moves each of them, and inference none
for image in (0, 6, 9):
    value = pixel[image]
    alone = [*neighbourhoods, []]
    trained = [through_layer(value, others, training=True) for others in neighbourhoods]
    inferred = {through_layer(value, others, training=False) for others in alone}
    assert np.ptp(trained) > 0.1
    assert len(inferred) == 1
    print(
        f"image {image}, ink {value:.2f}: from {min(trained):.2f} to "
        f"{max(trained):.2f} in training; "
        f"{inferred.pop():.2f} in inference, always"
    )

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("one_feature")
