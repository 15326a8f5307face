"""The two types of 16 bits, float16 and bfloat16: rounded once, hard numbers, what is refused, another library."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from pybn import halves
from tests.support import arrays, checks, oracle

HALVES = arrays.HALVES
# Half way between two numbers of the type, and next to it; the last are float16's and bfloat16's own ends.
SPACING = {"float16": (2.0**-11, 2.0**-24, 65504.0), "bfloat16": (2.0**-8, 2.0**-133, 3.3895313892515355e38)}


def nearest(value, dtype):
    """`value`, a float64, in the type: the nearest, of two the even one, found with fractions."""
    step, smallest, largest = SPACING[np.dtype(dtype).name]
    if not np.isfinite(value) or value == 0:
        return value
    unit = max(Fraction(smallest), Fraction(2) ** (int(np.frexp(value)[1])) * Fraction(step))
    found = float(round(Fraction(value) / unit) * unit)
    return found if abs(found) <= largest else np.copysign(np.inf, value)


@pytest.mark.parametrize("dtype", HALVES)
def test_rounded_once(rng, dtype):
    step, smallest, largest = SPACING[dtype]
    values = rng.standard_normal(2000) * 2.0 ** rng.integers(-16, 16, 2000)
    with np.errstate(over="ignore"):
        near = values.astype(dtype).astype(np.float64)
    near = near[np.isfinite(near)]
    between = near * (1 + step) * (1 + rng.choice([-1, 0, 1], len(near)) * 2.0**-45)
    ends = [0.0, -0.0, np.inf, -np.inf, smallest, smallest / 2, smallest * 0.7, smallest * 1.5, largest]
    ends += [largest * (1 + step / 2), largest * (1 + 2 * step), 1e39, -1e39, 1e300, 1e-300]
    values = np.concatenate([values, between, ends])
    with np.errstate(over="ignore"):
        got = halves.rounded(values, np.dtype(dtype))
    assert got.dtype == dtype
    checks.assert_same(got.astype(np.float64), [nearest(value, dtype) for value in values], "rounded")
    assert np.isnan(halves.rounded(np.array([np.nan, -np.nan]), np.dtype(dtype)).astype(float)).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("inner", [1, 3, 40])
def test_y_is_rounded_once(kernels, dtype, inner):
    """By way of float32 an offset would be rounded to the half way first, and then to the wrong side."""
    step = SPACING[dtype][0]
    offset = np.array([1 + step + 2.0**-40, 1 + step - 2.0**-40, -3 - 2 * step - 2.0**-38, 1 + step, 1e39, 1e-45])
    x = np.ones((4, len(offset), inner), dtype)
    ones = np.ones(len(offset))
    expected = np.broadcast_to(np.array([nearest(each, dtype) for each in offset])[:, None], x.shape)
    with np.errstate(over="ignore"):
        y, _, _ = kernels.batch_norm_training(x, None, offset, feature_axis=1)
        checks.assert_same(y.astype(float), expected, "y")
        y = kernels.batch_norm_inference(x, None, offset, ones, ones, feature_axis=1)
    checks.assert_same(y.astype(float), expected, "y")


HARD = {
    "subnormal": lambda rng, dtype: rng.integers(-40, 41, (300, 3)) * SPACING[dtype][1],
    "largest": lambda rng, dtype: rng.choice([-1, 1, 0.5], (300, 3)) * SPACING[dtype][2],
    "far mean": lambda rng, dtype: 1000 + rng.integers(-4, 5, (300, 3)) * 8,
    "an outlier": lambda rng, dtype: np.append(rng.standard_normal((300, 3)), np.full((1, 3), 6e4), axis=0),
    "two rows": lambda rng, dtype: 30 * rng.standard_normal((2, 3)),
    "ten thousand rows": lambda rng, dtype: rng.standard_normal((10_000, 3)),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", list(HARD))
@pytest.mark.parametrize("first", [False, True], ids=["features last", "features first"])
@pytest.mark.parametrize("masked", [False, True])
def test_hard_numbers(kernels, rng, dtype, name, first, masked):
    x = HARD[name](rng, dtype).astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    where = {"feature_axis": 0 if first else -1}
    if masked:
        where["mask"] = np.arange(len(x)) % 7 != 1
        x[~where["mask"]] = np.nan  # padding may be anything
    if first:
        x, dy = np.ascontiguousarray(x.T), np.ascontiguousarray(dy.T)
    if name == "largest" and dtype == "bfloat16":
        # The variance is 1e77, and y of order 1.
        _, mean, variance = checks.check_training(kernels, x, **where)
        checks.check_inference(kernels, x, mean, variance, **where)
        return
    checks.check_moments(kernels, x, **where)
    _, mean, variance = checks.check_training(kernels, x, **where)
    checks.check_inference(kernels, x, mean, variance, **where)
    checks.check_gradient(kernels, x, dy, statistics=(mean, variance), **where)
    checks.check_halves(kernels, x, dy, mean, variance, **where)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(300, 5), (4, 5, 70)])
def test_what_leaves_the_type_is_infinite(kernels, rng, dtype, shape):
    """y beyond float16 or bfloat16, as float64 rounded to them: no wrapped exponent, the sign kept."""
    largest = SPACING[dtype][2]
    x = arrays.sample(rng, shape, dtype, 1)
    scale = np.full(5, largest)
    y = kernels.batch_norm_training(x, scale, None, feature_axis=1)[0]
    exact = oracle.forward(x, oracle.statistics(x, feature_axis=1), scale, None, epsilon=1e-3, feature_axis=1)
    sure = np.abs(np.abs(exact) / largest - 1) > 0.01
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float64).astype(dtype).astype(float)
    assert np.isinf(expected[sure]).any()
    got = y.astype(float)[sure]
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected[sure]))
    np.testing.assert_array_equal(np.sign(got), np.sign(expected[sure]))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("feature_axis", [-1, 1])
def test_every_nan_stays_one(kernels, rng, dtype, feature_axis):
    """Whatever its payload: none becomes infinity, or a number, in its feature or under a mask."""
    bits = {"float16": (0x7C01, 0x7E00, 0x7FFF, 0xFC01, 0xFFFF), "bfloat16": (0x7F81, 0x7FC0, 0x7FFF, 0xFF81, 0xFFFF)}
    x = arrays.sample(rng, (20, 5, 40), dtype, feature_axis)
    mask = np.ones(np.delete(x.shape, feature_axis), bool)
    mask[0] = False
    padded = x.copy()
    padded[0].view(np.uint16).flat[:5] = bits[dtype]
    with np.errstate(invalid="ignore"):
        y, mean, _ = kernels.batch_norm_training(padded, None, None, feature_axis=feature_axis, mask=mask)
        assert np.isnan(y[0]).sum() == 5
        assert np.isfinite(mean).all()
        padded[1, 2].view(np.uint16).flat[:5] = bits[dtype]
        mean, variance = np.zeros(x.shape[feature_axis]), np.ones(x.shape[feature_axis])
        y = kernels.batch_norm_inference(padded, None, None, mean, variance, feature_axis=feature_axis)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(padded))


@arrays.WITHOUT
def test_other_strangers_are_refused_by_name(kernels):
    import ml_dtypes

    for stranger in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4):
        name = np.dtype(stranger).name
        x = np.ones((4, 3), stranger)
        with pytest.raises(TypeError, match=f"x must be float16, bfloat16, float32 or float64, got {name}"):
            kernels.moments(x)
        with pytest.raises(TypeError, match=f"scale must be float16, bfloat16, float32 or float64, got {name}"):
            kernels.batch_norm_training(np.ones((4, 3)), x[0], None)


@arrays.WITHOUT
def test_the_two_halves_are_two_types(kernels, rng):
    x = arrays.sample(rng, (6, 3), "bfloat16")
    with pytest.raises(TypeError, match="dy must have the dtype of x, bfloat16, got float16"):
        kernels.batch_norm_gradient(x, None, np.zeros(3), np.ones(3), x.astype(np.float16))
    with pytest.raises(TypeError, match="out must have the dtype of x, bfloat16, got float16"):
        kernels.batch_norm_training(x, None, None, out=np.empty(x.shape, np.float16))
    with pytest.raises(ValueError, match="mask must be boolean, or hold zeros and ones alone"):
        kernels.moments(x, mask=x[:, 0])
    for name in ("float16", "bfloat16"):
        assert (
            kernels.moments(x, mask=np.array([1, 0, 1, 1, 0, 0]).astype(x.dtype if name == "bfloat16" else name))[0]
            == 3
        )


def test_ml_dtypes_is_imported_by_nobody(tmp_path):
    """An input of that type brings it; what is not asked for is not loaded, and where it is missing it is named."""
    program = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import numpy as np, pybn\n"
        "for half in (np.float16, np.float32):\n"
        "    pybn.reference.batch_norm_training(np.ones((4, 3), half), None, None)\n"
        "try:\n    pybn.halves.bfloat16()\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "pip install ml_dtypes" in said.stdout


@arrays.WITHOUT
@pytest.mark.parametrize("shape", [(200, 31), (4, 6, 9, 9)])
def test_nearer_to_the_truth_than_pytorch(kernels, rng, shape):
    """PyTorch's bfloat16 on the CPU: each result is at most half a unit and 1 % further off than PyTorch's is."""
    torch = pytest.importorskip("torch")
    x = arrays.sample(rng, shape, "bfloat16", 1)
    scale, offset = arrays.parameters(rng, shape, 1, np.float32)
    dy = rng.standard_normal(shape).astype("bfloat16")
    tensor, cotangent = (torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) for a in (x, dy))
    tensor.requires_grad_()
    theirs = torch.nn.functional.batch_norm(
        tensor, None, None, torch.from_numpy(scale), torch.from_numpy(offset), training=True, eps=1e-3
    )
    theirs.backward(cotangent)
    y, mean, variance = kernels.batch_norm_training(x, scale, offset, feature_axis=1)
    dx, _, _ = kernels.batch_norm_gradient(x, scale, mean, variance, dy, feature_axis=1)
    stats = oracle.statistics(x, feature_axis=1)
    exact = oracle.forward(x, stats, scale, offset, epsilon=1e-3, feature_axis=1)
    exact_dx, _, _ = oracle.gradient(x, stats, dy, scale, epsilon=1e-3, feature_axis=1)
    for name, got, other, true in (("y", y, theirs, exact), ("dx", dx, tensor.grad, exact_dx)):
        other = other.detach().float().numpy()
        assert np.abs(got.astype(float) - true).max() <= 1.01 * np.abs(other - true).max(), name
        apart = np.abs(got.astype(float) - other)
        assert (apart <= 2 * checks.unit(np.maximum(np.abs(true), np.abs(true).max() / 8), "bfloat16")).all(), name
