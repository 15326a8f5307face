# Features last.  Rows of x, some glued together where features are few, are the rows of lanes: all sums, then the
# constants, then all results, backwards, since what was read last is still in the caches.

cdef enum:
    SLOW = 8  # groups of features whose constants, without sums, take longer than to start a second thread


cdef void rows(Call* call) noexcept nogil:
    if takes_sums(call):
        run(rows_shift_task, call, groups(call), False)
        run(rows_sum_task, call, call.parts, False)
    if takes_sums(call) or may_cancel(call) or groups(call) >= SLOW:
        run(rows_finish_task, call, groups(call), False)
    else:
        alone(rows_finish_task, call, groups(call), False)
    if not has_result(call):
        return
    call.in_double = any_doubtful(call)
    spread_rows_table(call)
    run(rows_write_task, call, call.parts, True)
    if may_cancel(call):
        run(rows_doubt_task, call, groups(call), False)
        if any_doubtful(call):
            run(mend_task, call, mend_blocks(call), False)


cdef inline bint any_doubtful(const Call* call) noexcept nogil:
    """Whether a group of features wants to be finished in double, or looked at more closely."""
    cdef Py_ssize_t part
    for part in range(groups(call)):
        if call.doubtful[part]:
            return True
    return False


cdef void rows_shift_task(const Call* call, Py_ssize_t part) noexcept nogil:
    if call.single:
        shift_lanes(call, <const float*> call.x, part)
    else:
        shift_lanes(call, <const double*> call.x, part)


cdef void shift_lanes(const Call* call, const real* x, Py_ssize_t part) noexcept nogil:
    """The shift of each lane of a group of features."""
    cdef Features some
    cdef Py_ssize_t begin = group_of(call, part, &call.all, &some)
    cdef real* shift = <real*> call.shift + begin
    cdef double* means = <double*> call.shift + begin
    cdef Py_ssize_t i
    if call.widened:
        for i in range(call.glue):
            memcpy(means + i * call.features, some.mean, some.number * sizeof(double))
        return
    check_range(begin + (call.glue - 1) * call.features, some.number, call.lanes)
    shift_features(call, x, &some, shift)
    for i in range(1, call.glue):
        memcpy(shift + i * call.features, shift, some.number * sizeof(real))


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


cdef void rows_finish_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Features some
    cdef Py_ssize_t begin = group_of(call, part, &call.all, &some)
    if takes_sums(call):
        fold_rows(call, &some, begin)
    if call.single:
        call.doubtful[part] = finish(call, <const float*> call.x, &some, <const float*> call.shift + begin)
    else:
        call.doubtful[part] = finish(call, <const double*> call.x, &some, <const double*> call.shift + begin)


cdef void rows_doubt_task(const Call* call, Py_ssize_t part) noexcept nogil:
    cdef Features some
    group_of(call, part, &call.all, &some)
    call.doubtful[part] = find_doubt(call, <const float*> call.x, &some, call.in_double)


cdef void fold_rows(const Call* call, const Features* f, Py_ssize_t begin) noexcept nogil:
    """The sums of each feature of a group from those of its lanes in each part."""
    cdef Py_ssize_t lanes = f.number if call.glue == 1 else call.lanes  # a group is all features where rows are glued
    cdef double share = share_of_sums(call)
    cdef Py_ssize_t kind
    check_range(begin, lanes, call.lanes)
    if share > 0 and call.glue < FEW_SUMS:
        find_peaks(call, call.partial + call.lanes + begin, f.number, lanes // f.number, f.doubt)
    for kind in range(sums_of_lane(call)):
        fold_parts(call, call.partial + kind * call.lanes + begin, lanes)
    fold_lanes(call, call.partial + begin, f.number, 0, f.first)
    fold_lanes(call, call.partial + call.lanes + begin, f.number, share, f.second)
    if share > 0 and call.glue < FEW_SUMS:
        strike(<const double*> f.doubt, f.number, share, f.second)


cdef void find_peaks(
    const Call* call, const double* squares, Py_ssize_t number, Py_ssize_t each, double* peaks
) noexcept nogil:
    """Of each feature the largest sum in all parts."""
    cdef Py_ssize_t part, i
    memset(peaks, 0, number * sizeof(double))
    for part in range(call.parts):
        for i in range(each):
            raise_peaks(squares + i * number, number, peaks)
        squares += sums_of_lane(call) * call.lanes


cdef void fold_parts(const Call* call, double* sums, Py_ssize_t lanes) noexcept nogil:
    """By pairs: rounding errors grow with the depth of the tree, 6, not with its 64 leaves."""
    cdef Py_ssize_t size = sums_of_lane(call) * call.lanes
    cdef Py_ssize_t apart = 1, i, j
    while apart < call.parts:
        for i in range((call.parts - apart - 1) // (2 * apart) + 1):
            check_range((2 * i + 1) * apart, 1, call.parts)
            for j in range(lanes):
                sums[2 * apart * i * size + j] += sums[(2 * i + 1) * apart * size + j]
        apart *= 2


cdef inline void fold_lanes(
    const Call* call, const double* lanes, Py_ssize_t number, double share, double* total
) noexcept nogil:
    """One sum for each feature, over the rows that are glued together; NaN where one lane has more than that share."""
    cdef const double* lost = lanes + 2 * call.lanes
    cdef Py_ssize_t features = call.features
    cdef Total sum_
    cdef double peak
    cdef Py_ssize_t c, i
    check_range(0, call.glue * features, call.lanes)
    if call.glue == 1:
        if loses_nothing(call):
            memcpy(total, lanes, number * sizeof(double))
            return
        for c in range(number):
            total[c] = lanes[c] + lost[c]
        return
    for c in range(features):
        sum_.plain = sum_.lost = peak = 0
        for i in range(call.glue):
            add(&sum_, lanes[i * features + c])
            peak = greater(peak, lanes[i * features + c])
            if not loses_nothing(call):
                sum_.lost += lost[i * features + c]
        total[c] = value_of(&sum_)
        if share > 0 and call.glue >= FEW_SUMS and peak > share * total[c]:
            total[c] = NAN


cdef void spread_rows_table(const Call* call) noexcept nogil:
    if call.single and not call.in_double:
        spread_rows(call, <float*> call.lane_table)
    else:
        spread_rows(call, <double*> call.lane_table)


cdef void spread_rows(const Call* call, wide* table) noexcept nogil:
    """The constants of the features, repeated along the lanes."""
    cdef Py_ssize_t i, c, done
    check_range(0, call.features, call.reach)
    for i in range(tables(call)):
        for c in range(call.features):
            table[i * call.reach + c] = <wide> call.all.table[i * call.all.reach + c]
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
    if call.half != NEITHER or masks_whole_rows(call):
        head = 0  # the rows of x stay whole
    check_range(part, 1, call.parts)
    check_range(start % period, 2 * SPARE, reach)
    write_head(call, x, start, head, table + start % period, reach)
    start += head
    if call.wraps:
        write_wrapping(call, x, table, start, stop)
    else:
        rows = (stop - start) // period
        check_range(start % period, period, reach)
        write_rows(call, x, start, period, rows, period, table + start % period, reach)
        start += rows * period
        check_range(start % period, stop - start, reach)
        write_rows(call, x, start, period, 1, stop - start, table + start % period, reach)
    if call.stream:
        stream_end()


cdef void write_wrapping(
    const Call* call, const real* x, const wide* table, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """From one place where the tables begin anew to the next, in whole cache lines: what they lack is behind them."""
    cdef Py_ssize_t lane, lanes
    while start < stop:
        lane = start % call.period
        lanes = call.period - lane
        if not masks_whole_rows(call):
            lanes = (lanes + SPARE - 1) // SPARE * SPARE
        lanes = smaller(lanes, stop - start)
        check_range(lane, lanes, call.reach)
        write_rows(call, x, start, lanes, 1, lanes, table + lane, call.reach)
        start += lanes
