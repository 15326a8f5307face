"""Which implementation computes: the readable reference or the compiled twin.

The only file of pybn that imports `pybn_ext`.  The default is the compiled implementation where it was
built; the environment variable PYBN_BACKEND ("reference" or "compiled") decides otherwise.
Asking for what is not there is an ImportError, never another answer.  Where the compiled one should
have been built and the compiler failed, the first computation warns that the reference does it.
"""

from __future__ import annotations

import os
import warnings
from contextvars import ContextVar, Token
from types import ModuleType, TracebackType

from pybn import reference

NAMES = ("reference", "compiled")

# A `with use_backend(...)` block is seen by its own thread or task alone; a plain call by all.
_in_block: ContextVar[ModuleType | None] = ContextVar("pybn_backend", default=None)
# Calls that no `with` took up, the latest last: that one holds for the process.  A `with` takes
# its own out, whatever other threads do; calls before the last hundred can hold no more.
_calls: list[use_backend] = []
REMEMBERED_CALLS = 100
_found_at_start: ModuleType | None = None


def active() -> ModuleType:
    """The implementation that computes now; bind it once for a forward pass and its gradient."""
    return _in_block.get() or _process_default()


def backend_name() -> str:
    """ "reference" or "compiled": what `active` returns."""
    return "reference" if active() is reference else "compiled"


class use_backend:
    """Compute with "reference" or "compiled" from here on, or for the length of a `with` block.

    A plain call holds for the whole process.  As a context manager it holds for the block, in
    this thread, and the implementation before it is back afterwards, also after an error.  (Between
    the call and the beginning of its block, other threads outside a block see it too.)

    >>> with use_backend("reference"):
    ...     backend_name()
    'reference'

    Raises ImportError at once where the implementation is missing, and ValueError for another name.
    """

    def __init__(self, name: str) -> None:
        self.implementation = load(name)
        self._outer = _in_block.get()
        self._token: Token[ModuleType | None] | None = None
        if self._outer is None:
            _calls.append(self)
            del _calls[:-REMEMBERED_CALLS]
        else:
            _in_block.set(self.implementation)

    def __enter__(self) -> ModuleType:
        if self in _calls:
            _calls.remove(self)
        if self._outer is not None:
            _in_block.set(self._outer)
        self._token = _in_block.set(self.implementation)
        return self.implementation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        _in_block.reset(self._token)


def load(name: str) -> ModuleType:
    """The implementation of that name; ImportError where it was not built, ValueError for another name."""
    if name == "reference":
        return reference
    if name == "compiled":
        import pybn_ext

        return pybn_ext
    raise ValueError(f"the backend must be one of {NAMES}, got {name!r}")


def compiled_is_built() -> bool:
    """Whether the compiled modules are there.  One that is there and broken raises its own error."""
    return _why_not_compiled() is None


def _why_not_compiled() -> ModuleNotFoundError | None:
    try:
        load("compiled")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "pybn_ext":
            raise
        return missing
    return None


def _process_default() -> ModuleType:
    """What the last plain call asked for, else PYBN_BACKEND, else the compiled one where it was built."""
    global _found_at_start
    if _calls:
        return _calls[-1].implementation
    if _found_at_start is None:
        _found_at_start = _from_environment()
    return _found_at_start


def _from_environment() -> ModuleType:
    asked = os.environ.get("PYBN_BACKEND")
    if asked is None:
        return _compiled_or_reference()
    if asked not in NAMES:
        raise ValueError(f"the environment variable PYBN_BACKEND must be one of {NAMES}, got {asked!r}")
    return load(asked)


def _compiled_or_reference() -> ModuleType:
    """The compiled one, or the reference, with a warning where a compiler failed: installers hide what it said."""
    missing = _why_not_compiled()
    if missing is None:
        return load("compiled")
    if missing.path:  # where the compiler's words are kept; nowhere, where nobody tried, as in a bare clone
        warnings.warn(
            f"{missing}: the same results, many times slower.  With PYBN_BACKEND=reference in the environment this is "
            "not said",
            RuntimeWarning,
            stacklevel=2,
        )
    return reference
