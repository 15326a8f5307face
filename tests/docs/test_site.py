"""The site builds without warnings and without a network, and a lesson that fails ends its build."""

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import project
from tests.support.site import build, dead_anchors, short_lessons

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
        # Where pybn is missing, as on Colab, a notebook installs it from the forge that pyproject.toml names.
        forge = project()["urls"]["Homepage"]
        assert f'%pip install -q "pybn-batchnorm[plots] @ git+{forge}"' in notebook_text(notebook)
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        fetched += re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert fetched == [], page

    assert dead_anchors(site) == []
    check_cards(site, lessons)
    check_ways_to_run(site, lessons)
    check_folds(site, lessons)


def check_cards(site, lessons):
    """A card for each lesson, in one of three groups, with its thumbnail, a sentence and minutes."""
    page = (site / "gallery" / "index.html").read_text(encoding="utf-8")
    assert page.count('<h2 class="lessons">') == 3
    cards = re.findall(r'<a class="lesson-card" href="([^"]+)">(.*?)</a>', page, re.DOTALL)
    pages = ["../compiled.html"]
    assert sorted(link for link, _ in cards) == sorted(pages + [f"{Path(name).stem}.html" for name in lessons])
    for link, card in cards:
        assert re.search(r"<span>.+[.?]</span><small>\d+ minutes</small>", card)
        if link in pages:
            continue
        picture = re.search(r'<img src="([^"]+)"', card)[1]
        assert (site / "gallery" / picture).is_file()


def check_ways_to_run(site, lessons):
    """One click to Colab and to Binder; what they ask the forge's branch for is in the site."""
    for name in (Path(lesson).stem for lesson in lessons):
        page = (site / "gallery" / f"{name}.html").read_text(encoding="utf-8")
        notebook = f"notebooks/{name}.ipynb"
        assert f'href="https://colab.research.google.com/github/pybn-batchnorm/pybn/blob/gh-pages/{notebook}"' in page
        assert f'href="https://mybinder.org/v2/gh/pybn-batchnorm/pybn/gh-pages?urlpath=lab/tree/{notebook}"' in page
        assert (site / notebook).is_file()
    assert "git+https://github.com/pybn-batchnorm/pybn" in (site / "binder" / "requirements.txt").read_text()


def check_folds(site, lessons):
    """A check is one line that unfolds it, and what it prints is in sight; so it is in the notebooks."""
    for name in (Path(lesson).stem for lesson in lessons):
        page = (site / "gallery" / f"{name}.html").read_text(encoding="utf-8")
        (folded,) = re.findall(r'<details class="folded">(.*?)</details>', page, re.DOTALL)
        assert folded.startswith("<summary>the check of &lt;nothing&gt;</summary>")
        assert "assert" in folded
        assert "so it is" in page.partition("</details>")[2]
        for notebook in [site / "notebooks" / f"{name}.ipynb", *(site / "_downloads").rglob(f"{name}.ipynb")]:
            *shown, last = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            assert last["metadata"]["jupyter"] == {"source_hidden": True}
            assert not any("jupyter" in cell["metadata"] for cell in shown)


def test_a_failing_lesson_ends_the_build(tmp_path):
    result = build(tmp_path, {"plot_00_wrong.py": WRONG})
    assert result.returncode != 0
    assert "the claim of this lesson" in result.stdout + result.stderr
