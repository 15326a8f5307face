"""What a step leaves in memory: plain arrays, and no node."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import pybn
from pybn import (
    Context,
    InMemoryDataset,
    Node,
    Trainer,
    batchnorm,
    losses,
    ops,
    optimizers,
)
from tests.support.networks import assert_close, chain, examples, model, trained

pytestmark = pytest.mark.usefixtures("backend")


def nodes():
    """How many there are (by type: asking a proxy for its class may make it load a module)."""
    return sum(type(each) is Node for each in gc.get_objects())


def test_no_node_outlives_its_step(rng):
    """As many nodes live after twenty steps as after two; averages and pending updates hold none."""
    subject = trained(model(batchnorm, chain), InMemoryDataset(*examples(rng), 12), epochs=1)
    inputs, labels = examples(rng)

    def live(steps):
        for _ in range(steps):
            subject.train_step(inputs, labels)
            subject.eval_step(inputs, labels)
        gc.collect()
        return nodes()

    assert live(2) == live(20)


def test_no_node_waits_for_the_collector(rng):
    """A step makes no cycle of nodes: they go when the loss goes."""
    subject = trained(model(batchnorm, chain), InMemoryDataset(*examples(rng), 12), epochs=1)
    inputs, labels = examples(rng)
    gc.collect()
    gc.disable()
    try:
        before = nodes()
        for _ in range(5):
            subject.train_step(inputs, labels)
        after = nodes()
    finally:
        gc.enable()
    assert after <= before + len(subject.context.variables())


def test_observed(rng):
    """The trainer keeps what each layer saw in the last step, as plain arrays."""
    inputs, labels = examples(rng)

    def run(ctx, x):
        return pybn.layers.dense(ctx, batchnorm.batch_norm(ctx.in_scope("first"), x), 2)

    subject = Trainer(Context(), run, losses.mean_squared_error, optimizers.SGD(0.1))
    subject.train_step(inputs, labels)
    (seen,) = subject.observed.values()
    assert list(subject.observed) == ["/first/batch_normalization"]
    assert seen.count == len(inputs)
    assert_close(seen.mean, inputs.mean(0), "mean")
    assert_close(seen.variance, inputs.var(0), "variance")
    assert not any(isinstance(each, Node) for each in seen)
    assert ops.as_node(seen.mean).dtype == np.float64
