"""What crosses between the two processes: JSON and arrays of numbers, read with every size checked.

Nothing is unpickled: whoever answers on the other side may answer anything, and it is data here.  What
is neither a number nor a text nor an array stays over there, and is a number by which to ask for it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

LARGEST = 64_000_000  # bytes of one message; a probe's arrays are of 10 000
_HEAD = struct.Struct("<II")  # bytes of JSON, bytes of arrays
KINDS = "biuf"


class BadMessage(Exception):
    """What came is not a message."""


class Kept:
    """An object of the other process, which stays there: its number, and in which process it is."""

    def __init__(self, number: int, life: int) -> None:
        self.number, self.life = number, life


class Foreign:
    """What came as an array and is something else there, a tensor or a list; its number, to hand it back."""

    def __init__(self, array: np.ndarray, number: int, life: int) -> None:
        self.array, self.number, self.life = array, number, life

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The numbers."""
        return np.array(self.array, dtype)


def named(base: type, name: str) -> type:
    """A class that tells the other side's name for a type where a report asks for it."""
    return type(name[:40] if name.isidentifier() else base.__name__, (base,), {})


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message of numbers, texts, arrays, dicts, tuples, lists, `Kept` and `Foreign`; others raise."""
    arrays: list[bytes] = []
    head = json.dumps(_encoded(message, arrays)).encode()
    body = b"".join(arrays)
    stream.write(_HEAD.pack(len(head), len(body)) + head + body)
    stream.flush()


def _encoded(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, Kept):
        return {"kept": value.number, "type": type(value).__name__}
    if isinstance(value, Foreign):
        return {**_array(value.array, arrays), "kept": value.number, "type": type(value).__name__}
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value.item()
    if type(value) is np.ndarray and value.dtype.kind in KINDS:
        return _array(value, arrays)
    if type(value) is dict:
        return {"dict": {str(key): _encoded(each, arrays) for key, each in value.items()}}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_encoded(each, arrays) for each in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise BadMessage(f"a {type(value).__name__} does not cross")


def _array(array: np.ndarray, arrays: list[bytes]) -> dict[str, Any]:
    arrays.append(np.ascontiguousarray(array).tobytes())
    return {"array": array.dtype.str, "shape": list(array.shape)}


def receive(stream: BinaryIO, life: int = 0, resolve: Callable[[int], Any] | None = None) -> Any:
    """Read one message; `resolve` gives the object for a number, and without it a number is a `Kept`.

    Raises EOFError where the stream has ended, BadMessage for what is none.
    """
    head_size, body_size = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if head_size + body_size > LARGEST:
        raise BadMessage(f"{head_size + body_size} bytes in one message")
    try:
        head = json.loads(_exactly(stream, head_size))
        reader = _Reader(_exactly(stream, body_size), life, resolve)
        return reader.decoded(head)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadMessage(f"{type(error).__name__}: {error}") from error


def _exactly(stream: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Reader:
    """Takes the arrays of one message off its body in their order."""

    def __init__(self, body: bytes, life: int, resolve: Callable[[int], Any] | None) -> None:
        self.body, self.at, self.life, self.resolve = body, 0, life, resolve

    def decoded(self, value: Any) -> Any:
        """The value of one piece of JSON."""
        if not isinstance(value, dict):
            return value
        if "kept" in value and self.resolve:
            return self.resolve(int(value["kept"]))
        if "array" in value:
            array = self._array(value["array"], value["shape"])
            return named(Foreign, value["type"])(array, int(value["kept"]), self.life) if "kept" in value else array
        if "kept" in value:
            return named(Kept, value["type"])(int(value["kept"]), self.life)
        if "dict" in value:
            return {key: self.decoded(each) for key, each in value["dict"].items()}
        if "tuple" in value:
            return tuple(self.decoded(each) for each in value["tuple"])
        return [self.decoded(each) for each in value["list"]]

    def _array(self, dtype: str, shape: list[int]) -> np.ndarray:
        kind = np.dtype(dtype)
        if kind.kind not in KINDS or any(size < 0 for size in shape) or len(shape) > 32:
            raise ValueError(f"no array: {dtype!r}, {shape!r}")
        count = 1
        for size in shape:
            count *= size
        if count * kind.itemsize > len(self.body) - self.at:
            raise ValueError(f"{count} elements are not there")
        array = np.frombuffer(self.body, kind, count, self.at).reshape(shape).copy()
        self.at += count * kind.itemsize
        return array
