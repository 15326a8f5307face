"""The examination of a trained model: its numbers, its symptoms, its words."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any

from pybn.framework.datasets import Dataset
from pybn.framework.train import Trainer
from pybn.study.examine.checkup import Checkup, LayerCheckup, check_up
from pybn.study.examine.gap import explained
from pybn.study.examine.symptoms import RULES, Symptom


@dataclass(frozen=True)
class Examination:
    """What `examine` found, and the numbers that it found it in."""

    findings: tuple[Symptom, ...]
    checkup: Checkup

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def text(self) -> str:
        """The report to print."""
        return "\n".join([*self._head(), "", *self._table(), "", *self._verdict()])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a script or a file."""
        losses = self.checkup.losses
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "batches": self.checkup.batches,
            "losses": None if losses is None else losses._asdict(),
            "metrics": {name: values._asdict() for name, values in self.checkup.metrics.items()},
            "gap": None if losses is None else {name: getattr(losses, name) for name in ("rest", "batch_noise", "lag")},
            "layers": {scope: _numbers(layer) for scope, layer in self.checkup.layers.items()},
        }

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li><b>{html.escape(each.kind)}</b>: {html.escape(each.sentence)}</li>" for each in self.findings
        )
        found = f"<ul>{items}</ul>" if items else f"<p>{html.escape(' '.join(self._verdict()))}</p>"
        return f"{found}<pre>{html.escape(chr(10).join([*self._head(), '', *self._table()]))}</pre>"

    def _head(self) -> list[str]:
        checkup, losses = self.checkup, self.checkup.losses
        lines = [f"{len(checkup.layers)} batch normalizations, looked at on {checkup.batches} batches"]
        if losses is None:
            return [*lines, "no batch was finite, so no loss could be taken"]
        shown = {"loss": losses, **checkup.metrics}
        steps = [
            ("", "training", "as in training"),
            ("+", "rest", "what else evaluation does differently (dropout and the like)"),
            ("+", "batch_noise", "statistics of all the data in place of each batch's"),
            ("+", "lag", "moving averages in place of the data's statistics"),
            ("", "averages", "in evaluation: the sum"),
        ]
        for sign, name, reason in steps:
            numbers = "".join(f"{getattr(values, name):{sign}10.4f}" for values in shown.values())
            lines.append(f"{numbers}  {reason}")
        return [lines[0], "".join(f"{name[:9]:>10s}" for name in shown), *lines[1:]]

    def _table(self) -> list[str]:
        lines = [f"{'layer':32s} {'batches seen':>12s} {'n':>7s} {'mean off by':>12s} {'variance':>9s}"]
        for scope, layer in self.checkup.layers.items():
            numbers = _numbers(layer)
            lines.append(
                f"{scope:32s} {layer.averages.avg_weight:12g} {layer.count:7d} "
                f"{_or_dash(numbers['mean_lag']):>12s} {_or_dash(numbers['variance_ratio']):>9s}"
            )
        return [*lines, "(mean: in standard deviations; variance: averaged / the data's, 1 is right)"]

    def _verdict(self) -> list[str]:
        if self.ok:
            return explained(self.checkup)
        return [f"[{finding.kind}] {finding.sentence}" for finding in self.findings]


def examine(trainer: Trainer, dataset: Dataset, *, max_batches: int = 100) -> Examination:
    """Look for what can be wrong with a trained model's batch normalizations.

    Parameters
    ----------
    trainer : of the model; nothing of it changes
    dataset : the data that it was trained on, in the batches that it was trained in
    max_batches : how many of them to look at

    Raises ValueError where the data set gives no batch, and what the model raises.
    """
    checkup = check_up(trainer, dataset, max_batches)
    return Examination(tuple(finding for rule in RULES for finding in rule(checkup)), checkup)


def _numbers(layer: LayerCheckup) -> dict[str, Any]:
    """One layer's row, as plain values; None where it could not be measured."""
    measured = layer.data is not None
    return {
        "batches_seen": layer.averages.avg_weight,
        "weight_on_start_values": float(layer.averages.avg_weight == 0),
        "moves": layer.moves,
        "momentum": layer.momentum,
        "epsilon": layer.epsilon,
        "n": layer.count,
        "mean_lag": layer.mean_lag if measured else None,
        "variance_ratio": layer.variance_ratio if measured else None,
        "batch_spread": layer.spread,
        "dead_features": layer.dead.tolist() if measured else None,
    }


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
