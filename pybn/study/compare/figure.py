"""The figure of a comparison: how long each implementation takes, over the first one's time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pybn.study.compare.rows import Row
from pybn.study.drawing import TRUTH, axes_of, colours, label_axes, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def times(names: Sequence[str], rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """The ratio of the times, median and middle half, by operation and input; `names`: the first is held against.

    What was not timed is left out.
    """
    rows = [row for row in rows if row.ratio is not None]
    labels = [f"{r.operation}  {'x'.join(map(str, r.shape))}  {r.dtype}" for r in rows]
    places = {label: -place for place, label in enumerate(dict.fromkeys(labels))}
    ax = axes_of(ax, height=1 + 0.22 * len(places))
    ax.axvline(1, **{**TRUTH, "linewidth": 1.2}, linestyle=":", label=names[0])
    for colour, name in zip(colours(names[1:]), names[1:], strict=True):
        own = [(places[label], r) for label, r in zip(labels, rows, strict=True) if r.implementation == name]
        ratio = np.array([r.ratio for _, r in own])
        spread = np.abs([[r.ratio_low, r.ratio_high] for _, r in own] - ratio[:, None]).T
        ax.errorbar(ratio, [place for place, _ in own], xerr=spread, fmt="o", color=colour, markersize=4, label=name)
    ax.set_xscale("log")
    ax.set_yticks(list(places.values()), list(places), fontsize="x-small")
    label_axes(ax, f"time over {names[0]}'s", "")
    return legend(ax, loc="best")
