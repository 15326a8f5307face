# Additions of which nothing is lost, or little: the sums of the lanes, and of a feature from its lanes.
#
# The sums of L lanes lie behind each other: L first sums, L second ones, and for float64 what the rounding of
# each addition lost, L and L again.


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


cdef inline void run_up(const double* lanes, Py_ssize_t n, double* running) noexcept nogil:
    """Eight running sums: lane j belongs to the one of j % 8."""
    cdef doubles sums[8]  # in registers: in memory each addition waits for the store of the one before
    cdef const doubles* groups = <const doubles*> lanes
    cdef Py_ssize_t columns = 8 // elements(groups)
    cdef Py_ssize_t i, j
    for j in range(columns):
        sums[j] = (<doubles*> running)[j]
    for i in range(n // 8):
        for j in range(columns):
            sums[j] = sums[j] + groups[i * columns + j]
    for j in range(columns):
        (<doubles*> running)[j] = sums[j]
    for j in range(n & 7):
        running[j] += lanes[(n & ~7) + j]


cdef inline double tree(const double* a) noexcept nogil:
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


cdef inline double careful_tree(double* a, double* lost, Py_ssize_t n) noexcept nogil:
    """The sum of n, a power of two, with what was lost of each and what is lost here; overwrites both."""
    cdef double after, taken, both
    cdef Py_ssize_t j
    while n > 1:
        n //= 2
        for j in range(n):
            after = a[j] + a[j + n]
            taken = after - a[j]
            lost[j] = (lost[j] + lost[j + n]) + ((a[j] - (after - taken)) + (a[j + n] - taken))
            a[j] = after
    both = a[0] + lost[0]
    return both if both == both else a[0]  # infinity - infinity in `lost` says nothing


cdef void run_up_lossless(const double* lanes, Py_ssize_t n, double* running, double* lost) noexcept nogil:
    """As `run_up`, and what rounding loses is kept: behind an outlier of a million each addition costs half a unit."""
    cdef doubles sums[8]
    cdef doubles errors[8]
    cdef doubles value, after, taken
    cdef const doubles* groups = <const doubles*> lanes
    cdef Py_ssize_t columns = 8 // elements(groups)
    cdef Py_ssize_t i, j
    for j in range(columns):
        sums[j] = (<doubles*> running)[j]
        errors[j] = (<doubles*> lost)[j]
    for i in range(n // 8):
        for j in range(columns):  # as `flush`
            value = groups[i * columns + j]
            after = sums[j] + value
            taken = after - sums[j]
            errors[j] = errors[j] + ((sums[j] - (after - taken)) + (value - taken))
            sums[j] = after
    for j in range(columns):
        (<doubles*> running)[j] = sums[j]
        (<doubles*> lost)[j] = errors[j]
    flush(lanes + (n & ~7), n & 7, running, lost)


cdef inline double sum_of_sixteen(const double* a) noexcept nogil:
    """As `sum_of_lanes` of as many float32 sums."""
    return (((a[0] + a[8]) + (a[1] + a[9])) + ((a[2] + a[10]) + (a[3] + a[11]))) + (
        ((a[4] + a[12]) + (a[5] + a[13])) + ((a[6] + a[14]) + (a[7] + a[15]))
    )


cdef inline double sum_of_sixteen_lossless(const double* a, const double* lost_before) noexcept nogil:
    """As `sum_of_lanes` of as many float64 sums."""
    cdef double sums[16]
    cdef double lost[16]
    memcpy(sums, a, sizeof(sums))
    memcpy(lost, lost_before, sizeof(lost))
    return careful_tree(<double*> sums, <double*> lost, 16)


cdef void total_runs(
    const double* lanes, Py_ssize_t width, Py_ssize_t features, bint plain, double share, double* total
) noexcept nogil:
    """The sum of each feature, from its SPARE lanes; `plain`: of which nothing was lost; `share` as in `peaks`."""
    cdef Py_ssize_t c
    check_range(0, features * SPARE, width)
    if plain:
        for c in range(features):
            total[c] = sum_of_sixteen(lanes + c * SPARE)
    else:
        for c in range(features):
            total[c] = sum_of_sixteen_lossless(lanes + c * SPARE, lanes + 2 * width + c * SPARE)
    if share > 0:
        for c in range(features):
            total[c] = unless_peaked(total[c], <const doubles*> (lanes + c * SPARE), share)


cdef inline bint loses_nothing(const Call* call) noexcept nogil:
    """Whether adding to float64 lanes loses nothing that counts: what is added are sums of float32."""
    return call.single and not call.widened


cdef double sum_of_lanes(
    const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t n, double share
) noexcept nogil:
    """The sum of n lanes; of float64, with what rounding lost of each; `share` as in `peaks`."""
    cdef double running[8]
    cdef double sums[8]
    cdef double lost[8]
    memset(running, 0, sizeof(running))
    if loses_nothing(call):
        run_up(lanes, n, <double*> running)
        return unless_above(tree(running), running, share)
    memset(lost, 0, sizeof(lost))
    run_up_lossless(lanes, n, <double*> running, <double*> lost)
    run_up(lanes + 2 * width, n, <double*> lost)
    memcpy(sums, running, sizeof(sums))
    return unless_above(careful_tree(<double*> sums, <double*> lost, 8), running, share)


cdef void total_lanes(
    const Call* call, const double* lanes, Py_ssize_t width, Py_ssize_t features, Py_ssize_t each, double share,
    double* total
) noexcept nogil:
    """The sum of each feature, from its `each` adjacent lanes; `share` as in `peaks`."""
    cdef Py_ssize_t c
    check_range(0, features * each, width)
    if each > 1:
        for c in range(features):
            total[c] = sum_of_lanes(call, lanes + c * each, width, each, share)
    elif loses_nothing(call):
        memcpy(total, lanes, features * sizeof(double))
    else:
        for c in range(features):
            total[c] = lanes[c] + lanes[2 * width + c]


cdef void total_partial(
    const real* lanes, Py_ssize_t features, Py_ssize_t each, double share, double* total
) noexcept nogil:
    """As `total_lanes`, from what `sum_rows` left: up to `most_rows` there is nothing to add it to."""
    cdef double room[TILE_LANES]
    cdef const double* widened = <const double*> lanes
    cdef double running[8]
    cdef double sums[8]
    cdef double lost[8]
    cdef Py_ssize_t c, j
    check_range(0, features * each, TILE_LANES)
    if real is float:
        for j in range(features * each):
            room[j] = lanes[j]
        widened = room
    if each == 1:
        memcpy(total, widened, features * sizeof(double))
        return
    for c in range(features):
        memset(running, 0, sizeof(running))
        if real is float or each <= 64:  # of eight additions in a row nothing is felt
            run_up(widened + c * each, each, <double*> running)
            total[c] = tree(running)
        else:
            memset(lost, 0, sizeof(lost))
            run_up_lossless(widened + c * each, each, <double*> running, <double*> lost)
            memcpy(sums, running, sizeof(sums))
            total[c] = careful_tree(<double*> sums, <double*> lost, 8)
        total[c] = unless_above(total[c], running, share)
