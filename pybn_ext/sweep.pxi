# Inference with features in front of other axes, or very many features: nothing is summed, so runs are written from
# the first byte of y to the last, as they lie in memory.  Tiles of features, whose rows are apart, cost small images a
# quarter of their time.  Where features are last, columns of them begin at a cache line.

cdef enum:
    # Features last: lanes of a tile.  Past the caches as many as the first-level cache holds the tables of; into them
    # rows in longer pieces took 0.85 to 0.9 of the time (64 x 32768).
    TILE_COLUMNS = 1024
    LONG_COLUMNS = 4096


cdef void sweep(Call* call) noexcept nogil:
    run(constants_task, call, groups(call), False)
    if any_doubtful(call):  # the tiles know how, each for itself
        plan_channels(call)
        run(channels_task, call, (call.features + call.tile - 1) // call.tile, False)
    elif call.inner == 1:
        run(columns_task, call, (call.features + columns(call) - 1) // columns(call), False)
    elif even_runs(call):
        run(even_runs_task, call, call.parts, False)
    else:
        run(runs_task, call, call.parts, False)


cdef void constants_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        find_constants(call, <const float*> call.x, part)
    else:
        find_constants(call, <const double*> call.x, part)


cdef void find_constants(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    """The constants of a group of features, in the type of x."""
    cdef double room[PER_FEATURE * TILE_FEATURES]
    cdef Features f
    cdef real* table
    cdef Py_ssize_t begin = first_of_group(call, part)
    cdef Py_ssize_t i, c
    take_features(call, begin, first_of_group(call, part + 1) - begin, room, &f)
    call.doubtful[part] = finish(call, x, &f, NULL)
    for i in range(tables(call)):
        table = <real*> call.lane_table + i * call.reach + begin
        check_range(begin, f.number, call.reach)
        for c in range(f.number):
            table[c] = <real> f.table[i * f.reach + c]


cdef void columns_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        write_columns(call, <const float*> call.x, part)
    else:
        write_columns(call, <const double*> call.x, part)


cdef void write_columns(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    """Some features of all rows; they begin at a cache line of y, in each row where a row is whole lines."""
    cdef Py_ssize_t start = first_column(call, part)
    cdef Py_ssize_t lanes = first_column(call, part + 1) - start
    check_range(start, lanes, call.features)
    write_rows(
        call, x, start, call.features, call.outer, lanes, <const real*> call.lane_table + start, call.reach
    )
    if call.stream:
        stream_end()


cdef inline Py_ssize_t columns(const Call* call) noexcept nogil:
    """Lanes of a tile: fewer where threads would not get as many of them."""
    cdef Py_ssize_t share_ = call.features // (4 * call.threads) // LINE * LINE
    return TILE_COLUMNS if call.stream else larger(TILE_COLUMNS, smaller(LONG_COLUMNS, share_))


cdef inline Py_ssize_t first_column(const Call* call, Py_ssize_t part) noexcept nogil:
    if part == 0:
        return 0
    return smaller(call.features, part * columns(call) + to_line(call.y) // item_of(call))


cdef void even_runs_task(const Call* call, Py_ssize_t part) noexcept nogil:
    """Some runs, but for the bytes of the first in front of a cache line, and with those behind the last."""
    cdef Py_ssize_t all_runs = call.outer * call.features
    cdef Py_ssize_t first = all_runs * part // call.parts
    cdef Py_ssize_t number = all_runs * (part + 1) // call.parts - first
    if call.single:
        write_even_runs(call, first, number, <const float*> call.lane_table, <const floats*> NULL)
    else:
        write_even_runs(call, first, number, <const double*> call.lane_table, <const doubles*> NULL)
    if call.stream:
        stream_end()


cdef void runs_task(const Call* call, Py_ssize_t part) noexcept nogil:
    """From one cache line of y to another."""
    cdef Py_ssize_t start = first_byte(call, part)
    cdef Py_ssize_t stop = first_byte(call, part + 1)
    cdef Py_ssize_t run_size = call.inner * item_of(call)
    cdef Runs runs
    runs.feature = start // run_size % call.features
    runs.end = (start // run_size + 1) * run_size
    runs.reach = call.reach
    runs.keep = NULL
    if call.keep != NULL:
        runs.keep = call.keep + start // (run_size * call.features) * call.inner
    check_range(start, stop - start, bytes_in(call))
    if call.single:
        write_vectors_of_runs(
            call, start, stop, runs, <const float*> call.lane_table, <const floats*> NULL, call.stream
        )
    else:
        write_vectors_of_runs(
            call, start, stop, runs, <const double*> call.lane_table, <const doubles*> NULL, call.stream
        )
    if call.stream:
        stream_end()


cdef inline Py_ssize_t first_byte(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t lead = to_line(call.y)
    if part == 0 or part == call.parts:
        return bytes_in(call) if part else 0
    return lead + (bytes_in(call) - lead) // LINE * part // call.parts * LINE
