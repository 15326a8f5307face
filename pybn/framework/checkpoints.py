"""Checkpoints: a context's variables and parameters in one .npz file, without pickle.

The file is written beside its place and then renamed, so a crash leaves the old one whole; it is
read and checked completely before the context is touched.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from pybn.framework.context import Context
from pybn.framework.variables import Variable

FORMAT = "pybn checkpoint"
VERSION = 1
_HEADER = "header"


class CheckpointError(ValueError):
    """The file is no checkpoint, a damaged one, or one of another model; the context is untouched."""


def save_checkpoint(ctx: Context, path: str | os.PathLike[str]) -> Path:
    """Write every variable and parameter of ctx's store to `path`; returns the path."""
    target = Path(path)
    values = ctx.in_absolute_path("/").values()
    variables = list(values)
    arrays = {f"variable_{i}": value for i, value in enumerate(values.values())}
    arrays[_HEADER] = np.array(_encoded(ctx, variables))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def load_checkpoint(ctx: Context, path: str | os.PathLike[str]) -> None:
    """Read variables and parameters from `path` into ctx's store.

    Raises CheckpointError, with ctx untouched, where the file is not a whole checkpoint or ctx
    holds a variable that the file lacks or has in another shape; FileNotFoundError as usual.
    """
    header, values = _read(Path(path))
    root = ctx.in_absolute_path("/")
    loaded, parameters = _contents(path, root, header, values)
    with root.changing("load_checkpoint"), root.restored_on_error():
        for variable, array in _assignments(path, {each.path: each for each in root.variables()}, loaded):
            saved = loaded.pop(variable.path)
            variable.hold(array)
            variable.trainable, variable.role = saved.trainable, saved.role
        for variable in loaded.values():
            root.add_variable(variable)
        for scope, settings in parameters:
            scope.set_params(settings)


def _encoded(ctx: Context, variables: list[Variable]) -> str:
    parameters = ctx.parameters
    for scope, values in parameters.items():
        for key, value in values.items():
            _must_survive(scope, key, value)
    described = [{"path": v.path, "trainable": v.trainable, "role": v.role} for v in variables]
    return json.dumps({"format": FORMAT, "version": VERSION, "variables": described, "parameters": parameters})


def _must_survive(scope: str, key: str, value: Any) -> None:
    """Raise TypeError unless JSON gives the parameter back as it is."""
    try:
        back = json.loads(json.dumps(value))
    except TypeError as error:
        raise TypeError(f"the parameter {key!r} of scope {scope} cannot be saved: {error}") from error
    if back != value and value == value:  # NaN comes back, and is not equal to itself
        raise TypeError(
            f"the parameter {key!r} of scope {scope} cannot be saved: {value!r} would come back as {back!r}; "
            "use lists, and dicts with strings for keys"
        )


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and every array, each checked against the archive's checksums."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(str(archive[_HEADER]))
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise CheckpointError(
                    f"{path} has format {header['format']!r} version {header['version']!r}, "
                    f"this reads {FORMAT!r} version {VERSION}"
                )
            return header, [archive[f"variable_{i}"] for i in range(len(header["variables"]))]
    except (CheckpointError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged archive raises a dozen kinds, from BadZipFile to NotImplementedError
        raise CheckpointError(f"{path} is not a whole checkpoint of pybn: {type(error).__name__}: {error}") from error


def _contents(
    path: str | os.PathLike[str], root: Context, header: dict[str, Any], values: list[np.ndarray]
) -> tuple[dict[str, Variable], list[tuple[Context, dict[str, Any]]]]:
    """The variables by path, and the parameters with their scopes."""
    try:
        variables = [
            Variable(root.in_absolute_path(each["path"]).scope, value, bool(each["trainable"]), str(each["role"]))
            for each, value in zip(header["variables"], values, strict=True)
        ]
        parameters = [(root.in_absolute_path(scope), dict(each)) for scope, each in header["parameters"].items()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} has a header that does not describe a context: {error}") from error
    return {variable.path: variable for variable in variables}, parameters


def _assignments(
    path: str | os.PathLike[str], existing: dict[str, Variable], loaded: dict[str, Variable]
) -> list[tuple[Variable, np.ndarray]]:
    """What each variable of the context is to hold; CheckpointError where that is not there or does not fit."""
    missing = sorted(set(existing) - set(loaded))
    if missing:
        raise CheckpointError(f"{path} lacks variables that the context has: {', '.join(missing)}")
    for name, variable in existing.items():
        saved = loaded[name]
        if saved.shape != variable.shape:
            raise CheckpointError(f"{path} has {name} with shape {saved.shape}, the context {variable.shape}")
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
