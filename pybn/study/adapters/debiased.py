"""Averages that are corrected for their start at zero: kept is h, read in test mode is h / (1 - keep ** steps).

Adam's correction, which Haiku's averages have as well.  Written to a new layer, averages would be divided by 0 (no
step was made) or not be read at all (what is read was computed by the last step).  So h and what is read are both set,
and the count of steps is set so high that the correction is gone: then the layer is one like any other, and what it
keeps of the old and takes of the new is what h says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pybn.study.adapters.places import Place, arrays_of, put, walk

MANY = 10**6  # steps: 0.999 ** MANY is 0 in float64
STEPS = 4
EXACT = 1e-3  # float32 keeps 1e-7 of each average; the corrections of two steps differ by more than 1e-2


@dataclass
class Debiased:
    """The places that test mode reads, by the place that is kept, and those that count the steps."""

    read: dict[Place, Place] = field(default_factory=dict)
    counts: list[Place] = field(default_factory=list)

    def write(self, layer: Any, kept: Place, value: np.ndarray) -> None:
        """What test mode reads is set as well, and the correction is over."""
        if kept in self.read:
            put(layer, self.read[kept], value)
        for place in self.counts:
            put(layer, place, MANY)


def corrected_pairs(after: list[Mapping[Place, np.ndarray]]) -> dict[Place, Place]:
    """Kept to read, of the arrays as each of the first steps has left them: read = kept / (1 - keep ** step)."""
    found: dict[Place, Place] = {}
    for kept in after[0]:
        for read in after[0]:
            if kept != read and kept not in found and _is_corrected(kept, read, after):
                found[kept] = read
    return found


def _is_corrected(kept: Place, read: Place, after: list[Mapping[Place, np.ndarray]]) -> bool:
    if any(kept not in each or read not in each for each in after):
        return False
    with np.errstate(all="ignore"):
        shares = [np.ravel(each[kept] / each[read]) for each in after]
    if not all(np.isfinite(share).all() and np.ptp(share) <= EXACT for share in shares):
        return False
    keep = 1 - float(shares[0].mean())
    wanted = [1 - keep ** (step + 1) for step in range(len(shares))]
    return 0 < keep < 1 and all(abs(share.mean() - one) <= EXACT for share, one in zip(shares, wanted, strict=True))


def counts_of(layers: list[Any]) -> list[Place]:
    """What each step has moved by one; layers are after no step, one, two, ..."""
    numbers = [
        {place: held for place, held in walk(layer) if isinstance(held, int | float) and not isinstance(held, bool)}
        for layer in layers
    ]
    first = numbers[0]
    return [place for place in first if all(each.get(place) == first[place] + at for at, each in enumerate(numbers))]


def after_steps(layers: list[Any], size: int) -> list[Mapping[Place, np.ndarray]]:
    """The arrays of layers that made one step, two, ..."""
    return [arrays_of(layer, size) for layer in layers]
