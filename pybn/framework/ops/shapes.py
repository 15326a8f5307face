"""Operations that move, repeat or add up elements; each pair is the other's derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pybn.arguments import INTEGER
from pybn.framework.graph import Node, wide
from pybn.halves import is_half

Axes = int | tuple[int, ...] | None


def reshape(x: Node, shape: Sequence[int] | int) -> Node:
    """The same elements in another shape; one size may be -1."""
    return Node(x.value.reshape(shape), (x, lambda dy: reshape(dy, x.shape)))


def flatten(x: Node) -> Node:
    """Every axis but the first as one: (N, ...) becomes (N, features)."""
    return reshape(x, (len(x), math.prod(x.shape[1:])))


def transpose(x: Node, axes: Sequence[int] | None = None) -> Node:
    """The axes in another order; by default reversed."""
    if axes is None:
        return Node(x.value.T, (x, transpose))
    back = tuple(int(axis) for axis in np.argsort([axis % x.ndim for axis in axes]))
    return Node(x.value.transpose(axes), (x, lambda dy: transpose(dy, back)))


def broadcast_to(x: Node, shape: Sequence[int]) -> Node:
    """x repeated to a larger shape by NumPy's rules."""
    shape = tuple(shape)
    return x if x.shape == shape else Node(np.broadcast_to(x.value, shape), (x, lambda dy: sum_to(dy, x)))


def sum_to(x: Node, like: Node) -> Node:
    """x summed down to the shape of `like`: what `broadcast_to` repeated is added up."""
    shape = like.value.shape
    return x if x.value.shape == shape else _sum_to(x, shape)


def _sum_to(x: Node, shape: tuple[int, ...]) -> Node:
    extra = x.ndim - len(shape)
    repeated = tuple([axis for axis, size in enumerate(x.shape) if axis < extra or shape[axis - extra] != size])
    value = _added(x.value, repeated, True).reshape(shape)
    return Node(value, (x, lambda dy: broadcast_to(dy, x.shape)))


def sum(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """The sum over `axis` (all of them by default)."""
    kept = _kept_shape(x.shape, axis)
    value = _added(x.value, axis, keepdims)
    return Node(value, (x, lambda dy: broadcast_to(reshape(dy, kept), x.shape)))


def mean(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """The mean over `axis` (all of them by default)."""
    kept = _kept_shape(x.shape, axis)
    count = math.prod(size for size, left in zip(x.shape, kept, strict=True) if left == 1)
    if count == 0:
        raise ValueError(f"mean needs at least one element, got shape {x.shape} over axis {axis}")
    value = _added(x.value, axis, keepdims, count)
    return Node(value, (x, lambda dy: broadcast_to(reshape(dy * (1.0 / count), kept), x.shape)))


def max(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """The largest element over `axis`, NaN where there is one; elements that tie share the gradient evenly."""
    kept = _kept_shape(x.shape, axis)
    value = x.value.max(axis=axis, keepdims=keepdims)

    def product(dy: Node) -> Node:
        largest = (x.value == value.reshape(kept)) | np.isnan(x.value)
        return reshape(dy, kept) * (largest / largest.sum(axis=axis, keepdims=True)).astype(dy.dtype)

    return Node(value, (x, product))


def concatenate(parts: Sequence[Node], axis: int = 0) -> Node:
    """The parts one after the other along `axis`; at least one."""
    if not parts:
        raise ValueError("concatenate needs at least one part, got none")
    ends = np.cumsum([part.shape[axis] for part in parts])
    before = (slice(None),) * (axis % parts[0].ndim)

    def piece(start: int, end: int) -> Any:
        index = (*before, slice(start, end))
        return lambda dy: take(dy, index)

    edges = [(part, piece(end - part.shape[axis], end)) for part, end in zip(parts, ends, strict=True)]
    return Node(np.concatenate([part.value for part in parts], axis), *edges)


def take(x: Node, index: Any) -> Node:
    """x[index], for any of NumPy's ways to index."""
    return Node(x.value[index], (x, lambda dy: put(dy, index, x.shape)))


def put(x: Node, index: Any, shape: tuple[int, ...]) -> Node:
    """Zeros of `shape` with x added at [index]: what `take` read, put back."""
    value = np.zeros(shape, wide(x.dtype))
    np.add.at(value, index, x.value)
    return Node(value.astype(x.dtype, copy=False), (x, lambda dy: take(dy, index)))


def pad(x: Node, widths: Sequence[tuple[int, int]]) -> Node:
    """Zeros around x: (before, after) for each axis."""
    inside = tuple(slice(before, before + size) for (before, _), size in zip(widths, x.shape, strict=True))
    return Node(np.pad(x.value, widths), (x, lambda dy: take(dy, inside)))


def _added(x: np.ndarray, axis: Axes, keepdims: bool, count: int = 1) -> np.ndarray:
    """The sum divided by `count`, in x's type; 16 bits are added up in float32, where 70 000 ones are not infinity."""
    if not is_half(x.dtype):
        total = x.sum(axis=axis, keepdims=keepdims)
        return total / count if count != 1 else total
    wider: np.ndarray = np.asarray(x.sum(axis=axis, keepdims=keepdims, dtype=np.float32) / count)
    return wider.astype(x.dtype)


def _kept_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """The shape after a reduction over `axis` that keeps the axes with size 1."""
    if axis is None:
        return (1,) * len(shape)
    axes = (axis,) if isinstance(axis, INTEGER) else axis
    reduced = {each % len(shape) for each in axes}
    return tuple(1 if each in reduced else size for each, size in enumerate(shape))
