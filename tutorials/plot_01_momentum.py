r"""
.. _lesson-momentum:

Momentum is a memory length
===========================

*How many batches should the moving averages remember?*  About 15 minutes.  :ref:`lesson-one-feature` comes before.

In training, a batch norm layer normalizes with the statistics of the batch at hand.  For later, it keeps
moving averages of them: after each batch,

.. math:: M \leftarrow k\,M + (1 - k)\,\mu_{\text{batch}}, \qquad V \leftarrow k\,V + (1 - k)\,\sigma^2_{\text{batch}}.

The fraction :math:`k` of the old average that is kept is the **momentum**, and an average that keeps
:math:`k` remembers about :math:`1/(1-k)` batches: 2 for 0.5, 10 for 0.9, 100 for 0.99.  What it ought to
remember is the statistics of the *whole data* under the weights *of now*, and the weights do not stand still.
"""

import numpy as np

from pybn.lessons import experiments, lesson

plots = lesson.plots()
SEEDS = lesson.seeds(5)

# %%
# What the averages see
# ---------------------
# A network learns to read handwritten digits.  We follow one feature, in front of the first layer's normalization:
# the mean of each batch (grey), the mean over all the training data as the weights change (black), and what
# averages of three momenta make of the grey dots.  In training nothing depends on the averages, so one training
# shows them all.

MOMENTA = (0.5, 0.9, 0.99)
run = experiments.recorded(SEEDS[0], model=experiments.classifier(), every=2).epochs(7)
layer_0, data = run.statistics["/layer_0"], run.data["/layer_0"]

above, below = plots.panels(2, height=5.6, sharex=True, height_ratios=(3, 1))
plots.moving_averages(layer_0, MOMENTA, data, ax=above).set_xlabel("")
plots.memory(MOMENTA, len(layer_0.step), ax=below)
animation = plots.growing((above, below))
# %%
# A short memory is noisy, a long one is late
# -------------------------------------------
# Momentum 0.5 follows the black line at once, and jumps with every batch.  Momentum 0.99 is smooth, and answers a
# question about weights of a hundred steps ago.  How far off are they, over all features?  With :math:`B` examples in
# a batch, noise alone would leave :math:`\sqrt{(1-k)/(1+k)\,/B}` standard deviations: the dotted line (a little less,
# since an epoch draws every example once).  What lies above it is lag, and the faster the weights move, the more.

momenta = np.array([0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
memory = 1 / (1 - momenta)
error = {
    f"learning rate {rate}": [
        [run.error_of_averages("/layer_0", momentum, last=16) for momentum in momenta]
        for run in (
            experiments.recorded(seed, experiments.classifier(), learning_rate=rate).epochs(5) for seed in SEEDS[:3]
        )
    ]
    for rate in (0.5, 0.1)
}

labels = ("memory of the average, 1 / (1 - momentum) (batches)", "error of the average\n(standard deviations)")
ax = plots.over_seeds(memory, error, labels)
ax.loglog(memory, np.sqrt((1 - momenta) / (1 + momenta) / 64), "k:", label="noise alone, in theory")
ax.set_xticks(memory, [f"{each:.0f}\n({momentum:g})" for each, momentum in zip(memory, momenta, strict=True)])
ax.set_yticks((0.01, 0.03, 0.1, 0.2), ("0.01", "0.03", "0.1", "0.2"))
ax.minorticks_off()
_ = ax.legend(frameon=False)

# %%
# There is a best memory, and it is neither end:

slow = np.array(error["learning rate 0.1"])
at = dict(zip(momenta, slow.T, strict=True))
assert np.all(at[0.9] < at[0.5]), "noise should outweigh at momentum 0.5"
assert np.all(at[0.9] < at[0.99]), "lag should outweigh at momentum 0.99"
print(
    f"learning rate 0.1: the averages are off by {at[0.5].mean():.3f} standard deviations with momentum 0.5, "
    f"{at[0.9].mean():.3f} with 0.9, {at[0.99].mean():.3f} with 0.99 (mean of {len(slow)} seeds)"
)
fast = np.array(error["learning rate 0.5"])
assert np.all(fast[:, -1] > 1.2 * slow[:, -1])
print(f"five times the learning rate: momentum 0.99 is off by {fast[:, -1].mean():.3f}")

# %%
# The first batches
# -----------------
# An average has to start somewhere.  The common rule starts at :math:`M = 0, V = 1` and keeps :math:`k` from the first
# batch on: with momentum 0.999, after 21 batches 98 % of it is still that start.  pybn counts the batches, :math:`w`,
# and keeps :math:`\min(k, 1 - 1/w)`: the plain mean of the batches until the memory is full (the lower panel of the
# first figure).  One epoch of training, evaluated with both:

MOMENTA = (0.5, 0.9, 0.99, 0.999)
runs = [experiments.recorded(seed, experiments.classifier(), learning_rate=0.5).epochs(1) for seed in SEEDS]
accuracy = {
    name: np.array([[run.accuracy(rule(momentum)) for momentum in MOMENTA] for run in runs])
    for name, rule in (("pybn's average", experiments.debiased), ("started at 0 and 1", experiments.plain))
}
batch = np.array([run.accuracy_with_batch_statistics() for run in runs])

ax = plots.over_seeds(range(4), accuracy, ("momentum", "accuracy on test digits\nafter one epoch"))
ax.axhline(batch.mean(), color="black", linestyle=":", label="with batch statistics")
ax.set_xticks(range(4), MOMENTA)
_ = ax.legend(frameon=False)

# %%

started, counted = accuracy["started at 0 and 1"], accuracy["pybn's average"]
assert np.all(batch - started[:, 3] > 0.15)
assert np.all(batch - counted[:, 3] < 0.05)
for momentum, one, other in zip(MOMENTA, started.mean(axis=0), counted.mean(axis=0), strict=True):
    print(f"momentum {momentum}: accuracy {one:.3f} when started at 0 and 1, {other:.3f} when batches are counted")
print(f"with batch statistics: {batch.mean():.3f} (mean of {len(runs)} seeds)")

# %%
# The weights are the same in every row: only what the layer *remembers* of the data differs.  So when evaluation is
# bad and training was good, ask first how many batches the averages have seen, and how long their memory is.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("momentum")
