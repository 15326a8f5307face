# Who does what of shared work, and how others are waited for.
#
# A thread that sleeps is often woken on the processor of the one that wakes it, which has its own share to do and then
# spins for the other: after a pause of 20 ms a call of 0.25 ms took up to 17.  So a thread takes its parts one by one,
# and when its share is done those that others have not begun; it lets others have the processor instead of spinning
# for long; and one that finds itself on the first one's processor goes to another.  The mean of three calls behind
# such a pause was 0.4 and 0.45 of what it was ((4096, 512) and (32, 256, 14, 14), two cores, quiet).  Which thread does
# a part decides no bit.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <windows.h>
    #include <intrin.h>
    #define pybn_next(place) ((Py_ssize_t) _InlineInterlockedAdd64((volatile long long *) (place), 1) - 1)
    #define pybn_set(flag) ((void) _InterlockedExchange((volatile long *) (flag), 1))
    #define pybn_is_set(flag) (*(volatile int *) (flag))
    #define pybn_let_others() ((void) SwitchToThread())
    #else
    #include <sched.h>
    #define pybn_next(place) __atomic_fetch_add(place, 1, __ATOMIC_RELAXED)
    #define pybn_set(flag) __atomic_store_n(flag, 1, __ATOMIC_RELEASE)
    #define pybn_is_set(flag) __atomic_load_n(flag, __ATOMIC_ACQUIRE)
    #define pybn_let_others() ((void) sched_yield())
    #endif
    #if defined(__linux__) && defined(CPU_CLR)
    #define pybn_processor() sched_getcpu()
    /* To any other processor that the thread may use, for now: what it may use is as before afterwards. */
    static void pybn_leave(int processor) {
        cpu_set_t allowed, others;
        if (processor < 0 || sched_getaffinity(0, sizeof(allowed), &allowed)) return;
        others = allowed;
        CPU_CLR(processor, &others);
        if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof(others), &others))
            (void) sched_setaffinity(0, sizeof(allowed), &allowed);
    }
    #else
    #define pybn_processor() -1
    #define pybn_leave(processor) ((void) 0)
    #endif
    #ifndef _OPENMP
    #define omp_get_num_threads() 1
    #endif
    """
    Py_ssize_t next_of "pybn_next"(Py_ssize_t* place) noexcept nogil
    void set_flag "pybn_set"(int* flag) noexcept nogil
    int is_set "pybn_is_set"(const int* flag) noexcept nogil
    void let_others "pybn_let_others"() noexcept nogil
    int processor_now "pybn_processor"() noexcept nogil
    void leave_processor "pybn_leave"(int processor) noexcept nogil
    int threads_here "omp_get_num_threads"() noexcept nogil

ctypedef void (*Task)(const Call* call, Py_ssize_t part) noexcept nogil

cdef double AWAKE = 2e-5    # seconds in which a thread that is under way will be done: to wait for it costs least
cdef double WAITING = 2e-3  # seconds for which others are let in front; then OpenMP waits in its own way

# What the threads of one shared task tell each other.
cdef struct Crew:
    Py_ssize_t taken[CREW]  # parts of each thread's share that are under way or done
    int begun[CREW]
    int done[CREW]
    double took[CREW]  # seconds from its begin to its end
    int processor  # of the first thread


cdef void alone(Task task, const Call* call, Py_ssize_t parts, bint backwards) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(parts):
        task(call, parts - 1 - i if backwards else i)


cdef void gather(Crew* crew, int threads) noexcept nogil:
    memset(crew.took, 0, threads * sizeof(double))  # OpenMP may send fewer than these
    memset(crew.taken, 0, threads * sizeof(Py_ssize_t))
    memset(crew.begun, 0, threads * sizeof(int))
    memset(crew.done, 0, threads * sizeof(int))
    crew.processor = processor_now()


cdef void work(
    Task task, const Call* call, Py_ssize_t parts, int thread, int threads, bint backwards, Crew* crew
) noexcept nogil:
    """One thread of them: its share, what is left of the others', and how long that took."""
    cdef double begin = seconds_now()
    cdef bint asked = thread > 0
    cdef int i, whose
    cdef Py_ssize_t start, number, at
    set_flag(&crew.begun[thread])
    if thread and processor_now() == crew.processor:
        leave_processor(crew.processor)
    for i in range(threads):
        whose = (thread + i) % threads
        start = parts * whose // threads
        number = parts * (whose + 1) // threads - start
        at = next_of(&crew.taken[whose])
        while at < number:
            task(call, start + number - 1 - at if backwards else start + at)
            if not asked:  # one that is awake has begun by now; one that is not may wait for this processor
                asked = True
                if not all_set(&crew.begun[0], threads_here()):
                    let_others()
            at = next_of(&crew.taken[whose])
    crew.took[thread] = seconds_now() - begin
    set_flag(&crew.done[thread])
    wait_for_all(crew, threads_here())


cdef void wait_for_all(const Crew* crew, int threads) noexcept nogil:
    cdef double begin = seconds_now()
    cdef double now = begin
    while not all_set(&crew.done[0], threads):
        now = seconds_now()
        if now > begin + WAITING:
            return
        if now > begin + AWAKE or not all_set(&crew.begun[0], threads):
            let_others()


cdef inline bint all_set(const int* flags, int threads) noexcept nogil:
    cdef int i
    for i in range(threads):
        if not is_set(&flags[i]):
            return False
    return True
