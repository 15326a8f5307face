"""A class that is only a place for functions: its forward is static, and has the course's own interface.

Courses on PyTorch write them so, `BatchNorm.forward(x, gamma, beta, bn_param)`: then the arrays are handed
over as tensors that share their memory, and what comes back is read as arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
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
    alternative = next((name for name in ALTERNATIVES if hasattr(kind, name)), "")
    forward, *backwards = (getattr(kind, name, None) if name else None for name in ("forward", "backward", alternative))
    if forward is None or not takes_tensors(kind):
        return CourseFunctions(forward, *backwards)
    return CourseFunctions(forward_on_tensors(forward), *(each and backward_on_tensors(each) for each in backwards))


def takes_tensors(kind: type) -> bool:
    """Whether the class's own code names PyTorch, or its file does and the class does not name NumPy."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    beside = vars(kind)["forward"].__func__.__globals__
    named = [beside.get(name) for code in codes_of(kind) for name in code.co_names]
    return _has(named, torch) or (_has(beside.values(), torch) and not _has(named, np))


def _has(held: Iterable[Any], module: ModuleType) -> bool:
    return any(each is module for each in held)


def forward_on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """A forward on PyTorch's tensors as one on arrays; its cache stays what it is."""

    def forward(x: Any, gamma: Any, beta: Any, bn_param: dict[str, Any]) -> Any:
        state = {key: _tensor(held) for key, held in bn_param.items()}
        value = function(*map(_tensor, (x, gamma, beta)), state)
        bn_param.clear()
        bn_param.update({key: _array(held) for key, held in state.items()})
        return (_array(value[0]), *value[1:]) if isinstance(value, tuple) and value else _array(value)

    return forward


def backward_on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """A backward on PyTorch's tensors as one on arrays, with the cache as its forward made it."""

    def backward(dout: Any, cache: Any) -> Any:
        value = function(_tensor(dout), cache)
        return tuple(map(_array, value)) if isinstance(value, tuple | list) else _array(value)

    return backward


def _tensor(held: Any) -> Any:
    """An array as a tensor in the same memory, so that who writes into it is found out."""
    import torch

    if not isinstance(held, np.ndarray) or not held.flags.writeable:
        return torch.tensor(held) if isinstance(held, np.ndarray) else held
    return torch.from_numpy(held if held.dtype.kind == "f" else held.astype(np.float64))


def _array(held: Any) -> Any:
    array = as_array(held)
    return held if array is None else array
