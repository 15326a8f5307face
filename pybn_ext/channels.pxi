# Features in front of other axes, or very many features of few rows: tiles of whole features, each summed, finished and
# written while it is in the caches.  Where there are too few features to share out, each is in pieces: all sums, the
# constants, all results.

cdef void channels_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        channels(call, <const float*> call.x, part)
    else:
        channels(call, <const double*> call.x, part)


cdef void channels(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t begin = part * call.tile
    cdef double room[PER_FEATURE * TILE_FEATURES]
    cdef real shift[TILE_FEATURES]
    cdef Features some
    check_range(part, 1, call.parts)
    check_range(0, smaller(call.tile, call.features - begin), TILE_FEATURES)
    take_features(call, begin, smaller(call.tile, call.features - begin), room, &some)
    if takes_sums(call):
        shift_features(call, x, &some, <real*> shift)
        if call.inner < RUN:
            sum_tile(call, x, &some, <real*> shift)
        else:
            sum_feature(call, x, &some, shift[0])
    write_features(call, x, &some, 0, 0, call.outer * call.inner, finish(call, x, &some, <const real*> shift))


cdef void write_features(
    const Call* call, const real* x, const Features* f, Py_ssize_t index, Py_ssize_t start, Py_ssize_t stop,
    bint in_double
) noexcept nogil:
    """The results of a tile, or those of one feature of `f` with long runs, at the positions from `start` to `stop`."""
    if call.operation == MOMENTS:
        return
    if call.inner < RUN:
        if real is double or in_double:
            write_tile(call, x, f, <double*> NULL)
        else:
            write_tile(call, x, f, <float*> NULL)
    elif real is double or in_double:
        write_runs(call, x, f, index, start, stop, <double*> NULL)
    else:
        write_runs(call, x, f, index, start, stop, <float*> NULL)
    if call.stream:
        stream_end()


cdef inline void fill(wide* to, Py_ssize_t n, wide value) noexcept nogil:
    """n times the value, and more: whole vectors, which what follows overwrites."""
    cdef Py_ssize_t i, j
    for i in range((n + SPARE - 1) // SPARE):
        for j in range(SPARE):
            to[i * SPARE + j] = value


cdef void sum_tile(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """Lanes are the inner elements of each feature of the tile, rows the outer index."""
    cdef real lane_shift[TILE_LANES + SPARE]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = f.number * inner
    cdef Py_ssize_t c
    check_range(0, lanes, TILE_LANES)
    if inner > 1:
        for c in range(f.number):
            fill(<real*> lane_shift + c * inner, inner, shift[c])
        shift = <const real*> lane_shift
    if call.outer <= most_rows(x[0]) and lanes >= SPARE:
        sum_low_tile(call, x, f, lanes, shift)
    else:
        sum_high_tile(call, x, f, lanes, shift)


cdef void sum_low_tile(
    const Call* call, const real* x, const Features* f, Py_ssize_t lanes, const real* shift
) noexcept nogil:
    """Rows so few that what they add up to in x's own type is all there is."""
    cdef real s_room[TILE_LANES + 2 * SPARE]
    cdef real q_room[TILE_LANES + 2 * SPARE]
    cdef real* s = <real*> next_line(s_room)
    cdef real* q = <real*> next_line(q_room)
    cdef Py_ssize_t start = f.begin * call.inner
    cdef Py_ssize_t stride = call.features * call.inner
    cdef Rows rows = plain_rows(call.outer, stride * sizeof(real))
    cdef unsigned char keep[ROWS * TILE_LANES + LINE]
    cdef Py_ssize_t row
    check_range(start, (call.outer - 1) * stride + lanes, size_of(call))
    check_range(0, call.outer, ROWS)
    check_range(s - <real*> s_room, lanes + SPARE, TILE_LANES + 2 * SPARE)
    check_range(q - <real*> q_room, lanes + SPARE, TILE_LANES + 2 * SPARE)
    if call.keep != NULL:
        check_range(0, call.outer * lanes, ROWS * TILE_LANES)
        for row in range(call.outer):
            spread_keep(call, start + row * stride, lanes, <unsigned char*> keep + row * lanes)
        rows.keep = keep
        rows.keep_stride = lanes
    sum_rows(&rows, x + start, behind(<const real*> call.dy, start), lanes, shift, s, q)
    total_partial(<const real*> s, f.number, call.inner, f.first)
    total_partial(<const real*> q, f.number, call.inner, f.second)


cdef void sum_high_tile(
    const Call* call, const real* x, const Features* f, Py_ssize_t lanes, const real* shift
) noexcept nogil:
    cdef double sums[4 * TILE_LANES]
    check_range(0, lanes, TILE_LANES)
    memset(sums, 0, sums_of_lane(call) * lanes * sizeof(double))
    add_block(
        call, x, f.begin * call.inner, call.outer, call.features * call.inner, lanes, shift, <double*> sums, lanes
    )
    total_lanes(call, sums, lanes, f.number, call.inner, f.first)
    total_lanes(call, <double*> sums + lanes, lanes, f.number, call.inner, f.second)


cdef void sum_feature(const Call* call, const real* x, const Features* f, real shift) noexcept nogil:
    """One feature whose elements lie together in runs."""
    cdef double sums[4 * RUN_LANES]
    sum_runs(call, x, f.begin, 0, call.outer * call.inner, shift, <double*> sums)
    f.first[0] = sum_of_lanes(call, sums, RUN_LANES, RUN_LANES)
    f.second[0] = sum_of_lanes(call, <double*> sums + RUN_LANES, RUN_LANES, RUN_LANES)


cdef void sum_runs(
    const Call* call, const real* x, Py_ssize_t feature, Py_ssize_t start, Py_ssize_t stop, real shift, double* sums
) noexcept nogil:
    """The positions of one feature from `start` to `stop`: in each run, rows of RUN_LANES lanes and a rest."""
    cdef real lane_shift[RUN_LANES]
    cdef Py_ssize_t j, at, length, full
    check_range(feature, 1, call.features)
    check_range(start, stop - start, call.outer * call.inner)
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


cdef void write_tile(const Call* call, const real* x, const Features* f, wide* which) noexcept nogil:
    """`which` only tells the type of the tables: a constant for each lane of the tile."""
    cdef wide table[TABLES * (TILE_LANES + SPARE)]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = f.number * inner
    cdef Py_ssize_t reach = lanes + SPARE
    cdef const double* constant
    cdef Py_ssize_t i, c
    check_range(0, lanes, TILE_LANES)
    for i in range(tables(call)):
        constant = f.table + i * f.number
        if inner == 1:
            for c in range(lanes):
                table[i * reach + c] = <wide> constant[c]
        else:
            for c in range(f.number):
                fill(<wide*> table + i * reach + c * inner, inner, <wide> constant[c])
    write_rows(call, x, f.begin * inner, call.features * inner, call.outer, lanes, <const wide*> table, reach)


cdef void write_runs(
    const Call* call, const real* x, const Features* f, Py_ssize_t index, Py_ssize_t position, Py_ssize_t stop,
    wide* which
) noexcept nogil:
    """Elements of one feature, in runs; `which` only tells the type of the tables."""
    cdef wide table[TABLES * BAND]
    cdef Py_ssize_t filled = BAND if in_bands(x, which) else SPARE
    cdef Py_ssize_t i, length
    check_range(index, 1, f.number)
    check_range(position, stop - position, call.outer * call.inner)
    for i in range(tables(call)):
        fill(<wide*> table + i * BAND, filled, <wide> f.table[i * f.number + index])
    while position < stop:
        length = smaller(stop - position, call.inner - position % call.inner)
        write_run(call, x, element(call, f.begin + index, position), length, <const wide*> table, BAND)
        position += length


# --- channels in pieces ----------------------------------------------------------------------

cdef void in_pieces(Call* call, const real* x) noexcept nogil:
    cdef const Features* f = &call.all
    cdef Py_ssize_t size = sums_of_lane(call) * RUN_LANES
    cdef Py_ssize_t c
    if takes_sums(call):
        shift_features(call, x, f, <real*> call.shift)
        run(piece_sum_task, call, False)
        for c in range(call.features):
            check_range(c * call.pieces, call.pieces, call.parts)
            f.first[c] = sum_of_pieces(call, call.partial + c * call.pieces * size, 0)
            f.second[c] = sum_of_pieces(call, call.partial + c * call.pieces * size, RUN_LANES)
    call.in_double = finish(call, x, f, <const real*> call.shift)
    if call.operation != MOMENTS:
        run(piece_write_task, call, True)


cdef double sum_of_pieces(const Call* call, const double* sums, Py_ssize_t lane) noexcept nogil:
    """One sum of a feature, over its pieces."""
    cdef Total total
    cdef Py_ssize_t i
    total.plain = 0
    total.lost = 0
    for i in range(call.pieces):
        add(&total, sum_of_lanes(call, sums + i * sums_of_lane(call) * RUN_LANES + lane, RUN_LANES, RUN_LANES))
    return value_of(&total)


cdef inline Py_ssize_t piece_start(const Call* call, Py_ssize_t piece) noexcept nogil:
    """The position at which a piece of a feature starts; the number of pieces ends the last."""
    return call.outer * call.inner * piece // call.pieces


cdef void piece_sum_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef double* sums = call.partial + part * sums_of_lane(call) * RUN_LANES
    cdef Py_ssize_t feature = part // call.pieces
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    check_range(part, 1, call.parts)
    if call.single:
        sum_runs(call, <const float*> call.x, feature, start, stop, (<float*> call.shift)[feature], sums)
    else:
        sum_runs(call, <const double*> call.x, feature, start, stop, (<double*> call.shift)[feature], sums)


cdef void piece_write_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    cdef Py_ssize_t feature = part // call.pieces
    check_range(part, 1, call.parts)
    if call.single:
        write_features(call, <const float*> call.x, &call.all, feature, start, stop, call.in_double)
    else:
        write_features(call, <const double*> call.x, &call.all, feature, start, stop, call.in_double)
