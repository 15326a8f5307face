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

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson

drawings = lesson.drawings()
SEEDS = lesson.seeds(5)

# %%
# A network, and one step
# -----------------------
# Two blocks of a dense layer, a batch norm and a relu learn to read handwritten digits.


def model(ctx, images):
    x = layers.flatten(images)
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(here, x))
    return layers.dense(ctx.in_scope("output"), x, 10)


def new_trainer(seed, learning_rate=0.1):
    sgd = pybn.optimizers.SGD(learning_rate)
    return pybn.Trainer(
        pybn.Context(seed), model, pybn.losses.softmax_cross_entropy, sgd
    )


trainer = new_trainer(SEEDS[0])
for images, labels in experiments.digits(SEEDS[0]).train:
    # Weights move, and with them the averages.
    step = trainer.train_step(images, labels)
print(f"loss {step['loss']:.2f} in the last step of the first epoch")

# %%
# What the averages see
# ---------------------
# ``experiments.recorded`` does the same, and a recorder watches.  We follow one feature, in front of the first layer's
# normalization: the mean of each batch (grey), the mean over all the training data as the weights change (black), and
# what averages of three momenta make of the grey dots.  In training nothing depends on the averages, so one training
# shows them all.

MOMENTA = (0.5, 0.9, 0.99)
run = experiments.recorded(SEEDS[0], model, every=2).epochs(7)
layer_0, data = run.statistics["/layer_0"], run.data["/layer_0"]

animation = drawings.averages_growing_over_the_training(layer_0, MOMENTA, data)

# %%
# A short memory is noisy, a long one is late
# -------------------------------------------
# Momentum 0.5 follows the black line at once, and jumps with every batch.  Momentum 0.99 is smooth, and answers a
# question about weights of a hundred steps ago.  How far off are they, over all features?  With :math:`B` examples in
# a batch, noise alone would leave :math:`\sqrt{(1-k)/(1+k)\,/B}` standard deviations: the dotted line (a little less,
# since an epoch draws every example once).  What lies above it is lag, and the faster the weights move, the more.

momenta = np.array([0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])


def errors(seed, learning_rate):
    run = experiments.recorded(seed, model, learning_rate=learning_rate).epochs(5)
    return [
        run.error_of_averages("/layer_0", momentum, last=16) for momentum in momenta
    ]


slow, fast = (
    np.array([errors(seed, rate) for seed in SEEDS[:3]]) for rate in (0.1, 0.5)
)

error = {"learning rate 0.5": fast, "learning rate 0.1": slow}
drawings.error_by_memory(momenta, error, batch_size=64)

# %%
# There is a best memory, and it is neither end:

# Folded: the check that noise outweighs at momentum 0.5, and lag at 0.99
at = dict(zip(momenta, slow.T, strict=True))
assert np.all(at[0.9] < at[0.5]), "noise should outweigh at momentum 0.5"
assert np.all(at[0.9] < at[0.99]), "lag should outweigh at momentum 0.99"
assert np.all(fast[:, -1] > 1.2 * slow[:, -1])
print(
    f"learning rate 0.1: the averages are off by {at[0.5].mean():.3f} standard "
    f"deviations with momentum 0.5, "
    f"{at[0.9].mean():.3f} with 0.9, {at[0.99].mean():.3f} with 0.99 (mean of "
    f"{len(slow)} seeds)"
)
print(f"five times the learning rate: momentum 0.99 is off by {fast[:, -1].mean():.3f}")

# %%
# The first batches
# -----------------
# An average has to start somewhere.  The common rule starts at :math:`M = 0, V = 1` and keeps :math:`k` from the first
# batch on: with momentum 0.999, after 21 batches 98 % of it is still that start.  pybn counts the batches, :math:`w`,
# and keeps :math:`\min(k, 1 - 1/w)`: the plain mean of the batches until the memory is full (the lower panel of the
# first figure).  One epoch of training, evaluated with both:

MOMENTA = (0.5, 0.9, 0.99, 0.999)
runs = [
    experiments.recorded(seed, model, learning_rate=0.5).epochs(1) for seed in SEEDS
]


def accuracy(rule):
    """On the test digits, with the averages that the rule makes: (seeds, momenta)."""
    return np.array(
        [[run.accuracy(rule(momentum)) for momentum in MOMENTA] for run in runs]
    )


counted, started = accuracy(experiments.debiased), accuracy(experiments.plain)
batch = np.array([run.accuracy_with_batch_statistics() for run in runs])

both = {"pybn's average": counted, "started at 0 and 1": started}
drawings.accuracy_by_starting_rule(MOMENTA, both, batch.mean())

# %%

# Folded: the check that counting the batches is what saves the long memory
assert np.all(batch - started[:, 3] > 0.15)
assert np.all(batch - counted[:, 3] < 0.05)
for momentum, one, other in zip(
    MOMENTA, started.mean(axis=0), counted.mean(axis=0), strict=True
):
    print(
        f"momentum {momentum}: accuracy {one:.3f} when started at 0 and 1, {other:.3f} "
        f"when batches are counted"
    )
print(f"with batch statistics: {batch.mean():.3f} (mean of {len(runs)} seeds)")

# %%
# The weights are the same in every row: only what the layer *remembers* of the data differs.  So when evaluation is
# bad and training was good, ask first how many batches the averages have seen, and how long their memory is.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("momentum")
