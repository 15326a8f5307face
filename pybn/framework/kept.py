"""Checkpoints: the last few of a run, in a directory of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path

from pybn.framework.checkpoints import load_checkpoint, mark_of, save_marked
from pybn.framework.context import Context
from pybn.framework.files import clear_abandoned
from pybn.framework.parameters import whole_number
from pybn.framework.train import Loop

__all__ = ["Checkpoints"]

_NAME = re.compile(r"checkpoint-n(\d{7,})-step-\d{8,}\.npz")


class Checkpoints:
    """Saves checkpoints of `ctx` to `directory` and keeps the last `keep` of them.

    Parameters
    ----------
    ctx : Context whose variables, parameters, global step and random numbers are saved and loaded
    directory : made by the first `save`
    keep : how many stay, 1 or more; -1 for all

    A file is deleted when a newer one is whole, and only if `Checkpoints` wrote it under the name that it
    has: copies, renamed ones and what `save_checkpoint` wrote stay.  Names have a running number, which is
    the order, and the global step:

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> ctx = Context()
    >>> kept = Checkpoints(ctx, folder.name, keep=2)
    >>> for step in (100, 200, 300):
    ...     ctx.global_step = step
    ...     path = kept.save()
    >>> [path.name for path in kept.paths()]
    ['checkpoint-n0000001-step-00000200.npz', 'checkpoint-n0000002-step-00000300.npz']
    >>> kept.load() == path
    True
    >>> folder.cleanup()
    """

    def __init__(self, ctx: Context, directory: str | os.PathLike[str], keep: int = 1) -> None:
        if whole_number("keep", keep) < 1 and keep != -1:
            raise ValueError(f"keep must be 1 checkpoint or more, or -1 for all, got {keep!r}")
        self.context = ctx
        self.directory = Path(directory)
        self.keep = keep

    def paths(self) -> list[Path]:
        """The files that have the name of a checkpoint of `Checkpoints`, the oldest first."""
        if not self.directory.exists():
            return []
        names = [name for name in os.listdir(self.directory) if _NAME.fullmatch(name)]
        return [self.directory / name for name in sorted(names, key=_number)]

    def save(self) -> Path:
        """Write a new checkpoint, then delete those that are too many; returns its path.

        Whatever ends it early, a kill too, leaves every older one that it has not come to delete.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        clear_abandoned(self.directory, _NAME.pattern)
        there = self.paths()
        number = _number(there[-1].name) + 1 if there else 0
        new = self.directory / f"checkpoint-n{number:07d}-step-{self.context.global_step:08d}.npz"
        save_marked(self.context, new, mark=new.name)
        if self.keep != -1:
            ours = [path for path in self.paths() if not path.is_symlink() and mark_of(path) == path.name]
            for path in ours[: -self.keep]:
                path.unlink(missing_ok=True)  # another process that saves here may have come first
        return new

    def load(self, *, exclude_params: Container[str] = (), restore_rng: bool = True) -> Path | None:
        """Load the newest into the context, as `load_checkpoint` does; returns its path, None where there is none.

        Raises CheckpointError where the newest is damaged, and does not go back to an older one by itself.
        """
        there = self.paths()
        if not there:
            return None
        load_checkpoint(self.context, there[-1], exclude_params=exclude_params, restore_rng=restore_rng)
        return there[-1]

    def on_step(self, loop: Loop, metrics: dict[str, float]) -> None:
        """`save`, as a hook of a Loop: `every_n_steps(loop, 100, kept.on_step)`."""
        self.save()


def _number(name: str) -> int:
    found = _NAME.fullmatch(name)
    assert found
    return int(found[1])
