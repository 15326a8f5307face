"""Training on several workers, each with a part of every batch, as one worker would train on the whole."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from pybn.batchnorm import in_mode, normalizing
from pybn.distributed.synchronized import over
from pybn.distributed.team import Communicator, Team, WorkersDifferError
from pybn.framework import ops
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset
from pybn.framework.draws import put_back_on_error
from pybn.framework.graph import Node, gradient
from pybn.framework.metrics import Metric, WeightedMean, measured
from pybn.framework.optimizers import Optimizer
from pybn.framework.schedules import rate_at
from pybn.framework.structures import labelled, number_of_examples
from pybn.framework.train import LossFunction, ModelFunction, Trainer, check_loss, next_values, scalar
from pybn.framework.variables import Variable


class DataParallelTrainer(Trainer):
    """A Trainer whose every batch is spread over workers: each calls it with its own part.

    Parameters
    ----------
    comm : a communicator of mpi4py, or one of `Simulated`
    ctx, model_fn, loss_fn, optimizer, metrics : as of `Trainer`, the same on every worker; the same seed, too

    synchronize : whether batch normalization takes the whole batch for its statistics; False: each worker those of its
        own part, as other libraries do unless they are asked, and the averages then differ from worker to worker

    A step is one step on the whole batch: the loss is the mean over all examples (parts count by their examples, and
    may be empty), regularizers count once, and batch normalization is synchronized.  After it the variables have the
    same bits on every worker.  It is taken by all workers or by none: what one of them raises, all raise, and nothing
    has changed (but for the random numbers of a bit generator that does not tell its state; the error then says so).
    `loss_fn` must be a mean over the examples.
    """

    def __init__(
        self,
        comm: Communicator,
        ctx: Context,
        model_fn: ModelFunction,
        loss_fn: LossFunction,
        optimizer: Optimizer | None,
        metrics: Mapping[str, Metric] | None = None,
        *,
        synchronize: bool = True,
    ) -> None:
        super().__init__(ctx, model_fn, loss_fn, optimizer, metrics)
        self.synchronize = synchronize
        self.team = Team(comm)
        self._steps = 0  # taken by this trainer: a worker that was interrupted while it took one is behind
        self._left: dict[Variable, np.ndarray] = {}  # the values that the last step left

    def train_step(self, inputs: Any, labels: Any) -> dict[str, float]:
        """One step of the optimizer on the batch of which this is a part; returns the whole batch's loss and metrics.

        Raises on every worker what `Trainer.train_step` raises on one, and WorkersDifferError where the workers'
        models, options or numbers of steps differ; then nothing has changed anywhere.
        """
        ctx, team = self.context, self.team
        with (
            team.together(),
            ctx.changing("a training step"),
            _taken_back_on_error(ctx, made=not self._left),
            ctx.forward_pass(training=True) as run,
            normalizing(ctx, functools.partial(over, team) if self.synchronize else in_mode),
        ):
            if self.optimizer is None:
                raise ValueError("this Trainer was made without an optimizer: it evaluates, it does not train")
            examples = number_of_examples(labels)
            told = team.exchange(f"the number of examples of step {self._steps + 1}", (examples, self._were_assigned()))
            total = sum(examples for examples, _ in told)
            if total == 0:
                raise ValueError(f"the batch must have at least one example, got none on any of {team.size} workers")
            loss, values = self._share(inputs, labels, examples)
            variables = [variable for variable in run.claimed.values() if variable.trainable]
            if any(assigned for _, assigned in told):
                # Averages that are not synchronized are each worker's own.
                self._check_alike([each for each in run.claimed.values() if self.synchronize or each.trainable])
            mine = gradient(self._objective(loss, examples / total), [variable.node for variable in variables])
            names = ", ".join(variable.path for variable in variables)
            gradients = _added(team.exchange(f"the gradients of {names}", [each.value for each in mine]))
            values = self._pooled(values, examples)
            check_loss(values["loss"] + values.get("regularization", 0.0))
            new_values = next_values(self.optimizer, ctx, variables, gradients)
            team.exchange(
                f"the end of the step of {_described(self.optimizer, ctx.global_step)}", None
            )  # nobody has failed: from here on all go on
            ctx.apply(new_values)
            self._left = {variable: variable.value for variable in run.claimed.values()}
            self._steps += 1
            self.observed = run.observed
        return values

    def eval(self, dataset: Dataset) -> dict[str, float]:
        """The loss and the metrics over the data sets of all workers, each example counting alike; parts may be empty.

        Raises WorkersDifferError where the workers' metrics differ.
        """
        with self.team.together():
            mean = WeightedMean()
            for inputs, labels in map(labelled, dataset):
                if examples := number_of_examples(labels):
                    mean.add(self.eval_step(inputs, labels), examples)
            parts = self.team.exchange(f"the evaluation{self._with_metrics()}", mean)
        return functools.reduce(WeightedMean.__add__, parts).result()

    def together(self) -> AbstractContextManager[None]:
        """A block that ends for all workers if it ends for one: its error is raised on every one of them."""
        return self.team.together()

    def gather(self, what: str, value: Any) -> list[Any]:
        """The `value` of each worker, in the order of the ranks; WorkersDifferError where another is not at `what`."""
        return self.team.exchange(what, value)

    def _share(self, inputs: Any, labels: Any, examples: int) -> tuple[Node, dict[str, float]]:
        """The loss of this part alone, without regularizers, and what is measured of it."""
        predictions = self.run_model(inputs)
        if examples == 0:  # no mean over none: its gradient goes back through the model as zeros, for the exchanges
            return _nothing(predictions), {}
        loss = scalar(self.loss_fn(labels, predictions))
        return loss, {"loss": float(loss), **measured(self.metrics, labels, predictions)}

    def _objective(self, loss: Node, weight: float) -> Node:
        """What this worker adds to the loss of the whole batch; regularizers are the first worker's."""
        loss = loss * weight
        for regularizer in self.context.run.losses if self.team.rank == 0 else ():
            loss = loss + regularizer
        return loss

    def _pooled(self, values: dict[str, float], examples: int) -> dict[str, float]:
        mean = WeightedMean()
        if examples:
            mean.add(values, examples)
        added = {"regularization": sum(map(float, losses))} if (losses := self.context.run.losses) else {}
        # Only the first worker's counts.  Six digits: the last ones may be another processor's.
        what = "".join(f" and a {name} of {value:.6g}" for name, value in added.items())
        parts = self.team.exchange(f"the loss{self._with_metrics()}{what}", mean)
        return functools.reduce(WeightedMean.__add__, parts).result() | added

    def _with_metrics(self) -> str:
        """The names of the metrics: one that a part of the workers takes is a mean of nothing."""
        return "".join(f" and {name}" for name in sorted(self.metrics))

    def _were_assigned(self) -> bool:
        """Whether a variable is not what the last step left: nothing was left yet, or a checkpoint was read."""
        return not self._left or any(variable.value is not value for variable, value in self._left.items())

    def _check_alike(self, variables: list[Variable]) -> None:
        """Every worker must have the same variables, with the same values."""
        mine = {variable.path: _digest(variable.value) for variable in variables}
        for rank, theirs in enumerate(self.team.exchange("the end of the model, to compare the variables", mine)):
            for path in [*mine, *theirs]:
                if mine.get(path) != theirs.get(path):
                    raise WorkersDifferError(
                        f"{path} is {mine.get(path, 'not there')} on rank {self.team.rank} and "
                        f"{theirs.get(path, 'not there')} on rank {rank}: every worker must have the same "
                        "values. Give each Context the same seed, or load one checkpoint on all of them"
                    )


@contextmanager
def _taken_back_on_error(ctx: Context, made: bool) -> Iterator[None]:
    """Take back what a step that fails has drawn, and the variables that it `made`: not all workers came so far."""
    with put_back_on_error(ctx.rng), ctx.restored_on_error() if made else nullcontext():
        yield


def _described(optimizer: Optimizer, step: int) -> str:
    """The optimizer and its numbers, which must be the same on every worker or their variables part."""
    rate = {"learning_rate": rate_at(optimizer.learning_rate, step)}
    numbers = {name: value for name, value in (vars(optimizer) | rate).items() if isinstance(value, int | float)}
    return f"{type(optimizer).__name__}({', '.join(f'{name} {value}' for name, value in numbers.items())})"


def _nothing(predictions: Any) -> Node:
    """A scalar 0 that depends on every prediction."""
    if isinstance(predictions, Node):
        return ops.sum(predictions) * 0.0
    parts = predictions.values() if isinstance(predictions, Mapping) else predictions
    return functools.reduce(lambda a, b: a + b, map(_nothing, parts))


def _added(shares: list[list[np.ndarray]]) -> list[np.ndarray]:
    """The sums over the workers, from the first to the last."""
    return [functools.reduce(np.add, each) for each in zip(*shares, strict=True)]


def _digest(value: np.ndarray) -> str:
    shape = f"{value.dtype}{list(value.shape)}"
    return f"{shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:8]}"
