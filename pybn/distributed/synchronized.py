"""Batch normalization of a batch that is spread over workers: every part is normalized as the whole would be.

Forward, the workers exchange count, mean and variance of their parts and pool them (Chan, Golub & LeVeque 1979);
backward, the two sums of the gradient.  Both are pooled in the order of the ranks on every worker, so all of them
have the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pybn import backend
from pybn.arguments import GradientSums, Moments
from pybn.batchnorm import Layer, normalizing
from pybn.distributed.team import Communicator, Team
from pybn.framework.context import Context
from pybn.framework.graph import Node
from pybn.framework.ops.batch_norm import as_wide_as_any


@contextmanager
def synchronized(ctx: Context, comm: Communicator) -> Iterator[None]:
    """For the length of a block, let the batch normalizations in ctx's store normalize with the batch of all workers.

    Every worker runs the same block on a part of the batch of its own: parts count by their real elements, and may be
    empty or wholly masked.  Evaluation, and layers that are frozen or not trainable, use their averages as ever and
    exchange nothing.  The gradients of scale and offset are this worker's share: add them up over the workers once, as
    those of all other variables (`DataParallelTrainer` does).  Gradients of gradients are an error.

    Parameters
    ----------
    ctx : Context of the model
    comm : a communicator of mpi4py, or one of `Simulated`
    """
    with normalizing(ctx, functools.partial(over, Team(comm))):
        yield


def over(team: Team, layer: Layer, x: Node) -> Node:
    """The way to normalize a layer's input where its batch is spread over `team`."""
    if not layer.normalizes_with_batch:
        return layer.with_averages(x)
    if layer.ghost_batch is not None:
        raise ValueError(
            f"batch normalization in {layer.scope}: ghost_batch({layer.ghost_batch}) normalizes parts on their own, "
            "and synchronization all parts together; take one of the two away"
        )
    name = _name(layer, x)
    batch = pooled(team.exchange(f"the statistics of {name}", _exact_moments(layer, x)))
    if batch.count == 0:
        raise ValueError(
            f"batch normalization in {layer.scope}: the batch must have at least one (unmasked) element per feature, "
            f"got none on any of {team.size} workers"
        )
    layer.saw(batch)
    return _normalized(team, name, layer, x, batch)


def _exact_moments(layer: Layer, x: Node) -> Moments:
    """Those of a part, in float64 whatever x is.

    The units that float32 sums may lose come back where the terms of dx cancel: with dy = y it was off by 3e-3.  One
    process takes such a feature's statistics again; a part cannot know that the terms of the whole will cancel.
    """
    return layer.moments(x if x.dtype == np.float64 else Node(x.value.astype(np.float64)))


def pooled(parts: list[Moments]) -> Moments:
    """The Moments of all parts together, merged from the first to the last."""
    whole: Moments = functools.reduce(backend.active().merge_moments, parts)
    return whole


def _normalized(team: Team, name: str, layer: Layer, x: Node, batch: Moments) -> Node:
    """y of this part, and the way back through it."""
    kernels = backend.active()  # bound here: the gradient uses the same one
    scale, offset = layer.scale_node, layer.offset_node
    gamma, beta = (None if node is None else node.value for node in (scale, offset))
    statistics = batch.mean, batch.variance
    y = kernels.batch_norm_inference(x.value, gamma, beta, *statistics, **layer.options)

    def joint(dy: Node) -> list[Node]:
        wide_x, wide_gamma, wide_dy = as_wide_as_any(x, scale, offset, dy)
        part = kernels.batch_norm_gradient_sums(wide_x, *statistics, wide_dy, **layer.options)
        whole: GradientSums = functools.reduce(
            GradientSums.__add__, team.exchange(f"the sums of the gradient of {name}", part)
        )
        dx = kernels.batch_norm_gradient_from_sums(wide_x, wide_gamma, *statistics, wide_dy, whole, **layer.options)
        return [
            _end(name, values, [parent for parent in (x, scale, dy) if parent is not None])
            for values, node in ((dx, x), (part.dy_normalized, scale), (part.dy, offset))
            if node is not None
        ]

    return Node.with_joint_product(y, [node for node in (x, scale, offset) if node is not None], joint)


def _end(name: str, value: np.ndarray, made_of: list[Node]) -> Node:
    """A gradient that cannot be differentiated again: that would need exchanges in an order that no worker knows."""

    def refuse(_: Node) -> Node:
        raise NotImplementedError(
            f"the gradient of {name} over several workers has no gradient of its own; differentiate twice on one worker"
        )

    return Node(value, *((parent, refuse) for parent in made_of))


def _name(layer: Layer, x: Node) -> str:
    """The layer with everything on which its parts must agree, as a worker would say it to another."""
    axes = layer.options["feature_axis"]
    learned = [name for name, node in (("scale", layer.scale_node), ("offset", layer.offset_node)) if node is not None]
    options: dict[str, Any] = {
        "features": layer.mean.value.shape,
        "feature_axis": axes,
        "rank": x.ndim,
        "dtype": x.dtype.name,
        "epsilon": layer.options["epsilon"],
        "momentum": layer.momentum,
        "learns": " and ".join(learned) or "nothing",
    }
    return f"the layer {layer.scope} ({', '.join(f'{key} {value}' for key, value in options.items())})"
