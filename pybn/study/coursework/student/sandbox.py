"""Run code that nobody has read: within a time limit, its prints caught, its failures kept.

Each call runs in a thread of its own, so it works from any thread and on every system, and what
the function keeps (a class, a module) stays in this process.  At the limit an exception is raised
inside that thread, again and again until it leaves: it ends a loop in Python or over NumPy calls,
also one with a bare `except`.  It cannot end a single call into C that does not return (a product
of enormous matrices, a long sleep): such a thread is left behind as a daemon, and the report does
not wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# A thread that has not left this many seconds after the limit is in C, and is left behind.
GRACE = 0.5
# A bare `except` swallows one exception; among many some arrive outside the `try`: the loop
# `while True: try ... except: pass` ends after 2 s at Python's switch interval of 5 ms, after 0.01 s at this one.
BETWEEN_INTERRUPTS = 0.00005


_NOT_THEIRS = ("site-packages", "dist-packages", str(Path(__file__).parents[2]))


class TimeIsUp(BaseException):
    """Raised inside a call that has used up its time; not an Exception, so few handlers catch it."""


@dataclass(frozen=True)
class Outcome:
    """What one call did: a value, or a failure ("raised", "hung") and its message."""

    value: Any = None
    failure: str = ""
    message: str = ""
    unfinished: bool = False  # raised NotImplementedError
    printed: str = ""
    error: BaseException | None = None  # what was raised


class _Call(threading.Thread):
    """One call in a daemon thread, and what came of it."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__(daemon=True, name="pybn-coursework")
        self.function, self.arguments = function, arguments
        self.lock, self.done = threading.Lock(), threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._call()
            with self.lock:
                self.done.set()
                _set_exception(self.ident, None)  # one that was on its way must not hit the thread's own end
        except TimeIsUp as late:  # it arrived between the function's end and the line above
            self.error = late
            self.done.set()

    def _call(self) -> None:
        try:
            with np.errstate(all="ignore"):
                self.value = self.function(*self.arguments)
        except BaseException as error:  # SystemExit too: it must not end the teacher's process
            self.error = error

    def interrupt(self) -> None:
        """Raise TimeIsUp in the thread unless it is done."""
        with self.lock:
            if not self.done.is_set():
                _set_exception(self.ident, TimeIsUp)


def run(function: Callable[..., Any], *arguments: Any, limit: float) -> Outcome:
    """Call `function(*arguments)` for at most `limit` seconds; never raises what the function raises."""
    call, printed = _Call(function, arguments), io.StringIO()
    with _silence(printed):
        call.start()
        try:
            in_time = call.done.wait(limit)
        finally:  # also when the teacher presses Ctrl-C
            _end(call)
    if not in_time or isinstance(call.error, TimeIsUp):
        message = f"did not return within {limit:g} seconds"
        return Outcome(failure="hung", message=message, printed=printed.getvalue())
    if call.error is not None:
        return _raised(call.error, printed.getvalue())
    return Outcome(value=call.value, printed=printed.getvalue())


@contextlib.contextmanager
def _silence(printed: io.StringIO) -> Iterator[None]:
    """Catch prints and drop warnings.  In the calling thread: one left behind would never undo it."""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _end(call: _Call) -> None:
    """Interrupt the call until it is done or its grace is over."""
    if call.done.is_set():
        return
    interval, until = sys.getswitchinterval(), time.monotonic() + GRACE
    sys.setswitchinterval(BETWEEN_INTERRUPTS)
    try:
        while not call.done.is_set() and time.monotonic() < until:
            call.interrupt()
            call.done.wait(BETWEEN_INTERRUPTS)
    finally:
        sys.setswitchinterval(interval)


def _raised(error: BaseException, printed: str) -> Outcome:
    message = f"{type(error).__name__}: {error}".rstrip(": ") + _place(error)
    unfinished = isinstance(error, NotImplementedError)
    return Outcome(failure="raised", message=message, unfinished=unfinished, printed=printed, error=error)


def _place(error: BaseException) -> str:
    """The student's own line: the last one before the error left their code for a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(room in frame.filename for room in _NOT_THEIRS)]
    if not own:
        return ""
    text = f": {own[-1].line}" if own[-1].line else ""
    return f" (line {own[-1].lineno}, in {own[-1].name}{text})"


def _set_exception(thread: int | None, exception: type[BaseException] | None) -> None:
    value = ctypes.py_object(exception) if exception else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), value)
