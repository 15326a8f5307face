r"""
.. _lesson-learning-rate:

The evaluation that jumps
=========================

*Why does the evaluation jump while the training loss falls smoothly?*  About 10 minutes.  :ref:`lesson-momentum`
comes before.

The training loss falls smoothly, and the evaluation jumps: 0.1 here, 1.0 ten steps later, 0.2 after that.  At a high
learning rate this is what moving averages do.  They hold what the statistics were over the last :math:`1/(1-k)` batches
(:ref:`lesson-momentum`), and at a high rate the weights of then are not the weights of now.

It tells nothing about the weights.  Evaluate with the statistics of the batch at hand, and the jumps are gone; lower
the rate, and they are gone too.  Both were seen, and asked about, in a `discussion among PyTorch's users
<https://discuss.pytorch.org/t/batch-norm-instability/32159/14>`_ to which the Go package refers: the validation loss
of a ResNet that rose for no visible reason, not in training mode, and no more once the rate had been lowered.
"""

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import lesson, trials

drawings = lesson.drawings()
SEEDS = lesson.seeds()

# %%
# Three blocks of dense, batch norm and relu learn the digits for 300 steps at a learning rate of 2, then for 150
# at 0.01.  Every ten steps we evaluate on the test digits, three times: with averages of momentum 0.99 and 0.9, and
# with batch statistics.  All three use the same weights.


def model(ctx, images):
    x = layers.flatten(images)
    for index in range(3):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(here, x))
    return layers.dense(ctx.in_scope("output"), x, 10)


runs = [
    trials.rate_drop(seed, momenta=(0.9, 0.99), model=model, high=2, low=0.01)
    for seed in SEEDS
]
animation = drawings.jumps_and_lag_growing(runs[0])

# %%
# The lower panel is the reason: how far the first layer's averages are from the statistics of all the training data
# under the weights of the moment.  At the high rate momentum 0.99 is always about a fifth of a standard deviation
# behind; the loss jumps where that happens to matter.  After the drop both lines sink: the weights hold still.

# Folded: what the averages cost at the high rate, and the check that the drop ends it
cost = {}
for momentum in (0.99, 0.9):
    high = np.array(
        [(run.averages[momentum] - run.batch)[run.step <= run.drop] for run in runs]
    )
    # From 50 steps after the drop on, the averages of momentum 0.99 have seen enough of
    # the new weights.
    low = np.array(
        [(run.averages[momentum] - run.batch)[run.step > run.drop + 50] for run in runs]
    )
    cost[momentum] = high.mean(axis=1)
    print(
        f"momentum {momentum}: the averages cost {high.mean():.3f} of loss on average "
        f"at the high rate, {high.max():.3f} at worst;\n  {low.mean():.3f} and "
        f"{low.max():.3f} after the drop ({len(runs)} seeds)"
    )
    # The jumps are gone.  Against the run's own: at a rate of 2 the last bit of a sum
    # decides which path it takes.
    assert np.all(low.max(axis=1) < high.max(axis=1) / 3)

# %%

# Folded: the check that a long memory costs more than a short one, and lags less later

usual = [
    np.median((run.averages[0.99] / run.batch)[run.step <= run.drop]) for run in runs
]
assert min(usual) > 1.25
assert np.all(cost[0.99] > 0.03)
assert np.all(cost[0.9] < cost[0.99] / 2), "a shorter memory is less late"
print(
    "momentum 0.99 at the high rate: usually "
    + ", ".join(f"{each:.1f}" for each in usual)
    + " times the loss"
)

behind = np.array(
    [[run.lag[0.99][run.step <= run.drop].mean(), run.lag[0.99][-1]] for run in runs]
)
assert np.all(behind[:, 1] < behind[:, 0] / 2)
print(
    f"momentum 0.99 is {behind[:, 0].mean():.3f} standard deviations behind at the "
    f"high rate, "
    f"{behind[:, 1].mean():.3f} at the end"
)

# %%
# What to do
# ----------
# Nothing, if training goes on to a low rate anyway.  To judge a model in the middle of training, evaluate with
# ``batchnorm.batch_statistics``, or call ``update_averages`` first (:ref:`lesson-update-averages`).  And do not choose
# the best checkpoint by a curve that jumps: it may be the luckiest average, not the best weights.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("learning_rate")
