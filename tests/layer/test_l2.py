"""The parameter `l2_regularization`: on the scale alone, and exactly."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import (
    Context,
    batchnorm,
)
from tests.support.networks import assert_close, chain, examples, in_training, model, trainer
from tests.support.switches import penalty

pytestmark = pytest.mark.usefixtures("backend")


def test_l2_is_on_the_scale_alone(bn, rng):
    ctx, x = Context(), rng.normal(size=(5, 3))
    ctx.set_param("l2_regularization", 0.25)
    in_training(bn, ctx, x)
    scale, offset = rng.normal(size=(2, 3))
    ctx.get_variable("/batch_normalization/scale").value = scale
    ctx.get_variable("/batch_normalization/offset").value = offset
    loss, gradients = penalty(bn, ctx, x)
    assert_close(loss, 0.25 * (scale**2).sum(), "amount * sum(scale ** 2)", relative=1e-15)
    assert_close(gradients["scale"], 0.5 * scale, "its gradient", relative=1e-15)
    np.testing.assert_array_equal(gradients["offset"], 0)
    with ctx.forward_pass(training=True) as run:  # shared weights are penalized once
        for _ in range(2):
            bn.batch_norm(ctx.checked(False), x)
        assert_close(sum(map(float, run.losses)), loss, "used twice", relative=1e-15)


def test_l2_of_a_scope(rng):
    """A parameter of a scope is for the layers under it."""
    ctx, x = Context(), rng.normal(size=(5, 3))
    ctx.in_scope("one").set_param("l2_regularization", 0.5)
    with ctx.forward_pass(training=True) as run:
        for name in ("one", "other"):
            batchnorm.batch_norm(ctx.in_scope(name), x)
        assert [float(loss) for loss in run.losses] == [1.5]


@pytest.mark.parametrize("options", [{"scale": False}, {"trainable": False}], ids=str)
def test_no_l2_without_a_scale_that_learns(options):
    ctx = Context()
    ctx.set_param("l2_regularization", 0.25)
    assert penalty(batchnorm, ctx, np.ones((2, 3)), **options) == (0.0, {})


@pytest.mark.parametrize("amount", [0, 0.0, None], ids=str)
def test_no_l2_unless_asked_for(amount):
    ctx = Context()
    if amount is not None:
        ctx.set_param("l2_regularization", amount)
    assert penalty(batchnorm, ctx, np.ones((2, 3))) == (0.0, {})


@pytest.mark.parametrize("amount", [-1.0, np.nan, np.inf, "0.1", None, [0.1], np.array([0.1, 0.2])], ids=str)
def test_an_amount_that_is_none_is_named(amount):
    ctx = Context()
    ctx.set_param("l2_regularization", amount)
    with pytest.raises((ValueError, TypeError), match="the parameter l2_regularization must be"):
        penalty(batchnorm, ctx, np.ones((2, 3)))


def test_l2_in_the_trainer(rng):
    """The step says it beside the loss, which is that of evaluation; it goes down the sum."""
    inputs, labels = examples(rng)
    subject = trainer(model(batchnorm, chain))
    plain = subject.eval_step(inputs, labels)["loss"]
    free = trainer(model(batchnorm, chain)).train_step(inputs, labels)["loss"]
    subject.context.set_param("l2_regularization", 0.125)
    assert subject.eval_step(inputs, labels)["loss"] == plain
    weights = [v for v in subject.context.variables() if v.name in ("scale", "weights")]
    expected = 0.125 * sum((v.value**2).sum() for v in weights)
    found = subject.train_step(inputs, labels)
    assert_close(found["regularization"], expected, "regularization")
    assert_close(found["loss"], free, "loss")


@pytest.mark.parametrize("asked", [False, True])
def test_l2_for_the_offset_where_asked(asked):
    ctx = Context()
    ctx.set_param("l2_regularization", 0.5)
    with ctx.forward_pass(training=True) as run:
        batchnorm.batch_norm(
            ctx.with_initializer(lambda *_: np.full(3, 2.0), "offset"), np.ones((2, 3)), regularize_offset=asked
        )
        penalty = sum(float(each) for each in run.losses)
    assert penalty == 0.5 * 3 * 1 + asked * 0.5 * 3 * 4


def test_no_l2_for_an_offset_that_does_not_learn():
    ctx = Context()
    ctx.set_param("l2_regularization", 0.5)
    with ctx.forward_pass(training=True) as run:
        batchnorm.new(ctx, np.ones((2, 3))).center(False).regularize_offset(True).scale(False).done()
        assert run.losses == []
