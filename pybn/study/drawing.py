"""What the figures share: the page's width, colours, axes, labels and legends; and curves that grow.

The rooms that draw take matplotlib from here: without it this file says what to install.  Importing it opens no
figure and touches no setting.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ModuleNotFoundError:
    raise ImportError("the figures need matplotlib, which is not installed: pip install matplotlib") from None

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe & Ito's colours, told apart with every kind of colour vision; the truth is always black.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TRUTH: dict[str, Any] = {"color": "black", "linewidth": 2.2, "zorder": 4}
NOISE: dict[str, Any] = {"color": "#B0B0B0", "zorder": 1}
# A page of the docs is about 8 inches wide at the size of its text.
PAGE = (8.0, 4.0)


def figure(height: float = PAGE[1]) -> Figure:
    """A figure of the page's width that no window knows of, to be saved."""
    return Figure(figsize=(PAGE[0], height), layout="constrained")


def panels(rows: int = 1, columns: int = 1, height: float = PAGE[1], **options: Any) -> Any:
    """The Axes of a new figure of the page's width, as many as are asked for: one, or an array."""
    from matplotlib import pyplot as plt

    axes = plt.subplots(rows, columns, figsize=(PAGE[0], height), layout="constrained", **options)[1]
    for ax in np.ravel(axes):
        axes_of(ax)
    return axes


def growing(axes: Any, frames: int = 16, seconds: float = 5.0) -> FuncAnimation:
    """An animation in which the curves of one or several Axes of a figure grow from left to right.

    Its first frame is the whole figure: that is what is seen where nothing plays it.  A frame is about 0.1 MB of a
    page of the docs.
    """
    lines = [(line, *line.get_data()) for ax in np.ravel(axes) for line in ax.get_lines() if len(line.get_xdata()) > 2]
    end = max(x[-1] for _, x, _ in lines)

    def draw(now: float) -> list[Any]:
        for line, x, y in lines:
            shown = np.asarray(x) <= now
            line.set_data(np.asarray(x)[shown], np.asarray(y)[shown])
        return [line for line, *_ in lines]

    moments = [end, *np.linspace(0, end, frames)[1:]]
    whole = np.ravel(axes)[0].figure
    animation = FuncAnimation(whole, draw, moments, init_func=list, interval=1000 * seconds / frames)
    whole.canvas.draw()  # where it is never played, it must have been drawn once, or it complains
    return animation


def short_name(scope: str) -> str:
    """A layer's scope as a reader wants it: without the slash and the last part."""
    return scope.removesuffix("/batch_normalization").strip("/") or "/"


def axes_of(ax: Axes | None, height: float = PAGE[1]) -> Axes:
    """`ax`, or those of a new figure of the page's width."""
    if ax is None:
        return panels(height=height)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#E5E5E5", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def colours(curves: Iterable[Any]) -> list[str]:
    """A colour for each curve; ValueError for more than can be told apart."""
    number = len(list(curves))
    if number > len(COLOURS):
        raise ValueError(f"a figure holds up to {len(COLOURS)} curves that can be told apart, got {number}")
    return list(COLOURS[:number])


def columns(values: np.ndarray) -> np.ndarray:
    """(T, F) with the features in one axis."""
    return values.reshape(len(values), -1)


def band(ax: Axes, step: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """The median over the features of (T, F), and the middle half."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    ax.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(step, middle, color=colour, linewidth=2, label=label)


def label_axes(ax: Axes, x: str, y: str) -> None:
    """What the two axes count."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def named_ticks(ax: Axes, places: Iterable[float], names: Iterable[Any] | None = None) -> None:
    """Ticks along x at these places and nowhere else, named by themselves or by `names`."""
    places = list(places)
    ax.set_xticks(places, [str(name) for name in (places if names is None else names)])
    ax.minorticks_off()


def percent(axis: Axis) -> None:
    """Write an axis from 0 to 1 in percent."""
    axis.set_major_formatter(PercentFormatter(1))


def legend(ax: Axes, **options: Any) -> Axes:
    """`ax`, with a legend of its curves."""
    ax.legend(frameon=False, fontsize="small", **options)
    return ax
