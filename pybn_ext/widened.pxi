# Sums of float32 in float64.  The gradient's are read from memory and widened in registers; where moments are summed
# again, and where lanes are few, blocks are copied, wider, for the primitive for float64.  Both add in the same order.

cdef enum:
    WIDE_ROWS = 16  # that are summed before what rounding takes is kept; a copied block takes 16 KB with WIDE_LANES


cdef inline doubles wide_value(const float* x, Py_ssize_t lane, Half half) noexcept nogil:
    """As many elements from that lane on as fit, whatever they are stored in."""
    if half == FLOAT16:
        return widened_float16(<const uint16_t*> x + lane)
    if half == BFLOAT16:
        return widened_bfloat16(<const uint16_t*> x + lane)
    return widened(x + lane)


cdef inline void fetch_wide(const float* x, Py_ssize_t lane, Half half) noexcept nogil:
    prefetch(x + lane if half == NEITHER else <const float*> (<const uint16_t*> x + lane))


cdef inline doubles wide_or_masked(
    const float* dy, Py_ssize_t lane, const unsigned char* keep, bint masked, Half half
) noexcept nogil:
    """dy; 0 where it is masked."""
    if masked:
        return unmasked(widened(dy + lane), keep + lane)
    return wide_value(dy, lane, half)


cdef inline doubles wide_difference(
    const float* x, Py_ssize_t lane, doubles mean, const unsigned char* keep, bint masked, Half half
) noexcept nogil:
    """x - mean; 0 where it is masked."""
    if masked:
        return unmasked(widened(x + lane) - mean, keep + lane)
    return wide_value(x, lane, half) - mean


cdef inline const float* row_behind(const float* x, Py_ssize_t row, const Rows* rows) noexcept nogil:
    return <const float*> (<const char*> x + row * rows.stride)


cdef inline void sum_wide_columns(
    const Rows* rows, const float* x, const float* dy, Py_ssize_t columns, const doubles* mean, doubles* s, doubles* q,
    bint masked, bint ahead, Half half
) noexcept nogil:
    """As `sum_gradient_columns`."""
    cdef doubles c, g0, g1, g2, g3, d0, d1, d2, d3
    cdef const float* x0
    cdef const float* x1
    cdef const float* x2
    cdef const float* x3
    cdef const float* dy0
    cdef const float* dy1
    cdef const float* dy2
    cdef const float* dy3
    cdef const unsigned char* keep = rows.keep
    cdef Py_ssize_t next_keep = rows.keep_stride
    cdef Py_ssize_t row = 0, i, j, lane
    while row + 4 <= rows.number:
        x0, dy0 = row_behind(x, row, rows), row_behind(dy, row, rows)
        x1, dy1 = row_behind(x, row + 1, rows), row_behind(dy, row + 1, rows)
        x2, dy2 = row_behind(x, row + 2, rows), row_behind(dy, row + 2, rows)
        x3, dy3 = row_behind(x, row + 3, rows), row_behind(dy, row + 3, rows)
        for j in range(columns):
            lane = j * elements(mean)
            if ahead and lane % SPARE == 0:
                for i in range(4):
                    fetch_wide(row_behind(x0, 4 + i, rows), lane, half)
                    fetch_wide(row_behind(dy0, 4 + i, rows), lane, half)
            c = mean[j]
            g0 = wide_or_masked(dy0, lane, keep, masked, half)
            g1 = wide_or_masked(dy1, lane, keep + next_keep, masked, half)
            g2 = wide_or_masked(dy2, lane, keep + 2 * next_keep, masked, half)
            g3 = wide_or_masked(dy3, lane, keep + 3 * next_keep, masked, half)
            d0 = wide_difference(x0, lane, c, keep, masked, half)
            d1 = wide_difference(x1, lane, c, keep + next_keep, masked, half)
            d2 = wide_difference(x2, lane, c, keep + 2 * next_keep, masked, half)
            d3 = wide_difference(x3, lane, c, keep + 3 * next_keep, masked, half)
            s[j] = s[j] + ((g0 + g1) + (g2 + g3))
            q[j] = q[j] + ((g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3))
        row += 4
        keep += 4 * next_keep
    while row < rows.number:
        x0, dy0 = row_behind(x, row, rows), row_behind(dy, row, rows)
        for j in range(columns):
            lane = j * elements(mean)
            g0 = wide_or_masked(dy0, lane, keep, masked, half)
            s[j] = s[j] + g0
            q[j] = q[j] + g0 * wide_difference(x0, lane, mean[j], keep, masked, half)
        row += 1
        keep += next_keep


cdef void sum_wide_lanes(
    const Rows* rows, const float* x, const float* dy, Py_ssize_t lanes, const double* mean, double* s, double* q
) noexcept nogil:
    """`sum_wide_columns` of whole vectors, named by their elements."""
    cdef const doubles* means = <const doubles*> mean
    cdef doubles* sums = <doubles*> s
    cdef doubles* products = <doubles*> q
    cdef Py_ssize_t columns = lanes // elements(means)
    if rows.half == FLOAT16:
        sum_wide_columns(rows, x, dy, columns, means, sums, products, False, True, FLOAT16)
    elif rows.half == BFLOAT16:
        sum_wide_columns(rows, x, dy, columns, means, sums, products, False, True, BFLOAT16)
    elif rows.keep != NULL:
        sum_wide_columns(rows, x, dy, columns, means, sums, products, True, False, NEITHER)
    elif 8 * rows.stride <= NEAR:
        sum_wide_columns(rows, x, dy, columns, means, sums, products, False, True, NEITHER)
    else:
        sum_wide_columns(rows, x, dy, columns, means, sums, products, False, False, NEITHER)


cdef void sum_wide_rows(
    const Rows* rows, const float* x, const float* dy, Py_ssize_t lanes, const double* mean, double* s, double* q
) noexcept nogil:
    """As `sum_rows`."""
    cdef Py_ssize_t vector_lanes = elements(<doubles*> NULL)
    cdef Py_ssize_t rest = lanes % vector_lanes
    cdef Py_ssize_t whole = lanes - rest
    cdef Py_ssize_t last = lanes - vector_lanes
    cdef Py_ssize_t i
    cdef Rows ends = rows[0]
    check_range(last, vector_lanes, lanes)
    memset(s, 0, (lanes + vector_lanes) * sizeof(double))
    memset(q, 0, (lanes + vector_lanes) * sizeof(double))
    sum_wide_lanes(rows, x, dy, whole, mean, s, q)
    if rest:
        if ends.keep != NULL:
            ends.keep += last
        sum_wide_lanes(
            &ends, lanes_behind(rows, x, last), lanes_behind(rows, dy, last), vector_lanes, mean + last, s + whole,
            q + whole
        )
        for i in range(whole, lanes):
            s[i] = s[i + whole - last]
            q[i] = q[i + whole - last]


cdef void add_wide_rows(
    const Call* call, const float* x, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride, Py_ssize_t lanes,
    const double* mean, double* sums, Py_ssize_t width
) noexcept nogil:
    """At most WIDE_ROWS rows of SPARE to TILE + SPARE lanes, where there is a mask to PACK + SPARE."""
    cdef double s_room[TILE + 4 * SPARE]
    cdef double q_room[TILE + 4 * SPARE]
    cdef double* s = <double*> next_line(s_room)
    cdef double* q = <double*> next_line(q_room)
    cdef unsigned char keep[WIDE_ROWS * (PACK + SPARE) + LINE]
    cdef Rows rows = rows_of(call, number, stride, x)
    cdef Py_ssize_t row
    check_range(0, number, WIDE_ROWS)
    check_range(s - <double*> s_room, lanes + SPARE, TILE + 4 * SPARE)
    check_range(q - <double*> q_room, lanes + SPARE, TILE + 4 * SPARE)
    if call.keep != NULL:
        check_range(0, number * lanes, WIDE_ROWS * (PACK + SPARE))
        rows.keep = keep
        rows.keep_stride = lanes
        for row in range(number):
            spread_keep(call, start + row * stride, lanes, <unsigned char*> keep + row * lanes)
    sum_wide_rows(
        &rows, seek_element(call, x, start), seek_element(call, <const float*> call.dy, start), lanes, mean, s, q
    )
    flush(<const double*> s, lanes, sums, sums + 2 * width)
    flush(<const double*> q, lanes, sums + width, sums + 3 * width)


cdef void add_widened(
    const Call* call, const float* x, const float* dy, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride,
    Py_ssize_t lanes, const double* mean, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_block`: the sums of the gradient, or where dy is NULL those of the moments around `mean`."""
    cdef Py_ssize_t row = 0, lane, height, piece, at
    check_range(start, (number - 1) * stride + lanes if number else 0, size_of(call))
    check_range(0, lanes, width)
    while row < number:
        height = smaller(WIDE_ROWS, number - row)
        lane = 0
        while lane < lanes:
            at = start + row * stride + lane
            if dy == NULL or lanes < SPARE:
                piece = smaller(WIDE_LANES, lanes - lane)
                add_wide_piece(call, x, dy, at, height, stride, piece, mean + lane, sums + lane, width)
            else:
                piece = piece_of(lanes - lane, TILE if call.keep == NULL else PACK)
                add_wide_rows(call, x, at, height, stride, piece, mean + lane, sums + lane, width)
            lane += piece
        row += height


cdef void add_wide_piece(
    const Call* call, const float* x, const float* dy, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride,
    Py_ssize_t lanes, const double* mean, double* sums, Py_ssize_t width
) noexcept nogil:
    cdef double values[WIDE_ROWS * WIDE_LANES]
    cdef double cotangents[WIDE_ROWS * WIDE_LANES]
    cdef double means[WIDE_LANES]
    cdef unsigned char keep[WIDE_ROWS * WIDE_LANES + LINE]
    cdef const double* wide_dy = NULL if dy == NULL else <const double*> cotangents
    cdef Py_ssize_t padded = (lanes + SPARE - 1) // SPARE * SPARE  # whole vectors; what is added of the rest is 0
    cdef Rows rows = plain_rows(number, padded * sizeof(double))
    cdef float some[WIDE_LANES]
    cdef Py_ssize_t row
    check_range(0, number, WIDE_ROWS)
    check_range(0, lanes, WIDE_LANES)
    memset(means, 0, sizeof(means))
    memcpy(means, mean, lanes * sizeof(double))
    for row in range(number):
        widen(taken(call, x, start + row * stride, lanes, some), lanes, padded, <double*> values + row * padded)
        if dy != NULL:
            widen(
                taken(call, dy, start + row * stride, lanes, some), lanes, padded, <double*> cotangents + row * padded
            )
        if call.keep != NULL:
            memset(<unsigned char*> keep + row * padded, 0, padded)
            spread_keep(call, start + row * stride, lanes, <unsigned char*> keep + row * padded)
    if call.keep != NULL:
        rows.keep = keep
        rows.keep_stride = padded
    add_rows(&rows, <const double*> values, wide_dy, padded, <const double*> means, sums, width, lanes)


cdef inline void widen(const float* values, Py_ssize_t n, Py_ssize_t padded, double* to) noexcept nogil:
    cdef apart_from_others copy = to
    cdef Py_ssize_t j
    for j in range(n):
        copy[j] = values[j]
    for j in range(n, padded):
        copy[j] = 0


cdef inline Py_ssize_t block_features(const Call* call) noexcept nogil:
    """Adjacent features that are summed side by side; one where its runs are long."""
    return larger(1, smaller(SPARE, WIDE_LANES // call.inner))


cdef void sum_widened(const Call* call, const real* x, const Features* f) noexcept nogil:
    """Sum of dy, and of dy (x - mean), of each feature of a tile."""
    cdef double sums[4 * TILE_LANES]
    cdef double mean[TILE_LANES + SPARE]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = f.number * inner
    cdef Py_ssize_t c
    if inner >= SHORT_LANES:
        for c in range(f.number):
            sum_wide_runs(call, <const float*> x, f.begin + c, 0, call.outer * inner, f.mean[c], <double*> sums)
            total_runs(<const double*> sums, SPARE, 1, False, 0, &f.first[c])
            total_runs(<const double*> sums + SPARE, SPARE, 1, False, 0, &f.second[c])
        return
    check_range(0, lanes, TILE_LANES)
    for c in range(f.number):
        fill(<double*> mean + c * inner, inner, f.mean[c])
    memset(sums, 0, 4 * lanes * sizeof(double))
    if real is float:
        add_widened(
            call, x, <const float*> call.dy, f.begin * inner, call.outer, call.features * inner, lanes,
            <const double*> mean, <double*> sums, lanes
        )
    total_lanes(call, <const double*> sums, lanes, f.number, inner, 0, f.first)
    total_lanes(call, <const double*> sums + lanes, lanes, f.number, inner, 0, f.second)


cdef void sum_wide_block(
    const Call* call, const float* x, const float* dy, const Features* f, Py_ssize_t begin, Py_ssize_t number,
    double* first, double* second
) noexcept nogil:
    """Of `block_features` at the most, the first of them at `begin` in f."""
    cdef double sums[4 * WIDE_LANES]
    cdef double mean[WIDE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = smaller(number * inner, WIDE_LANES)
    cdef Py_ssize_t stride = call.features * inner
    cdef Py_ssize_t start = (f.begin + begin) * inner
    cdef Py_ssize_t row, j
    check_range(begin, number, f.number)
    memset(sums, 0, 4 * lanes * sizeof(double))
    for j in range(lanes):
        mean[j] = f.mean[begin + (j // inner if number > 1 else 0)]
    if number * inner <= WIDE_LANES:
        add_widened(call, x, dy, start, call.outer, stride, lanes, <const double*> mean, <double*> sums, lanes)
    else:  # one feature: its runs are rows of lanes, and what is left of each
        for row in range(call.outer):
            add_widened(
                call, x, dy, start, inner // lanes, lanes, lanes, <const double*> mean, <double*> sums, lanes
            )
            if inner % lanes:
                add_widened(
                    call, x, dy, start + inner - inner % lanes, 1, lanes, inner % lanes, <const double*> mean,
                    <double*> sums, lanes
                )
            start += stride
    total_wide(<const double*> sums, lanes, number, first)
    total_wide(<const double*> sums + lanes, lanes, number, second)


cdef void total_wide(const double* lanes, Py_ssize_t width, Py_ssize_t features, double* total) noexcept nogil:
    """The sum of each feature, from its adjacent lanes and what rounding lost of each."""
    cdef Py_ssize_t each = width // features
    cdef Total sum_
    cdef Py_ssize_t c, j
    for c in range(features):
        sum_.plain = sum_.lost = 0
        for j in range(c * each, (c + 1) * each):
            add(&sum_, lanes[j])
            sum_.lost += lanes[2 * width + j]
        total[c] = value_of(&sum_)
