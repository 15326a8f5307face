"""Batches of more than one array: how they are walked, counted and cut."""

from collections import UserDict

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Trainer, losses
from pybn.framework.structures import labelled, map_arrays, number_of_examples


def test_map_reaches_every_array_and_keeps_the_structure():
    value = {"x": (np.zeros(2), [np.ones(3), np.ones(1)]), "m": None}
    assert map_arrays(np.size, {**value, "m": np.ones(4)}) == {"x": (2, [3, 1]), "m": 4}


def test_any_mapping_is_a_dict():
    value = UserDict(x=np.zeros(2), y=UserDict(z=np.ones((3, 2))))
    assert map_arrays(np.shape, value) == {"x": (2,), "y": {"z": (3, 2)}}
    assert number_of_examples(UserDict(y=np.zeros(4))) == 4
    with pytest.raises(TypeError, match=r"got a UserDict with the keys \['x', 'y'\]"):
        labelled(value)


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


@pytest.mark.parametrize(
    "labels", [[np.zeros(5), np.zeros((5, 2))], [(np.zeros(5), 1)], [np.int64(3)] * 5, ["a"] * 5, [[0, 1]] * 5]
)
def test_several_arrays_in_a_list_are_no_examples(labels):
    """As PyTorch's DataLoader gives them, which makes lists of tuples."""
    assert number_of_examples(labels) == 5


@pytest.mark.parametrize("labels", [(), {}])
def test_labels_without_an_array_are_an_error(labels):
    with pytest.raises(ValueError, match="labels must hold an array at least, got an empty"):
        number_of_examples(labels)
    assert number_of_examples([]) == 0


def test_examples_weigh_alike_where_labels_are_two_arrays_in_a_list():
    ctx = Context(0)
    trainer = Trainer(ctx, lambda ctx, x: x, lambda labels, x: losses.mean_squared_error(labels[1], x), None)
    batches = [
        (np.zeros((9, 2)), [np.arange(9), np.ones((9, 2))]),
        (np.zeros((3, 2)), [np.arange(3), np.zeros((3, 2))]),
    ]
    assert trainer.eval(batches) == {"loss": 0.75}


@pytest.mark.parametrize("labels", [None, 3.0, np.float32(1), (np.zeros(()),), {"y": None}], ids=repr)
def test_labels_that_count_nothing_are_an_error_with_a_sentence(labels):
    with pytest.raises(TypeError, match="labels must have an entry for each example, got a"):
        number_of_examples(labels)
