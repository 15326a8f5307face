"""A batch-norm layer's state in pybn's words, and the road from and to any library's arrays.

`libraries` has one door for each library; all of them lead here, with a row of `conventions.LIBRARIES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pybn import arguments
from pybn.study.interop.conventions import LIBRARIES, Library, Momentum, population_variance, sample_variance

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class State:
    """A batch-norm layer's state in pybn's words.

    Attributes
    ----------
    mean, variance : float64 arrays (C,); the variance is the population's
    scale, offset : float arrays (C,), or None where the layer learns none
    avg_weight : float, how many batches the averages stand for; 0 only for averages never updated
    momentum : float in [0, 1], the fraction of the old average kept; 1 is the mean of all batches
    epsilon : float
    count : elements per feature in a batch, by which a sample variance was converted; None where none was
    """

    mean: np.ndarray
    variance: np.ndarray
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    avg_weight: float = 0.0
    momentum: float = 0.99
    epsilon: float = 1e-3
    count: float | None = None

    def __post_init__(self) -> None:
        arguments.momentum(self.momentum)
        arguments.epsilon(self.epsilon)
        shape = np.shape(self.mean)
        for name in ("variance", "scale", "offset"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape:
                raise ValueError(f"{name} must have the shape of mean {shape}, got {np.shape(values)}")
        if not np.all(np.asarray(self.variance) >= 0):
            raise ValueError(f"variance must not be negative or NaN, got {np.min(self.variance)} as the smallest")
        if not (math.isfinite(self.avg_weight) and self.avg_weight >= 0):
            raise ValueError(f"avg_weight must be finite and not negative, got {self.avg_weight!r}")


def state_from(
    library: str,
    arrays: Mapping[str, Any],
    momentum: Momentum,
    epsilon: float,
    avg_weight: float | None,
    count: float | None = None,
) -> State:
    """The State behind `arrays`, which go by the library's names."""
    row = LIBRARIES[library]
    known = [name for name in (row.scale, row.offset, row.mean, row.variance, row.counter) if name is not None]
    expect_keys(row.title, arrays, required=(row.mean, row.variance), known=known)
    kept = row.to_pybn(momentum)
    variance = arguments.float_array(row.variance, arrays[row.variance]).astype(np.float64)
    if row.averaged_variance == "sample":
        variance = population_variance(variance, _needed(count, row))
    return State(
        mean=arguments.float_array(row.mean, arrays[row.mean]).astype(np.float64),
        variance=variance,
        scale=_learned(row.scale, arrays),
        offset=_learned(row.offset, arrays),
        avg_weight=_seen_batches(avg_weight, counted(library, arrays), kept),
        momentum=kept,
        epsilon=epsilon,
        count=count,
    )


def arrays_from(library: str, state: State, dtype: Any, *, both: bool = False, count: float | None = None) -> Arrays:
    """The library's arrays, in the order in which it keeps them; `both` fills in a scale or offset not learned."""
    row = LIBRARIES[library]
    variance = state.variance
    if row.averaged_variance == "sample":
        variance = sample_variance(variance, _needed(state.count if count is None else count, row))
    scale = np.ones_like(state.mean) if state.scale is None and both else state.scale
    offset = np.zeros_like(state.mean) if state.offset is None and both else state.offset
    named = {row.scale: scale, row.offset: offset, row.mean: state.mean, row.variance: variance}
    arrays = {name: np.array(values, dtype) for name, values in named.items() if values is not None}
    if row.counter is not None:
        arrays[row.counter] = np.asarray(round(state.avg_weight), np.int64)
    return arrays


def _needed(count: float | None, row: Library) -> float:
    if count is None:
        raise ValueError(
            f"count must be the number of elements per feature in a training batch (n), got None: {row.title} averages "
            "the sample variance, n / (n - 1) of the population's; pass math.inf to take the numbers as they are"
        )
    return count


def _seen_batches(avg_weight: float | None, counter: float | None, momentum: float) -> float:
    """How many batches imported averages stand for: never 0, which would lose them at the next batch."""
    if avg_weight is not None:
        if not avg_weight >= 1:
            raise ValueError(
                f"avg_weight must be 1 or more: at 0 the next batch erases the averages, got {avg_weight!r}"
            )
        return float(avg_weight)
    if counter:
        return float(counter)
    if momentum == 1:
        raise ValueError("avg_weight must be given where every batch counts alike (momentum 1) and no counter is kept")
    return float(max(1, round(1 / (1 - momentum))))


def counted(library: str, arrays: Mapping[str, Any]) -> float | None:
    """The library's own count of batches, None where it keeps none."""
    name = LIBRARIES[library].counter
    if name is None or name not in arrays:
        return None
    values = np.unique(np.asarray(arrays[name]))
    if values.size != 1 or not (np.isfinite(values[0]) and values[0] >= 0):
        raise ValueError(f"{name} must be one number of batches, 0 or more, got {values}")
    return float(values[0])


def _learned(name: str, arrays: Mapping[str, Any]) -> np.ndarray | None:
    return arguments.float_array(name, arrays[name]).copy() if name in arrays else None


def expect_keys(owner: str, arrays: Mapping[str, Any], required: tuple[str, ...], known: Any) -> None:
    """ValueError where an array is missing, or has a name that would be ignored."""
    missing = [name for name in required if name not in arrays]
    unknown = [name for name in arrays if name not in known]
    if missing or unknown:
        raise ValueError(
            f"{owner} must have the arrays {list(required)} and may have {[n for n in known if n not in required]}; "
            f"missing {missing}, unknown {unknown}"
        )
