"""The one generator of awkward arrays: shapes, layouts and masks that have broken numerical code before."""

from __future__ import annotations

import numpy as np
import pytest

try:
    import ml_dtypes  # after which NumPy knows the name bfloat16
except ModuleNotFoundError:
    ml_dtypes = None

WITHOUT = pytest.mark.skipif(ml_dtypes is None, reason="ml_dtypes, which has bfloat16, is not installed")
# Names, for a test's parameters; and the types that there are here, for a loop.
HALVES = ("float16", pytest.param("bfloat16", marks=WITHOUT))
NAMES = (*HALVES, "float32", "float64")
DTYPES = (np.float16, *([] if ml_dtypes is None else [ml_dtypes.bfloat16]), np.float32, np.float64)


def limits(dtype):
    """`np.finfo`, which does not know bfloat16."""
    dtype = np.dtype(dtype)
    return np.finfo(dtype) if dtype.kind == "f" else ml_dtypes.finfo(dtype.type)


# (shape, feature_axis): n = 1, 2, 3, 5; C = 1, 31, 33; the feature axis last, first, between, several
# of them adjacent and not, negative, and unsorted.  Every size of a shape differs where it can.
SHAPES = (
    ((1, 4), -1),
    ((2, 1), -1),
    ((3, 31), 1),
    ((5, 33), -1),
    ((67, 3), -1),
    ((4, 7), 0),
    ((33, 5), -2),
    ((3, 5, 2), 1),
    ((5, 3, 4), 2),
    ((2, 3, 4, 5), 1),
    ((2, 3, 4, 5), -1),
    ((2, 3, 4, 5), 0),
    ((2, 3, 4, 5), (1, 2)),
    ((2, 3, 4, 5), (1, 3)),
    ((2, 3, 4, 5), (-1, 0)),
    ((2, 3, 4, 5), (3, 1, 2)),
    ((3, 1, 5), (0, 1)),
    ((2, 2, 3, 2, 3), (2, -1)),
    ((4, 3, 1, 1), 1),
    ((1, 3, 4, 4), 1),
    ((3, 0), -1),
    ((2, 0, 4), 1),
)


def axes_of(feature_axis, ndim):
    """The feature axes, ascending and not negative."""
    return tuple(sorted(axis % ndim for axis in np.atleast_1d(feature_axis)))


def feature_shape(shape, feature_axis):
    """The shape of scale, offset, mean and variance."""
    return tuple(shape[axis] for axis in axes_of(feature_axis, len(shape)))


def sample(rng, shape, dtype, feature_axis=-1):
    """Random values whose mean and deviation differ from feature to feature (12 +- 3, 0.5 to 2)."""
    axes = axes_of(feature_axis, len(shape))
    per_feature = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    mean, deviation = rng.normal(12, 3, per_feature), rng.uniform(0.5, 2, per_feature)
    return (mean + deviation * rng.standard_normal(shape)).astype(dtype)


def parameters(rng, shape, feature_axis, dtype):
    """A scale of both signs and an offset, random, neither near 0 nor large."""
    wanted = feature_shape(shape, feature_axis)
    scale = rng.uniform(0.5, 2, wanted) * rng.choice([-1, 1], wanted)
    return scale.astype(dtype), rng.normal(0, 1, wanted).astype(dtype)


def masks(rng, shape, feature_axis):
    """Names and masks of x: of the other axes alone, of x's rank, broadcast, strided, down to one element."""
    axes = axes_of(feature_axis, len(shape))
    others = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    some = rng.random(others) < 0.6
    some.flat[rng.integers(some.size)] = True
    one = np.zeros(others, bool)
    one.flat[rng.integers(one.size)] = True
    full_rank = np.expand_dims(some, axes)
    first_axis = np.ones(others, bool)[:, ...]
    first_axis = rng.random((others[0],) + (1,) * (len(others) - 1)) < 0.7
    first_axis[0] = True
    return {
        "rank of the other axes": some,
        "rank of x": full_rank,
        "one element": one,
        "all real": np.ones(others, bool),
        "broadcast": first_axis,
        "scalar-like": np.ones((1,) * len(shape), bool),
        "strided": np.repeat(some, 2, axis=-1)[..., ::2],
    }


# --- layouts: the same values in another memory ----------------------------------------------


def strided(a):
    """Every second element of a larger array along each axis."""
    wide = np.full([2 * size for size in a.shape], 777, a.dtype)
    view = wide[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def reversed_axes(a):
    """Negative strides along every axis."""
    back = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[back])[back]


def last_axis_first_in_memory(a):
    """A view whose axes lie in memory in another order (a batch that was moved, not copied)."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1)


def read_only(a):
    """Not writeable."""
    a = a.copy()
    a.flags.writeable = False
    return a


def byte_swapped(a):
    """The other byte order."""
    return a.astype(a.dtype.newbyteorder())


def far_into_a_buffer(a):
    """A slice that starts a prime number of elements into a larger buffer."""
    start = 100_003
    buffer = np.full(start + a.size + 7, 777, a.dtype)
    buffer[start : start + a.size] = a.ravel()
    return buffer[start : start + a.size].reshape(a.shape)


def unaligned(a):
    """Elements that start at odd addresses."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "negative strides": reversed_axes,
    "transposed": last_axis_first_in_memory,
    "read-only": read_only,
    "byte-swapped": byte_swapped,
    "far into a buffer": far_into_a_buffer,
    "unaligned": unaligned,
}
