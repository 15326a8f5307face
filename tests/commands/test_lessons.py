"""python -m pybn lessons: the list, one lesson, its exercises, notebooks; and one sentence where there are none."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from pybn.lessons import command, exercises, notebooks
from tests.support.fresh import ROOT

LESSONS = command.find(ROOT / "tutorials")
LESSON = '''r"""
.. _lesson-small:

A small lesson
==============

*What is small?*  About 5 minutes.

.. math::

    a &= 1 \\\\
    b &= 2

Of :math:`a`, ``b`` and `there <https://example.org>`_, see :ref:`lesson-one-feature`.
"""

from pybn.lessons import lesson

print("seeds", list(lesson.seeds()))

# %%
# A part
# ------
# In words.

assert True
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with one lesson."""
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "plot_07_small.py").write_text(LESSON, encoding="utf-8")
    return str(tmp_path / "lessons")


@pytest.mark.parametrize("arguments", [(), ("--list",)])
def test_the_list(arguments, capsys):
    assert command.main(arguments) == 0
    out = capsys.readouterr().out
    for each in LESSONS:
        assert f"{each.number:3}  {each.title} ({each.minutes} minutes)\n     {each.question}\n" in out


def test_exercises(capsys):
    assert command.main(["--exercises", str(LESSONS[1].number)]) == 0
    assert capsys.readouterr().out == f"{exercises.of(LESSONS[1].topic)}\n"


def test_a_lesson_runs_with_the_seeds_that_are_said(folder, capfd):
    assert command.main(["--tutorials", folder, "--run", "7", "--seeds", "30"]) == 0
    assert capfd.readouterr().out == "seeds from 30 on\nseeds [30, 31, 32]\n"


def test_new_seeds_are_drawn_and_named(folder, capfd):
    assert command.main(["--tutorials", folder, "--run", "7", "--seeds", "new"]) == 0
    drawn, used = capfd.readouterr().out.splitlines()
    first = int(re.fullmatch(r"seeds from (\d+) on", drawn)[1])
    assert first in command.DRAWN_FROM
    assert used == f"seeds {[first, first + 1, first + 2]}"


def test_a_lesson_that_fails_is_status_1(folder, capfd):
    (path,) = (each.path for each in command.find(command.Path(folder)))
    path.write_text(LESSON.replace("assert True", "assert False"), encoding="utf-8")
    assert command.main(["--tutorials", folder, "--run", "7"]) == 1
    assert "AssertionError" in capfd.readouterr().err


def test_a_number_that_is_no_lesson(capsys):
    assert command.main(["--run", "99"]) == 2
    assert "there is no lesson 99" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["-1", "x", ""])
def test_wrong_seeds(seeds, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--run", "1", f"--seeds={seeds}"])
    assert "must be the first seed, a whole number of 0 or more, or new" in capsys.readouterr().err


def test_without_a_clone_one_sentence_says_where_lessons_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert command.main(["--list"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "clone the repository" in err


def test_a_head_that_says_no_minutes_is_an_error(folder):
    (path,) = (each.path for each in command.find(command.Path(folder)))
    path.write_text(LESSON.replace("About 5 minutes", "Soon"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"plot_07_small\.py: below its title"):
        command.find(path.parent)


def test_notebooks_need_nothing_but_python(tmp_path):
    """Without site-packages: no NumPy, no matplotlib."""
    code = "from pybn.lessons.notebooks import notebook; notebook"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    imported = ast.parse((ROOT / "pybn" / "lessons" / "notebooks.py").read_text(encoding="utf-8")).body
    names = {each.module for each in imported if isinstance(each, ast.ImportFrom)}
    names |= {alias.name for each in imported if isinstance(each, ast.Import) for alias in each.names}
    assert names <= set(sys.stdlib_module_names) | {"__future__"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_every_lesson_becomes_a_notebook_with_all_its_code(tmp_path, capsys):
    assert command.main(["--notebooks", str(tmp_path / "made" / "here")]) == 0
    for each in LESSONS:
        made = json.loads((tmp_path / "made" / "here" / f"{each.path.stem}.ipynb").read_text(encoding="utf-8"))
        assert made["cells"][0]["source"].startswith(f"# {each.title}")
        code = "\n".join(cell["source"] for cell in made["cells"] if cell["cell_type"] == "code")
        script = ast.parse(each.path.read_text(encoding="utf-8")).body[1:]
        assert ast.dump(ast.Module(script, [])) == ast.dump(ast.parse(code))
        text = "\n".join(cell["source"] for cell in made["cells"] if cell["cell_type"] == "markdown")
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert not re.search(r":\w+:`|^\.\. |^[-=]{4,}$|``[^`\n]+``|`_(?!\w)", prose, re.MULTILINE)
    nbformat = pytest.importorskip("nbformat", reason="validated with the site's tools: pip install '.[docs]'")
    for path in (tmp_path / "made" / "here").glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))


def test_what_stands_in_a_notebook(folder):
    first, code, part, last = notebooks.notebook(LESSON)["cells"]
    assert first["source"] == (
        "# A small lesson\n\n*What is small?*  About 5 minutes.\n\n$$\n\\begin{aligned}\na &= 1 \\\\\nb &= 2\n"
        "\\end{aligned}\n$$\n\nOf $a$, `b` and [there](https://example.org), see *one feature*."
    )
    assert code["source"].startswith("from pybn.lessons import lesson")
    assert part["source"] == "## A part\nIn words."
    assert last["source"] == "assert True"
