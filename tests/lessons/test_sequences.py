"""Padded sequences of digits."""

import numpy as np
import pytest

from pybn.lessons.sequences import PaddedBatches, numbers, padded

LABELS = np.arange(10)
IMAGES = np.arange(10.0, 20.0).reshape(10, 1, 1) * np.ones((1, 2, 3))  # the image of digit d is filled with 10 + d


def test_a_number_is_labelled_with_its_largest_digit():
    sequences, labels = numbers(IMAGES, LABELS, 200, 4, rng=0)
    assert [sequence.max() - 10 for sequence in sequences] == labels.tolist()
    assert {sequence.shape for sequence in sequences} == {(length, 6) for length in (1, 2, 3, 4)}


@pytest.mark.parametrize("length", [None, 5])
def test_padding_is_zero_and_masked_and_the_rest_is_the_sequences(length):
    sequences = [np.full((1, 2), 7.0), np.full((4, 2), 3.0), np.full((2, 2), 5.0)]
    batch = padded(sequences, length)
    assert batch["x"].shape == (3, length or 4, 2)
    assert not batch["x"][~batch["mask"]].any()
    for row, mask, sequence in zip(batch["x"], batch["mask"], sequences, strict=True):
        np.testing.assert_array_equal(row[mask], sequence)


def test_padding_to_less_than_the_longest():
    with pytest.raises(ValueError, match="at least that of the longest sequence, 3, got 2"):
        padded([np.ones((3, 1))], length=2)


def test_an_epoch_gives_each_sequence_once_with_its_label():
    sequences = [np.full((1 + n % 3, 1), float(n)) for n in range(7)]
    batches = list(PaddedBatches(sequences, np.arange(7), 3, rng=0))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    seen = np.concatenate([labels for _, labels in batches])
    assert sorted(seen) == list(range(7))
    for batch, labels in batches:
        np.testing.assert_array_equal(batch["x"][:, 0, 0], labels)
        assert batch["x"].shape[1] == max(len(sequences[label]) for label in labels)


def test_without_rng_the_order_is_kept():
    sequences = [np.ones((1, 1))] * 5
    labels = np.concatenate([labels for _, labels in PaddedBatches(sequences, np.arange(5), 2)])
    assert labels.tolist() == [0, 1, 2, 3, 4]
