"""What the other process may do: memory, the size of files, and what it touches beside its own numbers.

Memory is the system's limit on Linux (RLIMIT_DATA: what is written to, and not what is mapped).  Files,
processes and the network are refused by an audit hook of Python's, which cannot be taken off again;
code that goes around Python (ctypes, compiled modules) goes around it, and may then still not write
more than `SCRATCH` bytes to a file.  Who expects such code puts a container around the whole check.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

SCRATCH = 16_000_000  # bytes of a file in the scratch directory; a library's font cache has 1 000 000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
}
_REFUSED = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.kill",
    "os.killpg",
    "subprocess.Popen",
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "signal.pthread_kill",
    "ctypes.dlopen",
}


def set_limits(memory: int) -> None:
    """Limit memory (bytes) and the size of files, where the system can; core files are not written."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {"RLIMIT_FSIZE": SCRATCH, "RLIMIT_CORE": 0}
    if sys.platform == "linux":
        limits["RLIMIT_DATA"] = memory
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def refuse(scratch: Path) -> None:
    """From here on files are written in `scratch` alone, and no process, signal or connection is started.

    Libraries that are loaded by name (ctypes.dlopen) are refused only once `closed` was called: importing
    NumPy, PyTorch and others loads some.
    """
    allowed = str(scratch.resolve()) + os.sep

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(flags, int) and flags & _WRITES) or (isinstance(mode, str) and set(mode) & set("wax+"))
            if writes and not isinstance(path, int) and not _within(path, allowed):
                raise PermissionError(f"no file is written in a check: {_shown(path)}")
        elif event in _CHANGES:
            if not all(_within(path, allowed) for path in arguments if isinstance(path, str | bytes | os.PathLike)):
                raise PermissionError(f"no file is changed in a check: {event} {_shown(arguments[0])}")
        elif event in _REFUSED and (event != "ctypes.dlopen" or _closed):
            raise PermissionError(f"no process, signal, connection or library is started in a check: {event}")

    sys.addaudithook(hook)


_closed: list[bool] = []


def close() -> None:
    """The student's file is imported: no further library is loaded by name."""
    _closed.append(True)


def _within(path: Any, allowed: str) -> bool:
    text = os.fsdecode(path)
    return text == os.devnull or (os.path.realpath(text) + os.sep).startswith(allowed)


def _shown(path: Any) -> str:
    return str(path)[:100]
