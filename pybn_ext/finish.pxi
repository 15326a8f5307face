# Between sums and results: a few constants for each feature, in float64.

# Squared distance of shift and mean, in variances, from which the sums are taken again.  The rounding of
# the squares' sum counts 1 + distance times: in float64, where nothing wider hides it, 4 left 4.5 units in
# the variance of ten elements.  Data of two values, half and half, lie at 1.
cdef inline double far(real any) noexcept nogil:
    return 4 if real is float else 1.5


cdef void finish_moments(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, const real* shift
) noexcept nogil:
    """Mean and variance of each feature from its sums around `shift` (one for each of these features)."""
    # Squares of float32 below 1e-38 vanish; 1e-30 leaves their sum 24 digits in front of that.
    cdef double least = 1e-30 if real is float else 1e-280
    cdef double n = call.count
    cdef double distance, variance, mean
    cdef Py_ssize_t c, i
    cdef Py_ssize_t doubtful = 0
    for i in range(features):
        c = feature + i
        distance = call.first[c] / n
        variance = call.second[c] / n - distance * distance
        mean = shift[i] + distance
        call.mean[c] = mean
        call.variance[c] = variance
        call.low[c] = (shift[i] - mean) + distance
        doubtful += not (distance * distance <= far(shift[0]) * variance and variance >= least and variance <= DBL_MAX)
    if doubtful:
        for i in range(features):
            c = feature + i
            distance = call.first[c] / n
            variance = call.variance[c]
            if distance * distance <= far(shift[0]) * variance and variance >= least and variance <= DBL_MAX:
                continue
            # Features that are constant are common (dead units), and cost a glance instead of two careful passes.
            if not (call.first[c] == 0 and call.second[c] == 0 and all_equal(call, x, c, shift[i])):
                careful_moments(call, x, c)


cdef inline double inverse_deviation(double variance, double epsilon) noexcept nogil:
    """1 / sqrt(variance + epsilon); 0 where that is 1 / 0, so that y is the offset and dx is 0."""
    return 0.0 if variance + epsilon == 0 else 1 / sqrt(variance + epsilon)


cdef void finish_gradient_sums(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features
) noexcept nogil:
    """doffset and dscale: sum of dy, and of dy (x - mean) / deviation; taken again where float32 could not hold it."""
    cdef double least = 1e-30 if real is float else 1e-280
    cdef double n = call.count
    cdef double rounded
    cdef Py_ssize_t c
    for c in range(feature, feature + features):
        rounded = <real> call.mean[c]
        call.second[c] += (rounded - call.mean[c]) * call.first[c]
        if not (
            (call.variance[c] >= least or (call.variance[c] == 0 and call.second[c] == 0))
            and (fabs(call.second[c]) >= least * n or call.variance[c] == 0)
            and fabs(call.second[c]) <= DBL_MAX
            and fabs(call.first[c]) <= DBL_MAX
        ) and not (call.first[c] == 0 and call.second[c] == 0 and all_equal(call, <const real*> call.dy, c, 0)):
            careful_sums(call, x, c, call.mean[c], 0, &call.first[c], &call.second[c])
        call.second[c] *= inverse_deviation(call.variance[c], call.epsilon)


cdef void finish_table(const Call* call, Py_ssize_t feature, Py_ssize_t features, bint rounded) noexcept nogil:
    """The constants of the write.  Forward: y = (x - t0) t1 + t2.  Gradient: dx = ((dy - t3) - (x - t0) t2) t1.

    `rounded`: t0 will be rounded to float32, and t2 or t3 pays that back.
    """
    cdef double* t0 = call.table
    cdef double* t1 = t0 + call.features
    cdef double* t2 = t1 + call.features
    cdef double* t3 = t2 + call.features
    cdef double n = call.count
    cdef double inverse, low
    cdef Py_ssize_t c
    for c in range(feature, feature + features):
        inverse = inverse_deviation(call.variance[c], call.epsilon)
        t0[c] = <float> call.mean[c] if rounded else call.mean[c]
        low = (call.mean[c] - t0[c]) + call.low[c]
        t1[c] = inverse if call.scale == NULL else call.scale[c] * inverse
        if not is_gradient(call):
            t2[c] = (0.0 if call.offset == NULL else call.offset[c]) - low * t1[c]
        if call.operation == GRADIENT:
            t2[c] = inverse * (call.second[c] / n)
            t3[c] = call.first[c] / n - low * t2[c]
        elif call.operation == INFERENCE_GRADIENT:
            t0[c] = t2[c] = t3[c] = 0


cdef bint leaves_float32(const Call* call, Py_ssize_t feature, Py_ssize_t features) noexcept nogil:
    """Whether a constant, or x - mean, may be outside float32's normal range."""
    cdef const double* t0 = call.table
    cdef const double* t1 = t0 + call.features
    cdef const double* t2 = t1 + call.features
    cdef double n = call.count
    cdef Py_ssize_t c
    cdef Py_ssize_t outside = 0
    for c in range(feature, feature + features):
        outside += fabs(t0[c]) > 1e30  # from here on x - mean may overflow where x does not
        outside += call.variance[c] * n > 1e76
        outside += fabs(t1[c]) > 1e37
        outside += fabs(t1[c]) < FLT_MIN and t1[c] != 0
        outside += fabs(t2[c]) > 1e37
        outside += fabs(t2[c]) < FLT_MIN and t2[c] != 0
    return outside > 0
