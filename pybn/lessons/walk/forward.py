"""From the sums to y: mean and variance of each feature, the second look, the constants of the write, the write."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pybn.lessons.walk.sums import compensated, lane_sums, peaked, shift, totals
from pybn.lessons.walk.way import FEW_ELEMENTS, SPARE, Call, Plan

# Squared distance of shift and mean, in variances, from which the sums are taken again: of fewer than 1024 elements.
FAR = 0.5


class Moments(NamedTuple):
    """One float64 for each feature.

    mean, variance : of the batch
    low : what rounding took from the mean
    again : whether the sums say too little, so that they are to be taken again
    """

    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    again: np.ndarray


def finish_moments(call: Call, around: np.ndarray, first: np.ndarray, second: np.ndarray) -> Moments:
    """Mean and variance from the sums around the shift."""
    around = around.astype(np.float64)
    distance = first / call.count
    variance = second / call.count - distance * distance
    mean = around + distance
    again = ~(distance * distance <= FAR * variance) | ~(variance >= 1e-30)
    return Moments(mean, variance, (around - mean) + distance, again)


def look_again(call: Call, moments: Moments, constant: np.ndarray) -> Moments:
    """Once more where `again` says so, in float64 around the mean: sixteen lanes, and their compensated sum."""
    keep = call.keep[:, None, :]
    d = np.where(keep, np.where(keep, call.x, 0).astype(np.float64) - moments.mean[None, :, None], 0.0)
    first, second = (compensated(_sixteen_lanes(each)) for each in (d, d * d))
    drift = first / call.count
    variance = second / call.count - drift * drift
    mean = moments.mean + drift
    taken = moments.again & ~constant
    return Moments(
        np.where(taken, mean, moments.mean),
        np.where(taken, variance, moments.variance),
        np.where(taken, (moments.mean - mean) + drift, moments.low),
        taken,
    )


def _sixteen_lanes(values: np.ndarray) -> np.ndarray:
    """Plain sums of each feature, (16, features): by rows, or where the elements lie in runs by their place there."""
    if values.shape[2] == 1:
        values = values.transpose(2, 1, 0)
    lanes = np.zeros((SPARE, values.shape[1]))
    for run in values:
        for place, each in enumerate(run.T):
            lanes[place % SPARE] += each
    return lanes


def few_moments(call: Call) -> Moments:
    """Of at most FEW_ELEMENTS elements: in float64 from the start."""
    x = np.moveaxis(call.x, 1, 2)[call.keep].astype(np.float64)
    near = np.zeros(call.features)
    for each in x[1:]:
        near = near + (each - x[0])
    near = x[0] + near / call.count
    rest, squares = np.zeros_like(near), np.zeros_like(near)
    for each in x:
        rest = rest + (each - near)
        squares = squares + (each - near) * (each - near)
    variance = (squares - rest * (rest / call.count)) / call.count
    mean = near + rest / call.count
    return Moments(mean, variance, (near - mean) + rest / call.count, np.zeros(call.features, bool))


def moments(call: Call, way: Plan) -> Moments:
    """All stages up to mean and variance."""
    if call.count <= FEW_ELEMENTS:
        return few_moments(call)
    around = shift(call, way)
    first_lanes, second_lanes = lane_sums(call, way, around)
    first, second = totals(way, first_lanes), totals(way, second_lanes)
    found = finish_moments(call, around, first, np.where(peaked(call, way, second_lanes, around), np.nan, second))
    values = np.where(call.keep[:, None, :], call.x, around[None, :, None])
    constant = (first == 0) & (second == 0) & (values == around[None, :, None]).all(axis=(0, 2))
    return look_again(call, found, constant)


def inverse_deviation(variance: np.ndarray, epsilon: float) -> np.ndarray:
    """1 / sqrt(variance + epsilon); 0 where that would be 1 / 0."""
    square = variance + epsilon
    return np.divide(1.0, np.sqrt(square), out=np.zeros_like(square), where=square != 0)


def table(call: Call, found: Moments, scale: Any = None, offset: Any = None) -> np.ndarray:
    """The constants of y = (x - t0) t1 + t2, (3, features) in float32: t2 pays back what rounding took from t0."""
    inverse = inverse_deviation(found.variance, call.epsilon)
    t0 = found.mean.astype(np.float32).astype(np.float64)
    t1 = inverse if scale is None else np.asarray(scale, np.float64) * inverse
    t2 = (0.0 if offset is None else np.asarray(offset, np.float64)) - ((found.mean - t0) + found.low) * t1
    return np.array([t0, t1, t2]).astype(np.float32)


def write(call: Call, constants: np.ndarray) -> np.ndarray:
    """y, (outer, features, inner), in float32; under the mask what came in."""
    t0, t1, t2 = constants[:, None, :, None]
    return np.where(call.keep[:, None, :], (call.x - t0) * t1 + t2, call.x)
