# One register of elements as a type.  The C compiler knows arithmetic on it; to Cython it is a number, so that a
# formula is written once and computes on 4, 8 or 16 elements.  Elsewhere than gcc and clang it is a number indeed.

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define PYBN_VECTOR 64
    #elif defined(__AVX__)
    #define PYBN_VECTOR 32
    #else
    #define PYBN_VECTOR 16
    #endif

    #if defined(__GNUC__)
    typedef float pybn_floats __attribute__((vector_size(PYBN_VECTOR), aligned(4), may_alias));
    typedef double pybn_doubles __attribute__((vector_size(PYBN_VECTOR), aligned(8), may_alias));
    #define pybn_prefetch(address) __builtin_prefetch(address)
    #else
    typedef float pybn_floats;
    typedef double pybn_doubles;
    #define pybn_prefetch(address) ((void) 0)
    #endif

    /* Past the caches, to an address aligned to the vector. */
    #if defined(__GNUC__) && defined(__AVX512F__)
    #include <immintrin.h>
    #define PYBN_STREAM(to, value) _mm512_stream_si512((__m512i *) (to), (__m512i) (value))
    #elif defined(__GNUC__) && defined(__AVX__)
    #include <immintrin.h>
    #define PYBN_STREAM(to, value) _mm256_stream_si256((__m256i *) (to), (__m256i) (value))
    #elif defined(__GNUC__) && defined(__SSE2__)
    #include <emmintrin.h>
    #define PYBN_STREAM(to, value) _mm_stream_si128((__m128i *) (to), (__m128i) (value))
    #endif
    #if defined(PYBN_STREAM)
    #define pybn_stream_end() _mm_sfence()
    #else
    #define PYBN_STREAM(to, value) (*(to) = (value))
    #define pybn_stream_end() ((void) 0)
    #endif
    """
    ctypedef float floats "pybn_floats"
    ctypedef double doubles "pybn_doubles"
    void stream_floats "PYBN_STREAM"(floats* to, floats value) noexcept nogil
    void stream_doubles "PYBN_STREAM"(doubles* to, doubles value) noexcept nogil
    void stream_end "pybn_stream_end"() noexcept nogil
    void prefetch "pybn_prefetch"(const void* address) noexcept nogil

cdef enum:
    LINE = 64  # bytes of a cache line

ctypedef fused vector:
    floats
    doubles


cdef inline void stream(vector* to, vector value) noexcept nogil:
    """to[0] = value, past the caches."""
    if vector is floats:
        stream_floats(to, value)
    else:
        stream_doubles(to, value)


cdef inline const vector* seek(const vector* start, Py_ssize_t bytes) noexcept nogil:
    """The vector so many bytes on."""
    return <const vector*> (<const char*> start + bytes)


cdef inline Py_ssize_t to_line(const void* y) noexcept nogil:
    """Bytes from y to the next cache line."""
    return -<Py_ssize_t> (<uintptr_t> y) & (LINE - 1)


cdef inline void* next_line(void* p) noexcept nogil:
    """The first cache line from p on."""
    return <char*> p + to_line(p)
