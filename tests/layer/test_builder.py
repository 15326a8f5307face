"""The builder: its options and defaults, the variables that it makes, its scopes, its one-time use, L2."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import pybn
from pybn import Context, batchnorm, gradient, initializers, layers, ops
from tests.support import arrays
from tests.support.networks import assert_close, in_training

pytestmark = pytest.mark.usefixtures("backend")

OPTIONS = {
    "momentum": 0.99,
    "epsilon": 1e-3,
    "center": True,
    "scale": True,
    "trainable": True,
    "frozen_averages": False,
    "regularize_offset": False,
    "current_scope": False,
    "use_backend_inference": True,
    "mask": None,
    "ghost_batch": None,
}


def value(ctx, name):
    return ctx.get_variable(f"/batch_normalization/{name}").value


def test_names():
    """The contract's constants, and the one call beside the builder, with every option and its default."""
    assert batchnorm.BATCH_NORMALIZATION_SCOPE_NAME == "batch_normalization"
    assert batchnorm.AVERAGES_UPDATES_TRIGGER_PARAM == "batch_normalization_averages_updates_trigger"
    parameters = inspect.signature(pybn.batch_norm).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert defaults == OPTIONS
    assert parameters["feature_axis"].default == -1
    methods = {name for name in vars(batchnorm.Config) if not name.startswith("_")} - {"done"}
    assert methods == set(OPTIONS)
    for name in (*batchnorm.__all__, *vars(batchnorm.Config)):
        if name in batchnorm.__all__ and not name.isupper():
            assert inspect.getdoc(getattr(batchnorm, name)), name


@pytest.mark.parametrize("x", [np.ones((3, 2), np.float32), np.ones((3, 2))], ids=["float32", "float64"])
def test_first_values(x):
    """scale 1, offset 0, mean 0, variance 1, avg_weight 0; the statistics in float64, one weight."""
    ctx = Context()
    with ctx.forward_pass():
        batchnorm.new(ctx, x).done()
    first = {"scale": 1, "offset": 0, "mean": 0, "variance": 1, "avg_weight": 0}
    for name, expected in first.items():
        variable = ctx.get_variable(f"/batch_normalization/{name}")
        assert (variable.value == expected).all()
        assert variable.shape == (() if name == "avg_weight" else (2,))
        assert variable.dtype == (x.dtype if name in ("scale", "offset") else np.float64)
        assert variable.trainable == (name in ("scale", "offset"))


@pytest.mark.parametrize("dtype", arrays.HALVES)
def test_parameters_of_16_bits_are_float32(dtype):
    """Small steps of a float16 scale would be lost."""
    ctx = Context()
    y = in_training(batchnorm, ctx, np.array([[1], [3]], dtype))
    assert y.dtype == dtype
    assert value(ctx, "scale").dtype == value(ctx, "offset").dtype == np.float32
    assert value(ctx, "mean").dtype == value(ctx, "variance").dtype == value(ctx, "avg_weight").dtype == np.float64


def test_builder_and_call_are_one(rng):
    """Every option by its method and by its keyword."""
    x, mask = rng.normal(1, 2, (4, 5, 3)), rng.random((4, 5)) < 0.7
    options = OPTIONS | {"momentum": 0.3, "epsilon": 0.5, "center": False, "mask": mask, "current_scope": True}
    one, other = Context(), Context()
    for _ in range(2):
        by_call = in_training(batchnorm, one, x, **options)
        with other.forward_pass(training=True):
            config = batchnorm.new(other, x).momentum(0.3).epsilon(0.5).center(False).scale(True).trainable(True)
            by_builder = config.frozen_averages(False).use_backend_inference(True).current_scope().mask(mask).done()
            other.apply()
        np.testing.assert_array_equal(by_call.value, by_builder.value)
    assert [v.path for v in one.variables()] == ["/scale", "/mean", "/variance", "/avg_weight"]
    for variable in one.variables():
        np.testing.assert_array_equal(variable.value, other.get_variable(variable.path).value)


@pytest.mark.parametrize("feature_axis", [0, 1, -1, -2, (1, 2), (2, 1), (0, 3), (-1, -3)], ids=str)
def test_feature_axes(rng, feature_axis):
    """Any axis and any tuple of axes, in training and evaluation; the variables in ascending axis order."""
    x = rng.normal(1, 2, (3, 4, 5, 2))
    axes = sorted(int(a) % 4 for a in np.atleast_1d(feature_axis))
    reduced = tuple(a for a in range(4) if a not in axes)
    mean, variance = x.mean(reduced, keepdims=True), x.var(reduced, keepdims=True)
    ctx = Context()
    in_training(batchnorm, ctx, x, feature_axis=feature_axis)
    scale, offset = (rng.uniform(1, 2, mean.squeeze(reduced).shape) for _ in range(2))
    ctx.get_variable("/batch_normalization/scale").value = scale
    ctx.get_variable("/batch_normalization/offset").value = offset
    expected = np.expand_dims(scale, reduced) * (x - mean) / np.sqrt(variance + 1e-3) + np.expand_dims(offset, reduced)
    assert value(ctx, "mean").shape == tuple(x.shape[a] for a in axes)
    assert_close(value(ctx, "mean"), mean.squeeze(reduced), "mean")
    assert_close(value(ctx, "variance"), variance.squeeze(reduced), "variance")
    with ctx.forward_pass():
        assert_close(batchnorm.batch_norm(ctx, x, feature_axis=feature_axis).value, expected, "evaluation")
    assert_close(in_training(batchnorm, ctx, x, feature_axis=feature_axis).value, expected, "training")


# --- used once, one scope each -------------------------------------------------------------------


def test_a_config_is_used_once():
    ctx = Context()
    with ctx.forward_pass():
        config = batchnorm.new(ctx, np.ones((2, 3)))
        config.done()
        with pytest.raises(RuntimeError, match="used already"):
            config.done()


def test_a_config_that_failed_is_used_too():
    ctx = Context()
    with ctx.forward_pass(training=True):
        config = batchnorm.new(ctx, np.full((2, 3), np.nan))
        with pytest.raises(batchnorm.NonFiniteStatisticsError):
            config.done()
        with pytest.raises(RuntimeError, match="used already"):
            config.done()


@pytest.mark.parametrize("current_scope", [True, False])
def test_two_layers_in_one_scope(current_scope):
    """An error that says what to do; after it the context works on."""
    ctx = Context().in_scope("block")
    x = np.array([[1.0], [3.0]])
    with ctx.forward_pass(training=True):
        batchnorm.batch_norm(ctx, x, current_scope=current_scope)
        with pytest.raises(ValueError, match=r"/block.*used twice.*ctx\.in_scope"):
            batchnorm.batch_norm(ctx, x, current_scope=current_scope)
    with ctx.forward_pass(training=True):
        batchnorm.batch_norm(ctx, x, current_scope=current_scope)
        batchnorm.batch_norm(ctx.in_scope("other"), x, current_scope=current_scope)


def test_reuse_shares(rng):
    """With reuse, the second use has the same variables and sees the same values."""
    ctx, x = Context(), rng.normal(size=(5, 2))
    in_training(batchnorm, ctx, x)
    with ctx.forward_pass():
        one = batchnorm.batch_norm(ctx, x)
        other = batchnorm.batch_norm(ctx.reuse(), x)
    np.testing.assert_array_equal(one.value, other.value)
    assert len(ctx.variables()) == 5
    with ctx.forward_pass(), pytest.raises(ValueError, match="reuse"):
        batchnorm.batch_norm(ctx.in_scope("new").reuse(), x)


def test_another_width():
    ctx = Context()
    in_training(batchnorm, ctx, np.ones((2, 3)))
    with (
        ctx.forward_pass(),
        pytest.raises(ValueError, match=r"/batch_normalization/scale exists with shape \(3,\).*\(4,\)"),
    ):
        batchnorm.batch_norm(ctx, np.ones((2, 4)))


def test_trigger():
    """Set at the root by a layer that may move, wherever that is, and by no other."""
    name = batchnorm.AVERAGES_UPDATES_TRIGGER_PARAM
    for options, expected in (({}, True), ({"trainable": False}, False), ({"frozen_averages": True}, False)):
        ctx = Context()
        deep = ctx.in_scope("a").in_scope("b")
        with ctx.forward_pass():
            batchnorm.batch_norm(deep, np.ones((2, 3)), **options)
        assert ctx.parameters.get("/", {}).get(name, False) is expected
        assert "/a/b" not in ctx.parameters


# --- first values, and what a Config says of itself -----------------------------------------------------


def test_first_values_by_name(rng):
    """A scale of zeros: the residual block begins as the identity, and learns."""
    ctx = Context(0)
    zero = ctx.with_initializer(initializers.zeros, "scale").with_initializer(lambda *_: np.full(3, 0.5), "offset")
    x = ops.as_node(rng.standard_normal((8, 3)))
    with ctx.forward_pass(training=True):
        y = batchnorm.batch_norm(zero.in_scope("block"), x)
    np.testing.assert_array_equal(y.value, 0.5)
    scale = ctx.get_variable("/block/batch_normalization/scale")
    (slope,) = gradient(ops.sum(y * x), [scale.node])
    assert np.abs(slope.value).min() > 0.1
    values = {each.name: each.value.ravel()[0] for each in ctx.variables()}
    assert values == {"scale": 0, "offset": 0.5, "mean": 0, "variance": 1, "avg_weight": 0}


def test_an_initializer_without_a_name_leaves_the_layer_alone():
    ctx = Context(0)
    layers.dense(ctx.with_initializer(lambda rng, shape, dtype: np.full(shape, 7.0)), np.ones((2, 3)), 2)
    batchnorm.batch_norm(ctx.with_initializer(initializers.glorot), np.ones((2, 3)))
    values = {each.name: each.value.ravel()[0] for each in ctx.variables()}
    assert values == {"weights": 7, "bias": 0, "scale": 1, "offset": 0, "mean": 0, "variance": 1, "avg_weight": 0}


def test_a_config_says_its_options():
    config = batchnorm.new(Context(0).in_scope("layer_0"), np.ones((4, 2), np.float32))
    assert repr(config) == (
        "Config(/layer_0, x float32 (4, 2), feature_axis=-1, momentum=0.99, epsilon=0.001, center=True, scale=True, "
        "trainable=True, frozen_averages=False, regularize_offset=False, current_scope=False, "
        "use_backend_inference=True, mask=None, ghost_batch=None)"
    )
    config.momentum(0.5).epsilon(1e-5).center(False).scale(False).trainable(False).frozen_averages(True)
    config.regularize_offset(True).current_scope().use_backend_inference(False).mask(np.ones(4, bool)).ghost_batch(2)
    assert repr(config) == (
        "Config(/layer_0, x float32 (4, 2), feature_axis=-1, momentum=0.5, epsilon=1e-05, center=False, scale=False, "
        "trainable=False, frozen_averages=True, regularize_offset=True, current_scope=True, "
        "use_backend_inference=False, mask=<(4,)>, ghost_batch=2)"
    )


def test_every_option_is_in_repr_and_in_the_one_call():
    """An option that is added to the builder is added to both."""
    options = {
        name
        for name, each in vars(batchnorm.Config).items()
        if inspect.isfunction(each) and not name.startswith("_") and name != "done"
    }
    said = repr(batchnorm.new(Context(0), np.ones((4, 2))))
    assert [name for name in options if f"{name}=" not in said] == []
    keywords = {
        name
        for name, each in inspect.signature(batchnorm.batch_norm).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert keywords == options


def test_the_words_of_the_paper_and_of_others_stand_where_they_are_looked_for():
    docs = {name: getattr(batchnorm.Config, name).__doc__ for name in ("center", "scale", "epsilon")}
    assert "β" in docs["center"]
    assert "learnable offset" in docs["center"]
    assert "γ" in docs["scale"]
    assert "learnable scale" in docs["scale"]
    assert "1e-5" in docs["epsilon"]


@pytest.mark.parametrize("begin", [batchnorm.new, batchnorm.Config, batchnorm.batch_norm], ids=lambda f: f.__name__)
def test_the_features_are_the_last_axis_unless_said(begin):
    assert inspect.signature(begin).parameters["feature_axis"].default == -1
