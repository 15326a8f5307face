"""One call of a layer's forward or backward, whatever it is called and whatever it works on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pybn.study.adapters.making import NotMade, default_dtype, required
from pybn.study.adapters.modes import Mode, parameters_of
from pybn.study.adapters.names import NAMES, bare, means
from pybn.study.adapters.own_tensors import OwnTensor
from pybn.study.adapters.places import Place, as_array, get, members

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # (n, c, h, w) as (n, h, w, c), and back
USUAL = {"eps": 1e-5, "momentum": 0.9}
STEP = 1.0  # a learning rate that leaves the gradient as the difference of before and after


@dataclass
class Run:
    """What one forward call left: the layer, its raw output, and the input that it was given."""

    layer: Any
    out: Any
    x: Any
    rows: np.ndarray  # the input as it was handed in
    cache: Any = None  # of a forward that returns (out, cache)
    used: bool = False  # a backward has been called
    averages: dict[str, np.ndarray | None] = field(default_factory=dict)  # as they were before it
    parameters: list[np.ndarray | None] = field(default_factory=list)  # gamma and beta, as the layer keeps them
    settings: dict[str, Any] = field(default_factory=dict)  # eps and momentum that it was handed


def names_of(call: Callable[..., Any] | None) -> list[str]:
    """What a method is handed, as it is called."""
    return [] if call is None else list(parameters_of(call))


def settings_of(call: Callable[..., Any]) -> dict[str, str]:
    """eps and momentum among the parameters of a forward, by role: numbers, or without a default."""
    found: dict[str, str] = {}
    for each in parameters_of(call).values():
        number = isinstance(each.default, int | float) and not isinstance(each.default, bool)
        for role in USUAL:
            if means(each.name, role) and (number or each.default is each.empty):
                found.setdefault(role, each.name)
    first = next(iter(inspect.signature(call).parameters), "")
    return {role: name for role, name in found.items() if name != first}


def method(layer: Any, role: str, named: str = "") -> Callable[..., Any] | None:
    """The layer's method for a role, "forward" or "backward"; a layer that is called is its own forward."""
    if named:
        return getattr(layer, named, None)
    if role == "forward" and callable(layer) and not hasattr(type(layer), "register_buffer"):
        return layer
    return next((getattr(layer, name) for name in NAMES[role] if callable(getattr(layer, name, None))), None)


class Runner:
    """Calls layers of one kind: torch says whether they take tensors, columns whether examples are columns.

    channels_last says whether images are (n, h, w, c).
    """

    def __init__(self, *, torch: bool, mode: Mode, forward: str = "", backward: str = "", output: Place = ()) -> None:
        self.torch, self.mode, self.columns, self.channels_last = torch, mode, False, False
        self.forward_name, self.backward_name, self.output = forward, backward, output
        self.arguments: dict[str, str] = {}  # eps and momentum where forward itself is handed them
        self.settings = dict(USUAL)  # what they are to be
        self.tensor: OwnTensor | None = None  # the kind that x is to be, where the file has one of its own
        self.rate = ""  # what backward calls the rate of its step, where no name tells

    def forward(self, layer: Any, x: np.ndarray, training: bool) -> Run:
        """Call forward in a mode, with the settings that it takes."""
        call = method(layer, "forward", self.forward_name)
        if call is None:
            raise NotMade(f"there is no method {', '.join(NAMES['forward'][:4])}")
        if not training and self.mode.other_forward:
            call = getattr(layer, self.mode.other_forward)
        rows = np.array(x)  # who writes into x has it otherwise when the forward is made again
        given = self._given(x)
        with default_dtype(x.dtype), self.mode.applied(layer, training) as switches:
            flags = {**{name: self.settings[role] for role, name in self.arguments.items()}, **switches}
            wanted = [each.name for each in required(call)][1:]
            unknown = [name for name in wanted if name not in flags]
            if unknown and call is not layer:
                raise NotMade(f"{call.__name__} asks for {', '.join(unknown)}")
            own = parameters_of(call)
            first = next(iter(own.values()), None)
            by_name = first is not None and first.kind is first.KEYWORD_ONLY
            x_of = {first.name: given} if first is not None and by_name else {}
            flags = {name: value for name, value in flags.items() if name in own}
            out = call(**x_of, **flags) if by_name else call(given, **flags)
        if isinstance(out, tuple) and len(out) > 1 and as_array(self._bare(out[0])) is not None:
            return Run(layer, out[0], given, rows, out[1] if len(out) == 2 else out[1:])
        return Run(layer, self._output(layer) if out is None else out, given, rows)

    def laid(self, array: np.ndarray) -> np.ndarray:
        """The course's array with its axes in the layer's order."""
        if self.channels_last and array.ndim == 4:
            return array.transpose(TO_LAST)
        return array.T if self.columns else array

    def _given(self, array: np.ndarray) -> Any:
        """x as the layer wants it, and not a copy: who writes into it is found out."""
        array = self.laid(array)
        if self.tensor:
            return self.tensor.wrapped(array)
        if not self.torch:
            return array
        import torch

        floats = array if array.dtype.kind == "f" else array.astype(np.float64)  # tensors of integers have no mean
        return torch.tensor(floats, requires_grad=True)

    def _output(self, layer: Any) -> Any:
        """What a forward that returns nothing leaves in an attribute."""
        if self.output:
            return get(layer, self.output)
        held = members(layer)
        return next((held[name] for name in held if bare(name) in NAMES["output"]), None)

    def _bare(self, value: Any) -> Any:
        return self.tensor.plain(value) if self.tensor else value

    def plain(self, value: Any) -> Any:
        """An output as a NumPy array in the course's order; what is no array stays as it is."""
        value = self._bare(value)
        array = as_array(value)
        if array is None:
            return value
        if self.channels_last and array.ndim == 4:
            return array.transpose(TO_FIRST)
        return array.T if self.columns and array.ndim == 2 else array

    def backward(self, run: Run, dout: np.ndarray) -> Any:
        """Call the layer's own backward with what it asks for; what it returns.

        Beside dout that is a learning rate, forward's cache, or x again: backward(input, grad_output).
        """
        call = method(run.layer, "backward", self.backward_name)
        assert call is not None
        asked = required(call)
        wanted = [each.name for each in asked]
        beside: dict[str, Any] = {name: STEP for name in wanted if means(name, "learning_rate")}
        if run.cache is not None:
            beside |= {name: run.cache for name in wanted if means(name, "cache") and len(wanted) > 1}
        if len(wanted) - len(beside) > 1:
            beside |= {name: run.x for name in wanted if means(name, "x")}
        rest = [name for name in wanted if name not in beside]
        if len(rest) > 1:
            raise NotMade(f"{call.__name__} asks for {', '.join(rest[1:])}")
        with default_dtype(dout.dtype):
            given = self._given(dout)
            given = given.detach() if self.torch else given
            if not wanted:
                _must_take_one(call)
                return self._bare(call(given))
            named = {each.name for each in asked if each.kind is each.KEYWORD_ONLY}
            values = {name: beside.get(name, given) for name in wanted}
            rates = [name for name in (*rates_of(call), *[self.rate] * bool(self.rate)) if name not in wanted]
            values |= dict.fromkeys(rates, STEP)
            named |= set(rates)
            return self._bare(
                call(
                    *(value for name, value in values.items() if name not in named),
                    **{name: value for name, value in values.items() if name in named},
                )
            )


def rates_of(call: Callable[..., Any]) -> list[str]:
    """The parameters of a backward that are the rate of a step which it takes itself, with a default or not."""
    return [name for name in inspect.signature(call).parameters if means(name, "learning_rate")]


def _must_take_one(call: Callable[..., Any]) -> None:
    """A backward without parameters reads its gradient elsewhere: to call it with one would blame the student."""
    try:
        inspect.signature(call).bind(None)
    except TypeError as error:
        raise NotMade(f"{call.__name__} takes no gradient of the output") from error
