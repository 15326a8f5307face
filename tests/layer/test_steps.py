"""The moving averages: when they move.  Once in a training step that ends well, and never else."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, gradient, losses, ops, optimizers
from pybn.framework import store
from pybn.framework.train import NonFiniteLossError
from pybn.framework.variables import hold_all
from tests.support.networks import (
    ByHand,
    assert_close,
    at_root,
    averages,
    chain,
    examples,
    in_training,
    model,
    snapshot,
    trained,
    trainer,
    unchanged,
)

pytestmark = pytest.mark.usefixtures("backend")


class Stop(Exception):
    """Raised by what fails on purpose."""


class _Failing(optimizers.SGD):
    def __init__(self, answer):
        super().__init__(0.05, momentum=0.9)
        self._answer = answer

    def new_values(self, ctx, variables, gradients):
        return self._answer(super().new_values(ctx, variables, gradients))


def _raise(error):
    raise error


def _wrong_shape(new):
    """The last variable gets a shape that it cannot have: everything before it must not have changed."""
    return dict.fromkeys(new, np.zeros(())) | {next(reversed(new)): np.zeros((7, 7, 7))}


def _built(subject, inputs, labels):
    """The context with its variables made and nothing moved."""
    subject.eval_step(inputs, labels)
    return subject.context


def test_one_move_a_step(bn):
    """Every layer of a network moves once in each training step, to what hand computes, and together."""
    rng = np.random.default_rng(5)
    dataset = InMemoryDataset(*examples(rng), batch_size=5)
    subject = trainer(model(bn, chain, momentum=0.5))
    for number, (inputs, labels) in enumerate(dataset, start=1):
        seen = {}

        def batch(scope, x, seen=seen):
            seen[scope] = x.mean(0), x.var(0)
            return seen[scope]

        before = subject.context if number > 1 else _built(subject, inputs, labels)
        chain(ByHand(before, batch), inputs)
        previous = {scope: averages(before, scope)[:2] for scope in "abc"}
        subject.train_step(inputs, labels)
        keep = min(0.5, 1 - 1 / number)
        for scope in "abc":
            mean, variance, weight = averages(subject.context, scope)
            assert weight == number
            assert_close(mean, keep * previous[scope][0] + (1 - keep) * seen[scope][0], f"mean of {scope}")
            assert_close(variance, keep * previous[scope][1] + (1 - keep) * seen[scope][1], f"variance of {scope}")


def test_nothing_else_moves(bn):
    """Evaluations, predictions, gradient checks and runs that no step follows move nothing."""
    rng = np.random.default_rng(6)
    inputs, labels = examples(rng)
    dataset = InMemoryDataset(inputs, labels, batch_size=5)
    subject = trained(model(bn, chain), dataset)
    ctx = subject.context
    with unchanged(ctx):
        subject.eval(dataset)
        subject.eval_step(inputs, labels)
        subject.predict(inputs)
    with unchanged(ctx), bn.batch_statistics(ctx):
        subject.eval(dataset)
    with unchanged(ctx):
        for _ in range(2):
            with ctx.forward_pass(training=True):
                loss = losses.mean_squared_error(labels, subject.run_model(inputs))
                weights = [variable.node for variable in ctx.variables(trainable=True)]
                (first, *_) = gradient(loss, weights)
                gradient(ops.sum(first * first), weights)
    with unchanged(ctx), ctx.forward_pass(training=False):
        subject.run_model(inputs)
        ctx.apply()


def test_pooled_uses(bn):
    """A layer used twice in one step saw both batches: pooled by count, one move."""
    rng = np.random.default_rng(7)
    one, other = rng.normal(3, 2, (5, 3)), rng.normal(-1, 4, (2, 3))
    both = np.concatenate([one, other])
    ctx = Context()
    in_training(bn, ctx, rng.normal(0, 1, (4, 3)))
    mean, variance, _ = at_root(ctx)
    with ctx.forward_pass(training=True):
        for x in (one, other):
            y = bn.batch_norm(ctx.checked(False), x)
            assert_close(y.value, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), "each use has its own statistics")
        ctx.apply()
    assert_close(at_root(ctx)[0], (mean + both.mean(0)) / 2, "mean")
    assert_close(at_root(ctx)[1], (variance + both.var(0)) / 2, "variance")
    assert at_root(ctx)[2] == 2


def test_applied_once(bn):
    """What a run left is applied by one `apply`, and no second one."""
    ctx = Context()
    with ctx.forward_pass(training=True):
        bn.batch_norm(ctx, np.array([[1.0], [3.0]]))
        ctx.apply()
        ctx.apply()
    assert at_root(ctx)[2] == 1


def test_abandoned_steps(bn):
    """Whatever fails in a step, nothing has changed, and the steps after it are as if it had not been."""
    rng = np.random.default_rng(8)
    dataset = InMemoryDataset(*examples(rng), batch_size=6)
    inputs, labels = next(iter(dataset))
    spoiled = inputs.copy()
    spoiled[1, 2] = np.nan
    good = model(bn, chain)

    def late(ctx, x):
        good(ctx, x)
        raise Stop

    failures = [
        ({"model_fn": late}, inputs, Stop),
        ({"loss_fn": lambda labels, predictions: _raise(Stop())}, inputs, Stop),
        ({"loss_fn": lambda labels, predictions: _raise(KeyboardInterrupt())}, inputs, KeyboardInterrupt),
        ({"loss_fn": lambda labels, p: losses.mean_squared_error(labels, p) * np.nan}, inputs, NonFiniteLossError),
        ({"optimizer": _Failing(lambda new: _raise(Stop()))}, inputs, Stop),
        ({"optimizer": _Failing(_wrong_shape)}, inputs, ValueError),
        ({}, spoiled, bn.NonFiniteStatisticsError),
        ({"metrics": {"m": lambda labels, predictions: _raise(Stop())}}, inputs, Stop),
    ]
    subject, twin = (trained(good, dataset) for _ in range(2))
    usual = dict(vars(subject))
    for changes, x, error in failures:
        vars(subject).update(changes)
        with unchanged(subject.context), pytest.raises(error):
            subject.train_step(x, labels)
        vars(subject).update({name: usual[name] for name in changes})
        for each in (subject, twin):
            each.train_step(inputs, labels)
        assert snapshot(subject.context)["variables"] == snapshot(twin.context)["variables"]


def test_interrupted_between_assignments(bn):
    """An interrupt that comes when some variables of a step have changed and others have not."""
    rng = np.random.default_rng(8)
    dataset = InMemoryDataset(*examples(rng), batch_size=6)
    inputs, labels = next(iter(dataset))
    subject = trained(model(bn, chain), dataset)
    left = [0]

    def interrupted(held):
        hold_all(dict(list(held.items())[: left[0] - 1]))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "hold_all", interrupted)
        for at in range(1, 2 * len(subject.context.variables(trainable=True)) + 9):  # w, its velocity; M, V, w of three
            left[0] = at
            with unchanged(subject.context), pytest.raises(KeyboardInterrupt):
                subject.train_step(inputs, labels)
    subject.train_step(inputs, labels)
