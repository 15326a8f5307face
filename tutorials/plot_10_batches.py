r"""
.. _lesson-batches:

What batches must be
====================

*May the data be sorted?*  About 10 minutes.  :ref:`lesson-update-averages` comes before.

A batch's mean and variance stand in for those of the data, which they are allowed to do when the batch was **drawn at
random**.  Data often lies sorted on the disk: all zeros, then all ones.  Whoever forgets to shuffle gives the
layer batches of one class, and a mean that *is* the class.
"""

import numpy as np

import pybn
from pybn import layers, update_averages
from pybn.lessons import experiments, lesson
from pybn.lessons.batches import FewClasses

drawings = lesson.drawings()
SEEDS = lesson.seeds()

# %%
# What normalizing takes away
# ---------------------------
# A network learns the digits from shuffled batches.  Then we look at what stands in front of its first normalization:
# for each feature, how far the mean of a batch lies from the mean of the data, in standard deviations.


def batch_normalized(ctx, images):
    x = layers.flatten(images)
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(pybn.batch_norm(here, x, momentum=0.9))
    return layers.dense(ctx.in_scope("output"), x, 10)


def first_layer(trainer, images):
    """What the first normalization receives, in standard deviations from its mean."""
    weights = trainer.context.get_variable("/layer_0/dense/weights").value
    values = images.reshape(len(images), -1) @ weights
    return (values - values.mean(axis=0)) / values.std(axis=0)


def trained_on_shuffled(seed):
    """The digits, and a network that learned from shuffled batches of 32."""
    data = experiments.digits(seed, batch_size=32)
    trainer = experiments.trainer(seed, batch_normalized)
    pybn.Loop(trainer).run_epochs(data.train, 5)
    return data, trainer


# %%

data, trainer = trained_on_shuffled(SEEDS[0])
values, classes = first_layer(trainer, data.whole.inputs), data.whole.labels
rng = np.random.default_rng(SEEDS[0])


def mean_of_32(chosen, replace):
    """The mean of each feature over a batch that is drawn from the chosen examples."""
    return values[rng.choice(chosen, 32, replace=replace)].mean(axis=0)


of_each_class = [np.flatnonzero(classes == k) for k in range(10)]
shuffled = np.array([mean_of_32(len(values), replace=False) for _ in range(40)])
by_class = np.array(
    [[mean_of_32(each, replace=True) for _ in range(4)] for each in of_each_class]
)

feature = np.argmax(by_class.var(axis=(0, 1)))
spread = shuffled[:, feature].std()
drawings.batch_means_by_class(by_class[:, :, feature], spread, feature)

# %%
# Everything that lies outside the grey band is knowledge about the class, and exactly that is subtracted.
# So the *same weights* on the *same test images* must fail when they are normalized with sorted batches:


def accuracies(seed):
    """On the test digits: with the averages, with batch statistics of shuffled, and of
    sorted batches.
    """
    data, trainer = trained_on_shuffled(seed)
    shuffled = FewClasses(
        data.test.inputs, data.test.labels, batch_size=32, classes=10, rng=seed
    )
    by_class = FewClasses(
        data.test.inputs, data.test.labels, batch_size=32, classes=1, rng=seed
    )
    both = [
        experiments.evaluate_both_ways(trainer, each) for each in (shuffled, by_class)
    ]
    return [
        both[1].averages["accuracy"],
        both[0].batch["accuracy"],
        both[1].batch["accuracy"],
    ]


# %%

# Folded: the check that sorted batches bring the same network to chance
for seed in SEEDS:
    averages, shuffled, by_class = accuracies(seed)
    assert min(averages, shuffled) > 0.9
    assert by_class < 0.25
    print(
        f"seed {seed}: accuracy {shuffled:.3f} with the statistics of shuffled "
        f"batches,\n"
        f"  {by_class:.3f} with those of batches of one class, and with the averages "
        f"{averages:.3f} on the same batches"
    )

# %%
# This is what happens to who evaluates in training mode on a sorted test set.
#
# Training on sorted batches
# --------------------------
# Now the network learns from batches of one class, of two, or of all ten.  Is it the normalization that suffers, or is
# it gradient descent, which sees one class at a time?  A network with *layer normalization*, which never looks at
# another image, answers that: it gets the same batches in the same order.


def layer_normalized(ctx, images):
    """The same, but each image is normalized over its own features."""
    x = layers.flatten(images)
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.dense(here, x, 64, use_bias=False)
        x = layers.relu(layers.layer_norm(here, x))
    return layers.dense(ctx.in_scope("output"), x, 10)


def learn(seed, model, classes, update=False):
    """Accuracy on the test digits after eight epochs of batches of so many classes."""
    data = experiments.digits(seed)
    trainer = experiments.trainer(seed, model)
    pybn.Loop(trainer).run_epochs(
        FewClasses(data.whole.inputs, data.whole.labels, 32, classes, rng=seed), 8
    )
    before = trainer.eval(data.test)["accuracy"]
    updated = update_averages(trainer, data.whole)
    return before, trainer.eval(data.test)["accuracy"] if updated else before


# %%

groups = (1, 2, 10)
normalized = np.array(
    [[learn(seed, batch_normalized, k) for k in groups] for seed in SEEDS]
)
of_layer = np.array(
    [[learn(seed, layer_normalized, k)[0] for k in groups] for seed in SEEDS]
)

curves = {
    "batch normalization": normalized[..., 0],
    "the same, after update_averages": normalized[..., 1],
    "layer normalization": of_layer,
}
drawings.accuracy_by_classes_in_a_batch(groups, curves)

# %%

# Folded: the check that one class in a batch is chance, but for layer normalization
sorted_batches, after_update, control = (
    normalized[:, 0, 0],
    normalized[:, 0, 1],
    of_layer[:, 0],
)
assert np.all(control > 0.8)
assert np.all(np.maximum(sorted_batches, after_update) < 0.25)
assert np.all(normalized[:, -1] > 0.93)
for row, seed in enumerate(SEEDS):
    print(
        f"seed {seed}, batches of one class: accuracy {sorted_batches[row]:.3f}, "
        f"{after_update[row]:.3f} after update_averages;\n"
        f"  {control[row]:.3f} with layer normalization; {normalized[row, -1, 0]:.3f} "
        f"with all classes in a batch"
    )

# %%
# With one class in a batch, batch normalization does no better than chance, and exact averages cannot help: the
# *weights* learned from images that had lost the difference between the classes.  Two classes in a batch show one such
# difference at a time, and that is already most of it.  So: shuffle; and where examples come in groups (frames of a
# video, crops of one image, the scans of one patient), mix the groups.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("batches")
