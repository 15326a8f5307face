# A closer look at features that are in doubt: dx is computed once more, and x - mean, until enough of it was seen.

cdef enum:
    MOST_LOOKS = 1024  # from one time that is asked to the next: a float32 sum of more squares would lose too much
    LOOK_AHEAD = 8     # rows that are fetched ahead: each begins in another page

cdef struct Closer:  # of each lane
    float mean[WIDE_LANES]
    float centre[WIDE_LANES]
    float slope[WIDE_LANES]
    float left[WIDE_LANES]     # the largest size of dx, without its factor; of x alone: of what was tasted
    float away[WIDE_LANES]     # and of x - mean
    float squares[WIDE_LANES]  # the sum of its squares, since it was asked last


cdef Py_ssize_t look_closer(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number
) noexcept nogil:
    """How many of a block of features are to be computed again, and which, in f.doubt."""
    cdef Py_ssize_t settled = 0, c
    for c in range(begin, begin + number):
        settled += f.doubt[c] < 0
    if settled:
        return settled
    if call.count <= FEW_TO_LOOK_AT and call.inner > 1 and look_at_rows(call, x, f, begin, number, True) == 0:
        return 0
    return look_at_rows(call, x, f, begin, number, False)


cdef Py_ssize_t look_at_rows(
    const Call* call, const float* x, const Features* f, Py_ssize_t begin, Py_ssize_t number, bint x_alone
) noexcept nogil:
    """As `look_closer`; with x alone those that stay in doubt may be beyond it."""
    cdef Closer closer
    cdef double squares[WIDE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = smaller(number * inner, WIDE_LANES)
    cdef Py_ssize_t looks = 0, until = LOOKS, row, at, done
    begin_to_look(call, f, begin, number, lanes // number, &closer, <double*> squares, x_alone)
    for row in range(call.outer):
        at = (row * call.features + f.begin + begin) * inner
        done = 0
        while done < number * inner:
            if looks == until:
                if still_doubtful(call, f, begin, number, lanes, &closer, <double*> squares, False) == 0:
                    return 0
                until += smaller(until // 2, MOST_LOOKS)
            look(call, x, at + done, smaller(lanes, number * inner - done), &closer, x_alone)
            looks += 1
            done += lanes
    return still_doubtful(call, f, begin, number, lanes, &closer, <double*> squares, True)


cdef void begin_to_look(
    const Call* call, const Features* f, Py_ssize_t begin, Py_ssize_t number, Py_ssize_t each, Closer* closer,
    double* squares, bint x_alone
) noexcept nogil:
    cdef double n = call.count
    cdef float mean, centre, slope, left
    cdef Py_ssize_t c, j
    check_range(0, number * each, WIDE_LANES)
    for c in range(number):
        mean = <float> f.mean[begin + c]
        centre = <float> (f.first[begin + c] / n)
        slope = <float> (f.second[begin + c] / n * f.inverse[begin + c])
        left = 0
        if x_alone:
            left = <float> tasted(f, begin + c)
        for j in range(c * each, (c + 1) * each):
            closer.mean[j] = mean
            closer.centre[j] = centre
            closer.slope[j] = slope
            closer.left[j] = left
            closer.away[j] = closer.squares[j] = 0
        squares[c] = 0


cdef Py_ssize_t still_doubtful(
    const Call* call, const Features* f, Py_ssize_t begin, Py_ssize_t number, Py_ssize_t lanes, Closer* closer,
    double* squares, bint all_seen
) noexcept nogil:
    """How many of the features that were in doubt are so after what was seen; once all is seen, which."""
    cdef Py_ssize_t each = lanes // number
    cdef Py_ssize_t doubtful = 0, c, j
    cdef double largest, furthest, unseen, n = call.count
    for c in range(number):
        if f.doubt[begin + c] == 0:
            continue
        largest = furthest = 0
        for j in range(c * each, (c + 1) * each):
            largest = closer.left[j] if closer.left[j] > largest else largest
            furthest = closer.away[j] if closer.away[j] > furthest else furthest
            squares[c] += closer.squares[j]
            closer.squares[j] = 0
        unseen = unseen_of(1.001 * n * f.variance[begin + c] - squares[c], all_seen)
        if is_doubtful(f, begin + c, n, largest, furthest, unseen):
            doubtful += 1
        elif all_seen:
            f.doubt[begin + c] = 0
    return doubtful


cdef inline void look(
    const Call* call, const float* x, Py_ssize_t at, Py_ssize_t lanes, Closer* closer, bint x_alone
) noexcept nogil:
    cdef unsigned char keep[WIDE_LANES + LINE]
    cdef float values[WIDE_LANES]
    cdef float cotangents[WIDE_LANES]
    cdef const float* dy = <const float*> call.dy
    cdef Py_ssize_t ahead = at + LOOK_AHEAD * call.features * call.inner
    check_range(at, lanes, size_of(call))
    if call.keep != NULL:
        spread_keep(call, at, lanes, keep)
        look_at(x + at, dy + at, lanes, closer, keep, True, x_alone)
        return
    if call.half == NEITHER:  # else it is a part, which is in the second-level cache
        prefetch(x + ahead)
        if not x_alone:
            prefetch(dy + ahead)
    x = taken(call, x, at, lanes, values)
    if not x_alone:
        dy = taken(call, dy, at, lanes, cotangents)
    look_at(x, dy, lanes, closer, keep, False, x_alone)


cdef inline void look_at(
    const float* x, const float* dy, Py_ssize_t lanes, Closer* closer, const unsigned char* keep, bint masked,
    bint x_alone
) noexcept nogil:
    cdef float d, size
    cdef Py_ssize_t j
    for j in range(lanes):
        if masked and not keep[j]:
            continue
        d = x[j] - closer.mean[j]
        if not x_alone:
            size = fabsf((dy[j] - closer.centre[j]) - d * closer.slope[j])
            closer.left[j] = size if size > closer.left[j] else closer.left[j]
        closer.away[j] = fabsf(d) if fabsf(d) > closer.away[j] else closer.away[j]
        closer.squares[j] += d * d
