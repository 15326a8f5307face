"""The figures of the lessons: none that no lesson shows, and a few read back."""

import re
from pathlib import Path

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed: pip install '.[plots]'")

from pybn.lessons import drawings  # noqa: E402

LESSONS = Path(__file__).parents[2] / "tutorials"


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.skipif(not LESSONS.is_dir(), reason="the lessons stand in a clone")
def test_each_is_shown_by_a_lesson_and_each_that_is_shown_is_there():
    text = "".join(path.read_text(encoding="utf-8") for path in LESSONS.glob("plot_*.py"))
    assert set(re.findall(r"\bdrawings\.(\w+)\(", text)) == set(drawings.__all__)


def test_one_feature_after_each_line_draws_the_four_of_them():
    x = np.array([0.0, 0.5, 0.5, 1.0])
    normalized = (x - x.mean()) / x.std()
    drawings.one_feature_after_each_line(x, normalized, 2 * normalized + 1, 2.0, 1.0)
    titles = [ax.get_title(loc="left") for ax in plt.gcf().axes]
    assert titles[0] == "the batch: mean 0.50, standard deviation 0.35"
    assert titles[2] == "normalized: mean 0.00, standard deviation 1.00"
    assert titles[3] == "scaled and offset: mean 1.00, standard deviation 2.00"


def test_the_theory_beside_the_measured_variance():
    drawings.variance_by_batch_size(np.array([2, 4]), np.array([[0.4, 0.7]]))
    (line,) = (line for line in plt.gcf().axes[0].get_lines() if line.get_label() == "(n - 1) / n")
    assert line.get_ydata().tolist() == [0.5, 0.75]


def test_row_sums_stand_beside_the_jacobian():
    drawings.jacobians_with_their_row_sums({"one": np.eye(3), "none": np.zeros((3, 3))})
    beside = [[text.get_text() for text in ax.texts] for ax in plt.gcf().axes[:2]]
    assert beside == [["sum", "1.00", "1.00", "1.00"], ["sum", "0.00", "0.00", "0.00"]]


def test_what_a_line_means_stands_above_it_and_does_not_touch_it():
    far, errors = (0, 10, 100, 1000), np.geomspace(1e-8, 1e3, 8).reshape(2, 4)
    drawings.errors_behind_a_far_row(far, {"one": errors})
    page = plt.gcf()
    for inches in (6, 10):
        page.set_size_inches(inches, inches / 2)
        page.canvas.draw()
        (ax,) = page.axes
        (said,) = ax.texts
        line = ax.transData.transform((far[-1], 4))[1]
        assert said.get_window_extent().y0 > line + 1
