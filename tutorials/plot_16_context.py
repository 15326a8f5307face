r"""
.. _lesson-context:

A convolutional network, set from outside
=========================================

*How does one try another normalization, another optimizer, another rate, without touching the model?*
About 20 minutes.  :ref:`lesson-update-averages` comes before.

The example "cifar" of GoMLX is a network of six convolutions and a dense layer, with a normalization behind each, whose
settings are parameters of the context.  This is its twin for the packaged digits: the same blocks on images of 8 by 8,
narrower, so that it trains in seconds.  The page "From GoMLX" has the names of both.
"""

import tempfile
import warnings

import pybn
from pybn import layers, losses, metrics, ops, optimizers, schedules
from pybn.lessons import experiments, lesson

drawings = lesson.drawings()
SEEDS = lesson.seeds()
STEPS = 90

# %%
# The model knows no numbers
# --------------------------
# ``normalize``, ``activation`` and ``dropout`` read the context.  Each layer has a scope of its own, so any of them can
# be set otherwise: ``ctx.in_scope("dense").set_param("dropout_rate", 0.5)``.


def model(ctx, images):
    """Three blocks of two convolutions, a dense layer, ten logits; seven norms."""
    x = ops.reshape(images, (-1, 8, 8, 1))
    for block, filters in enumerate((4, 8, 16)):
        for half in "ab":
            here = ctx.in_scope(f"block_{block}{half}")
            x = layers.activation(here, layers.conv2d(here, x, filters))
            x = layers.normalize(here, x)
        x = layers.dropout(ctx.in_scope(f"block_{block}"), layers.max_pool(x))
    here = ctx.in_scope("dense")
    x = layers.activation(here, layers.dense(here, layers.flatten(x), 32))
    x = layers.dropout(here, layers.normalize(here, x))
    return layers.dense(ctx.in_scope("readout"), x, 10)


SETTINGS = {
    "normalization": "batch",
    "activation": "relu",
    "dropout_rate": 0.05,
    "optimizer": "adamw",
    "learning_rate": 0.03,
    "cosine_schedule_steps": STEPS,
}

# %%
# A run that ends half way, and goes on
# -------------------------------------
# Every 15 steps a checkpoint is written, and the last two are kept.  After half of the steps the process ends.  The
# next one loads the newest: variables, the optimizer's memory, parameters, the global step, so the rate goes on along
# its cosine, and the random numbers, so dropout draws what it would have drawn.


def begin(seed, folder, **changes):
    """What a process makes first: a loop, the data, and a list for the points."""
    ctx = pybn.Context(rng=seed)
    ctx.set_params(SETTINGS | changes)
    kept = pybn.Checkpoints(ctx, folder, keep=2)
    kept.load()
    optimizer = optimizers.from_context(ctx)
    measured = {"accuracy": metrics.accuracy}
    loss = losses.softmax_cross_entropy
    loop = pybn.Loop(pybn.Trainer(ctx, model, loss, optimizer, measured))
    data, points = experiments.digits(seed, 32, examples=640), []

    def point(loop, metrics):
        rate = schedules.rate_at(optimizer.learning_rate, loop.step - 1)
        test = loop.trainer.eval(data.test)
        points.append((loop.step, metrics["loss"], test["loss"], rate))

    pybn.exponential_callback(loop, start=1, factor=2, hook=point)
    pybn.every_n_steps(loop, 15, kept.on_step, priority=100)
    return loop, data, points


# %%
# Points to plot are taken at steps that lie further and further apart.  At the end the averages are updated.


def run(seed):
    """Half of the steps, another process, the other half."""
    with tempfile.TemporaryDirectory() as folder:
        loop, data, points = begin(seed, folder)
        loop.run_steps(data.train, STEPS // 2)
        loop, data, more = begin(seed, folder)
        loop.run_steps(data.train, STEPS - loop.step)
    before = loop.trainer.eval(data.test)
    pybn.update_averages(loop.trainer, data.whole)
    return loop.trainer, points + more, before, loop.trainer.eval(data.test)


found = {seed: run(seed) for seed in SEEDS}

# %%
# The points of the first seed.  The loss on the test digits is that of evaluation, which normalizes with the averages:
# these are late, as long as the weights move, and the update at the end is worth a good part of what is left.

_, points, _, after = found[SEEDS[0]]
drawings.a_run_that_goes_on(points, after["loss"], STEPS)

# %%

# Folded: the check of the norms, of the rate and of what the update won
cosine = schedules.Cosine(0.03, STEPS)
for seed, (trainer, points, before, after) in found.items():
    averaged = [
        each for each in trainer.context.variables() if each.name == "avg_weight"
    ]
    assert len(averaged) == 7
    # The second process began where the cosine of the first one was, not at its start.
    assert [each[3] for each in points] == [cosine(each[0] - 1) for each in points]
    assert after["loss"] < before["loss"]
    assert after["accuracy"] > 0.6
    print(
        f"seed {seed}: {before['accuracy']:.3f} of the test digits right, "
        f"{after['accuracy']:.3f} after the update; "
        f"loss {before['loss']:.2f}, {after['loss']:.2f}"
    )

# %%
# A letter too few
# ----------------
# A parameter that nothing reads changes nothing, silently, which is the price of settings by name.  So the first step
# of a training tells of a key that nobody asked for while one like it, which was asked for, is not set.

with (
    warnings.catch_warnings(record=True) as caught,
    tempfile.TemporaryDirectory() as folder,
):
    warnings.simplefilter("always")
    loop, data, _ = begin(SEEDS[0], folder, cosine_schedule_min_learning_rat=0.001)
    loop.run_steps(data.train, 1)

# %%

# Folded: the check that it is told
assert "'cosine_schedule_min_learning_rate', which was" in str(caught[0].message)
print(caught[0].message)

# %%
# Now change a word of ``SETTINGS``: ``"layer"`` or ``"none"`` for the normalization, ``"swish"`` for the activation,
# ``"adam"`` for the optimizer.  The model is not touched.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("context")
