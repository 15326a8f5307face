"""A class that is only a place for functions: its forward is static, and has the course's own interface.

Courses on PyTorch write them so, `BatchNorm.forward(x, gamma, beta, bn_param)`: then the arrays are handed
over as tensors that share their memory, and what comes back is read as arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from pybn.study.adapters.functions import CourseFunctions, Foreign, course_forward
from pybn.study.adapters.modes import codes_of
from pybn.study.adapters.places import as_array

ALTERNATIVES = ("backward_alt", "alternative_backward", "backward_alternative")


def is_namespace(kind: type) -> bool:
    """Whether the forward is a static method that takes (x, gamma, beta, bn_param)."""
    held = vars(kind).get("forward")
    return isinstance(held, staticmethod) and not isinstance(course_forward(held.__func__), Foreign)


def from_namespace(kind: type) -> CourseFunctions:
    """The static methods of a class as the course's functions."""
    torch = "torch" in sys.modules and any("torch" in code.co_names for code in codes_of(kind))
    names = ("forward", "backward", next((name for name in ALTERNATIVES if hasattr(kind, name)), ""))
    functions = [getattr(kind, name, None) if name else None for name in names]
    return CourseFunctions(*(on_tensors(each) if torch and each else each for each in functions))


def on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function on PyTorch's tensors as one on arrays; its cache stays what it is."""

    def wrapped(*arguments: Any) -> Any:
        *arrays, last = arguments
        state = {key: _tensor(held) for key, held in last.items()} if isinstance(last, dict) else last
        value = function(*map(_tensor, arrays), state)
        if isinstance(last, dict):
            last.clear()
            last.update({key: _array(held) for key, held in state.items()})
        return tuple(map(_array, value)) if isinstance(value, tuple) else _array(value)

    return wrapped


def _tensor(held: Any) -> Any:
    """An array as a tensor in the same memory, so that who writes into it is found out."""
    import torch

    if not isinstance(held, np.ndarray) or not held.flags.writeable:
        return torch.tensor(held) if isinstance(held, np.ndarray) else held
    return torch.from_numpy(held if held.dtype.kind == "f" else held.astype(np.float64))


def _array(held: Any) -> Any:
    array = as_array(held)
    return held if array is None else array
