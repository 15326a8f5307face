"""Batches that a shuffled data set would hardly give: of few classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class FewClasses:
    """A data set whose batches each hold `classes` of the classes, as data sorted by class gives them.

    Parameters
    ----------
    inputs, labels : arrays with one example for each index of the first axis; integer labels
    batch_size : int; an incomplete last batch of a group of classes is left out
    classes : int, how many classes share a batch; each epoch groups them anew, and shuffles the batches
    rng : numpy.random.Generator or seed

    >>> data = FewClasses(np.zeros((6, 2)), np.array([0, 1, 0, 1, 0, 1]), batch_size=3, classes=1, rng=0)
    >>> sorted(labels.tolist() for _, labels in data)
    [[0, 0, 0], [1, 1, 1]]
    """

    def __init__(
        self, inputs: Any, labels: Any, batch_size: int, classes: int, rng: np.random.Generator | int = 0
    ) -> None:
        self.inputs, self.labels = np.asarray(inputs), np.asarray(labels)
        self.batch_size, self.classes, self.rng = batch_size, classes, np.random.default_rng(rng)
        known = len(np.unique(self.labels))
        if not 1 <= classes <= known:
            raise ValueError(f"classes must be between 1 and the {known} that the labels have, got {classes}")

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """An epoch."""
        known = self.rng.permutation(np.unique(self.labels))
        groups = [known[start : start + self.classes] for start in range(0, len(known), self.classes)]
        batches = [batch for group in groups for batch in self._batches_of(group)]
        for number in self.rng.permutation(len(batches)):
            yield self.inputs[batches[number]], self.labels[batches[number]]

    def _batches_of(self, group: np.ndarray) -> list[np.ndarray]:
        """Indices of examples of these classes, in batches."""
        chosen = self.rng.permutation(np.flatnonzero(np.isin(self.labels, group)))
        whole = len(chosen) // self.batch_size
        return list(chosen[: whole * self.batch_size].reshape(whole, self.batch_size))
