"""`pybn.lessons.walk` does what the compiled path does, to the last bit."""

import numpy as np
import pytest

from pybn.lessons import walk
from pybn.lessons.walk import way

ext = pytest.importorskip("pybn_ext", reason="pybn_ext is not built")

EPSILON = 1e-3


def training(x, scale, offset, axis, mask):
    """`batch_norm_training`, stage by stage."""
    call = walk.entry(x, feature_axis=axis, mask=mask, epsilon=EPSILON)
    found = walk.moments(call, walk.plan(call))
    y = walk.write(call, walk.table(call, found, scale, offset))
    return y.reshape(x.shape), found.mean, found.variance


def gradient(x, scale, mean, variance, dy, axis, mask):
    """`batch_norm_gradient`, stage by stage; and which features were mended."""
    call = walk.entry(x, feature_axis=axis, mask=mask, epsilon=EPSILON)
    rows = walk.plan(call)
    around = walk.gradient_shift(mean, variance)
    sums = (walk.totals(rows, lanes) for lanes in walk.lane_sums(call, rows, around, dy))
    known = walk.finish_sums(call, mean, variance, around, *sums)
    dx = walk.write_gradient(call, walk.gradient_table(call, known, scale, around), dy)
    again = walk.doubt(call, rows, known, variance, dx, scale) & walk.look_closer(call, known, variance, dy)
    if again.any():
        known = walk.mend(call, known, variance, dy, again)
        mended = walk.write_gradient(call, walk.gradient_table(call, known, scale), dy)
        dx = np.where(again[None, :, None], mended, dx)
    return (dx.reshape(x.shape), known.second.astype(np.float32), known.first.astype(np.float32)), again


def some_batches(rng, number):
    """Small float32 batches of both layouts: masked or not, near and far means, outliers, constants."""
    for trial in range(number):
        if trial % 2:
            features = int(rng.integers(1, 63))
            shape, axis = (int(rng.integers(2, -(-way.LANES // features))), features), -1
        else:
            inner = int(rng.integers(2, way.SHORT_LANES))
            shape, axis = (int(rng.integers(1, 17)), int(rng.integers(1, max(2, 128 // inner))), inner), 1
        x = rng.normal(size=shape) * 10 ** rng.uniform(-2, 2) + rng.normal() * 10 ** rng.uniform(-3, 4)
        if trial % 7 == 0:
            x[0] *= 1000
        if trial % 13 == 0:
            x[...] = 3.3
        x = x.astype(np.float32)
        others = shape[:1] if axis == -1 else shape[::2]
        mask = rng.random(others) < 0.8 if trial % 3 else None
        if mask is not None:
            mask.flat[:2] = True
            if trial % 5 == 0:  # padding at the end, from which samples are taken elsewhere
                mask.flat[mask.size // 2 :] = False
                mask.flat[:2] = True
            x[~np.broadcast_to(np.expand_dims(mask, axis), shape)] = np.nan
        yield x, axis, mask


def same(walked, compiled):
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(walked, compiled, strict=True))


def test_training_has_the_compiled_bits():
    rng = np.random.default_rng(0)
    careful = 0
    for x, axis, mask in some_batches(rng, 300):
        scale, offset = rng.normal(size=(2, x.shape[axis])).astype(np.float32)
        compiled = ext.batch_norm_training(x, scale, offset, feature_axis=axis, epsilon=EPSILON, mask=mask)
        assert same(training(x, scale, offset, axis, mask), compiled), (x.shape, mask)
        call = walk.entry(x, feature_axis=axis, mask=mask)
        careful += walk.moments(call, walk.plan(call)).again.sum()
    assert careful > 10, "some of them took the second look"


def test_the_gradient_has_the_compiled_bits():
    rng = np.random.default_rng(1)
    mended = left = 0
    for number, (x, axis, mask) in enumerate(some_batches(rng, 300)):
        if (x.size // x.shape[axis] if mask is None else mask.sum()) <= way.FEW_ELEMENTS:
            continue
        scale = rng.normal(size=x.shape[axis]).astype(np.float32)
        y, mean, variance = ext.batch_norm_training(x, scale, None, feature_axis=axis, epsilon=EPSILON, mask=mask)
        noise = rng.normal(size=x.shape)
        dy = (noise, 100 + noise, np.nan_to_num(y), np.ones_like(x), 10 * np.nan_to_num(y) + noise)[number % 5]
        dy = dy.astype(np.float32)
        compiled = ext.batch_norm_gradient(x, scale, mean, variance, dy, feature_axis=axis, epsilon=EPSILON, mask=mask)
        walked, again = gradient(x, scale, mean, variance, dy, axis, mask)
        assert same(walked, compiled), (x.shape, number % 5)
        mended += again.sum()
        left += (~again).sum()
    assert min(mended, left) > 100, "some were mended, and some were not"


def test_what_the_walk_does_not_know_is_refused():
    with pytest.raises(ValueError, match="takes float32 of fewer than 65536 elements, got float64 of 6"):
        walk.entry(np.ones((2, 3)))
    with pytest.raises(ValueError, match="takes fewer than 43 rows of 3 features, got 50"):
        walk.plan(walk.entry(np.ones((50, 3), np.float32)))
    with pytest.raises(ValueError, match="runs of fewer than 40"):
        walk.plan(walk.entry(np.ones((2, 3, 50), np.float32), feature_axis=1))
    call = walk.entry(np.ones((5, 3), np.float32))
    with pytest.raises(ValueError, match="gradients of more than 8 elements a feature, got 5"):
        walk.finish_sums(call, *np.ones((5, 3)))
