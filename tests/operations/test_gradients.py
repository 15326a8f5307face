"""Gradients against answers that do not know the derivation: complex step and central differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arrays, checks, oracle

# n = 2, 3, 5 elements a feature and C = 1, 31, 33, and images with every size different.
CASES = [
    ((2, 3), -1),
    ((3, 31), 1),
    ((5, 33), -1),
    ((5, 1), 1),
    ((4, 3), 0),
    ((2, 3, 4), 1),
    ((2, 3, 4, 5), 1),
    ((2, 3, 4, 5), -1),
    ((2, 3, 2, 3), (1, 2)),
    ((2, 3, 2, 3), (0, 3)),
]
IDS = [f"{shape}-{axis}" for shape, axis in CASES]


def problem(rng, shape, feature_axis):
    """x of a mean away from 0, random parameters of both signs, and a random cotangent.

    Under dy = 1 the true dx is 0, and dropping the variance's path would go unseen.
    """
    x = arrays.sample(rng, shape, np.float64, feature_axis)
    scale, offset = arrays.parameters(rng, shape, feature_axis, np.float64)
    return x, scale, offset, rng.standard_normal(shape)


def assert_close(got, expected, size, what):
    # Both sides add at most 100 terms of this size: 100 units of 2.2e-16; a mean 12 deviations away costs 4 times that.
    checks.assert_within(got, expected, 1e-13 * size, what)


def step_and_kernels(kernels, x, scale, offset, dy, epsilon, where):
    _, mean, variance = kernels.batch_norm_training(x, scale, offset, epsilon=epsilon, **where)
    got = kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=epsilon, **where)
    return got, oracle.complex_gradient(x, scale, offset, dy, epsilon=epsilon, **where)


@pytest.mark.parametrize(("shape", "feature_axis"), CASES, ids=IDS)
@pytest.mark.parametrize("epsilon", [1e-3, 0.3, 0.0])
def test_training_by_complex_step(kernels, rng, shape, feature_axis, epsilon):
    x, scale, offset, dy = problem(rng, shape, feature_axis)
    where = {"feature_axis": feature_axis}
    got, expected = step_and_kernels(kernels, x, scale, offset, dy, epsilon, where)
    _, _, variance = kernels.batch_norm_training(x, None, None, epsilon=epsilon, **where)
    largest = 2 * np.abs(dy).max() * np.sqrt(x.size) / np.sqrt(variance.min() + epsilon)
    for name, a, b in zip(("dx", "dscale", "doffset"), got, expected, strict=True):
        assert_close(a, b, max(largest, np.abs(dy).sum()), name)


@pytest.mark.parametrize("feature_axis", [-1, 1, (0, 2)], ids=str)
def test_masked_training_by_complex_step(kernels, rng, feature_axis):
    shape = (4, 3, 5)
    for name, mask in arrays.masks(rng, shape, feature_axis).items():
        x, scale, offset, dy = problem(rng, shape, feature_axis)
        where = {"feature_axis": feature_axis, "mask": mask}
        got, expected = step_and_kernels(kernels, x, scale, offset, dy, 0.1, where)
        for which, a, b in zip(("dx", "dscale", "doffset"), got, expected, strict=True):
            assert_close(a, b, 10 * np.abs(dy).sum(), f"{which} with mask {name!r}")


@pytest.mark.parametrize(("shape", "feature_axis"), CASES, ids=IDS)
def test_inference_by_complex_step(kernels, rng, shape, feature_axis):
    x, scale, offset, dy = problem(rng, shape, feature_axis)
    mean, variance = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)
    mask = arrays.masks(rng, shape, feature_axis)["rank of x"]
    for where in ({"feature_axis": feature_axis}, {"feature_axis": feature_axis, "mask": mask}):
        got = kernels.batch_norm_inference_gradient(x, scale, mean, variance, dy, **where)
        expected = oracle.complex_gradient(x, scale, offset, dy, statistics=(mean, variance), **where)
        for name, a, b in zip(("dx", "dscale", "doffset"), got, expected, strict=True):
            assert_close(a, b, 10 * np.abs(dy).sum(), name)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_the_implementation_against_differences_of_itself(kernels, rng, training, masked):
    """Each implementation's gradient is the gradient of its own forward pass."""
    shape, feature_axis = (3, 2, 4), 1
    x, scale, offset, dy = problem(rng, shape, feature_axis)
    where = {"feature_axis": feature_axis}
    if masked:
        where["mask"] = arrays.masks(rng, shape, feature_axis)["rank of the other axes"]
    statistics = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)

    def loss(x, scale, offset):
        if training:
            y, _, _ = kernels.batch_norm_training(x, scale, offset, **where)
        else:
            y = kernels.batch_norm_inference(x, scale, offset, *statistics, **where)
        return (dy * y).sum()

    if training:
        _, mean, variance = kernels.batch_norm_training(x, scale, offset, **where)
        got = kernels.batch_norm_gradient(x, scale, mean, variance, dy, **where)
    else:
        got = kernels.batch_norm_inference_gradient(x, scale, *statistics, dy, **where)
    # Central differences: the third derivative costs step**2 (1e-10 of values below 1e2), rounding 1e-15 * 1e2 / step.
    step = 1e-5
    for which, name in enumerate(("dx", "dscale", "doffset")):
        expected = np.empty(got[which].shape)
        for index in np.ndindex(expected.shape):
            moved = [[v.copy() for v in (x, scale, offset)] for _ in range(2)]
            moved[0][which][index] += step
            moved[1][which][index] -= step
            expected[index] = (loss(*moved[0]) - loss(*moved[1])) / (2 * step)
        checks.assert_within(got[which], expected, 1e-7, name)


def test_the_oracles_agree(rng):
    """Rational sums and complex step are two answers; on a healthy problem they are one."""
    for shape, feature_axis in CASES:
        x, scale, offset, dy = problem(rng, shape, feature_axis)
        mask = arrays.masks(rng, shape, feature_axis)["rank of the other axes"]
        where = {"feature_axis": feature_axis, "mask": mask}
        stats = oracle.statistics(x, **where)
        exact = oracle.gradient(x, stats, dy, scale, epsilon=0.1, **where)
        step = oracle.complex_gradient(x, scale, offset, dy, epsilon=0.1, **where)
        for name, a, b in zip(("dx", "dscale", "doffset"), step, exact, strict=True):
            assert_close(a, b, 10 * np.abs(dy).sum(), name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_a_constant_cotangent_is_nothing(kernels, rng, dtype):
    """dy = 1: y's sum is n * offset whatever x is, so dx = 0 up to the rounding of its terms."""
    x = arrays.sample(rng, (50, 3), dtype)
    dy = np.ones_like(x)
    _, mean, variance = kernels.batch_norm_training(x, None, None)
    dx, _, doffset = kernels.batch_norm_gradient(x, None, mean, variance, dy)
    assert doffset.tolist() == [50.0] * 3
    loss = checks.numpy_loss(kernels, x, 50)
    # dy - doffset / n is exactly 0, and dscale / n is the rounding of the mean, at most half a unit of 24 deviations,
    # eps * 24 / 4, times an x-hat of 2.6 at most.
    bound = (16 * np.finfo(dtype).eps + 16 * loss) / np.sqrt(variance.min())
    checks.assert_within(dx, np.zeros_like(dx), bound, "dx")


def test_gradient_of_one_element_is_nothing(kernels, rng):
    """n = 1: y is the offset whatever x is."""
    for dtype in arrays.DTYPES:
        for shape, axis in (((1, 5), -1), ((1, 5, 1, 1), 1), ((7, 4), (1,))):
            x = arrays.sample(rng, shape, dtype, axis)
            mask = None
            if x.shape[0] == 7:
                mask = np.arange(7) == 3
            scale, offset = arrays.parameters(rng, shape, axis, dtype)
            dy = rng.standard_normal(shape).astype(dtype)
            where = {"feature_axis": axis, "mask": mask}
            y, mean, variance = kernels.batch_norm_training(x, scale, offset, **where)
            dx, dscale, _ = kernels.batch_norm_gradient(x, scale, mean, variance, dy, **where)
            real = slice(None) if mask is None else mask
            assert (variance == 0).all()
            assert (dscale == 0).all()
            assert (dx[real] == 0).all()
            checks.assert_same(y[real].ravel(), offset.ravel(), "y")
