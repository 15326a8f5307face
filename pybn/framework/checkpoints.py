"""Checkpoints: a context's variables, parameters and random numbers in one .npz file, without pickle.

The file is written beside its place and then renamed, so a crash leaves the old one whole; it is
read and checked completely before the context is touched.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pybn.framework.context import Context
from pybn.framework.draws import as_state_of, described, put_back_on_error
from pybn.framework.files import replacing
from pybn.framework.variables import Variable
from pybn.halves import bfloat16, is_bfloat16

FORMAT = "pybn checkpoint"
VERSION = 2  # 2 has the global step; 1 is read, and begins at 0
_HEADER = "header"
_NUMBERS = "biufc"  # the kinds of types that are numbers: no words, dates, records, and nothing that is pickled


class Announced(NamedTuple):
    """What an array says of itself in front of its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class CheckpointError(ValueError):
    """The file is no checkpoint, a damaged one, or one of another model; the context is untouched."""


def save_checkpoint(ctx: Context, path: str | os.PathLike[str]) -> Path:
    """Write every variable and parameter, the global step and the state of `ctx.rng` to `path`; returns the path.

    All values are of one moment, also while another thread trains; random numbers that its step has
    drawn are gone, of those that it is just drawing perhaps a part.  A file that is there keeps its
    mode, and a symbolic link goes on pointing where it points.  TypeError, with nothing written, where
    a variable, a parameter or the state of the random numbers could not be read back.
    `pybn.Checkpoints` keeps the last few of a run.

    A bit generator that is none of NumPy's own and does not tell its state (`state` raises) is left out: the
    header has `"rng": null`, and what is loaded from the file leaves the generator there as it is.

    Training that goes on from the file, with the batches that would have come, gives the bits of one that
    never stopped.  A data set that shuffles with `ctx.rng` goes on with the order of its next epoch.

    bfloat16, for which NumPy's files have no name, is written as float32, which has each of its
    numbers; the variable's entry in the header names the type, and it comes back as bfloat16.
    """
    target = Path(path)
    save_marked(ctx, target)
    return target


def save_marked(ctx: Context, target: Path, mark: str | None = None) -> None:
    """As `save_checkpoint`, with a word that `mark_of` gives back."""
    root = ctx.in_absolute_path("/")
    with root.standing_still():
        values, step, rng = root.values(), root.global_step, described(ctx.rng)
    for variable in values:
        if variable.dtype.kind not in _NUMBERS and not is_bfloat16(variable.dtype):
            raise TypeError(f"{variable.path} cannot be saved: a checkpoint holds numbers, not {variable.dtype}")
    arrays = {_member(i): _named_in_files(value) for i, value in enumerate(values.values())}
    header = _described(ctx, list(values)) | {"global_step": step, "rng": rng, "mark": mark}
    arrays[_HEADER] = np.array(json.dumps(header))
    with replacing(target) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def mark_of(path: Path) -> str | None:
    """What `save_marked` wrote into the file; None for whatever has no such mark."""
    try:
        with _opened(path) as (_, arrays):
            header = json.loads(str(arrays[_HEADER]))
        return header["mark"] if header["format"] == FORMAT else None
    except Exception:  # a stranger's file, of any kind
        return None


def load_checkpoint(
    ctx: Context,
    path: str | os.PathLike[str],
    *,
    exclude_params: Container[str] = (),
    restore_rng: bool = True,
) -> None:
    """Read variables, parameters, the global step and the random numbers from `path` into ctx's store, all or nothing.

    The parameters in `exclude_params` stay what they are in ctx, in every scope: a learning rate that
    is to be another one now.  A file of before there was a global step begins at 0.

    `ctx.rng`, the Generator itself, is set to what it would have drawn next; with `restore_rng=False` it
    draws what it would have drawn here, as where several runs with seeds of their own begin at one
    checkpoint.  A file that has no state for it, as those of before it was kept, leaves it as it is.

    Raises CheckpointError, with ctx untouched, where the file is not a whole checkpoint or ctx
    holds a variable that the file lacks or has in another shape; FileNotFoundError as usual.  After
    an interrupt, too, the context is as it was.
    """
    root = ctx.in_absolute_path("/")
    with root.changing("load_checkpoint"):
        existing = {variable.path: variable for variable in root.variables()}
        header, values = _read(Path(path), existing)
        loaded, parameters, step = _contents(path, root, header, values)
        assignments = _assignments(path, existing, loaded)
        state = _state_of_rng(path, root, header) if restore_rng else None
        with root.restored_on_error(), nullcontext() if state is None else put_back_on_error(root.rng):
            for variable, array in assignments:
                saved = loaded.pop(variable.path)
                variable.hold(array)
                variable.trainable, variable.role = saved.trainable, saved.role
            for variable in loaded.values():
                root.add_variable(variable)
            for scope, settings in parameters:
                scope.set_params({key: value for key, value in settings.items() if key not in exclude_params})
            root.global_step = step
            if state is not None:
                root.rng.bit_generator.state = state


def _described(ctx: Context, variables: list[Variable]) -> dict[str, Any]:
    """What the header says of the variables and parameters."""
    parameters = ctx.parameters
    for scope, values in parameters.items():
        for key, value in values.items():
            _must_survive(scope, key, value)
    described = [{"path": v.path, "trainable": v.trainable, "role": v.role, **_type_to_name(v)} for v in variables]
    return {"format": FORMAT, "version": VERSION, "variables": described, "parameters": parameters}


def _named_in_files(value: np.ndarray) -> np.ndarray:
    """The value in a type that NumPy's files have a name for, exactly."""
    return value.astype(np.float32) if is_bfloat16(value.dtype) else value


def _type_to_name(variable: Variable) -> dict[str, str]:
    """What the header says of a type that the array in the file does not have."""
    return {"dtype": "bfloat16"} if is_bfloat16(variable.dtype) else {}


def _in_named_type(value: np.ndarray, name: str | None) -> np.ndarray:
    """The value in the type that the header names; ModuleNotFoundError where that is not installed."""
    if name not in (None, "bfloat16"):
        raise ValueError(f"the type {name!r} is none of pybn's")
    return value if name is None else value.astype(bfloat16())


def _must_survive(scope: str, key: str, value: Any) -> None:
    """Raise TypeError unless JSON gives the parameter back as it is."""
    try:
        back = json.loads(json.dumps(value))
    except TypeError as error:
        raise TypeError(f"the parameter {key!r} of scope {scope} cannot be saved: {error}") from error
    if back != value and repr(back) != repr(value):  # NaN comes back, and is not equal to itself
        raise TypeError(
            f"the parameter {key!r} of scope {scope} cannot be saved: {value!r} would come back as {back!r}; "
            "use lists, and dicts with strings for keys"
        )


def _member(number: int) -> str:
    """The name of a variable's array within the file."""
    return f"variable_{number}"


def _read(path: Path, existing: Mapping[str, Variable]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and every array, each checked against the archive's checksums.

    No array is unpacked before all of them are known to fit.
    """
    try:
        with _opened(path) as (announced, arrays):
            header = json.loads(str(arrays[_HEADER]))
            if header["format"] != FORMAT or header["version"] not in (1, VERSION):
                raise CheckpointError(
                    f"{path} has format {header['format']!r} version {header['version']!r}, "
                    f"this reads {FORMAT!r} version {VERSION}"
                )
            members = [_member(i) for i in range(len(header["variables"]))]
            _compare(path, existing, header["variables"], [announced[each] for each in members])
            return header, [arrays[each] for each in members]
    except (CheckpointError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged archive raises a dozen kinds, from BadZipFile to NotImplementedError
        raise CheckpointError(f"{path} is not a whole checkpoint of pybn: {type(error).__name__}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Announced], Any]]:
    """What the file announces of its arrays, and the arrays, each read when it is asked for."""
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            announced = _announced(archive)
            if sum(member.file_size for member in archive.infolist()) > os.fstat(file.fileno()).st_size:
                raise ValueError("its arrays are more than the file: some of them share their bytes")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            yield announced, arrays


def _announced(archive: zipfile.ZipFile) -> dict[str, Announced]:
    """Shape and type of each array in the file, from the arrays' own headers; ValueError where one has not that size.

    Checkpoints are stored as they are: 195 kB that unpack into 400 MB are none of ours.
    """
    found = {}
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed, and pybn stores its arrays as they are")
        with archive.open(member) as file:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read[np.lib.format.read_magic(file)](file)
            if dtype.hasobject:
                raise ValueError(f"{member.filename} holds Python objects, and pybn stores numbers alone")
            if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                raise ValueError(f"{member.filename} has {member.file_size} bytes, not those of {shape} {dtype}")
        found[member.filename.removesuffix(".npy")] = Announced(shape, dtype)
    return found


def _compare(path: Path, existing: Mapping[str, Variable], described: list[Any], announced: list[Announced]) -> None:
    """Raise CheckpointError where a variable is no array of numbers, or not what the context holds by its name."""
    try:
        found = {each["path"]: what for each, what in zip(described, announced, strict=True)}
    except (KeyError, TypeError) as error:
        raise _no_context(path, error) from error
    for name, what in found.items():
        if what.dtype.kind not in _NUMBERS:
            raise CheckpointError(f"{path} has {name} with type {what.dtype}: a variable holds numbers")
    missing = sorted(set(existing) - set(found))
    if missing:
        raise CheckpointError(f"{path} lacks variables that the context has: {', '.join(missing)}")
    for name, variable in existing.items():
        if found[name].shape != variable.shape:
            raise CheckpointError(f"{path} has {name} with shape {found[name].shape}, the context {variable.shape}")


def _contents(
    path: str | os.PathLike[str], root: Context, header: dict[str, Any], values: list[np.ndarray]
) -> tuple[dict[str, Variable], list[tuple[Context, dict[str, Any]]], int]:
    """The variables by path, the parameters with their scopes, and the global step."""
    try:
        variables = [
            Variable(
                _variable_path(root, each["path"]),
                _in_named_type(value, each.get("dtype")),
                _typed(each, "trainable", bool),
                _typed(each, "role", str),
            )
            for each, value in zip(header["variables"], values, strict=True)
        ]
        parameters = [(root.in_absolute_path(scope), dict(each)) for scope, each in header["parameters"].items()]
        step = 0 if header["version"] == 1 else _typed(header, "global_step", int)
        if step < 0:
            raise ValueError(f"global_step {step}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_context(path, error) from error
    by_path = {variable.path: variable for variable in variables}
    if len(by_path) < len(variables):
        raise _no_context(path, ValueError("it names a variable twice"))
    return by_path, parameters, step


def _state_of_rng(path: str | os.PathLike[str], root: Context, header: dict[str, Any]) -> Any:
    """The state that the header has for the random numbers; None where it has none."""
    saved = header.get("rng")
    try:
        return None if saved is None else as_state_of(root.rng, saved)
    except Exception as error:  # each kind of generator refuses what is none of its own in its own way
        raise CheckpointError(f"{path} does not fit the random numbers of the context: {error}") from error


def _typed(entry: dict[str, Any], key: str, kind: type) -> Any:
    """The entry's value, of just this type: bool("false") is True."""
    if type(entry[key]) is not kind:
        raise TypeError(f"{key} must be {kind.__name__}, got {entry[key]!r}")
    return entry[key]


def _variable_path(root: Context, path: str) -> str:
    if path.endswith("/"):
        raise ValueError(f"a variable's path must end with its name, got {path!r}")
    return root.in_absolute_path(path).scope


def _no_context(path: str | os.PathLike[str], error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} has a header that does not describe a context: {error}")


def _assignments(
    path: str | os.PathLike[str], existing: dict[str, Variable], loaded: dict[str, Variable]
) -> list[tuple[Variable, np.ndarray]]:
    """What each variable of the context is to hold; CheckpointError where its type does not fit."""
    for name, variable in existing.items():
        saved = loaded[name]
        if not np.can_cast(saved.dtype, variable.dtype, "same_kind"):
            raise CheckpointError(f"{path} has {name} with type {saved.dtype}, the context {variable.dtype}")
    return [(variable, _narrowed(path, variable, loaded[name].value)) for name, variable in existing.items()]


def _narrowed(path: str | os.PathLike[str], variable: Variable, saved: np.ndarray) -> np.ndarray:
    """The saved value in the variable's own type; CheckpointError where that cannot hold it."""
    with np.errstate(over="ignore"):
        value = variable.checked(saved)
    if not np.array_equal(np.isfinite(value), np.isfinite(saved)):
        raise CheckpointError(f"{path} has numbers in {variable.path} that are too large for {variable.dtype}")
    return value
