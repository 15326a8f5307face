# Where the terms of dx cancel.  With centre = sum(dy) / n and slope = sum(dy x-hat) / n / deviation,
#
#   dx = (dy - centre - (x - mean) slope) scale / deviation
#
# costs float32 some units of its terms.  They are units of dx too as long as the largest dx is not small against what
# is taken away.  No sum tells the largest dx, and two more operations for each element cost a tenth of the time; but a
# few elements tell that it is at least so large, and no x is further from its mean than sqrt(n) deviations.  Where that
# is not enough, all of the feature is looked at.

cdef enum:
    TASTED = 12  # elements looked at of each feature in runs, or of few elements; of others all SAMPLES

# What is taken away may be so much larger than the largest dx: of a few elements, with the largest x that there can be;
# and of all.  With 2 of a few, one outlier of 32 elements left 5.4 units.
cdef const double MOST_TASTED = 1.25
cdef const double MOST = 1.0


cdef void find_doubt(const Call* call, const float* x, const Features* f) noexcept nogil:
    """Which features are to be looked at as a whole: 1, else 0."""
    cdef apart_from_others first = f.first
    cdef apart_from_others second = f.second
    cdef apart_from_others mean = f.mean
    cdef apart_from_others variance = f.variance
    cdef apart_from_others inverse = f.inverse
    cdef apart_from_others doubt = f.doubt
    cdef apart_from_others centre = f.table
    cdef apart_from_others slope = f.table + f.reach
    cdef const float* values
    cdef const float* cotangents
    cdef double n = call.count, taken
    cdef Py_ssize_t tasted = SAMPLES if call.inner == 1 and call.outer >= 128 else TASTED
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t c, i
    for c in range(f.number):
        centre[c] = first[c] / n
        slope[c] = second[c] / n * inverse[c] * inverse[c]
        doubt[c] = 0
    for i in range(tasted):
        check_range(f.begin * inner + call.samples[i], (f.number - 1) * inner + 1, size_of(call))
        values = x + f.begin * inner + call.samples[i]
        cotangents = <const float*> call.dy + f.begin * inner + call.samples[i]
        if inner == 1:
            taste(values, cotangents, f.number, 1, mean, centre, slope, doubt)
        else:
            taste(values, cotangents, f.number, inner, mean, centre, slope, doubt)
    for c in range(f.number):
        taken = fabs(centre[c]) + fabs(slope[c]) * sqrt(n * variance[c])
        doubt[c] = <int> (not ((taken <= MOST_TASTED * doubt[c]) & (doubt[c] >= 1e-25) & (variance[c] >= 1e-30)
                               & (fabs(second[c]) <= 1e37)))


cdef inline void taste(
    const float* x, const float* dy, Py_ssize_t features, Py_ssize_t step, const double* mean, const double* centre,
    const double* slope, double* largest
) noexcept nogil:
    """The larger of what is known and the size of dx, without its factor, of one element of each feature."""
    cdef apart_from_others to = largest
    cdef double size
    cdef Py_ssize_t c
    for c in range(features):
        size = fabs((<double> dy[c * step] - centre[c]) - (<double> x[c * step] - mean[c]) * slope[c])
        to[c] = size if size > to[c] else to[c]


cdef Py_ssize_t look_closer(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """How many of a block of features are to be computed again, and which, in f.doubt."""
    cdef float left[WIDE_LANES]
    cdef float away[WIDE_LANES]
    cdef double largest, furthest, centre, slope, n = call.count
    cdef Py_ssize_t c, j, each, doubtful = 0
    each = look_at_block(call, x, f, begin, number, <float*> left, <float*> away)
    for c in range(number):
        if f.doubt[begin + c] == 0:
            continue
        largest = furthest = 0
        for j in range(c * each, (c + 1) * each):
            largest = left[j] if left[j] > largest else largest
            furthest = away[j] if away[j] > furthest else furthest
        centre = f.first[begin + c] / n
        slope = f.second[begin + c] / n * f.inverse[begin + c]  # of dscale, which is in deviations
        f.doubt[begin + c] = <int> (not (
            (fabs(centre) + fabs(slope) * furthest <= MOST * largest) & (largest >= 1e-25) & (largest <= 1e37)
            & (f.variance[begin + c] >= 1e-30)
        ))
        doubtful += f.doubt[begin + c] != 0
    return doubtful


cdef Py_ssize_t look_at_block(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number, float* left, float* away
) noexcept nogil:
    """The largest size of dx, without its factor, and of x - mean, in each lane of a block; the lanes of a feature."""
    cdef float mean[WIDE_LANES]
    cdef float centre[WIDE_LANES]
    cdef float slope[WIDE_LANES]
    cdef const float* dy = <const float*> call.dy
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = smaller(number * inner, WIDE_LANES)
    cdef Py_ssize_t each = lanes // number
    cdef double n = call.count
    cdef Py_ssize_t row, j, c, at, done
    memset(left, 0, WIDE_LANES * sizeof(float))
    memset(away, 0, WIDE_LANES * sizeof(float))
    for j in range(lanes):
        c = begin + j // each
        mean[j] = <float> f.mean[c]
        centre[j] = <float> (f.first[c] / n)
        slope[j] = <float> (f.second[c] / n * f.inverse[c])
    for row in range(call.outer):
        at = (row * call.features + f.begin + begin) * inner
        done = 0
        while done < number * inner:
            look(
                call, x, at + done, smaller(lanes, number * inner - done), <const float*> mean, <const float*> centre,
                <const float*> slope, left, away
            )
            done += lanes
    return each


cdef inline void look(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t lanes, const float* mean, const float* centre,
    const float* slope, float* left, float* away
) noexcept nogil:
    cdef unsigned char keep[WIDE_LANES + LINE]
    cdef const float* dy = <const float*> call.dy + at
    cdef float d, size
    cdef Py_ssize_t j
    check_range(at, lanes, size_of(call))
    x += at
    if call.keep != NULL:
        spread_keep(call, at, lanes, keep)
        for j in range(lanes):
            if keep[j]:
                d = x[j] - mean[j]
                size = fabsf((dy[j] - centre[j]) - d * slope[j])
                left[j] = size if size > left[j] else left[j]
                away[j] = fabsf(d) if fabsf(d) > away[j] else away[j]
        return
    for j in range(lanes):
        d = x[j] - mean[j]
        size = fabsf((dy[j] - centre[j]) - d * slope[j])
        left[j] = size if size > left[j] else left[j]
        away[j] = fabsf(d) if fabsf(d) > away[j] else away[j]
