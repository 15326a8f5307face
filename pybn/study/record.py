"""What the statistics did during training: of the batches, of the moving averages, of the data.

A recorder hooks into a Loop and keeps one row for each step; nothing that it does changes the
training.  A layer is known by its scope, such as "/layer_0/batch_normalization".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pybn import arguments, backend
from pybn.arguments import Moments
from pybn.batchnorm import BATCH_NORMALIZATION_SCOPE_NAME, Averages, update_averages
from pybn.batchnorm.layer import ROLES, Layer, normalizing
from pybn.batchnorm.update import changing_averages, lend, statistics_in
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset
from pybn.framework.graph import Node
from pybn.framework.hooks import every_n_steps
from pybn.framework.structures import inputs_of
from pybn.framework.train import Loop, Trainer

# What a layer keeps of the past, as against what it learns.
STATISTICS = ("mean", "variance", "avg_weight")


@dataclass(frozen=True)
class LayerRecord:
    """One layer's statistics, a row for each recorded step; F is the shape of its features.

    step (T,) : the loop's step, counted from 1
    count (T,) : elements per feature in the step's batch
    batch_mean, batch_variance (T, F) : of the step's batch, before the weights moved
    mean, variance (T, F) : the moving averages M and V after the step
    avg_weight (T,) : how many batches they have seen
    effective_momentum (T,) : the fraction of the old averages that the step kept
    """

    step: np.ndarray
    count: np.ndarray
    batch_mean: np.ndarray
    batch_variance: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    avg_weight: np.ndarray
    effective_momentum: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for a file."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}


@dataclass(frozen=True)
class DataRecord:
    """What the data's own statistics were at a layer's input, a row for each time they were measured.

    step (T,) : the loop's step; mean, variance (T, F) : over the whole data set, as inference sees it
    """

    step: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for a file."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}


class StatisticsRecorder:
    """Records what each batch normalization sees and keeps, at each step of `loop`.

    Parameters
    ----------
    loop : Loop; the recorder hooks into it when it is made
    layers : scopes of the layers to record, with or without their last part
        "/batch_normalization"; default: all that move their averages

    Raises KeyError at a step in which a layer of `layers` moved no average.
    """

    def __init__(self, loop: Loop, layers: Sequence[str] | None = None) -> None:
        self._context = loop.trainer.context
        self._wanted = layers
        self._before: dict[str, Averages] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        # First of all hooks: what another hook changes afterwards is not this step's doing.
        loop.on_start(self._remember, priority=-100)
        loop.on_step(self._step, priority=-100)
        # And last of all: a hook in between may have updated the averages.
        loop.on_step(self._remember, priority=1000)

    @property
    def layers(self) -> dict[str, LayerRecord]:
        """The record of each layer, by scope, in the order in which the model uses them."""
        return {scope: LayerRecord(*map(np.array, zip(*rows, strict=True))) for scope, rows in self._rows.items()}

    def __getitem__(self, layer: str) -> LayerRecord:
        """The record of one layer, by its scope with or without "/batch_normalization"."""
        return self.layers[_scope_among(self._rows, layer)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, by scope."""
        return {scope: record.to_dict() for scope, record in self.layers.items()}

    def _remember(self, loop: Loop, metrics: dict[str, float]) -> None:
        self._before = averages(self._context)

    def _step(self, loop: Loop, metrics: dict[str, float]) -> None:
        after, observed = averages(self._context), loop.trainer.observed
        for scope in self._chosen(observed):
            batch, now = observed[scope], after[scope]
            kept = fraction_kept(self._before.get(scope, NOTHING_YET), batch, now)
            row = (loop.step, batch.count, batch.mean, batch.variance, now.mean, now.variance, now.avg_weight, kept)
            self._rows.setdefault(scope, []).append(row)

    def _chosen(self, observed: dict[str, Moments]) -> list[str]:
        if self._wanted is None:
            return list(observed)
        return [_scope_among(observed, layer) for layer in self._wanted]


class DataRecorder:
    """Records, after every n-th step, the exact statistics of `dataset` at each layer's input.

    That is what `update_averages` would make the averages; they are put back at once.  It costs a
    forward pass over the data set for each depth.
    """

    def __init__(self, loop: Loop, dataset: Dataset, every: int = 1) -> None:
        self._trainer, self._dataset = loop.trainer, dataset
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        every_n_steps(loop, every, self._measure, priority=-90)

    @property
    def layers(self) -> dict[str, DataRecord]:
        """The record of each layer, by scope."""
        return {scope: DataRecord(*map(np.array, zip(*rows, strict=True))) for scope, rows in self._rows.items()}

    def __getitem__(self, layer: str) -> DataRecord:
        """The record of one layer, by its scope with or without "/batch_normalization"."""
        return self.layers[_scope_among(self._rows, layer)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, by scope."""
        return {scope: record.to_dict() for scope, record in self.layers.items()}

    def _measure(self, loop: Loop, metrics: dict[str, float]) -> None:
        for scope, exact in exact_averages(self._trainer, self._dataset).items():
            self._rows.setdefault(scope, []).append((loop.step, exact.mean, exact.variance))


def averages(ctx: Context) -> dict[str, Averages]:
    """M, V and their weight of every batch normalization in ctx's store, by scope."""
    root = ctx.in_absolute_path("/")
    by_scope: dict[str, dict[str, np.ndarray]] = {}
    for name in STATISTICS:
        for variable in root.variables(role=ROLES[name]):
            by_scope.setdefault(variable.scope, {})[name] = variable.value
    return {
        scope: Averages(found["mean"], found["variance"], float(found["avg_weight"]))
        for scope, found in by_scope.items()
    }


def exact_averages(trainer: Trainer, dataset: Dataset) -> dict[str, Averages]:
    """What `update_averages(trainer, dataset)` would make the averages; they stay as they are."""
    with averages_kept(trainer.context):
        update_averages(trainer, dataset)
        return averages(trainer.context)


def seen_in_inference(trainer: Trainer, dataset: Dataset) -> dict[str, Moments]:
    """The moments of what reaches each layer in evaluation, over the whole data set, with the averages as they are.

    Frozen layers are measured too.  Nothing changes.
    """
    seen: dict[str, Moments] = {}

    def measure(layer: Layer, x: Node) -> Node:
        batch = layer.moments(x)
        seen[layer.scope] = backend.active().merge_moments(seen[layer.scope], batch) if layer.scope in seen else batch
        return layer.with_averages(x)

    for inputs in map(inputs_of, dataset):
        with trainer.context.forward_pass(), normalizing(trainer.context, measure):
            trainer.run_model(inputs)
    return seen


@contextmanager
def averages_kept(ctx: Context) -> Iterator[None]:
    """Let a block make M, V and their weights what it likes: they end with it, and other threads never see them.

    Nobody else can train meanwhile (ConcurrentTrainingError): what is measured would be of two models.
    """
    root = ctx.in_absolute_path("/")
    with changing_averages(root, "a measurement with other averages"), lend(root), root.aside(statistics_in(root)):
        yield


def replay(record: LayerRecord, momentum: float) -> tuple[np.ndarray, np.ndarray]:
    """The averages M and V (T, F) that the recorded batches would have made with another momentum.

    Exactly so: in training a layer normalizes with its batch, so no weight depends on the averages.
    """
    momentum = arguments.momentum(momentum)
    now = NOTHING_YET
    rows = []
    for mean, variance in zip(record.batch_mean, record.batch_variance, strict=True):
        now = now.after(mean, variance, momentum)
        rows.append(now)
    return np.array([each.mean for each in rows]), np.array([each.variance for each in rows])


def fraction_kept(before: Averages, batch: Moments, after: Averages) -> float:
    """The k of after = k before + (1 - k) batch, measured on the averages; NaN where before equals batch.

    >>> old, batch = Averages(np.zeros(1), np.ones(1), 3.0), Moments(4, np.array([8.0]), np.ones(1))
    >>> fraction_kept(old, batch, Averages(np.array([2.0]), np.ones(1), 4.0))
    0.75
    """
    from_batch_before = np.append(before.mean - batch.mean, before.variance - batch.variance)
    from_batch_after = np.append(after.mean - batch.mean, after.variance - batch.variance)
    length = np.dot(from_batch_before, from_batch_before)
    return float(np.dot(from_batch_after, from_batch_before) / length) if length else float("nan")


# How a layer begins: M = 0, V = 1, no batch seen.
NOTHING_YET = Averages(np.zeros(()), np.ones(()), 0.0)


def _scope_among(scopes: dict[str, Any], layer: str) -> str:
    """The one of `scopes` that `layer` names; KeyError, with those that there are, for none."""
    for name in (layer, f"{layer.rstrip('/')}/{BATCH_NORMALIZATION_SCOPE_NAME}"):
        if name in scopes:
            return name
    raise KeyError(f"no averages moved in {layer}; they did in: {', '.join(scopes) or 'no layer'}")
