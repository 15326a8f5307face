"""The performance page: its picture has every cell of its table, in its place."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the picture is the site's: pip install '.[docs]'")
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "performance.rst").read_text(encoding="utf-8")


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    import pybn_performance

    return pybn_performance


def test_every_cell_of_the_table_is_a_dot(picture):
    rows = picture.measured(PAGE)
    cells = re.findall(r"     - [\d.]+ / ([\d.]+) / [\d.]+$", PAGE, re.MULTILINE)
    assert len(rows) * 3 == len(cells) > 60
    svg = ElementTree.fromstring(picture.drawn(rows))
    dots = [(float(dot.get("cx")), dot[0].text.rsplit(" ", 1)[1]) for dot in svg.iter("circle") if len(dot)]
    assert [float(text) for _, text in dots] == [float(cell) for cell in cells]
    # Left of the line at 1 is faster, and nothing stands outside of the axis.
    for x, text in dots:
        assert (x < picture.position(1)) == (float(text) < 1)
        assert picture.LEFT <= x <= picture.RIGHT


def test_the_picture_comes_before_the_tables():
    assert PAGE.index("performance-figure") < PAGE.index("list-table")
