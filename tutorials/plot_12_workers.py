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

import pybn
from pybn import layers
from pybn.lessons import lesson, workers

drawings = lesson.drawings()
SEEDS = lesson.seeds()
BATCH = 64

# %%
# The averages of one, two, four and eight workers
# ------------------------------------------------
# 200 steps on the digits, batches of 64 in all.  After them we hold the variance that the averages have collected
# against that of the layer's input over all the data.

WORKERS = np.array([1, 2, 4, 8])


def model(ctx, images):
    x = layers.flatten(images)
    x = layers.dense(ctx.in_scope("layer_0"), x, 64, use_bias=False)
    x = layers.relu(pybn.batch_norm(ctx.in_scope("layer_0"), x))
    return layers.dense(ctx.in_scope("output"), x, 10)


def spread(seed, shares, synchronize):
    """200 steps, each worker with its share of every batch."""
    return workers.spread_run(
        seed, shares, synchronize=synchronize, model=model, batch_size=BATCH
    )


together, alone = (
    [[spread(seed, [1 / n] * n, synchronize) for n in WORKERS] for seed in SEEDS]
    for synchronize in (True, False)
)


def ratio(runs):
    """The averaged variance over the data's: (seeds, workers)."""
    return np.array(
        [[run.variance_ratio.mean() for run in of_seed] for of_seed in runs]
    )


parts = BATCH / WORKERS
theory = (parts - 1) / parts / ((BATCH - 1) / BATCH)  # of one worker's
one = ratio(together)[:, :1]

ratios = {"synchronized": ratio(together), "each worker alone": ratio(alone)}
drawings.variance_by_workers(WORKERS, ratios, one.mean() * theory)

# %%
# The prediction is that of the lesson on small batches, with a worker's part for the batch.

# Folded: the check that workers alone follow it, and synchronized ones keep it all
assert np.all(np.abs(ratio(alone) / one - theory) < 0.05), ratio(alone)
assert np.all(np.abs(ratio(together) / one - 1) < 1e-4), ratio(together)
for n, kept, predicted in zip(
    WORKERS, (ratio(alone) / one).mean(axis=0), theory, strict=True
):
    print(
        f"{n} workers alone keep {kept:.3f} of one process's variance; (n - 1)/n "
        f"predicts {predicted:.3f}"
    )

# %%
# Uneven parts
# ------------
# Nobody promises that parts are even.  With 50, 30, 15 and 5 % of each batch, the last worker normalizes three
# examples, and its averages say so; synchronized, all four agree to the last bit.

UNEVEN = (0.5, 0.3, 0.15, 0.05)
uneven = {
    synchronize: [spread(seed, UNEVEN, synchronize) for seed in SEEDS]
    for synchronize in (True, False)
}
drawings.variance_by_part(
    UNEVEN,
    {
        "synchronized": [run.variance_ratio for run in uneven[True]],
        "each worker alone": [run.variance_ratio for run in uneven[False]],
    },
)

# %%

# Folded: the check that synchronized workers agree to the last bit, and others do not
for seed, (both, own) in zip(
    SEEDS, zip(uneven[True], uneven[False], strict=True), strict=True
):
    assert both.means_apart == 0
    assert np.ptp(both.variance_ratio) == 0
    assert own.variance_ratio[-1] < 0.8 * own.variance_ratio[0]
    print(
        f"seed {seed}: the largest part keeps {own.variance_ratio[0]:.2f} of the "
        f"data's variance, the smallest "
        f"{own.variance_ratio[-1]:.2f}; the workers' means are {own.means_apart:.2f} "
        f"deviations apart"
    )

# %%
# The same training as in one process
# -----------------------------------
# Synchronized, the parts do not matter: the weights after 200 steps are those of one process, but for the order in
# which sums were taken.

# Folded: the check of the weights
for seed, four, one_process in zip(
    SEEDS, uneven[True], (of_seed[0] for of_seed in together), strict=True
):
    weights = one_process.weights
    apart = np.abs(four.weights - weights).max() / np.abs(weights).max()
    assert apart < 1e-4
    print(
        f"seed {seed}: four uneven workers end {apart:.0e} of the largest weight from "
        f"one process"
    )

# %%
# With MPI the same is ``mpiexec -n 4 python -m mpi4py train.py``, where ``train.py`` makes its trainer with
# ``pybn.distributed.DataParallelTrainer(MPI.COMM_WORLD, ...)``; the page on several workers has the whole script.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("workers")
