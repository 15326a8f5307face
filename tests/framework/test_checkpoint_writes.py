"""A checkpoint that cannot be written leaves the old file, and nobody sees half of one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pybn import Context
from pybn.framework import files
from pybn.framework.checkpoints import load_checkpoint, save_checkpoint
from tests.support.checkpoints import state


@pytest.mark.parametrize("value", [object(), np.float32(1), {1, 2}, lambda: 0, b"x"], ids=lambda v: type(v).__name__)
def test_a_parameter_that_cannot_be_saved(saved, value):
    trainer, path = saved
    before = path.read_bytes()
    trainer.context.in_scope("first").set_param("odd", value)
    with pytest.raises(TypeError, match="the parameter 'odd' of scope /first cannot be saved"):
        save_checkpoint(trainer.context, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("where", ["savez", "fsync", "replace"])
def test_an_error_while_writing(saved, monkeypatch, where, error):
    trainer, path = saved
    before = path.read_bytes()

    def fails(*args, **kwargs):
        if where == "savez":
            args[0].write(b"half a file")
        raise error

    monkeypatch.setattr(np if where == "savez" else os, where, fails)
    with pytest.raises(type(error)):
        save_checkpoint(trainer.context, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path], "no file is left behind"


def test_places_that_cannot_be_written(saved, tmp_path):
    trainer, _ = saved
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        save_checkpoint(trainer.context, tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        save_checkpoint(trainer.context, tmp_path / "nowhere" / "x")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "model.npz"]


KILLED = """
import sys, time
import numpy as np
from pybn import Context, Variable
from pybn.framework.checkpoints import save_checkpoint

class Slow:
    "A file that says when half of the data is written, and never writes the rest."
    def __init__(self, file):
        self.file, self.written = file, 0
    def write(self, data):
        self.written += len(data)
        if self.written > 100_000:
            self.file.flush()
            print("half", flush=True)
            time.sleep(600)
        return self.file.write(data)
    def __getattr__(self, name):
        return getattr(self.file, name)

savez = np.savez
np.savez = lambda file, **arrays: savez(Slow(file), **arrays)
ctx = Context(0)
for i in range(10):
    ctx.add_variable(Variable(f"/v{i}", np.ones(5000)))
save_checkpoint(ctx, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill without warning")
def test_a_process_that_is_killed_while_writing(saved, other):
    trainer, path = saved
    before = path.read_bytes()
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        assert len(list(path.parent.iterdir())) == 2, "it was writing beside the file"
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    assert path.read_bytes() == before
    load_checkpoint(other, path)
    assert state(other) == state(trainer.context)


LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files from others without locks")


@LOCKS
def test_another_writer_of_the_name_does_not_clear_the_file_away_before_it_is_renamed(saved, monkeypatch):
    """Two processes that save one name, sixty times each: one of them found its file gone."""
    trainer, path = saved
    rename = os.replace

    def beside_another_writer(old, new):
        files.clear_abandoned(path.parent, path.name)
        rename(old, new)

    monkeypatch.setattr(files.os, "replace", beside_another_writer)
    before = path.stat().st_ino
    save_checkpoint(trainer.context, path)
    assert path.stat().st_ino != before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@LOCKS
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks(saved, monkeypatch, code):
    """Nobody can tell there which writer lives: what others left stays."""
    trainer, path = saved
    left = path.with_name(f".{path.name}.0123abcd.tmp")
    left.touch()

    def refuse(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    before = path.stat().st_ino
    save_checkpoint(trainer.context, path)
    assert path.stat().st_ino != before
    assert sorted(path.parent.iterdir()) == sorted([path, left])


def test_a_reader_beside_a_writer_sees_a_whole_file(saved):
    """The rename is atomic: whenever one looks, there is a whole checkpoint."""
    trainer, path = saved
    ctx = trainer.context
    script = (
        "import sys, numpy as np\n"
        "from pybn import Context, Variable\n"
        "from pybn.framework.checkpoints import load_checkpoint, save_checkpoint\n"
        "ctx = Context(0); load_checkpoint(ctx, sys.argv[1]); print('go', flush=True)\n"
        "for _ in range(60): save_checkpoint(ctx, sys.argv[1])\n"
    )
    reads = 0
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "go\n"
        while child.poll() is None:
            found = Context(0)
            load_checkpoint(found, path)
            assert state(found) == state(ctx)
            reads += 1
    assert child.returncode == 0
    assert reads > 0
