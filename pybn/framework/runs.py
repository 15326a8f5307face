"""A run of the model: what it is while it is under way, and what it leaves to be done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pybn.framework.graph import Node
from pybn.framework.variables import NewValues, Variable


class ConcurrentTrainingError(RuntimeError):
    """Two changes of one context at the same time; the one that raises this changed nothing."""


class Run:
    """One run of the model: its mode, and what its layers leave to be done when it ends well."""

    def __init__(self, training: bool = False, began_after: int | None = None) -> None:
        self.training = training
        self.began_after = began_after  # how many steps had been applied before; None: it never began
        self.losses: list[Node] = []
        # By the layer's path: the options on which all its uses in a step must agree.
        self.agreed: dict[str, Any] = {}
        self.claimed: dict[str, Variable] = {}  # what was used, by path
        self.regularized: set[str] = set()  # shared weights are penalized once
        # By the layer's path: what it saw, as plain arrays, for whoever records the training.
        self.observed: dict[str, Any] = {}
        # By the owner's path: a function that prepares new values, or raises and changes nothing.
        self.after_step: dict[str, Callable[[], NewValues]] = {}

    def prepared(self) -> NewValues:
        """The new values of everything that waits for the end of the step."""
        return {variable: value for prepare in self.after_step.values() for variable, value in prepare().items()}


class Outside(threading.local):
    """The run of code that has begun none: one for each thread."""

    def __init__(self) -> None:
        self.run = Run()
