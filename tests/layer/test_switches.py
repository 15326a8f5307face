"""Each switch of the layer, alone and with all the others, in every situation."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, Trainer, batchnorm, gradient, layers, losses, ops
from tests.support import arrays
from tests.support.networks import assert_close, examples, normalized_first, trainer, unchanged
from tests.support.switches import ALL, METHODS, Recording, Subject, Switches

pytestmark = pytest.mark.usefixtures("backend")


every_setting = pytest.mark.parametrize("switches", ALL, ids=str)


@every_setting
def test_variables(bn, switches):
    """Those that the switches leave, where they belong, and of what kind."""
    subject = Subject(bn, switches)
    there = {variable.path: variable for variable in subject.ctx.variables()}
    names = ["mean", "variance", "avg_weight", *switches.parameters]
    dense = {"/block/dense/weights", "/block/dense/bias"}
    assert set(there) - dense == {switches.place + name for name in names}
    for name in names:
        may_learn = switches.trainable and name in ("scale", "offset")
        assert there[switches.place + name].trainable == may_learn, name
    trigger = subject.ctx.get_param(bn.AVERAGES_UPDATES_TRIGGER_PARAM, False)
    assert trigger == switches.moves


@every_setting
def test_training(bn, switches):
    """What normalizes, which averages move, and what the optimizer gets and changes."""
    subject = Subject(bn, switches).with_distinct_values()
    x = subject.before_the_layer()
    batch, moving = (x.mean(0), x.var(0)), (subject.value("mean"), subject.value("variance"))
    expected = subject.expected(*(batch if switches.moves else moving))
    parameters = {name: subject.value(name) for name in switches.parameters}
    subject.trainer.train_step(subject.inputs, subject.labels)

    assert_close(subject.predictions, expected, "training")
    learnt = [switches.place + name for name in switches.parameters] if switches.trainable else []
    assert sorted(subject.optimizer.paths) == sorted(["/block/dense/weights", "/block/dense/bias", *learnt])
    for name, before in parameters.items():
        assert (subject.value(name) != before).all() == switches.trainable, name
    moved = [0.75 * old + 0.25 * new for old, new in zip(moving, batch, strict=True)]  # w = 3, so k = 1 - 1/4
    for name, old, new in zip(("mean", "variance"), moving, moved, strict=True):
        if switches.moves:
            assert_close(subject.value(name), new, name)
        else:
            np.testing.assert_array_equal(subject.value(name), old)
    assert subject.value("avg_weight") == (4 if switches.moves else 3)


@every_setting
def test_evaluation(bn, switches):
    """M and V normalize, and nothing changes."""
    subject = Subject(bn, switches).with_distinct_values()
    with unchanged(subject.ctx):
        predictions = subject.trainer.predict(subject.inputs)
        subject.trainer.eval(subject.dataset)
    assert_close(predictions, subject.expected(subject.value("mean"), subject.value("variance")), "evaluation")


@every_setting
@pytest.mark.parametrize("method", METHODS)
def test_update(bn, switches, method):
    """M and V are recomputed where they may move; otherwise the answer is False and nothing changes."""
    subject = Subject(bn, switches).with_distinct_values()
    if not switches.moves:
        # Also where another layer once set the trigger, and where this one was trained before.
        for trigger in (False, True):
            subject.ctx.set_param(bn.AVERAGES_UPDATES_TRIGGER_PARAM, trigger)
            with unchanged(subject.ctx):
                assert bn.update_averages(subject.trainer, subject.dataset, method=method) is False
        return
    x, averages = subject.before_the_layer(), [switches.place + name for name in ("mean", "variance", "avg_weight")]
    others = {v.path: v.value for v in subject.ctx.variables() if v.path not in averages}
    assert bn.update_averages(subject.trainer, subject.dataset, method=method) is True
    for path, value in others.items():
        np.testing.assert_array_equal(subject.ctx.get_variable(path).value, value, err_msg=path)
    if method == "two_phase":
        batches = [x[:5], x[5:10], x[10:]]
        x_mean, x_variance = (np.mean([getattr(b, f)(0) for b in batches], axis=0) for f in ("mean", "var"))
    else:
        x_mean, x_variance = x.mean(0), x.var(0)
    assert_close(subject.value("mean"), x_mean, "mean")
    assert_close(subject.value("variance"), x_variance, "variance")
    assert subject.value("avg_weight") == (6 if method == "two_phase" else 3)


def test_switching(bn):
    """Switches turned on a layer that has been trained: frozen, not trainable, and back."""
    rng = np.random.default_rng(12)
    inputs, labels = examples(rng, 12)
    now = {}
    optimizer = Recording()

    def run(ctx, x):
        return bn.batch_norm(ctx.in_scope("block"), layers.dense(ctx, x, 2), **now)

    trainer = Trainer(Context(1), run, losses.mean_squared_error, optimizer)
    places = {name: f"/block/batch_normalization/{name}" for name in ("scale", "offset", "mean", "variance")}

    def changed_by_a_step(**switches):
        now.clear()
        now.update(switches)
        before = {name: trainer.context.get_variable(path).value for name, path in places.items()}
        trainer.train_step(inputs, labels)
        return {name for name, old in before.items() if (trainer.context.get_variable(places[name]).value != old).any()}

    trainer.train_step(inputs, labels)
    assert changed_by_a_step() == {"scale", "offset", "mean", "variance"}
    assert changed_by_a_step(frozen_averages=True) == {"scale", "offset"}
    assert changed_by_a_step(trainable=False) == set()
    assert changed_by_a_step(trainable=False, frozen_averages=True) == set()
    assert changed_by_a_step() == {"scale", "offset", "mean", "variance"}
    assert changed_by_a_step(scale=False) == {"offset", "mean", "variance"}
    assert changed_by_a_step(center=False) == {"scale", "mean", "variance"}
    assert trainer.context.get_variable("/block/batch_normalization/avg_weight").value == 5


def test_current_scope_of_the_root():
    ctx = Context()
    with ctx.forward_pass(training=True):
        batchnorm.new(ctx, np.array([[1.0], [3.0]])).current_scope().done()
        ctx.apply()
    assert [v.path for v in ctx.variables()] == ["/scale", "/offset", "/mean", "/variance", "/avg_weight"]
    assert ctx.get_variable("/avg_weight").value == 1


def test_not_trainable_keeps_its_variables_from_the_count():
    """num_parameters counts what an optimizer may change."""
    ctx = Context()
    with ctx.forward_pass():
        batchnorm.batch_norm(ctx.in_scope("learns"), np.ones((2, 3)))
        batchnorm.batch_norm(ctx.in_scope("stays"), np.ones((2, 3)), trainable=False)
    assert ctx.num_parameters == 6


@pytest.mark.parametrize("where", [{}, {"feature_axis": (1, 2)}, {"feature_axis": 0}], ids=str)
@pytest.mark.parametrize("dtype", arrays.NAMES)
@pytest.mark.parametrize("masked", [False, True])
def test_both_inferences(rng, where, dtype, masked):
    """Fused and composed are each within 4 units of the truth (contract), so within 8 of each other."""
    x = rng.normal(1, 2, (4, 3, 5)).astype(dtype)
    others = np.delete(x.shape, where.get("feature_axis", 2))
    mask = rng.permuted(np.arange(np.prod(others)) % 3 > 0).reshape(others) if masked else None
    ctx = Context()

    def run(fused):
        with ctx.forward_pass():
            return batchnorm.new(ctx, x, **where).use_backend_inference(fused).mask(mask).done().value

    run(True)
    for name in ("scale", "offset", "mean", "variance"):
        variable = ctx.get_variable(f"/batch_normalization/{name}")
        variable.value = rng.uniform(0.5, 1.5, variable.shape)
    fused, composed = run(True), run(False)
    assert fused.dtype == composed.dtype == x.dtype
    np.testing.assert_allclose(
        fused, composed, rtol=0, atol=8 * float(arrays.limits(dtype).eps) * max(1, np.abs(fused).max())
    )


def test_the_fused_inference_is_the_implementation_s(backend, monkeypatch):
    """True calls the active implementation's operation; False does not."""
    from pybn.backend import active

    called = []
    real = active().batch_norm_inference
    monkeypatch.setattr(active(), "batch_norm_inference", lambda *a, **k: called.append(1) or real(*a, **k))
    ctx = Context()
    for fused in (False, True):
        with ctx.forward_pass():
            batchnorm.new(ctx, np.ones((2, 1))).use_backend_inference(fused).done()
        assert len(called) == fused


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_inference_to_the_third_order(rng, fused, masked):
    """g(x) = sum(c tanh(layer(x))): its third derivative by x, scale and offset, by differences of the second."""
    x, c = rng.normal(1, 2, (4, 3)), rng.normal(size=(4, 3))
    directions = rng.normal(size=(3, 4, 3))
    mask = np.array([True, False, True, True]) if masked else None
    ctx = Context()
    with ctx.forward_pass():
        batchnorm.batch_norm(ctx, x)
    for name in ("scale", "offset", "mean", "variance"):
        variable = ctx.get_variable(f"/batch_normalization/{name}")
        variable.value = rng.uniform(0.5, 1.5, variable.shape)
    scale = ctx.get_variable("/batch_normalization/scale")

    def derivative(order, at):
        with ctx.forward_pass():
            node = ops.as_node(at)
            y = batchnorm.batch_norm(ctx, node, use_backend_inference=fused, mask=mask)
            value = ops.sum(ops.tanh(y) * c)
            for direction in directions[:order]:
                by_x, by_scale = gradient(value, [node, scale.node])
                value = ops.sum(by_x * direction) + ops.sum(by_scale * direction[0])
        return float(value)

    def moved(step):
        before = scale.value
        scale.value = before + step * directions[2][0]
        try:
            return derivative(2, x + step * directions[2])
        finally:
            scale.value = before

    step = 1e-4
    # Central differences of order 4: h**4 = 1e-16 times the seventh derivative, and rounding 1e-16 * 100 / h.
    difference = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    exact = derivative(3, x)
    assert abs(exact - difference) <= 1e-8 * max(1, abs(exact))
    assert abs(exact) > 1e-2


def test_batch_statistics_in_a_block(rng):
    """Evaluation with the batch's statistics, frozen layers apart; the averages are used again afterwards."""
    subject = Subject(batchnorm, Switches()).with_distinct_values()
    x = subject.before_the_layer()
    with unchanged(subject.ctx):
        with batchnorm.batch_statistics(subject.ctx):
            y = subject.trainer.predict(subject.inputs)
        after = subject.trainer.predict(subject.inputs)
    assert_close(y, subject.expected(x.mean(0), x.var(0)), "in the block")
    assert_close(after, subject.expected(subject.value("mean"), subject.value("variance")), "after it")


@pytest.mark.parametrize("switch", [{"trainable": False}, {"frozen_averages": True}], ids=str)
def test_batch_statistics_leave_frozen_layers_alone(bn, switch):
    subject = Subject(bn, Switches(**switch)).with_distinct_values()
    expected = subject.trainer.predict(subject.inputs)
    with unchanged(subject.ctx), bn.batch_statistics(subject.ctx):
        np.testing.assert_array_equal(subject.trainer.predict(subject.inputs), expected)


def test_batch_statistics_end_with_an_error(rng):
    inputs, labels = examples(rng)
    subject = trainer(normalized_first(batchnorm))
    subject.train_step(inputs, labels)
    with unchanged(subject.context), pytest.raises(ZeroDivisionError), batchnorm.batch_statistics(subject.context):
        raise ZeroDivisionError


def test_training_in_the_block_moves_no_average():
    """Weights learn from batch statistics as ever; M, V and w stay."""
    subject, twin = (Subject(batchnorm, Switches()).with_distinct_values() for _ in range(2))
    kept = [subject.value(name) for name in ("mean", "variance", "avg_weight")]
    with batchnorm.batch_statistics(subject.ctx):
        subject.trainer.train_step(subject.inputs, subject.labels)
    twin.trainer.train_step(twin.inputs, twin.labels)
    for name, before in zip(("mean", "variance", "avg_weight"), kept, strict=True):
        np.testing.assert_array_equal(subject.value(name), before)
    for variable in subject.ctx.variables(trainable=True):
        np.testing.assert_array_equal(variable.value, twin.ctx.get_variable(variable.path).value)


@pytest.mark.parametrize("method", METHODS)
def test_update_in_the_block(method):
    """The update normalizes as its method says, and the block's way is there again after it."""
    subject, twin = (Subject(batchnorm, Switches()).with_distinct_values() for _ in range(2))
    with batchnorm.batch_statistics(subject.ctx):
        inside = subject.trainer.predict(subject.inputs)
        assert batchnorm.update_averages(subject.trainer, subject.dataset, method=method) is True
        np.testing.assert_array_equal(subject.trainer.predict(subject.inputs), inside)
    batchnorm.update_averages(twin.trainer, twin.dataset, method=method)
    for name in ("mean", "variance", "avg_weight"):
        np.testing.assert_array_equal(subject.value(name), twin.value(name))


def test_uses_of_one_layer_in_a_step_must_agree(rng):
    x = rng.normal(size=(6, 2))
    ctx = Context(0).checked(False)
    with ctx.forward_pass(training=True):
        batchnorm.batch_norm(ctx, x)
        with pytest.raises(ValueError, match=r"/batch_normalization is used more than once"):
            batchnorm.batch_norm(ctx, x + 3, trainable=False)
