"""The course's functions under pybn's names and signatures, so that they can be compared with `pybn.reference`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pybn.study.adapters.functions import CourseFunctions


class CourseOperations:
    """A course pair under the names and signatures of `pybn.reference`, for `study.compare`.

    x may have any rank; feature_axis must be one axis, and there is no mask.  The batch statistics are
    read off the averages of a step that keeps nothing of the old ones (momentum 0), so a pair whose
    averages are wrong gives wrong statistics here too.  The course has no gradient of test mode.
    """

    def __init__(self, functions: CourseFunctions) -> None:
        if functions.forward is None:
            raise TypeError("operations need a forward for (n, d), got none")
        self.functions = functions

    def batch_norm_training(self, x, scale, offset, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
        """y, mean, variance."""
        y, _, state = self._forward(x, scale, offset, feature_axis, epsilon, mask)
        mean, variance = (np.ravel(state[key]).astype(np.float64) for key in ("running_mean", "running_var"))
        return _deliver(y, x, feature_axis, out), mean, variance

    def batch_norm_gradient(self, x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
        """dx, dscale, doffset; mean and variance are the pair's own, from a forward run again."""
        if self.functions.backward is None:
            raise NotImplementedError("this implementation has no backward")
        _, cache, _ = self._forward(x, scale, None, feature_axis, epsilon, mask)
        dx, dscale, doffset = self.functions.backward(_rows(dy, feature_axis), cache)
        return _deliver(dx, x, feature_axis, out), None if scale is None else np.ravel(dscale), np.ravel(doffset)

    def batch_norm_inference(
        self, x, scale, offset, mean, variance, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None
    ):
        """y, from given mean and variance."""
        averages = {"running_mean": np.array(mean), "running_var": np.array(variance)}
        y, _, _ = self._forward(x, scale, offset, feature_axis, epsilon, mask, {"mode": "test", **averages})
        return _deliver(y, x, feature_axis, out)

    def _forward(self, x, scale, offset, feature_axis, epsilon, mask, settings=None):
        if mask is not None:
            raise NotImplementedError("this implementation takes no mask")
        rows = _rows(x, feature_axis)
        features = rows.shape[1]
        scale = np.ones(features, rows.dtype) if scale is None else scale
        offset = np.zeros(features, rows.dtype) if offset is None else offset
        state = {"mode": "train", "eps": epsilon, "momentum": 0.0} | (settings or {})
        assert self.functions.forward is not None
        y, cache = self.functions.forward(rows, scale, offset, state)
        return y, cache, state


def _one_axis(feature_axis: Any) -> int:
    axes = tuple(feature_axis) if isinstance(feature_axis, Sequence) else (feature_axis,)
    if len(axes) != 1:
        raise NotImplementedError(f"this implementation takes one feature axis, got {feature_axis!r}")
    return axes[0]


def _rows(x: np.ndarray, feature_axis: Any) -> np.ndarray:
    """x with the features last and everything else in rows."""
    moved = np.moveaxis(x, _one_axis(feature_axis), -1)
    return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))


def _deliver(rows: np.ndarray, x: np.ndarray, feature_axis: Any, out: np.ndarray | None) -> np.ndarray:
    """Rows in the order of x again, in `out` where that is given."""
    axis = _one_axis(feature_axis)
    moved = np.moveaxis(x, axis, -1).shape
    result = np.moveaxis(np.asarray(rows).reshape(moved), -1, axis)
    if out is None:
        return result
    out[...] = result
    return out
