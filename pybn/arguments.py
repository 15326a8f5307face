"""What both implementations accept: axes, shapes, dtypes, masks, and the text of every error.

Every message names the argument, the rule and the value that broke it.  Nothing here computes
batch normalization; nothing elsewhere words an error about its arguments.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pybn import halves

# float16, and bfloat16 of ml_dtypes, are computed in a wider type and given back; longdouble would have to be narrowed.
ACCEPTED = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
# Tuples: `bool | np.bool_` would be made anew at each call.  int first: the abstract class takes 0.4 us to ask.
BOOLEAN = (bool, np.bool_)
INTEGER = (int, numbers.Integral)


class Moments(NamedTuple):
    """What one batch says of each feature: `count` elements, their `mean` and population `variance`.

    count is one int; mean and variance are float64 arrays with the shape of the feature axes.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    mean: np.ndarray
    variance: np.ndarray


class GradientSums(NamedTuple):
    """What a part of a batch gives to the gradient of the whole: its `count`, and per feature two sums over it.

    `dy` is the sum of dy and `dy_normalized` that of dy times x-hat, float64 arrays with the shape of the feature axes.
    The sums of two parts, added with +, are those of both together.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    dy: np.ndarray
    dy_normalized: np.ndarray

    def __add__(self, other: GradientSums) -> GradientSums:  # type: ignore[override]  # not one tuple behind the other
        a, b = gradient_sums("the left of +", self), gradient_sums("the right of +", other)
        if a.dy.shape != b.dy.shape:
            raise ValueError(f"GradientSums of the same features add up, got shapes {a.dy.shape} and {b.dy.shape}")
        return GradientSums(a.count + b.count, a.dy + b.dy, a.dy_normalized + b.dy_normalized)


class Batch(NamedTuple):
    """A checked input: x in native byte order, its feature axes ascending, the mask of x's rank."""

    x: np.ndarray
    axes: tuple[int, ...]
    mask: np.ndarray | None  # bool, size 1 along the feature axes; None: every element counts
    count: int  # type: ignore[assignment]  # hides tuple.count

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of scale, offset, mean and variance."""
        return tuple([self.x.shape[axis] for axis in self.axes])

    @property
    def reduced_axes(self) -> tuple[int, ...]:
        """The axes that the statistics sum over."""
        return tuple(axis for axis in range(self.x.ndim) if axis not in self.axes)

    def along_features(self, values: np.ndarray) -> np.ndarray:
        """`values`, one for each feature, shaped to broadcast against x."""
        return values.reshape([size if axis in self.axes else 1 for axis, size in enumerate(self.x.shape)])


def batch(x: Any, feature_axis: Any = -1, mask: Any = None) -> Batch:
    """Check x, its feature axes and its mask together; ValueError or TypeError with the rule.

    It may be empty, or masked as a whole: a part of a batch, or what inference is asked for.
    """
    x = float_array("x", x)
    if x.ndim < 2:
        raise ValueError(f"x must have rank 2 or more (a batch axis and a feature axis), got shape {x.shape}")
    axes = feature_axes(feature_axis, x.ndim)
    if mask is not None:
        mask = mask_array(mask, x.shape, axes)
    return Batch(x, axes, mask, _count(x.shape, axes, mask))


def whole_batch(x: Any, feature_axis: Any = -1, mask: Any = None) -> Batch:
    """As `batch`, of what is normalized with its own statistics: of nothing there are none."""
    found = batch(x, feature_axis, mask)
    if found.count == 0:
        raise ValueError(
            f"x must have at least one {'unmasked ' if mask is not None else ''}element per feature, "
            f"got count 0 for x of shape {found.x.shape} with feature axes {found.axes}"
        )
    return found


def float_array(name: str, value: Any) -> np.ndarray:
    """`value` as a native-endian float16, bfloat16, float32 or float64 array; TypeError for anything else."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a numpy.ma.MaskedArray; pass mask= (True = real) instead")
    array = np.asarray(value)
    if array.dtype in ACCEPTED:
        return array
    native = array.dtype.newbyteorder("=")
    if native not in ACCEPTED and not halves.is_bfloat16(native):
        raise TypeError(
            f"{name} must be float16, bfloat16, float32 or float64, got {array.dtype}; convert it with astype"
        )
    return array.astype(native, copy=False)


def feature_axes(feature_axis: Any, ndim: int) -> tuple[int, ...]:
    """The feature axes as ascending non-negative ints: `feature_axis` is one int or a tuple of ints."""
    if type(feature_axis) is int and -ndim <= feature_axis < ndim > 1:  # as nearly always; the rest takes 1.5 us
        return (feature_axis % ndim,)
    one = isinstance(feature_axis, (*INTEGER, bytes, bytearray, memoryview)) or not isinstance(feature_axis, Sequence)
    given = (feature_axis,) if one else tuple(feature_axis)
    if not given:
        raise ValueError("feature_axis must name at least one axis, got an empty tuple")
    for axis in given:
        if isinstance(axis, BOOLEAN) or not isinstance(axis, INTEGER):
            raise TypeError(f"feature_axis must be an int or a tuple of ints, got {feature_axis!r}")
        if not -ndim <= int(axis) < ndim:
            raise ValueError(f"feature_axis must lie in [-{ndim}, {ndim}) for x of rank {ndim}, got {feature_axis!r}")
    axes = {int(axis) % ndim for axis in given}
    if len(axes) < len(given):
        raise ValueError(f"feature_axis must not name an axis twice, got {feature_axis!r} for x of rank {ndim}")
    if len(axes) == ndim:
        raise ValueError(
            f"feature_axis must leave at least one axis to reduce, got {feature_axis!r} for x of rank {ndim}"
        )
    return tuple(sorted(axes))


def mask_array(mask: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """The mask with the rank of x and size 1 along the feature axes, so that `count` is one number."""
    array = _as_bools(mask)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    if array.ndim == len(others):
        array = array.reshape(_scattered(array.shape, others, len(shape)))
    wanted = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    if array.ndim != len(shape) or any(got not in (1, want) for got, want in zip(array.shape, wanted, strict=True)):
        raise ValueError(
            f"mask must broadcast to the axes of x that are not features: shape {tuple(shape[a] for a in others)}, "
            f"or {wanted}, or with ones for sizes; got {np.shape(mask)} for x of shape {shape}"
        )
    return array


def _as_bools(mask: Any) -> np.ndarray:
    """The mask as booleans; zeros and ones of another type say the same, any other number says nothing."""
    if isinstance(mask, np.ma.MaskedArray):
        raise TypeError("mask must be a plain array, got a numpy.ma.MaskedArray; pass its filled(False) instead")
    array = np.asarray(mask)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iuf" and not halves.is_bfloat16(array.dtype):
        raise TypeError(f"mask must be boolean (True = a real element), got {array.dtype}")
    other = array[(array != 0) & (array != 1)]
    if other.size:
        raise ValueError(f"mask must be boolean, or hold zeros and ones alone (1 = a real element), got {other[0]}")
    return array != 0


def feature_values(name: str, value: Any, batch: Batch) -> np.ndarray:
    """One float of any accepted type for each feature: scale, offset, mean, variance."""
    if value is None:
        raise TypeError(f"{name} must be an array of shape {batch.feature_shape}, got None")
    array = float_array(name, value)
    if array.shape != batch.feature_shape:
        raise ValueError(f"{name} must have the shape of the feature axes {batch.feature_shape}, got {array.shape}")
    return array


def parameter_dtype(scale: Any, batch: Batch) -> np.dtype:
    """The type of dscale and doffset: that of scale, or of x where there is none, but never narrower than float32."""
    own = batch.x.dtype if scale is None else float_array("scale", scale).dtype
    return np.promote_types(own, np.float32)


def output_gradient(dy: Any, batch: Batch) -> np.ndarray:
    """The gradient that arrives from y: the shape and the dtype of x."""
    dy = float_array("dy", dy)
    if dy.shape != batch.x.shape:
        raise ValueError(f"dy must have the shape of x {batch.x.shape}, got {dy.shape}")
    if dy.dtype != batch.x.dtype:
        raise TypeError(f"dy must have the dtype of x, {batch.x.dtype}, got {dy.dtype}")
    return dy


def output_array(out: Any, batch: Batch, *inputs: Any, may_be: Any = None) -> np.ndarray | None:
    """`out` if it can receive the result: x's shape and dtype, writeable, apart from the inputs.

    `may_be` names the one input that `out` may be itself (x, in inference).
    """
    if out is None:
        return None
    x = batch.x
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
    if isinstance(out, np.ma.MaskedArray):  # its mask may refuse what is written, and does not tell
        raise TypeError("out must be a plain array, got a numpy.ma.MaskedArray; pass its data")
    if out.shape != x.shape:
        raise ValueError(f"out must have the shape of x {x.shape}, got {out.shape}")
    if out.dtype != x.dtype:
        raise TypeError(f"out must have the dtype of x, {x.dtype}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    for other in inputs:
        if other is None:
            continue
        # A tensor or a memoryview may hand out its own memory.
        array = other if isinstance(other, np.ndarray) else np.asarray(other)
        if _overlap(out, array) and not (other is may_be and _same_elements(out, array)):
            raise ValueError("out must not share memory with an input (only inference may write over x itself)")
    if _repeats_elements(out):
        raise ValueError(f"out must have an element of its own for each result, got strides {out.strides}")
    return out


def epsilon(value: Any) -> float:
    """A finite number >= 0, the constant under the root; 0 is allowed."""
    number = _real("epsilon", value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"epsilon must be finite and not negative, got {value!r}")
    return number


def momentum(value: Any) -> float:
    """The fraction of the OLD average that is kept, in [0, 1]."""
    number = _real("momentum", value)
    if not 0 <= number <= 1:
        raise ValueError(f"momentum must lie in [0, 1] (the fraction of the old average kept), got {value!r}")
    return number


Triple = TypeVar("Triple", Moments, GradientSums)


def moments(name: str, value: Any) -> Moments:
    """A (count, mean, variance) triple with float64 statistics of one shape."""
    return _triple(Moments, name, value)


def gradient_sums(name: str, value: Any) -> GradientSums:
    """A (count, dy, dy_normalized) triple with float64 sums of one shape."""
    return _triple(GradientSums, name, value)


def sums_of_whole_batch(value: Any, batch: Batch) -> GradientSums:
    """GradientSums with the features of this part, of a whole batch that it may be a part of."""
    sums = gradient_sums("sums", value)
    if sums.dy.shape != batch.feature_shape:
        raise ValueError(f"sums must have the shape of the feature axes {batch.feature_shape}, got {sums.dy.shape}")
    if sums.count < max(batch.count, 1):
        raise ValueError(
            f"sums.count must count the whole batch, at least one element and the {batch.count} of this part of it, "
            f"got {sums.count}; add up the sums of all parts"
        )
    return sums


def mergeable(a: Any, b: Any) -> tuple[Moments, Moments]:
    """Two checked Moments of the same features."""
    a, b = moments("a", a), moments("b", b)
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a and b must describe the same features, got shapes {a.mean.shape} and {b.mean.shape}")
    return a, b


def _triple(kind: type[Triple], name: str, value: Any) -> Triple:
    """A count and two float64 arrays of one shape."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise TypeError(f"{name} must be {kind.__name__}({', '.join(kind._fields)}), got {type(value).__name__}")
    number = _element_count(name, value[0])
    names = [f"{name}.{field}" for field in kind._fields[1:]]
    first, second = (float_array(*each).astype(np.float64, copy=False) for each in zip(names, value[1:], strict=True))
    if first.shape != second.shape:
        raise ValueError(f"{names[0]} and {names[1]} must have one shape, got {first.shape} and {second.shape}")
    return kind(number, first, second)


def _element_count(name: str, count: Any) -> int:
    if isinstance(count, BOOLEAN) or not isinstance(count, INTEGER):
        raise TypeError(f"{name}.count must be an int, got {count!r}")
    if count < 0:
        raise ValueError(f"{name}.count must not be negative, got {count}")
    return int(count)


def _real(name: str, value: Any) -> float:
    if isinstance(value, BOOLEAN) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be finite, got an {type(value).__name__} beyond float64") from error


def all_finite(array: np.ndarray) -> bool:
    """Whether no number of it is NaN or infinite.

    >>> all_finite(np.array([1e200, -1e200])), all_finite(np.array([1.0, np.inf]))
    (True, False)
    """
    # A finite sum of squares has finite terms, and BLAS is quick with it: .5 us for 64 numbers, .7 for 4096, where a
    # look at each takes .6 and 1.2; a step asks 20 times.  From 10 000 on BLAS may wake its threads.
    if array.size < 10_000 and array.dtype.char in "fd" and math.isfinite(np.vdot(array, array)):
        return True
    return b"\0" not in np.isfinite(array).tobytes()  # .8 us for 64 numbers, where all() takes 1.7 and counting 2.1


def _count(shape: tuple[int, ...], axes: tuple[int, ...], mask: np.ndarray | None) -> int:
    """How many elements each feature has: those where the mask, spread over x, is True."""
    if mask is None:
        return math.prod([size for axis, size in enumerate(shape) if axis not in axes])
    spread = math.prod([shape[axis] for axis, size in enumerate(mask.shape) if axis not in axes and size == 1])
    return int(np.count_nonzero(mask)) * spread


def _scattered(sizes: Sequence[int], positions: Sequence[int], ndim: int) -> list[int]:
    """A shape of rank `ndim` with `sizes` at `positions` and 1 elsewhere."""
    shape = [1] * ndim
    for position, size in zip(positions, sizes, strict=True):
        shape[position] = size
    return shape


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        # The exact answer is a hard integer problem for odd strides; 1e5 steps take about 1 ms.
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _same_elements(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a and b are one array: the same element at each index."""
    here, there = a.__array_interface__["data"][0], b.__array_interface__["data"][0]
    return here == there and a.strides == b.strides and a.dtype == b.dtype


def _repeats_elements(a: np.ndarray) -> bool:
    """Whether elements of `a` share bytes, as in a broadcast view or a sliding window."""
    if a.size < 2:
        return False
    steps = sorted((abs(stride), size) for stride, size in zip(a.strides, a.shape, strict=True) if size > 1)
    reach = a.itemsize  # bytes that the axes so far extend over
    nested = True
    for stride, size in steps:
        nested &= stride >= reach
        reach += stride * (size - 1)
    if nested:  # each axis steps over all that the ones before it cover: every array that NumPy itself makes
        return False
    starts = np.zeros(1, np.int64)
    for stride, size in steps:
        starts = np.add.outer(starts, stride * np.arange(size)).ravel()
    return bool(np.diff(np.sort(starts)).min() < a.itemsize)
