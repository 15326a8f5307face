"""What there is to measure about a trained model's batch normalizations, before anything is judged.

Everything is measured on the first batches of one data set; the model is as it was afterwards: weights,
averages, the order of a shuffling data set, the state of dropout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from pybn.arguments import Moments
from pybn.batchnorm import Averages, update_averages
from pybn.batchnorm.layer import Layer, Strategy, in_batch_statistics, normalizing
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset
from pybn.framework.graph import Node
from pybn.framework.metrics import WeightedMean, measured
from pybn.framework.structures import has_parts, labelled, number_of_examples
from pybn.framework.train import Trainer
from pybn.halves import is_floating
from pybn.study.record import averages_kept, seen_in_inference

Batches = list[tuple[Any, Any]]


class Losses(NamedTuple):
    """The loss, or a metric, on the same batches in four ways; each step from one to the next has one reason.

    training : as in training: batch statistics, and dropout and the like active
    batch : in evaluation, but with batch statistics
    exact : in evaluation, with averages that are exactly the data's
    averages : in evaluation, as it is
    """

    training: float
    batch: float
    exact: float
    averages: float

    @property
    def rest(self) -> float:
        """What else evaluation does differently, such as leaving dropout out."""
        return self.batch - self.training

    @property
    def batch_noise(self) -> float:
        """What normalizing with the statistics of one batch does, against those of all the data."""
        return self.exact - self.batch

    @property
    def lag(self) -> float:
        """What averages that are not those of the data cost."""
        return self.averages - self.exact


@dataclass
class LayerCheckup:
    """One layer, as it was found.

    averages : M, V and the batches that they have seen
    counts : elements per feature, for each batch
    data : count, mean and variance of what reaches it in inference when every average is exact
    spread : how much more its batch means differ than those of random batches would, 1 for not at all
    """

    scope: str
    moves: bool
    momentum: float
    epsilon: float
    averages: Averages
    counts: list[int] = field(default_factory=list)
    data: Moments | None = None
    spread: float = float("nan")
    not_finite: list[tuple[int, list[int]]] = field(default_factory=list)  # (batch, features)

    @property
    def count(self) -> int:
        """Elements per feature in a usual batch."""
        return int(np.median(self.counts)) if self.counts else 0

    @property
    def dead(self) -> np.ndarray:
        """The indices of the features that do not vary, but for rounding."""
        mean, variance = self.data_moments.mean.ravel(), self.data_moments.variance.ravel()
        # float32 rounds a constant by 6e-8 of itself; 1e-12 of a usual variance is a millionth of its deviation.
        rounding = np.maximum((1e-7 * mean) ** 2, 1e-12 * np.median(variance))
        return np.flatnonzero(variance <= rounding)

    @property
    def mean_lag(self) -> float:
        """How far M is from the data's mean, as a shift of what the layer puts out: root mean square, in deviations."""
        distance = np.abs(self.averages.mean - self.data_moments.mean)
        # NaN stays NaN; 0 stays 0 where the gain overflows.
        return float(np.sqrt(np.mean(np.where(distance == 0, 0.0, distance * self._gain) ** 2)))

    @property
    def averages_are_numbers(self) -> bool:
        """Whether M, V and their weight are finite, and V and the weight not negative."""
        mean, variance, weight = self.averages
        return bool(np.isfinite(mean).all() and np.all((variance >= 0) & (variance < np.inf)) and 0 <= weight < np.inf)

    @property
    def variance_ratio(self) -> float:
        """(V + epsilon) / (the data's variance + epsilon): the geometric mean over the features.

        V is the mean over batches of n, whose variance is (n - 1)/n of the data's; that is taken out.
        """
        correction = self.count / (self.count - 1) if self.count > 1 else 1.0
        with np.errstate(over="ignore"):  # an average of 1e308 is infinitely far off
            unbiased = self.averages.variance * correction
            ratio = (unbiased + self.epsilon + _TINY) / (self.data_moments.variance + self.epsilon + _TINY)
        return float(np.exp(np.mean(np.log(ratio)))) if np.all(ratio > 0) else float("nan")

    @property
    def data_moments(self) -> Moments:
        """`data`, where it was measured."""
        if self.data is None:
            raise ValueError(f"nothing finite reached {self.scope}, so its data were not measured")
        return self.data

    @property
    def _gain(self) -> np.ndarray:
        return 1 / np.sqrt(self.data_moments.variance + self.epsilon + _TINY)


# Keeps a feature that never varies, at epsilon 0, from dividing by 0.
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Checkup:
    """All that was measured; `losses` is None, and `metrics` empty, where no batch was finite."""

    layers: dict[str, LayerCheckup]
    batches: int
    not_finite_inputs: list[int]
    classes: tuple[float, int] | None  # different labels in a batch (mean), and in all
    losses: Losses | None
    metrics: dict[str, Losses]  # the trainer's, in the same four ways
    not_finite_variables: list[str]  # the paths of those that hold NaN or infinity, but for averages


def check_up(trainer: Trainer, dataset: Dataset, max_batches: int) -> Checkup:
    """Measure everything on the first `max_batches` batches; ValueError where there are none."""
    with _left_as_it_was(trainer.context, dataset):
        batches = [labelled(batch) for batch in islice(dataset, max_batches)]
        if not batches:
            raise ValueError("the data set gave no batch: there is nothing to examine the model on")
        look = _FirstLook()
        finite = [batch for number, batch in enumerate(batches) if look.at(trainer, number, batch)]
        with np.errstate(over="ignore", invalid="ignore"):  # the report tells of infinite averages, and of the loss
            measured = _in_four_ways(trainer, finite, look.layers) if finite else {}
        return Checkup(
            look.checked(),
            len(batches),
            [number for number, (inputs, _) in enumerate(batches) if not _finite(inputs)],
            _classes(finite),
            measured.pop("loss", None),
            measured,
            [each.path for each in trainer.context.variables(trainable=True) if not np.isfinite(each.value).all()],
        )


class _FirstLook:
    """A pass in which every layer normalizes as in training, and its input is measured."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerCheckup] = {}
        self._example_means: dict[str, list[np.ndarray]] = {}
        self._batch = 0
        self._examples = 0
        self._batch_is_finite = True

    def at(self, trainer: Trainer, number: int, batch: tuple[Any, Any]) -> bool:
        """Look at one batch; whether all its statistics were finite."""
        self._batch, self._examples, self._batch_is_finite = number, number_of_examples(batch[1]), True
        with _evaluating(trainer.context, self._measure), np.errstate(over="ignore", invalid="ignore"):
            trainer.run_model(batch[0])
        return self._batch_is_finite

    def checked(self) -> dict[str, LayerCheckup]:
        """The layers, with how their batches differ."""
        for scope, means in self._example_means.items():
            self.layers[scope].spread = _spread(means)
        return self.layers

    def _measure(self, layer: Layer, x: Node) -> Node:
        moments = layer.moments(x)
        found = self.layers.setdefault(layer.scope, _as_found(layer))
        wrong = ~(np.isfinite(moments.mean) & np.isfinite(moments.variance))
        if wrong.any():
            self._batch_is_finite = False
            found.not_finite.append((self._batch, np.flatnonzero(wrong).tolist()))
            return layer.with_averages(x)
        found.counts.append(moments.count)
        if layer.options["mask"] is None and self._has_examples_first(layer, x):
            self._example_means.setdefault(layer.scope, []).append(_per_example(x.value, layer.options["feature_axis"]))
        return in_batch_statistics(layer, x)

    def _has_examples_first(self, layer: Layer, x: Node) -> bool:
        """Whether the first axis of x is the batch's: rows that one example was cut into are alike in any order."""
        feature_axes = {axis % x.ndim for axis in np.atleast_1d(layer.options["feature_axis"])}
        return 0 not in feature_axes and len(x) == self._examples


def _as_found(layer: Layer) -> LayerCheckup:
    return LayerCheckup(layer.scope, layer.moves, layer.momentum, layer.options["epsilon"], layer.averages)


def _in_four_ways(trainer: Trainer, batches: Batches, layers: dict[str, LayerCheckup]) -> dict[str, Losses]:
    training = _means(trainer, batches, in_batch_statistics, training=True)
    batch = _means(trainer, batches, in_batch_statistics)
    averages = _means(trainer, batches, _as_it_is)
    with averages_kept(trainer.context):
        update_averages(trainer, batches)
        exact = _means(trainer, batches, _as_it_is)
        for scope, moments in seen_in_inference(trainer, batches).items():
            layers[scope].data = moments
    return {name: Losses(training[name], batch[name], exact[name], averages[name]) for name in training}


def _as_it_is(layer: Layer, x: Node) -> Node:
    """As in evaluation, without its warning of averages that are no numbers: the report tells of them."""
    return layer.with_averages(x)


def _means(trainer: Trainer, batches: Batches, strategy: Strategy, training: bool = False) -> dict[str, float]:
    """The means of the loss function, without regularizers, which are the same in every mode, and of the metrics."""
    mean = WeightedMean()
    for inputs, labels in batches:
        with _evaluating(trainer.context, strategy, training):
            predictions = trainer.run_model(inputs)
            values = measured(trainer.metrics, labels, predictions)
            values["loss"] = float(trainer.loss_fn(labels, predictions))
        mean.add(values, number_of_examples(labels))
    return mean.result()


@contextmanager
def _evaluating(ctx: Context, strategy: Strategy, training: bool = False) -> Iterator[None]:
    with ctx.forward_pass(training=training), normalizing(ctx, strategy):
        yield


# --- batches that are not random ----------------------------------------------------------------


def _per_example(x: np.ndarray, feature_axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean of each example's elements, for each feature: (N, features)."""
    axes = {axis % x.ndim for axis in np.atleast_1d(feature_axis)}
    inner = tuple(axis for axis in range(1, x.ndim) if axis not in axes)
    return np.asarray(x.mean(axis=inner, dtype=np.float64)).reshape(len(x), -1)


def _spread(batches: Sequence[np.ndarray]) -> float:
    """The variance of the batches' means, over what it is for N examples drawn at random: variance / N.

    At the upper quarter of the features that vary: of a table sorted by its label few columns depend on it.  From
    batches of the usual size alone.
    """
    usual = max(len(batch) for batch in batches)
    stacked = np.array([batch for batch in batches if len(batch) == usual])  # (batches, N, features)
    among_examples = stacked.reshape(-1, stacked.shape[-1]).var(axis=0)
    varies = among_examples > 0
    if len(stacked) < 2 or not varies.any():
        return float("nan")
    among_batches = stacked.mean(axis=1).var(axis=0, ddof=1)
    ratios = among_batches[varies] * usual / among_examples[varies]
    return float(np.quantile(ratios, 0.75, method="higher"))


def _classes(batches: Batches) -> tuple[float, int] | None:
    """How many different labels a batch has, and how many there are; None where labels are no classes."""
    if any(has_parts(labels) for _, labels in batches):
        return None
    labels = [np.asarray(labels) for _, labels in batches]
    if not labels or any(each.dtype.kind not in "iu" or each.ndim != 1 for each in labels):
        return None
    return float(np.mean([len(np.unique(each)) for each in labels])), len(np.unique(np.concatenate(labels)))


# --- nothing changes ----------------------------------------------------------------------------


@contextmanager
def _left_as_it_was(ctx: Context, dataset: Dataset) -> Iterator[None]:
    """Put the generators back that draw dropout and the order of the data."""
    owned = getattr(dataset, "rng", None)
    generators = [ctx.rng, *([owned] if isinstance(owned, np.random.Generator) else [])]
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state


def _finite(inputs: Any) -> bool:
    if isinstance(inputs, Mapping):
        return all(_finite(each) for each in inputs.values())
    if isinstance(inputs, tuple | list):
        return all(_finite(each) for each in inputs)
    array = np.asarray(inputs)
    return not is_floating(array.dtype) or bool(np.isfinite(array).all())
