"""What may be averaged, how momentum may count, and by what a statistic may be multiplied: each with its slip.

new = keep * old + take * factor * statistic.  The first of each table is what is right, its code "".  A new
slip is one line here and one in `report.words`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe


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


def _more(p: Probe) -> np.ndarray:
    """The mean as a sum over n - 1."""
    return p.x.sum(0) / (p.count - 1)


def _about_median(p: Probe) -> np.ndarray:
    return ((p.x - np.median(p.x, axis=0)) ** 2).mean(0)


_BY_ELEMENTS = "divided-by-elements-stored"
_DEVIATION, _GLOBAL, _BY_FEATURES = "deviation-stored", "global-stored", "divided-by-features-stored"

# What may have been averaged; the right one first.
MEANS = (
    Statistic("", "batch mean", lambda p: p.mean),
    Statistic("other-statistic-stored", "batch variance", lambda p: p.variance),
    Statistic(_GLOBAL, "mean of the whole array", lambda p: _whole(p, p.x.mean())),
    Statistic("median-stored", "batch median", lambda p: np.median(p.x, axis=0)),
    Statistic(_BY_FEATURES, "(batch sum / features)", lambda p: p.x.sum(0) / len(p.mean)),
    Statistic(_BY_ELEMENTS, "(batch sum / all elements)", lambda p: p.mean / len(p.mean)),
    Statistic("output-mean-stored", "mean of out", lambda p: p.offset),
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
    Statistic("absolute-deviation", "squared mean absolute distance", lambda p: np.abs(p.x - p.mean).mean(0) ** 2),
    Statistic(_DEVIATION, "root of the mean of x^2", lambda p: np.sqrt((p.x**2).mean(0))),
    Statistic("other-statistic-stored", "batch mean", lambda p: p.mean),
    Statistic(_GLOBAL, "variance of the whole array", lambda p: _whole(p, p.x.var())),
    Statistic(_GLOBAL, "mean variance of all features", lambda p: _whole(p, p.variance.mean())),
    Statistic(_GLOBAL, "sample variance of the whole array", lambda p: _whole(p, p.x.var(ddof=1)), sample=True),
    Statistic(_GLOBAL, "deviation of the whole array", lambda p: _whole(p, p.x.std())),
    Statistic(
        "variance-about-whole",
        "mean squared distance from the whole array's mean",
        lambda p: ((p.x - p.x.mean()) ** 2).mean(0),
    ),
    Statistic("mean-not-averaged", "mean squared distance from the sum", lambda p: ((p.x - p.x.sum(0)) ** 2).mean(0)),
    Statistic("mean-of-n-1", "mean squared distance from (sum / (n - 1))", lambda p: ((p.x - _more(p)) ** 2).mean(0)),
    Statistic(
        _BY_ELEMENTS,
        "mean squared distance from (sum / all elements)",
        lambda p: ((p.x - p.mean / len(p.mean)) ** 2).mean(0),
    ),
    Statistic(
        _BY_ELEMENTS,
        "(sum of squared distances / all elements)",
        lambda p: ((p.x - p.mean / len(p.mean)) ** 2).mean(0) / len(p.mean),
    ),
    Statistic(_BY_ELEMENTS, "(sum of squared distances / all elements)", lambda p: p.variance / len(p.mean)),
    Statistic("median-stored", "mean squared distance from the median", _about_median),
    Statistic("hat-variance-stored", "variance of x_hat", lambda p: p.variance / (p.variance + p.epsilon)),
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
    Sense("old-forgotten", lambda m: (0.0, 1 - m)),
    Sense("old-forgotten", lambda m: (0.0, m)),
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
    Factor("sum-stored", lambda n: n * n / (n - 1), sample=True),
    Factor("bessel-twice", lambda n: (n / (n - 1)) ** 2, sample=True),
    Factor("small-variance-stored", lambda n: (n - 1) / n),
    Factor("statistic-divided-twice", lambda n: 1 / n),
)
MEAN_FACTORS = (
    PLAIN,
    Factor("mean-of-n-1", lambda n: n / (n - 1)),
    Factor("sum-stored", lambda n: float(n)),
    Factor("statistic-divided-twice", lambda n: 1 / n),
)
