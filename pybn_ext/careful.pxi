# The second look: where the shift was far from the mean, or a square left the type's range.

cdef bint all_equal(const Call* call, const real* values, Py_ssize_t feature, real value) noexcept nogil:
    """Whether each unmasked element of the feature is `value`; stops at the first that is not."""
    cdef Py_ssize_t outer, i, at
    check_range(feature, 1, call.features)
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if values[at + i] != value and (call.keep == NULL or call.keep[outer * call.inner + i]):
                return False
    return True


cdef void careful_sums(
    const Call* call, const real* x, Py_ssize_t feature, double origin, double centre, double* first, double* second
) noexcept nogil:
    """Sums of d and d^2, or of dy and dy d, for d = (x - origin) - centre, all in compensated float64."""
    cdef const real* dy = <const real*> call.dy
    cdef Total one, two
    cdef Py_ssize_t outer, i, at
    cdef double d, factor
    check_range(feature, 1, call.features)
    one.plain = one.lost = two.plain = two.lost = 0
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if call.keep != NULL and not call.keep[outer * call.inner + i]:
                continue
            d = (<double> x[at + i] - origin) - centre
            factor = d if dy == NULL else <double> dy[at + i]
            add(&one, factor)
            add(&two, factor * d)
    first[0] = value_of(&one)
    second[0] = value_of(&two)


cdef void careful_moments(
    const Call* call, const real* x, Py_ssize_t feature, double* mean, double* variance, double* low
) noexcept nogil:
    """Mean and variance of one feature: its first element subtracted, centred, and what rounding left corrected."""
    cdef double origin = x[element(call, feature, next_kept(call, 0))]
    cdef double first, second, centre
    careful_sums(call, x, feature, origin, 0, &first, &second)
    centre = first / call.count
    careful_sums(call, x, feature, origin, centre, &first, &second)
    variance[0] = (second - first * (first / call.count)) / call.count
    if first == first:
        centre += first / call.count
    mean[0] = origin + centre
    low[0] = (origin - mean[0]) + centre
