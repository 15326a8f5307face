"""The last few checkpoints of a run: which stay, what is never touched, and what a kill leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import pybn
from pybn import Context, Variable
from pybn.framework import kept as kept_module
from pybn.framework.checkpoints import CheckpointError, save_checkpoint
from pybn.framework.kept import Checkpoints


def a_context(value=0.0):
    ctx = Context(0)
    ctx.add_variable(Variable("/w", np.full(3, value)))
    ctx.set_param("learning_rate", value)
    return ctx


def save(kept, step, value=None):
    kept.context.global_step = step
    kept.context.get_variable("/w").value = np.full(3, step if value is None else value)
    return kept.save()


def steps(kept):
    return [int(path.stem.rpartition("-")[2]) for path in kept.paths()]


@pytest.mark.parametrize(
    ("keep", "left"), [(1, [5]), (2, [4, 5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5]), (-1, [1, 2, 3, 4, 5])]
)
def test_the_last_ones_stay(tmp_path, keep, left):
    kept = Checkpoints(a_context(), tmp_path / "deep" / "run", keep)
    for step in range(1, 6):
        path = save(kept, step)
        assert kept.paths()[-1] == path
    assert steps(kept) == left


def test_the_default_keeps_one(tmp_path):
    kept = Checkpoints(a_context(), tmp_path)
    save(kept, 1)
    save(kept, 2)
    assert steps(kept) == [2]


def test_the_newest_is_loaded_and_the_next_process_goes_on_counting(tmp_path):
    first = Checkpoints(a_context(), tmp_path, keep=2)
    assert first.load() is None
    for step in (10, 20):
        save(first, step)
    later = Checkpoints(a_context(0.5), tmp_path, keep=2)
    assert later.load(exclude_params={"learning_rate"}) == first.paths()[-1]
    assert later.context.global_step == 20
    assert later.context.get_variable("/w").value[0] == 20
    assert later.context.get_param("learning_rate") == 0.5
    save(later, 30)
    assert steps(later) == [20, 30]


def test_newer_is_what_was_written_later_also_after_going_back(tmp_path):
    """Who loads an older one and trains on writes smaller steps: they are not the oldest."""
    kept = Checkpoints(a_context(), tmp_path, keep=2)
    for step in (300, 400, 100, 150):
        save(kept, step)
    assert steps(kept) == [100, 150]
    kept.load()
    assert kept.context.global_step == 150


def test_in_a_loop(tmp_path, rng):
    ctx = Context(0)
    trainer = pybn.Trainer(
        ctx, lambda ctx, x: pybn.layers.dense(ctx, x, 3), pybn.losses.softmax_cross_entropy, pybn.optimizers.SGD(0.1)
    )
    loop, kept = pybn.Loop(trainer), Checkpoints(ctx, tmp_path, keep=2)
    pybn.every_n_steps(loop, 2, kept.on_step)
    data = pybn.InMemoryDataset(rng.standard_normal((8, 5)), rng.integers(0, 3, 8), 4)
    loop.run_steps(data, 7)
    assert steps(kept) == [4, 6]


# --- what it did not write -----------------------------------------------------------------------------------


def strangers(folder, ours):
    """Files that have the right name, or nearly, and that `Checkpoints` did not write under it."""
    (folder / "checkpoint-n0000000-step-00000000.npz").write_bytes(b"somebody's")
    np.savez(folder / "checkpoint-n0000001-step-00000001.npz", w=np.ones(2))
    save_checkpoint(a_context(), folder / "checkpoint-n0000002-step-00000002.npz")
    shutil.copy(ours, folder / "checkpoint-n0000003-step-00000003.npz")
    shutil.copy(ours, folder / "best.npz")
    shutil.copy(ours, folder / f"x{ours.name}")
    (folder / "checkpoint-n0000004-step-00000004.npz").mkdir()
    (folder / ".checkpoint-n0000004-step-0000004.npz.01234567.tmp").write_bytes(b"one digit too few")


def test_what_it_did_not_write_is_never_deleted(tmp_path):
    kept = Checkpoints(a_context(), tmp_path / "run")
    ours = save(kept, 7)
    strangers(tmp_path / "run", ours)
    before = {path.name for path in (tmp_path / "run").iterdir()} - {ours.name}
    for step in (8, 9):
        last = save(kept, step)
    assert {path.name for path in (tmp_path / "run").iterdir()} == before | {last.name}
    assert last.name == "checkpoint-n0000006-step-00000009.npz", "no name is taken that is there"


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
def test_a_link_to_one_of_its_own_stays(tmp_path):
    elsewhere = Checkpoints(a_context(), tmp_path / "elsewhere")
    first = save(elsewhere, 1)
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / first.name
    link.symlink_to(first)
    kept = Checkpoints(a_context(), tmp_path / "run")
    save(kept, 2)
    save(kept, 3)
    assert link.is_symlink()
    assert first.exists()


# --- under fire ------------------------------------------------------------------------------------------------


def test_a_damaged_newest_is_told_and_no_older_one_taken_for_it(tmp_path):
    kept = Checkpoints(a_context(), tmp_path, keep=2)
    save(kept, 1)
    save(kept, 2).write_bytes(b"half a file")
    before = kept.context.get_variable("/w").value
    with pytest.raises(CheckpointError, match=r"step-00000002\.npz is not a whole checkpoint"):
        kept.load()
    np.testing.assert_array_equal(kept.context.get_variable("/w").value, before)


def test_a_save_that_fails_deletes_nothing(tmp_path, monkeypatch):
    kept = Checkpoints(a_context(), tmp_path)
    save(kept, 1)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(kept, 2)
    assert steps(kept) == [1]
    assert len(list(tmp_path.iterdir())) == 1


KILLED = """
import os, signal, sys
import numpy as np
from pybn import Context, Variable
from pybn.framework import files, kept

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

ctx = Context(0)
ctx.add_variable(Variable("/w", np.ones(3)))
if sys.argv[2] == "while writing":
    np.savez = lambda file, **_: (file.write(b"half"), file.flush(), kill())
else:
    kept.mark_of = kill
ctx.global_step = 99
kept.Checkpoints(ctx, sys.argv[1], keep=2).save()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(("when", "left"), [("while writing", [1, 2]), ("before deleting", [1, 2, 99])])
def test_a_killed_save_loses_none_and_the_next_one_tidies_up(tmp_path, when, left):
    kept = Checkpoints(a_context(), tmp_path, keep=2)
    save(kept, 1)
    save(kept, 2)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when])
    assert done.returncode == -signal.SIGKILL
    assert steps(kept) == left
    save(kept, 100)
    assert steps(kept) == [left[-1], 100]
    assert len(os.listdir(tmp_path)) == 2, "nothing half written is left"


@pytest.mark.parametrize(
    ("keep", "error", "text"),
    [
        (0, ValueError, "keep must be 1 checkpoint or more, or -1 for all, got 0"),
        (-2, ValueError, "keep must be 1 checkpoint or more, or -1 for all, got -2"),
        (1.5, TypeError, "keep must be a whole number, got 1.5"),
        (None, TypeError, "keep must be a whole number, got None"),
    ],
)
def test_numbers_that_cannot_be_kept(tmp_path, keep, error, text):
    with pytest.raises(error, match=text):
        Checkpoints(a_context(), tmp_path, keep)


def test_another_process_may_delete_an_old_one_first(tmp_path, monkeypatch):
    kept = Checkpoints(a_context(), tmp_path, keep=1)
    save(kept, 1)

    def mark_of(path):
        mark = checkpoints_mark_of(path)
        if path.stem.endswith("step-00000001"):
            path.unlink()
        return mark

    checkpoints_mark_of = kept_module.mark_of
    monkeypatch.setattr(kept_module, "mark_of", mark_of)
    save(kept, 2)
    assert steps(kept) == [2]
