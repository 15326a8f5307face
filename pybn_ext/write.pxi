# Results.  One primitive: rows of lanes with a table of constants for each lane.  Whole vectors go straight to the result:
# four rows at once where it stays in the caches, one after the other and past the caches where it is large.  What is
# masked, finished in double, or shorter than a vector goes through a buffer.

cdef enum:
    BAND = 256    # lanes at once in the buffer
    TABLES = 4    # constants of a lane, at the most
    AHEAD = 1024  # bytes that a read runs ahead of a write past the caches: 24 to 29 GB/s of x with it, 19 to 21 without


cdef inline Py_ssize_t tables(const Call* call) noexcept nogil:
    return TABLES if call.operation == GRADIENT else TABLES - 1


cdef inline bint in_bands(const Call* call, const real* any, const wide* which) noexcept nogil:
    """Whether the result goes through a buffer: it is masked, or finished in double."""
    return call.keep != NULL or (real is float and wide is double)


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
    cdef unsigned char buffer[BAND]
    cdef const unsigned char* keep = keep_of(call, start, n, buffer)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] if keep[j] else original[start + j]


cdef void write_band(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t lanes, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """At most BAND lanes of one row, through a buffer."""
    cdef real buffer[BAND]
    cdef const real* dy = <const real*> call.dy
    cdef const real* source = x if dy == NULL else dy
    if call.operation == GRADIENT:
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
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach, Py_ssize_t step,
    bint past
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
    if call.operation == GRADIENT:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            value = ((dy[j] - centre[step * j]) - (x[j] - mean[step * j]) * b[step * j]) * a[step * j]
            if past:
                prefetch(x + j + ahead)
                prefetch(dy + j + ahead)
                stream(y + j, value)
            else:
                y[j] = value
    else:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            value = (source[j] - mean[step * j]) * a[step * j] + b[step * j]
            if past:
                prefetch(source + j + ahead)
                stream(y + j, value)
            else:
                y[j] = value


cdef inline void write_four(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_row`, four rows at once: they share what is loaded of the tables."""
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
    cdef vector m, s, t, c
    cdef Py_ssize_t j
    if call.operation == GRADIENT:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            m = mean[j]
            s = a[j]
            t = b[j]
            c = centre[j]
            y[j] = ((dy[j] - c) - (x[j] - m) * t) * s
            y1[j] = ((seek(dy, stride)[j] - c) - (seek(x, stride)[j] - m) * t) * s
            y2[j] = ((seek(dy, 2 * stride)[j] - c) - (seek(x, 2 * stride)[j] - m) * t) * s
            y3[j] = ((seek(dy, 3 * stride)[j] - c) - (seek(x, 3 * stride)[j] - m) * t) * s
    else:
        for j in range(size // <Py_ssize_t> sizeof(vector)):
            m = mean[j]
            s = a[j]
            t = b[j]
            y[j] = (source[j] - m) * s + t
            y1[j] = (seek(source, stride)[j] - m) * s + t
            y2[j] = (seek(source, 2 * stride)[j] - m) * s + t
            y3[j] = (seek(source, 3 * stride)[j] - m) * s + t


cdef inline void write_part(
    const Call* call, Py_ssize_t start, Py_ssize_t size, Py_ssize_t base, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """Less than a vector: some bytes of the whole one that begins at `base`, where `table` begins too."""
    cdef const vector* x = seek(<const vector*> call.x, base)
    cdef const vector* dy = seek(<const vector*> call.dy, base)
    cdef const vector* source = x if call.dy == NULL else dy
    cdef vector value
    if call.operation == GRADIENT:
        value = ((dy[0] - seek(table, 3 * reach)[0]) - (x[0] - table[0]) * seek(table, 2 * reach)[0]) * (
            seek(table, reach)[0]
        )
    else:
        value = (source[0] - table[0]) * seek(table, reach)[0] + seek(table, 2 * reach)[0]
    # Not a masked store of the vector: it would touch the line behind, which is on its way past the caches, and did
    # make small images twice as slow.
    memcpy(<char*> call.y + start, <const char*> &value + (start - base), size)


cdef inline void write_rest(
    const Call* call, Py_ssize_t start, Py_ssize_t size, Py_ssize_t done, const vector* table, Py_ssize_t reach,
    Py_ssize_t step
) noexcept nogil:
    """What is left of a row of `size` bytes after its first `done`, which were whole vectors."""
    cdef Py_ssize_t base
    if done < size:
        base = size - <Py_ssize_t> sizeof(vector)
        write_part(call, start + done, size - done, start + base, seek(table, step * base), reach)


cdef inline void write_past(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach, Py_ssize_t step
) noexcept nogil:
    """One row of at least a vector, past the caches but for the cache lines that it shares with its neighbours."""
    cdef Py_ssize_t width = sizeof(vector)
    cdef Py_ssize_t head = smaller(to_line(<char*> call.y + start), size)
    cdef Py_ssize_t lead = head % width
    cdef Py_ssize_t lines = (size - head) // LINE * LINE
    cdef Py_ssize_t rest
    if lead:
        write_part(call, start, lead, start, table, reach)
    if sizeof(vector) < LINE:
        write_row(call, start + lead, head - lead, seek(table, step * lead), reach, step, False)
    write_row(call, start + head, lines, seek(table, step * head), reach, step, True)
    head += lines
    rest = (size - head) // width * width
    if sizeof(vector) < LINE:
        write_row(call, start + head, rest, seek(table, step * head), reach, step, False)
    write_rest(call, start, size, head + rest, table, reach, step)


cdef void write_one(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """`size` bytes, at least a vector, that have the same constants."""
    cdef Py_ssize_t lead, whole
    if call.stream:
        write_past(call, start, size, table, reach, 0)
        return
    lead = smaller(to_line(<char*> call.y + start) % <Py_ssize_t> sizeof(vector), size)
    whole = (size - lead) // <Py_ssize_t> sizeof(vector) * sizeof(vector)
    if lead:
        write_part(call, start, lead, start, table, reach)
    write_row(call, start + lead, whole, table, reach, 0, False)
    write_rest(call, start, size, lead + whole, table, reach, 0)


cdef void write_short(
    const Call* call, Py_ssize_t start, Py_ssize_t size, const vector* table, Py_ssize_t reach
) noexcept nogil:
    """Less than a cache line, where x and the tables go on behind it."""
    cdef Py_ssize_t width = sizeof(vector), done = 0
    while done < size:
        write_part(call, start + done, smaller(width, size - done), start + done, seek(table, done), reach)
        done += width


cdef void write_vectors(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t size, const vector* table,
    Py_ssize_t reach
) noexcept nogil:
    """Rows of `size` bytes each, at least a vector."""
    cdef Py_ssize_t row = 0, group, lead, whole, i
    if call.stream:
        for row in range(rows):
            write_past(call, start + row * stride, size, table, reach, 1)
        return
    while row < rows:
        # Whole vectors to aligned addresses: stores across cache lines make (256, 128) 1.6 times as slow.
        lead = smaller(to_line(<char*> call.y + start) % <Py_ssize_t> sizeof(vector), size)
        whole = (size - lead) // <Py_ssize_t> sizeof(vector) * sizeof(vector)
        group = 4 if row + 4 <= rows and stride % <Py_ssize_t> sizeof(vector) == 0 else 1
        if lead:
            for i in range(group):
                write_part(call, start + i * stride, lead, start + i * stride, table, reach)
        if group == 4:
            write_four(call, start + lead, stride, whole, seek(table, lead), reach)
        else:
            write_row(call, start + lead, whole, seek(table, lead), reach, 1, False)
        for i in range(group):
            write_rest(call, start + i * stride, size, lead + whole, table, reach, 1)
        row += group
        start += group * stride


cdef void write_rows(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of rows of lanes, the first at element `start`."""
    cdef Py_ssize_t size = sizeof(real)
    check_range(start, (rows - 1) * stride + lanes if rows else 0, size_of(call))
    check_range(0, lanes, reach)
    if in_bands(call, x, table) or lanes * size < <Py_ssize_t> sizeof(floats):
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
    if in_bands(call, x, table) or start + 2 * SPARE > size_of(call):
        write_bands(call, x, start, 0, 1, lanes, table, reach)
    elif real is float:
        write_short(call, start * size, lanes * size, <const floats*> table, reach * size)
    else:
        write_short(call, start * size, lanes * size, <const doubles*> table, reach * size)


cdef void write_run(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t length, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of elements of one feature that lie together; the tables hold BAND times the same constants."""
    cdef Py_ssize_t size = sizeof(real)
    cdef Py_ssize_t done = 0, width
    check_range(start, length, size_of(call))
    if in_bands(call, x, table) or length * size < <Py_ssize_t> sizeof(floats):
        while done < length:
            width = smaller(BAND, length - done)
            write_band(call, x, start + done, width, table, reach)
            done += width
    elif real is float:
        write_one(call, start * size, length * size, <const floats*> table, reach * size)
    else:
        write_one(call, start * size, length * size, <const doubles*> table, reach * size)
