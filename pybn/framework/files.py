"""A file that is replaced as a whole or not at all."""

from __future__ import annotations

import hashlib
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

_LOCKS = sys.platform != "win32" and sys.platform != "emscripten"


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
    clear_abandoned(place.parent, re.escape(_stem(place)))
    file = _beside(place)
    temporary = Path(file.name)
    try:
        with file:
            if place.exists():  # before there is anything in it to be read
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            if _LOCKS:  # as long as it is locked: another writer of this name clears away what nobody locks
                os.replace(temporary, place)
        if not _LOCKS:  # Windows renames no open file
            os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(place: Path) -> BinaryIO:
    """A new file in the directory of `place`, locked for as long as it is open: the sign that its writer lives."""
    while True:
        temporary = place.with_name(f".{_stem(place)}.{secrets.token_hex(4)}.tmp")
        file: BinaryIO = temporary.open("xb")
        try:
            if _lock_where_possible(file) and temporary.exists():  # not cleared away between the two
                return file
            file.close()
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise


def _stem(place: Path) -> str:
    """What temporary files of `place` are named after: its name, or a digest where the name takes all the room."""
    name = os.fsencode(place.name)  # a file system counts bytes: 255 at most, and 14 are added
    return place.name if len(name) <= 241 else hashlib.sha256(name).hexdigest()


def clear_abandoned(directory: Path, stem: str) -> None:
    """Delete what killed writers left in `directory`, of files whose stem matches the regular expression.

    Those are files of exactly that kind of name, which nobody locks.
    """
    pattern = re.compile(rf"\.{stem}\.[0-9a-f]{{8}}\.tmp")
    for name in os.listdir(directory):
        left = directory / name
        if pattern.fullmatch(name) and left.is_file() and not left.is_symlink():
            with suppress(OSError), left.open("rb") as file:  # somebody else's, or gone already: not ours to clear
                if _lock(file):
                    left.unlink()


def _lock_where_possible(file: BinaryIO) -> bool:
    """As `_lock`; True on a file system without locks, as some networks' are, where nothing is ever cleared away."""
    try:
        return _lock(file)
    except OSError:
        return True


def _lock(file: BinaryIO) -> bool:
    """Lock the file for this writer; whether nobody else has.  OSError where the file system has no locks."""
    # Windows does not let go of an open file: none can be taken from its writer.  A browser has one process.
    if sys.platform == "win32" or sys.platform == "emscripten":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
