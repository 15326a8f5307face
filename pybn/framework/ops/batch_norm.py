"""Batch normalization as nodes: values from the active implementation, derivatives to any order.

The first gradient is the implementation's fused one.  For the second and higher, the gradient is
written once more with primitive operations, in float64, and differentiated; that form is built
only when somebody asks for it.  The implementation is bound in the forward pass, so a backward
pass never mixes the two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pybn import arguments, backend
from pybn.framework.graph import Node, travelling_gradient
from pybn.framework.ops import shapes
from pybn.framework.ops.elementwise import cast, sqrt, where

Composed = Callable[[], tuple[Node, Node, Node]]


def batch_norm_training(
    x: Node,
    scale: Node | None,
    offset: Node | None,
    *,
    feature_axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
    mask: Any = None,
) -> tuple[Node, np.ndarray, np.ndarray]:
    """Normalize with the batch's own statistics.

    Returns
    -------
    y, mean, variance : Node, and the statistics as plain float64 arrays, which no tape holds
    """
    kernels = backend.active()  # bound here: the gradient uses the same one
    options: dict[str, Any] = {"feature_axis": feature_axis, "epsilon": epsilon, "mask": mask}
    y, mean, variance = kernels.batch_norm_training(x.value, _value(scale), _value(offset), **options)

    def joint(dy: Node) -> list[Node]:
        wide_x, wide_scale, wide_dy = as_wide_as_any(x, scale, offset, dy)
        values = kernels.batch_norm_gradient(wide_x, wide_scale, mean, variance, wide_dy, **options)
        composed = functools.partial(_composed_training_gradient, x, scale, dy, **options)
        return _as_nodes(values, composed, x, scale, offset, dy)

    return Node.with_joint_product(y, _present(x, scale, offset), joint), mean, variance


def batch_norm_inference(
    x: Node,
    scale: Node | None,
    offset: Node | None,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    feature_axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
    mask: Any = None,
) -> Node:
    """Normalize with given statistics, which are constants."""
    kernels = backend.active()
    options: dict[str, Any] = {"feature_axis": feature_axis, "epsilon": epsilon, "mask": mask}
    y = kernels.batch_norm_inference(x.value, _value(scale), _value(offset), mean, variance, **options)

    def joint(dy: Node) -> list[Node]:
        wide_x, wide_scale, wide_dy = as_wide_as_any(x, scale, offset, dy)
        values = kernels.batch_norm_inference_gradient(wide_x, wide_scale, mean, variance, wide_dy, **options)
        composed = functools.partial(_composed_inference_gradient, x, scale, mean, variance, dy, **options)
        return _as_nodes(values, composed, x, scale, offset, dy)

    return Node.with_joint_product(y, _present(x, scale, offset), joint)


def composed_inference(
    x: Node,
    scale: Node | None,
    offset: Node | None,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    feature_axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
    mask: Any = None,
) -> Node:
    """As `batch_norm_inference`, written with primitive operations, in float64 within."""
    batch = arguments.batch(x.value, feature_axis, mask)
    mean, variance = (batch.along_features(np.asarray(each, np.float64)) for each in (mean, variance))
    inverse = _inverse_deviation(Node(variance), arguments.epsilon(epsilon))
    # Padding may be NaN, and 0 * NaN would reach the gradient of the scale.
    y = _where_real(batch, (_wide(x) - mean) * inverse, 0.0)
    if scale is not None:
        y = y * _along_features(scale, batch)
    if offset is not None:
        y = y + _along_features(offset, batch)
    return cast(_where_real(batch, y, _wide(x)), batch.x.dtype)


def as_wide_as_any(
    x: Node, scale: Node | None, offset: Node | None, dy: Node
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """x, scale and dy in the widest type of all.

    The implementations give doffset in the type of scale, and take dy in that of x.
    """
    given = [node.value.dtype for node in (x, scale, offset, dy) if node is not None]
    if given.count(given[0]) == len(given):
        return x.value, _value(scale), dy.value
    # One after the other: NumPy has no common type of float16 and bfloat16, but for each beside float32.
    widest = functools.reduce(np.promote_types, given, np.dtype(np.float32))
    return x.value.astype(widest), None if scale is None else scale.value.astype(widest), dy.value.astype(widest)


def _as_nodes(
    values: Sequence[np.ndarray | None], composed: Composed, x: Node, scale: Node | None, offset: Node | None, dy: Node
) -> list[Node]:
    """dx, dscale, doffset as nodes that can be differentiated again, without those that are not asked for."""
    parents = list(dict.fromkeys(_present(x, scale, dy)))  # dy may be x itself: one parent, with both its shares

    def higher(which: int, ddy: Node) -> list[Node]:
        # Partial: x, scale and dy are this operation's arguments, whatever they depend on.
        return travelling_gradient(composed()[which], parents, ddy, partial=True)

    return [
        Node.with_joint_product(values[which], parents, functools.partial(higher, which))
        for which, like in enumerate((x, scale, offset))
        if like is not None
    ]


# --- the gradients written with primitives, for the orders above the first -------------------


def _composed_training_gradient(
    x: Node, scale: Node | None, dy: Node, *, feature_axis: int | tuple[int, ...], epsilon: float, mask: Any
) -> tuple[Node, Node, Node]:
    batch = arguments.batch(x.value, feature_axis, mask)
    real_x, real_dy = _where_real(batch, _wide(x), 0.0), _where_real(batch, _wide(dy), 0.0)
    mean = _sum(real_x, batch) * (1 / batch.count)
    centred = _where_real(batch, real_x - mean, 0.0)
    variance = _sum(centred * centred, batch) * (1 / batch.count)
    inverse = _inverse_deviation(variance, epsilon)
    normalized = centred * inverse

    doffset = _sum(real_dy, batch)
    dscale = _sum(real_dy * normalized, batch)
    gain = inverse if scale is None else inverse * _along_features(scale, batch)
    dx = gain * (real_dy - doffset * (1 / batch.count) - normalized * dscale * (1 / batch.count))
    return _like_parameters(batch, _where_real(batch, dx, _wide(dy)), dscale, doffset)


def _composed_inference_gradient(
    x: Node,
    scale: Node | None,
    mean: np.ndarray,
    variance: np.ndarray,
    dy: Node,
    *,
    feature_axis: int | tuple[int, ...],
    epsilon: float,
    mask: Any,
) -> tuple[Node, Node, Node]:
    batch = arguments.batch(x.value, feature_axis, mask)
    mean, variance = (batch.along_features(np.asarray(each, np.float64)) for each in (mean, variance))
    inverse = _inverse_deviation(Node(variance), epsilon)
    real_dy = _where_real(batch, _wide(dy), 0.0)
    normalized = _where_real(batch, (_wide(x) - mean) * inverse, 0.0)

    gain = inverse if scale is None else inverse * _along_features(scale, batch)
    dx = _where_real(batch, gain * real_dy, _wide(dy))
    return _like_parameters(batch, dx, _sum(real_dy * normalized, batch), _sum(real_dy, batch))


def _inverse_deviation(variance: Node, epsilon: float) -> Node:
    """1 / sqrt(variance + epsilon), and 0, with derivative 0, where that would be 1 / 0."""
    beneath = variance + epsilon
    zero = beneath.value == 0
    return where(zero, 0.0, 1.0 / sqrt(where(zero, 1.0, beneath)))


def _like_parameters(batch: arguments.Batch, dx: Node, dscale: Node, doffset: Node) -> tuple[Node, Node, Node]:
    """The three results, those of the parameters in their shape; in float64, which `gradient` narrows at the end."""
    return dx, shapes.reshape(dscale, batch.feature_shape), shapes.reshape(doffset, batch.feature_shape)


def _sum(x: Node, batch: arguments.Batch) -> Node:
    return shapes.sum(x, axis=batch.reduced_axes, keepdims=True)


def _where_real(batch: arguments.Batch, x: Node, otherwise: Any) -> Node:
    return x if batch.mask is None else where(batch.mask, x, otherwise)


def _along_features(values: Node, batch: arguments.Batch) -> Node:
    return shapes.reshape(_wide(values), batch.along_features(values.value).shape)


def _wide(x: Node) -> Node:
    return cast(x, np.float64)


def _value(node: Node | None) -> np.ndarray | None:
    return None if node is None else node.value


def _present(*nodes: Node | None) -> list[Node]:
    return [node for node in nodes if node is not None]
