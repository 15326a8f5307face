# The gradient of a float32 feature again, in float64.  Where dy is nearly constant or nearly parallel to x-hat, dx is
# the small difference of large terms, and what rounding took from each term is then large against dx itself.

cdef inline Py_ssize_t mend_blocks(const Call* call) noexcept nogil:
    return (call.features + block_features(call) - 1) // block_features(call)


cdef void mend_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t begin = part * block_features(call)
    cdef Py_ssize_t number = smaller(block_features(call), call.features - begin)
    if any_in_doubt(&call.all, begin, number):
        mend_block(call, <const float*> call.x, &call.all, begin, number)


cdef void mend(const Call* call, const real* x, const Features* f) noexcept nogil:
    """The features of a tile that are in doubt."""
    cdef Py_ssize_t begin = 0, most = block_features(call), number
    while begin < f.number:
        number = smaller(most, f.number - begin)
        if real is float and any_in_doubt(f, begin, number):
            mend_block(call, x, f, begin, number)
        begin += number


cdef void mend_block(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """Sums, dscale, doffset and dx of those that are in doubt, among `number` from `begin` on in f.

    Where the sums of a whole batch were given, they are as good as they get, and dx alone is computed again.
    """
    cdef double room[TABLES * SPARE]
    cdef Features some = f[0]
    cdef Py_ssize_t doubtful = look_closer(call, x, f, begin, number)
    if doubtful == 0:
        return
    check_range(0, number, SPARE)
    if call.operation == GRADIENT:
        sum_again(call, x, f, begin, number)
    some.begin += begin
    some.number = number
    move_on(&some, begin)
    some.table = room
    some.reach = number
    take_origin(call, &some, <const float*> NULL, True)
    finish_table(call, &some)
    if number * call.inner > WIDE_LANES:
        write_feature(call, x, &some, 0, 0, call.outer * call.inner, True)
    else:
        write_doubtful(call, x, &some, doubtful == number)


cdef void sum_again(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """dscale and doffset of those that are in doubt."""
    cdef double first[SPARE]
    cdef double second[SPARE]
    cdef double drift[SPARE]
    cdef double squares[SPARE]
    cdef Py_ssize_t c, i
    check_range(0, number, SPARE)
    sum_wide_block(call, x, <const float*> call.dy, f, begin, number, <double*> first, <double*> second)
    sum_wide_block(call, x, NULL, f, begin, number, <double*> drift, <double*> squares)
    for c in range(begin, begin + number):
        if f.doubt[c]:
            i = c - begin
            take_own_moments(call, f, c, drift[i] / call.count, squares[i] / call.count, first[i], &second[i])
            f.first[c] = first[i]
            f.second[c] = second[i] * f.inverse[c]
    give(f.second + begin, f.begin + begin, number, &call.dscale)
    give(f.first + begin, f.begin + begin, number, &call.doffset)


cdef inline void take_own_moments(
    const Call* call, const Features* f, Py_ssize_t c, double drift, double square, double first, double* second
) noexcept nogil:
    """The batch's own mean and variance, where those given are these but for a float32 forward pass's rounding.

    That is 2 units of the one and 4 of the other, and where the terms cancel dx is as sensitive to them as to its sums:
    with dy = y it was 350 units off.  Any other statistics are what the caller wants.
    """
    cdef double variance = square - drift * drift
    cdef double unit = 1.1920929e-07
    if (
        fabs(drift) <= 4 * unit * (fabs(f.mean[c]) if fabs(f.mean[c]) > sqrt(variance) else sqrt(variance))
        and fabs(variance - f.variance[c]) <= 8 * unit * variance
    ):
        f.low[c] = drift
        f.inverse[c] = inverse_of(variance, call.epsilon)
        second[0] -= drift * first


cdef void write_doubtful(const Call* call, const float* x, const Features* f, bint all_) noexcept nogil:
    """dx of a block of short runs, but for features that are not in doubt."""
    cdef double table[TABLES * WIDE_LANES]
    cdef unsigned char wanted[WIDE_LANES + LINE]
    cdef unsigned char keep[WIDE_LANES + LINE]
    cdef float buffer[WIDE_LANES]
    cdef float values[WIDE_LANES]
    cdef float cotangents[WIDE_LANES]
    cdef float* dx = <float*> call.y + f.begin * call.inner
    cdef Py_ssize_t lanes = f.number * call.inner
    cdef Py_ssize_t row, i, j, at, c
    check_range(0, lanes, WIDE_LANES)
    for j in range(lanes):
        c = j // call.inner
        wanted[j] = f.doubt[c] != 0
        for i in range(TABLES):
            table[i * WIDE_LANES + j] = f.table[i * f.reach + c]
    for row in range(call.outer):
        at = (row * call.features + f.begin) * call.inner
        check_range(at, lanes, size_of(call))
        differentiate(
            taken(call, x, at, lanes, values), taken(call, <const float*> call.dy, at, lanes, cotangents), lanes,
            <const double*> table, WIDE_LANES, <float*> buffer
        )
        if call.half != NEITHER:
            put_halves(call, buffer, at, lanes, wanted)
            continue
        if call.keep != NULL:
            spread_keep(call, at, lanes, keep)
            for j in range(lanes):
                dx[j] = buffer[j] if wanted[j] & (keep[j] != 0) else dx[j]
        elif all_:
            memcpy(dx, buffer, lanes * sizeof(float))
        else:
            put_wanted(<const floats*> buffer, lanes, wanted, dx)
        dx += call.features * call.inner


cdef inline void put_wanted(
    const floats* values, Py_ssize_t lanes, const unsigned char* wanted, float* dx
) noexcept nogil:
    """By vectors: element by element half of the branches were foreseen wrongly."""
    cdef floats* to = <floats*> dx
    cdef const float* each = <const float*> values
    cdef Py_ssize_t whole = lanes // elements(values), j
    for j in range(whole):
        to[j] = chosen(values[j], to[j], wanted + j * elements(values))
    for j in range(whole * elements(values), lanes):
        dx[j] = each[j] if wanted[j] else dx[j]
