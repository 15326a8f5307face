"""Learning rates that are functions of the step: the cosine, what an optimizer asks of one, and going on along it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, layers, losses, optimizers, schedules
from pybn.framework.checkpoints import load_checkpoint, save_checkpoint
from pybn.framework.parameters import MisspeltParameterWarning

KINDS = [
    lambda rate: optimizers.SGD(rate),
    lambda rate: optimizers.SGD(rate, momentum=0.9),
    lambda rate: optimizers.Adam(rate),
    lambda rate: optimizers.AdamW(rate, weight_decay=0.1),
]
NAMES = ["SGD", "momentum", "Adam", "AdamW"]


@pytest.fixture
def data(rng):
    return InMemoryDataset(rng.standard_normal((12, 5)), rng.integers(0, 3, 12), 4)


def trainer(optimizer):
    return Trainer(Context(0), lambda ctx, x: layers.dense(ctx, x, 3), losses.softmax_cross_entropy, optimizer)


def weights(ctx):
    return {variable.path: variable.value for variable in ctx.variables()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


# --- the curve ---------------------------------------------------------------------------------------------


def test_the_cosine_is_the_papers():
    rate = schedules.Cosine(0.5, 8, 0.1)
    expected = [0.1 + 0.5 * (0.5 - 0.1) * (1 + math.cos(step / 8 * math.pi)) for step in range(8)]
    np.testing.assert_allclose([rate(step) for step in range(24)], expected * 3, rtol=1e-15)
    assert rate(0) == rate(8) == 0.5, "each period begins at the learning rate"
    assert rate(4) == pytest.approx(0.3)
    assert min(expected) > 0.1


@pytest.mark.slow  # PyTorch's schedulers take seconds to be imported
def test_pytorch_has_the_same_curve():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    annealing = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 7, eta_min=0.01)
    ours = schedules.Cosine(0.5, 7, 0.01)
    for step in range(20):
        assert ours(step) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        theirs.step()
        annealing.step()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((-0.1, 5), ValueError, "learning_rate must be finite and not negative, got -0.1"),
        ((np.nan, 5), ValueError, "learning_rate must be finite and not negative, got nan"),
        (([0.1], 5), TypeError, r"learning_rate must be a number, got \[0.1\]"),
        ((0.1, 0), ValueError, "period must be 1 step or more, got 0"),
        ((0.1, 2.5), TypeError, "period must be a whole number, got 2.5"),
        ((0.1, True), TypeError, "period must be a whole number, got True"),
        ((0.1, 5, 0.2), ValueError, "minimum must not be above learning_rate, 0.1; got 0.2"),
        ((0.1, 5, -1.0), ValueError, "minimum must be finite and not negative, got -1.0"),
    ],
)
def test_curves_that_are_none(arguments, error, text):
    with pytest.raises(error, match=text):
        schedules.Cosine(*arguments)


# --- in an optimizer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_each_step_is_of_its_own_rate(data, kind):
    """The same as setting the number by hand before each step, to the last bit."""
    rate = schedules.Cosine(0.3, 5, 0.01)
    scheduled, by_hand = trainer(kind(rate)), trainer(kind(0.0))
    Loop(scheduled).run_steps(data, 8)
    loop = Loop(by_hand)
    for step in range(8):
        by_hand.optimizer.learning_rate = rate(step)
        by_hand.train_step(*list(data)[step % 3])
        loop.step += 1
    assert_same(weights(scheduled.context), weights(by_hand.context))


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_training_goes_on_along_the_same_curve(data, kind, tmp_path):
    rate = schedules.Cosine(0.3, 9)
    whole = trainer(kind(rate))
    Loop(whole).run_steps(data, 6)

    first = trainer(kind(rate))
    Loop(first).run_steps(data, 3)
    later = trainer(kind(rate))
    load_checkpoint(later.context, save_checkpoint(first.context, tmp_path / "m.npz"))
    Loop(later).run_steps(data, 3)
    assert_same(weights(later.context), weights(whole.context))
    assert later.context.global_step == 6


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_at_a_rate_of_0_no_weight_moves(data, kind):
    one = trainer(kind(lambda step: 0.1 if step < 2 else 0.0))
    loop = Loop(one)
    loop.run_steps(data, 2)
    before = {path: value for path, value in weights(one.context).items() if "optimizer" not in path}
    loop.run_steps(data, 3)
    assert_same({path: weights(one.context)[path] for path in before}, before)


def test_a_function_is_asked_once_a_step_in_their_order(data):
    asked = []
    one = trainer(optimizers.Adam(lambda step: asked.append(step) or 0.1))
    one.context.global_step = 40
    Loop(one).run_steps(data, 3)
    assert asked == [40, 41, 42]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (np.nan, ValueError, "must be finite and not negative, got nan"),
        (np.inf, ValueError, "must be finite and not negative, got inf"),
        (-1e-9, ValueError, "must be finite and not negative, got -1e-09"),
        (np.float32(-2), ValueError, "must be finite and not negative, got"),
        (np.ones(3), TypeError, r"must be a number, got array\(\[1., 1., 1.\]\)"),
        (np.array(0.1), TypeError, r"must be a number, got array\(0.1\)"),
        (None, TypeError, "must be a number, got None"),
        (True, TypeError, "must be a number, got True"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_what_a_function_gives_is_looked_at_and_nothing_changes(data, kind, value, error, text):
    one = trainer(kind(lambda step: 0.1 if step < 2 else value))
    loop = Loop(one)
    loop.run_steps(data, 2)
    before = weights(one.context)
    with pytest.raises(error, match=f"what learning_rate gives for step 2 {text}"):
        loop.run_steps(data, 1)
    assert_same(weights(one.context), before)
    assert one.context.global_step == 2


def test_a_number_that_was_set_later_is_looked_at_too(data):
    one = trainer(optimizers.SGD(0.1))
    one.optimizer.learning_rate = -0.1
    with pytest.raises(ValueError, match=r"learning_rate must be finite and not negative, got -0\.1"):
        Loop(one).run_steps(data, 1)


# --- from the context -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, 1e-3),
        ({"cosine_schedule_steps": 0, "learning_rate": 0.2}, 0.2),
        ({"cosine_schedule_steps": 50}, schedules.Cosine(1e-3, 50)),
        (
            {"optimizer": "sgd", "learning_rate": 0.2, "cosine_schedule_steps": 50},
            schedules.Cosine(0.2, 50),
        ),
        (
            {"learning_rate": 0.2, "cosine_schedule_steps": 50, "cosine_schedule_min_learning_rate": 0.1},
            schedules.Cosine(0.2, 50, 0.1),
        ),
    ],
)
def test_the_schedule_that_the_context_names(parameters, expected):
    ctx = Context(0)
    ctx.set_params(parameters)
    assert optimizers.from_context(ctx).learning_rate == expected


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"cosine_schedule_steps": -1}, ValueError, "cosine_schedule_steps must be a number of steps, or 0 .*, got -1"),
        ({"cosine_schedule_steps": 1.5}, TypeError, "cosine_schedule_steps must be a whole number, got 1.5"),
        ({"cosine_schedule_min_learning_rate": -1}, ValueError, "min_learning_rate must be finite and not negative"),
        (
            {"cosine_schedule_steps": 5, "cosine_schedule_min_learning_rate": 1.0},
            ValueError,
            "minimum must not be above learning_rate, 0.001; got 1.0",
        ),
    ],
)
def test_schedules_of_the_context_that_are_none(parameters, error, text):
    ctx = Context(0)
    ctx.set_params(parameters)
    with pytest.raises(error, match=text):
        optimizers.from_context(ctx)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("cosine_shedule_steps", "cosine_schedule_steps"),
        ("cosine_annealing_min_learning_rate", "cosine_schedule_min_learning_rate"),
        ("learning_rat", "learning_rate"),
    ],
)
def test_a_misspelt_key_is_told_at_the_first_step(data, key, meant):
    ctx = Context(0)
    ctx.set_param(key, 10)
    one = Trainer(
        ctx, lambda ctx, x: layers.dense(ctx, x, 3), losses.softmax_cross_entropy, optimizers.from_context(ctx)
    )
    with pytest.warns(MisspeltParameterWarning, match=f"'{key}' of scope / was not read by anything, and '{meant}'"):
        Loop(one).run_steps(data, 2)
