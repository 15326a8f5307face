"""Layers to build a real model around batch normalization: functions of (ctx, x).

`activation`, `normalize`, and `dropout` without a rate, do what the context's parameters say, so that
a model is tried in several ways without another line of code:

>>> ctx = Context(rng=0)
>>> ctx.set_params({"normalization": "batch", "activation": "tanh", "dropout_rate": 0.1})
>>> x = np.array([[1.0, 2.0], [3.0, 5.0]])
>>> with ctx.forward_pass(training=True):
...     y = dropout(ctx, activation(ctx, normalize(ctx, dense(ctx, x, features=3))))
>>> [variable.path for variable in ctx.variables(trainable=True)]
['/dense/weights', '/dense/bias', '/batch_normalization/scale', '/batch_normalization/offset']
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pybn import arguments
from pybn.framework import initializers, ops
from pybn.framework.context import Context
from pybn.framework.graph import Node, NodeLike, wide
from pybn.framework.ops import relu
from pybn.framework.ops.elementwise import NUMBER
from pybn.framework.parameters import chosen, whole_number
from pybn.framework.regularizers import add_l2
from pybn.framework.variables import Variable
from pybn.halves import is_floating

__all__ = [
    "activation",
    "average_pool",
    "conv2d",
    "dense",
    "dropout",
    "flatten",
    "layer_norm",
    "max_pool",
    "normalize",
    "relu",
]

ACTIVATION_PARAM = "activation"
NORMALIZATION_PARAM = "normalization"
DROPOUT_PARAM = "dropout_rate"


def flatten(x: NodeLike) -> Node:
    """Every axis but the first as one: (N, ...) becomes (N, features)."""
    return ops.flatten(ops.as_node(x))


def dense(ctx: Context, x: NodeLike, features: int, use_bias: bool = True) -> Node:
    """x @ weights + bias: (N, inputs) -> (N, features), in ctx's scope "dense"."""
    x = ops.as_node(x)
    if x.value.ndim != 2:
        raise ValueError(f"dense takes x of shape (N, inputs), got {x.shape}; use layers.flatten(x) first")
    ctx = ctx.in_scope("dense")
    weights = _weights(ctx, (x.shape[1], _one_or_more("features", features)), x)
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
    size, strides = _two("kernel_size", kernel_size), _two("strides", strides)
    x = _fitting("conv2d", _padded(_images("conv2d", x), size, strides, padding), size)
    ctx = ctx.in_scope("conv2d")
    weights = _weights(ctx, (*size, x.shape[-1], _one_or_more("filters", filters)), x)
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


def dropout(ctx: Context, x: NodeLike, rate: float | None = None) -> Node:
    """In training, 0 with probability `rate` and x / (1 - rate) otherwise; x in evaluation.

    Without a rate, that of the context's parameter `dropout_rate`, 0 where it is not set.
    """
    name = "dropout's rate"
    if rate is None:
        name, rate = f"the parameter {DROPOUT_PARAM}", ctx.get_param(DROPOUT_PARAM, 0.0)
    if not isinstance(rate, NUMBER) or not 0 <= rate < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {rate!r}")
    x = ops.as_node(x)
    if not is_floating(x.dtype):
        raise TypeError(f"dropout takes x of floats, which it divides by 1 - rate, got {x.dtype}; use x.astype(...)")
    if not ctx.is_training or rate == 0:
        return x
    kept = ctx.rng.random(x.shape) >= rate
    return x * (kept / (1 - rate)).astype(x.dtype)


def activation(ctx: Context, x: NodeLike) -> Node:
    """What the context's parameter `activation` names: "relu" (default), "sigmoid", "tanh", "swish" or "none"."""
    function = chosen(ACTIVATION_PARAM, ctx.get_param(ACTIVATION_PARAM, "relu"), _ACTIVATIONS)
    return function(ops.as_node(x))


_ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "swish": lambda x: x * ops.sigmoid(x),  # Ramachandran et al. 2017; also called SiLU
    "none": lambda x: x,
}


def layer_norm(ctx: Context, x: NodeLike, epsilon: float = 1e-3, *, axes: int | tuple[int, ...] = -1) -> Node:
    """Normalize each example over `axes`, the last by default (Ba et al. 2016): the contrast to batch normalization.

    Scale and offset have the shape of these axes, in ascending order.

    >>> x = np.array([[[1.0, 2.0], [3.0, 6.0]]])
    >>> layer_norm(Context(), x, epsilon=0.0, axes=(1, 2)).value.round(2)
    array([[[-1.07, -0.53],
            [ 0.  ,  1.6 ]]])
    """
    x = ops.as_node(x)
    x = x.astype(_weight_dtype(x))  # the square of 300 is beyond float16
    over, epsilon = _axes("layer_norm", x, axes), arguments.epsilon(epsilon)
    shape = tuple(x.shape[axis] for axis in over)
    kept = tuple(size if axis in over else 1 for axis, size in enumerate(x.shape))
    ctx = ctx.in_scope("layer_norm")
    scale = ctx.variable("scale", shape, x.dtype, initializers.ones).node
    offset = ctx.variable("offset", shape, x.dtype, initializers.zeros).node
    centred = x - ops.mean(x, axis=over, keepdims=True)
    variance = ops.mean(centred * centred, axis=over, keepdims=True)
    return centred / ops.sqrt(variance + epsilon) * ops.reshape(scale, kept) + ops.reshape(offset, kept)


def normalize(ctx: Context, x: NodeLike) -> Node:
    """The normalization that the context's parameter `normalization` names: "batch", "layer" (default) or "none".

    Both over the last axis: each of its features by the batch, or each example by its features.  The
    default is GoMLX's.
    """
    function = chosen(NORMALIZATION_PARAM, ctx.get_param(NORMALIZATION_PARAM, "layer"), _normalizations)
    return function(ctx, ops.as_node(x))


_normalizations: dict[str, Callable[[Context, Any], Node]] = {"layer": layer_norm, "none": lambda ctx, x: x}


def register_normalization(name: str, normalization: Callable[[Context, Any], Node]) -> None:
    """Let the parameter `normalization` name one more: batch normalization stands a floor above this one."""
    _normalizations[name] = normalization


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
    size = _two("size", size)
    images = _fitting(layer, _images(layer, x), size)
    patches = ops.windows(images, size, size if strides is None else _two("strides", strides))
    return ops.reshape(patches, (*patches.shape[:3], size[0] * size[1], patches.shape[-1]))


def _padded(x: Node, size: tuple[int, int], strides: tuple[int, int], padding: str) -> Node:
    if padding == "valid":
        return x
    if padding != "same":
        raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}")
    lacking = [max(0, -(-n // s) * s - s + k - n) for n, k, s in zip(x.shape[1:3], size, strides, strict=True)]
    return ops.pad(x, [(0, 0), *((each // 2, each - each // 2) for each in lacking), (0, 0)])


def _axes(layer: str, x: Node, axes: int | tuple[int, ...]) -> tuple[int, ...]:
    """The axes counted from the front, in ascending order."""
    given = tuple(axes) if isinstance(axes, Iterable) else (axes,)
    for axis in given:
        whole_number(f"an axis of {layer}", axis)
    found = tuple(sorted(int(axis) % x.ndim for axis in given if -x.ndim <= axis < x.ndim))
    if not given or len(set(found)) != len(given):
        raise ValueError(f"{layer}'s axes must be one or more different ones of the {x.ndim} of x, got {axes!r}")
    return found


def _one_or_more(name: str, value: Any) -> int:
    if whole_number(name, value) < 1:
        raise ValueError(f"{name} must be 1 or more, got {value!r}")
    return int(value)


def _two(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """One number for both directions of an image, or one for each."""
    first, second = value if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    return _one_or_more(name, first), _one_or_more(name, second)


def _fitting(layer: str, x: Node, size: tuple[int, int]) -> Node:
    """The images, in which a window of this size must have room."""
    if x.shape[1] < size[0] or x.shape[2] < size[1]:
        raise ValueError(f"{layer}'s windows must fit into the images, got windows {size} and images {x.shape[1:3]}")
    return x
