"""Small variables end to end, as if they were one: an optimizer's operations once for all of them.

An operation on the 64 numbers of a scale takes as long as NumPy needs to begin it, and an optimizer needs two to
fourteen for each variable.  Of each element they compute what they would of that variable alone, to the bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from pybn.framework.context import OPTIMIZER_SCOPE, Context
from pybn.framework.graph import wide
from pybn.framework.initializers import zeros
from pybn.framework.variables import Held, Variable

__all__ = ["Pack", "packs"]

# Elements of a pack.  A variable of a step of Adam took, beside sixteen others of 64, 1024 and 4096 elements, 5, 11 and
# 33 us in place of 23, 30 and 42; in packs of 32 768 the last two 15 and 37, since what is made on the way is longer.
MOST = 8192
REMEMBERED = 16  # ways to divide: a model that skips layers at random has many


class Pack:
    """Variables of one type, end to end; or one, in its own shape."""

    def __init__(self, variables: Sequence[Variable], kept: Sequence[Pack] = ()) -> None:
        self.variables = variables
        self.kept = kept  # what the optimizer keeps of them, one pack for each of its names
        self.sizes = [math.prod(variable.shape) for variable in variables]
        ends = list(itertools.accumulate(self.sizes))
        self._cuts = [
            (slice(end - size, end), variable.shape)
            for variable, size, end in zip(variables, self.sizes, ends, strict=True)
        ]
        self._shape = (ends[-1],) if len(variables) > 1 else variables[0].shape
        # The values that were put last, and the array that they are pieces of: nearly always those of the next step.
        self._last: tuple[list[np.ndarray], np.ndarray] = ([], np.empty(0))

    @property
    def value(self) -> np.ndarray:
        """The values, end to end."""
        values = [variable.value for variable in self.variables]
        pieces, whole = self._last
        if len(pieces) == len(values) and all(map(is_, pieces, values)):
            return whole
        return _end_to_end(values)

    def put(self, new: Held, values: Any) -> None:
        """Let new values, end to end in an array that nobody else holds, be what the variables become."""
        whole = np.asarray(values, self.variables[0].dtype)
        if whole.shape != self._shape:
            paths = ", ".join(variable.path for variable in self.variables)
            raise ValueError(f"{paths} must keep the shape {self._shape}, end to end, got {whole.shape}")
        whole.setflags(write=False)
        pieces = [whole[cut].reshape(shape) for cut, shape in self._cuts] if len(self._cuts) > 1 else [whole]
        new.take(self.variables, pieces, whole)
        self._last = pieces, whole

    def for_elements(self, numbers: Sequence[float]) -> Any:
        """One number of each variable, for each of its elements."""
        first = np.float64(numbers[0])
        return first if all(each == first for each in numbers) else np.repeat(numbers, self.sizes)


def packs(
    ctx: Context, variables: Sequence[Variable], gradients: Sequence[np.ndarray], names: tuple[str, ...] = ()
) -> list[tuple[Pack, np.ndarray]]:
    """The variables in packs, beside each its gradients, end to end too and in float32 or wider.

    Of each variable the optimizer keeps, under its `names`, arrays of its shape in float32 or wider; under "steps" one
    number.  They are saved with the variables.
    """
    if len(variables) != len(gradients):
        raise ValueError(f"each variable must have a gradient, got {len(variables)} and {len(gradients)}")
    given = [each.astype(np.float32) if each.dtype.itemsize == 2 else each for each in gradients]
    mixed = len({each.dtype for each in given}) > 1  # a wider gradient would widen the others
    key = (tuple(variables), names, mixed)
    divided = ctx.packs.get(key)
    if divided is None:
        if len(ctx.packs) >= REMEMBERED:
            ctx.packs.clear()
        divided = ctx.packs[key] = _divided(ctx, variables, names, mixed)
    return [(pack, _end_to_end([given[i] for i in which])) for pack, which in divided]


def _divided(
    ctx: Context, variables: Sequence[Variable], names: tuple[str, ...], apart: bool
) -> list[tuple[Pack, list[int]]]:
    """Packs, and which of the variables are in each."""
    kept = [[_kept(ctx, variable, name) for name in names] for variable in variables]
    members: list[list[int]] = []
    filling: dict[Any, tuple[list[int], int]] = {}  # by types: the pack that has room, and how many elements are in it
    for i, variable in enumerate(variables):
        size = math.prod(variable.shape)
        types = (variable.dtype, *[each.dtype for each in kept[i]])
        pack, filled = filling.get(types, ([], 0))
        if apart or not pack or filled + size > MOST:
            pack, filled = [], 0
            members.append(pack)
        if size <= MOST:  # a larger one is alone, and what had room has it still
            filling[types] = pack, filled + size
        pack.append(i)
    return [
        (Pack([variables[i] for i in pack], [Pack(each) for each in zip(*[kept[i] for i in pack], strict=True)]), pack)
        for pack in members
    ]


def _kept(ctx: Context, variable: Variable, name: str) -> Variable:
    """What the optimizer keeps of a variable, made where it is not there yet."""
    scope = ctx.in_absolute_path(OPTIMIZER_SCOPE + variable.path).checked(False)
    if name == "steps":
        return scope.variable(name, (), np.float64, zeros, trainable=False)
    return scope.variable(name, variable.shape, wide(variable.dtype), zeros, trainable=False)


def _end_to_end(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All elements of arrays of one type in one flat array; one array alone as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate([each.ravel() for each in arrays])
