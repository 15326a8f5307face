# Inference with features in front of other axes, or very many features: nothing is summed, so y is written from its
# first byte to its last, as it lies in memory.  Tiles of features, whose rows are apart, cost small images a quarter of
# their time.

cdef extern from *:
    """
    static const unsigned char pybn_ones_then_zeros[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    """
    const unsigned char* ones_then_zeros "pybn_ones_then_zeros"  # SPARE of each

cdef enum:
    COLUMNS = 1024  # features last: lanes of a tile, of whose tables the first-level cache holds all


cdef void sweep(Call* call, const real* x) noexcept nogil:
    cdef Py_ssize_t part
    cdef bint in_double = False
    run(constants_task, call, False)
    for part in range(call.parts):
        in_double |= call.partial[part] != 0
    if in_double:  # the tiles know how, each for itself
        plan_channels(call, size_of(call), sizeof(real))
        call.parts = (call.features + call.tile - 1) // call.tile
        run(channels_task, call, False)
        return
    if call.inner == 1:
        call.parts = (call.features + COLUMNS - 1) // COLUMNS
        run(columns_task, call, False)
    else:
        call.parts = smaller(4 * call.threads, bytes_in(call) // LINE)
        run(runs_task, call, False)


cdef void constants_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        find_constants(call, <const float*> call.x, part)
    else:
        find_constants(call, <const double*> call.x, part)


cdef void find_constants(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    """The constants of some features, in the type of x; `partial` keeps whether that is not enough."""
    cdef double room[PER_FEATURE * TILE_FEATURES]
    cdef Features f
    cdef real* table
    cdef Py_ssize_t begin = part * TILE_FEATURES
    cdef Py_ssize_t i, c
    take_features(call, begin, smaller(TILE_FEATURES, call.features - begin), room, &f)
    call.partial[part] = finish(call, x, &f, NULL)
    for i in range(tables(call)):
        table = <real*> call.lane_table + i * call.reach + begin
        check_range(begin, f.number, call.reach)
        for c in range(f.number):
            table[c] = <real> f.table[i * f.number + c]


cdef void columns_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        write_columns(call, <const float*> call.x, part)
    else:
        write_columns(call, <const double*> call.x, part)


cdef void write_columns(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    """Some features of all rows; they begin at a cache line of y."""
    cdef Py_ssize_t start = first_column(call, x, part)
    cdef Py_ssize_t lanes = first_column(call, x, part + 1) - start
    check_range(start, lanes, call.features)
    write_rows(
        call, x, start, call.features, call.outer, lanes, <const real*> call.lane_table + start, call.reach
    )
    if call.stream:
        stream_end()


cdef inline Py_ssize_t first_column(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    if part == 0:
        return 0
    return smaller(call.features, part * COLUMNS + to_line(call.y) // <Py_ssize_t> sizeof(real))


cdef void runs_task(const Call* call, Py_ssize_t part) noexcept nogil:
    """From one cache line of y to another."""
    cdef Py_ssize_t start = first_byte(call, part)
    cdef Py_ssize_t stop = first_byte(call, part + 1)
    check_range(start, stop - start, bytes_in(call))
    if call.single:
        sweep_runs(call, start, stop, <const floats*> NULL, <const float*> call.lane_table)
    else:
        sweep_runs(call, start, stop, <const doubles*> NULL, <const double*> call.lane_table)
    if call.stream:
        stream_end()


cdef inline Py_ssize_t first_byte(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t lead = to_line(call.y)
    if part == 0 or part == call.parts:
        return bytes_in(call) if part else 0
    return lead + (bytes_in(call) - lead) // LINE * part // call.parts * LINE


cdef void sweep_runs(
    const Call* call, Py_ssize_t at, Py_ssize_t stop, const vector* any, const real* constants
) noexcept nogil:
    """The bytes of y from `at` to `stop`: vectors within one run, and those of which a part belongs to the next."""
    cdef vector table[3]
    cdef vector next_table[3]
    cdef Py_ssize_t width = sizeof(vector), item = sizeof(real)
    cdef Py_ssize_t run_size = call.inner * item
    cdef Py_ssize_t feature = at // run_size % call.features
    cdef Py_ssize_t end = (at // run_size + 1) * run_size
    cdef Py_ssize_t size
    spread_constants(call, feature, constants, table)
    size = smaller(to_line(<char*> call.y + at) % width, stop - at)
    if size:  # in front of the first vector of y: less than a run
        write_part(call, at, size, at, table, width, NULL, False)
        at += size
    while at < stop:
        size = (smaller(end, stop) - at) // width * width
        if call.stream:
            write_row(call, at, size, table, width, NULL, 0, True, False)
        else:
            write_row(call, at, size, table, width, NULL, 0, False, False)
        at += size
        if stop - at < width:
            break
        feature = feature + 1 if feature + 1 < call.features else 0
        spread_constants(call, feature, constants, next_table)
        if at < end:
            write_seam(call, at, table, next_table, (end - at) // item)
            at += width
        end += run_size
        memcpy(table, next_table, sizeof(table))
    if at < stop:  # behind the last vector of y
        write_part(call, at, stop - at, stop - width, table, width, NULL, False)


cdef inline void spread_constants(
    const Call* call, Py_ssize_t feature, const real* constants, vector* table
) noexcept nogil:
    check_range(feature, 1, call.features)
    table[0] = spread(constants[feature], table)
    table[1] = spread(constants[call.reach + feature], table)
    table[2] = spread(constants[2 * call.reach + feature], table)


cdef inline void write_seam(
    const Call* call, Py_ssize_t at, const vector* table, const vector* next_table, Py_ssize_t lanes
) noexcept nogil:
    """One vector, whose first lanes belong to one feature and the others to the next."""
    cdef vector x = seek(<const vector*> call.x, at)[0]
    cdef vector* y = <vector*> (<char*> call.y + at)
    check_range(at, sizeof(vector), bytes_in(call))
    check_range(SPARE - lanes, elements(table), 2 * SPARE)
    x = chosen(
        (x - table[0]) * table[1] + table[2], (x - next_table[0]) * next_table[1] + next_table[2],
        ones_then_zeros + SPARE - lanes
    )
    if call.stream:
        stream(y, x)
    else:
        y[0] = x
