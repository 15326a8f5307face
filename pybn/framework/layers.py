"""Layers to build a real model around batch normalization: functions of (ctx, x)."""

from __future__ import annotations

import numpy as np

from pybn.framework import initializers, ops
from pybn.framework.context import Context
from pybn.framework.graph import Node, NodeLike, wide
from pybn.framework.ops import relu
from pybn.framework.regularizers import add_l2
from pybn.framework.variables import Variable

__all__ = ["average_pool", "conv2d", "dense", "dropout", "flatten", "layer_norm", "max_pool", "relu"]


def flatten(x: NodeLike) -> Node:
    """Every axis but the first as one: (N, ...) becomes (N, features)."""
    return ops.flatten(ops.as_node(x))


def dense(ctx: Context, x: NodeLike, features: int, use_bias: bool = True) -> Node:
    """x @ weights + bias: (N, inputs) -> (N, features), in ctx's scope "dense"."""
    x = ops.as_node(x)
    if x.ndim != 2:
        raise ValueError(f"dense takes x of shape (N, inputs), got {x.shape}; use layers.flatten(x) first")
    ctx = ctx.in_scope("dense")
    weights = _weights(ctx, (x.shape[1], features), x)
    return _with_bias(ctx, x @ weights.node, use_bias)


def conv2d(
    ctx: Context,
    x: NodeLike,
    filters: int,
    kernel_size: int | tuple[int, int] = 3,
    strides: int | tuple[int, int] = 1,
    padding: str = "same",
    use_bias: bool = True,
) -> Node:
    """Convolution over images with channels last: (N, H, W, C) -> (N, H', W', filters).

    `padding` is "same" (H' = H / stride, rounded up) or "valid" (windows inside the image).
    """
    size, strides = _two(kernel_size), _two(strides)
    x = _padded(_images("conv2d", x), size, strides, padding)
    ctx = ctx.in_scope("conv2d")
    weights = _weights(ctx, (*size, x.shape[-1], filters), x)
    patches = ops.windows(x, size, strides)
    rows = ops.reshape(patches, (-1, size[0] * size[1] * x.shape[-1]))
    y = rows @ ops.reshape(weights.node, (-1, filters))
    return ops.reshape(_with_bias(ctx, y, use_bias), (*patches.shape[:3], filters))


def max_pool(x: NodeLike, size: int | tuple[int, int] = 2, strides: int | tuple[int, int] | None = None) -> Node:
    """The largest element of each window of an image (N, H, W, C)."""
    return ops.max(_pool_windows("max_pool", x, size, strides), axis=3)


def average_pool(x: NodeLike, size: int | tuple[int, int] = 2, strides: int | tuple[int, int] | None = None) -> Node:
    """The mean of each window of an image (N, H, W, C)."""
    return ops.mean(_pool_windows("average_pool", x, size, strides), axis=3)


def dropout(ctx: Context, x: NodeLike, rate: float) -> Node:
    """In training, 0 with probability `rate` and x / (1 - rate) otherwise; x in evaluation."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout's rate must lie in [0, 1), got {rate!r}")
    x = ops.as_node(x)
    if not ctx.is_training or rate == 0:
        return x
    kept = ctx.rng.random(x.shape) >= rate
    return x * (kept / (1 - rate)).astype(x.dtype)


def layer_norm(ctx: Context, x: NodeLike, epsilon: float = 1e-3) -> Node:
    """Normalize each example over its last axis (Ba et al. 2016): the contrast to batch normalization."""
    x = ops.as_node(x)
    x = x.astype(_weight_dtype(x))  # the square of 300 is beyond float16
    ctx = ctx.in_scope("layer_norm")
    scale = ctx.variable("scale", x.shape[-1:], x.dtype, initializers.ones)
    offset = ctx.variable("offset", x.shape[-1:], x.dtype, initializers.zeros)
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(centred * centred, axis=-1, keepdims=True)
    return centred / ops.sqrt(variance + epsilon) * scale.node + offset.node


def _weights(ctx: Context, shape: tuple[int, ...], x: Node) -> Variable:
    weights = ctx.variable("weights", shape, _weight_dtype(x))
    add_l2(ctx, weights)
    return weights


def _with_bias(ctx: Context, y: Node, use_bias: bool) -> Node:
    if not use_bias:
        return y
    return y + ctx.variable("bias", y.shape[-1:], _weight_dtype(y), initializers.zeros).node


def _weight_dtype(x: Node) -> np.dtype:
    """Weights have the type of x, but never less than float32: small steps would be lost."""
    return wide(x.dtype)


def _images(layer: str, x: NodeLike) -> Node:
    x = ops.as_node(x)
    if x.ndim != 4:
        raise ValueError(f"{layer} takes images of shape (N, height, width, channels), got {x.shape}")
    return x


def _pool_windows(layer: str, x: NodeLike, size: int | tuple[int, int], strides: int | tuple[int, int] | None) -> Node:
    """(N, H', W', elements of a window, C)."""
    size = _two(size)
    patches = ops.windows(_images(layer, x), size, size if strides is None else _two(strides))
    return ops.reshape(patches, (*patches.shape[:3], size[0] * size[1], patches.shape[-1]))


def _padded(x: Node, size: tuple[int, int], strides: tuple[int, int], padding: str) -> Node:
    if padding == "valid":
        return x
    if padding != "same":
        raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}")
    lacking = [max(0, -(-n // s) * s - s + k - n) for n, k, s in zip(x.shape[1:3], size, strides, strict=True)]
    return ops.pad(x, [(0, 0), *((each // 2, each - each // 2) for each in lacking), (0, 0)])


def _two(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
