"""Inputs on which implementations are compared: one ordinary family, and those on which digits are lost.

Each is made as a table, rows x features in float64, from random numbers; a sample gives it a shape and a type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# Far from the mean, far from 1: what each type can still hold with some room.
FAR = {"float16": 1e2, "bfloat16": 1e1, "float32": 1e6, "float64": 1e9}
LARGE = {"float16": 1e3, "bfloat16": 1e18, "float32": 1e18, "float64": 1e150}
SMALL = {"float16": 1e-6, "bfloat16": 1e-39, "float32": 1e-40, "float64": 1e-150}


@dataclass(frozen=True)
class Inputs:
    """What the operations are given: x and dy as rows x features, one of the others for each feature."""

    x: np.ndarray
    dy: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    mean: np.ndarray  # moving averages, near those of x
    variance: np.ndarray
    epsilon: float | None = None  # None: the operations' default
    mask: np.ndarray | None = None  # one bool for each row


def ordinary(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    """Means of a few deviations; the `dtype` is for those that know its limits."""
    mean, deviation = rng.normal(3, 2, features), rng.uniform(0.5, 2, features)
    return Inputs(
        x=mean + deviation * rng.standard_normal((rows, features)),
        dy=rng.standard_normal((rows, features)),
        scale=rng.uniform(0.5, 2, features),
        offset=rng.normal(0, 1, features),
        mean=mean + 0.1,
        variance=deviation**2 * 1.1,
    )


def _normalized(x: np.ndarray) -> np.ndarray:
    """x-hat; 0 for a feature of one row."""
    centred = x - x.mean(0)
    return centred / np.sqrt(np.square(centred).mean(0) + 1e-30)


def _constant_dy(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, dy=np.full_like(given.dy, 0.1))


def _nearly_constant_dy(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, dy=100 + given.dy)


def _dy_is_y(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, dy=_normalized(given.x))


def _dy_along_y(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, dy=10 * _normalized(given.x) + given.dy)


def _one_row(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    only = np.zeros_like(given.dy)
    only[rows // 2] = given.dy[rows // 2]
    return replace(given, dy=only)


def _offset_cancels(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, scale=np.full(features, 30.0), offset=np.full(features, -60.0))


def _far_mean(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, x=given.x + FAR[dtype], mean=given.mean + FAR[dtype])


def _outlier(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    x = given.x.copy()
    x[rng.integers(rows)] *= 1000
    return replace(given, x=x, dy=_normalized(x) / 8 + np.sign(given.dy))


def _outlier_first(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    x = np.broadcast_to(given.x[-1:], given.x.shape).copy()
    x[0] += 1000
    return replace(given, x=x)


def _constant_features(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    return replace(given, x=np.broadcast_to(given.x[:1], given.x.shape).copy())


def _in_unit(unit: float, rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = ordinary(rng, rows, features, dtype)
    averages = {"mean": given.mean * unit, "variance": given.variance * unit * unit}
    return replace(given, x=given.x * unit, dy=given.dy * unit, epsilon=0.0, **averages)


def _large(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    return _in_unit(LARGE[dtype], rng, rows, features, dtype)


def _small(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    return _in_unit(SMALL[dtype], rng, rows, features, dtype)


def _masked(rng: np.random.Generator, rows: int, features: int, dtype: str) -> Inputs:
    given = _dy_is_y(rng, rows, features, dtype)
    mask = rng.random(rows) < 0.7
    mask[0] = True
    return replace(given, x=np.where(mask[:, None], given.x, np.nan), mask=mask)


class Family(NamedTuple):
    """How inputs are made, and which operations they are hard for; () for all."""

    inputs: Callable[[np.random.Generator, int, int, str], Inputs]
    operations: tuple[str, ...] = ()


GRADIENT = ("batch_norm_gradient",)
# By the name that a row of the comparison has.  Each is tried on few rows, too: 2, 3 and 5.
HARD = {
    "few rows, images": Family(ordinary),
    "dy constant": Family(_constant_dy, GRADIENT),
    "dy = 100 + noise": Family(_nearly_constant_dy, GRADIENT),
    "dy = y": Family(_dy_is_y, GRADIENT),
    "dy = 10 y + noise": Family(_dy_along_y, GRADIENT),
    "dy of one row": Family(_one_row, GRADIENT),
    "an outlier, dy along it": Family(_outlier, GRADIENT),
    "masked, dy = y": Family(_masked),
    "offset against scale": Family(_offset_cancels, ("batch_norm_training", "batch_norm_inference")),
    "far mean": Family(_far_mean),
    "one row unlike the rest": Family(_outlier_first),
    "constant features": Family(_constant_features),
    "large numbers": Family(_large),
    "small numbers": Family(_small),
}
FAMILIES = {"ordinary": Family(ordinary), **HARD}
