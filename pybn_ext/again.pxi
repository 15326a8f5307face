# The second look at the moments of features whose sums said little: in float64 around the mean that they gave, sixteen
# lanes for a feature, whatever its layout.  Sums of float64 are compensated; plain ones of float32 lose nothing that
# counts.

cdef enum:
    LOOKED_AT = 128  # rows of adjacent features that are looked at before the next: their cache lines are shared

cdef struct Looks:  # the sums of sixteen lanes, and what rounding took of them
    double first[SPARE]
    double first_lost[SPARE]
    double second[SPARE]
    double second_lost[SPARE]


cdef inline void add_to_lanes(const double* values, double* sums, double* lost, bint plain) noexcept nogil:
    """As `flush`, of SPARE lanes."""
    cdef double after, taken_
    cdef Py_ssize_t j
    for j in range(SPARE):
        after = sums[j] + values[j]
        if not plain:
            taken_ = after - sums[j]
            lost[j] += (sums[j] - (after - taken_)) + (values[j] - taken_)
        sums[j] = after


cdef inline void take_up(
    const Call* call, const real* x, Py_ssize_t at, Py_ssize_t step, Py_ssize_t n, const unsigned char* keep,
    double mean, Looks* looks
) noexcept nogil:
    """At most SPARE elements, `step` apart, each in its lane; where `keep` is not NULL, those whose byte is not 0."""
    cdef double d[SPARE]
    cdef double squares[SPARE]
    cdef Py_ssize_t j
    check_range(at, (n - 1) * step + 1, size_of(call))
    check_range(0, n, SPARE)
    if n == SPARE and step == 1 and call.half == NEITHER:  # to the compiler numbers
        for j in range(SPARE):
            d[j] = <double> x[at + j] - mean
    elif n == SPARE:
        for j in range(SPARE):
            d[j] = <double> value_at(call, x, at + j * step) - mean
    else:
        memset(d, 0, sizeof(d))
        for j in range(n):
            d[j] = <double> value_at(call, x, at + j * step) - mean
    if keep != NULL:
        for j in range(n):
            d[j] = d[j] if keep[j] else 0
    for j in range(SPARE):
        squares[j] = d[j] * d[j]
    add_to_lanes(<const double*> d, looks.first, looks.first_lost, real is float)
    add_to_lanes(<const double*> squares, looks.second, looks.second_lost, real is float)


cdef void look_at_run(
    const Call* call, const real* x, Py_ssize_t at, Py_ssize_t step, Py_ssize_t number, const unsigned char* keep,
    double mean, Looks* looks
) noexcept nogil:
    """Elements of one feature, so many apart, sixteen at a time."""
    cdef Py_ssize_t i = 0
    while i < number:
        take_up(
            call, x, at + i * step, step, smaller(SPARE, number - i), NULL if keep == NULL else keep + i, mean, looks
        )
        i += SPARE


cdef void look_at_features(
    const Call* call, const real* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """Those in doubt among adjacent features whose elements do not lie together."""
    cdef Looks looks[SPARE]
    cdef Py_ssize_t row = 0, rows, c
    check_range(0, number, SPARE)
    memset(looks, 0, sizeof(looks))
    while row < call.outer:
        rows = smaller(LOOKED_AT, call.outer - row)
        for c in range(number):
            if f.doubt[begin + c] != 0:
                look_at_run(
                    call, x, row * call.features + f.begin + begin + c, call.features, rows,
                    NULL if call.keep == NULL else call.keep + row, f.mean[begin + c], &looks[c]
                )
        row += rows
    for c in range(number):
        if f.doubt[begin + c] != 0:
            take_looks(call, f, begin + c, &looks[c])


cdef void look_at_feature(const Call* call, const real* x, const Features* f, Py_ssize_t c) noexcept nogil:
    """A feature whose elements are in runs."""
    cdef Looks looks
    cdef Py_ssize_t outer
    memset(&looks, 0, sizeof(looks))
    for outer in range(call.outer):
        look_at_run(
            call, x, (outer * call.features + f.begin + c) * call.inner, 1, call.inner,
            NULL if call.keep == NULL else call.keep + outer * call.inner, f.mean[c], &looks
        )
    take_looks(call, f, c, &looks)


cdef void take_looks(const Call* call, const Features* f, Py_ssize_t c, const Looks* looks) noexcept nogil:
    """The moments of a feature from its lanes."""
    cdef Total first, second
    cdef double n = call.count, near = f.mean[c]
    cdef double drift
    cdef Py_ssize_t j
    first.plain = first.lost = second.plain = second.lost = 0
    for j in range(SPARE):
        add(&first, looks.first[j])
        first.lost += looks.first_lost[j]
        add(&second, looks.second[j])
        second.lost += looks.second_lost[j]
    drift = value_of(&first) / n
    f.variance[c] = value_of(&second) / n - drift * drift
    f.mean[c] = near + drift
    f.low[c] = (near - f.mean[c]) + drift
    f.inverse[c] = inverse_of(f.variance[c], call.epsilon)


cdef void look_again(const Call* call, const real* x, const Features* f) noexcept nogil:
    """Those that are in doubt."""
    cdef Py_ssize_t begin = 0, number, c
    if call.inner > 1:
        for c in range(f.number):
            if f.doubt[c] != 0:
                look_at_feature(call, x, f, c)
        return
    while begin < f.number:
        number = smaller(SPARE, f.number - begin)
        if any_in_doubt(f, begin, number):
            look_at_features(call, x, f, begin, number)
        begin += number
