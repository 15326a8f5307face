"""A file that is replaced as a whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32" and sys.platform != "emscripten":
    import fcntl


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the block ends well.

    It is written beside its place, flushed to the disk and renamed: a crash leaves the old file whole.
    Mode and symbolic link stay.  What killed writers of this name left is cleared away.  FileExistsError
    where a directory, a pipe or a device has that name.
    """
    place = path.resolve() if path.is_symlink() else path
    if place.exists() and not place.is_file():  # a rename would put a file in the place of /dev/null
        raise FileExistsError(f"{place} must be a regular file, or not exist: only a file can be replaced as a whole")
    _clear(place)
    file = _beside(place)
    temporary = Path(file.name)
    try:
        with file:
            if place.exists():  # before there is anything in it to be read
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(place: Path) -> BinaryIO:
    """A new file in the directory of `place`, locked for as long as it is open: the sign that its writer lives."""
    while True:
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
        file: BinaryIO = temporary.open("xb")
        try:
            if _lock(file) and temporary.exists():  # not cleared away between the two
                return file
            file.close()
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise


def _clear(place: Path) -> None:
    """Delete what writers of `place` left that were killed: files of exactly that kind of name, which nobody locks."""
    pattern = re.compile(re.escape(f".{place.name}.") + r"[0-9a-f]{8}\.tmp")
    for name in os.listdir(place.parent):
        left = place.parent / name
        if pattern.fullmatch(name) and left.is_file() and not left.is_symlink():
            with suppress(OSError), left.open("rb") as file:  # somebody else's, or gone already: not ours to clear
                if _lock(file):
                    left.unlink()


def _lock(file: BinaryIO) -> bool:
    """Lock the file for this writer; whether nobody else has."""
    # Windows does not let go of an open file: none can be taken from its writer.  A browser has one process.
    if sys.platform == "win32" or sys.platform == "emscripten":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
