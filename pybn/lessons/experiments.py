"""What the lessons share: the digits, the networks, training that is recorded, evaluation both ways.

Every function takes a seed and gives the same numbers for it; nothing here draws or prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pybn import batchnorm
from pybn.batchnorm import Averages
from pybn.framework import datasets, layers, losses, metrics, optimizers
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset, InMemoryDataset
from pybn.framework.graph import Node
from pybn.framework.train import Loop, ModelFunction, Trainer
from pybn.study import record


class Digits(NamedTuple):
    """The handwritten digits, in two disjoint parts.

    train : batches to train on, in a new order each epoch
    whole : the same examples, all of them and in order, to measure statistics on
    test : the examples that training never sees, in one batch
    """

    train: InMemoryDataset
    whole: InMemoryDataset
    test: InMemoryDataset


def digits(seed: int, batch_size: int = 64, examples: int | None = None) -> Digits:
    """A quarter of the digits to test on and the others, or `examples` of them, to train on."""
    train, test = datasets.train_test_split(*datasets.digits(), 0.25, seed)
    inputs, labels = (part[:examples] for part in train)
    return Digits(
        InMemoryDataset(inputs, labels, batch_size, shuffle=True, rng=seed, drop_last=True, name="digits to train on"),
        # Exact statistics do not depend on the batches; 64 stay in the cache: a sixth of the time of all at once.
        InMemoryDataset(inputs, labels, 64, name="digits to train on"),
        InMemoryDataset(*test, name="digits to test on"),
    )


def classifier(
    widths: Sequence[int] = (64, 64), *, normalized_pixels: bool = False, classes: int = 10, **batch_norm_options: Any
) -> ModelFunction:
    """A model of blocks dense -> batch norm -> relu, "layer_0", "layer_1", ..., and a last dense layer.

    `batch_norm_options` are those of `pybn.batch_norm`; with `normalized_pixels` a batch norm without
    scale and offset stands before the first block, in scope "pixels".
    """

    def model(ctx: Context, images: Node) -> Node:
        x = layers.flatten(images)
        if normalized_pixels:
            options = {**batch_norm_options, "center": False, "scale": False}
            x = batchnorm.batch_norm(ctx.in_scope("pixels"), x, **options)
        for index, width in enumerate(widths):
            here = ctx.in_scope(f"layer_{index}")
            x = layers.dense(here, x, width, use_bias=False)
            x = layers.relu(batchnorm.batch_norm(here, x, **batch_norm_options))
        return layers.dense(ctx.in_scope("output"), x, classes)

    return model


def trainer(seed: int, model: ModelFunction, learning_rate: float = 0.1) -> Trainer:
    """A Trainer of a fresh model: plain gradient descent on the cross entropy, with accuracy."""
    return Trainer(
        Context(seed),
        model,
        losses.softmax_cross_entropy,
        optimizers.SGD(learning_rate),
        {"accuracy": metrics.accuracy},
    )


# What a layer's averages are, made from the record of its batches.
AveragesRule = Callable[[record.LayerRecord], Averages]


@dataclass(frozen=True)
class Run:
    """A training under observation, and what was recorded of it so far."""

    digits: Digits
    trainer: Trainer
    loop: Loop
    statistics: record.StatisticsRecorder
    data: record.DataRecorder

    def steps(self, count: int) -> Run:
        """Train for `count` more steps."""
        self.loop.run_steps(self.digits.train, count)
        return self

    def epochs(self, count: int) -> Run:
        """Train for `count` more passes over the digits."""
        self.loop.run_epochs(self.digits.train, count)
        return self

    def accuracy(self, rule: AveragesRule | None = None) -> float:
        """On the test digits, with the averages as they are, or with those that `rule` makes of each record."""
        with record.averages_kept(self.trainer.context):
            if rule is not None:
                made = {scope: rule(layer) for scope, layer in self.statistics.layers.items()}
                set_averages(self.trainer.context, made)
            return self.trainer.eval(self.digits.test)["accuracy"]

    def accuracy_with_batch_statistics(self) -> float:
        """On the test digits, each batch normalized with its own statistics."""
        with batchnorm.batch_statistics(self.trainer.context):
            return self.trainer.eval(self.digits.test)["accuracy"]

    def update_averages(self, method: str = "exact") -> Run:
        """Recompute the averages from all the digits of the training."""
        batchnorm.update_averages(self.trainer, self.digits.whole, method=method)
        return self

    def error_against_inference(self) -> dict[str, float]:
        """For each layer, how far its averages' means are from those of what reaches it in inference.

        The mean over the features, in standard deviations; over all digits of the training.
        """
        kept = record.averages(self.trainer.context)
        seen = record.seen_in_inference(self.trainer, self.digits.whole)
        return {
            scope: float(np.mean(np.abs(kept[scope].mean - each.mean) / np.sqrt(each.variance)))
            for scope, each in seen.items()
        }

    def error_of_averages(self, layer: str, momentum: float, last: int) -> float:
        """How far averages of that momentum are from the data's mean: root mean square over the features
        and over the last `last` times that the data was measured, in standard deviations.
        """
        statistics, data = self.statistics[layer], self.data[layer]
        at = np.searchsorted(statistics.step, data.step[-last:])
        mean, _ = record.replay(statistics, momentum)
        error = (mean[at] - data.mean[-last:]) / np.sqrt(data.variance[-last:])
        return float(np.sqrt(np.mean(error**2)))


def recorded(
    seed: int, model: ModelFunction, *, learning_rate: float = 0.1, batch_size: int = 64, every: int = 5
) -> Run:
    """A fresh model on the digits, not trained yet; the data's statistics are taken every `every` steps."""
    data = digits(seed, batch_size)
    fresh = trainer(seed, model, learning_rate)
    loop = Loop(fresh)
    # It leaves nothing behind that would tell its batches: 128 take 0.6 of the time of 64, 256 twice as long.
    measured = InMemoryDataset(data.whole.inputs, data.whole.labels, 128)
    return Run(data, fresh, loop, record.StatisticsRecorder(loop), record.DataRecorder(loop, measured, every))


class BothWays(NamedTuple):
    """One model evaluated with its moving averages, and with the statistics of each batch."""

    averages: dict[str, float]
    batch: dict[str, float]


def evaluate_both_ways(trainer: Trainer, dataset: Dataset) -> BothWays:
    """Loss and metrics over a data set, with the averages and with batch statistics; changes nothing."""
    with batchnorm.batch_statistics(trainer.context):
        batch = trainer.eval(dataset)
    return BothWays(trainer.eval(dataset), batch)


def set_averages(ctx: Context, averages: dict[str, Averages]) -> None:
    """Give layers, by scope, other averages."""
    for scope, values in averages.items():
        for name, value in values._asdict().items():
            ctx.get_variable(f"{scope.rstrip('/')}/{name}").value = value


def plain(momentum: float) -> AveragesRule:
    """The exponential average without debiasing: it starts at M = 0 and V = 1 and keeps `momentum` at every step.

    It is the rule of Keras, Flax and PyTorch.
    """

    def rule(layer: record.LayerRecord) -> Averages:
        steps = len(layer.step)
        taken = (1 - momentum) * momentum ** np.arange(steps - 1, -1, -1.0)
        left_of_start = momentum**steps
        mean = np.tensordot(taken, layer.batch_mean, axes=1)
        variance = left_of_start + np.tensordot(taken, layer.batch_variance, axes=1)
        return Averages(mean, variance, float(steps))

    return rule


def debiased(momentum: float) -> AveragesRule:
    """pybn's rule: the plain mean of the batches at first, the exponential average once that keeps less."""

    def rule(layer: record.LayerRecord) -> Averages:
        mean, variance = record.replay(layer, momentum)
        return Averages(mean[-1], variance[-1], float(len(layer.step)))

    return rule


@dataclass(frozen=True)
class Story:
    """The trainings behind the demo's three figures.

    run : one training in which the averages are updated after the steps `updates`
    layer : the scope of the layer to look at
    by_epsilon : that layer's record in a training with each epsilon
    pixel_variances (64,) : of the digits to train on
    """

    run: Run
    updates: tuple[int, ...]
    layer: str
    by_epsilon: dict[float, record.LayerRecord]
    pixel_variances: np.ndarray


def story(seed: int, *, stretch: int = 120, epsilons: Sequence[float] = (1.0, 1e-1, 1e-3)) -> Story:
    """Train what the demo draws: three stretches of steps with an update between them, and a run for each epsilon."""
    layer = "/layer_0/batch_normalization"
    # At 0.5 the weights move fast enough to be seen leaving averages of momentum 0.99 behind.
    run = recorded(seed, classifier((64, 64, 64)), learning_rate=0.5).steps(stretch)
    updates = []
    for _ in range(2):
        batchnorm.update_averages(run.trainer, run.digits.whole)
        updates.append(run.loop.step)
        run.steps(stretch)
    by_epsilon = {}
    for epsilon in epsilons:
        short = recorded(seed, classifier(epsilon=epsilon), every=stretch)
        by_epsilon[epsilon] = short.steps(stretch).statistics[layer]
    pixels = run.digits.whole.inputs.reshape(len(run.digits.whole.inputs), -1)
    return Story(run, tuple(updates), layer, by_epsilon, pixels.var(axis=0, dtype=np.float64))
