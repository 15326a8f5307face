# Results.  One primitive: rows of lanes with a table of constants for each lane.  Four rows at once share what is
# loaded of the tables.  A band of lanes is finished in a buffer in the first-level cache and copied from there,
# past the caches where the result is large, so that the loops need not know where results go.

cdef enum:
    BAND = 256  # lanes finished at once, of four rows: 4 KB of float32
    TABLES = 4  # constants of a lane

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #include <immintrin.h>
    #define PYBN_STREAM(to, from) _mm512_stream_si512((__m512i *)(to), _mm512_loadu_si512((const void *)(from)))
    #define PYBN_STREAM_BYTES 64
    #elif defined(__AVX2__)
    #include <immintrin.h>
    #define PYBN_STREAM(to, from) _mm256_stream_si256((__m256i *)(to), _mm256_loadu_si256((const __m256i *)(from)))
    #define PYBN_STREAM_BYTES 32
    #elif defined(__SSE2__) || defined(_M_X64)
    #include <emmintrin.h>
    #define PYBN_STREAM(to, from) _mm_stream_si128((__m128i *)(to), _mm_loadu_si128((const __m128i *)(from)))
    #define PYBN_STREAM_BYTES 16
    #endif
    #include <string.h>
    /* Copy past the caches; `to` is aligned to 64 bytes and `bytes` a multiple of it. */
    static inline void pybn_stream(char *to, const char *from, Py_ssize_t bytes) {
    #ifdef PYBN_STREAM
        for (Py_ssize_t i = 0; i < bytes; i += PYBN_STREAM_BYTES) PYBN_STREAM(to + i, from + i);
    #else
        memcpy(to, from, bytes);
    #endif
    }
    static inline void pybn_stream_end(void) {
    #ifdef PYBN_STREAM
        _mm_sfence();
    #endif
    }
    """
    void stream_bytes "pybn_stream"(char* to, const char* source, Py_ssize_t bytes) noexcept nogil
    void stream_end "pybn_stream_end"() noexcept nogil


cdef inline void normalize(
    const real* x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes, const wide* table, Py_ssize_t reach, real* y
) noexcept nogil:
    """y = (x - mean) a + b, of one row or of four.  Not x a + c, which cancels where the mean is many deviations."""
    cdef const wide* mean = table
    cdef const wide* a = table + reach
    cdef const wide* b = table + 2 * reach
    cdef wide m, s, c
    cdef Py_ssize_t j
    if rows == 1:
        for j in range(lanes):
            y[j] = <real> ((<wide> x[j] - mean[j]) * a[j] + b[j])
        return
    for j in range(lanes):
        m = mean[j]
        s = a[j]
        c = b[j]
        y[j] = <real> ((<wide> x[j] - m) * s + c)
        y[BAND + j] = <real> ((<wide> x[stride + j] - m) * s + c)
        y[2 * BAND + j] = <real> ((<wide> x[2 * stride + j] - m) * s + c)
        y[3 * BAND + j] = <real> ((<wide> x[3 * stride + j] - m) * s + c)


cdef inline void differentiate(
    const real* x, const real* dy, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes, const wide* table,
    Py_ssize_t reach, real* dx
) noexcept nogil:
    """dx = ((dy - mean of dy) - (x - mean) slope) a, of one row or of four."""
    cdef const wide* mean = table
    cdef const wide* a = table + reach
    cdef const wide* slope = table + 2 * reach
    cdef const wide* centre = table + 3 * reach
    cdef wide m, s, p, c
    cdef Py_ssize_t j
    if rows == 1:
        for j in range(lanes):
            dx[j] = <real> (((<wide> dy[j] - centre[j]) - (<wide> x[j] - mean[j]) * slope[j]) * a[j])
        return
    for j in range(lanes):
        m = mean[j]
        s = a[j]
        p = slope[j]
        c = centre[j]
        dx[j] = <real> (((<wide> dy[j] - c) - (<wide> x[j] - m) * p) * s)
        dx[BAND + j] = <real> (((<wide> dy[stride + j] - c) - (<wide> x[stride + j] - m) * p) * s)
        dx[2 * BAND + j] = <real> (((<wide> dy[2 * stride + j] - c) - (<wide> x[2 * stride + j] - m) * p) * s)
        dx[3 * BAND + j] = <real> (((<wide> dy[3 * stride + j] - c) - (<wide> x[3 * stride + j] - m) * p) * s)


cdef void put_back(
    const Call* call, const real* original, Py_ssize_t start, Py_ssize_t n, real* y
) noexcept nogil:
    """Under the mask the result is what came in."""
    cdef unsigned char buffer[BAND]
    cdef const unsigned char* keep = keep_of(call, start, n, buffer)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] if keep[j] else original[start + j]


cdef inline void store(const real* buffer, real* y, Py_ssize_t n) noexcept nogil:
    """Copy to y past the caches: whole lines of 64 bytes, and the ends as usual."""
    cdef Py_ssize_t line = 64 // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t head = smaller(n, misfit(y))
    cdef Py_ssize_t whole = (n - head) & ~(line - 1)
    if head:
        memcpy(y, buffer, head * sizeof(real))
    stream_bytes(<char*> (y + head), <const char*> (buffer + head), whole * sizeof(real))
    if head + whole < n:
        memcpy(y + head + whole, buffer + head + whole, (n - head - whole) * sizeof(real))


cdef inline Py_ssize_t misfit(const real* y) noexcept nogil:
    """Elements from y to the next cache line."""
    return (-<Py_ssize_t> (<uintptr_t> y // sizeof(real))) & (64 // <Py_ssize_t> sizeof(real) - 1)


cdef void write_band(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """At most BAND lanes of one row or of four."""
    cdef real buffer[4 * BAND]
    cdef const real* dy = <const real*> call.dy
    cdef const real* source = x if dy == NULL else dy
    cdef real* y = <real*> call.y
    cdef Py_ssize_t row, at
    if call.operation == GRADIENT:
        differentiate(x + start, dy + start, stride, rows, lanes, table, reach, <real*> buffer)
    else:
        normalize(source + start, stride, rows, lanes, table, reach, <real*> buffer)
    for row in range(rows):
        at = start + row * stride
        if call.keep != NULL:
            put_back(call, source, at, lanes, <real*> buffer + row * BAND)
        if call.stream:
            store(<const real*> buffer + row * BAND, y + at, lanes)
        else:
            memcpy(y + at, <const real*> buffer + row * BAND, lanes * sizeof(real))


cdef void write_rows(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes,
    const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of rows of lanes, the first at element `start`."""
    cdef Py_ssize_t line = 64 // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t row = 0, group, lane, width, first
    while row < rows:
        # Four rows share their bands only where cache lines of y begin at the same lanes.
        group = 4 if row + 4 <= rows and stride & (line - 1) == 0 else 1
        first = start + row * stride
        lane = 0
        width = BAND - line + misfit(<real*> call.y + first)  # so that the next band begins a line
        while lane < lanes:
            width = smaller(width, lanes - lane)
            write_band(call, x, first + lane, stride, group, width, table + lane, reach)
            lane += width
            width = BAND
        row += group
