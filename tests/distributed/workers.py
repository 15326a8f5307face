"""What the tests have each worker do, simulated or under MPI: train, and fail."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest

import pybn
from pybn import Context, Trainer, batchnorm, datasets, layers, losses, metrics, optimizers
from pybn.distributed import DataParallelTrainer, WorkerFailedError

SHARES = (0.5, 0.3, 0.15, 0.05, 0.0)
BATCH = 100


@functools.cache
def digits(dtype):
    images, labels = datasets.digits()
    return images.astype(dtype), labels


def model(ctx, images):
    x = layers.flatten(images)
    for name in ("first", "second"):
        x = layers.dense(ctx.in_scope(name), x, 16, use_bias=False)
        x = layers.relu(batchnorm.new(ctx.in_scope(name), x).momentum(0.9).done())
    return layers.dense(ctx.in_scope("readout"), x, 10)


def context():
    ctx = Context(0)
    ctx.set_param("l2_regularization", 1e-3)
    return ctx


def arguments(optimizer=None):
    return (
        context(),
        model,
        losses.softmax_cross_entropy,
        optimizer or optimizers.SGD(0.1, 0.9),
        {"accuracy": metrics.accuracy},
    )


def batch(step, dtype):
    images, labels = digits(dtype)
    here = slice(step % 17 * BATCH, (step % 17 + 1) * BATCH)
    return images[here], labels[here]


def part_of(arrays, comm, shares=SHARES):
    shares = np.array(shares[: comm.size]) / sum(shares[: comm.size])
    cuts = np.round(np.cumsum(shares) * len(arrays[0])).astype(int)[:-1]
    return [np.split(array, cuts)[comm.rank] for array in arrays]


def state(ctx):
    return {variable.path: variable.value.copy() for variable in ctx.variables()}


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for path in a:
        assert a[path].tobytes() == b[path].tobytes(), path


def train_here(comm, steps, dtype, optimizer=optimizers.SGD):
    """What a worker is told in each step, and its variables afterwards."""
    trainer = DataParallelTrainer(comm, *arguments(optimizer(0.05)))
    told = [trainer.train_step(*part_of(batch(step, dtype), comm)) for step in range(steps)]
    return told, state(trainer.context)


def assert_like_one_process(told_there, there, steps, dtype, optimizer=optimizers.SGD):
    """Sums in another order differ by a unit or two, and training carries that on: about 100 after sixty steps.

    A part that is weighted wrongly is off by percents.
    """
    bound = 100 * np.finfo(dtype).eps
    alone = Trainer(*arguments(optimizer(0.05)))
    told = [alone.train_step(*batch(step, dtype)) for step in range(steps)]
    for path, value in state(alone.context).items():
        np.testing.assert_allclose(there[path], value, rtol=bound, atol=bound, err_msg=path)
    for mine, theirs in zip(told, told_there, strict=True):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose(list(theirs.values()), list(mine.values()), rtol=bound, atol=bound)


class Broken(RuntimeError):
    """What a model raises."""


class Unsendable(RuntimeError):
    def __reduce__(self):
        raise pickle.PicklingError("not this one")


FAULTS = {
    "a model that raises": (Broken("no more"), Broken, "no more"),
    "an interrupt": (KeyboardInterrupt(), WorkerFailedError, "rank 1 was ended by KeyboardInterrupt"),
    "an exit": (SystemExit(3), WorkerFailedError, "rank 1 was ended by SystemExit"),
    "what cannot be sent": (Unsendable("odd"), WorkerFailedError, "rank 1 failed: Unsendable: odd"),
}


def fail_here(comm, fault, where):
    """A step in which the worker of rank 1 fails at a place in its model, between two in which nobody does.

    `where`: before the first exchange of a layer, between two, or after the last.
    """
    error, told, text = FAULTS[fault]
    broken = {"now": False}

    def faulty(ctx, images):
        def perhaps(place):
            if broken["now"] and comm.rank == 1 and place == where:
                raise error

        perhaps("before")
        x = layers.dense(ctx.in_scope("first"), layers.flatten(images), 16)
        x = pybn.batch_norm(ctx.in_scope("first"), x)
        perhaps("between")
        x = pybn.batch_norm(ctx.in_scope("second"), x)
        perhaps("after")
        return layers.dense(ctx.in_scope("readout"), x, 10)

    ctx = Context(0)
    trainer = DataParallelTrainer(comm, ctx, faulty, losses.softmax_cross_entropy, optimizers.SGD(0.1, 0.9))
    trainer.train_step(*part_of(batch(0, np.float32), comm))
    before = state(ctx)
    broken["now"] = True
    with pytest.raises(type(error) if comm.rank == 1 else told, match=None if comm.rank == 1 else text):
        trainer.train_step(*part_of(batch(1, np.float32), comm))
    assert_same_state(state(ctx), before)
    assert not ctx.is_training
    broken["now"] = False
    trainer.train_step(*part_of(batch(1, np.float32), comm))  # and all goes on
    return state(ctx)
