"""Losses and metrics by hand, and the labels that they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Node, gradient, losses, metrics, ops
from pybn.framework.metrics import WeightedMean
from tests.support.derivatives import check_orders


def test_softmax_cross_entropy_by_hand():
    logits = Node(np.log(np.array([[1.0, 2.0, 1.0], [1.0, 1.0, 8.0]])))
    loss = losses.softmax_cross_entropy(np.array([1, 0]), logits)
    assert loss.shape == ()
    np.testing.assert_allclose(loss.value, (np.log(2) + np.log(10)) / 2, rtol=1e-15)
    (found,) = gradient(loss, [logits])
    np.testing.assert_allclose(found.value, np.array([[0.25, -0.5, 0.25], [-0.9, 0.1, 0.8]]) / 2, rtol=1e-14)


def test_softmax_cross_entropy_is_the_mean_over_the_batch(rng):
    labels, logits = np.array([1, 0, 2, 1, 1]), rng.standard_normal((5, 3))
    one, mean = Node(logits), Node(logits)
    loss, expected = losses.softmax_cross_entropy(labels, one), ops.mean(ops.cross_entropy(mean, labels))
    np.testing.assert_array_equal(loss.value, expected.value)
    np.testing.assert_array_equal(gradient(loss, [one])[0].value, gradient(expected, [mean])[0].value)
    check_orders(lambda x: losses.softmax_cross_entropy(labels, x), [logits], rng)


def test_softmax_cross_entropy_of_one_class_is_zero():
    logits = Node(np.ones((3, 1)))
    loss = losses.softmax_cross_entropy(np.zeros(3, int), logits)
    assert float(loss) == 0
    assert not gradient(loss, [logits])[0].value.any()


def test_softmax_cross_entropy_far_out():
    """The label's probability is e**-2000: its logarithm is not."""
    loss = losses.softmax_cross_entropy(np.array([1]), Node(np.array([[2000.0, 0.0]])))
    assert float(loss) == 2000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_keep_the_type(dtype):
    logits = Node(np.ones((2, 3), dtype))
    assert losses.softmax_cross_entropy(np.array([0, 1]), logits).dtype == dtype
    assert losses.mean_squared_error(np.zeros((2, 3)), logits).dtype == dtype


@pytest.mark.parametrize("labels", [[0, 1], (0, 1), np.array([0, 1], np.uint8)])
def test_labels_are_integers_of_any_kind(labels):
    losses.softmax_cross_entropy(labels, Node(np.ones((2, 3))))


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ([0.0, 1.0], TypeError, "labels must be integers, one class for each example, got float64"),
        ([True, False], TypeError, "labels must be integers"),
        ([0, 3], ValueError, r"in \[0, 3\), got \[0, 3\]"),
        ([0, -1], ValueError, r"in \[0, 3\), got \[-1, 0\]"),
        ([0, 1, 2], ValueError, r"labels \(N,\) must go with logits \(N, classes\), got \(3,\) and \(2, 3\)"),
        ([[0], [1]], ValueError, r"got \(2, 1\) and \(2, 3\)"),
        (np.eye(2, dtype=int), ValueError, r"got \(2, 2\) and \(2, 3\)"),
    ],
)
def test_labels_that_are_refused(labels, error, text):
    with pytest.raises(error, match=text):
        losses.softmax_cross_entropy(labels, Node(np.ones((2, 3))))


def test_logits_that_are_refused():
    with pytest.raises(ValueError, match="must go with logits"):
        losses.softmax_cross_entropy([0, 1], Node(np.ones((2, 3, 4))))
    with pytest.raises(ValueError, match=r"labels must be one or more classes in \[0, 3\), got none"):
        losses.softmax_cross_entropy(np.zeros(0, int), Node(np.ones((0, 3))))


def test_mean_squared_error(rng):
    labels, predictions = rng.standard_normal((2, 3, 2))
    node = Node(predictions)
    loss = losses.mean_squared_error(labels, node)
    np.testing.assert_allclose(float(loss), np.mean((predictions - labels) ** 2), rtol=1e-15)
    np.testing.assert_allclose(gradient(loss, [node])[0].value, 2 * (predictions - labels) / 6, rtol=1e-15)
    check_orders(lambda x: losses.mean_squared_error(labels, x), [predictions], rng, orders=2)


def test_mean_squared_error_does_not_broadcast():
    """(N,) beside (N, 1) would be the mean over all pairs, in silence."""
    with pytest.raises(ValueError, match=r"labels must have the shape of the predictions \(4, 1\), got \(4,\)"):
        losses.mean_squared_error(np.zeros(4), Node(np.zeros((4, 1))))


def test_accuracy():
    logits = Node(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]))
    assert metrics.accuracy([1, 0, 0, 0], logits) == 0.75
    assert type(metrics.accuracy([1, 0, 0, 0], logits)) is float


@pytest.mark.parametrize("labels", [[1], [[1], [0]], [1, 0, 1]])
def test_accuracy_does_not_broadcast(labels):
    with pytest.raises(ValueError, match=r"labels must have one class for each example \(2,\), got"):
        metrics.accuracy(labels, Node(np.ones((2, 3))))


def test_weighted_mean():
    mean = WeightedMean()
    for values, weight in (({"a": 1.0, "b": 0.0}, 1), ({"a": 2.0, "b": 4.0}, 3)):
        mean.add(values, weight)
    assert mean.result() == {"a": 1.75, "b": 3.0}
    assert mean.result() == {"a": 1.75, "b": 3.0}


def test_weighted_mean_of_nothing():
    with pytest.raises(ValueError, match="there is no mean over no examples: the data set is empty"):
        WeightedMean().result()


def test_labels_and_predictions_in_the_wrong_order_are_named(rng):
    logits = Node(rng.normal(size=(3, 2)))
    for loss in (losses.softmax_cross_entropy, losses.mean_squared_error):
        with pytest.raises(TypeError, match=r"\(labels, predictions\) in this order"):
            loss(logits, np.zeros(3, int))


def test_a_node_tells_numpy_what_it_is(rng):
    with pytest.raises(TypeError, match=r"a Node is not an array: pass its \.value"):
        np.mean(Node(rng.normal(size=3)))


def test_nan_is_never_the_right_class():
    logits = np.array([[np.nan, 0.0], [0.0, np.nan], [np.nan, np.nan], [0.0, 1.0]])
    assert metrics.accuracy(np.array([0, 1, 0, 1]), Node(logits)) == 0.25


@pytest.mark.parametrize("labels", [np.ones(2) * 1j, np.array(["1", "2"]), np.array([None, None])], ids=str)
def test_labels_that_are_no_numbers(labels):
    with pytest.raises(TypeError, match="labels must be real numbers, got"):
        losses.mean_squared_error(labels, Node(np.ones(2)))
    with pytest.raises(TypeError, match="labels must be real numbers, got"):
        losses.binary_cross_entropy_with_logits(labels, Node(np.ones(2)))


def test_masked_labels_are_refused():
    """What the mask leaves out would be a label like another."""
    labels = np.ma.array([0, 1], mask=[False, True])
    for loss in (losses.mean_squared_error, losses.softmax_cross_entropy, metrics.accuracy):
        with pytest.raises(TypeError, match=r"labels must be a plain array, got a numpy\.ma\.MaskedArray; leave the"):
            loss(labels, Node(np.zeros((2, 2))))


# --- binary cross entropy ---------------------------------------------------------------------------------


def test_binary_cross_entropy_by_hand(rng):
    labels, logits = np.array([[0, 1], [1, 0], [0.25, 1]]), rng.standard_normal((3, 2))
    p = 1 / (1 + np.exp(-logits))
    node = Node(logits)
    loss = losses.binary_cross_entropy_with_logits(labels, node)
    np.testing.assert_allclose(loss.value, -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)), rtol=1e-14)
    np.testing.assert_allclose(gradient(loss, [node])[0].value, (p - labels) / 6, rtol=1e-13)
    check_orders(lambda x: losses.binary_cross_entropy_with_logits(labels, x), [logits], rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_far_out(dtype):
    """Small losses and small slopes keep their digits; large ones do not overflow."""
    logits = Node(np.array([40.0, -40.0, 1000.0, -1000.0], dtype))
    right = losses.binary_cross_entropy_with_logits(np.array([1, 0, 1, 0]), logits)
    wrong = losses.binary_cross_entropy_with_logits(np.array([0, 1, 0, 1]), logits)
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(right.value, 2 * np.exp(-40.0) / 4, rtol=rtol)
    np.testing.assert_allclose(wrong.value, 2080 / 4, rtol=rtol)
    (slope,) = gradient(right, [logits])
    np.testing.assert_allclose(slope.value, np.array([-1, 1, 0, 0]) * np.exp(-40.0) / 4, rtol=rtol)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 2], r"labels must lie in \[0, 1\], got \[0.0, 2.0\]"),
        ([-0.5, 1], r"labels must lie in \[0, 1\], got \[-0.5, 1.0\]"),
        ([np.nan, 1], r"labels must lie in \[0, 1\], got"),
        ([0], r"labels must have the shape of the logits \(2,\), one or more, got \(1,\)"),
        ([[0], [1]], "labels must have the shape of the logits"),
    ],
)
def test_binary_labels_that_are_refused(labels, text):
    with pytest.raises(ValueError, match=text):
        losses.binary_cross_entropy_with_logits(labels, Node(np.ones(2)))
