"""The figures: one function each, which draws on `ax` (default: a new figure's) and returns it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pybn.batchnorm import effective_momentum
from pybn.study.drawing import (
    COLOURS,
    NOISE,
    PAGE,
    TRUTH,
    axes_of,
    band,
    colours,
    columns,
    growing,
    label_axes,
    legend,
    panels,
    percent,
    short_name,
)
from pybn.study.record import DataRecord, DataRecorder, LayerRecord, StatisticsRecorder, replay
from pybn.study.records import data_of, layer_of, layers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "NOISE",
    "PAGE",
    "TRUTH",
    "before_and_after",
    "gain",
    "growing",
    "lag",
    "lag_in_deviations",
    "lag_map",
    "memory",
    "most_moved_feature",
    "moving_averages",
    "output_deviation",
    "over_seeds",
    "panels",
    "ratio_bars",
    "short_name",
]

# --- momentum -----------------------------------------------------------------------------------


def moving_averages(
    record: LayerRecord | StatisticsRecorder,
    momenta: Sequence[float] = (0.5, 0.9, 0.99),
    data: DataRecord | DataRecorder | None = None,
    feature: int | None = None,
    statistic: str = "mean",
    ax: Axes | None = None,
) -> Axes:
    """One feature's moving averages, for several momenta, against its batches and against the data.

    Parameters
    ----------
    record : of the layer, or a recorder of one alone; its averages are replayed with each of `momenta`
    data : the data's own statistics, the black line
    feature : index; default: the one whose batch means moved furthest
    statistic : "mean" or "variance"
    """
    ax, record = axes_of(ax), layer_of(record)
    feature = most_moved_feature(record) if feature is None else feature
    batches = columns(getattr(record, f"batch_{statistic}"))[:, feature]
    ax.plot(record.step, batches, ".", markersize=3.5, label=f"{statistic} of each batch", **NOISE)
    for colour, momentum in zip(colours(momenta), momenta, strict=True):
        averages = columns(replay(record, momentum)[statistic == "variance"])[:, feature]
        ax.plot(record.step, averages, color=colour, linewidth=1.6, zorder=3, label=f"average, momentum {momentum:g}")
    if data is not None:
        data = next(iter(data_of(data, {"": record}).values()))
        truth = columns(getattr(data, statistic))[:, feature]
        ax.plot(data.step, truth, label=f"{statistic} of the data", **TRUTH)
    label_axes(ax, "training step", f"{statistic} of feature {feature}\n(units of the layer's input)")
    return legend(ax)


def memory(momenta: Sequence[float], steps: int, ax: Axes | None = None) -> Axes:
    """How much of the old average each step keeps: it grows as 1 - 1/w until it reaches the momentum."""
    ax = axes_of(ax, height=2.2)
    weights = range(1, steps + 1)
    for colour, momentum in zip(colours(momenta), momenta, strict=True):
        kept = [effective_momentum(weight, momentum) for weight in weights]
        ax.plot(weights, kept, color=colour, linewidth=1.6, label=f"momentum {momentum:g}")
    percent(ax.yaxis)
    label_axes(ax, "training step", "kept of the\nold average")
    return legend(ax, loc="lower right")


def most_moved_feature(record: LayerRecord) -> int:
    """The feature whose batch mean went furthest from first steps to last, in standard deviations."""
    few = max(1, len(record.step) // 10)
    mean, variance = columns(record.batch_mean), columns(record.batch_variance)
    distance = np.abs(mean[-few:].mean(axis=0) - mean[:few].mean(axis=0))
    return int(np.argmax(distance / np.sqrt(variance.mean(axis=0) + np.finfo(float).tiny)))


# --- epsilon ------------------------------------------------------------------------------------


def gain(variances: Any, epsilons: Sequence[float] = (1e-1, 1e-3, 1e-5), ax: Axes | None = None) -> Axes:
    """The factor 1 / sqrt(variance + epsilon) for each epsilon, with the data's variances on the axis.

    `variances`: one for each feature; those that are 0 have no place on the axis and are counted.
    """
    ax = axes_of(ax)
    variances = np.ravel(variances)
    wrong = np.flatnonzero(~((variances >= 0) & (variances < np.inf)))
    if wrong.size or not variances.any():
        what = f"{variances[wrong[0]]} of feature {wrong[0]}" if wrong.size else "none above 0"
        raise ValueError(f"variances must be finite, not negative, and one of them above 0; got {what}")
    alive = variances[variances > 0]
    lowest = min(alive.min(), min(epsilons)) / 10
    axis = np.geomspace(lowest, 10 * alive.max(), 300)
    ax.loglog(axis, 1 / np.sqrt(axis), linestyle=":", **{**TRUTH, "linewidth": 1.2}, label="no epsilon")
    for colour, epsilon in zip(colours(epsilons), epsilons, strict=True):
        ax.loglog(axis, 1 / np.sqrt(axis + epsilon), color=colour, linewidth=2, label=f"epsilon {epsilon:g}")
    dead = len(variances) - len(alive)
    label = f"{len(alive)} features" + (f"\n({dead} more: variance 0)" if dead else "")
    ax.plot(alive, np.full(len(alive), 0.02), "|", transform=ax.get_xaxis_transform(), color="black", label=label)
    label_axes(ax, "variance of the feature (its units squared)", "gain: output per unit of input")
    return legend(ax, loc="upper right")


def output_deviation(records: Mapping[float, LayerRecord | StatisticsRecorder], ax: Axes | None = None) -> Axes:
    """The deviation that a layer's normalized features have in training, by epsilon: median, and middle half.

    It is sigma / sqrt(sigma^2 + epsilon): 1 where epsilon is small against the variance.
    """
    ax = axes_of(ax)
    ax.axhline(1, **{**TRUTH, "linewidth": 1.2}, linestyle=":", label="1: epsilon does nothing")
    for colour, (epsilon, record) in zip(colours(records), records.items(), strict=True):
        record = layer_of(record)
        variance = columns(record.batch_variance)
        band(ax, record.step, np.sqrt(variance / (variance + epsilon)), colour, f"epsilon {epsilon:g}")
    ax.set_ylim(0, 1.08)
    label_axes(ax, "training step", "standard deviation of the\nnormalized features")
    return legend(ax, loc="lower right")


# --- updating the averages ----------------------------------------------------------------------


def lag_in_deviations(record: LayerRecord, data: DataRecord) -> np.ndarray:
    """How far the average mean is from the data's, in standard deviations: (T, features), at the steps of `data`.

    0 for a feature that does not vary; NaN where a statistic is.
    """
    at = np.searchsorted(record.step, data.step)
    distance = np.abs(columns(record.mean)[at] - columns(data.mean))
    deviation = np.sqrt(columns(data.variance))
    return np.divide(distance, deviation, out=np.zeros_like(distance), where=~(deviation == 0))


def lag(
    records: StatisticsRecorder | Mapping[str, LayerRecord] | LayerRecord,
    data: DataRecorder | Mapping[str, DataRecord] | DataRecord | None = None,
    updates: Iterable[int] = (),
    ax: Axes | None = None,
) -> Axes:
    """How far each layer's averages are from the data, over the training: the mean over the features.

    Parameters
    ----------
    records : the StatisticsRecorder, its layers, or one layer
    data : the DataRecorder, its layers, or one layer; left out, the batches around each step stand for the data
    updates : the steps after which `update_averages` made the averages exact, so that nothing is behind

    Raises TypeError for other records, ValueError where one is empty or lacks a layer.
    """
    behind_what = "batches" if data is None else "data"
    records = layers_of(records)
    data = data_of(data, records)
    ax, updates = axes_of(ax), list(updates)
    for colour, (scope, record) in zip(colours(records), records.items(), strict=True):
        step, behind = data[scope].step, lag_in_deviations(record, data[scope]).mean(axis=1)
        at = np.searchsorted(step, updates, side="right")
        step, behind = np.insert(step, at, updates), np.insert(behind, at, 0.0)
        ax.plot(step, behind, color=colour, linewidth=1.8, label=short_name(scope))
    for number, update in enumerate(updates):
        label = None if number else "update_averages"
        ax.axvline(update, color="black", linestyle="--", linewidth=1.2, label=label)
    ax.set_ylim(bottom=0)
    label_axes(ax, "training step", f"averages behind the {behind_what}\n(standard deviations)")
    return legend(ax)


def lag_map(
    records: StatisticsRecorder | Mapping[str, LayerRecord] | LayerRecord,
    data: DataRecorder | Mapping[str, DataRecord] | DataRecord | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The lag of the averages of a whole run, a row for each layer, as a heat map over the steps; see `lag`."""
    behind_what = "batches" if data is None else "data"
    records = layers_of(records)
    data = data_of(data, records)
    ax = axes_of(ax, height=1.2 + 0.45 * len(records))
    steps = next(iter(data.values())).step
    rows = [lag_in_deviations(record, data[scope]).mean(axis=1) for scope, record in records.items()]
    # Edges, not centres: a single row or step has no neighbour to take its height or width from.
    edges = np.concatenate([[steps[0] - 0.5], (steps[1:] + steps[:-1]) / 2, [steps[-1] + 0.5]])
    mesh = ax.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, rows, cmap="cividis", vmin=0)
    ax.set_yticks(np.arange(len(rows)), [short_name(scope) for scope in records])
    ax.invert_yaxis()
    ax.set_xlabel("training step")
    bar = ax.figure.colorbar(mesh, ax=ax)
    # Above the bar and not along it: a map of one layer is lower than the words are long.
    bar.ax.set_title(f"behind the {behind_what}\n(deviations)", fontsize="small", loc="right")
    return ax


def before_and_after(
    values: Mapping[str, tuple[float, float]], quantity: str, truth: float | None = None, ax: Axes | None = None
) -> Axes:
    """A slope for each of `values`, from before `update_averages` to after it.

    `truth`: what it is with batch statistics, a dotted line.
    """
    ax = axes_of(ax)
    for colour, (name, pair) in zip(colours(values), values.items(), strict=True):
        ax.plot((0, 1), pair, marker="o", color=colour, linewidth=2, label=name)
    if truth is not None:
        ax.axhline(truth, linestyle=":", **{**TRUTH, "linewidth": 1.2}, label="with batch statistics")
    ax.set_xticks((0, 1), ("averages as trained", "after update_averages"))
    ax.set_xlim(-0.15, 1.15)
    label_axes(ax, "", quantity)
    return legend(ax)


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
    ax = axes_of(ax)
    for colour, (name, values) in zip(colours(curves), curves.items(), strict=True):
        values = np.asarray(values, dtype=float)
        options = {"color": colour, "linewidth": 2, "marker": "o", **style.get(name.replace(" ", "_"), {})}
        ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=options["color"], alpha=0.15, linewidth=0)
        ax.plot(x, values.mean(axis=0), label=name, **options)
    label_axes(ax, *labels)
    return legend(ax)


def ratio_bars(ratios: Mapping[str, float], label: str, ax: Axes | None = None) -> Axes:
    """A bar for each name, longest where the ratio is; on a logarithmic axis that begins at 1, with the numbers."""
    ax = axes_of(ax, height=0.8 + 0.36 * len(ratios))
    names = list(ratios)[::-1]
    bars = ax.barh(names, [ratios[name] for name in names], color=COLOURS[1])
    ax.bar_label(
        bars, fmt=lambda ratio: f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2g}", padding=3, fontsize="small"
    )
    ax.set(xscale="log", xlim=(min(1, *ratios.values()), 1.6 * max(ratios.values())))
    label_axes(ax, label, "")
    return ax
