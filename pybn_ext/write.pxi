# Results.  One primitive: rows of lanes with a table of constants for each lane, four rows at once so that they share
# what is loaded of the tables.  Whole vectors go straight to the result, past the caches where it is large; what is
# masked, finished in double, or left over at the ends goes through a buffer.

cdef enum:
    BAND = 256  # lanes at once in the buffer
    TABLES = 4  # constants of a lane

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


cdef inline void normalize_vectors(
    const vector* x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes, const vector* table, Py_ssize_t reach,
    vector* y, Py_ssize_t y_stride
) noexcept nogil:
    """As `normalize`, of one row or of four; `lanes` counts vectors, strides and `reach` count bytes."""
    cdef const vector* mean = table
    cdef const vector* a = <const vector*> (<const char*> table + reach)
    cdef const vector* b = <const vector*> (<const char*> table + 2 * reach)
    cdef const vector* x1 = <const vector*> (<const char*> x + stride)
    cdef const vector* x2 = <const vector*> (<const char*> x + 2 * stride)
    cdef const vector* x3 = <const vector*> (<const char*> x + 3 * stride)
    cdef vector* y1 = <vector*> (<char*> y + y_stride)
    cdef vector* y2 = <vector*> (<char*> y + 2 * y_stride)
    cdef vector* y3 = <vector*> (<char*> y + 3 * y_stride)
    cdef vector m, s, c
    cdef Py_ssize_t j
    if rows == 1:
        for j in range(lanes):
            y[j] = (x[j] - mean[j]) * a[j] + b[j]
        return
    for j in range(lanes):
        m = mean[j]
        s = a[j]
        c = b[j]
        y[j] = (x[j] - m) * s + c
        y1[j] = (x1[j] - m) * s + c
        y2[j] = (x2[j] - m) * s + c
        y3[j] = (x3[j] - m) * s + c


cdef inline void differentiate_vectors(
    const vector* x, const vector* dy, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes, const vector* table,
    Py_ssize_t reach, vector* dx, Py_ssize_t dx_stride
) noexcept nogil:
    """As `differentiate`, of one row or of four; `lanes` counts vectors, strides and `reach` count bytes."""
    cdef const vector* mean = table
    cdef const vector* a = <const vector*> (<const char*> table + reach)
    cdef const vector* slope = <const vector*> (<const char*> table + 2 * reach)
    cdef const vector* centre = <const vector*> (<const char*> table + 3 * reach)
    cdef const vector* x1 = <const vector*> (<const char*> x + stride)
    cdef const vector* x2 = <const vector*> (<const char*> x + 2 * stride)
    cdef const vector* x3 = <const vector*> (<const char*> x + 3 * stride)
    cdef const vector* g1 = <const vector*> (<const char*> dy + stride)
    cdef const vector* g2 = <const vector*> (<const char*> dy + 2 * stride)
    cdef const vector* g3 = <const vector*> (<const char*> dy + 3 * stride)
    cdef vector* dx1 = <vector*> (<char*> dx + dx_stride)
    cdef vector* dx2 = <vector*> (<char*> dx + 2 * dx_stride)
    cdef vector* dx3 = <vector*> (<char*> dx + 3 * dx_stride)
    cdef vector m, s, p, c
    cdef Py_ssize_t j
    if rows == 1:
        for j in range(lanes):
            dx[j] = ((dy[j] - centre[j]) - (x[j] - mean[j]) * slope[j]) * a[j]
        return
    for j in range(lanes):
        m = mean[j]
        s = a[j]
        p = slope[j]
        c = centre[j]
        dx[j] = ((dy[j] - c) - (x[j] - m) * p) * s
        dx1[j] = ((g1[j] - c) - (x1[j] - m) * p) * s
        dx2[j] = ((g2[j] - c) - (x2[j] - m) * p) * s
        dx3[j] = ((g3[j] - c) - (x3[j] - m) * p) * s


cdef void put_back(
    const Call* call, const real* original, Py_ssize_t start, Py_ssize_t n, real* y
) noexcept nogil:
    """Under the mask the result is what came in."""
    cdef unsigned char buffer[BAND]
    cdef const unsigned char* keep = keep_of(call, start, n, buffer)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] if keep[j] else original[start + j]


cdef inline Py_ssize_t misfit(const real* y) noexcept nogil:
    """Elements from y to the next cache line."""
    return (-<Py_ssize_t> (<uintptr_t> y // sizeof(real))) & (64 // <Py_ssize_t> sizeof(real) - 1)


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


cdef inline void write_vectors(
    const Call* call, const vector* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const vector* table, Py_ssize_t reach, vector* y, Py_ssize_t y_stride
) noexcept nogil:
    """Whole vectors of one row or of four, to y; `lanes` counts vectors, all else bytes."""
    cdef const vector* dy = <const vector*> (<const char*> call.dy + start)
    cdef const vector* source = x if call.dy == NULL else <const vector*> call.dy
    if call.operation == GRADIENT:
        x = <const vector*> (<const char*> x + start)
        differentiate_vectors(x, dy, stride, rows, lanes, table, reach, y, y_stride)
    else:
        source = <const vector*> (<const char*> source + start)
        normalize_vectors(source, stride, rows, lanes, table, reach, y, y_stride)


cdef inline void stream_vectors(
    const Call* call, const vector* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const vector* table, Py_ssize_t reach
) noexcept nogil:
    """As `write_vectors`, to the result past the caches.

    A band at a time through a buffer in the first-level cache: stores past the caches that alternate between four
    rows were 10 to 80 times slower than the same in bursts of one, and 3 times slower between loads.
    """
    cdef vector buffer[4 * BAND]
    cdef Py_ssize_t lane = 0, row, j, width
    cdef Py_ssize_t band = BAND // (sizeof(vector) // 4)
    cdef const vector* done
    cdef vector* y
    while lane < lanes:
        width = smaller(band, lanes - lane)
        write_vectors(
            call, x, start, stride, rows, width, table + lane, reach, <vector*> buffer, band * sizeof(vector)
        )
        for row in range(rows):
            done = <const vector*> buffer + row * band
            y = <vector*> (<char*> call.y + start + row * stride)
            for j in range(width):
                stream(y + j, done[j])
        start += width * sizeof(vector)
        lane += width


cdef inline void write_real(
    const Call* call, const vector* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const vector* table, Py_ssize_t reach
) noexcept nogil:
    """Whole vectors of one row or of four to the result."""
    if call.stream:
        stream_vectors(call, x, start, stride, rows, lanes, table, reach)
    else:
        write_vectors(
            call, x, start, stride, rows, lanes, table, reach, <vector*> (<char*> call.y + start), stride
        )


cdef void write_rows(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of rows of lanes, the first at element `start`."""
    cdef Py_ssize_t size = sizeof(real)
    cdef Py_ssize_t line = 64 // size
    cdef Py_ssize_t per_vector = sizeof(floats) // sizeof(float) if real is float else sizeof(doubles) // sizeof(double)
    cdef Py_ssize_t row = 0, group, head, whole, first
    check_range(start, (rows - 1) * stride + lanes if rows else 0, size_of(call))
    check_range(0, lanes, reach)
    if call.keep != NULL or (real is float and wide is double):
        write_bands(call, x, start, stride, rows, lanes, table, reach)
        return
    while row < rows:
        # Past the caches, four rows go together only where cache lines of y begin at the same lanes.
        group = 4 if row + 4 <= rows and (stride & (line - 1) == 0 or not call.stream) else 1
        first = start + row * stride
        head = smaller(misfit(<real*> call.y + first), lanes) if call.stream else 0
        whole = (lanes - head) // per_vector
        if head:
            write_bands(call, x, first, stride, group, head, table, reach)
        if real is float:
            write_real(
                call, <const floats*> x, (first + head) * size, stride * size, group, whole,
                <const floats*> (table + head), reach * size
            )
        else:
            write_real(
                call, <const doubles*> x, (first + head) * size, stride * size, group, whole,
                <const doubles*> (table + head), reach * size
            )
        head += whole * per_vector
        if head < lanes:
            write_bands(call, x, first + head, stride, group, lanes - head, table + head, reach)
        row += group
