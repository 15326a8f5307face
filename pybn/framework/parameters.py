"""Parameters: settings by scope, found by walking up to the root."""

from __future__ import annotations

import copy
from typing import Any


class Parameters:
    """Values by key and scope; a scope has those of the scopes above it, unless it sets its own.

    Scopes are given as prefixes, without an end: "" for the root, "/layer_0".
    """

    def __init__(self) -> None:
        self._by_key: dict[str, dict[str, Any]] = {}

    def get(self, key: str, prefix: str, default: Any) -> Any:
        """The value that holds in the scope."""
        by_scope = self._by_key.get(key)
        if by_scope is None:  # set nowhere, as most are
            return default
        while prefix and prefix not in by_scope:
            prefix = prefix.rpartition("/")[0]
        return by_scope.get(prefix, default)

    def set(self, key: str, prefix: str, value: Any) -> None:
        """Set a value for the scope and those under it."""
        self._by_key.setdefault(key, {})[prefix] = value

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
        other._by_key = {key: dict(by_scope) for key, by_scope in self._by_key.items()}
        return other
