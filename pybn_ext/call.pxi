# What one call computes on.  Every contiguous array is seen as (outer, features, inner): the
# axes before the features, the features, the axes after them.
#
# How a batch goes through: an operation recognises the ordinary case and fills a Call (entry; general brings any
# other input into its form), a plan is chosen (plans: rows, channels or sweep), and in it sums are taken, features
# finished in float64, and results written, each by a primitive that threads share out.  Which part of the work a
# thread does never decides a bit: the order of all additions is fixed by the shape alone, and is the same for each
# length of vector.
#
#   lane      place in a row of elements that is summed by itself, whatever the length of a vector
#   row       elements that lie together and are taken lane by lane; several rows of x are `glue`d into one, so that few
#             features fill vectors
#   run       elements of one feature that lie together
#   seam      vector that holds the end of one run and the beginning of the next
#   tile      features, and their elements, that stay in the caches between sums and results
#   part      piece of the work that one thread does, summed by itself
#   shift     value near the mean that is taken from each element before it is squared
#   table     constants of the write, repeated so that each lane finds those of its feature
#   keep      the mask, one byte an element: not 0 is real

ctypedef fused real:  # the type of x
    float
    double

ctypedef fused wide:  # the type in which an element is finished: that of x, or double where float32 would overflow
    float
    double

ctypedef enum Operation:
    MOMENTS
    TRAINING
    GRADIENT
    INFERENCE
    INFERENCE_GRADIENT
    GRADIENT_SUMS  # the sums of GRADIENT alone
    GRADIENT_FROM_SUMS  # and dx alone

ctypedef enum Half:  # a type of 16 bits
    NEITHER
    FLOAT16
    BFLOAT16

cdef enum:
    TILE_LANES = 1024    # widest tile of features
    TILE_FEATURES = 512  # features that are finished together: what is known of them takes 48 KB
    FETCHED_FROM = 6000000  # bytes of x from which on its rows come from memory; to fetch what does not costs 3 to 8 %
    RUN = 512    # elements of one feature that lie together from which on each feature is summed and written by itself
    SHORT_LANES = 40  # elements of a run below which a sum for each lane always pays: 5 x 5 took 0.8 of the time
    FEW_ELEMENTS = 8  # of a feature: their moments are taken in float64, and so is a gradient, whose terms often cancel
    WIDE_LANES = 64  # of a block of adjacent features whose gradient is looked at, or computed, once more
    FEW_SUMS = 3  # of a feature, by lanes or parts, from which on it shows where one has most of its squares
    SAMPLES = 24  # elements of each feature from which the shift of its sums is taken

# One number for each feature, as an argument brought it or as a result takes it.
cdef struct Given:
    void* values             # NULL: none
    bint single              # float32, else float64

# Some features that lie together: one float64 each of all that is known of them.
cdef struct Features:
    Py_ssize_t begin
    Py_ssize_t number
    const double* scale      # NULL: 1
    const double* offset     # NULL: 0
    double* mean             # result of MOMENTS and TRAINING, argument of the others
    double* variance
    double* inverse          # 1 / sqrt(variance + epsilon)
    double* low              # what rounding took from the mean: mean + low is the mean to twice the digits
    double* first            # sum of x - shift, or of dy
    double* second           # sum of (x - shift)^2, or of dy (x - mean); at last of dy x-hat
    double* doubt            # the dx of a float32 gradient that is beyond doubt; then 1 where it may be mended, else 0
    double* table            # 4 rows: constants of the write
    Py_ssize_t reach         # from one row to the next

cdef enum:
    PER_FEATURE = 13  # float64s of working memory that a feature takes

cdef struct Call:
    # What is asked: by the entry, or by `compute` for what `general` brought into form.
    Operation operation
    bint single              # x is float32, else float64
    Half half                # x, dy and y are of 16 bits, and float32 once they are in registers
    const void* x
    const void* dy           # NULL outside the gradients
    void* y                  # y or dx; NULL where there is none
    const unsigned char* keep  # the mask, one byte for each (outer, inner); NULL: every element is real
    Py_ssize_t axis          # first of the feature axes: the entry alone knows it
    Py_ssize_t axes          # how many there are
    Py_ssize_t outer
    Py_ssize_t features
    Py_ssize_t inner
    Py_ssize_t count         # unmasked elements of each feature
    double epsilon
    # One number for each feature, by `perform`.
    Given scale
    Given offset
    Given mean               # float64 where it is a result
    Given variance
    Given dscale             # float64 where they are results of GRADIENT_SUMS, or given to GRADIENT_FROM_SUMS
    Given doffset
    # Which way, and what holds on each: by `plan`, from the shape, the types and the mask.
    bint by_rows             # features last: rows of glued features
    bint sweeps              # nothing is summed: y from one end to the other; neither: tiles of whole features
    bint widened             # float32 is summed and written as float64
    bint stream              # write past the caches
    int threads              # of this number no bit depends
    Py_ssize_t parts         # pieces of work; where there are sums, fixed by the shape alone
    Py_ssize_t samples[24]   # where in x those of feature 0 are
    unsigned char places[256]  # by `plan_mask`, which tells what they are
    # Rows of lanes, and tables of the write: by `plan_rows`; `plan_sweep` sets the reach of its tables alone.
    Py_ssize_t glue          # rows of x that make one row of lanes
    Py_ssize_t lanes         # lanes of a row
    Py_ssize_t period        # length of the write's tables until they repeat
    Py_ssize_t reach         # length of the write's tables
    bint wraps               # they begin anew within a cache line of y
    # Tiles of features: by `plan_channels`.
    Py_ssize_t tile          # features of a tile
    bint in_lanes            # each element of a run is summed by itself; else runs are
    bint runs_written        # the results of its rows run by run, seams between them
    Py_ssize_t pieces        # of each feature, where there are too few features to share out
    # Working memory, by `divide_workspace`, where features are finished between the sums and the results.
    Features all
    double* partial          # sums of each part
    double* doubtful         # for each group of features: is the write finished in double?
    void* shift              # one `real` for each lane
    void* lane_table         # 4 x reach, `real`, or double where in_double
    # How a call on 16 bits is cut: by `parts`, which never hands it to another room.
    void* cut
    # Where a part of it lies: so many elements together, and from where they begin to where the next do.
    Py_ssize_t together
    Py_ssize_t next_stretch
    # Known once the features are finished: by `rows` and `in_pieces`.
    bint in_double           # the write is finished in double although x is float32


cdef extern from *:
    """
    #ifdef PYBN_CHECK_BOUNDS
    #include <stdio.h>
    #include <stdlib.h>
    #define pybn_within(start, length, size) \
        pybn_check_range((Py_ssize_t) (start), (Py_ssize_t) (length), (Py_ssize_t) (size), __func__, __LINE__)
    static inline void pybn_check_range(
            Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, const char *function, int line) {
        if (length < 0 || (length > 0 && (start < 0 || start > size - length))) {
            fprintf(stderr, "%s:%d: elements %zd to %zd of %zd\\n", function, line, start, start + length, size);
            abort();
        }
    }
    #else
    #define pybn_within(start, length, size) ((void) 0)
    #endif
    """
    # Nothing, or in the build with PYBN_CHECK=bounds: abort unless start .. start + length lie in 0 .. size.  It stands
    # in front of what reads or writes the range, and names the whole of it, also what is read and not used.
    void check_range "pybn_within"(Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) noexcept nogil


cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define PYBN_APART __restrict
    #else
    #define PYBN_APART __restrict__
    #endif
    typedef double *PYBN_APART pybn_apart;
    """
    ctypedef double* apart_from_others "pybn_apart"


cdef inline Py_ssize_t smaller(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef inline Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b


cdef inline real lesser(real a, real b) noexcept nogil:
    return a if a < b else b


cdef inline real greater(real a, real b) noexcept nogil:
    return a if a > b else b


cdef inline Py_ssize_t element(const Call* call, Py_ssize_t feature, Py_ssize_t position) noexcept nogil:
    """Where in x the element of a feature at a position (outer * inner + inner index) is."""
    if call.inner == 1:  # spared: two divisions, 18 of them for a shift
        return position * call.features + feature
    return ((position // call.inner) * call.features + feature) * call.inner + position % call.inner


cdef inline Py_ssize_t size_of(const Call* call) noexcept nogil:
    """Elements of x."""
    return call.outer * call.features * call.inner


cdef inline Py_ssize_t item_of(const Call* call) noexcept nogil:
    """Bytes of an element of x."""
    return 4 if call.single else 8


cdef inline Py_ssize_t bytes_in(const Call* call) noexcept nogil:
    """Of x, and of dy and y."""
    return size_of(call) * item_of(call)


cdef inline bint takes_sums(const Call* call) noexcept nogil:
    return call.operation != INFERENCE and call.operation != GRADIENT_FROM_SUMS


cdef inline bint is_gradient(const Call* call) noexcept nogil:
    return call.operation >= GRADIENT and call.operation != INFERENCE


cdef inline bint has_result(const Call* call) noexcept nogil:
    """Whether there is a y or a dx."""
    return call.operation != MOMENTS and call.operation != GRADIENT_SUMS


cdef inline bint has_all_terms(const Call* call) noexcept nogil:
    """Whether dx takes away what the mean and the variance of the batch had of it."""
    return call.operation == GRADIENT or call.operation == GRADIENT_FROM_SUMS


cdef inline bint takes_moments(const Call* call) noexcept nogil:
    return call.operation == MOMENTS or call.operation == TRAINING


cdef inline Py_ssize_t sums_of_lane(const Call* call) noexcept nogil:
    return 4 if call.widened or not call.single else 2


cdef inline bint may_cancel(const Call* call) noexcept nogil:
    """Whether a feature's terms may cancel so that float32 keeps no digit of dx."""
    return has_all_terms(call) and call.single and not call.widened
