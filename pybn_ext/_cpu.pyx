"""Which of the levels this processor and its operating system can run."""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    static int has_avx2(void) { __builtin_cpu_init(); return __builtin_cpu_supports("avx2"); }
    static int has_avx512(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
            && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    }
    #else
    static int has_avx2(void) { return 0; }
    static int has_avx512(void) { return 0; }
    #endif
    """
    int has_avx2()
    int has_avx512()


def runs(level):
    """Whether code compiled for `level` runs here: "sse2" or "baseline", the lowest; "avx2" or "avx512"."""
    return {"sse2": True, "baseline": True, "avx2": bool(has_avx2()), "avx512": bool(has_avx512())}[level]
