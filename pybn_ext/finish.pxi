# Between sums and results: a few constants for each feature, in float64.  Each loop is one that the compiler turns into
# vectors: no early exit, conditions counted instead of branched on, pointers that it may take for apart.  With thousands
# of features of few elements these loops are a third of the work.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define PYBN_APART __restrict
    #else
    #define PYBN_APART __restrict__
    #endif
    typedef double *PYBN_APART pybn_apart;
    """
    ctypedef double* apart_from_others "pybn_apart"


cdef inline double smallest_square(real any) noexcept nogil:
    """Squares of float32 below 1e-38 vanish; 1e-30 leaves their sum 24 digits in front of that."""
    return 1e-30 if real is float else 1e-280


# Squared distance of shift and mean, in variances, from which the sums are taken again.  The rounding of
# the squares' sum counts 1 + distance times: in float64, where nothing wider hides it, 4 left 4.5 units in
# the variance of ten elements.  Data of two values, half and half, lie at 1.
cdef inline double far(real any) noexcept nogil:
    return 4 if real is float else 1.5


cdef inline int doubtful_moments(double distance, double variance, real shift) noexcept nogil:
    """Whether the shift was far from the mean, or a square left the type's range; so is NaN."""
    return (
        (not (distance * distance <= far(shift) * variance))
        | (not (variance >= smallest_square(shift)))
        | (not (variance <= DBL_MAX))
    )


cdef void finish_moments(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, const real* shift
) noexcept nogil:
    """Mean and variance of each feature from its sums around `shift` (one for each of these features)."""
    cdef apart_from_others first = call.first + feature
    cdef apart_from_others second = call.second + feature
    cdef apart_from_others mean = call.mean + feature
    cdef apart_from_others variance = call.variance + feature
    cdef apart_from_others low = call.low + feature
    cdef double n = call.count
    cdef double distance
    cdef Py_ssize_t c
    cdef Py_ssize_t doubtful = 0
    for c in range(features):
        distance = first[c] / n
        variance[c] = second[c] / n - distance * distance
        mean[c] = shift[c] + distance
        low[c] = (shift[c] - mean[c]) + distance
        doubtful += doubtful_moments(distance, variance[c], shift[c])
    if doubtful:
        for c in range(features):
            # Features that are constant are common (dead units), and cost a glance instead of two careful passes.
            if doubtful_moments(first[c] / n, variance[c], shift[c]) and not (
                first[c] == 0 and second[c] == 0 and all_equal(call, x, feature + c, shift[c])
            ):
                careful_moments(call, x, feature + c)


cdef void finish_inverse(const Call* call, Py_ssize_t feature, Py_ssize_t features) noexcept nogil:
    """1 / sqrt(variance + epsilon); 0 where that is 1 / 0, so that y is the offset and dx is 0."""
    cdef apart_from_others variance = call.variance + feature
    cdef apart_from_others inverse = call.inverse + feature
    cdef double epsilon = call.epsilon
    cdef double square
    cdef Py_ssize_t c
    for c in range(features):
        square = variance[c] + epsilon
        inverse[c] = 0.0 if square == 0 else 1 / sqrt(square)


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


cdef void finish_gradient_sums(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features
) noexcept nogil:
    """doffset and dscale: sum of dy, and of dy (x - mean) / deviation; taken again where float32 could not hold it."""
    cdef apart_from_others first = call.first + feature
    cdef apart_from_others second = call.second + feature
    cdef apart_from_others mean = call.mean + feature
    cdef apart_from_others variance = call.variance + feature
    cdef apart_from_others inverse = call.inverse + feature
    cdef double n = call.count
    cdef Py_ssize_t c
    cdef Py_ssize_t doubtful = 0
    for c in range(features):
        second[c] += (<double> <real> mean[c] - mean[c]) * first[c]
        doubtful += doubtful_gradient(first[c], second[c], variance[c], n, <real> 0)
    if doubtful:
        for c in range(features):
            if doubtful_gradient(first[c], second[c], variance[c], n, <real> 0) and not (
                first[c] == 0 and second[c] == 0 and all_equal(call, <const real*> call.dy, feature + c, <real> 0)
            ):
                careful_sums(call, x, feature + c, mean[c], 0, &first[c], &second[c])
    for c in range(features):
        second[c] *= inverse[c]


cdef void finish_table(const Call* call, Py_ssize_t feature, Py_ssize_t features, bint rounded) noexcept nogil:
    """The constants of the write.  Forward: y = (x - t0) t1 + t2.  Gradient: dx = ((dy - t3) - (x - t0) t2) t1.

    `rounded`: t0 will be rounded to float32, and t2 or t3 pays that back.
    """
    cdef apart_from_others t0 = call.table + feature
    cdef apart_from_others t1 = call.table + call.features + feature
    cdef apart_from_others t2 = call.table + 2 * call.features + feature
    cdef apart_from_others t3 = call.table + 3 * call.features + feature
    cdef apart_from_others mean = call.mean + feature
    cdef apart_from_others low = call.low + feature
    cdef apart_from_others inverse = call.inverse + feature
    cdef apart_from_others first = call.first + feature
    cdef apart_from_others second = call.second + feature
    cdef const double* scale = call.scale
    cdef const double* offset = call.offset
    cdef double n = call.count
    cdef Py_ssize_t c
    for c in range(features):
        t0[c] = <float> mean[c] if rounded else mean[c]
    if scale == NULL:
        memcpy(t1, inverse, features * sizeof(double))
    else:
        for c in range(features):
            t1[c] = scale[feature + c] * inverse[c]
    if call.operation == GRADIENT:
        for c in range(features):
            t2[c] = inverse[c] * (second[c] / n)
            t3[c] = first[c] / n - ((mean[c] - t0[c]) + low[c]) * t2[c]
    elif call.operation == INFERENCE_GRADIENT:
        memset(t0, 0, features * sizeof(double))
        memset(t2, 0, features * sizeof(double))
    elif offset == NULL:
        for c in range(features):
            t2[c] = 0.0 - ((mean[c] - t0[c]) + low[c]) * t1[c]
    else:
        for c in range(features):
            t2[c] = offset[feature + c] - ((mean[c] - t0[c]) + low[c]) * t1[c]


cdef inline int outside(double constant) noexcept nogil:
    """Whether it is neither 0 nor a normal number of float32."""
    return (not (fabs(constant) <= 1e37)) | ((fabs(constant) < FLT_MIN) & (constant != 0))


cdef bint leaves_float32(const Call* call, Py_ssize_t feature, Py_ssize_t features) noexcept nogil:
    """Whether a constant, or x - mean, may be outside float32's normal range."""
    cdef const double* t0 = call.table + feature
    cdef const double* t1 = t0 + call.features
    cdef const double* t2 = t1 + call.features
    cdef const double* variance = call.variance + feature
    cdef double n = call.count
    cdef Py_ssize_t c
    cdef Py_ssize_t out = 0
    for c in range(features):
        out += fabs(t0[c]) > 1e30  # from here on x - mean may overflow where x does not
        out += variance[c] * n > 1e76
        out += outside(t1[c]) + outside(t2[c])
    return out > 0
