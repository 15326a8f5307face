# Where the terms of dx cancel.  With centre = sum(dy) / n and slope = sum(dy x-hat) / n / deviation,
#
#   dx = (dy - centre - (x - mean) slope) scale / deviation
#
# costs float32 some units of its terms.  They are units of dx too as long as the largest dx is not small against what
# is taken away.  No sum tells the largest dx, and two more operations for each element cost a tenth of the time; but a
# few elements tell that it is at least so large, and no x is further from its mean than sqrt(n) deviations.  Where that
# is not enough, more of the feature is looked at, until it is or all of it was.

cdef enum:
    TASTED = 64  # elements looked at of each feature in runs, at the most; of others it is SAMPLES

# What is taken away may be so many times the largest dx: of the elements that were tasted, and of those looked at.
# With 2, one outlier of 32 elements left 5.4 units; with 1.25 for both, one of 100 000 such features as many.
cdef const double MOST_TASTED = 1.25
cdef const double MOST = 1


cdef void find_least(const Call* call, const Features* f) noexcept nogil:
    """In f.doubt the largest dx that puts a feature beyond doubt; NaN where none does."""
    cdef apart_from_others first = f.first
    cdef apart_from_others second = f.second
    cdef apart_from_others variance = f.variance
    cdef apart_from_others least = f.doubt
    cdef apart_from_others factor = f.table + f.reach
    cdef double each = 1 / <double> call.count
    cdef double furthest = 1 / sqrt(<double> call.count)  # times n: the deviations that an x may be from its mean
    cdef double taken, size
    cdef Py_ssize_t c
    for c in range(f.number):
        size = fabs(factor[c])
        taken = fabs(first[c]) * each + fabs(second[c]) * furthest
        # Products of less than 1e-30 have lost digits, and then the sums say little.
        least[c] = (taken if taken > 1e-15 else 1e-15) / MOST_TASTED * size
        least[c] = least[c] if (taken <= 1e37) & (variance[c] >= 1e-30) & (size > 0) else NAN


cdef Py_ssize_t find_doubt(const Call* call, const float* x, const Features* f) noexcept nogil:
    """How many features are to be looked at more closely, and which, in f.doubt: 1, else 0; dx is written."""
    if call.inner >= SPARE and call.keep == NULL:
        return taste_runs(call, x, f)
    return taste_samples(call, x, f)


cdef Py_ssize_t taste_samples(const Call* call, const float* x, const Features* f) noexcept nogil:
    """Of each feature the elements that were chosen for its shift."""
    cdef float largest[BAND]
    cdef float rows[8 * BAND]
    cdef float table[TABLES * BAND]
    cdef const float* dx
    cdef apart_from_others doubt
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t begin = 0, doubtful = 0, start, n, i, c
    cdef Py_ssize_t in_rows[8]
    cdef bint anew = call.stream and inner == 1  # what went past the caches is computed again, not fetched
    cdef bint half = call.half != NEITHER  # and so is what was rounded
    cdef float values[BAND]
    cdef float cotangents[BAND]
    for i in range(8):
        in_rows[i] = i * BAND
    while begin < f.number:
        n = smaller(BAND, f.number - begin)
        start = (f.begin + begin) * inner
        dx = <const float*> call.y + start
        doubt = f.doubt + begin
        memset(largest, 0, n * sizeof(float))
        if anew or half:
            for i in range(TABLES):
                for c in range(n):
                    table[i * BAND + c] = <float> f.table[i * f.reach + begin + c]
        for i in range(SAMPLES):
            check_range(start + call.samples[i], (n - 1) * inner + 1, size_of(call))
            if half:
                pick(call, x, start + call.samples[i], n, inner, <float*> values)
                pick(call, <const float*> call.dy, start + call.samples[i], n, inner, <float*> cotangents)
                differentiate(
                    <const float*> values, <const float*> cotangents, n, <const float*> table, BAND,
                    <float*> rows + i % 8 * BAND
                )
            elif anew:
                differentiate(
                    x + start + call.samples[i], <const float*> call.dy + start + call.samples[i], n,
                    <const float*> table, BAND, <float*> rows + i % 8 * BAND
                )
            if i % 8 == 7:
                if anew or half:
                    largest_of_eight(<const float*> rows, <const Py_ssize_t*> in_rows, n, 1, <float*> largest)
                elif inner == 1:
                    largest_of_eight(dx, &call.samples[i - 7], n, 1, <float*> largest)
                else:
                    largest_of_eight(dx, &call.samples[i - 7], n, inner, <float*> largest)
        for c in range(n):
            doubt[c] = <int> (not (largest[c] >= doubt[c]))
        for c in range(n):
            doubtful += <Py_ssize_t> doubt[c]
        begin += n
    return doubtful


cdef inline void largest_of_eight(
    const float* dx, const Py_ssize_t* at, Py_ssize_t features, Py_ssize_t step, float* largest
) noexcept nogil:
    """The larger of what is known and the sizes of eight elements of each feature."""
    cdef const float* a = dx + at[0]
    cdef const float* b = dx + at[1]
    cdef const float* c = dx + at[2]
    cdef const float* d = dx + at[3]
    cdef const float* e = dx + at[4]
    cdef const float* f = dx + at[5]
    cdef const float* g = dx + at[6]
    cdef const float* h = dx + at[7]
    cdef Py_ssize_t j, i
    for j in range(features):
        i = j * step
        largest[j] = greater(largest[j], greater(
            greater(greater(fabsf(a[i]), fabsf(b[i])), greater(fabsf(c[i]), fabsf(d[i]))),
            greater(greater(fabsf(e[i]), fabsf(f[i])), greater(fabsf(g[i]), fabsf(h[i]))),
        ))


cdef Py_ssize_t taste_runs(const Call* call, const float* x, const Features* f) noexcept nogil:
    """Of each feature the elements that its runs begin with."""
    cdef Py_ssize_t lanes = smaller(call.inner, TASTED) // SPARE * SPARE
    cdef Py_ssize_t runs = smaller(call.outer, TASTED // lanes)
    cdef Py_ssize_t next_ = call.features * call.inner
    cdef Py_ssize_t doubtful = 0, c, row, at
    cdef int found
    cdef float values[TASTED]
    cdef float cotangents[TASTED]
    for c in range(f.number):
        found = 0
        at = (f.begin + c) * call.inner
        for row in range(runs):
            check_range(at + row * next_, lanes, size_of(call))
            if call.stream or call.half != NEITHER:  # what is out of the caches, or rounded, is computed again
                found |= run_would_reach(
                    <const floats*> taken(call, x, at + row * next_, lanes, values),
                    <const floats*> taken(call, <const float*> call.dy, at + row * next_, lanes, cotangents),
                    lanes, f, c
                )
            else:
                found |= run_reaches(<const floats*> (<const float*> call.y + at + row * next_), lanes, f, c)
        f.doubt[c] = 1 - found
        doubtful += 1 - found
    return doubtful


cdef inline int run_reaches(const floats* dx, Py_ssize_t lanes, const Features* f, Py_ssize_t c) noexcept nogil:
    """1 where one of the lanes is large enough, else 0."""
    cdef float least = <float> f.doubt[c]
    cdef int found = 0
    cdef Py_ssize_t j
    for j in range(lanes // elements(dx)):
        found |= reaches(dx[j], least)
    return found


cdef inline int run_would_reach(
    const floats* x, const floats* dy, Py_ssize_t lanes, const Features* f, Py_ssize_t c
) noexcept nogil:
    cdef floats mean = spread(<float> f.table[c], x)
    cdef floats a = spread(<float> f.table[f.reach + c], x)
    cdef floats slope = spread(<float> f.table[2 * f.reach + c], x)
    cdef floats centre = spread(<float> f.table[3 * f.reach + c], x)
    cdef float least = <float> f.doubt[c]
    cdef int found = 0
    cdef Py_ssize_t j
    for j in range(lanes // elements(x)):
        found |= reaches(((dy[j] - centre) - (x[j] - mean) * slope) * a, least)
    return found


# --- more closely ----------------------------------------------------------------------------

cdef enum:
    LOOKS = 16          # rows of lanes after which is asked for the first time whether it is enough
    MOST_LOOKS = 1024   # and from one time to the next: a float32 sum of more squares would lose too much

cdef struct Closer:  # of each lane
    float mean[WIDE_LANES]
    float centre[WIDE_LANES]
    float slope[WIDE_LANES]
    float left[WIDE_LANES]     # the largest size of dx, without its factor
    float away[WIDE_LANES]     # and of x - mean
    float squares[WIDE_LANES]  # the sum of its squares, since it was asked last


cdef Py_ssize_t look_closer(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """How many of a block of features are to be computed again, and which, in f.doubt."""
    cdef Closer closer
    cdef double squares[WIDE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = smaller(number * inner, WIDE_LANES)
    cdef Py_ssize_t looks = 0, until = LOOKS, row, at, done
    begin_to_look(call, f, begin, number, lanes, &closer, <double*> squares)
    for row in range(call.outer):
        at = (row * call.features + f.begin + begin) * inner
        done = 0
        while done < number * inner:
            if looks == until:
                if still_doubtful(call, f, begin, number, lanes, &closer, <double*> squares, False) == 0:
                    return 0
                until += smaller(until // 2, MOST_LOOKS)
            look(call, x, at + done, smaller(lanes, number * inner - done), &closer)
            looks += 1
            done += lanes
    return still_doubtful(call, f, begin, number, lanes, &closer, <double*> squares, True)


cdef void begin_to_look(
    const Call* call, const Features* f, Py_ssize_t begin, Py_ssize_t number, Py_ssize_t lanes, Closer* closer,
    double* squares
) noexcept nogil:
    cdef double n = call.count
    cdef Py_ssize_t j, c
    for j in range(lanes):
        c = begin + j // (lanes // number)
        closer.mean[j] = <float> f.mean[c]
        closer.centre[j] = <float> (f.first[c] / n)
        closer.slope[j] = <float> (f.second[c] / n * f.inverse[c])
        closer.left[j] = closer.away[j] = closer.squares[j] = 0
        squares[j] = 0


cdef Py_ssize_t still_doubtful(
    const Call* call, const Features* f, Py_ssize_t begin, Py_ssize_t number, Py_ssize_t lanes, Closer* closer,
    double* squares, bint all_seen
) noexcept nogil:
    """How many of the features that were in doubt are so after what was seen; once all is seen, which."""
    cdef Py_ssize_t each = lanes // number
    cdef Py_ssize_t doubtful = 0, c, j
    cdef double largest, furthest, unseen, n = call.count
    for c in range(number):
        if f.doubt[begin + c] == 0:
            continue
        largest = furthest = 0
        for j in range(c * each, (c + 1) * each):
            largest = closer.left[j] if closer.left[j] > largest else largest
            furthest = closer.away[j] if closer.away[j] > furthest else furthest
            squares[c] += closer.squares[j]
            closer.squares[j] = 0
        unseen = 1.001 * n * f.variance[begin + c] - squares[c]  # of all squares, if it is the batch's own variance
        unseen = 0 if all_seen else sqrt(unseen) if unseen >= 0 else DBL_MAX
        if is_doubtful(f, begin + c, n, largest, furthest, unseen):
            doubtful += 1
        elif all_seen:
            f.doubt[begin + c] = 0
    return doubtful


cdef inline bint is_doubtful(
    const Features* f, Py_ssize_t c, double n, double largest, double furthest, double unseen
) noexcept nogil:
    """`largest` dx without its factor; x - mean is `furthest` where it was seen, elsewhere at most `unseen`."""
    cdef double centre = fabs(f.first[c] / n)
    cdef double slope = fabs(f.second[c] / n * f.inverse[c])  # of dscale, which is in deviations
    return not (
        (centre + slope * furthest <= MOST * largest)
        & (centre + slope * unseen <= MOST * largest)  # so that to see the rest does not change the answer
        & (largest >= 1e-25)
        & (largest <= 1e37)
        & (f.variance[c] >= 1e-30)
        & (largest * largest * f.variance[c] >= 1e-60)
    )


cdef inline void look(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t lanes, Closer* closer
) noexcept nogil:
    cdef unsigned char keep[WIDE_LANES + LINE]
    cdef float values[WIDE_LANES]
    cdef float cotangents[WIDE_LANES]
    cdef const float* dy = taken(call, <const float*> call.dy, at, lanes, cotangents)
    check_range(at, lanes, size_of(call))
    x = taken(call, x, at, lanes, values)
    if call.keep != NULL:
        spread_keep(call, at, lanes, keep)
        look_at(x, dy, lanes, closer, keep, True)
    else:
        look_at(x, dy, lanes, closer, keep, False)


cdef inline void look_at(
    const float* x, const float* dy, Py_ssize_t lanes, Closer* closer, const unsigned char* keep, bint masked
) noexcept nogil:
    cdef float d, size
    cdef Py_ssize_t j
    for j in range(lanes):
        if masked and not keep[j]:
            continue
        d = x[j] - closer.mean[j]
        size = fabsf((dy[j] - closer.centre[j]) - d * closer.slope[j])
        closer.left[j] = size if size > closer.left[j] else closer.left[j]
        closer.away[j] = fabsf(d) if fabsf(d) > closer.away[j] else closer.away[j]
        closer.squares[j] += d * d
