"""What the public functions take, for type checkers and for people who read signatures.

NumPy's own `ArrayLike` lets a string pass, and a single number; an operation takes neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, SupportsIndex, TypeAlias

import numpy as np

# The site shows these; the two arrays that results are, it would take for classes with signatures.
__all__ = ["ArrayLike", "FeatureAxis", "MaskLike", "NestedFloats", "SupportsArray"]


class SupportsArray(Protocol):
    """What NumPy makes an array of floating-point numbers of: a tensor of another library, say."""

    def __array__(self) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
        """As an array."""
        ...


class NestedFloats(Protocol):
    """Lists or tuples of Python's floats, of any depth.

    A string is told apart by `__contains__`, which takes strings alone, an array by `__reversed__`, which it lacks.
    """

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: SupportsIndex, /) -> float | NestedFloats:
        """A number, or a list of the next depth."""
        ...

    def __contains__(self, value: object, /) -> bool:
        """Whether there is such an element."""
        ...

    def __reversed__(self) -> Iterator[Any]:
        """From the last to the first."""
        ...


# Written out: `numpy.typing`, which has short names for these, takes 3 ms to import.

#: An array of any type: that of x, in y and dx.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: An array of float64: every statistic.
Float64Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

#: Floating-point numbers: an array, what NumPy makes one of, or lists of Python's floats.
ArrayLike: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]] | SupportsArray | NestedFloats

#: Booleans over the axes that are not features, or numbers 0 and 1; True is a real element.
MaskLike: TypeAlias = Array | SupportsArray | NestedFloats

#: The axis, or axes, that are NOT reduced.
FeatureAxis: TypeAlias = int | tuple[int, ...]
