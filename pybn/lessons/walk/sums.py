"""The shift, the sums of the lanes, and the sums of the features from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.lessons.walk.way import SPARE, Call, Plan, at


def shift(call: Call, way: Plan) -> np.ndarray:
    """Near the mean of each feature: the median of three means of eight elements from everywhere, in float32.

    It has few digits: it is rounded by less than the nearer of the other two is away.
    """
    taken = at(call, way.samples, call.x).reshape(3, 8, call.features)
    pairs = taken[:, 0::2] + taken[:, 1::2]
    fours = pairs[:, 0::2] + pairs[:, 1::2]
    below, middle, above = np.sort(np.float32(0.125) * (fours[:, 0] + fours[:, 1]), axis=0)
    gap = np.minimum(middle - below, above - middle) * np.float32(1.5 * 2**21)
    return (middle + gap) - gap


def lane_sums(call: Call, way: Plan, around: np.ndarray, dy: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The two sums of each lane, added in float32: of d = x - `around` and of d², or of dy and dy d; 0 where masked.

    A lane is a place in a row.  With features last all of a small batch is one row, and each element has a lane of its
    own, (rows of x, features); else the lanes are the elements of each feature's run, (features, inner).
    """
    keep = call.keep[:, None, :]
    # What stands under the mask may be anything; it is set to 0 before it is subtracted or multiplied.
    d = np.where(keep, np.where(keep, call.x, 0) - around[None, :, None], np.float32(0))
    g = d if dy is None else np.where(keep, np.reshape(dy, call.x.shape), np.float32(0))
    if way.by_rows:
        return g[:, :, 0], (g * d)[:, :, 0]
    return column_sums(g, 8 if dy is None else 4), column_sums(g * d, 8 if dy is None else 4)


def column_sums(values: np.ndarray, most: int) -> np.ndarray:
    """The sum over the first axis in the type of `values`: eight rows at a time by pairs, then four, then each."""
    total, row = np.zeros_like(values[0]), 0
    for height in (8, 4, 1):
        while height <= most and row + height <= len(values):
            some = values[row : row + height]
            while len(some) > 1:
                some = some[0::2] + some[1::2]
            total = total + some[0]
            row += height
    return total


def totals(way: Plan, lanes: np.ndarray) -> np.ndarray:
    """One sum for each feature, in float64: of glued rows with what rounding lost, of a run by eight running sums."""
    lanes = lanes.astype(np.float64)
    if way.by_rows:
        return compensated(lanes)
    running = _running(lanes)
    while running.shape[1] > 1:
        running = running[:, 0::2] + running[:, 1::2]
    return running[:, 0]


def _running(lanes: np.ndarray) -> np.ndarray:
    """The eight running sums of each feature: lane j belongs to the one of j % 8."""
    running = np.zeros((len(lanes), 8))
    for position, lane in enumerate(lanes.T.astype(np.float64)):
        running[:, position % 8] += lane
    return running


def share_among(n: int) -> float:
    """Of the squares of n elements, that one partial sum may have."""
    return 0.75 if n < 32 else 0.6 if n < 64 else 0.5 if n < 256 else 0.4


def peaked(call: Call, way: Plan, lanes: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Whether one partial sum has most of a feature's squares, whose lanes are given."""
    share = share_among(call.count)
    if way.by_rows:
        return lanes.astype(np.float64).max(axis=0) > share * totals(way, lanes)
    if call.inner > 2:
        return _running(lanes).max(axis=1) > share * totals(way, lanes)
    # Of a run of two the lanes do not tell: in each, sums of four rows.
    share = share_among(call.count // call.inner)
    d = np.where(
        call.keep[:, None, :], np.where(call.keep[:, None, :], call.x, 0) - around[None, :, None], np.float32(0)
    )
    rows = len(d) // 4 * 4
    fours = [column_sums((d * d)[row : row + 4], 4) for row in range(0, rows, 4)] + list((d * d)[rows:])
    exact = np.float32 if call.features * call.inner >= SPARE else np.float64
    return (np.max(fours, axis=0).astype(exact) > np.asarray(share, exact) * lanes.astype(exact)).any(axis=1)


def compensated(values: np.ndarray, lost: Any = 0.0) -> np.ndarray:
    """The sum over the first axis, and what each addition loses (Neumaier 1974)."""
    plain = np.zeros(values.shape[1:])
    lost = np.zeros_like(plain) + lost
    for value in values:
        after = plain + value
        larger = np.abs(plain) >= np.abs(value)
        lost = lost + np.where(larger, (plain - after) + value, (value - after) + plain)
        plain = after
    return plain + lost
