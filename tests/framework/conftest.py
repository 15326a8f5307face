"""A checkpoint, and a context that no failure may touch."""

from __future__ import annotations

import pytest

from pybn.framework.checkpoints import save_checkpoint
from tests.support.checkpoints import trained


@pytest.fixture
def saved(tmp_path):
    """A trainer, and the file that it was saved to."""
    trainer = trained(1)
    return trainer, save_checkpoint(trainer.context, tmp_path / "model.npz")


@pytest.fixture
def other():
    """A context of the same model with other values, that no failure may touch."""
    return trained(2).context
