"""python -m pybn check MODULE:FORWARD[,BACKWARD[,ALTERNATIVE]] [--json]: the check from a shell."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pybn.study.coursework.report.report import Report

Check = Callable[..., Report]


def run(arguments: Sequence[str], check: Check, conventions: Mapping[str, Any]) -> int:
    """Check what the arguments name; 0 if all is right, 1 if a mistake was found, 2 for wrong usage."""
    parser = _parser(conventions)
    try:
        options = parser.parse_args(list(arguments))
    except SystemExit as stop:  # argparse has said why; --help ends with 0
        return int(stop.code or 0)
    try:
        functions = _functions(options.target, options.spatial)
        report = check(**functions, convention=options.convention, time_limit=options.time_limit)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        print(f"pybn check: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.text)
    return 0 if report.ok else 1


def _parser(conventions: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pybn check",
        description="Check somebody's batch normalization, and say what is wrong with it.",
        epilog="exit status: 0 right, 1 a mistake was found, 2 wrong usage",
    )
    parser.add_argument(
        "target",
        metavar="MODULE[:FORWARD[,BACKWARD[,ALTERNATIVE]]]",
        help="the module and its functions, or one class; without names batchnorm_forward, batchnorm_backward, ...",
    )
    parser.add_argument("--spatial", metavar="FORWARD[,BACKWARD]", help="functions of the same module for 4-D arrays")
    parser.add_argument("--convention", choices=sorted(conventions), help="default: each library's own is accepted")
    parser.add_argument("--time-limit", type=float, default=1.5, metavar="SECONDS", help="of one call (default 1.5)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _functions(target: str, spatial: str | None) -> dict[str, Any]:
    """The keywords for the check: functions by the order in which they were named."""
    name, _, listed = target.partition(":")
    sys.path.insert(0, "")  # as `python -m` does, so that a module of this directory is found
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a student's file does when it is read is wrong usage here
        raise ImportError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove("")
    if not listed:
        return {"forward": module}
    return _named(module, listed, ("forward", "backward", "alternative_backward")) | _named(
        module, spatial or "", ("spatial_forward", "spatial_backward")
    )


def _named(module: Any, listed: str, roles: Sequence[str]) -> dict[str, Any]:
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if len(names) > len(roles):
        raise ValueError(f"at most {len(roles)} functions can be named ({', '.join(roles)}), got {listed!r}")
    return {role: getattr(module, name) for role, name in zip(roles, names, strict=False)}
