"""The door and the way: an array as (outer, features, inner), and how it becomes rows of lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pybn import arguments

SPARE = 16  # elements of the longest vector
LANES = 128  # a row of fewer lanes than this is glued to the next
FEW_ELEMENTS = 8  # of a feature: their moments are taken in float64
SAMPLES = 24  # elements of each feature from which the shift is taken
SERIAL = 65536  # elements from which on work is shared out
SHORT_LANES = 40  # elements of a run below which each is a lane


@dataclass(frozen=True)
class Call:
    """What one call computes on.

    x (outer, features, inner) : the batch, float32
    keep (outer, inner) : the mask, True is real
    count : real elements of each feature
    epsilon : added to each variance
    """

    x: np.ndarray
    keep: np.ndarray
    count: int
    epsilon: float

    @property
    def outer(self) -> int:
        """The product of the axes before the features."""
        return self.x.shape[0]

    @property
    def features(self) -> int:
        """How many there are."""
        return self.x.shape[1]

    @property
    def inner(self) -> int:
        """The product of the axes behind the features: the length of a run."""
        return self.x.shape[2]


class Plan(NamedTuple):
    """How a layout becomes rows of lanes.

    by_rows : features last; else tiles of whole features
    glue : rows of x that make one row of lanes
    lanes : of a row
    samples : positions (outer * inner + inner index) of the elements from which the shift is taken
    """

    by_rows: bool
    glue: int
    lanes: int
    samples: tuple[int, ...]


def entry(x: Any, *, feature_axis: int = -1, mask: Any = None, epsilon: float = 1e-3) -> Call:
    """The batch as the compiled path sees it; the arguments are those of `pybn.reference.batch_norm_training`.

    Raises ValueError where it is not the ordinary case of a small batch: float32, one feature axis, one part.
    """
    batch = arguments.batch(x, feature_axis, mask)
    x = np.asarray(x)
    axis = feature_axis % x.ndim
    if x.dtype != np.float32 or x.size >= SERIAL:
        raise ValueError(f"the walk takes float32 of fewer than {SERIAL} elements, got {x.dtype} of {x.size}")
    outer, features = int(np.prod(x.shape[:axis])), x.shape[axis]
    view = x.reshape(outer, features, -1)
    keep = np.ones((outer, view.shape[2]), bool)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.ndim == x.ndim:
            mask = np.squeeze(mask, axis)
        keep = np.broadcast_to(mask, np.delete(x.shape, axis)).reshape(keep.shape)
    return Call(view, keep, batch.count, epsilon)


def plan(call: Call) -> Plan:
    """The way of a small batch; ValueError for one that would be cut in pieces."""
    by_rows = call.inner == 1
    if by_rows and call.features < LANES // 2:
        glue = -(-LANES // call.features)
        if call.outer >= glue:
            raise ValueError(f"the walk takes fewer than {glue} rows of {call.features} features, got {call.outer}")
        lanes = glue * call.features
    elif not by_rows and call.inner < SHORT_LANES and call.outer <= SPARE and call.features * call.inner <= LANES:
        glue, lanes = 1, call.features * call.inner
    else:
        raise ValueError(
            f"the walk takes rows of fewer than {LANES // 2} features, or up to {SPARE} images with runs of fewer than "
            f"{SHORT_LANES} and {LANES} elements in all; got {call.x.shape} as (outer, features, inner)"
        )
    last = call.outer * call.inner - 1
    spread = [_next_kept(call, i * last // (SAMPLES - 1)) for i in range(SAMPLES)]
    # In turn to the three groups that they are taken in, so that each sees all of x.
    return Plan(by_rows, glue, lanes, tuple(spread[i] for group in range(3) for i in range(group, SAMPLES, 3)))


def _next_kept(call: Call, position: int) -> int:
    """The first unmasked position from there on, cyclically."""
    keep = call.keep.ravel()
    while not keep[position]:
        position = (position + 1) % len(keep)
    return position


def at(call: Call, positions: Any, values: np.ndarray) -> np.ndarray:
    """What stands at some positions of each feature: (positions, features)."""
    return np.moveaxis(values, 1, 2).reshape(-1, call.features)[np.asarray(positions)]
