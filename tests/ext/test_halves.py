"""Numbers of 16 bits in the compiled module: every one of them converted, and calls that are cut into parts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import pybn_ext
from pybn import halves, reference
from tests.support import arrays, checks

PART = 32768  # elements that are computed at once; as in parts.pxi

# Whole features, one part and several; features cut along the outer axis, along the inner one, and in groups.
SHAPES = [
    ((40, 33), -1),
    ((8, 6, 50, 41), 1),
    ((120, 700), -1),
    ((9001, 5), -1),
    ((700, 1, 60), 1),
    ((3000, 150), -1),
    ((2, 2, PART + 7001), 1),
    ((41, 3, 37, 31), 1),
    ((5000, 3, 4), (1, 2)),
]


@pytest.fixture
def on_threads():
    """A function that computes on so many threads."""
    before = pybn_ext.get_num_threads()

    def compute(threads, function, *arguments):
        pybn_ext.set_num_threads(threads)
        return function(*arguments)

    yield compute
    pybn_ext.set_num_threads(before)


def scaled(x, scale):
    """x * scale in float32, in the type of x."""
    ones = np.ones(x.shape[-1])
    return pybn_ext.batch_norm_inference(x, np.float32(scale) * ones, None, 0 * ones, ones, epsilon=0.0)


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize("scale", [1.0, 1.0009765625, 0.337, 1 + 2.0**-9, -1 - 2.0**-12, 3e-5, 5000.0])
def test_every_number_there_and_back(dtype, scale):
    """All 65 536, whatever vectors do it: exactly to float32, and from it as NumPy and ml_dtypes round float32."""
    for features in (64, 2):  # whole vectors, and what is left of one
        x = np.arange(65536, dtype=np.uint16).view(dtype).reshape(-1, features)
        with np.errstate(all="ignore"):
            y, expected = scaled(x, scale), (x.astype(np.float32) * np.float32(scale)).astype(dtype)
            nan, zero = np.isnan(x), x == 0
            np.testing.assert_array_equal(np.isnan(y), nan)
        numbers = ~nan & ~zero  # -0 * 1 + 0 is 0
        np.testing.assert_array_equal(y.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
        assert (y[zero] == 0).all()


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("shape", "feature_axis"), SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_parts_make_a_whole(rng, on_threads, dtype, shape, feature_axis, masked):
    """Within the contract's bounds however it is cut, and the same bits for any number of threads."""
    x = arrays.sample(rng, shape, dtype, feature_axis)
    dy = rng.standard_normal(shape).astype(dtype)
    scale, offset = arrays.parameters(rng, shape, feature_axis, np.float32)
    where = {"feature_axis": feature_axis}
    if masked:
        others = np.delete(shape, feature_axis)
        mask = rng.random(others) < 0.7
        mask.flat[: mask.size // 3] = False  # whole parts
        mask.flat[-1] = True
        where["mask"] = mask

    mean, variance = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)
    one, three = (
        on_threads(threads, everything, pybn_ext, x, scale, offset, mean, variance, dy, where) for threads in (1, 3)
    )
    assert {name: each.tobytes() for name, each in three.items()} == {n: each.tobytes() for n, each in one.items()}
    wide = everything(reference, x.astype(float), scale, offset, mean, variance, dy.astype(float), where)
    for name, bound in bounds(wide, feature_axis).items():
        if one[name].dtype == dtype:
            rounding = checks.unit(wide[name], dtype) / 2 + float(arrays.limits(dtype).smallest_subnormal) / 2
            bound = bound + rounding
        checks.assert_within(one[name], wide[name], bound, name)


def everything(kernels, x, scale, offset, mean, variance, dy, where):
    """All results of one batch, by name."""
    y, own_mean, own_variance = kernels.batch_norm_training(x, scale, offset, **where)
    own = own_mean, own_variance, dy
    sums = kernels.batch_norm_gradient_sums(x, *own, **where)
    found = {
        "y": y,
        "mean": own_mean,
        "variance": own_variance,
        "sum of dy": sums.dy,
        "of dy x-hat": sums.dy_normalized,
    }
    found |= dict(zip(("dx", "dscale", "doffset"), kernels.batch_norm_gradient(x, scale, *own, **where), strict=True))
    found["dx from sums"] = kernels.batch_norm_gradient_from_sums(x, scale, *own, sums, **where)
    found["y of inference"] = kernels.batch_norm_inference(x, scale, offset, mean, variance, **where)
    rest = kernels.batch_norm_inference_gradient(x, scale, mean, variance, dy, **where)
    return found | dict(zip(("dx of inference", "dscale of inference", "doffset of inference"), rest, strict=True))


def bounds(wide, feature_axis):
    """The contract's, in units of float32, of results of which the exact ones are given."""
    axes = arrays.axes_of(feature_axis, wide["y"].ndim)
    others = tuple(axis for axis in range(wide["y"].ndim) if axis not in axes)
    found = {
        "mean": 2 * checks.unit(wide["mean"], np.float32),
        "variance": 4 * checks.unit(wide["variance"], np.float32),
    }
    count = np.prod([wide["y"].shape[axis] for axis in others])
    for name, value in wide.items():
        if name.startswith("y"):
            # scale is at most 2 and the offset 4
            found[name] = 3 * checks.unit(np.abs(value) + 8, np.float32)
        elif name.startswith("dx"):
            found[name] = 4 * checks.unit(np.abs(value).max(others, keepdims=True), np.float32)
        elif name not in found:  # dy is of order 1, x-hat in inference up to 12
            found[name] = 4 * checks.unit(np.abs(value) + 12 * np.sqrt(count), np.float32)
    return found


# At most one part: rows, glued and not, narrower than a vector and just wider; runs in lanes, long ones, and between.
WHOLE = [
    ((40, 33), -1),
    ((300, 66), -1),
    ((2000, 5), -1),
    ((20, 3), -1),
    ((9, 700), -1),
    ((4, 3000), -1),
    ((5, 3, 50, 41), 1),
    ((12, 30, 9, 9), 1),
    ((5, 17, 20, 20), 1),
    ((3, 7, 601), 1),
    ((70, 9, 7), 1),
    ((6, 40, 13), 1),
    ((1, 1, 17), 1),
]
# Features in groups, whose rows lie apart.
GROUPS = [((120, 700), -1), ((500, 66), -1), ((30, 90, 7, 7), 1), ((11, 19, 1000), 1)]


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("shape", "feature_axis"), WHOLE + GROUPS, ids=str)
@pytest.mark.parametrize("cancelling", [False, True])
def test_a_part_is_float32_of_the_same_numbers(rng, dtype, shape, feature_axis, cancelling):
    """To the bit, but for the rounding of y and dx: wherever the part lies, nothing else is done to it."""
    x = arrays.sample(rng, shape, dtype, feature_axis)
    dy = rng.standard_normal(shape).astype(dtype)
    scale, offset = arrays.parameters(rng, shape, feature_axis, np.float32)
    offset = offset.astype(dtype).astype(np.float32)  # rounded once, whatever is added to it
    if cancelling:  # an outlier, a constant feature, a far mean, dy that is nearly y or nearly constant
        features = np.moveaxis(x, feature_axis, 0)
        features[-1].flat[0] = 300
        features[0] = 3
        features[len(features) // 2] *= 100
        dy = pybn_ext.batch_norm_training(x, scale, offset, feature_axis=feature_axis)[0]
        np.moveaxis(dy, feature_axis, 0)[::2] = 1
    size = len(scale)
    groups = -(-size // min(size, PART // (x.size // size)))
    for group in range(groups):
        some = slice(size * group // groups, size * (group + 1) // groups)
        index = tuple(some if axis == feature_axis % x.ndim else slice(None) for axis in range(x.ndim))
        ours = one_part(x, dy, scale, offset, feature_axis, index, some)
        wide = one_part(
            *(np.ascontiguousarray(each[index], np.float32) for each in (x, dy)),
            scale[some],
            offset[some],
            feature_axis,
        )
        for name, expected in wide.items():
            if ours[name].dtype == x.dtype:
                expected = halves.rounded(expected, x.dtype)
            assert ours[name].tobytes() == expected.tobytes(), f"{name} of features {some.start} to {some.stop}"


def one_part(x, dy, scale, offset, feature_axis, index=(), some=slice(None)):
    """All results of a batch, or of some of its features, by name; inference with the statistics of training."""
    where = {"feature_axis": feature_axis}
    y, mean, variance = pybn_ext.batch_norm_training(x, scale, offset, **where)
    sums = pybn_ext.batch_norm_gradient_sums(x, mean, variance, dy, **where)
    dx, dscale, doffset = pybn_ext.batch_norm_gradient(x, scale, mean, variance, dy, **where)
    found = {"mean": mean, "variance": variance, "dscale": dscale, "doffset": doffset}
    found |= {"sum of dy": sums.dy, "sum of dy x-hat": sums.dy_normalized}
    found = {name: each[some] for name, each in found.items()}
    arrays_of_x = {"y": y, "dx": dx}
    arrays_of_x["dx from sums"] = pybn_ext.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **where)
    arrays_of_x["y of inference"] = pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, **where)
    arrays_of_x["dx of inference"] = pybn_ext.batch_norm_inference_gradient(x, scale, mean, variance, dy, **where)[0]
    return found | {name: np.ascontiguousarray(each[index]) for name, each in arrays_of_x.items()}


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize("shape", [(40, 70), (4, 70, 50), (2, 70, 5)], ids=str)
@pytest.mark.parametrize("which", ["scale", "mean"])
def test_a_number_that_is_nan_leaves_its_feature_nan(rng, dtype, shape, which):
    """Whatever its payload: of ones alone, rounding it up would carry into the sign, and leave -0."""
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    given = {"scale": np.ones(70, np.float32), "mean": np.zeros(70, np.float32), "variance": np.ones(70)}
    given[which].view(np.uint32)[1::7] = rng.permutation(
        [0x7FFFFFFF, 0xFFFFFFFF, 0x7FFF8001, 0x7FC00001, 0xFFC08000] * 2
    )
    expected = np.broadcast_to(np.isnan(given[which]).reshape(-1, *[1] * (x.ndim - 2)), shape)
    y = pybn_ext.batch_norm_inference(x, offset=None, feature_axis=1, **given)
    np.testing.assert_array_equal(np.isnan(y), expected)
    dx = pybn_ext.batch_norm_gradient(x, dy=dy, feature_axis=1, **given)[0]
    np.testing.assert_array_equal(np.isnan(dx), expected)
    if which == "scale":
        y, _, _ = pybn_ext.batch_norm_training(x, given["scale"], None, feature_axis=1)
        np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("shape", "feature_axis"), [((41, 333), -1), ((3, 5, 601), 1), ((7, 5, 30), 1)], ids=str)
def test_y_may_be_x(rng, dtype, shape, feature_axis):
    """The last register of a row is written over elements that are written already, and were read before."""
    x = arrays.sample(rng, shape, dtype, feature_axis)
    scale, offset = arrays.parameters(rng, shape, feature_axis, np.float32)
    mean, variance = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)
    expected = pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, feature_axis=feature_axis)
    y = pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, feature_axis=feature_axis, out=x)
    assert y is x
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("shape", "feature_axis"), [((9001, 5), -1), ((3, 2, PART + 501), 1)], ids=str)
def test_terms_that_cancel_across_parts(rng, dtype, shape, feature_axis):
    """dy = y, and dy nearly constant: dx keeps its digits where features are cut, too."""
    x = arrays.sample(rng, shape, dtype, feature_axis)
    where = {"feature_axis": feature_axis}
    y, mean, variance = pybn_ext.batch_norm_training(x, None, None, **where)
    checks.check_gradient(pybn_ext, x, y, statistics=(mean, variance), **where)
    nearly = (1 + 2.0**-7 * rng.integers(0, 2, shape)).astype(dtype)
    checks.check_gradient(pybn_ext, x, nearly, statistics=(mean, variance), **where)


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("shape", "feature_axis"), SHAPES, ids=str)
def test_constant_features_are_exact_across_parts(rng, dtype, shape, feature_axis):
    x = np.full(shape, 12.3).astype(dtype)
    offset = rng.standard_normal(arrays.feature_shape(shape, feature_axis))
    y, mean, variance = pybn_ext.batch_norm_training(x, None, offset, feature_axis=feature_axis)
    assert (mean == float(x.flat[0])).all()
    assert (variance == 0).all()
    expected = halves.rounded(offset, x.dtype)
    along = [size if axis in arrays.axes_of(feature_axis, x.ndim) else 1 for axis, size in enumerate(shape)]
    np.testing.assert_array_equal(y, np.broadcast_to(expected.reshape(along), shape))


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(
    ("shape", "feature_axis"), [((200_000, 16), -1), ((4, 16, 250, 200), 1), ((5000, 2048), -1)], ids=str
)
def test_no_wide_copy_is_made(dtype, shape, feature_axis):
    """6.4 and 20 MB of x: what is allocated beside the results stays below 3 MB, in a process of its own."""
    program = f"""
import resource
import numpy as np, pybn_ext
if {dtype!r} == "bfloat16":
    import ml_dtypes
pybn_ext.set_num_threads(2)
x, dy = (np.ones({shape}, {dtype!r}) for _ in range(2))
x.reshape(-1)[::3] = 2
out = np.zeros_like(x)
where = dict(feature_axis={feature_axis}, out=out)
small = x[:2].copy()
_, mean, variance = pybn_ext.batch_norm_training(small, None, None, feature_axis={feature_axis})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    _, mean, variance = pybn_ext.batch_norm_training(x, None, None, **where)
    pybn_ext.batch_norm_gradient(x, None, mean, variance, dy, **where)
    pybn_ext.batch_norm_inference(x, None, None, mean, variance, **where)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if {sys.platform == "darwin"} else 1024))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert int(said.stdout) < 3 << 20
