"""Data sets that count, and what the averages must be after an update."""

from __future__ import annotations

import numpy as np

from tests.support.networks import (
    ByHand,
    assert_close,
    averages,
)

METHODS = ("exact", "two_phase", "one_pass")


class Batches:
    """A data set of given batches that counts its epochs and the batches it gave."""

    def __init__(self, batches):
        self.batches = list(batches)
        self.epochs = self.given = 0

    def __iter__(self):
        self.epochs += 1
        return self._epoch()

    def _epoch(self):
        for batch in self.batches:
            self.given += 1
            yield batch


def split(inputs, labels, sizes):
    """Batches of these sizes."""
    ends = np.cumsum(sizes)
    assert ends[-1] == len(inputs)
    return [(inputs[end - size : end], labels[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def population(ctx, network, inputs):
    """By layer, the mean and variance of its input over all examples, every earlier layer normalizing with its own."""
    found = {}

    def statistics(scope, x):
        found[scope] = x.mean(0), x.var(0)
        return found[scope]

    network(ByHand(ctx, statistics), inputs)
    return found


def assert_averages(ctx, expected, weight):
    """M, V and w of every layer."""
    for scope, (mean, variance) in expected.items():
        actual_mean, actual_variance, actual_weight = averages(ctx, scope)
        # Rounding passes through three divisions by deviations of 0.3 and more: ten times 1e-13 each.
        assert_close(actual_mean, mean, f"mean of {scope}", relative=1e-11)
        assert_close(actual_variance, variance, f"variance of {scope}", relative=1e-11)
        assert actual_weight == weight, scope


class TwoPhases:
    """GoMLX's rule as its documentation states it, for the statistics of `ByHand`.

    The weights are reset once.  Phase 0 normalizes with the batch's statistics and moves the averages;
    phase 1 moves the averages and normalizes with what they have just become.
    """

    def __init__(self, momentum):
        self.momentum, self.phase = momentum, 0
        self.mean, self.variance, self.weight = {}, {}, {}

    def __call__(self, scope, x):
        mean, variance = x.sum(0) / len(x), ((x - x.sum(0) / len(x)) ** 2).sum(0) / len(x)
        self.weight[scope] = self.weight.get(scope, 0) + 1
        old = min(self.momentum, 1 - 1 / self.weight[scope])
        self.mean[scope] = old * self.mean.get(scope, 0) + (1 - old) * mean
        self.variance[scope] = old * self.variance.get(scope, 0) + (1 - old) * variance
        return (mean, variance) if self.phase == 0 else (self.mean[scope], self.variance[scope])
