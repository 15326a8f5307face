"""Whatever a file is, a context is changed whole or not at all: files that are none, and those of another model."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from pybn import Context, Variable, initializers, layers
from pybn.framework.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tests.support.checkpoints import header_file, refused, state

# --- files that are none ----------------------------------------------------------------------------------


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
            assert state(ctx) == state(Context(0))
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
        {"variables": [ENTRY | {"trainable": "false"}]},
        {"variables": [ENTRY | {"trainable": 1}]},
        {"variables": [ENTRY | {"role": None}]},
        {"version": 2, "global_step": "7"},
        {"version": 2, "global_step": 1.5},
        {"version": 2, "global_step": True},
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
