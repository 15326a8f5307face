"""The rules of the doctor: each looks for one thing that goes wrong with batch normalization.

A rule takes what was measured and yields findings: a kind, a layer, and a sentence with its number and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pybn.study.examine.checkup import Checkup, LayerCheckup

# Below 8 elements a batch's variance is on average less than 7/8 of the data's, and its noise more than half of it.
SMALL_BATCH = 8
# Healthy models on the digits, of ten kinds and six seeds, were off by up to 0.25 deviations and a factor of 1.15;
# after ten steps at twenty times the learning rate, by 0.42 deviations or more.
LAG = 0.35
FACTOR = 2.0
# Their evaluation was worse than their training by up to 30 % of the loss.
LOSS, LOSS_FACTOR = 0.03, 1.5
# Epsilon above the variance of a few weak features is what it is for; of a quarter of them it is not.
FEATURES_UNDER_EPSILON = 0.25


@dataclass(frozen=True)
class Symptom:
    """One thing that is wrong: its kind, the scope of the layer ("" for the data), and a sentence."""

    kind: str
    layer: str
    sentence: str


def not_finite(checkup: Checkup) -> Iterator[Symptom]:
    """NaN or infinity in the data or on the way to a layer: the first layer that it reaches tells."""
    for scope, layer in checkup.layers.items():
        if layer.not_finite:
            batch, features = layer.not_finite[0]
            from_data = batch in checkup.not_finite_inputs
            yield Symptom(
                "non_finite_data" if from_data else "non_finite_activations",
                scope,
                f"NaN or infinity reaches {scope} in {len(layer.not_finite)} of {checkup.batches} batches, first in "
                f"batch {batch}, feature {features[0]}; "
                + (
                    "it is in the data: clean or leave out those examples, or mask them."
                    if from_data
                    else "the data are finite there, so the weights or averages below are not: go back to a checkpoint "
                    "and lower the learning rate."
                ),
            )
            return


def averages_not_finite(checkup: Checkup) -> Iterator[Symptom]:
    """Averages that cannot be statistics of anything."""
    for scope, layer in checkup.layers.items():
        mean, variance, weight = layer.averages
        wrong = int(np.sum(~np.isfinite(mean) | ~np.isfinite(variance) | (variance < 0)))
        if not 0 <= weight < math.inf:
            yield Symptom(
                "non_finite_averages",
                scope,
                f"the averages of {scope} are said to have seen {weight:g} batches; update_averages counts them anew.",
            )
        if wrong:
            yield Symptom(
                "non_finite_averages",
                scope,
                f"{wrong} of the {mean.size} averages of {scope} are NaN, infinite or a negative variance; "
                "update_averages measures them anew.",
            )


def loss_not_finite(checkup: Checkup) -> Iterator[Symptom]:
    """A loss of NaN or infinity that no layer's input and no average explains."""
    explained = any(layer.not_finite for layer in checkup.layers.values()) or not _all_numbers(checkup)
    if checkup.losses is None or explained:
        return
    wrong = [name for name, loss in checkup.losses._asdict().items() if not math.isfinite(loss)]
    if wrong:
        held = ", ".join(checkup.not_finite_variables[:4])
        yield Symptom(
            "non_finite_loss",
            "",
            f"the loss is {getattr(checkup.losses, wrong[0])} although all that reaches the layers is finite; "
            + (
                f"{held} hold NaN or infinity: go back to a checkpoint and lower the learning rate."
                if held
                else "look for a logarithm or a square root of 0 behind the last layer, and in the labels."
            ),
        )


def never_updated(checkup: Checkup) -> Iterator[Symptom]:
    """Averages that are still the start values."""
    for scope, layer in checkup.layers.items():
        if layer.averages.avg_weight == 0:
            remedy = (
                "train with Trainer.train_step, which moves them, or call update_averages."
                if layer.moves
                else "it is frozen: load the averages it is to be frozen on, or unfreeze it and call update_averages."
            )
            yield Symptom(
                "never_updated",
                scope,
                f"the averages of {scope} have seen 0 batches: evaluation normalizes with the start values, mean 0 and "
                f"variance 1{_against_data(layer)}; {remedy}",
            )


def sorted_batches(checkup: Checkup) -> Iterator[Symptom]:
    """Batches that are not random samples: sorted by class, by source, by time."""
    whole = [layer for layer in checkup.layers.values() if layer.spread > _largest_chance_spread(len(layer.counts))]
    if whole:
        worst = max(whole, key=lambda layer: layer.spread)
        classes = ""
        if checkup.classes is not None:
            classes = f" (a batch holds {checkup.classes[0]:.1f} of the {checkup.classes[1]} classes)"
        yield Symptom(
            "sorted_batches",
            worst.scope,
            f"the batch means in {worst.scope} differ {worst.spread:.1f} times as much as those of random batches "
            f"would{classes}: each batch is normalized by what its examples have in common; shuffle the data before "
            "batching, and train again: updating the averages cannot repair it.",
        )


def small_batches(checkup: Checkup) -> Iterator[Symptom]:
    """Too few elements per feature for a variance."""
    for scope, layer in checkup.layers.items():
        n = layer.count
        if layer.moves and 0 < n < SMALL_BATCH:
            yield Symptom(
                "small_batches",
                scope,
                f"{scope} has n = {n} elements per feature in a batch: their variance is on average {(n - 1) / n:.2f} "
                "of the data's, and the network was trained under it; use larger batches, or layer_norm.",
            )
        elif layer.moves and 1 in layer.counts:
            yield Symptom(
                "single_example",
                scope,
                f"{layer.counts.count(1)} of {checkup.batches} batches give {scope} n = 1 element per feature: "
                "variance 0, and the output is the offset whatever the input; use drop_last=True.",
            )


def dead_features(checkup: Checkup) -> Iterator[Symptom]:
    """Features that do not vary, so that normalization makes noise of them or nothing."""
    for scope, layer in _measured(checkup):
        if layer.dead.size:
            some = ", ".join(map(str, layer.dead[:8])) + (", ..." if layer.dead.size > 8 else "")
            yield Symptom(
                "dead_features",
                scope,
                f"{layer.dead.size} of {layer.data_moments.variance.size} features of {scope} never vary on these data "
                f"({some}): their output is the offset; look for dead units or constant inputs below, and keep epsilon "
                f"large ({layer.epsilon:g} now), since the first value that differs is amplified by "
                f"{_gain_of_dead(layer.epsilon)}.",
            )


def large_epsilon(checkup: Checkup) -> Iterator[Symptom]:
    """Epsilon above the variance: the features are not normalized."""
    for scope, layer in _measured(checkup):
        variance = np.delete(layer.data_moments.variance.ravel(), layer.dead)
        under = int(np.sum(variance < layer.epsilon))
        if variance.size and under > FEATURES_UNDER_EPSILON * variance.size:
            deviation = float(np.median(np.sqrt(variance / (variance + layer.epsilon))))
            yield Symptom(
                "large_epsilon",
                scope,
                f"epsilon {layer.epsilon:g} is larger than the variance of {under} of the {variance.size} features of "
                f"{scope} that vary: normalized, their deviation is {deviation:.2g} (median) in place of 1; "
                f"use an epsilon well below {np.median(variance):.1g}, or scale the input.",
            )


def frozen_elsewhere(checkup: Checkup) -> Iterator[Symptom]:
    """A frozen layer whose averages are those of other data."""
    for scope, layer in _measured(checkup):
        if not layer.moves and _compared(layer) and _far_off(layer):
            yield Symptom(
                "frozen_on_other_data",
                scope,
                f"{scope} is frozen on averages that are not these data's{_against_data(layer)}: unfreeze it and call "
                "update_averages on the new data, then freeze it again.",
            )


def lagging(checkup: Checkup) -> Iterator[Symptom]:
    """Averages that are not the data's, under the weights as they are."""
    losses = checkup.losses
    costly = losses is not None and losses.lag > LOSS and losses.averages > LOSS_FACTOR * losses.training
    # What infinity costs says nothing of the averages that are numbers.
    if losses is None or not math.isfinite(losses.averages) or not _all_numbers(checkup):
        costly = False
    moving = [(scope, layer) for scope, layer in _measured(checkup) if layer.moves and _compared(layer)]
    worst = max((layer.mean_lag for _, layer in moving), default=math.nan)
    for scope, layer in moving:
        # Where it costs, those that are at least half as far off as the worst are named.
        if _far_off(layer) or (costly and layer.mean_lag >= worst / 2):
            cost = f"; the averages raise the loss from {losses.exact:.3f} to {losses.averages:.3f}" if losses else ""
            yield Symptom(
                "lagging",
                scope,
                f"the averages of {scope} are not these data's{_against_data(layer)}{cost}: the weights moved on, or "
                "the data changed; call update_averages, and lower the learning rate or the momentum before the end of "
                "training.",
            )


RULES: tuple[Callable[[Checkup], Iterator[Symptom]], ...] = (
    not_finite,
    averages_not_finite,
    loss_not_finite,
    never_updated,
    sorted_batches,
    small_batches,
    dead_features,
    large_epsilon,
    frozen_elsewhere,
    lagging,
)


# --- what the rules share -----------------------------------------------------------------------


def _measured(checkup: Checkup) -> Iterator[tuple[str, LayerCheckup]]:
    return ((scope, layer) for scope, layer in checkup.layers.items() if layer.data is not None)


def _all_numbers(checkup: Checkup) -> bool:
    """Whether every layer's averages are numbers."""
    return all(layer.averages_are_numbers for layer in checkup.layers.values())


def _compared(layer: LayerCheckup) -> bool:
    """Whether averages were made, and are numbers: how far NaN is off, nobody can say."""
    return layer.averages_are_numbers and layer.averages.avg_weight > 0


def _far_off(layer: LayerCheckup) -> bool:
    ratio = layer.variance_ratio
    return layer.mean_lag > LAG or not 1 / FACTOR <= ratio <= FACTOR


def _largest_chance_spread(batches: int) -> float:
    """Six standard deviations above 1, for a variance that is estimated from so many batches."""
    return 1 + 6 * math.sqrt(2 / (batches - 1)) if batches > 2 else math.inf


def _against_data(layer: LayerCheckup) -> str:
    if layer.data is None:
        return ""
    return (
        f" (means off by {layer.mean_lag:.2g} standard deviations, root mean square; "
        f"variances {layer.variance_ratio:.2g} times the data's)"
    )


def _gain_of_dead(epsilon: float) -> str:
    return f"{1 / math.sqrt(epsilon):.0f}" if epsilon else "any amount"
