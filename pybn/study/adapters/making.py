"""A new layer of a class that nobody here has seen: what its constructor wants, and what it is given."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.modes import codes_of
from pybn.study.adapters.names import NAMES, bare, means
from pybn.study.adapters.places import is_tensor, walk


class NotMade(Exception):
    """A constructor or a call that wants something which nobody here can give; the message says what.

    remedy is the argument that mends it.
    """

    def __init__(self, message: str, remedy: str = "build=lambda features: the layer, ready for its first batch"):
        super().__init__(message)
        self.remedy = remedy


class Optimizer:
    """Stands for the optimizer that a layer is handed: any method takes a step of 1 against the gradient.

    What a parameter loses in a backward is its gradient then.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, parameter: Any, gradient: Any, *_: Any) -> Any:
        """The parameter after the step."""
        return parameter - gradient


def required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters without a default, those by position first."""
    parameters = inspect.signature(function).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.default is each.empty and each.kind not in variable]


class Maker:
    """Makes layers of one class; `takes` names the settings that its constructor accepts.

    dims is 2 or 4, for a constructor that asks for it; build, if given, is called with the number of
    features in place of the class.
    """

    def __init__(self, kind: type, *, dims: int, build: Callable[[int], Any] | None, needs_setup: bool = False) -> None:
        self.kind, self.dims, self.build, self.needs_setup = kind, dims, build, needs_setup
        self.parameters = {} if build else dict(inspect.signature(kind).parameters)
        self.counts = self._features()  # the parameter that is the number of features, where only its place tells
        self.takes = {role for role in ("eps", "momentum", "gamma", "beta", "dims") if self._parameter(role)}

    def make(self, features: int, values: Mapping[str, Any], dtype: Any = np.float64) -> Any:
        """A new layer; values may hold gamma, beta, eps and momentum."""
        with default_dtype(dtype):
            layer = self.build(features) if self.build else self.kind(**self._arguments(features, values))
            if self.needs_setup:
                self._set_up(layer, features)
            if _is_module(layer):
                layer.to(_torch_dtype(dtype))
        return layer

    def asked(self) -> list[tuple[str, str, Any]]:
        """What the constructor and the methods that set a layer up may be handed: method, parameter, default."""
        methods = [getattr(self.kind, name) for name in NAMES["setup"] if callable(getattr(self.kind, name, None))]
        found = [("", each.name, each.default) for each in self.parameters.values()]
        for method in methods if self.needs_setup else []:
            found += [
                (method.__name__, each.name, each.default) for each in inspect.signature(method).parameters.values()
            ]
        return found

    def default_below(self, role: str, bound: float) -> bool:
        """Whether the constructor's own default of a setting lies between 0 and a bound."""
        name = self._parameter(role)
        default = self.parameters[name].default if name else None
        return isinstance(default, int | float) and 0 < default < bound

    def _features(self) -> str:
        """A first parameter of one letter without a default, `m` or `e`, beside none that is called features."""
        first = next(iter(self.parameters.values()), None)
        named = any(len(name) > 1 and means(name, "features") for name in self.parameters)
        return first.name if first and len(first.name) == 1 and first.default is first.empty and not named else ""

    def _parameter(self, role: str) -> str | None:
        """The constructor's name for a role; a truth value such as Keras's scale=True is a switch and no array."""
        for name, parameter in self.parameters.items():
            if name != self.counts and means(name, role) and not isinstance(parameter.default, bool):
                wanted = parameter.default in (None, parameter.empty) if role in ("gamma", "beta") else True
                if wanted:
                    return name
        return None

    def _arguments(self, features: int, values: Mapping[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for role in ("eps", "momentum", "gamma", "beta"):
            name = self._parameter(role)
            if name is not None and values.get(role) is not None and name not in arguments:
                value = values[role]
                arguments[name] = np.array(value) if isinstance(value, np.ndarray) else value
        dims = self._parameter("dims")
        if dims is not None and self.dims != 2:  # one with a default, which is that of rows
            arguments[dims] = self.dims
        parameters = [each for each in self.parameters.values() if each.name not in arguments]
        named = next((each.name for each in parameters if means(each.name, "features")), None)
        if named:
            arguments[named] = features
        for each in parameters:
            if each.name not in arguments and each.default is each.empty and each.kind in _NAMED:
                arguments[each.name] = self._unknown(each.name, features, named is not None)
                named = named or each.name
        return arguments

    def _unknown(self, name: str, features: int, has_features: bool) -> Any:
        """A value for a parameter without a default."""
        if means(name, "dims"):
            return self.dims
        if means(name, "shape"):
            return (features,) if self.dims == 2 else (features, 4, 5)
        if means(name, "learning_rate"):
            return 0.0
        if "optim" in bare(name):
            return Optimizer()
        if not has_features:
            return features
        raise NotMade(f"the constructor asks for {name!r}")

    def _set_up(self, layer: Any, features: int) -> None:
        """Call what makes the parameters, where forward alone does not."""
        for name in NAMES["setup"]:
            method = getattr(layer, name, None)
            if not callable(method):
                continue
            method(**{each.name: self._for_setup(each.name, features) for each in required(method)})

    def _for_setup(self, name: str, features: int) -> Any:
        if "shape" in bare(name):
            return (features,) if bare(name) in NAMES["shape"] and self.dims == 2 else self._shape(features)
        return Optimizer() if "opt" in bare(name) else features

    def _shape(self, features: int) -> tuple[int, ...]:
        return (features,) if self.dims == 2 else (features, 4, 5)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def has_setup(kind: type) -> bool:
    """Whether the class has a method that makes parameters before the first forward."""
    return any(callable(getattr(kind, name, None)) for name in NAMES["setup"])


def uses_torch(kind: type, layer: Any) -> bool:
    """Whether the layer works on PyTorch's tensors: it holds some, or its methods name torch."""
    if _is_module(layer) or any(is_tensor(held) for _, held in walk(layer)):
        return True
    return "torch" in sys.modules and any("torch" in code.co_names for code in codes_of(kind))


def _is_module(layer: Any) -> bool:
    return any(base.__module__.startswith("torch.nn") for base in type(layer).__mro__)


def _torch_dtype(dtype: Any) -> Any:
    torch = sys.modules["torch"]
    return torch.float64 if np.dtype(dtype) == np.float64 else torch.float32


@contextlib.contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """PyTorch's default dtype for a while, so that zeros made in the first forward have x's precision."""
    torch = sys.modules.get("torch")
    if torch is None or np.dtype(dtype).kind != "f":
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(_torch_dtype(dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
