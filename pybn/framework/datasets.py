"""Data sets: anything that can be iterated again and again and yields (inputs, labels).

Where labels are not needed, as in `update_averages`, it may yield (inputs,) or the inputs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any, Protocol

import numpy as np

from pybn.arguments import BOOLEAN, INTEGER
from pybn.framework.structures import map_arrays, plain_array


class Dataset(Protocol):
    """Each `iter()` starts an epoch of batches (inputs, labels).  A PyTorch DataLoader is one."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Start an epoch."""
        ...


class InMemoryDataset:
    """Batches of arrays.

    Parameters
    ----------
    inputs, labels : arrays with one example for each index of the first axis; or tuples or dicts of
        such arrays, (x, mask) for one
    batch_size : int; default: everything in one batch
    shuffle : whether each epoch takes the examples in a new order, drawn from `rng`
    rng : numpy.random.Generator or seed; needed to shuffle
    drop_last : whether an incomplete last batch is left out
    name : what to call it in messages

    >>> data = InMemoryDataset(np.arange(5), np.arange(5), batch_size=2)
    >>> [len(labels) for _, labels in data]
    [2, 2, 1]
    """

    def __init__(
        self,
        inputs: Any,
        labels: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        rng: np.random.Generator | int | None = None,
        drop_last: bool = False,
        name: str = "data",
    ) -> None:
        self.inputs = map_arrays(lambda array: plain_array("inputs", array), inputs)
        self.labels = map_arrays(lambda array: plain_array("labels", array), labels)
        self._size = _common_length(self.inputs, self.labels)
        if shuffle and rng is None:
            raise ValueError("shuffle=True needs rng, a numpy.random.Generator or a seed")
        self.batch_size = self._size if batch_size is None else batch_size
        if isinstance(self.batch_size, BOOLEAN) or not isinstance(self.batch_size, INTEGER):
            raise TypeError(f"batch_size must be an int, got {batch_size!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size} for {self._size} examples")
        self.shuffle, self.drop_last, self.name = shuffle, drop_last, name
        self.rng = np.random.default_rng(rng) if shuffle else None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(self._size, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """An epoch; the arrays of a batch are views where the order is kept."""
        order = None if self.rng is None else self.rng.permutation(self._size)
        for batch in range(len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            chosen = part if order is None else order[part]
            yield _chosen(self.inputs, chosen), _chosen(self.labels, chosen)

    def __repr__(self) -> str:
        return f"InMemoryDataset({self.name}: {self._size} examples, batches of {self.batch_size})"


def _common_length(inputs: Any, labels: Any) -> int:
    """How many examples there are; ValueError where two arrays do not agree on it."""
    lengths: list[int] = []
    map_arrays(lambda array: lengths.append(_length(array)), (inputs, labels))
    if len(set(lengths)) != 1:
        raise ValueError(f"inputs and labels must be as many, got {' and '.join(map(str, lengths))}")
    return lengths[0]


def _length(array: np.ndarray) -> int:
    if not array.ndim:
        raise TypeError(f"inputs and labels must have an entry for each example, got {array!r}")
    return len(array)


def _chosen(arrays: Any, index: slice | np.ndarray) -> Any:
    return map_arrays(lambda array: array[index], arrays)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The UCI handwritten digits: images (1797, 8, 8), float32 in [0, 1], and labels (1797,).

    Source and licence stand beside the file, in pybn/framework/data.
    """
    with resources.files("pybn.framework").joinpath("data/digits.npz").open("rb") as file, np.load(file) as data:
        return data["images"].astype(np.float32) / 16, data["labels"].astype(np.int64)


def train_test_split(
    inputs: np.ndarray, labels: np.ndarray, test_fraction: float, rng: np.random.Generator | int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two disjoint random parts, ((inputs, labels) to train on, (inputs, labels) to test on)."""
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction!r}")
    if len(inputs) != len(labels):
        raise ValueError(f"inputs and labels must be as many, got {len(inputs)} and {len(labels)}")
    order = np.random.default_rng(rng).permutation(len(inputs))
    tests = round(len(inputs) * test_fraction)
    if not 0 < tests < len(inputs):
        raise ValueError(f"test_fraction {test_fraction!r} leaves a part of the {len(inputs)} examples empty")
    test, train = order[:tests], order[tests:]
    return (inputs[train], labels[train]), (inputs[test], labels[test])
