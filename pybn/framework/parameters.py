"""Parameters: settings by scope, found by walking up to the root."""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pybn.arguments import BOOLEAN

Choice = TypeVar("Choice")
_NUMBER = (int, float, np.number)  # a tuple: `int | float` would be made anew at each call


class MisspeltParameterWarning(UserWarning):
    """A parameter is set that nothing reads, while one with nearly its name is read and not set."""


class Misspelt(NamedTuple):
    """A parameter that is set in vain, and the one that was probably meant."""

    scope: str
    key: str
    meant: str


def chosen(key: str, value: Any, known: Mapping[str, Choice]) -> Choice:
    """What the value of the parameter `key` stands for; ValueError, with what it may be, where for nothing."""
    if isinstance(value, str) and value in known:
        return known[value]
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"the parameter {key} must be one of {', '.join(map(repr, known))}, got {value!r}{hint}")


def number(name: str, value: Any) -> Any:
    """`value`, which must be a number; TypeError, by name, for anything else, an array of one among it."""
    if isinstance(value, BOOLEAN) or not isinstance(value, _NUMBER):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return value


def whole_number(name: str, value: Any) -> Any:
    """`value`, which must be a whole number; TypeError, by name, for anything else."""
    if isinstance(value, BOOLEAN) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    return value


def not_negative(name: str, value: Any) -> Any:
    """`value`, which must be a finite number of 0 or more; TypeError or ValueError, by name, for anything else."""
    if not 0 <= number(name, value) < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    return value


class Parameters:
    """Values by key and scope; a scope has those of the scopes above it, unless it sets its own.

    Scopes are given as prefixes, without an end: "" for the root, "/layer_0".
    """

    def __init__(self) -> None:
        self._by_key: dict[str, dict[str, Any]] = {}
        self._asked_for: set[str] = set()

    def get(self, key: str, prefix: str, default: Any) -> Any:
        """The value that holds in the scope."""
        self._asked_for.add(key)
        by_scope = self._by_key.get(key)
        if by_scope is None:  # set nowhere, as most are
            return default
        while prefix and prefix not in by_scope:
            prefix = prefix.rpartition("/")[0]
        return by_scope.get(prefix, default)

    def set(self, key: str, prefix: str, value: Any) -> None:
        """Set a value for the scope and those under it."""
        self._by_key.setdefault(key, {})[prefix] = value

    def misspelt(self) -> list[Misspelt]:
        """What is set and was never asked for, where a key like it was asked for and is set nowhere."""
        lacking = [key for key in list(self._asked_for) if key not in self._by_key]
        return [
            Misspelt(prefix or "/", key, near[0])
            for key, by_scope in list(self._by_key.items())
            if key not in self._asked_for and (near := difflib.get_close_matches(key, lacking, n=1))
            for prefix in by_scope
        ]

    def by_scope(self) -> dict[str, dict[str, Any]]:
        """Every value that is set, by scope ("/" for the root) and key; a copy."""
        found: dict[str, dict[str, Any]] = {}
        for key, by_scope in list(self._by_key.items()):
            for prefix, value in list(by_scope.items()):
                found.setdefault(prefix or "/", {})[key] = copy.deepcopy(value)
        return found

    def copy(self) -> Parameters:
        """The same settings, which stay as they are when this one changes."""
        other = Parameters()
        other._asked_for = self._asked_for
        other._by_key = {key: dict(by_scope) for key, by_scope in self._by_key.items()}
        return other
