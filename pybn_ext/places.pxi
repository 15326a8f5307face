# Where the elements of a call are, and what they are there.  A part of a call on 16 bits is computed where it lies: its
# rows may be apart, and its elements become float32 on their way into registers.  So no room but these and the
# primitives knows of it; they ask here for an element by its number.  To each, `together` or `next_stretch` mean
# nothing where `half` says NEITHER.

cdef enum:
    HANDFUL = 256  # elements that are taken from memory at once, at the most

cdef inline Py_ssize_t place_of(const Call* call, Py_ssize_t at) noexcept nogil:
    """Where in memory element `at` of a part is."""
    if call.together == call.next_stretch:  # spared: a division
        return at
    return at // call.together * call.next_stretch + at % call.together


cdef inline const real* seek_element(const Call* call, const real* values, Py_ssize_t at) noexcept nogil:
    """Where element `at` of x or dy begins; of 16 bits, too, whatever the pointer is called.  NULL where there is none.
    """
    if values == NULL:
        return NULL
    if real is float:
        if call.half != NEITHER:
            return <const real*> (<const uint16_t*> values + place_of(call, at))
    return values + at


cdef inline real value_at(const Call* call, const real* values, Py_ssize_t at) noexcept nogil:
    if real is float:
        if call.half == FLOAT16:
            return one_float16((<const uint16_t*> values)[place_of(call, at)])
        if call.half == BFLOAT16:
            return one_bfloat16((<const uint16_t*> values)[place_of(call, at)])
    return values[at]


cdef inline const float* taken(
    const Call* call, const float* values, Py_ssize_t at, Py_ssize_t n, float* room
) noexcept nogil:
    """Elements that lie together: as they lie there, or from 16 bits in `room`."""
    if call.half == NEITHER:
        return values + at
    check_range(at, n, size_of(call))
    widen_halves(call, <const uint16_t*> values + place_of(call, at), n, room)
    return room


cdef inline void copy_few(
    const Call* call, const real* values, Py_ssize_t at, Py_ssize_t n, real* to
) noexcept nogil:
    """Elements that lie together."""
    if real is float:
        if call.half != NEITHER:
            widen_halves(call, <const uint16_t*> values + place_of(call, at), n, to)
            return
    memcpy(to, values + at, n * sizeof(real))


cdef void pick(
    const Call* call, const real* values, Py_ssize_t at, Py_ssize_t n, Py_ssize_t step, real* to
) noexcept nogil:
    """At most HANDFUL of 16 bits, `step` apart.

    Where they are few, one by one: through a register each four of them took 14 % of training of (8, 16, 28, 28).
    """
    cdef uint16_t some[HANDFUL]
    cdef const uint16_t* source = <const uint16_t*> values + place_of(call, at)
    cdef Py_ssize_t j
    check_range(0, n, HANDFUL)
    check_range(at, (n - 1) * step + 1, size_of(call))
    if step != 1 and n < SPARE:
        for j in range(n):
            to[j] = one_float16(source[j * step]) if call.half == FLOAT16 else one_bfloat16(source[j * step])
        return
    if step != 1:
        for j in range(n):
            some[j] = source[j * step]
        source = some
    if real is float:
        widen_halves(call, source, n, to)


cdef void put_halves(
    const Call* call, const float* values, Py_ssize_t at, Py_ssize_t n, const unsigned char* wanted
) noexcept nogil:
    """Results of at most HANDFUL elements that lie together; of those that are wanted, or all where that is NULL."""
    cdef uint16_t some[HANDFUL]
    cdef uint16_t* y = <uint16_t*> call.y + place_of(call, at)
    cdef Py_ssize_t j
    check_range(0, n, HANDFUL)
    check_range(at, n, size_of(call))
    if wanted == NULL:
        narrow_halves(call, values, n, y)
        return
    narrow_halves(call, values, n, some)
    for j in range(n):
        y[j] = some[j] if wanted[j] else y[j]
