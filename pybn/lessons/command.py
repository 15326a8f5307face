"""The lessons of a clone: list them, run one, read its exercises, make notebooks of all.

python -m pybn lessons --list | --run N [--seeds FIRST | new] | --exercises N | --notebooks DIR
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pybn.lessons import exercises, notebooks

ROOT = Path(__file__).parents[2]
# Seeds that are drawn lie far from those that the lessons were written with, and are easily typed again.
DRAWN_FROM = range(100, 100_000)


class Lesson(NamedTuple):
    """One lesson: its file, its number, its topic, and what its head says."""

    path: Path
    number: int
    topic: str
    title: str
    question: str
    minutes: int


def find(folder: Path) -> list[Lesson]:
    """The lessons in a folder, in their order; ValueError for one whose head does not say its question and minutes."""
    return [_read(path) for path in sorted(folder.glob("plot_*.py"))]


def _read(path: Path) -> Lesson:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    title = re.search(r"^(\S.*)\n=+$", text, re.MULTILINE)
    head = re.search(r"^\*([^*]+)\*\s+(?:About )?(\d+) minutes\b", text, re.MULTILINE)
    if title is None or head is None:
        raise ValueError(f"{path}: below its title a lesson says *its question?* and N minutes")
    _, number, topic = path.stem.split("_", 2)
    return Lesson(path, int(number), topic, title[1], " ".join(head[1].split()), int(head[2]))


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m pybn lessons`; 1 if there are none, or the one that was run failed."""
    options = _parser().parse_args(arguments)
    nearby = (each for each in (ROOT / "tutorials", Path("tutorials")) if each.is_dir())
    folder = options.tutorials or next(nearby, None)
    lessons = find(folder) if folder else []
    if not lessons:
        print(
            f"pybn lessons: the lessons stand in tutorials/ of a clone, and there are none in {folder or ROOT}: "
            "clone the repository and run this there, or say --tutorials DIR",
            file=sys.stderr,
        )
        return 1
    if options.notebooks:
        return _write_notebooks(lessons, options.notebooks)
    wanted = options.run if options.run is not None else options.exercises
    if wanted is None:
        return _list(lessons)
    chosen = [each for each in lessons if each.number == wanted]
    if not chosen:
        print(f"pybn lessons: there is no lesson {wanted}; --list shows those that there are", file=sys.stderr)
        return 2
    return _run(chosen[0], options.seeds) if options.run is not None else _show(chosen[0])


def _list(lessons: Sequence[Lesson]) -> int:
    for each in lessons:
        print(f"{each.number:3}  {each.title} ({each.minutes} minutes)\n     {each.question}")
    return 0


def _show(lesson: Lesson) -> int:
    print(exercises.of(lesson.topic))
    return 0


def _run(lesson: Lesson, seeds: int | None) -> int:
    """Run the script in a process of its own, in the current folder; its figures are shown, or saved here."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    if seeds is not None:
        environment["PYBN_LESSON_SEEDS"] = str(seeds)
        print(f"seeds from {seeds} on", flush=True)
    return 1 if subprocess.run([sys.executable, str(lesson.path)], env=environment, check=False).returncode else 0


def _write_notebooks(lessons: Sequence[Lesson], folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for each in lessons:
        path = folder / f"{each.path.stem}.ipynb"
        made = notebooks.notebook(each.path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote {path}")
    print("where they do not open: pip install jupyterlab matplotlib")
    return 0


def _seeds(text: str) -> int:
    """The first seed, or one that is drawn."""
    if text == "new":
        return random.SystemRandom().choice(DRAWN_FROM)
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be the first seed, a whole number of 0 or more, or new; got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder, got the file {text}")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pybn lessons", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="numbers, titles, questions, minutes: what is done plainly")
    what.add_argument("--run", type=int, metavar="N", help="run lesson N; without a display it saves its figures here")
    what.add_argument("--exercises", type=int, metavar="N", help="the questions of lesson N")
    what.add_argument("--notebooks", type=_folder, metavar="DIR", help="write every lesson as a notebook to DIR")
    parser.add_argument(
        "--seeds", type=_seeds, metavar="FIRST", help="with --run: begin with this seed, or with one drawn now: new"
    )
    parser.add_argument("--tutorials", type=_folder, metavar="DIR", help="where the lessons are")
    return parser
