"""What layers and optimizers read from the context's parameters, and what is said of misspelt ones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pybn
from pybn import Context, Node, Trainer, layers, losses, ops, optimizers
from pybn.framework.parameters import Misspelt, MisspeltParameterWarning
from tests.support.derivatives import check_orders


@pytest.fixture
def ctx():
    return Context(0)


def paths(ctx):
    return [variable.path for variable in ctx.variables()]


# --- normalization ---------------------------------------------------------------------------------------


def test_normalize_by_the_batch_is_batch_norm(ctx, rng):
    x = rng.standard_normal((6, 2, 3))
    ctx.set_param("normalization", "batch")
    other = Context(0)
    with ctx.forward_pass(training=True), other.forward_pass(training=True):
        y, expected = layers.normalize(ctx.in_scope("a"), x), pybn.batch_norm(other.in_scope("a"), x)
        ctx.apply()
        other.apply()
    np.testing.assert_array_equal(y.value, expected.value)
    assert paths(ctx) == paths(other)
    np.testing.assert_allclose(ctx.get_variable("/a/batch_normalization/mean").value, x.mean((0, 1)), atol=1e-15)


@pytest.mark.parametrize("how", ["set", "unset"])
def test_normalize_by_the_example_is_layer_norm_and_the_default(ctx, rng, how):
    x = rng.standard_normal((6, 2, 3))
    if how == "set":
        ctx.set_param("normalization", "layer")
    np.testing.assert_array_equal(layers.normalize(ctx, x).value, layers.layer_norm(Context(0), x).value)
    assert paths(ctx) == ["/layer_norm/scale", "/layer_norm/offset"]


def test_normalize_not_at_all(ctx, rng):
    ctx.set_param("normalization", "none")
    x = Node(rng.standard_normal((6, 3)))
    assert layers.normalize(ctx, x) is x
    assert paths(ctx) == []


def test_a_scope_normalizes_in_its_own_way(ctx, rng):
    ctx.set_param("normalization", "batch")
    ctx.in_scope("head").set_param("normalization", "none")
    for scope in ("body", "head"):
        layers.normalize(ctx.in_scope(scope), rng.standard_normal((6, 3)))
    assert {path.split("/")[1] for path in paths(ctx)} == {"body"}


# --- activation and dropout -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (None, lambda x: np.maximum(x, 0)),
        ("relu", lambda x: np.maximum(x, 0)),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("tanh", np.tanh),
        ("swish", lambda x: x / (1 + np.exp(-x))),
        ("none", lambda x: x),
    ],
)
def test_activation(ctx, rng, name, function):
    if name is not None:
        ctx.set_param("activation", name)
    x = rng.standard_normal((5, 4))
    np.testing.assert_allclose(layers.activation(ctx, x).value, function(x), rtol=1e-14, atol=1e-15)
    if function(-1.0) != 0:  # relu's second derivative is 0, and nothing to be checked
        check_orders(lambda x: layers.activation(ctx, x), [x], rng)


def test_dropout_of_the_contexts_rate(ctx):
    x = np.ones((100, 100), np.float32)
    with ctx.forward_pass(training=True):
        np.testing.assert_array_equal(layers.dropout(ctx, x).value, x)  # not set: 0
        ctx.set_param("dropout_rate", 0.75)
        y = layers.dropout(ctx, x).value
    assert set(np.unique(y)) == {0.0, 4.0}
    assert abs(np.mean(y == 0) - 0.75) < 6 * np.sqrt(0.75 * 0.25 / x.size)
    np.testing.assert_array_equal(layers.dropout(ctx, x).value, x)  # in evaluation
    with ctx.forward_pass(training=True):
        np.testing.assert_array_equal(layers.dropout(ctx, x, 0.0).value, x)  # its own rate goes before


@pytest.mark.parametrize("rate", [-0.1, 1, np.nan, "0.5", None, [0.5]])
def test_a_rate_that_is_none_names_the_parameter(ctx, rate):
    ctx.set_param("dropout_rate", rate)
    with pytest.raises(ValueError, match=r"the parameter dropout_rate must lie in \[0, 1\), got"):
        layers.dropout(ctx, np.ones((2, 2)))


# --- optimizer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "rate"),
    [
        (None, optimizers.AdamW, None),
        ("adamw", optimizers.AdamW, 0.2),
        ("adam", optimizers.Adam, None),
        ("adam", optimizers.Adam, 0.3),
        ("sgd", optimizers.SGD, 0.1),
    ],
)
def test_the_optimizer_that_the_context_names(ctx, name, kind, rate):
    if name is not None:
        ctx.set_param("optimizer", name)
    if rate is not None:
        ctx.set_param("learning_rate", rate)
    found = optimizers.from_context(ctx)
    assert type(found) is kind
    assert found.learning_rate == (1e-3 if rate is None else rate)


def test_sgd_has_no_learning_rate_of_its_own(ctx):
    ctx.set_param("optimizer", "sgd")
    with pytest.raises(ValueError, match=r"the optimizer 'sgd' has no default .*: set the parameter learning_rate"):
        optimizers.from_context(ctx)


def test_a_learning_rate_in_the_context_is_checked(ctx):
    ctx.set_param("learning_rate", -1.0)
    with pytest.raises(ValueError, match="learning_rate must be finite and not negative, got -1"):
        optimizers.from_context(ctx)


# --- misspelt values and keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "read", "text"),
    [
        ("normalization", "bacth", lambda ctx: layers.normalize(ctx, [[1.0]]), "'bacth'; did you mean 'batch'"),
        ("normalization", None, lambda ctx: layers.normalize(ctx, [[1.0]]), "'layer', 'none', 'batch', got None; did"),
        ("activation", "rleu", lambda ctx: layers.activation(ctx, [[1.0]]), "'rleu'; did you mean 'relu'"),
        ("activation", ops.relu, lambda ctx: layers.activation(ctx, [[1.0]]), "'relu', 'sigmoid', .*, got <function"),
        ("activation", ["relu"], lambda ctx: layers.activation(ctx, [[1.0]]), r"'relu', .*, got \['relu'\]; did"),
        ("optimizer", "adma", optimizers.from_context, "'adamw', 'adam', 'sgd', got 'adma'; did you"),
    ],
)
def test_a_misspelt_value(ctx, key, value, read, text):
    ctx.set_param(key, value)
    with pytest.raises(ValueError, match=f"the parameter {key} must be one of .*{text}"):
        read(ctx)


def model(ctx, x):
    x = layers.dropout(ctx, layers.activation(ctx, layers.dense(ctx, x, 4)))
    return layers.dense(ctx.in_scope("out"), x, 2)


def one_step(ctx, model=model):
    trainer = Trainer(ctx, model, losses.softmax_cross_entropy, optimizers.from_context(ctx))
    trainer.train_step(np.ones((3, 2), np.float32), np.array([0, 1, 1]))
    return trainer


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("droput_rate", "dropout_rate"),
        ("dropout", "dropout_rate"),
        ("Activation", "activation"),
        ("optimzer", "optimizer"),
    ],
)
def test_a_misspelt_key_is_told_with_the_first_step(ctx, key, meant):
    ctx.in_scope("out").set_param(key, 0.5)
    with pytest.warns(
        MisspeltParameterWarning, match=f"'{key}' of scope /out was not read .* '{meant}', which"
    ) as told:
        trainer = one_step(ctx)
    assert len(told) == 1
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.train_step(np.ones((3, 2), np.float32), np.array([0, 1, 1]))


def test_what_is_read_or_like_nothing_or_set_twice_is_not_told(ctx):
    """A parameter that is the model's own; one that nobody reads and that is like none; one beside the right one."""

    def own(ctx, x):
        assert ctx.get_param("activations") == 3
        return model(ctx, x)

    ctx.set_params({"activations": 3, "title": "a try", "dropout_rates": 1, "dropout_rate": 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_step(ctx, own)
    assert ctx.misspelt_params() == []


def test_what_was_read_is_still_known_after_a_change_was_taken_back(ctx):
    def in_vain():
        ctx.get_param("dropout_rate")
        raise KeyboardInterrupt

    ctx.set_param("droput_rate", 0.5)
    with pytest.raises(KeyboardInterrupt), ctx.restored_on_error():
        in_vain()
    assert ctx.misspelt_params() == [Misspelt("/", "droput_rate", "dropout_rate")]
