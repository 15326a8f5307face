# The mask.  Nothing here or elsewhere reads a masked element into a sum: a stretch of x is copied
# to a buffer in the first-level cache with a neutral value in the masked places, and summed there.

cdef const unsigned char* keep_of(
    const Call* call, Py_ssize_t start, Py_ssize_t length, unsigned char* buffer
) noexcept nogil:
    """One byte for each of `length` elements of x from `start` on: is it real?"""
    cdef Py_ssize_t inner = call.inner
    cdef Py_ssize_t period = call.features * inner
    cdef Py_ssize_t outer = start // period
    cdef Py_ssize_t within = start % period
    cdef Py_ssize_t filled = 0, at, run
    check_range(start, length, size_of(call))
    if inner == 1:
        while filled < length:
            run = smaller(period - within, length - filled)
            memset(buffer + filled, call.keep[outer], run)
            filled += run
            within = 0
            outer += 1
        return buffer
    at = within % inner
    if at + length <= inner:
        return call.keep + outer * inner + at
    while filled < length:
        run = smaller(inner - at, length - filled)
        memcpy(buffer + filled, call.keep + outer * inner + at, run)
        filled += run
        within += run
        at = 0
        if within == period:
            within = 0
            outer += 1
    return buffer


cdef inline void neutral_copy(
    const real* x, const unsigned char* keep, Py_ssize_t lanes, const real* neutral, real* copy
) noexcept nogil:
    """x where it is real, else `neutral`."""
    cdef Py_ssize_t j
    for j in range(lanes):
        copy[j] = x[j] if keep[j] else neutral[j]


cdef Py_ssize_t next_kept(const Call* call, Py_ssize_t position) noexcept nogil:
    """The first unmasked position from `position` on, cyclically; there is one."""
    cdef Py_ssize_t positions = call.outer * call.inner
    if call.keep != NULL:
        while not call.keep[position]:
            position = position + 1 if position + 1 < positions else 0
    return position
