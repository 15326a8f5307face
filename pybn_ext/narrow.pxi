# y of a part, from 16 bits to 16 bits: what float32 is needed for it stands in registers.

cdef enum:
    SHORTEST = 64      # elements of a run from which on it is written by itself
    LEAST_LANES = 256  # of a table, where rows follow each other; below SHORTEST, whole registers of them

cdef void normalize_part(const Call* call, Cut* cut, const Part* part, Call* own, float* table) noexcept nogil:
    """y of one part; `table` is the room for its copy."""
    cdef Py_ssize_t lanes = part.number * part.inners
    cdef Py_ssize_t glue = 1, even
    if cut.shared:
        take_constants(call, cut, part, table)
    elif not find_part_table(own, table, cut.reach):
        compute_part(call, cut, part, own, table)
        return
    if own.keep != NULL:
        plan_mask(own)
    if part.inners >= SHORTEST:
        normalize_runs(call, part, own, table, cut.reach)
        return
    if stretches(call, part) == 1:
        even = SPARE // common_divisor(lanes, SPARE) if lanes < SHORTEST else 1
        glue = smaller(part.outers, ((LEAST_LANES + lanes - 1) // lanes + even - 1) // even * even)
    spread_part_table(part, table, cut.reach, glue)
    normalize_rows(call, part, own, table, cut.reach, lanes * glue)


cdef void share_constants(const Call* call, Cut* cut) noexcept nogil:
    """Of all features, once, where each of them is in several parts.

    Found in each, of 64 rows or 14 images, they were a seventh of inference of (4096, 512).
    """
    cdef Call all_ = call[0]
    all_.operation = INFERENCE
    all_.half = NEITHER
    all_.widened = False
    if cut.offset != NULL:
        all_.offset = in_doubles(cut.offset)
    cut.shared = find_part_table(&all_, cut.constants, call.features)


cdef inline void take_constants(const Call* call, const Cut* cut, const Part* part, float* table) noexcept nogil:
    cdef Py_ssize_t i
    check_range(0, part.number, cut.reach)
    check_range(part.begin, part.number, call.features)
    for i in range(TABLES - 1):
        memcpy(
            table + i * cut.reach, cut.constants + i * call.features + part.begin, part.number * sizeof(float)
        )


cdef bint find_part_table(const Call* own, float* table, Py_ssize_t reach) noexcept nogil:
    """Whether the constants of all features are float32's, and they."""
    cdef double memory[PER_FEATURE * TILE_FEATURES]
    cdef Features f
    cdef Py_ssize_t begin = 0, i, c
    while begin < own.features:
        take_features(own, begin, smaller(TILE_FEATURES, own.features - begin), memory, &f)
        if finish(own, <const float*> NULL, &f, <const float*> NULL):
            return False
        check_range(begin, f.number, reach)
        for i in range(TABLES - 1):
            plain_nans(f.table + i * f.reach, f.number)
            for c in range(f.number):
                table[i * reach + begin + c] = <float> f.table[i * f.reach + c]
        begin += f.number
    return True


cdef void spread_part_table(const Part* part, float* table, Py_ssize_t reach, Py_ssize_t glue) noexcept nogil:
    """From one for each feature to one for each lane, in place: from behind."""
    cdef Py_ssize_t lanes = part.number * part.inners
    cdef Py_ssize_t i, c, j
    cdef float value
    check_range(0, lanes * glue, reach)
    for i in range(TABLES - 1):
        if part.inners > 1:
            for c in range(part.number - 1, -1, -1):
                value = table[c]
                for j in range(part.inners):
                    table[c * part.inners + j] = value
        for j in range(1, glue):
            memcpy(table + j * lanes, table, lanes * sizeof(float))
        table += reach


cdef void normalize_rows(
    const Call* call, const Part* part, const Call* own, const float* table, Py_ssize_t reach, Py_ssize_t period
) noexcept nogil:
    """Rows of lanes, and where they follow each other, periods of the table."""
    cdef Py_ssize_t rows = stretches(call, part)
    cdef Py_ssize_t length = part.outers // rows * part.number * part.inners
    cdef Py_ssize_t row, done, next_
    if own.keep == NULL:
        normalize_real_rows(call, part, table, reach, rows, length, period)
        return
    for row in range(rows):
        done = 0
        while done < length:
            next_ = smaller(period, length - done)
            normalize_lanes(call, own, start_of(call, part, row) + done, row * length + done, next_, table, reach)
            done += next_


cdef inline void normalize_real_rows(
    const Call* call, const Part* part, const float* table, Py_ssize_t reach, Py_ssize_t rows, Py_ssize_t length,
    Py_ssize_t period
) noexcept nogil:
    """Rows of `length` elements, where there is no mask: rows of one period each, or one of many."""
    cdef Py_ssize_t start = start_of(call, part, 0)
    cdef Py_ssize_t stride = call.features * call.inner
    cdef const uint16_t* x = <const uint16_t*> call.x + start
    cdef uint16_t* y = <uint16_t*> call.y + start
    check_range(start, (rows - 1) * stride + length, size_of(call))
    if rows == 1:
        rows, stride = length // period, period
        length -= rows * period
        write_half_rows(
            call, x + rows * period, x + rows * period, y + rows * period, 0, 1, length, table, reach, False
        )
        length = period
    check_range(0, length, reach)
    write_half_rows(call, x, x, y, stride, rows, length, table, reach, False)


cdef inline void normalize_lanes(
    const Call* call, const Call* own, Py_ssize_t start, Py_ssize_t own_start, Py_ssize_t n, const float* table,
    Py_ssize_t reach
) noexcept nogil:
    """`n` lanes from element `start` on, which is `own_start` of the part, where there is a mask."""
    cdef unsigned char keep[SPREAD + LINE]
    cdef uint16_t original[SPREAD]
    cdef const uint16_t* x = <const uint16_t*> call.x + start
    cdef uint16_t* y = <uint16_t*> call.y + start
    cdef Py_ssize_t done = 0, piece
    check_range(start, n, size_of(call))
    check_range(0, n, reach)
    while done < n:
        piece = smaller(SPREAD, n - done)
        spread_keep(own, own_start + done, piece, keep)
        memcpy(original, x + done, piece * sizeof(uint16_t))  # y may be x
        write_half_rows(call, original, original, y + done, 0, 1, piece, table + done, reach, False)
        keep_halves(y + done, original, keep, piece)
        done += piece


cdef inline void keep_halves(
    uint16_t* y, const uint16_t* original, const unsigned char* keep, Py_ssize_t n
) noexcept nogil:
    """Under the mask y is x."""
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] if keep[j] else original[j]


cdef void normalize_runs(
    const Call* call, const Part* part, const Call* own, const float* table, Py_ssize_t reach
) noexcept nogil:
    """Runs of elements of one feature."""
    cdef float constants[(TABLES - 1) * SPARE]
    cdef Py_ssize_t row, c, i, j
    cdef const unsigned char* keep = own.keep
    for row in range(part.outers):
        for c in range(part.number):
            for i in range(TABLES - 1):
                for j in range(SPARE):
                    constants[i * SPARE + j] = table[i * reach + c]
            normalize_run(
                call, start_of(call, part, row) + c * call.inner, part.inners, <const float*> constants, keep
            )
        if keep != NULL:
            keep += part.inners


cdef inline void normalize_run(
    const Call* call, Py_ssize_t start, Py_ssize_t n, const float* constants, const unsigned char* keep
) noexcept nogil:
    cdef uint16_t original[SPREAD]
    cdef const uint16_t* x = <const uint16_t*> call.x + start
    cdef uint16_t* y = <uint16_t*> call.y + start
    cdef Py_ssize_t done = 0, piece
    check_range(start, n, size_of(call))
    if keep == NULL:
        write_half_run(call, x, x, y, n, constants, SPARE, False)
        return
    while done < n:
        piece = smaller(SPREAD, n - done)
        memcpy(original, x + done, piece * sizeof(uint16_t))
        write_half_run(call, original, original, y + done, piece, constants, SPARE, False)
        keep_halves(y + done, original, keep + done, piece)
        done += piece
