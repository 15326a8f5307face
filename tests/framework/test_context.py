"""Context: names, scopes, parameters, runs, and the step that is applied whole or not at all."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import numpy as np
import pytest

from pybn import Context, Node, Trainer, Variable, initializers, layers, losses, optimizers
from pybn.framework import store
from pybn.framework.variables import hold_all
from tests.support.checkpoints import state, trained

BATCH = np.eye(5, dtype=np.float32), np.array([0, 1, 2, 0, 1])


@pytest.fixture
def ctx():
    return Context(0).with_initializer(initializers.zeros)


# --- scopes -----------------------------------------------------------------------------------


def test_scopes_are_paths(ctx):
    inner = ctx.in_scope("block").in_scope("layer_0")
    assert (ctx.scope, inner.scope) == ("/", "/block/layer_0")
    assert inner.variable("weights", (2, 3)).path == "/block/layer_0/weights"
    assert ctx.variable("step").path == "/step"
    assert inner.in_absolute_path("/other/").scope == "/other"
    assert inner.in_absolute_path("/").scope == "/"
    assert repr(ctx) == "Context(/, 2 variables)"


def test_a_scope_that_was_made_before_has_the_options_of_the_one_it_is_asked_of(ctx):
    for scope in (ctx, ctx.in_scope("a"), ctx.in_absolute_path("/a")):
        plain = scope.in_scope("b"), scope.in_absolute_path("/b")
        assert [each.reuses for each in plain] == [False, False]
        for other in (scope.reuse(), scope.checked(False)):
            reusing = other.in_scope("b"), other.in_absolute_path("/b"), other.unique().in_scope("b")
            assert [each.reuses for each in reusing] == [True, True, False]
        value = scope.with_initializer(initializers.ones).checked(False).in_scope("b").variable("v", (2,)).value
        assert value.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["", "a/b", "/a", "a/"])
def test_a_scope_is_one_part_of_a_path(ctx, name):
    with pytest.raises(ValueError, match="a scope's name must be one part of a path, without '/', got"):
        ctx.in_scope(name)


@pytest.mark.parametrize("path", ["a", "", "a/b", "//", "/a//b"])
def test_an_absolute_path_is_checked(ctx, path):
    with pytest.raises(ValueError, match="an absolute path must be '/' or names with one '/' before each, got"):
        ctx.in_absolute_path(path)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_variables_name_is_one_part_of_a_path(ctx, name):
    with pytest.raises(ValueError, match="a variable's name must be one part of a path, without '/', got"):
        ctx.variable(name)


def test_a_scope_does_not_hold_what_only_begins_like_it(ctx):
    ctx.in_scope("layer").variable("a")
    ctx.in_scope("layer_2").variable("b")
    assert [each.path for each in ctx.in_scope("layer").variables()] == ["/layer/a"]


def test_scopes_share_the_store_and_changes_of_a_scope_stay_there(ctx):
    reusing = ctx.reuse()
    assert reusing.reuses
    assert not ctx.reuses
    assert not reusing.unique().reuses
    assert ctx.checked(False).reuses
    assert not ctx.checked(False).checked().reuses
    assert ctx.checked(False).in_scope("a").reuses
    assert ctx.in_scope("a").variable("v") is ctx.get_variable("/a/v")


# --- variables ----------------------------------------------------------------------------------


def test_a_variable(ctx):
    variable = ctx.in_scope("layer").variable(
        "weights", (2, 3), np.float64, initializers.ones, trainable=False, role="r"
    )
    assert (variable.scope, variable.name, variable.shape, variable.dtype) == ("/layer", "weights", (2, 3), np.float64)
    assert (variable.trainable, variable.role) == (False, "r")
    assert ctx.variable("top").scope == "/"
    assert repr(variable) == "Variable(/layer/weights, shape=(2, 3), float64, not trainable)"


def test_a_variables_array_cannot_be_written_and_is_no_view_of_what_was_assigned(ctx):
    variable = ctx.variable("v", (2,), initializer=initializers.zeros)
    with pytest.raises(ValueError, match="read-only"):
        variable.value[0] = 1
    given = np.ones(2, np.float32)
    variable.value = given
    given[0] = 5
    np.testing.assert_array_equal(variable.value, [1, 1])


@pytest.mark.parametrize(
    "new",
    [
        np.array(["1", "2"]),
        np.array(["1", "2"], object),
        ["1", "2"],
        np.array([b"1", b"2"]),
        np.ma.array([1.0, 2.0], mask=[True, False]),
        np.array([1 + 2j, 3.0]),
        np.array([1, 2], "M8[s]"),
        None,
    ],
    ids=repr,
)
def test_a_variable_takes_numbers_alone(ctx, new):
    """NumPy would read the strings, drop the mask and the imaginary parts."""
    variable = ctx.variable("v", (2,), initializer=initializers.zeros)
    for assign in (lambda: setattr(variable, "value", new), lambda: ctx.assign({variable: new})):
        with pytest.raises(TypeError, match="/v must be plain real numbers, got"):
            assign()
    assert variable.value.tolist() == [0, 0]


@pytest.mark.parametrize("first", [[1.0 + 2j] * 2, ["1", "2"], np.ma.array([1.0, 2.0], mask=True), None], ids=repr)
def test_so_does_its_initializer(ctx, first):
    with pytest.raises(TypeError, match="/v must be plain real numbers, got"):
        ctx.variable("v", (2,), initializer=lambda rng, shape, dtype: first)
    assert ctx.variables() == []


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
@pytest.mark.parametrize("new", [[0.5, 1.0], [np.nan, 1.0], [1.0, np.inf], [1, -3], [1, 1000]], ids=str)
def test_a_variable_of_whole_numbers_takes_what_it_can_hold(ctx, dtype, new):
    """NumPy would cut .5 to 0, and 1000 to 232."""
    variable = ctx.variable("v", (2,), dtype, lambda rng, shape, dtype: [0.0, 1.0])
    if np.array_equal(np.asarray(new)[np.isfinite(new)].astype(dtype), new):
        variable.value = new
        assert variable.value.tolist() == new
        return
    with pytest.raises(ValueError, match=f"/v must be of {variable.dtype}, got "):
        variable.value = new
    with pytest.raises(ValueError, match=f"/w must be of {variable.dtype}, got "):
        ctx.variable("w", (2,), dtype, lambda rng, shape, dtype: new)
    assert variable.value.tolist() == [0, 1]


def test_a_variable_keeps_its_shape_and_its_type(ctx):
    variable = ctx.variable("v", (2,), initializer=initializers.zeros)
    with pytest.raises(ValueError, match=r"/v must keep its shape \(2,\), got \(2, 1\)"):
        variable.value = np.ones((2, 1))
    variable.value = [1, 2]
    assert variable.dtype == np.float32
    ctx.variable("scalar", (), np.float64, initializers.zeros).value = np.float32(3)
    assert ctx.get_variable("scalar").value.shape == ()
    assert type(ctx.get_variable("scalar").value) is np.ndarray


def test_a_variables_node_lasts_until_its_value_changes(ctx):
    variable = ctx.variable("v", (2,), initializer=initializers.zeros)
    node = variable.node
    assert variable.node is node
    variable.value = [1, 2]
    assert variable.node is not node
    np.testing.assert_array_equal(variable.node.value, [1, 2])


def test_a_variable_that_exists_is_found_again_in_the_next_run(ctx):
    with ctx.forward_pass():
        first = ctx.variable("v", (2,), np.float64, initializers.ones)
    with ctx.forward_pass():
        assert ctx.variable("v", (2,), np.float32, initializers.zeros, role="other") is first
    assert first.dtype == np.float64
    assert first.role == ""


def test_another_shape_is_refused(ctx):
    ctx.variable("v", (2,), initializer=initializers.ones)
    with ctx.forward_pass(), pytest.raises(ValueError, match=r"/v exists with shape \(2,\), but \(3,\) was asked for"):
        ctx.variable("v", (3,))


@pytest.mark.parametrize("wrong", [lambda rng, shape, dtype: np.zeros((3, 2), dtype), lambda rng, shape, dtype: 0.0])
def test_an_initializer_gives_the_shape_that_was_asked_for(ctx, wrong):
    with pytest.raises(ValueError, match=r"the initializer of /v must give an array of shape \(2, 3\)"):
        ctx.variable("v", (2, 3), initializer=wrong)
    assert ctx.variables() == []


def test_the_type_that_was_asked_for_is_the_variables(ctx):
    variable = ctx.variable("v", (2,), np.float32, lambda rng, shape, dtype: np.zeros(shape, np.float64))
    assert variable.dtype == np.float32


def test_initializers_come_from_the_scope(ctx):
    ones = ctx.with_initializer(initializers.ones).in_scope("a")
    np.testing.assert_array_equal(ones.variable("v", (2, 2)).value, np.ones((2, 2)))
    assert not ctx.variable("v", (2, 2)).value.any()
    assert Context(0).variable("v", (2, 2)).value.std() > 0


def test_double_use_in_one_run_is_an_error_that_names_the_ways_out(ctx):
    with ctx.forward_pass():
        ctx.variable("v")
        with pytest.raises(ValueError, match=r"/v is used twice in one run: .*ctx\.in_scope\(\.\.\.\).*ctx\.reuse\(\)"):
            ctx.variable("v")
        assert ctx.reuse().variable("v") is ctx.checked(False).variable("v")
    with ctx.forward_pass():
        ctx.variable("v")


def test_two_layers_in_one_scope_are_an_error(ctx):
    with ctx.forward_pass(), pytest.raises(ValueError, match="/dense/weights is used twice"):
        layers.dense(ctx, layers.dense(ctx, np.ones((2, 3)), 3), 3)


def test_a_variable_that_could_not_be_made_was_not_used(ctx):
    """Else the second try would be told of a double use that there was not."""
    with ctx.forward_pass():
        for _ in range(2):
            with pytest.raises(ValueError, match=r"reuse\(\) needs a variable that exists, but there is no /v"):
                ctx.reuse().variable("v")
        ctx.variable("v")


def test_reuse_does_not_make_variables(ctx):
    with pytest.raises(ValueError, match=r"reuse\(\) needs a variable that exists, but there is no /v"):
        ctx.reuse().variable("v")
    assert ctx.variables() == []


def test_get_variable_absolute_and_relative(ctx):
    variable = ctx.in_scope("a").in_scope("b").variable("v")
    assert ctx.get_variable("/a/b/v") is variable
    assert ctx.get_variable("a/b/v") is variable
    assert ctx.in_scope("a").get_variable("b/v") is variable
    assert ctx.in_scope("a").get_variable("/a/b/v") is variable


def test_get_variable_says_what_there_is(ctx):
    with pytest.raises(KeyError, match="there is no variable /v; there are: none yet"):
        ctx.get_variable("v")
    ctx.in_scope("a").variable("w")
    with pytest.raises(KeyError, match="there is no variable /a/v; there are: /a/w"):
        ctx.in_scope("a").get_variable("v")


def test_variables_by_kind_in_the_order_they_were_made(ctx):
    made = [
        ctx.variable("z", trainable=False),
        ctx.in_scope("b").variable("a", role="mine"),
        ctx.in_scope("a").variable("a"),
    ]
    assert ctx.variables() == made
    assert ctx.variables(trainable=True) == made[1:]
    assert ctx.variables(trainable=False) == made[:1]
    assert ctx.variables(role="mine") == made[1:2]
    assert ctx.in_scope("a").variables() == made[2:]


def test_delete_variables(ctx):
    for scope in ("a", "b", "ab"):
        ctx.in_scope(scope).variable("v")
    assert ctx.in_scope("a").delete_variables() == 1
    assert [each.path for each in ctx.variables()] == ["/b/v", "/ab/v"]
    assert ctx.delete_variables() == 2
    assert ctx.delete_variables() == 0


def test_num_parameters_counts_what_learns(ctx):
    ctx.in_scope("a").variable("w", (3, 4))
    ctx.in_scope("a").variable("mean", (100,), initializer=initializers.zeros, trainable=False)
    ctx.variable("scalar")
    assert ctx.num_parameters == 13
    assert ctx.in_scope("a").num_parameters == 12


def test_add_variable(ctx):
    variable = Variable("/a/v", np.ones(2))
    ctx.add_variable(variable)
    assert ctx.get_variable("/a/v") is variable
    with pytest.raises(ValueError, match="there is a variable /a/v already"):
        ctx.add_variable(Variable("/a/v", np.ones(2)))


def test_first_values_are_drawn_from_the_seed():
    first, again, other = (Context(seed).variable("w", (4, 4)).value for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(Context(rng).variable("w", (4, 4)).value, first)


# --- parameters -----------------------------------------------------------------------------------


def test_parameters_are_found_by_walking_up(ctx):
    inner = ctx.in_scope("a").in_scope("b")
    assert inner.get_param("rate") is None
    assert inner.get_param("rate", 1) == 1
    ctx.set_param("rate", 2)
    assert inner.get_param("rate", 1) == 2
    ctx.in_scope("a").set_params({"rate": 3, "other": None})
    assert inner.get_param("rate") == 3
    assert inner.get_param("other", 1) is None
    assert ctx.in_scope("ab").get_param("rate") == 2
    assert ctx.parameters == {"/": {"rate": 2}, "/a": {"rate": 3, "other": None}}


def test_the_list_of_parameters_is_a_copy(ctx):
    ctx.set_param("sizes", [1])
    ctx.parameters["/"]["sizes"].append(2)
    assert ctx.get_param("sizes") == [1]


# --- runs -------------------------------------------------------------------------------------------


def test_forward_pass_sets_the_mode_and_gives_it_back(ctx):
    assert not ctx.is_training
    with ctx.forward_pass(training=True) as run:
        assert ctx.is_training
        assert ctx.run is run
        with ctx.forward_pass():
            assert not ctx.in_scope("a").is_training
        assert ctx.run is run
    assert not ctx.is_training


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_forward_pass_gives_the_mode_back_after_an_error(ctx, error):
    ctx.is_training = True
    before = ctx.run
    with pytest.raises(error), ctx.forward_pass(training=False):
        raise error
    assert ctx.is_training
    assert ctx.run is before


def test_what_a_run_left_is_gone_with_it(ctx):
    with ctx.forward_pass(training=True):
        ctx.add_loss(Node(np.ones(())))
        ctx.run.after_step["/a"] = lambda: {}
    with ctx.forward_pass(training=True) as run:
        assert run.losses == []
        assert run.after_step == {}


def test_offering_ends_with_its_block(ctx):
    with ctx.offering("key", 1):
        with ctx.in_scope("a").offering("key", 2):
            assert ctx.service("key") == 2
        assert ctx.in_scope("b").service("key") == 1
        assert Context(0).service("key") is None
        with pytest.raises(ValueError, match="x"), ctx.offering("key", 3):
            raise ValueError("x")
        assert ctx.service("key", 4) == 1
    assert ctx.service("key", 4) == 4


def test_first_time_is_once_in_a_scope(ctx):
    assert [ctx.first_time("a"), ctx.first_time("a"), ctx.first_time("b"), ctx.in_scope("s").first_time("a")] == [
        True,
        False,
        True,
        True,
    ]


# --- apply: all or nothing --------------------------------------------------------------------------


@pytest.fixture
def variables(ctx):
    return [ctx.variable(name, (2,), initializer=initializers.zeros) for name in "abc"]


def test_apply_assigns_what_is_given_and_what_layers_left(ctx, variables):
    a, b, _ = variables
    with ctx.forward_pass(training=True) as run:
        run.after_step["/b"] = lambda: {b: np.array([3.0, 4.0])}
        ctx.apply({a: [1.0, 2.0]})
        assert run.after_step == {}
    np.testing.assert_array_equal([each.value for each in variables], [[1, 2], [3, 4], [0, 0]])
    assert all(not each.value.flags.writeable for each in variables)


@pytest.mark.parametrize("bad", [np.ones(3), "words", np.ones((2, 2))], ids=["shape", "type", "rank"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_value_changes_nothing(ctx, variables, place, bad):
    values = {each: np.ones(2) for each in variables}
    values[variables[place]] = bad
    nodes = [each.node for each in variables]
    expected = pytest.raises((TypeError, ValueError), match=r"must keep its shape|must be plain real numbers")
    with ctx.forward_pass(training=True), expected:
        ctx.apply(values)
    assert not np.any([each.value for each in variables])
    assert [each.node for each in variables] == nodes


def test_one_failing_preparation_changes_nothing(ctx, variables):
    a, b, _ = variables

    def fails():
        raise ArithmeticError("no")

    with ctx.forward_pass(training=True) as run:
        run.after_step["/b"] = lambda: {b: np.ones(2)}
        run.after_step["/c"] = fails
        with pytest.raises(ArithmeticError, match="no"):
            ctx.apply({a: np.ones(2)})
    assert not np.any([each.value for each in variables])


@pytest.mark.parametrize("when", [1, 2, 3])
def test_an_interrupt_between_two_assignments_changes_nothing(ctx, variables, monkeypatch, when):
    def interrupted(held):
        hold_all(dict(list(held.items())[:when]))
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "hold_all", interrupted)
    with ctx.forward_pass(training=True), pytest.raises(KeyboardInterrupt):
        ctx.apply({each: np.ones(2) for each in variables})
    assert not np.any([each.value for each in variables])


def test_a_run_that_is_not_applied_changes_nothing(ctx, variables):
    with ctx.forward_pass(training=True) as run:
        run.after_step["/b"] = lambda: {variables[1]: np.ones(2)}
    assert not np.any([each.value for each in variables])


# --- initializers ---------------------------------------------------------------------------------------


def test_zeros_and_ones(rng):
    assert initializers.zeros(rng, (2,), np.dtype(np.float32)).tolist() == [0, 0]
    assert initializers.ones(rng, (), np.dtype(np.float64)).tolist() == 1


def test_a_variable_starts_at_zero_unless_it_is_a_matrix():
    ctx = Context(0)
    assert ctx.variable("number").value == 0
    assert not ctx.variable("vector", (3,)).value.any()
    assert ctx.variable("matrix", (3, 2)).value.all()


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), [((200, 300), 200, 300), ((3, 3, 40, 50), 360, 450)])
def test_he_and_glorot_have_their_variance(rng, shape, fan_in, fan_out):
    he = initializers.he(rng, shape, np.dtype(np.float32))
    glorot = initializers.glorot(rng, shape, np.dtype(np.float32))
    assert he.dtype == glorot.dtype == np.float32
    # Of n draws the variance has a relative deviation of sqrt(2 / n) for normal ones, less for uniform: 6 of these.
    within = 6 * np.sqrt(2 / he.size)
    assert abs(he.var() * fan_in / 2 - 1) < within
    assert abs(glorot.var() * (fan_in + fan_out) / 2 - 1) < within
    assert np.abs(glorot).max() <= np.float32(np.sqrt(6 / (fan_in + fan_out)))
    assert abs(he.mean()) < 6 * np.sqrt(2 / fan_in / he.size)


@pytest.mark.parametrize("initializer", [initializers.he, initializers.glorot])
def test_he_and_glorot_need_a_weight(ctx, initializer):
    with pytest.raises(ValueError, match=r"need a weight of shape \(\.\.\., inputs, outputs\), got \(3,\)"):
        ctx.variable("v", (3,), initializer=initializer)


def test_deleted_variables_take_the_optimizer_s_memory_of_them_along(rng):
    ctx = Context(0)

    def model(ctx, x, classes=2):
        return layers.dense(ctx.in_scope("readout"), layers.dense(ctx.in_scope("body"), x, 3), classes)

    trainer = Trainer(ctx, model, losses.softmax_cross_entropy, optimizers.SGD(0.1, momentum=0.9))
    trainer.train_step(rng.normal(size=(4, 5)), np.zeros(4, int))
    assert ctx.in_scope("readout").delete_variables() == 4  # weights and bias, and a velocity of each
    trainer.model_fn = lambda ctx, x: model(ctx, x, classes=7)
    trainer.train_step(rng.normal(size=(4, 5)), np.full(4, 6))
    assert ctx.get_variable("/optimizer/readout/dense/bias/velocity").shape == (7,)
    assert ctx.get_variable("/optimizer/body/dense/bias/velocity").shape == (3,)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["copy", "pickle"]
)
def test_a_copy_is_one_of_its_own_and_goes_on_alike(copied):
    first = trained(1)
    before = state(first.context)
    twin = copied(first.context.in_scope("here"))
    assert twin.scope == "/here"
    twin = Trainer(twin.in_absolute_path("/"), first.model_fn, first.loss_fn, first.optimizer)
    assert state(twin.context) == before
    twin.train_step(*BATCH)
    assert state(first.context) == before
    first.train_step(*BATCH)
    assert state(first.context) == state(twin.context)
    assert all(not variable.value.flags.writeable for variable in twin.context.variables())
    assert twin.context.rng.random() == first.context.rng.random()


def test_a_copy_from_within_a_run_has_none(ctx):
    with ctx.changing("this"), ctx.forward_pass(training=True):
        ctx.variable("v", (2,))
        other = copy.deepcopy(ctx)
        assert not other.is_training
        with other.changing("that"):
            other.variable("v", (2,))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not(ctx):
    began, end = threading.Event(), threading.Event()

    def train():
        with ctx.changing("a training step"):
            began.set()
            end.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert began.wait(60)
    child = os.fork()
    if child == 0:
        try:
            with ctx.changing("a training step"):
                os._exit(7)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7
