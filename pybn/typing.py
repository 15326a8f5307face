"""What the public functions take, for type checkers and for people who read signatures.

NumPy's own `ArrayLike` lets a string pass, and a single number; an operation takes neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

# The site shows these; the two arrays that results are, it would take for classes with signatures.
__all__ = ["ArrayLike", "FeatureAxis", "MaskLike", "SupportsArray"]


class SupportsArray(Protocol):
    """What NumPy makes an array of floating-point numbers of: a tensor of another library, say."""

    def __array__(self) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
        """As an array."""
        ...


# Written out: `numpy.typing`, which has short names for these, takes 3 ms to import.

#: An array of any type: that of x, in y and dx.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: An array of float64: every statistic.
Float64Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# Rank by rank: in a type that holds itself, a string would be a list of strings, which are lists of strings.
_Rank1: TypeAlias = Sequence[float]
_Rank2: TypeAlias = Sequence[_Rank1]
_Lists: TypeAlias = _Rank1 | _Rank2 | Sequence[_Rank2] | Sequence[Sequence[_Rank2]]

#: Floating-point numbers: an array, what NumPy makes one of, or lists of Python's floats, to rank 4.
ArrayLike: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]] | SupportsArray | _Lists

#: Booleans over the axes that are not features, or numbers 0 and 1; True is a real element.
MaskLike: TypeAlias = Array | SupportsArray | _Lists

#: The axis, or axes, that are NOT reduced.
FeatureAxis: TypeAlias = int | tuple[int, ...]
