# The two plans.  A plan decides from the shape alone, so that the bits do not depend on threads.
#
#   rows       features last: rows of x, some glued together where features are few, are the rows of lanes.
#              All sums, then the constants, then all results, backwards.
#   channels   features in front of other axes, or very many features of few rows: tiles of whole
#              features, each summed, finished and written while it is in the caches.

cdef enum:
    LANES = 128        # a row of fewer lanes than this is glued to the next
    TILE_LANES = 1024  # widest tile of features
    RUN = 512          # from here on the elements of one feature that lie together are rows themselves
    RUN_LANES = 64
    STREAM = 1 << 20   # bytes of a result from which it is written past the caches


cdef void plan(Call* call) noexcept nogil:
    cdef Py_ssize_t size = call.outer * call.features * call.inner
    cdef Py_ssize_t itemsize = 4 if call.single else 8
    cdef Py_ssize_t i
    call.stream = size * itemsize >= STREAM
    call.threads = 1 if size < SERIAL else usable_threads()
    call.by_rows = call.inner == 1 and not (call.outer <= 128 and call.features >= 4096)
    for i in range(SAMPLES):
        call.samples[i] = next_kept(call, i * (call.outer * call.inner - 1) // (SAMPLES - 1))
    if call.by_rows:
        plan_rows(call, size, itemsize)
    else:
        plan_channels(call, size, itemsize)


cdef void plan_rows(Call* call, Py_ssize_t size, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t line = 64 // itemsize
    call.glue = 1 if call.features >= LANES // 2 else (LANES + call.features - 1) // call.features
    call.lanes = call.features * call.glue
    call.parts = 1 if size < SERIAL else larger(1, smaller(64, call.outer * itemsize // 512))
    call.period = call.lanes
    if size >= SERIAL and call.lanes < 2 * BAND:
        # Whole cache lines, and enough lanes for a band.
        call.period *= larger(BAND // call.lanes, 1)
        while call.period % line and call.period < 4096:
            call.period *= 2
    call.reach = 2 * call.period


cdef void plan_channels(Call* call, Py_ssize_t size, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t wanted = larger(128, smaller(TILE_LANES, 262144 // (call.outer * itemsize)))
    call.tile = 1
    if call.inner < RUN:
        call.tile = larger(1, smaller(wanted // call.inner, call.features // 16))
    call.parts = (call.features + call.tile - 1) // call.tile


cdef inline Py_ssize_t sums_of_lane(const Call* call) noexcept nogil:
    return 2 if call.single else 4


cdef Py_ssize_t workspace_bytes(const Call* call) noexcept nogil:
    """What `divide_workspace` hands out."""
    cdef Py_ssize_t doubles = 7 * call.features
    if call.by_rows:
        doubles += sums_of_lane(call) * call.parts * call.lanes + call.lanes + TABLES * call.reach
    return doubles * sizeof(double)


cdef void divide_workspace(Call* call, double* memory) noexcept nogil:
    call.low = memory
    call.first = call.low + call.features
    call.second = call.first + call.features
    call.table = call.second + call.features
    call.partial = call.table + TABLES * call.features
    if call.by_rows:
        call.shift = call.partial + sums_of_lane(call) * call.parts * call.lanes
        call.lane_table = <double*> call.shift + call.lanes


cdef void execute(const Call* call) noexcept nogil:
    """From the planned call to its results."""
    if call.by_rows:
        if call.single:
            rows(call, <const float*> call.x)
        else:
            rows(call, <const double*> call.x)
    else:
        run(channels_task, call, False)


# --- rows ------------------------------------------------------------------------------------

cdef void rows(const Call* call, const real* x) noexcept nogil:
    if takes_sums(call):
        shift_lanes(call, x)
        run(rows_sum_task, call, False)
        fold_rows(call)
    if call.operation == MOMENTS or call.operation == TRAINING:
        finish_moments(call, x, 0, call.features, <const real*> call.shift)
    elif is_gradient(call):
        finish_gradient_sums(call, x, 0, call.features)
    if call.operation == MOMENTS:
        return
    finish_table(call, 0, call.features, call.single)
    (<Call*> call).in_double = call.single and leaves_float32(call, 0, call.features)
    if call.in_double:
        finish_table(call, 0, call.features, False)
    spread_rows_table(call)
    run(rows_write_task, call, True)


cdef void shift_lanes(const Call* call, const real* x) noexcept nogil:
    """The shift of each lane: near the mean for the moments, the rounded mean for the gradient."""
    cdef real* shift = <real*> call.shift
    cdef Py_ssize_t c, i
    if is_gradient(call):
        for c in range(call.features):
            shift[c] = <real> call.mean[c]
    else:
        choose_shift(call, x, 0, call.features, shift)
    for i in range(1, call.glue):
        memcpy(shift + i * call.features, shift, call.features * sizeof(real))


cdef void rows_sum_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        rows_sum(call, <const float*> call.x, part)
    else:
        rows_sum(call, <const double*> call.x, part)


cdef void rows_sum(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t lanes = call.lanes
    cdef double* sums = call.partial + part * sums_of_lane(call) * lanes
    cdef Py_ssize_t all_rows = call.outer // call.glue
    cdef Py_ssize_t start = all_rows * part // call.parts
    cdef Py_ssize_t stop = all_rows * (part + 1) // call.parts
    cdef Py_ssize_t rest = (call.outer % call.glue) * call.features
    cdef const real* shift = <const real*> call.shift
    memset(sums, 0, sums_of_lane(call) * lanes * sizeof(double))
    add_block(call, x, start * lanes, stop - start, lanes, lanes, shift, sums, lanes)
    if part == call.parts - 1 and rest:
        add_block(call, x, all_rows * lanes, 1, lanes, rest, shift, sums, lanes)


cdef void fold_rows(const Call* call) noexcept nogil:
    """The sums of each feature from those of its lanes in each part."""
    cdef double* sums = call.partial
    cdef Py_ssize_t size = sums_of_lane(call) * call.lanes
    cdef Py_ssize_t apart = 1, i, j
    # By pairs: rounding errors grow with the depth of the tree, 6, not with its 64 leaves.
    while apart < call.parts:
        for i in range((call.parts - apart - 1) // (2 * apart) + 1):
            for j in range(size):
                sums[2 * apart * i * size + j] += sums[(2 * i + 1) * apart * size + j]
        apart *= 2
    fold_lanes(call, sums, call.first)
    fold_lanes(call, sums + call.lanes, call.second)


cdef void fold_lanes(const Call* call, const double* lanes, double* total) noexcept nogil:
    """One sum for each feature, over the rows that are glued together."""
    cdef const double* lost = lanes + 2 * call.lanes
    cdef Py_ssize_t features = call.features
    cdef Total sum_
    cdef Py_ssize_t c, i
    if call.glue == 1:
        for c in range(features):
            total[c] = lanes[c] if call.single else lanes[c] + lost[c]
        return
    for c in range(features):
        sum_.plain = sum_.lost = 0
        for i in range(call.glue):
            add(&sum_, lanes[i * features + c])
            if not call.single:
                sum_.lost += lost[i * features + c]
        total[c] = value_of(&sum_)


cdef void spread_rows_table(const Call* call) noexcept nogil:
    if call.single and not call.in_double:
        spread_rows(call, <float*> call.lane_table)
    else:
        spread_rows(call, <double*> call.lane_table)


cdef void spread_rows(const Call* call, wide* table) noexcept nogil:
    """The constants of the features, repeated along the lanes."""
    cdef Py_ssize_t i, c, done
    for i in range(4):
        for c in range(call.features):
            table[i * call.reach + c] = <wide> call.table[i * call.features + c]
        done = call.features
        while done < call.reach:
            c = smaller(done, call.reach - done)
            memcpy(table + i * call.reach + done, table + i * call.reach, c * sizeof(wide))
            done += c


cdef void rows_write_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if not call.single:
        rows_write(call, <const double*> call.x, <const double*> call.lane_table, part)
    elif call.in_double:
        rows_write(call, <const float*> call.x, <const double*> call.lane_table, part)
    else:
        rows_write(call, <const float*> call.x, <const float*> call.lane_table, part)


cdef void rows_write(const Call* call, const real* x, const wide* table, Py_ssize_t part) noexcept nogil:
    """From the first whole cache line on, periods of the tables are rows of lanes; before and after it, the ends."""
    cdef Py_ssize_t all_rows = call.outer // call.glue
    cdef Py_ssize_t start = (all_rows * part // call.parts) * call.lanes
    cdef Py_ssize_t stop = (all_rows * (part + 1) // call.parts) * call.lanes
    cdef Py_ssize_t period = call.period, reach = call.reach
    cdef Py_ssize_t head, rows
    if part == call.parts - 1:
        stop = call.outer * call.features
    head = smaller(misfit(<real*> call.y + start), stop - start)
    write_rows(call, x, start, period, 1, head, table + start % period, reach)
    start += head
    rows = (stop - start) // period
    write_rows(call, x, start, period, rows, period, table + start % period, reach)
    start += rows * period
    write_rows(call, x, start, period, 1, stop - start, table + start % period, reach)
    if call.stream:
        stream_end()


# --- channels --------------------------------------------------------------------------------

cdef void channels_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        channels(call, <const float*> call.x, part)
    else:
        channels(call, <const double*> call.x, part)


cdef void channels(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t feature = part * call.tile
    cdef Py_ssize_t features = smaller(call.tile, call.features - feature)
    cdef real shift[TILE_LANES]
    if takes_sums(call):
        shift_tile(call, x, feature, features, <real*> shift)
        if call.inner < RUN:
            sum_tile(call, x, feature, features, <real*> shift)
        else:
            sum_runs(call, x, feature, shift[0])
    if call.operation == MOMENTS or call.operation == TRAINING:
        finish_moments(call, x, feature, features, <real*> shift)
    elif is_gradient(call):
        finish_gradient_sums(call, x, feature, features)
    if call.operation == MOMENTS:
        return
    finish_table(call, feature, features, real is float)
    if real is double:
        write_tile(call, x, feature, features, <double*> NULL)
    elif leaves_float32(call, feature, features):
        finish_table(call, feature, features, False)
        write_tile(call, x, feature, features, <double*> NULL)
    else:
        write_tile(call, x, feature, features, <float*> NULL)


cdef void shift_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, real* shift
) noexcept nogil:
    cdef Py_ssize_t c
    if is_gradient(call):
        for c in range(features):
            shift[c] = <real> call.mean[feature + c]
    else:
        choose_shift(call, x, feature, features, shift)


cdef void sum_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, const real* shift
) noexcept nogil:
    """Lanes are the inner elements of each feature of the tile, rows the outer index."""
    cdef real lane_shift[TILE_LANES]
    cdef double sums[4 * TILE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = features * inner
    cdef Py_ssize_t c, i
    for c in range(features):
        for i in range(inner):
            lane_shift[c * inner + i] = shift[c]
    memset(sums, 0, sums_of_lane(call) * lanes * sizeof(double))
    add_block(
        call, x, feature * inner, call.outer, call.features * inner, lanes, <const real*> lane_shift, <double*> sums,
        lanes
    )
    for c in range(features):
        call.first[feature + c] = sum_of_lanes(call, <double*> sums + c * inner, lanes, inner)
        call.second[feature + c] = sum_of_lanes(call, <double*> sums + lanes + c * inner, lanes, inner)


cdef void sum_runs(const Call* call, const real* x, Py_ssize_t feature, real shift) noexcept nogil:
    """Each run of inner elements is rows of RUN_LANES lanes, and a rest."""
    cdef real lane_shift[RUN_LANES]
    cdef double sums[4 * RUN_LANES]
    cdef Py_ssize_t full = call.inner // RUN_LANES
    cdef Py_ssize_t rest = call.inner % RUN_LANES
    cdef Py_ssize_t outer, j, start
    for j in range(RUN_LANES):
        lane_shift[j] = shift
    memset(sums, 0, sizeof(sums))
    for outer in range(call.outer):
        start = (outer * call.features + feature) * call.inner
        add_block(call, x, start, full, RUN_LANES, RUN_LANES, <const real*> lane_shift, <double*> sums, RUN_LANES)
        start += full * RUN_LANES
        if rest:
            add_block(call, x, start, 1, RUN_LANES, rest, <const real*> lane_shift, <double*> sums, RUN_LANES)
    call.first[feature] = sum_of_lanes(call, sums, RUN_LANES, RUN_LANES)
    call.second[feature] = sum_of_lanes(call, <double*> sums + RUN_LANES, RUN_LANES, RUN_LANES)


cdef void write_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, wide* which
) noexcept nogil:
    """`which` only tells the type of the tables."""
    cdef wide table[TABLES * TILE_LANES]
    cdef Py_ssize_t each = smaller(call.inner, TILE_LANES)
    cdef Py_ssize_t lanes = features * each
    cdef Py_ssize_t i, c, j, outer, start, step
    cdef wide value
    for i in range(TABLES):
        for c in range(features):
            value = <wide> call.table[i * call.features + feature + c]
            for j in range(each):
                table[i * lanes + c * each + j] = value
    start = feature * call.inner
    if each == call.inner:
        write_rows(call, x, start, call.features * call.inner, call.outer, lanes, <const wide*> table, lanes)
    else:
        for outer in range(call.outer):
            write_run(call, x, start + outer * call.features * call.inner, <const wide*> table)
    if call.stream:
        stream_end()


cdef void write_run(const Call* call, const real* x, Py_ssize_t start, const wide* table) noexcept nogil:
    """A run of one feature: from the first whole cache line on, rows of TILE_LANES lanes."""
    cdef Py_ssize_t stop = start + call.inner
    cdef Py_ssize_t head = smaller(misfit(<real*> call.y + start), call.inner)
    cdef Py_ssize_t rows = (call.inner - head) // TILE_LANES
    write_rows(call, x, start, TILE_LANES, 1, head, table, TILE_LANES)
    start += head
    write_rows(call, x, start, TILE_LANES, rows, TILE_LANES, table, TILE_LANES)
    start += rows * TILE_LANES
    write_rows(call, x, start, TILE_LANES, 1, stop - start, table, TILE_LANES)
