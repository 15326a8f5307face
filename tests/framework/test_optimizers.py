"""Optimizers against their formulas, step by step, and against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, initializers, optimizers

STEPS = 5


@pytest.fixture
def ctx():
    return Context(0)


@pytest.fixture
def variables(ctx, rng):
    made = [ctx.in_scope(name).variable("w", shape, np.float64) for name, shape in (("a", (3, 2)), ("b", (2, 2)))]
    return made


@pytest.fixture
def gradients(rng):
    """For each step, one for each variable."""
    return [[rng.standard_normal(shape) for shape in ((3, 2), (2, 2))] for _ in range(STEPS)]


def run(ctx, optimizer, variables, gradients):
    for step in gradients:
        ctx.apply(optimizer.new_values(ctx, variables, step))
    return [variable.value for variable in variables]


def test_sgd(ctx, variables, gradients):
    expected = [v.value - 0.1 * sum(step[i] for step in gradients) for i, v in enumerate(variables)]
    for found, wanted in zip(run(ctx, optimizers.SGD(0.1), variables, gradients), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert ctx.variables() == variables, "plain SGD keeps nothing"


def test_sgd_with_momentum(ctx, variables, gradients):
    expected = []
    for i, variable in enumerate(variables):
        w, v = variable.value, 0.0
        for step in gradients:
            v = 0.9 * v + step[i]
            w = w - 0.1 * v
        expected.append(w)
    for found, wanted in zip(run(ctx, optimizers.SGD(0.1, 0.9), variables, gradients), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_adam(ctx, variables, gradients):
    expected = []
    for i, variable in enumerate(variables):
        w, m, v = variable.value, 0.0, 0.0
        for t, step in enumerate(gradients, start=1):
            m = 0.8 * m + 0.2 * step[i]
            v = 0.95 * v + 0.05 * step[i] ** 2
            w = w - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
        expected.append(w)
    adam = optimizers.Adam(0.01, 0.8, 0.95, 1e-6)
    for found, wanted in zip(run(ctx, adam, variables, gradients), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_adamw_decays_beside_adam(ctx, variables, gradients):
    """One step of Adam, and learning_rate * weight_decay of the weights before it."""
    before = [variable.value for variable in variables]
    adam = optimizers.Adam(0.01).new_values(ctx, variables, gradients[0])
    found = optimizers.AdamW(0.01, 0.3).new_values(ctx, variables, gradients[0])
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_allclose(found[variable], adam[variable] - 0.01 * 0.3 * value, rtol=1e-13)
    moments = [each for each in adam if each not in variables]
    assert len(moments) == 6
    assert all(np.array_equal(found[each], adam[each]) for each in moments), "the decay enters no moment"


def test_adamw_without_decay_is_adam(ctx, variables, gradients):
    adam, without = (
        kind.new_values(ctx, variables, gradients[0])
        for kind in (optimizers.Adam(0.01), optimizers.AdamW(0.01, weight_decay=0.0))
    )
    assert all(np.array_equal(adam[each], without[each]) for each in adam)


@pytest.mark.parametrize("decay", [-0.1, np.nan, np.inf])
def test_decays_that_are_refused(decay):
    with pytest.raises(ValueError, match="weight_decay must be finite and not negative, got"):
        optimizers.AdamW(weight_decay=decay)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optimizers.SGD(0.1), lambda torch, p: torch.optim.SGD(p, 0.1)),
        (optimizers.SGD(0.1, 0.9), lambda torch, p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (optimizers.Adam(0.01), lambda torch, p: torch.optim.Adam(p, 0.01)),
        (optimizers.AdamW(0.01), lambda torch, p: torch.optim.AdamW(p, 0.01, weight_decay=0.004)),
        (optimizers.AdamW(0.01, 0.3), lambda torch, p: torch.optim.AdamW(p, 0.01, weight_decay=0.3)),
    ],
    ids=["SGD", "momentum", "Adam", "AdamW", "AdamW .3"],
)
def test_pytorch_does_the_same(ctx, variables, gradients, ours, theirs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    tensors = [torch.tensor(variable.value.copy(), requires_grad=True) for variable in variables]
    optimizer = theirs(torch, tensors)
    for step in gradients:
        for tensor, gradient in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
    for found, tensor in zip(run(ctx, ours, variables, gradients), tensors, strict=True):
        np.testing.assert_allclose(found, tensor.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("optimizer", [optimizers.SGD(0.1), optimizers.SGD(0.1, 0.9), optimizers.AdamW()])
def test_an_optimizer_changes_nothing_itself(ctx, variables, gradients, optimizer):
    run(ctx, optimizer, variables, gradients[:2])
    before = {variable: variable.value for variable in ctx.variables()}
    given = [each.copy() for each in gradients[2]]
    optimizer.new_values(ctx, variables, gradients[2])
    assert {variable: variable.value for variable in ctx.variables()} == before
    for found, kept in zip(gradients[2], given, strict=True):
        np.testing.assert_array_equal(found, kept)


def test_state_is_kept_in_variables_that_do_not_learn(ctx, variables, gradients):
    run(ctx, optimizers.Adam(), variables, gradients)
    state = [each for each in ctx.variables() if each not in variables]
    assert [each.path for each in state] == [
        f"/optimizer/{scope}/w/{name}" for scope in "ab" for name in ("first_moment", "second_moment", "steps")
    ]
    assert not any(each.trainable for each in state)
    assert [float(each.value) for each in state if each.name == "steps"] == [STEPS, STEPS]


@pytest.mark.parametrize("optimizer", [optimizers.SGD(0.1), optimizers.SGD(0.1, 0.9), optimizers.AdamW()])
def test_the_type_of_a_variable_stays(ctx, rng, optimizer):
    variable = ctx.variable("w", (2, 2), np.float32, initializers.ones)
    run(ctx, optimizer, [variable], [[np.ones((2, 2), np.float32)]])
    assert variable.dtype == np.float32


def test_adams_first_step_is_the_learning_rate_whatever_the_gradient(ctx):
    variable = ctx.variable("w", (3,), np.float64, initializers.zeros)
    (found,) = run(ctx, optimizers.Adam(0.01), [variable], [[np.array([1e-4, -1.0, 1e4])]])
    np.testing.assert_allclose(found, [-0.01, 0.01, -0.01], rtol=2e-4)  # epsilon, 1e-8, beside 1e-4


def test_the_learning_rate_may_change_between_steps(ctx, variables, gradients):
    optimizer = optimizers.SGD(0.0)
    before = [variable.value for variable in variables]
    np.testing.assert_array_equal(run(ctx, optimizer, variables, gradients)[0], before[0])
    optimizer.learning_rate = 1.0
    found = run(ctx, optimizer, variables, gradients[:1])
    np.testing.assert_array_equal(found[0], before[0] - gradients[0][0])


@pytest.mark.parametrize("rate", [-1, np.nan, np.inf])
@pytest.mark.parametrize("optimizer", [optimizers.SGD, optimizers.Adam, optimizers.AdamW])
def test_learning_rates_that_are_refused(optimizer, rate):
    with pytest.raises(ValueError, match="learning_rate must be finite and not negative, got"):
        optimizer(rate)


@pytest.mark.parametrize("value", [-0.1, 1, 2, np.nan])
def test_fractions_that_are_refused(value):
    for name in ("beta1", "beta2"):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\), got"):
            optimizers.Adam(**{name: value})
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got"):
        optimizers.SGD(0.1, value)


@pytest.mark.parametrize("epsilon", [-1e-8, 0.0, np.nan, np.inf])
def test_epsilons_that_are_refused(epsilon):
    with pytest.raises(ValueError, match="epsilon must be finite and above 0, got"):
        optimizers.Adam(epsilon=epsilon)


@pytest.mark.parametrize("value", [None, "0.1", True, [0.1]], ids=repr)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: optimizers.SGD(value), "learning_rate"),
        (lambda value: optimizers.SGD(0.1, value), "momentum"),
        (lambda value: optimizers.Adam(beta2=value), "beta2"),
        (lambda value: optimizers.Adam(epsilon=value), "epsilon"),
    ],
)
def test_what_is_no_number_is_refused_by_name(make, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number, got"):
        make(value)
