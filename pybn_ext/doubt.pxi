# Where the terms of dx cancel.  With centre = sum(dy) / n and slope = sum(dy x-hat) / n / deviation,
#
#   dx = (dy - centre - (x - mean) slope) scale / deviation
#
# costs float32 some units of its terms.  They are units of dx too as long as the largest dx is not small against what
# is taken away.  No sum tells the largest dx, and two more operations for each element cost a tenth of the time; but a
# few elements tell that it is at least so large, and no x is further from its mean than sqrt(n) deviations.  Where that
# is not enough, more of the feature is looked at, until it is or all of it was.

cdef enum:
    TASTED = 64  # elements looked at of each feature in runs, at the most; of others SAMPLES, and all of so many

# What is taken away may be so many times the largest dx: of the elements that were tasted, and of those looked at.
# With 2, one outlier of 32 elements left 5.4 units; with 1.25 for both, one of 100 000 such features as many.
cdef const double MOST_TASTED = 1.25
cdef const double MOST = 1
cdef const double FAINT = 5e-324  # stands for no dx at all


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


cdef Py_ssize_t find_doubt(const Call* call, const float* x, const Features* f, bint in_double) noexcept nogil:
    """How many features are to be looked at more closely, and which, in f.doubt: else 0; dx is written.

    Of these f.doubt is the largest dx that was tasted, or FAINT where there is none; below 0 where all was.  What went
    past the caches is computed again, not fetched; what was finished in double did not, and float32 would not give it
    again.
    """
    cdef Py_ssize_t doubtful, c
    cdef bint past = call.stream and not in_double
    if call.inner >= SPARE and call.keep == NULL:
        return taste_runs(call, x, f, past)
    doubtful = taste_samples(call, x, f, past)
    if doubtful and call.count <= FEW_TO_LOOK_AT and call.inner == 1 and call.keep == NULL and f.number >= SPARE:
        if call.count > TASTED or call.half != NEITHER:
            return look_at_x(call, x, f)
        taste_all(call, x, f, past)
        doubtful = look_at_x(call, x, f)
        for c in range(f.number):  # dx and x were seen as a whole: nobody has to look again
            f.doubt[c] = -f.doubt[c]
    return doubtful


cdef Py_ssize_t taste_samples(const Call* call, const float* x, const Features* f, bint past) noexcept nogil:
    """Of each feature the elements that were chosen for its shift."""
    cdef float largest[BAND]
    cdef apart_from_others doubt
    cdef Py_ssize_t begin = 0, doubtful = 0, n, c
    while begin < f.number:
        n = smaller(BAND, f.number - begin)
        doubt = f.doubt + begin
        taste_band(call, x, f, begin, n, call.samples, SAMPLES, past, <float*> largest)
        for c in range(n):
            doubt[c] = 0.0 if largest[c] >= doubt[c] else <double> largest[c] if largest[c] > 0 else FAINT
        for c in range(n):
            doubtful += doubt[c] != 0
        begin += n
    return doubtful


cdef void taste_all(const Call* call, const float* x, const Features* f, bint past) noexcept nogil:
    """Of the features in doubt each element, where few stand in rows: of 64, look by look took five times as long."""
    cdef float largest[SPARE]
    cdef Py_ssize_t places[TASTED + 8]
    cdef Py_ssize_t number = (call.outer + 7) // 8 * 8  # the last one again, where they are not a multiple of eight
    cdef Py_ssize_t begin = 0, n, i, c
    check_range(0, number, TASTED + 8)
    for i in range(number):
        places[i] = smaller(i, call.outer - 1) * call.features
    while begin < f.number:
        n = smaller(SPARE, f.number - begin)
        if any_in_doubt(f, begin, n):
            taste_band(call, x, f, begin, n, <const Py_ssize_t*> places, number, past, <float*> largest)
            for c in range(n):
                if f.doubt[begin + c] != 0:
                    f.doubt[begin + c] = <double> largest[c] if largest[c] > 0 else FAINT
        begin += n


cdef void taste_band(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t n, const Py_ssize_t* places,
    Py_ssize_t number, bint past, float* largest
) noexcept nogil:
    """The largest size of dx of n features, of a number of elements that is a multiple of eight."""
    cdef float table[TABLES * BAND]
    cdef float rows[8 * BAND]
    cdef Py_ssize_t in_rows[8]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t start = (f.begin + begin) * inner, i, c
    cdef const float* dx = <const float*> call.y + start
    cdef bint half = call.half != NEITHER  # what was rounded is computed again
    cdef bint anew = past and inner == 1 and not half
    for i in range(8):
        in_rows[i] = i * BAND
    check_range(0, n, BAND)
    memset(largest, 0, n * sizeof(float))
    if anew or half:
        for i in range(TABLES):
            for c in range(n):
                table[i * BAND + c] = <float> f.table[i * f.reach + begin + c]
    for i in range(number):
        check_range(start + places[i], (n - 1) * inner + 1, size_of(call))
        if half:
            pick_dx(call, x, start + places[i], n, <const float*> table, <float*> rows + i % 8 * BAND)
            if i % 8 == 7:
                largest_of_eight(<const float*> rows, <const Py_ssize_t*> in_rows, n, 1, largest)
        elif anew:
            if i % 4 == 3:
                largest_anew(call, x, start, places + i - 3, n, <const float*> table, largest)
        elif i % 8 == 7:
            if inner == 1:
                largest_of_eight(dx, places + i - 7, n, 1, largest)
            else:
                largest_of_eight(dx, places + i - 7, n, inner, largest)


cdef void pick_dx(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t n, const float* table, float* dx
) noexcept nogil:
    """Of 16 bits, and before it was rounded: one element of adjacent features."""
    cdef float values[BAND]
    cdef float cotangents[BAND]
    pick(call, x, at, n, call.inner, <float*> values)
    pick(call, <const float*> call.dy, at, n, call.inner, <float*> cotangents)
    differentiate(<const float*> values, <const float*> cotangents, n, table, BAND, dx)


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


cdef inline void largest_anew(
    const Call* call, const float* x, Py_ssize_t start, const Py_ssize_t* at, Py_ssize_t features, const float* table,
    float* largest
) noexcept nogil:
    """As `largest_of_eight`, of four elements of adjacent features that are computed once more."""
    cdef const float* mean = table
    cdef const float* a = table + BAND
    cdef const float* slope = table + 2 * BAND
    cdef const float* centre = table + 3 * BAND
    cdef const float* dy = <const float*> call.dy + start
    cdef const float* x0 = x + start + at[0]
    cdef const float* x1 = x + start + at[1]
    cdef const float* x2 = x + start + at[2]
    cdef const float* x3 = x + start + at[3]
    cdef const float* dy0 = dy + at[0]
    cdef const float* dy1 = dy + at[1]
    cdef const float* dy2 = dy + at[2]
    cdef const float* dy3 = dy + at[3]
    cdef float m, s, t
    cdef Py_ssize_t j
    for j in range(features):
        m = mean[j]
        s = slope[j]
        t = centre[j]
        largest[j] = greater(largest[j], fabsf(a[j]) * greater(  # the largest of products with one factor
            greater(fabsf((dy0[j] - t) - (x0[j] - m) * s), fabsf((dy1[j] - t) - (x1[j] - m) * s)),
            greater(fabsf((dy2[j] - t) - (x2[j] - m) * s), fabsf((dy3[j] - t) - (x3[j] - m) * s)),
        ))


cdef Py_ssize_t taste_runs(const Call* call, const float* x, const Features* f, bint past) noexcept nogil:
    """Of each feature the elements that its runs begin with."""
    cdef Py_ssize_t lanes = smaller(call.inner, TASTED) // SPARE * SPARE
    cdef Py_ssize_t runs = smaller(call.outer, TASTED // lanes)
    cdef Py_ssize_t next_ = call.features * call.inner
    cdef Py_ssize_t doubtful = 0, c, row, at
    cdef bint found
    cdef const float* dx
    cdef float room[TASTED]
    for c in range(f.number):
        found = False
        at = (f.begin + c) * call.inner
        for row in range(runs):
            check_range(at + row * next_, lanes, size_of(call))
            if past:
                found = run_would_reach(call, x, at + row * next_, lanes, f, c)
            else:
                dx = run_of_dx(call, x, at + row * next_, lanes, f, c, room)
                found = run_reaches(<const floats*> dx, lanes, f, c)
            if found:
                break
        f.doubt[c] = 0
        if not found:
            f.doubt[c] = largest_of_runs(call, x, at, runs, lanes, f, c)
            doubtful += 1
    return doubtful


cdef inline const float* run_of_dx(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t lanes, const Features* f, Py_ssize_t c, float* room
) noexcept nogil:
    """Some elements of a run: as they were written, or of 16 bits as they were before they were rounded, in `room`."""
    cdef float values[TASTED]
    cdef float cotangents[TASTED]
    cdef float mean, a, slope, centre
    cdef Py_ssize_t j
    if call.half == NEITHER:
        return <const float*> call.y + at
    check_range(0, lanes, TASTED)
    taken(call, x, at, lanes, values)
    taken(call, <const float*> call.dy, at, lanes, cotangents)
    mean, a = <float> f.table[c], <float> f.table[f.reach + c]
    slope, centre = <float> f.table[2 * f.reach + c], <float> f.table[3 * f.reach + c]
    for j in range(lanes):
        room[j] = ((cotangents[j] - centre) - (values[j] - mean) * slope) * a
    return room


cdef double largest_of_runs(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t runs, Py_ssize_t lanes, const Features* f, Py_ssize_t c
) noexcept nogil:
    """The largest that `taste_runs` saw."""
    cdef const float* dx
    cdef float room[TASTED]
    cdef float largest = 0
    cdef Py_ssize_t row, j
    for row in range(runs):
        dx = run_of_dx(call, x, at + row * call.features * call.inner, lanes, f, c, room)
        for j in range(lanes):
            largest = fabsf(dx[j]) if fabsf(dx[j]) > largest else largest
    return largest if largest > 0 else FAINT


cdef inline bint run_reaches(const floats* dx, Py_ssize_t lanes, const Features* f, Py_ssize_t c) noexcept nogil:
    """Whether one of the lanes is large enough.  Of noise the first vector mostly has one."""
    cdef float least = <float> f.doubt[c]
    cdef Py_ssize_t j
    for j in range(lanes // elements(dx)):
        if reaches(dx[j], least):
            return True
    return False


cdef inline bint run_would_reach(
    const Call* call, const float* x_, Py_ssize_t at, Py_ssize_t lanes, const Features* f, Py_ssize_t c
) noexcept nogil:
    cdef const floats* x = <const floats*> (x_ + at)
    cdef const floats* dy = <const floats*> (<const float*> call.dy + at)
    cdef floats mean = spread(<float> f.table[c], x)
    cdef floats a = spread(<float> f.table[f.reach + c], x)
    cdef floats slope = spread(<float> f.table[2 * f.reach + c], x)
    cdef floats centre = spread(<float> f.table[3 * f.reach + c], x)
    cdef float least = <float> f.doubt[c]
    cdef Py_ssize_t j
    for j in range(lanes // elements(x)):
        if reaches(((dy[j] - centre) - (x[j] - mean) * slope) * a, least):
            return True
    return False


# --- what settles it -------------------------------------------------------------------------

cdef inline bint any_in_doubt(const Features* f, Py_ssize_t begin, Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t found = 0, c
    for c in range(begin, begin + number):
        found += f.doubt[c] != 0
    return found > 0


cdef inline double tasted(const Features* f, Py_ssize_t c) noexcept nogil:
    """Of a feature in doubt the largest dx, without its factor; less what rounding may have added to it."""
    return 0.9999 * f.doubt[c] / fabs(f.table[f.reach + c])


cdef inline double unseen_of(double squares, bint all_seen) noexcept nogil:
    """How far an x that was not looked at may be from the mean, if variance is that of the batch."""
    if all_seen:
        return 0
    return sqrt(squares) if squares >= 0 else DBL_MAX


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
