# Sums.  One primitive: rows of lanes, each lane a sum of its own, so that the order of addition
# is fixed by the layout and not by the width of a register or the number of threads.

cdef enum:
    ROWS = 64    # rows summed in x's own type before they are added to the float64 lanes
    TILE = 512   # lanes at once: their partial sums stay in the first-level cache
    PACK = 128   # lanes at once where a mask makes copies necessary
    SPARE = 16   # elements of the longest vector
    NEAR = 8192  # bytes of eight rows up to which the next eight are fetched ahead: 45 GB/s with it, 40 without, where
                 # they are 4 KB; where they are 64 KB, 38 with it and 44 without

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


cdef inline void sum_columns(
    const vector* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t columns, const vector* shift, vector* s, vector* q,
    bint ahead
) noexcept nogil:
    """s += sum of x - shift, q += sum of (x - shift)^2, eight rows at a time; `stride` counts bytes."""
    cdef vector c, d0, d1, d2, d3, d4, d5, d6, d7
    cdef const vector* next_rows
    cdef Py_ssize_t row = 0, j, i
    while row + 8 <= rows:
        next_rows = seek(x, 8 * stride)
        for j in range(columns):
            if ahead:
                for i in range(8):
                    prefetch(seek(next_rows, i * stride) + j)
            c = shift[j]
            d0 = x[j] - c
            d1 = seek(x, stride)[j] - c
            d2 = seek(x, 2 * stride)[j] - c
            d3 = seek(x, 3 * stride)[j] - c
            d4 = seek(x, 4 * stride)[j] - c
            d5 = seek(x, 5 * stride)[j] - c
            d6 = seek(x, 6 * stride)[j] - c
            d7 = seek(x, 7 * stride)[j] - c
            s[j] = s[j] + (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)))
            q[j] = q[j] + (
                ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
            )
        x = next_rows
        row += 8
    while row < rows:
        for j in range(columns):
            d0 = x[j] - shift[j]
            s[j] = s[j] + d0
            q[j] = q[j] + d0 * d0
        x = seek(x, stride)
        row += 1


cdef inline void sum_gradient_columns(
    const vector* x, const vector* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t columns, const vector* mean,
    vector* s, vector* q, bint ahead
) noexcept nogil:
    """s += sum of dy, q += sum of dy (x - mean), four rows at a time; `stride` counts bytes."""
    cdef vector c, g0, g1, g2, g3
    cdef const vector* next_x
    cdef const vector* next_dy
    cdef Py_ssize_t row = 0, j, i
    while row + 4 <= rows:
        next_x = seek(x, 4 * stride)
        next_dy = seek(dy, 4 * stride)
        for j in range(columns):
            if ahead:
                for i in range(4):
                    prefetch(seek(next_x, i * stride) + j)
                    prefetch(seek(next_dy, i * stride) + j)
            c = mean[j]
            g0 = dy[j]
            g1 = seek(dy, stride)[j]
            g2 = seek(dy, 2 * stride)[j]
            g3 = seek(dy, 3 * stride)[j]
            s[j] = s[j] + ((g0 + g1) + (g2 + g3))
            q[j] = q[j] + (
                (g0 * (x[j] - c) + g1 * (seek(x, stride)[j] - c))
                + (g2 * (seek(x, 2 * stride)[j] - c) + g3 * (seek(x, 3 * stride)[j] - c))
            )
        x = next_x
        dy = next_dy
        row += 4
    while row < rows:
        for j in range(columns):
            s[j] = s[j] + dy[j]
            q[j] = q[j] + dy[j] * (x[j] - mean[j])
        x = seek(x, stride)
        dy = seek(dy, stride)
        row += 1


cdef void sum_vectors(
    const vector* x, const vector* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t columns, const vector* shift,
    vector* s, vector* q
) noexcept nogil:
    """The sums of the moments, or where there is a dy those of the gradient."""
    cdef bint ahead = 8 * stride <= NEAR
    if dy == NULL:
        if ahead:
            sum_columns(x, rows, stride, columns, shift, s, q, True)
        else:
            sum_columns(x, rows, stride, columns, shift, s, q, False)
    elif ahead:
        sum_gradient_columns(x, dy, rows, stride, columns, shift, s, q, True)
    else:
        sum_gradient_columns(x, dy, rows, stride, columns, shift, s, q, False)


cdef inline void sum_lanes(
    const real* x, const real* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes, const real* shift, real* s,
    real* q
) noexcept nogil:
    """`sum_vectors` of whole vectors, named by their elements."""
    cdef Py_ssize_t size = sizeof(real)
    if real is float:
        sum_vectors(
            <const floats*> x, <const floats*> dy, rows, stride * size, lanes * size // <Py_ssize_t> sizeof(floats),
            <const floats*> shift, <floats*> s, <floats*> q
        )
    else:
        sum_vectors(
            <const doubles*> x, <const doubles*> dy, rows, stride * size, lanes * size // <Py_ssize_t> sizeof(doubles),
            <const doubles*> shift, <doubles*> s, <doubles*> q
        )


cdef inline const real* behind(const real* dy, Py_ssize_t elements) noexcept nogil:
    """dy from there on, where there is one."""
    if dy == NULL:
        return NULL
    return dy + elements


cdef void sum_rows(
    const real* x, const real* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes, const real* shift, real* s,
    real* q
) noexcept nogil:
    """The sums of at most ROWS rows of at least a vector; s and q have room for SPARE more."""
    cdef Py_ssize_t vector_lanes = <Py_ssize_t> sizeof(floats) // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t rest = lanes % vector_lanes
    cdef Py_ssize_t whole = lanes - rest
    cdef Py_ssize_t last = lanes - vector_lanes
    cdef Py_ssize_t i
    memset(s, 0, (lanes + vector_lanes) * sizeof(real))
    memset(q, 0, (lanes + vector_lanes) * sizeof(real))
    sum_lanes(x, dy, rows, stride, whole, shift, s, q)
    if rest:
        # The last whole vector of the row, whose first lanes are known already.
        sum_lanes(x + last, behind(dy, last), rows, stride, vector_lanes, shift + last, s + whole, q + whole)
        for i in range(whole, lanes):
            s[i] = s[i + whole - last]
            q[i] = q[i + whole - last]


cdef void add_rows(
    const real* x, const real* dy, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes, const real* shift,
    double* sums, Py_ssize_t width, Py_ssize_t wanted
) noexcept nogil:
    """Add at most ROWS rows of at most TILE + SPARE lanes, at least a vector, to the sums of the `wanted` first lanes."""
    cdef real s_room[TILE + 4 * SPARE]
    cdef real q_room[TILE + 4 * SPARE]
    cdef real* s = <real*> next_line(s_room)
    cdef real* q = <real*> next_line(q_room)
    sum_rows(x, dy, rows, stride, lanes, shift, s, q)
    flush(<const real*> s, wanted, sums, sums + 2 * width)
    flush(<const real*> q, wanted, sums + width, sums + 3 * width)


cdef void add_copies(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_rows`, at most PACK lanes, on copies in which what is masked, or missing to a vector, adds nothing."""
    cdef real values[ROWS * PACK]
    cdef real cotangents[ROWS * PACK]
    cdef real shifts[PACK]
    cdef real nothing[PACK]
    cdef unsigned char buffer[PACK]
    cdef const real* dy = <const real*> call.dy
    cdef const unsigned char* keep = buffer
    cdef Py_ssize_t padded = PACK if lanes > PACK - SPARE else (lanes + SPARE - 1) // SPARE * SPARE
    cdef Py_ssize_t row, at, i
    memset(nothing, 0, sizeof(nothing))
    memset(buffer, 1, sizeof(buffer))
    for i in range(padded):
        shifts[i] = shift[i] if i < lanes else 0
    for row in range(rows):
        at = start + row * stride
        if call.keep != NULL:
            keep = keep_of(call, at, lanes, buffer)
        neutral_copy(x + at, keep, lanes, shift, values + row * padded)
        memset(values + row * padded + lanes, 0, (padded - lanes) * sizeof(real))
        if dy != NULL:
            neutral_copy(dy + at, keep, lanes, <const real*> nothing, cotangents + row * padded)
            memset(cotangents + row * padded + lanes, 0, (padded - lanes) * sizeof(real))
    if dy != NULL:
        dy = <const real*> cotangents
    add_rows(<const real*> values, dy, rows, padded, padded, <const real*> shifts, sums, width, lanes)


cdef void add_block(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums,
    Py_ssize_t width
) noexcept nogil:
    """Add `rows` rows of `lanes` lanes, the first at element `start` of x, to the sums of the lanes."""
    cdef const real* dy = <const real*> call.dy
    cdef bint copies = call.keep != NULL or lanes < SPARE
    cdef Py_ssize_t tile = PACK if copies else TILE
    cdef Py_ssize_t row = 0, lane, height, breadth, at
    check_range(start, (rows - 1) * stride + lanes if rows else 0, size_of(call))
    check_range(0, lanes, width)
    while row < rows:
        height = smaller(ROWS, rows - row)
        lane = 0
        while lane < lanes:
            breadth = lanes - lane
            if breadth >= tile + SPARE or copies:
                breadth = smaller(tile, breadth)
            at = start + row * stride + lane
            if copies:
                add_copies(call, x, at, height, stride, breadth, shift + lane, sums + lane, width)
            else:
                add_rows(
                    x + at, behind(dy, at), height, stride, breadth, shift + lane, sums + lane, width,
                    breadth
                )
            lane += breadth
        row += height


cdef inline void run_up(const double* lanes, Py_ssize_t n, double* running) noexcept nogil:
    """Eight running sums: lane j belongs to the one of j % 8."""
    cdef Py_ssize_t i, j
    for i in range(n // 8):
        for j in range(8):
            running[j] += lanes[8 * i + j]
    for j in range(n & 7):
        running[j] += lanes[(n & ~7) + j]


cdef inline double tree(const double* a) noexcept nogil:
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


cdef double sum_of_lanes(const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t n) noexcept nogil:
    """The sum of n lanes, with what rounding lost of each."""
    cdef double running[8]
    memset(running, 0, sizeof(running))
    run_up(lanes, n, <double*> running)
    if not call.single:
        run_up(lanes + 2 * width, n, <double*> running)
    return tree(running)


cdef void total_lanes(
    const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t features, Py_ssize_t each, double* total
) noexcept nogil:
    """The sum of each feature, from its `each` adjacent lanes."""
    cdef Py_ssize_t c
    if each > 1:
        for c in range(features):
            total[c] = sum_of_lanes(call, lanes + c * each, width, each)
    elif call.single:
        memcpy(total, lanes, features * sizeof(double))
    else:
        for c in range(features):
            total[c] = lanes[c] + lanes[2 * width + c]


cdef void total_partial(const real* lanes, Py_ssize_t features, Py_ssize_t each, double* total) noexcept nogil:
    """As `total_lanes`, from what `sum_rows` left: up to ROWS rows there is nothing to add it to."""
    cdef double widened[TILE_LANES]
    cdef double running[8]
    cdef Py_ssize_t c, j
    if each == 1:
        for c in range(features):
            total[c] = lanes[c]
        return
    for j in range(features * each):
        widened[j] = lanes[j]
    for c in range(features):
        memset(running, 0, sizeof(running))
        run_up(<const double*> widened + c * each, each, <double*> running)
        total[c] = tree(running)


# --- the shift -------------------------------------------------------------------------------

cdef inline real lesser(real a, real b) noexcept nogil:
    return a if a < b else b


cdef inline real greater(real a, real b) noexcept nogil:
    return a if a > b else b


cdef inline real median(real a, real b, real c) noexcept nogil:
    return greater(lesser(a, b), lesser(greater(a, b), c))


cdef void choose_shift(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """An element of each feature near its mean: the median of three medians of three samples.

    An element, so that what remains of a constant feature is exactly 0.
    """
    cdef const real* at[SAMPLES]
    cdef Py_ssize_t i
    for i in range(SAMPLES):
        at[i] = x + element(call, f.begin, call.samples[i])
        check_range(at[i] - x, (f.number - 1) * call.inner + 1, size_of(call))
    if call.inner == 1:
        medians(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], f.number, 1, shift)
    else:
        medians(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], f.number, call.inner, shift)


cdef inline void medians(
    const real* a, const real* b, const real* c, const real* d, const real* e, const real* f, const real* g,
    const real* h, const real* i, Py_ssize_t n, Py_ssize_t step, real* shift
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        shift[j] = median(
            median(a[j * step], d[j * step], g[j * step]),
            median(b[j * step], e[j * step], h[j * step]),
            median(c[j * step], f[j * step], i[j * step]),
        )


cdef void shift_features(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """The shift of each feature: near the mean for the moments, the rounded mean for the gradient."""
    cdef Py_ssize_t c
    if not is_gradient(call):
        choose_shift(call, x, f, shift)
        return
    for c in range(f.number):
        shift[c] = <real> f.mean[c]


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


cdef void careful_moments(
    const Call* call, const real* x, Py_ssize_t feature, double* mean, double* variance, double* low
) noexcept nogil:
    """Mean and variance of one feature: its first element subtracted, centred, and what rounding left corrected."""
    cdef double origin = x[element(call, feature, next_kept(call, 0))]
    cdef double first, second, centre
    careful_sums(call, x, feature, origin, 0, &first, &second)
    centre = first / call.count
    careful_sums(call, x, feature, origin, centre, &first, &second)
    variance[0] = (second - first * (first / call.count)) / call.count
    if first == first:
        centre += first / call.count
    mean[0] = origin + centre
    low[0] = (origin - mean[0]) + centre
