r"""
.. _lesson-ladder:

From NumPy to the speed of memory, a rung at a time
===================================================

*How does the same formula become thirty times faster?*  About 30 minutes, of which the machine computes half of one.
You should have read one loop in Cython, and know what a cache is; :ref:`lesson-implementations` comes before.

``pybn_ext`` has some four thousand lines, and they pay.  Nobody should have to begin there.  The file
``pybn_ext/ladder.pyx`` has six small functions, each complete: the forward pass in training, of float32 rows.  A rung
changes one thing.  They are compiled here and now, on your machine.
"""

import time

import numpy as np

from pybn import backend, reference
from pybn.lessons import ladder, lesson

plots, drawings = lesson.plots(), lesson.drawings()
SEEDS = lesson.seeds()
ROWS, FEATURES = 4096, 512
EPSILON = 1e-3

# Times over that of a copy, where nothing can be compiled: 2 cores with AVX-512, 1 MB
# of L2 each, gcc 12.
RECORDED = {
    "reference": 47.8,
    "textbook": 17.5,
    "rung_1": 90.0,
    "rung_2": 73.0,
    "rung_3": 3.9,
    "rung_4": 3.4,
}
RECORDED |= {"rung_5": 2.7, "rung_6": 1.7, "pybn_ext": 1.5}

try:
    climbed = ladder.climb()
    print(
        f"compiled with: {climbed.command}\nCython's page of it: "
        f"{climbed.annotated.name}, beside the compiled file"
    )
except ladder.CannotCompile as reason:
    climbed = None
    print(
        f"nothing can be compiled here ({reason}); the lesson shows times that were "
        f"recorded elsewhere"
    )

# %%
# What each rung changes
# ----------------------
#
# ====  ================================================================  =========================================
# rung  what it is                                                        what it teaches
# ====  ================================================================  =========================================
# 1     typed loops, feature by feature, every index checked              compiled is not yet fast
# 2     no checks, memory known to be contiguous, no division inside      nothing gained: the *order* is at fault
# 3     the two loops swapped, so memory is read as it lies               the largest step, for the price of none
# 4     one pass for both sums, of distances from the first row           a pass less
# 5     lanes: float32 sums over 32 rows, widened to float64              twice as many numbers in a register
# 6     the same on all processors                                        a second core, and no other bits
# ====  ================================================================  =========================================
#
# Beside them stand a **copy** of x to y, the least that memory allows; the **reference**; the **textbook** in NumPy,
# float32 throughout; and ``pybn_ext`` on one thread.


def textbook(x, scale, offset, epsilon):
    mean, variance = x.mean(axis=0), x.var(axis=0)
    y = scale * (x - mean) / np.sqrt(variance + np.float32(epsilon)) + offset
    return y, mean, variance


def read(x, scale, offset, epsilon):
    return reference.batch_norm_training(x, scale, offset, epsilon=epsilon)


functions = {"reference": read, "textbook": textbook} | (
    climbed.rungs if climbed else {}
)
if climbed and backend.compiled_is_built():
    compiled = backend.load("compiled")
    compiled.set_num_threads(1)

    def on_one_thread(x, scale, offset, epsilon):
        return compiled.batch_norm_training(x, scale, offset, epsilon=epsilon)

    functions["pybn_ext"] = on_one_thread


# %%


def over_a_copy(seed, turns=9):
    """The time of each function over that of a copy: the least of turns in rotation."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (ROWS, FEATURES)).astype(np.float32)
    scale, offset = rng.normal(size=(2, FEATURES)).astype(np.float32)
    y, best = np.empty_like(x), dict.fromkeys([*functions, "copy"], np.inf)
    for _ in range(turns):
        for name in best:
            start = time.perf_counter()
            np.copyto(y, x) if name == "copy" else functions[name](
                x, scale, offset, EPSILON
            )
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: best[name] / best["copy"] for name in functions}


if climbed:
    measured = [over_a_copy(seed) for seed in SEEDS]
    times = {
        name: float(np.median([each[name] for each in measured])) for name in functions
    }
else:
    times = RECORDED

_ = plots.ratio_bars(times, "time over that of a copy (log scale)")

# %%
# Rung 6 needs a second core that is idle: where another program has it, two threads wait for each other, and it can be
# the slowest of all.

# %%

# Folded: the check that swapping two loops is worth a factor of three
if climbed:
    for seed, each in zip(SEEDS, measured, strict=True):
        assert each["rung_2"] > 3 * each["rung_3"], each
        print(
            f"seed {seed}: swapping two loops makes it "
            f"{each['rung_2'] / each['rung_3']:.0f} times as fast"
        )
    if "pybn_ext" in times:
        assert times["rung_5"] < 2.5 * times["pybn_ext"], times
        print(
            f"rung 5 takes {times['rung_5'] / times['pybn_ext']:.1f} of pybn_ext's "
            f"time on one thread"
        )

# %%
# What the other lines buy
# ------------------------
# Rung 5 is forty lines and most of the speed.  Give it a batch whose first row is an outlier, and see what its sums
# keep.  The squares of the distances from that row are far larger than the variance that is left of them in the end:

FAR = (0, 10, 100, 1000)
names = [
    name for name in ("rung_3", "rung_4", "rung_5", "pybn_ext") if name in functions
]


def units_off(name, far, seed):
    """The largest error of the variance in units of float32, with a first row `far`
    deviations away.
    """
    x = np.random.default_rng(seed).normal(size=(2000, 16)).astype(np.float32)
    x[0] = far
    one = np.ones(16, np.float32)
    exact = x.astype(np.longdouble).var(axis=0)
    variance = functions[name](x, one, one, EPSILON)[2]
    return float((abs(variance - exact) / np.spacing(exact.astype(np.float32))).max())


if names:
    off = {
        name: [[max(units_off(name, far, seed), 1e-9) for far in FAR] for seed in SEEDS]
        for name in names
    }
    drawings.errors_behind_a_far_row(FAR, off)

# %%
# Far means, NaN in one feature, masks, any layout, the same bits for any number of threads and every kind of processor,
# and four units in the last place on all but the worst inputs (the page "Two implementations" lists those found):
# that is what the rest of ``pybn_ext`` is for.

# Folded: the check that behind a far row rung 5 breaks the promise of four units
if names:
    for seed in SEEDS:
        assert units_off("rung_5", 1000, seed) > 4
        print(
            f"seed {seed}: rung 5 is {units_off('rung_5', 1000, seed):.0f} units off "
            f"behind a far first row,",
            end=" ",
        )
        print(
            ", ".join(
                f"{name} {units_off(name, 1000, seed):.1g}"
                for name in names
                if name != "rung_5"
            )
        )
        assert units_off("pybn_ext", 1000, seed) <= 4 if "pybn_ext" in names else True

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("ladder")
