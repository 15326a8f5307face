r"""
.. _lesson-workers:

One batch, several workers
==========================

*Does a batch that is spread over workers have the statistics of the batch?*  About 10 minutes.  You should know what
:ref:`lesson-small-batches` shows: the variance of :math:`n` examples around their own mean is too small by
:math:`(n-1)/n`.

Data-parallel training gives each worker a part of every batch, and adds up their gradients.  For every layer but one
that is the same as a step on the whole batch.  Batch normalization looks at the batch: a worker that sees its part
alone normalizes with the statistics of a small batch, however many workers there are.

`pybn.distributed` lets the workers exchange count, mean and variance forward, and two sums backward.  Here they are
simulated in one process, so that the lesson runs everywhere; they take the same way through the code as under MPI.
"""

import numpy as np

from pybn.lessons import lesson, workers

plots = lesson.plots()
SEEDS = lesson.seeds()
BATCH = 64

# %%
# The averages of one, two, four and eight workers
# ------------------------------------------------
# 200 steps on the digits, batches of 64 in all.  After them we hold the variance that the averages have collected
# against that of the layer's input over all the data.

WORKERS = np.array([1, 2, 4, 8])
runs = {
    synchronize: [[workers.spread_run(seed, [1 / n] * n, synchronize=synchronize) for n in WORKERS] for seed in SEEDS]
    for synchronize in (True, False)
}
ratios = {
    "synchronized": [[run.variance_ratio.mean() for run in of_seed] for of_seed in runs[True]],
    "each worker alone": [[run.variance_ratio.mean() for run in of_seed] for of_seed in runs[False]],
}
parts = BATCH / WORKERS
alone = [of_seed[0].variance_ratio[0] for of_seed in runs[True]]

axes = plots.over_seeds(WORKERS, ratios, ("workers (64 examples in all)", "averaged variance /\nvariance of the data"))
axes.plot(WORKERS, np.mean(alone) * (parts - 1) / parts / ((BATCH - 1) / BATCH), "k:", label="predicted: (n - 1) / n")
axes.set(xscale="log")
axes.set_xticks(WORKERS, WORKERS)
axes.minorticks_off()
_ = axes.legend(frameon=False)

# %%
# The prediction is that of the lesson on small batches, with a worker's part for the batch.

for position, n in enumerate(WORKERS):
    theory = (parts[position] - 1) / parts[position] / ((BATCH - 1) / BATCH)
    own = np.array([of_seed[position] for of_seed in ratios["each worker alone"]]) / alone
    together = np.array([of_seed[position] for of_seed in ratios["synchronized"]]) / alone
    assert np.all(np.abs(own - theory) < 0.05), (n, own, theory)
    assert np.all(np.abs(together - 1) < 1e-4), (n, together)
    print(f"{n} workers alone keep {own.mean():.3f} of one process's variance; (n - 1)/n predicts {theory:.3f}")

# %%
# Uneven parts
# ------------
# Nobody promises that parts are even.  With 50, 30, 15 and 5 % of each batch, the last worker normalizes three
# examples, and its averages say so; synchronized, all four agree to the last bit.

UNEVEN = (0.5, 0.3, 0.15, 0.05)
uneven = {
    synchronize: [workers.spread_run(seed, UNEVEN, synchronize=synchronize) for seed in SEEDS] for synchronize in runs
}
rank = np.arange(len(UNEVEN))
axes = plots.over_seeds(
    rank,
    {
        "synchronized": [run.variance_ratio for run in uneven[True]],
        "each worker alone": [run.variance_ratio for run in uneven[False]],
    },
    ("worker (50, 30, 15 and 5 % of each batch)", "averaged variance /\nvariance of the data"),
)
_ = axes.set_xticks(rank, rank)

# %%
for seed, (together, own) in zip(SEEDS, zip(uneven[True], uneven[False], strict=True), strict=True):
    assert together.means_apart == 0
    assert np.ptp(together.variance_ratio) == 0
    assert own.variance_ratio[-1] < 0.8 * own.variance_ratio[0]
    print(
        f"seed {seed}: the largest part keeps {own.variance_ratio[0]:.2f} of the data's variance, the smallest "
        f"{own.variance_ratio[-1]:.2f}; the workers' means are {own.means_apart:.2f} deviations apart"
    )

# %%
# The same training as in one process
# -----------------------------------
# Synchronized, the parts do not matter: the weights after 200 steps are those of one process, but for the order in
# which sums were taken.

for seed, (together, of_seed) in zip(SEEDS, zip(uneven[True], runs[True], strict=True), strict=True):
    weights = of_seed[0].weights
    apart = np.abs(together.weights - weights).max() / np.abs(weights).max()
    assert apart < 1e-4
    print(f"seed {seed}: four uneven workers end {apart:.0e} of the largest weight from one process")

# %%
# With MPI the same is ``mpiexec -n 4 python -m mpi4py train.py``, where ``train.py`` makes its trainer with
# ``pybn.distributed.DataParallelTrainer(MPI.COMM_WORLD, ...)``; the page on several workers has the whole script.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("workers")
