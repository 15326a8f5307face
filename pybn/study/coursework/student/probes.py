"""The inputs that tell mistakes apart, and what is right on them.

Every size differs.  Columns have means of both signs and standard deviations from 0.1 to 10, so an
epsilon of 0.3 is large against some variances and small against others: there all ways to place it
are far apart, while at 1e-5 half of them agree within an ordinary tolerance.  Scales have both signs
and are never near 1, offsets never near 0, the old averages of mean and variance are unequal.

A class may have its eps or momentum written into it.  Then it is the probes that change (`of_own`): with the class's
own eps, and x as much smaller as keeps eps as large against the variances.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, cast

import numpy as np

FEATURES = 8
MEANS = np.array([12.0, -3.0, 5.0, 0.5, 12.0, 2.0, -7.0, 1.0])
DEVIATIONS = np.array([5.0, 0.3, 0.5, 10.0, 1.5, 0.2, 2.5, 0.1])


@dataclass(frozen=True)
class Probe:
    """One training batch with its parameters, the averages before it, and a random cotangent."""

    x: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    dy: np.ndarray
    averages: tuple[np.ndarray, np.ndarray]
    epsilon: float
    momentum: float

    @property
    def count(self) -> int:
        """Elements per feature."""
        return self.x.shape[0]

    @cached_property
    def mean(self) -> np.ndarray:
        """The batch mean."""
        return self.x.mean(0)

    @cached_property
    def variance(self) -> np.ndarray:
        """The population variance."""
        return ((self.x - self.mean) ** 2).mean(0)

    @cached_property
    def deviation(self) -> np.ndarray:
        """What line 3 divides by."""
        return np.sqrt(self.variance + self.epsilon)

    @cached_property
    def normalized(self) -> np.ndarray:
        """x-hat, the result of line 3."""
        return (self.x - self.mean) / self.deviation

    @cached_property
    def out(self) -> np.ndarray:
        """What training must return."""
        return self.scale * self.normalized + self.offset

    @cached_property
    def test_out(self) -> np.ndarray:
        """What test mode must return, from the averages before."""
        mean, variance = self.averages
        return self.scale * (self.x - mean) / np.sqrt(variance + self.epsilon) + self.offset

    @cached_property
    def dx(self) -> np.ndarray:
        """The gradient with all three terms."""
        along = (self.dy * self.normalized).mean(0)
        return self.scale / self.deviation * (self.dy - self.dy.mean(0) - self.normalized * along)

    def turned(self) -> Probe:
        """The same rows, the last one first."""
        return replace(self, x=self.x[::-1], dy=self.dy[::-1])

    def averages_after(self, *, counts_the_new: bool, sample: bool) -> tuple[np.ndarray, np.ndarray]:
        """What a step must leave: momentum is the share of the old or of the new, the variance over n or n - 1."""
        take = self.momentum if counts_the_new else 1 - self.momentum
        variance = self.variance * (self.count / (self.count - 1) if sample else 1.0)
        mean, old = self.averages
        return (1 - take) * mean + take * self.mean, (1 - take) * old + take * variance


def signed(random: np.random.Generator, low: float, high: float, size: int) -> np.ndarray:
    """Numbers of both signs with magnitude in [low, high], half of them negative."""
    signs = np.where(np.arange(size) % 2, -1.0, 1.0)
    return random.permutation(signs) * random.uniform(low, high, size)


def probe(seed: int, count: int, *, epsilon: float, momentum: float, features: int = FEATURES) -> Probe:
    """A probe with `count` rows; columns have nearly the means and standard deviations above."""
    random = np.random.default_rng(seed)
    shape = (count, features)
    rows = random.normal(size=shape)
    rows = (rows - rows.mean(0)) / rows.std(0)
    means = MEANS[:features] * random.uniform(0.8, 1.2, features)
    return Probe(
        x=means + DEVIATIONS[:features] * rows * random.uniform(0.8, 1.2, features),
        scale=signed(random, 1.3, 2.7, features),
        offset=signed(random, 0.4, 0.9, features),
        dy=random.normal(size=shape) + 0.5,
        averages=(random.normal(2.0, 3.0, features), random.uniform(0.2, 4.0, features)),
        epsilon=epsilon,
        momentum=momentum,
    )


@dataclass(frozen=True)
class Own:
    """The settings that are written into a class; None: it takes what it is handed."""

    epsilon: float | None = None
    momentum: float | None = None


NONE = Own()
_OWN: ContextVar[Own] = ContextVar("own", default=NONE)


@contextlib.contextmanager
def of_own(own: Own) -> Iterator[None]:
    """The probes for a class with these settings of its own."""
    token = _OWN.set(own)
    try:
        yield
    finally:
        _OWN.reset(token)


def with_own(probe: Probe) -> Probe:
    """The probe with the settings that the class has by itself; x as it is."""
    own = _OWN.get()
    return replace(
        probe,
        epsilon=probe.epsilon if own.epsilon is None else own.epsilon,
        momentum=probe.momentum if own.momentum is None else own.momentum,
    )


class Fitted:
    """A probe that is as the class which is judged needs it; it has what a `Probe` has."""

    def __init__(self, probe: Probe) -> None:
        self._for = lru_cache(maxsize=8)(lambda own: _scaled(probe, own))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._for(_OWN.get()), name)


def settled(probe: Any) -> Probe:
    """The probe as it is now: another thread does not know the settings that it follows."""
    return probe._for(_OWN.get()) if isinstance(probe, Fitted) else cast(Probe, probe)


def _scaled(probe: Probe, own: Own) -> Probe:
    """x and the averages as much smaller as the own eps is than the probe's, in units of a variance."""
    if own == NONE:
        return probe
    size = 1.0 if own.epsilon is None else float(np.sqrt(own.epsilon / probe.epsilon))
    mean, variance = probe.averages
    return with_own(replace(probe, x=size * probe.x, averages=(size * mean, size * size * variance)))


def fitted(*arguments: Any, **settings: Any) -> Probe:
    """A `probe` that follows the class's own settings."""
    return cast(Probe, Fitted(probe(*arguments, **settings)))


# Two values of each setting: a rule that holds at one of them by chance fails at the other.
LARGE_EPSILON = fitted(1, 7, epsilon=0.3, momentum=0.7)
SMALL_EPSILON = fitted(2, 5, epsilon=0.05, momentum=0.6)
COURSE_EPSILON = fitted(3, 7, epsilon=1e-5, momentum=0.9)
