"""Variables: the named arrays that outlive the runs, and how several change together or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from pybn.framework.blocks import around
from pybn.framework.graph import Node

__all__ = [
    "NewValues",
    "Variable",
    "as_they_are",
    "as_they_were",
    "check_numbers",
    "hold_all",
    "put_back",
    "restored_on_error",
]

ROOT = "/"
NewValues = dict["Variable", Any]


class Variable:
    """A named array that outlives the runs: a weight, or a statistic.

    Parameters
    ----------
    path : its absolute name, such as "/layer_0/weights"
    value : array; its shape and dtype stay
    trainable : whether an optimizer may change it
    role : what it is to the layer that owns it, however the scope is spelled; "" for nothing special
    """

    __slots__ = ("_node", "path", "role", "trainable")

    def __init__(self, path: str, value: np.ndarray, trainable: bool = True, role: str = "") -> None:
        self.path = path
        self.trainable = trainable
        self.role = role
        # The value is a leaf of the graph from the start.  Made when first asked for, two threads could
        # make two of it, and a gradient look for the wrong one.
        self._node = Node(np.asarray(value))  # its shape and dtype stay
        self.value = value

    @property
    def value(self) -> np.ndarray:
        """The array, read-only; assign to `value` to change it."""
        return self.node.value

    @value.setter
    def value(self, new: Any) -> None:
        self.hold(self.checked(new))

    def checked(self, new: Any) -> np.ndarray:
        """`new` as this variable could hold it: a read-only copy.

        ValueError for another shape, TypeError for what are no real numbers, or masked ones.
        """
        held = self._node.value
        kind = type(new)
        if kind is not float and (kind is not np.ndarray or new.dtype != held.dtype):  # what a step gives is either
            check_numbers(self.path, new, held.dtype)
        array = np.array(new, held.dtype)
        if array.shape != held.shape:
            raise ValueError(f"{self.path} must keep its shape {self.shape}, got {array.shape}")
        array.setflags(write=False)
        return array

    def hold(self, array: np.ndarray) -> None:
        """Take what `checked` gave for the value."""
        hold_all({self: array})

    @property
    def node(self) -> Node:
        """The value as a leaf of the graph, the same one until the value changes."""
        for block in around():
            node: Node | None = block.seen.get(self)
            if node is not None and block.is_open:
                return node
        return self._node

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self._node.value.shape  # it stays: no need to ask what the run under way sees

    @property
    def dtype(self) -> np.dtype:
        """The type of the value's elements."""
        return self._node.value.dtype

    @property
    def scope(self) -> str:
        """The path without the name."""
        return self.path.rpartition("/")[0] or ROOT

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def __repr__(self) -> str:
        kind = "trainable" if self.trainable else "not trainable"
        return f"Variable({self.path}, shape={self.shape}, {self.dtype}, {kind})"


def check_numbers(path: str, new: Any, dtype: np.dtype) -> None:
    """TypeError for what NumPy casts unasked: strings to what they spell, complex numbers to a part, a mask to none.

    ValueError for a fraction, or NaN, where `dtype` has whole numbers alone.
    """
    given = np.asanyarray(new)
    if isinstance(given, np.ma.MaskedArray) or given.dtype.kind in "OSUmMc":
        raise TypeError(f"{path} must be plain real numbers, got {type(new).__name__} of {given.dtype}")
    if dtype.kind in "biu" and given.dtype != dtype:
        with np.errstate(invalid="ignore"):  # NaN has no whole number
            lost = given.astype(dtype) != given
        if lost.any():
            raise ValueError(f"{path} must be of {dtype}, got {given[lost][0]}")


class Held(dict["Variable", np.ndarray]):
    """New values as their variables would hold them: what `Variable.checked` gives, whichever way they come in."""

    @classmethod
    def of(cls, new_values: NewValues) -> Held:
        """Each value as its variable would hold it; those that are so already are taken as they are."""
        if isinstance(new_values, Held):
            return new_values
        held = cls()
        held.update(new_values)
        return held

    def __init__(self) -> None:
        super().__init__()
        self.memory: list[np.ndarray] = []  # all values are in one of these, and perhaps some that were replaced

    def __setitem__(self, variable: Variable, value: Any) -> None:
        array = variable.checked(value)
        super().__setitem__(variable, array)
        self.memory.append(array)

    def update(self, new_values: Any = (), /) -> None:
        """As with a dict, each value checked."""
        for variable, value in dict(new_values).items():
            self[variable] = value

    def __ior__(self, new_values: Any) -> Self:  # type: ignore[override,misc]  # as `update`
        self.update(new_values)
        return self

    def setdefault(self, variable: Variable, value: Any = None, /) -> np.ndarray:
        """As with a dict, the value checked."""
        if variable not in self:
            self[variable] = value
        return self[variable]

    def take(self, variables: Sequence[Variable], pieces: Sequence[np.ndarray], whole: np.ndarray) -> None:
        """Values as `checked` gives them, of which nobody else can write to one; `whole` holds them all."""
        super().update(zip(variables, pieces, strict=True))
        self.memory.append(whole)


def as_they_are(variables: Iterable[Variable]) -> dict[Variable, Node]:
    """What a run sees that begins now: what other threads assign meanwhile it will not see, nor half of a step."""
    nodes = {variable: variable._node for variable in variables}
    for block in around()[::-1]:  # the innermost last, which counts
        if block.is_aside and block.is_open:
            nodes |= block.seen
    return nodes


def hold_all(held: dict[Variable, np.ndarray]) -> None:
    """Let each variable take what its `checked` gave: for all to see, or for the block that keeps it aside."""
    blocks = around()
    for variable, array in held.items():
        node = Node(array)
        for block in blocks:
            if variable in block.seen:  # one's own assignment is seen, also in the run that is under way
                block.seen[variable] = node
                if block.is_aside and block.is_open:
                    break
        else:
            variable._node = node


@contextmanager
def restored_on_error(variables: Iterable[Variable]) -> Iterator[None]:
    """Put the variables back as they were if the block raises or is interrupted."""
    before = as_they_were(variables)
    try:
        yield
    except BaseException:
        put_back(before)
        raise


Before = list[tuple[Variable, np.ndarray, bool, str]]


def as_they_were(variables: Iterable[Variable]) -> Before:
    """All that `put_back` needs."""
    variables = list(variables)
    nodes = as_they_are(variables)
    return [(variable, nodes[variable].value, variable.trainable, variable.role) for variable in variables]


def put_back(before: Before) -> None:
    """Make the variables what they were."""
    for variable, array, trainable, role in before:
        variable.hold(array)
        variable.trainable, variable.role = trainable, role
