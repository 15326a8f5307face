# Sums of float32 in float64, of the gradient, for elements of one feature that lie together: as in `runs`, but each
# vector is widened on its way from memory.

cdef inline void sum_wide_run(
    const float* x, const float* dy, Py_ssize_t rows, Py_ssize_t rest, const unsigned char* keep,
    const unsigned char* rest_keep, doubles mean, doubles* s, doubles* q, bint anew, bint masked,
    Half half
) noexcept nogil:
    """As `sum_gradient_run`."""
    cdef doubles sums[COLUMNS]
    cdef doubles products[COLUMNS]
    cdef Py_ssize_t width = elements(s)
    cdef Py_ssize_t columns = SPARE // width
    cdef Py_ssize_t row = 0, column, at, i
    cdef doubles g0, g1, g2, g3, d0, d1, d2, d3
    for column in range(columns):
        sums[column] = spread_doubles(0) if anew else s[column]
        products[column] = spread_doubles(0) if anew else q[column]
    while row + 4 <= rows:
        for i in range(4):
            fetch_wide(x, (row + i) * SPARE + RUN_AHEAD // 4, half)
            fetch_wide(dy, (row + i) * SPARE + RUN_AHEAD // 4, half)
        for column in range(columns):
            at = row * SPARE + column * width
            g0 = wide_or_masked(dy, at, keep, masked, half)
            g1 = wide_or_masked(dy, at + SPARE, keep, masked, half)
            g2 = wide_or_masked(dy, at + 2 * SPARE, keep, masked, half)
            g3 = wide_or_masked(dy, at + 3 * SPARE, keep, masked, half)
            d0 = wide_difference(x, at, mean, keep, masked, half)
            d1 = wide_difference(x, at + SPARE, mean, keep, masked, half)
            d2 = wide_difference(x, at + 2 * SPARE, mean, keep, masked, half)
            d3 = wide_difference(x, at + 3 * SPARE, mean, keep, masked, half)
            sums[column] = sums[column] + ((g0 + g1) + (g2 + g3))
            products[column] = products[column] + ((g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3))
        row += 4
    while row < rows:
        for column in range(columns):
            at = row * SPARE + column * width
            g0 = wide_or_masked(dy, at, keep, masked, half)
            sums[column] = sums[column] + g0
            products[column] = products[column] + g0 * wide_difference(x, at, mean, keep, masked, half)
        row += 1
    for column in range(columns):
        if rest > column * width:
            at = rows * SPARE + column * width
            g0 = unmasked(wide_value(dy, at, half), rest_keep + column * width)
            d0 = unmasked(wide_value(x, at, half) - mean, rest_keep + column * width)
            sums[column] = sums[column] + g0
            products[column] = products[column] + g0 * d0
        s[column] = sums[column]
        q[column] = products[column]


cdef void add_wide_run(
    const Call* call, const float* x, Py_ssize_t start, Py_ssize_t length, double mean, double* s, double* q, bint anew
) noexcept nogil:
    """As `add_run`."""
    cdef const float* values = seek_element(call, x, start)
    cdef const float* cotangents = seek_element(call, <const float*> call.dy, start)
    cdef Py_ssize_t rest = length % SPARE
    cdef Py_ssize_t rows = length // SPARE
    cdef const unsigned char* keep = NULL
    cdef const unsigned char* rest_keep = ones_then_zeros + SPARE - rest
    cdef unsigned char both[SPARE]
    cdef float last[SPARE]
    cdef float last_dy[SPARE]
    cdef doubles means = spread_doubles(mean)
    cdef bint whole = rest == 0 or start + (rows + 1) * SPARE <= size_of(call)
    check_range(start, length, size_of(call))
    check_range(0, rows, WIDE_ROWS)
    if call.keep != NULL:
        keep = keep_of_run(call, start, length)
        memset(both, 0, SPARE)
        memcpy(both, keep + length - rest, rest)
        rest_keep = both
    if call.half == FLOAT16:
        sum_wide_run(
            values, cotangents, rows, rest if whole else 0, keep, rest_keep, means, <doubles*> s, <doubles*> q, anew,
            False, FLOAT16
        )
    elif call.half == BFLOAT16:
        sum_wide_run(
            values, cotangents, rows, rest if whole else 0, keep, rest_keep, means, <doubles*> s, <doubles*> q, anew,
            False, BFLOAT16
        )
    elif keep == NULL:
        sum_wide_run(
            values, cotangents, rows, rest if whole else 0, keep, rest_keep, means, <doubles*> s, <doubles*> q, anew,
            False, NEITHER
        )
    else:
        sum_wide_run(
            values, cotangents, rows, rest if whole else 0, keep, rest_keep, means, <doubles*> s, <doubles*> q, anew,
            True, NEITHER
        )
    if not whole:  # the last row of x: what is read behind it would not be ours
        memset(last, 0, sizeof(last))
        memset(last_dy, 0, sizeof(last_dy))
        copy_few(call, x, start + length - rest, rest, <float*> last)
        copy_few(call, <const float*> call.dy, start + length - rest, rest, <float*> last_dy)
        sum_wide_run(
            <const float*> last, <const float*> last_dy, 0, rest, NULL, rest_keep, means, <doubles*> s, <doubles*> q,
            False, False, NEITHER
        )


cdef void sum_wide_runs(
    const Call* call, const float* x, Py_ssize_t feature, Py_ssize_t start, Py_ssize_t stop, double mean, double* sums
) noexcept nogil:
    """As `sum_runs`, of one feature."""
    cdef double s[SPARE]
    cdef double q[SPARE]
    cdef Py_ssize_t taken = 0, rows, length
    cdef bint first = True
    check_range(feature, 1, call.features)
    check_range(start, stop - start, call.outer * call.inner)
    check_range(0, 1, stop - start)  # of nothing, s and q would stay as they are
    while start < stop:
        length = smaller(stop - start, call.inner - start % call.inner)
        length = smaller(length, WIDE_ROWS * SPARE)
        rows = (length + SPARE - 1) // SPARE
        if taken + rows > WIDE_ROWS:
            flush_lanes(<const double*> s, <const double*> q, SPARE, sums, first)
            first = False
            taken = 0
        add_wide_run(call, x, element(call, feature, start), length, mean, <double*> s, <double*> q, taken == 0)
        taken += rows
        start += length
    flush_lanes(<const double*> s, <const double*> q, SPARE, sums, first)
