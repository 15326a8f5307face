"""Checkpoints: a context's variables and parameters in one .npz file, without pickle.

The file is written beside its place and then renamed, so a crash leaves the old one whole; it is
read and checked completely before the context is touched.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pybn.framework.context import Context, Variable

FORMAT = "pybn checkpoint"
VERSION = 1
_HEADER = "header"


class CheckpointError(ValueError):
    """The file is no checkpoint, a damaged one, or one of another model; the context is untouched."""


def save_checkpoint(ctx: Context, path: str | os.PathLike[str]) -> Path:
    """Write every variable and parameter of ctx's store to `path`; returns the path."""
    target = Path(path)
    variables = ctx.in_absolute_path("/").variables()
    arrays = {f"variable_{i}": variable.value for i, variable in enumerate(variables)}
    arrays[_HEADER] = np.array(_encoded(ctx, variables))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def load_checkpoint(ctx: Context, path: str | os.PathLike[str]) -> None:
    """Read variables and parameters from `path` into ctx's store.

    Raises CheckpointError, with ctx untouched, where the file is not a whole checkpoint or ctx
    holds a variable that the file lacks or has in another shape; FileNotFoundError as usual.
    """
    header, values = _read(Path(path))
    root = ctx.in_absolute_path("/")
    existing = {variable.path: variable for variable in root.variables()}
    loaded = _variables(path, header, values)
    _must_fit(path, existing, loaded)
    for variable in loaded.values():
        if variable.path in existing:
            _take_over(existing[variable.path], variable)
        else:
            root.add_variable(variable)
    for scope, parameters in header["parameters"].items():
        ctx.in_absolute_path(scope).set_params(parameters)


def _encoded(ctx: Context, variables: list[Variable]) -> str:
    parameters = ctx.parameters
    for scope, values in parameters.items():
        for key, value in values.items():
            try:
                json.dumps(value, allow_nan=True)
            except TypeError as error:
                raise TypeError(f"the parameter {key!r} of scope {scope} cannot be saved: {error}") from error
    described = [{"path": v.path, "trainable": v.trainable, "role": v.role} for v in variables]
    return json.dumps({"format": FORMAT, "version": VERSION, "variables": described, "parameters": parameters})


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
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint of pybn: {type(error).__name__}: {error}") from error


def _variables(path: str | os.PathLike[str], header: dict[str, Any], values: list[np.ndarray]) -> dict[str, Variable]:
    try:
        described = [(each["path"], bool(each["trainable"]), str(each["role"])) for each in header["variables"]]
        header["parameters"].items()
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a header that does not describe its variables: {error}") from error
    loaded = {}
    for (name, trainable, role), value in zip(described, values, strict=True):
        loaded[name] = Variable(name, value, trainable, role)
    return loaded


def _must_fit(path: str | os.PathLike[str], existing: dict[str, Variable], loaded: dict[str, Variable]) -> None:
    missing = sorted(set(existing) - set(loaded))
    if missing:
        raise CheckpointError(f"{path} lacks variables that the context has: {', '.join(missing)}")
    for name, variable in existing.items():
        if loaded[name].shape != variable.shape:
            raise CheckpointError(f"{path} has {name} with shape {loaded[name].shape}, the context {variable.shape}")


def _take_over(variable: Variable, saved: Variable) -> None:
    variable.value = saved.value
    variable.trainable, variable.role = saved.trainable, saved.role
