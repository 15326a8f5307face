"""Exact answers, computed apart from the package: rational sums, and longdouble for each element.

Every float is an integer times a power of two, so sums of x, x^2, dy and dy*x are exact in Python's
integers, and the mean and the variance are fractions without any rounding.  What follows element by
element, (x - mean) / sqrt(variance + epsilon), is done in longdouble with the mean in two parts.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

WIDE = np.longdouble


class Statistics(NamedTuple):
    """Exact count, mean and population variance of each feature; fractions in an object array."""

    count: int
    mean: np.ndarray
    variance: np.ndarray


class Columns(NamedTuple):
    """x as rows x features, and which rows are real."""

    values: np.ndarray
    real: np.ndarray  # bool, one for each row
    shape: tuple[int, ...]  # of x with the feature axes last
    axes: tuple[int, ...]

    @property
    def feature_shape(self):
        return self.shape[len(self.shape) - len(self.axes) :]

    def restore(self, rows):
        """Rows x features back in the layout of x."""
        last = range(len(self.shape) - len(self.axes), len(self.shape))
        return np.moveaxis(rows.reshape(self.shape), last, self.axes)


def columns(x, feature_axis=-1, mask=None):
    """The features of x as columns; the mask, of the other axes or of x's rank, as one bool a row."""
    axes = tuple(sorted(axis % x.ndim for axis in np.atleast_1d(feature_axis)))
    last = range(x.ndim - len(axes), x.ndim)
    moved = np.moveaxis(x, axes, last)
    features = int(np.prod(moved.shape[x.ndim - len(axes) :]))
    others = moved.shape[: x.ndim - len(axes)]
    if mask is None:
        real = np.ones(others, bool)
    else:
        mask = np.asarray(mask)
        if mask.ndim == x.ndim:
            mask = np.moveaxis(mask, axes, last).reshape(np.moveaxis(mask, axes, last).shape[: len(others)])
        real = np.broadcast_to(mask, others)
    rows = int(np.prod(others))
    return Columns(moved.reshape(rows, features), real.ravel(), moved.shape, axes)


def integers(values):
    """Python integers i and an exponent e with values = i * 2**e, exactly."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    exponents = np.where(mantissas == 0, 0, exponents.astype(int) - 53)
    lowest = int(exponents.min(initial=0))
    whole = (mantissas * 2.0**53).astype(np.int64).astype(object)
    return whole * [1 << int(e - lowest) for e in exponents], lowest


def total(*factors):
    """The exact sum of the products of some `integers`."""
    product, exponent = factors[0]
    for more, e in factors[1:]:
        product, exponent = product * more, exponent + e
    return _scaled(int(product.sum()), exponent)


def _scaled(whole, exponent):
    """whole * 2**exponent."""
    return Fraction(whole << exponent) if exponent > 0 else Fraction(whole, 1 << -exponent)


def statistics(x, feature_axis=-1, mask=None):
    """The exact moments of x."""
    table = columns(x, feature_axis, mask)
    count = int(table.real.sum())
    means, variances = [], []
    for column in map(integers, table.values[table.real].T):
        mean = total(column) / count
        means.append(mean)
        variances.append(total(column, column) / count - mean**2)
    return Statistics(count, _objects(means), _objects(variances))


def given(mean, variance, count=0):
    """Statistics that a caller hands in: floats of any type, taken as exact."""
    return Statistics(count, _fractions(mean), _fractions(variance))


def forward(x, stats, scale=None, offset=None, *, feature_axis=-1, epsilon=1e-3, mask=None):
    """y in longdouble from exact statistics: batch_norm_training and batch_norm_inference."""
    table = columns(x, feature_axis, mask)
    normalized = _normalized(table, stats, epsilon)
    y = _wide(scale, table, 1) * normalized + _wide(offset, table, 0)
    return table.restore(np.where(table.real[:, None], y, table.values))


def gradient(x, stats, dy, scale=None, *, feature_axis=-1, epsilon=1e-3, mask=None, training=True):
    """dx, dscale and doffset in longdouble from given statistics; the sums are exact."""
    table, upstream = columns(x, feature_axis, mask), columns(dy, feature_axis, mask)
    inverse = inverse_deviation(stats, epsilon)
    values, cotangents = (map(integers, t.values[t.real].T) for t in (table, upstream))
    doffset, along = [], []  # sum of dy; sum of dy * (x - mean)
    for v, g, mean in zip(values, cotangents, stats.mean, strict=True):
        doffset.append(total(g))
        along.append(total(g, v) - mean * doffset[-1])
    doffset, dscale = widen(_objects(doffset)), widen(_objects(along)) * inverse
    dx = upstream.values.astype(WIDE)
    if training:
        dx = dx - doffset / stats.count - _normalized(table, stats, epsilon) * (dscale / stats.count)
    dx = _wide(scale, table, 1) * inverse * dx
    dx = table.restore(np.where(table.real[:, None], dx, upstream.values))
    return dx, dscale.reshape(table.feature_shape), doffset.reshape(table.feature_shape)


def normalized(x, stats, *, feature_axis=-1, epsilon=1e-3, mask=None):
    """x-hat in longdouble, 0 under the mask."""
    table = columns(x, feature_axis, mask)
    return table.restore(np.where(table.real[:, None], _normalized(table, stats, epsilon), 0))


def merged(a, b):
    """The exact moments of two sets together, from (count, mean, variance) with float statistics."""
    (m, mean_a, var_a), (n, mean_b, var_b) = (given(s.mean, s.variance, s.count) for s in (a, b))
    p, q = Fraction(m, m + n), Fraction(n, m + n)
    return Statistics(m + n, p * mean_a + q * mean_b, p * var_a + q * var_b + p * q * (mean_b - mean_a) ** 2)


# --- complex step: an answer for the gradient that knows nothing of the derivation -------------


def complex_gradient(x, scale, offset, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, statistics=None):
    """d(sum dy*y) by x, scale and offset: Im f(v + ih) / h, exact to rounding (h**2 is below it).

    Without `statistics` they are the batch's own; (mean, variance) are constants.
    """
    table = columns(np.asarray(x, float), feature_axis, mask)
    upstream = columns(np.asarray(dy, float), feature_axis, mask).values
    gamma, beta = (np.ravel(v).astype(complex) for v in (scale, offset))

    def inner(values, gamma, beta):
        rows = values[table.real]
        if statistics is None:
            mean = rows.sum(0) / len(rows)
            variance = ((rows - mean) ** 2).sum(0) / len(rows)
        else:
            mean, variance = (np.ravel(s) for s in statistics)
        y = values.copy()
        y[table.real] = gamma * (rows - mean) / np.sqrt(variance + epsilon) + beta
        return (upstream * y).sum()

    start = [table.values.astype(complex), gamma, beta]
    results = [np.empty(values.shape) for values in start]
    for which, values in enumerate(start):
        for index in np.ndindex(values.shape):
            moved = [v.copy() for v in start]
            moved[which][index] += 1e-30j
            results[which][index] = inner(*moved).imag / 1e-30
    dx, dscale, doffset = results
    return table.restore(dx), dscale.reshape(table.feature_shape), doffset.reshape(table.feature_shape)


# --- fractions to floats ---------------------------------------------------------------------


def widen(fractions):
    """Fractions as longdouble, in two float64 parts."""
    return sum(np.array([_halves(f) for f in fractions.ravel()], WIDE).reshape(-1, 2).T).reshape(fractions.shape)


def _halves(fraction):
    """A fraction as two floats: the nearest one, and the one nearest to what that leaves.

    In integers, of which Python divides two with one rounding: half of the suite's exact answers end here, and the same
    in the arithmetic of Fraction takes four times as long.
    """
    over, under = fraction.numerator, fraction.denominator
    near = over / under
    n, d = near.as_integer_ratio()
    return near, (over * d - n * under) / (under * d)


def _objects(values):
    result = np.empty(len(values), object)
    result[:] = values
    return result


def _fractions(values):
    return _objects([Fraction(float(v)) for v in np.ravel(values)])


def inverse_deviation(stats, epsilon):
    """1 / sqrt(variance + epsilon); 0 where there is nothing under the root (the contract's rule)."""
    added = Fraction(float(epsilon))
    under = widen(_objects([v + added for v in stats.variance]))
    return np.divide(1, np.sqrt(under), out=np.zeros_like(under), where=under > 0)


def _normalized(table, stats, epsilon):
    near, rest = np.array([_halves(m) for m in stats.mean], WIDE).reshape(-1, 2).T
    return ((table.values.astype(WIDE) - near) - rest) * inverse_deviation(stats, epsilon)


def _wide(values, table, default):
    if values is None:
        return WIDE(default)
    return np.asarray(values).astype(np.float64).reshape(table.values.shape[1]).astype(WIDE)
