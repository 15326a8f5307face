# Sums of runs.  Elements of one feature that lie together are rows of SPARE lanes, few enough for registers; the order
# of addition is fixed by the length of the run, as it is by the layout in `sums`.

cdef enum:
    COLUMNS = 16  # vectors of SPARE elements, where one is a number; 8 at the most where it is not
    RUN_FEATURES = 64  # most features whose runs are summed side by side, or written so
    # Bytes that are fetched ahead in a run, of x and of dy; twice as many of x alone.  32 float64 images of 56 x 56
    # took 0.95 of the time without; twice as far, gradients of 28 x 28 took 1.1.
    RUN_AHEAD = 1024


cdef inline void sum_run(
    const vector* x, Py_ssize_t rows, Py_ssize_t rest, const unsigned char* keep, const unsigned char* rest_keep,
    vector shift, vector* s, vector* q, bint anew, Kind kind
) noexcept nogil:
    """As `sum_columns`, of rows of SPARE lanes that follow each other, and `rest` lanes of one more."""
    cdef vector sums[COLUMNS]  # in registers
    cdef vector squares[COLUMNS]
    cdef Py_ssize_t columns = SPARE // elements(x)
    cdef Py_ssize_t row = 0, column, j, i
    cdef vector d0, d1, d2, d3, d4, d5, d6, d7
    for column in range(columns):
        sums[column] = spread(<float> 0, x) if anew else s[column]
        squares[column] = spread(<float> 0, x) if anew else q[column]
    while row + 8 <= rows:
        for column in range(columns):
            j = row * columns + column
            if column * <Py_ssize_t> sizeof(vector) % LINE == 0:
                for i in range(8):
                    fetch(x, j + i * columns, 2 * RUN_AHEAD, kind)
            d0 = difference(x, j, shift, keep, kind)
            d1 = difference(x, j + columns, shift, keep, kind)
            d2 = difference(x, j + 2 * columns, shift, keep, kind)
            d3 = difference(x, j + 3 * columns, shift, keep, kind)
            d4 = difference(x, j + 4 * columns, shift, keep, kind)
            d5 = difference(x, j + 5 * columns, shift, keep, kind)
            d6 = difference(x, j + 6 * columns, shift, keep, kind)
            d7 = difference(x, j + 7 * columns, shift, keep, kind)
            sums[column] = sums[column] + (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)))
            squares[column] = squares[column] + (
                ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
            )
        row += 8
    while row + 2 <= rows:  # one by one, runs of 13 rows left 8 units of the variance beside two outliers
        for column in range(columns):
            d0 = difference(x, row * columns + column, shift, keep, kind)
            d1 = difference(x, (row + 1) * columns + column, shift, keep, kind)
            sums[column] = sums[column] + (d0 + d1)
            squares[column] = squares[column] + (d0 * d0 + d1 * d1)
        row += 2
    while row < rows:
        for column in range(columns):
            d0 = difference(x, row * columns + column, shift, keep, kind)
            sums[column] = sums[column] + d0
            squares[column] = squares[column] + d0 * d0
        row += 1
    for column in range(columns):
        if rest > column * elements(x):
            d0 = unmasked(value(x, rows * columns + column, kind) - shift, rest_keep + column * elements(x))
            sums[column] = sums[column] + d0
            squares[column] = squares[column] + d0 * d0
        s[column] = sums[column]
        q[column] = squares[column]


cdef inline void sum_gradient_run(
    const vector* x, const vector* dy, Py_ssize_t rows, Py_ssize_t rest, const unsigned char* keep,
    const unsigned char* rest_keep, vector mean, vector* s, vector* q, bint anew, Kind kind
) noexcept nogil:
    """As `sum_gradient_columns`, of such rows."""
    cdef vector sums[COLUMNS]
    cdef vector products[COLUMNS]
    cdef Py_ssize_t columns = SPARE // elements(x)
    cdef Py_ssize_t row = 0, column, j, i
    cdef vector g0, g1, g2, g3, d0, d1, d2, d3
    for column in range(columns):
        sums[column] = spread(<float> 0, x) if anew else s[column]
        products[column] = spread(<float> 0, x) if anew else q[column]
    while row + 4 <= rows:
        for column in range(columns):
            j = row * columns + column
            if column * <Py_ssize_t> sizeof(vector) % LINE == 0:
                for i in range(4):
                    fetch(x, j + i * columns, RUN_AHEAD, kind)
                    fetch(dy, j + i * columns, RUN_AHEAD, kind)
            g0 = real_ones(dy, j, keep, kind)
            g1 = real_ones(dy, j + columns, keep, kind)
            g2 = real_ones(dy, j + 2 * columns, keep, kind)
            g3 = real_ones(dy, j + 3 * columns, keep, kind)
            d0 = difference(x, j, mean, keep, kind)
            d1 = difference(x, j + columns, mean, keep, kind)
            d2 = difference(x, j + 2 * columns, mean, keep, kind)
            d3 = difference(x, j + 3 * columns, mean, keep, kind)
            sums[column] = sums[column] + ((g0 + g1) + (g2 + g3))
            products[column] = products[column] + ((g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3))
        row += 4
    while row < rows:
        for column in range(columns):
            j = row * columns + column
            g0 = real_ones(dy, j, keep, kind)
            sums[column] = sums[column] + g0
            products[column] = products[column] + g0 * difference(x, j, mean, keep, kind)
        row += 1
    for column in range(columns):
        if rest > column * elements(x):
            j = rows * columns + column
            g0 = unmasked(value(dy, j, kind), rest_keep + column * elements(x))
            d0 = unmasked(value(x, j, kind) - mean, rest_keep + column * elements(x))
            sums[column] = sums[column] + g0
            products[column] = products[column] + g0 * d0
        s[column] = sums[column]
        q[column] = products[column]


cdef inline void sum_run_kind(
    const vector* x, const vector* dy, Py_ssize_t rows, Py_ssize_t rest, const unsigned char* keep,
    const unsigned char* rest_keep, vector shift, vector* s, vector* q, bint anew, Kind kind
) noexcept nogil:
    if dy == NULL:
        sum_run(x, rows, rest, keep, rest_keep, shift, s, q, anew, kind)
    else:
        sum_gradient_run(x, dy, rows, rest, keep, rest_keep, shift, s, q, anew, kind)


cdef inline void sum_run_lanes(
    const real* x, const real* dy, Py_ssize_t rows, Py_ssize_t rest, const unsigned char* keep,
    const unsigned char* rest_keep, real shift, real* s, real* q, bint anew, Half half
) noexcept nogil:
    """`sum_run_kind` of elements."""
    cdef floats* single = <floats*> s
    cdef doubles* double_ = <doubles*> s
    if real is float:
        if half == FLOAT16:
            sum_run_kind(
                <const floats*> x, <const floats*> dy, rows, rest, keep, rest_keep, spread(shift, single), single,
                <floats*> q, anew, FLOAT16S
            )
        elif half == BFLOAT16:
            sum_run_kind(
                <const floats*> x, <const floats*> dy, rows, rest, keep, rest_keep, spread(shift, single), single,
                <floats*> q, anew, BFLOAT16S
            )
        elif keep == NULL:
            sum_run_kind(
                <const floats*> x, <const floats*> dy, rows, rest, keep, rest_keep, spread(shift, single), single,
                <floats*> q, anew, PLAIN
            )
        else:
            sum_run_kind(
                <const floats*> x, <const floats*> dy, rows, rest, keep, rest_keep, spread(shift, single), single,
                <floats*> q, anew, MASKED
            )
    elif keep == NULL:
        sum_run_kind(
            <const doubles*> x, <const doubles*> dy, rows, rest, keep, rest_keep, spread(shift, double_), double_,
            <doubles*> q, anew, PLAIN
        )
    else:
        sum_run_kind(
            <const doubles*> x, <const doubles*> dy, rows, rest, keep, rest_keep, spread(shift, double_), double_,
            <doubles*> q, anew, MASKED
        )


cdef inline void add_run(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t length, real shift, real* s, real* q, bint anew
) noexcept nogil:
    """Add at most ROWS rows to the sums of SPARE lanes; `anew`: to nothing."""
    cdef const real* dy = seek_element(call, <const real*> call.dy, start)
    cdef Py_ssize_t rest = length % SPARE
    cdef Py_ssize_t rows = length // SPARE
    cdef const unsigned char* keep = NULL
    cdef const unsigned char* rest_keep = ones_then_zeros + SPARE - rest
    cdef unsigned char both[SPARE]
    cdef real values[SPARE]
    cdef real cotangents[SPARE]
    check_range(start, length, size_of(call))
    check_range(0, rows, ROWS)
    if call.keep != NULL:
        keep = keep_of_run(call, start, length)
        memset(both, 0, SPARE)
        memcpy(both, keep + length - rest, rest)
        rest_keep = both
    if rest != 0 and start + (rows + 1) * SPARE > size_of(call):
        # The last row of x: what is read behind it would not be ours.
        copy_few(call, x, start + length - rest, rest, <real*> values)
        if dy != NULL:
            copy_few(call, <const real*> call.dy, start + length - rest, rest, <real*> cotangents)
    x = seek_element(call, x, start)
    if rest == 0 or start + (rows + 1) * SPARE <= size_of(call):
        check_range(start, (rows + (rest > 0)) * SPARE, size_of(call))
        sum_run_lanes(x, dy, rows, rest, keep, rest_keep, shift, s, q, anew, call.half)
        return
    sum_run_lanes(x, dy, rows, 0, keep, rest_keep, shift, s, q, anew, call.half)
    if dy != NULL:
        dy = cotangents
    sum_run_lanes(<const real*> values, dy, 0, rest, keep, rest_keep, shift, s, q, False, NEITHER)


cdef void sum_runs(
    const Call* call, const real* x, Py_ssize_t begin, Py_ssize_t number, Py_ssize_t start, Py_ssize_t stop,
    const real* shift, double* sums
) noexcept nogil:
    """SPARE lanes of sums for each of some features, over the positions from `start` to `stop`."""
    cdef real s[RUN_FEATURES * SPARE]
    cdef real q[RUN_FEATURES * SPARE]
    cdef Py_ssize_t lanes = number * SPARE
    cdef Py_ssize_t most = rows_at_once(call, x[0])
    cdef Py_ssize_t taken = 0, rows, length, c
    cdef bint first = True
    check_range(begin, number, call.features)
    check_range(0, number, RUN_FEATURES)
    check_range(start, stop - start, call.outer * call.inner)
    check_range(0, 1, stop - start)  # of nothing, s and q would stay as they are
    while start < stop:
        length = smaller(stop - start, call.inner - start % call.inner)
        length = smaller(length, most * SPARE)
        rows = (length + SPARE - 1) // SPARE
        if taken + rows > most:
            flush_lanes(<const real*> s, <const real*> q, lanes, sums, first)
            first = False
            taken = 0
        for c in range(number):
            add_run(
                call, x, element(call, begin + c, start), length, shift[c], <real*> s + c * SPARE,
                <real*> q + c * SPARE, taken == 0
            )
        taken += rows
        start += length
    flush_lanes(<const real*> s, <const real*> q, lanes, sums, first)


cdef inline void flush_lanes(
    const real* s, const real* q, Py_ssize_t lanes, double* sums, bint first
) noexcept nogil:
    """Add what was summed in x's own type to the float64 lanes; `first`: to nothing."""
    cdef Py_ssize_t j
    if first:
        for j in range(lanes):
            sums[j] = s[j]
        for j in range(lanes):
            sums[lanes + j] = q[j]
        if real is double:
            memset(sums + 2 * lanes, 0, 2 * lanes * sizeof(double))
    elif lanes == SPARE:  # to the compiler a number: no loop
        flush(s, SPARE, sums, sums + 2 * SPARE)
        flush(q, SPARE, sums + SPARE, sums + 3 * SPARE)
    else:
        flush(s, lanes, sums, sums + 2 * lanes)
        flush(q, lanes, sums + lanes, sums + 3 * lanes)
