"""Batches of more than one array: how they are walked, counted and cut."""

import numpy as np
import pytest

from pybn import InMemoryDataset
from pybn.framework.structures import map_arrays, number_of_examples


def test_map_reaches_every_array_and_keeps_the_structure():
    value = {"x": (np.zeros(2), [np.ones(3), np.ones(1)]), "m": None}
    assert map_arrays(np.size, {**value, "m": np.ones(4)}) == {"x": (2, [3, 1]), "m": 4}


def test_a_list_of_numbers_is_an_array():
    assert map_arrays(np.shape, [[1.0, 2.0, 3], [4, 5, 6]]) == (2, 3)
    assert map_arrays(np.shape, ([1, 2], np.float32(3))) == ((2,), ())


@pytest.mark.parametrize("batch", [np.zeros((5, 2)), (np.zeros(5), 1), {"a": ([0] * 5, 2)}])
def test_examples_are_counted_along_the_first_axis(batch):
    assert number_of_examples(batch) == 5


def test_a_data_set_of_inputs_with_their_masks(rng):
    x, mask, labels = rng.normal(size=(7, 3, 2)), rng.random((7, 3)) < 0.5, {"y": np.arange(7)}
    data = InMemoryDataset((x, mask), labels, batch_size=3, shuffle=True, rng=0)
    seen = []
    for (some_x, some_mask), some_labels in data:
        np.testing.assert_array_equal(some_x, x[some_labels["y"]])
        np.testing.assert_array_equal(some_mask, mask[some_labels["y"]])
        seen.extend(some_labels["y"])
    assert sorted(seen) == list(range(7))
    with pytest.raises(ValueError, match="as many, got 7 and 6 and 7"):
        InMemoryDataset((x, mask[:6]), labels)


def test_a_data_set_refuses_a_masked_array():
    with pytest.raises(TypeError, match=r"got a numpy\.ma\.MaskedArray"):
        InMemoryDataset(np.ma.array(np.ones((4, 2)), mask=True), np.zeros(4))
