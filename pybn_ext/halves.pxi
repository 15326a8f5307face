# Numbers of 16 bits.  Nothing is computed in them: a register of them becomes float32, exactly, and what is computed
# becomes 16 bits again, rounded to the nearest, halves to even.  By the processor's own instructions where the level
# has them, else by integers; the bits are the same.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #if defined(PYBN_VECTORS)
    typedef uint32_t pybn_words __attribute__((vector_size(PYBN_VECTOR)));
    typedef uint16_t pybn_shorts __attribute__((vector_size(PYBN_VECTOR / 2), aligned(2), may_alias));
    #define PYBN_WORDS_OF(shorts) __builtin_convertvector(shorts, pybn_words)
    #define PYBN_SHORTS_OF(words) __builtin_convertvector(words, pybn_shorts)
    #define PYBN_WHERE(condition) ((pybn_words) (condition))
    #define pybn_as_floats(words) ((pybn_floats) (words))
    #define pybn_as_words(value) ((pybn_words) (value))
    #else
    typedef uint32_t pybn_words;
    typedef uint16_t pybn_shorts;
    #define PYBN_WORDS_OF(shorts) ((uint32_t) (shorts))
    #define PYBN_SHORTS_OF(words) ((uint16_t) (words))
    #define PYBN_WHERE(condition) (-(uint32_t) (condition))
    static inline float pybn_as_floats(uint32_t words) { float value; memcpy(&value, &words, 4); return value; }
    static inline uint32_t pybn_as_words(float value) { uint32_t words; memcpy(&words, &value, 4); return words; }
    #endif
    #define PYBN_CHOSEN(where, words, others) (((words) & (where)) | ((others) & ~(where)))

    #if defined(PYBN_VECTORS) && defined(__AVX512F__)  /* gcc 12 makes two halves of the conversions */
    /* Each element to the upper half of a word: the odd places of what is picked, and 0 between them. */
    static inline pybn_floats pybn_load_bfloat16(const uint16_t *from) {
        const __m512i places = _mm512_set_epi16(
            15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
        __m512i halves = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *) from));
        return (pybn_floats) _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, places, halves);
    }
    /* In the upper half of each word. */
    static inline __m512i pybn_rounded_bfloat16(pybn_floats value) {
        __m512i bits = (__m512i) value, up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
        return _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
    }
    static inline void pybn_store_bfloat16(uint16_t *to, pybn_floats value) {
        __mmask16 nan = _mm512_cmp_ps_mask((__m512) value, (__m512) value, _CMP_UNORD_Q);
        __m512i words = _mm512_mask_or_epi32(
            pybn_rounded_bfloat16(value), nan, (__m512i) value, _mm512_set1_epi32(0x400000));
        _mm256_storeu_si256((__m256i *) to, _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
    }
    /* Halves are picked from two registers at once: half as many instructions as one by one. */
    static inline void pybn_store_two_bfloat16(uint16_t *to, pybn_floats value, pybn_floats next) {
        const __m512i upper = _mm512_set_epi16(
            63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33,
            31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
        __m512i both = _mm512_permutex2var_epi16(pybn_rounded_bfloat16(value), upper, pybn_rounded_bfloat16(next));
        _mm512_storeu_si512(to, both);
    }
    #else
    static inline pybn_floats pybn_load_bfloat16(const uint16_t *from) {
        return pybn_as_floats(PYBN_WORDS_OF(*(const pybn_shorts *) from) << 16);
    }
    static inline void pybn_store_bfloat16(uint16_t *to, pybn_floats value) {
        pybn_words bits = pybn_as_words(value);
        pybn_words nearest = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        *(pybn_shorts *) to = PYBN_SHORTS_OF(PYBN_CHOSEN(PYBN_WHERE(value != value), bits >> 16 | 0x40u, nearest));
    }
    static inline void pybn_store_two_bfloat16(uint16_t *to, pybn_floats value, pybn_floats next) {
        pybn_store_bfloat16(to, value);
        pybn_store_bfloat16(to + sizeof(value) / sizeof(float), next);
    }
    #endif

    /* One number, or as many as make a register of float64. */
    static inline float pybn_one_bfloat16(uint16_t half) {
        uint32_t word = (uint32_t) half << 16;
        float value;
        memcpy(&value, &word, 4);
        return value;
    }
    #define PYBN_WIDENED(load) \
        uint16_t some[sizeof(pybn_floats) / sizeof(float)] = {0}; \
        pybn_floats value; \
        memcpy(some, from, sizeof(pybn_doubles) / sizeof(double) * sizeof(uint16_t)); \
        value = load(some); \
        return pybn_widened((const float *) &value);
    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
    #define pybn_widened_bfloat16(from) ((pybn_doubles) _mm512_cvtps_pd(_mm256_castsi256_ps( \
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) (from))), 16))))
    #define pybn_widened_float16(from) \
        ((pybn_doubles) _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (from)))))
    #elif defined(PYBN_VECTORS) && defined(__AVX2__) && defined(__F16C__)
    #define pybn_widened_bfloat16(from) ((pybn_doubles) _mm256_cvtps_pd(_mm_castsi128_ps( \
        _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *) (from))), 16))))
    #define pybn_widened_float16(from) \
        ((pybn_doubles) _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *) (from)))))
    #else
    static inline pybn_doubles pybn_widened_bfloat16(const uint16_t *from) { PYBN_WIDENED(pybn_load_bfloat16) }
    #define PYBN_WIDENED_FLOAT16_IS_MISSING
    #endif

    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
    #define pybn_load_float16(from) ((pybn_floats) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (from))))
    #define pybn_store_float16(to, value) \
        _mm256_storeu_si256((__m256i *) (to), _mm512_cvtps_ph((__m512) (value), _MM_FROUND_TO_NEAREST_INT))
    #elif defined(PYBN_VECTORS) && defined(__F16C__)
    #define pybn_load_float16(from) ((pybn_floats) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (from))))
    #define pybn_store_float16(to, value) \
        _mm_storeu_si128((__m128i *) (to), _mm256_cvtps_ph((__m256) (value), _MM_FROUND_TO_NEAREST_INT))
    #else
    static inline pybn_floats pybn_load_float16(const uint16_t *from) {
        pybn_words half = PYBN_WORDS_OF(*(const pybn_shorts *) from), rest = half & 0x7fffu;
        /* 2^112 is what lies between the exponents; subnormal numbers become normal by the product. */
        pybn_words number = pybn_as_words(pybn_as_floats(rest << 13) * 5.192296858534828e33f);
        pybn_words beyond = 0x7f800000u | rest << 13 | (PYBN_WHERE(rest > 0x7c00u) & 0x400000u);
        return pybn_as_floats(PYBN_CHOSEN(PYBN_WHERE(rest >= 0x7c00u), beyond, number) | (half & 0x8000u) << 16);
    }
    static inline void pybn_store_float16(uint16_t *to, pybn_floats value) {
        pybn_words bits = pybn_as_words(value), rest = bits & 0x7fffffffu;
        pybn_words half = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1)) >> 13;
        /* The last digit of .5 is 2^-24, and so is the smallest float16. */
        pybn_words tiny = pybn_as_words(pybn_as_floats(rest) + 0.5f) - 0x3f000000u;
        half = PYBN_CHOSEN(PYBN_WHERE(rest < 0x38800000u), tiny, half);
        half = PYBN_CHOSEN(PYBN_WHERE(rest >= 0x477ff000u), 0 * half + 0x7c00u, half);
        half = PYBN_CHOSEN(PYBN_WHERE(value != value), 0x7e00u | (rest >> 13 & 0x3ffu), half);
        *(pybn_shorts *) to = PYBN_SHORTS_OF(half | (bits >> 16 & 0x8000u));
    }
    #endif

    #if defined(PYBN_WIDENED_FLOAT16_IS_MISSING)
    static inline pybn_doubles pybn_widened_float16(const uint16_t *from) { PYBN_WIDENED(pybn_load_float16) }
    #endif
    #if defined(PYBN_VECTORS) && defined(__F16C__)
    #define pybn_one_float16(half) _cvtsh_ss(half)
    #else
    static inline float pybn_one_float16(uint16_t half) {
        uint16_t some[sizeof(pybn_floats) / sizeof(float)] = {0};
        pybn_floats values;
        float value;
        some[0] = half;
        values = pybn_load_float16(some);
        memcpy(&value, &values, 4);
        return value;
    }
    #endif

    /* What float32 has not, as the one of its two neighbours whose last digit is 1 (Boldo 2008): it is never half way
       between two numbers of 16 bits, so that these are rounded to once. */
    static inline double pybn_to_odd(double value) {
        float near = (float) value;
        double size = value < 0 ? -value : value, found = near < 0 ? -(double) near : near;
        uint32_t bits;
        memcpy(&bits, &near, 4);
        if (found > size) bits = (bits - 1) | 1;
        else if (found < size) bits |= 1;
        memcpy(&near, &bits, 4);
        return near;
    }
    """
    floats load_float16 "pybn_load_float16"(const uint16_t* source) noexcept nogil
    floats load_bfloat16 "pybn_load_bfloat16"(const uint16_t* source) noexcept nogil
    void store_float16 "pybn_store_float16"(uint16_t* to, floats value) noexcept nogil
    void store_bfloat16 "pybn_store_bfloat16"(uint16_t* to, floats value) noexcept nogil
    void store_two_bfloat16 "pybn_store_two_bfloat16"(uint16_t* to, floats value, floats next_) noexcept nogil
    doubles widened_float16 "pybn_widened_float16"(const uint16_t* source) noexcept nogil
    doubles widened_bfloat16 "pybn_widened_bfloat16"(const uint16_t* source) noexcept nogil
    float one_float16 "pybn_one_float16"(uint16_t half) noexcept nogil
    float one_bfloat16 "pybn_one_bfloat16"(uint16_t half) noexcept nogil
    double to_odd "pybn_to_odd"(double value) noexcept nogil


cdef inline floats load_half(const uint16_t* source, Half half) noexcept nogil:
    """As many as make a register of float32."""
    if half == FLOAT16:
        return load_float16(source)
    return load_bfloat16(source)


cdef inline void store_half(uint16_t* to, floats value, Half half) noexcept nogil:
    if half == FLOAT16:
        store_float16(to, value)
    else:
        store_bfloat16(to, value)


cdef inline void store_two(uint16_t* to, floats value, floats next_, Half half) noexcept nogil:
    """Two registers, one behind the other; no NaN but such as `plain_nan` leaves, and those of bfloat16 itself."""
    if half == FLOAT16:
        store_float16(to, value)
        store_float16(to + elements(<floats*> NULL), next_)
    else:
        store_two_bfloat16(to, value, next_)


cdef inline void plain_nans(double* values, Py_ssize_t n) noexcept nogil:
    """Of a NaN, the first digit alone: others might be rounded up, and carry into the exponent and the sign."""
    cdef Py_ssize_t c
    for c in range(n):
        values[c] = values[c] if values[c] == values[c] else NAN


cdef inline void widen_all(const uint16_t* source, Py_ssize_t n, float* to, Half half) noexcept nogil:
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef Py_ssize_t whole = n // width * width
    cdef uint16_t rest[SPARE]
    cdef float wide[SPARE]
    cdef Py_ssize_t j
    for j in range(n // width):
        (<floats*> to)[j] = load_half(source + j * width, half)
    if whole < n:
        memset(rest, 0, sizeof(rest))
        memcpy(rest, source + whole, (n - whole) * sizeof(uint16_t))
        (<floats*> wide)[0] = load_half(rest, half)
        memcpy(to + whole, wide, (n - whole) * sizeof(float))


cdef inline void narrow_all(const float* source, Py_ssize_t n, uint16_t* to, Half half) noexcept nogil:
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef Py_ssize_t whole = n // width * width
    cdef uint16_t rest[SPARE]
    cdef float wide[SPARE]
    cdef Py_ssize_t j
    for j in range(n // width):
        store_half(to + j * width, (<const floats*> source)[j], half)
    if whole < n:
        memset(wide, 0, sizeof(wide))
        memcpy(wide, source + whole, (n - whole) * sizeof(float))
        store_half(rest, (<const floats*> wide)[0], half)
        memcpy(to + whole, rest, (n - whole) * sizeof(uint16_t))


cdef void widen_halves(const Call* call, const uint16_t* source, Py_ssize_t n, float* to) noexcept nogil:
    if call.half == FLOAT16:
        widen_all(source, n, to, FLOAT16)
    else:
        widen_all(source, n, to, BFLOAT16)


cdef void narrow_halves(const Call* call, const float* source, Py_ssize_t n, uint16_t* to) noexcept nogil:
    if call.half == FLOAT16:
        narrow_all(source, n, to, FLOAT16)
    else:
        narrow_all(source, n, to, BFLOAT16)
