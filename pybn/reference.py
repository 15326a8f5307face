"""Batch normalization on plain arrays: the specification, in NumPy.

x is the input, y the output, dy the gradient that arrives from y; mean and variance belong to
one batch, M and V (the moving averages) come in as `mean` and `variance` in inference.
Algorithm and equation numbers are those of Ioffe & Szegedy (2015), arXiv:1502.03167.

Every operation takes x of rank >= 2 in float16, bfloat16, float32 or float64, computes in float64, and
gives y and dx in x's dtype, dscale and doffset in that of the scale (of x where there is none,
and float32 for the two halves), and the statistics in float64.  `feature_axis` is the axis, or tuple of
axes, that is NOT reduced; `mask` is True where an element is real.  Bad arguments raise the
ValueError or TypeError that `pybn.arguments` words.

NaN or infinity in an unmasked x or dy spoils its feature alone: with a batch's own statistics, y
or dx is NaN throughout that feature.  In a scale, an offset, a mean or a variance it goes through
the formula as IEEE arithmetic has it: with a mean of infinity, y is infinite in inference, where x is not.

Inference and the gradients subtract the mean that is given from x as float64s, so x - mean must be
one too, which it is up to 8.9e307 on both sides; beyond that y may be infinite.  The statistics of a
batch, and y in training, are right for any finite x; a variance that float64 cannot hold is inf, or
0, and with it the gradients are 0 (where epsilon is).

In float64 the sums are NumPy's own, which round after each row: over 1e5 rows a variance may be
tens of units in the last place off, and a mean so many times more as the first row is deviations
away from the others.  In float32 that is far below what y can show.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pybn import arguments, halves
from pybn.arguments import GradientSums, Moments

__all__ = [
    "GradientSums",
    "Moments",
    "batch_norm_gradient",
    "batch_norm_gradient_from_sums",
    "batch_norm_gradient_sums",
    "batch_norm_inference",
    "batch_norm_inference_gradient",
    "batch_norm_training",
    "merge_moments",
    "moments",
]

# NaN and infinity are answers here, for the feature that holds them: no warning for them.
_quiet = np.errstate(all="ignore")


@_quiet
def moments(x, *, feature_axis=-1, mask=None):
    """Count, mean and population variance of each feature (Algorithm 1, lines 1 and 2).

    Parameters
    ----------
    x : array of rank >= 2, float16, bfloat16, float32 or float64
    feature_axis : int or tuple of int; the axes that are NOT reduced
    mask : bool array over the other axes; False elements do not count

    Returns
    -------
    Moments(count, mean, variance) : int, float64 and float64 with the shape of the feature axes;
        of nothing (an empty or wholly masked x) they are 0, which `merge_moments` leaves out

    >>> moments(np.array([[1.0, 10.0], [3.0, 10.0]]))
    Moments(count=2, mean=array([ 2., 10.]), variance=array([1., 0.]))
    """
    batch = arguments.batch(x, feature_axis, mask)
    if batch.count == 0:
        return Moments(0, np.zeros(batch.feature_shape), np.zeros(batch.feature_shape))
    _, mean, variance, unit = _centred(batch)
    return Moments(batch.count, *_statistics(mean, variance, unit, batch))


@_quiet
def merge_moments(a, b):
    """The Moments of two batches together, from those of each (Chan, Golub & LeVeque 1979).

    Parameters
    ----------
    a, b : Moments of the same features, or tuples (count, mean, variance)

    Returns
    -------
    Moments : exact pooling by count, so the order and the sizes of the batches do not matter;
        Moments of nothing, with count 0, change nothing

    >>> merge_moments(Moments(1, np.array([1.0]), np.array([0.0])), Moments(3, np.array([5.0]), np.array([0.0])))
    Moments(count=4, mean=array([4.]), variance=array([3.]))
    """
    a, b = arguments.mergeable(a, b)
    if a.count < b.count:
        a, b = b, a
    if b.count == 0:
        return Moments(a.count, a.mean.copy(), a.variance.copy())
    count = a.count + b.count
    # Half of it: the difference of two float64s may be no float64 where their mean is one.
    half = b.mean / 2 - a.mean / 2
    mean = a.mean + 2 * (half * (b.count / count))
    within = a.variance * (a.count / count) + b.variance * (b.count / count)
    between = 4 * (half * (a.count / count)) * (half * (b.count / count))
    return Moments(count, mean, within + between)


@_quiet
def batch_norm_training(x, scale, offset, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """Normalize a batch with its own statistics (Algorithm 1).

    Parameters
    ----------
    x : array of rank >= 2
    scale, offset : arrays with the shape of the feature axes, or None for 1 and 0
    epsilon : float >= 0, added to the variance under the root
    mask : bool array over the other axes; where False, y = x and nothing is summed
    out : array like x that receives y

    Returns
    -------
    y, mean, variance : dtype of x; float64; float64

    >>> y, mean, variance = batch_norm_training(np.array([[1.0], [3.0]]), None, None, epsilon=0.0)
    >>> y.ravel(), mean, variance
    (array([-1.,  1.]), array([2.]), array([1.]))
    """
    batch = arguments.whole_batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma, beta = _scale(scale, batch), _offset(offset, batch)
    out = arguments.output_array(out, batch, x, scale, offset, mask)

    centred, mean, variance, unit = _centred(batch)  # lines 1 and 2
    normalized = centred * _inverse_deviation(variance, epsilon / unit / unit)  # line 3
    y = gamma * normalized + beta  # line 4

    y = _keep_padding(y, batch.x, batch)
    return _deliver(y, batch, out), *_statistics(mean, variance, unit, batch)


@_quiet
def batch_norm_gradient(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """Gradient of `batch_norm_training` (section 3, the chain rule after Algorithm 1).

    Parameters
    ----------
    x, scale : as in the forward pass
    mean, variance : those that the forward pass returned
    dy : array like x, the gradient of the loss with respect to y
    out : array like x that receives dx

    Returns
    -------
    dx, dscale, doffset : dx in the dtype of x, the others in that of the scale, or of x where there
        is none, and never narrower than float32.  dscale is None where scale is None; doffset is
        always given: it does not depend on the offset.

    >>> x, dy = np.arange(4.0)[:, None], np.array([[1.0], [0], [0], [0]])
    >>> dx, dscale, doffset = batch_norm_gradient(x, np.ones(1), np.array([1.5]), np.array([1.25]), dy, epsilon=0.0)
    >>> dx.ravel().round(6)
    array([ 0.268328, -0.357771, -0.089443,  0.178885])
    """
    batch = arguments.whole_batch(x, feature_axis, mask)
    part, gamma, out = _gradient_arguments(x, scale, mean, variance, dy, epsilon, mask, out, batch)
    sums = _two_sums(part)
    dx = _from_sums(part, gamma, sums)
    return _deliver(dx, batch, out), *_parameter_gradients(scale, sums, batch)


@_quiet
def batch_norm_gradient_sums(x, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None):
    """The first half of `batch_norm_gradient`: what a part of a batch adds to its two sums.

    Parameters
    ----------
    x, dy : a part of the batch and of the gradient with respect to y; it may be empty
    mean, variance : those of the whole batch

    Returns
    -------
    GradientSums(count, dy, dy_normalized) : added up over all parts, they are those of the batch:
        doffset and dscale, in float64

    >>> x, dy = np.arange(4.0)[:, None], np.array([[1.0], [0], [0], [0]])
    >>> batch_norm_gradient_sums(x, np.array([1.5]), np.array([1.25]), dy, epsilon=0.0)
    GradientSums(count=4, dy=array([1.]), dy_normalized=array([-1.34164079]))
    """
    batch = arguments.batch(x, feature_axis, mask)
    part, _, _ = _gradient_arguments(x, None, mean, variance, dy, epsilon, mask, None, batch)
    return _two_sums(part)


@_quiet
def batch_norm_gradient_from_sums(
    x, scale, mean, variance, dy, sums, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None
):
    """The second half of `batch_norm_gradient`: dx of a part, from the sums over the whole batch.

    Parameters
    ----------
    x, scale, mean, variance, dy, out : as in `batch_norm_gradient`; x and dy are a part, and may be empty
    sums : GradientSums of all parts added up, or a tuple (count, dy, dy_normalized)

    Returns
    -------
    dx : array like x

    >>> x, dy = np.arange(4.0)[:, None], np.array([[1.0], [0], [0], [0]])
    >>> statistics = np.array([1.5]), np.array([1.25])
    >>> first, second = (batch_norm_gradient_sums(x[i], *statistics, dy[i], epsilon=0.0) for i in ([0, 1, 2], [3]))
    >>> batch_norm_gradient_from_sums(x[[3]], None, *statistics, dy[[3]], first + second, epsilon=0.0).round(6)
    array([[0.178885]])
    """
    batch = arguments.batch(x, feature_axis, mask)
    part, gamma, out = _gradient_arguments(x, scale, mean, variance, dy, epsilon, mask, out, batch)
    sums = arguments.sums_of_whole_batch(sums, batch)
    out = arguments.output_array(out, batch, sums.dy, sums.dy_normalized)
    return _deliver(_from_sums(part, gamma, sums), batch, out)


@_quiet
def batch_norm_inference(x, scale, offset, mean, variance, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """Normalize with given statistics, the moving averages (Algorithm 2, line 11).

    Parameters
    ----------
    x, scale, offset, epsilon, mask : as in `batch_norm_training`
    mean, variance : arrays with the shape of the feature axes
    out : array like x that receives y; it may be x itself

    Returns
    -------
    y : array like x

    >>> batch_norm_inference(np.array([[3.0], [5.0]]), None, None, np.array([1.0]), np.array([4.0]), epsilon=0.0)
    array([[1.],
           [2.]])
    """
    batch = arguments.batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma, beta = _scale(scale, batch), _offset(offset, batch)
    mean64 = _statistic("mean", mean, batch)
    variance64 = _statistic("variance", variance, batch)
    out = arguments.output_array(out, batch, x, scale, offset, mean, variance, mask, may_be=x)

    normalized = (batch.x - mean64) * _inverse_deviation(variance64, epsilon)
    y = gamma * normalized + beta

    return _deliver(_keep_padding(y, batch.x, batch), batch, out)


@_quiet
def batch_norm_inference_gradient(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """Gradient of `batch_norm_inference`: the statistics are constants, so each element is alone.

    Parameters
    ----------
    x, scale, mean, variance : as in the forward pass
    dy : array like x, the gradient of the loss with respect to y
    out : array like x that receives dx

    Returns
    -------
    dx, dscale, doffset : in the types of `batch_norm_gradient`; dscale is None where scale is None
    """
    batch = arguments.batch(x, feature_axis, mask)
    part, gamma, out = _gradient_arguments(x, scale, mean, variance, dy, epsilon, mask, out, batch)
    dx = gamma * part.inverse_deviation * part.dy

    dx = _keep_padding(dx, part.dy, batch)
    return _deliver(dx, batch, out), *_parameter_gradients(scale, _two_sums(part), batch)


# --- the two sums of each direction, and what is done at the edges of the equations ----------


def _centred(batch):
    """x - mean, the mean and the population variance, in float64, shaped to broadcast with x.

    They are multiples of the last result, `unit`: 1, but for numbers whose squares float64 cannot hold.
    """
    unit = _unit(batch)
    # Subtract an element of each feature first: what remains of a constant feature is exactly 0,
    # so its variance is 0 and its y is the offset, for every n; and a mean 1e6 deviations away
    # costs no digits.  Centre before squaring: E[x^2] - E[x]^2 comes out as -8 or -384 there.
    first = _first_element(batch) / unit
    shifted = batch.x / unit - first
    shifted_mean = _sum(shifted, batch) / batch.count
    centred = shifted - shifted_mean
    variance = _sum(centred**2, batch) / batch.count
    return centred, first + shifted_mean, variance, unit


def _unit(batch):
    """1 for each feature, or a power of two about as large as its largest element where that is far from 1."""
    where = True if batch.mask is None else batch.mask
    x = np.asarray(batch.x, np.float64)
    largest = np.max(np.abs(x), axis=batch.reduced_axes, keepdims=True, where=where, initial=0.0)
    exponent = np.frexp(largest)[1] - 1
    # Squares of numbers within 2**450 of 1, and the sum of 2**100 of them, are far inside float64's range.
    return np.ldexp(1.0, np.where(np.isfinite(largest) & (largest > 0) & (np.abs(exponent) > 450), exponent, 0))


def _two_sums(part):
    """The GradientSums of checked arguments: sum of dy, and of dy * x-hat (the last two lines of section 3)."""
    batch = part.batch
    doffset = _sum(part.dy, batch)
    dscale = _sum(part.dy * part.normalized, batch)
    return GradientSums(batch.count, _per_feature(doffset, batch), _per_feature(dscale, batch))


def _from_sums(part, gamma, sums):
    """dx in float64, dy under the mask."""
    batch, count = part.batch, sums.count
    doffset, dscale = batch.along_features(sums.dy), batch.along_features(sums.dy_normalized)
    # Every element moved the batch's mean and variance too: those two paths are the
    # projections of dy on the constant vector and on `normalized`.
    dx = gamma * part.inverse_deviation * (part.dy - doffset / count - part.normalized * dscale / count)
    # Infinity less the mean of infinity is no number, for any element of the feature.
    dx = np.where(np.isfinite(doffset) & np.isfinite(dscale), dx, np.nan)
    return _keep_padding(dx, part.dy, batch)


def _first_element(batch):
    """The first element of each feature that is not masked."""
    mask = np.ones([1] * batch.x.ndim, bool) if batch.mask is None else batch.mask
    position = np.unravel_index(np.argmax(mask), mask.shape)
    index = tuple(slice(None) if axis in batch.axes else slice(at, at + 1) for axis, at in enumerate(position))
    return batch.x[index]


def _sum(values, batch):
    """Sum over the axes that are not features; masked elements are not read."""
    where = True if batch.mask is None else batch.mask
    return np.sum(values, axis=batch.reduced_axes, keepdims=True, where=where)


def _inverse_deviation(variance, epsilon):
    """1 / sqrt(variance + epsilon); 0 where that is 1 / 0, so that y is the offset and dx is 0."""
    return np.where(variance + epsilon == 0, 0.0, 1 / np.sqrt(variance + epsilon))


def _keep_padding(result, original, batch):
    """`result` where an element is real, `original` under the mask."""
    return result if batch.mask is None else np.where(batch.mask, result, original)


# --- arguments in, results out --------------------------------------------------------------


class _Part(NamedTuple):
    """The checked arguments of a gradient, in float64 and shaped to broadcast with x."""

    batch: arguments.Batch
    normalized: np.ndarray
    inverse_deviation: np.ndarray
    dy: np.ndarray


def _gradient_arguments(x, scale, mean, variance, dy, epsilon, mask, out, batch):
    """The arguments as a _Part, the scale and `out`."""
    epsilon = arguments.epsilon(epsilon)
    gamma = _scale(scale, batch)
    mean64 = _statistic("mean", mean, batch)
    inverse_deviation = _inverse_deviation(_statistic("variance", variance, batch), epsilon)
    dy64 = arguments.output_gradient(dy, batch).astype(np.float64)
    out = arguments.output_array(out, batch, x, scale, mean, variance, dy, mask)
    return _Part(batch, (batch.x - mean64) * inverse_deviation, inverse_deviation, dy64), gamma, out


def _scale(scale, batch):
    return 1.0 if scale is None else _statistic("scale", scale, batch)


def _offset(offset, batch):
    return 0.0 if offset is None else _statistic("offset", offset, batch)


def _statistic(name, values, batch):
    """One float64 for each feature, shaped to broadcast with x."""
    return batch.along_features(arguments.feature_values(name, values, batch).astype(np.float64))


def _per_feature(values, batch):
    """One value for each feature, in the shape of the feature axes."""
    return values.reshape(batch.feature_shape)


def _statistics(mean, variance, unit, batch):
    """Mean and variance of each feature, from multiples of `unit`."""
    return _per_feature(mean * unit, batch), _per_feature(variance * unit * unit, batch)


def _parameter_gradients(scale, sums, batch):
    """dscale and doffset in the parameters' dtype; dscale is None where there was no scale."""
    dtype = arguments.parameter_dtype(scale, batch)
    return (None if scale is None else sums.dy_normalized.astype(dtype)), sums.dy.astype(dtype)


def _deliver(result, batch, out):
    """The result in x's dtype, in `out` where that is given."""
    result = halves.rounded(result, batch.x.dtype)
    if out is None:
        return result
    out[...] = result
    return out
