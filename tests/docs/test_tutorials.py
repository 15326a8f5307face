"""Every lesson runs, in a process of its own, without a warning; its claims are asserted in itself."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pybn.lessons import command, notebooks

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "tutorials").glob("plot_*.py"))
# No lesson takes more than 60 s on two idle cores; a busy machine may be four times as slow.
SECONDS = 240
# Two sets beside the one that the lessons were written with.
OTHER_SEEDS = (20, 40)
CARDS = ROOT / "docs" / "_ext" / "pybn_lessons.py"


# What the page and a notebook can show of a line, and of a cell without scrolling.
COLUMNS, ONE_SCREEN = 88, 40


def code_cells(text):
    """The code of a lesson, cell by cell."""
    return [cell["source"] for cell in notebooks.notebook(text)["cells"] if cell["cell_type"] == "code"]


def run(lesson, folder, *options, **environment):
    """The lesson as a reader runs it, in an empty folder, where there is no display."""
    # One thread: the products are small, and threads that wait for each other on a busy machine take ten times as long.
    settings = {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *options, str(lesson)],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_there_are_lessons():
    assert len(LESSONS) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson(lesson, tmp_path):
    done = run(lesson, tmp_path, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert any(character.isdigit() for character in done.stdout), "a lesson prints what it measured"
    assert list(tmp_path.glob("plot_*.png")), "a lesson without a display saves its figures"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_without_matplotlib_a_lesson_says_what_to_install(lesson, tmp_path):
    (tmp_path / "matplotlib.py").write_text(
        "raise ModuleNotFoundError('No module named matplotlib', name='matplotlib')"
    )
    done = run(lesson, tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_form(lesson):
    text = lesson.read_text()
    cards = (ROOT / "docs" / "_ext" / "pybn_lessons.py").read_text()
    topic = lesson.stem.split("_", 2)[2]
    assert f'    "{topic}": Lesson(' in cards, "a lesson has a card in docs/_ext/pybn_lessons.py"
    assert text.startswith(('r"""', '"""')), "a lesson begins with its title"
    assert "# %%" in text
    assert "assert " in text
    folded = sum(len(cell.splitlines()) for cell in code_cells(text) if cell.startswith(notebooks.FOLDED))
    assert len(text.splitlines()) - folded <= 190, "one idea is told in about 150 lines"
    assert f'lesson.exercises("{lesson.stem.split("_", 2)[2]}")' in text, "a lesson ends with its exercises"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_cell_fits_the_page(lesson):
    for cell in code_cells(lesson.read_text(encoding="utf-8")):
        lines = cell.splitlines()
        assert max(map(len, lines)) <= COLUMNS, max(lines, key=len)
        assert len(lines) <= ONE_SCREEN, lines[0]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_what_draws_and_what_checks_is_not_in_the_way(lesson):
    """The page shows what trains.  Drawing is in functions whose names say what is drawn; checks are folded."""
    axes, figure = pytest.importorskip("matplotlib.axes").Axes, pytest.importorskip("matplotlib.figure").Figure
    plumbing = {name for kind in (axes, figure) for name in dir(kind) if name[0] != "_"} | {"panels"}
    plumbing -= {"show", "table", "update"}  # which `lesson` and an average have, too
    for cell in code_cells(lesson.read_text(encoding="utf-8")):
        tree = ast.parse(cell)
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        of_figures = [ast.unparse(call) for call in calls if isinstance(call, ast.Attribute) and call.attr in plumbing]
        assert of_figures == [], "what matplotlib is told belongs into pybn.lessons.drawings"
        checks = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
        folded = cell.startswith(notebooks.FOLDED)
        assert folded or checks == [], f"a cell that checks begins with {notebooks.FOLDED!r}"
        assert not folded or "print(" in cell, "what is folded leaves the sentence that it proves"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_seeds_come_from_one_place(lesson):
    """Otherwise PYBN_LESSON_SEEDS would change a part of a lesson alone."""
    text = lesson.read_text()
    assert "SEEDS = lesson.seeds(" in text
    assert not re.search(r"(?:seed|rng)=\d+\b(?! \+)|default_rng\(\d|for seed in range", text)


@pytest.mark.slow
@pytest.mark.parametrize("first", OTHER_SEEDS)
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_what_a_lesson_claims_holds_for_seeds_that_nobody_chose(lesson, first, tmp_path):
    done = run(lesson, tmp_path, "-W", "error", PYBN_LESSON_SEEDS=str(first))
    assert done.returncode == 0, done.stderr


def test_the_head_says_the_minutes_of_the_card():
    """A card of the gallery and the page behind it are two places."""
    cards = re.findall(r'^    "(\w+)": Lesson\("\w+", (\d+),', CARDS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {each.topic: each.minutes for each in command.find(ROOT / "tutorials")}.items() <= {
        topic: int(minutes) for topic, minutes in cards
    }.items()


def test_the_lesson_quotes_pytorchs_figures_as_the_page_does():
    """Both stand for one measurement, which takes PyTorch."""
    page = (ROOT / "docs" / "implementations.rst").read_text(encoding="utf-8")
    rows = re.findall(r"   \* - (.+)\n     - .+\n     - .+\n     - ([\d ]+)$", page, re.MULTILINE)
    measured = {kind: int(units.replace(" ", "")) for kind, units in rows}
    lesson = (ROOT / "tutorials" / "plot_11_implementations.py").read_text(encoding="utf-8")
    quoted = ast.literal_eval(re.search(r"^PYTORCH = (\{.+\})$", lesson, re.MULTILINE)[1])
    assert quoted == {
        "noise": measured["normal"],
        "100 + noise": measured["100 + noise"],
        "10 y + noise": measured["10 x̂ + noise"],
        "y": measured["y: the loss is the mean of y²"],
    }
