"""Checkpoints and random numbers: a run that goes on from a file is the one that never stopped, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pybn import Checkpoints, Context, InMemoryDataset, Loop, Trainer, batchnorm, layers, losses, optimizers
from pybn.framework.checkpoints import load_checkpoint, save_checkpoint
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


class Strange(np.random.PCG64):
    """A generator of somebody's own, with a state that JSON does not know."""

    @property
    def state(self):
        return {"bit_generator": "Strange", "state": 1j}


def test_a_state_that_no_file_could_hold_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"the state of the random numbers \(Strange\) cannot be saved"):
        save_checkpoint(Context(np.random.Generator(Strange(1))), tmp_path / "x")
    assert not list(tmp_path.iterdir())
