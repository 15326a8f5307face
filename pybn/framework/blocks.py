"""What a block of code sets for the code within: each thread or task has its own.

A prediction in one thread neither sees nor changes the training step in another, because the run
under way is kept in a ContextVar, as the choice of the implementation is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Block:
    """What one `with` block has set, while it is open."""

    __slots__ = ("is_open", "key", "owner", "seen", "value")

    def __init__(self, owner: object, key: str, value: Any, seen: dict[Any, Any]) -> None:
        self.owner = owner
        self.key = key
        self.value = value
        self.seen = seen  # by variable, what it is for the code within
        self.is_open = True


# The blocks around a line, the innermost last.  One variable for all owners: a ContextVar is never
# collected, so an owner must not have its own.
_around: ContextVar[tuple[Block, ...]] = ContextVar("pybn_blocks", default=())


def around() -> tuple[Block, ...]:
    """The blocks around this line in this thread or task, the innermost last; some may have ended."""
    return _around.get()


class Blocks:
    """Values that blocks of code set, by key, for their own length and in their own thread or task alone.

    >>> blocks = Blocks()
    >>> with blocks.setting("key", 1):
    ...     blocks.get("key")
    1
    """

    def get(self, key: str, default: Any = None) -> Any:
        """What the innermost block around has set for `key`."""
        for block in reversed(around()):
            if block.owner is self and block.key == key and block.is_open:
                return block.value
        return default

    @contextmanager
    def setting(self, key: str, value: Any, seen: dict[Any, Any] | None = None) -> Iterator[None]:
        """Set `key` for the length of a block; what it was before is back afterwards, also after an error.

        Blocks may end in another order than they began, as those of generators do.
        """
        block = Block(self, key, value, seen or {})
        try:
            _around.set((*_still_open(), block))
            yield
        finally:
            # An interrupt comes with a call or a loop: it may keep the block in the list, and not open.
            block.is_open = False
            _around.set(_still_open())


def _still_open() -> tuple[Block, ...]:
    return tuple(block for block in around() if block.is_open)
