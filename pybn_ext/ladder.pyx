# cython: language_level=3
"""From typed loops to the speed of memory: batch normalization in training, a rung at a time.

Every rung is the same function of float32 rows (Algorithm 1 of Ioffe & Szegedy 2015, arXiv:1502.03167):

    (x, scale, offset, epsilon) -> y, mean, variance        x, y: (rows, features); the others: (features,)

The statistics are float64.  Nothing is shared, so that each can be read alone; a comment says what changed from the
rung below.  This file is no part of the compiled package: lesson 13 compiles it when it runs.
"""

cimport cython
from cython.parallel cimport prange
from libc.math cimport sqrt

import numpy as np

cdef enum:
    TILE = 32  # rows that are summed in float32 before the sum is widened to float64
    PARTS = 16  # of the rows, each summed by itself: work for up to 16 threads


@cython.boundscheck(True)
@cython.wraparound(True)
@cython.cdivision(False)
def rung_1(const float[:, :] x, const float[:] scale, const float[:] offset, double epsilon):
    """Typed loops, feature by feature: the formula as one would write it, every index and division checked."""
    cdef float[:, :] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef double[:] mean = np.zeros(x.shape[1])
    cdef double[:] variance = np.zeros(x.shape[1])
    cdef Py_ssize_t row, feature
    for feature in range(x.shape[1]):
        for row in range(x.shape[0]):
            mean[feature] += x[row, feature] / <double>x.shape[0]
        for row in range(x.shape[0]):
            variance[feature] += (x[row, feature] - mean[feature]) ** 2 / <double>x.shape[0]
        for row in range(x.shape[0]):
            y[row, feature] = <float>(
                scale[feature] * (x[row, feature] - mean[feature]) / sqrt(variance[feature] + epsilon) + offset[feature]
            )
    return np.asarray(y), np.asarray(mean), np.asarray(variance)


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def rung_2(const float[:, ::1] x, const float[::1] scale, const float[::1] offset, double epsilon):
    """Nothing is checked any more, memory is known to be contiguous, and the division is out of the loop."""
    cdef float[:, ::1] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef double[::1] means = np.empty(x.shape[1])
    cdef double[::1] variances = np.empty(x.shape[1])
    cdef Py_ssize_t row, feature, rows = x.shape[0]
    cdef double mean, variance, factor
    for feature in range(x.shape[1]):
        mean = variance = 0
        for row in range(rows):
            mean += x[row, feature]
        mean /= rows
        for row in range(rows):
            variance += (x[row, feature] - mean) * (x[row, feature] - mean)
        variance /= rows
        factor = scale[feature] / sqrt(variance + epsilon)
        for row in range(rows):  # still one column at a time: each step is a jump over a whole row of memory
            y[row, feature] = <float>((x[row, feature] - mean) * factor + offset[feature])
        means[feature], variances[feature] = mean, variance
    return np.asarray(y), np.asarray(means), np.asarray(variances)


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def rung_3(const float[:, ::1] x, const float[::1] scale, const float[::1] offset, double epsilon):
    """The two loops are swapped: memory is read in the order in which it lies, all features' sums grow together."""
    cdef float[:, ::1] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef double[::1] mean = np.zeros(x.shape[1])
    cdef double[::1] variance = np.zeros(x.shape[1])
    cdef double[::1] factor = np.empty(x.shape[1])
    cdef Py_ssize_t row, feature, rows = x.shape[0], features = x.shape[1]
    for row in range(rows):
        for feature in range(features):
            mean[feature] += x[row, feature]
    for feature in range(features):
        mean[feature] /= rows
    for row in range(rows):
        for feature in range(features):
            variance[feature] += (x[row, feature] - mean[feature]) * (x[row, feature] - mean[feature])
    for feature in range(features):
        variance[feature] /= rows
        factor[feature] = scale[feature] / sqrt(variance[feature] + epsilon)
    for row in range(rows):
        for feature in range(features):
            y[row, feature] = <float>((x[row, feature] - mean[feature]) * factor[feature] + offset[feature])
    return np.asarray(y), np.asarray(mean), np.asarray(variance)


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def rung_4(const float[:, ::1] x, const float[::1] scale, const float[::1] offset, double epsilon):
    """One pass for both sums: what is squared is the distance from the first row, not from a mean not yet known."""
    cdef float[:, ::1] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef double[::1] mean = np.zeros(x.shape[1])
    cdef double[::1] variance = np.zeros(x.shape[1])
    cdef double[::1] factor = np.empty(x.shape[1])
    cdef Py_ssize_t row, feature, rows = x.shape[0], features = x.shape[1]
    cdef double shifted
    for row in range(rows):
        for feature in range(features):
            shifted = <double>x[row, feature] - x[0, feature]
            mean[feature] += shifted
            variance[feature] += shifted * shifted
    for feature in range(features):
        mean[feature] /= rows
        # E[s^2] - E[s]^2 of s = x - first: harmless unless the first row lies many deviations from the mean.
        variance[feature] = max(variance[feature] / rows - mean[feature] * mean[feature], 0.0)
        mean[feature] += x[0, feature]
        factor[feature] = scale[feature] / sqrt(variance[feature] + epsilon)
    for row in range(rows):
        for feature in range(features):
            y[row, feature] = <float>((x[row, feature] - mean[feature]) * factor[feature] + offset[feature])
    return np.asarray(y), np.asarray(mean), np.asarray(variance)


@cython.boundscheck(False)
@cython.wraparound(False)
cdef void _sums(
    const float[:, ::1] x, Py_ssize_t begin, Py_ssize_t end, float[:, ::1] tile, double[:, ::1] sums
) noexcept nogil:
    """The sums of x - first and of its square over the rows from `begin` to `end`: in float32 over TILE rows."""
    cdef Py_ssize_t start, row, feature, features = x.shape[1]
    cdef float shifted
    sums[:, :] = 0
    for start in range((end - begin + TILE - 1) // TILE):
        tile[:, :] = 0
        for row in range(begin + start * TILE, min(begin + (start + 1) * TILE, end)):
            for feature in range(features):  # the compiler makes vectors of this: lanes lie along memory
                shifted = x[row, feature] - x[0, feature]
                tile[0, feature] += shifted
                tile[1, feature] += shifted * shifted
        for feature in range(features):
            sums[0, feature] += tile[0, feature]
            sums[1, feature] += tile[1, feature]


@cython.boundscheck(False)
@cython.wraparound(False)
cdef void _write(
    const float[:, ::1] x, Py_ssize_t row, const float[:, ::1] constants, float[:, ::1] y
) noexcept nogil:
    """One row of y, in float32."""
    cdef Py_ssize_t feature
    for feature in range(x.shape[1]):
        # x - first is exact where they are near; less the rest of the mean: no digit of a far mean is lost.
        y[row, feature] = (x[row, feature] - x[0, feature] - constants[0, feature]) * constants[1, feature] + constants[
            2, feature
        ]


cdef tuple _statistics(x, sums, scale, offset, double epsilon):
    """Mean, variance and what the write needs of each feature, in NumPy: once a feature is cheap."""
    low_mean = sums[0] / len(x)
    variance = np.maximum(sums[1] / len(x) - low_mean * low_mean, 0.0)
    constants = np.array([low_mean, np.asarray(scale) / np.sqrt(variance + epsilon), offset], np.float32)
    return np.asarray(x[0]) + low_mean, variance, constants


def rung_5(const float[:, ::1] x, const float[::1] scale, const float[::1] offset, double epsilon):
    """Lanes: sums in float32, twice as many in a register as in float64, widened after each tile of rows."""
    cdef float[:, ::1] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef float[:, ::1] tile = np.empty((2, x.shape[1]), np.float32)
    cdef double[:, ::1] sums = np.empty((2, x.shape[1]))
    cdef const float[:, ::1] constants
    cdef Py_ssize_t row
    _sums(x, 0, x.shape[0], tile, sums)
    mean, variance, constants = _statistics(np.asarray(x), np.asarray(sums), scale, offset, epsilon)
    for row in range(x.shape[0]):
        _write(x, row, constants, y)
    return np.asarray(y), mean, variance


def rung_6(const float[:, ::1] x, const float[::1] scale, const float[::1] offset, double epsilon):
    """The same on all processors, the interpreter's lock released: every thread has rows of its own.

    The rows are always divided into PARTS and their sums added in order: the same bits for any number of threads.
    """
    cdef float[:, ::1] y = np.empty((x.shape[0], x.shape[1]), np.float32)
    cdef float[:, :, ::1] tiles = np.empty((PARTS, 2, x.shape[1]), np.float32)
    cdef double[:, :, ::1] sums = np.empty((PARTS, 2, x.shape[1]))
    cdef const float[:, ::1] constants
    cdef Py_ssize_t part, row, rows = x.shape[0]
    for part in prange(PARTS, nogil=True, schedule="static"):
        _sums(x, part * rows // PARTS, (part + 1) * rows // PARTS, tiles[part], sums[part])
    mean, variance, constants = _statistics(np.asarray(x), np.asarray(sums).sum(axis=0), scale, offset, epsilon)
    for row in prange(rows, nogil=True, schedule="static"):
        _write(x, row, constants, y)
    return np.asarray(y), mean, variance
