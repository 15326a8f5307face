# Where one partial sum has most of a feature's squares nothing evens out what that one has lost: beside an outlier, and
# where tails are heavy.  Such a sum is struck out, as NaN; a NaN is taken again by `again`.

cdef inline double share_among(Py_ssize_t n) noexcept nogil:
    """Of the squares of n elements, that one partial sum may have.

    With .85 and .6 outliers that were not looked at again left 5 units.  Of normal elements four have more in one
    feature of 200 of 16, in one of 5000 of 32, in one of four million of 64.
    """
    if n < 64:
        return 0.75 if n < 32 else 0.6
    return 0.5 if n < 256 else 0.4


cdef inline double share_of_sums(const Call* call) noexcept nogil:
    """For a feature: of all its squares, that one lane, one of eight running sums or one part may have; 0: any."""
    if not takes_moments(call):
        return 0
    if call.by_rows and call.glue < FEW_SUMS and (call.parts < FEW_SUMS or call.keep != NULL):
        return 0
    if not call.by_rows and call.in_lanes and call.inner < FEW_SUMS:
        return 0
    return share_among(call.count)


cdef inline double share_of_rows(const Call* call) noexcept nogil:
    """For a lane: of what it has so far, that four rows may have; 0: any.

    It is the features that have so few sums that these do not tell, or under a mask may be empty.
    """
    cdef Py_ssize_t most = most_rows(<float> 0) if call.single else most_rows(<double> 0)
    if not takes_moments(call) or not (call.by_rows or call.in_lanes) or share_of_sums(call) > 0:
        return 0
    return share_among(smaller(most, call.count // (call.glue if call.by_rows else call.inner)))


cdef inline bint any_above(const real* peaks, const real* squares, Py_ssize_t n, double share) noexcept nogil:
    """Whether one of n lanes, or of those up to a whole vector, has more than its share in a sum of four rows."""
    cdef const floats* single = <const floats*> peaks
    cdef const doubles* double_ = <const doubles*> peaks
    if real is float:
        return one_above(single, <const floats*> squares, n, spread(<float> share, single))
    else:
        return one_above(double_, <const doubles*> squares, n, spread(share, double_))


cdef inline bint one_above(const vector* peaks, const vector* squares, Py_ssize_t n, vector share) noexcept nogil:
    cdef int found = 0
    cdef Py_ssize_t j
    for j in range((n + elements(peaks) - 1) // elements(peaks)):
        found |= exceeds(peaks[j] - share * squares[j], 0)
    return found


cdef inline void strike(const real* peaks, Py_ssize_t n, double share, wide* squares) noexcept nogil:
    """NaN for sums of squares of which one partial sum has more than its share."""
    cdef wide most_ = <wide> share
    cdef Py_ssize_t j
    for j in range(n):
        squares[j] = <wide> NAN if peaks[j] > most_ * squares[j] else squares[j]


cdef inline double unless_peaked(double total, const doubles* lanes, double share) noexcept nogil:
    """The total of SPARE lanes, or NaN."""
    cdef int found = 0
    cdef Py_ssize_t j
    for j in range(SPARE // elements(lanes)):
        found |= exceeds_doubles(lanes[j], share * total)
    return NAN if found else total


cdef inline double unless_above(double total, const double* a, double share) noexcept nogil:
    """The total of eight running sums, or NaN; one by one: one was stored last, and a register would wait for it."""
    cdef double peak = greater(
        greater(greater(a[0], a[1]), greater(a[2], a[3])), greater(greater(a[4], a[5]), greater(a[6], a[7]))
    )
    return NAN if (share > 0) & (peak > share * total) else total


cdef inline void raise_peaks(const double* values, Py_ssize_t n, double* peaks) noexcept nogil:
    cdef const doubles* from_ = <const doubles*> values
    cdef doubles* to = <doubles*> peaks
    cdef Py_ssize_t whole = n // elements(from_)
    cdef Py_ssize_t j
    for j in range(whole):
        to[j] = most(from_[j], to[j])
    for j in range(whole * elements(from_), n):
        peaks[j] = greater(values[j], peaks[j])
