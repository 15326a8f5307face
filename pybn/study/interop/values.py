"""Arrays and numbers as files and other libraries give them, brought to NumPy and checked.

An array may be a h5py data set, a torch tensor, an ONNX tensor, a bfloat16 array, or have the shape
(1, C, 1, 1); a number may be an array without axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn import arguments


def plain(value: Any) -> np.ndarray:
    """`value` as a NumPy array; bfloat16 and the eight-bit floats as float32, which has each of their values."""
    if hasattr(value, "detach"):  # a torch tensor; numpy() knows neither its gradient, nor a GPU, nor bfloat16
        value = value.detach().to("cpu")
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    elif hasattr(value, "raw_data") and hasattr(value, "data_type"):  # an ONNX tensor
        from onnx import numpy_helper

        value = numpy_helper.to_array(value)
    if isinstance(value, np.ma.MaskedArray):
        return value  # refused where it is checked; asarray would drop its mask
    array = np.asarray(value)
    return array.astype(np.float32) if is_of_ml_dtypes(array.dtype) else array


def is_of_ml_dtypes(dtype: np.dtype) -> bool:
    """Whether it is bfloat16 or a float of eight bits, which to NumPy are of no kind of float and have no finfo."""
    return dtype.name.startswith(("bfloat16", "float8"))


def number(value: Any) -> Any:
    """`value`; the number in it where it is an array without axes, as files keep numbers."""
    return plain(value).item() if getattr(value, "shape", None) == () else value


def one_axis(name: str, array: np.ndarray) -> np.ndarray:
    """The features as (C,): axes of size 1, as in (1, C, 1, 1), are dropped; ValueError where two are larger."""
    if array.size != max(array.shape, default=1):
        raise ValueError(f"{name} must have one axis larger than 1, the features, got shape {array.shape}")
    return array.reshape(-1)


def features(name: str, value: Any, role: str) -> np.ndarray:
    """A float array (C,) of finite values; TypeError for another type, ValueError for other values or shapes.

    `name` is the library's; `role` pybn's: "variance" may not be negative, and becomes float64 as "mean" does.
    """
    array = one_axis(name, arguments.float_array(name, plain(value)))
    return checked(name if name == role else f"{name}: {role}", array, role)


def checked(name: str, values: np.ndarray, role: str) -> np.ndarray:
    """A copy of `values`, float64 for statistics; ValueError with the features that are wrong."""
    if isinstance(values, np.ma.MaskedArray) or values.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a plain array of numbers, got {type(values).__name__} of {values.dtype}")
    if role == "variance":
        _refuse(name, "not be negative or NaN", values, ~(values >= 0))
    _refuse(name, "be finite", values, ~np.isfinite(values))
    return values.astype(np.float64) if role in ("mean", "variance") else values.copy()


def _refuse(name: str, rule: str, values: np.ndarray, wrong: np.ndarray) -> None:
    if wrong.any():
        where = np.argwhere(wrong)
        shown = ", ".join(f"{values[tuple(at)]:g} in feature {_index(at)}" for at in where[:4])
        more = f" and {len(where) - 4} more" if len(where) > 4 else ""
        raise ValueError(f"{name} must {rule}, got {shown}{more}")


def _index(at: np.ndarray) -> Any:
    return int(at[0]) if at.size == 1 else tuple(map(int, at))
