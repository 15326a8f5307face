# The ordinary case: contiguous arrays of accepted types and the right shapes, one feature axis or several that follow
# each other, a mask without stretched axes.  Nothing here raises: what is not recognised is judged by `general`.

cdef inline bint ordinary(object array) noexcept:
    """A plain, contiguous, aligned array of native float32 or float64, or of 16 bits."""
    cdef int flags = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    if not cnp.PyArray_CheckExact(array):
        return False
    return (
        (is_float(array) or half_of(array) != NEITHER)
        and cnp.PyArray_FLAGS(array) & flags == flags
        and cnp.PyArray_ISNOTSWAPPED(array)
    )


cdef inline bint is_float(cnp.ndarray array) noexcept:
    """Whether it is of float32 or float64."""
    return cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32 or cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64


cdef extern from "numpy/arrayobject.h":
    int FIRST_OF_OTHERS "NPY_USERDEF"  # numbers of types that are not NumPy's own

cdef int bfloat16_number = -1  # by which NumPy knows the type; it gets one when ml_dtypes is imported


cdef inline Half half_of(cnp.ndarray array) noexcept:
    """Which of the types of 16 bits it has."""
    global bfloat16_number
    cdef int number = cnp.PyArray_TYPE(array)
    if number == cnp.NPY_FLOAT16:
        return FLOAT16
    if number < FIRST_OF_OTHERS:
        return NEITHER
    if bfloat16_number < 0 and halves.is_bfloat16(array.dtype):
        bfloat16_number = number
    return BFLOAT16 if number == bfloat16_number else NEITHER


cdef int feature_axes(object feature_axis, Py_ssize_t ndim, Call* call) noexcept:
    """Take up one axis, or a tuple of axes that follow each other; 0 where it is neither."""
    cdef Py_ssize_t axis, i
    call.axes = 1
    if PyTuple_CheckExact(feature_axis):
        call.axes = PyTuple_GET_SIZE(feature_axis)
        if call.axes == 0 or call.axes >= ndim:
            return 0
    for i in range(call.axes):
        if PyTuple_CheckExact(feature_axis):
            axis = small_int(<object> PyTuple_GET_ITEM(feature_axis, i))
        else:
            axis = small_int(feature_axis)
        if axis < -ndim or axis >= ndim:
            return 0
        if axis < 0:
            axis += ndim
        if i == 0:
            call.axis = axis
        elif axis != call.axis + i:
            return 0
    return 1


cdef int see(cnp.ndarray x, object feature_axis, Call* call) noexcept:
    """Fill in x and its shape as (outer, features, inner); 0 where it is not the ordinary case."""
    cdef Py_ssize_t ndim = cnp.PyArray_NDIM(x)
    cdef Py_ssize_t i
    if ndim < 2 or not feature_axes(feature_axis, ndim, call):
        return 0
    call.outer = call.features = call.inner = 1
    for i in range(call.axis):
        call.outer *= cnp.PyArray_DIM(x, i)
    for i in range(call.axis, call.axis + call.axes):
        call.features *= cnp.PyArray_DIM(x, i)
    for i in range(call.axis + call.axes, ndim):
        call.inner *= cnp.PyArray_DIM(x, i)
    call.half = half_of(x)
    call.single = call.half != NEITHER or cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32
    call.x = cnp.PyArray_DATA(x)
    call.dy = NULL
    call.y = NULL
    call.keep = NULL
    call.count = call.outer * call.inner
    return call.count * call.features > 0


cdef bint masked(object mask, cnp.ndarray x, Call* call) noexcept:
    """Take up the mask, or none: a contiguous one over the other axes, of all of them or with 1 for the features."""
    cdef Py_ssize_t ndim = cnp.PyArray_NDIM(x)
    cdef Py_ssize_t positions = call.outer * call.inner
    cdef Py_ssize_t i, of_x
    if mask is None:
        return True
    if not (
        cnp.PyArray_CheckExact(mask) and cnp.PyArray_TYPE(mask) == cnp.NPY_BOOL and cnp.PyArray_IS_C_CONTIGUOUS(mask)
    ):
        return False
    if cnp.PyArray_NDIM(mask) == ndim:
        for i in range(ndim):
            if cnp.PyArray_DIM(mask, i) != (
                1 if call.axis <= i < call.axis + call.axes else cnp.PyArray_DIM(x, i)
            ):
                return False
    elif cnp.PyArray_NDIM(mask) == ndim - call.axes:
        for i in range(ndim - call.axes):
            of_x = i if i < call.axis else i + call.axes
            if cnp.PyArray_DIM(mask, i) != cnp.PyArray_DIM(x, of_x):
                return False
    else:
        return False
    call.keep = <const unsigned char*> cnp.PyArray_DATA(mask)
    call.count = all_real_ones(call.keep, positions)
    if call.count == positions:
        call.keep = NULL
    return call.count > 0


cdef inline Py_ssize_t small_int(object number) noexcept:
    """Its value, or a value that is no axis where it is no int or does not fit."""
    if not PyLong_CheckExact(number):
        return -1 << 30
    try:
        return PyLong_AsSsize_t(number)
    except OverflowError:
        return -1 << 30


cdef inline bint epsilon_of(object epsilon, Call* call) noexcept:
    if not PyFloat_CheckExact(epsilon):
        return False
    call.epsilon = PyFloat_AS_DOUBLE(epsilon)
    return 0 <= call.epsilon <= DBL_MAX


cdef inline bint one_each(object values, cnp.ndarray x, const Call* call) noexcept:
    """Whether it is one float32 or float64 for each feature."""
    cdef Py_ssize_t i
    if not ordinary(values) or not is_float(values) or cnp.PyArray_NDIM(values) != call.axes:
        return False
    for i in range(call.axes):
        if cnp.PyArray_DIM(values, i) != cnp.PyArray_DIM(x, call.axis + i):
            return False
    return True


cdef bint summed(object sums, object out, cnp.ndarray x, Call* call) noexcept:
    """Take up the count of a whole batch from its sums: float64, apart from `out`, and of as many elements as x has."""
    cdef object plain, along
    cdef Py_ssize_t count
    if not isinstance(sums, tuple) or PyTuple_GET_SIZE(sums) != 3:
        return False
    count = small_int(<object> PyTuple_GET_ITEM(sums, 0))
    plain = <object> PyTuple_GET_ITEM(sums, 1)
    along = <object> PyTuple_GET_ITEM(sums, 2)
    if not (one_each(plain, x, call) and one_each(along, x, call) and apart(out, plain, along, None, None, None, None)):
        return False
    if cnp.PyArray_TYPE(plain) != cnp.NPY_FLOAT64 or cnp.PyArray_TYPE(along) != cnp.NPY_FLOAT64 or count < call.count:
        return False
    call.count = count
    return True


cdef bint mergeable(object moments) noexcept:
    """Whether it is a count, and ordinary arrays of float64 of one shape."""
    cdef object mean, variance
    if not isinstance(moments, tuple) or PyTuple_GET_SIZE(moments) != 3:
        return False
    mean = <object> PyTuple_GET_ITEM(moments, 1)
    variance = <object> PyTuple_GET_ITEM(moments, 2)
    return (
        small_int(<object> PyTuple_GET_ITEM(moments, 0)) >= 0
        and ordinary(mean)
        and cnp.PyArray_TYPE(mean) == cnp.NPY_FLOAT64
        and like(variance, mean)
    )


cdef inline bint like(object array, cnp.ndarray x) noexcept:
    """Whether it is an ordinary array of x's dtype and shape."""
    cdef Py_ssize_t i
    if not ordinary(array) or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(x):
        return False
    if cnp.PyArray_NDIM(array) != cnp.PyArray_NDIM(x):
        return False
    for i in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(array, i) != cnp.PyArray_DIM(x, i):
            return False
    return True


cdef inline Py_ssize_t bytes_of(object array) noexcept:
    """PyArray_NBYTES, spared the call: five of them were a tenth of a small inference."""
    cdef Py_ssize_t bytes = cnp.PyArray_ITEMSIZE(array)
    cdef Py_ssize_t i
    for i in range(cnp.PyArray_NDIM(array)):
        bytes *= cnp.PyArray_DIM(array, i)
    return bytes


cdef inline bint apart(object out, object a, object b, object c, object d, object e, object f) noexcept:
    """Whether `out` is None, or shares memory with none of the others; each an ordinary array or None."""
    return out is None or (
        disjoint(out, a) and disjoint(out, b) and disjoint(out, c) and disjoint(out, d) and disjoint(out, e)
        and disjoint(out, f)
    )


cdef inline bint disjoint(object out, object other) noexcept:
    """Whether the memory of two ordinary arrays is apart; None takes none."""
    cdef const char* a
    cdef const char* b
    if other is None:
        return True
    a = <const char*> cnp.PyArray_DATA(out)
    b = <const char*> cnp.PyArray_DATA(other)
    return a + bytes_of(out) <= b or b + bytes_of(other) <= a


cdef inline bint receives(object out, cnp.ndarray x) noexcept:
    """Whether `out` is None, or an ordinary writeable array like x."""
    return out is None or (like(out, x) and cnp.PyArray_ISWRITEABLE(out))
