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
from pybn.study.interop.conventions import (
    LIBRARIES,
    Library,
    Momentum,
    check_count,
    population_variance,
    sample_variance,
)
from pybn.study.interop.values import checked, features, is_of_ml_dtypes, number, plain

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class State:
    """A batch-norm layer's state in pybn's words.

    Attributes
    ----------
    mean, variance : float64 arrays of the features' shape, (C,) for one feature axis; the variance is the population's
    scale, offset : float arrays of that shape, or None where the layer learns none
    avg_weight : float, how many batches the averages stand for; 0 only for averages never updated
    momentum : float in [0, 1], the fraction of the old average kept; 1 is the mean of all batches
    epsilon : float
    count : elements per feature in a batch, 2 or more, by which a sample variance was converted; None where none was

    Raises ValueError for another shape, NaN, infinity or a negative variance, with the array and the features, and
    TypeError for what is no number or a masked array.
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
        for name in ("avg_weight", "momentum", "epsilon", "count"):
            object.__setattr__(self, name, number(getattr(self, name)))
        arguments.momentum(self.momentum)
        arguments.epsilon(self.epsilon)
        shape = np.shape(self.mean)
        for name in ("mean", "variance", "scale", "offset"):
            if getattr(self, name) is not None:
                values = plain(getattr(self, name))
                if values.shape != shape:
                    raise ValueError(f"{name} must have the shape of mean {shape}, got {values.shape}")
                object.__setattr__(self, name, checked(name, values, name))
        _check_weight(self.avg_weight)
        if self.count is not None:
            check_count(self.count)


def _check_weight(avg_weight: Any) -> None:
    if isinstance(avg_weight, arguments.BOOLEAN) or not isinstance(avg_weight, int | float | np.number):
        raise TypeError(f"avg_weight must be a number of batches, got {avg_weight!r}")
    if not (math.isfinite(avg_weight) and avg_weight >= 0):
        raise ValueError(f"avg_weight must be finite and not negative, got {avg_weight!r}")


def names_in(library: str) -> tuple[tuple[str, str], list[str]]:
    """What the library calls mean and variance, and all of its arrays."""
    row = LIBRARIES[library]
    known = [name for name in (row.scale, row.offset, row.mean, row.variance, row.counter) if name is not None]
    return (row.mean, row.variance), known


def state_from(
    library: str,
    arrays: Mapping[str, Any],
    momentum: Momentum,
    epsilon: float,
    avg_weight: float | None,
    count: float | None = None,
) -> State:
    """The State behind one layer's `arrays`, which go by the library's names."""
    row = LIBRARIES[library]
    momentum, avg_weight, count = number(momentum), number(avg_weight), number(count)
    names = {"mean": row.mean, "variance": row.variance, "scale": row.scale, "offset": row.offset}
    given = {role: features(name, arrays[name], role) for role, name in names.items() if name in arrays}
    for role, values in given.items():
        if values.shape != given["mean"].shape:
            raise ValueError(
                f"{names[role]} must have as many features as {row.mean}, {given['mean'].size}, got {values.size}"
            )
    if row.averaged_variance == "sample":
        given["variance"] = population_variance(given["variance"], _needed(count, row))
    return State(
        **given,
        avg_weight=_given(avg_weight) if avg_weight is not None else weight_of(row, momentum, counted(library, arrays)),
        momentum=row.to_pybn(momentum),
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
    arrays = {name: fitting(name, values, dtype) for name, values in named.items() if values is not None}
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


def fitting(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    """`values` in `dtype`; TypeError where that is no float type, ValueError where one of them is too large for it."""
    if np.dtype(dtype).kind != "f" and not is_of_ml_dtypes(np.dtype(dtype)):
        raise TypeError(f"dtype must be a type of floats: {name} may be a fraction; got {np.dtype(dtype)}")
    with np.errstate(over="ignore"):
        array = np.array(values, dtype)
    if not np.isfinite(array).all():
        most = f", whose largest number is {np.finfo(array.dtype).max:.3g}" if array.dtype.kind == "f" else ""
        raise ValueError(f"{name} must fit {array.dtype}{most}, got {np.abs(values).max():.3g}")
    return array


def _given(avg_weight: float) -> float:
    _check_weight(avg_weight)
    if not avg_weight >= 1:
        raise ValueError(f"avg_weight must be 1 or more: at 0 the next batch erases the averages, got {avg_weight!r}")
    return float(avg_weight)


# A weight whose next batch keeps this much more or less than there is as good as exact: float32 averages round by 6e-8
# at each batch.
ALIKE = 1e-5


def weight_of(row: Library, momentum: Momentum, counter: float | None) -> float:
    """How many batches imported averages stand for, so that the next one moves them as it would have there.

    That is the library's counter where its rule is pybn's.  A fixed momentum does not look at the counter: it keeps as
    much at the third batch as at the thousandth, and so does pybn from a weight of 1 / (1 - momentum) on.

    >>> [weight_of(LIBRARIES["pytorch"], momentum, counter=3.0) for momentum in (0.1, None)]
    [10.0, 3.0]
    """
    kept = row.to_pybn(momentum)
    if row.counter is not None and counter is not None and row.kept is LIBRARIES["pybn"].kept:
        return counter
    if kept == 1:
        if counter is None:
            raise ValueError("avg_weight must be given where every batch counts alike (momentum 1) and none is counted")
        return counter  # 0 too: the next batch takes the place of averages that have seen none
    memory = float(max(1, math.ceil(1 / (1 - kept) - 1e-9)))  # 1 / (1 - .99) is 100 but for rounding
    there = row.kept(int(counter or 0) + 1, momentum)
    if there >= kept - ALIKE:
        return max(counter or 0.0, memory)
    return there / (1 - there)


def counted(library: str, arrays: Mapping[str, Any]) -> float | None:
    """The library's own count of batches, None where it keeps none."""
    name = LIBRARIES[library].counter
    if name is None or name not in arrays:
        return None
    return count_in(name, arrays[name], whole=library != "gomlx")  # which averages by the very rule of pybn


def count_in(name: str, value: Any, *, whole: bool = True) -> float:
    """The number of batches in a counter, which may be an array of equal ones; ValueError or TypeError for none."""
    array = plain(value)
    if isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number of batches, got {value!r}")
    values = np.unique(array)
    counts = np.isfinite(values) & (values >= 0) & ((values == np.floor(values)) | (not whole))
    if values.size != 1 or not counts[0]:
        raise ValueError(f"{name} must be one number of batches, 0 or more, got {values}")
    return float(values[0])
