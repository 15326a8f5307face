"""Checkpoints: what is saved comes back."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from pybn import Context, Loop, Trainer, Variable, initializers, losses, optimizers
from pybn.framework.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tests.support import arrays as support
from tests.support.checkpoints import header_file, model, refused, state, trained

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
    assert state(nothing) == state(Context(0))


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
    assert state(ctx) == state(Context(0))
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


@pytest.mark.parametrize("step", [-1, None, "x", "3", 1.5, True, float("inf")])
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
