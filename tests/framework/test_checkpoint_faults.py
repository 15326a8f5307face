"""Checkpoints under fire: interrupts while loading, files that unpack into more than they are, what kills leave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from pybn import Context, Variable
from pybn.framework.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from pybn.framework.files import replacing
from tests.support.checkpoints import refused, state
from tests.support.fresh import run_python


def a_context(value, size=3, trainable=True, role="a"):
    ctx = Context(value)
    for name in ("w", "v"):
        ctx.add_variable(Variable(f"/{name}", np.full(size, float(value)), trainable, role))
    ctx.set_param("value", value)
    return ctx


class InterruptedAtLine:
    """Raise KeyboardInterrupt at the n-th line of the framework that runs in the block, as Ctrl-C would.

    Not in the few lines that only count on no call standing in them, with which an interrupt comes.
    """

    def __init__(self, number):
        self.left = number

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error):
        sys.settrace(self.before)

    def _call(self, frame, event, argument):
        ours = os.path.join("pybn", "framework") in frame.f_code.co_filename
        return self._line if ours and frame.f_code.co_name != "changing" else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._line


def test_an_interrupted_load_is_all_or_nothing(tmp_path):
    """In a process of its own: CPython 3.11 stands still when it traces where a thread was interrupted before."""
    done = run_python(
        "import pathlib\n"
        "from tests.framework import test_checkpoint_faults\n"
        f"test_checkpoint_faults.interrupt_at_every_line(pathlib.Path({str(tmp_path / 'm.npz')!r}))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "at every line\n"


def interrupt_at_every_line(path):
    """Load a checkpoint that is interrupted at the first, the second, ... line, until one is not any more."""
    theirs = a_context(2, trainable=False, role="b")
    theirs.in_scope("more").variable("x", (2,))
    theirs.in_scope("more").set_param("other", 1)
    save_checkpoint(theirs, path)
    before, after = state(a_context(1)), state(theirs)
    outcomes = []
    for line in range(1, 10_000):
        ctx = a_context(1)
        with contextlib.suppress(KeyboardInterrupt), InterruptedAtLine(line) as interrupt:
            load_checkpoint(ctx, path)
        assert state(ctx) in (before, after), f"half loaded after an interrupt at line {line}"
        outcomes.append(state(ctx) == after)
        load_checkpoint(ctx, path)  # and nothing holds the context back from the next change
        assert state(ctx) == after
        if interrupt.left > 0:
            break
    assert interrupt.left > 0
    assert outcomes.count(False) > 50
    assert outcomes[-1]
    print("at every line")


def compressed(path, size):
    ctx = a_context(0, size)
    save_checkpoint(ctx, path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **arrays)
    return path


def refused_in_little_memory(ctx, path, text):
    """`refused`, with less than a megabyte on the way."""
    tracemalloc.start()
    try:
        refused(ctx, path, text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("into", [lambda: Context(0), lambda: a_context(1)], ids=["empty", "the model"])
def test_a_small_file_takes_little_memory(tmp_path, into):
    """Zeros shrink a thousandfold: the file of 16 kB would take 16 MB."""
    path = compressed(tmp_path / "m.npz", 1_000_000)
    assert path.stat().st_size < 50_000
    refused_in_little_memory(into(), path, "is compressed, and pybn stores its arrays as they are")


def test_shapes_are_compared_before_anything_is_unpacked(tmp_path):
    path = save_checkpoint(a_context(2, 1_000_000), tmp_path / "m.npz")
    refused_in_little_memory(a_context(1), path, r"has /w with shape \(1000000,\), the context \(3,\)")


# --- the place of the file ------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and symbolic links are POSIX's")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_is_kept(tmp_path, mode):
    path = save_checkpoint(a_context(1), tmp_path / "m.npz")
    path.chmod(mode)
    save_checkpoint(a_context(2), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    ctx = Context(0)
    load_checkpoint(ctx, path)
    assert state(ctx) == state(a_context(2))


@posix
def test_a_symbolic_link_stays_and_its_file_changes(tmp_path):
    (tmp_path / "disk").mkdir()
    real = save_checkpoint(a_context(1), tmp_path / "disk" / "real.npz")
    real.chmod(0o600)
    link = tmp_path / "latest.npz"
    link.symlink_to(real)
    assert save_checkpoint(a_context(2), link) == link
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    ctx = Context(0)
    load_checkpoint(ctx, real)
    assert state(ctx) == state(a_context(2))
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["disk", "latest.npz", "real.npz"]


@posix
def test_a_link_to_nothing_yet_gets_its_file(tmp_path):
    link = tmp_path / "latest.npz"
    link.symlink_to(tmp_path / "first.npz")
    save_checkpoint(a_context(1), link)
    assert link.is_symlink()
    assert (tmp_path / "first.npz").is_file()


# --- what a kill leaves -----------------------------------------------------------------------------------

WRITER = """
import sys, time
import numpy as np
from pybn import Context, Variable
from pybn.framework.checkpoints import save_checkpoint

class Slow:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        self.file.write(data)
        self.file.flush()
        print("writing", flush=True)
        sys.stdin.readline()
        return len(data)
    def __getattr__(self, name):
        return getattr(self.file, name)

true_savez = np.savez
np.savez = lambda file, **arrays: (Slow(file).write(b""), true_savez(file, **arrays))
ctx = Context(0)
ctx.add_variable(Variable("/w", np.full(3, 5.0)))
save_checkpoint(ctx, sys.argv[1])
print("saved", flush=True)
"""


def writer(path):
    """A process in the middle of a save."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def temporaries(folder, name="m.npz"):
    return sorted(each.name for each in folder.iterdir() if each.name.startswith(f".{name}."))


@posix
def test_the_next_save_clears_what_killed_ones_left_and_only_that(tmp_path):
    path = save_checkpoint(a_context(1), tmp_path / "m.npz")
    with writer(path) as one, writer(path) as other:
        one.send_signal(signal.SIGKILL)
        other.send_signal(signal.SIGKILL)
    assert len(temporaries(tmp_path)) == 2
    others = [
        ".m.npz.tmp",
        ".m.npz.0123456.tmp",
        ".m.npz.012345678.tmp",
        ".m.npz.0123abcX.tmp",
        ".m.npz.01234567.tmp.npz",
        ".n.npz.01234567.tmp",
        "m.npz.01234567.tmp",
        ".mXnpz.01234567.tmp",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / ".m.npz.0123abcd.tmp").mkdir()
    (tmp_path / ".m.npz.0123abce.tmp").symlink_to(path)
    save_checkpoint(a_context(2), path)
    assert {each.name for each in tmp_path.iterdir()} == {
        "m.npz",
        *others,
        ".m.npz.0123abcd.tmp",
        ".m.npz.0123abce.tmp",
    }


@posix
def test_a_save_that_is_under_way_is_left_to_its_writer(tmp_path):
    path = save_checkpoint(a_context(1), tmp_path / "m.npz")
    with writer(path) as other:
        (held,) = temporaries(tmp_path)
        save_checkpoint(a_context(2), path)
        assert temporaries(tmp_path) == [held]
        out, _ = other.communicate("\n")
    assert out == "saved\n"
    ctx = Context(0)
    load_checkpoint(ctx, path)
    assert ctx.get_variable("/w").value[0] == 5
    assert temporaries(tmp_path) == []


@posix
def test_only_a_file_is_replaced(tmp_path):
    """A rename would put a file in the place of a pipe, or of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    (tmp_path / "directory").mkdir()
    for path in (pipe, link, tmp_path / "directory"):
        with pytest.raises(FileExistsError, match="must be a regular file, or not exist"):
            save_checkpoint(a_context(1), path)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["directory", "link", "pipe"]


@pytest.mark.parametrize(("paths", "text"), [(["/a", "/a"], "names a variable twice"), (["/"], "end with its name")])
def test_a_header_that_describes_no_tree_is_refused(tmp_path, paths, text):
    variables = [{"path": path, "trainable": True, "role": ""} for path in paths]
    header = {"format": "pybn checkpoint", "version": 1, "variables": variables, "parameters": {}}
    arrays = {f"variable_{i}": np.ones(2) for i in range(len(paths))}
    np.savez(tmp_path / "m.npz", header=np.array(json.dumps(header)), **arrays)
    ctx = Context(0)
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(ctx, tmp_path / "m.npz")
    assert ctx.variables() == []


def test_nan_within_a_parameter_comes_back(tmp_path):
    ctx, there = Context(0), Context(0)
    ctx.set_param("limits", [float("nan"), 1.0])
    load_checkpoint(there, save_checkpoint(ctx, tmp_path / "m.npz"))
    assert repr(there.get_param("limits")) == "[nan, 1.0]"
    ctx.set_param("limits", (1.0, 2.0))
    with pytest.raises(TypeError, match="would come back as"):
        save_checkpoint(ctx, tmp_path / "m.npz")


def test_all_of_it_is_on_the_disk_before_the_name_is_its(tmp_path, monkeypatch):
    """What Python still holds when the file is synchronized would be missing after the machine fails."""
    synchronized = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synchronized.append(os.fstat(descriptor).st_size))
    with replacing(tmp_path / "m") as file:
        file.write(b"all of it")
    assert synchronized == [9]


# --- what is no number ----------------------------------------------------------------------------------------

WORDS = {
    "strings": np.array(["a", "b", "c"]),
    "bytes": np.array([b"a", b"b", b"c"]),
    "dates": np.array(["2020-01-01"] * 3, dtype="M8[D]"),
    "records": np.zeros(3, dtype=[("x", float)]),
    "raw": np.zeros(3, dtype="V2"),
}


@pytest.mark.parametrize("into", [lambda: Context(0), lambda: a_context(1)], ids=["empty", "the model"])
@pytest.mark.parametrize("kind", WORDS)
def test_a_variable_that_is_no_number_is_refused(tmp_path, kind, into):
    path = save_checkpoint(a_context(2), tmp_path / "m.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"variable_0": WORDS[kind]})
    ctx = into()
    before = state(ctx)
    with pytest.raises(CheckpointError, match=r"has /w with type .*: a variable holds numbers"):
        load_checkpoint(ctx, path)
    assert state(ctx) == before


@pytest.mark.parametrize("into", [lambda: Context(0), lambda: a_context(1)], ids=["empty", "the model"])
def test_objects_are_refused_before_anything_is_unpickled(tmp_path, into):
    path = save_checkpoint(a_context(2), tmp_path / "m.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"variable_0": np.array(["a", None, 3], dtype=object)})
    ctx = into()
    before = state(ctx)
    with pytest.raises(CheckpointError, match=r"variable_0\.npy holds Python objects, and pybn stores numbers alone"):
        load_checkpoint(ctx, path)
    assert state(ctx) == before


@pytest.mark.parametrize("kind", WORDS)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, kind):
    ctx = a_context(1)
    ctx.add_variable(Variable("/words", WORDS[kind]))
    with pytest.raises(TypeError, match="/words cannot be saved: a checkpoint holds numbers, not"):
        save_checkpoint(ctx, tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


# --- long names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 241, "n" * 242, "n" * 251, "ü" * 125], ids=["241", "242", "251", "250 bytes"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    """What is written beside it has a name of its own, which must not be longer than that."""
    path = save_checkpoint(a_context(1), tmp_path / f"{name}.npz"[-255:])
    ctx = Context(0)
    load_checkpoint(ctx, save_checkpoint(a_context(2), path))
    assert state(ctx) == state(a_context(2))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@posix
def test_what_a_kill_left_of_a_long_name_is_cleared(tmp_path):
    path = tmp_path / ("n" * 255)
    with writer(path) as one:
        one.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 1
    save_checkpoint(a_context(1), tmp_path / ("m" * 255))
    assert len(os.listdir(tmp_path)) == 2, "that of another name stays"
    save_checkpoint(a_context(1), path)
    assert sorted(os.listdir(tmp_path)) == ["m" * 255, "n" * 255]


def test_a_variable_may_have_a_long_path(tmp_path):
    ctx, there = Context(0), Context(0)
    scope = ctx
    for _ in range(20):
        scope = scope.in_scope("s" * 300)
    made = scope.variable("w" * 5000, (2,))
    load_checkpoint(there, save_checkpoint(ctx, tmp_path / "m.npz"))
    np.testing.assert_array_equal(there.get_variable(made.path).value, made.value)


def test_arrays_that_share_their_bytes_are_refused(tmp_path):
    """A directory of an archive may name one stretch of the file a thousand times; newer Pythons see it themselves."""
    path = save_checkpoint(a_context(2, 1000), tmp_path / "m.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.extend(archive.filelist[:1] * 1000)
        archive._didModify = True  # so that the directory is written anew
    ctx = a_context(1, 1000)
    before = state(ctx)
    with pytest.raises(CheckpointError, match=r"some of them share their bytes|Overlapped entries"):
        load_checkpoint(ctx, path)
    assert state(ctx) == before
