# The shift: a number near the mean that is taken from each element before it is squared.

cdef enum:
    AT_ONCE = HANDFUL  # features whose shifts are looked for at once


cdef inline real median(real a, real b, real c) noexcept nogil:
    return greater(lesser(a, b), lesser(greater(a, b), c))


cdef inline real grid_of(real any) noexcept nogil:
    """Of which a sum ends in units of about a quarter of a number: 1.5 2^21, or 1.5 2^50."""
    return <real> 3145728.0 if real is float else <real> 1688849860263936.0


cdef void choose_shift(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """Near the mean of each feature: the median of three means of eight elements from everywhere.

    On normal data a quarter of the deviation off; and an outlier spoils only one of the three.  The mean of eight equal
    elements is exact, so what remains of a constant feature is 0.
    """
    cdef real means[3][AT_ONCE]
    cdef real rows[8 * AT_ONCE]
    cdef Py_ssize_t in_rows[8]
    cdef const real* first = x + f.begin * call.inner
    cdef Py_ssize_t begin = 0, n, c, i
    for i in range(8):
        in_rows[i] = i * AT_ONCE
    for i in range(SAMPLES):
        check_range(f.begin * call.inner + call.samples[i], (f.number - 1) * call.inner + 1, size_of(call))
    while begin < f.number:
        n = smaller(AT_ONCE, f.number - begin)
        for i in range(3):
            if real is float and call.half != NEITHER:
                for c in range(8):
                    pick(
                        call, x, (f.begin + begin) * call.inner + call.samples[8 * i + c], n, call.inner,
                        <real*> rows + c * AT_ONCE
                    )
                means_of_eight(<const real*> rows, <const Py_ssize_t*> in_rows, n, 1, <real*> means[i])
            elif call.inner == 1:
                means_of_eight(first, &call.samples[8 * i], n, 1, <real*> means[i])
            else:
                means_of_eight(first, &call.samples[8 * i], n, call.inner, <real*> means[i])
        for c in range(n):
            shift[begin + c] = rough_median(means[0][c], means[1][c], means[2][c])
        begin += n
        first += n * call.inner


cdef inline real rough_median(real a, real b, real c) noexcept nogil:
    """Of three, with few digits: rounded by less than the nearer of the others is away, so that an outlier has no part.

    From it most elements are exact, and squares of those that are often the same, zeros mostly, add up to what they
    are; else all lose the same fraction of a unit: 1568 elements of which 98 % are 0 left 9 units of the variance.
    """
    cdef real middle = median(a, b, c)
    cdef real below = lesser(lesser(a, b), c)
    cdef real above = greater(greater(a, b), c)
    cdef real gap = lesser(middle - below, above - middle) * grid_of(a)
    cdef real rounded = (middle + gap) - gap
    return rounded if rounded == rounded else middle  # where that overflows


cdef inline void means_of_eight(
    const real* x, const Py_ssize_t* at, Py_ssize_t features, Py_ssize_t step, real* means
) noexcept nogil:
    cdef const real* a = x + at[0]
    cdef const real* b = x + at[1]
    cdef const real* c = x + at[2]
    cdef const real* d = x + at[3]
    cdef const real* e = x + at[4]
    cdef const real* f = x + at[5]
    cdef const real* g = x + at[6]
    cdef const real* h = x + at[7]
    cdef real eighth = 0.125
    cdef Py_ssize_t j
    for j in range(features):
        means[j] = eighth * (
            ((a[j * step] + b[j * step]) + (c[j * step] + d[j * step]))
            + ((e[j * step] + f[j * step]) + (g[j * step] + h[j * step]))
        )


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* The mean as a multiple of 2^-digits deviations, or about; by integers and one addition, so that it is vectors. */
    static inline double pybn_coarse(double mean, double variance, int digits) {
        int64_t bits, exponent;
        double grid;
        memcpy(&bits, &variance, 8);
        exponent = ((bits >> 52 & 2047) + 1023) / 2;  /* of the deviation, biased */
        exponent = exponent + 52 - digits;
        bits = exponent << 52 | INT64_C(1) << 51;
        memcpy(&grid, &bits, 8);
        return (mean + grid) - grid;
    }
    """
    # x - mean is then exact where x is far from it.  With all digits of the mean, the elements of one binade all lose
    # the same fraction of a unit: times the sum of dy, that was 14 units of dscale for 4096 elements, and grows.
    double coarse "pybn_coarse"(double mean, double variance, int digits) noexcept nogil


cdef void shift_features(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """The shift of each feature: near the mean for the moments, the mean with fewer digits for the gradient."""
    cdef Py_ssize_t c
    if not is_gradient(call):
        choose_shift(call, x, f, shift)
        return
    for c in range(f.number):
        shift[c] = <real> coarse(f.mean[c], f.variance[c], 12 if real is float else 46)
