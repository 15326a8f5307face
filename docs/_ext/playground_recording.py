"""The trainings that the playground shows: what each batch and the data were, and how well every setting reads.

In training a layer normalizes with its batch, so no weight depends on the averages: one training serves every
momentum, and the page applies the averages rule itself.  Epsilon does act on the training, which had 0.001; another
one is another epsilon in evaluation alone, and the page says so.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pybn.batchnorm import Averages, normalizing
from pybn.framework import losses, metrics, optimizers
from pybn.framework.train import Trainer
from pybn.lessons import experiments
from pybn.study import record

SEED = 0
WIDTHS = (64, 64, 64)
RATES = (0.1, 0.5)
BATCH_SIZES = (4, 16, 64)
# Memory 1/(1 - momentum) in equal steps, so that the nearest recorded one is never far: 1, 2, 5, 10, ... batches.
MEMORIES = (1, 2, 5, 10, 30, 100, 300, 1000)
EPSILONS = (1e-8, 1e-5, 1e-3, 1e-1, 1.0)
TRAINED_WITH = 1e-3
IMAGES = 24  # test images whose features the page follows

# The pixel with the most ink that varies, one that has ink in one image of a hundred; and for the second and third
# hidden layer the feature whose mean travels furthest, and one that travels as far as most.
LAYERS = {"/pixels": "pixels", "/layer_1": "second hidden layer", "/layer_2": "third hidden layer"}


class Feature(NamedTuple):
    """One feature that the page offers: of which layer, which of its features, and how it is called."""

    layer: str
    index: int
    name: str


def record_all(steps: int, every: int) -> dict[str, Any]:
    """All that the page needs, as plain values; arrays are float32 or uint16 in base64.

    steps : of each training; every : steps between two marks, at which accuracy is known and updates can be made
    """
    if steps % every or every % 2:
        raise ValueError(f"steps must be a multiple of every, and every even; got {steps} and {every}")
    recorder = Recorder(steps, every)
    runs = {(rate, size): recorder.training(rate, size) for rate in RATES for size in BATCH_SIZES}
    features = chosen_features(runs[0.5, 64].run)
    return {
        "steps": steps,
        "every": every,
        "memories": list(MEMORIES),
        "epsilons": list(EPSILONS),
        "trainedWith": TRAINED_WITH,
        "imagesFollowed": IMAGES,
        "images": len(runs[0.5, 64].run.digits.test.inputs),
        "updateWeight": runs[0.5, 64].exact[0]["/layer_1/batch_normalization"].avg_weight,
        "features": [{"layer": layer, "index": i, "name": name} for layer, i, name in features],
        "layers": list(LAYERS),
        "runs": [
            {"rate": rate, "batch": size, **training.for_page(features)} for (rate, size), training in runs.items()
        ],
    }


def chosen_features(run: experiments.Run) -> list[Feature]:
    """Two of each layer: one that shows the point best, one like the others."""
    variance = run.data["/pixels"].variance[-1]
    inked = np.mean(run.digits.whole.inputs.reshape(-1, variance.size) > 0, axis=0)
    chosen = [
        Feature("/pixels", int(np.argmax(variance)), "a pixel in the middle of the stroke"),
        Feature("/pixels", int(np.argmin(np.abs(inked - 0.01))), "a pixel with ink in one image of a hundred"),
    ]
    for layer in ("/layer_1", "/layer_2"):
        data = run.data[layer]
        travel = np.ptp(data.mean, axis=0) / np.sqrt(np.mean(data.variance, axis=0))
        order = np.argsort(travel, kind="stable")
        chosen.append(Feature(layer, int(order[-1]), f"{LAYERS[layer]}, the feature that travels furthest"))
        chosen.append(Feature(layer, int(order[len(order) // 2]), f"{LAYERS[layer]}, a feature like most"))
    return chosen


class Recorder:
    """Makes trainings of one length."""

    def __init__(self, steps: int, every: int) -> None:
        self.marks = range(every, steps + 1, every)

    def training(self, rate: float, batch_size: int) -> Training:
        """One training, evaluated at each mark with everything that the page can set."""
        run = experiments.recorded(SEED, model(TRAINED_WITH), learning_rate=rate, batch_size=batch_size, every=2)
        training = Training(run, [], [], [], [], [])
        for mark in self.marks:
            run.steps(mark - run.loop.step)
            training.evaluate()
        return training


def model(epsilon: float) -> Any:
    """Pixels and three hidden layers, all normalized."""
    return experiments.classifier(WIDTHS, normalized_pixels=True, epsilon=epsilon)


class Training(NamedTuple):
    """A training and what was measured at each mark.

    exact : the averages that an update at the mark would make, by scope
    inputs : what reaches each layer then for the test images, by scope
    right, loss : for each way to have come to averages, a row of momenta by a row of epsilons
    batch_right : test images read with batch statistics
    """

    run: experiments.Run
    exact: list[dict[str, Averages]]
    inputs: list[dict[str, np.ndarray]]
    right: list[np.ndarray]
    loss: list[np.ndarray]
    batch_right: list[int]

    def evaluate(self) -> None:
        """Measure at the step that the training has come to."""
        run, test = self.run, self.run.digits.test
        self.exact.append(record.exact_averages(run.trainer, run.digits.whole))
        self.batch_right.append(round(run.accuracy_with_batch_statistics() * len(test.inputs)))
        with record.averages_kept(run.trainer.context):
            experiments.set_averages(run.trainer.context, self.exact[-1])
            self.inputs.append(inputs_of_layers(run.trainer, test.inputs[:IMAGES]))
            found = [self._results(averages) for averages in self._histories()]
        right, loss = np.moveaxis(np.array(found), -1, 0)
        self.right.append(np.round(right * len(test.inputs)).reshape(-1, len(MEMORIES), len(EPSILONS)))
        self.loss.append(loss.reshape(-1, len(MEMORIES), len(EPSILONS)))

    def _histories(self) -> Iterator[dict[str, Averages]]:
        """Averages now, for each start or last update before now, and each momentum.

        In this order: started at 0 and 1, counted, then updated at each mark up to now.
        """
        layers = self.run.statistics.layers
        momenta = [1 - 1 / memory for memory in MEMORIES]
        for rule in (experiments.plain, experiments.debiased):
            for momentum in momenta:
                yield {scope: rule(momentum)(layer) for scope, layer in layers.items()}
        every = self.run.loop.step // len(self.exact)
        for number, exact in enumerate(self.exact, start=1):
            for momentum in momenta:
                yield {
                    scope: after_batches(exact[scope], layer, number * every, momentum)
                    for scope, layer in layers.items()
                }

    def _results(self, averages: dict[str, Averages]) -> list[tuple[float, float]]:
        """Accuracy and loss on the test images with these averages, for each epsilon."""
        context = self.run.trainer.context
        experiments.set_averages(context, averages)
        results = []
        for epsilon in EPSILONS:
            trainer = Trainer(
                context,
                model(epsilon),
                losses.softmax_cross_entropy,
                optimizers.SGD(0.1),
                {"accuracy": metrics.accuracy},
            )
            result = trainer.eval(self.run.digits.test)
            results.append((result["accuracy"], result["loss"]))
        return results

    def for_page(self, features: list[Feature]) -> dict[str, Any]:
        """As the page reads it."""
        statistics, data = self.run.statistics, self.run.data

        def rows(which: Any, name: str) -> str:
            return float32([getattr(which[layer], name)[:, index] for layer, index, _ in features])

        scopes = {layer: f"{layer}/batch_normalization" for layer in LAYERS}
        return {
            "batchMean": rows(statistics, "batch_mean"),
            "batchVariance": rows(statistics, "batch_variance"),
            "trueMean": rows(data, "mean"),
            "trueVariance": rows(data, "variance"),
            "layerVariance": float32([[exact[scope].variance for exact in self.exact] for scope in scopes.values()]),
            "imageInputs": float32([[x[scopes[layer]][:, i] for x in self.inputs] for layer, i, _ in features]),
            "right": uint16(np.concatenate(self.right)),
            "loss": uint16(np.minimum(np.concatenate(self.loss) * 1000, 65535)),
            "batchRight": self.batch_right,
        }


def after_batches(start: Averages, layer: record.LayerRecord, step: int, momentum: float) -> Averages:
    """The averages `start`, made at a step, after the recorded batches that followed."""
    now = start
    for mean, variance in zip(layer.batch_mean[step:], layer.batch_variance[step:], strict=True):
        now = now.after(mean, variance, momentum)
    return now


def inputs_of_layers(trainer: Trainer, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What reaches each batch normalization in evaluation, by scope."""
    seen: dict[str, np.ndarray] = {}

    def keep(layer: Any, x: Any) -> Any:
        seen[layer.scope] = x.value
        return layer.with_averages(x)

    with trainer.context.forward_pass(), normalizing(trainer.context, keep):
        trainer.run_model(inputs)
    return seen


def float32(values: Any) -> str:
    """Base64 of little-endian float32: a third of what JSON's digits take, and the same numbers."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def uint16(values: Any) -> str:
    """Base64 of little-endian uint16."""
    return base64.b64encode(np.ascontiguousarray(np.round(values), "<u2").tobytes()).decode("ascii")


def from_float32(text: str) -> np.ndarray:
    """The numbers of `float32`."""
    return np.frombuffer(base64.b64decode(text), "<f4")
