"""What may stand at each place of an output's formula, each with the code of the slip that puts it there.

out = gain * (x - centre) / denominator(spread) + shift.  The first of each table is what is right, its
code "".  A new slip is one line here and one in `report.words`; that the two agree is checked when this
file is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Step

Array = np.ndarray


@dataclass(frozen=True)
class Candidate:
    """A slip's code, and what it puts there: one number a feature, of a probe and the step made on it."""

    code: str
    of: Callable[[Probe, Step], Array]

    def __post_init__(self) -> None:
        known(self.code)


@dataclass(frozen=True)
class Form:
    """How the denominator is made of the spread: denominator^power = factor * spread^of_spread + constant."""

    code: str
    power: float
    of_spread: float

    def __post_init__(self) -> None:
        known(self.code)


@dataclass(frozen=True)
class Rule:
    """A number as a slip makes it: of the count n, or of eps."""

    code: str
    of: Callable[[Any], float]

    def __post_init__(self) -> None:
        known(self.code)


class Line(NamedTuple):
    """What a shift may be made of, one number a feature each, and eps."""

    scale: Array
    offset: Array
    slope: Array
    epsilon: float


@dataclass(frozen=True)
class Shift:
    """What was added at the end, and where."""

    code: str
    of: Callable[[Line], Array]

    def __post_init__(self) -> None:
        known(self.code)


GAINS = (
    Candidate("", lambda p, step: p.scale),
    Candidate("scale-missing", lambda p, step: np.ones_like(p.scale)),
    Candidate("offset-for-scale", lambda p, step: p.offset),
    Candidate("scale-negated", lambda p, step: -p.scale),
    Candidate("scale-absolute", lambda p, step: np.abs(p.scale)),
    Candidate("scale-squared", lambda p, step: p.scale**2),
    Candidate("scale-inverted", lambda p, step: 1 / p.scale),
)

SHIFTS = (
    Shift("", lambda line: line.offset),
    Shift("offset-missing", lambda line: np.zeros_like(line.offset)),
    Shift("offset-inside-scale", lambda line: line.scale * line.offset),
    Shift("offset-before-scale", lambda line: line.slope * line.offset),
    Shift("offset-subtracted", lambda line: -line.offset),
    Shift("scale-for-offset", lambda line: line.scale),
    Shift("epsilon-on-quotient", lambda line: line.offset + line.scale * line.epsilon),
    Shift("epsilon-on-quotient", lambda line: line.offset + line.epsilon),
)

FORMS = (
    Form("", 2.0, 1.0),  # sqrt(spread + eps)
    Form("epsilon-outside", 1.0, 0.5),  # sqrt(spread) + eps
    Form("no-root", 1.0, 1.0),  # spread + eps
    Form("square-under-root", 2.0, 2.0),  # sqrt(spread^2 + eps)
    Form("root-twice", 4.0, 1.0),  # the fourth root
    Form("denominator-power", 0.5, 1.0),  # (spread + eps)^2
    Form("denominator-power", 2 / 3, 1.0),  # (spread + eps)^1.5
    Form("denominator-power", -1.0, 1.0),  # 1 / (spread + eps)
    Form("epsilon-on-inverse", -1.0, -0.5),  # divided by 1 / (1 / sqrt(spread) + eps)
    Form("multiplied-by-deviation", -2.0, 1.0),  # times sqrt(spread + eps)
)

# The spread's factor, as a function of n.
FACTORS = (
    Rule("", lambda n: 1.0),
    Rule("sample-variance", lambda n: n / (n - 1)),
    Rule("variance-not-averaged", lambda n: float(n)),
    Rule("variance-averaged-twice", lambda n: 1 / n),
)

# The constant beside the spread, as a function of eps.
EPSILONS = (
    Rule("", lambda e: e),
    Rule("epsilon-missing", lambda e: 0.0),
    Rule("epsilon-twice", lambda e: 2 * e),
    Rule("epsilon-subtracted", lambda e: -e),
    Rule("epsilon-squared", lambda e: e * e),
    Rule("epsilon-rooted", lambda e: float(np.sqrt(e))),
)


def _or(value: Array | None, otherwise: Array) -> Array:
    return otherwise if value is None or value.shape != otherwise.shape else value


def _by_features(p: Probe) -> Array:
    return p.x.sum(0) / len(p.mean)


def _by_elements(p: Probe) -> Array:
    return p.mean / len(p.mean)


def _about(p: Probe, centre: Array) -> Array:
    return ((p.x - centre) ** 2).mean(0)


# In training from the moving averages, and in test mode from the batch: one of the two, or both.
AVERAGED_MEAN, AVERAGED_VARIANCE = known("averaged-mean-in-training"), known("averaged-variance-in-training")
AVERAGED = known("averages-in-training")
MEAN, VARIANCE = known("batch-mean-in-test"), known("batch-variance-in-test")
BOTH = known("batch-statistics-in-test")

TRAINING_SPREADS = (
    Candidate("", lambda p, step: p.variance),
    Candidate("variance-uncentred", lambda p, step: (p.x**2).mean(0)),
    Candidate("epsilon-as-floor", lambda p, step: np.maximum(p.variance, p.epsilon)),
    Candidate("epsilon-as-floor", lambda p, step: np.maximum(p.variance, p.epsilon**2)),  # max(deviation, eps)
    Candidate("epsilon-twice", lambda p, step: p.variance + p.epsilon),  # and once more: sqrt(variance + eps) + eps
    Candidate("mean-not-squared", lambda p, step: (p.x**2).mean(0) - p.mean),
    Candidate("divided-by-features", lambda p, step: _about(p, _by_features(p)) * p.count / len(p.mean)),
    Candidate("divided-by-features", lambda p, step: _about(p, _by_features(p))),
    Candidate("divided-by-features", lambda p, step: p.variance * p.count / len(p.mean)),
    Candidate("variance-about-whole", lambda p, step: _about(p, np.full_like(p.mean, p.x.mean()))),
    Candidate("mean-of-n-1", lambda p, step: _about(p, p.x.sum(0) / (p.count - 1))),
    Candidate("mean-not-averaged", lambda p, step: _about(p, p.x.sum(0))),
    Candidate("divided-by-elements", lambda p, step: _about(p, _by_elements(p)) / len(p.mean)),
    Candidate("divided-by-elements", lambda p, step: _about(p, _by_elements(p))),
    Candidate("divided-by-elements", lambda p, step: p.variance / len(p.mean)),
    Candidate("median-for-mean", lambda p, step: _about(p, np.median(p.x, axis=0))),
    Candidate("mean-for-variance", lambda p, step: p.mean),
    Candidate(AVERAGED_VARIANCE, lambda p, step: p.averages[1]),
    Candidate(AVERAGED_VARIANCE, lambda p, step: _or(step.variance, p.averages[1])),
    Candidate("deviation-under-root", lambda p, step: np.sqrt(p.variance)),
    Candidate("absolute-deviation", lambda p, step: np.abs(p.x - p.mean).mean(0)),
    Candidate("variance-about-average", lambda p, step: _about(p, p.averages[0])),
    Candidate("variance-about-average", lambda p, step: _about(p, _or(step.mean, p.averages[0]))),
)

TRAINING_CENTRES = (
    Candidate("", lambda p, step: p.mean),
    Candidate("mean-not-subtracted", lambda p, step: np.zeros_like(p.mean)),
    Candidate(AVERAGED_MEAN, lambda p, step: p.averages[0]),
    Candidate(AVERAGED_MEAN, lambda p, step: _or(step.mean, p.averages[0])),
    Candidate("global-mean", lambda p, step: np.full_like(p.mean, p.x.mean())),
    Candidate("global-mean", lambda p, step: np.full_like(p.mean, p.x.sum() / p.count)),
    Candidate("divided-by-features", lambda p, step: _by_features(p)),
    Candidate("divided-by-elements", lambda p, step: _by_elements(p)),
    Candidate("mean-of-n-1", lambda p, step: p.x.sum(0) / (p.count - 1)),
    Candidate("mean-not-averaged", lambda p, step: p.x.sum(0)),
    Candidate("median-for-mean", lambda p, step: np.median(p.x, axis=0)),
    Candidate("mean-added", lambda p, step: -p.mean),
    Candidate("mean-divided", lambda p, step: p.mean / p.deviation),
    Candidate("mean-divided", lambda p, step: p.mean / p.deviation / p.scale),
    Candidate("mean-subtracted-late", lambda p, step: p.mean * p.deviation),
    Candidate("mean-subtracted-late", lambda p, step: p.mean * p.deviation / p.scale),
    Candidate("mean-subtracted-twice", lambda p, step: p.mean + p.mean / p.deviation),
)


def _deviation(p: Probe) -> Array:
    """What test mode must divide by."""
    return np.sqrt(p.averages[1] + p.epsilon)


def _updated(p: Probe, index: int, keep: float) -> Array:
    """An average after the test batch."""
    return keep * p.averages[index] + (1 - keep) * (p.mean, p.variance)[index]


TEST_SPREADS = (
    Candidate("", lambda p, step: p.averages[1]),
    Candidate(VARIANCE, lambda p, step: p.variance),
    Candidate("epsilon-as-floor", lambda p, step: np.maximum(p.averages[1], p.epsilon)),
    Candidate("epsilon-as-floor", lambda p, step: np.maximum(p.averages[1], p.epsilon**2)),
    Candidate("epsilon-twice", lambda p, step: p.averages[1] + p.epsilon),
    Candidate("mean-for-variance", lambda p, step: p.averages[0]),
    Candidate(VARIANCE, lambda p, step: (p.x**2).mean(0)),
    Candidate(VARIANCE, lambda p, step: np.abs(p.x - p.mean).mean(0)),
    Candidate(VARIANCE, lambda p, step: np.sqrt(p.variance)),
    Candidate("deviation-under-root", lambda p, step: np.sqrt(p.averages[1])),
    Candidate("test-after-update", lambda p, step: _updated(p, 1, p.momentum)),
    Candidate("test-after-update", lambda p, step: _updated(p, 1, 1 - p.momentum)),
    Candidate("test-after-update", lambda p, step: _or(step.variance, p.averages[1])),
)

TEST_CENTRES = (
    Candidate("", lambda p, step: p.averages[0]),
    Candidate("mean-not-subtracted", lambda p, step: np.zeros_like(p.mean)),
    Candidate(MEAN, lambda p, step: p.mean),
    Candidate("mean-added", lambda p, step: -p.averages[0]),
    Candidate("mean-divided", lambda p, step: p.averages[0] / _deviation(p)),
    Candidate("mean-divided", lambda p, step: p.averages[0] / _deviation(p) / p.scale),
    Candidate("averages-exchanged", lambda p, step: p.averages[1]),
    Candidate("mean-subtracted-late", lambda p, step: p.averages[0] * _deviation(p)),
    Candidate("mean-subtracted-late", lambda p, step: p.averages[0] * _deviation(p) / p.scale),
    Candidate("mean-subtracted-twice", lambda p, step: p.averages[0] + p.averages[0] / _deviation(p)),
    Candidate("global-mean", lambda p, step: np.full_like(p.mean, p.averages[0].mean())),
    Candidate("test-after-update", lambda p, step: _updated(p, 0, p.momentum)),
    Candidate("test-after-update", lambda p, step: _updated(p, 0, 1 - p.momentum)),
    Candidate("test-after-update", lambda p, step: _or(step.mean, p.averages[0])),
)


@dataclass(frozen=True)
class Places:
    """The tables for one mode."""

    spreads: Sequence[Candidate]
    centres: Sequence[Candidate]
    gains: Sequence[Candidate] = GAINS


TRAINING = Places(TRAINING_SPREADS, TRAINING_CENTRES)
TEST = Places(TEST_SPREADS, TEST_CENTRES)
