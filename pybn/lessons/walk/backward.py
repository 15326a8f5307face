"""The gradient: its shift, where its terms may cancel, and how such a feature is mended."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pybn.lessons.walk.forward import inverse_deviation
from pybn.lessons.walk.sums import column_sums
from pybn.lessons.walk.way import FEW_ELEMENTS, SPARE, Call, Plan, at

TASTED = 64  # elements of each feature that are looked at first where they lie in runs, at the most
MOST_TASTED = 1.25  # what is taken away may be so many times the largest dx, of these few
MOST = 1.0  # and of all
UNIT = 1.1920929e-07  # of float32, at 1


class Known(NamedTuple):
    """What is known of each feature of a gradient, in float64.

    mean, inverse : of the batch, and 1 / sqrt(variance + epsilon)
    low : what rounding took from the mean
    first, along : the sums of dy and of dy (x - mean)
    """

    mean: np.ndarray
    inverse: np.ndarray
    low: np.ndarray
    first: np.ndarray
    along: np.ndarray

    @property
    def second(self) -> np.ndarray:
        """The sum of dy x-hat, which is dscale."""
        return self.along * self.inverse


def gradient_shift(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The mean as a multiple of 2**-12 deviations, or about, in float32: x - shift is then exact where x is far off."""
    exponent = ((variance.view(np.int64) >> 52 & 2047) + 1023) // 2 + 52 - 12
    grid = (exponent << 52 | 1 << 51).view(np.float64)
    return ((mean + grid) - grid).astype(np.float32)


def finish_sums(
    call: Call, mean: np.ndarray, variance: np.ndarray, around: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Known:
    """What doffset and dscale are made of, from the sums of dy and of dy (x - shift)."""
    if call.count <= FEW_ELEMENTS:
        raise ValueError(f"the walk takes gradients of more than {FEW_ELEMENTS} elements a feature, got {call.count}")
    inverse = inverse_deviation(variance, call.epsilon)
    along = second + (around.astype(np.float64) - mean) * first
    return Known(mean, inverse, np.zeros_like(mean), first, along)


def doubt(call: Call, way: Plan, known: Known, variance: np.ndarray, dx: np.ndarray, scale: Any = None) -> np.ndarray:
    """Whether what was taken from dy may be large against dx, as far as a few elements of the written dx tell."""
    factor = np.abs(known.inverse if scale is None else np.asarray(scale, np.float64) * known.inverse)
    # No x is further from its mean than sqrt(n) deviations.
    taken = np.abs(known.first) * (1 / call.count) + np.abs(known.second) * (1 / np.sqrt(call.count))
    least = np.maximum(taken, 1e-15) / MOST_TASTED * factor
    if call.inner >= SPARE and call.keep.all():
        lanes = min(call.inner, TASTED) // SPARE * SPARE
        largest = np.abs(dx[: TASTED // lanes, :, :lanes]).max(axis=(0, 2))
        least = least.astype(np.float32)
    else:
        largest = np.abs(at(call, way.samples, dx)).max(axis=0)
    return ~((largest >= least) & (taken <= 1e37) & (variance >= 1e-30) & (factor > 0))


def look_closer(call: Call, known: Known, variance: np.ndarray, dy: Any) -> np.ndarray:
    """The same of all elements, and of the x that are there, in float32.

    The compiled path stops where what it saw, and no x further than the rest of the variance allows, is enough.
    """
    keep = call.keep[:, None, :]
    centre, slope = known.first / call.count, known.second / call.count * known.inverse
    mean32, centre32, slope32 = (each.astype(np.float32)[None, :, None] for each in (known.mean, centre, slope))
    d = np.where(keep, call.x, mean32) - mean32
    left = np.where(keep, np.abs((_like(call, dy) - centre32) - d * slope32), 0)
    largest, furthest = left.max(axis=(0, 2)), np.abs(d).max(axis=(0, 2))
    taken = np.abs(centre) + np.abs(slope) * furthest.astype(np.float64)
    in_range = (largest >= 1e-25) & (largest <= 1e37) & (variance >= 1e-30)
    return ~((taken <= MOST * largest) & in_range & (largest.astype(np.float64) ** 2 * variance >= 1e-60))


def mend(call: Call, known: Known, variance: np.ndarray, dy: Any, again: np.ndarray) -> Known:
    """The sums of the features in doubt in float64, around the batch's own mean; the others as they were."""
    keep = call.keep[:, None, :]
    d = np.where(keep, call.x.astype(np.float64) - known.mean[None, :, None], 0.0)
    g = np.where(keep, _like(call, dy).astype(np.float64), 0.0)
    first, along = _wide(g, 4), _wide(g * d, 4)
    drift, square = _wide(d, 8) / call.count, _wide(d * d, 8) / call.count
    own = square - drift * drift
    # Those that were given are the batch's own but for the rounding of a float32 forward pass: the batch's own then.
    size = np.maximum(np.abs(known.mean), np.sqrt(own))
    same = (np.abs(drift) <= 4 * UNIT * size) & (np.abs(own - variance) <= 8 * UNIT * own)
    inverse = np.where(same, inverse_deviation(own, call.epsilon), known.inverse)
    along = np.where(same, along - drift * first, along)
    mended = Known(known.mean, inverse, np.where(same, drift, known.low), first, along)
    return Known(*(np.where(again, new, old) for new, old in zip(mended, known, strict=True)))


def _wide(values: np.ndarray, most: int) -> np.ndarray:
    """The sum of each feature: of up to 16 rows in float64, then over its lanes with what rounding lost."""
    rows, lanes, lost = 16, np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
    for start in range(0, len(values), rows):
        partial = column_sums(values[start : start + rows], most)
        after = lanes + partial
        taken = after - lanes
        lost += (lanes - (after - taken)) + (partial - taken)
        lanes = after
    total = np.zeros(len(lanes))
    rest = np.zeros(len(lanes))
    for lane, lost_of_lane in zip(lanes.T, lost.T, strict=True):
        after = total + lane
        larger = np.abs(total) >= np.abs(lane)
        rest = rest + np.where(larger, (total - after) + lane, (lane - after) + total) + lost_of_lane
        total = after
    return total + rest


def gradient_table(call: Call, known: Known, scale: Any = None, around: np.ndarray | None = None) -> np.ndarray:
    """The constants of dx = ((dy - t3) - (x - t0) t2) t1, (4, features): in float32 with the shift, else in float64."""
    t0 = known.mean if around is None else around.astype(np.float64)
    t1 = known.inverse if scale is None else np.asarray(scale, np.float64) * known.inverse
    t2 = known.inverse * (known.second / call.count)
    t3 = known.first / call.count - ((known.mean - t0) + known.low) * t2
    return np.array([t0, t1, t2, t3]).astype(np.float64 if around is None else np.float32)


def write_gradient(call: Call, constants: np.ndarray, dy: Any) -> np.ndarray:
    """dx, (outer, features, inner), computed in the type of the constants; under the mask it is dy."""
    t0, t1, t2, t3 = constants[:, None, :, None]
    g = _like(call, dy)
    x = np.where(call.keep[:, None, :], call.x, 0).astype(constants.dtype)
    dx = ((g.astype(constants.dtype) - t3) - (x - t0) * t2) * t1
    return np.where(call.keep[:, None, :], dx.astype(np.float32), g)


def _like(call: Call, dy: Any) -> np.ndarray:
    """dy as (outer, features, inner)."""
    return np.reshape(np.asarray(dy), call.x.shape)
