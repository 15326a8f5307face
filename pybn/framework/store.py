"""What the scopes of one context share: variables, parameters, runs; and the one door through which values change.

They change all together or not at all, and nobody who holds the lock sees a part of a change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pybn.framework.blocks import Blocks
from pybn.framework.parameters import Parameters
from pybn.framework.runs import ConcurrentTrainingError, Outside, Run
from pybn.framework.variables import Variable, as_they_were, hold_all, put_back, restored_on_error


class Store:
    """One for all scopes of a context.

    Parameters
    ----------
    rng : the source of first values and of dropout
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.variables: dict[str, Variable] = {}
        self.parameters = Parameters()
        self.rng = rng
        self.packs: dict[Any, Any] = {}  # how optimizers have divided variables; of no copy, and of none that is gone
        self.notified: set[tuple[str, str]] = set()
        self.blocks = Blocks()  # what the blocks around a line set, the run among it
        self.outside = Outside()
        self.lock = threading.RLock()  # around what must be seen whole: a variable's birth, a step's assignments
        self.steps = 0  # how many were applied since this store was made
        self.global_step = 0  # how many its values are the result of, those before a checkpoint too
        self.changed_by: tuple[str, int] | None = None  # by whom and in which process, as long as that takes

    def __getstate__(self) -> dict[str, Any]:
        """What a copy begins with, in this process or another: all of one moment, and no run under way."""
        with self.lock:
            return {
                "variables": [(each.path, *kept) for each, *kept in as_they_were(self.variables.values())],
                "parameters": self.parameters.copy(),
                "rng": self.rng,
                "notified": set(self.notified),
                "global_step": self.global_step,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        Store.__init__(self, state.pop("rng"))
        self.variables = {path: Variable(path, *kept) for path, *kept in state.pop("variables")}
        self.__dict__.update(state)

    def assign(self, held: dict[Variable, np.ndarray]) -> None:
        """Give variables values that were checked, all of them or, where an interrupt comes between two, none."""
        with self.lock, restored_on_error(held):
            hold_all(held)

    def apply_step(self, run: Run, held: dict[Variable, np.ndarray]) -> None:
        """Assign what one training step gave, and count it; refused where another step came between."""
        with self.lock:
            if run.began_after not in (None, self.steps):
                raise ConcurrentTrainingError(
                    "another training step on this context was applied since this one began: two at once would lose "
                    "one of them. This one changed nothing; let the steps take turns"
                )
            self.assign(held)
            self.steps += 1
            self.global_step += 1
            if run.began_after is not None:
                run.began_after = self.steps

    @contextmanager
    def changing(self, what: str) -> Iterator[None]:
        """Let one at a time change the variables: see `Context.changing`."""
        me = (what, os.getpid())
        try:
            with self.lock:
                # One of another process is no more: this one was forked from it meanwhile, without its threads.
                if self.changed_by is not None and self.changed_by[1] == me[1]:
                    raise ConcurrentTrainingError(
                        f"{what} cannot begin while {self.changed_by[0]} is under way on this context, in another "
                        "thread or around this call: two at once would lose one of them. Nothing was changed; let "
                        "them take turns (with a threading.Lock around each, for one)"
                    )
                self.changed_by = me
            yield
        finally:  # no call stands here, with which an interrupt could come
            if self.changed_by is me:
                self.changed_by = None

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        """Put everything back if the block raises or is interrupted: see `Context.restored_on_error`."""
        with self.lock:
            variables, parameters, step = dict(self.variables), self.parameters.copy(), self.global_step
            before = as_they_were(variables.values())
            try:  # one for all: an interrupt may come between two
                yield
            except BaseException:
                self.variables, self.parameters, self.global_step = variables, parameters, step
                self.packs.clear()
                put_back(before)
                raise
