"""Ghost batches: each part as if it had come alone, the averages as if all had come together."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pybn
from pybn import Context, Node, SmallBatchWarning, batchnorm, gradient, initializers, ops
from pybn.batchnorm.ghosts import in_parts
from tests.support.derivatives import check_orders

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = [((6, 3), -1), ((7, 3), -1), ((5, 2, 3), -1), ((7, 3, 2, 2), 1), ((5, 2, 4, 3), (1, 3))]


def alone(x, size, feature_axis, epsilon=1e-3):
    """Each part by NumPy."""
    axes = {axis % x.ndim for axis in np.atleast_1d(feature_axis)}
    reduced = tuple(axis for axis in range(x.ndim) if axis not in axes)
    parts = [x[i : i + size] for i in range(0, len(x), size)]
    return np.concatenate(
        [(p - p.mean(reduced, keepdims=True)) / np.sqrt(p.var(reduced, keepdims=True) + epsilon) for p in parts]
    )


@pytest.mark.parametrize(("shape", "feature_axis"), SHAPES)
@pytest.mark.parametrize("size", [2, 3, 100])
@pytest.mark.filterwarnings("ignore::pybn.SmallBatchWarning")
def test_each_part_as_if_alone_and_the_averages_of_all(rng, shape, feature_axis, size):
    x = rng.normal(3, 2, shape)
    ctx, whole = Context(0), Context(0)
    with ctx.forward_pass(training=True) as run, whole.forward_pass(training=True) as other:
        y = pybn.batch_norm(ctx, x, feature_axis, ghost_batch=size)
        pybn.batch_norm(whole, x, feature_axis)
        ctx.apply()
        whole.apply()
    assert run.observed["/batch_normalization"].count == other.observed["/batch_normalization"].count
    np.testing.assert_allclose(y.value, alone(x, size, feature_axis), rtol=0, atol=1e-13)
    for name in ("mean", "variance", "avg_weight"):
        found, expected = (each.get_variable(f"/batch_normalization/{name}").value for each in (ctx, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("shape", [(4, 3), (5, 3), (5, 2, 3)])
def test_gradients_to_the_second_order(rng, shape):
    """Of x, scale and offset, which every part shares; two parts, and two and a smaller one."""
    x, scale, offset = rng.standard_normal(shape), rng.standard_normal(3), rng.standard_normal(3)

    def function(x, scale, offset):
        return in_parts(x, scale, offset, 2, -1, 0.1)[0]

    if shape == (5, 3):  # a part of one row: its output is the offset, whatever x is
        dy = rng.standard_normal(shape)
        nodes = [Node(each) for each in (x, scale, offset)]
        dx, dscale, doffset = gradient(ops.sum(function(*nodes) * dy), nodes)
        assert not dx.value[4].any()
        np.testing.assert_allclose(doffset.value, dy.sum(0), rtol=1e-13)
        np.testing.assert_allclose(dscale.value, (dy[:4] * alone(x[:4], 2, -1, 0.1)).sum(0), rtol=1e-12, atol=1e-14)
    else:
        check_orders(function, [x, scale, offset], rng, orders=2)


def test_evaluation_uses_the_averages_and_knows_no_parts(rng):
    ctx, x = Context(0), rng.standard_normal((6, 3))
    np.testing.assert_array_equal(pybn.batch_norm(ctx, x, ghost_batch=2).value, pybn.batch_norm(Context(0), x).value)


def test_the_parts_share_the_learned_scale(rng):
    ctx, x = Context(0).with_initializer(initializers.zeros, "scale"), rng.standard_normal((6, 3))
    with ctx.forward_pass(training=True):
        assert not pybn.batch_norm(ctx, x, ghost_batch=2).value.any()
        assert [v.shape for v in ctx.variables()] == [(3,), (3,), (3,), (3,), ()]


@pytest.mark.parametrize(("rows", "size", "warned"), [(4, 1, True), (5, 2, True), (4, 2, False), (1, 8, True)])
def test_a_part_of_one_element_is_told(rng, rows, size, warned):
    ctx = Context(0)
    with warnings.catch_warnings(record=True) as told, ctx.forward_pass(training=True):
        warnings.simplefilter("always")
        pybn.batch_norm(ctx, rng.standard_normal((rows, 3)), ghost_batch=size)
    assert [each.category for each in told] == [SmallBatchWarning] * warned


def test_nan_in_one_part_is_named_and_moves_nothing(rng):
    ctx, x = Context(0), rng.standard_normal((6, 3))
    x[4, 1] = np.nan
    with ctx.forward_pass(training=True), pytest.raises(pybn.NonFiniteStatisticsError, match=r"features \[1\]"):
        pybn.batch_norm(ctx, x, ghost_batch=2)


@pytest.mark.parametrize(
    ("size", "error", "text"),
    [
        (0, ValueError, "ghost_batch must be 1 example or more, got 0"),
        (-2, ValueError, "ghost_batch must be 1 example or more, got -2"),
        (2.0, TypeError, "ghost_batch must be a number of examples, got 2.0"),
        (True, TypeError, "ghost_batch must be a number of examples, got True"),
    ],
)
def test_sizes_that_are_none(size, error, text):
    with pytest.raises(error, match=text):
        batchnorm.new(Context(0), np.ones((4, 3))).ghost_batch(size)


def test_what_it_does_not_go_with():
    x = np.ones((4, 3))
    with pytest.raises(ValueError, match="ghost_batch splits axis 0, which feature_axis=0 keeps apart already"):
        batchnorm.new(Context(0), x, 0).ghost_batch(2)
    with pytest.raises(ValueError, match="ghost_batch and mask do not go together"):
        pybn.batch_norm(Context(0), x, mask=[True, True, True, False], ghost_batch=2)


def test_an_empty_batch_is_refused_as_ever():
    ctx = Context(0)
    with ctx.forward_pass(training=True), pytest.raises(ValueError, match="element"):
        pybn.batch_norm(ctx, np.ones((0, 3)), ghost_batch=2)
