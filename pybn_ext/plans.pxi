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
    call.glue = 1 if call.features >= LANES // 2 else (LANES + call.features - 1) // call.features
    call.lanes = call.features * call.glue
    call.parts = 1 if size < SERIAL else larger(1, smaller(64, call.outer * itemsize // 512))
    call.period = call.lanes
    if size >= 16 * CHUNK and call.lanes < CHUNK:
        call.period = call.lanes * (CHUNK // call.lanes)
    call.reach = call.period + (CHUNK if call.stream else 0)


cdef void plan_channels(Call* call, Py_ssize_t size, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t wanted = larger(128, smaller(TILE_LANES, 262144 // (call.outer * itemsize)))
    call.tile = 1
    if call.inner < RUN:
        call.tile = larger(1, smaller(wanted // call.inner, call.features // 16))
    call.parts = (call.features + call.tile - 1) // call.tile
    call.lanes = call.tile * call.inner if call.inner < RUN else RUN_LANES
    call.period = call.tile * call.inner if call.inner < RUN else CHUNK
    call.reach = call.period


cdef Py_ssize_t workspace_bytes(const Call* call) noexcept nogil:
    """What `divide_workspace` hands out."""
    cdef Py_ssize_t doubles = 7 * call.features + 8
    if call.by_rows:
        doubles += 2 * call.parts * call.lanes + call.lanes + 4 * call.reach
    return doubles * sizeof(double)


cdef void divide_workspace(Call* call, double* memory) noexcept nogil:
    call.low = memory
    call.first = call.low + call.features
    call.second = call.first + call.features
    call.table = call.second + call.features
    call.partial = call.table + 4 * call.features
    if call.by_rows:
        call.shift = call.partial + 2 * call.parts * call.lanes
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
    cdef double* first = call.partial + part * 2 * call.lanes
    cdef Py_ssize_t all_rows = call.outer // call.glue
    cdef Py_ssize_t start = all_rows * part // call.parts
    cdef Py_ssize_t stop = all_rows * (part + 1) // call.parts
    cdef Py_ssize_t rest = (call.outer % call.glue) * call.features
    cdef const real* shift = <const real*> call.shift
    memset(first, 0, 2 * call.lanes * sizeof(double))
    add_block(call, x, start * call.lanes, stop - start, call.lanes, call.lanes, shift, first, first + call.lanes)
    if part == call.parts - 1 and rest:
        add_block(call, x, all_rows * call.lanes, 1, call.lanes, rest, shift, first, first + call.lanes)


cdef void fold_rows(const Call* call) noexcept nogil:
    """The sums of each feature from those of its lanes in each part."""
    cdef double* total = call.partial
    cdef Py_ssize_t i, j, c
    for i in range(1, call.parts):
        for j in range(2 * call.lanes):
            total[j] += total[i * 2 * call.lanes + j]
    for c in range(call.features):
        call.first[c] = total[c]
        call.second[c] = total[call.lanes + c]
    for i in range(1, call.glue):
        for c in range(call.features):
            call.first[c] += total[i * call.features + c]
            call.second[c] += total[call.lanes + i * call.features + c]


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
    cdef Py_ssize_t all_rows = call.outer // call.glue
    cdef Py_ssize_t start = (all_rows * part // call.parts) * call.lanes
    cdef Py_ssize_t stop = (all_rows * (part + 1) // call.parts) * call.lanes
    if part == call.parts - 1:
        stop = call.outer * call.features
    write_stretch(call, x, start, stop - start, table, call.reach, start % call.period)
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
    cdef double first[TILE_LANES]
    cdef double second[TILE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = features * inner
    cdef Py_ssize_t c, i
    for c in range(features):
        for i in range(inner):
            lane_shift[c * inner + i] = shift[c]
    memset(first, 0, lanes * sizeof(double))
    memset(second, 0, lanes * sizeof(double))
    add_block(
        call, x, feature * inner, call.outer, call.features * inner, lanes, <real*> lane_shift,
        <double*> first, <double*> second
    )
    for c in range(features):
        call.first[feature + c] = sum_of_lanes(first + c * inner, inner)
        call.second[feature + c] = sum_of_lanes(second + c * inner, inner)


cdef void sum_runs(const Call* call, const real* x, Py_ssize_t feature, real shift) noexcept nogil:
    """Each run of inner elements is rows of RUN_LANES lanes, and a rest."""
    cdef real lane_shift[RUN_LANES]
    cdef double first[RUN_LANES]
    cdef double second[RUN_LANES]
    cdef Py_ssize_t full = call.inner // RUN_LANES
    cdef Py_ssize_t rest = call.inner % RUN_LANES
    cdef Py_ssize_t outer, j, start
    for j in range(RUN_LANES):
        lane_shift[j] = shift
        first[j] = second[j] = 0
    for outer in range(call.outer):
        start = (outer * call.features + feature) * call.inner
        add_block(call, x, start, full, RUN_LANES, RUN_LANES, <real*> lane_shift, <double*> first, <double*> second)
        if rest:
            add_block(
                call, x, start + full * RUN_LANES, 1, RUN_LANES, rest, <real*> lane_shift, <double*> first,
                <double*> second
            )
    call.first[feature] = sum_of_lanes(first, RUN_LANES)
    call.second[feature] = sum_of_lanes(second, RUN_LANES)


cdef void write_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, wide* which
) noexcept nogil:
    cdef wide table[4 * TILE_LANES]
    cdef Py_ssize_t reach = call.reach
    cdef Py_ssize_t each = call.inner if call.inner < RUN else CHUNK
    cdef Py_ssize_t i, c, j, outer
    cdef wide value
    for i in range(4):
        for c in range(features):
            value = <wide> call.table[i * call.features + feature + c]
            for j in range(each):
                table[i * reach + c * each + j] = value
    for outer in range(call.outer):
        write_stretch(
            call, x, (outer * call.features + feature) * call.inner, features * call.inner, <wide*> table, reach, 0
        )
    if call.stream:
        stream_end()
