"""The figures of the lessons under the hood: two implementations, and the ladder from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pybn.study.drawing import legend, named_ticks, panels
from pybn.study.plots import over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def units_and_times(
    rows: Sequence[int], units: Mapping[str, object], bound: float, ratios: Mapping[str, object]
) -> None:
    """Difference from the reference, with its bound, and time over the reference's, against the rows of a batch."""
    left, right = panels(1, 2, height=4)
    x = "rows of the batch (64 features)"
    over_seeds(rows, units, (x, "largest difference from the reference\n(units in the last place)"), left)
    left.axhline(bound, color="black", ls="--", label="bound")
    left.set(xscale="log", yscale="log")
    legend(left)
    over_seeds(rows, ratios, (x, "time over the reference's"), right)
    right.get_legend().remove()  # the colours are those on the left
    right.axhline(1, color="black", ls=":")
    _say_above(right, rows[0], 1, "reference", "left")
    right.set(xscale="log", yscale="log")


def errors_behind_a_far_row(far: Sequence[float], off: Mapping[str, object]) -> None:
    """The variance's error (seeds, distances) by name against how far the first row is away; and what is promised."""
    labels = ("how far the first row is away (deviations)", "error of the variance\n(units in the last place)")
    ax = over_seeds(far, off, labels)
    ax.axhline(4, color="black", ls="--")
    _say_above(ax, far[-1], 4, "what pybn_ext promises", "right")
    ax.set(xscale="symlog", yscale="log", xlim=(-0.5, 1.3 * far[-1]))
    named_ticks(ax, far)


def _say_above(ax: Axes, x: float, line: float, text: str, side: str) -> None:
    """What a horizontal line means, some points above it, however many decades the axis has."""
    ax.annotate(text, (x, line), xytext=(0, 4), textcoords="offset points", ha=side, va="bottom", fontsize="small")
