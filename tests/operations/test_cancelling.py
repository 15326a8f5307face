"""dx where its terms cancel: the promise is 4 units of the feature's largest dx for every dy, in every layout."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arrays, checks, oracle
from tests.support.hard import ROWS, families, layouts


@pytest.mark.sampled(4)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", arrays.NAMES)
@pytest.mark.parametrize("name", list(families(np.random.default_rng(0), 2, 1)))
def test_every_digit_of_dx(kernels, rng, name, dtype, masked):
    for rows in ROWS:
        for features in (1, 19):
            with np.errstate(over="ignore"):
                x, dy = (a.astype(dtype) for a in families(rng, rows, features)[name])
            mask = rng.random(rows) < 0.7
            mask[:2] = True
            scale = rng.uniform(0.5, 2, features).astype(dtype)
            for to_layout, axis, others in layouts(rows):
                where = {"feature_axis": axis, "mask": mask.reshape(others) if masked else None}
                checks.check_gradient(kernels, to_layout(x), to_layout(dy), scale, epsilon=1e-5, **where)
                if dtype == "float32":
                    behind_its_own_forward_pass(kernels, to_layout(x), to_layout(dy), scale, where)


def behind_its_own_forward_pass(kernels, x, dy, scale, where):
    """Where mean and variance are what a float32 forward pass returned, cancelling terms cost no more either.

    The 4 units that the variance may be off are 2 of 1 / deviation, and so of dx.
    """
    _, mean, variance = kernels.batch_norm_training(x, scale, None, epsilon=1e-5, **where)
    dx, _, _ = kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=1e-5, **where)
    exact = oracle.statistics(x, **where)
    true = (oracle.widen(each).astype(np.float64) for each in (exact.mean, exact.variance))
    checks.assert_dx(dx, x, dy, *true, scale, epsilon=1e-5, units=4 + 2, **where)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", list(families(np.random.default_rng(0), 2, 1)))
def test_every_digit_of_dx_from_the_sums_of_parts(kernels, rng, name, masked):
    """No part sees whether the terms of the whole cancel: not where its sums are taken, nor always where dx is."""
    for rows in (3, 16, 100):
        x, dy = (a.astype(np.float32) for a in families(rng, rows, 19)[name])
        mask = rng.random(rows) < 0.7
        mask[:2] = True
        scale = rng.uniform(0.5, 2, 19).astype(np.float32)
        for to_layout, axis, others in layouts(rows):
            whole = to_layout(x), to_layout(dy), mask.reshape(others)
            across = 0 if axis != 0 else 1  # the axis that is cut in two, here and in the mask
            cut = [whole[0].shape[across] // 3]
            parts = list(zip(*(np.split(a, cut, 0 if a is whole[2] else across) for a in whole), strict=True))
            in_two_parts(kernels, whole, parts, across, scale, axis, masked)


def in_two_parts(kernels, whole, parts, across, scale, axis, masked):
    x, dy, mask = whole
    masks = [each if masked else None for each in (mask, *(mask for _, _, mask in parts))]
    where = [{"feature_axis": axis, "epsilon": 1e-5, "mask": each} for each in masks]
    exact = oracle.statistics(x, axis, masks[0])
    mean, variance = (oracle.widen(each).astype(np.float64) for each in (exact.mean, exact.variance))
    sums = [
        kernels.batch_norm_gradient_sums(part, mean, variance, cotangent, **at)
        for (part, cotangent, _), at in zip(parts, where[1:], strict=True)
    ]
    dx = [
        kernels.batch_norm_gradient_from_sums(part, scale, mean, variance, cotangent, sums[0] + sums[1], **at)
        for (part, cotangent, _), at in zip(parts, where[1:], strict=True)
    ]
    checks.assert_dx(np.concatenate(dx, across), x, dy, mean, variance, scale, kernels=kernels, **where[0])


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", ["y", "100 + noise"])
@pytest.mark.parametrize("shape", [(70_001, 3), (2_500, 33), (1_031, 64), (2, 3, 40_000), (3, 70, 400)], ids=str)
def test_large(kernels, rng, name, shape):
    """In parts, in pieces, in tiles, and by more than one thread where there is one."""
    features = shape[1]
    x, dy = families(rng, int(np.prod(shape)) // features, features)[name]
    x, dy = (np.ascontiguousarray(np.moveaxis(a.reshape(shape[0], *shape[2:], features), -1, 1)) for a in (x, dy))
    scale = np.ones(features, np.float32)
    x, dy = x.astype(np.float32), dy.astype(np.float32)
    checks.check_gradient(kernels, x, dy, scale, feature_axis=1)
    if name == "y":
        _, mean, variance = kernels.moments(x.astype(np.float64), feature_axis=1)
        checks.check_halves(kernels, x, dy, mean, variance, scale, feature_axis=1)
    behind_its_own_forward_pass(kernels, x, dy, scale, {"feature_axis": 1})
