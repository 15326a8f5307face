# Between sums and results: a few constants for each feature, in float64.  Each loop is one that the compiler turns
# into vectors: no early exit, conditions counted instead of branched on, pointers that it may take for apart.  With
# thousands of features of few elements these loops are a third of the work.

cdef inline double* in_float64(const Given* given, Py_ssize_t begin, Py_ssize_t number, double* room) noexcept nogil:
    """What was given of some features: as it lies there, or a copy in `room`."""
    cdef const float* values = <const float*> given.values + begin
    cdef apart_from_others copy = room
    cdef Py_ssize_t c
    if given.values == NULL:
        return NULL
    if not given.single:
        return <double*> given.values + begin
    for c in range(number):
        copy[c] = values[c]
    return room


cdef void take_features(
    const Call* call, Py_ssize_t begin, Py_ssize_t number, double* room, Features* f
) noexcept nogil:
    """Fill in what is known before any sum; `room` for PER_FEATURE float64s each."""
    check_range(begin, number, call.features)
    f.begin = begin
    f.number = number
    f.scale = in_float64(&call.scale, begin, number, room)
    f.offset = in_float64(&call.offset, begin, number, room + number)
    f.mean = in_float64(&call.mean, begin, number, room + 2 * number)
    f.variance = in_float64(&call.variance, begin, number, room + 3 * number)
    f.inverse = room + 4 * number
    f.low = room + 5 * number
    f.first = room + 6 * number
    f.second = room + 7 * number
    f.doubt = room + 8 * number
    f.table = room + 9 * number
    f.reach = number
    memset(f.low, 0, number * sizeof(double))


cdef inline Py_ssize_t group_of(const Call* call, Py_ssize_t part, const Features* all_, Features* some) noexcept nogil:
    """One of the groups that threads share; the place in `all_` of its first feature."""
    cdef Py_ssize_t begin = first_of_group(call, part)
    some[0] = all_[0]
    some.begin = all_.begin + begin
    some.number = first_of_group(call, part + 1) - begin
    check_range(begin, some.number, all_.number)
    move_on(some, begin)
    some.table += begin
    return begin


cdef inline void move_on(Features* f, Py_ssize_t begin) noexcept nogil:
    """To what is known of the features from `begin` on."""
    if f.scale != NULL:
        f.scale += begin
    if f.offset != NULL:
        f.offset += begin
    f.mean += begin
    f.variance += begin
    f.inverse += begin
    f.low += begin
    f.first += begin
    f.second += begin
    f.doubt += begin


cdef inline Py_ssize_t first_of_group(const Call* call, Py_ssize_t part) noexcept nogil:
    return smaller(part * TILE_FEATURES, call.features)


cdef inline Py_ssize_t groups(const Call* call) noexcept nogil:
    return (call.features + TILE_FEATURES - 1) // TILE_FEATURES


cdef void give(const double* values, Py_ssize_t begin, Py_ssize_t number, const Given* to) noexcept nogil:
    """Results of some features to where they belong."""
    cdef float* target = <float*> to.values + begin
    cdef Py_ssize_t c
    if to.values == NULL:
        return
    if not to.single:
        memcpy(<double*> to.values + begin, values, number * sizeof(double))
        return
    for c in range(number):
        target[c] = <float> values[c]


cdef inline double smallest_square(real any) noexcept nogil:
    """Squares of float32 below 1e-38 vanish; 1e-30 leaves their sum 24 digits in front of that."""
    return 1e-30 if real is float else 1e-280


# Squared distance of shift and mean, in variances, from which the sums are taken again: the rounding of the squares'
# sum counts 1 + distance times.  Behind few elements it is felt: of 5000 features of 64 float32 elements, one lost 7
# units with 4, one 4.1 with 1.  Behind many the roundings even out, but for elements that are all the same: with 4,
# 1568 of which 98 % were 0 left 9.  The shift is that far in one feature of 400 at 0.5, in one of five million at 1.5.
cdef inline double far(double n) noexcept nogil:
    if n < 1024:
        return 0.5
    return 1.5


cdef inline int doubtful_moments(double distance, double variance, double far_off, real shift) noexcept nogil:
    """Whether the shift was far from the mean, or a square left the type's range; so is NaN."""
    return (
        (not (distance * distance <= far_off * variance))
        | (not (variance >= smallest_square(shift)))
        | (not (variance <= DBL_MAX))
    )


cdef bint finish_moments(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """Mean and variance of each feature from its sums around `shift` (one for each of these features).

    Whether some of them are in doubt.
    """
    cdef apart_from_others first = f.first
    cdef apart_from_others second = f.second
    cdef apart_from_others mean = f.mean
    cdef apart_from_others variance = f.variance
    cdef apart_from_others low = f.low
    cdef double n = call.count
    cdef double far_off = far(n)
    cdef double distance
    cdef Py_ssize_t c
    cdef Py_ssize_t doubtful = 0
    for c in range(f.number):
        distance = first[c] / n
        variance[c] = second[c] / n - distance * distance
        mean[c] = shift[c] + distance
        low[c] = (shift[c] - mean[c]) + distance
        doubtful += doubtful_moments(distance, variance[c], far_off, shift[c])
    return doubtful > 0


cdef void finish_doubtful_moments(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """Once more, where the sums around `shift` say little; with 1 / deviation."""
    cdef double n = call.count
    cdef double far_off = far(n)
    cdef Py_ssize_t c
    if call.count <= FEW_ELEMENTS:  # it is numbers that cannot be squared that are left
        for c in range(f.number):
            if not (f.variance[c] >= smallest_square(shift[0])) or not (f.variance[c] <= DBL_MAX):
                careful_moments(call, x, f, c)
        return
    for c in range(f.number):
        # Features that are constant are common (dead units), and cost a glance instead of two careful passes.
        f.doubt[c] = doubtful_moments(f.first[c] / n, f.variance[c], far_off, shift[c]) and not (
            f.first[c] == 0 and (f.second[c] == 0) and all_equal(call, x, f.begin + c, shift[c])
        )
    look_again(call, x, f)
    for c in range(f.number):
        if f.doubt[c] != 0 and not (1e-280 <= f.variance[c] <= DBL_MAX):
            careful_moments(call, x, f, c)


cdef void finish_inverse(const Call* call, const Features* f) noexcept nogil:
    cdef apart_from_others variance = f.variance
    cdef apart_from_others inverse = f.inverse
    cdef double epsilon = call.epsilon
    cdef Py_ssize_t c
    for c in range(f.number):
        inverse[c] = inverse_of(variance[c], epsilon)


cdef inline int doubtful_gradient(double first, double second, double variance, double n, real any) noexcept nogil:
    """Whether a product may have left the type's range, so that the sums say little; so is NaN."""
    cdef double least = smallest_square(any)
    cdef int flat = variance == 0
    return (
        (not ((variance >= least) | (flat & (second == 0))))
        | (not ((fabs(second) >= least * n) | flat))
        | (not (fabs(second) <= DBL_MAX))
        | (not (fabs(first) <= DBL_MAX))
    )


cdef void finish_gradient_sums(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """doffset and dscale: sum of dy, and of dy (x - mean) / deviation; taken again where the type could not hold it."""
    cdef apart_from_others first = f.first
    cdef apart_from_others second = f.second
    cdef apart_from_others mean = f.mean
    cdef apart_from_others variance = f.variance
    cdef apart_from_others inverse = f.inverse
    cdef double unit, n = call.count
    cdef Py_ssize_t c
    cdef Py_ssize_t doubtful = 0
    if not (real is float and call.widened):
        for c in range(f.number):
            second[c] += (<double> shift[c] - mean[c]) * first[c]
        if not may_cancel(call):  # else they are taken again where that is in doubt
            for c in range(f.number):
                doubtful += doubtful_gradient(first[c], second[c], variance[c], n, <real> 0)
    if doubtful:
        for c in range(f.number):
            if doubtful_gradient(first[c], second[c], variance[c], n, <real> 0) and not (
                first[c] == 0 and second[c] == 0 and all_equal(call, <const real*> call.dy, f.begin + c, <real> 0)
            ):
                # Of 1e200 and 1e150 the product is no float64, but dscale is.
                unit = unit_of(call, x, f.begin + c, fabs(mean[c]), False)
                careful_sums(call, x, f.begin + c, mean[c] / unit, unit, &first[c], &second[c])
                second[c] *= unit * inverse[c]
            else:
                second[c] *= inverse[c]
    else:
        for c in range(f.number):
            second[c] *= inverse[c]
    give(second, f.begin, f.number, &call.dscale)
    give(first, f.begin, f.number, &call.doffset)


cdef void take_gradient_sums(const Call* call, const Features* f) noexcept nogil:
    """As `finish_gradient_sums`, where doffset and dscale of the whole batch were given."""
    memcpy(f.first, <const double*> call.doffset.values + f.begin, f.number * sizeof(double))
    memcpy(f.second, <const double*> call.dscale.values + f.begin, f.number * sizeof(double))


cdef void take_origin(const Call* call, const Features* f, const real* shift, bint exact) noexcept nogil:
    """t0, what is taken from each x: the mean, or so few digits of it that a float32 holds them.

    A gradient takes its shift, from which x is exact: with the mean rounded, many times as many features with an
    outlier had more than 4 units of dx.
    """
    cdef apart_from_others t0 = f.table
    cdef Py_ssize_t c
    if exact:
        memcpy(t0, f.mean, f.number * sizeof(double))
    elif call.operation == GRADIENT:
        for c in range(f.number):
            t0[c] = shift[c]
    else:
        for c in range(f.number):
            t0[c] = <float> f.mean[c]


cdef inline double finite_or_0(double value) noexcept nogil:
    """Of an infinite mean or scale nothing is to be paid back; (x - t0) t1 is infinite, or NaN, by itself."""
    return value if fabs(value) <= DBL_MAX else 0.0


cdef void finish_table(const Call* call, const Features* f) noexcept nogil:
    """The constants of the write.  Forward: y = (x - t0) t1 + t2.  Gradient: dx = ((dy - t3) - (x - t0) t2) t1.

    What t0 is off the mean, t2 or t3 pays back.
    """
    cdef apart_from_others t0 = f.table
    cdef apart_from_others t1 = f.table + f.reach
    cdef apart_from_others t2 = f.table + 2 * f.reach
    cdef apart_from_others t3 = f.table + 3 * f.reach
    cdef apart_from_others mean = f.mean
    cdef apart_from_others low = f.low
    cdef apart_from_others inverse = f.inverse
    cdef apart_from_others first = f.first
    cdef apart_from_others second = f.second
    cdef const double* scale = f.scale
    cdef const double* offset = f.offset
    cdef double n = call.count
    cdef Py_ssize_t c
    if scale == NULL:
        memcpy(t1, inverse, f.number * sizeof(double))
    else:
        for c in range(f.number):
            t1[c] = scale[c] * inverse[c]
    if has_all_terms(call):
        for c in range(f.number):
            t2[c] = inverse[c] * (second[c] / n)
        for c in range(f.number):  # in one loop with the line above, gcc finds too many pointers and makes no vectors
            # 0 times infinity: a dy that is not finite leaves no dx of its feature.
            t3[c] = first[c] / n - ((mean[c] - t0[c]) + low[c]) * t2[c] + 0 * first[c] + 0 * second[c]
    elif call.operation == INFERENCE_GRADIENT:
        memset(t0, 0, f.number * sizeof(double))
        memset(t2, 0, f.number * sizeof(double))
    elif offset == NULL:
        for c in range(f.number):
            t2[c] = 0.0 - finite_or_0(((mean[c] - t0[c]) + low[c]) * t1[c])
    else:
        for c in range(f.number):
            t2[c] = offset[c] - finite_or_0(((mean[c] - t0[c]) + low[c]) * t1[c])


cdef inline int outside(double constant) noexcept nogil:
    """Whether it is neither 0 nor a normal number of float32."""
    return (not (fabs(constant) <= 1e37)) | ((fabs(constant) < FLT_MIN) & (constant != 0))


cdef bint leaves_float32(const Call* call, const Features* f) noexcept nogil:
    """Whether a constant, or x - mean, may be outside float32's normal range."""
    cdef const double* t0 = f.table
    cdef const double* t1 = t0 + f.reach
    cdef const double* t2 = t1 + f.reach
    cdef const double* variance = f.variance
    cdef double n = call.count
    cdef Py_ssize_t c
    cdef Py_ssize_t out = 0
    for c in range(f.number):
        out += fabs(t0[c]) > 1e30  # from here on x - mean may overflow where x does not
        out += variance[c] * n > 1e76
        out += outside(t1[c]) + outside(t2[c])
    return out > 0


cdef bint finish_float32(const Call* call, const Features* f, const float* shift) noexcept nogil:
    """The constants for a write in float32; whether it has to be in double, with other ones."""
    cdef bint in_double
    cdef Py_ssize_t i
    take_origin(call, f, shift, False)
    finish_table(call, f)
    in_double = leaves_float32(call, f)
    if in_double:
        take_origin(call, f, shift, True)
        finish_table(call, f)
    if call.half != NEITHER:
        for i in range(tables(call)):
            plain_nans(f.table + i * f.reach, f.number)
    if may_cancel(call):
        find_least(call, f)
    return in_double


cdef bint finish(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """From the sums of some features to the constants of their write; whether that has to be finished in double."""
    cdef bint doubtful = False
    if call.operation == MOMENTS or call.operation == TRAINING:
        if call.count <= FEW_ELEMENTS:
            few_moments(call, x, f)
            doubtful = real is double
        else:
            doubtful = finish_moments(call, x, f, shift)
    finish_inverse(call, f)
    if doubtful:
        finish_doubtful_moments(call, x, f, shift)
    if call.operation == MOMENTS:
        return False
    if call.operation == GRADIENT_FROM_SUMS:
        take_gradient_sums(call, f)
    elif is_gradient(call):
        memset(f.low, 0, f.number * sizeof(double))  # a trial computes a call again: nothing that it mended stays
        finish_gradient_sums(call, x, f, shift)
    if not has_result(call):
        return False
    if real is float:
        if not call.widened:
            return finish_float32(call, f, shift)
    take_origin(call, f, shift, True)
    finish_table(call, f)
    return real is float
