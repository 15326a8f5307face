"""How a layer is told whether it trains: every way that it has, all of them at once.

Parameters of forward (training=, is_test=, mode="train"), methods (train() and eval(), set_training),
attributes, a variable of the module, torch.no_grad(), a method of its own for test mode.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from pybn.study.adapters.names import NAMES, NEGATIVE, POSITIVE, SETTERS, TEST_WORDS, TRAIN_WORDS, WORDED, bare
from pybn.study.adapters.places import Place, get, put, shown, walk

Override = str | Callable[[Any, bool], Any]


@dataclass
class Mode:
    """The ways that were found; `ways` names them for a report."""

    flags: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # parameter of forward -> (train, test)
    attributes: dict[Place, tuple[Any, Any]] = field(default_factory=dict)
    variables: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # of the layer's module
    shared: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)  # Config.train: the module's Config
    methods: tuple[Callable[..., Any], Callable[..., Any]] | None = None  # called on the layer: train, test
    other_forward: str = ""  # a method that is forward in test mode
    within: tuple[str, bool] = ("", False)  # a method for `with`, and whether training is what happens inside
    override: Callable[[Any, bool], Any] | None = None
    to_be_tried: bool = False  # it is a mode only if it makes a difference
    decided: bool = True  # the values are known, and not only the name

    @property
    def ways(self) -> list[str]:
        """Every way in words, those first that a class can only have for this."""
        found = [f"{name}=" for name in self.flags] + [shown(place) for place in self.attributes]
        found += [f"the module's {name}" for name in self.variables] + [".".join(each) for each in self.shared]
        found += [self.other_forward] * bool(self.other_forward) + [f"with {self.within[0]}()"] * bool(self.within[0])
        return found + ["train() and eval()"] * bool(self.methods) + ["mode="] * bool(self.override)

    def unswitched(self, layer: Any) -> str:
        """The class's own eval() or train() that leaves the layer's flag as it was; "" where both do what they say."""
        if self.methods is None or type(layer).__module__.partition(".")[0] == "torch":
            return ""
        flags = {place: values for place, values in self.attributes.items() if isinstance(get(layer, place), bool)}
        for index, name in ((1, "eval()"), (0, "train()")):
            for place, values in flags.items():
                put(layer, place, values[1 - index])
            self.methods[index](layer)
            if any(get(layer, place) != values[index] for place, values in flags.items()):
                return name if callable(getattr(layer, name[:-2], None)) else "the method that sets the mode"
        return ""

    @contextlib.contextmanager
    def applied(self, layer: Any, training: bool) -> Iterator[dict[str, Any]]:
        """The layer in this mode; gives the arguments that forward is to get beside x."""
        index = 0 if training else 1
        if self.methods:
            self.methods[index](layer)
        for place, values in self.attributes.items():
            put(layer, place, values[index])
        if self.override:
            self.override(layer, training)
        names = _module_names(type(layer))
        before = {name: names[name] for name in self.variables}
        names.update({name: values[index] for name, values in self.variables.items()})
        holders = {each: (_globals(type(layer))[each[0]], each[1]) for each in self.shared}
        stood = {each: _entry(*holder) for each, holder in holders.items()}
        for each, values in self.shared.items():
            _set_entry(*holders[each], values[index])
        try:
            inside = self.within[0] and training is self.within[1]
            around = getattr(layer, self.within[0])() if inside else contextlib.nullcontext()
            with contextlib.nullcontext() if training else _no_gradient(), around:
                yield {name: values[index] for name, values in self.flags.items()}
        finally:
            names.update(before)
            for each, value in stood.items():
                _set_entry(*holders[each], value)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a forward; of a layer that hands its **kwargs on to a method of its own, that one's as well."""
    own = dict(inspect.signature(function).parameters)
    variable = [name for name, each in own.items() if each.kind is each.VAR_KEYWORD]
    inner = next((each for name in NAMES["forward"] if callable(each := getattr(function, name, None))), None)
    handed = [] if inner is None else list(inspect.signature(inner).parameters.items())[1:]
    if inner is None and (wrapped := _closed_over(function)) is not None:
        handed = list(inspect.signature(wrapped).parameters.items())[2:]  # without the layer and x
    if not variable or not handed:
        return own
    return {**{name: each for name, each in own.items() if name not in variable}, **dict(handed)}


def _closed_over(function: Callable[..., Any]) -> FunctionType | None:
    """The one function that a decorator's own stands around, where it takes whatever that is handed."""
    own = getattr(function, "__func__", function)
    held = [cell.cell_contents for cell in getattr(own, "__closure__", None) or () if _is_filled(cell)]
    found = [each for each in held if isinstance(each, FunctionType)]
    return found[0] if len(found) == 1 else None


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def find_mode(layer: Any, call: Callable[..., Any], override: Override | None) -> Mode:
    """Every way to ask this layer for a mode, or the one that a teacher names."""
    kind, mode = type(layer), Mode()
    if callable(override):
        mode.override = override
        return mode
    parameters = parameters_of(call)
    if override is not None:
        return _named(layer, override, parameters, kind)
    for name, parameter in parameters.items():
        if _is_mode(name) and not isinstance(parameter.default, Enum):
            mode.flags[name] = values_for(name, parameter.default, kind)
    for place, held in walk(layer):
        if isinstance(held, bool | int | str) and not isinstance(held, Enum) and _is_mode(place[-1]) and _switch(held):
            mode.attributes[place] = values_for(place[-1], held, kind)
    mode.methods = _methods(layer)
    if not (mode.flags or mode.attributes or mode.methods):
        used = {name for code in codes_of(kind) for name in code.co_names}
        names = _module_names(kind)
        mode.variables = {
            name: values_for(name, names[name], kind)
            for name in used & set(names)
            if _is_mode(name) and isinstance(names[name], bool | str)
        }
        mode.other_forward = next((name for name in NAMES["test forward"] if callable(getattr(layer, name, None))), "")
    if not mode.ways:
        mode.shared = _shared(kind)
    if not mode.ways and get(layer, ("trainable",)) is True:  # a frozen layer normalizes with its averages
        mode.attributes[("trainable",)] = True, False
        mode.to_be_tried = True
    return mode


def _shared(kind: type) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Modes that a global object or dict holds for all layers, of those that the class's methods name."""
    used = {name for code in codes_of(kind) for name in (*code.co_names, *strings(code.co_consts))}
    holders = {name: held for name, held in _globals(kind).items() if name in used and not isinstance(held, ModuleType)}
    return {
        (name, entry): values_for(entry, _entry(held, entry), kind)
        for name, held in holders.items()
        for entry in used
        if _is_mode(entry) and isinstance(_entry(held, entry), bool)
    }


def _entry(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _set_entry(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[name] = value
    else:
        setattr(holder, name, value)


def _named(layer: Any, name: str, parameters: Mapping[str, Any], kind: type) -> Mode:
    """The one way that a teacher named: a parameter of forward, a method for test mode, or an attribute."""
    if name in parameters:
        default = parameters[name].default
        return Mode(flags={name: values_for(name, default, kind)}, decided=not isinstance(default, str | Enum))
    if name in context_methods(layer):
        return Mode(within=(name, False), decided=False)
    if callable(getattr(layer, name, None)):
        return Mode(other_forward=name)
    place = tuple(name.split("."))
    held = get(layer, place)
    if held is None:
        raise LookupError(f"mode={name!r} is neither a parameter of forward nor a method or attribute")
    return Mode(attributes={place: values_for(place[-1], held, kind)}, decided=not isinstance(held, str | Enum))


def context_methods(layer: Any) -> list[str]:
    """Methods that are for `with layer.evaluating():`."""
    own = [base for base in type(layer).__mro__ if base.__module__.partition(".")[0] not in ("builtins", "torch")]
    return [
        name
        for base in own
        for name, held in vars(base).items()
        if inspect.isfunction(held)
        and inspect.isgeneratorfunction(inspect.unwrap(held))
        and not inspect.isgeneratorfunction(held)  # a generator that contextlib has made one of
        and not _required(getattr(layer, name))
    ]


def _is_mode(name: Any) -> bool:
    return bare(name) in (*POSITIVE, *NEGATIVE, *WORDED)


def _switch(held: Any) -> bool:
    """Whether this looks like a mode: a truth value, 0 or 1, or one of the words."""
    return held.lower() in (*TRAIN_WORDS, *TEST_WORDS) if isinstance(held, str) else held in (0, 1)


def values_for(name: Any, default: Any, kind: type) -> tuple[Any, Any]:
    """What stands for training and for test mode: truth values, or the words that the class compares with."""
    if bare(name) in WORDED and not isinstance(default, bool):
        if isinstance(default, int) and default in (0, 1):
            return 1, 0
        words = [const for code in codes_of(kind) for const in strings(code.co_consts)]
        words += [default] if isinstance(default, str) else []
        train = next((word for word in words if word.lower() in TRAIN_WORDS), "train")
        return train, next((word for word in words if word.lower() in TEST_WORDS), "test")
    return (False, True) if bare(name) in NEGATIVE else (True, False)


def strings(constants: Any) -> list[str]:
    """Strings among a function's constants, and in their tuples."""
    flat = [each for const in constants for each in (const if isinstance(const, tuple | frozenset) else (const,))]
    return [each for each in flat if isinstance(each, str)]


def codes_of(kind: type) -> Iterator[CodeType]:
    """The code of every method of the class and of its own bases."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "torch", "abc"):
            continue
        for held in vars(base).values():
            function = inspect.unwrap(getattr(held, "__func__", held)) if callable(held) else held
            if isinstance(getattr(function, "__code__", None), CodeType):
                yield function.__code__


def _methods(layer: Any) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """train() and eval(), or one that sets the mode; methods of a network that fit something take arguments."""
    train, test = getattr(layer, "train", None), getattr(layer, "eval", None)
    if callable(train) and callable(test) and not _required(train) and not _required(test):
        return lambda each: each.train(), lambda each: each.eval()
    setter = next((name for name in SETTERS if callable(getattr(layer, name, None))), None)
    if setter is None or len(_required(getattr(layer, setter))) != 1:
        return None
    values = values_for("mode" if setter.endswith("mode") else "training", None, type(layer))
    if setter == "set_mode" and "train" not in [each for code in codes_of(type(layer)) for each in code.co_consts]:
        values = (True, False)
    return lambda each: getattr(each, setter)(values[0]), lambda each: getattr(each, setter)(values[1])


def _required(function: Callable[..., Any]) -> list[str]:
    """Names of the positional parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind in kinds]


def _module_names(kind: type) -> dict[str, Any]:
    """The variables that the class's own methods see, of the first module that has a mode among them."""
    for names in _modules(kind):
        if any(_is_mode(name) and isinstance(value, bool | str) for name, value in names.items()):
            return names
    return {}


def _globals(kind: type) -> dict[str, Any]:
    """What the methods of the class itself see."""
    return next(_modules(kind), {})


def _modules(kind: type) -> Iterator[dict[str, Any]]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in ("builtins", "torch"):
            yield getattr(
                next((held for held in vars(base).values() if hasattr(held, "__globals__")), None), "__globals__", {}
            )


def _no_gradient() -> contextlib.AbstractContextManager[Any]:
    """torch.no_grad() where PyTorch is in use: to some courses that is test mode."""
    torch = sys.modules.get("torch")
    return torch.no_grad() if torch is not None else contextlib.nullcontext()


__all__ = ["Mode", "Override", "codes_of", "context_methods", "find_mode", "parameters_of", "strings", "values_for"]
