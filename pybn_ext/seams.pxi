# Results of runs.  Elements of several features that follow each other in memory: the constants of each stay in
# registers, and the vector in which one run ends and the next begins, the seam, takes from both.

# Where among the features a stretch of memory begins.
cdef struct Runs:
    Py_ssize_t feature  # to which its first byte belongs: its place in the constants
    Py_ssize_t end      # the byte at which that feature's run ends
    Py_ssize_t reach    # length of a row of the constants, of which there are `tables`
    const unsigned char* keep  # the mask of its first outer index, one byte for each inner; NULL: none


cdef void write_vectors_of_runs(
    const Call* call, Py_ssize_t at, Py_ssize_t stop, Runs runs, const real* constants, const vector* any, bint past
) noexcept nogil:
    """The bytes of y from `at` to `stop`, past the caches or not.

    A run is longer than a vector.  Behind the last feature comes the first, of the next outer index.  Past the caches
    `at` is a cache line, and `stop` another; or the ends of y, of which one line each is written in part.
    """
    if has_all_terms(call):
        if past and runs.keep != NULL:
            write_runs_and_seams(call, at, stop, runs, constants, any, True, True, True)
        elif past:
            write_runs_and_seams(call, at, stop, runs, constants, any, True, True, False)
        elif runs.keep != NULL:
            write_runs_and_seams(call, at, stop, runs, constants, any, True, False, True)
        else:
            write_runs_and_seams(call, at, stop, runs, constants, any, True, False, False)
    elif past and runs.keep != NULL:
        write_runs_and_seams(call, at, stop, runs, constants, any, False, True, True)
    elif runs.keep != NULL:
        write_runs_and_seams(call, at, stop, runs, constants, any, False, False, True)
    elif past:
        write_runs_and_seams(call, at, stop, runs, constants, any, False, True, False)
    else:
        write_runs_and_seams(call, at, stop, runs, constants, any, False, False, False)


cdef inline void write_runs_and_seams(
    const Call* call, Py_ssize_t at, Py_ssize_t stop, Runs runs, const real* constants, const vector* any,
    bint gradient, bint past, bint masked
) noexcept nogil:
    """Vectors within one run, and those of which a part belongs to the next."""
    cdef vector table[TABLES]
    cdef vector next_table[TABLES]
    cdef unsigned char seam[2 * SPARE]  # the mask of the end of one run and of the beginning of the next
    cdef Py_ssize_t width = sizeof(vector), item = sizeof(real)
    cdef Py_ssize_t size
    spread_constants(&runs, constants, table, gradient)
    size = smaller(to_line(<char*> call.y + at) % width, stop - at)
    if size:  # in front of the first vector of y
        write_part(call, at, size, at, table, width, keep_in_run(call, &runs, at, item, masked), masked)
        at += size
    while at < stop:
        size = (smaller(runs.end, stop) - at) // width * width
        write_row(call, at, size, table, width, keep_in_run(call, &runs, at, item, masked), 0, past, masked)
        at += size
        if stop - at < width:
            break
        if masked:
            memcpy(seam, runs.keep + call.inner - SPARE, SPARE)
        runs.feature += 1
        if runs.feature == call.features:
            runs.feature = 0
            if masked:
                runs.keep += call.inner
        spread_constants(&runs, constants, next_table, gradient)
        if at < runs.end:
            if masked:
                check_range(runs.keep - call.keep, SPARE, call.outer * call.inner)
                memcpy(<unsigned char*> seam + SPARE, runs.keep, SPARE)
            write_seam(call, at, table, next_table, (runs.end - at) // item, seam, gradient, past, masked)
            at += width
        runs.end += call.inner * item
        memcpy(table, next_table, sizeof(table))
    if at < stop:  # behind the last vector of y
        write_part(
            call, at, stop - at, stop - width, table, width, keep_in_run(call, &runs, stop - width, item, masked),
            masked
        )


cdef inline const unsigned char* keep_in_run(
    const Call* call, const Runs* runs, Py_ssize_t at, Py_ssize_t item, bint masked
) noexcept nogil:
    """The mask of the elements from byte `at` of y to the end of the run that it is in."""
    if not masked:
        return NULL
    check_range(call.inner - (runs.end - at) // item, (runs.end - at) // item, call.inner)
    return runs.keep + call.inner - (runs.end - at) // item


cdef inline void spread_constants(
    const Runs* runs, const real* constants, vector* table, bint gradient
) noexcept nogil:
    check_range(runs.feature, 1, runs.reach)
    constants += runs.feature
    table[0] = spread(constants[0], table)
    table[1] = spread(constants[runs.reach], table)
    table[2] = spread(constants[2 * runs.reach], table)
    table[3] = spread(constants[3 * runs.reach] if gradient else 0, table)


cdef inline void write_seam(
    const Call* call, Py_ssize_t at, const vector* table, const vector* next_table, Py_ssize_t lanes,
    const unsigned char* seam, bint gradient, bint past, bint masked
) noexcept nogil:
    """One vector, whose first lanes belong to one feature and the others to the next, which `seam` has the mask of."""
    cdef vector* y = <vector*> (<char*> call.y + at)
    cdef vector value
    check_range(at, sizeof(vector), bytes_in(call))
    check_range(SPARE - lanes, elements(table), 2 * SPARE)
    value = chosen(
        one_vector(call, at, table, sizeof(vector), gradient),
        one_vector(call, at, next_table, sizeof(vector), gradient),
        ones_then_zeros + SPARE - lanes
    )
    if masked:
        value = chosen(
            value, seek(<const vector*> (call.x if call.dy == NULL else call.dy), at)[0], seam + SPARE - lanes
        )
    if past:
        stream(y, value)
    else:
        y[0] = value
