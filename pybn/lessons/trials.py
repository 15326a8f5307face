"""The experiments of single lessons: each trains what its lesson asks for, and returns the numbers to draw.

As in `experiments`, a seed decides everything, and nothing draws or prints.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pybn import batchnorm
from pybn.batchnorm import Averages
from pybn.framework.datasets import Dataset, InMemoryDataset
from pybn.framework.hooks import every_n_steps
from pybn.framework.optimizers import SGD
from pybn.framework.train import Loop, ModelFunction
from pybn.lessons.experiments import Run, classifier, digits, recorded, set_averages, trainer
from pybn.study import record

# --- epsilon: what normalization makes of pixels that are nearly always blank ----------------------


@dataclass(frozen=True)
class EpsilonRun:
    """A training on normalized pixels, and how far from 0 normalization has put them.

    in_training (T,) : largest abs(output) of the pixels' normalization in each training batch
    in_evaluation (T,) : the same over the test digits, with the averages of that step
    worst : (test image, pixel) of the largest at the end
    variances (64,) : the pixels' averaged variances at the end
    test : loss and metrics on the test digits at the end
    """

    in_training: np.ndarray
    in_evaluation: np.ndarray
    worst: tuple[int, int]
    variances: np.ndarray
    test: dict[str, float]


def epsilon_run(
    seed: int, epsilon: float, model: ModelFunction, *, examples: int = 300, steps: int = 150
) -> EpsilonRun:
    """Train on the normalized pixels of a few digits; few, so that some pixels are blank in all of them.

    `model` has a batch norm of that epsilon, without scale and offset, in scope "pixels".
    """
    data = digits(seed, examples=examples)
    fresh = trainer(seed, model)
    loop, test = Loop(fresh), data.test.inputs.reshape(len(data.test.inputs), -1)
    in_training, in_evaluation = [], []
    for batch in itertools.islice(_epochs(data.train), steps):
        loop.run_steps([batch], 1)
        pixels = batch[0].reshape(len(batch[0]), -1)
        observed = fresh.observed["/pixels/batch_normalization"]
        in_training.append(np.abs(_normalized(pixels, observed, epsilon)).max())
        averages = record.averages(fresh.context)["/pixels/batch_normalization"]
        outputs = np.abs(_normalized(test, averages, epsilon))
        in_evaluation.append(outputs.max())
    image, pixel = np.unravel_index(outputs.argmax(), outputs.shape)
    return EpsilonRun(
        np.array(in_training),
        np.array(in_evaluation),
        (int(image), int(pixel)),
        averages.variance,
        fresh.eval(data.test),
    )


@dataclass(frozen=True)
class RareFeature:
    """The feature that varied in the fewest batches, as evaluation would have seen it after each step.

    step (T,) : of the training
    variance (T,) : its averaged variance
    seen : the indices into these of the batches in which it varied
    """

    step: np.ndarray
    variance: np.ndarray
    seen: np.ndarray

    def gain(self, epsilon: float) -> np.ndarray:
        """What evaluation would have multiplied the feature by, after each step."""
        return np.asarray(1 / np.sqrt(self.variance + epsilon))


def rarest(layer: record.LayerRecord, momentum: float) -> RareFeature:
    """The feature of a layer that varied in the fewest of its batches (one at least), with averages of `momentum`."""
    varied = layer.batch_variance > 0
    times = np.where(varied.any(axis=0), varied.sum(axis=0), np.inf)
    feature = int(np.argmin(times))
    _, variance = record.replay(layer, momentum)
    return RareFeature(layer.step, variance[:, feature], np.flatnonzero(varied[:, feature]))


def _normalized(x: np.ndarray, statistics: Any, epsilon: float) -> np.ndarray:
    return (x - statistics.mean) / np.sqrt(statistics.variance + epsilon)


def _epochs(dataset: Dataset) -> Iterator[tuple[Any, Any]]:
    while True:
        yield from dataset


# --- a high learning rate, and its end --------------------------------------------------------------


@dataclass(frozen=True)
class RateDrop:
    """A training at a high learning rate that drops after `drop` steps, evaluated on the test digits on the way.

    step, learning_rate, batch (T,) : when, and the loss with batch statistics
    averages[momentum] (T,) : the loss with averages of that momentum
    lag[momentum] (T,) : how far their means are from the data's in the first layer, mean over features, in deviations
    """

    drop: int
    step: np.ndarray
    learning_rate: np.ndarray
    batch: np.ndarray
    averages: dict[float, np.ndarray]
    lag: dict[float, np.ndarray]


def rate_drop(
    seed: int,
    momenta: Sequence[float] = (0.9, 0.99),
    *,
    model: ModelFunction | None = None,
    high: float = 2.0,
    low: float = 0.01,
    steps: tuple[int, int] = (300, 150),
    every: int = 10,
) -> RateDrop:
    """Train three blocks, or `model`, for steps[0] steps at the rate `high`, and for steps[1] at `low`."""
    run = recorded(seed, model or classifier((64, 64, 64)), learning_rate=high, every=every)
    kept: dict[float, dict[str, Averages]] = {momentum: {} for momentum in momenta}
    rows: list[tuple[float, ...]] = []

    def follow(loop: Loop, metrics: dict[str, float]) -> None:
        for momentum, of_layers in kept.items():
            for scope, batch in loop.trainer.observed.items():
                before = of_layers.get(scope, record.NOTHING_YET)
                of_layers[scope] = before.after(batch.mean, batch.variance, momentum)

    def measure(loop: Loop, metrics: dict[str, float]) -> None:
        losses = [_loss_with(run, of_layers) for of_layers in kept.values()]
        lags = [_lag_of_first_layer(run, of_layers) for of_layers in kept.values()]
        with batchnorm.batch_statistics(run.trainer.context):
            batch = run.trainer.eval(run.digits.test)["loss"]
        rows.append((loop.step, high if loop.step <= steps[0] else low, batch, *losses, *lags))

    run.loop.on_step(follow)
    every_n_steps(run.loop, every, measure)
    run.steps(steps[0])
    run.trainer.optimizer = SGD(low)
    run.steps(steps[1])
    step, rate, batch, *others = np.array(rows).T
    losses, lags = others[: len(momenta)], others[len(momenta) :]
    return RateDrop(
        steps[0], step, rate, batch, dict(zip(momenta, losses, strict=True)), dict(zip(momenta, lags, strict=True))
    )


def _loss_with(run: Run, averages: dict[str, Averages]) -> float:
    with record.averages_kept(run.trainer.context):
        set_averages(run.trainer.context, averages)
        return run.trainer.eval(run.digits.test)["loss"]


def _lag_of_first_layer(run: Run, averages: dict[str, Averages]) -> float:
    scope, kept = next(iter(averages.items()))
    data = run.data[scope]
    return float(np.mean(np.abs(kept.mean - data.mean[-1]) / np.sqrt(data.variance[-1])))


# --- small batches ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchSizeRun:
    """A training in batches of one size.

    variance_ratio : averaged / true variance of the first layer, the median over its features
    averages, batch, exact : accuracy on the test digits with the averages, with the statistics of batches
        of the training's size, and with exact averages
    """

    variance_ratio: float
    averages: float
    batch: float
    exact: float


def batch_size_run(seed: int, batch_size: int, model: ModelFunction | None = None, *, steps: int = 400) -> BatchSizeRun:
    """Train one block, or `model`, for `steps` steps in batches of `batch_size`, at a rate that suits the smallest."""
    run = recorded(seed, model or classifier((64,)), learning_rate=0.05, batch_size=batch_size, every=steps).steps(
        steps
    )
    kept, data = (each["/layer_0"].variance[-1] for each in (run.statistics, run.data))
    test = InMemoryDataset(run.digits.test.inputs, run.digits.test.labels, batch_size)
    with batchnorm.batch_statistics(run.trainer.context):
        in_batches = run.trainer.eval(test)["accuracy"]
    averages = run.accuracy()
    return BatchSizeRun(float(np.median(kept / data)), averages, in_batches, run.update_averages().accuracy())


# --- other data -------------------------------------------------------------------------------------


def only_classes(dataset: InMemoryDataset, classes: Sequence[int], batch_size: int = 64) -> InMemoryDataset:
    """The examples of some classes alone."""
    chosen = np.isin(dataset.labels, classes)
    return InMemoryDataset(dataset.inputs[chosen], dataset.labels[chosen], batch_size, drop_last=True)


def with_contrast(dataset: InMemoryDataset, contrast: float, brightness: float) -> InMemoryDataset:
    """The same images with contrast * pixel + brightness for each pixel."""
    shifted = (contrast * dataset.inputs + brightness).astype(dataset.inputs.dtype)
    return InMemoryDataset(shifted, dataset.labels, dataset.batch_size)


def forward_passes(run: Run, dataset: Dataset) -> Run:
    """One epoch of the model in training mode, without gradients: the averages move, and no weight does."""
    ctx = run.trainer.context
    for inputs, _ in dataset:
        with ctx.forward_pass(training=True):
            run.trainer.run_model(inputs)
            ctx.apply()
    return run
