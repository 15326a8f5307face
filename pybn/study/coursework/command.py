"""python -m pybn check FILE[:FORWARD[,BACKWARD[,ALTERNATIVE]]]: the check from a shell, in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pybn.study.coursework.apart.host import NoVerdict
from pybn.study.coursework.report.report import POINTS, Report

Check = Callable[..., Report]
FLAT, SPATIAL = ("forward", "backward", "alternative_backward"), ("spatial_forward", "spatial_backward")
COURSE = {
    "names": dict,
    "points": dict,
    "build": str,
    "mode": str,
    "convention": str,
    "time_limit": float,
    "memory": float,
}
OPTIONS = ("build", "mode", "convention", "time_limit", "memory")


def run(arguments: Sequence[str], check: Check, check_file: Check, conventions: Mapping[str, Any]) -> int:
    """Check what the arguments name; 0 if all is right, 1 if a mistake was found, 2 if there is no verdict."""
    parser = _parser(conventions)
    try:
        options = parser.parse_args(list(arguments))
    except SystemExit as stop:  # argparse has said why; --help ends with 0
        return int(stop.code or 0)
    try:
        module, functions = _target(options.target, options.spatial)
        settings = _settings(options)
        report = (
            _in_here(check, module, functions, settings) if options.here else check_file(module, functions, **settings)
        )
    except (AttributeError, ImportError, TypeError, ValueError, OSError, NoVerdict) as error:
        print(f"pybn check: no verdict: {in_shell(str(error))}", file=sys.stderr)
        return 2
    report = replace(report, remarks=tuple(replace(each, rule=in_shell(each.rule)) for each in report.remarks))
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.text)
    return status(report)


def in_shell(text: str) -> str:
    """A way out in Python's words as the command's own option."""
    text = re.sub(r"names=\{(.*?)\}", lambda held: f"--names {_options(held[1])}", text)
    text = re.sub(r"build=lambda (\w+): ", r"--build FILE:FUNCTION, a function (\1) -> ", text)
    text = re.sub(r"mode=a function", "--mode FILE:FUNCTION, a function", text)
    text = re.sub(
        r"mode='([^']*)'", lambda held: f"--mode {held[1] if ' ' not in held[1] else f'NAME, {held[1]}'}", text
    )
    return text.replace("Hand in one of these classes or functions itself", "Name one of these as FILE:NAME")


def _options(pairs: str) -> str:
    """'gamma': 'W', 'beta': '...' as gamma=W,beta=..."""
    return ",".join(f"{role}={name}" for role, name in re.findall(r"'([^']*)': '([^']*)'", pairs)) or "ROLE=NAME,..."


def status(report: Report) -> int:
    """0 if all is right, 1 if something is not, 2 if nothing is wrong and not everything could be judged."""
    return 0 if report.ok else 1 if report.findings else 2


def _parser(conventions: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pybn check",
        description="Check somebody's batch normalization, and say what is wrong with it.",
        epilog="exit status: 0 right, 1 a mistake was found, 2 no verdict or wrong usage",
    )
    parser.add_argument(
        "target",
        metavar="FILE[:FORWARD[,BACKWARD[,ALTERNATIVE]]]",
        help="a file or module and its functions, or one class; else the course's names (batchnorm_forward, ...)",
    )
    add = parser.add_argument
    add("--spatial", metavar="FORWARD[,BACKWARD]", help="functions of the same file for 4-D arrays")
    add("--course", metavar="FILE.toml", help="names, build, mode, convention, time_limit, memory, points of a course")
    add("--names", metavar="ROLE=NAME,...", help="what a class calls gamma, running_mean, dgamma, ...: gamma=W,beta=b")
    add("--build", metavar="FILE:FUNCTION", help="a function (number of features) -> a layer of the class")
    add("--mode", metavar="NAME", help="how a class is told to train: a parameter, attribute, method; or FILE:FUNCTION")
    add("--convention", choices=sorted(conventions), help="default: each library's own is accepted")
    add("--points", metavar="PART=NUMBER,...", help=f"points of each part ({', '.join(POINTS)})")
    add("--time-limit", type=_positive, metavar="SECONDS", help="of one call (default 1.5)")
    add("--memory", type=_positive, metavar="MB", help="that the process may write to (default 2000; on Linux)")
    add("--here", action="store_true", help="run the code in this process: faster, and for code that you trust")
    add("--json", action="store_true", help="print the report as JSON")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def _target(target: str, spatial: str | None) -> tuple[str, dict[str, str]]:
    """The file or module, and the functions by role in the order in which they were named."""
    module, _, listed = target.rpartition(":") if ":" in target else (target, "", "")
    return module, _named(listed, FLAT) | _named(spatial or "", SPATIAL)


def _named(listed: str, roles: Sequence[str]) -> dict[str, str]:
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if len(names) > len(roles):
        raise ValueError(f"at most {len(roles)} functions can be named ({', '.join(roles)}), got {listed!r}")
    return dict(zip(roles, names, strict=False))


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The course's settings, with those of the command line over them."""
    settings = _course(options.course) if options.course else {}
    settings |= {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    if options.names:
        settings["names"] = {**settings.get("names", {}), **_pairs(options.names)}
    if options.points:
        points = {part: float(number) for part, number in _pairs(options.points).items()}
        settings["points"] = {**settings.get("points", {}), **points}
    unknown = sorted(set(settings.get("points", {})) - set(POINTS))
    if unknown:
        raise ValueError(f"points are of {', '.join(POINTS)}; got {', '.join(unknown)}")
    return settings


def _course(path: str) -> dict[str, Any]:
    """The table of a course's TOML file."""
    settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    for name, value in settings.items():
        kind = COURSE.get(name)
        if kind is None:
            raise ValueError(f"{path} may hold {', '.join(COURSE)}; got {name!r}")
        if not isinstance(value, int | float if kind is float else kind):
            raise ValueError(f"{name} in {path} must be a {kind.__name__}, got {value!r}")
    return settings


def _pairs(text: str) -> dict[str, str]:
    pairs = [each.partition("=") for each in text.split(",") if each.strip()]
    if any(not bar for _, bar, _ in pairs):
        raise ValueError(f"pairs are written NAME=VALUE,NAME=VALUE; got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


# --- in this process ------------------------------------------------------------------------------


def _in_here(check: Check, module: str, functions: Mapping[str, str], settings: Mapping[str, Any]) -> Report:
    """The check without a process of its own."""
    given = {name: value for name, value in settings.items() if name != "memory"}
    theirs = _imported(module)
    for name in ("build", "mode"):
        if ":" in given.get(name, ""):
            where, _, function = given[name].rpartition(":")
            given[name] = getattr(_imported(where), function)
    if not functions:
        return check(theirs, **given)
    return check(**{role: getattr(theirs, name) for role, name in functions.items()}, **given)


def _imported(name: str) -> ModuleType:
    """A module by name, or the file of this name."""
    sys.path.insert(0, "")  # as `python -m` does, so that a module of this directory is found
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no file {name}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # whatever a student's file does when it is read gives no verdict
        raise ImportError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove("")
