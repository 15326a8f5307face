"""Inputs on which implementations are compared, and how far apart the contract lets their results be."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from pybn import arguments, reference

OPERATIONS = (
    "moments",
    "merge_moments",
    "batch_norm_training",
    "batch_norm_gradient",
    "batch_norm_inference",
    "batch_norm_inference_gradient",
)
RESULTS = {
    "moments": ("count", "mean", "variance"),
    "merge_moments": ("count", "mean", "variance"),
    "batch_norm_training": ("y", "mean", "variance"),
    "batch_norm_gradient": ("dx", "dscale", "doffset"),
    "batch_norm_inference": ("y",),
    "batch_norm_inference_gradient": ("dx", "dscale", "doffset"),
}
EPSILON = 1e-3  # the operations' default
# Units in the last place that one implementation may be off by; y in float64 by one more.
UNITS = {"count": 0.5, "mean": 2, "variance": 4, "y": 3, "dx": 4, "dscale": 4, "doffset": 4}


class Sample:
    """Random x, dy, parameters and moving averages of one shape and type."""

    def __init__(self, shape: tuple[int, ...], feature_axis: Any, dtype: np.dtype, seed: int):
        self.shape, self.feature_axis, self.dtype = shape, feature_axis, dtype
        axes = arguments.feature_axes(feature_axis, len(shape))
        self._others = tuple(axis for axis in range(len(shape)) if axis not in axes)
        self._features = tuple(shape[axis] for axis in axes)
        self._along = [size if axis in axes else 1 for axis, size in enumerate(shape)]
        self.count = math.prod(shape[axis] for axis in self._others)
        rng = np.random.default_rng(seed)
        mean, deviation = rng.normal(3, 2, self._features), rng.uniform(0.5, 2, self._features)
        noise = rng.standard_normal(shape)
        self.x = (mean.reshape(self._along) + deviation.reshape(self._along) * noise).astype(dtype)
        self.dy = rng.standard_normal(shape).astype(dtype)
        self.scale = rng.uniform(0.5, 2, self._features).astype(dtype)
        self.offset = rng.normal(0, 1, self._features).astype(dtype)
        self.averages = mean + 0.1, deviation**2 * 1.1

    def call(self, implementation: Any, operation: str) -> Callable[[], Any]:
        """The operation on this sample, ready to run."""
        function, axis = getattr(implementation, operation), {"feature_axis": self.feature_axis}
        _, mean, variance = self._moments
        if operation == "moments":
            return lambda: function(self.x, **axis)
        if operation == "merge_moments":
            # Plain tuples: not every implementation has a type of its own for them.
            return lambda: function(tuple(self._moments), (self.count, *self.averages))
        if operation == "batch_norm_training":
            return lambda: function(self.x, self.scale, self.offset, **axis)
        if operation == "batch_norm_gradient":
            return lambda: function(self.x, self.scale, mean, variance, self.dy, **axis)
        if operation == "batch_norm_inference":
            return lambda: function(self.x, self.scale, self.offset, *self.averages, **axis)
        return lambda: function(self.x, self.scale, *self.averages, self.dy, **axis)

    def unit(self, operation: str, result: str, value: np.ndarray) -> np.ndarray:
        """One unit in the last place of x's type, of the size that the bound of this result is given in."""
        _, mean, variance = self._moments
        if result == "mean":
            size: Any = np.maximum(np.abs(mean), np.sqrt(variance))
        elif result == "y":
            size = self._terms_of_y(operation)
        elif result == "dx":
            size = np.abs(value).max(self._others, keepdims=True)
            if self.dtype == np.float64 and operation == "batch_norm_gradient":
                size = np.maximum(size, self._terms_of_dx)
        elif result in ("dscale", "doffset"):
            size = np.maximum(np.abs(value), self._norms[result])
        else:
            size = np.abs(value)
        size = np.asarray(size, np.float64)
        return np.ldexp(np.float64(np.finfo(self.dtype).eps), np.frexp(size)[1] - 1)

    def bound(self, operation: str, result: str) -> float:
        """Units between two implementations that each keep the contract; more for float64 sums in NumPy's order.

        NumPy adds row after row.  By Higham & Mary (2019) that loses less than 6 sqrt(n) roundings of half a unit of
        the terms but for a chance of 3e-8; the terms, distances from the first row, are up to four deviations.
        """
        units = UNITS[result] + (result == "y" and self.dtype == np.float64)
        alone = result == "count" or (result in ("y", "dx") and "inference" in operation)
        sums = 12 * math.sqrt(self.count) if self.dtype == np.float64 and not alone else 0.0
        return 2 * units + sums

    def _terms_of_y(self, operation: str) -> np.ndarray:
        """The terms of y's last sum: |scale| max(|x-hat|, 1) + |offset|."""
        mean, variance = self.averages if "inference" in operation else self._moments[1:]
        centred = self.x - np.asarray(mean).reshape(self._along)
        normalized = np.abs(centred) / np.sqrt(np.asarray(variance) + EPSILON).reshape(self._along)
        scale, offset = (np.abs(each.astype(np.float64)).reshape(self._along) for each in (self.scale, self.offset))
        terms: np.ndarray = scale * np.maximum(normalized, 1) + offset
        return terms

    @cached_property
    def _moments(self) -> arguments.Moments:
        found: arguments.Moments = reference.moments(self.x, feature_axis=self.feature_axis)
        return found

    @cached_property
    def _terms_of_dx(self) -> np.ndarray:
        """The largest of the terms of dx, for each feature."""
        dy, normalized = np.abs(self.dy.astype(np.float64)), np.abs(self._normalized)
        terms = dy.max(self._others) + dy.mean(self._others)
        terms = terms + normalized.max(self._others) * (dy * normalized).mean(self._others)
        return (terms * self.scale / np.sqrt(self._moments.variance + EPSILON)).reshape(self._along)

    @cached_property
    def _normalized(self) -> np.ndarray:
        _, mean, variance = self._moments
        return (self.x - mean.reshape(self._along)) / np.sqrt(variance + EPSILON).reshape(self._along)

    @cached_property
    def _norms(self) -> dict[str, np.ndarray]:
        """The norms of what dscale and doffset sum: a random sum of n terms is about that large."""
        dy = self.dy.astype(np.float64)
        return {
            "doffset": np.sqrt(np.sum(dy**2, self._others)),
            "dscale": np.sqrt(np.sum((dy * self._normalized) ** 2, self._others)),
        }


def results_of(operation: str, returned: Any) -> dict[str, np.ndarray]:
    """What an operation returned, by name; ValueError where it returned another number of results."""
    names = RESULTS[operation]
    values = returned if isinstance(returned, tuple) else (returned,)
    if len(values) != len(names):
        raise ValueError(f"{operation} must return {', '.join(names)}; got {len(values)} results")
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
