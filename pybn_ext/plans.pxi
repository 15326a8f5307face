# The two plans.  A plan decides from the shape alone, so that the bits do not depend on threads.
#
#   rows       features last: rows of x, some glued together where features are few, are the rows of lanes.
#              All sums, then the constants, then all results, backwards.
#   channels   features in front of other axes, or very many features of few rows: tiles of whole
#              features, each summed, finished and written while it is in the caches.  Where there are
#              too few features to share out, each is in pieces: all sums, the constants, all results.

cdef enum:
    LANES = 128        # a row of fewer lanes than this is glued to the next
    GLUED = 512        # and one of an odd length, up to this: what is left over of a vector costs a whole one
    TABLE_LANES = 512  # shortest row of the tables of the write
    TILE_LANES = 1024  # widest tile of features
    RUN = 512          # from here on the elements of one feature that lie together are rows themselves
    RUN_LANES = 64
    FEW = 16           # features from which each thread gets whole ones
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
    cdef Py_ssize_t even = SPARE // common_divisor(call.features, SPARE)
    call.glue = 1
    if call.features < GLUED and call.outer >= 64 * even:
        # Whole vectors: 129 lanes would cost a tenth more than 144, 148 as much as 160.
        call.glue = (LANES + even * call.features - 1) // (even * call.features) * even
    call.lanes = call.features * call.glue
    call.parts = 1
    if size >= SERIAL:
        call.parts = larger(4, smaller(64, call.outer // call.glue * itemsize // 4096 * 4))
    call.period = call.lanes
    if size >= SERIAL:
        # Whole cache lines, and rows so long that their ends do not count.
        call.period *= even // common_divisor(call.glue, even)
        call.period *= (TABLE_LANES + call.period - 1) // call.period
    call.reach = 2 * call.period


cdef inline Py_ssize_t common_divisor(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef void plan_channels(Call* call, Py_ssize_t size, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t wanted = larger(128, smaller(TILE_LANES, 262144 // (call.outer * itemsize)))
    call.tile = 1
    if call.inner < RUN:
        call.tile = larger(1, smaller(wanted // call.inner, call.features // (16 if size >= SERIAL else 1)))
    call.parts = (call.features + call.tile - 1) // call.tile
    call.pieces = 1
    if call.features < FEW and call.inner >= RUN and size >= SERIAL:
        call.pieces = smaller(FEW, call.outer * call.inner // (16 * RUN)) // call.features + 1
        call.parts = call.features * call.pieces


cdef inline Py_ssize_t sums_of_lane(const Call* call) noexcept nogil:
    return 2 if call.single else 4


cdef Py_ssize_t workspace_bytes(const Call* call) noexcept nogil:
    """What `divide_workspace` hands out."""
    cdef Py_ssize_t doubles = 8 * call.features
    if call.by_rows:
        doubles += sums_of_lane(call) * call.parts * call.lanes + call.lanes + TABLES * call.reach
    elif call.pieces > 1:
        doubles += sums_of_lane(call) * call.parts * RUN_LANES + call.features
    return doubles * sizeof(double)


cdef void divide_workspace(Call* call, double* memory) noexcept nogil:
    call.low = memory
    call.inverse = call.low + call.features
    call.first = call.inverse + call.features
    call.second = call.first + call.features
    call.table = call.second + call.features
    call.partial = call.table + TABLES * call.features
    if call.by_rows:
        call.shift = call.partial + sums_of_lane(call) * call.parts * call.lanes
        call.lane_table = <double*> call.shift + call.lanes
    elif call.pieces > 1:
        call.shift = call.partial + sums_of_lane(call) * call.parts * RUN_LANES


cdef void execute(const Call* call) noexcept nogil:
    """From the planned call to its results."""
    if call.by_rows:
        if call.single:
            rows(call, <const float*> call.x)
        else:
            rows(call, <const double*> call.x)
    elif call.pieces == 1:
        run(channels_task, call, False)
    elif call.single:
        in_pieces(call, <const float*> call.x)
    else:
        in_pieces(call, <const double*> call.x)


# --- rows ------------------------------------------------------------------------------------

cdef void rows(const Call* call, const real* x) noexcept nogil:
    if takes_sums(call):
        shift_lanes(call, x)
        run(rows_sum_task, call, False)
        fold_rows(call)
    (<Call*> call).in_double = finish_features(call, x, 0, call.features, <const real*> call.shift)
    if call.operation == MOMENTS:
        return
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
    check_range(part, 1, call.parts)
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
    head = smaller(to_line(<real*> call.y + start) // <Py_ssize_t> sizeof(real), stop - start)
    check_range((start + head) % period, period, reach)
    write_head(call, x, start, head, table + start % period, reach)
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
    cdef bint in_double
    if takes_sums(call):
        shift_tile(call, x, feature, features, <real*> shift)
        if call.inner < RUN:
            sum_tile(call, x, feature, features, <real*> shift)
        else:
            sum_feature(call, x, feature, shift[0])
    in_double = finish_features(call, x, feature, features, <real*> shift)
    if call.operation != MOMENTS:
        write_features(call, x, feature, features, 0, call.outer * call.inner, in_double)


cdef bint finish_features(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, const real* shift
) noexcept nogil:
    """The constants of some features from their sums; whether the write has to be finished in double."""
    cdef bint in_double = False
    if call.operation == MOMENTS or call.operation == TRAINING:
        finish_moments(call, x, feature, features, shift)
    if call.operation == MOMENTS:
        return False
    finish_inverse(call, feature, features)
    if is_gradient(call):
        finish_gradient_sums(call, x, feature, features)
    finish_table(call, feature, features, real is float)
    if real is float:
        in_double = leaves_float32(call, feature, features)
        if in_double:
            finish_table(call, feature, features, False)
    return in_double


cdef void write_features(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, Py_ssize_t start, Py_ssize_t stop,
    bint in_double
) noexcept nogil:
    """The results of some features at the positions from `start` to `stop`."""
    if real is double or in_double:
        write_tile(call, x, feature, features, start, stop, <double*> NULL)
    else:
        write_tile(call, x, feature, features, start, stop, <float*> NULL)


cdef void shift_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, real* shift
) noexcept nogil:
    cdef Py_ssize_t c
    if is_gradient(call):
        for c in range(features):
            shift[c] = <real> call.mean[feature + c]
    else:
        choose_shift(call, x, feature, features, shift)


cdef inline void fill(wide* to, Py_ssize_t n, wide value) noexcept nogil:
    """n times the value, and more: whole vectors, which what follows overwrites."""
    cdef Py_ssize_t i, j
    for i in range((n + SPARE - 1) // SPARE):
        for j in range(SPARE):
            to[i * SPARE + j] = value


cdef void sum_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, const real* shift
) noexcept nogil:
    """Lanes are the inner elements of each feature of the tile, rows the outer index."""
    cdef real lane_shift[TILE_LANES + SPARE]
    cdef double sums[4 * TILE_LANES]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = features * inner
    cdef Py_ssize_t c
    check_range(0, lanes, TILE_LANES)
    if inner > 1:
        for c in range(features):
            fill(<real*> lane_shift + c * inner, inner, shift[c])
        shift = <const real*> lane_shift
    memset(sums, 0, sums_of_lane(call) * lanes * sizeof(double))
    add_block(call, x, feature * inner, call.outer, call.features * inner, lanes, shift, <double*> sums, lanes)
    total_lanes(call, sums, lanes, features, inner, call.first + feature)
    total_lanes(call, <double*> sums + lanes, lanes, features, inner, call.second + feature)


cdef void sum_feature(const Call* call, const real* x, Py_ssize_t feature, real shift) noexcept nogil:
    """One feature whose elements lie together in runs."""
    cdef double sums[4 * RUN_LANES]
    sum_runs(call, x, feature, 0, call.outer * call.inner, shift, <double*> sums)
    call.first[feature] = sum_of_lanes(call, sums, RUN_LANES, RUN_LANES)
    call.second[feature] = sum_of_lanes(call, <double*> sums + RUN_LANES, RUN_LANES, RUN_LANES)


cdef void sum_runs(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t start, Py_ssize_t stop, real shift, double* sums
) noexcept nogil:
    """The positions of one feature from `start` to `stop`: in each run, rows of RUN_LANES lanes and a rest."""
    cdef real lane_shift[RUN_LANES]
    cdef Py_ssize_t j, at, length, full
    for j in range(RUN_LANES):
        lane_shift[j] = shift
    memset(sums, 0, sums_of_lane(call) * RUN_LANES * sizeof(double))
    while start < stop:
        length = smaller(stop - start, call.inner - start % call.inner)
        at = element(call, feature, start)
        full = length // RUN_LANES
        add_block(call, x, at, full, RUN_LANES, RUN_LANES, <const real*> lane_shift, sums, RUN_LANES)
        if length % RUN_LANES:
            at += full * RUN_LANES
            add_block(call, x, at, 1, RUN_LANES, length % RUN_LANES, <const real*> lane_shift, sums, RUN_LANES)
        start += length


cdef void write_tile(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t features, Py_ssize_t position, Py_ssize_t stop,
    wide* which
) noexcept nogil:
    """`which` only tells the type of the tables.  Whole tiles, or one feature from `position` to `stop`."""
    cdef wide table[TABLES * (TILE_LANES + SPARE)]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t each = inner if inner < RUN else BAND
    cdef Py_ssize_t reach = features * each + SPARE
    cdef const double* constant
    cdef Py_ssize_t i, c, length
    check_range(0, reach, TILE_LANES + SPARE)
    for i in range(TABLES if call.operation == GRADIENT else TABLES - 1):
        constant = call.table + i * call.features + feature
        if each == 1:
            for c in range(features):
                table[i * reach + c] = <wide> constant[c]
        else:
            for c in range(features):
                fill(<wide*> table + i * reach + c * each, each, <wide> constant[c])
    if inner < RUN:
        write_rows(
            call, x, feature * inner, call.features * inner, call.outer, features * inner, <const wide*> table, reach
        )
    else:
        while position < stop:
            length = smaller(stop - position, inner - position % inner)
            write_run(call, x, element(call, feature, position), length, <const wide*> table, reach)
            position += length
    if call.stream:
        stream_end()


# --- channels in pieces ----------------------------------------------------------------------

cdef void in_pieces(const Call* call, const real* x) noexcept nogil:
    cdef const double* sums
    cdef Py_ssize_t c, i
    if takes_sums(call):
        shift_tile(call, x, 0, call.features, <real*> call.shift)
        run(piece_sum_task, call, False)
        for c in range(call.features):
            call.first[c] = call.second[c] = 0
            for i in range(call.pieces):
                sums = call.partial + (c * call.pieces + i) * sums_of_lane(call) * RUN_LANES
                call.first[c] += sum_of_lanes(call, sums, RUN_LANES, RUN_LANES)
                call.second[c] += sum_of_lanes(call, sums + RUN_LANES, RUN_LANES, RUN_LANES)
    (<Call*> call).in_double = finish_features(call, x, 0, call.features, <const real*> call.shift)
    if call.operation != MOMENTS:
        run(piece_write_task, call, True)


cdef inline Py_ssize_t piece_start(const Call* call, Py_ssize_t piece) noexcept nogil:
    """The position at which a piece of a feature starts; the number of pieces ends the last."""
    return call.outer * call.inner * piece // call.pieces


cdef void piece_sum_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef double* sums = call.partial + part * sums_of_lane(call) * RUN_LANES
    cdef Py_ssize_t feature = part // call.pieces
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    if call.single:
        sum_runs(call, <const float*> call.x, feature, start, stop, (<float*> call.shift)[feature], sums)
    else:
        sum_runs(call, <const double*> call.x, feature, start, stop, (<double*> call.shift)[feature], sums)


cdef void piece_write_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t feature = part // call.pieces
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    if call.single:
        write_features(call, <const float*> call.x, feature, 1, start, stop, call.in_double)
    else:
        write_features(call, <const double*> call.x, feature, 1, start, stop, call.in_double)
