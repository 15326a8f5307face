"""Nodes and `gradient`: which derivative it takes, of what, and that nothing of a graph stays behind."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import pybn
from pybn.framework import ops
from pybn.framework.graph import Node, ancestors_first, gradient


@pytest.fixture
def x(rng):
    return Node(rng.uniform(1, 2, 3))


# --- which derivative ------------------------------------------------------------------------


def test_a_wanted_node_that_depends_on_another_passes_its_share_on(x):
    """The derivative is total: y = b**2 with b = a**3 has dy/da = 6 a**5, also where b is asked for too."""
    b = x**3
    for nodes in ([x, b], [b, x]):
        found = dict(zip(map(id, nodes), gradient(ops.sum(b**2), nodes), strict=True))
        np.testing.assert_allclose(found[id(x)].value, 6 * x.value**5, rtol=1e-15)
        np.testing.assert_allclose(found[id(b)].value, 2 * x.value**3, rtol=1e-15)


def test_partial_takes_the_wanted_nodes_for_independent(x):
    b = x**3
    to_x, to_b = gradient(ops.sum(b * b * x), [x, b], partial=True)
    np.testing.assert_allclose(to_x.value, x.value**6, rtol=1e-15)
    np.testing.assert_allclose(to_b.value, 2 * x.value**4, rtol=1e-15)


def test_partial_of_a_node_that_only_leads_to_a_wanted_one_is_zero(x):
    b = x**3
    np.testing.assert_array_equal(gradient(ops.sum(b), [x, b], partial=True)[0].value, np.zeros(3))


def test_many_paths_add_up(x):
    y = x * x + x * 3.0 + ops.exp(x) * x
    (found,) = gradient(ops.sum(y), [x])
    np.testing.assert_allclose(found.value, 2 * x.value + 3 + np.exp(x.value) * (1 + x.value), rtol=1e-15)


def test_a_diamond_of_diamonds_takes_time_by_nodes_not_by_paths(x):
    """2**200 paths; a walk over paths would never end."""
    y = x
    for _ in range(200):
        y = y * 0.5 + y * 0.5
    np.testing.assert_array_equal(gradient(ops.sum(y), [x])[0].value, np.ones(3))


def test_unreached_nodes_have_zero_gradients_of_their_shape_and_type(x):
    aside = Node(np.ones((2, 5), np.float32))
    behind = ops.exp(ops.sum(x))
    to_aside, to_behind, to_x = gradient(ops.sum(x), [aside, behind, x])
    assert (to_aside.shape, to_aside.dtype) == ((2, 5), np.float32)
    assert not to_aside.value.any()
    assert to_behind.value == 0
    np.testing.assert_array_equal(to_x.value, np.ones(3))


def test_the_gradient_by_the_output_itself_is_what_arrives(x):
    y = ops.exp(x)
    dy = np.array([1.0, -2.0, 3.0])
    to_y, to_x = gradient(y, [y, x], dy)
    np.testing.assert_array_equal(to_y.value, dy)
    np.testing.assert_allclose(to_x.value, dy * y.value, rtol=1e-15)


def test_a_node_that_is_asked_for_twice_is_answered_twice(x):
    first, second = gradient(ops.sum(x**2), [x, x])
    np.testing.assert_array_equal(first.value, 2 * x.value)
    np.testing.assert_array_equal(second.value, 2 * x.value)


def test_no_nodes_no_gradients(x):
    assert gradient(ops.sum(x), []) == []


def test_stop_gradient_cuts_one_path_of_several(x):
    y = ops.stop_gradient(x**2) * x
    np.testing.assert_allclose(gradient(ops.sum(y), [x])[0].value, x.value**2, rtol=1e-15)
    assert not gradient(ops.sum(ops.stop_gradient(x)), [x])[0].value.any()


def test_gradients_do_not_add_up_over_calls(x):
    y = ops.sum(x**2)
    first = gradient(y, [x])[0].value.copy()
    np.testing.assert_array_equal(gradient(y, [x])[0].value, first)


def test_a_gradient_is_a_node_with_a_gradient(x):
    (slope,) = gradient(ops.sum(x**4), [x])
    (curvature,) = gradient(ops.sum(slope), [x])
    (third,) = gradient(ops.sum(curvature), [x])
    (fourth,) = gradient(ops.sum(third), [x])
    (fifth,) = gradient(ops.sum(fourth), [x])
    np.testing.assert_allclose(third.value, 24 * x.value, rtol=1e-14)
    np.testing.assert_allclose(fourth.value, np.full(3, 24.0), rtol=1e-14)
    np.testing.assert_array_equal(fifth.value, np.zeros(3))


def test_a_graph_of_10000_nodes(x):
    """No recursion: not in the walk, not in the gradient of the gradient, not when the graph is dropped."""
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    (found,) = gradient(ops.sum(y), [x])
    np.testing.assert_allclose(found.value, np.full(3, 1.0001**10_000), rtol=1e-10)
    assert len(ancestors_first(y)) == 20_001
    assert not gradient(ops.sum(found), [x])[0].value.any()
    gone = weakref.ref(y)
    del y, found
    assert gone() is None


# --- what is refused ---------------------------------------------------------------------------


def test_an_output_that_is_no_scalar_needs_dy(x):
    with pytest.raises(ValueError, match=r"gradient needs a scalar, or dy for an output of shape \(3,\)"):
        gradient(x**2, [x])


def test_one_element_of_any_rank_is_a_scalar():
    x = Node(np.array([[3.0]]))
    np.testing.assert_array_equal(gradient(x**2, [x])[0].value, [[6.0]])


@pytest.mark.parametrize("dy", [np.ones(2), np.ones((3, 1)), 1.0])
def test_dy_has_the_shape_of_y(x, dy):
    with pytest.raises(ValueError, match=r"dy must have the shape of y \(3,\), got"):
        gradient(x**2, [x], dy)


@pytest.mark.parametrize(
    "wrong", [np.ones(3), 1.0, pybn.Variable("/x", np.ones(3))], ids=["array", "float", "Variable"]
)
def test_only_nodes_can_be_differentiated_by(x, wrong):
    with pytest.raises(TypeError, match=rf"gradient needs Nodes to differentiate by, got {type(wrong).__name__}"):
        gradient(ops.sum(x), [x, wrong])


def test_integers_cannot_be_differentiated_by():
    whole = Node(np.array([1, 2]))
    with pytest.raises(TypeError, match="gradient needs Nodes of floats to differentiate by, got one of int64"):
        gradient(ops.sum(whole * 0.5), [whole])


def test_a_joint_product_answers_for_every_parent(x):
    wrong = Node.with_joint_product(x.value, [x, x * 2.0], lambda dy: [dy])
    with pytest.raises(ValueError, match="zip"):
        gradient(ops.sum(wrong), [x])


def test_a_joint_product_may_let_nothing_through(x):
    other = x * 2.0
    y = Node.with_joint_product(x.value, [x, other], lambda dy: [None, dy * 3.0])
    np.testing.assert_array_equal(gradient(ops.sum(y), [x])[0].value, np.full(3, 6.0))


# --- the node itself -----------------------------------------------------------------------------


def test_a_node_tells_of_its_array():
    node = Node(np.arange(6.0).reshape(2, 3))
    assert (node.shape, node.ndim, node.size, len(node), node.dtype) == ((2, 3), 2, 6, 2, np.float64)
    assert repr(Node(np.array([1.0]))) == "Node(array([1.]))"
    assert float(Node(np.array([[2.5]]))) == 2.5
    assert ops.exp(node).parents == [node]


@pytest.mark.parametrize("value", [2.0, [1, 2], np.float32(3)])
def test_a_value_becomes_an_array(value):
    assert type(Node(value).value) is np.ndarray


def test_a_node_of_several_elements_is_no_float(x):
    with pytest.raises(ValueError, match="size 1"):
        float(x)


def test_a_node_cannot_be_iterated(x):
    with pytest.raises(TypeError, match="not iterable"):
        list(x)


def test_an_array_leaves_the_operator_to_the_node(x):
    for y in (x.value + x, x.value - x, x.value * x, x.value / x, x.value[:, None] @ x[None, :]):
        assert type(y) is Node


# --- nothing stays behind ---------------------------------------------------------------------------


def live_nodes():
    return sum(type(each) is Node for each in gc.get_objects())


@pytest.fixture
def no_collector():
    """Without the collector, a cycle of references would stay and be counted."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_no_operation_makes_a_cycle(rng):
    x, positive = Node(rng.standard_normal((4, 4))), Node(rng.uniform(1, 2, (4, 4)))
    before = live_nodes()

    def everything():
        y = ops.exp(x) + ops.log(positive) * ops.sqrt(positive) - ops.tanh(x) / positive + ops.sigmoid(x)
        y = ops.where(x.value > 0, y, -y) ** 2 + ops.relu(x) + ops.softmax(x) + ops.log_softmax(x)
        y = ops.concatenate([y, ops.pad(y[1:], [(1, 0), (0, 0)]), ops.transpose(ops.broadcast_to(y[:1], (4, 4)))])
        y = y @ y[:4] + ops.mean(y, 0) + ops.max(y, 0) + ops.cast(ops.cast(y, np.float32), np.float64)
        images = ops.reshape(y, (1, 6, 8, 1))
        y = ops.sum(ops.windows(images, (2, 2), (1, 1)) ** 3) + ops.cross_entropy(x, np.arange(4))[0]
        slope = gradient(y, [x, positive])
        return gradient(ops.sum(slope[0] ** 2) + ops.sum(slope[1] ** 2), [x, positive])

    curvature = everything()
    assert live_nodes() > before
    del curvature
    assert live_nodes() == before


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "optimizer", [pybn.optimizers.SGD(0.1, momentum=0.5), pybn.optimizers.Adam()], ids=["SGD", "Adam"]
)
def test_a_training_step_leaves_nothing_but_its_variables(rng, backend, optimizer):
    """A graph that hung on to the step before would grow without end, and nobody would see why."""

    def model(ctx, x):
        ctx.set_param("l2_regularization", 1e-3)
        x = pybn.layers.max_pool(pybn.layers.conv2d(ctx, x, 4))
        x = pybn.batch_norm(ctx, x, mask=np.ones((6, 2, 2), bool))
        x = pybn.layers.dropout(ctx, pybn.layers.relu(x), 0.1)
        x = pybn.layers.layer_norm(ctx, pybn.layers.flatten(x))
        return pybn.layers.dense(ctx, pybn.batch_norm(ctx.in_scope("second"), x), 3)

    ctx = pybn.Context(0)
    trainer = pybn.Trainer(
        ctx, model, pybn.losses.softmax_cross_entropy, optimizer, {"accuracy": pybn.metrics.accuracy}
    )
    images, labels = rng.standard_normal((6, 4, 4, 2)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])
    before = live_nodes()
    for _ in range(4):
        trainer.train_step(images, labels)
        # Each variable holds one, its value.
        assert live_nodes() == before + len(ctx.variables())
    trainer.eval_step(images, labels)
    trainer.predict(images)
    assert live_nodes() == before + len(ctx.variables())
