"""One call of an operation held against the exact answer, with the contract's bounds.

Every function takes the implementation first, so that the tests, the mutants and a student's module
pass through the same lines, and raises AssertionError; none returns an answer that a test could drop.

The bounds, in units in the last place of x's type (of float32 where x has 16 bits, before it is rounded): the mean
2 of the larger of |mean| and the deviation, the variance 4, y 3 (in float64 4) of |scale| max(|x-hat|, 1) + |offset|,
the terms of its last sum, dscale and doffset 4 of their natural size, the norm of what they sum (a random sum of n
terms is about that large), and dx 4 of the feature's largest, for every dy.  Where dx is (nearly) 0, what float64
leaves of its largest term is allowed too, 1e-14, and as often as the mean is deviations.  In float64 itself dx is
within 4 units of that term.

NumPy adds one row after another, so float64 sums of the reference lose more than that.  By Higham & Mary
(2019, theorem 2.4) the rounding of a sum of n numbers stays below lambda * sqrt(n) * u times the sum of
their sizes except with probability 2 exp(-lambda^2 / 2); lambda = 6 makes that 3e-8.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from pybn import reference
from tests.support import arrays, oracle

LAMBDA = 6


@contextmanager
def untouched(*arrays):
    """Fail if the block changes a byte of one of the arrays (None and what is no array may stand there too)."""
    kept = [a for a in arrays if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in kept]
    yield
    for array, bytes_before in zip(kept, before, strict=True):
        assert array.tobytes() == bytes_before, f"an input of shape {array.shape} was written to"


def unit(size, dtype):
    """One unit in the last place of a number of this size, as if the exponent of `dtype` had no limits; 0 for 0."""
    mantissa, exponent = np.frexp(np.abs(np.asarray(size, np.longdouble)))
    return np.where(mantissa == 0, 0, np.ldexp(np.longdouble(arrays.limits(dtype).eps), exponent - 1))


def assert_within(actual, exact, bound, what):
    """|actual - exact| <= bound everywhere; the message tells the worst place."""
    actual, exact, bound = np.broadcast_arrays(np.asarray(actual), np.asarray(exact), np.asarray(bound))
    error = np.abs(actual.astype(np.longdouble) - exact)
    bad = ~(error <= bound)  # a NaN is bad
    if bad.any():
        excess = np.where(bound > 0, error / np.where(bound > 0, bound, 1), np.where(error > 0, np.inf, 0))
        worst = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), actual.shape)
        raise AssertionError(
            f"{what} at {tuple(map(int, worst))}: {actual[worst]!r}, exactly {exact[worst]!r}; "
            f"off by {error[worst]:.3g}, bound {bound[worst]:.3g}; {bad.sum()} of {bad.size} are off"
        )


def assert_same(actual, expected, what):
    """The same value everywhere, NaN for NaN, and the same sign of zero."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    same &= np.signbit(actual) == np.signbit(expected)
    assert same.all(), f"{what}: {actual[~same][:3]}, expected {expected[~same][:3]}; {np.sum(~same)} differ"


def assert_array(actual, shape, dtype, what):
    """A plain array of this shape and, in native byte order, this dtype."""
    assert type(actual) is np.ndarray, f"{what} is a {type(actual).__name__}"
    assert actual.shape == tuple(shape), f"{what} has shape {actual.shape}, expected {tuple(shape)}"
    assert actual.dtype == np.dtype(dtype), f"{what} is {actual.dtype}, expected {np.dtype(dtype)}"


# --- one check for each operation ------------------------------------------------------------


def check_moments(kernels, x, **where):
    """Count, mean and variance against rational sums."""
    with untouched(x, where.get("mask")):
        result = kernels.moments(x, **where)
    exact = oracle.statistics(x, **where)
    assert type(result).__name__ == "Moments"
    assert type(result.count) is int
    assert result.count == exact.count
    _assert_statistics(kernels, x, exact, result.mean, result.variance, where)
    return result


def check_training(kernels, x, scale=None, offset=None, *, epsilon=1e-3, **where):
    """y, mean and variance against the exact ones, and the padding against x."""
    with untouched(x, scale, offset, where.get("mask")):
        y, mean, variance = kernels.batch_norm_training(x, scale, offset, epsilon=epsilon, **where)
    exact = oracle.statistics(x, **where)
    _assert_statistics(kernels, x, exact, mean, variance, where)
    _assert_output(kernels, y, x, exact, scale, offset, epsilon, where, training=True)
    return y, mean, variance


def check_inference(kernels, x, mean, variance, scale=None, offset=None, *, epsilon=1e-3, **where):
    """y against the exact one, and the padding against x."""
    with untouched(x, scale, offset, mean, variance, where.get("mask")):
        y = kernels.batch_norm_inference(x, scale, offset, mean, variance, epsilon=epsilon, **where)
    _assert_output(kernels, y, x, oracle.given(mean, variance), scale, offset, epsilon, where, training=False)
    return y


def check_gradient(kernels, x, dy, scale=None, *, statistics=None, epsilon=1e-3, **where):
    """dx, dscale and doffset of training against the exact ones, and dx under the mask against dy.

    `statistics` are (mean, variance) as handed in; without them those of the exact forward pass.
    """
    exact = oracle.statistics(x, **where)
    mean, variance = statistics or _floats(exact, x, where)
    with untouched(x, scale, mean, variance, dy, where.get("mask")):
        result = kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=epsilon, **where)
    _assert_gradient(kernels, result, x, dy, scale, oracle.given(mean, variance, exact.count), epsilon, where, True)
    return result


def check_halves(kernels, x, dy, mean, variance, scale=None, *, epsilon=1e-3, **where):
    """The sums in float64 and dx, against the exact ones."""
    with untouched(x, scale, mean, variance, dy, where.get("mask")):
        sums = kernels.batch_norm_gradient_sums(x, mean, variance, dy, epsilon=epsilon, **where)
        dx = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, epsilon=epsilon, **where)
    shape = oracle.columns(x, **where).feature_shape
    for name, values in (("sum of dy", sums.dy), ("sum of dy x-hat", sums.dy_normalized)):
        assert_array(values, shape, np.float64, name)
    assert_dx(dx, x, dy, mean, variance, scale, epsilon=epsilon, sums=sums, kernels=kernels, **where)


def assert_dx(dx, x, dy, mean, variance, scale=None, *, epsilon=1e-3, sums=None, kernels=None, units=4, **where):
    """dx of the whole batch against the exact one, and the sums that it was computed from."""
    exact = oracle.given(mean, variance, oracle.statistics(x, **where).count)
    _, exact_dscale, exact_doffset = oracle.gradient(x, exact, dy, scale, epsilon=epsilon, **where)
    dscale, doffset = (exact_dscale, exact_doffset) if sums is None else (sums.dy_normalized, sums.dy)
    narrow = np.promote_types(np.float32, x.dtype if scale is None else np.asarray(scale).dtype.newbyteorder("="))
    results = dx, None if scale is None else dscale.astype(narrow), doffset.astype(narrow)
    _assert_gradient(kernels or reference, results, x, dy, scale, exact, epsilon, where, True, units)


def check_inference_gradient(kernels, x, dy, mean, variance, scale=None, *, epsilon=1e-3, **where):
    """dx, dscale and doffset of inference against the exact ones."""
    with untouched(x, scale, mean, variance, dy, where.get("mask")):
        result = kernels.batch_norm_inference_gradient(x, scale, mean, variance, dy, epsilon=epsilon, **where)
    _assert_gradient(kernels, result, x, dy, scale, oracle.given(mean, variance), epsilon, where, False)
    return result


def check_merge(kernels, a, b):
    """Pooled moments against the exact ones of the same two triples."""
    with untouched(a[1], a[2], b[1], b[2]):
        result = kernels.merge_moments(a, b)
    assert type(result).__name__ == "Moments"
    a, b = (oracle.Statistics(*s) for s in (a, b))
    exact = oracle.merged(a, b)
    assert result.count == exact.count
    shape = np.shape(a.mean)
    assert_array(result.mean, shape, np.float64, "mean")
    assert_array(result.variance, shape, np.float64, "variance")
    # Three roundings of the mean, of terms no larger than both means together; six of the variance, all terms positive.
    sizes = np.abs(np.ravel(a.mean).astype(float)) + np.abs(np.ravel(b.mean).astype(float))
    assert_within(result.mean.ravel(), oracle.widen(exact.mean), 4 * unit(sizes, float), "merged mean")
    variance = oracle.widen(exact.variance)
    assert_within(result.variance.ravel(), variance, 8 * unit(variance, float), "merged variance")
    return result


# --- what they share ---------------------------------------------------------------------------


def numpy_loss(kernels, x, count):
    """What sums in NumPy's order may lose, relative to the sizes of their terms (see the top)."""
    adds_row_by_row = kernels.__name__ != "pybn_ext" and x.dtype.itemsize == 8
    return LAMBDA * np.sqrt(count) * np.finfo(np.float64).eps / 2 if adds_row_by_row else 0.0


def _assert_statistics(kernels, x, exact, mean, variance, where):
    table = oracle.columns(x, **where)
    for name, values in (("mean", mean), ("variance", variance)):
        assert_array(values, table.feature_shape, np.float64, name)
    true_mean, true_variance = oracle.widen(exact.mean), oracle.widen(exact.variance)
    deviation = np.sqrt(true_variance)
    loss = numpy_loss(kernels, x, exact.count)
    drift = loss * _mean_distance(table)
    bound = 2 * unit(np.maximum(np.abs(true_mean), deviation), x.dtype) + drift
    assert_within(mean.ravel(), true_mean, bound, "mean")
    bound = 4 * unit(true_variance, x.dtype) + loss * true_variance + drift**2
    assert_within(variance.ravel(), true_variance, bound, "variance")


def _mean_distance(table):
    """The mean distance from the first real element: the terms of the reference's sum."""
    rows = table.values[table.real].astype(np.longdouble)
    return np.abs(rows - rows[0]).mean(0)


def _assert_output(kernels, y, x, stats, scale, offset, epsilon, where, training):
    assert_array(y, x.shape, x.dtype.newbyteorder("="), "y")
    with np.errstate(invalid="ignore"):
        exact = oracle.forward(x, stats, scale, offset, epsilon=epsilon, **where)
        bare = np.abs(oracle.normalized(x, stats, epsilon=epsilon, **where))
    table = oracle.columns(x, **where)
    gamma = 1 if scale is None else np.abs(np.asarray(scale, np.longdouble)).ravel()
    # y's terms are scale * x-hat and the offset: where they cancel, the rounding of the larger remains.
    beta = 0 if offset is None else np.abs(np.asarray(offset, np.longdouble)).ravel()
    terms = table.restore(gamma * np.maximum(oracle.columns(bare, **_axes(where)).values, 1) + beta)
    bound = _units(4 if x.dtype.itemsize == 8 else 3, terms, exact, x.dtype)
    if training and x.dtype.itemsize == 8:  # and what the rounding of the mean is to y
        rounding = gamma * _deviations_away(stats, epsilon) * 2.0**-53
        bound = bound + table.restore(np.broadcast_to(rounding, table.values.shape))
    if training:
        loss = numpy_loss(kernels, x, stats.count)
        inverse = oracle.inverse_deviation(stats, epsilon)
        drift = np.broadcast_to(loss * (gamma * _mean_distance(table) * inverse), table.values.shape)
        bound = bound + table.restore(drift) + loss * terms
    constant = np.broadcast_to(np.array([v == 0 for v in stats.variance], bool), table.values.shape)
    real = np.broadcast_to(table.real[:, None], table.values.shape)
    if training:  # exactly the offset
        beta = np.zeros(()) if offset is None else np.asarray(offset).astype(x.dtype.newbyteorder("=")).ravel()
        rows = oracle.columns(y, **_axes(where)).values
        constant = constant & real
        assert_within(rows[constant], np.broadcast_to(beta, rows.shape)[constant], 0, "y of a constant feature")
    real = table.restore(real)
    assert_within(y[real], exact[real], bound[real], "y")
    assert_same(y[~real], x[~real], "y under the mask")


def _assert_gradient(kernels, result, x, dy, scale, stats, epsilon, where, training, units=4):
    dx, dscale, doffset = result
    dtype = x.dtype.newbyteorder("=")
    table = oracle.columns(x, **where)
    assert_array(dx, x.shape, dtype, "dx")
    # A parameter's gradient has its parameter's type, and 16 bits are too narrow for a sum.
    own = dtype if scale is None else np.asarray(scale).dtype.newbyteorder("=")
    assert_array(doffset, table.feature_shape, np.promote_types(own, np.float32), "doffset")
    with np.errstate(invalid="ignore"):
        exact_dx, exact_dscale, exact_doffset = oracle.gradient(
            x, stats, dy, scale, epsilon=epsilon, training=training, **where
        )
        bare = oracle.columns(oracle.normalized(x, stats, epsilon=epsilon, **where), **_axes(where)).values
    upstream = oracle.columns(dy, **_axes(where)).values.astype(np.longdouble)
    bare, upstream = bare[table.real], upstream[table.real]
    loss = numpy_loss(kernels, x, len(bare))

    def norm(terms):
        return np.sqrt((terms**2).sum(0)).reshape(table.feature_shape)

    if scale is None:
        assert dscale is None, "dscale without a scale"
    else:
        assert_array(dscale, table.feature_shape, doffset.dtype, "dscale")
        size = norm(upstream * bare)
        bound = 4 * unit(np.maximum(np.abs(exact_dscale), size), dtype) + loss * size * np.sqrt(len(bare))
        bound = bound + unit(exact_dscale, dscale.dtype) / 2 + np.finfo(dscale.dtype).smallest_subnormal
        assert_within(dscale, exact_dscale, bound, "dscale")
    size = norm(upstream)
    bound = 4 * unit(np.maximum(np.abs(exact_doffset), size), dtype) + loss * size * np.sqrt(len(bare))
    # Where it is rounded to a narrower type than x's, or to what that type has left near 0.
    bound = bound + unit(exact_doffset, doffset.dtype) / 2 + np.finfo(doffset.dtype).smallest_subnormal
    assert_within(doffset, exact_doffset, bound, "doffset")

    real = table.restore(np.broadcast_to(table.real[:, None], table.values.shape))
    largest = np.abs(oracle.columns(exact_dx, **_axes(where)).values[table.real]).max(0)
    terms = np.maximum(largest, _terms_of_dx(upstream, bare, scale, stats, epsilon)) if training else largest
    left = 2 * loss if dtype.itemsize == 8 else 1e-14 * np.maximum(1, _deviations_away(stats, epsilon))
    size, left = (
        table.restore(np.broadcast_to(each, table.values.shape))
        for each in (terms if dtype.itemsize == 8 else largest, left * terms)
    )
    bound = _units(units, size, exact_dx, dtype) + left + arrays.limits(dtype).smallest_subnormal
    assert_within(dx[real], exact_dx[real], bound[real], "dx")
    assert_same(dx[~real], dy[~real], "dx under the mask")


def _units(number, size, exact, dtype):
    """So many units of this size; of float32 where the result is rounded to 16 bits in the end."""
    if dtype.itemsize > 2:
        return number * unit(size, dtype)
    return number * unit(size, np.float32) + unit(exact, dtype) / 2 + arrays.limits(dtype).smallest_subnormal / 2


def _deviations_away(stats, epsilon):
    """How many deviations the mean is from 0."""
    return np.abs(oracle.widen(stats.mean)) * oracle.inverse_deviation(stats, epsilon)


def _terms_of_dx(upstream, bare, scale, stats, epsilon):
    """The largest of the terms that dx is the difference of, for each feature."""
    gamma = 1 if scale is None else np.abs(np.asarray(scale, np.longdouble)).ravel()
    terms = np.abs(upstream) + np.abs(upstream.mean(0)) + np.abs(bare * (upstream * bare).mean(0))
    return gamma * oracle.inverse_deviation(stats, epsilon) * terms.max(0)


def _floats(exact, x, where):
    shape = oracle.columns(x, **where).feature_shape
    return tuple(oracle.widen(s).astype(np.float64).reshape(shape) for s in (exact.mean, exact.variance))


def _axes(where):
    return {name: value for name, value in where.items() if name == "feature_axis"}
