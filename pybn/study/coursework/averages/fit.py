"""What is stored: the rule of the moving averages, fitted as new = keep * old + take * statistic.

keep and take are read off the numbers, so a momentum taken the other way round, used twice, or not at
all are one question and not three candidates.  With momentum 0.75, old averages 10, 20 and batch means
3, 7 the new ones 8.25, 16.75 are 0.75 * old + 0.25 * mean; 4.75, 10.25 have the two shares in each
other's place.  Which rules are conventions is decided in `judge`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pybn.study.coursework.averages.candidates import (
    FACTORS,
    FIXED,
    MEAN_FACTORS,
    PLAIN,
    RIGHT,
    SENSES,
    SWAPPED,
    TABLES,
    UNKNOWN,
    Factor,
    Sense,
    Statistic,
)
from pybn.study.coursework.output.fit import SINGLE, fit
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import COURSE_EPSILON, LARGE_EPSILON, SMALL_EPSILON, Probe
from pybn.study.coursework.student.student import Step, Student

# Old values that may decay: the right one, the other average, the other one just updated, none.
OLDS = ("own", "other", "other, updated", "none")
EPSILON_STORED = known("epsilon-in-variance")


@dataclass(frozen=True)
class Rule:
    """One average's rule: new = keep * old + take * factor * statistic (+ take * eps, where `epsilon`)."""

    old: str
    statistic: Statistic
    sense: Sense
    factor: Factor = PLAIN
    epsilon: bool = False
    keep: float = 0.0
    take: float = 0.0

    @property
    def sample(self) -> bool:
        """Whether it is made of the sample variance."""
        return self.factor.sample or self.statistic.sample

    @property
    def of_the_variance(self) -> bool:
        """Whether it is made of the centred variance of each feature."""
        return self.statistic.kept is not None or not self.statistic.code

    @property
    def kept(self) -> Callable[[np.ndarray, float], np.ndarray] | None:
        """What stands in running_var for a variance, where that is not the variance."""
        kept = self.statistic.kept or (None if self.statistic.code else lambda v, e: v)
        if kept is None or not self.epsilon:
            return self.statistic.kept
        return lambda v, e: kept(v, e) + e

    @property
    def words(self) -> str:
        """What is averaged."""
        return f"({self.statistic.words} + eps)" if self.epsilon else self.statistic.words


@dataclass(frozen=True)
class Stored:
    """The rules of both averages as found (None: no rule explains them), and the start values."""

    mean: Rule | None
    variance: Rule | None
    start_variance: float | None = None  # what the averaged variance starts from where none is given
    debiased: bool = False  # the first batches are averaged plainly, whatever the start
    cumulative: bool = False  # and so are all, whatever the momentum
    first_failure: str = ""  # what a first step from no averages at all fails with


def stored_rule(probes: Sequence[Probe], steps: Sequence[Step]) -> Stored:
    """The rules that explain what each step from given averages has stored."""
    means = [step.mean for step in steps]
    variances = [step.variance for step in steps]
    return Stored(_explain("mean", means, probes, steps), _explain("variance", variances, probes, steps))


def fresh_rule(student: Student, stored: Stored) -> Stored:
    """Two steps from no averages at all: the start of the variance, and whether the start is debiased."""
    first, second = _fresh_steps(student, 0.7)
    if first.failure or first.variance is None or first.mean is None:
        return replace(stored, first_failure=first.failure.message if first.failure else "")
    start = _start(first, LARGE_EPSILON, stored.variance)
    if second.failure or second.mean is None:
        return replace(stored, start_variance=start)
    debiased = _halves(first, second)
    cumulative = debiased and _halves(*_fresh_steps(student, 0.2))  # min(momentum, 1 - 1/2) is 0.2
    return replace(stored, start_variance=None if debiased else start, debiased=debiased, cumulative=cumulative)


def _halves(first: Step, second: Step) -> bool:
    """Whether the first mean is the batch's own, and the second half of each."""
    if first.mean is None or second.mean is None or second.failure:
        return False
    keep = fit([first.mean, COURSE_EPSILON.mean], second.mean, SINGLE)
    first_is_batch = np.allclose(first.mean, LARGE_EPSILON.mean, rtol=SINGLE)
    return bool(first_is_batch and keep is not None and np.allclose(keep, [0.5, 0.5], atol=1e-3))


def _fresh_steps(student: Student, momentum: float) -> tuple[Step, Step]:
    """Two batches through one bn_param that starts without averages."""
    first = student.forward(*_inputs(LARGE_EPSILON), epsilon=LARGE_EPSILON.epsilon, momentum=momentum)
    if first.failure or first.mean is None or first.variance is None:
        return first, first
    second = student.again(*_inputs(COURSE_EPSILON), first.state)
    return first, second


def _inputs(probe: Probe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return probe.x, probe.scale, probe.offset


def _start(step: Step, probe: Probe, rule: Rule | None) -> float | None:
    """What stands where an old average would: V = take * statistic + keep * start, one number for all features."""
    if rule is None or rule.old != "own" or abs(rule.keep) < 1e-6:
        return None
    found = fit([rule.statistic.of(probe), np.ones_like(probe.mean)], step.variance, SINGLE)
    return None if found is None else float(found[1] / rule.keep)


def _explain(
    name: str, new: Sequence[np.ndarray | None], probes: Sequence[Probe], steps: Sequence[Step]
) -> Rule | None:
    """The simplest rule that holds on every probe; None where something is missing or nothing fits."""
    if any(each is None or not np.isfinite(each).all() for each in new):
        return None
    tried = (_rule(name, old, statistic, new, probes, steps) for old in OLDS for statistic in TABLES[name])
    return min((rule for rule in tried if rule is not None), key=_departures, default=None)


def _rule(name: str, old: str, statistic: Statistic, new, probes: Sequence[Probe], steps) -> Rule | None:
    """keep, take and extra for one choice of old value and statistic, and their names."""
    for constant in (False, True):
        fits = []
        for each, probe, step in zip(new, probes, steps, strict=True):
            found = _coefficients(_old(name, old, probe, step), statistic.of(probe), each, constant)
            if found is None:  # as of most choices, and of those on the first probe: seven tenths of a check were fits
                break
            fits.append(found)
        else:
            return _named(MEAN_FACTORS if name == "mean" else FACTORS, old, statistic, fits, probes)
    return None


def _old(name: str, old: str, probe: Probe, step: Step) -> np.ndarray | None:
    """The numbers of what may have decayed."""
    own, other = probe.averages if name == "mean" else probe.averages[::-1]
    updated = step.variance if name == "mean" else step.mean
    return {"own": own, "other": other, "other, updated": updated, "none": None}[old]


def _coefficients(old: np.ndarray | None, statistic: np.ndarray, new, constant: bool):
    """keep, take and the constant beside them, or None where they do not explain the new average."""
    columns = ([] if old is None else [old]) + [statistic] + ([np.ones_like(new)] if constant else [])
    found = fit(columns, new, SINGLE)
    if found is None:
        return None
    keep = 0.0 if old is None else found[0]
    take = found[0 if old is None else 1]
    return keep, take, found[-1] if constant else 0.0


def _named(factors: Sequence[Factor], old: str, statistic: Statistic, fits, probes: Sequence[Probe]) -> Rule | None:
    epsilon = _epsilon(fits, probes)
    if epsilon is None:
        return None
    keep, take = float(fits[0][0]), float(fits[0][1])
    for factor in factors:
        scaled = [(keep, take / factor.of(probe.count)) for (keep, take, _), probe in zip(fits, probes, strict=True)]
        sense = _sense(scaled, probes)
        if sense is not None:
            return Rule(old, statistic, sense, factor, epsilon, keep, take)
    return Rule(old, statistic, UNKNOWN, PLAIN, epsilon, keep, take)


SHARES = 1e-3  # the probes' momenta are a tenth apart, so two rules are as well; float32 keeps a share to 1e-5


def _sense(pairs, probes: Sequence[Probe]) -> Sense | None:
    for sense in SENSES:
        wanted = [sense.of(probe.momentum) for probe in probes]
        if all(_same_shares(pair, each) for pair, each in zip(pairs, wanted, strict=True)):
            return sense
    same = _same_shares(pairs[0], pairs[1])
    return FIXED if same and _same_shares(sum(pairs[0]), 1) else None


def _same_shares(one: Any, two: Any) -> bool:
    """Whether parts of the old and of the new are the same within SHARES; NaN is the same as nothing."""
    return bool(np.all(np.abs(np.subtract(one, two)) <= SHARES))


def _epsilon(fits, probes: Sequence[Probe]) -> bool | None:
    """True where the constant is take * eps on every probe, False where it is 0, None for another one."""
    shares = [extra / take if take else extra for _, take, extra in fits]
    if all(abs(share) <= 1e-4 * probe.epsilon for share, probe in zip(shares, probes, strict=True)):
        return False
    if all(np.isclose(share, probe.epsilon, rtol=1e-2) for share, probe in zip(shares, probes, strict=True)):
        return True
    return None


def _departures(rule: Rule) -> tuple[float, ...]:
    return (
        (rule.sense is UNKNOWN)
        + (rule.sense not in (RIGHT, SWAPPED))
        + (rule.old != "own")
        + bool(rule.statistic.code)
        + (rule.factor is not PLAIN)
        + rule.epsilon,
        rule.sense is not RIGHT,
    )


PROBES = (LARGE_EPSILON, SMALL_EPSILON)
