r"""
.. _lesson-transfer:

Frozen averages in transfer learning
====================================

*What becomes of the averages when other data come?*  About 15 minutes.  :ref:`lesson-update-averages` comes before.

A trained network is more than its weights: its averages belong to the data that it was trained on.  Two things go wrong
when other data come.  The averages move although nobody meant to train; or they stay although the data have changed.

``frozen_averages(True)`` decides that they stay; ``update_averages`` moves them, on purpose.
"""

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson, trials

drawings = lesson.drawings()
SEEDS = lesson.seeds()
PASSES = 6


def model(frozen):
    """Two blocks of dense, batch norm and relu, whose averages may be frozen."""

    def forward(ctx, images):
        x = layers.flatten(images)
        for index in range(2):
            here = ctx.in_scope(f"layer_{index}")
            x = layers.dense(here, x, 64, use_bias=False)
            x = layers.relu(
                pybn.batch_norm(here, x, momentum=0.9, frozen_averages=frozen)
            )
        return layers.dense(ctx.in_scope("output"), x, 10)

    return forward


def pretrained(seed, frozen=False):
    """A network that has learned the ten digits; from now on, its averages may be
    frozen.
    """
    run = experiments.recorded(
        seed, model(False), learning_rate=0.3, every=1000
    ).epochs(12)
    run.trainer.model_fn = model(frozen)
    return run


# %%
# Forgetting without learning
# ---------------------------
# The network has learned ten digits.  Now it only *looks* at zeros and ones, in training mode: no gradient, no
# optimizer, not one weight changes.  After each pass over them we test it on all ten again.


def forget(seed, frozen):
    """Accuracy on all ten digits before, and after each pass over zeros and ones; has
    no weight changed?
    """
    run = pretrained(seed, frozen)
    zeros_and_ones = trials.only_classes(run.digits.train, (0, 1))
    weights = [each.value for each in run.trainer.context.variables(trainable=True)]
    accuracy = [run.accuracy()]
    for _ in range(PASSES):
        accuracy.append(trials.forward_passes(run, zeros_and_ones).accuracy())
    after = [each.value for each in run.trainer.context.variables(trainable=True)]
    return accuracy, all(map(np.array_equal, weights, after))


found = {frozen: [forget(seed, frozen) for seed in SEEDS] for frozen in (False, True)}
moved, still = (
    np.array([accuracy for accuracy, _ in found[frozen]]) for frozen in found
)
drawings.accuracy_by_passes({"averages move": moved, "frozen_averages(True)": still})

# %%

# Folded: the check that averages which move forget, and frozen ones do not
assert all(unchanged for of_seeds in found.values() for _, unchanged in of_seeds)
assert np.all(moved[:, -1] < moved[:, 0] - 0.04)
assert np.all(still == still[:, :1])
print(
    f"averages move: accuracy {moved[:, 0].mean():.3f} before, "
    f"{moved[:, -1].mean():.3f} after {PASSES} passes"
)
print(
    f"frozen: accuracy {still[:, 0].mean():.3f} before and after (mean of {len(SEEDS)} "
    f"seeds)"
)

# %%
# Data that have changed
# ----------------------
# The same digits from another scanner: a third of the contrast, on a grey ground.  Nothing is wrong with the weights;
# but the first layer subtracts the means of the old images, and divides by their deviations.  ``update_averages``
# measures the new ones, from images without labels: how many does it take?

COUNTS = (4, 8, 16, 32, 64, 128, 256)
runs = [pretrained(seed) for seed in SEEDS]
source = np.array([run.accuracy() for run in runs])
shifted = np.empty(len(SEEDS))
updated = np.empty((len(SEEDS), len(COUNTS)))
for row, run in enumerate(runs):
    train, test = (
        trials.with_contrast(part, 0.3, 0.5)
        for part in (run.digits.train, run.digits.test)
    )
    shifted[row] = run.trainer.eval(test)["accuracy"]
    for column, count in enumerate(COUNTS):
        pybn.update_averages(
            run.trainer,
            pybn.InMemoryDataset(train.inputs[:count], train.labels[:count], 64),
        )
        updated[row, column] = run.trainer.eval(test)["accuracy"]

drawings.accuracy_by_new_images(COUNTS, updated, source.mean(), shifted.mean())

# %%

# Folded: the check that an update on all of them brings the accuracy back
assert np.all(shifted < 0.7)
assert np.all(np.abs(updated[:, -1] - source) < 0.03)
print(f"old averages on the new images: accuracy {shifted.mean():.3f}")
for count, values in zip(COUNTS, updated.T, strict=True):
    print(f"averages updated on {count} of them: {values.mean():.3f}")
print(f"the old images: {source.mean():.3f}")

# %%
# A change of contrast and brightness only scales and shifts what reaches the first batch norm, and that is just what
# new averages take out again.  They are no cure for everything: in a negative, white on black, every feature
# changes its *sign*, and no mean and no variance can undo that.

# Folded: the update on negatives, and the check that it does not help
negative = []
for run in runs:
    train, test = (
        trials.with_contrast(part, -1.0, 1.0)
        for part in (run.digits.train, run.digits.test)
    )
    pybn.update_averages(run.trainer, train)
    negative.append(run.trainer.eval(test)["accuracy"])
assert max(negative) < 0.2
print(f"negatives, averages updated on all of them: accuracy {np.mean(negative):.3f}")

# %%
# And where nothing has changed
# -----------------------------
# Fine-tuning on the *same* data, with the averages frozen or not: it makes no difference that one could see.
# Freezing is for data that are few, or different, not a virtue in itself.  And it asks for a small learning rate: with
# the averages frozen nothing holds the activations in place while the weights grow.

difference = []
for seed in SEEDS:
    accuracies = []
    for frozen in (True, False):
        run = pretrained(seed, frozen)
        run.trainer.optimizer = pybn.optimizers.SGD(learning_rate=0.03)
        accuracies.append(run.epochs(3).accuracy())
    difference.append(accuracies[0] - accuracies[1])

# %%

# Folded: the check that the difference is small
assert np.all(np.abs(difference) < 0.02)
print(
    "frozen minus moving, after three more epochs: "
    + ", ".join(f"{each:+.3f}" for each in difference)
)

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("transfer")
