r"""
.. _lesson-small-batches:

Small batches
=============

*How small may a batch be?*  About 15 minutes.  :ref:`lesson-update-averages` comes before.

The statistics of a batch of :math:`n` are an estimate, and two things are wrong with a small one.  It is noisy.  And
its variance, taken around the batch's own mean, is too small: on average :math:`(n-1)/n` of the data's.

Evaluation could be repaired: the averages can be measured anew.  The network cannot: it was trained on what
normalization with :math:`n` examples left of its features.
"""

import functools

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import lesson, trials

drawings = lesson.drawings()
SEEDS = lesson.seeds()
SIZES = np.array([2, 4, 8, 16, 32, 64])

# %%
# What normalization leaves of a feature
# --------------------------------------
# One feature of the digits (the ink in the middle rows), normalized in batches of 2, 8 and 64: each dot is an image,
# at the value that goes in and the value that comes out.

images, _ = pybn.datasets.digits()
ink = images[:768, 3:5].sum(axis=(1, 2)).astype(np.float64)[:, None]


def in_batches_of(n):
    """The feature, normalized n images at a time."""
    parts = (ink[i : i + n] for i in range(0, len(ink), n))
    return np.concatenate(
        [pybn.reference.batch_norm_training(x, None, None)[0] for x in parts]
    )


spread = {n: in_batches_of(n) for n in (2, 8, 64)}
drawings.what_is_left_of_a_feature(ink, spread, "ink in the middle rows")

# %%
# In a batch of two, one value is above their mean and the other below, by the same distance, which is then divided by
# itself.  What is left is a sign.

# Folded: the count of the outputs that are a sign
signs = np.mean(np.abs(np.abs(spread[2]) - 1) < 0.05)
assert signs > 0.8
print(
    f"in batches of 2, {signs:.0%} of the outputs are within 5 % of +1 or -1 (the "
    f"others were nearly equal)"
)

# %%
# The variance that the averages keep
# -----------------------------------
# We train one block for 400 steps in batches of each size, and compare the variances that the averages have collected
# with the exact ones of all the training data.


def model(ctx, images, ghost_batch=None):
    x = layers.flatten(images)
    x = layers.dense(ctx.in_scope("layer_0"), x, 64, use_bias=False)
    x = pybn.batch_norm(ctx.in_scope("layer_0"), x, ghost_batch=ghost_batch)
    return layers.dense(ctx.in_scope("output"), layers.relu(x), 10)


runs = {
    size: [trials.batch_size_run(seed, size, model) for seed in SEEDS] for size in SIZES
}
ratio = np.array([[run.variance_ratio for run in runs[size]] for size in SIZES]).T
drawings.variance_by_batch_size(SIZES, ratio)

# %%
# The measured ratio is a little below the theory, because the averages also lag: variances grew during the training.

# Folded: the check against the theory
theory = (SIZES - 1) / SIZES
for size, one, other in zip(SIZES, ratio.mean(axis=0), theory, strict=True):
    print(
        f"batches of {size}: the averaged variance is {one:.3f} of the data's; (n - "
        f"1)/n is {other:.3f}"
    )
assert np.all(np.abs(ratio - theory) < 0.1)
assert np.all(np.diff(ratio, axis=1) > 0)

# %%
# What can be repaired, and what cannot
# -------------------------------------
# ``update_averages`` puts the exact variances in the place of the shrunken ones.

ways = {
    "exact averages": "exact",
    "moving averages": "averages",
    "batch statistics": "batch",
}
accuracy = {
    name: np.array([[getattr(run, way) for run in runs[size]] for size in SIZES]).T
    for name, way in ways.items()
}
drawings.accuracy_by_batch_size(SIZES, accuracy)

# %%

# Folded: the check that averages spare evaluation the noise, and bring nothing back
exact, batch = accuracy["exact averages"], accuracy["batch statistics"]
for name, values in accuracy.items():
    means = zip(SIZES, values.mean(axis=0), strict=True)
    print(f"{name}: " + ", ".join(f"{each:.3f} (n = {size})" for size, each in means))
assert np.all(exact[:, 0] > batch[:, 0] + 0.15)
assert np.all(exact[:, 0] < exact[:, 3] - 0.05)

# %%
# In evaluation the averages, exact or not, are far better than a batch of two, which reads a digit by comparing it with
# its neighbour.  But the network that learned from signs stays behind one that saw sixteen images at a time.  Where
# memory allows no larger batch, normalize over something else: ``layers.layer_norm`` does not look at the batch.
#
# Small batches on purpose
# ------------------------
# The other way round: a batch of 64 fits, and is normalized in parts all the same.  Such *ghost batches* (Hoffer et al.
# 2017, `arXiv:1705.08741 <https://arxiv.org/abs/1705.08741>`_) are the opposite of synchronization
# (:ref:`lesson-workers`): there the parts lie on several machines, and have the statistics of the whole; here the whole
# lies on one, and each part has its own.  ``ghost_batch`` is a reshape; the averages take all parts together.

GHOSTS = np.array([2, 4, 8, 16, 32, 64])


def in_ghosts_of(size):
    """The model, each of whose batches is normalized in parts of so many."""
    return functools.partial(model, ghost_batch=int(size))


ghosts = {
    size: [trials.batch_size_run(seed, 64, in_ghosts_of(size)) for seed in SEEDS]
    for size in GHOSTS
}
whole = np.array([[run.exact for run in ghosts[size]] for size in GHOSTS]).T
curves = {"batches of n": exact, "batches of 64, in ghosts of n": whole}
drawings.accuracy_by_batch_size(GHOSTS, curves, "n")

# %%
# In ghosts of two the averages keep nearly all of the data's variance, because the parts are pooled; and they can be
# as exact as they like.  The network still learned from signs, though each step saw 64 images.  In ghosts of eight
# hardly anything of this is left.  (A training in batches of two is worse for another reason, too: its 400 steps see
# 800 images.)

# Folded: the check of the averages, and that ghosts of two cost accuracy
pooled = np.array([run.variance_ratio for run in ghosts[2]])
assert np.all(pooled > 0.9)
assert np.all(whole[:, 0] < whole[:, -1])
assert np.all(whole[:, 0] > exact[:, 0])
for seed, kept, twos, eights, all_ in zip(
    SEEDS, pooled, *whole.T[[0, 2, -1]], strict=True
):
    print(
        f"seed {seed}: in ghosts of 2 the averages have {kept:.2f} of the data's "
        f"variance; "
        f"accuracy {twos:.3f},\n  in ghosts of 8 {eights:.3f}, undivided {all_:.3f}"
    )

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("small_batches")
