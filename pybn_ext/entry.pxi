# The public functions.  The ordinary case, which `ordinary` recognises, goes its way from here; anything else goes to
# `general`.  What a function computes, and what it accepts, is told in `pybn.reference`.

__all__ = [
    "GradientSums",
    "Moments",
    "batch_norm_gradient",
    "batch_norm_gradient_from_sums",
    "batch_norm_gradient_sums",
    "batch_norm_inference",
    "batch_norm_inference_gradient",
    "batch_norm_training",
    "clear_cache",
    "get_num_threads",
    "merge_moments",
    "moments",
    "set_num_threads",
]

cdef enum:
    LOCKED = 16384  # elements below which the interpreter's lock is kept: giving it up costs 50 ns and more
    SMALL = 2048    # float64s of working memory that are taken from the stack: malloc and free cost 80 ns


# The operations as `general` calls them, and this module, into which it calls back.
cdef dict CALLED = {
    "moments": MOMENTS,
    "training": TRAINING,
    "gradient": GRADIENT,
    "inference": INFERENCE,
    "inference_gradient": INFERENCE_GRADIENT,
    "gradient_sums": GRADIENT_SUMS,
    "gradient_from_sums": GRADIENT_FROM_SUMS,
}
cdef object compiled = sys.modules[__name__]


cdef inline cnp.ndarray new_for_features(cnp.ndarray x, const Call* call, int dtype):
    """Room for one number for each feature."""
    return cnp.PyArray_EMPTY(<int> call.axes, cnp.PyArray_DIMS(x) + call.axis, dtype, 0)


cdef inline Given given(object values) noexcept:
    """Of an ordinary array or None."""
    cdef Given g
    g.values = NULL if values is None else cnp.PyArray_DATA(values)
    g.single = values is not None and cnp.PyArray_TYPE(values) == cnp.NPY_FLOAT32
    return g


cdef int perform(
    Call* call, object scale, object offset, object mean, object variance, object dscale, object doffset
) except -1:
    """Plan, take memory, compute."""
    cdef double small[SMALL]
    cdef double* memory = small
    cdef Py_ssize_t bytes
    call.scale, call.offset = given(scale), given(offset)
    call.mean, call.variance = given(mean), given(variance)
    call.dscale, call.doffset = given(dscale), given(doffset)
    if call.half != NEITHER:
        return perform_parts(call)
    plan(call)
    bytes = workspace_bytes(call)
    if bytes > <Py_ssize_t> sizeof(small):
        memory = <double*> malloc(bytes)
    if memory == NULL:
        raise MemoryError("no memory for the sums of the features")
    divide_workspace(call, memory)
    if choose_way(call):
        execute_both_ways(call)
    elif call.count * call.features < LOCKED:
        execute(call)
    else:
        with nogil:
            execute(call)
    if memory != small:
        free(memory)
    return 0


cdef void execute(Call* call) noexcept nogil:
    """From the planned call to its results."""
    if call.by_rows:
        rows(call)
    elif call.sweeps:
        sweep(call)
    elif call.pieces == 1:
        run(channels_task, call, call.parts, False)
    elif call.single:
        in_pieces(call, <const float*> call.x)
    else:
        in_pieces(call, <const double*> call.x)


def compute(
    str operation, cnp.ndarray x, tuple view, cnp.ndarray keep, Py_ssize_t count, double epsilon, scale, offset,
    cnp.ndarray dy, cnp.ndarray y, mean, variance, cnp.ndarray dscale, cnp.ndarray doffset
):
    """One call that `general` brought into form: nothing is checked here."""
    cdef Call call
    call.operation = CALLED[operation]
    call.outer, call.features, call.inner = view
    call.half = half_of(x)
    call.single = call.half != NEITHER or cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32
    call.x = cnp.PyArray_DATA(x)
    call.dy = NULL if dy is None else cnp.PyArray_DATA(dy)
    call.y = NULL if y is None else cnp.PyArray_DATA(y)
    call.keep = NULL
    if keep is not None:
        call.keep = <const unsigned char*> cnp.PyArray_DATA(keep)
    call.count = count
    call.epsilon = epsilon
    perform(&call, scale, offset, mean, variance, dscale, doffset)


cdef bint leaves_float64(const Call* call) noexcept nogil:
    """Whether the deviation of a float64 feature, or 1 / it, may be no float64."""
    cdef const double* variance = <const double*> call.variance.values
    cdef Py_ssize_t c, out = 0
    if call.single:
        return False
    for c in range(call.features):
        out += (variance[c] > DBL_MAX) | ((variance[c] == 0) & (call.epsilon == 0))
    return out > 0


def moments(x, *, feature_axis=-1, mask=None):
    """Count, mean and population variance of each feature; see `pybn.reference.moments`."""
    cdef Call call
    if not (ordinary(x) and see(x, feature_axis, &call) and masked(mask, x, &call)):
        return general.moments(compiled, x, feature_axis, mask)
    call.operation = MOMENTS
    call.epsilon = 0
    mean = new_for_features(x, &call, cnp.NPY_FLOAT64)
    variance = new_for_features(x, &call, cnp.NPY_FLOAT64)
    perform(&call, None, None, mean, variance, None, None)
    return Moments(call.count, mean, variance)


def merge_moments(a, b):
    """The Moments of two batches together, from those of each; see `pybn.reference.merge_moments`."""
    if not (mergeable(a) and mergeable(b) and like(b[1], a[1])):
        a, b = general.mergeable(a, b)
    if a[0] < b[0]:
        a, b = b, a
    if b[0] == 0:
        return Moments(a[0], a[1].copy(), a[2].copy())
    mean, variance = new_like(a[1]), new_like(a[1])
    pool_moments(a[0], a[1], a[2], b[0], b[1], b[2], mean, variance)
    return Moments(a[0] + b[0], mean, variance)


cdef void pool_moments(
    object count_a, cnp.ndarray a_mean, cnp.ndarray a_variance, object count_b, cnp.ndarray b_mean,
    cnp.ndarray b_variance, cnp.ndarray to_mean, cnp.ndarray to_variance
):
    """Exact pooling by count (Chan, Golub & LeVeque 1979); a counts no less than b."""
    cdef double part_a = count_a / (count_a + count_b)
    cdef double part_b = count_b / (count_a + count_b)
    cdef const double* mean_a = <const double*> cnp.PyArray_DATA(a_mean)
    cdef const double* mean_b = <const double*> cnp.PyArray_DATA(b_mean)
    cdef const double* variance_a = <const double*> cnp.PyArray_DATA(a_variance)
    cdef const double* variance_b = <const double*> cnp.PyArray_DATA(b_variance)
    cdef double* mean = <double*> cnp.PyArray_DATA(to_mean)
    cdef double* variance = <double*> cnp.PyArray_DATA(to_variance)
    cdef double half
    cdef Py_ssize_t c
    for c in range(cnp.PyArray_SIZE(to_mean)):
        half = mean_b[c] / 2 - mean_a[c] / 2  # the difference of two float64s may be no float64
        mean[c] = mean_a[c] + 2 * (half * part_b)
        variance[c] = (variance_a[c] * part_a + variance_b[c] * part_b) + 4 * (half * part_a) * (half * part_b)


def batch_norm_training(x, scale, offset, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """y, mean and variance of a batch normalized with its own statistics; see `pybn.reference.batch_norm_training`."""
    cdef Call call
    if not (
        ordinary(x)
        and see(x, feature_axis, &call)
        and masked(mask, x, &call)
        and epsilon_of(epsilon, &call)
        and (scale is None or one_each(scale, x, &call))
        and (offset is None or one_each(offset, x, &call))
        and receives(out, x)
        and apart(out, x, scale, offset, mask, None, None)
    ):
        return general.training(compiled, x, scale, offset, feature_axis, epsilon, mask, out)
    call.operation = TRAINING
    y = new_like(x) if out is None else out
    call.y = cnp.PyArray_DATA(y)
    mean = new_for_features(x, &call, cnp.NPY_FLOAT64)
    variance = new_for_features(x, &call, cnp.NPY_FLOAT64)
    perform(&call, scale, offset, mean, variance, None, None)
    if leaves_float64(&call):
        with np.errstate(all="ignore"):
            general.training_in_units(
                compiled, y, arguments.batch(x, feature_axis, mask), scale, offset, variance, epsilon
            )
    return y, mean, variance


def batch_norm_inference(x, scale, offset, mean, variance, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """y of x normalized with given statistics; see `pybn.reference.batch_norm_inference`."""
    cdef Call call
    if not (
        ordinary(x)
        and see(x, feature_axis, &call)
        and masked(mask, x, &call)
        and epsilon_of(epsilon, &call)
        and (scale is None or one_each(scale, x, &call))
        and (offset is None or one_each(offset, x, &call))
        and one_each(mean, x, &call)
        and one_each(variance, x, &call)
        and receives(out, x)
        and apart(out, None if out is x else x, scale, offset, mean, variance, mask)
    ):
        return general.inference(compiled, x, scale, offset, mean, variance, feature_axis, epsilon, mask, out)
    call.operation = INFERENCE
    y = new_like(x) if out is None else out
    call.y = cnp.PyArray_DATA(y)
    perform(&call, scale, offset, mean, variance, None, None)
    return y


def batch_norm_gradient(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """dx, dscale and doffset of `batch_norm_training`; see `pybn.reference.batch_norm_gradient`."""
    return gradient(GRADIENT, x, scale, mean, variance, dy, feature_axis, epsilon, mask, out)


def batch_norm_inference_gradient(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
    """dx, dscale and doffset of `batch_norm_inference`; see `pybn.reference.batch_norm_inference_gradient`."""
    return gradient(INFERENCE_GRADIENT, x, scale, mean, variance, dy, feature_axis, epsilon, mask, out)


def batch_norm_gradient_sums(x, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None):
    """What a part of a batch adds to the sums of its gradient; see `pybn.reference.batch_norm_gradient_sums`."""
    cdef Call call
    if not (
        ordinary(x)
        and see(x, feature_axis, &call)
        and masked(mask, x, &call)
        and epsilon_of(epsilon, &call)
        and one_each(mean, x, &call)
        and one_each(variance, x, &call)
        and like(dy, x)
    ):
        _, along, plain = general.gradient(
            compiled, "gradient_sums", x, None, mean, variance, dy, None, feature_axis, epsilon, mask, None
        )
        return GradientSums(arguments.batch(x, feature_axis, mask).count, plain, along)
    call.operation = GRADIENT_SUMS
    call.dy = cnp.PyArray_DATA(dy)
    plain = new_for_features(x, &call, cnp.NPY_FLOAT64)
    along = new_for_features(x, &call, cnp.NPY_FLOAT64)
    perform(&call, None, None, mean, variance, along, plain)
    return GradientSums(call.count, plain, along)


def batch_norm_gradient_from_sums(
    x, scale, mean, variance, dy, sums, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None
):
    """dx of a part, from the sums of the whole batch; see `pybn.reference.batch_norm_gradient_from_sums`."""
    cdef Call call
    if not (
        ordinary(x)
        and see(x, feature_axis, &call)
        and masked(mask, x, &call)
        and epsilon_of(epsilon, &call)
        and (scale is None or one_each(scale, x, &call))
        and one_each(mean, x, &call)
        and one_each(variance, x, &call)
        and like(dy, x)
        and receives(out, x)
        and apart(out, x, dy, scale, mean, variance, mask)
        and summed(sums, out, x, &call)
    ):
        dx, _, _ = general.gradient(
            compiled, "gradient_from_sums", x, scale, mean, variance, dy, sums, feature_axis, epsilon, mask, out
        )
        return dx
    call.operation = GRADIENT_FROM_SUMS
    dx = new_like(x) if out is None else out
    call.dy = cnp.PyArray_DATA(dy)
    call.y = cnp.PyArray_DATA(dx)
    perform(&call, scale, None, mean, variance, sums[2], sums[1])
    return dx


cdef tuple gradient(Operation operation, x, scale, mean, variance, dy, feature_axis, epsilon, mask, out):
    cdef Call call
    if not (
        ordinary(x)
        and see(x, feature_axis, &call)
        and masked(mask, x, &call)
        and epsilon_of(epsilon, &call)
        and (scale is None or one_each(scale, x, &call))
        and one_each(mean, x, &call)
        and one_each(variance, x, &call)
        and like(dy, x)
        and receives(out, x)
        and apart(out, x, dy, scale, mean, variance, mask)
    ):
        return general.parameter_gradients(
            compiled, "gradient" if operation == GRADIENT else "inference_gradient", x, scale, mean, variance, dy,
            feature_axis, epsilon, mask, out
        )
    call.operation = operation
    dx = new_like(x) if out is None else out
    call.dy = cnp.PyArray_DATA(dy)
    call.y = cnp.PyArray_DATA(dx)
    parameters = cnp.PyArray_TYPE(x if scale is None else scale)
    if scale is None and call.half != NEITHER:
        parameters = cnp.NPY_FLOAT32
    doffset = new_for_features(x, &call, parameters)
    dscale = None if scale is None else new_for_features(x, &call, parameters)
    perform(&call, scale, None, mean, variance, dscale, doffset)
    return dx, dscale, doffset


cdef extern from *:
    """
    #if defined(__clang__)
    #define PYBN_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define PYBN_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define PYBN_COMPILER "MSVC"
    #else
    #define PYBN_COMPILER "unknown"
    #endif
    #ifndef PYBN_FLAGS
    #define PYBN_FLAGS ""
    #endif
    #if defined(PYBN_CHECK_BOUNDS)
    #define PYBN_CHECKS "bounds"
    #elif defined(PYBN_CHECK_SCALAR)
    #define PYBN_CHECKS "scalar"
    #elif defined(__SANITIZE_ADDRESS__)
    #define PYBN_CHECKS "sanitize"
    #else
    #define PYBN_CHECKS ""
    #endif
    """
    const char* COMPILER "PYBN_COMPILER"
    const char* FLAGS "PYBN_FLAGS"
    const char* CHECKS "PYBN_CHECKS"


def compiled_with():
    """The part of `build_info` that this module knows of itself."""
    return {
        "openmp": bool(openmp),
        "cython": cython.__version__,
        "compiler": COMPILER.decode(),
        "flags": FLAGS.decode(),
        "checks": CHECKS.decode(),
    }


def check(Py_ssize_t start, Py_ssize_t length, Py_ssize_t size):
    """For the tests: `check_range`, as each primitive calls it."""
    check_range(start, length, size)
