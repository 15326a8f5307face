"""What no name tells is tried: which method is the forward, which the backward, and what asks for test mode.

Training is what makes a row of the output depend on the other rows; in test mode it depends on its own
row alone.  Everything is tried on layers that are thrown away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from pybn.study.adapters.making import required
from pybn.study.adapters.modes import Mode, codes_of, context_methods, parameters_of, strings
from pybn.study.adapters.names import NAMES, TEST_WORDS, TRAIN_WORDS, bare
from pybn.study.adapters.places import Place, arrays_of, as_array, walk, written
from pybn.study.adapters.roles import FEATURES

NEAR = 1e-6  # float32 keeps 1e-7 of a number; other rows move an output by more than 1e-2
GRADIENT_WORDS = ("grad", "back", "bprop", "bwd", "dout", "dy", "dl", "dz", "delta", "upstream", "error")
WORDS = 12  # strings that are tried for a text: a class's methods compare it with two or three


# --- methods --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Methods:
    """Names of a class's methods by what they do; "" where none does it, or more than one."""

    forward: str = ""
    test_forward: str = ""


def own_methods(kind: type) -> list[str]:
    """The public methods that the class or its own bases write down, in their order."""
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in ("builtins", "torch", "abc")]
    names = [name for base in reversed(own) for name, held in vars(base).items() if inspect.isfunction(held)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def takes_one(call: Callable[..., Any]) -> bool:
    """Whether a method can be called with one array, or with one and settings that have a default."""
    return _positional(call) > 0 and len(required(call)) <= 1


def _positional(call: Callable[..., Any]) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in kinds for each in inspect.signature(call).parameters.values())


def find_forward(make: Callable[[], Any], rows: np.ndarray, given: Callable[[np.ndarray], Any]) -> Methods:
    """The forward, and the forward of test mode where that is another method.

    make gives a new layer, given a batch as that takes it.
    """
    other = np.concatenate([rows[:1], rows[1:] * 1.7 + 0.3])

    def out(name: str, batch: np.ndarray) -> np.ndarray | None:
        call = getattr(make(), name)
        asked = required(call)
        if not _positional(call) or len(asked) > 2:
            return None
        switch = {each.name: True for each in asked[1:]}  # forward(x, training)
        return first_array(call(given(batch), **switch), given(batch).shape)

    whole: list[str] = []
    alone: list[str] = []
    for name in own_methods(type(make())):
        try:
            one, two = out(name, rows), out(name, other)
        except Exception:  # not a forward
            continue
        if one is not None and two is not None:
            (alone if np.allclose(one[0], two[0], rtol=NEAR, atol=NEAR) else whole).append(name)
    if len(whole) != 1:
        return Methods(alone[0] if not whole and len(alone) == 1 else "")
    alone = [name for name in alone if name not in _called_by(make(), whole[0])]  # scale and shift alone, perhaps
    return Methods(whole[0], alone[0] if len(alone) == 1 else "")


def _called_by(layer: Any, name: str) -> tuple[str, ...]:
    """What a method of the layer names."""
    code = getattr(inspect.unwrap(getattr(type(layer), name)), "__code__", None)
    return code.co_names if code else ()


def first_array(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """What a forward returned, or the first of what it returned, where it has the batch's shape."""
    value = value[0] if isinstance(value, tuple) and value else value
    array = as_array(value)
    return array if array is not None and array.shape == shape else None


def find_backward(trained: Callable[..., Any], given: Any, but: Iterable[str]) -> str:
    """The method that is proportional to what it is given, after a forward and not before: a gradient.

    Where none is, the only one that needs a forward before it, gives what has the shape of x and speaks of gradients:
    a wrong one.  "" where it is not one alone.  trained gives a new layer after its forward, and with False before it;
    but are methods that have another role.
    """
    found: list[str] = []
    others: list[str] = []
    taken = (*but, *NAMES["forward"], *NAMES["test forward"])
    for name in own_methods(type(trained())):
        try:
            call = getattr(trained(), name)
            if bare(name) in map(bare, taken) or not takes_one(call) or _runs(getattr(trained(False), name), given):
                continue
            results = [getattr(trained(), name)(times * given) for times in (0.0, 1.0, 2.0)]
        except Exception:  # not a backward
            continue
        nothing, once, twice = (_dx(each, given.shape) for each in results)
        if nothing is None or once is None or twice is None:
            continue
        linear = np.abs(once).max() > 0 and np.abs(nothing).max() == 0 and np.allclose(twice, 2 * once)
        if linear:
            found.append(name)
        elif _speaks_of_gradients(trained(), name, given):
            others.append(name)
    found = found or others
    return found[0] if len(found) == 1 else ""


def needing_forward(trained: Callable[..., Any], given: Any, but: Iterable[str]) -> list[str]:
    """Methods that run on an array after a forward and not before it, and speak of gradients, whatever they give."""
    found = []
    for name in own_methods(type(trained())):
        if bare(name) in map(bare, (*but, *NAMES["forward"], *NAMES["test forward"])):
            continue
        try:
            wanted = takes_one(getattr(trained(), name)) and not _runs(getattr(trained(False), name), given)
        except Exception:  # no method of a layer
            continue
        if wanted and _runs(getattr(trained(), name), given) and _speaks_of_gradients(trained(), name, given):
            found.append(name)
    return found


def _speaks_of_gradients(layer: Any, name: str, given: Any) -> bool:
    """Whether a method that runs leaves or returns a number for each feature, or is called or asks for such a thing.

    The inverse of a normalization, or a likelihood under it, needs a forward before it, too.
    """
    call = getattr(layer, name)
    words = {bare(name), *map(bare, inspect.signature(call).parameters)}
    if any(word in each for each in words for word in GRADIENT_WORDS):
        return True
    before = arrays_of(layer, FEATURES)
    result = call(given)
    results = result.values() if isinstance(result, dict) else result if isinstance(result, tuple | list) else ()
    returned = [array.size for array in map(as_array, results) if array is not None]
    return FEATURES in returned or bool(written(before, arrays_of(layer, FEATURES)))


def _runs(call: Callable[..., Any], given: Any) -> bool:
    try:
        call(given)
    except Exception:  # it waits for a forward
        return False
    return True


def _dx(result: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    candidates = list(result.values()) if isinstance(result, dict) else result
    candidates = candidates if isinstance(candidates, tuple | list) else [candidates]
    arrays = [as_array(each) for each in candidates]
    return next((array for array in arrays if array is not None and array.shape == shape), None)


# --- modes ----------------------------------------------------------------------------------------

Tried = Callable[[Mode, bool], tuple[np.ndarray, bool, frozenset[Place]]]
"""The output under a mode, whether its rows depend on each other, and the places that forward has written to."""


def find_by_trying(candidates: Iterable[Mode], tried: Tried) -> Mode | None:
    """The first of the candidates that is a mode, turned so that training comes first."""
    for mode in candidates:
        try:
            (one, whole, left), (two, other_whole, other_left) = tried(mode, True), tried(mode, False)
        except Exception:  # a value that the class does not take
            continue
        if left == other_left or np.allclose(one, two, rtol=1e-3):
            continue  # training writes averages, and test mode does not: else it is another switch
        if whole != other_whole:
            return mode if whole else turned(mode)
        if whole:
            return mode
    return None


def turned(mode: Mode) -> Mode:
    """The same with training and test mode changed over."""
    return Mode(
        flags={name: (b, a) for name, (a, b) in mode.flags.items()},
        attributes={place: (b, a) for place, (a, b) in mode.attributes.items()},
        within=(mode.within[0], not mode.within[1]),
    )


def candidates(layer: Any, call: Callable[..., Any], but: Iterable[str] = ()) -> Iterator[Mode]:
    """Every switch of forward and of the layer, whatever it is called: truth values, texts, members of an Enum."""
    kind = type(layer)
    for name, parameter in list(parameters_of(call).items())[1:]:
        if name not in but:
            default = True if parameter.default is parameter.empty else parameter.default
            yield from (Mode(flags={name: pair}) for pair in pairs(default, name, kind))
    for place, held in walk(layer):
        yield from (Mode(attributes={place: pair}) for pair in pairs(held, place[-1], kind))
    yield from (Mode(within=(name, False)) for name in context_methods(layer))


def pairs(held: Any, name: Any, kind: type) -> list[tuple[Any, Any]]:
    """What may stand for training and for test mode beside the value that is there."""
    if isinstance(held, bool | np.bool_):
        return [(bool(held), not held)]
    if isinstance(held, Enum):
        return _ordered(held, list(type(held)), lambda each: each.name)
    if isinstance(held, str):
        named = [code for code in codes_of(kind) if name in (*code.co_names, *code.co_varnames, *code.co_consts)]
        words = [word for code in named for word in strings(code.co_consts) if word.isidentifier() and word != name]
        return _ordered(held, list(dict.fromkeys(words))[:WORDS], str) or [(held, f"not {held}")]
    return []


def _ordered(held: Any, values: list[Any], word: Callable[[Any], str]) -> list[tuple[Any, Any]]:
    """Training first: by its word, else what is there; the likely words of test mode before others."""
    train = next((each for each in values if bare(word(each)) in TRAIN_WORDS), held)
    rest = [each for each in values if each != train]
    return [(train, each) for each in sorted(rest, key=lambda each: bare(word(each)) not in TEST_WORDS)]
