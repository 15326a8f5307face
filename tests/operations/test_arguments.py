"""Bad input: each rule has its error, which names the argument, the rule and the value, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import arguments
from tests.support import bad_arguments, checks
from tests.support.bad_arguments import MERGE_ROWS, MOMENTS, ROWS


@pytest.mark.parametrize("row", list(ROWS))
def test_bad_argument(kernels, row):
    operation, bad = ROWS[row]
    everything, attempt = bad_arguments.call(kernels, operation, bad.changes)
    with checks.untouched(*everything), pytest.raises(bad.error) as raised:
        attempt()
    assert type(raised.value) is bad.error
    for word in bad.words:
        assert word in str(raised.value), str(raised.value)


@pytest.mark.parametrize("operation", list(bad_arguments.POSITIONAL))
def test_the_right_call_is_right(kernels, operation):
    """Otherwise the rows above could raise for another reason than theirs."""
    _, attempt = bad_arguments.call(kernels, operation, {})
    attempt()


@pytest.mark.parametrize("row", list(MERGE_ROWS))
@pytest.mark.parametrize("place", ["a", "b"])
def test_bad_moments(kernels, row, place):
    value, error, words = MERGE_ROWS[row]
    pair = (value, MOMENTS) if place == "a" else (MOMENTS, value)
    with pytest.raises(error) as raised:
        kernels.merge_moments(*pair)
    for word in words:
        assert word in str(raised.value), str(raised.value)
    if row != "other features":
        assert str(raised.value).startswith(place)


@pytest.mark.parametrize("operation", list(bad_arguments.POSITIONAL))
def test_options_are_by_name(kernels, operation):
    positional, _ = bad_arguments.right_call(operation)
    with pytest.raises(TypeError):
        getattr(kernels, operation)(*positional.values(), 1)
    with pytest.raises(TypeError):
        getattr(kernels, operation)(*positional.values(), axis=1)
    with pytest.raises(TypeError):
        getattr(kernels, operation)(*list(positional.values())[:-1])


@pytest.mark.parametrize("feature_axis", [1, -2, (1,), [1], np.int64(1), (np.int32(-2),)], ids=repr)
def test_ways_to_name_an_axis(kernels, feature_axis):
    _, attempt = bad_arguments.call(kernels, "batch_norm_inference", {"feature_axis": feature_axis})
    _, expected = bad_arguments.call(kernels, "batch_norm_inference", {"feature_axis": 1})
    checks.assert_same(attempt(), expected(), "y")


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (-1, 1), [2, -2]], ids=str)
def test_parameters_are_in_ascending_axis_order(kernels, rng, order):
    x = rng.standard_normal((4, 3, 2))
    mean = rng.standard_normal((3, 2))
    y = kernels.batch_norm_inference(x, None, None, mean, np.ones((3, 2)), feature_axis=order, epsilon=0)
    checks.assert_same(y, x - mean, "y")


@pytest.mark.parametrize("epsilon", [0, 1, 1e-3, np.float32(0.5), np.float64(0.5), np.int64(2)])
def test_epsilon_may_be_any_real_number(kernels, epsilon):
    _, attempt = bad_arguments.call(kernels, "batch_norm_training", {"epsilon": epsilon})
    _, expected = bad_arguments.call(kernels, "batch_norm_training", {"epsilon": float(epsilon)})
    checks.assert_same(attempt()[0], expected()[0], "y")


def test_mask_may_be_a_list(kernels):
    mask = [[True, False], [True, True], [False, True], [True, True]]
    _, attempt = bad_arguments.call(kernels, "moments", {"mask": mask})
    _, expected = bad_arguments.call(kernels, "moments", {"mask": np.array(mask)})
    assert attempt().count == expected().count == 6


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.float64])
def test_mask_may_be_of_zeros_and_ones(kernels, dtype):
    mask = np.array([[1, 0], [1, 1], [0, 1], [1, 1]])
    for operation in bad_arguments.POSITIONAL:
        _, attempt = bad_arguments.call(kernels, operation, {"mask": mask.astype(dtype)})
        _, expected = bad_arguments.call(kernels, operation, {"mask": mask.astype(bool)})
        for got, wanted in zip(attempt(), expected(), strict=True):
            checks.assert_same(got, wanted, operation)


@pytest.mark.parametrize("strides", [(4, 4), (8, 4), (4, 8), (-4, 4), (12, 6), (20, 12)], ids=str)
def test_out_that_overlaps_itself(kernels, strides):
    """A sliding window, rows that run into each other, half an element apart."""
    room = np.zeros(64, np.float32)[32:]
    out = np.lib.stride_tricks.as_strided(room, (4, 3), strides, writeable=True)
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    starts = np.add.outer(strides[0] * np.arange(4), strides[1] * np.arange(3))
    if np.diff(np.sort(starts.ravel())).min() >= 4:  # in no order that nests, and yet apart
        checks.assert_same(
            kernels.batch_norm_inference(x, None, None, np.zeros(3), np.ones(3), epsilon=0, out=out), x, "y"
        )
        return
    with pytest.raises(ValueError, match="an element of its own"):
        kernels.batch_norm_inference(x, None, None, np.zeros(3), np.ones(3), out=out)


@pytest.mark.parametrize("value", [0, 0.0, 0.99, 1, 1.0, np.float32(0.5), np.int64(1)])
def test_momentum(value):
    assert arguments.momentum(value) == float(value)


@pytest.mark.parametrize(
    ("value", "error", "word"),
    [
        (-0.1, ValueError, "-0.1"),
        (1.01, ValueError, "1.01"),
        (float("nan"), ValueError, "nan"),
        (float("inf"), ValueError, "inf"),
        (True, TypeError, "True"),
        (None, TypeError, "None"),
        ("high", TypeError, "'high'"),
        (1j, TypeError, "1j"),
    ],
)
def test_bad_momentum(value, error, word):
    with pytest.raises(error, match="momentum must") as raised:
        arguments.momentum(value)
    assert word in str(raised.value)


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_epsilon_beyond_float64_is_refused_as_infinity_is(kernels, value):
    with pytest.raises(ValueError, match="epsilon must be finite, got an int beyond float64"):
        kernels.batch_norm_training(np.ones((2, 3)), None, None, epsilon=value)


def test_a_mask_has_no_size_along_the_features(kernels):
    """Not even the features' own, be it two; and the shape that is wanted is told."""
    with pytest.raises(ValueError, match=r"shape \(3,\), or \(3, 1\), .* got \(3, 2\)"):
        kernels.moments(np.ones((3, 2)), mask=np.ones((3, 2), bool))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (64, 65), (200, 50)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_finite(shape, dtype):
    """Also of numbers whose squares are none, of those that cancel, and in any order in memory; without a warning."""
    largest = np.full(shape, np.finfo(dtype).max)
    largest.reshape(-1)[::2] *= -1
    with np.errstate(all="raise"):
        for array in (np.zeros(shape, dtype), np.ones(shape, dtype), largest, largest.T):
            assert arguments.all_finite(array) is True
    for wrong in (np.nan, np.inf, -np.inf) if largest.size else ():
        for at in {0, largest.size // 2, largest.size - 1}:
            for rest in (0.0, 1.0, np.finfo(dtype).max):
                array = np.full(shape, rest, dtype)
                array.reshape(-1)[at] = wrong
                assert not arguments.all_finite(array)
                assert not arguments.all_finite(array.T)
