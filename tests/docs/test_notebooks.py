"""Lessons as notebooks: converted by the documented command, and run top to bottom in a clean kernel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pybn.lessons import notebooks

nbformat = pytest.importorskip("nbformat", reason="notebooks are tested with the site's tools: pip install '.[docs]'")
nbclient = pytest.importorskip("nbclient", reason="notebooks are tested with the site's tools: pip install '.[docs]'")
pytest.importorskip("sphinx_gallery", reason="notebooks are made with the site's tools: pip install '.[docs]'")

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "tutorials").glob("plot_*.py"))
# These three are run as notebooks, which is slow; all twelve are run as scripts.
HEART = [lesson for lesson in LESSONS if lesson.stem.startswith(("plot_01", "plot_02", "plot_03"))]


def notebook_of(lesson, folder):
    """What `sphinx_gallery_py2jupyter` makes of a copy of the lesson in `folder`."""
    copy = shutil.copy(lesson, folder)
    convert = "import sys; from sphinx_gallery.notebook import python_to_jupyter_cli as main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", convert, str(copy)], check=True, capture_output=True, cwd=folder)
    return nbformat.read(Path(copy).with_suffix(".ipynb"), as_version=4)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_becomes_a_notebook(lesson, tmp_path):
    cells = notebook_of(lesson, tmp_path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith(("# ", "\n# ", "\n\n# "))
    assert any("assert " in cell.source for cell in cells if cell.cell_type == "code")


@pytest.mark.slow
@pytest.mark.parametrize("lesson", HEART, ids=lambda path: path.stem)
def test_the_heart_of_the_lessons_runs_in_a_clean_kernel(lesson, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as in test_tutorials: waiting threads take ten times as long
    notebook = notebook_of(lesson, tmp_path)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "a notebook shows its figures"
    assert any(output.output_type == "stream" and output.name == "stdout" for output in outputs)


def test_what_is_folded_on_the_page_is_hidden_in_the_notebook():
    source = '"""\nA lesson\n========\n"""\nx = 1\n# %%\n\n# Folded: the check of x\nassert x == 1\nprint("so it is")\n'
    *_, trains, checks = notebooks.notebook(source)["cells"]
    assert trains["metadata"] == {}
    assert checks["metadata"]["jupyter"] == {"source_hidden": True}
    assert checks["source"].startswith("# Folded: the check of x")
