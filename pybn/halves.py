"""The two types of sixteen bits: float16, which is NumPy's, and bfloat16, which is the package ml_dtypes's.

bfloat16 is the upper half of a float32: its range, and 8 digits of 24.  Arrays of it are made with ml_dtypes, and
NumPy knows then what to do with them; pybn recognises the type by its name, and imports ml_dtypes nowhere but where
it has to make an array of that type out of something else (a checkpoint, a tensor).
"""

from __future__ import annotations

import numpy as np

__all__ = ["bfloat16", "is_bfloat16", "is_floating", "is_half", "rounded"]


def is_bfloat16(dtype: np.dtype) -> bool:
    """Whether it is ml_dtypes's bfloat16, which to NumPy is of no kind of its own."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def is_half(dtype: np.dtype) -> bool:
    """Whether it is float16 or bfloat16: too narrow to add up in."""
    return dtype.itemsize == 2 and (dtype == np.float16 or is_bfloat16(dtype))


def is_floating(dtype: np.dtype) -> bool:
    """Whether one can differentiate by it: a floating-point type of NumPy, or bfloat16."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def bfloat16() -> np.dtype:
    """The type itself; ModuleNotFoundError that says what to install where there is no ml_dtypes."""
    try:
        import ml_dtypes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "NumPy has no bfloat16 of its own: install the package ml_dtypes (`pip install ml_dtypes`)",
            name="ml_dtypes",
        ) from error
    return np.dtype(ml_dtypes.bfloat16)


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`values` in `dtype`, rounded once, to the nearest and halves to even.

    NumPy does that in its own types.  To bfloat16 ml_dtypes goes from float64 by way of float32, which may land half
    way between two numbers and then on the wrong side: of the two float32 around a value it gets the odd one, which
    is never half way.

    >>> rounded(np.array([1 + 2.0**-11 + 2.0**-40]), np.dtype(np.float16))
    array([1.001], dtype=float16)
    """
    if values.dtype == np.float64 and is_bfloat16(dtype):
        values = _to_odd(values)
    return values.astype(dtype, copy=False)


def _to_odd(values: np.ndarray) -> np.ndarray:
    """float64 as float32: what float32 has not, as the one of its two neighbours whose last digit is 1 (Boldo 2008)."""
    with np.errstate(all="ignore"):
        near = values.astype(np.float32)
    bits = near.view(np.uint32)
    beyond, short = np.abs(near) > np.abs(values), np.abs(near) < np.abs(values)
    return np.where(beyond | short, bits - beyond | 1, bits).astype(np.uint32).view(np.float32)
