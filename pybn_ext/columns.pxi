# Sums of some rows of lanes in x's own type, a vector of lanes at once: what `sums` adds to the float64 lanes.

cdef inline const vector* row_of(const vector* x, Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    return seek(x, rows.at[row] if kind == GATHERED else row * rows.stride)


cdef inline const unsigned char* keep_of(Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    if kind == MASKED:
        return rows.keep + row * rows.keep_stride
    return NULL


cdef inline vector value(const vector* x, Py_ssize_t j, Kind kind) noexcept nogil:
    """x[j], whatever it is stored in."""
    if vector is floats:
        if kind == FLOAT16S:
            return load_float16(<const uint16_t*> x + j * elements(x))
        if kind == BFLOAT16S:
            return load_bfloat16(<const uint16_t*> x + j * elements(x))
    return x[j]


cdef inline void fetch(const vector* x, Py_ssize_t j, Py_ssize_t bytes, Kind kind) noexcept nogil:
    """Ahead: what is so many bytes behind x[j].

    A loop of it is the caller's: gcc leaves out the call of a function that does nothing else.
    """
    if kind == FLOAT16S or kind == BFLOAT16S:
        prefetch(<const uint16_t*> x + j * elements(x) + bytes // <Py_ssize_t> sizeof(uint16_t))
    else:
        prefetch(seek(x, bytes) + j)


cdef inline Py_ssize_t far_ahead(const Rows* rows, Py_ssize_t at_once) noexcept nogil:
    """Bytes from a row to what is fetched into the second-level cache while it is summed."""
    return larger(at_once * rows.stride, AHEAD_OF_ROWS)


cdef inline vector difference(
    const vector* x, Py_ssize_t j, vector shift, const unsigned char* keep, Kind kind
) noexcept nogil:
    """x - shift; 0 where it is masked.  `keep` has a byte for each element of the row."""
    if kind == MASKED:
        return unmasked(x[j] - shift, keep + j * elements(x))
    return value(x, j, kind) - shift


cdef inline vector real_ones(const vector* dy, Py_ssize_t j, const unsigned char* keep, Kind kind) noexcept nogil:
    """dy; 0 where it is masked."""
    if kind == MASKED:
        return unmasked(dy[j], keep + j * elements(dy))
    return value(dy, j, kind)


cdef inline void sum_columns(
    const Rows* rows, const vector* x, Py_ssize_t columns, const vector* shift, vector* s, vector* q, Kind kind,
    Ahead ahead, bint watched
) noexcept nogil:
    """s += sum of x - shift, q += sum of (x - shift)^2, eight rows at a time: fewer additions, and shorter chains."""
    cdef vector c, d0, d1, d2, d3, d4, d5, d6, d7, first, second
    cdef vector* peaks = <vector*> rows.peaks
    cdef const vector* x0
    cdef const vector* x1
    cdef const vector* x2
    cdef const vector* x3
    cdef const vector* x4
    cdef const vector* x5
    cdef const vector* x6
    cdef const vector* x7
    cdef Py_ssize_t row = 0, further = far_ahead(rows, 8), j, i
    while row + 8 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        x4 = row_of(x, row + 4, rows, kind)
        x5 = row_of(x, row + 5, rows, kind)
        x6 = row_of(x, row + 6, rows, kind)
        x7 = row_of(x, row + 7, rows, kind)
        for j in range(columns):
            if ahead == NEXT_ROWS:
                for i in range(8):
                    fetch(x0, j, (8 + i) * rows.stride, kind)
            if ahead == FAR_ROWS:
                for i in range(8):
                    prefetch_far(seek(x0, further + i * rows.stride) + j)
            c = shift[j]
            d0 = difference(x0, j, c, keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, c, keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, c, keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, c, keep_of(row + 3, rows, kind), kind)
            d4 = difference(x4, j, c, keep_of(row + 4, rows, kind), kind)
            d5 = difference(x5, j, c, keep_of(row + 5, rows, kind), kind)
            d6 = difference(x6, j, c, keep_of(row + 6, rows, kind), kind)
            d7 = difference(x7, j, c, keep_of(row + 7, rows, kind), kind)
            s[j] = s[j] + (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)))
            first = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            second = (d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7)
            q[j] = q[j] + (first + second)
            if watched:
                peaks[j] = most(peaks[j], most(first, second))
        row += 8
    if row + 4 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        for j in range(columns):
            d0 = difference(x0, j, shift[j], keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, shift[j], keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, shift[j], keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, shift[j], keep_of(row + 3, rows, kind), kind)
            s[j] = s[j] + ((d0 + d1) + (d2 + d3))
            first = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            q[j] = q[j] + first
            if watched:
                peaks[j] = most(peaks[j], first)
        row += 4
    while row < rows.number:
        x0 = row_of(x, row, rows, kind)
        for j in range(columns):
            d0 = difference(x0, j, shift[j], keep_of(row, rows, kind), kind)
            s[j] = s[j] + d0
            q[j] = q[j] + d0 * d0
            if watched:
                peaks[j] = most(peaks[j], d0 * d0)
        row += 1


cdef inline void sum_gradient_columns(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* mean, vector* s, vector* q,
    Kind kind, Ahead ahead
) noexcept nogil:
    """s += sum of dy, q += sum of dy (x - mean), four rows at a time."""
    cdef vector c, g0, g1, g2, g3, d0, d1, d2, d3
    cdef const vector* x0
    cdef const vector* x1
    cdef const vector* x2
    cdef const vector* x3
    cdef const vector* dy0
    cdef const vector* dy1
    cdef const vector* dy2
    cdef const vector* dy3
    cdef Py_ssize_t row = 0, further = far_ahead(rows, 4), j, i
    while row + 4 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        dy0 = row_of(dy, row, rows, kind)
        dy1 = row_of(dy, row + 1, rows, kind)
        dy2 = row_of(dy, row + 2, rows, kind)
        dy3 = row_of(dy, row + 3, rows, kind)
        for j in range(columns):
            if ahead == NEXT_ROWS:
                for i in range(4):
                    fetch(x0, j, (4 + i) * rows.stride, kind)
                    fetch(dy0, j, (4 + i) * rows.stride, kind)
            if ahead == FAR_ROWS:
                for i in range(4):
                    prefetch_far(seek(x0, further + i * rows.stride) + j)
                    prefetch_far(seek(dy0, further + i * rows.stride) + j)
            c = mean[j]
            g0 = real_ones(dy0, j, keep_of(row, rows, kind), kind)
            g1 = real_ones(dy1, j, keep_of(row + 1, rows, kind), kind)
            g2 = real_ones(dy2, j, keep_of(row + 2, rows, kind), kind)
            g3 = real_ones(dy3, j, keep_of(row + 3, rows, kind), kind)
            d0 = difference(x0, j, c, keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, c, keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, c, keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, c, keep_of(row + 3, rows, kind), kind)
            s[j] = s[j] + ((g0 + g1) + (g2 + g3))
            q[j] = q[j] + ((g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3))
        row += 4
    while row < rows.number:
        x0 = row_of(x, row, rows, kind)
        dy0 = row_of(dy, row, rows, kind)
        for j in range(columns):
            g0 = real_ones(dy0, j, keep_of(row, rows, kind), kind)
            s[j] = s[j] + g0
            q[j] = q[j] + g0 * difference(x0, j, mean[j], keep_of(row, rows, kind), kind)
        row += 1


cdef inline void sum_kind(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* shift, vector* s, vector* q,
    Kind kind, Ahead ahead
) noexcept nogil:
    if dy == NULL:
        if rows.share == 0:
            sum_columns(rows, x, columns, shift, s, q, kind, ahead, False)
        else:
            sum_columns(rows, x, columns, shift, s, q, kind, ahead, True)
    else:
        sum_gradient_columns(rows, x, dy, columns, shift, s, q, kind, ahead)


cdef void sum_vectors(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* shift, vector* s, vector* q
) noexcept nogil:
    """The sums of the moments, or where there is a dy those of the gradient."""
    if rows.at != NULL:
        sum_kind(rows, x, dy, columns, shift, s, q, GATHERED, NOTHING)
    elif rows.keep != NULL:
        if rows.ahead == FAR_ROWS:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, FAR_ROWS)
        elif rows.ahead == NEXT_ROWS:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, NEXT_ROWS)
        else:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, NOTHING)
    elif rows.ahead == FAR_ROWS:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, FAR_ROWS)
    elif rows.ahead == NEXT_ROWS:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, NEXT_ROWS)
    else:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, NOTHING)


cdef void sum_half_vectors(
    const Rows* rows, const floats* x, const floats* dy, Py_ssize_t columns, const floats* shift, floats* s, floats* q
) noexcept nogil:
    """As `sum_vectors`, of 16 bits."""
    if rows.half == FLOAT16:
        sum_kind(rows, x, dy, columns, shift, s, q, FLOAT16S, NEXT_ROWS)
    else:
        sum_kind(rows, x, dy, columns, shift, s, q, BFLOAT16S, NEXT_ROWS)


cdef inline void sum_lanes(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """`sum_vectors` of whole vectors, named by their elements."""
    cdef Py_ssize_t size = lanes * sizeof(real)
    if real is float:
        if rows.half != NEITHER:
            sum_half_vectors(
                rows, <const floats*> x, <const floats*> dy, size // <Py_ssize_t> sizeof(floats), <const floats*> shift,
                <floats*> s, <floats*> q
            )
            return
        sum_vectors(
            rows, <const floats*> x, <const floats*> dy, size // <Py_ssize_t> sizeof(floats), <const floats*> shift,
            <floats*> s, <floats*> q
        )
    else:
        sum_vectors(
            rows, <const doubles*> x, <const doubles*> dy, size // <Py_ssize_t> sizeof(doubles),
            <const doubles*> shift, <doubles*> s, <doubles*> q
        )


cdef inline const real* behind(const real* dy, Py_ssize_t elements) noexcept nogil:
    """dy from there on, where there is one."""
    if dy == NULL:
        return NULL
    return dy + elements


cdef inline const real* lanes_behind(const Rows* rows, const real* x, Py_ssize_t lanes) noexcept nogil:
    """x from that lane on, where there is one."""
    if real is float:
        if rows.half != NEITHER and x != NULL:
            return <const real*> (<const uint16_t*> x + lanes)
    return behind(x, lanes)


cdef void sum_rows(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """The sums of at most ROWS rows of at least a vector; s and q have room for SPARE more."""
    cdef Py_ssize_t vector_lanes = elements(<floats*> NULL) if real is float else elements(<doubles*> NULL)
    cdef Py_ssize_t rest = lanes % vector_lanes
    cdef Py_ssize_t whole = lanes - rest
    cdef Py_ssize_t last = lanes - vector_lanes
    cdef Py_ssize_t i
    cdef Rows ends = rows[0]
    check_range(last, vector_lanes, lanes)
    memset(s, 0, (lanes + vector_lanes) * sizeof(real))
    memset(q, 0, (lanes + vector_lanes) * sizeof(real))
    if rows.share > 0:
        memset(rows.peaks, 0, (lanes + vector_lanes) * sizeof(real))
    sum_lanes(rows, x, dy, whole, shift, s, q)
    if rest:
        # The last whole vector of the row, whose first lanes are known already.
        if ends.keep != NULL:
            ends.keep += last
        if rows.share > 0:
            ends.peaks = <real*> ends.peaks + whole
        sum_lanes(
            &ends, lanes_behind(rows, x, last), lanes_behind(rows, dy, last), vector_lanes, shift + last, s + whole,
            q + whole
        )
        for i in range(whole, lanes):
            s[i] = s[i + whole - last]
            q[i] = q[i + whole - last]
            if rows.share > 0:
                (<real*> rows.peaks)[i] = (<real*> rows.peaks)[i + whole - last]
