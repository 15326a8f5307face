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

    \mu &= \tfrac{1}{n} \textstyle\sum_i x_i                  && \text{1. the mean} \\
    \sigma^2 &= \tfrac{1}{n} \textstyle\sum_i (x_i - \mu)^2   && \text{2. the variance} \\
    \hat{x}_i &= (x_i - \mu) \,/\, \sqrt{\sigma^2 + \varepsilon} && \text{3. normalize} \\
    y_i &= \gamma \hat{x}_i + \beta                           && \text{4. scale and offset, which are learned}

Here the feature is one pixel of the handwritten digits, and we follow it through the four lines;
then we see why training and inference cannot use the same :math:`\mu` and :math:`\sigma^2`.
"""

import numpy as np

import pybn
from pybn.lessons import lesson

plt = lesson.pyplot()
SEEDS = lesson.seeds()

EPSILON = 1e-3
ROW, COLUMN = 2, 4  # the pixel: on the upper stroke of some digits, in the hole of others

images, labels = pybn.datasets.digits()
pixel = images[:, ROW, COLUMN].astype(np.float64)  # its ink in each of 1797 images, from 0 to 1


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

INK, MARK = "#56B4E9", "#D55E00"  # sky blue and vermilion: told apart by the colour-blind, and in grey
steps = [
    (x, "the batch", rf"$\mu = {mean:.2f}$" "\n" rf"$\sigma^2 = {variance:.3f}$"),
    (x - mean, "after centring", r"$x_i - \mu$"),
    (normalized, "normalized", r"$\hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}}$"),
    (y, "scaled and offset", r"$y_i = \gamma\hat{x}_i + \beta$" "\n" rf"$\gamma = {scale},\ \beta = {offset}$"),
]
figure, rows = plt.subplots(4, 1, sharex=True, sharey=True, figsize=(8, 6.4), layout="constrained")
for axes, (values, name, equation) in zip(rows, steps, strict=True):
    axes.hist(values, bins=np.arange(-1.5625, 2.2, 0.125), color=INK)
    centre, deviation = values.mean(), values.std()
    axes.axvline(centre, color=MARK, lw=2, label="mean")
    axes.axvspan(
        centre - deviation, centre + deviation, color=MARK, alpha=0.2, zorder=0, label="one standard deviation"
    )
    axes.set_title(f"{name}: mean {abs(centre):.2f}, standard deviation {deviation:.2f}", loc="left", fontsize=11)
    axes.text(1.02, 0.5, equation, transform=axes.transAxes, va="center", fontsize=14)
    axes.set_ylabel("images")
figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
rows[-1].set_xlabel(f"value of the feature (ink of pixel {ROW}, {COLUMN}; 0 is blank and 1 is black in the first row)")
lesson.show()

# %%
# Three things are true of every batch; here of three.
#
# * What leaves the third line has mean 0 and variance :math:`\sigma^2/(\sigma^2 + \varepsilon)`, a little below 1.
# * The unit of the feature is forgotten: had the scanner given three times the ink plus seven, the
#   network would see the same numbers, but for what :math:`\varepsilon` is against the variance.
# * With :math:`\gamma = \sqrt{\sigma^2 + \varepsilon}` and :math:`\beta = \mu` the fourth line undoes the third:
#   a network that needs the feature as it was can have it.


def normalize(x, scale=1.0, offset=0.0):
    """The four lines as pybn computes them: x of shape (n,) is a batch with one feature."""
    y, mean, variance = pybn.reference.batch_norm_training(
        x[:, None], np.array([scale]), np.array([offset]), epsilon=EPSILON
    )
    return y[:, 0], mean[0], variance[0]


assert np.allclose(normalize(x, scale, offset)[0], y, rtol=0, atol=1e-14)  # nothing but these four lines

for seed in SEEDS:
    x = batch(seed)
    y, mean, variance = normalize(x)
    of_rescaled = normalize(3 * x + 7)[0]
    restored = normalize(x, np.sqrt(variance + EPSILON), mean)[0]

    assert abs(y.mean()) < 1e-14
    assert np.isclose(y.var(), variance / (variance + EPSILON), rtol=1e-12)
    # sqrt(v / (v + eps)) is all that can differ: half of eps / variance, times the largest normalized value
    assert np.abs(of_rescaled - y).max() < 0.5 * EPSILON / variance * np.abs(y).max()
    assert np.abs(restored - x).max() < 1e-14
    print(
        f"batch {seed}: mean {mean:.3f} and variance {variance:.3f} became 0 and {y.var():.4f};\n"
        f"  3 x + 7 instead of x changes y by {np.abs(of_rescaled - y).max():.4f} at most;\n"
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
dataset = pybn.InMemoryDataset(pixel[:, None], labels, batch_size=64, shuffle=True, rng=SEEDS[0])
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
in_training = [through_layer(followed, others, training=True) for others in neighbourhoods]
in_inference = [through_layer(followed, others, training=False) for others in neighbourhoods]

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(in_training, "o", color=INK, label="training: the batch's mean and variance")
axes.plot(in_inference, "-", color=MARK, lw=3, label="inference: the moving averages")
axes.set_xlabel("batch number (64 images: the same one and 63 neighbours)")
axes.set_ylabel("what becomes of it\n(standard deviations)")
axes.set_title("One image's pixel in the company of different neighbours", loc="left", fontsize=11)
figure.legend(loc="outside lower center", ncols=2)
lesson.show()

# %%
# Three images, each in sixty batches, and in inference also in a batch of its own:

for image in (0, 6, 9):
    trained = [through_layer(pixel[image], others, training=True) for others in neighbourhoods]
    inferred = {through_layer(pixel[image], others, training=False) for others in [*neighbourhoods, []]}
    assert np.ptp(trained) > 0.1
    assert len(inferred) == 1
    print(
        f"image {image}, ink {pixel[image]:.2f}: from {min(trained):.2f} to {max(trained):.2f} in training; "
        f"{inferred.pop():.2f} in inference, always"
    )

# %%
# Exercises
# ---------

lesson.exercises("one_feature")
