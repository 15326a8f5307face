r"""
.. _lesson-update-averages:

Updating the averages closes the gap
====================================

*Training was fine and evaluation is bad: can it be repaired?*  About 15 minutes.  :ref:`lesson-momentum` comes
before.

Training was fine, evaluation is far worse: the question most often asked about batch normalization.  In training each
layer normalizes with its batch, in evaluation with its moving averages; so where the two disagree, suspect the
averages.  They describe weights that are gone: those of the last hundred steps, or of the first.

The repair needs no training.  With the weights as they are, send the data through the network once more and
*measure* the statistics: ``pybn.update_averages``.  The Go package on which it is modelled refers to an `account of
the same repair <https://www.mindee.com/blog/batch-normalization>`_: freeze the weights after training, and run one
epoch to estimate the averages on the whole data set.
"""

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson

plots, drawings = lesson.plots(), lesson.drawings()
SEEDS = lesson.seeds()
DEPTH = 4


def model(ctx, images):
    """Four blocks of dense, batch norm and relu; the layer's own momentum is 0.99."""
    x = layers.flatten(images)
    for index in range(DEPTH):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(here, x))
    return layers.dense(ctx.in_scope("output"), x, 10)


def fresh(seed, every=5):
    """The digits and a trainer; a recorder watches."""
    return experiments.recorded(seed, model, learning_rate=0.5, every=every)


# %%
# Falling behind, during training
# -------------------------------
# Every five steps we measure the statistics of the whole training data under the weights of that moment, and
# draw how far each layer's averages are from them.  At the dashed lines the averages are updated; from there on they
# fall behind again, because the weights go on.

UPDATES = (60, 120)
runs = [fresh(seed) for seed in SEEDS]
for run in runs:
    for _ in UPDATES:
        run.steps(60).update_averages()
    run.steps(60)

_ = plots.lag(runs[0].statistics.layers, runs[0].data.layers, UPDATES)

# %%
# The first layer is the furthest behind: its input, the pixels, is not normalized, so its weights move its means
# freely.  The others see what a batch norm layer and a relu have kept in place.

# Folded: how far behind each layer is, and the check that updates keep all nearer
step = runs[0].data["/layer_0"].step
# By seed, layer and time.
behind = np.array(
    [
        [
            plots.lag_in_deviations(run.statistics[scope], run.data[scope]).mean(axis=1)
            for scope in run.data.layers
        ]
        for run in runs
    ]
)
before, after = (
    behind[:, :, step <= UPDATES[0]].mean(axis=2),
    behind[:, :, step > UPDATES[0]].mean(axis=2),
)
for index in range(DEPTH):
    print(
        f"layer_{index}: {before[:, index].mean():.3f} standard deviations behind up "
        f"to step 60, "
        f"{after[:, index].mean():.3f} afterwards, with an update every 60 steps (mean "
        f"of {len(runs)} seeds)"
    )
assert np.all(after < before)
assert np.all(before[:, 0] > 2 * before[:, 1:].max(axis=1))

# %%
# What it does to the predictions
# -------------------------------
# Three epochs of training, then the test digits, evaluated with the averages that each rule has made by then, and
# again after one update: the same for all of them, because it does not look at the old averages at all.

RULES = {
    "0.9, started at 0 and 1": experiments.plain(0.9),
    "0.99, started at 0 and 1": experiments.plain(0.99),
    "0.999, started at 0 and 1": experiments.plain(0.999),
    "0.99, pybn's": experiments.debiased(0.99),
}
METHODS = ("two_phase", "one_pass", "exact")
runs = [fresh(seed, every=100).epochs(3) for seed in SEEDS]
before = {
    name: np.array([run.accuracy(rule) for run in runs]) for name, rule in RULES.items()
}
batch = np.array([run.accuracy_with_batch_statistics() for run in runs])

accuracy, errors = {}, {}
for method in METHODS:
    for run in runs:
        run.update_averages(method)
    accuracy[method] = np.array([run.accuracy() for run in runs])
    errors[method] = np.array(
        [list(run.error_against_inference().values()) for run in runs]
    )
after = accuracy["exact"]

slopes = {name: (values.mean(), after.mean()) for name, values in before.items()}
_ = plots.before_and_after(slopes, "accuracy on the test digits", truth=batch.mean())

# %%

# Folded: the check that the update repairs what a rule had spoiled, and spoils nothing
for name, values in before.items():
    print(
        f"momentum {name}: accuracy {values.mean():.3f}; after update_averages "
        f"{after.mean():.3f}"
    )
print(f"with batch statistics: {batch.mean():.3f} (mean of {len(runs)} seeds)")
# Half the least of the 24 seeds below.
assert np.all(after - before["0.999, started at 0 and 1"] > 0.15)
won = after - before["0.99, pybn's"]
assert np.all(won > -0.02)
print(
    "after minus before for pybn's rule, seed by seed: "
    + ", ".join(f"{each:+.3f}" for each in won)
)
assert np.all(np.abs(after - batch) < 0.02)

# %%
# With momentum 0.999, started at 0 and 1, the update wins .46 of accuracy in the median of 24 seeds (0 to 23), .28 at
# least and more than .3 in 92 % of them.  pybn's averages count their batches, and leave less to win: the update raised
# the accuracy in 88 % of the seeds, by .011 in the median, and never lowered it by more than .005.
#
# Three ways to measure
# ---------------------
# "One epoch of statistics" can mean more than one thing, because a layer's input depends on how the layers below it
# are normalized while we measure.
#
# * ``one_pass``: they use each batch's own statistics, as in training.  But inference will not.
# * ``two_phase``, that of the Go package GoMLX: a second pass, in which they use the averages just made; all of it
#   moving averages, so the last batches weigh more.
# * ``exact``: layer by layer, from the bottom up, each measured only when everything below it is final.
#
# Hold each layer's averages against what really reaches it in inference:

drawings.errors_of_three_updates(errors)

# %%

# Folded: the check that the exact method alone leaves nothing
worst = {method: error.max() for method, error in errors.items()}
assert worst["exact"] < 1e-12, (
    "the exact averages are those of inference, up to rounding"
)
assert worst["one_pass"] > 1e-3
assert worst["two_phase"] > 1e-3
for method, values in accuracy.items():
    print(
        f"{method}: off by up to {worst[method]:.1e} standard deviations; accuracy "
        f"{values.mean():.3f}"
    )

# %%
# On the digits all three repair the accuracy; only the exact method leaves nothing to repair, whatever the
# batches were and in whatever order they came.  It is pybn's default, and costs one pass for each layer of depth.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("update_averages")
