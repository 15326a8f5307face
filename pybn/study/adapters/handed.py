"""A forward that is handed more than x: its parameters, its averages or a state, and gives new ones back.

`apply(params, state, x, train) -> y, state` beside `init(d)`, `forward(x, gamma, beta)`, PyTorch's bare
`autograd.Function`: a class of the usual manner is made of each, whose layers keep what is handed and put what
comes back in its place.  What a parameter is, is told by its name alone; where one is not known, nothing is made,
and the class is said to ask for it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from pybn.study.adapters.modes import codes_of, strings
from pybn.study.adapters.names import MEAN_NAMES, NAMES, VARIANCE_NAMES, bare, means
from pybn.study.adapters.places import as_array

STARTS = {"gamma": 1.0, "beta": 0.0, "running_mean": 0.0, "running_var": 1.0}
TABLES = {
    "params": ("params", "parameters", "param", "theta", "weights", "variables", "p"),
    "state": ("state", "states", "stats", "running", "running_stats", "batch_stats", "buffers", "bn_state", "averages"),
}
FORWARDS = (*NAMES["forward"], "apply", "__call__")
KINDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def role_of(name: str, beside: list[str]) -> str:
    """What a parameter of forward is handed: a key of STARTS or TABLES, or "" for x, a switch or a setting.

    Beside gamma and beta a bare `mean` is an average; a state alone may be the word for a mode.
    """
    for role, average in (("running_mean", MEAN_NAMES), ("running_var", VARIANCE_NAMES)):
        if means(name, role) or bare(name) in average:
            return role
    for role, table in TABLES.items():
        if bare(name) in table and (role == "params" or len(beside) > 2 or bare(name) != "state"):
            return role
    several = any(len(each) > 1 and means(each, "gamma") for each in beside) or len(name) > 1
    return next((role for role in ("gamma", "beta") if several and means(name, role)), "")


@dataclass(frozen=True)
class Handed:
    """A method and the role of each parameter that a layer keeps for it; first are those before x: self, or ctx."""

    function: Callable[..., Any]
    roles: Mapping[str, str]
    rest: tuple[inspect.Parameter, ...]  # x and what else is asked for in each call

    @classmethod
    def of(cls, function: Callable[..., Any], *, skip: int) -> Handed | None:
        """What a function is handed beside its first `skip` parameters; None where that is nothing to be kept."""
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        names = [each.name for each in parameters]
        if any(each.kind not in KINDS for each in parameters):
            return None
        roles = {each.name: role for each in parameters if (role := role_of(each.name, names))}
        rest = tuple(each for each in parameters if each.name not in roles)
        rest = tuple(sorted(rest, key=lambda each: (not means(each.name, "x"), each.default is not each.empty)))
        return cls(function, roles, rest) if roles and rest else None


def as_layer(kind: type) -> type | None:
    """The class whose layers keep what this one's forward is handed; None where it is handed nothing but x."""
    try:
        if _is_autograd_function(kind):
            return _of_autograd(kind)
        name = next((each for each in FORWARDS if _own(kind, each)), "")
        handed = Handed.of(getattr(kind, name), skip=1) if name else None
        wanted = handed is not None and any(_is_required(handed.function, each) for each in handed.roles)
        return _made(kind, name, handed) if handed is not None and wanted else None
    except (TypeError, ValueError):  # no signature, a class that is not to be derived from
        return None


def from_pair(table: Mapping[str, Any]) -> type | None:
    """The class made of `init` and `apply`, functions of one file; None where they are not there."""
    init, apply = table.get("init"), table.get("apply")
    if not (isinstance(init, FunctionType) and isinstance(apply, FunctionType)):
        return None
    handed = Handed.of(apply, skip=0)
    if handed is None:
        return None
    own = {"init": staticmethod(init), "theirs": staticmethod(apply), "__module__": apply.__module__}
    return _made(type("Apply", (), own), "", handed)


def _is_required(function: Callable[..., Any], name: str) -> bool:
    return inspect.signature(function).parameters[name].default is inspect.Parameter.empty


def _own(kind: type, name: str) -> bool:
    """Whether a class writes down this method, and not only the one of a base that hands everything on."""
    held = inspect.getattr_static(kind, name, None)
    if not isinstance(held, FunctionType):
        return False
    return all(each.kind in KINDS for each in inspect.signature(held).parameters.values())


def _is_autograd_function(kind: type) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(kind, torch.autograd.Function)


def _of_autograd(kind: Any) -> type | None:
    """`Function.apply`, which takes everything by its place, as a layer's forward."""
    handed = Handed.of(kind.forward, skip=1)
    if handed is None:
        return None
    order = list(inspect.signature(kind.forward).parameters.values())[1:]

    def theirs(**given: Any) -> Any:
        return kind.apply(*(given.get(each.name, each.default) for each in order))

    own = {"theirs": staticmethod(kind.forward), "their_backward": staticmethod(kind.backward)}
    bare_layer = type(kind.__name__, (), {**own, "__module__": kind.__module__})
    return _made(bare_layer, "", Handed(theirs, handed.roles, handed.rest), torch=True)


# --- the class ------------------------------------------------------------------------------------


class Method:
    """A method that tells its own signature and its origin, and has no module: the student's is looked into."""

    def __init__(self, call: Callable[..., Any], signature: inspect.Signature, origin: Callable[..., Any]) -> None:
        self.call, self.__signature__, self.__wrapped__ = call, signature, origin
        self.__name__ = getattr(origin, "__name__", "forward")

    def __get__(self, layer: Any, kind: Any = None) -> Any:
        """The method of one layer."""
        return self if layer is None else Bound(self, layer)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The method, with the layer as the first argument."""
        return self.call(*arguments, **named)


class Bound:
    """The method of one layer."""

    def __init__(self, method: Method, layer: Any) -> None:
        self.method, self.layer, self.__name__ = method, layer, method.__name__
        self.__signature__ = method.__signature__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The method itself."""
        return self.method.call(self.layer, *arguments, **named)


def _made(kind: type, name: str, handed: Handed, torch: bool = False) -> type | None:
    torch = torch or ("torch" in sys.modules and any("torch" in code.co_names for code in codes_of(kind)))
    features, signature = _constructor(kind)
    if _starts(kind, handed, 1, torch, None) is None:
        return None

    def start(layer: Any, **arguments: Any) -> None:
        count = arguments[features]
        own = {key: value for key, value in arguments.items() if key != "num_features" or features in _takes(kind)}
        kind.__init__(layer, **own)  # type: ignore[misc]
        values = _starts(kind, handed, count, torch, layer)
        for key, value in (values or {}).items():
            object.__setattr__(layer, key, value)

    def forward(layer: Any, *arguments: Any, **named: Any) -> Any:
        given = dict(zip((each.name for each in handed.rest), arguments, strict=False)) | named
        kept = {each: getattr(layer, each) for each in handed.roles}
        function = handed.function if not name else getattr(kind, name).__get__(layer)
        return _put_back(layer, handed, kept, function(**given, **kept))

    method = Method(forward, inspect.Signature(list(_without_places(handed.rest))), handed.function)
    own: dict[str, Any] = {name or "forward": method, "__init__": Method(start, signature, kind)}
    if name and "__call__" in dir(kind):  # a base that hands on to forward, and may lose a keyword on the way
        own["__call__"] = method
    if name == "apply":
        own["forward"] = method
    back = next((each for each in NAMES["backward"] if _own(kind, each)), "")
    backward = Handed.of(getattr(kind, back), skip=1) if back else None
    if backward and set(backward.roles) <= set(handed.roles):
        own[back] = _backward(kind, back, backward)
    return type(kind.__name__, (kind,), {**own, "__module__": kind.__module__, "__signature__": signature})


def _without_places(parameters: tuple[inspect.Parameter, ...]) -> tuple[inspect.Parameter, ...]:
    """In an order that a signature allows: keywords, those with a default last."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return tuple(
        each.replace(kind=kind) for each in sorted(parameters, key=lambda each: each.default is not each.empty)
    )


def _takes(kind: type) -> list[str]:
    return list(inspect.signature(kind).parameters)


def _constructor(kind: type) -> tuple[str, inspect.Signature]:
    """The constructor's name for the number of features, and its signature; one is put first where it asks for none."""
    parameters = list(inspect.signature(kind).parameters.values())
    named = [each.name for each in parameters if means(each.name, "features")]
    asked = [each.name for each in parameters if each.default is each.empty and each.kind in KINDS]
    if named or asked:
        return (named or asked)[0], inspect.Signature(parameters)
    count = inspect.Parameter("num_features", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return "num_features", inspect.Signature([count, *(each for each in parameters if each.kind in KINDS)])


def _backward(kind: type, name: str, backward: Handed) -> Method:
    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        given = dict(zip((each.name for each in backward.rest), arguments, strict=False)) | named
        kept = {each: getattr(layer, each) for each in backward.roles}
        return getattr(kind, name)(layer, **given, **kept)

    return Method(call, inspect.Signature(list(_without_places(backward.rest))), backward.function)


# --- what is kept ---------------------------------------------------------------------------------


def _starts(kind: type, handed: Handed, count: int, torch: bool, layer: Any) -> dict[str, Any] | None:
    """What each kept parameter starts from, by its name: None where one of them is not known."""
    found: dict[str, Any] = {}
    made = {} if layer is None else _by_init(layer, count)
    for name, role in handed.roles.items():
        if role in STARTS:
            found[name] = _filled(STARTS[role], count, torch, role)
        elif role in made:
            found[name] = made[role]
        else:
            table = _table(kind, role, count, torch)
            if table is None and not (layer is None and _inits(kind)):
                return None
            found[name] = table
    return found


def _filled(value: float, count: int, torch: bool, role: str) -> Any:
    if not torch:
        return np.full(count, value)
    module = sys.modules["torch"]
    return module.full((count,), value, requires_grad=role in ("gamma", "beta"), dtype=module.get_default_dtype())


def _inits(kind: type) -> list[str]:
    return [name for name in dir(kind) if "init" in name and not name.startswith("__")]


def _by_init(layer: Any, count: int) -> dict[str, Any]:
    """What the methods that are called after a beginning give: parameters, a state, or both in this order."""
    found: dict[str, Any] = {}
    for name in _inits(type(layer)):
        call = getattr(layer, name)
        asked = [each for each in inspect.signature(call).parameters.values() if each.default is each.empty]
        if len(asked) > 1:
            continue
        made = call(*[count] * len(asked))
        if isinstance(made, tuple) and len(made) == 2 and all(as_array(each) is None for each in made):
            found |= dict(zip(("params", "state"), made, strict=True))
        elif made is not None:
            found["state" if any(word in name for word in ("stat", "running", "buffer", "averag")) else "params"] = made
    return found


def _table(kind: type, role: str, count: int, torch: bool) -> dict[str, Any] | None:
    """A dict with the keys that the class's own code reads from it."""
    texts = dict.fromkeys(text for code in codes_of(kind) for text in strings(code.co_consts))
    roles = ("gamma", "beta") if role == "params" else ("running_mean", "running_var")
    words = {"running_mean": MEAN_NAMES, "running_var": VARIANCE_NAMES}
    keys = {each: next((t for t in texts if means(t, each) or bare(t) in words.get(each, ())), None) for each in roles}
    if any(key is None for key in keys.values()):
        return None
    return {str(key): _filled(STARTS[each], count, torch, each) for each, key in keys.items()}


def _put_back(layer: Any, handed: Handed, kept: Mapping[str, Any], result: Any) -> Any:
    """Keep what came back in the place of what was handed in; the output, and what else there is as its cache."""
    if not isinstance(result, tuple):
        return result
    others = list(result[1:])
    for name, held in kept.items():
        if handed.roles[name] in ("gamma", "beta", "params"):
            continue
        new = next((each for each in others if _alike(each, held)), None)
        if new is not None:
            others = [each for each in others if each is not new]
            object.__setattr__(layer, name, new)
    return (result[0], others[0] if len(others) == 1 else tuple(others)) if others else result[0]


def _alike(one: Any, two: Any) -> bool:
    """Whether two are of one form: arrays of one shape, tuples of so many, dicts with the same keys."""
    if isinstance(two, dict):
        return isinstance(one, dict) and one.keys() == two.keys()
    if isinstance(two, tuple | list):
        return isinstance(one, tuple | list) and len(one) == len(two) and all(map(_alike, one, two))
    shape = getattr(two, "shape", None)
    return getattr(one, "shape", ()) == shape if shape is not None else type(one) is type(two)
