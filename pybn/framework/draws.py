"""The state of random numbers: put into words that JSON keeps, taken up again, and put back after an error."""

from __future__ import annotations

import copy
import json
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_ODD = ("odd", lambda number: number % 2 == 1)
_FLAG = ("0 or 1", lambda number: number in (0, 1))

# What NumPy takes as a state, and then reads beyond its arrays or draws one number for ever: by kind and entry, what
# it must be.  MT19937 never looks at the low bits of its first word.
_RULES: dict[type, dict[str, tuple[str, Callable[[Any], bool]]]] = {
    np.random.MT19937: {
        "pos": ("from 0 to 624", lambda pos: 0 <= pos <= 624),
        "key": ("not 0 throughout", lambda key: any(key[1:]) or key[0] >= 2**31),
    },
    np.random.PCG64: {"inc": _ODD, "has_uint32": _FLAG},
    np.random.PCG64DXSM: {"inc": _ODD, "has_uint32": _FLAG},
    np.random.Philox: {"buffer_pos": ("from 0 to 4", lambda pos: 0 <= pos <= 4), "has_uint32": _FLAG},
    np.random.SFC64: {"state": ("not 0 throughout", any), "has_uint32": _FLAG},
}


def described(rng: np.random.Generator) -> dict[str, Any] | None:
    """What `rng` will draw next, as JSON can write it; TypeError where JSON has no words for it.

    None where it does not tell: the `state` of a bit generator that is none of NumPy's own may raise.

    >>> rng = np.random.default_rng(0)
    >>> saved = described(rng)
    >>> drawn = rng.random()
    >>> rng.bit_generator.state = as_state_of(rng, saved)
    >>> rng.random() == drawn
    True
    """
    state = _state_of(rng)
    if state is None:
        return None
    try:
        plain: dict[str, Any] = _plain(state)
        json.dumps(plain)
    except TypeError as error:
        kind = type(rng.bit_generator).__name__
        raise TypeError(f"the state of the random numbers ({kind}) cannot be saved: {error}") from error
    return plain


def as_state_of(rng: np.random.Generator, saved: Any) -> Any:
    """`saved`, which `described` gave, as `rng.bit_generator.state` takes it; ValueError where it is of another kind.

    It is tried on a copy, from which nothing is drawn: whatever is wrong with it is raised here.  NumPy's own
    setters look at next to nothing, so it must also be read back as it is and keep the rules of its kind.
    """
    attempt = copy.deepcopy(rng.bit_generator)
    kind, ours = saved["bit_generator"], attempt.state["bit_generator"]
    if kind != ours:
        raise ValueError(
            f"random numbers of the kind {kind!r} cannot go on in a Context with {ours}: make it with a Generator of "
            "that kind, or load with restore_rng=False and draw others"
        )
    attempt.state = saved
    state = attempt.state
    _must_be_the_same(saved, _plain(state))
    _must_keep_the_rules(attempt, saved)
    return state


@contextmanager
def put_back_on_error(rng: np.random.Generator) -> Iterator[None]:
    """Let `rng` draw the same numbers again if the block raises or is interrupted.

    Where its bit generator does not tell its state that cannot be done, and the error gets a note that says so.
    """
    before = _state_of(rng)
    try:
        yield
    except BaseException as error:
        if before is None:
            kind = type(rng.bit_generator).__name__
            error.add_note(f"The random numbers that were drawn are not taken back: {kind} does not tell its state")
        else:
            rng.bit_generator.state = before
        raise


def _state_of(rng: np.random.Generator) -> Any:
    """None where it does not tell: the `state` of a bit generator that is none of NumPy's own may raise."""
    try:
        return rng.bit_generator.state
    except Exception:
        if type(rng.bit_generator) in _RULES:
            raise
        return None


def _must_be_the_same(saved: Any, back: Any) -> None:
    """Raise ValueError where a number was cut, rounded, left out or of another type."""
    given, taken = _entries(saved), _entries(back)
    for name in given | taken:
        if given.get(name) != taken.get(name):
            raise ValueError(
                f"{name} must be read back as it was saved, got {given.get(name, 'nothing')}, "
                f"which is read back as {taken.get(name, 'nothing')}"
            )


def _must_keep_the_rules(kind: np.random.BitGenerator, saved: Any) -> None:
    """Raise ValueError where a state that NumPy takes is none to draw from."""
    rules = next((rules for each, rules in _RULES.items() if isinstance(kind, each)), {})
    entries = saved | saved["state"] if rules else {}
    for name, (rule, holds) in rules.items():
        if not holds(entries[name]):
            raise ValueError(f"{name} must be {rule}, got {reprlib.repr(entries[name])}")


def _entries(state: Any, name: str = "state") -> dict[str, str]:
    """Each number of it by its name, as JSON writes it: 1, 1.0 and true are three."""
    if not isinstance(state, dict | list | tuple):
        return {name: json.dumps(state)}
    inner = state.items() if isinstance(state, dict) else enumerate(state)
    return {each: number for key, value in inner for each, number in _entries(value, f"{name}.{key}").items()}


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
