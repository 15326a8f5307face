"""The moving averages: by which rule they move, and when."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, batchnorm
from tests.layer import averages_checks as checks
from tests.layer.averages_checks import state
from tests.support.networks import in_training

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("momentum", [0, 0.1, 0.5, 0.9, 0.99, 0.999, 1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rule(momentum, dtype):
    checks.check_rule(batchnorm, momentum, dtype)


def test_worked_example():
    checks.check_worked_example(batchnorm)


def test_default_momentum():
    checks.check_default_momentum(batchnorm)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_small_changes_are_kept(dtype):
    checks.check_small_changes_are_kept(batchnorm, dtype)


def test_one_move_a_step():
    checks.check_one_move_a_step(batchnorm)


def test_nothing_else_moves():
    checks.check_nothing_else_moves(batchnorm)


def test_pooled_uses():
    checks.check_pooled_uses(batchnorm)


def test_applied_once():
    checks.check_applied_once(batchnorm)


def test_abandoned_steps():
    checks.check_abandoned_steps(batchnorm)


def test_interrupted_between_assignments():
    checks.check_interrupted_between_assignments(batchnorm)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_statistics(value):
    checks.check_non_finite_statistics(batchnorm, value)


def test_reset():
    checks.check_reset(batchnorm)


def test_reset_without_a_layer():
    """Nothing to reset, nothing done."""
    ctx = Context()
    kept = ctx.variable("avg_weight", (), np.float64, lambda *_: np.array(2.0))
    batchnorm.reset_weights(ctx)
    assert kept.value == 2


def test_first_values_leave_no_trace():
    checks.check_first_values_leave_no_trace(batchnorm)


def test_before_the_first_batch():
    """M = 0, V = 1, w = 0, so evaluation is x / sqrt(1 + epsilon)."""
    ctx = Context()
    with ctx.forward_pass():
        y = batchnorm.batch_norm(ctx, np.array([[2.0], [3.0]]), epsilon=3.0)
    np.testing.assert_array_equal(y.value, [[1.0], [1.5]])
    assert state(ctx) == (0, 1, 0)


def test_pooled_to_infinity():
    checks.check_pooled_to_infinity(batchnorm)


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
