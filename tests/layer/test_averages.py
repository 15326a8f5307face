"""The moving averages: by which rule they move."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pybn import Context, batchnorm
from tests.support import arrays
from tests.support.networks import PATH, assert_close, at_root, in_training

pytestmark = pytest.mark.usefixtures("backend")


def closed_form(values, momentum):
    """The average after all of `values`, exactly: the mean of the first 1 / (1 - momentum), then exponential."""
    m, count = Fraction(momentum), len(values)
    plain = count if m == 1 else min(count, int(1 / (1 - m)))
    late = [m ** (count - t) * (1 - m) * values[t - 1] for t in range(plain + 1, count + 1)]
    return m ** (count - plain) * sum(values[:plain]) / plain + sum(late)


@pytest.mark.parametrize("momentum", [0, 0.1, 0.5, 0.9, 0.99, 0.999, 1])
@pytest.mark.parametrize("dtype", arrays.NAMES)
def test_rule(bn, momentum, dtype):
    """M and V by the closed form.  x is of small integers and n = 4, so each batch's statistics are exact."""
    steps = 130
    rng = np.random.default_rng(3)
    batches = rng.integers(-8, 9, (steps, 4, 3))
    ctx = Context()
    for batch in batches:
        in_training(bn, ctx, batch.astype(dtype), momentum=momentum)
    mean, variance, weight = at_root(ctx)
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
            assert_close(at_root(ctx)[0], [average], f"momentum {momentum}", relative=1e-15)
            assert_close(at_root(ctx)[1], [1], f"momentum {momentum}", relative=1e-15)


def test_default_momentum(bn):
    """Batch number 101 is the first to weigh 0.01 and not 1/w."""
    ctx = Context()
    for mean in [0.0] * 100 + [1.0] * 50:
        in_training(bn, ctx, np.full((2, 1), mean))
    assert_close(at_root(ctx)[0], [1 - 0.99**50], "default momentum 0.99")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_small_changes_are_kept(bn, dtype):
    """At w = 4096, where float16 counts no further, and with changes that its mean could not show."""
    ctx = Context()
    in_training(bn, ctx, np.array([[1], [3]], dtype))
    ctx.get_variable(PATH + "avg_weight").value = 4096
    in_training(bn, ctx, np.array([[1], [3.001953125]], dtype), momentum=1.0)
    assert at_root(ctx)[2] == 4097
    assert_close(at_root(ctx)[0], [2 + 0.0009765625 / 4097], "mean", relative=1e-15)


def test_before_the_first_batch():
    """M = 0, V = 1, w = 0, so evaluation is x / sqrt(1 + epsilon)."""
    ctx = Context()
    with ctx.forward_pass():
        y = batchnorm.batch_norm(ctx, np.array([[2.0], [3.0]]), epsilon=3.0)
    np.testing.assert_array_equal(y.value, [[1.0], [1.5]])
    assert at_root(ctx) == (0, 1, 0)


def test_effective_momentum():
    """min(momentum, 1 - 1/w)."""
    assert batchnorm.effective_momentum(1, 0.99) == 0
    assert batchnorm.effective_momentum(4, 0.99) == 0.75
    assert batchnorm.effective_momentum(1000, 0.99) == 0.99
    assert batchnorm.effective_momentum(4, 0.5) == 0.5
