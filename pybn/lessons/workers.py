"""A training that is spread over workers, with the statistics of the whole batch or with each worker's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from pybn.distributed import DataParallelTrainer, Simulated
from pybn.distributed.simulated import SimulatedCommunicator
from pybn.framework.context import Context
from pybn.framework.train import ModelFunction
from pybn.lessons import experiments

LAYER = "/layer_0/batch_normalization"


class SpreadRun(NamedTuple):
    """What is left of a training on several workers.

    variance_ratio : (workers,) averaged variance over that of the data, of the median feature
    means_apart : how far the workers' averaged means are from each other, in deviations of the data; the median feature
    losses : (steps,) of the whole batch
    weights : of the first layer, on the first worker
    """

    variance_ratio: np.ndarray
    means_apart: float
    losses: np.ndarray
    weights: np.ndarray


def spread_run(
    seed: int,
    shares: Sequence[float],
    *,
    synchronize: bool,
    model: ModelFunction | None = None,
    steps: int = 200,
    batch_size: int = 64,
) -> SpreadRun:
    """Train one block, or `model`, on simulated workers, each with its share of every batch."""
    digits = experiments.digits(seed, batch_size)
    batches = list(islice(cycle(digits.train), steps))
    cuts = np.round(np.cumsum(shares)[:-1] * batch_size).astype(int)
    alone = experiments.trainer(seed, model or experiments.classifier((64,)), learning_rate=0.05)

    def work(comm: SimulatedCommunicator) -> tuple[list[float], Context]:
        trainer = DataParallelTrainer(
            comm, Context(seed), alone.model_fn, alone.loss_fn, alone.optimizer, synchronize=synchronize
        )
        parts = ([np.split(array, cuts)[comm.rank] for array in batch] for batch in batches)
        return [trainer.train_step(*part)["loss"] for part in parts], trainer.context

    told, contexts = zip(*Simulated(len(shares)).run(work), strict=True)
    weights = contexts[0].get_variable("/layer_0/dense/weights").value
    inputs = digits.whole.inputs.reshape(len(digits.whole.inputs), -1) @ weights
    means = np.array([ctx.get_variable(f"{LAYER}/mean").value for ctx in contexts])
    variances = np.array([ctx.get_variable(f"{LAYER}/variance").value for ctx in contexts])
    apart = np.ptp(means, axis=0) / inputs.std(axis=0)
    return SpreadRun(
        np.median(variances / inputs.var(axis=0), axis=1), float(np.median(apart)), np.array(told[0]), weights
    )
