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


cdef inline const vector* row_of(const vector* x, Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    return seek(x, rows.at[row] if kind == GATHERED else row * rows.stride)


cdef inline const unsigned char* keep_of(Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    if kind == MASKED:
        return rows.keep + row * rows.keep_stride
    return NULL


cdef inline vector value(const vector* x, Py_ssize_t j, Kind kind) noexcept nogil:
    """x[j], whatever it is stored in."""
    if vector is floats:
        if kind == FLOAT16S:
            return load_float16(<const uint16_t*> x + j * elements(x))
        if kind == BFLOAT16S:
            return load_bfloat16(<const uint16_t*> x + j * elements(x))
    return x[j]


cdef inline void fetch(const vector* x, Py_ssize_t j, Py_ssize_t bytes, Kind kind) noexcept nogil:
    """Ahead: what is so many bytes behind x[j].

    A loop of it is the caller's: gcc leaves out the call of a function that does nothing else.
    """
    if kind == FLOAT16S or kind == BFLOAT16S:
        prefetch(<const uint16_t*> x + j * elements(x) + bytes // <Py_ssize_t> sizeof(uint16_t))
    else:
        prefetch(seek(x, bytes) + j)


cdef inline Py_ssize_t far_ahead(const Rows* rows, Py_ssize_t at_once) noexcept nogil:
    """Bytes from a row to what is fetched into the second-level cache while it is summed."""
    return larger(at_once * rows.stride, AHEAD_OF_ROWS)


cdef inline vector difference(
    const vector* x, Py_ssize_t j, vector shift, const unsigned char* keep, Kind kind
) noexcept nogil:
    """x - shift; 0 where it is masked.  `keep` has a byte for each element of the row."""
    if kind == MASKED:
        return unmasked(x[j] - shift, keep + j * elements(x))
    return value(x, j, kind) - shift


cdef inline vector real_ones(const vector* dy, Py_ssize_t j, const unsigned char* keep, Kind kind) noexcept nogil:
    """dy; 0 where it is masked."""
    if kind == MASKED:
        return unmasked(dy[j], keep + j * elements(dy))
    return value(dy, j, kind)


cdef inline void sum_columns(
    const Rows* rows, const vector* x, Py_ssize_t columns, const vector* shift, vector* s, vector* q, Kind kind,
    Ahead ahead, bint watched
) noexcept nogil:
    """s += sum of x - shift, q += sum of (x - shift)^2, eight rows at a time: fewer additions, and shorter chains."""
    cdef vector c, d0, d1, d2, d3, d4, d5, d6, d7, first, second
    cdef vector* peaks = <vector*> rows.peaks
    cdef const vector* x0
    cdef const vector* x1
    cdef const vector* x2
    cdef const vector* x3
    cdef const vector* x4
    cdef const vector* x5
    cdef const vector* x6
    cdef const vector* x7
    cdef Py_ssize_t row = 0, further = far_ahead(rows, 8), j, i
    while row + 8 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        x4 = row_of(x, row + 4, rows, kind)
        x5 = row_of(x, row + 5, rows, kind)
        x6 = row_of(x, row + 6, rows, kind)
        x7 = row_of(x, row + 7, rows, kind)
        for j in range(columns):
            if ahead == NEXT_ROWS:
                for i in range(8):
                    fetch(x0, j, (8 + i) * rows.stride, kind)
            if ahead == FAR_ROWS:
                for i in range(8):
                    prefetch_far(seek(x0, further + i * rows.stride) + j)
            c = shift[j]
            d0 = difference(x0, j, c, keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, c, keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, c, keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, c, keep_of(row + 3, rows, kind), kind)
            d4 = difference(x4, j, c, keep_of(row + 4, rows, kind), kind)
            d5 = difference(x5, j, c, keep_of(row + 5, rows, kind), kind)
            d6 = difference(x6, j, c, keep_of(row + 6, rows, kind), kind)
            d7 = difference(x7, j, c, keep_of(row + 7, rows, kind), kind)
            s[j] = s[j] + (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)))
            first = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            second = (d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7)
            q[j] = q[j] + (first + second)
            if watched:
                peaks[j] = most(peaks[j], most(first, second))
        row += 8
    if row + 4 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        for j in range(columns):
            d0 = difference(x0, j, shift[j], keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, shift[j], keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, shift[j], keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, shift[j], keep_of(row + 3, rows, kind), kind)
            s[j] = s[j] + ((d0 + d1) + (d2 + d3))
            first = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            q[j] = q[j] + first
            if watched:
                peaks[j] = most(peaks[j], first)
        row += 4
    while row < rows.number:
        x0 = row_of(x, row, rows, kind)
        for j in range(columns):
            d0 = difference(x0, j, shift[j], keep_of(row, rows, kind), kind)
            s[j] = s[j] + d0
            q[j] = q[j] + d0 * d0
            if watched:
                peaks[j] = most(peaks[j], d0 * d0)
        row += 1


cdef inline void sum_gradient_columns(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* mean, vector* s, vector* q,
    Kind kind, Ahead ahead
) noexcept nogil:
    """s += sum of dy, q += sum of dy (x - mean), four rows at a time."""
    cdef vector c, g0, g1, g2, g3, d0, d1, d2, d3
    cdef const vector* x0
    cdef const vector* x1
    cdef const vector* x2
    cdef const vector* x3
    cdef const vector* dy0
    cdef const vector* dy1
    cdef const vector* dy2
    cdef const vector* dy3
    cdef Py_ssize_t row = 0, further = far_ahead(rows, 4), j, i
    while row + 4 <= rows.number:
        x0 = row_of(x, row, rows, kind)
        x1 = row_of(x, row + 1, rows, kind)
        x2 = row_of(x, row + 2, rows, kind)
        x3 = row_of(x, row + 3, rows, kind)
        dy0 = row_of(dy, row, rows, kind)
        dy1 = row_of(dy, row + 1, rows, kind)
        dy2 = row_of(dy, row + 2, rows, kind)
        dy3 = row_of(dy, row + 3, rows, kind)
        for j in range(columns):
            if ahead == NEXT_ROWS:
                for i in range(4):
                    fetch(x0, j, (4 + i) * rows.stride, kind)
                    fetch(dy0, j, (4 + i) * rows.stride, kind)
            if ahead == FAR_ROWS:
                for i in range(4):
                    prefetch_far(seek(x0, further + i * rows.stride) + j)
                    prefetch_far(seek(dy0, further + i * rows.stride) + j)
            c = mean[j]
            g0 = real_ones(dy0, j, keep_of(row, rows, kind), kind)
            g1 = real_ones(dy1, j, keep_of(row + 1, rows, kind), kind)
            g2 = real_ones(dy2, j, keep_of(row + 2, rows, kind), kind)
            g3 = real_ones(dy3, j, keep_of(row + 3, rows, kind), kind)
            d0 = difference(x0, j, c, keep_of(row, rows, kind), kind)
            d1 = difference(x1, j, c, keep_of(row + 1, rows, kind), kind)
            d2 = difference(x2, j, c, keep_of(row + 2, rows, kind), kind)
            d3 = difference(x3, j, c, keep_of(row + 3, rows, kind), kind)
            s[j] = s[j] + ((g0 + g1) + (g2 + g3))
            q[j] = q[j] + ((g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3))
        row += 4
    while row < rows.number:
        x0 = row_of(x, row, rows, kind)
        dy0 = row_of(dy, row, rows, kind)
        for j in range(columns):
            g0 = real_ones(dy0, j, keep_of(row, rows, kind), kind)
            s[j] = s[j] + g0
            q[j] = q[j] + g0 * difference(x0, j, mean[j], keep_of(row, rows, kind), kind)
        row += 1


cdef inline void sum_kind(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* shift, vector* s, vector* q,
    Kind kind, Ahead ahead
) noexcept nogil:
    if dy == NULL:
        if rows.share == 0:
            sum_columns(rows, x, columns, shift, s, q, kind, ahead, False)
        else:
            sum_columns(rows, x, columns, shift, s, q, kind, ahead, True)
    else:
        sum_gradient_columns(rows, x, dy, columns, shift, s, q, kind, ahead)


cdef void sum_vectors(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* shift, vector* s, vector* q
) noexcept nogil:
    """The sums of the moments, or where there is a dy those of the gradient."""
    if rows.at != NULL:
        sum_kind(rows, x, dy, columns, shift, s, q, GATHERED, NOTHING)
    elif rows.keep != NULL:
        if rows.ahead == FAR_ROWS:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, FAR_ROWS)
        elif rows.ahead == NEXT_ROWS:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, NEXT_ROWS)
        else:
            sum_kind(rows, x, dy, columns, shift, s, q, MASKED, NOTHING)
    elif rows.ahead == FAR_ROWS:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, FAR_ROWS)
    elif rows.ahead == NEXT_ROWS:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, NEXT_ROWS)
    else:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, NOTHING)


cdef void sum_half_vectors(
    const Rows* rows, const floats* x, const floats* dy, Py_ssize_t columns, const floats* shift, floats* s, floats* q
) noexcept nogil:
    """As `sum_vectors`, of 16 bits."""
    if rows.half == FLOAT16:
        sum_kind(rows, x, dy, columns, shift, s, q, FLOAT16S, NEXT_ROWS)
    else:
        sum_kind(rows, x, dy, columns, shift, s, q, BFLOAT16S, NEXT_ROWS)


cdef inline void sum_lanes(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """`sum_vectors` of whole vectors, named by their elements."""
    cdef Py_ssize_t size = lanes * sizeof(real)
    if real is float:
        if rows.half != NEITHER:
            sum_half_vectors(
                rows, <const floats*> x, <const floats*> dy, size // <Py_ssize_t> sizeof(floats), <const floats*> shift,
                <floats*> s, <floats*> q
            )
            return
        sum_vectors(
            rows, <const floats*> x, <const floats*> dy, size // <Py_ssize_t> sizeof(floats), <const floats*> shift,
            <floats*> s, <floats*> q
        )
    else:
        sum_vectors(
            rows, <const doubles*> x, <const doubles*> dy, size // <Py_ssize_t> sizeof(doubles),
            <const doubles*> shift, <doubles*> s, <doubles*> q
        )


cdef inline const real* behind(const real* dy, Py_ssize_t elements) noexcept nogil:
    """dy from there on, where there is one."""
    if dy == NULL:
        return NULL
    return dy + elements


cdef inline const real* lanes_behind(const Rows* rows, const real* x, Py_ssize_t lanes) noexcept nogil:
    """x from that lane on, where there is one."""
    if real is float:
        if rows.half != NEITHER and x != NULL:
            return <const real*> (<const uint16_t*> x + lanes)
    return behind(x, lanes)


cdef void sum_rows(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """The sums of at most ROWS rows of at least a vector; s and q have room for SPARE more."""
    cdef Py_ssize_t vector_lanes = elements(<floats*> NULL) if real is float else elements(<doubles*> NULL)
    cdef Py_ssize_t rest = lanes % vector_lanes
    cdef Py_ssize_t whole = lanes - rest
    cdef Py_ssize_t last = lanes - vector_lanes
    cdef Py_ssize_t i
    cdef Rows ends = rows[0]
    check_range(last, vector_lanes, lanes)
    memset(s, 0, (lanes + vector_lanes) * sizeof(real))
    memset(q, 0, (lanes + vector_lanes) * sizeof(real))
    if rows.share > 0:
        memset(rows.peaks, 0, (lanes + vector_lanes) * sizeof(real))
    sum_lanes(rows, x, dy, whole, shift, s, q)
    if rest:
        # The last whole vector of the row, whose first lanes are known already.
        if ends.keep != NULL:
            ends.keep += last
        if rows.share > 0:
            ends.peaks = <real*> ends.peaks + whole
        sum_lanes(
            &ends, lanes_behind(rows, x, last), lanes_behind(rows, dy, last), vector_lanes, shift + last, s + whole,
            q + whole
        )
        for i in range(whole, lanes):
            s[i] = s[i + whole - last]
            q[i] = q[i + whole - last]
            if rows.share > 0:
                (<real*> rows.peaks)[i] = (<real*> rows.peaks)[i + whole - last]


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
