"""Every operation against the exact answer, over shapes, types, masks and layouts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support import arrays, checks, oracle

SHAPES = [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in arrays.SHAPES]
DTYPES = arrays.NAMES
LAYOUTS = list(arrays.LAYOUTS)


def everything(kernels, rng, x, feature_axis, **options):
    """All operations on x, with random parameters, cotangent and moving averages."""
    scale, offset = arrays.parameters(rng, x.shape, feature_axis, x.dtype)
    dy = rng.standard_normal(x.shape).astype(x.dtype)
    mean = rng.normal(12, 1, scale.shape)
    variance = rng.uniform(0.5, 2, scale.shape)
    where = {"feature_axis": feature_axis, **options}
    mask = {name: value for name, value in where.items() if name in ("feature_axis", "mask")}
    checks.check_moments(kernels, x, **mask)
    checks.check_training(kernels, x, scale, offset, **where)
    checks.check_gradient(kernels, x, dy, scale, **where)
    checks.check_inference(kernels, x, mean, variance, scale, offset, **where)
    checks.check_inference_gradient(kernels, x, dy, mean, variance, scale, **where)


@pytest.mark.parametrize(("shape", "feature_axis"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes(kernels, rng, shape, feature_axis, dtype):
    everything(kernels, rng, arrays.sample(rng, shape, dtype, feature_axis), feature_axis)


@pytest.mark.parametrize("feature_axis", [-1, 0, 1, (0, 2), (-1, 1)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks(kernels, rng, feature_axis, dtype):
    shape = (4, 5, 6)
    for name, mask in arrays.masks(rng, shape, feature_axis).items():
        x = arrays.sample(rng, shape, dtype, feature_axis)
        try:
            everything(kernels, rng, x, feature_axis, mask=mask)
        except AssertionError as error:
            raise AssertionError(f"mask {name!r}: {error}") from error


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("feature_axis", [-1, 1, (0, 2)], ids=str)
def test_layouts(kernels, rng, layout, dtype, feature_axis):
    """Every argument in an awkward layout, the mask too."""
    shape, to_layout = (6, 3, 5), arrays.LAYOUTS[layout]
    x = to_layout(arrays.sample(rng, shape, dtype, feature_axis))
    dy = to_layout(rng.standard_normal(shape).astype(dtype))
    scale, offset = (to_layout(p) for p in arrays.parameters(rng, shape, feature_axis, dtype))
    mean, variance = to_layout(rng.normal(12, 1, scale.shape)), to_layout(rng.uniform(1, 2, scale.shape))
    mask = to_layout(arrays.masks(rng, shape, feature_axis)["rank of the other axes"])
    for m in (None, mask):
        where = {"feature_axis": feature_axis, "mask": m}
        checks.check_moments(kernels, x, **where)
        checks.check_training(kernels, x, scale, offset, **where)
        checks.check_gradient(kernels, x, dy, scale, **where)
        checks.check_inference(kernels, x, mean, variance, scale, offset, **where)
        checks.check_inference_gradient(kernels, x, dy, mean, variance, scale, **where)


def test_broadcast_input(kernels, rng):
    """x whose rows are one row in memory (stride 0): each feature is constant."""
    x = np.broadcast_to(arrays.sample(rng, (1, 7), np.float32), (5, 7))
    scale, offset = arrays.parameters(rng, x.shape, -1, np.float32)
    checks.check_training(kernels, x, scale, offset)


def test_squares_that_float64_cannot_hold(kernels, rng):
    """y does not depend on the unit of x; the variance is infinite, or 0, as its value is."""
    for rows in (2, 4, 64, 1000):
        x = rng.standard_normal((rows, 3))
        expected = kernels.batch_norm_training(x, None, None, epsilon=0.0)[0]
        for unit, variance in ((2.0**600, np.inf), (2.0**-600, 0.0)):
            for mask in (None, np.ones(rows, bool)):
                y, mean, got = kernels.batch_norm_training(x * unit, None, None, epsilon=0.0, mask=mask)
                checks.assert_within(y, expected, 200 * np.finfo(float).eps * np.abs(expected).max(), "y")
                assert (got == variance).all()
                checks.assert_within(mean / unit, x.mean(0), 1e-13, "mean")
                dx, dscale, _ = kernels.batch_norm_gradient(x * unit, np.ones(3), mean, got, x, epsilon=0.0, mask=mask)
                assert (dx == 0).all()
                assert (dscale == 0).all()


def test_epsilon_beside_numbers_in_another_unit(kernels):
    """Epsilon is as large as the variance, or far larger, and both are far from 1."""
    x = np.array([[1.0], [-1.0], [3.0], [-3.0]])
    for unit, epsilon in ((2.0**-600, 2.0**-1060), (2.0**-500, 5 * 2.0**-1000), (2.0**460, 5 * 2.0**920)):
        y = kernels.batch_norm_training(x * unit, None, None, epsilon=epsilon)[0]
        share = 1 / np.sqrt(5 + epsilon / unit / unit)
        checks.assert_within(y, x * share, 8 * np.finfo(float).eps, "y")


@pytest.mark.parametrize("largest", [np.finfo(float).max, 2.0**1023, 2.0**-1070, 5e-324])
def test_the_ends_of_float64(kernels, largest):
    """Where x - mean, or 1 / deviation, is no float64, y in training is what it is in any other unit of x."""
    x = np.array([[1.0, 0.5], [-1.0, 0.25], [0.5, -1.0], [0.25, 0.5]])
    unit = largest
    scaled = x * unit
    x = scaled / 2.0 ** (np.frexp(unit)[1] - 1)  # what rounding to subnormal numbers left of it
    x = np.hstack([x, np.full((4, 1), 0.75)])
    scaled = np.hstack([scaled, np.full((4, 1), 0.75)])
    scale, offset, epsilon = np.array([2.0, -3.0, 1.0]), np.array([0.5, 0.0, 4.0]), 0.0 if unit < 1 else 1e-3
    for mask in (None, np.array([True, True, False, True])):
        real = slice(None) if mask is None else mask
        expected = kernels.batch_norm_training(x[real], scale, offset, epsilon=0.0)[0]
        for given in (scaled, np.asfortranarray(scaled)):
            for out in (None, np.empty_like(given)):
                options = {"epsilon": epsilon, "mask": mask, "out": out}
                y, _, variance = kernels.batch_norm_training(given, scale, offset, **options)
                assert out is None or y is out
                checks.assert_within(y[real], expected, 64 * np.finfo(float).eps, "y")
                assert mask is None or (y[~mask] == scaled[~mask]).all()
                assert (variance[:2] == (np.inf if unit > 1 else 0)).all()


@pytest.mark.parametrize("sizes", [(1e150, 1e145), (1e100, 1e200), (1e-150, 1e-140), (1e-100, 1e-190)], ids=str)
def test_products_as_large_and_as_small_as_a_gradient_sums(kernels, rng, sizes):
    """Of dy and x - mean, between 1e-290 and 1e300."""
    for rows in (4, 64, 700):
        x, dy = (size * rng.standard_normal((rows, 3)) for size in sizes)
        scale = rng.uniform(0.5, 2, 3)
        _, mean, variance = kernels.batch_norm_training(x, None, None, epsilon=0.0)
        checks.check_gradient(kernels, x, dy, scale, statistics=(mean, variance), epsilon=0.0)


@pytest.mark.parametrize("powers", [(498, 664), (332, 830), (-498, -664), (-332, -900)], ids=str)
def test_products_that_are_no_float64_add_up_to_a_dscale_that_is_one(kernels, rng, powers):
    """Powers of two of x and of dy change exponents alone: of dx, and of dscale, which is as large as dy."""
    of_x, of_dy = np.ldexp(1.0, powers)
    for rows, axis in ((4, -1), (64, 0), (700, -1), (700, 0)):
        x, dy = rng.standard_normal((2, rows, 3))
        _, mean, variance = kernels.moments(x)
        right = kernels.batch_norm_gradient(x, np.ones(3), mean, variance, dy, epsilon=0.0)
        x, dy = (np.ascontiguousarray(each if axis == -1 else each.T) for each in (x, dy))
        statistics = of_x * mean, of_x * of_x * variance
        found = kernels.batch_norm_gradient(
            of_x * x, np.ones(3), *statistics, of_dy * dy, epsilon=0.0, feature_axis=axis
        )
        dx = np.moveaxis(found[0], axis, -1) / (of_dy / of_x)
        bound = 8 * np.finfo(float).eps  # each is within 4 units
        checks.assert_within(dx, right[0], bound * np.abs(dy).max() / np.sqrt(variance), "dx")
        checks.assert_within(found[1] / of_dy, right[1], bound * np.sqrt(rows) * np.abs(dy).max(), "dscale")
        checks.assert_within(found[2] / of_dy, right[2], bound * np.sqrt(rows) * np.abs(dy).max(), "doffset")


def test_where_x_less_a_given_mean_is_a_float64(kernels):
    """Up to 8.9e307 on both sides it is one; beyond, y is infinite in both."""
    for size, y in ((8.9e307, 1.78e308), (1.7e308, np.inf)):
        x, mean = np.array([[size], [-size]]), np.array([-size])
        got = kernels.batch_norm_inference(x, None, None, mean, np.ones(1), epsilon=0.0)
        assert got.tolist() == [[y], [0.0]]
        got = kernels.batch_norm_inference_gradient(x, np.ones(1), mean, np.ones(1), np.ones_like(x), epsilon=0.0)
        assert got[0].tolist() == [[1.0], [1.0]]
        assert got[1].tolist() == [y]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_infinite_parameters_go_through_the_formula(kernels, dtype):
    """As IEEE arithmetic has it, and other features stay as they are; the mean is no number of float32."""
    x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [5.0, 5.0]], dtype)
    zeros, ones, inf = np.zeros(2), np.ones(2), np.array([np.inf, 1.0])
    expected = kernels.batch_norm_inference(x, None, None, ones, ones)[:, 1].tolist()
    for mean, variance, scale, offset, y in (
        (inf, ones, None, None, -np.inf),
        (-inf, ones, None, None, np.inf),
        (inf, ones, -ones, ones, np.inf),
        (inf * np.nan, ones, None, None, np.nan),
        (zeros, inf, None, None, 0.0),
        (zeros, inf, ones, 4 * ones, 4.0),
        (inf, inf, None, None, np.nan),
        (zeros + 0.1, ones, inf, None, np.inf),
        (zeros + 9.1, ones, inf, None, -np.inf),
        (zeros + 0.1, ones, inf, inf, np.inf),
        (zeros + 9.1, ones, inf, inf, np.nan),
        (zeros, ones, None, -inf, -np.inf),
    ):
        got = kernels.batch_norm_inference(x, scale, offset, mean, variance)
        np.testing.assert_array_equal(got[:, 0], np.full(4, y), f"y with {mean}, {variance}, {scale}, {offset}")
        if mean is inf and scale is None and variance is ones:
            checks.assert_within(got[:, 1], expected, 4 * np.finfo(dtype).eps, "the other feature")
    y = kernels.batch_norm_training(x, inf, None)[0]
    np.testing.assert_array_equal(y[:, 0], [-np.inf, -np.inf, np.inf, np.inf])


def test_lists_are_taken(kernels):
    """Anything that NumPy makes an array of floats is an input."""
    y, mean, variance = kernels.batch_norm_training([[1.0], [3.0]], [2.0], [1.0], epsilon=0.0)
    assert y.tolist() == [[-1.0], [3.0]]
    assert (mean.tolist(), variance.tolist()) == ([2.0], [1.0])


@pytest.mark.parametrize("parameter_dtype", arrays.NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_and_statistics_of_another_type(kernels, rng, dtype, parameter_dtype):
    """scale, offset, mean and variance are taken in any float type and lose no digits on the way."""
    x = arrays.sample(rng, (9, 4), dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    scale, offset = arrays.parameters(rng, x.shape, -1, parameter_dtype)
    mean = rng.normal(12, 1, 4).astype(parameter_dtype)
    variance = rng.uniform(0.5, 2, 4).astype(parameter_dtype)
    checks.check_training(kernels, x, scale, offset)
    checks.check_gradient(kernels, x, dy, scale, statistics=(mean, variance))
    checks.check_inference(kernels, x, mean, variance, scale, offset)
    checks.check_inference_gradient(kernels, x, dy, mean, variance, scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("present", [(True, False), (False, True), (False, False)], ids=["scale", "offset", "neither"])
def test_without_scale_or_offset(kernels, rng, dtype, present):
    x = arrays.sample(rng, (9, 4), dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    scale, offset = (
        p if there else None for p, there in zip(arrays.parameters(rng, x.shape, -1, dtype), present, strict=True)
    )
    mean, variance = rng.normal(12, 1, 4), rng.uniform(0.5, 2, 4)
    checks.check_training(kernels, x, scale, offset)
    checks.check_gradient(kernels, x, dy, scale)
    checks.check_inference(kernels, x, mean, variance, scale, offset)
    checks.check_inference_gradient(kernels, x, dy, mean, variance, scale)


def test_moments_and_training_see_the_same(kernels, rng):
    """The same bits of the statistics by either way in."""
    for dtype in arrays.DTYPES:
        x = arrays.sample(rng, (37, 5, 3), dtype, 1)
        _, mean, variance = kernels.batch_norm_training(x, None, None, feature_axis=1)
        count, alone_mean, alone_variance = kernels.moments(x, feature_axis=1)
        assert count == 111
        checks.assert_same(mean, alone_mean, "mean")
        checks.assert_same(variance, alone_variance, "variance")


# --- numbers at the edge of what a type can hold -----------------------------------------------


def ramp(rows):
    return np.arange(rows)[:, None] * np.array([1.0, 0.37])


def outlier_first(rng, rows):
    x = rng.standard_normal((rows, 3))
    x[0] = 1e6
    return x


HARD = {
    "mean 1e6": lambda rng: rng.normal(1e6, 1, (3000, 3)),
    "mean -1e4": lambda rng: rng.normal(-1e4, 1, (3000, 3)),
    "deviation 1e18": lambda rng: rng.normal(0, 1e18, (500, 3)),
    "deviation 1e-12": lambda rng: rng.normal(0, 1e-12, (500, 3)),
    "deviation 1e-40": lambda rng: rng.normal(0, 1e-40, (500, 3)),
    "deviation 1e-12, mean 1": lambda rng: rng.normal(1, 1e-6, (500, 3)),
    "ramp": lambda rng: ramp(5000),
    "outlier first": lambda rng: outlier_first(rng, 2000),
    "one far row": lambda rng: np.append(rng.standard_normal((300, 2)), [[3e7, -3e7]], axis=0),
    "two values": lambda rng: rng.choice([1.0, 2.0], (301, 4)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(HARD))
@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
@pytest.mark.parametrize("first", [False, True], ids=["features last", "features first"])
def test_hard_numbers(kernels, rng, dtype, name, epsilon, first):
    x = HARD[name](rng).astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    if first:
        x, dy = np.ascontiguousarray(x.T), np.ascontiguousarray(dy.T)
    where = {"feature_axis": 0 if first else -1}
    checks.check_moments(kernels, x, **where)
    _, mean, variance = checks.check_training(kernels, x, epsilon=epsilon, **where)
    checks.check_inference(kernels, x, mean, variance, epsilon=epsilon, **where)
    if name == "deviation 1e-40" and epsilon == 0 and dtype == "float32":
        return  # dx is of the size of 1e40, beyond float32
    checks.check_gradient(kernels, x, dy, statistics=(mean, variance), epsilon=epsilon, **where)


@pytest.mark.parametrize("value", [3.7, -0.1, 0.0, 1e6 + 0.1, 1e-40, 6e4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
def test_constant_features_are_exact(kernels, rng, value, dtype, epsilon):
    """Mean the constant itself, variance 0, y the offset, to the last bit; dx as the formula says."""
    with np.errstate(over="ignore"):
        value = np.dtype(dtype).type(value)
    if not np.isfinite(value):
        value = arrays.limits(dtype).max
    for rows in (1, 2, 3, 7, 1000):
        x = np.full((rows, 3), value)
        scale, offset = arrays.parameters(rng, x.shape, -1, dtype)
        y, mean, variance = kernels.batch_norm_training(x, scale, offset, epsilon=epsilon)
        checks.assert_same(mean, np.full(3, value, np.float64), "mean")
        checks.assert_same(variance, np.zeros(3), "variance")
        checks.assert_same(y, np.broadcast_to(offset, x.shape), "y")
        y, _, _ = kernels.batch_norm_training(x, scale, None, epsilon=epsilon)
        assert (y == 0).all()
        dy = rng.standard_normal(x.shape).astype(dtype)
        dx, dscale, _ = kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=epsilon)
        assert (dscale == 0).all()
        if rows == 1 or epsilon == 0:
            assert (dx == 0).all()


def test_ten_million_rows(kernels, rng):
    """Integers of mean 1000: their sums are exact in int64, so the oracle costs two passes."""
    n = 10_000_000
    whole = rng.integers(0, 2001, n, dtype=np.int16).astype(np.int64)
    s, q = int(whole.sum()), int((whole * whole).sum())
    stats = oracle.given([0.0], [0.0], n)._replace(
        mean=np.array([Fraction(s, n)], object), variance=np.array([Fraction(q, n) - Fraction(s, n) ** 2], object)
    )
    x = whole.astype(np.float32)[:, None]
    y, mean, variance = kernels.batch_norm_training(x, None, None)
    checks.assert_within(mean, oracle.widen(stats.mean), 2 * checks.unit(mean, np.float32), "mean")
    checks.assert_within(variance, oracle.widen(stats.variance), 4 * checks.unit(variance, np.float32), "variance")
    exact = oracle.forward(x[::5000], stats)
    bound = 4 * checks.unit(np.maximum(np.abs(exact), 1), np.float32)
    checks.assert_within(y[::5000], exact, bound, "y")


# --- NaN, infinity and the mask -----------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 3, -1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("feature_axis", [0, 1, 2])
def test_a_bad_number_stays_in_its_feature(kernels, rng, bad, row, dtype, feature_axis):
    x = arrays.sample(rng, (40, 5, 6), dtype, feature_axis)
    dy = rng.standard_normal(x.shape).astype(dtype)
    clean = kernels.batch_norm_training(x, None, None, feature_axis=feature_axis)
    clean_dx, _, _ = kernels.batch_norm_gradient(x, None, *clean[1:], dy, feature_axis=feature_axis)
    spoilt = np.moveaxis(x.copy(), feature_axis, -1)
    spoilt[row, row % 5, 1] = bad
    spoilt = np.moveaxis(spoilt, -1, feature_axis)
    results = kernels.batch_norm_training(spoilt, None, None, feature_axis=feature_axis)
    dx, _, _ = kernels.batch_norm_gradient(spoilt, None, *results[1:], dy, feature_axis=feature_axis)
    others = np.arange(x.shape[feature_axis]) != 1
    for name, got, expected in zip(("y", "mean", "variance", "dx"), (*results, dx), (*clean, clean_dx), strict=True):
        got = np.moveaxis(got, feature_axis if got.ndim == 3 else 0, -1)
        expected = np.moveaxis(expected, feature_axis if expected.ndim == 3 else 0, -1)
        # Within the bound of each, not to the bit: features that are summed together may be summed again together.
        bound = 8 * checks.unit(np.maximum(np.abs(expected), 1), dtype) + 100 * checks.numpy_loss(kernels, x, 200)
        checks.assert_within(got[..., others], expected[..., others], bound[..., others], f"{name} of other features")
        spoilt_values = got[..., 1]
        if name in ("y", "dx"):
            assert np.isnan(spoilt_values).all(), f"{name} of the spoilt feature"
        else:
            assert not np.isfinite(spoilt_values), f"{name} of the spoilt feature"


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("feature_axis", [0, 1, 2])
def test_a_dy_without_bounds_stays_in_its_feature(kernels, rng, bad, dtype, feature_axis):
    """dx of the feature is NaN throughout, its sums are not finite; of the others nothing changes."""
    x = arrays.sample(rng, (9, 5, 6), dtype, feature_axis)
    dy = rng.standard_normal(x.shape).astype(dtype)
    mask = arrays.masks(rng, x.shape, feature_axis)["rank of x"]
    others = np.arange(x.shape[feature_axis]) != 1
    for where in ({"feature_axis": feature_axis}, {"feature_axis": feature_axis, "mask": mask}):
        _, mean, variance = kernels.moments(x, **where)
        scale = np.full(mean.shape, 2, dtype)
        clean = kernels.batch_norm_gradient(x, scale, mean, variance, dy, **where)
        real = np.broadcast_to(mask if "mask" in where else True, x.shape)
        spoilt = np.moveaxis(dy.copy(), feature_axis, 0)
        spoilt[1].flat[np.flatnonzero(np.moveaxis(real, feature_axis, 0)[1])[2]] = bad
        spoilt = np.moveaxis(spoilt, 0, feature_axis)
        got = kernels.batch_norm_gradient(x, scale, mean, variance, spoilt, **where)
        dx, clean_dx, real = (np.moveaxis(a, feature_axis, 0) for a in (got[0], clean[0], real))
        assert np.isnan(dx[1][real[1]]).all()
        checks.assert_same(dx[~real], clean_dx[~real], "dx under the mask")
        bound = 8 * checks.unit(np.maximum(np.abs(clean_dx[others]), 1), dtype)
        checks.assert_within(dx[others], clean_dx[others], bound, "dx of other features")
        for name, theirs, ours in zip(("dscale", "doffset"), got[1:], clean[1:], strict=True):
            assert not np.isfinite(theirs[1]), name
            checks.assert_same(theirs[others], ours[others], name)
        sums = kernels.batch_norm_gradient_sums(x, mean, variance, spoilt, **where)
        half = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, spoilt, sums, **where)
        assert np.isnan(np.moveaxis(half, feature_axis, 0)[1][real[1]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_spoils_one_element_alone(kernels, rng, dtype):
    x = arrays.sample(rng, (7, 3), dtype)
    mean, variance = np.full(3, 12.0), np.ones(3)
    clean = kernels.batch_norm_inference(x, None, None, mean, variance)
    x[2, 1] = np.nan
    y = kernels.batch_norm_inference(x, None, None, mean, variance)
    assert np.isnan(y[2, 1])
    clean[2, 1] = y[2, 1]
    checks.assert_same(y, clean, "y")


@pytest.mark.parametrize("padding", [np.nan, np.inf, -0.0, 777.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("feature_axis", [-1, 1, (0, 2)], ids=str)
def test_padding_is_never_read(kernels, rng, padding, dtype, feature_axis):
    """Whatever stands under the mask, the real elements get the same bits, and the padding passes through."""
    shape = (7, 5, 4)
    mask = arrays.masks(rng, shape, feature_axis)["rank of x"]
    x = arrays.sample(rng, shape, dtype, feature_axis)
    dy = rng.standard_normal(shape).astype(dtype)
    real = np.broadcast_to(mask, shape)
    padded, padded_dy = (
        np.where(real, x, np.dtype(dtype).type(padding)),
        np.where(real, dy, np.dtype(dtype).type(padding)),
    )
    options = {"feature_axis": feature_axis, "mask": mask}
    scale, offset = arrays.parameters(rng, shape, feature_axis, dtype)
    expected = kernels.batch_norm_training(x, scale, offset, **options)
    results = kernels.batch_norm_training(padded, scale, offset, **options)
    for name, got, want in zip(("y", "mean", "variance"), results, expected, strict=True):
        chosen = real if name == "y" else ...
        checks.assert_same(got[chosen], want[chosen], name)
    checks.assert_same(results[0][~real], padded[~real], "y under the mask")
    statistics = expected[1:]
    for operation in (kernels.batch_norm_gradient, kernels.batch_norm_inference_gradient):
        want = operation(x, scale, *statistics, dy, **options)
        got = operation(padded, scale, *statistics, padded_dy, **options)
        checks.assert_same(got[0][real], want[0][real], "dx")
        checks.assert_same(got[0][~real], padded_dy[~real], "dx under the mask")
        checks.assert_same(got[1], want[1], "dscale")
        checks.assert_same(got[2], want[2], "doffset")


def test_masked_rows_are_as_if_absent(kernels, rng):
    """The statistics of what is real equal those of an array without the rest."""
    x = arrays.sample(rng, (9, 4), np.float64)
    mask = np.array([True, False, True, True, False, True, True, True, False])
    masked, short = kernels.moments(x, mask=mask), kernels.moments(x[mask])
    assert masked.count == short.count == 6
    for name, a, b in zip(("mean", "variance"), masked[1:], short[1:], strict=True):
        bound = 4 * checks.unit(b, float) + checks.numpy_loss(kernels, x, 6) * np.abs(b) * 4
        checks.assert_within(a, b, bound, name)


# --- epsilon and merging --------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0, 0.0, 1e-12, 0.3, np.float32(0.25), 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_epsilon(kernels, rng, epsilon, dtype):
    everything(kernels, rng, arrays.sample(rng, (11, 3), dtype), -1, epsilon=epsilon)


def test_default_epsilon_is_a_thousandth(kernels, rng):
    x = arrays.sample(rng, (5, 2), np.float64) * 0.01
    checks.assert_same(
        kernels.batch_norm_training(x, None, None)[0],
        kernels.batch_norm_training(x, None, None, epsilon=1e-3)[0],
        "y",
    )
    checks.check_training(kernels, x)


def test_zero_variance_and_zero_epsilon(kernels):
    """Under the root stands 0: y is the offset and dx is 0, in training and in inference."""
    x, dy = np.array([[2.0, 5.0], [2.0, 7.0]]), np.array([[1.0, 2.0], [-3.0, 0.5]])
    offset = np.array([0.25, -1.0])
    y, mean, variance = kernels.batch_norm_training(x, None, offset, epsilon=0.0)
    assert y[:, 0].tolist() == [0.25, 0.25]
    dx, _, _ = kernels.batch_norm_gradient(x, None, mean, variance, dy, epsilon=0.0)
    assert dx[:, 0].tolist() == [0, 0]
    y = kernels.batch_norm_inference(x, None, offset, np.array([1.0, 1.0]), np.array([0.0, 4.0]), epsilon=0.0)
    assert y.tolist() == [[0.25, 1.0], [0.25, 2.0]]
    statistics = np.array([1.0, 1.0]), np.array([0.0, 4.0])
    dx, dscale, _ = kernels.batch_norm_inference_gradient(x, np.ones(2), *statistics, dy, epsilon=0.0)
    assert dx.tolist() == [[0.0, 1.0], [0.0, 0.25]]
    assert dscale[0] == 0


@pytest.mark.parametrize("counts", [(1, 1), (3, 7), (7, 3), (1, 1000), (0, 5), (5, 0), (10**9, 10**9 + 1)])
def test_merge(kernels, rng, counts):
    for shape in ((4,), (2, 3), (0,)):
        a, b = (
            kernels.Moments(n, rng.normal(3, 1, shape) * (n > 0), rng.uniform(0, 2, shape) * (n > 0)) for n in counts
        )
        checks.check_merge(kernels, a, b)


@pytest.mark.parametrize("counts", [(1, 1), (3, 5), (5, 3), (1, 10**9)])
def test_merge_of_means_far_apart(kernels, counts):
    """Their difference is no float64, or its square is none; the pooled mean and variance are."""
    for size in (1.7e308, 1.2e154, 1e-308):
        means, variances = np.array([size, -size, size, 0.0]), np.array([0.0, 1.0, 2.0, 3.0])
        a, b = kernels.Moments(counts[0], means, variances), kernels.Moments(counts[1], -means, variances)
        merged = checks.check_merge(kernels, a, b) if size < 1e300 else kernels.merge_moments(a, b)
        share = (counts[0] - counts[1]) / sum(counts)
        checks.assert_within(merged.mean, share * means, 4 * np.spacing(np.abs(means)), "mean")
        assert merged.mean[0] == -merged.mean[1]
        assert np.isfinite(merged.variance).all() == (size < 1e300)
        again = kernels.merge_moments(b, a)
        assert (again.mean == merged.mean).all() or counts[0] == counts[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_merge_takes_any_layout(kernels, rng, layout):
    a, b = (
        kernels.Moments(n, *(arrays.LAYOUTS[layout](values) for values in rng.uniform(0, 2, (2, 3, 5)))) for n in (3, 7)
    )
    checks.check_merge(kernels, a, b)


def test_merge_takes_plain_tuples_and_any_float(kernels):
    a = (2, np.array([1.0], np.float32), np.array([0.5], np.float16))
    checks.check_merge(kernels, a, (6, np.array([3.0]), np.array([0.25])))


def test_merging_pieces_gives_the_whole(kernels, rng):
    """Batches of 1, 2, 3, ... rows in any order and grouping: each merge may lose 8 units of variance + mean**2."""
    x = rng.normal(2, 3, (45, 4))
    pieces = [kernels.moments(piece) for piece in np.split(x, np.cumsum(np.arange(1, 9)))]
    exact = oracle.statistics(x)
    for _ in range(20):
        heap = [pieces[i] for i in rng.permutation(len(pieces))]
        while len(heap) > 1:
            a, b = heap.pop(rng.integers(len(heap))), heap.pop(rng.integers(len(heap)))
            heap.append(kernels.merge_moments(a, b))
        (whole,) = heap
        assert whole.count == 45
        mean, variance = oracle.widen(exact.mean), oracle.widen(exact.variance)
        bound = 8 * len(pieces) * checks.unit(variance + mean**2, float)
        checks.assert_within(whole.mean, mean, bound, "mean")
        checks.assert_within(whole.variance, variance, bound, "variance")


@pytest.mark.parametrize("feature_axis", [-1, 0])
def test_zeros_mostly(kernels, rng, feature_axis):
    """Two of the three means that a shift is taken from saw one of the 22 others: all zeros lose the same."""
    rows, features = 1568, 16
    x = np.zeros((rows, features), np.float32)
    for feature in range(features):
        x[rng.choice(rows, 20, replace=False), feature] = abs(rng.standard_normal(20))
    sampled = [i * (rows - 1) // 23 for i in range(24)]
    x[sampled] = 0
    x[sampled[:2]] = rng.uniform(1.9, 2, features)
    exact = x.astype(np.longdouble).var(0)
    found = kernels.moments(x if feature_axis else np.ascontiguousarray(x.T), feature_axis=feature_axis)
    assert np.all(abs(found.variance - exact) <= 4 * checks.unit(exact, np.float32))
