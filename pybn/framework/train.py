"""Trainer: one step and one evaluation.  Loop: many steps, with hooks.

A training step is a transaction: the weights, the optimizer's state and the moving averages
change together when everything has been computed, or nothing changes.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sized
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from pybn.arguments import all_finite
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset
from pybn.framework.graph import Node, gradient
from pybn.framework.metrics import Metric, WeightedMean, measured
from pybn.framework.optimizers import Optimizer
from pybn.framework.parameters import MisspeltParameterWarning, whole_number
from pybn.framework.structures import inputs_of, labelled, map_arrays, number_of_examples, plain_array
from pybn.framework.variables import Held, Variable
from pybn.halves import is_floating

ModelFunction = Callable[[Context, Any], Any]
LossFunction = Callable[[Any, Any], Node]

AveragesUpdater = Callable[..., bool]
_averages_updater: AveragesUpdater | None = None


def register_averages_updater(updater: AveragesUpdater) -> None:
    """Tell how moving averages are recomputed: the layer that keeps them stands a floor above this one."""
    global _averages_updater
    _averages_updater = updater


class NonFiniteLossError(ArithmeticError):
    """The loss of a training step is NaN or infinite; nothing was changed."""


class NonFiniteGradientError(ArithmeticError):
    """The loss is finite but a gradient is NaN or infinite; nothing was changed."""


class NonFiniteUpdateError(NonFiniteGradientError):
    """The gradients are finite, but a weight or the optimizer's state would be NaN or infinite; nothing was changed."""


class Trainer:
    """Trains a model function on batches.

    Parameters
    ----------
    ctx : Context that holds, or will hold, the model's variables
    model_fn : function (ctx, inputs) -> predictions, run anew for each batch
    loss_fn : function (labels, predictions) -> scalar Node
    optimizer : what turns gradients into new weights; None for a trainer that only evaluates
    metrics : functions (labels, predictions) -> float, by name; not "loss" or "regularization"

    Inputs reach model_fn as Nodes where they are floats, as arrays otherwise (masks, indices),
    in the tuple, list or dict that the data set yields.

    Any number of threads may evaluate and predict at once, also beside one that trains: each sees the
    variables as they were when it began.
    """

    def __init__(
        self,
        ctx: Context,
        model_fn: ModelFunction,
        loss_fn: LossFunction,
        optimizer: Optimizer | None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.context = ctx
        self.model_fn = model_fn
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.metrics = dict(metrics or {})
        for name in ("loss", "regularization"):
            if name in self.metrics:
                raise ValueError(
                    f"a metric must have a name of its own, got {name!r}, which train_step returns already"
                )
        self.observed: dict[str, Any] = {}
        self._parameters_were_read = False

    def train_step(self, inputs: Any, labels: Any) -> dict[str, float]:
        """One step of the optimizer on one batch; returns the loss and the metrics before it.

        "loss" is what loss_fn says, as in evaluation; the step goes down the sum of it and of
        "regularization", which is there where a layer adds to the loss (L2).

        Raises NonFiniteLossError, NonFiniteGradientError (NonFiniteUpdateError where finite gradients would
        make a weight or the optimizer's state such), ConcurrentTrainingError where the context is being
        trained already, or what the model raises, and then nothing has changed.  After the first step a
        MisspeltParameterWarning names the context's parameters that were set in vain.
        """
        if self.optimizer is None:
            raise ValueError("this Trainer was made without an optimizer: it evaluates, it does not train")
        ctx = self.context
        with ctx.changing("a training step"), ctx.forward_pass(training=True) as run:
            predictions, loss = self._forward(inputs, labels)
            values = self._measured(labels, predictions, loss)
            total = self._with_regularizers(loss, values)
            check_loss(float(total))
            variables = [variable for variable in run.claimed.values() if variable.trainable]
            gradients = [each.value for each in gradient(total, [variable.node for variable in variables])]
            ctx.apply(next_values(self.optimizer, ctx, variables, gradients))
            self.observed = run.observed
        if not self._parameters_were_read:
            self._parameters_were_read = True
            _tell_misspelt(ctx)
        return values

    def eval_step(self, inputs: Any, labels: Any) -> dict[str, float]:
        """The loss and the metrics of one batch in evaluation; changes nothing."""
        with self.context.forward_pass(training=False):
            predictions, loss = self._forward(inputs, labels)
            return self._measured(labels, predictions, loss)

    def eval(self, dataset: Dataset) -> dict[str, float]:
        """The loss and the metrics over a data set, each example counting alike."""
        mean = WeightedMean()
        for inputs, labels in map(labelled, dataset):
            mean.add(self.eval_step(inputs, labels), number_of_examples(labels))
        return mean.result()

    def predict(self, inputs: Any) -> Any:
        """The predictions for one batch in evaluation, as arrays.

        `inputs` are what model_fn takes, or an unlabelled batch (inputs,) as a data set without labels yields it.
        """
        if isinstance(inputs, tuple | list) and len(inputs) == 1:
            inputs = inputs_of(inputs)
        with self.context.forward_pass(training=False):
            return map_arrays(_as_array, self.run_model(inputs))

    def run_model(self, inputs: Any) -> Any:
        """model_fn on a batch, in the run that is under way."""
        return self.model_fn(self.context, map_arrays(_as_input, inputs))

    def together(self) -> AbstractContextManager[None]:
        """A block that ends for all workers of this trainer if it ends for one; here there is one."""
        return nullcontext()

    def gather(self, what: str, value: Any) -> list[Any]:
        """The `value` of each worker of this trainer, in their order; here there is one."""
        return [value]

    def batch_normalization_averages_update(self, dataset: Dataset | None, **options: Any) -> bool:
        """Recompute the moving averages over one epoch, as `pybn.update_averages` says; its options too.

        False, with nothing touched, where no layer of the model keeps moving averages.
        """
        # Without an updater no layer that keeps averages was ever imported.
        return _averages_updater is not None and _averages_updater(self, dataset, **options)

    def _forward(self, inputs: Any, labels: Any) -> tuple[Any, Node]:
        predictions = self.run_model(inputs)
        return predictions, scalar(self.loss_fn(labels, predictions))

    def _with_regularizers(self, loss: Node, values: dict[str, float]) -> Node:
        """The loss and what layers add to it, which is noted in `values`."""
        added = self.context.run.losses
        if not added:
            return loss
        regularization = added[0]
        for each in added[1:]:
            regularization = regularization + each
        values["regularization"] = float(regularization)
        return loss + regularization

    def _measured(self, labels: Any, predictions: Any, loss: Node) -> dict[str, float]:
        return {"loss": float(loss), **measured(self.metrics, labels, predictions)}


Hook = Callable[["Loop", dict[str, float]], None]


class Loop:
    """Runs a trainer over a data set and calls hooks.

    Hooks are functions (loop, metrics), called in the order of their priority, low numbers first;
    `on_start` hooks get empty metrics.  `step` counts the training steps taken, over all runs and those
    before a checkpoint that was loaded before the Loop was made (the context's `global_step`), and
    `epoch` the passes that are behind: one counts when the next batch is asked for after its last.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.step = trainer.context.global_step
        self.epoch = 0
        self.end_step: int | None = None  # where the run under way will end, if that is known
        self._stopped = False
        self._hooks: dict[str, list[tuple[int, Hook]]] = {"start": [], "step": [], "end": []}

    def on_start(self, hook: Hook, priority: int = 0) -> None:
        """Call `hook` before the first step of a run."""
        self._add("start", hook, priority)

    def on_step(self, hook: Hook, priority: int = 0) -> None:
        """Call `hook` after each step."""
        self._add("step", hook, priority)

    def on_end(self, hook: Hook, priority: int = 0) -> None:
        """Call `hook` after the last step of a run that ended well, or was stopped."""
        self._add("end", hook, priority)

    def stop(self) -> None:
        """End the run under way after this step; for a hook that has seen enough.

        The other hooks of the step and those of `on_end` are called as ever.  The next run begins anew.
        """
        self._stopped = True

    def run_steps(self, dataset: Dataset, steps: int) -> dict[str, float]:
        """Train for `steps` batches; returns the last metrics.

        Begins at the data set's first batch, and starts new epochs as needed.
        """
        if whole_number("steps", steps) < 0:
            raise ValueError(f"steps must not be negative, got {steps}")
        return self._run(itertools.islice(self._batches(dataset, None), steps), self.step + steps)

    def run_epochs(self, dataset: Dataset, epochs: int) -> dict[str, float]:
        """Train for `epochs` passes over the data set; returns the last metrics."""
        if whole_number("epochs", epochs) < 0:
            raise ValueError(f"epochs must not be negative, got {epochs}")
        length = _length(dataset)
        return self._run(self._batches(dataset, epochs), None if length is None else self.step + epochs * length)

    def _run(self, batches: Any, end_step: int | None) -> dict[str, float]:
        self.end_step, self._stopped = end_step, False
        metrics: dict[str, float] = {}
        self._call("start", metrics)
        for batch in () if self._stopped else batches:
            metrics = self.trainer.train_step(*labelled(batch))
            self.step += 1
            self._call("step", metrics)
            if self._stopped:  # before the next batch is asked for, with which an epoch might begin
                break
        self._call("end", metrics)
        return metrics

    def _batches(self, dataset: Dataset, epochs: int | None) -> Any:
        for _ in itertools.count() if epochs is None else range(epochs):
            empty = True
            for batch in dataset:
                empty = False
                yield batch
            if empty:
                raise ValueError("the data set gave no batch in this epoch: is it empty, or a generator that ran out?")
            self.epoch += 1

    def _add(self, when: str, hook: Hook, priority: int) -> None:
        self._hooks[when].append((priority, hook))
        self._hooks[when].sort(key=lambda entry: entry[0])

    def _call(self, when: str, metrics: dict[str, float]) -> None:
        for _, hook in self._hooks[when]:
            hook(self, metrics)


def scalar(loss: Any) -> Node:
    """What a loss function returned, if it is a scalar Node; TypeError otherwise."""
    if not isinstance(loss, Node) or loss.size != 1:
        raise TypeError(f"loss_fn must return a scalar Node, got {loss!r}")
    return loss


def check_loss(value: float) -> None:
    """Raise NonFiniteLossError where a step has nothing to go down."""
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"the loss of this batch is {value}; nothing was changed. "
            "Look for NaN in the data, or lower the learning rate"
        )


def next_values(optimizer: Optimizer, ctx: Context, variables: list[Variable], gradients: list[np.ndarray]) -> Held:
    """What a step of the optimizer makes of variables and its own memory, all of it known to be finite."""
    _check_gradients(variables, gradients)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
        new = Held.of(optimizer.new_values(ctx, variables, gradients))
    _check_update(new)
    return new


def _check_gradients(variables: list[Variable], gradients: list[np.ndarray]) -> None:
    """Raise where a gradient would write NaN or infinity into its variable."""
    for variable, values in zip(variables, gradients, strict=True):
        if not all_finite(values):
            raise NonFiniteGradientError(
                f"the gradient of {variable.path} is NaN or infinite although the loss is finite; nothing was changed. "
                "Look for a derivative that does not exist, such as that of sqrt at 0, or lower the learning rate"
            )


def _check_update(new_values: Held) -> None:
    """Raise where a weight or the optimizer's memory would be NaN or infinite, and stay so for ever."""
    if all(map(all_finite, new_values.memory)):
        return
    for variable, array in new_values.items():
        if not all_finite(array):
            raise NonFiniteUpdateError(
                f"this step would make {variable.path} NaN or infinite although the gradients are finite; nothing was "
                "changed. " + (_WAS_FINITE if all_finite(variable.value) else _WAS_NOT)
            )


def _tell_misspelt(ctx: Context) -> None:
    """Warn of parameters whose key is nearly one that the model reads, and that it does not read."""
    for scope, key, meant in ctx.misspelt_params():
        warnings.warn(
            f"the parameter {key!r} of scope {scope} was not read by anything, and {meant!r}, which was, is not set: "
            "is it misspelt?",
            MisspeltParameterWarning,
            stacklevel=3,  # the line that calls train_step
        )


_WAS_FINITE = "Look for a batch with far too large numbers, or lower the learning rate"
_WAS_NOT = "It is so already: load a checkpoint from before, or delete the variable"


def _length(dataset: Dataset) -> int | None:
    """How many batches an epoch has, where that is known."""
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except TypeError:  # what PyTorch's DataLoader says of a data set that it can only iterate over
        return None


def _as_input(value: Any) -> Any:
    if isinstance(value, Node):
        return value
    array = plain_array("inputs", value)
    return Node(array) if is_floating(array.dtype) else array


def _as_array(value: Any) -> np.ndarray:
    return value.value if isinstance(value, Node) else np.asarray(value)
