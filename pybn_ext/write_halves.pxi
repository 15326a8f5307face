# Results of 16 bits, from 16 bits: what is between them stands in registers.  As in `write`, several rows share what is
# loaded of the tables: one by one, inference of (64, 512, 7, 7) took 1.6 of the time, of (256, 128) 1.4.

cdef inline floats result_of(
    const uint16_t* x, const uint16_t* dy, floats mean, floats a, floats b, floats centre, Half half, bint gradient
) noexcept nogil:
    """y = (x - mean) a + b, or dx = ((dy - centre) - (x - mean) b) a."""
    if gradient:
        return ((load_half(dy, half) - centre) - (load_half(x, half) - mean) * b) * a
    return (load_half(x, half) - mean) * a + b


cdef inline floats result_at(
    const uint16_t* x, const uint16_t* dy, const float* table, Py_ssize_t reach, Half half, bint gradient
) noexcept nogil:
    """One register of them, where x, dy and the table point."""
    cdef floats mean = (<const floats*> table)[0]
    cdef floats a = (<const floats*> (table + reach))[0]
    cdef floats b = (<const floats*> (table + 2 * reach))[0]
    return result_of(x, dy, mean, a, b, (<const floats*> (table + 3 * reach))[0] if gradient else mean, half, gradient)


cdef inline void write_half_columns(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
    const float* table, Py_ssize_t reach, Half half, bint gradient
) noexcept nogil:
    """Two registers at a time of some rows, which share what is loaded of the table."""
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef floats m0, m1, a0, a1, b0, b1, c0, c1
    cdef Py_ssize_t j = 0, row, at
    while j + 2 <= columns:
        m0, m1 = (<const floats*> table)[0], (<const floats*> (table + width))[0]
        a0, a1 = (<const floats*> (table + reach))[0], (<const floats*> (table + reach + width))[0]
        b0, b1 = (<const floats*> (table + 2 * reach))[0], (<const floats*> (table + 2 * reach + width))[0]
        c0, c1 = m0, m1
        if gradient:
            c0, c1 = (<const floats*> (table + 3 * reach))[0], (<const floats*> (table + 3 * reach + width))[0]
        for row in range(rows):
            at = row * stride + j * width
            prefetch(x + at + rows * stride)
            prefetch(y + at + rows * stride)
            if gradient:
                prefetch(dy + at + rows * stride)
            store_two(
                y + at,
                result_of(x + at, dy + at, m0, a0, b0, c0, half, gradient),
                result_of(x + at + width, dy + at + width, m1, a1, b1, c1, half, gradient),
                half
            )
        table += 2 * width
        j += 2
    if j < columns:
        for row in range(rows):
            at = row * stride + j * width
            store_half(y + at, result_at(x + at, dy + at, table, reach, half, gradient), half)


cdef inline void write_half_same(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t columns, const float* table, Py_ssize_t reach,
    Half half, bint gradient
) noexcept nogil:
    """As `write_half_columns`, of one row whose constants are the same: they stay in registers."""
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef floats mean = (<const floats*> table)[0]
    cdef floats a = (<const floats*> (table + reach))[0]
    cdef floats b = (<const floats*> (table + 2 * reach))[0]
    cdef floats centre = (<const floats*> (table + 3 * reach))[0] if gradient else mean
    cdef Py_ssize_t j
    for j in range(columns // 2):
        store_two(
            y,
            result_of(x, dy, mean, a, b, centre, half, gradient),
            result_of(x + width, dy + width, mean, a, b, centre, half, gradient),
            half
        )
        x += 2 * width
        dy += 2 * width
        y += 2 * width
    if columns % 2:
        store_half(y, result_of(x, dy, mean, a, b, centre, half, gradient), half)


cdef inline void write_half_rest(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t n, const float* table, Py_ssize_t reach,
    Py_ssize_t step, Half half, bint gradient
) noexcept nogil:
    """Less than a register."""
    cdef uint16_t some[2 * SPARE]
    cdef float constants[4 * SPARE]
    cdef Py_ssize_t i
    memset(some, 0, sizeof(some))
    memset(constants, 0, sizeof(constants))
    memcpy(some, x, n * sizeof(uint16_t))
    if gradient:
        memcpy(<uint16_t*> some + SPARE, dy, n * sizeof(uint16_t))
    for i in range(4 if gradient else 3):
        memcpy(
            <float*> constants + i * SPARE, table + i * reach, (n if step else elements(<floats*> NULL)) * sizeof(float)
        )
    store_half(
        some, result_at(some, <uint16_t*> some + SPARE, <const float*> constants, SPARE, half, gradient), half
    )
    memcpy(y, some, n * sizeof(uint16_t))


cdef inline void write_half_row(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n,
    const float* table, Py_ssize_t reach, Py_ssize_t step, Half half, bint gradient
) noexcept nogil:
    """One row, or at most four at once: whole registers, and the last one once more where one is not filled.

    The last is computed first, since y may be x.
    """
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef Py_ssize_t last = n - width
    cdef Py_ssize_t row, at
    cdef floats ends[4]
    if n < width:
        for row in range(rows):
            at = row * stride
            write_half_rest(x + at, dy + at, y + at, n, table, reach, step, half, gradient)
        return
    for row in range(rows):
        ends[row] = spread_floats(0)
        if n % width:
            at = row * stride + last
            ends[row] = result_at(x + at, dy + at, table + step * last, reach, half, gradient)
    if step:
        write_half_columns(x, dy, y, stride, rows, n // width, table, reach, half, gradient)
    else:
        write_half_same(x, dy, y, n // width, table, reach, half, gradient)
    if n % width:
        for row in range(rows):
            store_half(y + row * stride + last, ends[row], half)


cdef inline void write_half_rows_of(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n,
    const float* table, Py_ssize_t reach, Half half, bint gradient
) noexcept nogil:
    cdef Py_ssize_t row = 0
    while row + 4 <= rows:
        write_half_row(
            x + row * stride, dy + row * stride, y + row * stride, stride, 4, n, table, reach, 1, half, gradient
        )
        row += 4
    while row < rows:
        write_half_row(
            x + row * stride, dy + row * stride, y + row * stride, stride, 1, n, table, reach, 1, half, gradient
        )
        row += 1


cdef void write_half_rows(
    const Call* call, const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows,
    Py_ssize_t n, const float* table, Py_ssize_t reach, bint gradient
) noexcept nogil:
    """Rows of n lanes, `stride` apart, with a constant for each lane: y, which may be x, or dx of x and dy."""
    if call.half == FLOAT16 and gradient:
        write_half_rows_of(x, dy, y, stride, rows, n, table, reach, FLOAT16, True)
    elif call.half == FLOAT16:
        write_half_rows_of(x, x, y, stride, rows, n, table, reach, FLOAT16, False)
    elif gradient:
        write_half_rows_of(x, dy, y, stride, rows, n, table, reach, BFLOAT16, True)
    else:
        write_half_rows_of(x, x, y, stride, rows, n, table, reach, BFLOAT16, False)


cdef void write_half_run(
    const Call* call, const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t n, const float* table,
    Py_ssize_t reach, bint gradient
) noexcept nogil:
    """As `write_half_rows`, elements of one feature: a register of each constant."""
    if call.half == FLOAT16 and gradient:
        write_half_row(x, dy, y, 0, 1, n, table, reach, 0, FLOAT16, True)
    elif call.half == FLOAT16:
        write_half_row(x, x, y, 0, 1, n, table, reach, 0, FLOAT16, False)
    elif gradient:
        write_half_row(x, dy, y, 0, 1, n, table, reach, 0, BFLOAT16, True)
    else:
        write_half_row(x, x, y, 0, 1, n, table, reach, 0, BFLOAT16, False)


cdef inline const uint16_t* first_half(const Call* call, Py_ssize_t start) noexcept nogil:
    """What the first constant is taken from: x, or dy where dx has no other terms."""
    return <const uint16_t*> (call.x if call.dy == NULL or has_all_terms(call) else call.dy) + place_of(call, start)


cdef inline const uint16_t* second_half(const Call* call, Py_ssize_t start) noexcept nogil:
    """dy; where there is no other term, that again."""
    return <const uint16_t*> (call.x if call.dy == NULL else call.dy) + place_of(call, start)


cdef void write_half_band(
    const Call* call, const float* x, Py_ssize_t start, Py_ssize_t lanes, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_band`, of 16 bits and without a mask."""
    cdef float buffer[BAND]
    cdef float values[BAND]
    cdef float cotangents[BAND]
    cdef const float* dy = NULL
    if call.dy != NULL:
        dy = taken(call, <const float*> call.dy, start, lanes, cotangents)
    if has_all_terms(call):
        differentiate(taken(call, x, start, lanes, values), dy, lanes, table, reach, <float*> buffer)
    elif dy != NULL:
        normalize(dy, lanes, table, reach, <float*> buffer)
    else:
        normalize(taken(call, x, start, lanes, values), lanes, table, reach, <float*> buffer)
    put_halves(call, <const float*> buffer, start, lanes, NULL)
