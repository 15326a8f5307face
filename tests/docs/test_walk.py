"""The constants of `pybn.lessons.walk`, which the page shows, are those that stand in the compiled path's rooms."""

import re
from pathlib import Path

import pytest

from pybn.lessons.walk import backward, forward, way

ROOMS = Path(__file__).parents[2] / "pybn_ext"


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [
        ("vectors", "SPARE", way.SPARE),
        ("plans", "LANES", way.LANES),
        ("call", "SHORT_LANES", way.SHORT_LANES),
        ("call", "FEW_ELEMENTS", way.FEW_ELEMENTS),
        ("call", "SAMPLES", way.SAMPLES),
        ("threads", "SERIAL", way.SERIAL),
        ("doubt", "TASTED", backward.TASTED),
        ("doubt", "double MOST_TASTED", backward.MOST_TASTED),
        ("doubt", "double MOST", backward.MOST),
    ],
)
def test_the_constants_are_those_of_the_rooms(room, name, value):
    text = (ROOMS / f"{room}.pxi").read_text(encoding="utf-8")
    assert float(re.search(rf"\b{name} = ([\d.]+)", text)[1]) == value


def test_the_distance_from_which_sums_are_taken_again():
    text = (ROOMS / "finish.pxi").read_text(encoding="utf-8")
    assert f"if n < 1024:\n        return {forward.FAR}\n" in text
