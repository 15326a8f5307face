"""The demo's three figures: what momentum, epsilon and updating the averages do to the statistics in training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pybn.lessons.experiments import Story
from pybn.study.drawing import figure, short_name
from pybn.study.plots import gain, lag, memory, moving_averages, output_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    page = figure(5.6)
    above, below = page.subplots(2, sharex=True, height_ratios=(3, 1))
    moving_averages(record, momenta, data, ax=above)
    memory(momenta, len(record.step), ax=below)
    above.set_xlabel("")
    above.set_title(f"Momentum is a memory: a long one is smooth, and late ({short_name(layer)})")
    return page


def epsilon_figure(story: Story) -> Figure:
    """Epsilon: the gain against the variance, and the deviation of the normalized features in training."""
    page = figure(4.2)
    left, right = page.subplots(1, 2)
    gain(story.pixel_variances, tuple(story.by_epsilon), ax=left)
    output_deviation(story.by_epsilon, ax=right)
    left.set_title("Epsilon limits the gain\n(variances: pixels of the digits)")
    right.set_title(f"…and the output's deviation\n({short_name(story.layer)}, during training)")
    return page


def update_figure(story: Story) -> Figure:
    """Updating the averages: how far they are behind, before and after."""
    page = figure(4.2)
    ax = page.subplots()
    lag(story.run.statistics.layers, story.run.data.layers, story.updates, ax=ax)
    ax.set_title("Averages fall behind the weights; update_averages brings them up to date")
    return page
