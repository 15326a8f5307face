"""The figures of the lessons that explain: one feature, momentum, updates, epsilon, the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pybn.lessons.trials import RareFeature
from pybn.study.drawing import axes_of, colours, growing, label_axes, legend, named_ticks, panels
from pybn.study.plots import memory, moving_averages, over_seeds
from pybn.study.record import DataRecord, LayerRecord

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

# Sky blue and vermilion: told apart by the colour-blind, and in grey.
INK, MARK = "#56B4E9", "#D55E00"


def one_feature_after_each_line(
    x: np.ndarray, normalized: np.ndarray, y: np.ndarray, scale: float, offset: float
) -> None:
    """Four histograms on one scale: the batch (n,), and what each line of the algorithm makes of it."""
    mean, variance = x.mean(), x.var()
    steps = [
        (x, "the batch", rf"$\mu = {mean:.2f}$" "\n" rf"$\sigma^2 = {variance:.3f}$"),
        (x - mean, "after centring", r"$x_i - \mu$"),
        (normalized, "normalized", r"$\hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}}$"),
        (y, "scaled and offset", r"$y_i = \gamma\hat{x}_i + \beta$" "\n" rf"$\gamma = {scale},\ \beta = {offset}$"),
    ]
    rows = panels(4, height=6.4, sharex=True, sharey=True)
    for ax, (values, name, equation) in zip(rows, steps, strict=True):
        centre, deviation = values.mean(), values.std()
        ax.hist(values, bins=np.arange(-1.5625, 2.2, 0.125), color=INK)
        ax.axvline(centre, color=MARK, lw=2, label="mean")
        within = {"color": MARK, "alpha": 0.2, "zorder": 0, "label": "one standard deviation"}
        ax.axvspan(centre - deviation, centre + deviation, **within)
        ax.set_title(f"{name}: mean {abs(centre):.2f}, standard deviation {deviation:.2f}", loc="left", fontsize=11)
        ax.text(1.02, 0.5, equation, transform=ax.transAxes, va="center", fontsize=14)
        ax.set_ylabel("images")
    rows[0].figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    rows[-1].set_xlabel("value of the feature (in the first row: ink, 0 is blank and 1 is black)")


def one_image_among_different_neighbours(in_training: Sequence[float], in_inference: Sequence[float]) -> None:
    """What becomes of one value in each of many batches: dots for training, a line for inference."""
    ax = panels(height=3.6)
    ax.plot(in_training, "o", color=INK, label="training: the batch's mean and variance")
    ax.plot(in_inference, "-", color=MARK, lw=3, label="inference: the moving averages")
    label_axes(ax, "batch number (each time the same image and 63 neighbours)", "what becomes of it\n(deviations)")
    ax.set_title("One image's pixel in the company of different neighbours", loc="left", fontsize=11)
    ax.figure.legend(loc="outside lower center", ncols=2)


def averages_growing_over_the_training(layer: LayerRecord, momenta: Sequence[float], data: DataRecord) -> FuncAnimation:
    """One feature's averages over the steps, and below them what each step keeps: both grow from left to right."""
    above, below = panels(2, height=5.6, sharex=True, height_ratios=(3, 1))
    moving_averages(layer, momenta, data, ax=above).set_xlabel("")
    memory(momenta, len(layer.step), ax=below)
    return growing((above, below))


def error_by_memory(momenta: np.ndarray, error: Mapping[str, object], batch_size: int) -> None:
    """The averages' error (seeds, momenta) by name against their memory, and what noise alone would leave."""
    length = 1 / (1 - momenta)
    x = "memory of the average, 1 / (1 - momentum), in batches"
    ax = over_seeds(length.tolist(), error, (x, "error of the average\n(standard deviations)"))
    noise = np.sqrt((1 - momenta) / (1 + momenta) / batch_size)
    ax.loglog(length, noise, "k:", label="noise alone, in theory")
    ax.set_xticks(length, [f"{each:.0f}\n({momentum:g})" for each, momentum in zip(length, momenta, strict=True)])
    ax.set_yticks((0.01, 0.03, 0.1, 0.2), ("0.01", "0.03", "0.1", "0.2"))
    ax.minorticks_off()
    legend(ax)


def accuracy_by_starting_rule(momenta: Sequence[float], accuracy: Mapping[str, object], batch: float) -> None:
    """The accuracy (seeds, momenta) by how an average starts; `batch`: with batch statistics, a dotted line."""
    places = range(len(momenta))
    ax = over_seeds(places, accuracy, ("momentum", "accuracy on test digits\nafter one epoch"))
    ax.axhline(batch, color="black", linestyle=":", label="with batch statistics")
    named_ticks(ax, places, momenta)
    legend(ax)


def errors_of_three_updates(errors: Mapping[str, np.ndarray]) -> None:
    """What each way to update leaves between averages and inference (seeds, layers), layer by layer."""
    depth = np.shape(next(iter(errors.values())))[1]
    ax = over_seeds(range(depth), errors, ("layer, from the pixels up", "error against inference\n(deviations)"))
    ax.set_xticks(range(depth), [f"layer_{index}" for index in range(depth)])


def gain_of_a_rare_feature(rare: RareFeature, epsilons: Sequence[float]) -> None:
    """What evaluation would multiply the feature by, step by step, for each epsilon; grey where it varied."""
    ax = axes_of(None)
    for number, step in enumerate(rare.step[rare.seen]):
        ax.axvline(step, color="#B0B0B0", linewidth=1, label=None if number else "a batch with its ink")
    for colour, epsilon in zip(colours(epsilons), epsilons, strict=True):
        ax.semilogy(rare.step, rare.gain(epsilon), color=colour, linewidth=2, label=f"epsilon {epsilon:g}")
    label_axes(ax, "training step", "gain in evaluation\n(output per unit of ink)")
    ax.set_ylim(top=1e5)
    legend(ax, loc="upper right", ncols=2)


def a_test_image_as_two_epsilons_see_it(views: Mapping[str, np.ndarray]) -> None:
    """Images beside each other, each with the scale of its values."""
    for ax, (title, view) in zip(panels(1, len(views), height=3), views.items(), strict=True):
        shown = ax.imshow(view, cmap="cividis")
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.figure.colorbar(shown, ax=ax, shrink=0.8)


def loss_by_epsilon(epsilons: Sequence[float], loss: np.ndarray) -> None:
    """The test loss (seeds, epsilons): the mean, and the range over the seeds."""
    curve = {f"mean of {len(loss)} seeds, and their range": loss}
    ax = over_seeds(epsilons, curve, ("epsilon", "cross entropy on the\ntest digits (nats)"))
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()


def jacobians_with_their_row_sums(matrices: Mapping[str, np.ndarray]) -> None:
    """dy_i / dx_j as pictures, on one scale of colours; behind each row what it sums to."""
    axes = panels(1, len(matrices), height=4)
    largest = max(np.abs(matrix).max() for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.grid(visible=False)
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest)
        for row, total in enumerate(["sum", *(f"{abs(total):.2f}" for total in matrix.sum(axis=1))], start=-1):
            ax.text(7.7, row, total, va="center")
        ticks = {"yticks": range(len(matrix)), "xticks": range(len(matrix))}
        ax.set(title=title, xlabel="input $x_j$ (image)", ylabel="output $y_i$ (image)", **ticks)
    axes[0].figure.colorbar(image, ax=list(axes), label="$dy_i/dx_j$ (per unit of ink)", shrink=0.8)


def learning_with_and_without_the_statistics(whole: np.ndarray, constants: np.ndarray) -> None:
    """Accuracy and length of the biases after each epoch, (seeds, 2, epochs), for both gradients."""
    epochs = np.arange(1, whole.shape[2] + 1)
    axes = panels(1, 2, height=3.8)
    for which, quantity in enumerate(("accuracy on test digits", "length of the biases (units of x)")):
        curves = {"the whole gradient": whole[:, which], "statistics taken for constants": constants[:, which]}
        over_seeds(epochs.tolist(), curves, ("epoch", quantity), ax=axes[which]).set_xticks(epochs)
