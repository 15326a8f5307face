"""The moving averages: by which rule they move, and when."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Variable, batchnorm, gradient, losses, ops, optimizers
from pybn.framework.train import NonFiniteLossError
from tests.support.networks import (
    ByHand,
    assert_close,
    averages,
    chain,
    examples,
    in_training,
    model,
    normalized_first,
    snapshot,
    trained,
    trainer,
    unchanged,
)

PATH = "/batch_normalization/"


def state(ctx):
    """M, V and w of the layer at the root."""
    return tuple(ctx.get_variable(PATH + name).value for name in ("mean", "variance", "avg_weight"))


def closed_form(values, momentum):
    """The average after all of `values`, exactly: the mean of the first 1 / (1 - momentum), then exponential."""
    m, count = Fraction(momentum), len(values)
    plain = count if m == 1 else min(count, int(1 / (1 - m)))
    late = [m ** (count - t) * (1 - m) * values[t - 1] for t in range(plain + 1, count + 1)]
    return m ** (count - plain) * sum(values[:plain]) / plain + sum(late)


def _built(subject, inputs, labels):
    """The context with its variables made and nothing moved."""
    subject.eval_step(inputs, labels)
    return subject.context


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


pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("momentum", [0, 0.1, 0.5, 0.9, 0.99, 0.999, 1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rule(bn, momentum, dtype):
    """M and V by the closed form.  x is of small integers and n = 4, so each batch's statistics are exact."""
    steps = 130
    rng = np.random.default_rng(3)
    batches = rng.integers(-8, 9, (steps, 4, 3))
    ctx = Context()
    for batch in batches:
        in_training(bn, ctx, batch.astype(dtype), momentum=momentum)
    mean, variance, weight = state(ctx)
    assert mean.dtype == variance.dtype == weight.dtype == np.float64
    assert weight.shape == ()
    assert weight == steps
    for feature in range(3):
        columns = [[Fraction(int(v)) for v in batch[:, feature]] for batch in batches]
        means = [sum(column) / 4 for column in columns]
        variances = [sum((v - m) ** 2 for v in column) / 4 for column, m in zip(columns, means, strict=True)]
        for actual, values in ((mean, means), (variance, variances)):
            exact = closed_form(values, momentum)
            # A step rounds 1/w, k, 1 - k, two products and their sum: six half units of the largest value.
            bound = steps * 3 * np.finfo(float).eps * float(max(map(abs, values)))
            assert abs(float(Fraction(float(actual[feature])) - exact)) <= bound, (momentum, actual[feature], exact)


def test_worked_example(bn):
    """Batch means 1, 3, 8 give 1, 2, 4 with the default momentum and 1, 2, 5 with 0.5."""
    for momentum, expected in ((0.99, (1, 2, 4)), (0.5, (1, 2, 5)), (1, (1, 2, 4)), (0, (1, 3, 8))):
        ctx = Context()
        for mean, average in zip((1, 3, 8), expected, strict=True):
            in_training(bn, ctx, np.array([[mean - 1.0], [mean + 1.0]]), momentum=momentum)
            assert_close(state(ctx)[0], [average], f"momentum {momentum}", relative=1e-15)
            assert_close(state(ctx)[1], [1], f"momentum {momentum}", relative=1e-15)


def test_default_momentum(bn):
    """Batch number 101 is the first to weigh 0.01 and not 1/w."""
    ctx = Context()
    for mean in [0.0] * 100 + [1.0] * 50:
        in_training(bn, ctx, np.full((2, 1), mean))
    assert_close(state(ctx)[0], [1 - 0.99**50], "default momentum 0.99")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_small_changes_are_kept(bn, dtype):
    """At w = 4096, where float16 counts no further, and with changes that its mean could not show."""
    ctx = Context()
    in_training(bn, ctx, np.array([[1], [3]], dtype))
    ctx.get_variable(PATH + "avg_weight").value = 4096
    in_training(bn, ctx, np.array([[1], [3.001953125]], dtype), momentum=1.0)
    assert state(ctx)[2] == 4097
    assert_close(state(ctx)[0], [2 + 0.0009765625 / 4097], "mean", relative=1e-15)


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
    mean, variance, _ = state(ctx)
    with ctx.forward_pass(training=True):
        for x in (one, other):
            y = bn.batch_norm(ctx.checked(False), x)
            assert_close(y.value, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), "each use has its own statistics")
        ctx.apply()
    assert_close(state(ctx)[0], (mean + both.mean(0)) / 2, "mean")
    assert_close(state(ctx)[1], (variance + both.var(0)) / 2, "variance")
    assert state(ctx)[2] == 2


def test_applied_once(bn):
    """What a run left is applied by one `apply`, and no second one."""
    ctx = Context()
    with ctx.forward_pass(training=True):
        bn.batch_norm(ctx, np.array([[1.0], [3.0]]))
        ctx.apply()
        ctx.apply()
    assert state(ctx)[2] == 1


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
    hold, left = Variable.hold, [0]

    def interrupted(variable, array):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        hold(variable, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Variable, "hold", interrupted)
        for at in range(1, 2 * len(subject.context.variables(trainable=True)) + 9):  # w, its velocity; M, V, w of three
            left[0] = at
            with unchanged(subject.context), pytest.raises(KeyboardInterrupt):
                subject.train_step(inputs, labels)
    subject.train_step(inputs, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_statistics(bn, value):
    """The error names the scope and the features; an infinite or NaN batch poisons nothing."""
    rng = np.random.default_rng(9)
    dataset = InMemoryDataset(*examples(rng), batch_size=6)
    subject = trained(normalized_first(bn), dataset)
    inputs, labels = next(iter(dataset))
    spoiled = inputs.copy()
    spoiled[1, 2] = spoiled[3, 0] = value
    with unchanged(subject.context), pytest.raises(bn.NonFiniteStatisticsError) as caught:
        subject.train_step(spoiled, labels)
    assert "/first/batch_normalization" in str(caught.value)
    assert "[0, 2]" in str(caught.value)


def test_reset(bn):
    """After reset_weights the next batch replaces M and V, in every layer, however its scope is spelled."""
    rng = np.random.default_rng(10)
    ctx = Context()
    places = [(ctx.in_scope("one"), {}), (ctx.in_scope("two"), {"current_scope": True}), (ctx, {})]
    xs = [rng.normal(size=(5, 2)) for _ in places]

    def one_step(xs):
        with ctx.forward_pass(training=True):
            for (place, options), x in zip(places, xs, strict=True):
                bn.batch_norm(place, x, **options)
            ctx.apply()

    for _ in range(3):
        one_step([rng.normal(size=(5, 2)) for _ in places])
    weights = ["/one/batch_normalization/", "/two/", "/batch_normalization/"]
    bystander = ctx.variable("avg_weight", (), np.float64, trainable=False, initializer=lambda *_: np.array(3.0))
    assert [ctx.get_variable(path + "avg_weight").value for path in weights] == [3, 3, 3]
    before = [ctx.get_variable(path + "mean").value.copy() for path in weights]
    bn.reset_weights(ctx.in_scope("one"))  # in and under this scope, as in GoMLX
    assert [ctx.get_variable(path + "avg_weight").value for path in weights] == [0, 3, 3]
    bn.reset_weights(ctx.in_scope("two"))
    assert [ctx.get_variable(path + "avg_weight").value for path in weights] == [0, 0, 3]
    bn.reset_weights(ctx)
    assert [ctx.get_variable(path + "avg_weight").value for path in weights] == [0, 0, 0]
    assert bystander.value == 3
    for path, kept in zip(weights, before, strict=True):
        np.testing.assert_array_equal(ctx.get_variable(path + "mean").value, kept)
    one_step(xs)
    for path, x in zip(weights, xs, strict=True):
        assert_close(ctx.get_variable(path + "mean").value, x.mean(0), path)
        assert_close(ctx.get_variable(path + "variance").value, x.var(0), path)
        assert ctx.get_variable(path + "avg_weight").value == 1


def test_reset_without_a_layer():
    """Nothing to reset, nothing done."""
    ctx = Context()
    kept = ctx.variable("avg_weight", (), np.float64, lambda *_: np.array(2.0))
    batchnorm.reset_weights(ctx)
    assert kept.value == 2


def test_first_values_leave_no_trace(bn):
    """Not even as NaN: a poisoned average is gone after reset_weights and one batch."""
    ctx = Context()
    in_training(bn, ctx, np.ones((2, 1)))
    for name in ("mean", "variance"):
        ctx.get_variable(PATH + name).value = [np.nan]
    bn.reset_weights(ctx)
    in_training(bn, ctx, np.array([[1.0], [3.0]]))
    assert state(ctx) == (2, 1, 1)


def test_before_the_first_batch():
    """M = 0, V = 1, w = 0, so evaluation is x / sqrt(1 + epsilon)."""
    ctx = Context()
    with ctx.forward_pass():
        y = batchnorm.batch_norm(ctx, np.array([[2.0], [3.0]]), epsilon=3.0)
    np.testing.assert_array_equal(y.value, [[1.0], [1.5]])
    assert state(ctx) == (0, 1, 0)


def test_pooled_to_infinity(bn):
    """Two batches, each finite, whose means are 1e200 apart: their pooled variance is not."""
    ctx = Context()
    in_training(bn, ctx, np.array([[1.0], [3.0]]))
    before = state(ctx)
    with ctx.forward_pass(training=True):
        bn.batch_norm(ctx.checked(False), np.array([[1e200], [1e200]]))
        with pytest.raises(bn.NonFiniteStatisticsError, match=r"/batch_normalization.*\[0\]"):
            bn.batch_norm(ctx.checked(False), np.array([[-1e200], [-1e200]]))
    assert state(ctx) == before


def test_non_finite_features_are_named_to_the_eighth():
    x = np.full((3, 12), np.nan)
    x[:, 5] = 1
    ctx = Context()
    with pytest.raises(batchnorm.NonFiniteStatisticsError) as caught:
        in_training(batchnorm, ctx, x)
    assert "features [0, 1, 2, 3, 4, 6, 7, 8] and 3 more" in str(caught.value)


def test_non_finite_features_of_two_axes():
    x = np.ones((3, 2, 4))
    x[1, 1, 2] = np.inf
    with pytest.raises(batchnorm.NonFiniteStatisticsError) as caught:
        in_training(batchnorm, Context(), x, feature_axis=(1, 2))
    assert "features [(1, 2)]" in str(caught.value)


def test_effective_momentum():
    """min(momentum, 1 - 1/w)."""
    assert batchnorm.effective_momentum(1, 0.99) == 0
    assert batchnorm.effective_momentum(4, 0.99) == 0.75
    assert batchnorm.effective_momentum(1000, 0.99) == 0.99
    assert batchnorm.effective_momentum(4, 0.5) == 0.5
