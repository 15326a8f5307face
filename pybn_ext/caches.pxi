# Whether a large result is written past the caches.
#
# Past them it costs no read of the lines that it fills, and drives nothing out; but whoever reads it then fetches it
# from memory.  Which is better depends on what the call moves in all, x and dy read and the result written, against
# what the third level gives this process; and no size tells that: a system that shares it with others reported 32 MB
# in one place and 335 in another, and a result was better off in the caches up to 70 MB (inference, one thread).
#
# So it is tried, when a call comes whose answer is not known yet: the call itself is computed both ways, to the same
# bits, each time with a reader of the result behind it.  The time of the operation and that of both count alike: one
# thread's inference of 17 MB took 1.7 times as long into the caches if nobody read it, 0.74 with a sum of it behind,
# and 1.18 with relu, which writes as much as it reads and was near the mean of the two everywhere.  What was found
# holds for smaller calls of the operation, or for larger ones, so that few are tried; and since others may come and go
# that share the third level, or have been busy just then, it is tried again after some thousand calls.

cdef enum:
    SMALL_CACHES = 1 << 20  # bytes that the caches hold at least
    FAR = 1 << 27     # bytes moved from which a trial is not worth its time: past the caches took 0.8 of the other
    OPERATIONS = 7
    ROUNDS = 3        # of a trial
    DOUBTS = 3        # trials in doubt after which what was faster at its best is taken
    # Calls of an operation after which what was found is tried again: a trial takes the time of 24 at the most, so all
    # of them together take a hundredth.  A prime, that it is not always the same layer's turn.
    AGAIN = 1999

cdef double ALIKE = 1.1  # times as long is as long: what a shortest time may be missed by, and yet be believed

ctypedef enum Way:
    INTO
    PAST
    IN_DOUBT

# What is known of an operation: bytes that a call may move so that its result is better off in the caches, and bytes
# from which past them; 0: not known.  Between them it is tried.
cdef struct Border:
    Py_ssize_t inside
    Py_ssize_t outside
    int doubts  # trials in doubt since one was not
    Py_ssize_t doubted  # bytes moved in the first of them
    double best[2]  # of these: the shortest seconds for a byte, into the caches and past them
    int calls  # since the last trial

# The interpreter's lock guards all of this.
cdef Border borders[OPERATIONS][2]  # for one thread, and for several
cdef Py_ssize_t past_from = -1      # bytes moved from which on all go past the caches; -1: it is found out
cdef Py_ssize_t third_level = 0     # bytes, as reported; 0: not known
cdef bint trying = False
cdef int trials = 0, trials_in_doubt = 0


def _no_trial_in_child():
    """A fork in the midst of another thread's trial leaves the child without it."""
    global trying
    trying = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_no_trial_in_child)


cdef extern from *:
    """
    /* In bytes: whatever the type of what was written, and 64 of them are added at once. */
    static unsigned char pybn_read_all(const void *result, size_t bytes) {
        const unsigned char *p = (const unsigned char *) result;
        unsigned char total = 0;
        size_t i;
        for (i = 0; i < bytes; i++) total += p[i];
        return total;
    }
    static volatile unsigned char pybn_was_read;
    #define pybn_read_result(result, bytes) (pybn_was_read = pybn_read_all(result, bytes))
    """
    void read_result "pybn_read_result"(const void* result, size_t bytes) noexcept nogil


cdef inline Py_ssize_t moved_by(const Call* call) noexcept nogil:
    """The bytes of the arrays of x's size that it reads and writes."""
    return bytes_in(call) * (2 if call.dy == NULL else 3)


cdef inline Border* border_of(const Call* call) noexcept:
    return &borders[<int> call.operation][call.threads > 1]


cdef bint choose_way(Call* call) noexcept:
    """Into the caches or past them: into `call.stream`; True where that is to be tried.

    With 2 MB of the second level for each of two cores, inference of 1 to 2 MB took 0.6 of the time that it took past
    the caches; so what fits there is not asked about.  Nor is a result in x's own place, whose lines were read anyway.
    """
    cdef Py_ssize_t moved = moved_by(call)
    cdef Border* border = border_of(call)
    cdef bint known
    call.stream = False
    if not has_result(call):
        return False
    if past_from >= 0:
        call.stream = moved >= past_from
        return False
    if not streams or call.y == call.x or bytes_in(call) < larger(SMALL_CACHES, cache_of_a_core * call.threads // 2):
        return False
    border.calls = smaller(border.calls + 1, AGAIN)
    if moved <= border.inside:
        known = True
    elif moved >= (border.outside or FAR):
        known = call.stream = True
    else:
        call.stream = moved > larger(larger(border.inside, third_level), SMALL_CACHES)  # until it is known
        # Where the border is known to a quarter, either will do.
        known = 0 < 4 * border.outside <= 5 * border.inside
    return (not known or (border.calls == AGAIN and moved < FAR)) and not trying and not at_rest()


cdef void try_ways(Call* call, double* took) noexcept nogil:
    """Compute the call, and read its result, both ways in turn; `took` is the seconds of INTO and PAST, each round.

    They are the geometric mean of those with the reader and those without.
    """
    cdef Py_ssize_t i, again
    cdef double begin, written
    cdef Call once
    for i in range(2 * ROUNDS):
        for again in range(2):  # the first finds in the caches what the other way left there
            once = call[0]
            once.stream = i % 2 == PAST
            begin = seconds_now()
            execute(&once)
            written = seconds_now()
            read_result(once.y, bytes_in(call))
            took[i] = sqrt((written - begin) * (seconds_now() - begin))


cdef void shortest(const double* took, double* best, double* second) noexcept:
    """Of each way the two shortest times."""
    cdef int i, way
    for way in range(2):
        best[way] = second[way] = DBL_MAX
        for i in range(way, 2 * ROUNDS, 2):
            if took[i] < best[way]:
                best[way], second[way] = took[i], best[way]
            else:
                second[way] = min(second[way], took[i])


cdef Way verdict(const double* took) noexcept:
    """Which way was better at its best: a time is never too short.

    In doubt where a shortest time was reached only once, or where the two are alike.
    """
    cdef double best[2]
    cdef double second[2]
    shortest(took, best, second)
    if second[0] > ALIKE * best[0] or second[1] > ALIKE * best[1]:
        return IN_DOUBT
    if best[1] * ALIKE < best[0]:
        return PAST
    return INTO if best[0] * ALIKE < best[1] else IN_DOUBT


cdef void learn(Border* border, Py_ssize_t moved, const double* took, bint steady) noexcept:
    """Keep what a trial said.

    On a machine that is always busy each is in doubt: then the shortest times of several trials decide.
    """
    global trials, trials_in_doubt
    cdef Way way = verdict(took) if steady else IN_DOUBT
    cdef double best[2]
    cdef double second[2]
    trials += 1
    border.calls = 0
    if way == IN_DOUBT:
        trials_in_doubt += 1
        if not border.doubted // 4 * 3 <= moved <= border.doubted // 4 * 5:  # calls of another size say nothing of this
            border.doubts, border.doubted = 0, moved
            border.best[0] = border.best[1] = DBL_MAX
        border.doubts += 1
        shortest(took, best, second)
        border.best[0] = min(border.best[0], best[0] / moved)
        border.best[1] = min(border.best[1], best[1] / moved)
        if border.doubts < DOUBTS:
            return
        way = PAST if border.best[1] < border.best[0] else INTO
    border.doubts = border.doubted = 0
    # What was found before, and is not so any more, goes.
    if way == PAST:
        border.outside = smaller(border.outside or moved, moved)
        border.inside = 0 if border.inside >= moved else border.inside
    else:
        border.inside = larger(border.inside, moved)
        border.outside = 0 if border.outside <= moved else border.outside


cdef void execute_both_ways(Call* call) noexcept:
    """As `execute`, and several times."""
    global trying
    cdef double took[2 * ROUNDS]
    cdef long long rested = rests
    trying = True
    with nogil:
        try_ways(call, took)
    trying = False
    # Where threads were in each other's way nothing was found.
    learn(border_of(call), moved_by(call), took, rests == rested)


def verdict_of(took):
    """For the tests: what a trial says whose ways took so many seconds in turn, three of each."""
    cdef double seconds[2 * ROUNDS]
    cdef int i
    for i in range(2 * ROUNDS):
        seconds[i] = took[i]
    return {INTO: "into the caches", PAST: "past the caches", IN_DOUBT: "in doubt"}[verdict(seconds)]


def way_after_trials(trials_of):
    """For the tests: what is kept of trials that moved so many bytes in so many seconds; "" where it is not decided."""
    cdef double seconds[2 * ROUNDS]
    cdef Border border
    cdef int i
    memset(&border, 0, sizeof(border))
    for moved, took in trials_of:
        for i in range(2 * ROUNDS):
            seconds[i] = took[i]
        learn(&border, moved, seconds, True)
    return "past the caches" if border.outside else "into the caches" if border.inside else ""


def go_past_caches_from(Py_ssize_t moved, Py_ssize_t reported):
    """Fix the bytes moved from which on results go past the caches; -1: it is found out, beginning anew.

    `reported` is what the system says of the third level, in bytes; 0: nothing.
    """
    global past_from, third_level, trials, trials_in_doubt
    past_from = moved
    third_level = reported
    trials = trials_in_doubt = 0
    memset(borders, 0, sizeof(borders))


def way_past_exists():
    """Whether this build can write past the caches."""
    return bool(streams)


def past_caches():
    """The part of `build_info` that tells which results go past the caches."""
    names = {
        TRAINING: "training",
        GRADIENT: "gradient",
        GRADIENT_FROM_SUMS: "gradient from sums",
        INFERENCE: "inference",
        INFERENCE_GRADIENT: "inference gradient",
    }
    cdef int operation, several
    if past_from >= 0:
        return {"by": "environment", "from_bytes": past_from}
    told = {"by": "measured", "reported_third_level": third_level, "trials": trials, "in_doubt": trials_in_doubt}
    for operation, name in names.items():
        for several in range(2):
            border = borders[operation][several]
            if border.inside or border.outside:
                told[f"{name}, {'several threads' if several else 'one thread'}"] = {
                    "into_caches_to_bytes": border.inside, "past_from_bytes": border.outside or None
                }
    return told
