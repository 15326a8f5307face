"""The training output: Algorithm 1, lines 1 to 4, held against every formula that could give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pybn.study.coursework.findings import Finding, failed, finding, first_difference
from pybn.study.coursework.formulas import (
    EXACT,
    SINGLE,
    Formula,
    Quantities,
    agree,
    common,
    explanations,
    line,
)
from pybn.study.coursework.naming import departures, formula_findings
from pybn.study.coursework.probes import LARGE_EPSILON, SMALL_EPSILON, Probe
from pybn.study.coursework.student import Step, Student

PROBES = (LARGE_EPSILON, SMALL_EPSILON)


@dataclass
class Judged:
    """What one part came to: the findings, and the formula that explains the output where one does."""

    findings: list[Finding] = field(default_factory=list)
    formula: tuple[Formula, ...] = ()
    steps: tuple[Step, ...] = ()
    error: float = 0.0  # largest relative error against the right output

    @property
    def right(self) -> bool:
        """Whether the values are right (shapes and remarks aside)."""
        return not any(found.kind in ("failure", "mistake", "epsilon") for found in self.findings)


def judge_training(student: Student) -> Judged:
    """Two batches with two settings: is the output right, and if not, what formula gives it?"""
    steps = tuple(train(student, probe) for probe in PROBES)
    broken = next((step.failure for step in steps if step.failure), None)
    if broken:
        return Judged([failed("training", "forward", broken)], steps=steps)
    outs = [step.out for step in steps]
    quantities = [training_quantities(probe, step) for probe, step in zip(PROBES, steps, strict=True)]
    judged = judge_output("training", PROBES, outs, [probe.out for probe in PROBES], quantities)
    judged.steps = steps
    return judged


def train(student: Student, probe: Probe) -> Step:
    """One training step on a probe, from its averages."""
    return student.forward(
        probe.x,
        probe.scale,
        probe.offset,
        epsilon=probe.epsilon,
        momentum=probe.momentum,
        averages=probe.averages,
    )


def training_quantities(probe: Probe, step: Step) -> Quantities:
    """What a student may have taken for mean and variance in training."""
    x, (old_mean, old_variance) = probe.x, probe.averages
    return Quantities(
        gains=gains(probe),
        spreads={
            "variance": probe.variance,
            "uncentred": (x**2).mean(0),
            "mean": probe.mean,
            "averages": old_variance,
            "updated averages": _or(step.variance, old_variance),
            "root of deviation": np.sqrt(probe.variance),
            "absolute deviation": np.abs(x - probe.mean).mean(0),
            "about the average": ((x - old_mean) ** 2).mean(0),
        },
        centres={
            "mean": probe.mean,
            "none": np.zeros_like(probe.mean),
            "averages": old_mean,
            "updated averages": _or(step.mean, old_mean),
            "global": np.full_like(probe.mean, x.mean()),
            "median": np.median(x, axis=0),
            "added": -probe.mean,
            "divided": probe.mean / probe.deviation,
        },
        offset=probe.offset,
        mean=probe.mean,
    )


def gains(probe: Probe) -> dict[str, np.ndarray]:
    """What may stand where the scale belongs; the right one first."""
    scale, offset = probe.scale, probe.offset
    return {
        "scale": scale,
        "none": np.ones_like(scale),
        "offset": offset,
        "negative": -scale,
        "absolute": np.abs(scale),
        "squared": scale**2,
        "inverse": 1 / scale,
    }


def judge_output(
    part: str,
    probes: Sequence[Probe],
    outs: Sequence[np.ndarray],
    rights: Sequence[np.ndarray],
    quantities: Sequence[Quantities],
) -> Judged:
    """Right, or right in single precision, or the simplest formula, or the first difference."""
    error = max(_error(out, right) for out, right in zip(outs, rights, strict=True))
    if all(agree(out, right, SINGLE) for out, right in zip(outs, rights, strict=True)):
        return Judged(error=error)
    for tolerance in (EXACT, SINGLE):
        found = [line(probe.x, out, tolerance) for probe, out in zip(probes, outs, strict=True)]
        formula = simplest(found, quantities, probes, tolerance)
        if formula:
            return Judged(formula_findings(part, formula, probes, found, tolerance), formula, error=error)
    rows = _row_findings(part, probes, outs)
    return Judged(rows or [unexplained(part, probes[0], outs[0], rights[0])], error=error)


def simplest(found, quantities, probes, tolerance) -> tuple[Formula, ...]:
    """Of the formulas that hold on every probe the one with the fewest departures."""
    if any(each is None for each in found):
        return ()
    held = common([explanations(each, made, tolerance) for each, made in zip(found, quantities, strict=True)])
    return min(held, key=lambda formula: departures(formula, probes, tolerance), default=())


def unexplained(part: str, probe: Probe, out: np.ndarray, right: np.ndarray) -> Finding:
    """No formula fits: the first quantity that differs, in the order of the algorithm."""
    if np.isnan(out).any():
        feature = int(np.argmax(np.isnan(out).any(0)))
        evidence = f"feature {feature} with variance {probe.variance[feature]:.4g} comes out as NaN"
        return finding("not-a-number", part, evidence)
    names = {"training": "out", "test": "out in test mode"}
    means = first_difference("the mean of each feature: ", out.mean(0), right.mean(0))
    spreads = first_difference("the standard deviation of each feature: ", out.std(0), right.std(0))
    evidence = "; ".join(filter(None, [first_difference(names.get(part, "out"), out, right), means, spreads]))
    return finding("unexplained-output", part, evidence)


def _row_findings(part: str, probes: Sequence[Probe], outs: Sequence[np.ndarray]) -> list[Finding]:
    """Statistics of each row instead of each feature (layer normalization's axis)."""
    for probe, out in zip(probes, outs, strict=True):
        normalized = ((out - probe.offset) / probe.scale).T
        found = line(probe.x.T, normalized, SINGLE)
        if found is None or not np.allclose(found.height, 0, atol=1e-6):
            return []
    return [finding("row-statistics", part, first_difference("out", outs[0], probes[0].out))]


def _error(out: np.ndarray, right: np.ndarray) -> float:
    return float(np.max(np.abs(out - right)) / np.max(np.abs(right)))


def _or(value: np.ndarray | None, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if value is None else value
