# x of the features in doubt, where elements are few and stand in rows.  No x of 300 random numbers is further from
# their mean than four deviations, let alone sqrt(300): beside the dx that was tasted that is enough.  Of many elements
# it would take longer to see that than to find a larger dx.  (300, 10000) took 0.91 of the time, (64, 32768) 0.93.

cdef enum:
    FEW_TO_LOOK_AT = 512  # elements
    LOOKS = 16            # rows of lanes after which is asked for the first time whether it is enough
    BLOCKS = 32           # of SPARE adjacent features, of a tile or a group

cdef struct Spread:  # of x of the blocks in which a feature is in doubt
    Py_ssize_t begin[BLOCKS]            # the first feature of each
    float mean[BLOCKS * SPARE]
    float away[BLOCKS * SPARE]          # the largest size of x - mean
    float squares[BLOCKS * SPARE]       # the sum of its squares


cdef Py_ssize_t look_at_x(const Call* call, const float* x, const Features* f) noexcept nogil:
    """How many features of a tile, or of a group, stay in doubt, with one element of each in a row of x."""
    cdef Spread spread
    cdef float room[SPARE]
    cdef Py_ssize_t blocks = spread_of_none(f, &spread), row = 0, until = LOOKS, doubtful = 0, stop, i, c
    while row < call.outer and blocks:
        stop = smaller(until, call.outer)
        while row + 4 <= stop:
            check_range(f.begin + row * call.features, 3 * call.features + f.number, size_of(call))
            for i in range(blocks):
                spread_by_four(
                    call, x, f.begin + row * call.features + spread.begin[i], spread.mean + i * SPARE,
                    spread.away + i * SPARE, spread.squares + i * SPARE
                )
            row += 4
        while row < stop:
            for i in range(blocks):
                spread_by_one(
                    taken(call, x, f.begin + row * call.features + spread.begin[i], SPARE, room),
                    spread.mean + i * SPARE, spread.away + i * SPARE, spread.squares + i * SPARE
                )
            row += 1
        blocks = settle(call, f, &spread, blocks, row == call.outer)
        until += until // 8 * 4
    for c in range(f.number):
        doubtful += f.doubt[c] != 0
    return doubtful


cdef Py_ssize_t spread_of_none(const Features* f, Spread* spread) noexcept nogil:
    """How many blocks have a feature in doubt, and which; the last one may begin in the one before it."""
    cdef Py_ssize_t blocks = 0, block, begin, c
    check_range(0, (f.number + SPARE - 1) // SPARE, BLOCKS)
    for block in range((f.number + SPARE - 1) // SPARE):
        begin = smaller(block * SPARE, f.number - SPARE)
        if any_in_doubt(f, begin, SPARE):
            spread.begin[blocks] = begin
            for c in range(SPARE):
                spread.mean[blocks * SPARE + c] = <float> f.mean[begin + c]
                spread.away[blocks * SPARE + c] = spread.squares[blocks * SPARE + c] = 0
            blocks += 1
    return blocks


cdef inline void spread_by_one(const float* x, const float* mean, float* away, float* squares) noexcept nogil:
    cdef float d
    cdef Py_ssize_t j
    for j in range(SPARE):
        d = x[j] - mean[j]
        away[j] = greater(away[j], fabsf(d))
        squares[j] += d * d


cdef inline void spread_by_four(
    const Call* call, const float* x, Py_ssize_t at, const float* mean, float* away, float* squares
) noexcept nogil:
    """Four rows from element `at` on; others, further on, are fetched."""
    cdef float room[4 * SPARE]
    cdef Py_ssize_t stride = call.features
    cdef const float* x0 = taken(call, x, at, SPARE, room)
    cdef const float* x1 = taken(call, x, at + stride, SPARE, <float*> room + SPARE)
    cdef const float* x2 = taken(call, x, at + 2 * stride, SPARE, <float*> room + 2 * SPARE)
    cdef const float* x3 = taken(call, x, at + 3 * stride, SPARE, <float*> room + 3 * SPARE)
    cdef float a, b, c, d
    cdef Py_ssize_t j
    if call.half == NEITHER:  # else it is a part, which is in the second-level cache
        for j in range(4):
            prefetch(x0 + (8 + j) * stride)
    for j in range(SPARE):
        a = x0[j] - mean[j]
        b = x1[j] - mean[j]
        c = x2[j] - mean[j]
        d = x3[j] - mean[j]
        away[j] = greater(away[j], greater(greater(fabsf(a), fabsf(b)), greater(fabsf(c), fabsf(d))))
        squares[j] += (a * a + b * b) + (c * c + d * d)


cdef Py_ssize_t settle(
    const Call* call, const Features* f, Spread* spread, Py_ssize_t blocks, bint all_seen
) noexcept nogil:
    """In how many blocks there is still a feature in doubt: they come first; of the others f.doubt is 0."""
    cdef Py_ssize_t left = 0, block, begin, c
    cdef double unseen, n = call.count
    for block in range(blocks):
        begin = spread.begin[block]
        for c in range(SPARE):
            if f.doubt[begin + c] != 0:
                unseen = unseen_of(1.001 * n * f.variance[begin + c] - spread.squares[block * SPARE + c], all_seen)
                if not is_doubtful(
                    f, begin + c, n, tasted(f, begin + c), spread.away[block * SPARE + c], unseen
                ):
                    f.doubt[begin + c] = 0
        if any_in_doubt(f, begin, SPARE):
            spread.begin[left] = begin
            memmove(spread.mean + left * SPARE, spread.mean + block * SPARE, SPARE * sizeof(float))
            memmove(spread.away + left * SPARE, spread.away + block * SPARE, SPARE * sizeof(float))
            memmove(spread.squares + left * SPARE, spread.squares + block * SPARE, SPARE * sizeof(float))
            left += 1
    return left
