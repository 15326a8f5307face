"""What an implementation's gradient loses where its three terms cancel, in units of the last place.

Measured as a training would see it: float32 x and dy, each implementation behind its own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pybn import reference

EPSILON = 1e-3
# A gradient of float32 arrays x, dy: (rows, features) without scale.
Gradient = Callable[[np.ndarray, np.ndarray], np.ndarray]


def batch(seed: int, rows: int = 4096, features: int = 64) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """x, and some dy by name: from one that leaves the terms alone to one of which they leave a thousandth."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, rows, features)).astype(np.float32)
    y = reference.batch_norm_training(x, None, None, epsilon=EPSILON)[0]
    return x, {"noise": noise, "100 + noise": 100 + noise, "10 y + noise": 10 * y + noise, "y": y}


def exact(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dx by the formula, in the widest type that the machine has."""
    x, dy = x.astype(np.longdouble), dy.astype(np.longdouble)
    deviation = np.sqrt(x.var(axis=0) + np.longdouble(EPSILON))
    normalized = (x - x.mean(axis=0)) / deviation
    return np.asarray((dy - dy.mean(axis=0) - normalized * (dy * normalized).mean(axis=0)) / deviation)


def gradient_of(module: Any) -> Gradient:
    """An implementation's gradient, behind its own forward pass."""

    def gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        _, mean, variance = module.batch_norm_training(x, None, None, epsilon=EPSILON)
        return np.asarray(module.batch_norm_gradient(x, None, mean, variance, dy, epsilon=EPSILON)[0])

    return gradient


def units_off(gradient: Gradient, x: np.ndarray, dy: np.ndarray) -> float:
    """The largest error of dx, in units of the last place of its feature's largest element."""
    right = exact(x, dy)
    unit = np.spacing(np.abs(right).max(axis=0).astype(np.float32))
    return float((np.abs(gradient(x, dy) - right) / unit).max())
