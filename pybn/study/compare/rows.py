"""One row of a comparison, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One operation on one input: an implementation against the first one."""

    operation: str
    family: str  # of inputs: "ordinary", or what is hard about them
    shape: tuple[int, ...]
    feature_axis: int | tuple[int, ...]
    dtype: str
    implementation: str
    result: str  # the result that is furthest apart: "y", "dx", ...
    absolute: float  # the largest difference there
    units: float  # the same in units in the last place
    bound: float  # how many units the contract allows between two implementations
    seconds: float | None = None  # median time of a call of this implementation; None: not timed
    ratio: float | None = None  # its time over the first one's: median over the turns
    ratio_low: float | None = None  # a quarter of the turns is below
    ratio_high: float | None = None  # and a quarter above

    @property
    def ok(self) -> bool:
        """Whether the difference is within the bound."""
        return self.units <= self.bound

    @property
    def of_bound(self) -> float:
        """The difference as a share of the bound; infinite where none is allowed."""
        if self.units == 0:
            return 0.0
        return self.units / self.bound if self.bound else math.inf


HEAD = tuple("operation inputs shape features dtype implementation difference units of bound time".split())


def cells_of(row: Row) -> tuple[str, ...]:
    """The row as the table shows it."""
    shape = "x".join(map(str, row.shape))
    time_ratio = "" if row.ratio is None else f"{row.ratio:.3g} ({row.ratio_low:.3g} to {row.ratio_high:.3g})"
    units = f"{row.units:.2g}" if row.ok else f"{row.units:.3g} !"
    of = (row.operation, row.family, shape, str(row.feature_axis), row.dtype, row.implementation)
    return (*of, f"{row.absolute:.2g}", units, row.result, f"{row.bound:.3g}", time_ratio)
