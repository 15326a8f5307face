"""The ladder's rungs, compiled on the reader's machine when lesson 13 first asks for them."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RUNGS = tuple(f"rung_{number}" for number in range(1, 7))
# Contraction would round x * a + b once where NumPy rounds twice; everything else a compiler may do as it likes.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off")
OPENMP = "-fopenmp"


class CannotCompile(Exception):
    """There is no Cython or no compiler here, or one of them refused; the message says which and why."""


class Ladder(NamedTuple):
    """What was compiled.

    rungs : the functions by name, each (x, scale, offset, epsilon) -> y, mean, variance
    command : what was typed, as one would in a shell
    annotated : Cython's page of the source, yellow where a line talks to the interpreter
    threads : whether the compiler knew OpenMP; without it rung 6 runs on one thread
    """

    rungs: dict[str, Callable[..., Any]]
    command: str
    annotated: Path
    threads: bool


def source() -> Path:
    """The file with the rungs, which lies beside the compiled package and is no part of it."""
    package = importlib.util.find_spec("pybn_ext")
    if package is None or package.origin is None:
        raise CannotCompile("the folder pybn_ext is not part of this installation")
    return Path(package.origin).with_name("ladder.pyx")


def climb(folder: Path | None = None) -> Ladder:
    """Compile the rungs into `folder` (default: a cache of the user's), or take what an earlier call left there.

    Raises
    ------
    CannotCompile : with the first line of what Cython or the compiler said
    """
    try:
        cython = metadata.version("cython")
    except metadata.PackageNotFoundError:
        raise CannotCompile("Cython is not installed: pip install cython") from None
    text = source().read_bytes()
    made_of = (text, sys.version, cython, *FLAGS, os.environ.get("CC", ""), platform.machine())
    name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    folder = _cache() / f"ladder-{name}" if folder is None else folder
    for flags in ((*FLAGS, OPENMP), FLAGS):
        try:
            return _load(_compile(text, folder, flags), flags)
        except CannotCompile as refused:
            if OPENMP not in flags:
                raise
            print(f"(without OpenMP, so on one thread: {refused})")
    raise AssertionError("the last flags either compile or raise")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pybn"


def command(flags: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """What is set in the environment, and what is typed."""
    link = OPENMP if OPENMP in flags else ""
    options = ["--inplace", "--annotate", "ladder.pyx"]
    return {"CFLAGS": " ".join(flags), "LDFLAGS": link}, [sys.executable, "-m", "Cython.Build.Cythonize", *options]


def _compile(text: bytes, folder: Path, flags: tuple[str, ...]) -> Path:
    """The compiled module in a folder of these flags; made beside it and moved there whole, so none is half done."""
    done = folder / ("threads" if OPENMP in flags else "serial")
    if done.is_dir():
        return done
    making = done.with_name(f"{done.name}.{os.getpid()}")
    making.mkdir(parents=True)
    try:
        (making / "ladder.pyx").write_bytes(text)
        settings, typed = command(flags)
        run = subprocess.run(
            typed, cwd=making, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        if run.returncode or not list(making.glob("*.so")):
            raise CannotCompile(_first_error(run.stdout + run.stderr))
        try:
            making.rename(done)
        except OSError:  # another process was quicker: its folder is as good
            if not done.is_dir():
                raise
        return done
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["the compiler failed and said nothing"])[0]


def _load(folder: Path, flags: tuple[str, ...]) -> Ladder:
    (path,) = (path for suffix in importlib.machinery.EXTENSION_SUFFIXES for path in folder.glob(f"ladder{suffix}"))
    spec = importlib.util.spec_from_file_location("ladder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings, typed = command(flags)
    shown = [f"{key}={shlex.quote(value)}" for key, value in settings.items() if value] + ["python", *typed[1:]]
    rungs = {name: getattr(module, name) for name in RUNGS}
    return Ladder(rungs, " ".join(shown), folder / "ladder.html", OPENMP in flags)
