r"""
.. _lesson-implementations:

Two implementations, one answer
===============================

*How does one know that a fast program computes the same as a readable one?*  About 10 minutes.  You should know what
float32 is; :ref:`lesson-one-feature` comes before.

`pybn.reference` is written to be read, ``pybn_ext`` to be fast, and they must give the same numbers.  *The same* needs
a measure: two correct programs that add in another order differ in the last digits.  The measure is the **unit in the
last place** (ulp) of the result, about 1 part in 10\ :sup:`7` in float32, and a bound says how many are allowed.

We hold a third one against the reference as well: the variance as :math:`E[x^2] - E[x]^2`, which is quick to write,
quick to run, and in many a library.  If ``pybn_ext`` was not built here, the lesson carries on with that one alone.
"""

import math
import time

import numpy as np

from pybn import backend, reference, use_backend
from pybn.lessons import cancelling, experiments, lesson
from pybn.study import compare

drawings = lesson.drawings()
SEEDS = lesson.seeds()
BUILT = backend.compiled_is_built()


class OnePass:
    """Batch normalization in one pass over x, in x's own type."""

    @staticmethod
    def moments(x, *, feature_axis=-1):
        mean = x.mean(axis=0)
        return len(x), mean, (x * x).mean(axis=0) - mean * mean

    @staticmethod
    def batch_norm_training(x, scale, offset, *, feature_axis=-1, epsilon=1e-3):
        _, mean, variance = OnePass.moments(x)
        return (
            (x - mean) * (scale / np.sqrt(variance + x.dtype.type(epsilon))) + offset,
            mean,
            variance,
        )


implementations = {"reference": reference, "E[x²] - E[x]²": OnePass}
if BUILT:
    implementations["compiled"] = backend.load("compiled")
names = list(implementations)[1:]

# %%
# How far apart, and how long
# ---------------------------
# `pybn.study.compare` runs each operation on the same random input (means of a few standard deviations), and takes the
# times in turn, so that what slows the machine down slows all alike.  A time is given as a ratio to the reference's.

ROWS = (8, 64, 512, 4096, 32768)
shapes = [(rows, 64) for rows in ROWS]
options = {"shapes": shapes, "dtypes": ("float32",), "threads": 1, "turns": 5}
found = [compare(implementations, seed=seed, **options) for seed in SEEDS]


def of(comparison, name, quantity, operation="batch_norm_training"):
    """One quantity for each number of rows."""
    rows = (
        row
        for row in comparison.rows
        if (row.implementation, row.operation) == (name, operation)
    )
    return [getattr(row, quantity) for row in rows]


units = {name: [of(each, name, "units") for each in found] for name in names}
ratios = {name: [of(each, name, "ratio") for each in found] for name in names}
bound = of(found[0], names[0], "bound")[0]
drawings.units_and_times(ROWS, units, bound, ratios)

# %%

# Folded: the check that the compiled one keeps its bound; the one-pass formula does not
one_pass = names[0]
for seed, each in zip(SEEDS, found, strict=True):
    wrong = [
        row.units for row in each.rows if row.implementation == one_pass and not row.ok
    ]
    assert wrong
    assert all(row.ok for row in each.rows if row.implementation == "compiled")
    print(
        f"seed {seed}: E[x²] - E[x]² is up to {max(wrong):.0f} units off, "
        f"{each.rows[0].bound:.0f} are allowed"
    )
    if BUILT:
        worst, median = (
            max(of(each, "compiled", "units")),
            np.median(of(each, "compiled", "ratio")),
        )
        print(
            f"        compiled is up to {worst:.1f} units off, in {median:.3f} of the "
            f"reference's time"
        )

# %%
# Who is right?
# -------------
# Where two differ, a third must judge: here `math.fsum`, which adds without rounding.  In float64, over many rows:

# Folded: the exact variance, and the check that the compiled one is near it
for seed in SEEDS:
    x = np.random.default_rng(seed).normal(100, 1, (50_000, 4))
    means = [math.fsum(column) / len(x) for column in x.T]
    exact = np.array(
        [
            math.fsum((column - mean) ** 2) / len(x)
            for column, mean in zip(x.T, means, strict=True)
        ]
    )
    off = {
        name: (abs(module.moments(x)[2] - exact) / np.spacing(exact)).max()
        for name, module in implementations.items()
    }
    assert off[one_pass] > 100 * off["reference"]
    assert off.get("compiled", 0) <= 4
    print(
        f"seed {seed}, variance: "
        + ", ".join(f"{name} {units:.0f} units off" for name, units in off.items())
    )

# %%
# The reference is not the truth either: NumPy's sums round after each row, and the compiled code, which adds in blocks,
# comes closer.  The one-pass formula has lost four digits more, and loses two for every further digit of the mean.
#
# All operations, and a whole training
# ------------------------------------
# With the compiled implementation: every operation in both types, and where the reference wins.

# Folded: the comparison, and the check that each is within its bound
if BUILT:
    comparisons = [
        compare(shapes=[(32, 16), ((8, 16, 14, 14), 1)], threads=1, seed=seed, turns=5)
        for seed in SEEDS
    ]
    assert all(each.ok for each in comparisons), [
        row for each in comparisons for row in each.rows if not row.ok
    ]
    rows = [row for each in comparisons for row in each.rows]
    for operation in dict.fromkeys(row.operation for row in rows):
        here = [row for row in rows if row.operation == operation]
        units, ratio = (
            max(row.units / row.bound for row in here),
            np.median([row.ratio for row in here]),
        )
        print(
            f"{operation:30} up to {units:4.0%} of the bound, in {ratio:.3f} of the "
            f"reference's time"
        )
    ratio = {}
    for row in rows:
        ratio.setdefault(f"{row.operation} of {row.shape} in {row.dtype}", []).append(
            row.ratio
        )
    slower = [case for case, of_seeds in ratio.items() if np.median(of_seeds) > 1]
    print(
        "the reference wins on this machine, today, in:",
        "; ".join(slower) or "none of these",
    )

# %%
# A training is more than its normalizations, and they more than arithmetic.  The same network, from the same seed:


def train(name, seed):
    """The loss of each step of three epochs, and the median time between steps in
    seconds.
    """
    with use_backend(name):
        run = experiments.recorded(seed, experiments.classifier(), every=10**9)
        losses, clock = [], []
        run.loop.on_step(
            lambda loop, metrics: (
                losses.append(metrics["loss"]),
                clock.append(time.perf_counter()),
            )
        )
        run.epochs(3)
        return np.array(losses), np.median(np.diff(clock))


# %%

# Folded: the check that the two trainings stay together
if BUILT:
    for seed in SEEDS:
        (read, slow), (fast, quick) = train("reference", seed), train("compiled", seed)
        apart = np.abs(read - fast).max()
        assert apart < 1e-3
        print(
            f"seed {seed}: a compiled step takes {quick / slow:.2f} of the time; "
            f"losses {apart:.0e} apart at most"
        )

# %%
# Where the terms of the gradient cancel
# --------------------------------------
# dx is the sum of three terms (:ref:`lesson-gradient`).  If the loss is the mean of :math:`y^2`, dy is y; the third
# term takes nearly all of the first away, and what is left is :math:`\varepsilon / (\sigma^2 + \varepsilon)` of it: a
# thousandth.  In float32 the terms have seven digits, and the last three are all that remain.  Nobody notices: a
# gradient with four wrong digits still points downhill.  Units of the largest dx of each feature, for some dy:


def textbook(x, dy):
    """The formula in float32 throughout, as it stands in many a library."""
    deviation = np.sqrt(x.var(axis=0) + np.float32(cancelling.EPSILON))
    normalized = (x - x.mean(axis=0)) / deviation
    along = (dy * normalized).mean(axis=0)
    return (dy - dy.mean(axis=0) - normalized * along) / deviation


gradients = {"textbook": textbook, "reference": cancelling.gradient_of(reference)}
if BUILT:
    gradients["compiled"] = cancelling.gradient_of(backend.load("compiled"))
# Measured once, with PyTorch 2.13.
PYTORCH = {"noise": 19, "100 + noise": 1131, "10 y + noise": 428, "y": 51593}

off = {dy: {name: [] for name in gradients} for dy in PYTORCH}
for seed in SEEDS:
    x, kinds = cancelling.batch(seed)
    for kind, dy in kinds.items():
        for name, gradient in gradients.items():
            off[kind][name].append(cancelling.units_off(gradient, x, dy))

worst = {dy: [round(max(units), 1) for units in off[dy].values()] for dy in off}
rows = {f"dy = {dy}": [*worst[dy], PYTORCH[dy]] for dy in off}
lesson.table(rows, [*gradients, "PyTorch 2.13"])

# %%
# pybn's reference computes in float64.  The compiled one computes in float32, notices such features by what is left of
# some elements, and computes those again.

# Folded: the check that both keep four units for every dy, and the textbook does not
for dy, units in off.items():
    assert max(units["reference"]) <= 4, (dy, units)
    assert max(units.get("compiled", [0])) <= 4, (dy, units)
assert min(off["y"]["textbook"]) > 100 * max(off["noise"]["textbook"])
print(
    f"dy = y costs the textbook {min(off['y']['textbook']):.0f} units and more, with "
    f"each of {len(SEEDS)} seeds"
)

# %%
# However fast its normalizations, a training keeps its matrix products and its bookkeeping.  And there is one thing in
# which the reference always wins: it can be read, changed, and stepped through.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("implementations")
