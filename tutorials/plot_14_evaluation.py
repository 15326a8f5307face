r"""
.. _lesson-evaluation:

Why is my evaluation worse?
===========================

*Training went well and evaluation did not: which of five reasons is it, and what helps?*  About 20 minutes.
:ref:`lesson-update-averages` comes before.

In training a layer normalizes with its batch, in evaluation with its averages; so a network has two forms, and only one
of them was trained.  ``pybn.study.examine`` takes the way from the one to the other in steps, says what each costs, and
names what it finds.  Here are five ill networks: the report on each, and the cure.
"""

import numpy as np

import pybn
from pybn import layers
from pybn.lessons import experiments, lesson, trials
from pybn.lessons.batches import FewClasses
from pybn.study import examine

drawings = lesson.drawings()
SEEDS = lesson.seeds()


def model(frozen=False):
    """Two blocks of dense, batch norm and relu."""

    def forward(ctx, images):
        x = layers.flatten(images)
        for index in range(2):
            here = ctx.in_scope(f"layer_{index}")
            x = layers.dense(here, x, 32, use_bias=False)
            x = layers.relu(pybn.batch_norm(here, x, frozen_averages=frozen))
        return layers.dense(ctx.in_scope("output"), x, 10)

    return forward


def fresh(seed, **options):
    """The digits and a trainer; a recorder watches."""
    return experiments.recorded(seed, model(), **{"every": 10} | options)


# %%
# Five patients
# -------------
# Each function trains one and returns it, with the data that it was trained on.


def left_behind(seed):
    """The learning rate was raised at the end: the weights ran away."""
    run = fresh(seed).steps(100)
    run.trainer.optimizer.learning_rate = 2.0
    return run.steps(10), run.digits.train


def never_updated(seed):
    """The weights were loaded from a file, the averages were not."""
    run = fresh(seed).steps(100)
    for variable in run.trainer.context.variables():
        if variable.name in ("mean", "variance", "avg_weight"):
            start = float(variable.name == "variance")
            variable.value = np.full(variable.shape, start)
    return run, run.digits.train


def sorted_data(seed):
    """Nobody shuffled: each batch holds one class."""
    run = fresh(seed)
    whole = run.digits.whole
    by_class = FewClasses(whole.inputs, whole.labels, 32, classes=1, rng=seed)
    run.loop.run_steps(by_class, 100)
    return run, by_class


# %%


def batches_of_two(seed):
    """The memory of the device allowed no more."""
    run = fresh(seed, learning_rate=0.02, batch_size=2, every=50)
    return run.steps(300), run.digits.train


def other_scanner(seed):
    """The averages were frozen for fine-tuning; the new images have less contrast."""
    run = fresh(seed).steps(100)
    run.trainer.model_fn = model(frozen=True)
    return run, trials.with_contrast(run.digits.train, 0.3, 0.5)


PATIENTS = {
    left_behind: "lagging",
    never_updated: "never_updated",
    sorted_data: "sorted_batches",
    batches_of_two: "small_batches",
    other_scanner: "frozen_on_other_data",
}

# %%
# The report on the first
# -----------------------
# Five rows take us from the loss in training to that in evaluation; the one that is large tells where to look.

run, data = left_behind(SEEDS[0])
report = examine(run.trainer, data)
print(report.text)

# %%
# The recorder saw it happen: how far each layer's averages are from the statistics of all the data, step by step.  At
# step 100 the rate goes up.

drawings.a_training_whose_rate_rises(run.statistics, run.data, step=100)

# %%
# What the reports say of all five
# --------------------------------


def what_it_says(report, kind):
    """The sentence of the finding of that kind."""
    return next(each.sentence for each in report.findings if each.kind == kind)


found = {}
for patient, kind in PATIENTS.items():
    for seed in SEEDS:
        run, data = patient(seed)
        found[patient, seed] = run, data, examine(run.trainer, data)
    print(f"{patient.__name__}: {what_it_says(found[patient, SEEDS[0]][2], kind)}\n")

# %%

# Folded: the check that each report names what its patient has, for every seed
for (patient, seed), (_, _, report) in found.items():
    kinds = {each.kind for each in report.findings}
    assert PATIENTS[patient] in kinds, (patient, seed, kinds)
print(f"all of {len(found)} reports name what their patient has")

# %%
# The cures
# ---------
# Three networks have good weights and wrong averages: one pass over their data is the cure.  The other two learned from
# batches that were no samples of the data.  No average mends a weight: they are trained again, on better batches.


def updated(run, data):
    """Exact averages of the data that evaluation will be on; none of them frozen."""
    run.trainer.model_fn = model(frozen=False)
    pybn.update_averages(run.trainer, data)
    return run


def cured(patient, run, data, seed):
    """By an update, or by another training."""
    if patient in (sorted_data, batches_of_two):
        return fresh(seed).steps(100)
    return updated(run, data)


def test_accuracy(patient, run):
    """On digits that are like the patient's data."""
    test = run.digits.test
    if patient is other_scanner:
        test = trials.with_contrast(test, 0.3, 0.5)
    return run.trainer.eval(test)["accuracy"]


accuracy = {}
for (patient, seed), (run, data, _) in found.items():
    before = test_accuracy(patient, run)
    after = test_accuracy(patient, cured(patient, run, data, seed))
    accuracy.setdefault(patient.__name__, []).append((before, after))

drawings.ill_and_cured(accuracy)

# %%

# Folded: the check that each cure helps
for patient, both in accuracy.items():
    before, after = np.transpose(both)
    print(
        f"{patient}: {before.mean():.3f}, cured {after.mean():.3f} (mean of "
        f"{len(SEEDS)} seeds)"
    )
    # The first costs loss rather than accuracy: what is left behind still points the
    # right way.
    # The second depends on how far the weights' means happen to be from 0.
    least = {"left_behind": -0.02, "never_updated": 0.0}.get(patient, 0.2)
    assert np.all(after > before + least)
costs = [found[left_behind, seed][2].checkup.losses.lag for seed in SEEDS]
assert min(costs) > 0.05
print(
    "what the averages of the first cost in loss, seed by seed: "
    + ", ".join(f"{each:.2f}" for each in costs)
)

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("evaluation")
