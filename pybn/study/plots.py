"""The figures: one function each, which draws on `ax` (default: a new figure's) and returns it.

The only file that imports matplotlib.  Importing it opens no figure and touches no setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ModuleNotFoundError:
    raise ImportError("the figures need matplotlib, which is not installed: pip install matplotlib") from None

from pybn.batchnorm import effective_momentum
from pybn.study.record import DataRecord, LayerRecord, replay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pybn.study.compare import Comparison
    from pybn.study.experiments import Story

# Okabe & Ito's colours, told apart with every kind of colour vision; the truth is always black.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TRUTH: dict[str, Any] = {"color": "black", "linewidth": 2.2, "zorder": 4}
NOISE: dict[str, Any] = {"color": "#B0B0B0", "zorder": 1}
# A page of the docs is about 8 inches wide at the size of its text.
PAGE = (8.0, 4.0)

# --- momentum -----------------------------------------------------------------------------------


def moving_averages(
    record: LayerRecord,
    momenta: Sequence[float] = (0.5, 0.9, 0.99),
    data: DataRecord | None = None,
    feature: int | None = None,
    statistic: str = "mean",
    ax: Axes | None = None,
) -> Axes:
    """One feature's moving averages, for several momenta, against its batches and against the data.

    Parameters
    ----------
    record : of the layer; its averages are replayed with each of `momenta`
    data : the data's own statistics, the black line
    feature : index; default: the one whose batch means moved furthest
    statistic : "mean" or "variance"
    """
    ax = _axes(ax)
    feature = most_moved_feature(record) if feature is None else feature
    batches = _columns(getattr(record, f"batch_{statistic}"))[:, feature]
    ax.plot(record.step, batches, ".", markersize=3.5, label=f"{statistic} of each batch", **NOISE)
    for colour, momentum in zip(_colours(momenta), momenta, strict=True):
        averages = _columns(replay(record, momentum)[statistic == "variance"])[:, feature]
        ax.plot(record.step, averages, color=colour, linewidth=1.6, zorder=3, label=f"average, momentum {momentum:g}")
    if data is not None:
        truth = _columns(getattr(data, statistic))[:, feature]
        ax.plot(data.step, truth, label=f"{statistic} of the data", **TRUTH)
    _label(ax, "training step", f"{statistic} of feature {feature}\n(units of the layer's input)")
    return _legend(ax)


def memory(momenta: Sequence[float], steps: int, ax: Axes | None = None) -> Axes:
    """How much of the old average each step keeps: it grows as 1 - 1/w until it reaches the momentum."""
    ax = _axes(ax, height=2.2)
    weights = range(1, steps + 1)
    for colour, momentum in zip(_colours(momenta), momenta, strict=True):
        kept = [effective_momentum(weight, momentum) for weight in weights]
        ax.plot(weights, kept, color=colour, linewidth=1.6, label=f"momentum {momentum:g}")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    _label(ax, "training step", "kept of the\nold average")
    return _legend(ax, loc="lower right")


def most_moved_feature(record: LayerRecord) -> int:
    """The feature whose batch mean went furthest from first steps to last, in standard deviations."""
    few = max(1, len(record.step) // 10)
    mean, variance = _columns(record.batch_mean), _columns(record.batch_variance)
    distance = np.abs(mean[-few:].mean(axis=0) - mean[:few].mean(axis=0))
    return int(np.argmax(distance / np.sqrt(variance.mean(axis=0) + np.finfo(float).tiny)))


# --- epsilon ------------------------------------------------------------------------------------


def gain(variances: Any, epsilons: Sequence[float] = (1e-1, 1e-3, 1e-5), ax: Axes | None = None) -> Axes:
    """The factor 1 / sqrt(variance + epsilon) for each epsilon, with the data's variances on the axis.

    `variances`: one for each feature; those that are 0 have no place on the axis and are counted.
    """
    ax = _axes(ax)
    variances = np.ravel(variances)
    alive = variances[variances > 0]
    lowest = min(alive.min(), min(epsilons)) / 10
    axis = np.geomspace(lowest, 10 * alive.max(), 300)
    ax.loglog(axis, 1 / np.sqrt(axis), linestyle=":", **{**TRUTH, "linewidth": 1.2}, label="no epsilon")
    for colour, epsilon in zip(_colours(epsilons), epsilons, strict=True):
        ax.loglog(axis, 1 / np.sqrt(axis + epsilon), color=colour, linewidth=2, label=f"epsilon {epsilon:g}")
    dead = len(variances) - len(alive)
    label = f"{len(alive)} features" + (f"\n({dead} more: variance 0)" if dead else "")
    ax.plot(alive, np.full(len(alive), 0.02), "|", transform=ax.get_xaxis_transform(), color="black", label=label)
    _label(ax, "variance of the feature (its units squared)", "gain: output per unit of input")
    return _legend(ax, loc="upper right")


def output_deviation(records: Mapping[float, LayerRecord], ax: Axes | None = None) -> Axes:
    """The deviation that a layer's normalized features have in training, by epsilon: median, and middle half.

    It is sigma / sqrt(sigma^2 + epsilon): 1 where epsilon is small against the variance.
    """
    ax = _axes(ax)
    ax.axhline(1, **{**TRUTH, "linewidth": 1.2}, linestyle=":", label="1: epsilon does nothing")
    for colour, (epsilon, record) in zip(_colours(records), records.items(), strict=True):
        variance = _columns(record.batch_variance)
        _band(ax, record.step, np.sqrt(variance / (variance + epsilon)), colour, f"epsilon {epsilon:g}")
    ax.set_ylim(0, 1.08)
    _label(ax, "training step", "standard deviation of the\nnormalized features")
    return _legend(ax, loc="lower right")


# --- updating the averages ----------------------------------------------------------------------


def lag_in_deviations(record: LayerRecord, data: DataRecord) -> np.ndarray:
    """How far the average mean is from the data's, in standard deviations: (T, features), at the steps of `data`."""
    at = np.searchsorted(record.step, data.step)
    distance = np.abs(_columns(record.mean)[at] - _columns(data.mean))
    deviation = np.sqrt(_columns(data.variance))
    return np.divide(distance, deviation, out=np.zeros_like(distance), where=deviation > 0)


def lag(
    records: Mapping[str, LayerRecord],
    data: Mapping[str, DataRecord],
    updates: Iterable[int] = (),
    ax: Axes | None = None,
) -> Axes:
    """How far each layer's averages are from the data, over the training: the mean over the features.

    `updates`: the steps after which `update_averages` made the averages exact, so that nothing is behind.
    """
    ax, updates = _axes(ax), list(updates)
    for colour, (scope, record) in zip(_colours(records), records.items(), strict=True):
        step, behind = data[scope].step, lag_in_deviations(record, data[scope]).mean(axis=1)
        at = np.searchsorted(step, updates, side="right")
        step, behind = np.insert(step, at, updates), np.insert(behind, at, 0.0)
        ax.plot(step, behind, color=colour, linewidth=1.8, label=short_name(scope))
    for number, update in enumerate(updates):
        label = None if number else "update_averages"
        ax.axvline(update, color="black", linestyle="--", linewidth=1.2, label=label)
    ax.set_ylim(bottom=0)
    _label(ax, "training step", "averages behind the data\n(standard deviations)")
    return _legend(ax)


def lag_map(records: Mapping[str, LayerRecord], data: Mapping[str, DataRecord], ax: Axes | None = None) -> Axes:
    """The lag of the averages of a whole run, a row for each layer, as a heat map over the steps."""
    ax = _axes(ax, height=0.6 + 0.45 * len(records))
    steps = next(iter(data.values())).step
    rows = [lag_in_deviations(record, data[scope]).mean(axis=1) for scope, record in records.items()]
    mesh = ax.pcolormesh(steps, np.arange(len(rows)), rows, cmap="cividis", vmin=0, shading="nearest")
    ax.set_yticks(np.arange(len(rows)), [short_name(scope) for scope in records])
    ax.invert_yaxis()
    ax.set_xlabel("training step")
    ax.figure.colorbar(mesh, ax=ax, label="behind the data\n(standard deviations)")
    return ax


def before_and_after(
    values: Mapping[str, tuple[float, float]], quantity: str, truth: float | None = None, ax: Axes | None = None
) -> Axes:
    """A slope for each of `values`, from before `update_averages` to after it.

    `truth`: what it is with batch statistics, a dotted line.
    """
    ax = _axes(ax)
    for colour, (name, pair) in zip(_colours(values), values.items(), strict=True):
        ax.plot((0, 1), pair, marker="o", color=colour, linewidth=2, label=name)
    if truth is not None:
        ax.axhline(truth, linestyle=":", **{**TRUTH, "linewidth": 1.2}, label="with batch statistics")
    ax.set_xticks((0, 1), ("averages as trained", "after update_averages"))
    ax.set_xlim(-0.15, 1.15)
    _label(ax, "", quantity)
    return _legend(ax)


# --- the demo's three figures -----------------------------------------------------------------


def save_demo_figures(story: Story, folder: Path) -> list[Path]:
    """Draw what momentum, epsilon and updating the averages do to the statistics in training; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"momentum": momentum_figure, "epsilon": epsilon_figure, "update_averages": update_figure}
    paths = []
    for name, draw in figures.items():
        paths.append(folder / f"{name}.png")
        draw(story).savefig(paths[-1], dpi=150)
    return paths


def momentum_figure(story: Story) -> Figure:
    """Momentum: the averages of one feature, above what each step keeps."""
    layer = story.layer
    record, data = story.run.statistics[layer], story.run.data[layer]
    momenta = (0.5, 0.9, 0.99)
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    moving_averages(record, momenta, data, ax=above)
    memory(momenta, len(record.step), ax=below)
    above.set_xlabel("")
    above.set_title(f"Momentum is a memory: a long one is smooth, and late ({short_name(layer)})")
    return figure


def epsilon_figure(story: Story) -> Figure:
    """Epsilon: the gain against the variance, and the deviation of the normalized features in training."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    gain(story.pixel_variances, tuple(story.by_epsilon), ax=left)
    output_deviation(story.by_epsilon, ax=right)
    left.set_title("Epsilon limits the gain\n(variances: pixels of the digits)")
    right.set_title(f"…and the output's deviation\n({short_name(story.layer)}, during training)")
    return figure


def update_figure(story: Story) -> Figure:
    """Updating the averages: how far they are behind, before and after."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    ax = figure.subplots()
    lag(story.run.statistics.layers, story.run.data.layers, story.updates, ax=ax)
    ax.set_title("Averages fall behind the weights; update_averages brings them up to date")
    return figure


# --- anything over seeds ------------------------------------------------------------------------


def over_seeds(
    x: Sequence[float],
    curves: Mapping[str, Any],
    labels: tuple[str, str],
    ax: Axes | None = None,
    **style: Mapping[str, Any],
) -> Axes:
    """Measurements (seeds, len(x)) by name: their mean as a line, from the least to the largest as a band.

    `labels`: of the two axes.  `style`: line options for a curve, by its name with "_" for " ".
    """
    ax = _axes(ax)
    for colour, (name, values) in zip(_colours(curves), curves.items(), strict=True):
        values = np.asarray(values, dtype=float)
        options = {"color": colour, "linewidth": 2, "marker": "o", **style.get(name.replace(" ", "_"), {})}
        ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=options["color"], alpha=0.15, linewidth=0)
        ax.plot(x, values.mean(axis=0), label=name, **options)
    _label(ax, *labels)
    return _legend(ax)


# --- implementations ------------------------------------------------------------------------------


def comparison(found: Comparison, ax: Axes | None = None) -> Axes:
    """How long each implementation takes, over the first one's time: median and middle half, by operation and input."""
    labels = [f"{r.operation}  {'x'.join(map(str, r.shape))}  {r.dtype}" for r in found.rows]
    places = {label: -place for place, label in enumerate(dict.fromkeys(labels))}
    ax = _axes(ax, height=1 + 0.22 * len(places))
    ax.axvline(1, **{**TRUTH, "linewidth": 1.2}, linestyle=":", label=found.names[0])
    for colour, name in zip(_colours(found.names[1:]), found.names[1:], strict=True):
        rows = [(places[label], r) for label, r in zip(labels, found.rows, strict=True) if r.implementation == name]
        ratio = np.array([r.ratio for _, r in rows])
        spread = np.abs([[r.ratio_low, r.ratio_high] for _, r in rows] - ratio[:, None]).T
        ax.errorbar(ratio, [place for place, _ in rows], xerr=spread, fmt="o", color=colour, markersize=4, label=name)
    ax.set_xscale("log")
    ax.set_yticks(list(places.values()), list(places), fontsize="x-small")
    _label(ax, f"time over {found.names[0]}'s", "")
    return _legend(ax, loc="best")


# --- shared -------------------------------------------------------------------------------------


def panels(rows: int = 1, columns: int = 1, height: float = PAGE[1], **options: Any) -> Any:
    """The Axes of a new figure of the page's width, as many as are asked for: one, or an array."""
    from matplotlib import pyplot as plt

    axes = plt.subplots(rows, columns, figsize=(PAGE[0], height), layout="constrained", **options)[1]
    for ax in np.ravel(axes):
        _axes(ax)
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
    figure = np.ravel(axes)[0].figure
    animation = FuncAnimation(figure, draw, moments, init_func=list, interval=1000 * seconds / frames)
    figure.canvas.draw()  # where it is never played, it must have been drawn once, or it complains
    return animation


def short_name(scope: str) -> str:
    """A layer's scope as a reader wants it: without the slash and the last part."""
    return scope.removesuffix("/batch_normalization").strip("/") or "/"


def _axes(ax: Axes | None, height: float = PAGE[1]) -> Axes:
    """`ax`, or those of a new figure of the page's width."""
    if ax is None:
        return panels(height=height)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#E5E5E5", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def _colours(curves: Iterable[Any]) -> list[str]:
    """A colour for each curve; ValueError for more than can be told apart."""
    number = len(list(curves))
    if number > len(COLOURS):
        raise ValueError(f"a figure holds up to {len(COLOURS)} curves that can be told apart, got {number}")
    return list(COLOURS[:number])


def _columns(values: np.ndarray) -> np.ndarray:
    """(T, F) with the features in one axis."""
    return values.reshape(len(values), -1)


def _band(ax: Axes, step: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    ax.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(step, middle, color=colour, linewidth=2, label=label)


def _label(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def _legend(ax: Axes, **options: Any) -> Axes:
    ax.legend(frameon=False, fontsize="small", **options)
    return ax
