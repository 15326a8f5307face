"""How far apart the contract lets two implementations be, result by result.

Each may be so many units in the last place of x's type off, of the size that is named: the mean 2 of the larger of
|mean| and the deviation, the variance 4, y 3 (in float64 4) of |scale| max(|x-hat|, 1) + |offset|, dx 4 of its
feature's largest for every dy (in float64 of the largest of its three terms), dscale and doffset 4 of the norm of what
they sum.  In float16 and bfloat16 those are units of float32, before the result is rounded.

Where the truth is (nearly) 0, float64 leaves 1e-14 of dx's largest term, as often as the mean is deviations away.
In float64 the rounding of the mean is |mean| / deviation roundings of y, and NumPy's sums, row after row, lose less
than 6 sqrt(n) roundings of the largest sum on the way but for a chance of 3e-8 (Higham & Mary 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.halves import is_bfloat16, is_floating, is_half
from pybn.study.compare.samples import Sample

UNITS = {"count": 0.5, "mean": 2, "variance": 4, "y": 3, "dx": 4, "dscale": 4, "doffset": 4}
LEFT_BY_FLOAT64 = 1e-14


class Bounds:
    """The bounds of one operation on one sample."""

    def __init__(self, sample: Sample, operation: str):
        self.sample = sample
        self.inference = "inference" in operation
        self.wide = sample.dtype == np.float64
        mean, variance = sample.averages if self.inference else sample.moments[1:]
        self.mean, self.variance = np.ravel(mean), np.ravel(variance)
        x, self._dy = sample.columns(sample.x), sample.columns(sample.dy)
        with np.errstate(all="ignore"):
            self.inverse = 1 / np.sqrt(self.variance + sample.epsilon)
            self.inverse[~np.isfinite(self.inverse)] = 0
        self.normalized = (x - self.mean) * self.inverse
        # What sums of n terms lose in float64, and how far those of the mean are from the first row.
        self.sums = 6 * np.sqrt(len(x)) * np.finfo(np.float64).eps / 2 if self.wide else 0.0
        self.distance = np.abs(x - x[:1]).mean(0)
        self.scale, self.offset = (np.abs(each.astype(np.float64)).ravel() for each in (sample.scale, sample.offset))

    def of(self, result: str, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One unit of the size that the bound of this result names, and how far apart two implementations may be."""
        if result == "count":
            return np.ones(value.shape), np.full(value.shape, 2 * UNITS["count"])
        size, also = getattr(self, f"_of_{result}")(np.abs(value.astype(np.float64)))
        units = UNITS[result] + (result == "y" and self.wide)
        narrow = is_half(self.sample.dtype)
        bound = units * unit_of(size, np.float32 if narrow else self.sample.dtype) + also
        if is_floating(value.dtype):  # its own rounding, where that type is narrower or ends
            bound = bound + smallest_of(value.dtype)
            if narrow or value.dtype.itemsize < self.sample.dtype.itemsize:
                bound = bound + unit_of(np.abs(value), value.dtype) / 2
        unit, bound = np.broadcast_arrays(unit_of(size, self.sample.dtype), 2 * bound)
        return np.where(unit == 0, bound, unit), bound  # of 0 there are no units: the bound is one

    def _of_mean(self, value: np.ndarray) -> tuple[Any, Any]:
        size = np.maximum(np.abs(self.mean), np.sqrt(self.variance))
        return size.reshape(value.shape), (self.sums * self.distance).reshape(value.shape)

    def _of_variance(self, value: np.ndarray) -> tuple[Any, Any]:
        return value, self.sums * value + (self.sums * self.distance).reshape(value.shape) ** 2

    def _of_y(self, value: np.ndarray) -> tuple[Any, Any]:
        terms = self.scale * np.maximum(np.abs(self.normalized), 1) + self.offset
        also = self.sums * terms
        if self.wide:
            also = also + self.scale * self.inverse * (np.abs(self.mean) * 2.0**-53 + self.sums * self.distance)
        return self.sample.spread(terms), 0.0 if self.inference else self.sample.spread(also)

    def _of_dx(self, value: np.ndarray) -> tuple[Any, Any]:
        largest = self.sample.columns(value).max(0)
        if self.inference:
            return self.sample.spread(largest), 0.0
        dy, normalized = np.abs(self._dy), np.abs(self.normalized)
        mean_size = np.abs((self._dy * self.normalized).mean(0))
        terms = dy.max(0) + np.abs(self._dy.mean(0)) + normalized.max(0) * mean_size
        terms = np.maximum(largest, terms * self.scale * self.inverse)
        if self.wide:
            return self.sample.spread(terms), self.sample.spread(2 * self.sums * terms)
        away = np.maximum(1, np.abs(self.mean) * self.inverse)
        return self.sample.spread(largest), self.sample.spread(LEFT_BY_FLOAT64 * away * terms)

    def _of_dscale(self, value: np.ndarray) -> tuple[Any, Any]:
        return self._of_sum(self._dy * self.normalized, value)

    def _of_doffset(self, value: np.ndarray) -> tuple[Any, Any]:
        return self._of_sum(self._dy, value)

    def _of_sum(self, terms: np.ndarray, value: np.ndarray) -> tuple[Any, Any]:
        """A random sum of n terms is about as large as their norm."""
        norm = np.sqrt(np.square(terms).sum(0)).reshape(value.shape)
        furthest = np.abs(np.cumsum(terms, axis=0)).max(0).reshape(value.shape)  # of the sums on the way
        return np.maximum(value, norm), self.sums * furthest


def unit_of(size: Any, dtype: Any) -> np.ndarray:
    """One unit in the last place of a number of this size, as if the exponent of the type had no limits; 0 for 0."""
    size = np.asarray(size, np.float64)
    dtype = np.dtype(dtype)
    unit = 2.0**-7 if is_bfloat16(dtype) else np.float64(np.finfo(dtype).eps)  # NumPy's finfo knows its own types alone
    return np.where(size == 0, 0, np.ldexp(unit, np.frexp(size)[1] - 1))


def smallest_of(dtype: np.dtype) -> float:
    """The smallest number of the type above 0."""
    return 2.0**-133 if is_bfloat16(dtype) else float(np.finfo(dtype).smallest_subnormal)
