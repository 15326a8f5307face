"""Batches of few classes."""

import numpy as np
import pytest

from pybn.lessons.batches import FewClasses

LABELS = np.repeat(np.arange(5), 12)
INPUTS = np.arange(60.0)[:, None]


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_a_batch_holds_no_more_classes_than_asked_for(classes):
    batches = list(FewClasses(INPUTS, LABELS, 6, classes, rng=0))
    assert len(batches) == 10
    assert max(len(np.unique(labels)) for _, labels in batches) == classes


def test_an_epoch_gives_each_example_once_with_its_label():
    inputs, labels = (np.concatenate(parts) for parts in zip(*FewClasses(INPUTS, LABELS, 4, 2, rng=1), strict=True))
    assert sorted(inputs[:, 0]) == list(range(60))
    np.testing.assert_array_equal(LABELS[inputs[:, 0].astype(int)], labels)


def test_an_incomplete_batch_is_left_out():
    assert [len(labels) for _, labels in FewClasses(INPUTS, LABELS, 7, 1, rng=0)] == [7] * 5


def test_each_epoch_takes_a_new_order():
    data = FewClasses(INPUTS, LABELS, 6, 2, rng=0)
    first, second = ([labels.tolist() for _, labels in data] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("classes", [0, 6])
def test_more_classes_than_there_are(classes):
    with pytest.raises(ValueError, match=f"between 1 and the 5 that the labels have, got {classes}"):
        FewClasses(INPUTS, LABELS, 6, classes)
