"""Batches that are more than one array: tuples, lists and dicts of arrays, such as (x, mask)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def map_arrays(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` on each array of a structure of tuples, lists and dicts; a list of numbers is an array."""
    if isinstance(value, dict):
        return {key: map_arrays(function, each) for key, each in value.items()}
    if isinstance(value, tuple | list) and not _is_numbers(value):
        mapped = [map_arrays(function, each) for each in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)  # a named tuple, or not
    return function(value)


def number_of_examples(batch: Any) -> int:
    """How many examples a batch has, also where its arrays come in a dict or a tuple."""
    while isinstance(batch, dict | tuple):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return len(batch)


def plain_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array; TypeError for a masked one, whose masked values would be taken for real ones."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be plain arrays, got a numpy.ma.MaskedArray; pass (x, mask) and .mask(mask)")
    return np.asarray(value)


def _is_numbers(value: Any) -> bool:
    """Whether it is a list of numbers, or of lists of them: written by hand where an array is meant."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, int | float | np.number) or _is_numbers(each) for each in value)
