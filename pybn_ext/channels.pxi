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
    cdef bint in_double
    check_range(part, 1, call.parts)
    check_range(0, smaller(call.tile, call.features - begin), TILE_FEATURES)
    take_features(call, begin, smaller(call.tile, call.features - begin), room, &some)
    if takes_sums(call) and not (real is float and call.widened):
        shift_features(call, x, &some, <real*> shift)
        if call.in_lanes:
            sum_tile(call, x, &some, <real*> shift)
        else:
            sum_tile_runs(call, x, &some, <real*> shift)
    elif real is float and takes_sums(call):
        sum_widened(call, x, &some)
    in_double = finish(call, x, &some, <const real*> shift)
    write_features(call, x, &some, in_double)
    if real is float and may_cancel(call):
        if find_doubt(call, x, &some, in_double):
            mend(call, x, &some)


cdef void write_features(const Call* call, const real* x, const Features* f, bint in_double) noexcept nogil:
    """The results of a tile."""
    cdef Py_ssize_t c
    if not has_result(call):
        return
    if call.runs_written and not in_double and call.half == NEITHER:
        write_tile_runs(call, x, f)
    elif not call.in_lanes or (call.runs_written and not in_double):
        for c in range(f.number):
            write_feature(call, x, f, c, 0, call.outer * call.inner, in_double)
    elif real is double or in_double:
        write_tile_lanes(call, x, f, <double*> NULL)
    else:
        write_tile_lanes(call, x, f, <float*> NULL)
    if call.stream:
        stream_end()


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
    if call.outer <= rows_at_once(call, x[0]) and lanes >= SPARE:
        sum_low_tile(call, x, f, lanes, shift)
    else:
        sum_high_tile(call, x, f, lanes, shift)


cdef void sum_low_tile(
    const Call* call, const real* x, const Features* f, Py_ssize_t lanes, const real* shift
) noexcept nogil:
    """Rows so few that what they add up to in x's own type is all there is.

    Through float64 lanes, as where there are more, images of 4 x 4 to 7 x 7 took 1.04 to 1.17 of the time.
    """
    cdef real s_room[TILE_LANES + 2 * SPARE]
    cdef real q_room[TILE_LANES + 2 * SPARE]
    cdef real* s = <real*> next_line(s_room)
    cdef real* q = <real*> next_line(q_room)
    cdef real peaks_room[TILE_LANES + 2 * SPARE]
    cdef real* peaks = <real*> next_line(peaks_room)
    cdef Py_ssize_t start = f.begin * call.inner
    cdef Py_ssize_t stride = call.features * call.inner
    cdef Rows rows = rows_of(call, call.outer, stride, shift)
    cdef unsigned char keep[ROWS * TILE_LANES + LINE]
    cdef Py_ssize_t row
    check_range(start, (call.outer - 1) * stride + lanes, size_of(call))
    check_range(0, call.outer, ROWS)
    check_range(s - <real*> s_room, lanes + SPARE, TILE_LANES + 2 * SPARE)
    check_range(q - <real*> q_room, lanes + SPARE, TILE_LANES + 2 * SPARE)
    check_range(peaks - <real*> peaks_room, lanes + SPARE, TILE_LANES + 2 * SPARE)
    rows.peaks = peaks
    if not all_are_real(call, start, (call.outer - 1) * stride + lanes):
        check_range(0, call.outer * lanes, ROWS * TILE_LANES)
        for row in range(call.outer):
            spread_keep(call, start + row * stride, lanes, <unsigned char*> keep + row * lanes)
        rows.keep = keep
        rows.keep_stride = lanes
    sum_rows(
        &rows, seek_element(call, x, start), seek_element(call, <const real*> call.dy, start), lanes, shift, s, q
    )
    if rows.share > 0 and any_above(<const real*> peaks, <const real*> q, lanes, rows.share):
        strike(<const real*> peaks, lanes, rows.share, q)
    total_partial(<const real*> s, f.number, call.inner, 0, f.first)
    total_partial(<const real*> q, f.number, call.inner, share_of_sums(call), f.second)


cdef void sum_high_tile(
    const Call* call, const real* x, const Features* f, Py_ssize_t lanes, const real* shift
) noexcept nogil:
    cdef double sums[4 * TILE_LANES]
    check_range(0, lanes, TILE_LANES)
    memset(sums, 0, sums_of_lane(call) * lanes * sizeof(double))
    add_block(
        call, x, f.begin * call.inner, call.outer, call.features * call.inner, lanes, shift, <double*> sums, lanes
    )
    total_lanes(call, sums, lanes, f.number, call.inner, 0, f.first)
    total_lanes(call, <double*> sums + lanes, lanes, f.number, call.inner, share_of_sums(call), f.second)


cdef void sum_tile_runs(const Call* call, const real* x, const Features* f, const real* shift) noexcept nogil:
    """Where there are so few images that a sum for each element of a run would be too many sums."""
    cdef double sums[4 * RUN_FEATURES * SPARE]
    cdef Py_ssize_t lanes = f.number * SPARE
    # What is taken up at once has not lost anything; sixteen are so few that nothing of them is felt.
    cdef bint plain = call.single or call.outer * ((call.inner + SPARE - 1) // SPARE) <= rows_at_once(call, x[0])
    sum_runs(call, x, f.begin, f.number, 0, call.outer * call.inner, shift, <double*> sums)
    total_runs(sums, lanes, f.number, plain, 0, f.first)
    total_runs(<double*> sums + lanes, lanes, f.number, plain, share_of_sums(call), f.second)


cdef void write_tile_runs(const Call* call, const real* x, const Features* f) noexcept nogil:
    """Row by row, run by run; where it goes past the caches, the cache lines at both ends do not."""
    cdef real constants[TABLES * RUN_FEATURES]
    cdef Py_ssize_t run_size = call.inner * sizeof(real)
    cdef Py_ssize_t start = f.begin * run_size
    cdef Py_ssize_t size = f.number * run_size
    cdef Py_ssize_t row, i, c, lead, rest
    cdef Runs runs
    check_range(0, f.number, RUN_FEATURES)
    for i in range(tables(call)):
        for c in range(f.number):
            constants[i * f.number + c] = <real> f.table[i * f.reach + c]
    runs.reach = f.number
    for row in range(call.outer):
        runs.keep = NULL if call.keep == NULL else call.keep + row * call.inner
        runs.feature = 0
        runs.end = start + run_size
        lead = rest = 0
        if call.stream:
            lead = to_line(<char*> call.y + start)
            rest = (size - lead) % LINE
            write_runs_of(call, start, start + lead, runs, <const real*> constants, False)
        write_runs_of(call, start + lead, start + size - rest, runs, <const real*> constants, call.stream)
        if rest:
            runs.feature = f.number - 1
            runs.end = start + size
            write_runs_of(call, start + size - rest, start + size, runs, <const real*> constants, False)
        start += call.features * run_size


cdef inline void write_runs_of(
    const Call* call, Py_ssize_t start, Py_ssize_t stop, Runs runs, const real* constants, bint past
) noexcept nogil:
    if start == stop:
        return
    if real is float:
        write_vectors_of_runs(call, start, stop, runs, constants, <const floats*> NULL, past)
    else:
        write_vectors_of_runs(call, start, stop, runs, constants, <const doubles*> NULL, past)


cdef void write_tile_lanes(const Call* call, const real* x, const Features* f, wide* which) noexcept nogil:
    """With a constant for each lane of the tile."""
    cdef wide table[TABLES * (TILE_LANES + SPARE)]
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t lanes = f.number * inner
    cdef Py_ssize_t reach = lanes + SPARE
    cdef const double* constant
    cdef Py_ssize_t i, c
    check_range(0, lanes, TILE_LANES)
    for i in range(tables(call)):
        constant = f.table + i * f.reach
        if inner == 1:
            for c in range(lanes):
                table[i * reach + c] = <wide> constant[c]
        else:
            for c in range(f.number):
                fill(<wide*> table + i * reach + c * inner, inner, <wide> constant[c])
    write_rows(call, x, f.begin * inner, call.features * inner, call.outer, lanes, <const wide*> table, reach)


cdef void write_feature(
    const Call* call, const real* x, const Features* f, Py_ssize_t index, Py_ssize_t start, Py_ssize_t stop,
    bint in_double
) noexcept nogil:
    """The results of one of the features at the positions from `start` to `stop`."""
    if real is double or in_double:
        write_runs(call, x, f, index, start, stop, <double*> NULL)
    else:
        write_runs(call, x, f, index, start, stop, <float*> NULL)


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
        fill(<wide*> table + i * BAND, filled, <wide> f.table[i * f.reach + index])
    while position < stop:
        length = smaller(stop - position, call.inner - position % call.inner)
        write_run(call, x, element(call, f.begin + index, position), length, <const wide*> table, BAND)
        position += length


# --- channels in pieces ----------------------------------------------------------------------

cdef void in_pieces(Call* call, const real* x) noexcept nogil:
    cdef const Features* f = &call.all
    cdef Py_ssize_t size = sums_of_lane(call) * SPARE
    cdef Py_ssize_t c
    if takes_sums(call):
        shift_features(call, x, f, <real*> call.shift)
        run(piece_sum_task, call, call.parts, False)
        for c in range(call.features):
            check_range(c * call.pieces, call.pieces, call.parts)
            f.first[c] = sum_of_pieces(call, call.partial + c * call.pieces * size, 0)
            f.second[c] = sum_of_pieces(call, call.partial + c * call.pieces * size, SPARE)
            if share_of_sums(call) > 0 and (
                peak_of_pieces(call, call.partial + c * call.pieces * size + SPARE) > share_of_sums(call) * f.second[c]
            ):
                f.second[c] = NAN
    call.in_double = finish(call, x, f, <const real*> call.shift)
    if has_result(call):
        run(piece_write_task, call, call.parts, True)
    if real is float and may_cancel(call):
        if find_doubt(call, x, f, call.in_double):
            run(mend_task, call, mend_blocks(call), False)


cdef double sum_of_pieces(const Call* call, const double* sums, Py_ssize_t lane) noexcept nogil:
    """One sum of a feature, over its pieces."""
    cdef Total total
    cdef Py_ssize_t i
    total.plain = 0
    total.lost = 0
    for i in range(call.pieces):
        add(&total, sum_of_lanes(call, sums + i * sums_of_lane(call) * SPARE + lane, SPARE, SPARE, 0))
    return value_of(&total)


cdef double peak_of_pieces(const Call* call, const double* sums) noexcept nogil:
    """The largest lane of a feature, over its pieces."""
    cdef double largest = 0
    cdef Py_ssize_t i, j
    for i in range(call.pieces):
        for j in range(SPARE):
            largest = greater(largest, sums[i * sums_of_lane(call) * SPARE + j])
    return largest


cdef inline Py_ssize_t piece_start(const Call* call, Py_ssize_t piece) noexcept nogil:
    """The position at which a piece of a feature starts; the number of pieces ends the last."""
    return call.outer * call.inner * piece // call.pieces


cdef void piece_sum_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef double* sums = call.partial + part * sums_of_lane(call) * SPARE
    cdef Py_ssize_t feature = part // call.pieces
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    check_range(part, 1, call.parts)
    if call.widened:
        sum_wide_runs(call, <const float*> call.x, feature, start, stop, call.all.mean[feature], sums)
    elif call.single:
        sum_runs(call, <const float*> call.x, feature, 1, start, stop, <float*> call.shift + feature, sums)
    else:
        sum_runs(call, <const double*> call.x, feature, 1, start, stop, <double*> call.shift + feature, sums)


cdef void piece_write_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t start = piece_start(call, part % call.pieces)
    cdef Py_ssize_t stop = piece_start(call, part % call.pieces + 1)
    cdef Py_ssize_t feature = part // call.pieces
    check_range(part, 1, call.parts)
    if call.single:
        write_feature(call, <const float*> call.x, &call.all, feature, start, stop, call.in_double)
    else:
        write_feature(call, <const double*> call.x, &call.all, feature, start, stop, call.in_double)
    if call.stream:
        stream_end()
