"""Batch normalization on plain arrays: the specification, in NumPy.

x is the input, y the output, dy the gradient that arrives from y; mean and variance belong to
one batch, M and V (the moving averages) come in as `mean` and `variance` in inference.
Algorithm and equation numbers are those of Ioffe & Szegedy (2015), arXiv:1502.03167.

Every operation takes x of rank >= 2 in float16, float32 or float64, computes in float64, and
gives y, dx, dscale and doffset in x's dtype and the statistics in float64.  `feature_axis` is
the axis, or tuple of axes, that is NOT reduced; `mask` is True where an element is real.
Bad arguments raise the ValueError or TypeError that `pybn.arguments` words.

In float64 the sums are NumPy's own, which round after each row: over 1e5 rows a variance may be
tens of units in the last place off.  In float32 that is far below what y can show.
"""

from __future__ import annotations

import numpy as np

from pybn import arguments
from pybn.arguments import Moments

__all__ = [
    "Moments",
    "batch_norm_gradient",
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
    x : array of rank >= 2, float16, float32 or float64
    feature_axis : int or tuple of int; the axes that are NOT reduced
    mask : bool array over the other axes; False elements do not count

    Returns
    -------
    Moments(count, mean, variance) : int, float64 and float64 with the shape of the feature axes

    >>> moments(np.array([[1.0, 10.0], [3.0, 10.0]]))
    Moments(count=2, mean=array([ 2., 10.]), variance=array([1., 0.]))
    """
    batch = arguments.batch(x, feature_axis, mask)
    _, mean, variance = _centred(batch)
    return Moments(batch.count, _per_feature(mean, batch), _per_feature(variance, batch))


@_quiet
def merge_moments(a, b):
    """The Moments of two batches together, from those of each (Chan, Golub & LeVeque 1979).

    Parameters
    ----------
    a, b : Moments of the same features, or tuples (count, mean, variance)

    Returns
    -------
    Moments : exact pooling by count, so the order and the sizes of the batches do not matter

    >>> merge_moments(Moments(1, np.array([1.0]), np.array([0.0])), Moments(3, np.array([5.0]), np.array([0.0])))
    Moments(count=4, mean=array([4.]), variance=array([3.]))
    """
    a, b = arguments.mergeable(a, b)
    count = a.count + b.count
    difference = b.mean - a.mean
    mean = a.mean + difference * (b.count / count)
    within = a.variance * (a.count / count) + b.variance * (b.count / count)
    between = difference**2 * (a.count / count) * (b.count / count)
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
    batch = arguments.batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma, beta = _scale(scale, batch), _offset(offset, batch)
    out = arguments.output_array(out, batch, x, scale, offset, mask)

    centred, mean, variance = _centred(batch)  # lines 1 and 2
    normalized = centred * _inverse_deviation(variance, epsilon)  # line 3
    y = gamma * normalized + beta  # line 4

    y = _keep_padding(y, batch.x, batch)
    return _deliver(y, batch, out), _per_feature(mean, batch), _per_feature(variance, batch)


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
    dx, dscale, doffset : in the dtype of x; dscale is None where scale is None.
        doffset is always given: it does not depend on the offset.

    >>> x, dy = np.arange(4.0)[:, None], np.array([[1.0], [0], [0], [0]])
    >>> dx, dscale, doffset = batch_norm_gradient(x, np.ones(1), np.array([1.5]), np.array([1.25]), dy, epsilon=0.0)
    >>> dx.ravel().round(6)
    array([ 0.268328, -0.357771, -0.089443,  0.178885])
    """
    batch, gamma, mean, inverse_deviation, dy64, out = _gradient_arguments(
        x, scale, mean, variance, dy, feature_axis, epsilon, mask, out
    )
    count = batch.count

    normalized = (batch.x - mean) * inverse_deviation
    doffset = _sum(dy64, batch)
    dscale = _sum(dy64 * normalized, batch)
    # Every element moved the batch's mean and variance too: those two paths are the
    # projections of dy on the constant vector and on `normalized`.
    dx = gamma * inverse_deviation * (dy64 - doffset / count - normalized * dscale / count)

    dx = _keep_padding(dx, dy64, batch)
    return _deliver(dx, batch, out), *_parameter_gradients(scale, dscale, doffset, batch)


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
    dx, dscale, doffset : in the dtype of x; dscale is None where scale is None
    """
    batch, gamma, mean, inverse_deviation, dy64, out = _gradient_arguments(
        x, scale, mean, variance, dy, feature_axis, epsilon, mask, out
    )

    normalized = (batch.x - mean) * inverse_deviation
    doffset = _sum(dy64, batch)
    dscale = _sum(dy64 * normalized, batch)
    dx = gamma * inverse_deviation * dy64

    dx = _keep_padding(dx, dy64, batch)
    return _deliver(dx, batch, out), *_parameter_gradients(scale, dscale, doffset, batch)


# --- the two sums, and what is done at the edges of the equations ---------------------------


def _centred(batch):
    """x - mean, the mean and the population variance, in float64, shaped to broadcast with x."""
    # Subtract an element of each feature first: what remains of a constant feature is exactly 0,
    # so its variance is 0 and its y is the offset, for every n; and a mean 1e6 deviations away
    # costs no digits.  Centre before squaring: E[x^2] - E[x]^2 comes out as -8 or -384 there.
    first = _first_element(batch)
    shifted = batch.x - first
    shifted_mean = _sum(shifted, batch) / batch.count
    centred = shifted - shifted_mean
    variance = _sum(centred**2, batch) / batch.count
    return centred, first + shifted_mean, variance


def _first_element(batch):
    """The first element of each feature that is not masked, in float64."""
    mask = np.ones([1] * batch.x.ndim, bool) if batch.mask is None else batch.mask
    position = np.unravel_index(np.argmax(mask), mask.shape)
    index = tuple(slice(None) if axis in batch.axes else slice(at, at + 1) for axis, at in enumerate(position))
    return batch.x[index].astype(np.float64)


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


def _gradient_arguments(x, scale, mean, variance, dy, feature_axis, epsilon, mask, out):
    batch = arguments.batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = _scale(scale, batch)
    mean64 = _statistic("mean", mean, batch)
    variance64 = _statistic("variance", variance, batch)
    dy64 = arguments.output_gradient(dy, batch).astype(np.float64)
    out = arguments.output_array(out, batch, x, scale, mean, variance, dy, mask)
    return batch, gamma, mean64, _inverse_deviation(variance64, epsilon), dy64, out


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


def _parameter_gradients(scale, dscale, doffset, batch):
    """dscale and doffset in x's dtype; dscale is None where there was no scale."""
    dtype = batch.x.dtype
    doffset = _per_feature(doffset, batch).astype(dtype)
    return (None if scale is None else _per_feature(dscale, batch).astype(dtype)), doffset


def _deliver(result, batch, out):
    """The result in x's dtype, in `out` where that is given."""
    if out is None:
        return result.astype(batch.x.dtype)
    out[...] = result
    return out
