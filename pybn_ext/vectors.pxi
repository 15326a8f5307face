# One register of elements as a type.  The C compiler knows arithmetic on it; to Cython it is a number, so that a
# formula is written once and computes on 4, 8 or 16 elements.  Elsewhere than gcc and clang it is a number indeed.

cdef extern from *:
    """
    #if defined(__GNUC__) && !defined(PYBN_CHECK_SCALAR)
    #define PYBN_VECTORS
    #endif
    #if defined(PYBN_VECTORS) && defined(__SSE2__)
    #include <immintrin.h>
    #endif
    #if defined(__AVX512F__)
    #define PYBN_VECTOR 64
    #elif defined(__AVX__)
    #define PYBN_VECTOR 32
    #else
    #define PYBN_VECTOR 16
    #endif

    #if defined(PYBN_VECTORS)
    typedef float pybn_floats __attribute__((vector_size(PYBN_VECTOR), aligned(4), may_alias));
    typedef double pybn_doubles __attribute__((vector_size(PYBN_VECTOR), aligned(8), may_alias));
    typedef float pybn_halves __attribute__((vector_size(PYBN_VECTOR / 2), aligned(4), may_alias));
    #define pybn_widened(x) __builtin_convertvector(*(const pybn_halves *) (x), pybn_doubles)
    #define pybn_prefetch(address) __builtin_prefetch(address)
    #define pybn_prefetch_far(address) __builtin_prefetch(address, 0, 2)
    #define pybn_spread_floats(value) ((float) (value) - (pybn_floats) {0})
    #define pybn_spread_doubles(value) ((value) - (pybn_doubles) {0})
    static inline pybn_floats pybn_most_floats(pybn_floats a, pybn_floats b) {
    #if defined(__AVX512F__)
        return (pybn_floats) _mm512_max_ps((__m512) a, (__m512) b);
    #elif defined(__AVX__)
        return (pybn_floats) _mm256_max_ps((__m256) a, (__m256) b);
    #elif defined(__SSE2__)
        return (pybn_floats) _mm_max_ps((__m128) a, (__m128) b);
    #else
        __typeof__(a > b) larger = a > b;
        return (pybn_floats) (((__typeof__(larger)) a & larger) | ((__typeof__(larger)) b & ~larger));
    #endif
    }
    static inline pybn_doubles pybn_most_doubles(pybn_doubles a, pybn_doubles b) {
    #if defined(__AVX512F__)
        return (pybn_doubles) _mm512_max_pd((__m512d) a, (__m512d) b);
    #elif defined(__AVX__)
        return (pybn_doubles) _mm256_max_pd((__m256d) a, (__m256d) b);
    #elif defined(__SSE2__)
        return (pybn_doubles) _mm_max_pd((__m128d) a, (__m128d) b);
    #else
        __typeof__(a > b) larger = a > b;
        return (pybn_doubles) (((__typeof__(larger)) a & larger) | ((__typeof__(larger)) b & ~larger));
    #endif
    }

    /* The elements of a vector whose byte of the mask is not 0; and those of another vector in the other places. */
    #define PYBN_MASKED(kind, element) \
        typedef element pybn_bits_##kind __attribute__((vector_size(PYBN_VECTOR))); \
        typedef signed char pybn_bytes_##kind \
            __attribute__((vector_size(PYBN_VECTOR / sizeof(element)), aligned(1), may_alias)); \
        static inline pybn_bits_##kind pybn_masked_##kind(const unsigned char *keep) { \
            /* Bytes are compared and then widened: gcc 12 takes the other order apart, byte by byte. */ \
            return __builtin_convertvector(*(const pybn_bytes_##kind *) keep == 0, pybn_bits_##kind); \
        } \
        static inline pybn_##kind pybn_kept_##kind(pybn_##kind value, const unsigned char *keep) { \
            return (pybn_##kind) ((pybn_bits_##kind) value & ~pybn_masked_##kind(keep)); \
        } \
        static inline pybn_##kind pybn_chosen_##kind( \
                pybn_##kind value, pybn_##kind other, const unsigned char *keep) { \
            pybn_bits_##kind masked = pybn_masked_##kind(keep); \
            return (pybn_##kind) (((pybn_bits_##kind) value & ~masked) | ((pybn_bits_##kind) other & masked)); \
        }
    #if defined(__AVX512BW__) && defined(__AVX512VL__)
    /* A bit for each element, with which it is chosen. */
    #define pybn_bits_of_floats(keep) \
        _mm_test_epi8_mask(_mm_loadu_si128((const __m128i *) (keep)), _mm_set1_epi8(-1))
    #define pybn_bits_of_doubles(keep) \
        ((__mmask8) _mm_test_epi8_mask(_mm_loadl_epi64((const __m128i *) (keep)), _mm_set1_epi8(-1)))
    static inline pybn_floats pybn_kept_floats(pybn_floats value, const unsigned char *keep) {
        return (pybn_floats) _mm512_maskz_mov_ps(pybn_bits_of_floats(keep), (__m512) value);
    }
    static inline pybn_doubles pybn_kept_doubles(pybn_doubles value, const unsigned char *keep) {
        return (pybn_doubles) _mm512_maskz_mov_pd(pybn_bits_of_doubles(keep), (__m512d) value);
    }
    static inline pybn_floats pybn_chosen_floats(pybn_floats value, pybn_floats other, const unsigned char *keep) {
        return (pybn_floats) _mm512_mask_mov_ps((__m512) other, pybn_bits_of_floats(keep), (__m512) value);
    }
    static inline pybn_doubles pybn_chosen_doubles(pybn_doubles value, pybn_doubles other, const unsigned char *keep) {
        return (pybn_doubles) _mm512_mask_mov_pd((__m512d) other, pybn_bits_of_doubles(keep), (__m512d) value);
    }
    #else
    PYBN_MASKED(floats, int)
    PYBN_MASKED(doubles, long long)
    #endif
    #else
    typedef float pybn_floats;
    typedef double pybn_doubles;
    #define pybn_widened(x) ((double) *(x))
    #define pybn_prefetch(address) ((void) 0)
    #define pybn_prefetch_far(address) ((void) 0)
    #define pybn_spread_floats(value) (value)
    #define pybn_spread_doubles(value) (value)
    #define pybn_most_floats(a, b) ((a) > (b) ? (a) : (b))
    #define pybn_most_doubles(a, b) ((a) > (b) ? (a) : (b))
    #define pybn_kept_floats(value, keep) (*(keep) ? (value) : 0)
    #define pybn_kept_doubles(value, keep) (*(keep) ? (value) : 0)
    #define pybn_chosen_floats(value, other, keep) (*(keep) ? (value) : (other))
    #define pybn_chosen_doubles(value, other, keep) (*(keep) ? (value) : (other))
    #endif

    /* Past the caches, to an address aligned to the vector. */
    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
    #define PYBN_STREAM(to, value) _mm512_stream_si512((__m512i *) (to), (__m512i) (value))
    #elif defined(PYBN_VECTORS) && defined(__AVX__)
    #define PYBN_STREAM(to, value) _mm256_stream_si256((__m256i *) (to), (__m256i) (value))
    #elif defined(PYBN_VECTORS) && defined(__SSE2__)
    #define PYBN_STREAM(to, value) _mm_stream_si128((__m128i *) (to), (__m128i) (value))
    #endif
    /* Whether the size of one of the elements is at least that. */
    static inline int pybn_reaches(pybn_floats value, float least) {
    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
        return _mm512_cmp_ps_mask(_mm512_abs_ps((__m512) value), _mm512_set1_ps(least), _CMP_GE_OQ) != 0;
    #elif defined(PYBN_VECTORS) && defined(__AVX__)
        __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), (__m256) value);
        return _mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(least), _CMP_GE_OQ)) != 0;
    #elif defined(PYBN_VECTORS) && defined(__SSE2__)
        __m128 size = _mm_andnot_ps(_mm_set1_ps(-0.0f), (__m128) value);
        return _mm_movemask_ps(_mm_cmpge_ps(size, _mm_set1_ps(least))) != 0;
    #elif defined(PYBN_VECTORS)
        int i, found = 0;
        for (i = 0; i < (int) (sizeof(value) / sizeof(float)); i++) found |= value[i] >= least || -value[i] >= least;
        return found;
    #else
        return value >= least || -value >= least;
    #endif
    }
    /* Whether one of the elements is more than that. */
    static inline int pybn_exceeds_floats(pybn_floats value, float limit) {
    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
        return _mm512_cmp_ps_mask((__m512) value, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
    #elif defined(PYBN_VECTORS) && defined(__AVX__)
        return _mm256_movemask_ps(_mm256_cmp_ps((__m256) value, _mm256_set1_ps(limit), _CMP_GT_OQ)) != 0;
    #elif defined(PYBN_VECTORS) && defined(__SSE2__)
        return _mm_movemask_ps(_mm_cmpgt_ps((__m128) value, _mm_set1_ps(limit))) != 0;
    #elif defined(PYBN_VECTORS)
        int i, found = 0;
        for (i = 0; i < (int) (sizeof(value) / sizeof(float)); i++) found |= value[i] > limit;
        return found;
    #else
        return value > limit;
    #endif
    }
    static inline int pybn_exceeds_doubles(pybn_doubles value, double limit) {
    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
        return _mm512_cmp_pd_mask((__m512d) value, _mm512_set1_pd(limit), _CMP_GT_OQ) != 0;
    #elif defined(PYBN_VECTORS) && defined(__AVX__)
        return _mm256_movemask_pd(_mm256_cmp_pd((__m256d) value, _mm256_set1_pd(limit), _CMP_GT_OQ)) != 0;
    #elif defined(PYBN_VECTORS) && defined(__SSE2__)
        return _mm_movemask_pd(_mm_cmpgt_pd((__m128d) value, _mm_set1_pd(limit))) != 0;
    #elif defined(PYBN_VECTORS)
        int i, found = 0;
        for (i = 0; i < (int) (sizeof(value) / sizeof(double)); i++) found |= value[i] > limit;
        return found;
    #else
        return value > limit;
    #endif
    }
    /* to[i] = from[places[i]] for 16 bytes, of which all are read. */
    #if defined(PYBN_VECTORS) && defined(__SSSE3__)
    #define pybn_picks 1
    #define pybn_pick_16(to, from, places) \
        _mm_storeu_si128((__m128i *) (to), _mm_shuffle_epi8( \
            _mm_loadu_si128((const __m128i *) (from)), _mm_loadu_si128((const __m128i *) (places))))
    #else
    #define pybn_picks 0
    static void pybn_pick_16(unsigned char *to, const unsigned char *from, const unsigned char *places) {
        int i;
        for (i = 0; i < 16; i++) to[i] = from[places[i]];
    }
    #endif
    #if defined(PYBN_STREAM)
    #define pybn_streams 1
    #define pybn_stream_end() _mm_sfence()
    #else
    #define pybn_streams 0
    #define PYBN_STREAM(to, value) (*(to) = (value))
    #define pybn_stream_end() ((void) 0)
    #endif
    """
    ctypedef float floats "pybn_floats"
    ctypedef double doubles "pybn_doubles"
    void stream_floats "PYBN_STREAM"(floats* to, floats value) noexcept nogil
    void stream_doubles "PYBN_STREAM"(doubles* to, doubles value) noexcept nogil
    void stream_end "pybn_stream_end"() noexcept nogil
    const bint streams "pybn_streams"  # whether there is a way past the caches
    floats kept_floats "pybn_kept_floats"(floats value, const unsigned char* keep) noexcept nogil
    doubles kept_doubles "pybn_kept_doubles"(doubles value, const unsigned char* keep) noexcept nogil
    floats chosen_floats "pybn_chosen_floats"(floats value, floats other, const unsigned char* keep) noexcept nogil
    doubles chosen_doubles "pybn_chosen_doubles"(doubles value, doubles other, const unsigned char* keep) noexcept nogil
    void pick_16 "pybn_pick_16"(
        unsigned char* to, const unsigned char* source, const unsigned char* places
    ) noexcept nogil
    const bint picks "pybn_picks"  # whether that is one instruction
    int reaches "pybn_reaches"(floats value, float least) noexcept nogil
    int exceeds_floats "pybn_exceeds_floats"(floats value, float limit) noexcept nogil
    int exceeds_doubles "pybn_exceeds_doubles"(doubles value, double limit) noexcept nogil
    doubles widened "pybn_widened"(const float* x) noexcept nogil  # as many elements as fit
    floats spread_floats "pybn_spread_floats"(float value) noexcept nogil
    doubles spread_doubles "pybn_spread_doubles"(double value) noexcept nogil
    floats most_floats "pybn_most_floats"(floats a, floats b) noexcept nogil  # in each place; b where one is NaN
    doubles most_doubles "pybn_most_doubles"(doubles a, doubles b) noexcept nogil
    void prefetch "pybn_prefetch"(const void* address) noexcept nogil
    void prefetch_far "pybn_prefetch_far"(const void* address) noexcept nogil  # into the second-level cache

cdef enum:
    LINE = 64   # bytes of a cache line
    SPARE = 16  # elements of the longest vector

ctypedef fused vector:
    floats
    doubles


cdef inline void stream(vector* to, vector value) noexcept nogil:
    """to[0] = value, past the caches."""
    if vector is floats:
        stream_floats(to, value)
    else:
        stream_doubles(to, value)


cdef inline vector spread(real value, const vector* any) noexcept nogil:
    """The value in each place."""
    if vector is floats:
        return spread_floats(value)
    else:
        return spread_doubles(value)


cdef inline vector most(vector a, vector b) noexcept nogil:
    """The larger one in each place."""
    if vector is floats:
        return most_floats(a, b)
    else:
        return most_doubles(a, b)


cdef inline int exceeds(vector value, double limit) noexcept nogil:
    """Whether one of the elements is more than the limit."""
    if vector is floats:
        return exceeds_floats(value, <float> limit)
    else:
        return exceeds_doubles(value, limit)


cdef inline vector unmasked(vector value, const unsigned char* keep) noexcept nogil:
    """The value where it is real, else 0: whatever stands under a mask, NaN too."""
    if vector is floats:
        return kept_floats(value, keep)
    else:
        return kept_doubles(value, keep)


cdef inline vector chosen(vector value, vector other, const unsigned char* keep) noexcept nogil:
    """The value where it is real, else the other."""
    if vector is floats:
        return chosen_floats(value, other, keep)
    else:
        return chosen_doubles(value, other, keep)


cdef inline Py_ssize_t elements(const vector* any) noexcept nogil:
    """Of a vector."""
    if vector is floats:
        return sizeof(vector) // <Py_ssize_t> sizeof(float)
    else:
        return sizeof(vector) // <Py_ssize_t> sizeof(double)


cdef inline const vector* seek(const vector* start, Py_ssize_t bytes) noexcept nogil:
    """The vector so many bytes on."""
    return <const vector*> (<const char*> start + bytes)


cdef inline Py_ssize_t piece_of(Py_ssize_t lanes, Py_ssize_t most) noexcept nogil:
    """How many of the lanes to take at once, so that what is left is not less than a vector."""
    return most if lanes >= most + SPARE else lanes


cdef inline Py_ssize_t to_line(const void* y) noexcept nogil:
    """Bytes from y to the next cache line."""
    return -<Py_ssize_t> (<uintptr_t> y) & (LINE - 1)


cdef inline void* next_line(void* p) noexcept nogil:
    """The first cache line from p on."""
    return <char*> p + to_line(p)


cdef extern from *:
    """
    static const unsigned char pybn_ones_then_zeros[48] = {
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    """
    const unsigned char* ones_then_zeros "pybn_ones_then_zeros"  # SPARE of each, and of ones again


cdef inline void fill(wide* to, Py_ssize_t n, wide value) noexcept nogil:
    """n times the value, and more: whole vectors, which what follows overwrites."""
    cdef Py_ssize_t i, j
    for i in range((n + SPARE - 1) // SPARE):
        for j in range(SPARE):
            to[i * SPARE + j] = value
