"""Checkpoints and random numbers: a run that goes on from a file is the one that never stopped, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pybn import Checkpoints, Context, InMemoryDataset, Loop, Trainer, batchnorm, layers, losses, optimizers
from pybn.framework.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from pybn.framework.draws import described
from tests.support.checkpoints import header_file, refused, state

KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]
HEADER = {"format": "pybn checkpoint", "version": 2, "variables": [], "parameters": {}, "global_step": 0}


def model(ctx, x):
    x = layers.dense(ctx.in_scope("first"), x, 8)
    x = layers.dropout(ctx, batchnorm.new(ctx, x).done(), 0.5)
    return layers.dense(ctx.in_scope("last"), x, 3)


def run(seed, epochs, path=None):
    """A context that was trained; from where `path` left off, if it is given, whatever its own seed."""
    rng = np.random.default_rng(7)
    inputs, labels = rng.standard_normal((24, 5)).astype(np.float32), rng.integers(0, 3, 24)
    ctx = Context(seed)
    if path is not None:
        load_checkpoint(ctx, path)
    data = InMemoryDataset(inputs, labels, 6, shuffle=True, rng=ctx.rng)  # dropout and order from one generator
    Loop(Trainer(ctx, model, losses.softmax_cross_entropy, optimizers.Adam(0.05))).run_epochs(data, epochs)
    return ctx


def test_going_on_is_not_having_stopped(tmp_path):
    path = save_checkpoint(run(1, epochs=2), tmp_path / "half")
    assert state(run(2, epochs=2, path=path)) == state(run(1, epochs=4))


def test_to_save_draws_nothing(tmp_path):
    ctx = run(1, epochs=1)
    before = state(ctx)
    save_checkpoint(ctx, tmp_path / "x")
    assert state(ctx) == before


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_numpy_goes_on(tmp_path, kind):
    """With what it keeps of a draw of 32 bits, and in the Generator that its owner holds."""
    ours, theirs = np.random.Generator(kind(1)), np.random.Generator(kind(2))
    ours.integers(0, 100, 5, dtype=np.uint32)
    save_checkpoint(Context(ours), tmp_path / "x")
    expected = ours.integers(0, 100, 9, dtype=np.uint32), ours.random(9)
    load_checkpoint(Context(theirs), tmp_path / "x")
    np.testing.assert_array_equal(theirs.integers(0, 100, 9, dtype=np.uint32), expected[0])
    np.testing.assert_array_equal(theirs.random(9), expected[1])


def test_another_kind_is_refused_unless_others_are_drawn(tmp_path):
    ctx = Context(np.random.Generator(np.random.MT19937(1)))
    kept = Checkpoints(Context(1), tmp_path)
    path = kept.save()
    refused(ctx, path, r"kind 'PCG64' cannot go on in a Context with MT19937: .* restore_rng=False")
    before = state(ctx)
    assert Checkpoints(ctx, tmp_path).load(restore_rng=False) == path
    assert state(ctx) == before


def test_runs_of_one_checkpoint_with_seeds_of_their_own(tmp_path):
    path = save_checkpoint(run(1, epochs=1), tmp_path / "x")
    contexts = [Context(seed) for seed in (1, 2)]
    for ctx in contexts:
        load_checkpoint(ctx, path, restore_rng=False)
    assert [ctx.rng.random() for ctx in contexts] == [np.random.default_rng(seed).random() for seed in (1, 2)]


def test_a_file_from_before_leaves_the_generator_as_it_is(tmp_path):
    ctx, path = Context(3), tmp_path / "old.npz"
    before = state(ctx)
    header_file(HEADER)(path)
    load_checkpoint(ctx, path)
    assert state(ctx) == before


STATE = np.random.PCG64(1).state


@pytest.mark.parametrize(
    "saved",
    [
        5,
        [],
        {},
        {"bit_generator": "PCG64"},
        STATE | {"state": {"state": -1, "inc": 1}},
        STATE | {"state": {"state": 2**200, "inc": 1}},
        STATE | {"state": {"state": "x", "inc": 1}},
        STATE | {"has_uint32": None},
        STATE | {"bit_generator": ["PCG64"]},
    ],
    ids=lambda saved: json.dumps(saved)[:60],
)
def test_what_is_no_state_is_refused_and_nothing_changes(tmp_path, saved):
    path = tmp_path / "bad.npz"
    header_file(HEADER | {"rng": saved})(path)
    refused(Context(1), path, "does not fit the random numbers of the context")


def damaged(kind, **changes):
    """A state as a file has it, with the entries of these names changed, wherever they are."""
    state = described(np.random.Generator(kind(1)))
    inner = {key: changes.pop(key) for key in state["state"] if key in changes}
    assert set(changes) <= set(state)
    return state | changes | {"state": state["state"] | inner}


PCG64, PCG64DXSM, MT19937, Philox, SFC64 = KINDS
WORDS = described(np.random.Generator(MT19937(1)))["state"]["key"]
AS_SAVED = "must be read back as it was saved, got "
DAMAGED = [
    (MT19937, {"pos": 10**6}, "pos must be from 0 to 624, got 1000000"),
    (MT19937, {"pos": 625}, "pos must be from 0 to 624, got 625"),
    (MT19937, {"pos": -5}, "pos must be from 0 to 624, got -5"),
    (MT19937, {"pos": 1.5}, ""),
    (MT19937, {"pos": True}, "state.state.pos " + AS_SAVED + "true"),
    (MT19937, {"key": [0] * 624}, r"key must be not 0 throughout, got \[0, 0"),
    (MT19937, {"key": [2**31 - 1] + [0] * 623}, "key must be not 0 throughout"),
    (MT19937, {"key": [word + 0.5 for word in WORDS]}, r"state.state.key.0 " + AS_SAVED + r"2147483648\.5"),
    (MT19937, {"key": [float(word) for word in WORDS]}, ""),
    (MT19937, {"key": WORDS + WORDS[:76]}, ""),
    (MT19937, {"key": WORDS[:600]}, ""),
    (MT19937, {"key": 5}, ""),
    *[
        case
        for kind in (PCG64, PCG64DXSM)
        for case in [
            (kind, {"state": 0, "inc": 0}, "inc must be odd, got 0"),
            (kind, {"inc": 6}, "inc must be odd, got 6"),
            (kind, {"inc": 1.5}, ""),
            (kind, {"inc": True}, "state.state.inc " + AS_SAVED + "true"),
            (kind, {"state": 1.5}, ""),
            (kind, {"state": True}, "state.state.state " + AS_SAVED + "true"),
        ]
    ],
    (Philox, {"buffer_pos": -3}, "buffer_pos must be from 0 to 4, got -3"),
    (Philox, {"buffer_pos": 5}, "buffer_pos must be from 0 to 4, got 5"),
    (Philox, {"buffer_pos": False}, "state.buffer_pos " + AS_SAVED + "false"),
    (Philox, {"buffer": [1, 2]}, ""),
    (Philox, {"buffer": [1, 2, 3, 4, 5]}, ""),
    (Philox, {"key": [1, 2, 3]}, ""),
    (Philox, {"counter": [1, 2, 3]}, ""),
    (SFC64, {"state": [0] * 4}, r"state must be not 0 throughout, got \[0, 0, 0, 0\]"),
    (SFC64, {"state": [1, 2]}, ""),
    (SFC64, {"state": [1.5, 1, 1, 1]}, "state.state.state.0 " + AS_SAVED + "1.5"),
    *[
        (kind, {"has_uint32": flag}, f"has_uint32 must be 0 or 1, got {flag}")
        for kind in KINDS
        if kind is not MT19937
        for flag in (7, -1)
    ],
    (PCG64, {"has_uint32": False}, "state.has_uint32 " + AS_SAVED + "false"),
    (PCG64, {"uinteger": 0.0}, ""),
    (PCG64, {"uinteger": 2**40}, ""),
]


@pytest.mark.parametrize(
    ("kind", "changes", "text"), DAMAGED, ids=lambda each: getattr(each, "__name__", str(each)[:30])
)
def test_a_damaged_state_that_numpy_would_take_is_refused(tmp_path, kind, changes, text):
    """NumPy sets these: then it reads beyond its arrays, or `integers` never returns."""
    ctx, path = Context(np.random.Generator(kind(2))), tmp_path / "bad.npz"
    ctx.in_scope("layer").variable("w", (2,))
    variable = {"path": "/layer/w", "trainable": True, "role": "weight"}
    header_file(HEADER | {"variables": [variable], "rng": damaged(kind, **changes)}, variable_0=np.ones(2, np.float32))(
        path
    )
    refused(ctx, path, "does not fit the random numbers of the context: .*" + text)
    assert ctx.rng.integers(3) == np.random.Generator(kind(2)).integers(3)
    load_checkpoint(ctx, path, restore_rng=False)  # the rest of the file is sound


@pytest.mark.parametrize(
    "saved",
    [
        damaged(MT19937, pos=0),
        damaged(MT19937, pos=624),
        damaged(MT19937, key=[2**31] + [0] * 623),
        damaged(PCG64, state=0, inc=1),
        damaged(Philox, key=[0, 0], buffer_pos=0),
        damaged(Philox, buffer_pos=4),
        damaged(SFC64, state=[0, 0, 0, 1], has_uint32=1),
    ],
    ids=lambda saved: json.dumps(saved)[:40],
)
def test_states_at_the_bounds_are_taken(tmp_path, saved):
    ctx, path = Context(np.random.Generator(getattr(np.random, saved["bit_generator"])(2))), tmp_path / "x.npz"
    header_file(HEADER | {"rng": saved})(path)
    load_checkpoint(ctx, path)
    assert described(ctx.rng) == saved


def test_a_kind_derived_from_numpys_keeps_its_rules(tmp_path):
    class Named(np.random.MT19937):
        pass

    path = tmp_path / "bad.npz"
    header_file(HEADER | {"rng": damaged(Named, pos=10**6)})(path)
    refused(Context(np.random.Generator(Named(1))), path, "pos must be from 0 to 624, got 1000000")


class Strange(np.random.PCG64):
    """A generator of somebody's own, with a state that JSON does not know."""

    @property
    def state(self):
        return {"bit_generator": "Strange", "state": 1j}


def test_a_state_that_no_file_could_hold_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"the state of the random numbers \(Strange\) cannot be saved"):
        save_checkpoint(Context(np.random.Generator(Strange(1))), tmp_path / "x")
    assert not list(tmp_path.iterdir())


class Silent(np.random.PCG64):
    """A generator of somebody's own that does not tell its state."""

    @property
    def state(self):
        raise NotImplementedError


@pytest.mark.parametrize("restore_rng", [True, False])
def test_a_generator_that_does_not_tell_its_state_is_left_out(tmp_path, restore_rng):
    ours, other = Context(np.random.Generator(Silent(1))), Context(3)
    ours.global_step = 5
    path = save_checkpoint(ours, tmp_path / "x")
    with np.load(path) as file:
        assert json.loads(str(file["header"]))["rng"] is None
    before = repr(other.rng.bit_generator.state)
    load_checkpoint(other, path, restore_rng=restore_rng)
    load_checkpoint(ours, path, restore_rng=restore_rng)
    assert (other.global_step, repr(other.rng.bit_generator.state)) == (5, before)


def test_without_the_random_numbers_the_generator_is_not_touched(tmp_path):
    path, ctx = save_checkpoint(Context(1), tmp_path / "x"), Context(np.random.Generator(Silent(1)))
    load_checkpoint(ctx, path, restore_rng=False)
    with pytest.raises(CheckpointError, match="does not fit the random numbers"):
        load_checkpoint(ctx, path)
