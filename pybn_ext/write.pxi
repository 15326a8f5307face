# Results.  One primitive: a stretch of consecutive elements, and tables of constants that run along with it.

cdef enum:
    CHUNK = 1024  # elements finished at once in a buffer in the first-level cache

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
    const real* x, real* y, Py_ssize_t n, const wide* t0, const wide* t1, const wide* t2
) noexcept nogil:
    """y = (x - mean) a + b.  Not x a + c, which cancels where the mean is many deviations."""
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = <real> ((<wide> x[j] - t0[j]) * t1[j] + t2[j])


cdef inline void differentiate(
    const real* x, const real* dy, real* dx, Py_ssize_t n, const wide* t0, const wide* t1, const wide* t2, const wide* t3
) noexcept nogil:
    """dx = ((dy - mean of dy) - (x - mean) slope) a."""
    cdef Py_ssize_t j
    for j in range(n):
        dx[j] = <real> (((<wide> dy[j] - t3[j]) - (<wide> x[j] - t0[j]) * t2[j]) * t1[j])


cdef inline void put_back(real* y, const real* original, const unsigned char* keep, Py_ssize_t n) noexcept nogil:
    """Under the mask the result is what came in."""
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] if keep[j] else original[j]


cdef void write_chunk(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t n, real* y, const wide* table, Py_ssize_t reach
) noexcept nogil:
    """The results of at most CHUNK elements from `start` on, to y[0..n)."""
    cdef unsigned char buffer[CHUNK]
    cdef const real* dy = <const real*> call.dy
    cdef const real* source = x if dy == NULL else dy
    if call.operation == GRADIENT:
        differentiate(x + start, dy + start, y, n, table, table + reach, table + 2 * reach, table + 3 * reach)
    else:
        normalize(source + start, y, n, table, table + reach, table + 2 * reach)
    if call.keep != NULL:
        put_back(y, source + start, keep_of(call, start, n, buffer), n)


cdef inline void store(const real* buffer, real* y, Py_ssize_t n) noexcept nogil:
    """Copy to y past the caches: whole lines of 64 bytes, and the ends as usual."""
    cdef Py_ssize_t line = 64 // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t head = smaller(n, (-(<uintptr_t> y // sizeof(real))) & (line - 1))
    cdef Py_ssize_t whole = (n - head) & ~(line - 1)
    memcpy(y, buffer, head * sizeof(real))
    stream_bytes(<char*> (y + head), <const char*> (buffer + head), whole * sizeof(real))
    memcpy(y + head + whole, buffer + head + whole, (n - head - whole) * sizeof(real))


cdef void write_stretch(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t n, const wide* table, Py_ssize_t reach, Py_ssize_t phase
) noexcept nogil:
    """The results of `n` consecutive elements; their constants begin at `phase` of the tables and repeat."""
    cdef real buffer[CHUNK]
    cdef real* y = <real*> call.y + start
    cdef Py_ssize_t line = 64 // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t done = 0, step
    # The first chunk ends where a cache line does, and so do those after it.
    cdef Py_ssize_t limit = CHUNK - (<uintptr_t> y // sizeof(real) & (line - 1))
    while done < n:
        step = smaller(smaller(limit, n - done), reach - phase)
        write_chunk(call, x, start + done, step, <real*> buffer, table + phase, reach)
        if call.stream:
            store(<real*> buffer, y + done, step)
        else:
            memcpy(y + done, buffer, step * sizeof(real))
        done += step
        limit = CHUNK
        phase = (phase + step) % call.period
