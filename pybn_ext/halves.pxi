# Numbers of 16 bits.  Nothing is computed in them: they become float32 a stretch at a time, exactly, and what is
# computed becomes one of them again, rounded to the nearest, halves to even.  By the processor's own instructions where
# the level has them, else by integers; the bits are the same.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint32_t pybn_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
    static inline float pybn_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }

    static inline float pybn_from_float16(uint16_t half) {
        uint32_t rest = half & 0x7fffu;
        uint32_t bits = pybn_bits(pybn_float(rest << 13) * 5.192296858534828e33f);  /* 2^112: the exponents' distance */
        bits = rest >= 0x7c00u ? 0x7f800000u | rest << 13 | (rest > 0x7c00u) << 22 : bits;
        return pybn_float(bits | (uint32_t) (half & 0x8000u) << 16);
    }
    static inline uint16_t pybn_to_float16(float value) {
        uint32_t bits = pybn_bits(value), sign = bits >> 16 & 0x8000u;
        uint32_t rest = bits & 0x7fffffffu;
        uint32_t normal = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1)) >> 13;
        uint32_t tiny = pybn_bits(pybn_float(rest) + 0.5f) - 0x3f000000u;  /* the last digit of .5 is 2^-24 */
        uint32_t half = rest < 0x38800000u ? tiny : normal;
        half = rest >= 0x477ff000u ? 0x7c00u : half;
        half = rest > 0x7f800000u ? 0x7e00u | (rest >> 13 & 0x3ffu) : half;
        return (uint16_t) (half | sign);
    }
    static inline uint16_t pybn_to_bfloat16(float value) {
        uint32_t bits = pybn_bits(value);
        uint32_t nearest = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        return (uint16_t) ((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : nearest);
    }

    #if defined(PYBN_VECTORS) && defined(__AVX512F__)
    #define PYBN_SIXTEEN 16
    #define pybn_load_halves(from) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (from)))
    #define pybn_store_floats(to, value) _mm512_storeu_ps(to, value)
    #define pybn_store_halves(to, from) _mm256_storeu_si256((__m256i *) (to), _mm512_cvtps_ph(_mm512_loadu_ps(from), 8))
    #elif defined(PYBN_VECTORS) && defined(__F16C__)
    #define PYBN_SIXTEEN 8
    #define pybn_load_halves(from) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (from)))
    #define pybn_store_floats(to, value) _mm256_storeu_ps(to, value)
    #define pybn_store_halves(to, from) _mm_storeu_si128((__m128i *) (to), _mm256_cvtps_ph(_mm256_loadu_ps(from), 8))
    #endif

    static void pybn_widen_float16(const uint16_t *from, Py_ssize_t n, float *to) {
        Py_ssize_t i = 0;
    #if defined(PYBN_SIXTEEN)
        for (; i + PYBN_SIXTEEN <= n; i += PYBN_SIXTEEN) pybn_store_floats(to + i, pybn_load_halves(from + i));
    #endif
        for (; i < n; i++) to[i] = pybn_from_float16(from[i]);
    }
    static void pybn_narrow_float16(const float *from, Py_ssize_t n, uint16_t *to) {
        Py_ssize_t i = 0;
    #if defined(PYBN_SIXTEEN)
        for (; i + PYBN_SIXTEEN <= n; i += PYBN_SIXTEEN) pybn_store_halves(to + i, from + i);
    #endif
        for (; i < n; i++) to[i] = pybn_to_float16(from[i]);
    }
    static void pybn_widen_bfloat16(const uint16_t *from, Py_ssize_t n, float *to) {
        Py_ssize_t i;
        for (i = 0; i < n; i++) to[i] = pybn_float((uint32_t) from[i] << 16);
    }
    static void pybn_narrow_bfloat16(const float *from, Py_ssize_t n, uint16_t *to) {
        Py_ssize_t i;
        for (i = 0; i < n; i++) to[i] = pybn_to_bfloat16(from[i]);
    }

    /* What float32 has not, as the one of its two neighbours whose last digit is 1 (Boldo 2008): it is never half way
       between two numbers of 16 bits, so that these are rounded to once. */
    static inline double pybn_to_odd(double value) {
        float near = (float) value;
        double size = value < 0 ? -value : value, found = near < 0 ? -(double) near : near;
        uint32_t bits = pybn_bits(near);
        if (found > size) bits = (bits - 1) | 1;
        else if (found < size) bits |= 1;
        return pybn_float(bits);
    }
    """
    void widen_float16 "pybn_widen_float16"(const uint16_t* source, Py_ssize_t n, float* to) noexcept nogil
    void narrow_float16 "pybn_narrow_float16"(const float* source, Py_ssize_t n, uint16_t* to) noexcept nogil
    void widen_bfloat16 "pybn_widen_bfloat16"(const uint16_t* source, Py_ssize_t n, float* to) noexcept nogil
    void narrow_bfloat16 "pybn_narrow_bfloat16"(const float* source, Py_ssize_t n, uint16_t* to) noexcept nogil
    double to_odd "pybn_to_odd"(double value) noexcept nogil


cdef inline void widen_halves(const Call* call, const uint16_t* source, Py_ssize_t n, float* to) noexcept nogil:
    if call.half == FLOAT16:
        widen_float16(source, n, to)
    else:
        widen_bfloat16(source, n, to)


cdef inline void narrow_halves(const Call* call, const float* source, Py_ssize_t n, uint16_t* to) noexcept nogil:
    if call.half == FLOAT16:
        narrow_float16(source, n, to)
    else:
        narrow_bfloat16(source, n, to)
