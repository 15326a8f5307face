# Where threads divide the work into parts; those that are summed are fixed by the shape.

from cython.parallel cimport parallel, threadid
import os
import re
import warnings

cdef extern from *:
    """
    #if defined(__linux__)
    #include <unistd.h>
    #endif
    #if defined(_SC_LEVEL2_CACHE_SIZE)
    #define pybn_second_level_cache() sysconf(_SC_LEVEL2_CACHE_SIZE)
    #else
    #define pybn_second_level_cache() 0
    #endif
    #ifdef _OPENMP
    #include <omp.h>
    #define pybn_openmp 1
    #define pybn_openmp_threads() omp_get_max_threads()
    #else
    #define pybn_openmp 0
    #define pybn_openmp_threads() 1
    #endif
    """
    long second_level_cache "pybn_second_level_cache"() noexcept nogil
    const bint openmp "pybn_openmp"
    int openmp_threads "pybn_openmp_threads"() noexcept nogil

cdef enum:
    # Elements from which a second thread pays: starting it costs 1 to 2 microseconds while it is
    # awake, 80 and more when it sleeps, and one thread does 64 k elements in 20.
    SERIAL = 65536
    MOST_THREADS = 1024  # for whoever asks for more


def _default_threads():
    """The processors that the process may use, or OMP_NUM_THREADS: the first number of its list."""
    said = os.environ.get("OMP_NUM_THREADS")
    if said is not None:
        number = re.match(r"\s*\+?0*([1-9][0-9]*)\s*(,|$)", said)
        # OpenMP keeps 32 bits of it: 4294967297 is 1 there.  What is no such number it refuses itself, and says so.
        if number is None:
            return openmp_threads()
        return MOST_THREADS if len(number[1]) > 4 else min(int(number[1]), MOST_THREADS)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


cdef int thread_count = _default_threads() if openmp else 1
cdef Py_ssize_t cache_of_a_core = second_level_cache()  # bytes; 0 or -1 where the system does not tell
cdef int limit_at_import = openmp_threads()
cdef bint forked = False


def _after_fork_in_child():
    """A forked child computes on one thread: libgomp's other threads did not survive the fork."""
    global forked, thread_count
    forked = True
    thread_count = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def set_num_threads(n):
    """Use at most `n` threads for large arrays; results have the same bits for any number.

    Where they turn out to wait for each other, on a machine that is busy, one computes alone for a while; this call
    ends that.  `build_info()["rests"]` counts how often it happened.

    Without OpenMP there is one thread, and a RuntimeWarning where more are asked for.
    """
    global thread_count
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an int, got {n!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if forked and n > 1:
        raise RuntimeError(
            f"a forked process computes on one thread, got n = {n}: OpenMP's threads do not survive a fork; "
            "start the process with multiprocessing's 'spawn'"
        )
    if n > 1 and not openmp:
        warnings.warn(
            f"pybn_ext was built without OpenMP and computes on one thread, got n = {n}: install it again with a "
            "compiler that has OpenMP (gcc, or clang with libomp)",
            RuntimeWarning,
            stacklevel=2,
        )
    thread_count = min(n, MOST_THREADS) if openmp else 1
    end_rest()


def get_num_threads():
    """How many threads large arrays are computed on."""
    return usable_threads()


cdef int usable_threads() noexcept nogil:
    """Ours, or OpenMP's own limit where threadpoolctl or the like lowered it since the import."""
    cdef int limit
    if thread_count == 1:
        return 1
    limit = openmp_threads()
    return limit if limit < limit_at_import and limit < thread_count else thread_count


cdef int threads_now() noexcept nogil:
    """For one call: those, or one while the machine is too busy for more."""
    cdef int usable = usable_threads()
    return 1 if usable > 1 and at_rest() else usable


cdef void run(Task task, const Call* call, Py_ssize_t parts, bint backwards) noexcept nogil:
    """Do each part once.  Backwards: a second pass starts with what the first left in the caches."""
    cdef int threads = smaller(smaller(call.threads, parts), CREW)
    cdef double begin
    cdef Crew crew
    if threads == 1:
        alone(task, call, parts, backwards)
        return
    begin = seconds_now()
    gather(&crew, threads)
    # Not `prange`, whose variable costs a barrier in front of the work.
    with parallel(num_threads=threads):
        work(task, call, parts, threadid(), threads, backwards, &crew)
    weigh(seconds_now() - begin, &crew.took[0], threads)
