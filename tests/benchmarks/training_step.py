"""One training step of the network for the digits: ours, on either implementation, against PyTorch's eager step.

Beside them the same step by hand: the operations alone, in the order in which a step needs them, without a graph, a
context or a check.  What ours takes more than that is what these cost.

    python tests/benchmarks/training_step.py [--json FILE]

Dense 64 without bias, batch normalization, relu, twice, and dense 10; batches of 64 images in float32; plain SGD;
forward, loss, gradient, update.  One thread.  The steps of all contestants are interleaved, so that what else the
machine does slows each alike; a ratio is the median over the rounds of the ratio of neighbours.
"""

# ruff: noqa: E402 - BLAS reads the number of its threads when NumPy is imported.

from __future__ import annotations

import argparse
import json
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

import pybn
from pybn import backend, batchnorm, datasets, layers, losses, optimizers

BATCH, HIDDEN, CLASSES, RATE = 64, 64, 10, 0.1
# Neighbours within a round are 0.5 ms apart; 30 steps hide the clock's 50 ns and the caches' first misses.
STEPS_IN_A_ROUND, WARM_UP, ROUNDS = 30, 2, 101

Step = Callable[[], object]


def ours(images: np.ndarray, labels: np.ndarray) -> Step:
    """A step on the implementation that is active when it is taken."""

    def model(ctx: pybn.Context, x: pybn.Node) -> pybn.Node:
        x = layers.flatten(x)
        for i in range(2):
            scope = ctx.in_scope(f"layer_{i}")
            x = layers.dense(scope, x, HIDDEN, use_bias=False)
            x = layers.relu(batchnorm.new(scope, x).done())
        return layers.dense(ctx.in_scope("output"), x, CLASSES)

    trainer = pybn.Trainer(pybn.Context(0), model, losses.softmax_cross_entropy, optimizers.SGD(RATE))
    return lambda: trainer.train_step(images, labels)


def by_hand(images: np.ndarray, labels: np.ndarray) -> Step:
    """The same operations on plain arrays, batch normalization by the compiled implementation."""
    rng, kernels = np.random.default_rng(0), backend.load("compiled")
    x, rows = images.reshape(BATCH, -1), np.arange(BATCH)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    weights = [rng.normal(0, 0.2, (HIDDEN, width)).astype(np.float32) for width in (HIDDEN, HIDDEN, CLASSES)]
    bias, scales = np.zeros(CLASSES, np.float32), [np.ones(HIDDEN, np.float32) for _ in range(2)]
    offsets = [np.zeros(HIDDEN, np.float32) for _ in range(2)]
    averages = [(np.zeros(HIDDEN), np.ones(HIDDEN)) for _ in range(2)]

    def step() -> float:
        nonlocal bias
        inputs, products, statistics, active = [x], [], [], []
        for i in range(2):
            products.append(inputs[i] @ weights[i])
            y, *batch = kernels.batch_norm_training(products[i], scales[i], offsets[i])
            averages[i] = tuple(0.99 * old + 0.01 * new for old, new in zip(averages[i], batch, strict=True))
            statistics.append(batch)
            inputs.append(np.maximum(y, 0))
            active.append(y > 0)
        logits = inputs[2] @ weights[2] + bias
        shifted = logits - logits.max(axis=-1, keepdims=True)
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=-1, keepdims=True)
        loss = -(shifted - np.log(total))[rows, labels].mean()

        dy = (exponentials / total - one_hot) * (1 / BATCH)
        bias = bias - RATE * dy.sum(axis=0)
        for i in (2, 1, 0):
            if i < 2:
                dy = dy * active[i]
                dy, dscale, doffset = kernels.batch_norm_gradient(products[i], scales[i], *statistics[i], dy)
                scales[i], offsets[i] = scales[i] - RATE * dscale, offsets[i] - RATE * doffset
            slope = inputs[i].T @ dy
            dy = dy @ weights[i].T if i else dy
            weights[i] = weights[i] - RATE * slope
        return float(loss)

    return step


def pytorch(images: np.ndarray, labels: np.ndarray) -> Step:
    """The same network as `nn.Sequential`; ImportError where PyTorch is not installed."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    blocks = [
        each
        for _ in range(2)
        for each in (nn.Linear(HIDDEN, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN, eps=1e-3, momentum=0.01), nn.ReLU())
    ]
    model = nn.Sequential(nn.Flatten(), *blocks, nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    inputs, targets = torch.tensor(images), torch.tensor(labels)

    def step() -> object:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contestants() -> dict[str, Step]:
    """The steps that can be taken here, by name."""
    images, labels = (array[:BATCH] for array in datasets.digits())
    steps = {"reference": ours(images, labels)}
    if backend.compiled_is_built():
        backend.load("compiled").set_num_threads(1)
        steps["compiled"] = ours(images, labels)
        steps["by hand"] = by_hand(images, labels)
    try:
        steps["PyTorch"] = pytorch(images, labels)
    except ImportError as missing:
        print(f"PyTorch is left out: {missing}")
    return steps


def measure(steps: dict[str, Step]) -> dict[str, np.ndarray]:
    """Microseconds of one step, for each round, of each contestant."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS + WARM_UP):
        for name, step in steps.items():
            with pybn.use_backend(name) if name in backend.NAMES else nullcontext():
                start = time.process_time()
                for _ in range(STEPS_IN_A_ROUND):
                    step()
                times[name].append((time.process_time() - start) / STEPS_IN_A_ROUND * 1e6)
    return {name: np.array(each[WARM_UP:]) for name, each in times.items()}


def ratio(times: dict[str, np.ndarray], one: str, other: str) -> dict[str, float]:
    """Median and quartiles of the ratio of neighbours."""
    low, median, high = np.percentile(times[one] / times[other], [25, 50, 75])
    return {"low": round(low, 3), "median": round(median, 3), "high": round(high, 3)}


def report() -> dict[str, object]:
    """The table, printed, and as a dict for JSON."""
    times = measure(contestants())
    found: dict[str, object] = {"microseconds": {name: round(float(np.median(t)), 1) for name, t in times.items()}}
    for name, each in times.items():
        print(f"{name:<10} {np.median(each):8.1f} us a step, quickest {each.min():8.1f}")
    pairs = (("compiled", "PyTorch"), ("reference", "PyTorch"), ("compiled", "reference"), ("by hand", "compiled"))
    for one, other in pairs:
        if one in times and other in times:
            found[f"{one} / {other}"] = spread = ratio(times, one, other)
            print(f"{one} / {other}: {spread['median']:.3f} (quartiles {spread['low']:.3f} to {spread['high']:.3f})")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="where to save the figures")
    options = parser.parse_args()
    figures = report()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
