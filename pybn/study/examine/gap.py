"""The verdict on a model without a symptom: what its averages cost all the same, and why that is called nothing."""

from __future__ import annotations

from pybn.study.examine.checkup import Checkup, Losses
from pybn.study.examine.symptoms import FACTOR, LAG, LOSS, LOSS_FACTOR

# The averages' cost is told from a hundredth of the loss on, and from this much of a metric: four of the demo's 1348
# digits to train on, two of its 449 to test on.
OF_THE_LOSS = 0.01
OF_A_METRIC = 0.003


def explained(checkup: Checkup) -> list[str]:
    """One line where the averages cost nothing that is seen; else what they cost, and how much is called nothing."""
    losses = checkup.losses
    lags = {name: values.lag for name, values in checkup.metrics.items() if abs(values.lag) >= OF_A_METRIC}
    if losses is None or not (lags or losses.lag > OF_THE_LOSS * abs(losses.averages)):
        return ["Nothing found: the averages describe these data, and the batches are as they should be."]
    also = "".join(f", of {name} {lag:+.3f}" for name, lag in lags.items())
    return [
        f"Nothing found that is an illness. Of evaluation's loss, {losses.averages:.3g}, the moving averages make "
        f"{losses.lag:+.3g}{_share(losses)}{also}:",
        "they are a little behind weights that still move. update_averages on the training data takes it away.",
        f"So little is called nothing: no mean off by more than {LAG:g} deviations, no variance by more than a factor",
        f"of {FACTOR:g}, no cost above {LOSS:g} that brings evaluation's loss above {LOSS_FACTOR:g} times training's.",
        "Healthy networks reach 0.25 deviations, and a loss 30 % above training's.",
    ]


def _share(losses: Losses) -> str:
    """The averages' share of the gap to training, where each step of it is for the worse."""
    gap = losses.averages - losses.training
    if gap > 0 and min(losses.rest, losses.batch_noise, losses.lag) >= 0:
        return f" ({losses.lag / gap:.0%} of the gap to training)"
    return ""
