"""A built layer: its variables in the context, the ways it can normalize, and when its averages move.

In training the batch's statistics normalize, and the averages move when the step is applied; in
evaluation the averages normalize.  `update_averages` and `batch_statistics` put another way in
the place of the mode's.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from pybn import backend
from pybn.arguments import Moments
from pybn.batchnorm.averages import Averages, SmallBatchWarning, check_finite
from pybn.framework import ops
from pybn.framework.context import Context, NewValues, Variable
from pybn.framework.graph import Node

# How variables are known for a layer's own, however its scope is spelled.
ROLES = {name: f"batch_normalization.{name}" for name in ("scale", "offset", "mean", "variance", "avg_weight")}
# Under this name a block of code offers layers another way to normalize than their mode's.
STRATEGY = "batch_normalization_strategy"


class Layer(NamedTuple):
    """A built layer for the length of one call: its variables and its options."""

    ctx: Context  # at the layer's own scope
    scale: Variable | None
    offset: Variable | None
    mean: Variable
    variance: Variable
    avg_weight: Variable
    moves: bool  # whether M and V may move: trainable and not frozen
    momentum: float
    use_backend_inference: bool
    options: dict[str, Any]  # feature_axis, epsilon, mask: the keywords of the operations
    batch_count: int  # elements per feature in this batch

    @property
    def scope(self) -> str:
        """Where its variables are: its identity."""
        return self.ctx.scope

    @property
    def averages(self) -> Averages:
        """M, V and their weight, as they are now."""
        return Averages(self.mean.value, self.variance.value, float(self.avg_weight.value))

    def new_values(self, averages: Averages) -> NewValues:
        """The assignment that makes `averages` this layer's."""
        return dict(zip((self.mean, self.variance, self.avg_weight), averages, strict=True))

    def with_batch_statistics(self, x: Node) -> tuple[Node, Moments]:
        """x normalized with its own statistics, and these, known to be finite."""
        y, mean, variance = ops.batch_norm_training(x, _node(self.scale), _node(self.offset), **self.options)
        batch = Moments(self.batch_count, mean, variance)
        check_finite(self.scope, batch)
        return y, batch

    def with_averages(self, x: Node) -> Node:
        """x normalized with M and V."""
        infer = ops.batch_norm_inference if self.use_backend_inference else ops.composed_inference
        statistics = self.mean.value, self.variance.value
        return infer(x, _node(self.scale), _node(self.offset), *statistics, **self.options)


class _PendingUpdate:
    """What a layer saw in the step under way; its averages move when the step is applied.

    A layer that is used more than once in a step saw all of these batches: they are pooled, and the
    averages move once.
    """

    def __init__(self, layer: Layer, batch: Moments) -> None:
        self._layer = layer
        self.batch = batch

    def add(self, batch: Moments) -> None:
        """One more batch in the same step."""
        self.batch = backend.active().merge_moments(self.batch, batch)
        check_finite(self._layer.scope, self.batch)  # means 1e200 apart pool to an infinite variance

    def __call__(self) -> NewValues:
        """The layer's variables after the step."""
        layer, batch = self._layer, self.batch
        return layer.new_values(layer.averages.after(batch.mean, batch.variance, layer.momentum))


class Strategy(Protocol):
    """A way to normalize that a block of code puts in the place of the mode's."""

    def __call__(self, layer: Layer, x: Node) -> Node:
        """x normalized."""
        ...


def in_mode(layer: Layer, x: Node) -> Node:
    """Batch statistics in training, unless the averages are frozen; the averages otherwise."""
    if layer.ctx.is_training and layer.moves:
        return in_training(layer, x)
    return layer.with_averages(x)


def in_training(layer: Layer, x: Node) -> Node:
    """Normalize with the batch's statistics and leave word that the averages move after the step."""
    if layer.batch_count == 1 and layer.ctx.first_time("small batch"):
        warnings.warn(
            f"batch normalization in {layer.scope}: a batch with one element per feature has variance 0, so its "
            "output is the offset; use larger batches, drop_last=True, or frozen_averages(True)",
            SmallBatchWarning,
            stacklevel=_level_of_the_model(),
        )
    y, batch = layer.with_batch_statistics(x)
    run = layer.ctx.run
    pending = run.after_step.get(layer.scope)
    if isinstance(pending, _PendingUpdate):
        pending.add(batch)
    else:
        pending = run.after_step[layer.scope] = _PendingUpdate(layer, batch)
    run.observed[layer.scope] = pending.batch
    return y


def in_batch_statistics(layer: Layer, x: Node) -> Node:
    """Normalize with the batch's statistics as training does, and move nothing."""
    return layer.with_batch_statistics(x)[0] if layer.moves else layer.with_averages(x)


@contextmanager
def batch_statistics(ctx: Context) -> Iterator[None]:
    """Evaluate with the statistics of each batch in place of the averages, for the length of a block.

    What a model gets this way and not with its averages, the averages have lost.
    """
    with ctx.offering(STRATEGY, in_batch_statistics):
        yield


def reset_weights(ctx: Context) -> None:
    """Set `avg_weight` of every batch normalization in ctx's store to 0: the next batch replaces M and V."""
    for variable in ctx.in_absolute_path("/").variables(role=ROLES["avg_weight"]):
        variable.value = 0.0


def _node(variable: Variable | None) -> Node | None:
    return None if variable is None else variable.node


def _level_of_the_model() -> int:
    """For `warnings.warn`: how far up the line is that called into this package."""
    package, frame, level = os.path.dirname(__file__), sys._getframe(1), 1
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == package:
        frame, level = frame.f_back, level + 1
    return level
