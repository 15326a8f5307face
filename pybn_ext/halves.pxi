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
    #define pybn_load_bfloat16(from) \
        ((pybn_floats) _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) (from))), 16))
    static inline void pybn_store_bfloat16(uint16_t *to, pybn_floats value) {
        __m512i bits = (__m512i) value, odd = _mm512_and_epi32(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        __mmask16 nan = _mm512_cmp_ps_mask((__m512) value, (__m512) value, _CMP_UNORD_Q);
        up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
        _mm256_storeu_si256((__m256i *) to, _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
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


cdef inline void normalize_all(
    const uint16_t* x, Py_ssize_t n, const float* table, Py_ssize_t reach, Py_ssize_t step, uint16_t* y, Half half
) noexcept nogil:
    """y = (x - mean) a + b; `step` is 1, or 0 where the constants are the same for each: a register of each then."""
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef Py_ssize_t whole = n // width * width
    cdef const floats* mean = <const floats*> table
    cdef const floats* a = <const floats*> (table + reach)
    cdef const floats* b = <const floats*> (table + 2 * reach)
    cdef uint16_t rest[SPARE]
    cdef float constants[3 * SPARE]
    cdef Py_ssize_t i, j
    for j in range(n // width):
        store_half(y + j * width, (load_half(x + j * width, half) - mean[step * j]) * a[step * j] + b[step * j], half)
    if whole < n:
        memset(rest, 0, sizeof(rest))
        memcpy(rest, x + whole, (n - whole) * sizeof(uint16_t))
        if step:
            memset(constants, 0, sizeof(constants))
            for i in range(3):
                memcpy(<float*> constants + i * SPARE, table + i * reach + whole, (n - whole) * sizeof(float))
            mean = <floats*> constants
            a = <floats*> (<float*> constants + SPARE)
            b = <floats*> (<float*> constants + 2 * SPARE)
        store_half(rest, (load_half(rest, half) - mean[0]) * a[0] + b[0], half)
        memcpy(y + whole, rest, (n - whole) * sizeof(uint16_t))


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


cdef void normalize_halves(
    const Call* call, const uint16_t* x, Py_ssize_t n, const float* table, Py_ssize_t reach, Py_ssize_t step,
    uint16_t* y
) noexcept nogil:
    if call.half == FLOAT16 and step:
        normalize_all(x, n, table, reach, 1, y, FLOAT16)
    elif call.half == FLOAT16:
        normalize_all(x, n, table, reach, 0, y, FLOAT16)
    elif step:
        normalize_all(x, n, table, reach, 1, y, BFLOAT16)
    else:
        normalize_all(x, n, table, reach, 0, y, BFLOAT16)
