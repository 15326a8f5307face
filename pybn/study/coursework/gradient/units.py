"""What a backward is measured in where the forward is not the book's: its own x-hat, its own denominators.

With the root left out a forward divides by 16 where the book divides by 4; a backward that divides by 16
too, in a formula that is the book's, has made no slip of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product

import numpy as np

from pybn.study.coursework.gradient.fit import Units
from pybn.study.coursework.output import candidates
from pybn.study.coursework.output.candidates import GAINS, SHIFTS
from pybn.study.coursework.output.fit import Formula
from pybn.study.coursework.output.training import PROBES, Judged
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Step


def own_units(formula: Formula, step: Step, probe: Probe) -> Units:
    """x-hat and scale / denominator as the student's forward has them."""
    centred = probe.x - probe.mean
    slope = (centred * step.out).sum(0) / (centred**2).sum(0)
    denominator = GAINS[formula.gain.row].of(probe, step) / slope
    parts = candidates.Line(probe.scale, probe.offset, slope, probe.epsilon)
    shift = probe.offset if formula.shift.row < 0 else SHIFTS[formula.shift.row].of(parts)
    return Units((step.out - shift) / (slope * denominator), probe.scale / denominator)


AVERAGED = known("averaged-variance-in-backward")


def _with_epsilon(epsilon: float, probe: Probe) -> np.ndarray:
    return np.sqrt(probe.variance + epsilon)


def _averaged(counts_the_new: bool, sample: bool, probe: Probe) -> np.ndarray:
    return np.sqrt(probe.averages_after(counts_the_new=counts_the_new, sample=sample)[1] + probe.epsilon)


def deviations(training: Judged | None) -> Mapping[str, list[np.ndarray]]:
    """Denominators that may stand in the backward for sqrt(variance + eps), by code, on each probe."""
    makers: dict[str, Callable[[Probe], np.ndarray]] = {
        known("epsilon-missing"): lambda p: np.sqrt(p.variance),
        known("epsilon-outside"): lambda p: np.sqrt(p.variance) + p.epsilon,
        known("epsilon-twice"): lambda p: np.sqrt(p.variance + 2 * p.epsilon),
        known("epsilon-squared"): lambda p: np.sqrt(p.variance + p.epsilon**2),
    }
    for value in (1e-5, 1e-8, 1e-3, 1e-7, 1e-6, 1e-4, 1e-10, 1e-12):
        makers[f"epsilon-fixed {value:g}"] = partial(_with_epsilon, value)
    makers[known("sample-variance-in-backward")] = lambda p: np.sqrt(p.variance * p.count / (p.count - 1) + p.epsilon)
    makers[AVERAGED] = lambda p: np.sqrt(p.averages[1] + p.epsilon)
    for at, (counts_the_new, sample) in enumerate(product((False, True), repeat=2)):  # the averages after this batch
        makers[f"{AVERAGED} {at}"] = partial(_averaged, counts_the_new, sample)
    found = {name: [make(probe) for probe in PROBES] for name, make in makers.items()}
    if training is not None and training.formula:
        own = [own_units(*each) for each in zip(training.formula, training.steps, PROBES, strict=True)]
        found[known("follows-forward")] = [
            np.abs(probe.scale / unit.gain) for unit, probe in zip(own, PROBES, strict=True)
        ]
    return found
