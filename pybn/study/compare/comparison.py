"""Each operation on each input: how far every implementation is from the first, and how long it takes.

Differences are counted in units in the last place of x's type, each of the size that the contract gives
its bound in; `bounds` tells them.  What is timed is ordinary: random numbers.  On these most programs are right,
so the inputs on which digits are lost, those of `families`, are tried as well: of each of them the result that is
furthest apart is told.

Times are a ratio from runs that take turns, so that what slows the machine down slows both; never a
claim about either alone.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pybn import backend
from pybn.study.compare.bounds import Bounds
from pybn.study.compare.families import HARD
from pybn.study.compare.rows import HEAD, Row, cells_of
from pybn.study.compare.samples import OPERATIONS, Sample, results_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Features last, few and many rows; images with the features first and last.
SHAPES = (((64, 32), -1), ((4096, 256), -1), ((8, 16, 28, 28), 1), ((8, 28, 28, 16), -1))
# What is hard is so on few rows as well as on many, and in each layout.
HARD_SHAPES = (((2, 5), -1), ((3, 5), -1), ((5, 17), -1), ((200, 19), -1), ((4, 19, 5, 5), 1), ((3, 40, 7), 1))
DTYPES = ("float32", "float64")
# One turn of one implementation lasts about this long, however short its call: a clock ticks in 1e-7 s.
SECONDS_PER_TURN = 2e-3
# Of a processor: with less, the calling thread waited for its turn so often that ratios tell of the neighbours.
BUSY = 0.8


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: a row for each operation, input and implementation after the first."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    threads: int | None
    seed: int
    processor: float = 1.0  # how much of one the calling thread had while it was timed; 1 on a quiet machine

    @property
    def ok(self) -> bool:
        """Whether every difference is within its bound."""
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        table = [HEAD, *(cells_of(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=True)).rstrip() for cells in table]
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        far = sum(not row.ok for row in self.rows)
        verdict = f"{far} of {len(self.rows)} differences exceed the bound" if far else "every difference is in bounds"
        busy = (
            f"; THE MACHINE IS BUSY: this process had {self.processor:.0%} of a processor, and the times mean nothing"
            if self.processor < BUSY
            else ""
        )
        return (
            f"{verdict}; differences from {self.names[0]}, in units in the last place of x's type; "
            f"time over {self.names[0]}'s: median (and middle half) of interleaved runs{busy}"
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells_of(row)) + "</tr>" for row in self.rows
        )
        caption = f"<caption>{html.escape(self._verdict())}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The ratios of the times with their spread; needs matplotlib."""
        from pybn.study.compare import figure

        return figure.times(self.names, self.rows, ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        rows = [asdict(row) | {"shape": list(row.shape), "ok": row.ok} for row in self.rows]
        about = {"names": list(self.names), "ok": self.ok, "threads": self.threads, "seed": self.seed}
        return about | {"processor": self.processor, "rows": rows}


def compare(
    implementations: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    shapes: Sequence[Any] | None = None,
    dtypes: Sequence[Any] = DTYPES,
    operations: Sequence[str] | None = None,
    hard: bool | None = None,
    threads: int | None = None,
    seed: int = 0,
    turns: int = 7,
) -> Comparison:
    """Hold two or more implementations of the operations against the first of them.

    Parameters
    ----------
    implementations : names ("reference", "compiled"), modules or objects with the operations, or a dict that
        names them; default the reference and the compiled one
    shapes : shapes (features last), or pairs (shape, feature_axis); default two of rows and two of images
    dtypes : of x; ml_dtypes.bfloat16 is one
    operations : their names; default those that every implementation has
    hard : also try, in shapes of their own, the inputs on which digits are lost: terms of dx that cancel, two rows, far
        means, ...; those with a mask or an epsilon only where every implementation takes one.  Left out, where no
        shapes are asked for
    threads : for implementations with `set_num_threads`; put back afterwards
    seed : of the inputs
    turns : how often each implementation is timed, in turn

    Raises
    ------
    ImportError : the compiled implementation is asked for and not built
    ValueError : fewer than two implementations, no common operation, results of different shapes
    """
    named = _named(("reference", "compiled") if implementations is None else implementations)
    chosen = _common(named) if operations is None else _offered(named, operations)
    rows: list[Row] = []
    began, computed = time.perf_counter(), time.thread_time()
    with _threads(named, threads):
        for shape, feature_axis in map(_shape_and_axis, SHAPES if shapes is None else shapes):
            for dtype in dtypes:
                sample = Sample(shape, feature_axis, np.dtype(dtype), seed)
                for operation in chosen:
                    rows += _compared(named, operation, sample, turns)
        processor = (time.thread_time() - computed) / (time.perf_counter() - began)
        for family in HARD if hard or (hard is None and shapes is None) else ():
            for dtype in dtypes:
                rows += _hardest(named, chosen, family, np.dtype(dtype), seed)
    return Comparison(tuple(named), tuple(rows), threads, seed, min(processor, 1.0))


# --- which implementations, which operations -----------------------------------------------------


def _named(implementations: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(implementations, str):
        raise TypeError(f"implementations must be two or more names or modules, got {implementations!r}")
    pairs = implementations.items() if isinstance(implementations, Mapping) else ((None, i) for i in implementations)
    named: dict[str, Any] = {}
    for name, implementation in pairs:
        module = backend.load(implementation) if isinstance(implementation, str) else implementation
        key = name or (implementation if isinstance(implementation, str) else _name_of(implementation))
        if key in named:
            raise ValueError(f"implementations must have different names, got {key!r} twice; name them with a dict")
        named[key] = module
    if len(named) < 2:
        raise ValueError(f"implementations must be two or more, got {len(named)}")
    return named


def _name_of(implementation: Any) -> str:
    return str(getattr(implementation, "__name__", type(implementation).__name__))


def _common(named: Mapping[str, Any]) -> list[str]:
    common = [name for name in OPERATIONS if all(hasattr(module, name) for module in named.values())]
    if not common:
        raise ValueError(f"implementations must have an operation in common, of {OPERATIONS}; got {tuple(named)}")
    return common


def _offered(named: Mapping[str, Any], operations: Sequence[str]) -> Sequence[str]:
    for operation in operations:
        if operation not in OPERATIONS:
            raise ValueError(f"operations must be of {OPERATIONS}, got {operation!r}")
        for name, module in named.items():
            if not hasattr(module, operation):
                raise ValueError(f"every implementation must have the operations, got {name!r} without {operation!r}")
    return operations


def _shape_and_axis(shape: Any) -> tuple[tuple[int, ...], Any]:
    shape = tuple(shape)
    return (tuple(shape[0]), shape[1]) if isinstance(shape[0], Sequence) else (shape, -1)


@contextmanager
def _threads(named: Mapping[str, Any], threads: int | None) -> Iterator[None]:
    able = [module for module in named.values() if threads is not None and hasattr(module, "set_num_threads")]
    before = [module.get_num_threads() for module in able]
    try:
        for module in able:
            module.set_num_threads(threads)
        yield
    finally:
        for module, number in zip(able, before, strict=True):
            module.set_num_threads(number)


# --- one operation on one input ------------------------------------------------------------------


def _compared(named: Mapping[str, Any], operation: str, sample: Sample, turns: int) -> list[Row]:
    """A row for each implementation but the first, with times."""
    rows = _differences(named, operation, sample)
    seconds = _times({name: sample.call(module, operation) for name, module in named.items()}, turns)
    timed = []
    for row in rows:
        own = seconds[row.implementation]
        low, ratio, high = map(float, np.quantile(own / seconds[next(iter(named))], (0.25, 0.5, 0.75)))
        timed.append(replace(row, seconds=float(np.median(own)), ratio=ratio, ratio_low=low, ratio_high=high))
    return timed


def _hardest(named: Mapping[str, Any], operations: Sequence[str], family: str, dtype: np.dtype, seed: int) -> list[Row]:
    """A row for each implementation but the first: the result of this family that is furthest apart for its bound."""
    rows: list[Row] = []
    for shape, feature_axis in HARD_SHAPES:
        sample = Sample(shape, feature_axis, dtype, seed, family)
        for operation in operations:
            if all(sample.suits(module, operation) for module in named.values()):
                rows += _differences(named, operation, sample)
    found = {name: [row for row in rows if row.implementation == name] for name in list(named)[1:]}
    return [max(own, key=lambda row: row.of_bound) for own in found.values() if own]


def _differences(named: Mapping[str, Any], operation: str, sample: Sample) -> list[Row]:
    """A row for each implementation but the first: its result that is furthest apart for its bound."""
    with np.errstate(all="ignore"):  # what overflows in one of them is told by its result
        results = {name: results_of(operation, sample.call(module, operation)()) for name, module in named.items()}
    first, *others = named
    bounds = Bounds(sample, operation)
    rows = []
    for name in others:
        apart = [
            _apart(name, operation, sample, result, bounds, results[name][result], right)
            for result, right in results[first].items()
        ]
        rows.append(max(apart, key=lambda row: row.of_bound))
    return rows


def _apart(
    name: str, operation: str, sample: Sample, result: str, bounds: Bounds, got: np.ndarray, right: np.ndarray
) -> Row:
    """The row of one result, at the element that is furthest apart for its bound."""
    if got.shape != right.shape:
        raise ValueError(f"{operation} of {name!r} must give {result} of shape {right.shape}, got {got.shape}")
    with np.errstate(all="ignore"):
        unit, bound = bounds.of(result, right)
        difference = _difference(got, right)
        size, allowed = (np.broadcast_to(each, difference.shape) for each in (unit, bound))
        of_bound = np.where(difference == 0, 0.0, difference / allowed)
        at = np.unravel_index(np.argmax(np.where(np.isnan(of_bound), np.inf, of_bound)), of_bound.shape)
        absolute, units, units_allowed = (float(each[at]) for each in (difference, difference / size, allowed / size))
    return Row(
        operation=operation,
        family=sample.family,
        shape=sample.shape,
        feature_axis=sample.feature_axis,
        dtype=sample.dtype.name,
        implementation=name,
        result=result,
        absolute=absolute,
        units=0.0 if absolute == 0 else (np.inf if np.isnan(units) else units),
        bound=0.0 if np.isnan(units_allowed) else units_allowed,  # under a mask of NaN, which passes as it is
    )


def _difference(got: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How far apart each element is; infinitely where one is NaN and the other is not: NaN is larger than nothing."""
    difference = np.abs(got.astype(np.float64) - right.astype(np.float64))
    difference = np.where((got == right) | (np.isnan(got) & np.isnan(right)), 0.0, difference)
    found: np.ndarray = np.where(np.isnan(difference), np.inf, difference)
    return found


def _times(calls: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, np.ndarray]:
    """Seconds a call, `turns` for each implementation, taken in turn so that both meet the same weather."""
    repeats = {name: max(1, round(SECONDS_PER_TURN / _seconds(call, 1))) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            taken[name].append(_seconds(call, repeats[name]))
    return {name: np.array(values) for name, values in taken.items()}


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return max(time.perf_counter() - start, 1e-9) / repeats
