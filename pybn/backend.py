"""Which implementation computes: the readable reference or the compiled twin.

The only file that names `pybn_ext`.  The default is the compiled implementation where it was
built; the environment variable PYBN_BACKEND ("reference" or "compiled") decides otherwise.
Asking for what is not there is an ImportError, never another answer.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from types import ModuleType, TracebackType

from pybn import reference

NAMES = ("reference", "compiled")

# A `with use_backend(...)` block is seen by its own thread or task alone; a plain call by all.
_in_block: ContextVar[ModuleType | None] = ContextVar("pybn_backend", default=None)
_for_process: ModuleType | None = None


def active() -> ModuleType:
    """The implementation that computes now; bind it once for a forward pass and its gradient."""
    return _in_block.get() or _process_default()


def backend_name() -> str:
    """ "reference" or "compiled": what `active` returns."""
    return "reference" if active() is reference else "compiled"


class use_backend:
    """Compute with "reference" or "compiled" from here on, or for the length of a `with` block.

    A plain call holds for the whole process.  As a context manager it holds for the block, in
    this thread, and the implementation before it is back afterwards, also after an error.

    >>> with use_backend("reference"):
    ...     backend_name()
    'reference'

    Raises ImportError at once where the implementation is missing, and ValueError for another name.
    """

    def __init__(self, name: str) -> None:
        self._implementation = load(name)
        self._before = (_in_block.get(), _for_process)
        self._token: Token[ModuleType | None] | None = None
        _select(self._implementation)

    def __enter__(self) -> ModuleType:
        global _for_process
        block, _for_process = self._before
        _in_block.set(block)
        self._token = _in_block.set(self._implementation)
        return self._implementation

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
    try:
        load("compiled")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "pybn_ext":
            raise
        return False
    return True


def _select(implementation: ModuleType) -> None:
    """Make it the one of the innermost block, or of the process outside any block."""
    global _for_process
    if _in_block.get() is None:
        _for_process = implementation
    else:
        _in_block.set(implementation)


def _process_default() -> ModuleType:
    """What PYBN_BACKEND asks for, else the compiled implementation where it was built."""
    global _for_process
    if _for_process is None:
        asked = os.environ.get("PYBN_BACKEND")
        _for_process = load(asked or ("compiled" if compiled_is_built() else "reference"))
    return _for_process
