"""One input in its shape and type, and the operations called on it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pybn import arguments, reference
from pybn.study.compare.families import FAMILIES

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


class Sample:
    """x, dy, parameters and moving averages of one family, shape and type."""

    def __init__(self, shape: tuple[int, ...], feature_axis: Any, dtype: np.dtype, seed: int, family: str = "ordinary"):
        self.shape, self.feature_axis, self.dtype, self.family = shape, feature_axis, dtype, family
        axes = arguments.feature_axes(feature_axis, len(shape))
        self._others = tuple(axis for axis in range(len(shape)) if axis not in axes)
        self._order = self._others + axes
        self._features = tuple(shape[axis] for axis in axes)
        rows = math.prod(shape[axis] for axis in self._others)
        given = FAMILIES[family].inputs(np.random.default_rng(seed), rows, math.prod(self._features), dtype.name)
        self.x, self.dy = (self._in_shape(table).astype(dtype) for table in (given.x, given.dy))
        self.scale, self.offset = (each.reshape(self._features).astype(dtype) for each in (given.scale, given.offset))
        self.averages = given.mean.reshape(self._features), given.variance.reshape(self._features)
        self.epsilon = EPSILON if given.epsilon is None else given.epsilon
        self.mask = None if given.mask is None else given.mask.reshape([shape[axis] for axis in self._others])
        self._options: dict[str, Any] = {"feature_axis": feature_axis}
        if given.mask is not None:
            self._options["mask"] = self.mask
        self.moments: arguments.Moments = reference.moments(self.x, **self._options)
        if given.epsilon is not None:
            self._options["epsilon"] = given.epsilon

    def _in_shape(self, table: np.ndarray) -> np.ndarray:
        """Rows x features as x has them."""
        moved = table.reshape([self.shape[axis] for axis in self._order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self._order)))

    def columns(self, array: np.ndarray) -> np.ndarray:
        """The real elements of an array like x, as rows x features in float64."""
        table = array.transpose(self._order).reshape(-1, math.prod(self._features)).astype(np.float64)
        return table if self.mask is None else table[self.mask.ravel()]

    def spread(self, columns: np.ndarray) -> np.ndarray:
        """One value for each feature, or for each real element, in a shape that goes with x; 0 under the mask."""
        if columns.ndim == 1:
            return columns.reshape([1 if axis in self._others else size for axis, size in enumerate(self.shape)])
        if self.mask is None:
            return self._in_shape(columns)
        table = np.zeros((self.mask.size, columns.shape[1]))
        table[self.mask.ravel()] = columns
        return self._in_shape(table)

    def suits(self, implementation: Any, operation: str) -> bool:
        """Whether this sample is for the operation, which takes what it has beside the ordinary arguments."""
        if operation not in (FAMILIES[self.family].operations or OPERATIONS):
            return False
        extra = {"mask", "epsilon"}.intersection(self._options) if operation != "merge_moments" else set()
        if operation == "moments":
            extra.discard("epsilon")
        known = inspect.signature(getattr(implementation, operation)).parameters
        return extra <= known.keys() or any(each.kind is each.VAR_KEYWORD for each in known.values())

    def call(self, implementation: Any, operation: str) -> Callable[[], Any]:
        """The operation on this sample, ready to run."""
        function, options = getattr(implementation, operation), self._options
        _, mean, variance = self.moments
        if operation == "moments":
            options = {name: value for name, value in options.items() if name != "epsilon"}
            return lambda: function(self.x, **options)
        if operation == "merge_moments":
            # Plain tuples: not every implementation has a type of its own for them.
            return lambda: function(tuple(self.moments), (self.moments.count, *self.averages))
        if operation == "batch_norm_training":
            return lambda: function(self.x, self.scale, self.offset, **options)
        if operation == "batch_norm_gradient":
            return lambda: function(self.x, self.scale, mean, variance, self.dy, **options)
        if operation == "batch_norm_inference":
            return lambda: function(self.x, self.scale, self.offset, *self.averages, **options)
        return lambda: function(self.x, self.scale, *self.averages, self.dy, **options)


def results_of(operation: str, returned: Any) -> dict[str, np.ndarray]:
    """What an operation returned, by name; ValueError where it returned another number of results."""
    names = RESULTS[operation]
    values = returned if isinstance(returned, tuple) else (returned,)
    if len(values) != len(names):
        raise ValueError(f"{operation} must return {', '.join(names)}; got {len(values)} results")
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
