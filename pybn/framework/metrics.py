"""Metrics: functions (labels, predictions) -> float, the mean over a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.framework.graph import Node


def accuracy(labels: Any, logits: Node) -> float:
    """The fraction of examples whose largest logit is their label's; one with a NaN among its logits is wrong."""
    labels = np.asarray(labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels must have one class for each example {logits.shape[:-1]}, got shape {labels.shape}")
    right = np.argmax(logits.value, axis=-1) == labels
    # argmax takes the first NaN for the largest, and would be right wherever it stands at the label.
    return float(np.mean(right & ~np.isnan(logits.value).any(axis=-1)))


class WeightedMean:
    """Means of named values over batches, each batch weighted by its number of examples.

    >>> mean = WeightedMean()
    >>> mean.add({"loss": 1.0}, 3)
    >>> mean.add({"loss": 5.0}, 1)
    >>> mean.result()
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}
        self._weight = 0

    def add(self, values: dict[str, float], weight: int) -> None:
        """Count `values` with `weight` examples."""
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0.0) + value * weight
        self._weight += weight

    def __add__(self, other: WeightedMean) -> WeightedMean:
        """The means over the examples of both."""
        both = WeightedMean()
        both._weight = self._weight + other._weight
        names = dict.fromkeys([*self._totals, *other._totals])
        both._totals = {name: self._totals.get(name, 0.0) + other._totals.get(name, 0.0) for name in names}
        return both

    def result(self) -> dict[str, float]:
        """The means so far; ValueError before the first batch."""
        if not self._weight:
            raise ValueError("there is no mean over no examples: the data set is empty")
        return {name: total / self._weight for name, total in self._totals.items()}
