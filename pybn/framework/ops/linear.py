"""Matrix product and sliding windows: what dense and convolution layers are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.framework.graph import Node, wide
from pybn.framework.ops.elementwise import as_node


def matmul(a: Any, b: Any) -> Node:
    """a @ b for matrices: (n, k) @ (k, m)."""
    a, b = as_node(a), as_node(b)
    if a.value.ndim != 2 or b.value.ndim != 2:
        raise ValueError(f"matmul takes two matrices, got shapes {a.shape} and {b.shape}; flatten or reshape first")
    return _matmul(a, b)


# Each of the three products has the other two, or itself, for its derivatives.


def _matmul(a: Node, b: Node) -> Node:
    """a @ b."""
    return Node(a.value @ b.value, (a, lambda dy: _matmul_nt(dy, b)), (b, lambda dy: _matmul_tn(a, dy)))


def _matmul_nt(a: Node, b: Node) -> Node:
    """a @ b.T."""
    return Node(a.value @ b.value.T, (a, lambda dy: _matmul(dy, b)), (b, lambda dy: _matmul_tn(dy, a)))


def _matmul_tn(a: Node, b: Node) -> Node:
    """a.T @ b."""
    return Node(a.value.T @ b.value, (a, lambda dy: _matmul_nt(b, dy)), (b, lambda dy: _matmul(a, dy)))


def windows(x: Node, size: tuple[int, int], strides: tuple[int, int]) -> Node:
    """Every window of x (N, H, W, C): (N, H', W', size[0], size[1], C)."""
    view = np.lib.stride_tricks.sliding_window_view(x.value, size, axis=(1, 2))
    view = view[:, :: strides[0], :: strides[1]].transpose(0, 1, 2, 4, 5, 3)
    return Node(np.ascontiguousarray(view), (x, lambda dy: add_windows(dy, x.shape, strides)))


def add_windows(x: Node, shape: tuple[int, ...], strides: tuple[int, int]) -> Node:
    """Zeros of `shape` (N, H, W, C) with every window added where `windows` read it."""
    _, rows, columns, height, width, _ = x.shape
    value = np.zeros(shape, wide(x.dtype))
    for i in range(height):
        for j in range(width):
            across = slice(j, j + columns * strides[1], strides[1])
            value[:, i : i + rows * strides[0] : strides[0], across] += x.value[:, :, :, i, j]
    return Node(value.astype(x.dtype, copy=False), (x, lambda dy: windows(dy, (height, width), strides)))
