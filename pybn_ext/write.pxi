# Results.  One primitive: rows of lanes with a table of constants for each lane.  Whole vectors go straight to the
# result: four rows at once where it stays in the caches, one after the other and past the caches where it is large.
# What is finished in double, or shorter than a vector, goes through a buffer.

cdef enum:
    BAND = 256     # lanes at once in the buffer
    TABLES = 4     # constants of a lane, at the most
    SPREAD = 1024  # elements for which a mask is spread out at once
    MASKED_ROWS = 8  # or rows of BAND lanes
    # Bytes that a read runs ahead of a write past the caches: 24 to 29 GB/s of x with it, 19 to 21 without.
    AHEAD = 1024
    PAGE = 4096      # bytes apart, addresses are alike to the first-level cache
    FLOWING = 16384  # bytes of tables that leave room for x and y in it


cdef inline Py_ssize_t tables(const Call* call) noexcept nogil:
    return TABLES if has_all_terms(call) else TABLES - 1


cdef inline bint in_bands(const real* any, const wide* which) noexcept nogil:
    """Whether the result goes through a buffer: it is finished in double."""
    return real is float and wide is double


cdef inline void normalize(
    const real* x, Py_ssize_t lanes, const wide* table, Py_ssize_t reach, real* y
) noexcept nogil:
    """y = (x - mean) a + b.  Not x a + c, which cancels where the mean is many deviations."""
    cdef const wide* mean = table
    cdef const wide* a = table + reach
    cdef const wide* b = table + 2 * reach
    cdef Py_ssize_t j
    for j in range(lanes):
        y[j] = <real> ((<wide> x[j] - mean[j]) * a[j] + b[j])


cdef inline void differentiate(
    const real* x, const real* dy, Py_ssize_t lanes, const wide* table, Py_ssize_t reach, real* dx
) noexcept nogil:
    """dx = ((dy - centre) - (x - mean) slope) a, where centre is the mean of dy."""
    cdef const wide* mean = table
    cdef const wide* a = table + reach
    cdef const wide* slope = table + 2 * reach
    cdef const wide* centre = table + 3 * reach
    cdef Py_ssize_t j
    for j in range(lanes):
        dx[j] = <real> (((<wide> dy[j] - centre[j]) - (<wide> x[j] - mean[j]) * slope[j]) * a[j])


cdef void put_back(
    const Call* call, const real* original, Py_ssize_t start, Py_ssize_t n, real* y
) noexcept nogil:
    """Under the mask the result is what came in."""
    cdef unsigned char keep[BAND + LINE]
    cdef Py_ssize_t j
    check_range(0, n, BAND)
    spread_keep(call, start, n, keep)
    for j in range(n):
        y[j] = y[j] if keep[j] else original[start + j]


cdef void write_band(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t lanes, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """At most BAND lanes of one row, through a buffer."""
    cdef real buffer[BAND]
    cdef const real* dy = <const real*> call.dy
    cdef const real* source = x if dy == NULL else dy
    check_range(start, lanes, size_of(call))
    check_range(0, lanes, BAND)
    check_range(0, lanes, reach)
    if real is float:
        if call.half != NEITHER:
            write_half_band(call, x, start, lanes, table, reach)
            return
    if has_all_terms(call):
        differentiate(x + start, dy + start, lanes, table, reach, <real*> buffer)
    else:
        normalize(source + start, lanes, table, reach, <real*> buffer)
    if call.keep != NULL:
        put_back(call, source, start, lanes, <real*> buffer)
    memcpy(<real*> call.y + start, buffer, lanes * sizeof(real))


cdef void write_bands(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_rows`, through a buffer."""
    cdef Py_ssize_t row, lane, width
    for row in range(rows):
        lane = 0
        while lane < lanes:
            width = smaller(BAND, lanes - lane)
            write_band(call, x, start + row * stride + lane, width, table + lane, reach)
            lane += width


# --- whole vectors: every offset, stride and reach below counts bytes -------------------------

cdef inline void write_row(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach,
    const unsigned char* keep, Py_ssize_t step, bint past, bint masked
) noexcept nogil:
    """As `normalize` or `differentiate`, the whole vectors of one row.

    `step` is 1, or 0 where the constants are the same for each lane; `past`: past the caches, to whole cache lines.
    """
    cdef const vector* mean = table
    cdef const vector* a = seek(table, reach)
    cdef const vector* b = seek(table, 2 * reach)
    cdef const vector* centre = seek(table, 3 * reach)
    cdef const vector* x = seek(<const vector*> call.x, start)
    cdef const vector* dy = seek(<const vector*> call.dy, start)
    cdef const vector* source = x if call.dy == NULL else dy
    cdef vector* y = <vector*> (<char*> call.y + start)
    cdef vector value
    cdef Py_ssize_t ahead = AHEAD // sizeof(vector)
    cdef Py_ssize_t j
    check_range(start, size, bytes_in(call))
    if has_all_terms(call):
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            value = ((dy[j] - centre[step * j]) - (x[j] - mean[step * j]) * b[step * j]) * a[step * j]
            if masked:
                value = chosen(value, dy[j], keep + j * elements(x))
            if past:
                prefetch(x + j + ahead)
                prefetch(dy + j + ahead)
                stream(y + j, value)
            else:
                y[j] = value
    else:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            value = (source[j] - mean[step * j]) * a[step * j] + b[step * j]
            if masked:
                value = chosen(value, source[j], keep + j * elements(x))
            if past:
                prefetch(source + j + ahead)
                stream(y + j, value)
            else:
                y[j] = value


cdef inline void write_four(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_row`, four rows at once: they share what is loaded of the tables.

    All are read before one is written: where they are a multiple of 4096 bytes apart a processor may take a read for
    that of what was just written (1024 x 1024 took 1.16 of the time).
    """
    cdef const vector* mean = table
    cdef const vector* a = seek(table, reach)
    cdef const vector* b = seek(table, 2 * reach)
    cdef const vector* centre = seek(table, 3 * reach)
    cdef const vector* x = seek(<const vector*> call.x, start)
    cdef const vector* dy = seek(<const vector*> call.dy, start)
    cdef const vector* source = x if call.dy == NULL else dy
    cdef vector* y = <vector*> (<char*> call.y + start)
    cdef vector* y1 = <vector*> (<char*> y + stride)
    cdef vector* y2 = <vector*> (<char*> y + 2 * stride)
    cdef vector* y3 = <vector*> (<char*> y + 3 * stride)
    cdef vector m, s, t, c, r0, r1, r2, r3
    cdef Py_ssize_t j
    check_range(start, 3 * stride + size, bytes_in(call))
    if has_all_terms(call):
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            m = mean[j]
            s = a[j]
            t = b[j]
            c = centre[j]
            r0 = ((dy[j] - c) - (x[j] - m) * t) * s
            r1 = ((seek(dy, stride)[j] - c) - (seek(x, stride)[j] - m) * t) * s
            r2 = ((seek(dy, 2 * stride)[j] - c) - (seek(x, 2 * stride)[j] - m) * t) * s
            r3 = ((seek(dy, 3 * stride)[j] - c) - (seek(x, 3 * stride)[j] - m) * t) * s
            y[j] = r0
            y1[j] = r1
            y2[j] = r2
            y3[j] = r3
    else:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            m = mean[j]
            s = a[j]
            t = b[j]
            r0 = (source[j] - m) * s + t
            r1 = (seek(source, stride)[j] - m) * s + t
            r2 = (seek(source, 2 * stride)[j] - m) * s + t
            r3 = (seek(source, 3 * stride)[j] - m) * s + t
            y[j] = r0
            y1[j] = r1
            y2[j] = r2
            y3[j] = r3


cdef inline vector one_vector(
    const Call* call, Py_ssize_t at, const vector* table, Py_ssize_t reach, bint gradient
) noexcept nogil:
    """As `write_row`, the vector at byte `at`, where `table` begins."""
    cdef vector x = seek(<const vector*> call.x, at)[0]
    cdef vector dy
    if call.dy == NULL:
        return (x - table[0]) * seek(table, reach)[0] + seek(table, 2 * reach)[0]
    dy = seek(<const vector*> call.dy, at)[0]
    if gradient:
        return ((dy - seek(table, 3 * reach)[0]) - (x - table[0]) * seek(table, 2 * reach)[0]) * seek(table, reach)[0]
    return (dy - table[0]) * seek(table, reach)[0] + seek(table, 2 * reach)[0]


cdef inline void write_part(
    const Call* call, Py_ssize_t start, Py_ssize_t size, Py_ssize_t base, const vector* table, Py_ssize_t reach,
    const unsigned char* keep, bint masked
) noexcept nogil:
    """Less than a vector: some bytes of the whole one that begins at `base`, where `table` and `keep` begin too."""
    cdef const vector* source = seek(<const vector*> (call.x if call.dy == NULL else call.dy), base)
    cdef vector value
    check_range(base, sizeof(vector), bytes_in(call))
    check_range(start - base, size, sizeof(vector))
    value = one_vector(call, base, table, reach, has_all_terms(call))
    if masked:
        value = chosen(value, source[0], keep)
    # Not a masked store of the vector: it would touch the line behind, which is on its way past the caches, and did
    # make small images twice as slow.
    memcpy(<char*> call.y + start, <const char*> &value + (start - base), size)


cdef inline void write_aligned(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach,
    const unsigned char* keep, Py_ssize_t step, bint past, bint masked
) noexcept nogil:
    """One row of at least a vector, to whole vectors at aligned addresses and what is left at both ends.

    The tables and `keep` go on to the end of the row; the tables are one vector where `step` is 0.
    Past the caches: but for the cache lines that it shares with its neighbours.  Stores across cache lines made
    (256, 128) 1.6 times as slow.
    """
    cdef Py_ssize_t width = sizeof(vector)
    cdef Py_ssize_t item = width // elements(table)
    cdef Py_ssize_t lead = smaller(to_line(<char*> call.y + start) % width, size)
    cdef Py_ssize_t done = lead, next_
    check_range(start, size, bytes_in(call))
    check_range(size - width, width, size)
    if lead:
        write_part(call, start, lead, start, table, reach, keep, masked)
    if past:
        if width < LINE:
            next_ = smaller(to_line(<char*> call.y + start + done), (size - done) // width * width)
            write_row(
                call, start + done, next_, seek(table, step * done), reach, keep + done // item, step, False, masked
            )
            done += next_
        next_ = (size - done) // LINE * LINE
        write_row(call, start + done, next_, seek(table, step * done), reach, keep + done // item, step, True, masked)
        done += next_
    if width < LINE or not past:
        next_ = (size - done) // width * width
        write_row(call, start + done, next_, seek(table, step * done), reach, keep + done // item, step, False, masked)
        done += next_
    if done < size:
        next_ = size - width
        write_part(
            call, start + done, size - done, start + next_, seek(table, step * next_), reach, keep + next_ // item,
            masked
        )


cdef void write_one(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach,
    const unsigned char* keep
) noexcept nogil:
    """`size` bytes, at least a vector, that have the same constants; `keep` is NULL where there is no mask."""
    if keep != NULL:
        write_aligned(call, start, size, table, reach, keep, 0, call.stream, True)
    elif call.stream:
        write_aligned(call, start, size, table, reach, keep, 0, True, False)
    else:
        write_aligned(call, start, size, table, reach, keep, 0, False, False)


cdef void write_short(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach,
    const unsigned char* keep
) noexcept nogil:
    """Less than a cache line, where x and the tables go on behind it."""
    cdef Py_ssize_t width = sizeof(vector), item = width // elements(table), done = 0, next_
    check_range(0, size, LINE)  # so that 2 SPARE elements of the tables and of `keep` are enough
    while done < size:
        next_ = smaller(width, size - done)
        if keep == NULL:
            write_part(call, start + done, next_, start + done, seek(table, done), reach, keep, False)
        else:
            write_part(call, start + done, next_, start + done, seek(table, done), reach, keep + done // item, True)
        done += width


cdef inline bint masks_whole_rows(const Call* call) noexcept nogil:
    """Whether each row of x is written, or passed over, as a whole."""
    return (
        call.keep != NULL and call.inner == 1 and not call.stream and call.features * item_of(call) >= 4 * LINE
    )


cdef inline void write_real_part(
    const Call* call, Py_ssize_t start, Py_ssize_t size, Py_ssize_t row_size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """One row of x or a part of it, masked as a whole or not, in the caches."""
    cdef const char* source = <const char*> (call.x if call.dy == NULL else call.dy)
    check_range(start // row_size, 1, call.outer)
    check_range(start, size, bytes_in(call))
    if call.keep[start // row_size]:
        write_aligned(call, start, size, table, reach, NULL, 1, False, False)
    elif source != call.y:
        memcpy(<char*> call.y + start, source + start, size)


cdef void write_real_rows(
    const Call* call, Py_ssize_t start, Py_ssize_t size, Py_ssize_t row_size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """Whole rows of x."""
    cdef Py_ssize_t row
    for row in range(size // row_size):
        write_real_part(call, start, row_size, row_size, table, reach)
        start += row_size
        table = seek(table, row_size)


cdef inline void write_four_aligned(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """Four rows whose first vectors at aligned addresses begin at the same lane."""
    cdef Py_ssize_t width = sizeof(vector)
    cdef Py_ssize_t lead = smaller(to_line(<char*> call.y + start) % width, size)
    cdef Py_ssize_t whole = (size - lead) // width * width
    cdef Py_ssize_t base = size - width, i
    check_range(base, width, size)
    if lead:
        for i in range(4):
            write_part(call, start + i * stride, lead, start + i * stride, table, reach, NULL, False)
    write_four(call, start + lead, stride, whole, seek(table, lead), reach)
    if lead + whole < size:
        for i in range(4):
            write_part(
                call, start + i * stride + lead + whole, size - lead - whole, start + i * stride + base,
                seek(table, base), reach, NULL, False
            )


cdef inline bint flows(const Call* call, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    """Whether rows are better written one after the other, as they lie in memory.

    Pages apart, four of x and four of y all want the same eight places of the first-level cache: 1024 x 1024 took 0.7
    of the time so.  Where the tables outgrow that, to share them is better (256 x 4096: 0.7).  And what comes from
    memory comes faster in the order in which it lies there.
    """
    return (
        stride == size and TABLES * size <= FLOWING and (stride % PAGE == 0 or bytes_in(call) >= FETCHED_FROM)
    )


cdef void write_real_vectors(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t size, const vector* table,
    Py_ssize_t reach
) noexcept nogil:
    """As `write_vectors`, where nothing is masked."""
    cdef Py_ssize_t row = 0
    if call.stream:
        for row in range(rows):
            write_aligned(call, start + row * stride, size, table, reach, NULL, 1, True, False)
        return
    while row < rows:
        if row + 4 <= rows and stride % <Py_ssize_t> sizeof(vector) == 0 and not flows(call, stride, size):
            write_four_aligned(call, start, stride, size, table, reach)
            row += 4
            start += 4 * stride
        else:
            write_aligned(call, start, size, table, reach, NULL, 1, False, False)
            row += 1
            start += stride


cdef void write_spread_rows(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t size, const vector* table,
    Py_ssize_t reach
) noexcept nogil:
    """Rows that are whole rows of x apart, some at once: the mask is spread out for them together.

    Where it is all ones, as in front of padding, there is none.
    """
    cdef unsigned char keep[MASKED_ROWS * (SPREAD + SPARE) + LINE]
    cdef Py_ssize_t item = <Py_ssize_t> sizeof(vector) // elements(table)
    cdef Py_ssize_t row = 0, number, done, piece, i
    while row < rows:
        number = smaller(MASKED_ROWS, rows - row)
        if all_are_real(call, start // item, ((number - 1) * stride + size) // item):
            write_real_vectors(call, start, stride, number, size, table, reach)
        else:
            done = 0
            while done < size:
                piece = piece_of((size - done) // item, SPREAD)
                spread_rows_of_keep(
                    call, (start + done) // item, stride // item, number, piece, <unsigned char*> keep, SPREAD + SPARE
                )
                for i in range(number):
                    write_aligned(
                        call, start + i * stride + done, piece * item, seek(table, done), reach,
                        <unsigned char*> keep + i * (SPREAD + SPARE), 1, call.stream, True
                    )
                done += piece * item
        row += number
        start += number * stride


cdef void write_masked(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t size, const vector* table,
    Py_ssize_t reach
) noexcept nogil:
    """As `write_vectors`, with a mask: row by row, or in pieces for which it is spread out."""
    cdef unsigned char keep[SPREAD + SPARE + LINE]
    cdef Py_ssize_t item = <Py_ssize_t> sizeof(vector) // elements(table)
    cdef Py_ssize_t row_size = call.features * item
    cdef Py_ssize_t row, done, piece
    if call.inner == 1 and not masks_whole_rows(call) and (stride % row_size == 0 or rows == 1):
        write_spread_rows(call, start, stride, rows, size, table, reach)
        return
    for row in range(rows):
        done = 0
        if masks_whole_rows(call) and start % row_size == 0 == size % row_size:
            write_real_rows(call, start, size, row_size, table, reach)
            done = size
        elif masks_whole_rows(call) and start % row_size + size <= row_size:
            write_real_part(call, start, size, row_size, table, reach)
            done = size
        while done < size:
            piece = piece_of((size - done) // item, SPREAD)
            check_range(0, piece, SPREAD + SPARE)
            spread_keep(call, (start + done) // item, piece, keep)
            write_aligned(call, start + done, piece * item, seek(table, done), reach, keep, 1, call.stream, True)
            done += piece * item
        start += stride


cdef void write_vectors(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t size, const vector* table,
    Py_ssize_t reach
) noexcept nogil:
    """Rows of `size` bytes each, at least a vector."""
    if call.keep != NULL:
        write_masked(call, start, stride, rows, size, table, reach)
    else:
        write_real_vectors(call, start, stride, rows, size, table, reach)


cdef void write_rows(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of rows of lanes, the first at element `start`."""
    cdef Py_ssize_t size = sizeof(real)
    check_range(start, (rows - 1) * stride + lanes if rows else 0, size_of(call))
    check_range(0, lanes, reach)
    if real is float and wide is float:
        if call.half != NEITHER:
            write_half_rows(
                call, first_half(call, start), second_half(call, start), <uint16_t*> call.y + place_of(call, start),
                place_of(call, stride), rows, lanes, table, reach, has_all_terms(call)
            )
            return
    if in_bands(x, table) or lanes * size < <Py_ssize_t> sizeof(floats):
        write_bands(call, x, start, stride, rows, lanes, table, reach)
    elif real is float:
        write_vectors(call, start * size, stride * size, rows, lanes * size, <const floats*> table, reach * size)
    else:
        write_vectors(call, start * size, stride * size, rows, lanes * size, <const doubles*> table, reach * size)


cdef void write_head(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t lanes, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """Lanes in front of a cache line, which the rows of the tables begin at."""
    cdef Py_ssize_t size = sizeof(real)
    cdef unsigned char room[2 * SPARE + LINE]
    cdef const unsigned char* keep = NULL
    if in_bands(x, table) or start + 2 * SPARE > size_of(call):
        write_bands(call, x, start, 0, 1, lanes, table, reach)
        return
    if call.keep != NULL:
        spread_keep(call, start, 2 * SPARE, room)
        keep = room
    if real is float:
        write_short(call, start * size, lanes * size, <const floats*> table, reach * size, keep)
    else:
        write_short(call, start * size, lanes * size, <const doubles*> table, reach * size, keep)


cdef void write_run(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t length, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of elements of one feature that lie together; the tables hold BAND times the same constants."""
    cdef Py_ssize_t size = sizeof(real)
    cdef const unsigned char* keep = NULL
    check_range(start, length, size_of(call))
    check_range(start % call.inner, length, call.inner)
    if real is float and wide is float:
        if call.half != NEITHER:
            write_half_run(
                call, first_half(call, start), second_half(call, start), <uint16_t*> call.y + place_of(call, start),
                length, table, reach, has_all_terms(call)
            )
            return
    if in_bands(x, table) or length * size < <Py_ssize_t> sizeof(floats):
        write_run_bands(call, x, start, length, table, reach)
        return
    if call.keep != NULL:
        keep = keep_of_run(call, start, length)
    if real is float:
        write_one(call, start * size, length * size, <const floats*> table, reach * size, keep)
    else:
        write_one(call, start * size, length * size, <const doubles*> table, reach * size, keep)


cdef void write_run_bands(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t length, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_run`, through a buffer."""
    cdef Py_ssize_t width
    while length:
        width = smaller(BAND, length)
        write_band(call, x, start, width, table, reach)
        start += width
        length -= width
