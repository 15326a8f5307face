"""Metrics: functions (labels, predictions) -> float, the mean over a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from pybn.framework.graph import Node
from pybn.framework.structures import plain_labels

Metric: TypeAlias = Callable[[Any, Any], float]


def accuracy(labels: Any, logits: Node) -> float:
    """The fraction of examples whose largest logit is their label's; one with a NaN among its logits is wrong."""
    labels = plain_labels(labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels must have one class for each example {logits.shape[:-1]}, got shape {labels.shape}")
    right = np.argmax(logits.value, axis=-1) == labels
    # argmax takes the first NaN for the largest, and would be right wherever it stands at the label.
    return float(np.mean(right & ~np.isnan(logits.value).any(axis=-1)))


def measured(metrics: Mapping[str, Metric], labels: Any, predictions: Any) -> dict[str, float]:
    """What each metric says of a batch, as floats; TypeError, by its name, for one that gives no number.

    NumPy's own numbers would keep their type in a mean: the sum of 100 000 float16s of .9 is infinite.
    """
    return {name: _float(name, metric(labels, predictions)) for name, metric in metrics.items()}


def _float(name: str, value: Any) -> float:
    if isinstance(value, Node) and value.size == 1:
        return float(value)
    if isinstance(value, str | bytes) or np.ndim(value):
        raise TypeError(f"the metric {name!r} must give one number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the metric {name!r} must give one number, got {value!r}") from error


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
