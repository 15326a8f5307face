"""Sequences of different length: numbers written in real digits, and batches padded to the longest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# One batch: "x" (N, T, C) with zeros for padding, and "mask" (N, T), True where a step is real.
Padded = dict[str, np.ndarray]


def numbers(
    images: np.ndarray, labels: np.ndarray, count: int, longest: int, rng: np.random.Generator | int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Numbers of 1 to `longest` handwritten digits, and the largest digit in each.

    Parameters
    ----------
    images (M, ...), labels (M,) : the digits to write them with, drawn with replacement
    count, longest : how many numbers, and the most digits one may have; each length is as likely

    Returns
    -------
    sequences, labels : a list of arrays (digits, pixels), and an integer for each
    """
    rng = np.random.default_rng(rng)
    written = [rng.integers(len(images), size=length) for length in rng.integers(1, longest + 1, count)]
    pixels = images.reshape(len(images), -1)
    return [pixels[digits] for digits in written], np.array([labels[digits].max() for digits in written])


def padded(sequences: Sequence[np.ndarray], length: int | None = None) -> Padded:
    """The sequences (T, C) as one array, with zeros after the end of each; default: up to the longest.

    >>> batch = padded([np.ones((1, 2)), np.ones((3, 2))])
    >>> batch["x"].shape
    (2, 3, 2)
    >>> batch["mask"]
    array([[ True, False, False],
           [ True,  True,  True]])
    """
    longest = max(map(len, sequences))
    length = longest if length is None else length
    if length < longest:
        raise ValueError(f"length must be at least that of the longest sequence, {longest}, got {length}")
    x = np.zeros((len(sequences), length, *sequences[0].shape[1:]), sequences[0].dtype)
    mask = np.zeros((len(sequences), length), bool)
    for row, sequence in enumerate(sequences):
        x[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return {"x": x, "mask": mask}


class PaddedBatches:
    """A data set of sequences, each batch padded to its own longest, or to `length`.

    Parameters
    ----------
    sequences, labels : a list of arrays (T, C), and a label for each
    batch_size : int; an incomplete last batch is given too
    length : int, what all batches are padded to
    rng : numpy.random.Generator or seed, to shuffle; default: the order given
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        labels: Any,
        batch_size: int,
        length: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self.sequences, self.labels, self.batch_size, self.length = sequences, np.asarray(labels), batch_size, length
        self.rng = None if rng is None else np.random.default_rng(rng)

    def __iter__(self) -> Iterator[tuple[Padded, np.ndarray]]:
        """An epoch."""
        count = len(self.sequences)
        order = np.arange(count) if self.rng is None else self.rng.permutation(count)
        for start in range(0, count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield padded([self.sequences[number] for number in chosen], self.length), self.labels[chosen]
