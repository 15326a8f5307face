# Sums.  One primitive: rows of lanes, each lane a sum of its own, so that the order of addition
# is fixed by the layout and not by the width of a register or the number of threads.

cdef enum:
    ROWS = 64    # most rows summed in x's own type before they are added to the float64 lanes
    TILE = 512   # lanes at once: their partial sums stay in the first-level cache
    PACK = 128   # lanes at once where there is a mask, of which a byte for each is spread out
    # Bytes of eight rows up to which the next ones are fetched into the first-level cache: glued rows of 512 bytes took
    # 0.93 to 0.97 of the time, rows of 2 KB and more 1.1 to 1.3.
    NEAR = 8192
    # So far ahead rows of large batches are fetched into the second-level cache.  A first-level cache waits for a few
    # dozen lines at most, which at the memory's distance is 12 to 16 GB/s; into the second one it is 26.
    AHEAD_OF_ROWS = 24576
    # Lanes of rows that are read as they lie in memory, one after the other, with all their sums in registers: the
    # processor fetches such ahead by itself, 35 to 46 GB/s.  Of random terms, eight added in a row and sixteen by fours
    # and fours err alike.
    FLOW = 128
    FLOW_VECTORS = 32  # of the shortest
    FLOWING_ROWS = 8

ctypedef enum Ahead:
    NOTHING
    NEXT_ROWS  # into the first-level cache
    FAR_ROWS   # into the second

cdef inline Py_ssize_t most_rows(real any) noexcept nogil:
    """Half as many in float64, where the lanes are no wider: behind an outlier of a million, 64 left 4.6 units."""
    return ROWS if real is float else ROWS // 2


cdef inline Py_ssize_t rows_at_once(const Call* call, real any) noexcept nogil:
    """Fewer of a gradient, whose sums may be small against their terms: 64 left dscale 4.8 units of float32, and
    16 behind an outlier 4.5 of float64."""
    if call.dy == NULL:
        return most_rows(any)
    return ROWS // 4 if real is float else ROWS // 8


# Some rows of lanes.
cdef struct Rows:
    Py_ssize_t number
    Py_ssize_t stride           # bytes from one to the next
    const Py_ssize_t* at        # or where each begins, in bytes; NULL: one stride apart
    const unsigned char* keep   # a byte of the mask for each lane; NULL: all are real
    Py_ssize_t keep_stride
    Half half                   # they are of 16 bits
    Ahead ahead                 # what is fetched of those behind them
    double share                # of a lane's squares, that four rows may have, as in `peaks`; 0: whatever they have
    void* peaks                 # where there is one: for each lane the most that four rows had

ctypedef enum Kind:
    PLAIN
    MASKED
    GATHERED
    FLOAT16S   # plain, of 16 bits
    BFLOAT16S


cdef inline Rows plain_rows(Py_ssize_t number, Py_ssize_t stride) noexcept nogil:
    cdef Rows rows
    rows.number = number
    rows.stride = stride
    rows.at = NULL
    rows.keep = NULL
    rows.keep_stride = 0
    rows.half = NEITHER
    rows.ahead = NEXT_ROWS if 8 * stride <= NEAR else NOTHING
    rows.share = 0
    rows.peaks = NULL
    return rows


cdef inline Rows rows_of(const Call* call, Py_ssize_t number, Py_ssize_t stride, const real* any) noexcept nogil:
    """Some rows of x, so many elements apart."""
    cdef Rows rows = plain_rows(number, stride * sizeof(real))
    rows.share = share_of_rows(call)
    if call.by_rows and bytes_in(call) >= FETCHED_FROM:
        rows.ahead = FAR_ROWS
    if real is float:
        if call.half != NEITHER:
            rows.half = call.half
            rows.stride = place_of(call, stride) * sizeof(uint16_t)
    return rows


cdef void add_rows(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, double* sums,
    Py_ssize_t width, Py_ssize_t wanted
) noexcept nogil:
    """Add at most ROWS rows of a vector to TILE + SPARE lanes to the sums of the `wanted` first of these lanes."""
    cdef real s_room[TILE + 4 * SPARE]
    cdef real q_room[TILE + 4 * SPARE]
    cdef real peaks_room[TILE + 4 * SPARE]
    cdef real* s = <real*> next_line(s_room)
    cdef real* q = <real*> next_line(q_room)
    cdef real* peaks = <real*> next_line(peaks_room)
    cdef Rows watched = rows[0]
    check_range(0, rows.number, ROWS)
    check_range(0, wanted, lanes)
    check_range(s - <real*> s_room, lanes + SPARE, TILE + 4 * SPARE)
    check_range(q - <real*> q_room, lanes + SPARE, TILE + 4 * SPARE)
    check_range(peaks - <real*> peaks_room, lanes + SPARE, TILE + 4 * SPARE)
    watched.peaks = peaks
    sum_rows(&watched, x, dy, lanes, shift, s, q)
    flush(<const real*> s, wanted, sums, sums + 2 * width)
    flush(<const real*> q, wanted, sums + width, sums + 3 * width)
    if rows.share > 0 and any_above(<const real*> peaks, <const real*> q, lanes, rows.share):
        strike(<const real*> peaks, wanted, rows.share, sums + width)


cdef inline bint flows_in(const Call* call, Py_ssize_t stride, Py_ssize_t lanes, real any) noexcept nogil:
    """Whether rows are summed by `add_flow` where none of them is masked."""
    return (
        real is float and call.dy != NULL and call.by_rows and call.half == NEITHER
        and lanes == stride == FLOW and size_of(call) >= SERIAL
    )


cdef void add_flow(
    const floats* x, const floats* dy, Py_ssize_t number, const floats* mean, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_rows`, of a gradient and FLOW lanes: each sum takes up one row after the other."""
    cdef floats s[FLOW_VECTORS]  # in registers where vectors are of 16 elements
    cdef floats q[FLOW_VECTORS]
    cdef floats g
    cdef Py_ssize_t columns = FLOW // elements(x)
    cdef Py_ssize_t row, j
    for j in range(columns):
        s[j] = q[j] = spread(<float> 0, x)
    for row in range(number):
        for j in range(columns):
            g = dy[j]
            s[j] = s[j] + g
            q[j] = q[j] + g * (x[j] - mean[j])
        x += columns
        dy += columns
    flush(<const float*> s, FLOW, sums, sums)
    flush(<const float*> q, FLOW, sums + width, sums)


cdef void add_narrow(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_rows`, fewer lanes than a vector may have: on copies to which nothing is added."""
    cdef real values[ROWS * SPARE]
    cdef real cotangents[ROWS * SPARE]
    cdef real shifts[SPARE]
    cdef unsigned char keep[ROWS * SPARE + LINE]
    cdef const real* dy = <const real*> call.dy
    cdef Rows rows = plain_rows(number, SPARE * sizeof(real))
    cdef Py_ssize_t row, at
    check_range(0, number, ROWS)
    check_range(0, lanes, SPARE)
    rows.share = share_of_rows(call)
    memset(values, 0, sizeof(values))
    memset(cotangents, 0, sizeof(cotangents))
    memset(shifts, 0, sizeof(shifts))
    memcpy(shifts, shift, lanes * sizeof(real))
    for row in range(number):
        at = start + row * stride
        copy_few(call, x, at, lanes, <real*> values + row * SPARE)
        if dy != NULL:
            copy_few(call, dy, at, lanes, <real*> cotangents + row * SPARE)
        if call.keep != NULL:
            spread_keep(call, at, lanes, <unsigned char*> keep + row * SPARE)
    if call.keep != NULL:
        rows.keep = keep
        rows.keep_stride = SPARE
    if dy != NULL:
        dy = <const real*> cotangents
    add_rows(&rows, <const real*> values, dy, SPARE, <const real*> shifts, sums, width, lanes)


cdef void add_masked(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums, Py_ssize_t width
) noexcept nogil:
    """As `add_rows`, of at most PACK + SPARE lanes."""
    cdef unsigned char room[ROWS * (PACK + SPARE) + LINE]
    cdef Rows rows = rows_of(call, number, stride, x)
    cdef Py_ssize_t row
    rows.keep = room
    rows.keep_stride = (lanes + SPARE - 1) // SPARE * SPARE
    check_range(0, number * rows.keep_stride, ROWS * (PACK + SPARE))
    if call.inner == 1 and stride % call.features == 0:
        spread_rows_of_keep(call, start, stride, number, lanes, <unsigned char*> room, rows.keep_stride)
    else:
        for row in range(number):
            spread_keep(call, start + row * stride, lanes, <unsigned char*> room + row * rows.keep_stride)
    add_rows(&rows, x + start, behind(<const real*> call.dy, start), lanes, shift, sums, width, lanes)


cdef void add_real_rows(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t number, Py_ssize_t lanes, const real* shift,
    double* sums, Py_ssize_t width
) noexcept nogil:
    """The rows of x whose byte of the mask says that they are real, and no others; the first begins at `start`."""
    cdef Py_ssize_t at[ROWS]
    cdef Rows rows = plain_rows(0, 0)
    cdef const unsigned char* keep = call.keep + start // call.features
    cdef Py_ssize_t row, lane, piece
    check_range(start // call.features, number, call.outer)
    check_range(start % call.features, lanes, call.features)
    rows.at = at
    rows.share = share_of_rows(call)
    for row in range(number):
        check_range(rows.number, 1, ROWS)
        at[rows.number] = row * call.features * sizeof(real)
        rows.number += keep[row] != 0
        if rows.number < rows_at_once(call, x[0]) and row + 1 < number:
            continue
        lane = 0
        while lane < lanes:
            piece = piece_of(lanes - lane, TILE)
            check_range(lane, piece, width)
            add_rows(
                &rows, x + start + lane, behind(<const real*> call.dy, start + lane), piece, shift + lane, sums + lane,
                width, piece
            )
            lane += piece
        rows.number = 0


cdef void add_block(
    const Call* call, const real* x, Py_ssize_t start, Py_ssize_t number, Py_ssize_t stride, Py_ssize_t lanes,
    const real* shift, double* sums, Py_ssize_t width
) noexcept nogil:
    """Add `number` rows of `lanes` lanes, the first at element `start` of x, to the sums of the lanes.

    There are a shift and sums of `width` lanes.
    """
    cdef const real* dy = <const real*> call.dy
    cdef Rows rows
    cdef Py_ssize_t row = 0, lane, height, piece, at
    cdef bint whole
    cdef bint flowing = flows_in(call, stride, lanes, x[0])
    if real is float:
        if call.widened:
            add_widened(
                call, x, <const float*> call.dy, start, number, stride, lanes, <const double*> shift, sums, width
            )
            return
    check_range(start, (number - 1) * stride + lanes if number else 0, size_of(call))
    check_range(0, lanes, width)
    if call.keep != NULL and call.inner == 1 and stride == call.features and lanes >= SPARE:
        add_real_rows(call, x, start, number, lanes, shift, sums, width)
        return
    while row < number:
        height = smaller(FLOWING_ROWS if flowing else rows_at_once(call, x[0]), number - row)
        rows = rows_of(call, height, stride, x)
        whole = all_are_real(call, start + row * stride, (height - 1) * stride + lanes)
        lane = 0
        while lane < lanes:
            piece = piece_of(lanes - lane, TILE if whole else PACK)
            at = start + row * stride + lane
            check_range(at, (height - 1) * stride + piece, size_of(call))
            check_range(lane, piece, width)
            if flowing and whole:
                add_flow(
                    <const floats*> (x + at), <const floats*> (dy + at), height, <const floats*> shift, sums, width
                )
            elif lanes < SPARE:
                add_narrow(call, x, at, height, stride, piece, shift + lane, sums + lane, width)
            elif not whole:
                add_masked(call, x, at, height, stride, piece, shift + lane, sums + lane, width)
            else:
                add_rows(
                    &rows, seek_element(call, x, at), seek_element(call, dy, at), piece, shift + lane, sums + lane,
                    width, piece
                )
            lane += piece
        row += height
