"""What a block of code sets for the code within: each thread or task has its own.

A prediction in one thread neither sees nor changes the training step in another, because the run
under way is kept in a ContextVar, as the choice of the implementation is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = ["Begin", "Block", "Blocks", "Setting"]  # and not `around`, which has no signature that a page could show

Value = TypeVar("Value")
#: Makes the value of a block as it begins, and beside it, by variable, what that is for the code within.
Begin: TypeAlias = Callable[[], tuple[Value, dict[Any, Any]]]


class Block:
    """What one `with` block has set, while it is open."""

    __slots__ = ("is_aside", "is_open", "key", "owner", "seen", "value")

    def __init__(self, owner: object, key: str, value: Any, seen: dict[Any, Any], is_aside: bool = False) -> None:
        self.owner = owner
        self.key = key
        self.value = value
        self.seen = seen  # by variable, what it is for the code within
        self.is_aside = is_aside  # what the code within assigns to these variables stays here
        self.is_open = True


# The blocks around a line, the innermost first, as they are looked through 70 times in a training step.  One variable
# for all owners: a ContextVar is never collected, so an owner must not have its own.
_around: ContextVar[tuple[Block, ...]] = ContextVar("pybn_blocks", default=())


#: The blocks around this line in this thread or task, the innermost first; some may have ended.
#: Not a function of ours around it, which would take 60 ns more each time.
around = _around.get


class Blocks:
    """Values that blocks of code set, by key, for their own length and in their own thread or task alone.

    >>> blocks = Blocks()
    >>> with blocks.setting("key", 1):
    ...     blocks.get("key")
    1
    """

    def get(self, key: str, default: Any = None) -> Any:
        """What the innermost block around has set for `key`."""
        for block in around():
            if block.owner is self and block.key == key and block.is_open:
                return block.value
        return default

    def setting(self, key: str, value: Any) -> Setting[Any]:
        """Set `key` for the length of a block; what it was before is back afterwards, also after an error.

        Blocks may end in another order than they began, as those of generators do.
        """
        return Setting(self, key, lambda: (value, {}))

    def beginning(self, key: str, begin: Begin[Value]) -> Setting[Value]:
        """As `setting`, with a value that is made when the block begins, and what variables are for the code within."""
        return Setting(self, key, begin)

    def aside(self, key: str, begin: Begin[Value]) -> Setting[Value]:
        """As `beginning`, and what the code within assigns to these variables no other thread sees: it ends here."""
        return Setting(self, key, begin, is_aside=True)


class Setting(Generic[Value]):
    """The block that sets a value.

    Two methods and no generator: a forward pass is one, and took 15 us in place of 7.
    """

    __slots__ = ("_begin", "_block", "_is_aside", "_key", "_owner")

    def __init__(self, owner: object, key: str, begin: Begin[Value], is_aside: bool = False) -> None:
        self._owner, self._key, self._begin, self._is_aside = owner, key, begin, is_aside

    def __enter__(self) -> Value:
        value, seen = self._begin()
        self._block = block = Block(self._owner, self._key, value, seen, self._is_aside)
        try:
            _around.set((block, *_still_open()))
        except BaseException:  # an interrupt: `__exit__` will not be called
            block.is_open = False
            raise
        return value

    def __exit__(self, *error: object) -> None:
        # An interrupt comes with a call or a loop: it may keep the block in the list, and not open.
        self._block.is_open = False
        _around.set(_still_open())


def _still_open() -> tuple[Block, ...]:
    return tuple([block for block in around() if block.is_open])
