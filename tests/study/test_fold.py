"""Folding: the new weights against the two layers written out in float64, and the report against known errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import pybn
from pybn import batchnorm, layers, reference
from pybn.study import fold, interop


def state(rng, features, **changes):
    values = {"mean": rng.normal(3, 1, features), "variance": rng.uniform(0.1, 4, features)}
    values |= {"scale": rng.normal(1, 1, features), "offset": rng.normal(0, 1, features), "epsilon": 1e-3}
    return interop.State(**(values | changes))


def normalized(x, s):
    return reference.batch_norm_inference(x, s.scale, s.offset, s.mean, s.variance, epsilon=s.epsilon)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("learned", [{}, {"scale": None}, {"offset": None}, {"scale": None, "offset": None}], ids=str)
def test_dense_before_and_after(rng, bias, learned):
    x, weights, own = rng.normal(size=(7, 4)), rng.normal(size=(4, 3)), rng.normal(size=3) if bias else None
    added = 0 if own is None else own
    before, after = state(rng, 3, **learned), state(rng, 4, **learned)
    got = fold.into_previous(before, weights, own)
    # Some roundings of numbers up to 40 / sqrt(.1).
    np.testing.assert_allclose(x @ got.weights + got.bias, normalized(x @ weights + added, before), rtol=0, atol=1e-12)
    got = fold.into_next(after, weights, own)
    np.testing.assert_allclose(x @ got.weights + got.bias, normalized(x, after) @ weights + added, rtol=0, atol=1e-12)


def convolved(x, weights, bias, padding):
    ctx = pybn.Context()
    ctx.add_variable(pybn.Variable("/conv2d/weights", weights))
    ctx.add_variable(pybn.Variable("/conv2d/bias", bias))
    with ctx.forward_pass():
        return layers.conv2d(ctx, x, weights.shape[-1], weights.shape[:2], padding=padding).value


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolution_before(rng, padding):
    x, weights, bias = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(3, 2, 3, 4)), rng.normal(size=4)
    s = state(rng, 4)
    got = fold.into_previous(s, weights, bias)
    expected = normalized(convolved(x, weights, bias, padding), s)
    np.testing.assert_allclose(convolved(x, got.weights, got.bias, padding), expected, rtol=0, atol=1e-12)


def test_convolution_after(rng):
    x, weights, bias = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(3, 2, 3, 4)), rng.normal(size=4)
    s = state(rng, 3)
    got = fold.into_next(s, weights, bias)
    expected = convolved(normalized(x, s), weights, bias, "valid")
    np.testing.assert_allclose(convolved(x, got.weights, got.bias, "valid"), expected, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match=r"padding must be 'valid'.*'same'"):
        fold.into_next(s, weights, bias, padding="same")


def test_a_state_of_pytorch_is_folded_as_it_evaluates(rng):
    arrays = {"running_mean": rng.normal(size=3), "running_var": rng.uniform(1, 2, 3)}
    arrays |= {"weight": rng.normal(size=3), "bias": rng.normal(size=3)}
    s = interop.from_pytorch(arrays, count=math.inf)
    x, weights = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    got = fold.into_previous(s, weights)
    by_hand = (x @ weights - arrays["running_mean"]) / np.sqrt(arrays["running_var"] + 1e-5)
    np.testing.assert_allclose(
        x @ got.weights + got.bias, by_hand * arrays["weight"] + arrays["bias"], rtol=0, atol=1e-13
    )


def model(normalized):
    def run(ctx, x):
        here = ctx.in_scope("layer_0")
        x = layers.dense(here, x, 8, use_bias=not normalized)
        x = batchnorm.new(here, x).done() if normalized else x
        return layers.dense(ctx.in_scope("out"), layers.relu(x), 3)

    return run


def test_a_model_becomes_a_plain_one(rng):
    data = pybn.InMemoryDataset(rng.normal(size=(64, 5)).astype(np.float32), rng.integers(3, size=64), batch_size=16)
    trainer = pybn.Trainer(pybn.Context(0), model(True), pybn.losses.softmax_cross_entropy, pybn.optimizers.Adam(0.01))
    pybn.Loop(trainer).run_epochs(data, 3)
    x = data.inputs
    plain = fold.fold(trainer.context, {"/layer_0/batch_normalization": "/layer_0/dense"})
    assert sorted(each.path for each in plain.variables()) == [
        f"/{scope}/dense/{name}" for scope in ("layer_0", "out") for name in ("bias", "weights")
    ]
    with plain.forward_pass():
        folded = model(False)(plain, x).value
    found = fold.report(trainer.predict(x).astype(np.float64), trainer.predict(x), folded)
    assert found.agreement == 1
    # Two float32 layers of 5 and 8 products, each a few units of numbers up to 5.
    assert found.folded.max() < 32
    assert found.apart.max() == 0


def test_a_far_mean_is_warned_of_by_name(rng):
    s = state(rng, 4, mean=np.array([0.0, 1.0, 50.0, 5.0]), variance=np.array([0.0, 1.0, 1e-4, 1.0]))
    with pytest.warns(fold.FoldingWarning, match=r"1 of 4 features, most in feature 2: its mean 50 .*0\.0001"):
        got = fold.into_previous(s, rng.normal(size=(3, 4)))
    assert got.cancelling.tolist() == [2]


def test_what_is_warned_of_loses_and_the_rest_does_not(rng):
    """An input that is always 1 carries the mean of one feature 1000 away, and with it seven bits of float32."""
    x = rng.normal(size=(64, 17)).astype(np.float32)
    x[:, 16] = 1
    weights = rng.normal(size=(17, 2)).astype(np.float32)
    weights[16] = 1000, 0
    z = x.astype(np.float64) @ weights
    s = interop.State(z.mean(0), z.var(0), epsilon=1e-5)
    with pytest.warns(fold.FoldingWarning):
        got = fold.into_previous(s, weights)
    assert got.cancelling.tolist() == [0]
    apart = normalized((x @ weights), s)
    found = fold.report(normalized(z, s), apart, x @ got.weights + got.bias)
    assert found.folded[0] > 16 > found.folded[1]
    assert "feature 0" in found.text


def test_the_report_finds_the_planted_error():
    exact = np.zeros((4, 2, 3))
    apart, folded = exact.astype(np.float32), exact.astype(np.float32)
    folded[2, 1, 1] = 8 * np.finfo(np.float32).eps
    found = fold.report(exact, apart, folded)
    assert (found.apart.tolist(), found.folded.tolist()) == ([0, 0, 0], [0, 8, 0])
    assert (found.worst_image, found.agreement) == (2, 7 / 8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: fold.into_previous(s, np.ones((2, 3, 4))), r"\(height, width, inputs, outputs\).*\(2, 3, 4\)"),
        (lambda s: fold.into_previous(s, np.ones((3, 5))), r"last axis of weights.*\(3,\), got 5"),
        (lambda s: fold.into_next(s, np.ones((5, 3))), r"last axis but one.*\(3,\), got 5"),
        (lambda s: fold.into_previous(s, np.ones((5, 3)), np.ones(5)), r"bias must have.*\(3,\), got \(5,\)"),
        (lambda s: fold.report(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 4))), "must have one shape"),
        (lambda s: fold.into_previous(s, np.full((5, 3), np.nan)), r"weights must be finite, got nan at \(0, 0\)"),
        (
            lambda s: fold.into_next(s, np.ones((3, 2)), np.array([0, np.inf])),
            r"bias must be finite, got inf at \(1,\)",
        ),
        (
            lambda s: fold.into_previous(replace(s, scale=np.full(3, 1e6)), np.ones((5, 3), np.float16)),
            "the folded weights must fit float16, whose largest number is 6.55e.04, got",
        ),
    ],
)
def test_errors(rng, call, words):
    with pytest.raises(ValueError, match=words):
        call(state(rng, 3))


def test_nan_agrees_with_nothing():
    exact = np.array([[1.0, 0.0], [0.0, 1.0]])
    spoilt = np.where(exact == 0, np.nan, exact).astype(np.float32)
    spoilt[1] = exact[1]
    found = fold.report(exact, spoilt, spoilt)
    assert found.agreement == 0.5
    assert np.isnan(found.folded[1])
    assert "nan units" in found.text
