"""What a data set yields: pairs where labels are needed, with labels or without where they are not, told if neither."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, batch_norm, losses, optimizers, update_averages
from pybn.framework.structures import inputs_of, labelled
from pybn.study.record import seen_in_inference

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
LABELS = np.array([0, 1])


class Pair(NamedTuple):
    inputs: object
    labels: object


def same(a, b):
    return type(a) is type(b) and np.array_equal(a, b)


@pytest.mark.parametrize("pair", [(ROWS, LABELS), [ROWS, LABELS], Pair(ROWS, LABELS), (ROWS, None)], ids=repr)
def test_pairs(pair):
    assert labelled(pair)[0] is ROWS
    assert inputs_of(pair) is ROWS


def test_pairs_written_by_hand():
    rows, labels = [[1.0, 2.0], [3.0, 4.0]], [0, 1]
    assert labelled((rows, labels)) == labelled([rows, labels]) == (rows, labels)
    assert inputs_of([rows, labels]) == rows


@pytest.mark.parametrize("batch", [[ROWS], (ROWS,)], ids=repr)
def test_a_batch_of_one_has_no_labels(batch):
    assert inputs_of(batch) is ROWS


@pytest.mark.parametrize("batch", [ROWS, ROWS[0], {"x": ROWS, "mask": LABELS}, [[1.0, 2.0], [3.0, 4.0]]], ids=repr)
def test_what_is_no_tuple_is_inputs(batch):
    assert inputs_of(batch) is batch


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        (ROWS, r"a ndarray of shape \(2, 2\) \(two rows are no pair\)"),
        (np.ones((8, 3)), r"a ndarray of shape \(8, 3\)$"),
        ([[1.0, 2.0], [3.0, 4.0]], r"a list of shape \(2, 2\) \(two rows are no pair\)"),
        ((ROWS,), r"a tuple of 1: a ndarray of shape \(2, 2\)"),
        ((ROWS, LABELS, LABELS), r"a tuple of 3: a ndarray of shape \(2, 2\)"),
        ({"x": ROWS, "y": LABELS}, r"a dict with the keys \['x', 'y'\]"),
        ("ab", "a str"),
        (None, "a NoneType"),
    ],
    ids=repr,
)
def test_what_is_no_pair_is_told(batch, got):
    with pytest.raises(TypeError, match=r"the data set must yield pairs \(inputs, labels\) here, got " + got):
        labelled(batch)


def test_what_is_neither_is_told():
    with pytest.raises(
        TypeError, match=r"must yield \(inputs, labels\), \(inputs,\) or inputs here, got a list of 3: a nd"
    ):
        inputs_of([ROWS, LABELS, LABELS])


# --- where batches are taken ------------------------------------------------------------------------


def model(ctx, x):
    return batch_norm(ctx, x)


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 3)) * 3 + 5


@pytest.fixture
def trainer(x):
    trainer = Trainer(Context(0), model, losses.mean_squared_error, optimizers.SGD(0.0))
    trainer.train_step(np.ones((4, 3)), np.ones((4, 3)))
    return trainer


@pytest.mark.parametrize("method", ["exact", "one_pass", "two_phase"])
@pytest.mark.parametrize(
    "unlabelled",
    [lambda x: x, lambda x: [x], lambda x: (x,), lambda x: (x, None)],
    ids=["x", "[x]", "(x,)", "(x, None)"],
)
def test_averages_are_updated_without_labels(trainer, x, unlabelled, method):
    """Two rows in a batch, which would unpack into two things that are no inputs and labels."""
    assert update_averages(trainer, [unlabelled(x), unlabelled(x + 1)], method=method)
    found = trainer.context.get_variable("/batch_normalization/mean").value
    np.testing.assert_allclose(found, x.mean(0) + 0.5, rtol=1e-12)
    assert seen_in_inference(trainer, [unlabelled(x)])["/batch_normalization"].count == 2


def test_a_prediction_takes_an_unlabelled_batch(trainer, x):
    expected = trainer.predict(x)
    np.testing.assert_array_equal(trainer.predict([x]), expected)
    np.testing.assert_array_equal(trainer.predict((x,)), expected)
    np.testing.assert_array_equal(trainer.predict([x[0].tolist()]), expected[:1])


def test_training_and_evaluation_need_pairs(trainer, x):
    before = trainer.context.get_variable("/batch_normalization/avg_weight").value
    for run in (
        lambda data: Loop(trainer).run_epochs(data, 1),
        lambda data: Loop(trainer).run_steps(data, 1),
        trainer.eval,
    ):
        for data in ([x], [[x]], [(x, x, x)]):
            with pytest.raises(TypeError, match="must yield pairs"):
                run(data)
        run(InMemoryDataset(x, x))
    assert trainer.context.get_variable("/batch_normalization/avg_weight").value == before + 2


def test_an_update_says_what_it_got_and_changes_nothing(trainer, x):
    before = {each.path: each.value.tobytes() for each in trainer.context.variables()}
    with pytest.raises(TypeError, match="got a tuple of 3"):
        update_averages(trainer, [(x, x), (x, x, x)])
    assert {each.path: each.value.tobytes() for each in trainer.context.variables()} == before
