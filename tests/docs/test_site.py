"""The site builds without warnings and without a network, and a lesson that fails ends its build."""

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import install_targets
from tests.support.site import build, short_lessons

pytest.importorskip("sphinx", reason="the site's tools are not installed: pip install '.[docs]'")
pytestmark = pytest.mark.slow

WRONG = '"""\nA lesson\n========\n"""\n\nassert 1 > 2, "the claim of this lesson"\n'


def notebook_text(path):
    """What stands in a notebook's cells."""
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])


def test_the_site_builds_without_warnings_and_needs_nothing_from_elsewhere(tmp_path):
    lessons = short_lessons()
    result = build(tmp_path, lessons)
    assert result.returncode == 0, result.stderr
    site = tmp_path / "site"
    assert (site / "_static" / "tex-svg.js").is_file()
    for name in (Path(lesson).stem for lesson in lessons):
        assert (site / "gallery" / f"{name}.html").is_file()
        (notebook,) = (site / "_downloads").rglob(f"{name}.ipynb")
        assert install_targets(notebook_text(notebook)) == [[".[notebook]"]]
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        fetched += re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert fetched == [], page


def test_a_failing_lesson_ends_the_build(tmp_path):
    result = build(tmp_path, {"plot_00_wrong.py": WRONG})
    assert result.returncode != 0
    assert "the claim of this lesson" in result.stdout + result.stderr
