"""Run code that nobody has read: within a time limit, its prints caught, its failures kept.

What is promised, in this process:

- A call that has not returned at the limit is left.  Each call runs in a thread of its own, so this holds
  from any thread and on every system.  At the limit an exception is raised inside that thread, again and
  again until it leaves: it ends a loop in Python or over NumPy calls, also one with a bare `except`.  It
  cannot end a single call into C that does not return (a product of enormous matrices, a long sleep):
  such a thread is left behind as a daemon, and the report does not wait for it.
- Whatever a call raises, SystemExit too, is kept, and nothing of it is raised here.  Its words are made
  within the limit, and cut: an exception's `__str__` may loop, raise, or be of 10 MB.
- What it prints is kept up to a length; the rest is dropped, and closing the stream closes nothing.
- Threads that it has started and that go on in its own code when it has returned are ended as a call
  is, and told.

What is not: memory, files, os._exit, code that changes NumPy or pybn for everybody.  `apart` runs a
student in a process of its own, where these are limited too.

Python in a browser has no threads: there a call runs where it is, and each of its lines looks at the clock.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import sys
import sysconfig
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

# A thread that has not left this many seconds after the limit is in C, and is left behind; where a busy machine makes
# fewer than INTERRUPTS of them in this time (alone there are about 4 000), after ten times as many.
GRACE = 0.5
INTERRUPTS = 1000
# A bare `except` swallows one exception; among many some arrive outside the `try`: the loop
# `while True: try ... except: pass` ends after 2 s at Python's switch interval of 5 ms, after 0.01 s at this one.
BETWEEN_INTERRUPTS = 0.00005
HAS_THREADS = sys.platform != "emscripten"


_LIBRARY = sysconfig.get_paths()["stdlib"]
SHOWN = 500  # characters of an exception's message; a report that quotes it is read in a terminal
PRINTED = 10_000  # characters kept of what a call prints
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
    threads: int = 0  # that the call has started and that went on after it


class Failed(Exception):
    """A failure that is known already: raised by a function that stands for one in another process."""

    def __init__(self, kind: str, message: str, *, unfinished: bool = False) -> None:
        super().__init__(message)
        self.kind, self.message, self.unfinished = kind, message, unfinished


class Printed(io.StringIO):
    """What a call prints, up to a length; it cannot be closed by who prints."""

    def write(self, text: str) -> int:
        """Keep what there is room for."""
        super().write(str(text)[: max(PRINTED - self.tell(), 0)])
        return len(text)

    def close(self) -> None:
        """Nothing: the caller reads it afterwards."""


class _Call(threading.Thread):
    """One call in a daemon thread, and what came of it."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__(daemon=True, name="pybn-coursework")
        self.function, self.arguments = function, arguments
        self.lock, self.done = threading.Lock(), threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self.message = ""
        self.interrupted = False
        self.inside = False  # in the function: an exception that arrives later would hit the thread's own end

    def run(self) -> None:
        try:
            self._call()
            self.inside = False
            with self.lock:
                self.done.set()
                if self.interrupted:  # one that was on its way must not hit the thread's own end
                    _set_exception(self.ident, None)
        except TimeIsUp as late:
            self.inside = False
            self.error = late
            self.done.set()

    def _call(self) -> None:
        if HAS_THREADS:
            sys.settrace(None)  # an exception that arrives in a tracer's own lines would never reach the loop
        self.inside = True
        if self.interrupted:  # on a busy machine before it began
            raise TimeIsUp
        try:
            with np.errstate(all="ignore"):
                self.value = self.function(*self.arguments)
        except TimeIsUp:
            raise
        except BaseException as error:  # SystemExit too: it must not end the teacher's process
            self.message = described(error)  # here, within the limit
            self.error = error
            _let_go(error)

    def interrupt(self) -> None:
        """Raise TimeIsUp in the thread unless it is done."""
        with self.lock:
            self.interrupted = True
            if self.inside and not self.done.is_set() and not _collects(self):
                _set_exception(self.ident, TimeIsUp)
            if not self.inside:  # since that look
                _set_exception(self.ident, None)


def _let_go(error: BaseException) -> None:
    """Free what the failed calls held: an error holds their frames, and after a MemoryError the next call needs it."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__


def run(function: Callable[..., Any], *arguments: Any, limit: float) -> Outcome:
    """Call `function(*arguments)` for at most `limit` seconds; never raises what the function raises."""
    call, printed, before = _Call(function, arguments), Printed(), set(threading.enumerate())
    with _silence(printed), _torch_as_it_was():
        _start(call, limit)
        try:
            in_time = call.done.wait(limit)
        finally:  # also when the teacher presses Ctrl-C
            _end(call)
        said = printed.getvalue()  # and not the traceback of a thread that is ended here
        threads = _end_others(before | {call})
    if not in_time or isinstance(call.error, TimeIsUp):
        message = f"did not return within {limit:g} seconds"
        return Outcome(failure="hung", message=message, printed=said, threads=threads)
    if call.error is not None:
        return _raised(call, said, threads)
    return Outcome(value=call.value, printed=said, threads=threads)


def _start(call: _Call, limit: float) -> None:
    """In its thread; where there are none, here and now, ended by the first line that is too late.

    An exception from a trace function ends the tracing, so a bare `except` can go on for ever there: whoever
    started that Python has to end it.
    """
    if HAS_THREADS:
        call.start()
        return
    until = time.monotonic() + limit

    def look_at_the_clock(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > until:
            raise TimeIsUp
        return look_at_the_clock

    before = sys.gettrace()
    sys.settrace(look_at_the_clock)
    try:
        call.run()
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def _silence(printed: io.StringIO) -> Iterator[None]:
    """Catch prints and drop warnings.  In the calling thread: one left behind would never undo it."""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """PyTorch's default dtype is everybody's.  In the calling thread: one that is interrupted might not undo it."""
    torch: Any = sys.modules.get("torch")
    before = torch.get_default_dtype() if hasattr(torch, "get_default_dtype") else None
    try:
        yield
    finally:
        if torch is not None and before is not None and torch.get_default_dtype() != before:
            torch.set_default_dtype(before)


def _end(call: _Call) -> None:
    """Interrupt the call until it is done or its grace is over."""
    if not call.done.is_set():
        _interrupt(call.interrupt, call.done.wait)


def _interrupt(interrupt: Callable[[], None], ended: Callable[[float], bool]) -> None:
    """In a thread that nobody traces or profiles: while an exception is on its way, Python 3.11 stands still there."""
    thread = threading.Thread(target=_interrupt_until, args=(interrupt, ended), daemon=True, name="pybn-coursework")
    thread.start()
    thread.join()


def _interrupt_until(interrupt: Callable[[], None], ended: Callable[[float], bool]) -> None:
    """Interrupt again and again, with little time between: among many some arrive outside a `try`."""
    sys.settrace(None)
    sys.setprofile(None)
    interval, start, made = sys.getswitchinterval(), time.monotonic(), 0
    sys.setswitchinterval(BETWEEN_INTERRUPTS)
    collects = gc.isenabled()
    gc.disable()  # see _collects
    try:
        while (waited := time.monotonic() - start) < GRACE or (made < INTERRUPTS and waited < 10 * GRACE):
            interrupt()
            made += 1
            if ended(BETWEEN_INTERRUPTS):
                return
    finally:
        sys.setswitchinterval(interval)
        if collects:
            gc.enable()
        _receive_one()


def _receive_one() -> None:
    """Let one exception arrive in this thread.

    Python 3.11 keeps looking for one that was taken back until another arrives, and looks for ever in the first frame
    that is traced or profiled: without this a check would leave a process that stands still under coverage.
    """
    with contextlib.suppress(TimeIsUp):
        _set_exception(threading.get_ident(), TimeIsUp)
        while True:  # it arrives between two of these
            time.sleep(0)


def _collects(thread: threading.Thread) -> bool:
    """Whether a callback of the collector of garbage runs there: an exception in it ends nothing, and is told."""
    callbacks = {getattr(each, "__code__", None) for each in gc.callbacks}
    return any(frame.f_code in callbacks for frame in _frames(thread))


def _frames(thread: threading.Thread) -> Iterator[FrameType]:
    """Where a thread is, from the innermost call outwards."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _end_others(before: set[threading.Thread]) -> int:
    """End threads that the call has started and that still run the student's own code; how many there were."""
    mine = [thread for thread in threading.enumerate() if thread not in before and _runs_own_code(thread)]
    if not mine:
        return 0
    for thread in mine:
        # Of a SystemExit a hook has nothing to tell; one that takes long (a test runner's) would be hit by the next.
        vars(thread)["_invoke_excepthook"] = bool

    def interrupt() -> None:
        sys.setswitchinterval(1.0)  # nobody moves between the look and the exception
        for thread in mine:
            if _runs_own_code(thread):
                _set_exception(thread.ident, SystemExit)
            # One on its way out, perhaps since that look, must not be hit in Python's own last lines of a thread.
            if not _runs_own_code(thread):
                _set_exception(thread.ident, None)
        sys.setswitchinterval(BETWEEN_INTERRUPTS)

    def ended(seconds: float) -> bool:
        time.sleep(seconds)
        return not any(thread.is_alive() for thread in mine)

    _interrupt(interrupt, ended)
    return len(mine)


def _runs_own_code(thread: threading.Thread) -> bool:
    """Whether a frame of this thread belongs neither to a library nor to pybn nor to another call of ours."""
    return not isinstance(thread, _Call) and any(is_own(frame.f_code.co_filename) for frame in _frames(thread))


def is_own(filename: str) -> bool:
    """Whether a file belongs neither to a library nor to pybn."""
    return not filename.startswith((_LIBRARY, "<frozen")) and not any(room in filename for room in _NOT_THEIRS)


def _raised(call: _Call, printed: str, threads: int) -> Outcome:
    error = call.error
    kind = error.kind if isinstance(error, Failed) else "raised"
    unfinished = error.unfinished if isinstance(error, Failed) else isinstance(error, NotImplementedError)
    return Outcome(
        failure=kind, message=call.message, unfinished=unfinished, printed=printed, error=error, threads=threads
    )


def described(error: BaseException) -> str:
    """The exception's name, its words as far as they can be had, and the line."""
    if isinstance(error, Failed):
        return error.message
    try:
        words = str(error)
    except Exception as other:
        words = f"(its message raises {type(other).__name__})"
    words = words if len(words) <= SHOWN else f"{words[:SHOWN]}... ({len(words)} characters)"
    return f"{type(error).__name__}: {words}".rstrip(": ") + _place(error)


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
