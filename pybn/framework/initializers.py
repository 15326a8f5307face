"""First values of variables: functions (rng, shape, dtype) -> array."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Initializer = Callable[[np.random.Generator, tuple[int, ...], np.dtype], np.ndarray]


def zeros(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """All 0."""
    return np.zeros(shape, dtype)


def ones(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """All 1."""
    return np.ones(shape, dtype)


def he(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Normal with variance 2 / fan-in, which keeps the scale through a relu (He et al. 2015)."""
    fan_in, _ = _fans(shape)
    return (rng.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(dtype)


def glorot(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uniform with variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010)."""
    fan_in, fan_out = _fans(shape)
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape).astype(dtype)


def default(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """He for weights, which connect inputs and outputs; 0 for vectors and single numbers."""
    return he(rng, shape, dtype) if len(shape) >= 2 else zeros(rng, shape, dtype)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and outputs a weight (..., inputs, outputs) connects; the rest is its window."""
    if len(shape) < 2:
        raise ValueError(f"he and glorot need a weight of shape (..., inputs, outputs), got {shape}")
    window = math.prod(shape[:-2])
    return max(1, window * shape[-2]), max(1, window * shape[-1])
