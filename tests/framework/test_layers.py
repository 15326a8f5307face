"""The layers against direct loops, and what they keep in their context."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, Node, gradient, initializers, layers, losses, ops
from tests.support.derivatives import check_orders


@pytest.fixture
def ctx():
    return Context(0)


def assign(ctx, path, value):
    ctx.get_variable(path).value = value


# --- dense ----------------------------------------------------------------------------------------


def test_dense_is_a_matrix_product(ctx, rng):
    x = rng.standard_normal((5, 3))
    y = layers.dense(ctx, x, 2)
    assert [(each.path, each.shape) for each in ctx.variables()] == [("/dense/weights", (3, 2)), ("/dense/bias", (2,))]
    weights, bias = (each.value for each in ctx.variables())
    assert not bias.any()
    np.testing.assert_array_equal(y.value, x @ weights)
    assign(ctx, "/dense/bias", [1.0, -2.0])
    with ctx.forward_pass():
        np.testing.assert_array_equal(layers.dense(ctx, x, 2).value, x @ weights + [1, -2])


def test_dense_without_bias(ctx, rng):
    layers.dense(ctx, rng.standard_normal((5, 3)), 2, use_bias=False)
    assert [each.path for each in ctx.variables()] == ["/dense/weights"]


def test_dense_uses_the_scopes_initializer(ctx, rng):
    layers.dense(ctx.with_initializer(initializers.ones), rng.standard_normal((5, 3)), 2)
    np.testing.assert_array_equal(ctx.get_variable("/dense/weights").value, np.ones((3, 2)))
    np.testing.assert_array_equal(ctx.get_variable("/dense/bias").value, np.zeros(2))


@pytest.mark.parametrize(
    ("dtype", "kept"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_weights_have_the_type_of_x_but_never_less_than_float32(ctx, dtype, kept):
    layers.dense(ctx, np.ones((2, 3), dtype), 2)
    layers.layer_norm(ctx, np.ones((2, 3), dtype))
    layers.conv2d(ctx, np.ones((1, 3, 3, 1), dtype), 2)
    assert {each.dtype for each in ctx.variables()} == {np.dtype(kept)}


def test_dense_takes_matrices(ctx):
    with pytest.raises(ValueError, match=r"dense takes x of shape \(N, inputs\), got \(2, 3, 4\); use layers.flatten"):
        layers.dense(ctx, np.ones((2, 3, 4)), 2)


def test_flatten():
    assert layers.flatten(Node(np.ones((2, 3, 4)))).shape == (2, 12)
    assert layers.flatten(np.ones((0, 3, 4))).shape == (0, 12)


# --- convolution and pooling, each window in a loop -------------------------------------------------


def windows_of(x, size, strides, padding):
    """(where, window) for each window of one image (H, W, C), by its definition."""
    if padding == "same":
        outputs = [-(-n // s) for n, s in zip(x.shape[:2], strides, strict=True)]
        lacking = [max(0, (o - 1) * s + k - n) for o, s, k, n in zip(outputs, strides, size, x.shape[:2], strict=True)]
        x = np.pad(x, [(each // 2, each - each // 2) for each in lacking] + [(0, 0)])
    else:
        outputs = [(n - k) // s + 1 for n, k, s in zip(x.shape[:2], size, strides, strict=True)]
    for i, j in np.ndindex(*outputs):
        top, left = i * strides[0], j * strides[1]
        yield (i, j), x[top : top + size[0], left : left + size[1]]


def convolution(x, weights, strides, padding):
    """Sum over the window of element times weight, image by image and filter by filter."""
    images = []
    for image in x:
        found = {
            where: [np.sum(window * weights[..., f]) for f in range(weights.shape[-1])]
            for where, window in windows_of(image, weights.shape[:2], strides, padding)
        }
        height, width = np.max(list(found), axis=0) + 1
        images.append([[found[i, j] for j in range(width)] for i in range(height)])
    return np.array(images)


CONVOLUTIONS = [
    ((2, 5, 4, 3), (3, 3), (1, 1), "same"),
    ((2, 5, 4, 3), (3, 3), (1, 1), "valid"),
    ((1, 7, 5, 2), (2, 3), (2, 1), "same"),
    ((1, 7, 5, 2), (2, 3), (2, 3), "valid"),
    ((2, 3, 3, 1), (1, 1), (2, 2), "same"),
    ((1, 4, 4, 2), (4, 4), (1, 1), "valid"),
    ((1, 5, 5, 1), (2, 2), (3, 3), "same"),
]


@pytest.mark.parametrize(("shape", "size", "strides", "padding"), CONVOLUTIONS, ids=str)
def test_conv2d(ctx, rng, shape, size, strides, padding):
    x = rng.standard_normal(shape)
    y = layers.conv2d(ctx, x, 2, size, strides, padding)
    assert [(each.path, each.shape) for each in ctx.variables()] == [
        ("/conv2d/weights", (*size, shape[-1], 2)),
        ("/conv2d/bias", (2,)),
    ]
    assign(ctx, "/conv2d/bias", [1.0, -2.0])
    with ctx.forward_pass():
        y = layers.conv2d(ctx, x, 2, size, strides, padding)
    expected = convolution(x, ctx.get_variable("/conv2d/weights").value, strides, padding) + np.array([1.0, -2.0])
    # A sum of at most 48 products of order 1.
    np.testing.assert_allclose(y.value, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("shape", "size", "strides", "padding"), CONVOLUTIONS[:5], ids=str)
def test_conv2d_gradient(rng, shape, size, strides, padding):
    weights = rng.standard_normal((*size, shape[-1], 2))

    def function(x, w):
        ctx = Context(0)
        given = ctx.in_scope("conv2d").variable("weights", w.shape, w.dtype)
        given._node = w
        with ctx.forward_pass():
            return layers.conv2d(ctx, ops.tanh(x), 2, size, strides, padding, use_bias=False)

    check_orders(function, [rng.standard_normal(shape), weights], rng, orders=2)


def test_conv2d_without_bias_and_with_numbers_for_sizes(ctx, rng):
    y = layers.conv2d(ctx, rng.standard_normal((1, 6, 6, 1)), 3, 2, 2, use_bias=False)
    assert y.shape == (1, 3, 3, 3)
    assert [each.shape for each in ctx.variables()] == [(2, 2, 1, 3)]


@pytest.mark.parametrize(
    ("shape", "size", "strides"),
    [((2, 4, 6, 3), 2, None), ((1, 5, 7, 2), (2, 3), None), ((1, 5, 5, 2), 3, 1), ((1, 5, 4, 1), (1, 2), (2, 1))],
)
def test_pools(rng, shape, size, strides):
    x = rng.permutation(np.prod(shape)).reshape(shape) / 4  # no two within 0.25: no ties
    pair = (size, size) if isinstance(size, int) else size
    steps = pair if strides is None else (strides, strides) if isinstance(strides, int) else strides
    for layer, reduced in ((layers.max_pool, np.max), (layers.average_pool, np.mean)):
        y = layer(x, size, strides).value
        for n, image in enumerate(x):
            for (i, j), window in windows_of(image, pair, steps, "valid"):
                np.testing.assert_allclose(y[n, i, j], reduced(window, axis=(0, 1)), rtol=1e-15)
        assert y.shape == (shape[0], i + 1, j + 1, shape[-1])
        check_orders(lambda x, layer=layer: layer(x, size, strides) ** 2, [x / x.max() * 10], rng, orders=2, bound=1e-8)


@pytest.mark.parametrize("layer", [layers.max_pool, layers.average_pool, lambda x: layers.conv2d(Context(0), x, 1)])
def test_images_have_rank_four(layer):
    with pytest.raises(ValueError, match=r"takes images of shape \(N, height, width, channels\), got \(3, 3\)"):
        layer(np.ones((3, 3)))


def test_conv2d_names_its_paddings(ctx):
    with pytest.raises(ValueError, match="padding must be 'same' or 'valid', got 'full'"):
        layers.conv2d(ctx, np.ones((1, 3, 3, 1)), 1, padding="full")


IMAGES = np.ones((2, 4, 5, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ctx: layers.dense(ctx, IMAGES[0, :, :, 0], 0), "features must be 1 or more, got 0"),
        (lambda ctx: layers.dense(ctx, IMAGES[0, :, :, 0], 2.5), "features must be a whole number, got 2.5"),
        (lambda ctx: layers.conv2d(ctx, IMAGES, True), "filters must be a whole number, got True"),
        (lambda ctx: layers.conv2d(ctx, IMAGES, 1, 0), "kernel_size must be 1 or more, got 0"),
        (lambda ctx: layers.conv2d(ctx, IMAGES, 1, (3, 3, 3)), r"kernel_size must be a whole number, got \(3, 3, 3\)"),
        (lambda ctx: layers.conv2d(ctx, IMAGES, 1, 3, (1, -1)), "strides must be 1 or more, got -1"),
        (lambda ctx: layers.conv2d(ctx, IMAGES, 1, 5, padding="valid"), r"windows \(5, 5\) and images \(4, 5\)"),
        (lambda ctx: layers.max_pool(IMAGES, 2, 0), "strides must be 1 or more, got 0"),
        (lambda ctx: layers.average_pool(IMAGES, (1, 6)), r"average_pool's windows must fit .* \(1, 6\) and images"),
        (lambda ctx: layers.layer_norm(ctx, IMAGES, np.nan), "epsilon must be finite and not negative, got nan"),
    ],
)
def test_sizes_that_are_none(ctx, call, text):
    with pytest.raises((ValueError, TypeError), match=text):
        call(ctx)
    assert ctx.variables() == []


# --- dropout, layer norm, relu -------------------------------------------------------------------------


def test_dropout_drops_in_training_alone(ctx):
    x = Node(np.ones((200, 100)))
    assert layers.dropout(ctx, x, 0.25) is x
    with ctx.forward_pass(training=True):
        y = layers.dropout(ctx, x, 0.25)
        again = layers.dropout(ctx, x, 0.25)
        assert layers.dropout(ctx, x, 0) is x
    assert set(np.unique(y.value)) == {0.0, 1 / 0.75}
    # 20 000 draws: six deviations of their mean.
    assert abs(np.mean(y.value == 0) - 0.25) < 6 * np.sqrt(0.25 * 0.75 / 20_000)
    assert (y.value != again.value).any()
    np.testing.assert_array_equal(gradient(y, [x], np.ones(x.shape))[0].value, y.value)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_does_not_round_whole_numbers(ctx, training):
    """3 / (1 - .25) is 4; as integers it was 3."""
    with (
        ctx.forward_pass(training=training),
        pytest.raises(TypeError, match=r"dropout takes x of floats, .* got int64"),
    ):
        layers.dropout(ctx, np.full(5, 3, np.int64), 0.25)


def test_dropout_is_drawn_from_the_contexts_generator():
    def once(seed):
        ctx = Context(seed)
        with ctx.forward_pass(training=True):
            return layers.dropout(ctx, np.ones((5, 5), np.float32), 0.5).value

    np.testing.assert_array_equal(once(1), once(1))
    assert (once(1) != once(2)).any()
    assert once(1).dtype == np.float32


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, np.nan])
def test_dropout_rate(ctx, rate):
    with pytest.raises(ValueError, match=r"dropout's rate must lie in \[0, 1\), got"):
        layers.dropout(ctx, np.ones((2, 2)), rate)


def test_layer_norm_example_by_example(ctx, rng):
    x = rng.normal(3, 2, (4, 3, 5))
    layers.layer_norm(ctx, x)
    assert [(each.path, each.shape) for each in ctx.variables()] == [
        ("/layer_norm/scale", (5,)),
        ("/layer_norm/offset", (5,)),
    ]
    scale, offset = rng.standard_normal((2, 5))
    assign(ctx, "/layer_norm/scale", scale)
    assign(ctx, "/layer_norm/offset", offset)
    with ctx.forward_pass():
        y = layers.layer_norm(ctx, x, epsilon=0.1).value
    for index in np.ndindex(4, 3):
        row = x[index]
        expected = (row - row.mean()) / np.sqrt(row.var() + 0.1) * scale + offset
        np.testing.assert_allclose(y[index], expected, rtol=0, atol=1e-14)


def test_layer_norm_gradient(rng):
    def function(x):
        return layers.layer_norm(Context(0), x, epsilon=0.5)

    check_orders(function, [rng.standard_normal((3, 4))], rng)


@pytest.mark.parametrize("axes", [(1, 2), (-1, 1), 1, (1,), (0, 3), (1, 2, 3), (-3, -2, -1)])
def test_layer_norm_over_any_axes(ctx, rng, axes):
    x = rng.normal(3, 2, (2, 4, 3, 5))
    over = sorted({axis % 4 for axis in np.atleast_1d(axes)})
    kept = tuple(size if axis in over else 1 for axis, size in enumerate(x.shape))
    layers.layer_norm(ctx, x, axes=axes)
    scale, offset = rng.standard_normal((2, *(x.shape[axis] for axis in over)))
    assign(ctx, "/layer_norm/scale", scale)
    assign(ctx, "/layer_norm/offset", offset)
    centred = x - x.mean(tuple(over), keepdims=True)
    expected = centred / np.sqrt(x.var(tuple(over), keepdims=True) + 0.1) * scale.reshape(kept) + offset.reshape(kept)
    with ctx.forward_pass():
        np.testing.assert_allclose(layers.layer_norm(ctx, x, 0.1, axes=axes).value, expected, rtol=0, atol=1e-14)


def test_layer_norm_gradients_over_two_axes(ctx, rng):
    """Of x, and of the scale and the offset, which are as large as the axes are."""
    x, scale, offset = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))

    def function(x, scale, offset):
        ctx = Context(0)
        layers.layer_norm(ctx, x, axes=(0, 2))
        for name, node in (("scale", scale), ("offset", offset)):
            ctx.get_variable(f"/layer_norm/{name}")._node = node
        with ctx.forward_pass():
            return layers.layer_norm(ctx, x, epsilon=0.5, axes=(0, 2))

    check_orders(function, [x, scale, offset], rng)


@pytest.mark.parametrize("axes", [3, -4, (1, 1), (1, -2), (), (0, 7)])
def test_layer_norm_axes_that_are_none(ctx, axes):
    with pytest.raises(ValueError, match="layer_norm's axes must be one or more different ones of the 3 of x, got"):
        layers.layer_norm(ctx, np.ones((2, 3, 4)), axes=axes)


@pytest.mark.parametrize("axes", [True, 1.0, (1, 2.0), "1"])
def test_layer_norm_axes_that_are_no_numbers(ctx, axes):
    with pytest.raises(TypeError, match="an axis of layer_norm must be a whole number, got"):
        layers.layer_norm(ctx, np.ones((2, 3, 4)), axes=axes)


@pytest.mark.parametrize("axes", [np.int64(1), [1], range(1, 2), np.array([-1])], ids=str)
def test_layer_norm_takes_axes_of_any_kind_of_whole_number(ctx, axes):
    layers.layer_norm(ctx, np.ones((2, 3)), axes=axes)
    assert ctx.get_variable("/layer_norm/scale").shape == (3,)


def test_relu():
    np.testing.assert_array_equal(layers.relu(np.array([-1.0, 0.0, 2.0])).value, [0, 0, 2])


# --- L2 ---------------------------------------------------------------------------------------------------


def regularization(ctx, training=True):
    with ctx.forward_pass(training=training) as run:
        x = layers.conv2d(ctx, np.ones((2, 3, 3, 1)), 2)
        layers.dense(ctx.in_scope("free"), layers.dense(ctx, layers.flatten(x), 3), 2)
        return [float(each) for each in run.losses]


def test_l2_counts_the_weights_and_not_the_biases(ctx):
    ctx.set_param("l2_regularization", 0.1)
    ctx.in_scope("free").set_param("l2_regularization", 0.0)
    first = regularization(ctx)
    weights = [ctx.get_variable(path).value for path in ("/conv2d/weights", "/dense/weights")]
    np.testing.assert_allclose(first, [0.1 * np.sum(each**2) for each in weights], rtol=1e-14)
    for path in ("/conv2d/bias", "/dense/bias"):
        assign(ctx, path, 5 + ctx.get_variable(path).value)
    np.testing.assert_allclose(regularization(ctx), first, rtol=1e-14)


def test_l2_is_not_there_in_evaluation_nor_unasked(ctx):
    assert regularization(ctx) == []
    ctx.set_param("l2_regularization", 0.1)
    assert regularization(ctx, training=False) == []


def test_l2_of_shared_weights_counts_once(ctx):
    ctx.set_param("l2_regularization", 1.0)
    with ctx.forward_pass(training=True) as run:
        x = layers.dense(ctx, np.ones((2, 3)), 3)
        layers.dense(ctx.reuse(), x, 3)
        assert len(run.losses) == 1


@pytest.mark.parametrize("amount", [-1.0, np.nan])
def test_l2_is_not_negative(ctx, amount):
    ctx.set_param("l2_regularization", amount)
    with pytest.raises(ValueError, match="the parameter l2_regularization must be finite and not negative, got"):
        regularization(ctx)


def test_a_small_network_to_the_second_order(rng):
    """Layers together: the Hessian of a loss of a convolutional network times a vector."""
    labels = np.array([1, 0])

    def loss(x):
        ctx = Context(3)
        x = layers.average_pool(ops.tanh(layers.conv2d(ctx, x, 2)), 2)
        return losses.softmax_cross_entropy(
            labels, layers.dense(ctx, layers.flatten(layers.layer_norm(ctx, x, 0.5)), 3)
        )

    check_orders(loss, [rng.standard_normal((2, 4, 4, 1))], rng, orders=2)
