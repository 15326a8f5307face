# Sums.  One primitive: rows of lanes, each lane a sum of its own, so that the order of addition
# is fixed by the layout and not by the width of a register or the number of threads.

cdef enum:
    ROWS = 64    # most rows summed in x's own type before they are added to the float64 lanes
    TILE = 512   # lanes at once: their partial sums stay in the first-level cache
    AT_ONCE = 256  # features whose shifts are looked for at once
    PACK = 128   # lanes at once where there is a mask, of which a byte for each is spread out
    SPARE = 16   # elements of the longest vector
    NEAR = 8192  # bytes of eight rows up to which the next eight are fetched ahead: 45 GB/s with it, 40 without, where
                 # they are 4 KB; where they are 64 KB, 38 with it and 44 without

# The sums of L lanes lie behind each other: L first sums, L second ones, and for float64 what the rounding of
# each addition lost, L and L again.


cdef struct Total:
    double plain
    double lost


cdef inline void add(Total* total, double value) noexcept nogil:
    """total += value, and what rounding loses is kept (Neumaier 1974)."""
    cdef double after = total.plain + value
    if fabs(total.plain) >= fabs(value):
        total.lost += (total.plain - after) + value
    else:
        total.lost += (value - after) + total.plain
    total.plain = after


cdef inline double value_of(const Total* total) noexcept nogil:
    cdef double both = total.plain + total.lost
    return both if both == both else total.plain  # infinity - infinity in `lost` says nothing


cdef inline Py_ssize_t most_rows(real any) noexcept nogil:
    """Half as many in float64, where the lanes are no wider: behind an outlier of a million, 64 left 4.6 units."""
    return ROWS if real is float else ROWS // 2


cdef inline void flush(const real* partial, Py_ssize_t lanes, double* total, double* lost) noexcept nogil:
    """total += partial; in float64 with what that loses (Knuth's TwoSum), since the total grows for ever."""
    cdef double after, taken
    cdef Py_ssize_t j
    if real is float:
        for j in range(lanes):
            total[j] += partial[j]
    else:
        for j in range(lanes):
            after = total[j] + partial[j]
            taken = after - total[j]
            lost[j] += (total[j] - (after - taken)) + (partial[j] - taken)
            total[j] = after


# Some rows of lanes.
cdef struct Rows:
    Py_ssize_t number
    Py_ssize_t stride           # bytes from one to the next
    const Py_ssize_t* at        # or where each begins, in bytes; NULL: one stride apart
    const unsigned char* keep   # a byte of the mask for each lane; NULL: all are real
    Py_ssize_t keep_stride

ctypedef enum Kind:
    PLAIN
    MASKED
    GATHERED


cdef inline Rows plain_rows(Py_ssize_t number, Py_ssize_t stride) noexcept nogil:
    cdef Rows rows
    rows.number = number
    rows.stride = stride
    rows.at = NULL
    rows.keep = NULL
    rows.keep_stride = 0
    return rows


cdef inline const vector* row_of(const vector* x, Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    return seek(x, rows.at[row] if kind == GATHERED else row * rows.stride)


cdef inline const unsigned char* keep_of(Py_ssize_t row, const Rows* rows, Kind kind) noexcept nogil:
    if kind == MASKED:
        return rows.keep + row * rows.keep_stride
    return NULL


cdef inline vector difference(
    const vector* x, Py_ssize_t j, vector shift, const unsigned char* keep, Kind kind
) noexcept nogil:
    """x - shift; 0 where it is masked.  `keep` has a byte for each element of the row."""
    if kind == MASKED:
        return unmasked(x[j] - shift, keep + j * elements(x))
    return x[j] - shift


cdef inline vector real_ones(const vector* dy, Py_ssize_t j, const unsigned char* keep, Kind kind) noexcept nogil:
    """dy; 0 where it is masked."""
    if kind == MASKED:
        return unmasked(dy[j], keep + j * elements(dy))
    return dy[j]


cdef inline void sum_columns(
    const Rows* rows, const vector* x, Py_ssize_t columns, const vector* shift, vector* s, vector* q, Kind kind,
    bint ahead
) noexcept nogil:
    """s += sum of x - shift, q += sum of (x - shift)^2, eight rows at a time: fewer additions, and shorter chains."""
    cdef vector c, d0, d1, d2, d3, d4, d5, d6, d7
    cdef const vector* x0
    cdef const vector* x1
    cdef const vector* x2
    cdef const vector* x3
    cdef const vector* x4
    cdef const vector* x5
    cdef const vector* x6
    cdef const vector* x7
    cdef Py_ssize_t row = 0, j, i
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
            if ahead:
                for i in range(8):
                    prefetch(seek(x0, (8 + i) * rows.stride) + j)
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
            q[j] = q[j] + (
                ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
            )
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
            q[j] = q[j] + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3))
        row += 4
    while row < rows.number:
        x0 = row_of(x, row, rows, kind)
        for j in range(columns):
            d0 = difference(x0, j, shift[j], keep_of(row, rows, kind), kind)
            s[j] = s[j] + d0
            q[j] = q[j] + d0 * d0
        row += 1


cdef inline void sum_gradient_columns(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* mean, vector* s, vector* q,
    Kind kind, bint ahead
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
    cdef Py_ssize_t row = 0, j, i
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
            if ahead:
                for i in range(4):
                    prefetch(seek(x0, (4 + i) * rows.stride) + j)
                    prefetch(seek(dy0, (4 + i) * rows.stride) + j)
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
    Kind kind, bint ahead
) noexcept nogil:
    if dy == NULL:
        sum_columns(rows, x, columns, shift, s, q, kind, ahead)
    else:
        sum_gradient_columns(rows, x, dy, columns, shift, s, q, kind, ahead)


cdef void sum_vectors(
    const Rows* rows, const vector* x, const vector* dy, Py_ssize_t columns, const vector* shift, vector* s, vector* q
) noexcept nogil:
    """The sums of the moments, or where there is a dy those of the gradient."""
    cdef bint near = 8 * rows.stride <= NEAR
    if rows.at != NULL:
        sum_kind(rows, x, dy, columns, shift, s, q, GATHERED, False)
    elif rows.keep != NULL and near:
        sum_kind(rows, x, dy, columns, shift, s, q, MASKED, True)
    elif rows.keep != NULL:
        sum_kind(rows, x, dy, columns, shift, s, q, MASKED, False)
    elif near:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, True)
    else:
        sum_kind(rows, x, dy, columns, shift, s, q, PLAIN, False)


cdef inline void sum_lanes(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """`sum_vectors` of whole vectors, named by their elements."""
    cdef Py_ssize_t size = lanes * sizeof(real)
    if real is float:
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


cdef void sum_rows(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, real* s, real* q
) noexcept nogil:
    """The sums of at most ROWS rows of at least a vector; s and q have room for SPARE more."""
    cdef Py_ssize_t vector_lanes = <Py_ssize_t> sizeof(floats) // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t rest = lanes % vector_lanes
    cdef Py_ssize_t whole = lanes - rest
    cdef Py_ssize_t last = lanes - vector_lanes
    cdef Py_ssize_t i
    cdef Rows ends = rows[0]
    check_range(last, vector_lanes, lanes)
    memset(s, 0, (lanes + vector_lanes) * sizeof(real))
    memset(q, 0, (lanes + vector_lanes) * sizeof(real))
    sum_lanes(rows, x, dy, whole, shift, s, q)
    if rest:
        # The last whole vector of the row, whose first lanes are known already.
        if ends.keep != NULL:
            ends.keep += last
        sum_lanes(&ends, x + last, behind(dy, last), vector_lanes, shift + last, s + whole, q + whole)
        for i in range(whole, lanes):
            s[i] = s[i + whole - last]
            q[i] = q[i + whole - last]


cdef void add_rows(
    const Rows* rows, const real* x, const real* dy, Py_ssize_t lanes, const real* shift, double* sums,
    Py_ssize_t width, Py_ssize_t wanted
) noexcept nogil:
    """Add at most ROWS rows of at most TILE + SPARE lanes, at least a vector, to the sums of the `wanted` first lanes."""
    cdef real s_room[TILE + 4 * SPARE]
    cdef real q_room[TILE + 4 * SPARE]
    cdef real* s = <real*> next_line(s_room)
    cdef real* q = <real*> next_line(q_room)
    check_range(0, rows.number, ROWS)
    check_range(0, wanted, lanes)
    check_range(s - <real*> s_room, lanes + SPARE, TILE + 4 * SPARE)
    check_range(q - <real*> q_room, lanes + SPARE, TILE + 4 * SPARE)
    sum_rows(rows, x, dy, lanes, shift, s, q)
    flush(<const real*> s, wanted, sums, sums + 2 * width)
    flush(<const real*> q, wanted, sums + width, sums + 3 * width)


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
    memset(values, 0, sizeof(values))
    memset(cotangents, 0, sizeof(cotangents))
    memset(shifts, 0, sizeof(shifts))
    memcpy(shifts, shift, lanes * sizeof(real))
    for row in range(number):
        at = start + row * stride
        memcpy(<real*> values + row * SPARE, x + at, lanes * sizeof(real))
        if dy != NULL:
            memcpy(<real*> cotangents + row * SPARE, dy + at, lanes * sizeof(real))
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
    cdef Rows rows = plain_rows(number, stride * sizeof(real))
    cdef Py_ssize_t row
    if call.inner >= RUN:  # the rows are parts of one run, and so is their mask
        rows.keep = keep_of_run(call, start, (number - 1) * stride + lanes)
        rows.keep_stride = stride
    else:
        check_range(0, number * lanes, ROWS * (PACK + SPARE))
        rows.keep = room
        rows.keep_stride = lanes
        for row in range(number):
            spread_keep(call, start + row * stride, lanes, <unsigned char*> room + row * lanes)
    add_rows(&rows, x + start, behind(<const real*> call.dy, start), lanes, shift, sums, width, lanes)


cdef inline Py_ssize_t piece_of(Py_ssize_t lanes, Py_ssize_t most) noexcept nogil:
    """How many of the lanes to take at once, so that what is left is not less than a vector."""
    return most if lanes >= most + SPARE else lanes


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
    for row in range(number):
        check_range(rows.number, 1, ROWS)
        at[rows.number] = row * call.features * sizeof(real)
        rows.number += keep[row] != 0
        if rows.number < most_rows(x[0]) and row + 1 < number:
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
    check_range(start, (number - 1) * stride + lanes if number else 0, size_of(call))
    check_range(0, lanes, width)
    if call.keep != NULL and call.inner == 1 and stride == call.features and lanes >= SPARE:
        add_real_rows(call, x, start, number, lanes, shift, sums, width)
        return
    while row < number:
        height = smaller(most_rows(x[0]), number - row)
        rows = plain_rows(height, stride * sizeof(real))
        lane = 0
        while lane < lanes:
            piece = piece_of(lanes - lane, TILE if call.keep == NULL else PACK)
            at = start + row * stride + lane
            check_range(at, (height - 1) * stride + piece, size_of(call))
            check_range(lane, piece, width)
            if lanes < SPARE:
                add_narrow(call, x, at, height, stride, piece, shift + lane, sums + lane, width)
            elif call.keep != NULL:
                add_masked(call, x, at, height, stride, piece, shift + lane, sums + lane, width)
            else:
                add_rows(&rows, x + at, behind(dy, at), piece, shift + lane, sums + lane, width, piece)
            lane += piece
        row += height


cdef inline void run_up(const double* lanes, Py_ssize_t n, double* running) noexcept nogil:
    """Eight running sums: lane j belongs to the one of j % 8."""
    cdef Py_ssize_t i, j
    for i in range(n // 8):
        for j in range(8):
            running[j] += lanes[8 * i + j]
    for j in range(n & 7):
        running[j] += lanes[(n & ~7) + j]


cdef inline double tree(const double* a) noexcept nogil:
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


cdef double careful_tree(const double* running, const double* lost) noexcept nogil:
    """The sum of eight, with what was lost of each."""
    cdef Total total
    cdef Py_ssize_t j
    total.plain = 0
    total.lost = 0
    for j in range(8):
        add(&total, running[j])
        total.lost += lost[j]
    return value_of(&total)


cdef void run_up_lossless(const double* lanes, Py_ssize_t n, double* running, double* lost) noexcept nogil:
    """As `run_up`, and what rounding loses is kept: behind an outlier of a million each addition costs half a unit."""
    cdef Py_ssize_t i
    for i in range(n // 8):
        flush(lanes + 8 * i, 8, running, lost)
    flush(lanes + (n & ~7), n & 7, running, lost)


cdef double sum_of_lanes(const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t n) noexcept nogil:
    """The sum of n lanes; of float64, with what rounding lost of each."""
    cdef double running[8]
    cdef double lost[8]
    memset(running, 0, sizeof(running))
    if call.single:
        run_up(lanes, n, <double*> running)
        return tree(running)
    memset(lost, 0, sizeof(lost))
    run_up_lossless(lanes, n, <double*> running, <double*> lost)
    run_up(lanes + 2 * width, n, <double*> lost)
    return careful_tree(running, lost)


cdef void total_lanes(
    const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t features, Py_ssize_t each, double* total
) noexcept nogil:
    """The sum of each feature, from its `each` adjacent lanes."""
    cdef Py_ssize_t c
    check_range(0, features * each, width)
    if each > 1:
        for c in range(features):
            total[c] = sum_of_lanes(call, lanes + c * each, width, each)
    elif call.single:
        memcpy(total, lanes, features * sizeof(double))
    else:
        for c in range(features):
            total[c] = lanes[c] + lanes[2 * width + c]


cdef void total_partial(const real* lanes, Py_ssize_t features, Py_ssize_t each, double* total) noexcept nogil:
    """As `total_lanes`, from what `sum_rows` left: up to `most_rows` there is nothing to add it to."""
    cdef double widened[TILE_LANES]
    cdef double running[8]
    cdef double lost[8]
    cdef Py_ssize_t c, j
    check_range(0, features * each, TILE_LANES)
    for j in range(features * each):
        widened[j] = lanes[j]
    if each == 1:
        memcpy(total, widened, features * sizeof(double))
        return
    for c in range(features):
        memset(running, 0, sizeof(running))
        if real is float or each <= 64:  # of eight additions in a row nothing is felt
            run_up(<const double*> widened + c * each, each, <double*> running)
            total[c] = tree(running)
        else:
            memset(lost, 0, sizeof(lost))
            run_up_lossless(<const double*> widened + c * each, each, <double*> running, <double*> lost)
            total[c] = careful_tree(running, lost)


# --- the shift -------------------------------------------------------------------------------

cdef inline real lesser(real a, real b) noexcept nogil:
    return a if a < b else b


cdef inline real greater(real a, real b) noexcept nogil:
    return a if a > b else b


cdef inline real median(real a, real b, real c) noexcept nogil:
    return greater(lesser(a, b), lesser(greater(a, b), c))


cdef void choose_shift(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """Near the mean of each feature: the median of three means of eight elements from everywhere.

    Of the mean, on normal data, a quarter of the deviation off; and an outlier spoils only one of the three.  The mean of
    eight equal elements is exact, so what remains of a constant feature is 0.
    """
    cdef real means[3][AT_ONCE]
    cdef const real* first = x + f.begin * call.inner
    cdef Py_ssize_t begin = 0, n, c, i
    for i in range(SAMPLES):
        check_range(f.begin * call.inner + call.samples[i], (f.number - 1) * call.inner + 1, size_of(call))
    while begin < f.number:
        n = smaller(AT_ONCE, f.number - begin)
        for i in range(3):
            if call.inner == 1:
                means_of_eight(first, &call.samples[8 * i], n, 1, <real*> means[i])
            else:
                means_of_eight(first, &call.samples[8 * i], n, call.inner, <real*> means[i])
        for c in range(n):
            shift[begin + c] = median(means[0][c], means[1][c], means[2][c])
        begin += n
        first += n * call.inner


cdef inline void means_of_eight(
    const real* x, const Py_ssize_t* at, Py_ssize_t features, Py_ssize_t step, real* means
) noexcept nogil:
    cdef const real* a = x + at[0]
    cdef const real* b = x + at[1]
    cdef const real* c = x + at[2]
    cdef const real* d = x + at[3]
    cdef const real* e = x + at[4]
    cdef const real* f = x + at[5]
    cdef const real* g = x + at[6]
    cdef const real* h = x + at[7]
    cdef real eighth = 0.125
    cdef Py_ssize_t j
    for j in range(features):
        means[j] = eighth * (
            ((a[j * step] + b[j * step]) + (c[j * step] + d[j * step]))
            + ((e[j * step] + f[j * step]) + (g[j * step] + h[j * step]))
        )


cdef void shift_features(const Call* call, const real* x, const Features* f, real* shift) noexcept nogil:
    """The shift of each feature: near the mean for the moments, the rounded mean for the gradient."""
    cdef Py_ssize_t c
    if not is_gradient(call):
        choose_shift(call, x, f, shift)
        return
    for c in range(f.number):
        shift[c] = <real> f.mean[c]


cdef bint all_equal(const Call* call, const real* values, Py_ssize_t feature, real value) noexcept nogil:
    """Whether each unmasked element of the feature is `value`; stops at the first that is not."""
    cdef Py_ssize_t outer, i, at
    check_range(feature, 1, call.features)
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if values[at + i] != value and (call.keep == NULL or call.keep[outer * call.inner + i]):
                return False
    return True


# --- the second look: where the shift was far from the mean, or a square left the type's range --

cdef void careful_sums(
    const Call* call, const real* x, Py_ssize_t feature, double origin, double centre, double* first, double* second
) noexcept nogil:
    """Sums of d and d^2, or of dy and dy d, for d = (x - origin) - centre, all in compensated float64."""
    cdef const real* dy = <const real*> call.dy
    cdef Total one, two
    cdef Py_ssize_t outer, i, at
    cdef double d, factor
    check_range(feature, 1, call.features)
    one.plain = one.lost = two.plain = two.lost = 0
    for outer in range(call.outer):
        at = (outer * call.features + feature) * call.inner
        for i in range(call.inner):
            if call.keep != NULL and not call.keep[outer * call.inner + i]:
                continue
            d = (<double> x[at + i] - origin) - centre
            factor = d if dy == NULL else <double> dy[at + i]
            add(&one, factor)
            add(&two, factor * d)
    first[0] = value_of(&one)
    second[0] = value_of(&two)


cdef void careful_moments(
    const Call* call, const real* x, Py_ssize_t feature, double* mean, double* variance, double* low
) noexcept nogil:
    """Mean and variance of one feature: its first element subtracted, centred, and what rounding left corrected."""
    cdef double origin = x[element(call, feature, next_kept(call, 0))]
    cdef double first, second, centre
    careful_sums(call, x, feature, origin, 0, &first, &second)
    centre = first / call.count
    careful_sums(call, x, feature, origin, centre, &first, &second)
    variance[0] = (second - first * (first / call.count)) / call.count
    if first == first:
        centre += first / call.count
    mean[0] = origin + centre
    low[0] = (origin - mean[0]) + centre
