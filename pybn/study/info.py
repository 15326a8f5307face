"""What runs here: versions, and whether and how the compiled implementation was built."""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

import pybn
from pybn import backend


def facts() -> dict[str, Any]:
    """Versions and the build, as a dict that JSON can hold."""
    return {
        "pybn": pybn.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "matplotlib": _version("matplotlib"),
        "backend": _backend(),
        "compiled": _build(),
    }


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m pybn info [--json]`."""
    parser = argparse.ArgumentParser(prog="python -m pybn info", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    found = facts()
    if parser.parse_args(arguments).json:
        print(json.dumps(found, indent=2))
    else:
        _print("", found)
    return 0


def _print(prefix: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _print(f"{prefix}{name}.", value)
        else:
            print(f"{prefix + name:28s} {value}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _backend() -> str:
    """The implementation that computes, or the sentence that says why there is none."""
    try:
        with warnings.catch_warnings():  # of a build that failed; what it says is shown as `compiled`
            warnings.simplefilter("ignore", RuntimeWarning)
            return backend.backend_name()
    except (ImportError, ValueError) as wrong:
        return str(wrong)


def _build() -> Any:
    """How the compiled implementation was built, or the sentence that says what is missing or wrong."""
    try:
        return backend.load("compiled").build_info()
    except (ImportError, ValueError) as wrong:
        return str(wrong)
