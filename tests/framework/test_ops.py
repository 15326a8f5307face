"""Each primitive: its value against NumPy, its derivatives to the third order, and against exact answers."""

from __future__ import annotations

import numpy as np
import pytest

from pybn.framework import ops
from pybn.framework.graph import Node, gradient
from tests.support.derivatives import check_gradient, check_orders


def away_from(kink, x):
    """No element within 0.1 of `kink`, where differences (which reach 0.04 far) would straddle it."""
    return np.where(np.abs(x - kink) < 0.1, x + np.sign(x - kink + 1e-9) * 0.2, x)


# name: (operation on nodes, the same on arrays, the shapes of its arguments, what the arguments are made of)
ANY, POSITIVE, NOT_ZERO = (lambda x: x), (lambda x: 1 + np.abs(x)), (lambda x: away_from(0, x))
FUNCTIONS = {
    "exp": (ops.exp, np.exp, ANY),
    "log": (ops.log, np.log, POSITIVE),
    "sqrt": (ops.sqrt, np.sqrt, POSITIVE),
    "tanh": (ops.tanh, np.tanh, ANY),
    "sigmoid": (ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), ANY),
    "softplus": (ops.softplus, lambda x: np.log(1 + np.exp(x)), ANY),
    "relu": (ops.relu, lambda x: x * (x.real > 0), NOT_ZERO),
    "negative": (ops.negative, np.negative, ANY),
    "square": (lambda x: x**2, lambda x: x**2, ANY),
    "cube": (lambda x: ops.power(x, 3), lambda x: x**3, NOT_ZERO),
    "to the 1.5": (lambda x: x**1.5, lambda x: x**1.5, POSITIVE),
    "inverse": (lambda x: x**-1, lambda x: x**-1.0, POSITIVE),
    "to the 0": (lambda x: x**0, np.ones_like, ANY),
    "to the 1": (lambda x: x**1, lambda x: x**1, ANY),
    "less than a number": (lambda x: 3.0 - x, lambda x: 3.0 - x, ANY),
    "number over": (lambda x: 2.0 / x, lambda x: 2.0 / x, POSITIVE),
    "array over": (lambda x: np.arange(1.0, 5.0) / x, lambda x: np.arange(1.0, 5.0) / x, POSITIVE),
    "array times": (lambda x: np.arange(4.0) * x, lambda x: np.arange(4.0) * x, ANY),
}
PAIRS = {
    "add": (ops.add, np.add, ANY),
    "subtract": (ops.subtract, np.subtract, ANY),
    "multiply": (ops.multiply, np.multiply, ANY),
    "divide": (ops.divide, np.divide, POSITIVE),
    "where": (
        lambda a, b: ops.where(np.arange(4) % 2 == 0, a, b),
        lambda a, b: np.where(np.arange(4) % 2 == 0, a, b),
        ANY,
    ),
}
BROADCASTS = (((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((2, 1, 4), (3, 1)), ((), (3, 4)))
# (operation on one node, the same on an array, shape)
MOVES = {
    "reshape": (lambda x: ops.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), (2, 3, 4)),
    "reshape to an int": (lambda x: ops.reshape(x, -1), lambda x: x.reshape(-1), (2, 3)),
    "flatten": (ops.flatten, lambda x: x.reshape(2, 12), (2, 3, 4)),
    "transpose": (ops.transpose, np.transpose, (2, 3, 4)),
    "transpose in an order": (
        lambda x: ops.transpose(x, (2, 0, -2)),
        lambda x: x.transpose(2, 0, 1),
        (2, 3, 4),
    ),
    "broadcast": (lambda x: ops.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
    "broadcast to itself": (lambda x: ops.broadcast_to(x, (3, 2)), lambda x: x, (3, 2)),
    "sum to": (lambda x: ops.sum_to(x, Node(np.zeros((3, 1)))), lambda x: x.sum((0, 2))[:, None], (2, 3, 4)),
    "sum to a scalar": (lambda x: ops.sum_to(x, Node(np.zeros(()))), np.sum, (2, 3)),
    "sum": (ops.sum, np.sum, (2, 3, 4)),
    "sum over an axis": (lambda x: ops.sum(x, 1), lambda x: x.sum(1), (2, 3, 4)),
    "sum over axes": (lambda x: ops.sum(x, (0, -1), keepdims=True), lambda x: x.sum((0, 2))[None, :, None], (2, 3, 4)),
    "sum over none": (lambda x: ops.sum(x, ()), lambda x: x, (2, 3)),
    "mean": (ops.mean, np.mean, (2, 4)),
    "mean over an axis": (lambda x: ops.mean(x, -1, keepdims=True), lambda x: x.mean(-1)[..., None], (2, 3, 4)),
    "take a slice": (lambda x: x[1:, ::2], lambda x: x[1:, ::2], (3, 5)),
    "take backwards": (lambda x: x[::-1, -2:], lambda x: x[::-1, -2:], (3, 5)),
    "take one": (lambda x: x[1, 2], lambda x: x[1, 2], (3, 5)),
    "take repeated rows": (lambda x: x[np.array([2, 0, 2])], lambda x: x[[2, 0, 2]], (3, 5)),
    "take by mask": (lambda x: x[np.eye(3) > 0], lambda x: x[np.eye(3) > 0], (3, 3)),
    "take a new axis": (lambda x: x[:, None, ..., 0], lambda x: x[:, None, ..., 0], (3, 2, 4)),
    "put": (
        lambda x: ops.put(x, np.array([2, 0, 2]), (4, 2)),
        lambda x: np.stack([x[1], 0 * x[0], x[0] + x[2], 0 * x[0]]),
        (3, 2),
    ),
    "pad": (lambda x: ops.pad(x, [(1, 0), (0, 2)]), lambda x: np.pad(x, [(1, 0), (0, 2)]), (2, 3)),
    "windows": (
        lambda x: ops.windows(x, (2, 3), (1, 2)),
        lambda x: np.stack(
            [[[[x[n, i : i + 2, 2 * j : 2 * j + 3] for j in range(2)] for i in range(3)]] for n in range(2)]
        )[:, 0],
        (2, 4, 5, 3),
    ),
    "windows that leave a rest": (
        lambda x: ops.windows(x, (1, 2), (3, 3)),
        lambda x: x[:, ::3, :][:, :, [0, 1, 3, 4]].reshape(1, 2, 2, 2, 2)[:, :, :, None],
        (1, 5, 6, 2),
    ),
    "add windows": (
        lambda x: ops.add_windows(x, (1, 3, 4, 2), (1, 2)),
        lambda x: np.stack([x[:, 0, :, 0], x[:, 0, :, 1] + x[:, 1, :, 0], x[:, 1, :, 1]], axis=1).reshape(1, 3, 4, 2),
        (1, 2, 2, 2, 2, 2),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(rng, name):
    operation, reference, made = FUNCTIONS[name]
    x = made(rng.standard_normal((3, 4)))
    np.testing.assert_allclose(operation(Node(x)).value, reference(x), rtol=1e-15, atol=1e-15)
    check_orders(operation, [x], rng)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slope_of_a_function_by_complex_step(rng, name):
    """f(x + ih) = f(x) + ih f'(x) + O(h**2): with h = 1e-200 nothing cancels and nothing is left out."""
    operation, reference, made = FUNCTIONS[name]
    x, dy = made(rng.standard_normal((3, 4))), rng.standard_normal((3, 4))
    expected = dy * reference(x + 1e-200j).imag / 1e-200
    node = Node(x)
    (found,) = gradient(operation(node), [node], dy)
    # At most five roundings on either side, of numbers no larger than a few times the answer.
    np.testing.assert_allclose(found.value, expected, rtol=20 * np.finfo(float).eps, atol=1e-15)


@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_pair(rng, name, shapes):
    operation, reference, made = PAIRS[name]
    a, b = (made(rng.standard_normal(shape)) for shape in shapes)
    np.testing.assert_array_equal(operation(Node(a), Node(b)).value, reference(a, b))
    check_orders(operation, [a, b], rng)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_with_itself(rng, name):
    operation, _, made = PAIRS[name]
    check_orders(lambda x: operation(x, x), [made(rng.standard_normal((2, 4)))], rng)


@pytest.mark.parametrize("name", MOVES)
def test_move(rng, name):
    """Linear operations: in small integers nothing rounds, so <dy, A v> is <A' dy, v> exactly."""
    operation, reference, shape = MOVES[name]
    x, v = rng.integers(-9, 9, (2, *shape)).astype(float)
    node = Node(x)
    y = operation(node)
    np.testing.assert_allclose(y.value, reference(x), rtol=1e-15)
    dy = rng.integers(-9, 9, y.shape).astype(float)
    (back,) = gradient(y, [node], dy)
    np.testing.assert_allclose(np.sum(back.value * v), np.sum(dy * operation(Node(v)).value), rtol=1e-14, atol=1e-13)
    check_orders(lambda x: operation(ops.tanh(x)), [rng.standard_normal(shape)], rng)


def test_max_shares_ties_evenly():
    x = Node(np.array([[3.0, 1.0, 3.0], [2.0, 5.0, 4.0]]))
    (found,) = gradient(ops.max(x, axis=1), [x], np.array([6.0, 10.0]))
    np.testing.assert_array_equal(found.value, [[3, 0, 3], [0, 10, 0]])


@pytest.mark.parametrize(("axis", "keepdims"), [(None, False), (0, False), (-1, True), ((0, 2), False)])
def test_max(rng, axis, keepdims):
    x = rng.permutation(24).reshape(2, 3, 4) / 4  # no two within 0.25
    np.testing.assert_array_equal(ops.max(Node(x), axis, keepdims).value, x.max(axis=axis, keepdims=keepdims))
    check_orders(lambda x: ops.max(x, axis, keepdims) ** 3, [x], rng)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate(rng, axis):
    shapes = {0: ((2, 3), (1, 3), (4, 3)), 1: ((2, 3), (2, 1), (2, 2)), -1: ((2, 3), (2, 1), (2, 2))}[axis]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    joined = ops.concatenate([Node(array) for array in arrays], axis)
    np.testing.assert_array_equal(joined.value, np.concatenate(arrays, axis))
    check_orders(lambda *parts: ops.tanh(ops.concatenate(parts, axis)), arrays, rng)


def test_concatenate_nothing():
    with pytest.raises(ValueError, match="concatenate needs at least one part, got none"):
        ops.concatenate([])


def test_concatenate_a_node_with_itself(rng):
    check_orders(lambda x: ops.concatenate([x, x * x, x]), [rng.standard_normal(3)], rng)


@pytest.mark.parametrize(("n", "k", "m"), [(2, 3, 4), (1, 5, 1), (3, 1, 2)])
def test_matmul(rng, n, k, m):
    a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
    np.testing.assert_array_equal((Node(a) @ Node(b)).value, a @ b)
    check_orders(ops.matmul, [a, b], rng)


def test_matmul_with_arrays(rng):
    a, b = rng.standard_normal((2, 2, 2))
    np.testing.assert_array_equal((a @ Node(b)).value, a @ b)
    np.testing.assert_array_equal((Node(a) @ b).value, a @ b)
    with pytest.raises(ValueError, match=r"matmul takes two matrices, got shapes \(2, 2, 2\) and \(2, 2\)"):
        ops.matmul(np.zeros((2, 2, 2)), b)


@pytest.mark.parametrize("operation", [ops.softmax, ops.log_softmax], ids=lambda f: f.__name__)
def test_softmax(rng, operation):
    x = 3 * rng.standard_normal((3, 5))
    exponentials = np.exp(x.astype(np.longdouble))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    expected = np.log(expected) if operation is ops.log_softmax else expected
    np.testing.assert_allclose(operation(Node(x)).value, expected.astype(float), rtol=1e-14)
    check_orders(operation, [x], rng)


def test_softmax_does_not_overflow():
    x = Node(np.array([[1000.0, 0.0, -1000.0], [-2000.0, -2000.0, -2000.0]]))
    np.testing.assert_array_equal(ops.softmax(x).value, [[1, 0, 0], [1 / 3] * 3])
    np.testing.assert_allclose(ops.log_softmax(x).value, [[0, -1000, -2000], [-np.log(3)] * 3], rtol=1e-15)


def test_cross_entropy(rng):
    logits, labels = 2 * rng.standard_normal((4, 3)), np.array([2, 0, 1, 2])
    direct = [np.log(sum(np.exp(row - row[label]))) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(ops.cross_entropy(Node(logits), labels).value, direct, rtol=1e-14)
    check_orders(lambda x: ops.cross_entropy(x, labels), [logits], rng)


def test_cross_entropy_is_what_it_is_composed_of(rng):
    logits, labels, dy = Node(rng.standard_normal((5, 4))), np.array([3, 1, 1, 0, 2]), rng.standard_normal(5)
    picked = -ops.log_softmax(logits)[np.arange(5), labels]
    (composed,), (fused,) = (gradient(loss, [logits], dy) for loss in (picked, ops.cross_entropy(logits, labels)))
    np.testing.assert_allclose(fused.value, composed.value, atol=1e-15)


def test_sigmoid_and_tanh_far_out():
    x = np.array([-1e4, -40.0, 0.0, 40.0, 1e4])
    with np.errstate(all="raise"):
        np.testing.assert_allclose(ops.sigmoid(Node(x)).value, [0, 0, 0.5, 1, 1], atol=1e-15)


def test_relu_at_zero_has_slope_zero():
    x = Node(np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(gradient(ops.relu(x), [x], np.ones(3))[0].value, [0, 0, 1])


def test_cast_keeps_the_gradient_in_the_type_of_its_node(rng):
    x = Node(rng.standard_normal(4).astype(np.float32))
    wide = ops.cast(x, np.float64)
    assert wide.dtype == np.float64
    (found,) = gradient(ops.sum(wide**3), [x])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.value, (3 * x.value.astype(float) ** 2).astype(np.float32))
    assert ops.cast(x, np.float32) is x
    check_orders(lambda x: ops.cast(x, np.float64) ** 3, [rng.standard_normal(4)], rng)


def test_stop_gradient(rng):
    x = Node(rng.standard_normal(3))
    (found,) = gradient(ops.sum(x * ops.stop_gradient(x)), [x])
    np.testing.assert_array_equal(found.value, x.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_python_numbers_take_the_type_of_the_node(dtype):
    x = Node(np.array([1.0, 2.0], dtype))
    for y in (
        x + 1,
        2 * x,
        1.5 - x,
        x / 3,
        1 / x,
        x**2,
        x**0.5,
        ops.mean(x),
        ops.sigmoid(x),
        ops.where([True, False], x, 0.0),
    ):
        assert y.dtype == dtype
        assert gradient(ops.sum(y), [x])[0].dtype == dtype


def test_a_number_beside_integers_is_not_rounded():
    np.testing.assert_array_equal((Node(np.array([1, 2])) * 0.5).value, [0.5, 1.0])
    np.testing.assert_array_equal((1.5 + Node(np.array([1, 2]))).value, [2.5, 3.5])


@pytest.mark.parametrize("name", [*PAIRS, "matmul", "concatenate"])
def test_a_gradient_has_the_type_of_its_node(rng, name):
    """float32 beside float64 gives float64; what goes back to the float32 side is float32 again."""
    operation = {
        **{key: value[0] for key, value in PAIRS.items()},
        "matmul": ops.matmul,
        "concatenate": lambda a, b: ops.concatenate([a, b]),
    }[name]
    narrow, wide = Node(POSITIVE(rng.standard_normal((4, 4))).astype(np.float32)), Node(rng.standard_normal((4, 4)))
    y = operation(narrow, wide)
    assert y.dtype == np.float64
    assert [each.dtype for each in gradient(ops.sum(y * y), [narrow, wide])] == [np.float32, np.float64]


def test_power_needs_a_constant():
    with pytest.raises(TypeError, match="power takes a constant exponent"):
        Node(np.ones(2)) ** Node(np.ones(2))


def test_mean_of_nothing():
    with pytest.raises(ValueError, match=r"mean needs at least one element, got shape \(0, 3\) over axis 0"):
        ops.mean(Node(np.zeros((0, 3))), 0)


@pytest.mark.parametrize("factor", [1.0005, 0.9995])
def test_the_check_refuses_a_derivative_that_is_a_little_wrong(rng, factor):
    def wrong(x):
        return Node(np.exp(x.value), (x, lambda dy: dy * ops.exp(x) * factor))

    with pytest.raises(AssertionError, match="order 1"):
        check_orders(wrong, [rng.standard_normal((2, 3))], rng)


def test_the_check_refuses_a_gradient_that_is_right_but_not_differentiable(rng):
    """A derivative that uses the value of x where it should use the node is right in the first order alone."""

    def frozen(x):
        return Node(x.value**3, (x, lambda dy: dy * (3 * x.value**2)))

    with pytest.raises(AssertionError, match="order 2"):
        check_orders(frozen, [rng.standard_normal((2, 3))], rng)


def test_the_check_refuses_a_forgotten_broadcast(rng):
    def wrong(a, b):
        return Node(a.value + b.value, (a, lambda dy: dy), (b, lambda dy: dy[0]))

    with pytest.raises(AssertionError):
        check_orders(wrong, [rng.standard_normal((3, 2)), rng.standard_normal(2)], rng)


def test_expressions(rng):
    """A network's worth of primitives at once, to the third order."""

    def network(x, w, b):
        hidden = ops.sigmoid(x @ w + b)
        return ops.log_softmax(ops.concatenate([hidden, ops.tanh(hidden[:, ::-1])], 1) / (1 + ops.sqrt(ops.exp(b[0]))))

    check_orders(network, [rng.standard_normal(shape) for shape in ((3, 2), (2, 3), (3,))], rng)
    check_gradient(lambda x: ops.sum(x**3), [rng.standard_normal(3)], rng)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("exponent", [np.float64(2), np.int64(2), np.float32(2), np.float64(1.5)], ids=repr)
def test_a_scalar_of_numpys_as_the_exponent_brings_no_type_of_its_own(dtype, exponent):
    x = Node(np.array([1.0, 4.0], dtype))
    y = x**exponent
    assert y.dtype == dtype
    np.testing.assert_allclose(y.value, [1, 4.0 ** float(exponent)])
    (slope,) = gradient(ops.sum(y), [x])
    np.testing.assert_allclose(slope.value, float(exponent) * np.array([1, 4.0 ** (float(exponent) - 1)]))


@pytest.mark.parametrize("reduce", [ops.sum, ops.mean, ops.max], ids=lambda f: f.__name__)
def test_an_axis_may_be_an_integer_of_numpys(rng, reduce):
    x = Node(rng.normal(size=(3, 4)))
    mine, plain = (reduce(x, axis=axis) for axis in (np.int64(1), 1))
    np.testing.assert_array_equal(mine.value, plain.value)
    np.testing.assert_array_equal(*(gradient(ops.sum(y), [x])[0].value for y in (mine, plain)))


def test_the_gradient_of_a_largest_nan_goes_to_it():
    x = Node(np.array([[1.0, np.nan, 3.0], [2.0, 1.0, 0.0]]))
    (slope,) = gradient(ops.max(x, axis=1), [x], np.array([5.0, 7.0]))
    np.testing.assert_array_equal(slope.value, [[0, 5, 0], [7, 0, 0]])
