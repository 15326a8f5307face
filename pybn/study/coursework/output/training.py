"""The training output: Algorithm 1, lines 1 to 4, held against every formula that could give it.

Two batches with two settings are asked for.  An output that agrees with the book's within the rounding of
float32 is right; of the formulas that give another one on both batches the one with the fewest departures
is told (`fit` finds them, `names` says them).  With gamma 2, beta 1, eps 12 and x = 1, 5 the book's output
is 0, 2; an output 1, 3 rises by as much and is 1 higher: the slope is right, and beta was added twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pybn.study.coursework.output.candidates import TRAINING, Places
from pybn.study.coursework.output.fit import (
    EXACT,
    SINGLE,
    Formula,
    Line,
    agree,
    common,
    explanations,
    line,
)
from pybn.study.coursework.output.names import departures, formula_findings
from pybn.study.coursework.output.oddities import oddities, rows_left_out, same
from pybn.study.coursework.report.findings import DEPARTURES, Finding, failed, finding, first_difference
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import LARGE_EPSILON, SMALL_EPSILON, Probe
from pybn.study.coursework.student.student import Step, Student

UNEXPLAINED = known("unexplained-output")
PROBES = (LARGE_EPSILON, SMALL_EPSILON)

# Formulas with more departures than this are chance: two odd numbers (3 each), or six slips.
TOO_MANY = 5.5
# Outputs that hold no statistics of the batch: what is "right for" them is nothing learned.
_TRIVIAL = ("output-constant", "input-returned")


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
        return not any(found.kind in DEPARTURES and found.kind != "shape" for found in self.findings)

    @property
    def trivial(self) -> bool:
        """Whether the output is a stub's: constant, or x itself."""
        return any(found.code in _TRIVIAL for found in self.findings)


def judge_training(student: Student) -> Judged:
    """Two batches with two settings: is the output right, and if not, what formula gives it?"""
    steps = tuple(train(student, probe) for probe in PROBES)
    broken = next((step.failure for step in steps if step.failure), None)
    if broken:
        return Judged([failed("training", student.name("forward"), broken)], steps=steps)
    judged = judge_output("training", PROBES, steps, [probe.out for probe in PROBES], TRAINING)
    if [each.code for each in judged.findings] == [UNEXPLAINED]:
        judged.findings = _by_more_calls(student, judged) or judged.findings
    return judged


def _by_more_calls(student: Student, judged: Judged) -> list[Finding]:
    """What an unexplained output is when it is asked for once more, and of the rows in another order."""
    probe, out, evidence = PROBES[0], judged.steps[0].out, judged.findings[0].evidence
    again, turned = train(student, probe).out, train(student, probe.turned()).out
    if not same(out, again):
        return [finding("state-kept", "training", "out differs at the second call")]
    if turned is None or same(out, turned[::-1]):
        return []
    left = [rows_left_out(each, step.out) for each, step in zip(PROBES, judged.steps, strict=True)]
    if all(left):
        return [finding("rows-left-out", "training", evidence, name="the statistics", rows=left[0])]
    return [finding("row-order", "training", evidence, name="the result")]


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


def judge_output(
    part: str, probes: Sequence[Probe], steps: tuple[Step, ...], rights: Sequence[np.ndarray], places: Places
) -> Judged:
    """Right, or right in single precision, or the simplest formula, or the first difference."""
    outs = [step.out for step in steps]
    error = max(_error(out, right) for out, right in zip(outs, rights, strict=True))
    judged = Judged(steps=steps, error=error)
    if all(agree(out, right, SINGLE) for out, right in zip(outs, rights, strict=True)):
        return judged
    if all(agree(out, np.broadcast_to(out[:1], out.shape), EXACT) for out in outs):
        judged.findings = [finding("output-constant", part, first_difference("out", outs[0], rights[0]))]
        return judged
    for tolerance in (EXACT, SINGLE):
        found = [line(probe.x, out, tolerance) for probe, out in zip(probes, outs, strict=True)]
        judged.formula = simplest(found, probes, steps, places, tolerance)
        if judged.formula:
            right = [line(probe.x, out, tolerance) for probe, out in zip(probes, rights, strict=True)]
            judged.findings = formula_findings(part, judged.formula, probes, found, right, tolerance)
            judged.findings = judged.findings or _not_finite(part, probes, outs, rights)
            return judged
    unknown = unexplained(part, probes[0], outs[0], rights[0])
    odd = oddities(part, outs, rights, probes, unknown.evidence) if unknown.code == UNEXPLAINED else []
    judged.findings = _row_findings(part, probes, outs) or odd or [unknown]
    return judged


def simplest(found: Sequence[Line | None], probes, steps, places: Places, tolerance: float) -> tuple[Formula, ...]:
    """Of the formulas that hold on every probe the one with the fewest departures."""
    lines = [each for each in found if each is not None]
    if len(lines) < len(found):
        return ()
    asked = zip(lines, probes, steps, strict=True)
    held = common([explanations(each, probe, step, places, tolerance) for each, probe, step in asked])
    asked_for = [(departures(formula, probes, tolerance), formula) for formula in held]
    fewest, formula = min(asked_for, key=lambda each: each[0], default=(0.0, ()))
    return formula if fewest <= TOO_MANY else ()


def _not_finite(part: str, probes: Sequence[Probe], outs: Sequence[np.ndarray], rights: Sequence[np.ndarray]):
    """Features that are no numbers have no line, and the formula of the others may be the book's."""
    each = zip(probes, outs, rights, strict=True)
    return [unexplained(part, *one) for one in each if not np.isfinite(one[1]).all()][:1]


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
    return finding(UNEXPLAINED, part, evidence)


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
