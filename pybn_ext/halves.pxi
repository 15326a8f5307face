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
    /* In the upper half of each word. */
    static inline __m512i pybn_rounded_bfloat16(pybn_floats value) {
        __m512i bits = (__m512i) value, up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        __mmask16 nan = _mm512_cmp_ps_mask((__m512) value, (__m512) value, _CMP_UNORD_Q);
        __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
        up = _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
        return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    }
    static inline void pybn_store_bfloat16(uint16_t *to, pybn_floats value) {
        __m512i words = _mm512_srli_epi32(pybn_rounded_bfloat16(value), 16);
        _mm256_storeu_si256((__m256i *) to, _mm512_cvtepi32_epi16(words));
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
    """Two registers, one behind the other."""
    if half == FLOAT16:
        store_float16(to, value)
        store_float16(to + elements(<floats*> NULL), next_)
    else:
        store_two_bfloat16(to, value, next_)


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
    for j in range(n // (2 * width)):
        store_two(to + 2 * j * width, (<const floats*> source)[2 * j], (<const floats*> source)[2 * j + 1], half)
    if n // width % 2:
        store_half(to + whole - width, (<const floats*> source)[n // width - 1], half)
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


# --- the numbers of a call, wherever they are --------------------------------------------------

cdef enum:
    HANDFUL = 256  # elements that are taken from memory at once, at the most

cdef inline Py_ssize_t place_of(const Call* call, Py_ssize_t at) noexcept nogil:
    """Where in memory element `at` of a part is."""
    if call.together == call.next_stretch:  # spared: a division
        return at
    return at // call.together * call.next_stretch + at % call.together


cdef inline const real* seek_element(const Call* call, const real* values, Py_ssize_t at) noexcept nogil:
    """Where element `at` of x or dy begins; of 16 bits, too, whatever the pointer is called.  NULL where there is none.
    """
    if values == NULL:
        return NULL
    if real is float:
        if call.half != NEITHER:
            return <const real*> (<const uint16_t*> values + place_of(call, at))
    return values + at


cdef inline real value_at(const Call* call, const real* values, Py_ssize_t at) noexcept nogil:
    if real is float:
        if call.half == FLOAT16:
            return one_float16((<const uint16_t*> values)[place_of(call, at)])
        if call.half == BFLOAT16:
            return one_bfloat16((<const uint16_t*> values)[place_of(call, at)])
    return values[at]


cdef inline const float* taken(
    const Call* call, const float* values, Py_ssize_t at, Py_ssize_t n, float* room
) noexcept nogil:
    """Elements that lie together: as they lie there, or from 16 bits in `room`."""
    if call.half == NEITHER:
        return values + at
    check_range(at, n, size_of(call))
    widen_halves(call, <const uint16_t*> values + place_of(call, at), n, room)
    return room


cdef inline void copy_few(
    const Call* call, const real* values, Py_ssize_t at, Py_ssize_t n, real* to
) noexcept nogil:
    """Elements that lie together."""
    if real is float:
        if call.half != NEITHER:
            widen_halves(call, <const uint16_t*> values + place_of(call, at), n, to)
            return
    memcpy(to, values + at, n * sizeof(real))


cdef void pick(
    const Call* call, const real* values, Py_ssize_t at, Py_ssize_t n, Py_ssize_t step, real* to
) noexcept nogil:
    """At most HANDFUL of 16 bits, `step` apart."""
    cdef uint16_t some[HANDFUL]
    cdef const uint16_t* halves_ = <const uint16_t*> values + place_of(call, at)
    cdef Py_ssize_t j
    check_range(0, n, HANDFUL)
    check_range(at, (n - 1) * step + 1, size_of(call))
    for j in range(n):
        some[j] = halves_[j * step]
    if real is float:
        widen_halves(call, some, n, to)


cdef void put_halves(
    const Call* call, const float* values, Py_ssize_t at, Py_ssize_t n, const unsigned char* wanted
) noexcept nogil:
    """Results of at most HANDFUL elements that lie together; of those that are wanted, or all where that is NULL."""
    cdef uint16_t some[HANDFUL]
    cdef uint16_t* y = <uint16_t*> call.y + place_of(call, at)
    cdef Py_ssize_t j
    check_range(0, n, HANDFUL)
    check_range(at, n, size_of(call))
    if wanted == NULL:
        narrow_halves(call, values, n, y)
        return
    narrow_halves(call, values, n, some)
    for j in range(n):
        y[j] = some[j] if wanted[j] else y[j]


# --- results of 16 bits -----------------------------------------------------------------------

cdef inline floats result_of(
    const uint16_t* x, const uint16_t* dy, floats mean, floats a, floats b, floats centre, Half half, bint gradient
) noexcept nogil:
    """y = (x - mean) a + b, or dx = ((dy - centre) - (x - mean) b) a."""
    if gradient:
        return ((load_half(dy, half) - centre) - (load_half(x, half) - mean) * b) * a
    return (load_half(x, half) - mean) * a + b


cdef inline void write_half_columns(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
    const float* table, Py_ssize_t reach, Py_ssize_t step, Half half, bint gradient
) noexcept nogil:
    """Whole registers of some rows, which share what is loaded of the table."""
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef floats m0, m1, a0, a1, b0, b1, c0, c1
    cdef const float* here
    cdef Py_ssize_t j = 0, row, at
    while j < columns:
        here = table + step * j * width
        m0, a0, b0 = (<const floats*> here)[0], (<const floats*> (here + reach))[0], (<const floats*> (here + 2 * reach))[0]
        c0 = (<const floats*> (here + 3 * reach))[0] if gradient else m0
        if j + 1 == columns:
            for row in range(rows):
                at = row * stride + j * width
                store_half(y + at, result_of(x + at, dy + at, m0, a0, b0, c0, half, gradient), half)
            return
        here += step * width
        m1, a1, b1 = (<const floats*> here)[0], (<const floats*> (here + reach))[0], (<const floats*> (here + 2 * reach))[0]
        c1 = (<const floats*> (here + 3 * reach))[0] if gradient else m1
        for row in range(rows):
            at = row * stride + j * width
            store_two(
                y + at,
                result_of(x + at, dy + at, m0, a0, b0, c0, half, gradient),
                result_of(x + at + width, dy + at + width, m1, a1, b1, c1, half, gradient),
                half
            )
        j += 2


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
    write_half_columns(
        some, <uint16_t*> some + SPARE, some, 0, 1, 1, <const float*> constants, SPARE, 0, half, gradient
    )
    memcpy(y, some, n * sizeof(uint16_t))


cdef inline void write_half_row(
    const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n,
    const float* table, Py_ssize_t reach, Py_ssize_t step, Half half, bint gradient
) noexcept nogil:
    """One row, or several at once."""
    cdef Py_ssize_t width = elements(<floats*> NULL)
    cdef Py_ssize_t rest = n % width
    cdef Py_ssize_t row, at
    write_half_columns(x, dy, y, stride, rows, n // width, table, reach, step, half, gradient)
    if rest:
        for row in range(rows):
            at = row * stride + n - rest
            write_half_rest(
                x + at, dy + at, y + at, rest, table + step * (n - rest), reach, step, half, gradient
            )


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
    Py_ssize_t n, const float* table, Py_ssize_t reach
) noexcept nogil:
    """Rows of n lanes, `stride` apart, with a constant for each lane; dx where there is a dy, which is apart from it."""
    if call.half == FLOAT16 and dy != NULL:
        write_half_rows_of(x, dy, y, stride, rows, n, table, reach, FLOAT16, True)
    elif call.half == FLOAT16:
        write_half_rows_of(x, x, y, stride, rows, n, table, reach, FLOAT16, False)
    elif dy != NULL:
        write_half_rows_of(x, dy, y, stride, rows, n, table, reach, BFLOAT16, True)
    else:
        write_half_rows_of(x, x, y, stride, rows, n, table, reach, BFLOAT16, False)


cdef void write_half_run(
    const Call* call, const uint16_t* x, const uint16_t* dy, uint16_t* y, Py_ssize_t n, const float* table,
    Py_ssize_t reach
) noexcept nogil:
    """As `write_half_rows`, elements of one feature: a register of each constant."""
    if call.half == FLOAT16 and dy != NULL:
        write_half_row(x, dy, y, 0, 1, n, table, reach, 0, FLOAT16, True)
    elif call.half == FLOAT16:
        write_half_row(x, x, y, 0, 1, n, table, reach, 0, FLOAT16, False)
    elif dy != NULL:
        write_half_row(x, dy, y, 0, 1, n, table, reach, 0, BFLOAT16, True)
    else:
        write_half_row(x, x, y, 0, 1, n, table, reach, 0, BFLOAT16, False)
