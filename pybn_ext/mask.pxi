# The mask.  It is one byte for each (outer, inner); the primitives take one for each lane.  Nothing here or elsewhere
# reads a masked element into a sum: what stands there becomes 0 before it is added.

cdef inline unsigned int real_ones_in(const unsigned char* keep, Py_ssize_t n) noexcept nogil:
    """How many bytes are not 0; a narrow type becomes vectors, and is enough for 32768."""
    cdef unsigned short count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += keep[i] != 0
    return count


cdef Py_ssize_t all_real_ones(const unsigned char* keep, Py_ssize_t n) noexcept nogil:
    """As `real_ones_in`, of any number."""
    cdef Py_ssize_t count = 0, i
    for i in range(0, n, 32768):
        count += real_ones_in(keep + i, smaller(32768, n - i))
    return count


cdef inline bint all_are_real(const Call* call, Py_ssize_t start, Py_ssize_t length) noexcept nogil:
    """Whether nothing is masked of the outer indices that the elements from `start` on are of."""
    cdef Py_ssize_t period = call.features * call.inner
    cdef Py_ssize_t first = start // period * call.inner
    cdef Py_ssize_t number = (start + length - 1) // period * call.inner + call.inner - first
    check_range(first, number, call.outer * call.inner)
    return call.keep == NULL or all_real_ones(call.keep + first, number) == number


cdef void spread_keep(const Call* call, Py_ssize_t start, Py_ssize_t length, unsigned char* keep) noexcept nogil:
    """One byte for each of `length` elements of x from `start` on: is it real?  LINE bytes more may be written."""
    # Into variables: a byte that is stored might, for all the compiler knows, change any field of `call`.
    cdef const unsigned char* mask = call.keep
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t period = call.features * inner
    cdef Py_ssize_t outer = start // period
    cdef Py_ssize_t within = start % period
    cdef Py_ssize_t filled = 0, run
    check_range(start, length, size_of(call))
    if inner == 1 and period < SPARE:
        spread_few(call, outer, within, length, keep)
        return
    while filled < length:
        run = smaller(period - within, length - filled)
        check_range(outer, 1, call.outer)
        if inner == 1:
            fill_keep(keep + filled, run, mask[outer])
        else:
            repeat_keep(mask + outer * inner, inner, within % inner, run, keep + filled)
        filled += run
        within = 0
        outer += 1


cdef inline void fill_keep(unsigned char* to, Py_ssize_t n, unsigned char value) noexcept nogil:
    """As `fill`, of bytes: memset costs more than the sums where features are few."""
    cdef Py_ssize_t i, j
    for i in range((n + LINE - 1) // LINE):
        for j in range(LINE):
            to[i * LINE + j] = value


cdef void plan_mask(Call* call) noexcept nogil:
    """With fewer than SPARE features: which byte of the mask, counted from that of lane `phase`, belongs to the lanes
    from there on."""
    cdef Py_ssize_t phase, i
    if call.keep != NULL and call.inner == 1 and call.features < SPARE:
        for phase in range(call.features):
            for i in range(SPARE):
                call.places[phase * SPARE + i] = <unsigned char> ((phase + i) // call.features)


cdef inline void spread_few(
    const Call* call, Py_ssize_t outer, Py_ssize_t phase, Py_ssize_t length, unsigned char* to
) noexcept nogil:
    """Each byte of the mask once for each feature, 16 lanes at a time."""
    cdef const unsigned char* mask = call.keep
    cdef const unsigned char* places = &call.places[0]
    cdef Py_ssize_t features = call.features
    cdef Py_ssize_t whole = call.outer - SPARE  # the last outer index from which 16 bytes can be read
    cdef Py_ssize_t rows = SPARE // features, lanes = SPARE % features
    cdef Py_ssize_t filled = 0, i
    check_range(phase, 1, features)
    while filled < length:
        if outer <= whole:
            check_range(outer, SPARE, call.outer)
            pick_16(to + filled, mask + outer, places + phase * SPARE)
        else:
            check_range(outer, 1 + places[phase * SPARE + smaller(SPARE, length - filled) - 1], call.outer)
            for i in range(smaller(SPARE, length - filled)):
                to[filled + i] = mask[outer + places[phase * SPARE + i]]
        filled += SPARE
        outer += rows
        phase += lanes
        if phase >= features:
            phase -= features
            outer += 1


cdef void spread_rows_of_keep(
    const Call* call, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t lanes, unsigned char* to,
    Py_ssize_t to_stride
) noexcept nogil:
    """As `spread_keep`, of rows of lanes that are whole rows of x apart; `inner` is 1, and a row of `to` whole vectors.

    Which bytes of the mask belong to sixteen lanes is then the same in each row: found once, and picked from each.
    Sixteen rows of 37 features took 0.3 of the time of one row after the other.
    """
    cdef const unsigned char* mask = call.keep + start // call.features
    cdef const unsigned char* places
    cdef Py_ssize_t features = call.features, step = larger(1, stride // call.features)
    cdef Py_ssize_t phase = start % features, outer = 0, lane = 0
    # Sixteen bytes are read of each row, from that of its first lane on: so many rows have them.
    cdef Py_ssize_t whole = call.outer - start // features - SPARE - (phase + lanes) // features
    cdef Py_ssize_t row
    whole = smaller(rows, whole // step + 1) if whole >= 0 and picks else 0
    check_range(0, lanes, to_stride // SPARE * SPARE)
    while lane < lanes and whole:
        if features < SPARE:
            places = &call.places[phase * SPARE]
        else:  # of one row of x, and from some lane on of the next
            places = ones_then_zeros + 2 * SPARE - smaller(SPARE, features - phase)
        check_range(start // features + outer, (whole - 1) * step + SPARE, call.outer)
        for row in range(whole):
            pick_16(to + row * to_stride + lane, mask + outer + row * step, places)
        lane += SPARE
        phase += SPARE
        outer += phase // features
        phase %= features
    for row in range(whole, rows):
        spread_keep(call, start + row * stride, lanes, to + row * to_stride)


cdef inline void repeat_keep(
    const unsigned char* mask, Py_ssize_t inner, Py_ssize_t at, Py_ssize_t length, unsigned char* to
) noexcept nogil:
    """The mask of one outer index from its position `at` on, again and again: it is the same for each feature."""
    cdef Py_ssize_t done = smaller(inner - at, length)
    cdef Py_ssize_t period = (SPARE + inner - 1) // inner * inner  # of what is copied sixteen at a time
    cdef Py_ssize_t more
    check_range(at, done, inner)
    memcpy(to, mask + at, done)
    if done == length:
        return
    more = smaller(at, length - done)
    memcpy(to + done, mask, more)
    done += more
    while done < smaller(period, length):
        to[done] = to[done - inner]
        done += 1
    while done < length:
        memcpy(to + done, to + done - period, SPARE)
        done += SPARE


cdef inline const unsigned char* keep_of_run(const Call* call, Py_ssize_t start, Py_ssize_t length) noexcept nogil:
    """The mask of the `length` elements of one feature that lie together from `start` on."""
    check_range(start, length, size_of(call))
    check_range(start % call.inner, length, call.inner)
    return call.keep + start // (call.features * call.inner) * call.inner + start % call.inner


cdef Py_ssize_t next_kept(const Call* call, Py_ssize_t position) noexcept nogil:
    """The first unmasked position from `position` on, cyclically; there is one."""
    cdef Py_ssize_t positions = call.outer * call.inner
    check_range(position, 1, positions)
    if call.keep != NULL:
        while not call.keep[position]:
            position = position + 1 if position + 1 < positions else 0
    return position
