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

import numpy as np

import pybn
from pybn.lessons import lesson, trials

plots = lesson.plots()
SEEDS = lesson.seeds()
SIZES = np.array([2, 4, 8, 16, 32, 64])

# %%
# What normalization leaves of a feature
# --------------------------------------
# One feature of the digits (the ink in the middle rows), normalized in batches of 2, 8 and 64: each dot is an image,
# at the value that goes in and the value that comes out.

images, _ = pybn.datasets.digits()
ink = images[:, 3:5].sum(axis=(1, 2)).astype(np.float64)[:, None]
spread = {}
for ax, n in zip(plots.panels(1, 3, height=3.2, sharey=True), (2, 8, 64), strict=True):
    outputs = [pybn.reference.batch_norm_training(ink[i : i + n], None, None)[0] for i in range(0, 768, n)]
    spread[n] = np.concatenate(outputs)
    ax.plot(ink[:768], spread[n], ".", markersize=3, color=plots.COLOURS[0])
    ax.set(title=f"batches of {n}", xlabel="ink in the middle rows")
    ax.set(ylabel="normalized" if n == 2 else "")

# %%
# In a batch of two, one value is above their mean and the other below, by the same distance, which is then divided by
# itself.  What is left is a sign.

signs = np.mean(np.abs(np.abs(spread[2]) - 1) < 0.05)
assert signs > 0.8
print(f"in batches of 2, {signs:.0%} of the outputs are within 5 % of +1 or -1 (the others were nearly equal)")

# %%
# The variance that the averages keep
# -----------------------------------
# We train one block for 400 steps in batches of each size, and compare the variances that the averages have collected
# with the exact ones of all the training data.

runs = {size: [trials.batch_size_run(seed, size) for seed in SEEDS] for size in SIZES}
ratio = np.array([[run.variance_ratio for run in runs[size]] for size in SIZES]).T
theory = (SIZES - 1) / SIZES

ax = plots.over_seeds(
    SIZES, {"measured (median feature)": ratio}, ("batch size n", "averaged variance /\nvariance of the data")
)
ax.plot(SIZES, theory, "k:", label="(n - 1) / n")
ax.set(xscale="log", ylim=(0.4, 1.05))
ax.set_xticks(SIZES, SIZES)
ax.minorticks_off()
_ = ax.legend(frameon=False)

# %%
# The measured ratio is a little below the theory, because the averages also lag: variances grew during the training.

for size, one, other in zip(SIZES, ratio.mean(axis=0), theory, strict=True):
    print(f"batches of {size}: the averaged variance is {one:.3f} of the data's; (n - 1)/n is {other:.3f}")
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
    name: np.array([[getattr(run, way) for run in runs[size]] for size in SIZES]).T for name, way in ways.items()
}
ax = plots.over_seeds(SIZES, accuracy, ("batch size n", "accuracy on the test digits"))
ax.set(xscale="log")
ax.set_xticks(SIZES, SIZES)
ax.minorticks_off()

exact, batch = accuracy["exact averages"], accuracy["batch statistics"]
for name, values in accuracy.items():
    print(
        f"{name}: "
        + ", ".join(f"{each:.3f} (n = {size})" for size, each in zip(SIZES, values.mean(axis=0), strict=True))
    )
assert np.all(exact[:, 0] > batch[:, 0] + 0.15), "averages spare evaluation the noise"
assert np.all(exact[:, 0] < exact[:, 3] - 0.05), "and cannot give back what training never saw"

# %%
# In evaluation the averages, exact or not, are far better than a batch of two, which reads a digit by comparing it with
# its neighbour.  But the network that learned from signs stays behind one that saw sixteen images at a time.  Where
# memory allows no larger batch, normalize over something else: ``layers.layer_norm`` does not look at the batch.
#
# A large batch as small ones
# ---------------------------
# There is a way back: ``ghost_batch(n)`` normalizes a large batch in parts of n, where one wants the noise of small
# batches at the speed of large ones.  It is the opposite of what :ref:`lesson-workers` is about, where the parts of a
# batch are normalized as the whole.  Only what reaches the next layer is that of small batches: the averages take the
# variance of all 768.

ctx = pybn.Context(rng=SEEDS[0])
with ctx.forward_pass(training=True):
    ghosts = pybn.batch_norm(ctx, ink[:768], ghost_batch=2).value
    ctx.apply()
kept = float(ctx.get_variable("/batch_normalization/variance").value[0])
assert np.abs(ghosts - spread[2]).max() < 1e-12
assert np.isclose(kept, ink[:768].var())
of_two = np.mean([ink[i : i + 2].var() for i in range(0, 768, 2)])
print(f"768 in parts of 2: the outputs of batches of 2, and their variance on average {of_two:.3f}; kept is {kept:.3f}")

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("small_batches")
