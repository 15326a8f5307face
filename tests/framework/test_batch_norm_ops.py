"""Batch normalization as a node: its gradients to the third order, through every option, on each implementation."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import use_backend
from pybn.framework import ops
from pybn.framework.graph import Node, gradient
from tests.support.derivatives import check_orders

# (shape, feature_axis): n = 2, 3, 5 and 12; one feature; the axis last, first, between; several axes.
CASES = (
    ((2, 3), -1),
    ((3, 1), 1),
    ((5, 4), -1),
    ((4, 5), 0),
    ((3, 2, 4), 1),
    ((2, 3, 2, 3), (1, 3)),
    ((3, 2, 2), (0, 2)),
)
FORMS = {"training": None, "inference": ops.batch_norm_inference, "composed": ops.composed_inference}


def feature_shape(shape, feature_axis):
    axes = sorted(axis % len(shape) for axis in np.atleast_1d(feature_axis))
    return tuple(shape[axis] for axis in axes)


def normalization(form, options, mean, variance, with_scale=True, with_offset=True):
    """A function of x, and of scale and offset where they are there, between two layers.

    Behind the second, what arrives at the normalization depends on its own arguments.
    """

    def function(x, *parameters):
        rest = list(parameters)
        scale = rest.pop(0) if with_scale else None
        offset = rest.pop(0) if with_offset else None
        x = ops.tanh(x) + x * 0.3
        if form == "training":
            y = ops.batch_norm_training(x, scale, offset, **options)[0]
        else:
            y = FORMS[form](x, scale, offset, mean, variance, **options)
        return ops.sigmoid(y)

    return function


def case(rng, shape, feature_axis):
    wanted = feature_shape(shape, feature_axis)
    x, scale, offset = rng.normal(0.5, 1, shape), rng.uniform(0.5, 2, wanted), rng.standard_normal(wanted)
    return x, scale * rng.choice([-1, 1], wanted), offset, rng.standard_normal(wanted), rng.uniform(0.5, 2, wanted)


# epsilon = 0.5 keeps the ninth derivative, which the differences miss, small even where n = 2.
EPSILON = 0.5


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "feature_axis"), CASES, ids=str)
@pytest.mark.usefixtures("backend")
def test_orders(rng, shape, feature_axis, form):
    x, scale, offset, mean, variance = case(rng, shape, feature_axis)
    options = {"feature_axis": feature_axis, "epsilon": EPSILON}
    check_orders(normalization(form, options, mean, variance), [x, scale, offset], rng)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("with_scale", "with_offset"), [(True, False), (False, True), (False, False)])
@pytest.mark.usefixtures("backend")
def test_orders_without_parameters(rng, with_scale, with_offset, form):
    x, scale, offset, mean, variance = case(rng, (5, 3), -1)
    parameters = [each for each, there in ((scale, with_scale), (offset, with_offset)) if there]
    function = normalization(form, {"epsilon": EPSILON}, mean, variance, with_scale, with_offset)
    check_orders(function, [x, *parameters], rng)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shape", "feature_axis", "mask_shape"),
    [
        ((4, 3), -1, (4,)),
        ((3, 2, 4), 1, (3, 4)),
        ((3, 2, 4), 1, (3, 1, 1)),
        ((2, 3, 2, 3), (1, 3), (2, 1, 2, 1)),
    ],
    ids=str,
)
@pytest.mark.usefixtures("backend")
def test_orders_under_a_mask(rng, shape, feature_axis, mask_shape, form):
    x, scale, offset, mean, variance = case(rng, shape, feature_axis)
    mask = np.ones(mask_shape, bool)
    mask[0] = False
    options = {"feature_axis": feature_axis, "epsilon": EPSILON, "mask": mask}
    check_orders(normalization(form, options, mean, variance), [x, scale, offset], rng)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("backend")
def test_nan_in_the_padding_harms_no_gradient(rng, form):
    """Not in x, not in what arrives; up to the second order."""
    x, scale, offset, mean, variance = case(rng, (5, 3), -1)
    dy = rng.standard_normal((5, 3))
    mask = np.array([True, False, True, True, False])
    constants = [rng.standard_normal(each.shape) for each in (x, scale, offset)]

    def orders(x, dy):
        nodes = [Node(x), Node(scale), Node(offset)]
        options = {"mask": mask, "epsilon": EPSILON}
        if form == "training":
            y = ops.batch_norm_training(*nodes, **options)[0]
        else:
            y = FORMS[form](*nodes, mean, variance, **options)
        first = gradient(y, nodes, dy)
        real = [first[0][mask], *first[1:]]
        parts = [each * constant for each, constant in zip(real, [constants[0][mask], *constants[1:]], strict=True)]
        second = gradient(ops.sum(parts[0]) + ops.sum(parts[1]) + ops.sum(parts[2]), nodes)
        return [each.value for each in real], [second[0].value[mask], *(each.value for each in second[1:])]

    spoilt = [np.where(mask[:, None], each, np.nan) for each in (x, dy)]
    for clean, dirty in zip(orders(x, dy), orders(*spoilt), strict=True):
        for expected, found in zip(clean, dirty, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("backend")
def test_the_gradient_passes_through_the_padding(rng, form):
    x, scale, offset, mean, variance = case(rng, (4, 3), -1)
    mask = np.array([True, True, False, True])
    node = Node(x)
    arguments = (node, Node(scale), Node(offset))
    y = (
        ops.batch_norm_training(*arguments, mask=mask)[0]
        if form == "training"
        else FORMS[form](*arguments, mean, variance, mask=mask)
    )
    np.testing.assert_array_equal(y.value[2], x[2])
    dy = rng.standard_normal((4, 3))
    np.testing.assert_array_equal(gradient(y, [node], dy)[0].value[2], dy[2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("backend")
def test_narrow_types_are_the_wide_answer_rounded(rng, form, dtype):
    """float64 within: y and the gradients are those of float64 on the same numbers, rounded at the end."""
    x, scale, offset, mean, variance = case(rng, (7, 3), -1)
    x, dy = x.astype(dtype), rng.standard_normal((7, 3)).astype(dtype)
    scale, offset = scale.astype(np.float32), offset.astype(np.float32)

    def gradients(widen):
        nodes = [Node(widen(each)) for each in (x, scale, offset)]
        if form == "training":
            y = ops.batch_norm_training(*nodes)[0]
        else:
            y = FORMS[form](*nodes, mean, variance)
        return [y, *gradient(y, nodes, widen(dy))]

    narrow, wide = gradients(lambda a: a), gradients(lambda a: a.astype(np.float64))
    assert [each.dtype for each in narrow] == [dtype, dtype, np.float32, np.float32]
    for found, expected in zip(narrow, wide, strict=True):
        # The contract's 4 units of the largest, y's and dscale's; each array's values are within a factor of 8.
        size = max(1.0, np.abs(expected.value).max())
        np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=4 * np.finfo(dtype).eps * size)


@pytest.mark.usefixtures("backend")
def test_float64_beside_a_float32_normalization(rng):
    """What arrives from a wider neighbour, or is given as dy, is brought to the type of the node first."""
    x, weights = Node(rng.standard_normal((4, 3)).astype(np.float32)), rng.standard_normal((4, 3))
    y = ops.batch_norm_training(x, None, None)[0]
    (narrow,) = gradient(ops.sum(y * weights.astype(np.float32)), [x])
    (given,) = gradient(y, [x], Node(weights))
    (beside,) = gradient(ops.sum(y * weights), [x])
    assert narrow.dtype == beside.dtype == given.dtype == np.float32
    np.testing.assert_array_equal(beside.value, narrow.value)
    np.testing.assert_array_equal(given.value, narrow.value)


@pytest.mark.usefixtures("backend")
def test_composed_inference_is_the_fused_one(rng):
    x, scale, offset, mean, variance = case(rng, (5, 3), -1)
    variance[1] = 0.0
    for epsilon in (0.0, 1e-3):
        for which in ((scale, offset), (None, offset), (scale, None), (None, None)):
            nodes = [None if each is None else Node(each) for each in which]
            both = [
                form(Node(x), *nodes, mean, variance, epsilon=epsilon).value
                for form in (FORMS["inference"], FORMS["composed"])
            ]
            np.testing.assert_allclose(*both, rtol=1e-14, atol=1e-15)


@pytest.mark.usefixtures("backend")
def test_a_constant_feature_without_epsilon_has_gradient_zero_in_every_order():
    x, scale, offset = Node(np.full((3, 2), 7.0)), Node(np.ones(2)), Node(np.array([1.0, -1.0]))
    y, _, variance = ops.batch_norm_training(x, scale, offset, epsilon=0.0)
    np.testing.assert_array_equal(y.value, [[1, -1]] * 3)
    assert not variance.any()
    (slope,) = gradient(y, [x], np.arange(6.0).reshape(3, 2))
    (curvature,) = gradient(slope, [x], np.ones((3, 2)))
    assert not slope.value.any()
    assert not curvature.value.any()


def test_statistics_are_plain_arrays_that_no_tape_holds(backend, rng):
    x = Node(rng.standard_normal((4, 3)).astype(np.float32))
    _, mean, variance = ops.batch_norm_training(x, None, None)
    assert type(mean) is type(variance) is np.ndarray
    assert mean.dtype == variance.dtype == np.float64


def test_forward_and_backward_use_one_implementation(monkeypatch, rng):
    """The gradient belongs to the implementation of the forward pass, whatever is active by then."""
    import types

    from pybn import backend, reference

    calls = []

    def spy(name):
        operation = getattr(reference, name)
        return lambda *args, **kwargs: (calls.append(name), operation(*args, **kwargs))[1]

    other = types.SimpleNamespace(**{name: spy(name) for name in reference.__all__ if name != "Moments"})
    x = Node(rng.standard_normal((4, 3)))
    with use_backend("reference"):
        monkeypatch.setattr(backend, "active", lambda: other)
        y = ops.batch_norm_training(x, None, None)[0]
        monkeypatch.undo()
        gradient(y, [x], np.ones((4, 3)))
    assert calls == ["batch_norm_training", "batch_norm_gradient"]


def test_the_first_order_agrees_with_pytorch(backend, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    x, scale, offset, mean, variance = case(rng, (5, 4, 3), 1)
    dy = rng.standard_normal(x.shape)
    for training in (True, False):
        nodes = [Node(x), Node(scale), Node(offset)]
        if training:
            y = ops.batch_norm_training(*nodes, feature_axis=1)[0]
        else:
            y = ops.batch_norm_inference(*nodes, mean, variance, feature_axis=1)
        tensors = [torch.tensor(each, requires_grad=True) for each in (x, scale, offset)]
        running = [torch.tensor(each) for each in (mean, variance)]
        theirs = torch.nn.functional.batch_norm(tensors[0], *running, *tensors[1:], training=training, eps=1e-3)
        theirs.backward(torch.tensor(dy))
        # Two float64 results of sums over 15 elements, each within some units of the exact one.
        np.testing.assert_allclose(y.value, theirs.detach().numpy(), rtol=0, atol=1e-14)
        for found, tensor in zip(gradient(y, nodes, dy), tensors, strict=True):
            np.testing.assert_allclose(found.value, tensor.grad.numpy(), rtol=0, atol=1e-13)


def test_an_arriving_gradient_that_is_x_itself_counts_once(rng):
    """dy = x is one parent with two shares, not two parents that each get both."""
    x, c = Node(rng.normal(size=(5, 3))), rng.normal(size=(5, 3))

    def second(dy):
        y, _, _ = ops.batch_norm_training(x, None, None)
        (dx,) = gradient(y, [x], dy=dy)
        return gradient(ops.sum(dx * c), [x])[0].value

    np.testing.assert_allclose(second(x), second(x * 1.0), rtol=1e-12)
