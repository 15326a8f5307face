# How a layout becomes rows of lanes.  What is summed how depends on the shape, the type and whether there is a mask,
# not on threads or addresses; and so do the bits.
#
#   rows       features last: rows of x, some glued together where features are few, are the rows of lanes.
#              All sums, then the constants, then all results, backwards.
#   channels   features in front of other axes, or very many features of few rows: tiles of whole
#              features, each summed, finished and written while it is in the caches.  Where there are
#              too few features to share out, each is in pieces: all sums, the constants, all results.
#   sweep      the same layouts where nothing is summed and runs are not short: all constants, then runs from
#              the first byte of y to the last, or columns of features; short ones too that are whole cache lines.

cdef enum:
    LANES = 128        # a row of fewer lanes than this is glued to the next
    GLUED = 512        # and one of an odd length, up to this: what is left over of a vector costs a whole one
    TABLE_LANES = 512  # shortest row of the tables of the write
    LONG_TABLE = 1024  # lanes: three or four tables of more, with what they are read for, outgrow the first-level cache
    TILE_BYTES = 32768  # and where runs are summed, these: what is done once for a tile does not count then
    SHORT = 160        # bytes of a run: 7 x 7 in float32 took 0.85 of the time of tiles, 6 x 6 1.2 of it
    # Rows from which a sum for each lane of a run costs less than sixteen for the run: 8 images of 7 x 7 took 0.9 of
    # the time, 4 of them 1.05; where runs are 128 and longer, twice as many rows.
    MANY = 8
    FEW = 16           # features from which each thread gets whole ones


cdef void plan(Call* call) noexcept nogil:
    call.widened = call.single and (
        call.operation == GRADIENT_SUMS or (has_all_terms(call) and call.count <= FEW_ELEMENTS)
    )
    call.threads = 1 if size_of(call) < SERIAL else threads_now()
    call.stream = False
    # By rows, few rows of very many features took longer: 1.1 times as long at 128 x 4099, 1.3 to 1.5 at 32 x 8192.
    call.by_rows = call.inner == 1 and not (call.outer <= 128 and call.features >= 4096)
    if takes_sums(call) or may_cancel(call):
        plan_samples(call)
    plan_mask(call)
    call.sweeps = sweeps(call)
    if call.by_rows:
        plan_rows(call)
    elif call.sweeps:
        plan_sweep(call)
    else:
        plan_channels(call)


cdef void plan_samples(Call* call) noexcept nogil:
    """Evenly over the positions, the next one each that is real."""
    cdef Py_ssize_t i, wanted, before = -1, position = -1
    for i in range(SAMPLES):
        wanted = i * (call.outer * call.inner - 1) // (SAMPLES - 1)
        # Behind the last real one the search begins anew in front: once, not for each that lies there.
        if not (before <= wanted <= position or position < before):
            position = next_kept(call, wanted)
        before = wanted
        # In turn to the three groups that they are taken in, so that each sees all of x.
        call.samples[i % 3 * 8 + i // 3] = element(call, 0, position)


cdef void plan_rows(Call* call) noexcept nogil:
    cdef Py_ssize_t size = size_of(call)
    cdef Py_ssize_t even = SPARE // common_divisor(call.features, SPARE)
    call.glue = 1
    if call.features < GLUED and call.outer >= 64 * even:
        # Whole vectors: 129 lanes would cost a tenth more than 144, 148 as much as 160.
        call.glue = (LANES + even * call.features - 1) // (even * call.features) * even
    elif call.features < LANES // 2:
        call.glue = (LANES + call.features - 1) // call.features
    call.lanes = call.features * call.glue
    call.parts = 1
    if size >= SERIAL:
        call.parts = larger(4, smaller(64, call.outer // call.glue * item_of(call) // 4096 * 4))
    # The tables end with whole cache lines, and are so long that their ends do not count.  But where the first-level
    # cache would not hold them, they begin anew within a cache line: 997 x 1009 took 0.65 of the time, and later, with
    # all else faster, 0.65 to 0.85 (300 x 9999 training 0.63, 256 x 2049 0.75).
    call.period = call.lanes
    call.wraps = False
    if size >= SERIAL:
        call.period *= even // common_divisor(call.glue, even)
        call.wraps = call.features % SPARE != 0 and call.period > LONG_TABLE
        if call.wraps:
            call.period = call.features
        call.period *= (TABLE_LANES + call.period - 1) // call.period
    # Where the table is one row of lanes, a part begins with it, but for what is left of a cache line; where it begins
    # anew, its rest is in front of that; else a part may begin anywhere in it.
    call.reach = call.period + (2 * SPARE if call.period == call.lanes or call.wraps else call.period)


cdef inline Py_ssize_t common_divisor(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef void plan_channels(Call* call) noexcept nogil:
    cdef Py_ssize_t size = size_of(call), itemsize = item_of(call)
    cdef Py_ssize_t wanted = larger(128, smaller(TILE_LANES, 262144 // (call.outer * itemsize)))
    cdef Py_ssize_t arrays = 1 if call.dy == NULL else 2
    call.in_lanes = call.inner < RUN and (
        call.outer >= (MANY if call.inner < 128 else 2 * MANY) or call.inner < SHORT_LANES
    )
    # Feature by feature, 7 x 7 took 1.03 to 1.4 of the time, 14 x 14 up to 1.1 and one image of 20 x 20 1.06 (float32);
    # but four to fifteen images of 20 x 20 took 0.76 to 0.99 (both types, training and gradient).
    call.runs_written = call.inner * itemsize >= SHORT and call.inner < RUN and call.outer < 2 * MANY
    if not call.in_lanes:
        call.tile = smaller(TILE_BYTES // (arrays * itemsize * call.outer * call.inner), RUN_FEATURES)
    else:
        call.tile = smaller(wanted // call.inner, RUN_FEATURES if call.runs_written else TILE_FEATURES)
    call.tile = larger(1, smaller(call.tile, call.features // (16 if size >= SERIAL else 1)))
    call.parts = (call.features + call.tile - 1) // call.tile
    call.pieces = 1
    if call.features < FEW and call.inner >= RUN and size >= SERIAL:
        call.pieces = smaller(FEW, call.outer * call.inner // (16 * RUN)) // call.features + 1
        call.parts = call.features * call.pieces


cdef inline bint sweeps(const Call* call) noexcept nogil:
    """Whether nothing is summed, and runs are long enough that their ends do not count."""
    if call.operation != INFERENCE or call.by_rows:
        return False
    return call.inner == 1 or call.inner * item_of(call) >= SHORT or even_runs(call)


cdef inline bint even_runs(const Call* call) noexcept nogil:
    """Whether runs are short, but whole cache lines, so that all begin at the same lane of a vector."""
    return call.keep == NULL and call.inner > 1 and call.inner * item_of(call) < SHORT and (
        call.inner * item_of(call) % LINE == 0
    )


cdef void plan_sweep(Call* call) noexcept nogil:
    cdef Py_ssize_t pieces = bytes_in(call) // LINE
    call.reach = call.features
    if even_runs(call):
        pieces = call.outer * call.features
    call.parts = 1 if call.threads == 1 else smaller(4 * call.threads, pieces)


cdef inline Py_ssize_t sums_of_rows(const Call* call) noexcept nogil:
    """Of all parts."""
    return sums_of_lane(call) * call.parts * call.lanes if takes_sums(call) else 0


cdef Py_ssize_t workspace_bytes(const Call* call) noexcept nogil:
    """What `divide_workspace` hands out."""
    cdef Py_ssize_t doubles = 0
    if call.by_rows:
        doubles = sums_of_rows(call) + call.lanes + TABLES * call.reach + groups(call)
    elif call.sweeps:
        return (tables(call) * call.reach + groups(call)) * sizeof(double)
    elif call.pieces > 1:
        doubles = sums_of_lane(call) * call.parts * SPARE + call.features
    if doubles:
        doubles += PER_FEATURE * call.features
    return doubles * sizeof(double)


cdef void divide_workspace(Call* call, double* memory) noexcept nogil:
    if call.sweeps:
        call.lane_table = memory
        call.doubtful = memory + tables(call) * call.reach
        return
    call.partial = memory + PER_FEATURE * call.features
    if call.by_rows:
        call.shift = call.partial + sums_of_rows(call)
        call.lane_table = <double*> call.shift + call.lanes
        call.doubtful = <double*> call.lane_table + TABLES * call.reach
    elif call.pieces > 1:
        call.shift = call.partial + sums_of_lane(call) * call.parts * SPARE
    else:
        return
    check_range(
        <double*> call.shift - memory,
        call.lanes + TABLES * call.reach + groups(call) if call.by_rows else call.features,
        workspace_bytes(call) // <Py_ssize_t> sizeof(double)
    )
    take_features(call, 0, call.features, memory, &call.all)
