"""What is stored: the rule of the moving averages, fitted as new = keep * old + take * statistic.

keep and take are read off the numbers, so a momentum taken the other way round, used twice, or not at
all are one question and not three candidates.  With momentum 0.75, old averages 10, 20 and batch means
3, 7 the new ones 8.25, 16.75 are 0.75 * old + 0.25 * mean; 4.75, 10.25 have the two shares in each
other's place.  Which rules are conventions is decided in `judge`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pybn.study.coursework.output.fit import SINGLE, fit
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import COURSE_EPSILON, LARGE_EPSILON, SMALL_EPSILON, Probe
from pybn.study.coursework.student.student import Step, Student


@dataclass(frozen=True)
class Statistic:
    """What may be averaged: the slip's code, words for it, its numbers, and what it makes of a variance alone."""

    code: str
    words: str
    of: Callable[[Probe], np.ndarray]
    kept: Callable[[np.ndarray, float], np.ndarray] | None = None  # of a variance and eps
    sample: bool = False

    def __post_init__(self) -> None:
        known(self.code)


@dataclass(frozen=True)
class Sense:
    """keep and take together, as functions of momentum, and the slip that they are."""

    code: str
    of: Callable[[float], tuple[float, float]]

    def __post_init__(self) -> None:
        known(self.code)


@dataclass(frozen=True)
class Factor:
    """A factor of the statistic, as a function of n, and the slip that it is."""

    code: str
    of: Callable[[int], float]
    sample: bool = False

    def __post_init__(self) -> None:
        known(self.code)


def _sample(p: Probe) -> np.ndarray:
    return p.variance * p.count / (p.count - 1)


def _about(p: Probe, keep: float) -> np.ndarray:
    """The mean squared distance from the average as it is after this batch."""
    return ((p.x - keep * p.averages[0] - (1 - keep) * p.mean) ** 2).mean(0)


def _whole(p: Probe, value: float) -> np.ndarray:
    """One number for the whole array, in each feature."""
    return np.full_like(p.mean, value)


_DEVIATION, _GLOBAL, _BY_FEATURES = "deviation-stored", "global-stored", "divided-by-features-stored"

# What may have been averaged; the right one first.
MEANS = (
    Statistic("", "batch mean", lambda p: p.mean),
    Statistic("other-statistic-stored", "batch variance", lambda p: p.variance),
    Statistic(_GLOBAL, "mean of the whole array", lambda p: _whole(p, p.x.mean())),
    Statistic("median-stored", "batch median", lambda p: np.median(p.x, axis=0)),
    Statistic(_BY_FEATURES, "(batch sum / features)", lambda p: p.x.sum(0) / len(p.mean)),
)
VARIANCES = (
    Statistic("", "batch variance", lambda p: p.variance),
    Statistic(_DEVIATION, "batch deviation", lambda p: np.sqrt(p.variance), lambda v, e: np.sqrt(v)),
    Statistic(
        _DEVIATION,
        "sqrt(batch variance + eps)",
        lambda p: np.sqrt(p.variance + p.epsilon),
        lambda v, e: np.sqrt(v + e),
    ),
    Statistic(_DEVIATION, "sample deviation", lambda p: np.sqrt(_sample(p)), lambda v, e: np.sqrt(v), sample=True),
    Statistic(
        _DEVIATION,
        "sqrt(sample variance + eps)",
        lambda p: np.sqrt(_sample(p) + p.epsilon),
        lambda v, e: np.sqrt(v + e),
        sample=True,
    ),
    Statistic(
        "inverse-deviation-stored",
        "1 / sqrt(batch variance + eps)",
        lambda p: 1 / np.sqrt(p.variance + p.epsilon),
        lambda v, e: 1 / np.sqrt(v + e),
    ),
    Statistic(
        "inverse-deviation-stored",
        "1 / sqrt(batch variance)",
        lambda p: 1 / np.sqrt(p.variance),
        lambda v, e: 1 / np.sqrt(v),
    ),
    Statistic("variance-uncentred", "mean of x^2", lambda p: (p.x**2).mean(0)),
    Statistic("mean-not-squared", "(mean of x^2 - mean)", lambda p: (p.x**2).mean(0) - p.mean),
    Statistic(
        _BY_FEATURES,
        "(sum of squared distances / features)",
        lambda p: ((p.x - p.x.sum(0) / len(p.mean)) ** 2).sum(0) / len(p.mean),
    ),
    Statistic(
        _BY_FEATURES,
        "mean squared distance from (sum / features)",
        lambda p: ((p.x - p.x.sum(0) / len(p.mean)) ** 2).mean(0),
    ),
    Statistic(
        _BY_FEATURES, "(sum of squared distances / features)", lambda p: ((p.x - p.mean) ** 2).sum(0) / len(p.mean)
    ),
    Statistic("absolute-deviation", "mean absolute distance", lambda p: np.abs(p.x - p.mean).mean(0)),
    Statistic(_DEVIATION, "root of the mean of x^2", lambda p: np.sqrt((p.x**2).mean(0))),
    Statistic("other-statistic-stored", "batch mean", lambda p: p.mean),
    Statistic(_GLOBAL, "variance of the whole array", lambda p: _whole(p, p.x.var())),
    Statistic(_GLOBAL, "mean variance of all features", lambda p: _whole(p, p.variance.mean())),
    Statistic(_GLOBAL, "sample variance of the whole array", lambda p: _whole(p, p.x.var(ddof=1)), sample=True),
    Statistic(_GLOBAL, "deviation of the whole array", lambda p: _whole(p, p.x.std())),
    Statistic("variance-squared-stored", "squared batch variance", lambda p: p.variance**2, lambda v, e: v**2),
    Statistic(
        "variance-about-average",
        "mean squared distance from the old average",
        lambda p: ((p.x - p.averages[0]) ** 2).mean(0),
    ),
    Statistic("variance-about-average", "mean squared distance from the new average", lambda p: _about(p, p.momentum)),
    Statistic(
        "variance-about-average", "mean squared distance from the new average", lambda p: _about(p, 1 - p.momentum)
    ),
    Statistic(
        "output-variance-stored",
        "variance of out",
        lambda p: p.scale**2 * p.variance / (p.variance + p.epsilon),
    ),
)
TABLES = {"mean": MEANS, "variance": VARIANCES}

RIGHT, SWAPPED = Sense("", lambda m: (m, 1 - m)), Sense("momentum-swapped", lambda m: (1 - m, m))
SENSES = (
    RIGHT,
    SWAPPED,
    Sense("averages-never-updated", lambda m: (1.0, 0.0)),
    Sense("averages-overwritten", lambda m: (0.0, 1.0)),
    Sense("averages-updated-twice", lambda m: (m * m, 1 - m * m)),
    Sense("averages-updated-twice", lambda m: ((1 - m) ** 2, 1 - (1 - m) ** 2)),
    Sense("momentum-rule", lambda m: (m, 1.0)),
    Sense("momentum-rule", lambda m: (1.0, 1 - m)),
    Sense("momentum-rule", lambda m: (m, m)),
    Sense("momentum-rule", lambda m: (1 - m, 1 - m)),
    Sense("momentum-rule", lambda m: (0.0, 1 - m)),
    Sense("momentum-rule", lambda m: (1.0, 1.0)),
    Sense("momentum-rule", lambda m: (m, 0.0)),
)
FIXED = Sense("momentum-fixed", lambda m: (np.nan, np.nan))
UNKNOWN = Sense("unexplained-average", lambda m: (np.nan, np.nan))

PLAIN = Factor("", lambda n: 1.0)
FACTORS = (
    PLAIN,
    Factor("", lambda n: n / (n - 1), sample=True),
    Factor("sum-stored", lambda n: float(n)),
    Factor("small-variance-stored", lambda n: (n - 1) / n),
    Factor("statistic-divided-twice", lambda n: 1 / n),
)
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
    first_failure: str = ""  # what a first step from no averages at all fails with


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
            return _named(old, statistic, fits, probes)
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


def _named(old: str, statistic: Statistic, fits, probes: Sequence[Probe]) -> Rule | None:
    epsilon = _epsilon(fits, probes)
    if epsilon is None:
        return None
    keep, take = float(fits[0][0]), float(fits[0][1])
    for factor in FACTORS:
        scaled = [(keep, take / factor.of(probe.count)) for (keep, take, _), probe in zip(fits, probes, strict=True)]
        sense = _sense(scaled, probes)
        if sense is not None:
            return Rule(old, statistic, sense, factor, epsilon, keep, take)
    return Rule(old, statistic, UNKNOWN, PLAIN, epsilon, keep, take)


def _sense(pairs, probes: Sequence[Probe]) -> Sense | None:
    for sense in SENSES:
        if all(
            np.allclose(pair, sense.of(probe.momentum), atol=1e-3) for pair, probe in zip(pairs, probes, strict=True)
        ):
            return sense
    same = np.allclose(pairs[0], pairs[1], atol=1e-3)
    return FIXED if same and np.isclose(sum(pairs[0]), 1, atol=1e-3) else None


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
