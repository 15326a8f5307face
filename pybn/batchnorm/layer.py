"""A built layer: its variables in the context, the ways it can normalize, and when its averages move.

In training the batch's statistics normalize, and the averages move when the step is applied; in
evaluation the averages normalize.  A block of code puts another way in the place of the mode's with
`normalizing(ctx, strategy)`, as `update_averages` and `batch_statistics` do.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from pybn import backend
from pybn.arguments import Moments
from pybn.batchnorm.averages import (
    Averages,
    SmallBatchWarning,
    both_finite,
    check_finite,
    check_moved,
    warn_of_averages,
)
from pybn.batchnorm.ghosts import in_parts
from pybn.framework import ops
from pybn.framework.context import Context
from pybn.framework.graph import Node
from pybn.framework.variables import NewValues, Variable

# How variables are known for a layer's own, however its scope is spelled.
ROLES = {name: f"batch_normalization.{name}" for name in ("scale", "offset", "mean", "variance", "avg_weight")}
_STRATEGY = "batch_normalization_strategy"


class Layer(NamedTuple):
    """A built layer for the length of one call: its variables, its options, and what it can do with x.

    What a strategy is made of: `moments(x)` of this batch; `with_averages(x)` and
    `with_batch_statistics(x)`, which normalize; `saw(batch)`, which leaves word that the averages move
    after the step; `normalizes_with_batch`, whether the mode wants the last two.
    """

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
    batch_rows: int = 0  # examples in this batch
    ghost_batch: int | None = None  # examples in each part that is normalized on its own; None: all together

    @property
    def scope(self) -> str:
        """Where its variables are: its identity."""
        return self.ctx.scope

    @property
    def averages(self) -> Averages:
        """M, V and their weight, as they are now."""
        return Averages(self.mean.value, self.variance.value, float(self.avg_weight.value))

    @property
    def normalizes_with_batch(self) -> bool:
        """Whether the mode has it normalize with the batch and move its averages: training, and not frozen."""
        return self.ctx.is_training and self.moves

    @property
    def scale_node(self) -> Node | None:
        """The scale as a leaf of the graph; None where it is 1."""
        return None if self.scale is None else self.scale.node

    @property
    def offset_node(self) -> Node | None:
        """The offset as a leaf of the graph; None where it is 0."""
        return None if self.offset is None else self.offset.node

    def moments(self, x: Node) -> Moments:
        """Count, mean and variance of this layer's input, by its feature axes and its mask; not checked."""
        options = {name: self.options[name] for name in ("feature_axis", "mask")}
        moments: Moments = backend.active().moments(x.value, **options)
        return moments

    def new_values(self, averages: Averages) -> NewValues:
        """The assignment that makes `averages` this layer's."""
        return dict(zip((self.mean, self.variance, self.avg_weight), averages, strict=True))

    def with_batch_statistics(self, x: Node) -> tuple[Node, Moments]:
        """x normalized with its own statistics, and these, known to be finite."""
        y, batch = self.normalized(x)
        check_finite(self.scope, batch)
        return y, batch

    def normalized(self, x: Node) -> tuple[Node, Moments]:
        """As `with_batch_statistics`, with statistics that may be NaN: for `saw`, which looks at them itself."""
        if self.ghost_batch is None or self.batch_rows <= self.ghost_batch:  # one part, or nothing
            y, mean, variance = ops.batch_norm_training(x, self.scale_node, self.offset_node, **self.options)
            batch = Moments(self.batch_count, mean, variance)
        else:
            feature_axis, epsilon = self.options["feature_axis"], self.options["epsilon"]
            y, batch = in_parts(x, self.scale_node, self.offset_node, self.ghost_batch, feature_axis, epsilon)
        return y, batch

    def with_averages(self, x: Node) -> Node:
        """x normalized with M and V."""
        infer = ops.batch_norm_inference if self.use_backend_inference else ops.composed_inference
        statistics = self.mean.value, self.variance.value
        return infer(x, self.scale_node, self.offset_node, *statistics, **self.options)

    def saw(self, batch: Moments) -> None:
        """Leave word that the averages move after the step, by `batch`: the moments that normalized.

        A layer that is used more than once in a step saw all of these batches: they are pooled, and
        the averages move once.  Raises NonFiniteStatisticsError, and nothing will move.
        """
        scope, run = self.scope, self.ctx.run
        check_finite(scope, batch)
        if 1 in (batch.count, self._smallest_part) and self.ctx.first_time("small batch"):
            warnings.warn(
                f"batch normalization in {scope}: a {'ghost ' if self.ghost_batch else ''}batch with one element "
                "per feature has variance 0, so its output is the offset; use larger batches, drop_last=True, or "
                "frozen_averages(True)",
                SmallBatchWarning,
                stacklevel=_level_of_the_model(),
            )
        pending = run.after_step.get(scope)
        if isinstance(pending, _PendingUpdate):
            pending.add(batch)
        else:
            pending = run.after_step[scope] = _PendingUpdate(self, batch)
        run.observed[scope] = pending.batch

    @property
    def _smallest_part(self) -> int | None:
        """Elements per feature in the smallest ghost batch; None where there are none."""
        if self.ghost_batch is None:
            return None
        rows = self.batch_rows
        return self.batch_count // rows * (rows % self.ghost_batch or self.ghost_batch)


class _PendingUpdate:
    """What a layer saw in the step under way; its averages move when the step is applied."""

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
        before = layer.averages
        if not 0 <= before.avg_weight < math.inf:  # at -.5 the old averages would count as -1, and NaN would stay
            raise ValueError(
                f"{layer.avg_weight.path} must be a number of batches, finite and not negative, got "
                f"{before.avg_weight}; nothing was changed. reset_weights(ctx) lets the averages begin anew"
            )
        after = before.after(batch.mean, batch.variance, layer.momentum)
        check_moved(layer.scope, after)
        return layer.new_values(after)


class Strategy(Protocol):
    """A way to normalize: what `normalizing` puts in the place of the mode's."""

    def __call__(self, layer: Layer, x: Node) -> Node:
        """x normalized; it may leave word with `layer.saw(batch)` that the averages are to move."""
        ...


@contextmanager
def normalizing(ctx: Context, strategy: Strategy) -> Iterator[None]:
    """For the length of a block, let `strategy(layer, x)` say how each batch normalization in ctx's store normalizes.

    It holds for this thread or task alone, for layers whose `done()` runs within the block, in training
    and in evaluation; the innermost block counts, and what was before is back afterwards, also after an
    error.  The strategy gets the built `Layer` and its input, and returns the normalized node; what it
    does not do itself (move averages, check for NaN) is not done.

    >>> import numpy as np, pybn
    >>> def half(layer, x):
    ...     return layer.with_averages(x) * 0.5
    >>> ctx, x = pybn.Context(0), np.array([[1.0], [3.0]])
    >>> with ctx.forward_pass(), normalizing(ctx, half):
    ...     pybn.batch_norm(ctx, x, epsilon=0.0).value
    array([[0.5],
           [1.5]])
    """
    with ctx.offering(_STRATEGY, strategy):
        yield


def strategy_for(layer: Layer) -> Strategy:
    """The way of the innermost `normalizing` around this line, else the mode's."""
    strategy: Strategy = layer.ctx.service(_STRATEGY, in_mode)
    return strategy


def in_mode(layer: Layer, x: Node) -> Node:
    """Batch statistics in training, unless the averages are frozen; the averages otherwise."""
    if layer.normalizes_with_batch:
        return in_training(layer, x)
    if not both_finite(layer.mean.value, layer.variance.value) and layer.ctx.first_time("averages"):
        warn_of_averages(layer.scope, layer.averages, _level_of_the_model())
    return layer.with_averages(x)


def in_training(layer: Layer, x: Node) -> Node:
    """Normalize with the batch's statistics and leave word that the averages move after the step."""
    y, batch = layer.normalized(x)
    layer.saw(batch)
    return y


def in_batch_statistics(layer: Layer, x: Node) -> Node:
    """Normalize with the batch's statistics as training does, and move nothing."""
    return layer.with_batch_statistics(x)[0] if layer.moves else layer.with_averages(x)


@contextmanager
def batch_statistics(ctx: Context) -> Iterator[None]:
    """Evaluate with the statistics of each batch in place of the averages, for the length of a block.

    What a model gets this way and not with its averages, the averages have lost.
    """
    with normalizing(ctx, in_batch_statistics):
        yield


def reset_weights(ctx: Context) -> None:
    """Set `avg_weight` of every batch normalization in and under ctx's scope to 0: the next batch replaces M and V."""
    with ctx.changing("a reset of the weights"):
        for variable in ctx.variables(role=ROLES["avg_weight"]):
            variable.value = 0.0


def _level_of_the_model() -> int:
    """For `warnings.warn`: how far up the line is that built the layer, whatever strategy came between."""
    package, frame, level, built = os.path.dirname(__file__), sys._getframe(1), 1, False
    while frame.f_back is not None:
        here = os.path.dirname(frame.f_code.co_filename) == package
        if built and not here:
            break
        built = built or (here and frame.f_code.co_name == "done")
        frame, level = frame.f_back, level + 1
    return level
