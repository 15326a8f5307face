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


# --- short runs that are whole cache lines -----------------------------------------------------

cdef void write_even_runs(
    const Call* call, Py_ssize_t first, Py_ssize_t number, const real* constants, const vector* any
) noexcept nogil:
    """y of `number` runs from `first` on, where nothing is masked: each from its first whole cache line of y to that
    of the next; those at the ends of y from its beginning, or to its end.

    In tiles of features, whose rows are pages apart, inference of (64, 256, 4, 4) took 2.1 of the time, and 2.4 to 3.3
    in float64; of (128, 512, 4, 4) 1.0 to 1.1, and 1.5.
    """
    cdef Py_ssize_t run_size = call.inner * sizeof(real)
    cdef Py_ssize_t lead = to_line(call.y)
    cdef Py_ssize_t last = call.outer * call.features - 1
    cdef bint ends = first + number > last
    cdef Runs runs
    runs.feature = first % call.features
    runs.reach = call.reach
    check_range(first, number, last + 1)
    if first == 0 and lead:
        write_lines_of_run(call, 0, lead, runs, constants, any)
    if ends:
        number -= 1
    if call.stream:
        write_between_lines(call, first * run_size + lead, number, runs, constants, any, True)
    else:
        write_between_lines(call, first * run_size + lead, number, runs, constants, any, False)
    if ends:
        runs.feature = call.features - 1
        write_lines_of_run(call, last * run_size + lead, run_size - lead, runs, constants, any)


cdef void write_lines_of_run(
    const Call* call, Py_ssize_t at, Py_ssize_t size, Runs runs, const real* constants, const vector* any
) noexcept nogil:
    """A part of one run, in the caches."""
    cdef vector table[TABLES]
    cdef Py_ssize_t width = sizeof(vector), start = at - at % width
    cdef Py_ssize_t next_
    spread_constants(&runs, constants, table, False)
    while size:
        start = at - at % width
        next_ = smaller(size, start + width - at)
        write_part(call, at, next_, start, table, width, NULL, False)
        at += next_
        size -= next_


cdef void write_between_lines(
    const Call* call, Py_ssize_t at, Py_ssize_t number, Runs runs, const real* constants, const vector* any, bint past
) noexcept nogil:
    """From a cache line of y `number` runs on."""
    cdef Py_ssize_t run_size = call.inner * sizeof(real), width = sizeof(vector)
    cdef Py_ssize_t before = run_size - at % run_size  # bytes up to the end of the first run
    cdef Py_ssize_t rest = before % width // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t whole = before // width
    cdef Py_ssize_t after = run_size // width - whole - (1 if rest else 0)
    check_range(at, number * run_size, bytes_in(call))
    if past:
        write_lines_of_runs(call, at, number, runs, constants, any, whole, rest, after, True)
    elif rest and whole == 0 == after:  # images of 4 x 4 in the longest vectors: these loops are not there then
        write_lines_of_runs(call, at, number, runs, constants, any, 0, rest, 0, False)
    else:
        write_lines_of_runs(call, at, number, runs, constants, any, whole, rest, after, False)


cdef inline void write_lines_of_runs(
    const Call* call, Py_ssize_t at, Py_ssize_t number, Runs runs, const real* constants, const vector* any,
    Py_ssize_t whole, Py_ssize_t rest, Py_ssize_t after, bint past
) noexcept nogil:
    """`whole` vectors of each run, one that holds its last `rest` lanes and the first ones of the next run, and
    `after` vectors of that."""
    cdef unsigned char seam[SPARE]  # of its own: no store to y can change it, so that it stays in a register
    cdef Py_ssize_t features = call.features, feature = runs.feature, ahead = AHEAD // <Py_ssize_t> sizeof(vector)
    cdef const real* next_ = constants
    cdef const vector* x = seek(<const vector*> call.x, at)
    cdef vector* y = <vector*> (<char*> call.y + at)
    cdef vector mean = spread(constants[feature], any)
    cdef vector a = spread(constants[runs.reach + feature], any)
    cdef vector b = spread(constants[2 * runs.reach + feature], any)
    cdef vector next_mean, next_a, next_b
    cdef Py_ssize_t i, j
    memcpy(seam, ones_then_zeros + SPARE - rest, SPARE)
    for i in range(number):
        for j in range(whole):
            put(y, (x[0] - mean) * a + b, x + ahead, past)
            x += 1
            y += 1
        feature = feature + 1 if feature + 1 < features else 0
        next_ = constants + feature
        next_mean = spread(next_[0], any)
        next_a = spread(next_[runs.reach], any)
        next_b = spread(next_[2 * runs.reach], any)
        if rest:
            mean = chosen(mean, next_mean, seam)
            a = chosen(a, next_a, seam)
            b = chosen(b, next_b, seam)
            put(y, (x[0] - mean) * a + b, x + ahead, past)
            x += 1
            y += 1
        mean, a, b = next_mean, next_a, next_b
        for j in range(after):
            put(y, (x[0] - mean) * a + b, x + ahead, past)
            x += 1
            y += 1


cdef inline void put(vector* y, vector value, const vector* ahead, bint past) noexcept nogil:
    """Past the caches or not; `ahead` is what is fetched meanwhile."""
    if past:
        prefetch(ahead)
        stream(y, value)
    else:
        y[0] = value
