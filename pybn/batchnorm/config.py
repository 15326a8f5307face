"""The options of a layer, set one after the other, and `done()` that builds it.

    y = batchnorm.new(ctx, x, feature_axis=-1).momentum(0.99).epsilon(1e-3).done()

The interface is modelled on the package batchnorm of GoMLX v0.16.1; the arithmetic is in
pybn.reference and its compiled twin.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from pybn import arguments
from pybn.batchnorm.layer import ROLES, Layer, strategy_for
from pybn.framework import initializers, ops
from pybn.framework.context import Context
from pybn.framework.graph import Node, NodeLike, wide
from pybn.framework.layers import register_normalization
from pybn.framework.regularizers import add_l2
from pybn.framework.variables import Variable
from pybn.typing import FeatureAxis, MaskLike

BATCH_NORMALIZATION_SCOPE_NAME = "batch_normalization"
AVERAGES_UPDATES_TRIGGER_PARAM = "batch_normalization_averages_updates_trigger"


def new(ctx: Context, x: NodeLike, feature_axis: FeatureAxis = -1) -> Config:
    """Begin a batch normalization of x; set options on what it returns, and end with `done()`.

    Parameters
    ----------
    ctx : Context; the variables go under its scope "batch_normalization"
    x : Node or array of rank >= 2, float16, bfloat16, float32 or float64
    feature_axis : the axis, or tuple of axes, that is NOT reduced: each index along them has
        statistics, a scale and an offset of its own
    """
    return Config(ctx, x, feature_axis)


class Config:
    """The options of one batch normalization, each with its default, until `done()` builds it."""

    def __init__(self, ctx: Context, x: NodeLike, feature_axis: FeatureAxis = -1) -> None:
        self._ctx = ctx
        # The array as it was given: a node has forgotten that it was, say, a masked array.
        self._batch = arguments.batch(x.value if isinstance(x, Node) else x, feature_axis)
        self._x = ops.as_node(x)
        self._feature_axis = feature_axis
        self._momentum = 0.99
        self._epsilon = 1e-3
        self._center = self._scale = self._trainable = self._backend_inference = True
        self._frozen_averages = self._current_scope = self._regularize_offset = self._done = False
        self._mask: Any = None
        self._ghost_batch: int | None = None

    def momentum(self, value: float) -> Self:
        """Fraction of the OLD average that is kept, in [0, 1]; default 0.99.

        Keras, Flax and ONNX count this way.  PyTorch's ``momentum`` is ``1 - value``.
        """
        self._momentum = arguments.momentum(value)
        return self

    def epsilon(self, value: float) -> Self:
        """ε, added to the variance under the root, >= 0; default 1e-3, as in Keras and GoMLX (PyTorch: 1e-5)."""
        self._epsilon = arguments.epsilon(value)
        return self

    def center(self, value: bool) -> Self:
        """Whether to add β, the learnable offset (PyTorch's bias); default True.  It starts at 0.

        `ctx.with_initializer(initializer, "offset")` lets it start otherwise.
        """
        self._center = _switch("center", value)
        return self

    def scale(self, value: bool) -> Self:
        """Whether to multiply by γ, the learnable scale (PyTorch's weight); default True.  It starts at 1.

        `ctx.with_initializer(initializers.zeros, "scale")` lets it start at 0, as the last one of a
        residual block often does: the block is then the identity at first.
        """
        self._scale = _switch("scale", value)
        return self

    def trainable(self, value: bool) -> Self:
        """Whether anything of this layer may change; default True.

        False: the scale and the offset stay, M and V stay, whatever is trained or updated, and the
        forward pass uses M and V even in training.
        """
        self._trainable = _switch("trainable", value)
        return self

    def frozen_averages(self, value: bool) -> Self:
        """Whether M and V stay and are used in training too, while scale and offset learn; default False.

        For transfer learning.
        """
        self._frozen_averages = _switch("frozen_averages", value)
        return self

    def regularize_offset(self, value: bool) -> Self:
        """Whether the context parameter `l2_regularization` holds for the offset too; default False.

        It holds for the scale in any case.
        """
        self._regularize_offset = _switch("regularize_offset", value)
        return self

    def current_scope(self) -> Self:
        """Put the variables straight into ctx's scope, without a sub-scope of their own."""
        self._current_scope = True
        return self

    def use_backend_inference(self, value: bool) -> Self:
        """Whether inference is the implementation's fused operation (default) or composed of primitive ones."""
        self._backend_inference = _switch("use_backend_inference", value)
        return self

    def mask(self, value: MaskLike | Node) -> Self:
        """Boolean, True for real elements; broadcasts to x over the axes that are not features.

        A masked element counts in no statistic, and passes through unchanged.  A Node is taken for its value:
        a mask of zeros and ones in a data set comes as one.
        """
        value = value.value if isinstance(value, Node) else value
        self._batch = arguments.batch(self._x.value, self._feature_axis, value)
        self._mask = value
        return self

    def ghost_batch(self, size: int) -> Self:
        """In training, normalize each `size` examples of the batch on their own; the averages move by all, pooled.

        A large batch then has the noise of small ones (Hoffer et al. 2017).  Where they do not come out
        even the last part is smaller.  It does not go with a mask.
        """
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"ghost_batch must be a number of examples, got {size!r}")
        if size < 1:
            raise ValueError(f"ghost_batch must be 1 example or more, got {size}")
        if 0 in arguments.feature_axes(self._feature_axis, self._x.ndim):
            raise ValueError(f"ghost_batch splits axis 0, which feature_axis={self._feature_axis} keeps apart already")
        self._ghost_batch = int(size)
        return self

    def done(self) -> Node:
        """Build the layer and return x normalized; a Config is used once."""
        if self._done:
            raise RuntimeError("this Config was used already: begin another with batchnorm.new(...)")
        self._done = True
        if self._ghost_batch is not None and self._mask is not None:
            raise ValueError("ghost_batch and mask do not go together: leave one of them out")
        layer = self._layer()
        if layer.moves:
            layer.ctx.in_absolute_path("/").set_param(AVERAGES_UPDATES_TRIGGER_PARAM, True)
        return strategy_for(layer)(layer, self._x)

    def __repr__(self) -> str:
        mask = None if self._mask is None else f"<{np.asarray(self._mask).shape}>"
        return (
            f"Config({self._ctx.scope}, x {self._x.dtype} {self._x.shape}, feature_axis={self._feature_axis}, "
            f"momentum={self._momentum}, epsilon={self._epsilon}, center={self._center}, scale={self._scale}, "
            f"trainable={self._trainable}, frozen_averages={self._frozen_averages}, "
            f"regularize_offset={self._regularize_offset}, current_scope={self._current_scope}, "
            f"use_backend_inference={self._backend_inference}, mask={mask}, ghost_batch={self._ghost_batch})"
        )

    def _layer(self) -> Layer:
        ctx = self._ctx if self._current_scope else self._ctx.in_scope(BATCH_NORMALIZATION_SCOPE_NAME)
        parameter_dtype = wide(self._x.dtype)
        shape = self._batch.feature_shape
        scale = _variable(ctx, "scale", parameter_dtype, initializers.ones, shape) if self._scale else None
        offset = _variable(ctx, "offset", parameter_dtype, initializers.zeros, shape) if self._center else None
        self._agree_with_other_uses(ctx)
        for parameter in (scale, offset):
            if parameter is not None:
                parameter.trainable = self._trainable
        for parameter in (scale, offset if self._regularize_offset else None):
            if parameter is not None:
                add_l2(ctx, parameter)
        return Layer(
            ctx=ctx,
            scale=scale,
            offset=offset,
            mean=_variable(ctx, "mean", np.float64, initializers.zeros, shape),
            variance=_variable(ctx, "variance", np.float64, initializers.ones, shape),
            avg_weight=_variable(ctx, "avg_weight", np.float64, initializers.zeros, ()),
            moves=self._trainable and not self._frozen_averages,
            momentum=self._momentum,
            use_backend_inference=self._backend_inference,
            options={"feature_axis": self._feature_axis, "epsilon": self._epsilon, "mask": self._mask},
            batch_count=self._batch.count,
            batch_rows=self._x.shape[0],
            ghost_batch=self._ghost_batch,
        )

    def _agree_with_other_uses(self, ctx: Context) -> None:
        """A layer that is used more than once in a training step moves once, so its uses must want the same."""
        run = ctx.run
        if not run.training:
            return
        mine = {"momentum": self._momentum, "trainable": self._trainable, "frozen_averages": self._frozen_averages}
        first = run.agreed.setdefault(ctx.scope, mine)
        if first != mine:
            raise ValueError(
                f"the layer in {ctx.scope} is used more than once in this step, and its uses must agree: "
                f"got {first} and {mine}; give each its own scope with ctx.in_scope(...)"
            )


def batch_norm(
    ctx: Context,
    x: NodeLike,
    feature_axis: FeatureAxis = -1,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    trainable: bool = True,
    frozen_averages: bool = False,
    regularize_offset: bool = False,
    current_scope: bool = False,
    use_backend_inference: bool = True,
    mask: MaskLike | Node | None = None,
    ghost_batch: int | None = None,
) -> Node:
    """The layer as one call; the options are those of `Config`."""
    config = new(ctx, x, feature_axis).momentum(momentum).epsilon(epsilon).center(center).scale(scale)
    config.trainable(trainable).frozen_averages(frozen_averages).use_backend_inference(use_backend_inference)
    config.regularize_offset(regularize_offset)
    if mask is not None:
        config.mask(mask)
    if ghost_batch is not None:
        config.ghost_batch(ghost_batch)
    if _switch("current_scope", current_scope):
        config.current_scope()
    return config.done()


def _variable(ctx: Context, name: str, dtype: Any, first: initializers.Initializer, shape: tuple[int, ...]) -> Variable:
    return ctx.variable(name, shape, dtype, first, trainable=False, role=ROLES[name])


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


register_normalization("batch", batch_norm)
