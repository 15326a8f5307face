"""The door for a block of code that says how layers normalize, and what a layer hands to it."""

from __future__ import annotations

import linecache

import numpy as np
import pytest

from pybn import Context, NonFiniteStatisticsError, SmallBatchWarning, batch_norm, batchnorm, ops
from pybn.arguments import Moments


@pytest.fixture
def ctx():
    return Context(0)


def test_the_innermost_block_says_how(ctx, rng):
    x = rng.standard_normal((6, 2))

    def times(factor):
        return lambda layer, x: x * factor

    with ctx.forward_pass(training=True), batchnorm.normalizing(ctx, times(2.0)):
        with batchnorm.normalizing(ctx.in_scope("anywhere"), times(3.0)):
            np.testing.assert_array_equal(batch_norm(ctx.in_scope("a"), x).value, 3 * x)
        np.testing.assert_array_equal(batch_norm(ctx.in_scope("b"), x).value, 2 * x)
        ctx.apply()
    assert [each.value for each in ctx.variables() if each.name == "avg_weight"] == [0, 0]
    with ctx.forward_pass():
        assert not np.array_equal(batch_norm(ctx.in_scope("a"), x).value, 3 * x)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_before_is_back_after_an_error(ctx, rng, error):
    def fails(layer, x):
        raise error

    with pytest.raises(error), ctx.forward_pass(), batchnorm.normalizing(ctx, fails):
        batch_norm(ctx, np.ones((2, 1)))
    with ctx.forward_pass():
        batch_norm(ctx, np.ones((2, 1)))


def test_a_strategy_of_the_layers_own_parts_is_the_mode_s(ctx, rng, backend):
    """with_batch_statistics and saw, with_averages: the same bits as without a strategy."""
    x = ops.as_node(rng.normal(2, 3, (8, 3)))
    other = Context(0)

    def by_hand(layer, x):
        if not layer.normalizes_with_batch:
            return layer.with_averages(x)
        y, batch = layer.with_batch_statistics(x)
        layer.saw(batch)
        return y

    for training in (True, False):
        with ctx.forward_pass(training=training), other.forward_pass(training=training):
            expected = batch_norm(ctx, x).value
            with batchnorm.normalizing(other, by_hand):
                np.testing.assert_array_equal(batch_norm(other, x).value, expected)
            ctx.apply()
            other.apply()
    for variable in ctx.variables():
        np.testing.assert_array_equal(other.get_variable(variable.path).value, variable.value)


@pytest.mark.parametrize("feature_axis", [-1, 1, (1, 3)])
def test_the_moments_are_those_of_the_operation(ctx, rng, backend, kernels, feature_axis):
    x = rng.normal(5, 2, (4, 3, 5, 2))
    mask_shape = np.delete(x.shape, np.atleast_1d(feature_axis))
    mask = rng.random(mask_shape) < 0.7
    seen = []

    def look(layer, x):
        seen.append(layer.moments(x))
        return x

    with ctx.forward_pass(), batchnorm.normalizing(ctx, look):
        batch_norm(ctx, x, feature_axis, mask=mask)
    expected = kernels.moments(x, feature_axis=feature_axis, mask=mask)
    assert seen[0].count == expected.count
    np.testing.assert_array_equal(seen[0].mean, expected.mean)
    np.testing.assert_array_equal(seen[0].variance, expected.variance)


def saw(ctx, *batches, training=True):
    def strategy(layer, x):
        for batch in batches:
            layer.saw(Moments(*batch))
        return x

    with ctx.forward_pass(training=training) as run, batchnorm.normalizing(ctx, strategy):
        batch_norm(ctx, np.ones((2, 1)))
        ctx.apply()
        return run.observed


def test_saw_moves_the_averages_by_what_it_is_told(ctx):
    observed = saw(ctx, (2, np.array([1.0]), np.array([0.0])), (6, np.array([5.0]), np.array([0.0])))
    assert observed["/batch_normalization"] == Moments(8, np.array([4.0]), np.array([3.0]))
    values = [float(ctx.get_variable(f"/batch_normalization/{n}").value[...].sum()) for n in ("mean", "variance")]
    assert values == [4.0, 3.0]
    assert ctx.get_variable("/batch_normalization/avg_weight").value == 1


def test_saw_refuses_what_is_not_finite(ctx):
    with pytest.raises(NonFiniteStatisticsError, match=r"/batch_normalization: .* features \[0\]"):
        saw(ctx, (2, np.array([np.nan]), np.array([1.0])))
    assert ctx.get_variable("/batch_normalization/avg_weight").value == 0


def test_a_batch_of_one_warns_at_the_line_that_built_the_layer(ctx):
    with pytest.warns(SmallBatchWarning, match="one element per feature") as caught:
        saw(ctx, (1, np.array([1.0]), np.array([0.0])))
    (warning,) = caught
    assert warning.filename == __file__
    assert "batch_norm(ctx, np.ones" in linecache.getline(__file__, warning.lineno)
