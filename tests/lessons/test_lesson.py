"""What surrounds a lesson: without matplotlib one sentence, without a display a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pybn.lessons import lesson

DRAWS = """
from pybn.lessons import lesson
plt = lesson.pyplot()
for _ in range(2):
    plt.figure()
    lesson.show()
"""


def run(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = folder / "plot_99_test.py"
    path.write_text(script)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "MPLBACKEND": "Agg", **environment}
    return subprocess.run([sys.executable, path], cwd=folder, env=environment, capture_output=True, text=True)


def test_without_matplotlib_one_sentence_says_what_to_install(tmp_path):
    end = run(tmp_path, "import sys\nsys.modules['matplotlib'] = None\n" + DRAWS)
    assert end.returncode == 1
    assert end.stderr.count("\n") == 1
    assert "pip install matplotlib" in end.stderr


def test_a_broken_matplotlib_raises_its_own_error(tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("import no_such_module_of_its_own")
    end = run(tmp_path, DRAWS)
    assert "No module named 'no_such_module_of_its_own'" in end.stderr


def test_without_a_display_each_figure_is_saved_once_and_named(tmp_path):
    pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install '.[plots]'")
    end = run(tmp_path, DRAWS)
    assert end.stderr == ""
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["plot_99_test_1.png", "plot_99_test_2.png"]
    assert end.stdout.splitlines() == ["figure 1: plot_99_test_1.png", "figure 2: plot_99_test_2.png"]


def test_the_gallery_takes_the_figures_itself(tmp_path):
    pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install '.[plots]'")
    end = run(tmp_path, "import sys\nsys.modules['sphinx_gallery'] = sys\n" + DRAWS)
    assert (end.stdout, end.stderr) == ("", "")
    assert not list(tmp_path.glob("*.png"))


def test_a_table_is_printed_by_a_script_and_is_a_table_elsewhere(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "sphinx_gallery", raising=False)  # other tests may have imported it
    made = lesson.table({"Keras": [0.99, "<b>"], "PyTorch": [0.1, "new"]}, ["momentum", "momentum_keeps"])
    assert capsys.readouterr().out.splitlines() == [
        "         momentum  momentum keeps",
        "Keras    0.99      <b>",
        "PyTorch  0.1       new",
    ]
    html = made._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>&lt;b&gt;</td>" in html
    assert "<th>momentum keeps</th>" in html


def test_where_the_last_value_of_a_cell_is_shown_nothing_is_printed(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx_gallery", sys)
    lesson.table({"Keras": [0.99]}, ["momentum"])
    assert capsys.readouterr().out == ""
