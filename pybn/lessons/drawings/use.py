"""The figures of the lessons in which something goes wrong: rates, batches, other data, padding, libraries, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pybn.lessons.trials import RateDrop
from pybn.study.drawing import COLOURS, growing, label_axes, legend, named_ticks, panels
from pybn.study.plots import before_and_after, lag, over_seeds
from pybn.study.record import DataRecorder, StatisticsRecorder

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

# For a curve that lies on another one: both are seen.
DASHED: dict[str, Any] = {"linestyle": "--", "marker": "s", "markersize": 11, "markerfacecolor": "none"}


# --- a rate that drops, and batches that are small --------------------------------------------------


def jumps_and_lag_growing(run: RateDrop) -> FuncAnimation:
    """The test loss with averages and with batch statistics, above how far the averages are behind; both grow."""
    loss, behind = panels(2, height=6, sharex=True, height_ratios=(3, 2))
    for colour, momentum in zip(COLOURS, sorted(run.averages, reverse=True), strict=False):
        width = 2.5 if colour == COLOURS[0] else 1.5
        name = f"averages, momentum {momentum}"
        loss.plot(run.step, run.averages[momentum], color=colour, linewidth=width, label=name)
        behind.plot(run.step, run.lag[momentum], color=colour, linewidth=width)
    loss.plot(run.step, run.batch, color="black", linewidth=1.5, label="batch statistics")
    loss.set(ylabel="cross entropy on the\ntest digits (nats)", ylim=(0, None))
    behind.set(ylabel="averages behind the data\n(standard deviations)", xlabel="training step", ylim=(0, None))
    for ax in (loss, behind):
        ax.axvline(run.drop, color="black", linestyle="--", linewidth=1)
    loss.annotate(f"learning rate {run.learning_rate[0]:g}", (run.drop - 5, 0.6), ha="right")
    loss.annotate(f"learning rate {run.learning_rate[-1]:g}", (run.drop + 5, 0.6))
    legend(loss, loc="upper right")
    return growing((loss, behind))


def what_is_left_of_a_feature(values: np.ndarray, outputs: Mapping[int, np.ndarray], name: str) -> None:
    """Each value (n,) before and after normalization, a panel for each size of the batches."""
    for ax, (size, normalized) in zip(panels(1, len(outputs), height=3.2, sharey=True), outputs.items(), strict=True):
        ax.plot(values, normalized, ".", markersize=3, color=COLOURS[0])
        ax.set(title=f"batches of {size}", xlabel=name)
        ax.label_outer()
        ax.set_ylabel("normalized" if size == next(iter(outputs)) else "")


def variance_by_batch_size(sizes: np.ndarray, ratio: np.ndarray) -> None:
    """The averaged variance over the data's (seeds, sizes), and the (n - 1) / n of theory."""
    labels = ("batch size n", "averaged variance /\nvariance of the data")
    ax = over_seeds(sizes.tolist(), {"measured (median feature)": ratio}, labels)
    ax.plot(sizes, (sizes - 1) / sizes, "k:", label="(n - 1) / n")
    ax.set(xscale="log", ylim=(0.4, 1.05))
    named_ticks(ax, sizes.tolist())
    legend(ax)


def accuracy_by_batch_size(sizes: np.ndarray, accuracy: Mapping[str, object], name: str = "batch size n") -> None:
    """The accuracy (seeds, sizes) of each way to evaluate, or of each kind of training."""
    ax = over_seeds(sizes.tolist(), accuracy, (name, "accuracy on the test digits"))
    ax.set(xscale="log")
    named_ticks(ax, sizes.tolist())


# --- other data -------------------------------------------------------------------------------------


def accuracy_by_passes(accuracy: Mapping[str, np.ndarray]) -> None:
    """The accuracy on all digits (seeds, passes) while only some are looked at."""
    passes = range(np.shape(next(iter(accuracy.values())))[1])
    over_seeds(passes, accuracy, ("passes over zeros and ones, in training mode", "accuracy on all ten digits"))


def accuracy_by_new_images(counts: Sequence[int], updated: np.ndarray, old: float, not_updated: float) -> None:
    """The accuracy (seeds, counts) after an update on so many new images; before it; and on the old images."""
    labels = ("new images, without labels", "accuracy on the new images")
    ax = over_seeds(counts, {"updated averages": updated}, labels)
    ax.axhline(old, color="black", linestyle=":", label="on the old images")
    ax.axhline(not_updated, color=COLOURS[1], linestyle="--", label="on the new ones, old averages")
    ax.set(xscale="log", ylim=(0, 1.02))
    named_ticks(ax, counts)
    legend(ax, loc="center right")


def padding_against_the_formula(
    fraction: np.ndarray, found: Mapping[str, Sequence[np.ndarray]], formula: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Mean and variance against the fraction of padding: found without and with the mask, and by the formula.

    `found` : for each quantity what was found without the mask and with it; `formula`: fractions and values
    """
    for ax, (quantity, (without, masked)) in zip(panels(1, 2, height=3.6), found.items(), strict=True):
        ax.plot(*formula[quantity], color=COLOURS[0], alpha=0.5, label="the formula")
        ax.plot(fraction, without, "o", color=COLOURS[0], label="found without mask")
        ax.plot(fraction, masked, "s", color=COLOURS[1], label="found with mask")
        ax.set(xlabel="fraction of padding", ylabel=f"{quantity} of the pixel (ink)", ylim=(0, None))
    legend(ax, loc="lower left")


def accuracy_by_length(names: Sequence[object], accuracy: Mapping[str, object]) -> None:
    """The accuracy (seeds, lengths) on numbers that are padded more and more."""
    labels = ("length of the batch (steps; numbers have 1 to 8)", "accuracy on test numbers")
    places = range(len(names))
    ax = over_seeds(places, accuracy, labels, mask_in_the_sum_alone=DASHED)
    named_ticks(ax, places, names)
    ax.set_ylim(0, 1)


def batch_means_by_class(means: np.ndarray, spread: float, feature: int) -> None:
    """The means of batches of one class (classes, batches), and the band in which those of shuffled ones lie."""
    ax = panels(height=3.8)
    for k, of_class in enumerate(means):
        label = None if k else "batches of one class"
        ax.plot(np.full(len(of_class), k), of_class, "o", color=COLOURS[0], label=label, zorder=3)
    band = "shuffled batches (mean ± 2 deviations)"
    ax.axhspan(-2 * spread, 2 * spread, color="#B0B0B0", alpha=0.5, label=band)
    ax.set_xticks(range(len(means)))
    label_axes(ax, "digit that the batch holds", "mean of 32 images\n(standard deviations of the data)")
    ax.set_title(f"Feature {feature} of the first layer: the mean of a batch", loc="left")
    legend(ax)


def accuracy_by_classes_in_a_batch(groups: Sequence[int], accuracy: Mapping[str, object]) -> None:
    """The accuracy (seeds, groups) of networks that learned from batches of so many classes."""
    places = range(len(groups))
    labels = ("classes in a batch of 32", "accuracy on test digits")
    ax = over_seeds(places, accuracy, labels, None, **{"the_same,_after_update_averages": DASHED})
    named_ticks(ax, places, groups)
    ax.set_ylim(0, 1)


# --- other libraries, and several workers -----------------------------------------------------------


def one_stream_by_five_rules(stream: Mapping[str, np.ndarray], truth: Sequence[float], size: int) -> None:
    """Averaged mean and variance (2, batches) of one pixel, by each library's rule; those alike are one curve."""
    curves: dict[str, tuple[str, dict[str, Any]]] = {
        "Keras, Flax (0.99 of the old)": ("keras", {"color": COLOURS[0], "lw": 2.5}),
        "ONNX (0.9 of the old)": ("onnx", {"color": COLOURS[1], "lw": 1.5}),
        "PyTorch (0.1 of the new)": ("pytorch", {"color": COLOURS[4], "lw": 1.5, "ls": (0, (2, 2))}),
        "pybn, GoMLX (0.99 of the old, batches counted)": ("pybn", {"color": COLOURS[2], "lw": 2.5}),
    }
    axes = panels(1, 2, height=4.4)
    for which, (ax, quantity) in enumerate(zip(axes, ("mean", "variance"), strict=True)):
        ax.axhline(truth[which], color="black", ls=":", label="all the data")
        for label, (name, style) in curves.items():
            values = stream[name][which]
            ax.plot(np.arange(1, len(values) + 1), values, label=label, **style)
        label_axes(ax, f"batches of {size} images", f"averaged {quantity} of the pixel (ink{'²' * which})")
    axes[1].set_yscale("log")
    axes[1].set_yticks((0.05, 0.1, 0.2, 0.5, 1), ("0.05", "0.1", "0.2", "0.5", "1"))
    axes[1].minorticks_off()
    shown = axes[0].get_legend_handles_labels()
    axes[1].figure.legend(*shown, loc="outside lower center", ncols=2, frameon=False)


def same_momentum_in_two_libraries(pytorch: np.ndarray, keras: np.ndarray, truth: float, size: int) -> None:
    """The averaged mean of one pixel (batches,), with momentum=0.9 in both."""
    ax = panels(height=3.2)
    ax.axhline(truth, color="black", ls=":", label="all the data")
    ax.plot(pytorch, color=COLOURS[0], lw=1.2, label="PyTorch, momentum=0.9")
    ax.plot(keras, color=COLOURS[1], lw=2.5, label="Keras, momentum=0.9")
    ax.set(xlabel=f"batches of {size} images", ylabel="averaged mean of the pixel (ink)", ylim=(0, 1))
    legend(ax)


def variance_by_workers(workers: np.ndarray, ratios: Mapping[str, object], predicted: np.ndarray) -> None:
    """The averaged variance over the data's (seeds, workers), and what the size of the parts predicts."""
    ax = over_seeds(
        workers.tolist(), ratios, ("workers (64 examples in all)", "averaged variance /\nvariance of the data")
    )
    ax.plot(workers, predicted, "k:", label="predicted: (n - 1) / n")
    ax.set(xscale="log")
    named_ticks(ax, workers.tolist())
    legend(ax)


def variance_by_part(shares: Sequence[float], ratios: Mapping[str, object]) -> None:
    """The averaged variance over the data's (seeds, workers), whose parts are uneven."""
    rank = range(len(shares))
    parts = ", ".join(f"{100 * share:g}" for share in shares)
    ax = over_seeds(rank, ratios, (f"worker ({parts} % of each batch)", "averaged variance /\nvariance of the data"))
    named_ticks(ax, rank)


# --- ill networks, and folded ones ------------------------------------------------------------------


def a_training_whose_rate_rises(statistics: StatisticsRecorder, data: DataRecorder, step: int) -> None:
    """How far each layer's averages are behind, and the step at which the rate goes up."""
    lag(statistics.layers, data.layers).axvline(step, color="black", linestyle="--", linewidth=1)


def ill_and_cured(accuracy: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """The accuracy of each patient before and after the cure, the mean over its seeds."""
    slopes = {name.replace("_", " "): tuple(np.mean(both, axis=0)) for name, both in accuracy.items()}
    before_and_after(slopes, "accuracy on test digits").set_xticks((0, 1), ("ill", "cured"))


def errors_apart_and_folded(reports: Mapping[str, Any]) -> None:
    """The 64 features' largest errors, sorted: of batch norm and dense layer apart, and of one folded layer."""
    ax = panels(height=3.4)
    for colour, (name, found) in zip(COLOURS, reports.items(), strict=False):
        ax.semilogy(np.sort(found.apart), color=colour, ls=":", label=f"{name}, apart")
        ax.semilogy(np.sort(found.folded), color=colour, lw=2, label=f"{name}, folded")
    ax.set(xlabel="the 64 features, each kind sorted by its error", ylabel="largest error (units)")
    legend(ax)


def a_run_that_goes_on(points: Sequence[tuple[int, float, float, float]], updated: float, steps: int) -> None:
    """Losses and rate at points (step, training loss, test loss, rate) of a run in two halves; after the update."""
    step, train, test, rate = zip(*points, strict=True)
    above, below = panels(2, height=5, sharex=True, height_ratios=(3, 1))
    above.plot(step, train, "o-", color=COLOURS[0], label="training batch")
    above.plot(step, test, "o-", color=COLOURS[1], label="test, with averages")
    above.plot(steps, updated, "*", ms=14, color=COLOURS[1], label="test, after the update")
    above.axvline(steps / 2, color="black", ls="--", lw=1)
    above.set(ylabel="cross entropy (nats)")
    above.legend(frameon=False)
    below.plot(step, rate, "o-", color=COLOURS[2])
    below.set(xlabel="training step", ylabel="learning rate", ylim=(0, None))
