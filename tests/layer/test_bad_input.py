"""Bad input through the layer: the row of the table, the builder's call that refuses it, and nothing changed."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Node, batchnorm, layers
from tests.support import bad_arguments
from tests.support.networks import assert_close, averages, examples, in_training, normalized_first, trained, unchanged

pytestmark = pytest.mark.usefixtures("backend")

OPERANDS = {
    f"{group}: {what}": bad
    for group in ("x", "feature_axis", "mask", "epsilon")
    for what, bad in bad_arguments.GROUPS[group].items()
}

MOMENTUM = {
    "below 0": (-0.01, ValueError, ("momentum must lie in [0, 1]", "-0.01")),
    "above 1": (1.01, ValueError, ("momentum must lie in [0, 1]", "1.01")),
    "NaN": (float("nan"), ValueError, ("momentum must lie in [0, 1]", "nan")),
    "infinite": (float("inf"), ValueError, ("momentum must lie in [0, 1]", "inf")),
    "a word": ("fast", TypeError, ("momentum must be a number", "'fast'")),
    "None": (None, TypeError, ("momentum must be a number", "None")),
    "a bool": (True, TypeError, ("momentum must be a number", "True")),
    "complex": (0.5j, TypeError, ("momentum must be a number", "0.5j")),
    "an array": (np.array([0.9]), TypeError, ("momentum must be a number", "array([0.9])")),
}
SWITCHES = ("center", "scale", "trainable", "frozen_averages", "use_backend_inference")
NO_SWITCH = (0, 1, None, "yes", [], np.array([True]))


def check_words(caught, words):
    for each in words:
        assert each in str(caught.value), (each, str(caught.value))


@pytest.mark.parametrize("row", list(OPERANDS))
@pytest.mark.parametrize("training", [True, False])
def test_operands(row, training):
    """Every row of the operations that the layer can be given, in both modes; no variable is made."""
    bad = OPERANDS[row]
    given = {"x": np.ones(bad_arguments.SHAPE, np.float32), "feature_axis": 1} | {
        name: value for name, value in bad.changes.items() if name not in ("dy", "out")
    }
    ctx = Context()
    with ctx.forward_pass(training=training), pytest.raises(bad.error) as caught:
        batchnorm.batch_norm(ctx, **given)
    check_words(caught, bad.words)
    assert ctx.variables() == []
    assert ctx.parameters == {}


@pytest.mark.parametrize("row", list(bad_arguments.X))
def test_bad_x_at_once(row):
    """`new` refuses it, before any option is set."""
    bad = bad_arguments.X[row]
    with pytest.raises(bad.error) as caught:
        batchnorm.new(Context(), bad.changes["x"], feature_axis=1)
    check_words(caught, bad.words)


@pytest.mark.parametrize("option", ["mask", "epsilon"])
def test_bad_option_at_once(option):
    """At the builder's call, not in `done`; and the call before it still holds."""
    ctx = Context()
    for bad in bad_arguments.GROUPS[option].values():
        config = batchnorm.new(ctx, np.ones(bad_arguments.SHAPE, np.float32), feature_axis=1).epsilon(3.0)
        with pytest.raises(bad.error) as caught:
            getattr(config, option)(bad.changes[option])
        check_words(caught, bad.words)
        with ctx.forward_pass():
            np.testing.assert_array_equal(config.done().value, 0.5)


@pytest.mark.parametrize("row", list(MOMENTUM))
def test_momentum(row):
    value, error, words = MOMENTUM[row]
    with pytest.raises(error) as caught:
        batchnorm.new(Context(), np.ones((2, 1))).momentum(value)
    check_words(caught, words)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("value", NO_SWITCH, ids=repr)
def test_switches(switch, value):
    """0 and 1 too: `center(0.0)` would be a mistake for an offset."""
    config = batchnorm.new(Context(), np.ones((2, 1)))
    with pytest.raises(TypeError) as caught:
        getattr(config, switch)(value)
    check_words(caught, (f"{switch} must be True or False", repr(value)))


@pytest.mark.parametrize("value", NO_SWITCH, ids=repr)
def test_current_scope_of_the_one_call(value):
    with pytest.raises(TypeError, match="current_scope must be True or False"):
        batchnorm.batch_norm(Context(), np.ones((2, 1)), current_scope=value)


def test_the_bool_of_numpy_is_a_switch():
    ctx = Context()
    with ctx.forward_pass():
        batchnorm.new(ctx, np.ones((2, 1))).center(np.False_).scale(np.True_).done()
    assert "/batch_normalization/offset" not in [variable.path for variable in ctx.variables()]


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda x: x.astype(int), TypeError, ("x must be float16, bfloat16, float32 or float64", "int64")),
        (lambda x: x.astype(complex), TypeError, ("x must be float16, bfloat16, float32 or float64", "complex128")),
        (lambda x: x[0], ValueError, ("x must have rank 2 or more", "(4,)")),
        (lambda x: x[:, :3], ValueError, ("/first/batch_normalization/scale exists with shape (4,)", "(3,)")),
    ],
    ids=["integers", "complex", "a vector", "narrower"],
)
def test_in_a_step(rng, spoil, error, words):
    """A training step, an evaluation and an update on a bad batch leave everything as it was."""
    inputs, labels = examples(rng)
    subject = trained(normalized_first(batchnorm), InMemoryDataset(inputs, labels, 6))
    bad = spoil(inputs)
    attempts = [
        lambda: subject.train_step(bad, labels),
        lambda: subject.eval_step(bad, labels),
        lambda: batchnorm.update_averages(subject, [(inputs, labels), (bad, labels)]),
    ]
    for attempt in attempts:
        with unchanged(subject.context), pytest.raises(error) as caught:
            attempt()
        check_words(caught, words)


def test_a_step_of_nothing(rng):
    """Nothing has no statistics to train with; predictions of nothing are nothing."""
    inputs, labels = examples(rng)
    subject = trained(normalized_first(batchnorm), InMemoryDataset(inputs, labels, 6))
    with unchanged(subject.context), pytest.raises(ValueError, match=r"at least one element per feature.*\(0, 4\)"):
        subject.train_step(inputs[:0], labels[:0])
    with unchanged(subject.context):
        assert subject.predict(inputs[:0]).shape == (0, 2)


def test_a_fully_masked_step(rng):
    """No average moves, in this layer or the one before it."""
    x, labels = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3))

    def run(ctx, inputs):
        x, mask = inputs
        y = batchnorm.batch_norm(ctx.in_scope("first"), x)
        return batchnorm.batch_norm(ctx.in_scope("second"), y, mask=mask)

    subject = trained(run, [((x, np.ones((4, 5), bool)), labels)])
    with unchanged(subject.context), pytest.raises(ValueError, match="at least one unmasked element"):
        subject.train_step((x, np.zeros((4, 5), bool)), labels)
    assert averages(subject.context, "first")[2] == averages(subject.context, "second")[2] == 2


def test_masked_arrays_in_the_trainer(rng):
    """A numpy.ma mask would be dropped on the way to the layer, and the values under it counted."""
    inputs, labels = examples(rng)
    subject = trained(normalized_first(batchnorm), InMemoryDataset(inputs, labels, 6))
    masked = np.ma.masked_array(inputs, inputs > 2)
    for attempt in (lambda: subject.train_step(masked, labels), lambda: subject.predict((masked, 1))):
        with unchanged(subject.context), pytest.raises(TypeError, match=r"plain arrays, got a numpy.ma.MaskedArray"):
            attempt()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_x_outside_training(value):
    """Evaluation answers with NaN or infinity in that element alone; batch statistics raise."""
    ctx, x = Context(), np.array([[1.0, 2.0], [3.0, 4.0]])
    in_training(batchnorm, ctx, x)
    x[0, 1] = value
    with ctx.forward_pass():
        y = batchnorm.batch_norm(ctx, x).value
        assert not np.isfinite(y[0, 1])
        y[0, 1] = 0
        assert np.isfinite(y).all()
    with ctx.forward_pass(), batchnorm.batch_statistics(ctx), pytest.raises(batchnorm.NonFiniteStatisticsError):
        batchnorm.batch_norm(ctx, x)


def test_non_finite_x_into_frozen_averages():
    """Frozen layers have no statistics to spoil: they pass it on, and the loss will tell."""
    ctx, x = Context(), np.array([[1.0, np.nan], [3.0, 4.0]])
    y = in_training(batchnorm, ctx, x, frozen_averages=True).value
    assert np.isnan(y).tolist() == [[False, True], [False, False]]
    assert_close(ctx.get_variable("/batch_normalization/mean").value, [0, 0], "mean")


def test_zero_epsilon_and_constant_features():
    """epsilon 0 is allowed: a constant feature gives the offset, and evaluation with V = 0 too."""
    ctx, x = Context(), np.array([[5.0, 1.0], [5.0, 3.0]])
    y = in_training(batchnorm, ctx, x, epsilon=0.0).value
    np.testing.assert_array_equal(y, [[0, -1], [0, 1]])
    for fused in (True, False):
        with ctx.forward_pass():
            y = batchnorm.batch_norm(ctx, x, epsilon=0, use_backend_inference=fused).value
        np.testing.assert_array_equal(y, [[0, -1], [0, 1]])


@pytest.mark.parametrize("nested", [[[1.0], [3.0]], ((1.0,), (3.0,))], ids=["lists", "tuples"])
def test_what_is_an_array_is_taken(nested):
    """Lists of floats, nodes, and any layout of memory."""
    ctx = Context()
    y = in_training(batchnorm, ctx, nested, epsilon=0.0)
    np.testing.assert_array_equal(y.value, [[-1], [1]])
    strided = np.array([[1.0, 9.0], [3.0, 9.0]]).astype(">f8")[:, :1]
    for x in (strided, Node(strided)):
        np.testing.assert_array_equal(in_training(batchnorm, ctx, x, epsilon=0.0).value, [[-1], [1]])


def test_no_layer_in_the_way_of_integers(rng):
    """Labels or indices may go around the layer: only what is normalized must be floats."""
    inputs, labels = examples(rng)

    def run(ctx, batch):
        x, rows = batch
        return layers.dense(ctx, batchnorm.batch_norm(ctx.in_scope("first"), x)[rows], 2)

    subject = trained(run, [((inputs, np.arange(len(inputs))), labels)])
    assert averages(subject.context, "first")[2] == 2
