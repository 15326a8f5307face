"""One row of a comparison, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One operation on one input: an implementation against the first one."""

    operation: str
    shape: tuple[int, ...]
    feature_axis: int | tuple[int, ...]
    dtype: str
    implementation: str
    result: str  # the result that is furthest apart: "y", "dx", ...
    absolute: float  # the largest difference there
    units: float  # the same in units in the last place
    bound: float  # how many units the contract allows between two implementations
    seconds: float  # median time of a call of this implementation
    ratio: float  # its time over the first one's: median over the turns
    ratio_low: float  # a quarter of the turns is below
    ratio_high: float  # and a quarter above

    @property
    def ok(self) -> bool:
        """Whether the difference is within the bound."""
        return self.units <= self.bound


HEAD = ("operation", "shape", "features", "dtype", "implementation", "difference", "units", "of", "bound", "time")


def cells_of(row: Row) -> tuple[str, ...]:
    """The row as the table shows it."""
    shape = "x".join(map(str, row.shape))
    time_ratio = f"{row.ratio:.3g} ({row.ratio_low:.3g} to {row.ratio_high:.3g})"
    units = f"{row.units:.2g}" if row.ok else f"{row.units:.3g} !"
    of = (row.operation, shape, str(row.feature_axis), row.dtype, row.implementation, f"{row.absolute:.2g}", units)
    return (*of, row.result, f"{row.bound:.3g}", time_ratio)
