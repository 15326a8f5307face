"""The figures of single lessons: each function's name says what it draws; all return what they drew on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybn.lessons.trials import RareFeature
from pybn.study.drawing import axes_of, colours, label_axes, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gain_of_a_rare_feature(rare: RareFeature, epsilons: Sequence[float], ax: Axes | None = None) -> Axes:
    """What evaluation would multiply the feature by, step by step, for each epsilon; grey where it varied."""
    ax = axes_of(ax)
    for number, step in enumerate(rare.step[rare.seen]):
        ax.axvline(step, color="#B0B0B0", linewidth=1, label=None if number else "a batch with its ink")
    for colour, epsilon in zip(colours(epsilons), epsilons, strict=True):
        ax.semilogy(rare.step, rare.gain(epsilon), color=colour, linewidth=2, label=f"epsilon {epsilon:g}")
    label_axes(ax, "training step", "gain in evaluation\n(output per unit of ink)")
    ax.set_ylim(top=1e5)
    return legend(ax, loc="upper right", ncols=2)
