# The second look: where the shift was far from the mean, or a square left the type's range.  It adds in a `Total`.

cdef struct Total:
    double plain
    double lost


cdef inline void add(Total* total, double value) noexcept nogil:
    """total += value, and what rounding loses is kept (Neumaier 1974)."""
    cdef double after = total.plain + value
    if fabs(total.plain) >= fabs(value):
        total.lost += (total.plain - after) + value
    else:
        total.lost += (value - after) + total.plain
    total.plain = after


cdef inline double value_of(const Total* total) noexcept nogil:
    cdef double both = total.plain + total.lost
    return both if both == both else total.plain  # infinity - infinity in `lost` says nothing


cdef bint all_equal(const Call* call, const real* values, Py_ssize_t feature, real value) noexcept nogil:
    """Whether each unmasked element of the feature is `value`; stops at the first that is not."""
    cdef Py_ssize_t outer, i, at
    check_range(feature, 1, call.features)
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if value_at(call, values, at + i) != value and (call.keep == NULL or call.keep[outer * call.inner + i]):
                return False
    return True


cdef void careful_sums(
    const Call* call, const real* x, Py_ssize_t feature, double origin, double unit, double* first, double* second
) noexcept nogil:
    """Sums of d and d^2, or of dy and dy d, for d = x / unit - origin, all in compensated float64."""
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
            d = <double> value_at(call, x, at + i) / unit - origin
            factor = d if dy == NULL else <double> value_at(call, dy, at + i)
            add(&one, factor)
            add(&two, factor * d)
    first[0] = value_of(&one)
    second[0] = value_of(&two)


cdef double unit_of(const Call* call, const real* x, Py_ssize_t feature, double least, bint near_one) noexcept nogil:
    """A power of two about as large as the feature's largest element, and as `least`; 1 where float64 needs none.

    `near_one`: nor where that element is near 1, whose square is far inside float64's range.
    """
    cdef double largest = least, size
    cdef Py_ssize_t outer, i, at
    if real is double:
        for outer in range(call.outer):
            at = (outer * call.features + feature) * call.inner
            for i in range(call.inner):
                size = fabs(x[at + i])
                if size > largest and (call.keep == NULL or call.keep[outer * call.inner + i]):
                    largest = size
        if largest <= DBL_MAX and largest != 0 and not (near_one and 1e-135 <= largest < 1e135):
            return ldexp(1, ilogb(largest))
    return 1


cdef void careful_moments(const Call* call, const real* x, const Features* f, Py_ssize_t c) noexcept nogil:
    """What is known of one feature: its first element subtracted, its mean subtracted, and what rounding left."""
    cdef double unit = unit_of(call, x, f.begin + c, 0, True)
    cdef double origin = value_at(call, x, element(call, f.begin + c, next_kept(call, 0))) / unit
    cdef double n = call.count
    cdef double first, second, near, rest, variance
    careful_sums(call, x, f.begin + c, origin, unit, &first, &second)
    near = origin + first / n
    # Around the mean itself: where the first element is an outlier, what is left of the others has lost their last
    # digits, all the same ones.
    careful_sums(call, x, f.begin + c, near, unit, &first, &second)
    variance = (second - first * (first / n)) / n
    rest = first / n if first == first else 0
    f.mean[c] = (near + rest) * unit
    f.low[c] = ((near - (near + rest)) + rest) * unit
    f.variance[c] = variance * unit * unit
    f.inverse[c] = inverse_of(variance, call.epsilon / unit / unit) / unit


cdef void few_moments(const Call* call, const real* x, const Features* f) noexcept nogil:
    """Mean and variance of at most FEW_ELEMENTS each, as `careful_moments`.

    So few do not even out what rounding takes of their squares: of four, one variance in float32 lost 4.7 units.
    """
    cdef Py_ssize_t at[FEW_ELEMENTS]
    cdef Py_ssize_t found = 0, position, c, i
    cdef const real* first
    cdef double origin, d, rest, squares, near, n = call.count
    for position in range(call.outer * call.inner):
        if call.keep == NULL or call.keep[position]:
            check_range(found, 1, FEW_ELEMENTS)
            at[found] = element(call, 0, position)
            found += 1
    for c in range(f.number):
        check_range((f.begin + c) * call.inner + at[found - 1], 1, size_of(call))
        first = x + (f.begin + c) * call.inner
        origin = first[at[0]]
        near = rest = squares = 0
        for i in range(1, found):
            near += <double> first[at[i]] - origin
        near = origin + near / n
        for i in range(found):
            d = <double> first[at[i]] - near
            rest += d
            squares += d * d
        f.variance[c] = (squares - rest * (rest / n)) / n
        rest /= n
        f.mean[c] = near + rest
        f.low[c] = (near - f.mean[c]) + rest


cdef inline double inverse_of(double variance, double epsilon) noexcept nogil:
    """1 / sqrt(variance + epsilon); 0 where that is 1 / 0, so that y is the offset and dx is 0."""
    cdef double square = variance + epsilon
    return 0.0 if square == 0 else 1 / sqrt(square)
