# Sums of float32 in float64, by the primitive for float64: blocks of x and dy are copied, wider, for it to read.

cdef enum:
    WIDE_ROWS = 16  # of a block that is copied at once: with WIDE_LANES, x and dy take 16 KB of the first-level cache


cdef void add_widened(
    const Call* call, const float* x, const float* dy, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride,
    Py_ssize_t lanes, const double* mean, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_block`: the sums of the gradient, or where dy is NULL those of the moments around `mean`."""
    cdef Py_ssize_t row = 0, lane, height, piece
    check_range(start, (number - 1) * stride + lanes if number else 0, size_of(call))
    check_range(0, lanes, width)
    while row < number:
        height = smaller(WIDE_ROWS, number - row)
        lane = 0
        while lane < lanes:
            piece = smaller(WIDE_LANES, lanes - lane)
            add_wide_piece(
                call, x, dy, start + row * stride + lane, height, stride, piece, mean + lane, sums + lane, width
            )
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
    cdef Py_ssize_t row
    check_range(0, number, WIDE_ROWS)
    check_range(0, lanes, WIDE_LANES)
    memset(means, 0, sizeof(means))
    memcpy(means, mean, lanes * sizeof(double))
    for row in range(number):
        widen(x + start + row * stride, lanes, padded, <double*> values + row * padded)
        if dy != NULL:
            widen(dy + start + row * stride, lanes, padded, <double*> cotangents + row * padded)
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
    """Sum of dy, and of dy (x - mean), of each feature."""
    cdef Py_ssize_t begin = 0, number
    while begin < f.number:
        number = smaller(block_features(call), f.number - begin)
        if real is float:
            sum_wide_block(call, x, <const float*> call.dy, f, begin, number, f.first + begin, f.second + begin)
        begin += number


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
