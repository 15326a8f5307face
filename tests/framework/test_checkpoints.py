"""Checkpoints: what is saved comes back, and whatever the file is, a context is changed whole or not at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, Variable, batchnorm, initializers, layers, losses, optimizers
from pybn.framework.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tests.support import arrays as support


def model(ctx, x):
    x = layers.dense(ctx.in_scope("first"), x, 4)
    return layers.dense(ctx.in_scope("second"), batchnorm.new(ctx, x).done(), 3)


def trained(seed, steps=3):
    """A context with everything in it: weights, statistics of two types, an optimizer's state, parameters."""
    rng = np.random.default_rng(seed)
    ctx = Context(seed)
    ctx.set_params({"l2_regularization": 1e-3, "name": "digits", "sizes": [1, 2], "none": None, "nested": {"a": True}})
    ctx.in_scope("first").set_param("l2_regularization", 0.0)
    data = InMemoryDataset(rng.standard_normal((12, 5)).astype(np.float32), rng.integers(0, 3, 12), 4)
    trainer = Trainer(ctx, model, losses.softmax_cross_entropy, optimizers.Adam(0.01))
    Loop(trainer).run_steps(data, steps)
    return trainer


def state(ctx):
    described = {v.path: (v.value.tobytes(), v.shape, v.dtype, v.trainable, v.role) for v in ctx.variables()}
    return described, ctx.parameters


@pytest.fixture
def saved(tmp_path):
    """A trainer, and the file that it was saved to."""
    trainer = trained(1)
    return trainer, save_checkpoint(trainer.context, tmp_path / "model.npz")


@pytest.fixture
def other():
    """A context of the same model with other values, that no failure may touch."""
    return trained(2).context


# --- what is saved comes back --------------------------------------------------------------------------


def test_into_an_empty_context(saved):
    trainer, path = saved
    ctx = Context(0)
    load_checkpoint(ctx, path)
    assert state(ctx) == state(trainer.context)
    assert [each.path for each in ctx.variables()] == [each.path for each in trainer.context.variables()]
    assert not any(each.value.flags.writeable for each in ctx.variables())


def test_over_a_context_with_other_values(saved, other):
    trainer, path = saved
    kept = other.get_variable("/first/dense/weights")
    node = kept.node
    load_checkpoint(other, path)
    assert state(other) == state(trainer.context)
    assert other.get_variable("/first/dense/weights") is kept, "who holds the variable sees the new value"
    assert kept.node is not node
    np.testing.assert_array_equal(kept.node.value, kept.value)


def test_training_goes_on_where_it_was(saved, rng):
    """Weights, averages and the optimizer's moments: the next step is the one that would have come."""
    trainer, path = saved
    again = trained(5, steps=1)
    load_checkpoint(again.context, path)
    batch = rng.standard_normal((4, 5)).astype(np.float32), np.array([0, 1, 2, 0])
    for each in (trainer, again):
        each.train_step(*batch)
    assert state(again.context) == state(trainer.context)
    np.testing.assert_array_equal(again.predict(batch[0]), trainer.predict(batch[0]))


def test_every_kind_of_variable(tmp_path):
    ctx = Context(0)
    arrays = {
        "scalar": np.float64(1 / 3),
        "empty": np.zeros((0, 3), np.float32),
        "half": np.array([1.5], np.float16),
        "whole": np.array([2**62, -1]),
        "flags": np.array([True, False]),
        "special": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
        "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.array([1.0, 2.0], ">f8"),
    }
    for name, array in arrays.items():
        ctx.add_variable(Variable(f"/a b/ü/{name}", np.asarray(array), name != "half", f"role of {name}"))
    save_checkpoint(ctx, tmp_path / "x")
    found = Context(0)
    load_checkpoint(found, tmp_path / "x")
    assert state(found) == state(ctx)
    assert found.get_variable("/a b/ü/scalar").value.shape == ()


@support.WITHOUT
def test_bfloat16_comes_back(tmp_path, monkeypatch):
    """NumPy's files have no name for it: the numbers are float32 there, and the header names the type."""
    ctx = Context(0)
    values = np.array([1.5, -0.0, np.inf, 3.0e38, 1e-40], "bfloat16")
    ctx.add_variable(Variable("/w", values))
    save_checkpoint(ctx, tmp_path / "x")
    with np.load(tmp_path / "x") as file:
        np.testing.assert_array_equal(file["variable_0"], values.astype(np.float32))
        assert json.loads(str(file["header"]))["variables"][0]["dtype"] == "bfloat16"
    found, there, wide = Context(0), Context(0), Context(0)
    there.add_variable(Variable("/w", np.zeros(5, "bfloat16")))
    wide.add_variable(Variable("/w", np.zeros(5, np.float64)))
    for each in (found, there, wide):
        load_checkpoint(each, tmp_path / "x")
    assert state(found) == state(there) == state(ctx)
    assert found.get_variable("/w").dtype == "bfloat16"
    np.testing.assert_array_equal(wide.get_variable("/w").value, values.astype(np.float64))

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    nothing = Context(0)
    with pytest.raises(ModuleNotFoundError, match="pip install ml_dtypes"):
        load_checkpoint(nothing, tmp_path / "x")
    assert state(nothing) == ({}, {})


def test_a_float32_checkpoint_goes_into_bfloat16(tmp_path):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    wide, narrow = Context(0), Context(0)
    wide.add_variable(Variable("/w", np.array([1 / 3, 2.0], np.float32)))
    narrow.add_variable(Variable("/w", np.zeros(2, "bfloat16")))
    save_checkpoint(wide, tmp_path / "x")
    load_checkpoint(narrow, tmp_path / "x")
    np.testing.assert_array_equal(narrow.get_variable("/w").value, np.array([1 / 3, 2.0], "bfloat16"))


def test_a_type_that_nobody_knows(saved, other, tmp_path):
    header = json.loads(str(np.load(saved[1])["header"]))
    header["variables"][0]["dtype"] = "float7"
    arrays = {name: value for name, value in np.load(saved[1]).items() if name != "header"}
    np.savez(tmp_path / "x.npz", header=np.array(json.dumps(header)), **arrays)
    refused(other, tmp_path / "x.npz", "'float7' is none of pybn's")


def test_every_kind_of_parameter(tmp_path):
    ctx = Context(0)
    ctx.set_params({"nan": float("nan"), "inf": float("inf"), "long": 2**80, "text": "ü\n\0x", "empty": {}})
    ctx.in_scope("deep").in_scope("er").set_param("here", 1.0)
    save_checkpoint(ctx, tmp_path / "x")
    found = Context(0)
    load_checkpoint(found, tmp_path / "x")
    assert repr(found.parameters) == repr(ctx.parameters)
    assert found.in_absolute_path("/deep/er/below").get_param("here") == 1.0


def test_an_empty_context(tmp_path, other):
    save_checkpoint(Context(0), tmp_path / "x")
    ctx = Context(0)
    load_checkpoint(ctx, tmp_path / "x")
    assert state(ctx) == ({}, {})
    with pytest.raises(CheckpointError, match="lacks variables that the context has: /batch_normalization/avg_weight,"):
        load_checkpoint(other, tmp_path / "x")


def test_from_any_scope_the_whole_store_is_meant(saved):
    trainer, path = saved
    save_checkpoint(trainer.context.in_scope("first"), path)
    ctx = Context(0)
    load_checkpoint(ctx.in_scope("elsewhere"), path)
    assert state(ctx) == state(trainer.context)


def test_a_narrower_type_in_the_context_stays(tmp_path):
    wide, narrow = Context(0), Context(0)
    wide.variable("v", (2,), np.float64, initializers.ones).value = [1 / 3, 2.0]
    narrow.variable("v", (2,), np.float32, initializers.zeros)
    save_checkpoint(wide, tmp_path / "x")
    load_checkpoint(narrow, tmp_path / "x")
    assert narrow.get_variable("v").dtype == np.float32
    np.testing.assert_array_equal(narrow.get_variable("v").value, np.array([1 / 3, 2], np.float32))


def test_the_path_is_taken_as_it_is(tmp_path):
    for name in ("model.npz", "model", "model.v1.ckpt", ".hidden"):
        assert save_checkpoint(Context(0), str(tmp_path / name)) == tmp_path / name
        assert sorted(each.name for each in tmp_path.iterdir()) == [name]
        (tmp_path / name).unlink()


def test_the_file_has_the_permissions_of_a_new_file(tmp_path):
    (tmp_path / "plain").touch()
    save_checkpoint(Context(0), tmp_path / "x")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_numpy_alone_can_read_it(saved):
    trainer, path = saved
    with np.load(path, allow_pickle=False) as archive:
        header = json.loads(str(archive["header"]))
        assert header["format"] == "pybn checkpoint"
        paths = [each["path"] for each in header["variables"]]
        np.testing.assert_array_equal(
            archive[f"variable_{paths.index('/first/dense/weights')}"],
            trainer.context.get_variable("/first/dense/weights").value,
        )


# --- files that are none ----------------------------------------------------------------------------------


def refused(ctx, path, text="is not a whole checkpoint of pybn"):
    """Loading raises CheckpointError and leaves the context as it was."""
    before = state(ctx)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_checkpoint(ctx, path)
    assert os.fspath(path) in str(caught.value)
    assert state(ctx) == before


def test_a_file_that_was_cut_off(saved, other, tmp_path):
    whole = saved[1].read_bytes()
    cut = tmp_path / "cut"
    lengths = {0, 1, 3, 10, 30, 100, len(whole) - 1, len(whole) - 2, len(whole) - 22, len(whole) - 23}
    lengths |= set(range(0, len(whole), max(1, len(whole) // 60)))
    for length in sorted(lengths):
        cut.write_bytes(whole[:length])
        refused(other, cut)


def test_a_file_with_a_damaged_byte(saved, tmp_path):
    """It is refused, or the byte was one that does not matter: never is something else loaded."""
    trainer, path = saved
    whole, damaged = path.read_bytes(), tmp_path / "damaged"
    expected, refusals = state(trainer.context), 0
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 300, replace=False):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << rng.integers(8)
        damaged.write_bytes(spoilt)
        ctx = Context(0)
        try:
            load_checkpoint(ctx, damaged)
        except CheckpointError:
            refusals += 1
            assert state(ctx) == ({}, {})
        else:
            assert state(ctx) == expected
    assert refusals > 200


def foreign_npz(path):
    np.savez(path, weights=np.ones(3))


def compressed_npz(path):
    np.savez_compressed(path, weights=np.ones(3))


def plain_npy(path):
    np.save(path, np.ones(3))


def a_pickle(path):
    path.write_bytes(pickle.dumps({"weights": [1, 2]}))


def an_npz_of_objects(path):
    np.savez(path, header=np.array([{"format": "pybn checkpoint"}], dtype=object))


def a_header_of_numbers(path):
    np.savez(path, header=np.ones(3))


def a_text(path):
    path.write_text("these are no weights")


def a_zip_of_texts(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header", "{}")


def header_file(header, **arrays):
    def write(path):
        np.savez(path, header=np.array(header if isinstance(header, str) else json.dumps(header)), **arrays)

    return write


FOREIGN = [
    foreign_npz,
    compressed_npz,
    plain_npy,
    a_pickle,
    an_npz_of_objects,
    a_header_of_numbers,
    a_text,
    a_zip_of_texts,
    header_file("no json"),
    header_file("[]"),
    header_file("{}"),
    header_file({"format": "pybn checkpoint", "version": 1}),
    header_file({"format": "pybn checkpoint", "version": 1, "variables": [{"path": "/a"}], "parameters": {}}),
]


@pytest.mark.parametrize("write", FOREIGN, ids=lambda f: f.__name__)
def test_foreign_files(other, tmp_path, write):
    path = tmp_path / "foreign.npz"
    write(path)
    if path.with_suffix(".npz.npy").exists():
        path.with_suffix(".npz.npy").rename(path)
    refused(other, path)


@pytest.mark.parametrize(("field", "value"), [("version", 3), ("version", 0), ("format", "another")])
def test_another_version(other, tmp_path, field, value):
    path = tmp_path / "x.npz"
    header_file({"format": "pybn checkpoint", "version": 1, "variables": [], "parameters": {}} | {field: value})(path)
    refused(other, path, r"has format .* version .*, this reads 'pybn checkpoint' version 2")


ENTRY = {"path": "/a", "trainable": True, "role": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"variables": [{"path": "/a"}]},
        {"variables": ["/a"]},
        {"variables": [ENTRY | {"path": "a"}]},
        {"variables": [ENTRY | {"path": 3}]},
        {"parameters": []},
        {"parameters": {"scope": {}}},
        {"parameters": {"/": 3}},
    ],
    ids=str,
)
def test_headers_that_describe_no_context(tmp_path, change):
    path = tmp_path / "x.npz"
    header = {"format": "pybn checkpoint", "version": 1, "variables": [ENTRY], "parameters": {"/": {"a": 1}}}
    header_file(header | change, variable_0=np.ones(2))(path)
    refused(Context(0), path, "has a header that does not describe a context")


def test_a_directory(other, tmp_path):
    refused(other, tmp_path)


def test_a_file_that_is_not_there(other, tmp_path):
    before = state(other)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(other, tmp_path / "nowhere")
    assert state(other) == before


# --- files of another model -------------------------------------------------------------------------------


def test_a_checkpoint_without_some_variables(saved, other):
    other.in_scope("new").variable("w", (2, 2))
    refused(other, saved[1], "lacks variables that the context has: /new/w$")


def test_a_checkpoint_with_another_shape(tmp_path, other):
    smaller = Context(0)
    for variable in other.variables():
        last = variable.path == other.variables()[-1].path
        smaller.add_variable(Variable(variable.path, np.zeros((7, 7)) if last else variable.value))
    save_checkpoint(smaller, tmp_path / "x")
    refused(other, tmp_path / "x", r"has /optimizer/second/dense/bias/steps with shape \(7, 7\), the context \(\)$")


def test_a_checkpoint_with_another_kind_of_values(tmp_path):
    ctx, theirs = Context(0), Context(0)
    for name in "ab":
        ctx.variable(name, (2,), initializer=initializers.zeros)
    theirs.add_variable(Variable("/a", np.ones(2)))
    theirs.add_variable(Variable("/b", np.ones(2, complex)))
    save_checkpoint(theirs, tmp_path / "x")
    refused(ctx, tmp_path / "x", "has /b with type .*, the context float32")


def test_more_variables_than_the_context_has_are_added(saved):
    ctx = Context(0)
    layers.dense(ctx.in_scope("first"), np.ones((2, 5), np.float32), 4)
    load_checkpoint(ctx, saved[1])
    assert state(ctx)[0] == state(saved[0].context)[0]


# --- a write that fails leaves the old file --------------------------------------------------------------------


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


def test_nothing_is_unpickled(tmp_path, other):
    """A checkpoint from a stranger must not run code."""

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "evil"),))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("header.npy", buffer.getvalue())
    refused(other, tmp_path / "x")
    assert not (tmp_path / "evil").exists()


def test_numbers_too_large_for_the_context_are_refused(tmp_path):
    wide, narrow = Context(0), Context(0)
    wide.variable("v", (2,), np.float64).value = [1.0, 1e300]
    narrow.variable("v", (2,), np.float32)
    path = save_checkpoint(wide, tmp_path / "c.npz")
    with pytest.raises(CheckpointError, match="too large for float32"):
        load_checkpoint(narrow, path)
    assert not narrow.get_variable("/v").value.any()


@pytest.mark.parametrize("value", [(1, 2), {1: "x"}, {"a": (1,)}])
def test_a_parameter_that_would_come_back_as_another_is_refused(tmp_path, value):
    ctx = Context(0)
    ctx.set_param("p", value)
    with pytest.raises(TypeError, match=r"'p' of scope / cannot be saved: .* would come back as"):
        save_checkpoint(ctx, tmp_path / "c.npz")
    assert list(tmp_path.iterdir()) == []


# --- the global step, and parameters that stay ------------------------------------------------------------


def test_the_global_step_comes_back_and_a_loop_goes_on_from_it(saved, other):
    trainer, path = saved
    assert trainer.context.global_step == 3
    load_checkpoint(other, path)
    assert other.global_step == 3
    assert Loop(Trainer(other, model, losses.softmax_cross_entropy, optimizers.Adam(0.01))).step == 3


def test_a_file_from_before_there_was_a_global_step_begins_at_0(other, tmp_path):
    path, ctx = tmp_path / "old.npz", Context(0)
    ctx.global_step = 5
    header_file({"format": "pybn checkpoint", "version": 1, "variables": [], "parameters": {}})(path)
    load_checkpoint(ctx, path)
    assert ctx.global_step == 0


@pytest.mark.parametrize("step", [-1, None, "x"])
def test_a_step_that_is_none_is_no_checkpoint(other, tmp_path, step):
    path, before = tmp_path / "bad.npz", other.global_step
    header = {"format": "pybn checkpoint", "version": 2, "variables": [], "parameters": {}, "global_step": step}
    header_file(header)(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(other, path)
    assert other.global_step == before == 3


def test_excluded_parameters_stay_in_every_scope(saved):
    _, path = saved
    ctx = Context(0)
    ctx.set_param("l2_regularization", 7)
    load_checkpoint(ctx, path, exclude_params=["l2_regularization"])
    assert ctx.get_param("l2_regularization") == ctx.in_scope("first").get_param("l2_regularization") == 7
    assert ctx.get_param("name") == "digits"


def test_an_error_takes_the_global_step_back():
    ctx = Context(0)

    def interrupted():
        ctx.global_step = 5
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ctx.restored_on_error():
        interrupted()
    assert ctx.global_step == 0
    with pytest.raises(ValueError, match="global_step must be a number of steps, 0 or more, got -1"):
        ctx.global_step = -1
