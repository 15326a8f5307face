"""What holds for any batch, whatever the numbers: hypothesis looks for one that breaks it.

x holds small whole numbers and what is done to it is exact in floating point (whole shifts, powers of
two), so both sides of each equation see the same exact problem and differ by their own rounding alone.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import arrays, checks, oracle

pytestmark = pytest.mark.filterwarnings("error")
EXAMPLES = settings(max_examples=25)


@st.composite
def batches(draw, masked=True):
    """x of whole numbers, its feature axes, perhaps a mask, parameters, a cotangent, epsilon."""
    ndim = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    axes = draw(st.permutations(range(ndim)).map(lambda order: order[: draw(st.integers(1, ndim - 1))]))
    feature_axis = tuple(axis - ndim * draw(st.integers(0, 1)) for axis in axes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    mask = None
    if masked and draw(st.booleans()):
        names = arrays.masks(rng, shape, feature_axis)
        mask = names[draw(st.sampled_from(sorted(names)))]
    scale, offset = arrays.parameters(rng, shape, feature_axis, dtype)
    return {
        "x": rng.integers(-100, 101, shape).astype(dtype),
        "dy": rng.integers(-100, 101, shape).astype(dtype),
        "scale": scale,
        "offset": offset,
        "epsilon": draw(st.sampled_from([0.0, 1e-3, 0.5])),
        "where": {"feature_axis": feature_axis, "mask": mask},
    }


def training(kernels, b, x=None, epsilon=None, **parameters):
    values = {"scale": None, "offset": None, **parameters}
    epsilon = b["epsilon"] if epsilon is None else epsilon
    x = b["x"] if x is None else x
    return kernels.batch_norm_training(x, values["scale"], values["offset"], epsilon=epsilon, **b["where"])


def real(b):
    """Where x is real, in the shape of x."""
    table = oracle.columns(b["x"], **b["where"])
    return table.restore(np.broadcast_to(table.real[:, None], table.values.shape))


def count(b):
    return int(oracle.columns(b["x"], **b["where"]).real.sum())


def assert_y(kernels, b, got, expected, times=1.0):
    """Equal up to the bound of each side: 4 units of max(|y|, 1), and what NumPy's sums lose of terms up to 200."""
    bound = 8 * checks.unit(np.maximum(np.abs(expected), 1), b["x"].dtype)
    n = count(b)
    # |x-hat| <= sqrt(n); the distance from the first element is below 2 sqrt(n) deviations.
    bound = bound + 8 * np.sqrt(n) * checks.numpy_loss(kernels, b["x"], n)
    checks.assert_within(got[real(b)], expected[real(b)], times * bound[real(b)], "y")


@given(b=batches(), shift=st.integers(-1000, 1000))
@EXAMPLES
def test_a_shift_of_x_changes_nothing(kernels, b, shift):
    y, mean, variance = training(kernels, b)
    shifted_y, shifted_mean, shifted_variance = training(kernels, b, b["x"] + shift)
    assert_y(kernels, b, shifted_y, y)
    size = np.abs(mean) + np.abs(shift) + np.sqrt(variance)
    dtype, loss = b["x"].dtype, checks.numpy_loss(kernels, b["x"], count(b)) * 400
    checks.assert_within(shifted_mean, mean + shift, 4 * checks.unit(size, dtype) + loss, "mean")
    checks.assert_within(
        shifted_variance, variance, 8 * checks.unit(variance, dtype) + loss * np.sqrt(variance), "variance"
    )


@given(b=batches(), power=st.integers(-20, 20))
@EXAMPLES
def test_scaling_x_changes_nothing(kernels, b, power):
    """With epsilon scaled by the square; only the size of the statistics follows."""
    y, mean, variance = training(kernels, b)
    factor = 2.0**power
    scaled_y, scaled_mean, scaled_variance = training(
        kernels, b, b["x"] * b["x"].dtype.type(factor), b["epsilon"] * factor**2
    )
    checks.assert_same(scaled_y[real(b)], y[real(b)], "y")
    checks.assert_same(scaled_mean, mean * factor, "mean")
    checks.assert_same(scaled_variance, variance * factor**2, "variance")


@given(b=batches())
@EXAMPLES
def test_the_sign_of_x_is_the_sign_of_y(kernels, b):
    y, mean, variance = training(kernels, b)
    other_y, other_mean, other_variance = training(kernels, b, -b["x"])
    r = real(b)
    assert (other_y[r] == -y[r]).all()
    assert (other_mean == -mean).all()
    checks.assert_same(other_variance, variance, "variance")


@given(b=batches(masked=False), seed=st.integers(0, 1000))
@EXAMPLES
def test_the_order_of_the_rows_does_not_matter(kernels, b, seed):
    axes = arrays.axes_of(b["where"]["feature_axis"], b["x"].ndim)
    axis = next(a for a in range(b["x"].ndim) if a not in axes)
    order = np.random.default_rng(seed).permutation(b["x"].shape[axis])
    y, _, _ = training(kernels, b)
    permuted, _, _ = training(kernels, b, np.take(b["x"], order, axis))
    assert_y(kernels, b, permuted, np.take(y, order, axis))


@given(b=batches(), seed=st.integers(0, 1000))
@EXAMPLES
def test_features_are_independent(kernels, b, seed):
    """Other numbers in one feature: the others keep their results, up to the rounding of both."""
    axes = arrays.axes_of(b["where"]["feature_axis"], b["x"].ndim)
    rng = np.random.default_rng(seed)
    chosen = tuple(rng.integers(b["x"].shape[a]) for a in axes)
    changed = np.moveaxis(b["x"].copy(), axes, range(len(axes)))
    changed[chosen] = rng.normal(1e4, 1e3, changed[chosen].shape)
    changed = np.moveaxis(changed, range(len(axes)), axes)
    results = training(kernels, b, b["x"]), training(kernels, b, changed)
    for name, got, expected in zip(("y", "mean", "variance"), *results, strict=True):
        if name == "y":
            got, expected = (np.moveaxis(v, axes, range(len(axes))) for v in (got, expected))
        others = np.ones(got.shape, bool)
        others[chosen] = False
        bound = 8 * checks.unit(np.maximum(np.abs(expected), 1), b["x"].dtype)
        bound = bound + 1e4 * checks.numpy_loss(kernels, b["x"], count(b))
        checks.assert_within(got[others], expected[others], bound[others], name)


@given(b=batches())
@EXAMPLES
def test_y_has_mean_offset_and_deviation_scale(kernels, b):
    y, _, variance = training(kernels, b, scale=b["scale"], offset=b["offset"])
    stats = oracle.statistics(y.astype(float), **b["where"])
    shrink = np.sqrt(np.divide(variance, variance + b["epsilon"], out=np.zeros_like(variance), where=variance > 0))
    n, eps = count(b), np.finfo(b["x"].dtype).eps
    # Each y is within 4 units of |scale| * sqrt(n) + |offset|, below 7 (n <= 216: 30 at most), and so is their mean.
    bound = 4 * eps * (2 * np.sqrt(n) + np.abs(b["offset"])) + 40 * n * checks.numpy_loss(kernels, b["x"], n)
    mean, deviation = (np.array(oracle.widen(s), float).reshape(b["scale"].shape) for s in stats[1:])
    checks.assert_within(mean, b["offset"], bound, "mean of y")
    checks.assert_within(np.sqrt(deviation), np.abs(b["scale"]) * shrink, 2 * bound, "deviation of y")


@given(b=batches())
@EXAMPLES
def test_sums_of_dx(kernels, b):
    """Sum dx = 0, and sum dx * x-hat = scale / deviation * dscale * epsilon / (variance + epsilon)."""
    scale, epsilon = b["scale"].astype(float), b["epsilon"]
    x, dy = b["x"].astype(float), b["dy"].astype(float)
    _, mean, variance = kernels.batch_norm_training(x, None, None, epsilon=epsilon, **b["where"])
    dx, dscale, _ = kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=epsilon, **b["where"])
    stats = oracle.statistics(x, **b["where"])
    bare = np.asarray(oracle.normalized(x, stats, epsilon=epsilon, **b["where"]), float)
    dx = np.where(real(b), dx, 0)
    axes = arrays.axes_of(b["where"]["feature_axis"], x.ndim)
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    under = variance + epsilon
    inverse = np.divide(1, np.sqrt(under), out=np.zeros_like(under), where=under > 0)
    n = count(b)
    # Terms of dx are below (100 + 100 + 100 n) |scale| / deviation, n of them, each right to 4 units.
    bound = 1e-15 * 300 * n * n * np.abs(scale) * inverse * (1 + np.sqrt(n))
    checks.assert_within(dx.sum(others), 0 * scale, bound, "sum of dx")
    expected = scale * inverse * dscale * epsilon * inverse**2
    checks.assert_within((dx * bare).sum(others), expected, bound * np.sqrt(n), "sum of dx * x-hat")


@given(b=batches(), factor=st.sampled_from([-2.0, 0.0, 0.5, 4.0]))
@EXAMPLES
def test_the_gradient_is_linear_in_dy(kernels, b, factor):
    _, mean, variance = training(kernels, b)
    dtype = b["x"].dtype
    for operation in (kernels.batch_norm_gradient, kernels.batch_norm_inference_gradient):
        once = operation(b["x"], b["scale"], mean, variance, b["dy"], epsilon=b["epsilon"], **b["where"])
        scaled_dy = b["dy"] * dtype.type(factor)
        times = operation(b["x"], b["scale"], mean, variance, scaled_dy, epsilon=b["epsilon"], **b["where"])
        for got, expected in zip(times, once, strict=True):
            assert (got == expected * dtype.type(factor)).all()


@given(b=batches(masked=False), cuts=st.lists(st.integers(1, 5), max_size=3), seed=st.integers(0, 1000))
@EXAMPLES
def test_merging_in_any_order(kernels, b, cuts, seed):
    x = np.moveaxis(b["x"].astype(float), arrays.axes_of(b["where"]["feature_axis"], b["x"].ndim)[0], -1)
    pieces = [kernels.moments(p) for p in np.split(x, sorted({c for c in cuts if c < len(x)}))]
    rng = np.random.default_rng(seed)
    while len(pieces) > 1:
        a, c = pieces.pop(rng.integers(len(pieces))), pieces.pop(rng.integers(len(pieces)))
        pieces.append(kernels.merge_moments(a, c))
    stats = oracle.statistics(x)
    assert pieces[0].count == stats.count
    variance = oracle.widen(stats.variance)
    # At most three merges of 8 units of variance + mean**2 each, below 2e4; the pieces themselves lose as much.
    bound = 48 * np.finfo(float).eps * (variance + 1e4) + 4e4 * checks.numpy_loss(kernels, x, stats.count)
    checks.assert_within(pieces[0].mean, oracle.widen(stats.mean), bound, "mean")
    checks.assert_within(pieces[0].variance, variance, bound, "variance")


@given(b=batches())
@EXAMPLES
def test_inference_with_the_batch_statistics_is_training(kernels, b):
    y, mean, variance = training(kernels, b, scale=b["scale"], offset=b["offset"])
    again = kernels.batch_norm_inference(
        b["x"], b["scale"], b["offset"], mean, variance, epsilon=b["epsilon"], **b["where"]
    )
    # The mean handed in was rounded to float64: 100 * 1.1e-16 at most, over the deviation (at least 1 / 216).
    variance_floor = np.sqrt(np.maximum(variance + b["epsilon"], 1e-6)).min(initial=1)
    extra = 4e-14 / variance_floor if b["x"].dtype == np.float64 else 0.0
    constant = np.broadcast_to(_per_feature(variance == 0, b), y.shape)
    chosen = real(b) & ~constant
    bound = 16 * checks.unit(np.maximum(np.abs(y), 2 * np.sqrt(count(b))), b["x"].dtype) + extra
    bound = bound + 40 * count(b) * checks.numpy_loss(kernels, b["x"], count(b))
    checks.assert_within(again[chosen], y[chosen], bound[chosen], "y")


def _per_feature(values, b):
    axes = arrays.axes_of(b["where"]["feature_axis"], b["x"].ndim)
    return values.reshape([size if axis in axes else 1 for axis, size in enumerate(b["x"].shape)])


@given(b=batches())
@EXAMPLES
def test_any_batch_is_right(kernels, b):
    """The exact oracle on whatever hypothesis builds."""
    options = {"epsilon": b["epsilon"], **b["where"]}
    checks.check_moments(kernels, b["x"], **b["where"])
    _, mean, variance = checks.check_training(kernels, b["x"], b["scale"], b["offset"], **options)
    checks.check_gradient(kernels, b["x"], b["dy"], b["scale"], statistics=(mean, variance), **options)
    checks.check_inference(kernels, b["x"], mean + 1, variance + 0.5, b["scale"], b["offset"], **options)
    checks.check_inference_gradient(kernels, b["x"], b["dy"], mean + 1, variance + 0.5, b["scale"], **options)
