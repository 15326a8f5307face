"""Batches that are more than one array: tuples, lists and dicts of arrays, such as (x, mask).

Any Mapping is a dict here: what tokenizers give is none of Python's own, and has its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def map_arrays(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` on each array of a structure of tuples, lists and dicts; a list of numbers is an array."""
    if isinstance(value, Mapping):
        return {key: map_arrays(function, each) for key, each in value.items()}
    if has_parts(value):
        mapped = [map_arrays(function, each) for each in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)  # a named tuple, or not
    return function(value)


def has_parts(value: Any) -> bool:
    """Whether it is a structure of arrays: a tuple, a dict, or a list that is not numbers written by hand."""
    return isinstance(value, Mapping | tuple) or (isinstance(value, list) and not _is_numbers(value))


def number_of_examples(labels: Any) -> int:
    """How many examples a batch has, by its labels; these may be several arrays in a dict, a tuple or a list.

    A list of labels, one for each example, counts itself; no array at all is a ValueError, no entries a TypeError.
    """
    while has_parts(labels):
        parts = list(labels.values()) if isinstance(labels, Mapping) else labels
        if isinstance(labels, list) and (not parts or not (has_parts(parts[0]) or np.ndim(parts[0]))):
            break
        if not parts:
            raise ValueError(f"labels must hold an array at least, got an empty {type(labels).__name__}")
        labels = parts[0]
    if not hasattr(labels, "__len__") or (hasattr(labels, "shape") and not labels.shape):
        raise TypeError(f"labels must have an entry for each example, got {described(labels)}")
    return len(labels)


def labelled(batch: Any) -> tuple[Any, Any]:
    """The two parts of a batch (inputs, labels); TypeError, saying what was got, for anything else."""
    if _is_tuple_of(2, batch):
        return batch[0], batch[1]
    raise TypeError(f"the data set must yield pairs (inputs, labels) here, got {described(batch)}")


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch, where labels are not needed: of (inputs, labels), of (inputs,), or the batch itself."""
    if _is_tuple_of(2, batch) or _is_tuple_of(1, batch):
        return batch[0]
    if isinstance(batch, tuple | list) and not _is_array(batch):
        raise TypeError(f"the data set must yield (inputs, labels), (inputs,) or inputs here, got {described(batch)}")
    return batch


def described(batch: Any) -> str:
    """What a batch is, for a sentence about what it should be."""
    if isinstance(batch, Mapping):
        return f"a {type(batch).__name__} with the keys {list(batch)}"
    if isinstance(batch, tuple | list) and not _is_array(batch):
        kinds = ", ".join(described(each) for each in batch[:4]) + (", ..." if len(batch) > 4 else "")
        return f"a {type(batch).__name__} of {len(batch)}: {kinds}"
    if hasattr(batch, "shape") or isinstance(batch, list):
        shape = tuple(np.shape(batch))
        rows = " (two rows are no pair)" if shape[:1] == (2,) else ""
        return f"a {type(batch).__name__} of shape {shape}{rows}"
    return f"a {type(batch).__name__}"


def plain_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array; TypeError for a masked one, whose masked values would be taken for real ones."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be plain arrays, got a numpy.ma.MaskedArray; pass (x, mask) and .mask(mask)")
    return np.asarray(value)


def plain_labels(labels: Any) -> np.ndarray:
    """Labels as an array; TypeError for a masked one, whose masked labels would count like the others."""
    if isinstance(labels, np.ma.MaskedArray):
        raise TypeError("labels must be a plain array, got a numpy.ma.MaskedArray; leave the masked examples out")
    return np.asarray(labels)


def _is_tuple_of(count: int, batch: Any) -> bool:
    """Whether it is a tuple of so many, or the list that some data sets give in its place."""
    return isinstance(batch, tuple | list) and len(batch) == count and not _is_array(batch)


def _is_array(batch: tuple[Any, ...] | list[Any]) -> bool:
    """Whether it is numbers written by hand, rows of one length: an array, and no pair."""
    if not _is_numbers(batch):
        return False
    try:
        np.asarray(batch)
    except ValueError:  # rows of inputs beside a row of labels
        return False
    return True


def _is_numbers(value: Any) -> bool:
    """Whether it is a list of numbers, or of lists of them: written by hand where an array is meant."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, int | float | np.number) or _is_numbers(each) for each in value)
