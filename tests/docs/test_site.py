"""The site builds without warnings and without a network, and a lesson that fails ends its build."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the site's tools are not installed: pip install '.[docs]'")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIGURE = "\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2])\n"
WRONG = '"""\nA lesson\n========\n"""\n\nassert 1 > 2, "the claim of this lesson"\n'


@pytest.fixture
def build(tmp_path):
    """A function that builds a copy of the docs with the given lessons, {name: source}."""
    ignored = shutil.ignore_patterns("_build", "gallery", "generated", "__pycache__", "sg_execution_times.rst")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=ignored)
    for name in ("pybn", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    lessons = tmp_path / "tutorials"
    lessons.mkdir()
    shutil.copy(ROOT / "tutorials" / "GALLERY_HEADER.rst", lessons)

    def run(sources):
        for name, source in sources.items():
            (lessons / name).write_text(source)
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "site"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)

    return run


def short_lessons():
    """Every lesson with its own title and labels, and one quick figure: what they do has tests of its own."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tutorials").glob("plot_*.py")}
    titles = {name: ast.get_docstring(ast.parse(source)) for name, source in sources.items()}
    return {name: f'r"""\n{title}\n"""\n{FIGURE}' for name, title in titles.items()}


def test_the_site_builds_without_warnings_and_needs_nothing_from_elsewhere(build, tmp_path):
    lessons = short_lessons()
    result = build(lessons)
    assert result.returncode == 0, result.stderr
    site = tmp_path / "site"
    assert (site / "_static" / "tex-svg.js").is_file()
    for name in (Path(lesson).stem for lesson in lessons):
        assert (site / "gallery" / f"{name}.html").is_file()
        assert list((site / "_downloads").rglob(f"{name}.ipynb"))
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        fetched += re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert fetched == [], page


def test_a_failing_lesson_ends_the_build(build):
    result = build({"plot_00_wrong.py": WRONG})
    assert result.returncode != 0
    assert "the claim of this lesson" in result.stdout + result.stderr
