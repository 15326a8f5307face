"""The autograders' files of docs/teaching.rst are run as they stand there, where their packages are installed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.students import hostile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "teaching.rst").read_text(encoding="utf-8")


def blocks(title):
    """The Python blocks of one section."""
    section = re.search(rf"\n{title}\n-+\n(.*?)(?=\n[^\n]+\n-{{3,}}\n|\Z)", PAGE, re.DOTALL)[1]
    found = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", section)
    return ["\n".join(line[3:] for line in block.rstrip().split("\n")) + "\n" for block in found]


def run(directory, *command):
    """A script in a directory; what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{directory}", "PATH": "/usr/bin:/bin", "HOME": str(directory)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["right", "wrong"])
def submission(request, tmp_path):
    """A directory with a student's layers.py, and whether its backward is right."""
    right = request.param == "right"
    (tmp_path / "layers.py").write_text(hostile.HONEST if right else hostile.WRONG_BACKWARD)
    return tmp_path, right


def test_nbgrader(submission):
    nbgrader = pytest.importorskip("nbgrader.utils", reason="nbgrader is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat, which nbgrader needs, is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient, which nbgrader needs, is not installed")
    directory, right = submission
    first, points = blocks("nbgrader")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell((directory / "layers.py").read_text())]
    for name, source in (("training", first), ("points", points)):
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata["nbgrader"] = {"grade": True, "grade_id": name, "points": 10, "locked": True, "solution": False}
        cell.metadata["nbgrader"] |= {"schema_version": 3, "cell_type": "code"}
        notebook.cells.append(cell)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    nbclient.NotebookClient(notebook, allow_errors=True).execute()
    scores = [nbgrader.determine_grade(cell)[0] for cell in notebook.cells[2:]]
    assert scores == [10, 10 if right else 7]


def test_otter_grader(submission):
    pytest.importorskip("otter", reason="otter-grader is not installed")
    directory, right = submission
    (directory / "tests").mkdir()
    (directory / "tests" / "batch_norm.py").write_text(blocks("otter-grader")[0])
    script = "import otter\nfrom layers import *\ngrader = otter.Notebook(tests_dir='tests')\n"
    script += "result = grader.check('batch_norm')\nprint([case.passed for case in result.test_case_results])\n"
    (directory / "handed_in.py").write_text(script)
    assert str([True, right]) in run(directory, "handed_in.py")


def test_gradescope_utils(submission):
    pytest.importorskip("gradescope_utils", reason="gradescope-utils is not installed")
    directory, right = submission
    (directory / "run_tests.py").write_text(blocks("Gradescope")[0])
    run(directory, "run_tests.py")
    (test,) = json.loads((directory / "results.json").read_text())["tests"]
    assert (test["score"], test["max_score"]) == (10 if right else 7, 10)
    assert "Right: training output" in test["output"]


def test_gradescope_without_its_package(submission):
    directory, right = submission
    (directory / "run.py").write_text(blocks("Gradescope")[1])
    run(directory, "run.py")
    results = json.loads((directory / "results.json").read_text())
    scores = {test["name"]: test["score"] for test in results["tests"]}
    assert scores == {"training": 3, "statistics": 2, "test": 2, "backward": 3 if right else 0}
