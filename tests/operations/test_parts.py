"""Parts of a batch: the two halves of its gradient, parts that are empty, and what a whole must have."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import reference
from tests.support import arrays, checks, oracle

DTYPES = arrays.NAMES
AXES = [-1, 1, (0, 2)]


def whole(rng, shape, dtype, feature_axis):
    """x, dy, scale, and the batch's mean and variance."""
    x = arrays.sample(rng, shape, dtype, feature_axis)
    dy = rng.standard_normal(shape).astype(dtype)
    scale, _ = arrays.parameters(rng, shape, feature_axis, dtype)
    _, mean, variance = reference.moments(x, feature_axis=feature_axis)
    return x, dy, scale, mean, variance


@pytest.mark.parametrize("feature_axis", AXES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_halves_are_the_gradient(kernels, rng, dtype, feature_axis, masked):
    """In the reference to the last bit; in the twin each within its bound of the exact answer."""
    shape = (6, 5, 4)
    x, dy, scale, mean, variance = whole(rng, shape, dtype, feature_axis)
    mask = arrays.masks(rng, shape, feature_axis)["rank of x"] if masked else None
    where = {"feature_axis": feature_axis, "mask": mask}
    sums = kernels.batch_norm_gradient_sums(x, mean, variance, dy, **where)
    dx = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **where)
    assert type(sums) is reference.GradientSums
    assert sums.count == oracle.statistics(x, **where).count
    checks.check_halves(kernels, x, dy, mean, variance, scale, **where)
    if kernels is reference:
        fused, dscale, doffset = kernels.batch_norm_gradient(x, scale, mean, variance, dy, **where)
        checks.assert_same(dx, fused, "dx")
        checks.assert_same(sums.dy_normalized.astype(dscale.dtype), dscale, "dscale")
        checks.assert_same(sums.dy.astype(doffset.dtype), doffset, "doffset")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 8), (3, 0, 6), (2, 2, 5), (0, 9), (9,)], ids=str)
def test_sums_of_parts_add_up(kernels, rng, dtype, sizes):
    """dx of every part, from the sums of all, is that of the whole: also for a part of nothing."""
    x, dy, scale, mean, variance = whole(rng, (9, 3), dtype, -1)
    cuts = np.cumsum(sizes)[:-1]
    parts = list(zip(np.split(x, cuts), np.split(dy, cuts), strict=True))
    sums = [kernels.batch_norm_gradient_sums(part, mean, variance, cotangent) for part, cotangent in parts]
    total = sums[0]
    for more in sums[1:]:
        total = total + more
    assert total.count == 9
    dx = [
        kernels.batch_norm_gradient_from_sums(part, scale, mean, variance, cotangent, total)
        for part, cotangent in parts
    ]
    checks.assert_dx(np.concatenate(dx), x, dy, mean, variance, scale)


@pytest.mark.parametrize("dtype", [*arrays.HALVES, "float32"])
def test_gradient_sums_are_precise_where_the_whole_cancels(kernels, rng, dtype):
    """A part cannot see that the terms of the whole cancel, so its sums are float64's always."""
    x, _, scale, _, _ = whole(rng, (300, 5), dtype, -1)
    y, mean, variance = kernels.batch_norm_training(x, None, None)
    cuts = [7, 100]
    parts = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
    sums = [kernels.batch_norm_gradient_sums(part, mean, variance, dy) for part, dy in parts]
    total = sums[0] + sums[1] + sums[2]
    dx = [kernels.batch_norm_gradient_from_sums(part, scale, mean, variance, dy, tuple(total)) for part, dy in parts]
    checks.assert_dx(np.concatenate(dx), x, y, mean, variance, scale)


def test_dx_goes_where_it_is_told(kernels, rng):
    x, dy, scale, mean, variance = whole(rng, (6, 5, 4), np.float32, 1)
    where = {"feature_axis": 1}
    sums = kernels.batch_norm_gradient_sums(x, mean, variance, dy, **where)
    expected = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **where)
    out = np.full(x.shape, np.nan, np.float32)
    with checks.untouched(x, scale, mean, variance, dy, sums.dy, sums.dy_normalized):
        got = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, out=out, **where)
    assert got is out
    checks.assert_same(out, expected, "dx")


def test_dx_may_not_go_over_the_sums_that_it_is_made_from(kernels, rng):
    memory = np.ones((3, 3))
    mean, variance = np.zeros(3), np.ones(3)
    for sums in ((3, memory[1], np.ones(3)), (3, np.ones(3), memory[2])):
        with pytest.raises(ValueError, match="out must not share memory with an input"):
            kernels.batch_norm_gradient_from_sums(
                rng.standard_normal((3, 3)), None, mean, variance, np.ones((3, 3)), sums, out=memory
            )
    np.testing.assert_array_equal(memory, 1)


@pytest.mark.parametrize("count", [2**62, 2**63 - 1])
def test_a_whole_of_any_number_of_elements(kernels, rng, count):
    """A part of a batch that is so large takes nothing away."""
    x, dy = rng.standard_normal((2, 8, 3))
    sums = (count, np.ones(3), np.ones(3))
    dx = kernels.batch_norm_gradient_from_sums(x, None, np.zeros(3), np.ones(3), dy, sums, epsilon=0.0)
    np.testing.assert_allclose(dx, dy, rtol=1e-15, atol=1e-15)


def nothings(dtype):
    """x of nothing, and its mask: no rows, no pixels, all of it masked."""
    yield np.zeros((0, 3, 2), dtype), None
    yield np.zeros((4, 3, 0), dtype), None
    yield np.full((4, 3, 2), np.nan, dtype), np.zeros((4, 2), bool)
    yield np.zeros((0, 3, 2), dtype), np.zeros((0, 2), bool)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_nothing(kernels, dtype):
    """Moments and sums are 0, inference gives back what is masked, and a whole of nothing has no gradient."""
    mean, variance, scale = np.ones(3), np.full(3, 2.0), np.full(3, 3, dtype)
    for x, mask in nothings(dtype):
        where = {"feature_axis": 1, "mask": mask}
        count, *statistics = kernels.moments(x, **where)
        assert (count, [s.tolist() for s in statistics]) == (0, [[0.0] * 3] * 2)
        checks.assert_same(kernels.batch_norm_inference(x, scale, scale, mean, variance, **where), x, "y")
        dx, dscale, doffset = kernels.batch_norm_inference_gradient(x, scale, mean, variance, x, **where)
        checks.assert_same(dx, x, "dx")
        assert (dscale.tolist(), doffset.tolist()) == ([0.0] * 3, [0.0] * 3)
        sums = kernels.batch_norm_gradient_sums(x, mean, variance, x, **where)
        assert (sums.count, sums.dy.tolist(), sums.dy_normalized.tolist()) == (0, [0.0] * 3, [0.0] * 3)
        dx = kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, x, (5, mean, mean), **where)
        checks.assert_same(dx, x, "dx of a part of nothing")
        out = np.full(x.shape, 5, dtype)
        kernels.batch_norm_inference(x, scale, scale, mean, variance, out=out, **where)
        checks.assert_same(out, x, "out")
        with pytest.raises(ValueError, match="at least one element and the 0 of this part of it, got 0"):
            kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, x, sums, **where)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_nothing_is_the_neutral_element(kernels, count):
    """Whatever the mean of nothing is, merging it changes no bit, and copies."""
    known = kernels.Moments(count, np.array([1e200, 3.0]) * bool(count), np.array([1e-3, 7.0]) * bool(count))
    others = [] if count == 0 else [(0, np.array([-1e200, np.nan]), np.array([np.inf, 1.0]))]
    for nothing in (kernels.moments(np.zeros((0, 2))), *others):
        for a, b in ((known, nothing), (nothing, known)):
            merged = kernels.merge_moments(a, b)
            assert merged.count == count
            for name, got, want in zip(("mean", "variance"), merged[1:], known[1:], strict=True):
                checks.assert_same(got, want, name)
                assert not np.shares_memory(got, want)


def test_gradient_sums_of_other_features_do_not_add_up():
    ours, theirs = (reference.GradientSums(2, np.ones(n), np.ones(n)) for n in (3, 4))
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        ours + theirs
    with pytest.raises(TypeError, match=r"the right of \+ must be GradientSums"):
        ours + 1
    assert (ours + ours).count == 4
    assert (ours + ours).dy.tolist() == [2.0] * 3
