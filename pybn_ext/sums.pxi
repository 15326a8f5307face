# Sums.  One primitive: rows of lanes, each lane a sum of its own, so that the order of addition
# is fixed by the layout and not by the width of a register or the number of threads.

cdef enum:
    ROWS = 64   # rows summed in x's own type before they are added to the float64 lanes
    TILE = 512  # lanes at once: their partial sums stay in the first-level cache
    PACK = 128  # lanes at once where a mask makes copies necessary

# The sums of L lanes lie behind each other: L first sums, L second ones, and for float64 what the rounding of
# each addition lost, L and L again.


cdef inline void flush(const real* partial, Py_ssize_t lanes, double* total, double* lost) noexcept nogil:
    """total += partial; in float64 with what that loses (Knuth's TwoSum), since the total grows for ever."""
    cdef double after, taken
    cdef Py_ssize_t j
    if real is float:
        for j in range(lanes):
            total[j] += partial[j]
    else:
        for j in range(lanes):
            after = total[j] + partial[j]
            taken = after - total[j]
            lost[j] += (total[j] - (after - taken)) + (partial[j] - taken)
            total[j] = after


cdef void add_rows(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes, const real* shift, double* sums,
    Py_ssize_t width
) noexcept nogil:
    """first sum += sum of x - shift, second += sum of (x - shift)^2, over at most ROWS rows of at most TILE lanes."""
    cdef real s[TILE]
    cdef real q[TILE]
    cdef real c, d0, d1, d2, d3, d4, d5, d6, d7
    cdef Py_ssize_t row = 0, j
    cdef const real* p
    for j in range(lanes):
        s[j] = 0
        q[j] = 0
    while row + 8 <= rows:
        p = x + row * stride
        for j in range(lanes):
            c = shift[j]
            d0 = p[j] - c
            d1 = p[stride + j] - c
            d2 = p[2 * stride + j] - c
            d3 = p[3 * stride + j] - c
            d4 = p[4 * stride + j] - c
            d5 = p[5 * stride + j] - c
            d6 = p[6 * stride + j] - c
            d7 = p[7 * stride + j] - c
            s[j] += ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))
            q[j] += ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
        row += 8
    while row < rows:
        p = x + row * stride
        for j in range(lanes):
            d0 = p[j] - shift[j]
            s[j] += d0
            q[j] += d0 * d0
        row += 1
    flush(<const real*> s, lanes, sums, sums + 2 * width)
    flush(<const real*> q, lanes, sums + width, sums + 3 * width)


cdef void add_gradient_rows(
    const real* x, const real* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes, const real* mean,
    double* sums, Py_ssize_t width
) noexcept nogil:
    """first sum += sum of dy, second += sum of dy (x - mean), over at most ROWS rows of at most TILE lanes."""
    cdef real s[TILE]
    cdef real q[TILE]
    cdef real c, g0, g1, g2, g3
    cdef Py_ssize_t row = 0, j
    cdef const real* p
    cdef const real* g
    for j in range(lanes):
        s[j] = 0
        q[j] = 0
    while row + 4 <= rows:
        p = x + row * stride
        g = dy + row * stride
        for j in range(lanes):
            c = mean[j]
            g0 = g[j]
            g1 = g[stride + j]
            g2 = g[2 * stride + j]
            g3 = g[3 * stride + j]
            s[j] += (g0 + g1) + (g2 + g3)
            q[j] += (g0 * (p[j] - c) + g1 * (p[stride + j] - c)) + (
                g2 * (p[2 * stride + j] - c) + g3 * (p[3 * stride + j] - c)
            )
        row += 4
    while row < rows:
        p = x + row * stride
        g = dy + row * stride
        for j in range(lanes):
            s[j] += g[j]
            q[j] += g[j] * (p[j] - mean[j])
        row += 1
    flush(<const real*> s, lanes, sums, sums + 2 * width)
    flush(<const real*> q, lanes, sums + width, sums + 3 * width)


cdef void add_masked(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums,
    Py_ssize_t width
) noexcept nogil:
    """As `add_rows` or `add_gradient_rows`, on copies in which masked elements add nothing."""
    cdef real values[ROWS * PACK]
    cdef real cotangents[ROWS * PACK]
    cdef real nothing[PACK]
    cdef unsigned char buffer[PACK]
    cdef const real* dy = <const real*> call.dy
    cdef const unsigned char* keep
    cdef Py_ssize_t row, at
    memset(nothing, 0, sizeof(nothing))
    for row in range(rows):
        at = start + row * stride
        keep = keep_of(call, at, lanes, buffer)
        neutral_copy(x + at, keep, lanes, shift, values + row * PACK)
        if dy != NULL:
            neutral_copy(dy + at, keep, lanes, <const real*> nothing, cotangents + row * PACK)
    if dy != NULL:
        add_gradient_rows(<const real*> values, <const real*> cotangents, rows, PACK, lanes, shift, sums, width)
    else:
        add_rows(<const real*> values, rows, PACK, lanes, shift, sums, width)


cdef void add_block(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums,
    Py_ssize_t width
) noexcept nogil:
    """Add `rows` rows of `lanes` lanes, the first at element `start` of x, to the sums of the lanes."""
    cdef const real* dy = <const real*> call.dy
    cdef Py_ssize_t tile = TILE if call.keep == NULL else PACK
    cdef Py_ssize_t row = 0, lane, height, breadth, at
    check_range(start, (rows - 1) * stride + lanes if rows else 0, size_of(call))
    check_range(0, lanes, width)
    while row < rows:
        height = smaller(ROWS, rows - row)
        lane = 0
        while lane < lanes:
            breadth = smaller(tile, lanes - lane)
            at = start + row * stride + lane
            if call.keep != NULL:
                add_masked(call, x, at, height, stride, breadth, shift + lane, sums + lane, width)
            elif dy != NULL:
                add_gradient_rows(x + at, dy + at, height, stride, breadth, shift + lane, sums + lane, width)
            else:
                add_rows(x + at, height, stride, breadth, shift + lane, sums + lane, width)
            lane += breadth
        row += height


cdef double sum_of_lanes(const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t n) noexcept nogil:
    """The sum of n lanes: eight running sums, then a tree."""
    cdef double a[8]
    cdef Py_ssize_t i, j
    for j in range(8):
        a[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            a[j] += lanes[i + j]
    for j in range(n & 7):
        a[j] += lanes[(n & ~7) + j]
    if not call.single:
        for j in range(n):
            a[j & 7] += lanes[2 * width + j]
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


# --- the shift -------------------------------------------------------------------------------

cdef inline real lesser(real a, real b) noexcept nogil:
    return a if a < b else b


cdef inline real greater(real a, real b) noexcept nogil:
    return a if a > b else b


cdef inline real median(real a, real b, real c) noexcept nogil:
    return greater(lesser(a, b), lesser(greater(a, b), c))


cdef void choose_shift(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, real* shift
) noexcept nogil:
    """An element of each feature near its mean: the median of three medians of three samples.

    An element, so that what remains of a constant feature is exactly 0.
    """
    cdef Py_ssize_t at[SAMPLES]
    cdef Py_ssize_t i, c
    cdef Py_ssize_t inner = call.inner
    for i in range(SAMPLES):
        at[i] = element(call, feature, call.samples[i])
        check_range(at[i], (features - 1) * inner + 1, size_of(call))
    for c in range(features):
        i = c * inner
        shift[c] = median(
            median(x[at[0] + i], x[at[3] + i], x[at[6] + i]),
            median(x[at[1] + i], x[at[4] + i], x[at[7] + i]),
            median(x[at[2] + i], x[at[5] + i], x[at[8] + i]),
        )


cdef bint all_equal(const Call* call, const real* values, Py_ssize_t feature, real value) noexcept nogil:
    """Whether each unmasked element of the feature is `value`; stops at the first that is not."""
    cdef Py_ssize_t outer, i, at
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if values[at + i] != value and (call.keep == NULL or call.keep[outer * call.inner + i]):
                return False
    return True


# --- the second look: where the shift was far from the mean, or a square left the type's range --

cdef struct Total:
    double plain
    double lost


cdef inline void add(Total* total, double value) noexcept nogil:
    """total += value, and what rounding loses is kept (Neumaier 1974)."""
    cdef double after = total.plain + value
    if fabs(total.plain) >= fabs(value):
        total.lost += (total.plain - after) + value
    else:
        total.lost += (value - after) + total.plain
    total.plain = after


cdef inline double value_of(const Total* total) noexcept nogil:
    cdef double both = total.plain + total.lost
    return both if both == both else total.plain  # infinity - infinity in `lost` says nothing


cdef void careful_sums(
    const Call* call, const real* x, Py_ssize_t feature, double origin, double centre, double* first, double* second
) noexcept nogil:
    """Sums of d and d^2, or of dy and dy d, for d = (x - origin) - centre, all in compensated float64."""
    cdef const real* dy = <const real*> call.dy
    cdef Total one, two
    cdef Py_ssize_t outer, i, at
    cdef double d, factor
    one.plain = one.lost = two.plain = two.lost = 0
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if call.keep != NULL and not call.keep[outer * call.inner + i]:
                continue
            d = (<double> x[at + i] - origin) - centre
            factor = d if dy == NULL else <double> dy[at + i]
            add(&one, factor)
            add(&two, factor * d)
    first[0] = value_of(&one)
    second[0] = value_of(&two)


cdef void careful_moments(const Call* call, const real* x, Py_ssize_t feature) noexcept nogil:
    """Mean and variance of one feature: its first element subtracted, centred, and what rounding left corrected."""
    cdef double origin = x[element(call, feature, next_kept(call, 0))]
    cdef double first, second, centre
    careful_sums(call, x, feature, origin, 0, &first, &second)
    centre = first / call.count
    careful_sums(call, x, feature, origin, centre, &first, &second)
    call.variance[feature] = (second - first * (first / call.count)) / call.count
    if first == first:
        centre += first / call.count
    call.mean[feature] = origin + centre
    call.low[feature] = (origin - call.mean[feature]) + centre
