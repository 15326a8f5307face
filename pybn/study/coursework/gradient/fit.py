"""What a backward pass does to each feature, as coefficients of a few terms.

Fed with the rows of the identity, a backward shows its whole matrix dx/dout for each feature.  The right
one is  scale / s * (I - 1 1'/n - h h'/n)  with s the deviation and h the normalized column; slips add to
it or multiply parts of it, so the fit's coefficients name them.  n^2 equations for nine unknowns leave no
room for chance.  The numbers that are left over are then written as products: with gamma 2, s 4 and n 5 a
path that is 4 times, in another feature with gamma 3, s 9 it is 9 times what it must be, lacks a division by s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pybn.study.coursework.student.probes import FEATURES, Probe
from pybn.study.coursework.student.student import Student

# Terms of the right gradient, and those that slips are made of; d is the cotangent.
TERMS = (
    "dout",  # I:    d
    "mean(dout)",  # 1 1'/n
    "x_hat * mean(dout * x_hat)",  # h h'/n
    "x_hat * mean(dout)",  # h 1'/n
    "mean(dout * x_hat)",  # 1 h'/n
    "dout * x_hat",  # diag(h)
    "dout * x_hat^2",  # diag(h^2)
    "mean(dout * x_hat^2)",  # 1 (h^2)'/n
    "x_hat * mean(dout * x_hat^2)",
)
# Differences of the own forward are good to 1e-9; the smallest slip at these eps is 1e-3.
DIFFERENCES = 1e-5
ROUNDING = 1e-6  # fits agree to 1e-9; the smallest slip at eps 0.3 moves a coefficient by 1e-3


@dataclass(frozen=True)
class Backward:
    """The matrices of one backward pass: dx[feature, row, from], dscale[feature, from], doffset[feature, from]."""

    dx: np.ndarray
    dscale: np.ndarray
    doffset: np.ndarray


def measure(gradients: Callable[[np.ndarray], object], probe: Probe) -> Backward | None:
    """The matrices of a backward pass from n calls, or None where a call fails or gives NaN."""
    columns: tuple[list, list, list] = ([], [], [])
    for row in range(probe.count):
        dy = np.zeros_like(probe.x)
        dy[row] = 1.0
        found = gradients(dy)
        for name, column in zip(("dx", "dscale", "doffset"), columns, strict=True):
            column.append(getattr(found, name))
    if any(each is None or not np.isfinite(each).all() for each in columns[0]):
        return None
    dx = np.stack(columns[0], axis=-1).transpose(1, 0, 2)
    return Backward(dx, *(_parameter(column, probe) for column in columns[1:]))


def _parameter(column: Sequence[np.ndarray | None], probe: Probe) -> np.ndarray:
    missing = np.full(probe.x.shape[1], np.nan)
    return np.stack([missing if each is None else each for each in column], axis=-1)


class Matrices:
    """The matrices of a backward on each probe, measured when first asked for."""

    def __init__(self, calls: Sequence[Callable[[np.ndarray], object]], probes: Sequence[Probe]) -> None:
        self.calls, self.probes = calls, probes
        self._measured: list[Any] | None = None

    def get(self) -> list[Any]:
        """One `Backward` a probe, None where a call fails."""
        if self._measured is None:
            self._measured = [measure(call, probe) for call, probe in zip(self.calls, self.probes, strict=True)]
        return self._measured


def own_matrices(student: Student, probe: Probe) -> Backward | None:
    """The same matrices from differences of the student's own forward.

    Central differences of the fourth order: with steps of 1e-3 deviations they are good to 1e-9.
    Rows are moved in all features at once, so features are taken to be apart.
    """
    step = 1e-3 * np.sqrt(probe.variance)
    moves = [(row, size) for row in range(probe.count) for size in (1, -1, 2, -2)]
    xs = [_moved(probe.x, row, size * step) for row, size in moves]
    outs = _outs(student, probe, [(x, probe.scale, probe.offset) for x in xs])
    parameters = _outs(
        student,
        probe,
        [
            (probe.x, probe.scale + 1, probe.offset),
            (probe.x, probe.scale, probe.offset + 1),
            (probe.x, probe.scale, probe.offset),
        ],
    )
    if outs is None or parameters is None:
        return None
    differences = _fourth_order(outs.reshape(probe.count, 4, *probe.x.shape)) / step
    # differences[row, from, feature] is d out[from] / d x[row]
    return Backward(
        differences.transpose(2, 0, 1), (parameters[0] - parameters[2]).T, (parameters[1] - parameters[2]).T
    )


def right_for_own(
    student: Student,
    probe: Probe,
    dx: np.ndarray,
    *,
    role: str = "forward",
    arrange: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> bool:
    """Whether dx is the gradient of sum(out * dout) of the student's own forward, along random directions.

    Four directions, sixteen calls: a wrong element of dx shows in each of them.  `arrange` brings rows into
    the shape that the function takes.  A forward that does not move along them has no gradient to be right.
    """
    random, step = np.random.default_rng(0), 1e-3
    directions = np.sqrt(probe.variance) * random.normal(size=(4, *probe.x.shape))
    calls = [
        (arrange(probe.x + size * step * direction), probe.scale, probe.offset)
        for direction in directions
        for size in (1, -1, 2, -2)
    ]
    outs, dy = _outs(student, probe, calls, role), arrange(probe.dy)
    if outs is None or outs.shape[1:] != dy.shape or dx.shape != dy.shape:
        return False
    slopes = _fourth_order((outs * dy).reshape(4, 4, -1).sum(2)) / step
    products = (dx * np.stack([arrange(direction) for direction in directions])).reshape(4, -1)
    size = np.abs(products).sum(1)
    return bool(np.all(np.abs(products.sum(1) - slopes) <= DIFFERENCES * size) and np.any(slopes != 0))


def _fourth_order(values: np.ndarray) -> np.ndarray:
    """The difference quotient (times the step) from values at +1, -1, +2, -2 along axis 1."""
    return (8 * (values[:, 0] - values[:, 1]) - (values[:, 2] - values[:, 3])) / 12


def _moved(x: np.ndarray, row: int, step: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[row] += step
    return x


def _outs(student: Student, probe: Probe, calls, role: str = "forward") -> np.ndarray | None:
    mean, variance = probe.averages
    settings = {"mode": "train", "eps": probe.epsilon, "momentum": probe.momentum}

    def arguments(x, scale, offset):
        return x.copy(), scale.copy(), offset.copy(), settings | {"running_mean": mean + 0, "running_var": variance + 0}

    values = student.batch(role, [lambda call=call: arguments(*call) for call in calls])
    if values is None:
        return None
    outs = [value[0] if isinstance(value, tuple | list) else value for value in values]
    try:
        return np.stack([np.asarray(out, dtype=np.float64) for out in outs])
    except (TypeError, ValueError):  # no numbers, or not of one shape
        return None


@dataclass(frozen=True)
class Coefficients:
    """dx of each feature in units of scale / s: values[term, feature], and whether the terms suffice."""

    values: np.ndarray
    complete: bool

    def term(self, name: str) -> np.ndarray:
        """One term's coefficient in each feature."""
        return self.values[TERMS.index(name)]

    @property
    def others(self) -> list[str]:
        """Terms that do not belong into the gradient and are there."""
        size = np.abs(self.values).max()
        return [name for name in TERMS[3:] if np.abs(self.term(name)).max() > ROUNDING * size]


@dataclass(frozen=True)
class Units:
    """What the terms are measured in: the normalized columns and scale / s of the book, or of the student's forward."""

    normalized: np.ndarray  # (n, d)
    gain: np.ndarray  # (d,)


def book_units(probe: Probe) -> Units:
    """x-hat and scale / sqrt(variance + eps)."""
    return Units(probe.normalized, probe.scale / probe.deviation)


def coefficients(dx: np.ndarray, units: Units) -> Coefficients:
    """The terms of each feature's matrix, the three right ones alone where they suffice."""
    few, rest = _fit(dx, units.normalized, 3)
    if rest > ROUNDING:
        few, rest = _fit(dx, units.normalized, len(TERMS))
    values = np.zeros((len(TERMS), dx.shape[0]))
    values[: few.shape[0]] = few / units.gain
    return Coefficients(values, rest <= ROUNDING)


def _fit(dx: np.ndarray, normalized: np.ndarray, terms: int) -> tuple[np.ndarray, float]:
    found, rest = [], 0.0
    for matrix, h in zip(dx, normalized.T, strict=True):
        columns = np.stack([term.ravel() for term in _matrices(h)[:terms]], axis=1)
        values = np.linalg.lstsq(columns, matrix.ravel(), rcond=None)[0]
        found.append(values)
        rest = max(rest, np.abs(columns @ values - matrix.ravel()).max() / (np.abs(matrix).max() + 1e-300))
    return np.stack(found, axis=1), float(rest)


def _matrices(h: np.ndarray) -> list[np.ndarray]:
    """The matrices of TERMS, from one normalized column."""
    n, one = len(h), np.ones(len(h))
    outer = [(one, one), (h, h), (h, one), (one, h)]
    right = [np.eye(n), *(np.outer(a, b) / n for a, b in outer)]
    return [*right, np.diag(h), np.diag(h * h), np.outer(one, h * h) / n, np.outer(h, h * h) / n]


@dataclass(frozen=True)
class Factor:
    """A number of each feature as sign * constant * scale^p * s^q * (s / other s)^t.

    constant is a rule of n ("n", "1/n", "2", ...), or a number where none holds on every probe.
    """

    sign: int = 1
    constant: str = "1"
    scale: int = 0
    deviation: float = 0  # in halves
    other: str = ""  # the code of the other deviation, and its eps where that is a fixed one
    power: int = 0
    offset: int = 0  # 1: the offset stands where the scale belongs

    @property
    def other_code(self) -> tuple[str, float]:
        """The slip that the other deviation is, and its eps."""
        code, _, value = self.other.partition(" ")
        return code, float(value or 0)

    @property
    def departures(self) -> float:
        """How much it takes to write it down."""
        odd = 0 if self.constant == "1" else 1 if self.constant in CONSTANTS else 3
        return (
            (self.sign < 0)
            + odd
            + abs(self.scale)
            + math.ceil(abs(self.deviation))
            + (self.power != 0)
            + 0.1 * abs(self.power)
            + self.offset
        )


CONSTANTS: Mapping[str, Callable[[int], float]] = {
    "1": lambda n: 1.0,
    "n": lambda n: float(n),
    "1/n": lambda n: 1 / n,
    "2": lambda n: 2.0,
    "1/2": lambda n: 0.5,
    "n - 1": lambda n: n - 1.0,
    "n/(n - 1)": lambda n: n / (n - 1),
    "(n - 1)/n": lambda n: (n - 1) / n,
    "n^2": lambda n: float(n * n),
    "1/n^2": lambda n: 1 / n**2,
    "3": lambda n: 3.0,
    "3/2": lambda n: 1.5,
    "1/4": lambda n: 0.25,
    "4": lambda n: 4.0,
    "2 n": lambda n: 2.0 * n,
    "n/d": lambda n: n / FEATURES,
    "1/d": lambda n: 1 / FEATURES,
    "d": lambda n: float(FEATURES),
}


# Powers of the scale, of s, of s / other s, and of offset / scale that are tried.
_POWERS = np.array(list(product(range(-4, 5), np.arange(-4, 4.5, 0.5), (-3, -2, -1, 0, 1, 2, 3), (0, 1))))
# Ratios are good to 1e-12 in float64, where an eps of 1e-8 is told from none, and to 1e-5 in float32.
_LEVEL = (1e-9, 1e-5)


def factor(
    values: Sequence[np.ndarray], probes: Sequence[Probe], others: Mapping[str, Sequence[np.ndarray]]
) -> Factor | None:
    """The simplest Factor that gives these values (one array a probe) on every probe; None where none does."""
    if any(np.any(each == 0) or not np.isfinite(each).all() for each in values):
        return None
    tried = (_factors(values, probes, others, tolerance) for tolerance in _LEVEL)
    return min(next(filter(None, tried), []), key=lambda each: each.departures, default=None)


def _factors(values, probes, others, tolerance: float) -> list[Factor]:
    found = []
    for other, of_probes in {"": [probe.deviation for probe in probes], **others}.items():
        rests = [_rests(*each) for each in zip(values, probes, of_probes, strict=True)]
        level = np.all([np.ptp(rest, axis=1) <= tolerance for rest in rests], axis=0)
        for index in np.flatnonzero(level & ((_POWERS[:, 2] == 0) == (other == ""))):
            constants = [float(np.exp(rest[index].mean())) for rest in rests]
            found.append(_factor(values, probes, constants, _POWERS[index], other))
    return [each for each in found if each]


def _rests(values: np.ndarray, probe: Probe, other: np.ndarray) -> np.ndarray:
    """log of what remains of the values when each choice of powers is divided out."""
    scale, offset = np.abs(probe.scale), np.abs(probe.offset)
    logs = np.log([scale, probe.deviation, probe.deviation / other, offset / scale])
    return np.log(np.abs(values)) - _POWERS @ logs


def _factor(values, probes, constants, powers, other) -> Factor | None:
    p, t, o = (int(powers[index]) for index in (0, 2, 3))
    q = float(powers[1]) if powers[1] % 1 else int(powers[1])
    signs = [
        np.sign(each) * np.sign(probe.scale) ** ((p - o) % 2) * np.sign(probe.offset) ** o
        for each, probe in zip(values, probes, strict=True)
    ]
    sign = int(signs[0][0])
    if any(np.any(each != sign) for each in signs):
        return None
    for name, rule in CONSTANTS.items():
        if all(np.isclose(got, rule(probe.count), rtol=1e-4) for got, probe in zip(constants, probes, strict=True)):
            return Factor(sign, name, p, q, other, t, o)
    same = np.allclose(constants, constants[0], rtol=1e-4)
    return Factor(sign, f"{constants[0]:.4g}", p, q, other, t, o) if same else None
