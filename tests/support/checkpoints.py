"""A trained model for the tests of checkpoints, and all that its context holds."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, batchnorm, layers, losses, optimizers
from pybn.framework.checkpoints import CheckpointError, load_checkpoint


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
    return described, ctx.parameters, repr(ctx.rng.bit_generator.state)


def refused(ctx, path, text="is not a whole checkpoint of pybn"):
    """Loading raises CheckpointError and leaves the context as it was."""
    before = state(ctx)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_checkpoint(ctx, path)
    assert os.fspath(path) in str(caught.value)
    assert state(ctx) == before


def header_file(header, **arrays):
    def write(path):
        np.savez(path, header=np.array(header if isinstance(header, str) else json.dumps(header)), **arrays)

    return write
