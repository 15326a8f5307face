"""No value of a wider parameter passes through a narrower type: over every operation, layer and loss.

Each takes arguments of mixed types here, and gradients of 1e5 and more, beyond float16.  What comes back for an
argument must be what float64 throughout gives, to a few units of the argument's own type (or of float32, in
which float16 travels).  An operation that is not in the table fails the test of the tables.
"""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

import pybn
from pybn import Context, Node, gradient, layers, losses, ops, optimizers
from tests.support import arrays as support

HALF, SINGLE, DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)

# Values of order 1 are exact in eight bits, so that all types begin with the same numbers.
EXACT = np.arange(32, 128, 4) / 64


def matrix(rng, rows=6, columns=4):
    return rng.choice(EXACT, (rows, columns))


def image(rng):
    return rng.choice(EXACT, (2, 5, 5, 2))


def row(rng):
    return rng.choice(EXACT, 4)


def statistics(x):
    return x.value.mean(0, dtype=np.float64), x.value.var(0, dtype=np.float64)


def pick(x):
    return np.array([0, 1, 3, 3, 2, 0])


# name: (function of nodes, the arrays that it takes)
OPERATIONS = {
    "add": (lambda x, b: x + b, (matrix, row)),
    "subtract": (lambda x, b: x - b, (matrix, row)),
    "multiply": (lambda x, b: x * b, (matrix, row)),
    "divide": (lambda x, b: x / b, (matrix, row)),
    "negative": (ops.negative, (matrix,)),
    "power": (lambda x: x**3, (matrix,)),
    "exp": (ops.exp, (matrix,)),
    "log": (ops.log, (matrix,)),
    "sqrt": (ops.sqrt, (matrix,)),
    "tanh": (ops.tanh, (matrix,)),
    "sigmoid": (ops.sigmoid, (matrix,)),
    "softplus": (ops.softplus, (matrix,)),
    "relu": (lambda x: ops.relu(x - 1.0), (matrix,)),
    "where": (lambda x, b: ops.where(np.arange(24).reshape(6, 4) % 3 == 0, x, b), (matrix, row)),
    "cast": (lambda x: ops.cast(x, np.float64), (matrix,)),
    "as_node": (ops.as_node, (matrix,)),
    "stop_gradient": (lambda x: x * ops.stop_gradient(x), (matrix,)),
    "matmul": (ops.matmul, (matrix, lambda rng: matrix(rng, 4, 3))),
    "windows": (lambda x: ops.windows(x, (3, 3), (1, 1)), (image,)),
    "add_windows": (lambda x: ops.add_windows(ops.windows(x, (3, 3), (1, 1)), (2, 5, 5, 2), (1, 1)), (image,)),
    "reshape": (lambda x: ops.reshape(x, (4, 6)), (matrix,)),
    "flatten": (ops.flatten, (image,)),
    "transpose": (ops.transpose, (matrix,)),
    "broadcast_to": (lambda b: ops.broadcast_to(b, (6, 4)), (row,)),
    "sum_to": (lambda x: ops.sum_to(x, Node(np.ones(4))), (matrix,)),
    "sum": (lambda x: ops.sum(x, 0), (matrix,)),
    "mean": (lambda x: ops.mean(x, 0), (matrix,)),
    "max": (lambda x: ops.max(x, 0), (matrix,)),
    "concatenate": (lambda a, b: ops.concatenate([a, b]), (matrix, matrix)),
    "take": (lambda x: ops.take(x, (pick(x), slice(None))), (matrix,)),
    "put": (lambda x: ops.put(x, (pick(x), slice(None)), (5, 4)), (matrix,)),
    "pad": (lambda x: ops.pad(x, [(1, 0), (0, 2)]), (matrix,)),
    "softmax": (ops.softmax, (matrix,)),
    "log_softmax": (ops.log_softmax, (matrix,)),
    "cross_entropy": (lambda x: ops.cross_entropy(x, pick(x)), (matrix,)),
    "batch_norm_training": (lambda x, s, b: ops.batch_norm_training(x, s, b)[0], (matrix, row, row)),
    "batch_norm_inference": (lambda x, s, b: ops.batch_norm_inference(x, s, b, *statistics(x)), (matrix, row, row)),
    "composed_inference": (lambda x, s, b: ops.composed_inference(x, s, b, *statistics(x)), (matrix, row, row)),
}


def test_every_operation_is_in_the_table():
    assert set(OPERATIONS) == set(ops.__all__)


TYPES = (HALF, SINGLE, DOUBLE)
CASES = [
    pytest.param(name, types, id=f"{name}-{'-'.join(map(str, types))}")
    for name, (_, arguments) in OPERATIONS.items()
    for types in itertools.product(TYPES, repeat=len(arguments))
]
# bfloat16 alone and beside float32; NumPy knows no type in which to add it to float16.
CASES += [
    pytest.param(name, types, id=f"{name}-{'-'.join(types)}", marks=support.WITHOUT)
    for name, (_, arguments) in OPERATIONS.items()
    for types in sorted(set(itertools.product(("bfloat16", "float32"), repeat=len(arguments))))
    if "bfloat16" in types
]


def truth(function, arrays, dy):
    """The gradients with float64 throughout, and for each the size of its terms."""
    nodes = [Node(array) for array in arrays]
    found = [each.value for each in gradient(function(*nodes), nodes, dy)]
    terms = [each.value for each in gradient(function(*nodes), nodes, np.abs(dy))]
    return [(each, max(np.abs(each).max(), np.abs(size).max())) for each, size in zip(found, terms, strict=True)]


def assert_as_precise(found, right, size):
    """To 32 units of the largest term in its own type (sums of 50 terms); infinite where that is right."""
    dtype = found.dtype
    with np.errstate(over="ignore"):
        fits = np.isfinite(right.astype(dtype))
    assert fits.all() or dtype == HALF
    # Just below the end of float16 either is right.
    sure = np.abs(np.abs(right) - 65504) > 100 if dtype == HALF else np.ones(right.shape, bool)
    np.testing.assert_array_equal(np.isfinite(found)[sure], fits[sure])
    error = np.abs(found.astype(np.float64) - right)[fits & np.isfinite(found)]
    eps = float(support.limits(dtype).eps)
    assert (error <= 32 * eps * size).all(), error.max() / (eps * size)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of a float16 argument's own gradient
@pytest.mark.parametrize(("name", "types"), CASES)
def test_a_gradient_comes_back_as_precise_as_its_argument(rng, backend, name, types):
    function, makers = OPERATIONS[name]
    arrays = [make(rng) for make in makers]
    nodes = [Node(array.astype(dtype)) for array, dtype in zip(arrays, types, strict=True)]
    y = function(*nodes)
    # Beyond float16, exact in float32; their sums are not.
    dy = (rng.uniform(1e5, 1e6, y.shape) * rng.choice([-1.0, 1.0], y.shape)).astype(SINGLE).astype(DOUBLE)
    for found, (right, size), dtype in zip(gradient(y, nodes, dy), truth(function, arrays, dy), types, strict=True):
        assert found.dtype == dtype
        assert_as_precise(found.value, right, size)


# --- derivatives of derivatives, accumulation, sums ---------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    "name", ["batch_norm_training", "batch_norm_inference", "composed_inference", "multiply", "max"]
)
def test_so_does_a_gradient_of_a_gradient(rng, backend, name):
    function, makers = OPERATIONS[name]
    arrays = [make(rng) for make in makers]

    def slope(*nodes):
        """<random, gradient by x>, as a function of all arguments."""
        (found,) = gradient(function(*nodes), nodes[:1], dy)
        return ops.sum(ops.cast(found, np.float64) * weights)

    dy = rng.integers(1, 9, function(*map(Node, arrays)).shape).astype(np.float64)
    weights = rng.integers(1, 9, arrays[0].shape) * 1e5
    leaves = [Node(array.astype(SINGLE)) for array in arrays]
    narrow = leaves[0].astype(HALF)
    found = gradient(slope(narrow, *leaves[1:]), leaves)
    for each, (right, size) in zip(found, truth(slope, arrays, np.ones(())), strict=True):
        assert each.dtype == SINGLE
        assert_as_precise(each.value, right, size)


def test_gradients_that_meet_are_added_in_a_wide_type():
    """Two of 40 000 meet at a float16 node on the way to a float32 weight: 80 000."""
    weight = Node(np.ones(1, SINGLE))
    narrow = (weight * 1.0).astype(HALF)
    y = ops.sum(narrow.astype(SINGLE) * 40000.0) + ops.sum(narrow.astype(SINGLE) * 40000.0)
    assert gradient(y, [weight])[0].value == 80000


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_the_two_types_of_16_bits_in_one_layer(rng, mode):
    """NumPy has no type for both: the gradient's is float32, and the 70 000 rows are counted."""
    bfloat16 = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    x = Node(rng.standard_normal((70_000, 1)).astype(HALF))
    scale, offset = Node(np.ones(1, bfloat16)), Node(np.zeros(1, SINGLE))
    if mode == "training":
        y = ops.batch_norm_training(x, scale, offset)[0]
    else:
        y = ops.batch_norm_inference(x, scale, offset, np.zeros(1), np.ones(1))
    dx, dscale, doffset = gradient(y, [x, scale, offset], np.ones(y.shape, y.dtype))
    assert doffset.value == 70_000
    assert (dx.dtype, dscale.dtype) == (HALF, bfloat16)


def test_a_cotangent_need_not_fit_into_y(rng):
    x, scale = Node(rng.standard_normal((4, 2)).astype(HALF)), Node(np.ones(2, SINGLE))
    y, _, _ = ops.batch_norm_training(x, scale, Node(np.zeros(2, SINGLE)))
    found = gradient(y, [scale], np.full((4, 2), 1e6) * [[1], [2], [3], [4]])[0]
    assert np.isfinite(found.value).all()


@pytest.mark.parametrize("operation", [ops.sum, ops.mean])
def test_sums_of_half_precision_are_taken_in_single(operation):
    x = Node(np.ones(70000, HALF))
    assert ops.mean(x).value == 1
    assert ops.sum(x.astype(SINGLE)).value == 70000
    many = Node(np.full(40000, 1.0, HALF))  # one after the other in float16 they would stop at 2048
    assert operation(many).value == {ops.sum: 40000, ops.mean: 1}[operation]
    assert operation(many).dtype == HALF


def test_elements_that_meet_are_added_in_single():
    """In float16 2048 + 1 is 2048."""
    ones = Node(np.ones(4096, HALF))
    assert ops.put(ones, np.zeros(4096, int), (1,)).value == 4096
    # 2100 windows of height 2100 over 4199 rows: the one in the middle is in all of them.
    patches = Node(np.broadcast_to(np.ones((), HALF), (1, 2100, 1, 2100, 1, 1)))
    assert ops.add_windows(patches, (1, 4199, 1, 1), (1, 1)).value[0, 2099] == 2100


def test_the_softmax_of_many_classes_in_half_precision():
    x = Node(np.zeros((1, 70000), HALF))
    np.testing.assert_allclose(ops.log_softmax(x).value, -np.log(70000), rtol=1e-3)


# --- layers and losses --------------------------------------------------------------------------------

ROWS = 70000


def of_ones(rng, shape):
    return np.ones(shape, HALF)


# name: (function (ctx, x) -> y, shape of x, the variable whose gradient is the number of rows)
LAYERS = {
    "dense": (lambda ctx, x: layers.dense(ctx, x, 2), (ROWS, 2), "/dense/bias"),
    "conv2d": (lambda ctx, x: layers.conv2d(ctx, x, 2, 1), (ROWS // 4, 2, 2, 1), "/conv2d/bias"),
    "layer_norm": (layers.layer_norm, (ROWS, 2), "/layer_norm/offset"),
    "batch_norm": (pybn.batch_norm, (ROWS, 2), "/batch_normalization/offset"),
    "batch_norm composed": (
        lambda ctx, x: pybn.batch_norm(ctx, x, use_backend_inference=False),
        (ROWS, 2),
        "/batch_normalization/offset",
    ),
    "max_pool": (lambda ctx, x: layers.max_pool(shifted(ctx, x)), (ROWS, 2, 2, 1), "/shift"),
    "average_pool": (lambda ctx, x: layers.average_pool(shifted(ctx, x)), (ROWS, 2, 2, 1), "/shift"),
    "dropout": (lambda ctx, x: layers.dropout(ctx, shifted(ctx, x), 0.0), (ROWS, 1), "/shift"),
    "flatten": (lambda ctx, x: layers.flatten(shifted(ctx, x)), (ROWS, 1, 1), "/shift"),
    "normalize": (layers.normalize, (ROWS, 2), "/layer_norm/offset"),
    "activation": (lambda ctx, x: layers.activation(ctx, shifted(ctx, x)), (ROWS, 1), "/shift"),
    "relu": (lambda ctx, x: layers.relu(shifted(ctx, x)), (ROWS, 1), "/shift"),
}


def shifted(ctx, x):
    """x plus a float32 variable, back in float16: what comes next must let the whole gradient through."""
    return (x + ctx.variable("shift", (x.shape[-1],)).node).astype(HALF)


def test_every_layer_is_in_the_table():
    public = {name for name in layers.__all__ if inspect.isfunction(getattr(layers, name))}
    assert public | {"batch_norm", "batch_norm composed"} == set(LAYERS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", support.HALVES)
def test_rows_of_ones_are_counted_by_every_layer(rng, backend, name, training, dtype):
    """70 000 rows of dy = 1 behind a layer on 16 bits are 70 000 for its float32 parameter, not infinity."""
    layer, shape, path = LAYERS[name]
    ctx = Context(0)
    with ctx.forward_pass(training=training):
        y = layer(ctx, Node(rng.choice(EXACT, shape).astype(dtype)))
        variable = ctx.get_variable(path)
        (found,) = gradient(ops.sum(y.astype(SINGLE)), [variable.node])
    assert variable.dtype == found.dtype == SINGLE
    np.testing.assert_array_equal(found.value, ROWS)


def test_layer_norm_of_half_precision_does_not_overflow():
    x = np.array([[300.0, -300.0, 100.0, -100.0]], HALF)
    y = layers.layer_norm(Context(0), x)
    exact = layers.layer_norm(Context(0), x.astype(np.float64))
    np.testing.assert_allclose(y.value, exact.value, rtol=1e-6)


LOSSES = {
    "softmax_cross_entropy": (losses.softmax_cross_entropy, lambda rng: rng.integers(0, 4, ROWS)),
    "binary_cross_entropy_with_logits": (
        losses.binary_cross_entropy_with_logits,
        lambda rng: rng.integers(0, 2, (ROWS, 4)),
    ),
    "mean_squared_error": (losses.mean_squared_error, lambda rng: rng.choice(EXACT, (ROWS, 4)) * 1000),
}


def test_every_loss_is_in_the_table():
    public = {
        name
        for name, each in vars(losses).items()
        if inspect.isfunction(each) and not name.startswith("_") and each.__module__ == losses.__name__
    }
    assert public == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_half_precision_is_one_of_single(rng, name):
    loss, labels = LOSSES[name]
    labels, predictions = labels(rng), rng.choice(EXACT, (ROWS, 4))
    bias, exact_bias = Node(np.zeros(4, SINGLE)), Node(np.zeros(4))
    found = loss(labels, Node(predictions.astype(HALF)) + bias)
    exact = loss(labels, Node(predictions) + exact_bias)
    assert loss(labels, Node(predictions.astype(HALF))).dtype == SINGLE
    np.testing.assert_allclose(loss(labels, Node(predictions.astype(HALF))).value, exact.value, rtol=1e-5)
    (slope,), (exact_slope,) = gradient(found, [bias]), gradient(exact, [exact_bias])
    np.testing.assert_allclose(slope.value, exact_slope.value, rtol=1e-4, atol=1e-6)


# --- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [optimizers.SGD(1e-2), optimizers.SGD(1e-2, momentum=0.9), optimizers.Adam(1e-2)],
    ids=["SGD", "momentum", "Adam"],
)
@pytest.mark.parametrize("dtype", support.HALVES)
def test_a_variable_of_16_bits_learns(optimizer, dtype):
    """The square of its gradient, 300 ** 2, and Adam's epsilon of 1e-8 are beyond float16."""
    ctx = Context(0)

    def model(ctx, x):
        return x * ctx.variable("w", (), dtype).node

    trainer = pybn.Trainer(ctx, model, losses.mean_squared_error, optimizer)
    trainer.train_step(np.full((4, 1), 10.0, dtype), np.full((4, 1), 15.0, dtype))
    weight = ctx.get_variable("/w")
    assert weight.dtype == dtype
    assert np.isfinite(weight.value)
    assert weight.value > 0
    assert all(np.isfinite(each.value).all() for each in ctx.variables())
