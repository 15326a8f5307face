"""What is stored: the rule of the moving averages, fitted as new = keep * old + take * statistic.

keep and take are read off the numbers, so a momentum taken the other way round, used twice, or not
at all are one question and not three candidates.  Which rules are conventions is decided in
`conventions`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pybn.study.coursework.formulas import EXACT, SINGLE, fit
from pybn.study.coursework.probes import COURSE_EPSILON, LARGE_EPSILON, SMALL_EPSILON, Probe
from pybn.study.coursework.student import Step, Student


@dataclass(frozen=True)
class Rule:
    """One average's rule: new = keep * old + take * factor * statistic (+ take * extra).

    sense names keep and take together ("right", "swapped", ...); factor is "" for 1, "sample" for
    n / (n - 1); extra is "" or "epsilon".
    """

    old: str
    statistic: str
    sense: str
    factor: str = ""
    extra: str = ""
    keep: float = 0.0
    take: float = 0.0

    @property
    def sample(self) -> bool:
        """Whether it is made of the sample variance."""
        return self.factor == "sample" or self.statistic.startswith("sample")

    @property
    def of_the_variance(self) -> bool:
        """Whether it is made of the centred variance of each feature."""
        return self.statistic == "variance" or ("deviation" in self.statistic and "global" not in self.statistic)


@dataclass(frozen=True)
class Stored:
    """The rules of both averages as found (None: no rule explains them), and the start values."""

    mean: Rule | None
    variance: Rule | None
    start_variance: float | None = None  # what the averaged variance starts from where none is given
    debiased: bool = False  # the first batches are averaged plainly, whatever the start
    first_failure: str = ""  # what a first step from no averages at all fails with


SENSES: Mapping[str, Callable[[float], tuple[float, float]]] = {
    "right": lambda m: (m, 1 - m),
    "swapped": lambda m: (1 - m, m),
    "never": lambda m: (1.0, 0.0),
    "overwritten": lambda m: (0.0, 1.0),
    "twice": lambda m: (m * m, 1 - m * m),
    "twice swapped": lambda m: ((1 - m) ** 2, 1 - (1 - m) ** 2),
    "added whole": lambda m: (m, 1.0),
    "old kept whole": lambda m: (1.0, 1 - m),
    "both kept": lambda m: (m, m),
    "both taken": lambda m: (1 - m, 1 - m),
    "old lost": lambda m: (0.0, 1 - m),
    "summed": lambda m: (1.0, 1.0),
    "kept alone": lambda m: (m, 0.0),
}

FACTORS: Mapping[str, Callable[[int], float]] = {
    "": lambda n: 1.0,
    "sample": lambda n: n / (n - 1),
    "sum": lambda n: float(n),
    "small": lambda n: (n - 1) / n,
    "divided": lambda n: 1 / n,
}


def stored_rule(probes: Sequence[Probe], steps: Sequence[Step]) -> Stored:
    """The rules that explain what each step from given averages has stored."""
    means = [step.mean for step in steps]
    variances = [step.variance for step in steps]
    return Stored(_explain("mean", means, probes, steps), _explain("variance", variances, probes, steps))


def fresh_rule(student: Student, stored: Stored) -> Stored:
    """Two steps from no averages at all: the start of the variance, and whether the start is debiased."""
    first, second = _fresh_steps(student)
    if first.failure or first.variance is None or first.mean is None:
        return replace(stored, first_failure=first.failure.message if first.failure else "")
    start = _start(first, LARGE_EPSILON, stored.variance)
    if second.failure or second.mean is None:
        return replace(stored, start_variance=start)
    keep = fit([first.mean, COURSE_EPSILON.mean], second.mean, SINGLE)
    first_is_batch = np.allclose(first.mean, LARGE_EPSILON.mean, rtol=SINGLE)
    debiased = first_is_batch and keep is not None and bool(np.allclose(keep, [0.5, 0.5], atol=1e-3))
    return replace(stored, start_variance=None if debiased else start, debiased=debiased)


def _fresh_steps(student: Student) -> tuple[Step, Step]:
    """Two batches through one bn_param that starts without averages."""
    first = student.forward(*_inputs(LARGE_EPSILON), epsilon=0.3, momentum=0.7)
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
    found = fit([_statistics("variance", probe)[rule.statistic], np.ones_like(probe.mean)], step.variance, SINGLE)
    return None if found is None else float(found[1] / rule.keep)


def _explain(
    name: str, new: Sequence[np.ndarray | None], probes: Sequence[Probe], steps: Sequence[Step]
) -> Rule | None:
    """The simplest rule that holds on every probe; None where something is missing or nothing fits."""
    if any(each is None or not np.isfinite(each).all() for each in new):
        return None
    statistics = [_statistics(name, probe) for probe in probes]
    found = [
        rule
        for old in ("own", "other", "other, updated", "none")
        for statistic in statistics[0]
        for rule in [_rule(name, old, statistic, statistics, new, probes, steps)]
        if rule is not None
    ]
    return min(found, key=_departures, default=None)


def _rule(name: str, old: str, statistic: str, statistics, new, probes: Sequence[Probe], steps) -> Rule | None:
    """keep, take and extra for one choice of old value and statistic, and their names."""
    for constant in (False, True):
        for tolerance in (EXACT, SINGLE):
            fits = [
                _coefficients(_old(name, old, probe, step), made[statistic], each, constant, tolerance)
                for made, each, probe, step in zip(statistics, new, probes, steps, strict=True)
            ]
            if all(each is not None for each in fits):
                return _named(old, statistic, fits, probes)
    return None


def _old(name: str, old: str, probe: Probe, step: Step) -> np.ndarray | None:
    """What may stand for the old average: the right one, the other one, the other one just updated, none."""
    own, other = probe.averages if name == "mean" else probe.averages[::-1]
    updated = step.variance if name == "mean" else step.mean
    return {"own": own, "other": other, "other, updated": updated, "none": None}[old]


def _coefficients(old: np.ndarray | None, statistic: np.ndarray, new, constant: bool, tolerance):
    """keep, take and the constant beside them, or None where they do not explain the new average."""
    columns = ([] if old is None else [old]) + [statistic] + ([np.ones_like(new)] if constant else [])
    found = fit(columns, new, tolerance)
    if found is None:
        return None
    keep = 0.0 if old is None else found[0]
    take = found[0 if old is None else 1]
    return keep, take, found[-1] if constant else 0.0


def _named(old: str, statistic: str, fits, probes: Sequence[Probe]) -> Rule | None:
    extra = _extra(fits, probes)
    if extra is None:
        return None
    keep, take = float(fits[0][0]), float(fits[0][1])
    for factor, of_count in FACTORS.items():
        scaled = [(keep, take / of_count(probe.count)) for (keep, take, _), probe in zip(fits, probes, strict=True)]
        sense = _sense(scaled, probes)
        if sense:
            return Rule(old, statistic, sense, factor, extra, keep, take)
    return Rule(old, statistic, "unknown", "", extra, keep, take)


def _sense(pairs, probes: Sequence[Probe]) -> str:
    for name, rule in SENSES.items():
        if all(np.allclose(pair, rule(probe.momentum), atol=1e-3) for pair, probe in zip(pairs, probes, strict=True)):
            return name
    same = np.allclose(pairs[0], pairs[1], atol=1e-3)
    return "fixed" if same and np.isclose(sum(pairs[0]), 1, atol=1e-3) else ""


def _extra(fits, probes: Sequence[Probe]) -> str | None:
    """ "epsilon" where the constant is take * eps on every probe, "" where it is 0, None for another one."""
    shares = [extra / take if take else extra for _, take, extra in fits]
    if all(abs(share) <= 1e-4 * probe.epsilon for share, probe in zip(shares, probes, strict=True)):
        return ""
    if all(np.isclose(share, probe.epsilon, rtol=1e-2) for share, probe in zip(shares, probes, strict=True)):
        return "epsilon"
    return None


def _statistics(name: str, probe: Probe) -> dict[str, np.ndarray]:
    """What may have been averaged; the right one first."""
    x, mean, variance = probe.x, probe.mean, probe.variance
    if name == "mean":
        whole = np.full_like(mean, x.mean())
        return {"mean": mean, "variance": variance, "global": whole, "median": np.median(x, axis=0)}
    return {
        "variance": variance,
        "deviation": np.sqrt(variance),
        "deviation with epsilon": np.sqrt(variance + probe.epsilon),
        "sample deviation": np.sqrt(variance * probe.count / (probe.count - 1)),
        "sample deviation with epsilon": np.sqrt(variance * probe.count / (probe.count - 1) + probe.epsilon),
        "inverse deviation": 1 / np.sqrt(variance + probe.epsilon),
        "uncentred": (x**2).mean(0),
        "absolute deviation": np.abs(x - mean).mean(0),
        "root of uncentred": np.sqrt((x**2).mean(0)),
        "mean": mean,
        "global": np.full_like(mean, x.var()),
        "global deviation": np.full_like(mean, x.std()),
        "squared": variance**2,
        "about the old average": ((x - probe.averages[0]) ** 2).mean(0),
        "about the new average": ((x - _kept(probe, probe.momentum)) ** 2).mean(0),
        "about the new average, swapped": ((x - _kept(probe, 1 - probe.momentum)) ** 2).mean(0),
        "output variance": probe.scale**2 * variance / (variance + probe.epsilon),
    }


def _kept(probe: Probe, keep: float) -> np.ndarray:
    """The averaged mean after this batch."""
    return keep * probe.averages[0] + (1 - keep) * probe.mean


def _departures(rule: Rule) -> tuple[float, ...]:
    return (
        (rule.sense == "unknown")
        + (rule.sense not in ("right", "swapped"))
        + (rule.old != "own")
        + (rule.statistic not in ("mean", "variance"))
        + (rule.factor != "")
        + (rule.extra != ""),
        rule.sense != "right",
    )


PROBES = (LARGE_EPSILON, SMALL_EPSILON)
