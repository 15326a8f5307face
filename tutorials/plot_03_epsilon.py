r"""
.. _lesson-epsilon:

Epsilon is a limit on the gain
==============================

*How small may epsilon be?*  About 15 minutes.  :ref:`lesson-one-feature` comes before.

Normalization divides by the standard deviation: it multiplies each feature by

.. math:: \text{gain} = \frac{1}{\sqrt{\sigma^2 + \varepsilon}}.

The smaller the variance :math:`\sigma^2`, the more the feature is amplified.  A feature that hardly ever varies
would be amplified without limit, and whatever it does on the one day that it moves, along with it.  The
:math:`\varepsilon` under the root is the limit: no gain is larger than :math:`1/\sqrt\varepsilon`.

It is often read as a guard against division by zero, and then made as small as the number format allows.  This lesson
shows what that costs.
"""

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson, trials

plots, drawings = lesson.plots(), lesson.drawings()
SEEDS = lesson.seeds(4)
EPSILONS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)


def model(epsilon=1e-3, normalized_pixels=True):
    """A dense, a batch norm and a relu; in front of them, another batch norm on the
    pixels themselves.
    """

    def forward(ctx, images):
        x = layers.flatten(images)
        if normalized_pixels:
            pixels = ctx.in_scope("pixels")
            x = pybn.batch_norm(pixels, x, epsilon=epsilon, center=False, scale=False)
        x = layers.dense(ctx.in_scope("layer_0"), x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(ctx.in_scope("layer_0"), x, epsilon=epsilon))
        return layers.dense(ctx.in_scope("output"), x, 10)

    return forward


# %%
# Pixels that are nearly always blank
# -----------------------------------
# The images are 8 x 8 pixels of handwritten digits, and people write in the middle.  Among 300 of them some pixels at
# the edge are blank in every image, and some have ink in one or two.  We normalize the pixels themselves, with a
# batch norm in front of the network, and train it with each of six epsilons, on four
# splits of the data.

runs = {
    epsilon: [trials.epsilon_run(seed, epsilon, model(epsilon)) for seed in SEEDS]
    for epsilon in EPSILONS
}

_ = plots.gain(runs[1e-3][0].variances, (1e-1, 1e-3, 1e-6))

# %%
# Each tick on the axis is a pixel.  Where :math:`\sigma^2 \gg \varepsilon` the curves agree, and the pixel comes out
# with standard deviation 1.  Where :math:`\sigma^2 \ll \varepsilon` the gain is :math:`1/\sqrt\varepsilon`, whatever
# the data do.  Epsilon decides which pixels count as noise.
#
# A rare pixel, during training
# -----------------------------
# Here is the rarest of the pixels that do have ink: one or two of 1347 training images show some.  A network learns
# from batches of 64, with momentum 0.9, and at each step we ask by how much evaluation would multiply that pixel.


def rare_pixel(seed):
    """The rarest pixel with ink, and its averaged variance step by step."""
    run = experiments.recorded(seed, model(), every=10**9).epochs(6)
    return trials.rarest(run.statistics["/pixels"], momentum=0.9)


drawings.gain_of_a_rare_feature(rare_pixel(SEEDS[0]), (1e-2, 1e-3, 1e-6, 1e-8))

# %%
# Until the ink is seen for the first time, the averaged variance is 0 and the gain at its limit.  Each batch with the
# ink (grey lines) brings the variance up; in the twenty or thirty batches until the next one the average forgets, and
# the gain climbs again.  With epsilon 0.001 nothing of this is to be seen: the pixel counts as noise, and stays there.

# Folded: the check that the gain swings with a small epsilon, not with the usual one
for seed in SEEDS:
    rare = rare_pixel(seed)
    small, usual = (rare.gain(epsilon)[rare.seen[0] :] for epsilon in (1e-8, 1e-3))
    assert small.max() > 2 * small.min()
    assert usual.max() < 1.1 * usual.min()
    print(
        f"seed {seed}: once it was seen, the gain goes from {small.min():.0f} to "
        f"{small.max():.0f} with epsilon 1e-8, "
        f"from {usual.min():.0f} to {usual.max():.0f} with 0.001"
    )

# %%
# During training nothing seems wrong
# -----------------------------------
# A value cannot be further than :math:`\sqrt{n - 1}` standard deviations from the mean of its own batch of
# :math:`n`: a single inky pixel among 64 makes the very variance that it is divided by.  So in training, epsilon or
# not, outputs stay below :math:`\sqrt{63} = 7.9`.  In evaluation the variance is that of *other* images: of 300,
# with which we trained above.

# Folded: the check of both limits
for epsilon in EPSILONS:
    trained = max(run.in_training.max() for run in runs[epsilon])
    evaluated = np.array([run.in_evaluation[-1] for run in runs[epsilon]])
    assert trained <= np.sqrt(63)
    assert np.all(evaluated <= 1 / np.sqrt(epsilon)), (
        "a pixel is between 0 and 1, so the limit is on the output too"
    )
    print(
        f"epsilon {epsilon:g}: outputs up to {trained:.1f} in training, "
        f"{evaluated.mean():.1f} on the test digits, "
        f"where the limit is {1 / np.sqrt(epsilon):.1f}"
    )

# %%
# One image pays
# --------------
# The test digit with the largest output, as it is and as the network gets to see it with two epsilons: one stroke that
# goes a little further out than in 300 other images.

image, pixel = runs[1e-8][0].worst
images = experiments.digits(SEEDS[0], examples=300)
views = {"the image": images.test.inputs[image]}
mean, variance = (
    getattr(images.whole.inputs, name)(axis=0, dtype=np.float64)
    for name in ("mean", "var")
)
for epsilon in (1e-3, 1e-8):
    views[f"normalized,\nepsilon {epsilon:g}"] = (
        images.test.inputs[image] - mean
    ) / np.sqrt(variance + epsilon)
drawings.a_test_image_as_two_epsilons_see_it(views)

# %%
# What it costs
# -------------

loss = np.array([[run.test["loss"] for run in runs[epsilon]] for epsilon in EPSILONS]).T
accuracy = np.array(
    [[run.test["accuracy"] for run in runs[epsilon]] for epsilon in EPSILONS]
).T
drawings.loss_by_epsilon(EPSILONS, loss)

# %%

# Folded: the check that a tiny epsilon costs something in every split
for epsilon, one, other in zip(
    EPSILONS, loss.mean(axis=0), accuracy.mean(axis=0), strict=True
):
    print(
        f"epsilon {epsilon:g}: test loss {one:.3f}, accuracy {other:.3f} (mean of "
        f"{len(SEEDS)} seeds)"
    )
at = dict(zip(EPSILONS, loss.T, strict=True))
times = at[1e-8] / at[1e-3]
assert np.all(times > 1)
print(
    "loss at 1e-8 over loss at 1e-3, split by split: "
    + ", ".join(f"{each:.1f}" for each in times)
)

# %%
# The accuracy hardly moves: a handful of images lose everything, the others nothing.  Had we looked only at accuracy,
# or only at the training, we would not know.  The loss at 1e-8 is above that at 1e-3 in every split; how far depends on
# whether some test image has ink where all 300 were blank.  Over 24 splits (seeds 0 to 23) it was more than four times
# as high in 58 % of them, and five times in the median: a small epsilon is a risk that one test set may not show.
#
# The other end
# -------------
# An epsilon above the variance turns normalization off.  The standard deviation of a hidden layer's normalized
# features, which ought to be 1, during training:


def recorded_layer(seed, epsilon):
    """What 60 steps show of the hidden layer, with that epsilon and no normalized
    pixels.
    """
    hidden = model(epsilon, normalized_pixels=False)
    return (
        experiments.recorded(seed, hidden, every=1000).steps(60).statistics["/layer_0"]
    )


of_epsilon = {
    epsilon: [recorded_layer(seed, epsilon) for seed in SEEDS]
    for epsilon in (1.0, 0.1, 1e-3)
}
_ = plots.output_deviation({epsilon: layer[0] for epsilon, layer in of_epsilon.items()})

# %%

# Folded: the check that epsilon 1 takes more than half of it, and 0.001 nearly nothing
for epsilon, of_seeds in of_epsilon.items():
    deviations = [
        np.median(np.sqrt(each.batch_variance / (each.batch_variance + epsilon)))
        for each in of_seeds
    ]
    print(
        f"epsilon {epsilon:g}: a normalized feature's standard deviation is "
        f"{np.mean(deviations):.3f}"
    )
    assert max(deviations) < 0.5 if epsilon == 1 else min(deviations) > 0.6

# %%
# So: an epsilon well below the variances that matter, and well above those that are noise.  pybn's default is 0.001.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("epsilon")
