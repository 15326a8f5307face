# A busy machine: where threads wait for each other, one computes alone for a while.
#
# On two cores with eighteen processes that compute, a call of 0.05 ms took 70 ms on two threads: one had done its share
# and span while the other waited for its turn.  So the time that shared work took is weighed against the sum of the
# shares, each from its own begin to its own end: so long one thread would have needed.  Shares that differ, as under a
# mask, lose nothing by it; a thread that came late does.  What was lost is answered with a rest of twenty times as
# long, in which one thread computes.  Then all are tried again: all trials together lose a twentieth of the time.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <windows.h>
    static double pybn_seconds(void) {
        LARGE_INTEGER now, rate;
        QueryPerformanceCounter(&now);
        QueryPerformanceFrequency(&rate);
        return (double) now.QuadPart / (double) rate.QuadPart;
    }
    #else
    #include <time.h>
    static inline double pybn_seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
    }
    #endif
    """
    double seconds_now "pybn_seconds"() noexcept nogil

cdef enum:
    CREW = 64  # threads of one call at most

cdef double WAKING = 5e-4   # seconds that the start of sleeping threads may take, and pages that are new
cdef double MORE = 1.25     # of what one thread needs: from there on the others were in the way
cdef double RESTS = 20      # times what was lost
cdef double LONGEST = 5     # seconds of a rest

# Written by whichever call ends last: any of their rests will do.
cdef double rest_ends = 0   # on the clock of seconds_now
cdef long long rests = 0    # how many there were


cdef double rest_for(double took, double alone) noexcept nogil:
    """Seconds for which one thread is to compute after shared work took so long, and would have taken one so long."""
    if took <= MORE * alone + WAKING:
        return 0
    return min(RESTS * (took - alone), LONGEST)


cdef void weigh(double took, const double* shares, int threads) noexcept nogil:
    global rest_ends, rests
    cdef double alone = 0
    cdef double rest
    cdef int i
    for i in range(threads):
        alone += shares[i]
    rest = rest_for(took, alone)
    if rest > 0:
        rest_ends = seconds_now() + rest
        rests += 1


cdef inline bint at_rest() noexcept nogil:
    return rest_ends > 0 and seconds_now() < rest_ends


cdef void end_rest() noexcept nogil:
    global rest_ends
    rest_ends = 0


def weighed(took, alone):
    """What `run` does after shared work that took so many seconds, and one thread so many: the seconds of its rest."""
    cdef double share = alone
    weigh(took, &share, 1)
    return rest_for(took, alone)


def rests_taken():
    """How often threads were in each other's way since the import, so that one computed alone for a while."""
    return rests
