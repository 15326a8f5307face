"""Layers on a tensor of their own: a small class with `.data`, `.grad` and `.backward()`, as courses on autograd write.

The layer is handed its own kind of tensor and what it returns is read as an array.  A gradient is asked for in the
ways in which such classes give one: `out.backward(dout)`, with an array or a tensor, else the backward of the sum
`(out * dout).sum()`.  Whichever runs first on the trial's batch and leaves a gradient in x serves from then on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.places import Place, as_array, get, members

HOLDS = ("data", "value", "array", "values", "_data", "_value")  # where such a class keeps its array
GRADIENT = "grad"


class OwnTensor:
    """One such class: how it is made of an array, read, and asked for gradients; `of` finds it."""

    def __init__(self, kind: type, holds: str) -> None:
        self.kind, self.holds = kind, holds
        self.way: Callable[[Any, np.ndarray], Any] | None = None  # how a gradient is asked for, once that is known

    def wrapped(self, array: np.ndarray) -> Any:
        """The array as one of theirs, which wants a gradient where that can be said."""
        takes = inspect.signature(self.kind).parameters
        return self.kind(array, **({"requires_grad": True} if "requires_grad" in takes else {}))

    def plain(self, value: Any) -> Any:
        """One of theirs as its array, in a tuple or a dict as well; anything else as it is."""
        if isinstance(value, self.kind):
            return getattr(value, self.holds)
        if isinstance(value, dict):
            return {key: self.plain(held) for key, held in value.items()}
        return tuple(map(self.plain, value)) if type(value) in (tuple, list) else value

    def gradients(self, out: Any, x: Any, dout: np.ndarray, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients of x and of the parameters, by role: a parameter that took no part has none.

        Raises what their backward raises; NotImplementedError where no way to ask for one is known.
        """
        if self.way is None:
            raise NotImplementedError(f"{self.kind.__name__} has no backward that gives x a gradient")
        before = {role: getattr(each, GRADIENT) for role, each in parameters.items()}
        self.way(out, dout)
        after = {role: getattr(each, GRADIENT) for role, each in parameters.items()}
        left = {role: self.plain(held) for role, held in after.items() if held is not before[role]}
        return {"dx": self.plain(getattr(x, GRADIENT, None)), **left}

    def learn_backward(self, make: Callable[[], tuple[Any, Any]], dout: np.ndarray) -> bool:
        """Whether one of the ways leaves x a gradient of its shape; make gives a new forward's output, and its x."""
        for way in (self._by_array, self._by_tensor, self._by_sum):
            out, x = make()
            try:
                way(out, dout)
            except Exception:  # another way, or none: nothing of theirs is judged by it
                continue
            gradient = self.plain(getattr(x, GRADIENT, None))
            if isinstance(gradient, np.ndarray) and gradient.shape == dout.shape and np.any(gradient):
                self.way = way
                return True
        return False

    def _by_array(self, out: Any, dout: np.ndarray) -> None:
        out.backward(dout)

    def _by_tensor(self, out: Any, dout: np.ndarray) -> None:
        out.backward(self.kind(dout))

    def _by_sum(self, out: Any, dout: np.ndarray) -> None:
        (out * self.kind(dout)).sum().backward()


def own_tensors(layer: Any) -> Iterator[OwnTensor]:
    """The kinds of tensor that a layer may want: of what it holds, then of what is called so in its file."""
    for kind in dict.fromkeys([*map(type, members(layer).values()), *_named_so(type(layer))]):
        if kind.__module__.partition(".")[0] in ("builtins", "numpy", "torch", "pybn"):
            continue
        holds = _holds(kind)
        if holds:
            yield OwnTensor(kind, holds)


def _named_so(kind: type) -> Iterator[type]:
    method = next((held for held in vars(kind).values() if hasattr(held, "__globals__")), None)
    names = getattr(method, "__globals__", {})
    yield from (names[name] for name in ("Tensor", "Variable", "Value", "Var") if inspect.isclass(names.get(name)))


def _holds(kind: type) -> str:
    """The attribute in which one made of an array keeps it; "" where there is none, or it cannot be made so."""
    try:
        made = kind(np.ones(2))
        return next((name for name in HOLDS if isinstance(getattr(made, name, None), np.ndarray)), "")
    except Exception:  # it wants more than an array: no tensor
        return ""


def holders(layer: Any, places: Mapping[str, Place | None]) -> dict[str, Any]:
    """The tensors whose arrays stand at these places, by role; a role whose array is held bare is left out."""
    found = {role: get(layer, place[:-1]) for role, place in places.items() if place and len(place) > 1}
    return {role: each for role, each in found.items() if hasattr(each, GRADIENT)}


def without_gradient(tensors: Mapping[str, Any]) -> None:
    """Start from none: such classes add gradients up."""
    for each in tensors.values():
        held = getattr(each, GRADIENT)
        array = as_array(held)
        setattr(each, GRADIENT, None if array is None else np.zeros_like(array))
