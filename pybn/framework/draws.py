"""The state of random numbers: put into words that JSON keeps, taken up again, and put back after an error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def described(rng: np.random.Generator) -> dict[str, Any]:
    """What `rng` will draw next, in dicts, lists and plain numbers; TypeError where it cannot be told in these.

    >>> rng = np.random.default_rng(0)
    >>> saved = described(rng)
    >>> drawn = rng.random()
    >>> rng.bit_generator.state = as_state_of(rng, saved)
    >>> rng.random() == drawn
    True
    """
    state: dict[str, Any] = _plain(rng.bit_generator.state)
    try:
        json.dumps(state)
    except TypeError as error:
        kind = type(rng.bit_generator).__name__
        raise TypeError(f"the state of the random numbers ({kind}) cannot be saved: {error}") from error
    return state


def as_state_of(rng: np.random.Generator, saved: Any) -> Any:
    """`saved`, which `described` gave, as `rng.bit_generator.state` takes it; ValueError where it is of another kind.

    It is tried on a copy: whatever is wrong with it is raised here.
    """
    attempt = copy.deepcopy(rng.bit_generator)
    kind, ours = saved["bit_generator"], attempt.state["bit_generator"]
    if kind != ours:
        raise ValueError(
            f"random numbers of the kind {kind!r} cannot go on in a Context with {ours}: make it with a Generator of "
            "that kind, or load with restore_rng=False and draw others"
        )
    attempt.state = saved
    return attempt.state


@contextmanager
def put_back_on_error(rng: np.random.Generator) -> Iterator[None]:
    """Let `rng` draw the same numbers again if the block raises or is interrupted."""
    before = rng.bit_generator.state
    try:
        yield
    except BaseException:
        rng.bit_generator.state = before
        raise


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
