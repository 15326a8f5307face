"""`reset_weights`: the next batch replaces the averages, whatever they were."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, batchnorm
from tests.support.networks import PATH, assert_close, at_root, in_training

pytestmark = pytest.mark.usefixtures("backend")


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
    assert at_root(ctx) == (2, 1, 1)
