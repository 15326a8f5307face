"""Ghost batches: a large batch normalized in parts (Hoffer et al. 2017, arXiv:1705.08741, Algorithm 1).

Each part is normalized by its own statistics, as if it had come alone: the noise of a small batch at
the speed of a large one.  It is a reshape, and the operation with the number of the part for one more
feature axis.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from pybn import arguments, backend
from pybn.arguments import Moments
from pybn.framework import ops
from pybn.framework.graph import Node
from pybn.typing import FeatureAxis


def in_parts(
    x: Node, scale: Node | None, offset: Node | None, size: int, feature_axis: FeatureAxis, epsilon: float
) -> tuple[Node, Moments]:
    """x in parts of `size` examples, the last one smaller where they do not come out even, and all moments pooled."""
    axes = arguments.feature_axes(feature_axis, x.ndim)
    per_example = math.prod(n for axis, n in enumerate(x.shape) if axis and axis not in axes)
    even = len(x) - len(x) % size
    pieces, moments = [], []
    for piece, rows in ((slice(0, even), size), (slice(even, len(x)), len(x) - even)):
        if rows and piece.start < piece.stop:
            part = x if piece == slice(0, len(x)) else x[piece]
            y, mean, variance = _equal_parts(part, scale, offset, rows, axes, epsilon)
            pieces.append(y)
            moments += [Moments(rows * per_example, *each) for each in zip(mean, variance, strict=True)]
    y = pieces[0] if len(pieces) == 1 else ops.concatenate(pieces)
    return y, functools.reduce(backend.active().merge_moments, moments)


def _equal_parts(
    x: Node, scale: Node | None, offset: Node | None, size: int, axes: tuple[int, ...], epsilon: float
) -> tuple[Node, np.ndarray, np.ndarray]:
    """x normalized, and mean and variance with one row for each part."""
    parts = len(x) // size
    scale, offset = (None if each is None else ops.broadcast_to(each, (parts, *each.shape)) for each in (scale, offset))
    apart = ops.reshape(x, (parts, size, *x.shape[1:]))
    features = (0, *(axis + 1 for axis in axes))
    y, mean, variance = ops.batch_norm_training(apart, scale, offset, feature_axis=features, epsilon=epsilon)
    return ops.reshape(y, x.shape), mean, variance
