"""The shift, the sums of the lanes, and the sums of the features from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.lessons.walk.way import Call, Plan, at


def shift(call: Call, way: Plan) -> np.ndarray:
    """Near the mean of each feature: the median of three means of eight elements from everywhere, in float32."""
    taken = at(call, way.samples, call.x).reshape(3, 8, call.features)
    pairs = taken[:, 0::2] + taken[:, 1::2]
    fours = pairs[:, 0::2] + pairs[:, 1::2]
    return np.median(np.float32(0.125) * (fours[:, 0] + fours[:, 1]), axis=0)


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
    running = np.zeros((len(lanes), 8))
    for position, lane in enumerate(lanes.T):
        running[:, position % 8] += lane
    while running.shape[1] > 1:
        running = running[:, 0::2] + running[:, 1::2]
    return running[:, 0]


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
