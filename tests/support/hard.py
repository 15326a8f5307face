"""Hard inputs: where terms cancel, and beside outliers.  As a program, the worst units of both twins over all of them.

    python -m tests.support.hard [--rounds N] [--features N] [--outliers | --tails]

The exact answers of the program are NumPy's longdouble, with 64 bits; `oracle` is exact, and a hundred times slower.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np

import pybn_ext
from pybn import reference
from tests.support import checks

ROWS = (2, 3, 5, 8, 9, 16, 100)
ROWS_OF_OUTLIERS = (12, 64, 300, 784, 1568)
WIDE = np.longdouble
RESULTS = ("mean", "variance", "y", "dx", "dscale", "doffset")


def families(rng, rows, features):
    """Pairs (x, dy) by name, float64."""
    x, noise = rng.standard_normal((2, rows, features))
    normalized = (x - x.mean(0)) / x.std(0)
    place = rng.integers(rows)
    spiked, both = x.copy(), noise.copy()
    spiked[place] *= 1000
    both[place] *= 8
    return {
        "noise": (x, noise),
        "noise, deviation 30": (30 * x, noise),
        "noise, mean 1000": (1000 + x, noise),
        "5 + noise": (x, 5 + noise),
        "100 + noise": (x, 100 + noise),
        "constant": (x, np.full_like(x, 0.1)),
        "y": (x, normalized),
        "y, mean 100": (100 + x, normalized),
        "10 y + noise": (x, 10 * normalized + noise),
        "y + noise": (x, normalized + noise),
        "an outlier in x": (spiked, noise),
        "an outlier in both": (spiked, both),
        "y of an outlier, + noise": (spiked, (spiked - spiked.mean(0)) / spiked.std(0) / 2 + noise),
        "y of an outlier, + signs": (spiked, (spiked - spiked.mean(0)) / spiked.std(0) / 8 + np.sign(noise)),
        "positive": (x, np.maximum(noise, 0)),
        "one row": (x, np.where(np.arange(rows)[:, None] == rows // 2, 1.0, 0.0) + 0 * x),
        "subnormal": (1e-3 * x, 1e-40 * noise),
    }


def outliers(rng, rows, features):
    """One, two or four rows far off in x and in dy, the first of them early, in the middle or anywhere; as `families`.

    The sums behind an outlier are what float32 and float64 keep least of: no bound of 4 units holds beside all of them.
    """
    x, noise = rng.standard_normal((2, rows, features))
    each = np.arange(features)
    found = {}
    for number in (1, 2, 4):
        for of_x, of_dy in ((1000, 1000), (1000, 8), (8, 1000), (100, 100), (3e5, 3e5), (1e7, 30), (20, 20)):
            spiked, both = x.copy(), noise.copy()
            places = rng.integers(rows, size=(number, features))
            places[0] = np.choose(each % 3, [places[0] % min(rows, 16), rows // 2, places[0]])
            for place in places:
                for values, size in ((spiked, of_x), (both, of_dy)):
                    values[place, each] = size * rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features)
            found[f"{number} of {of_x:g} in x, {of_dy:g} in dy"] = spiked, both
    return found


def tails(rng, rows, features):
    """Heavy tails, zeros, whole numbers, scales that change with the rows, elements of few values; as `families`."""
    each = np.arange(features)
    x, noise, more, one = rng.standard_normal((4, rows, features))
    sizes = rng.uniform(0.5, 2, features)
    single = rng.integers(rows, size=features)
    growing = np.exp2(np.arange(rows) * (60 / rows))[:, None] * sizes
    found = {"Cauchy": (x / more, noise / one), "Student's t, 2": tuple(rng.standard_t(2, (2, rows, features)))}
    for sigma in (2, 5, 10):
        found[f"lognormal, {sigma}"] = np.exp(sigma * x), np.exp(sigma * noise) * np.sign(one)
    for part in (0.5, 0.1, 0.02):
        real = rng.random((2, rows, features)) < part
        real[0, single, each] = True
        found[f"zeros but for {part:g}"] = np.where(real[0], abs(x), 0), np.where(real[1], noise, 0)
    whole, constant, signs = rng.integers(0, 10, x.shape).astype(float), 0 * x + sizes, np.sign(x) * sizes
    found["whole numbers"] = whole.copy(), rng.integers(-3, 4, x.shape).astype(float)
    whole[single, each] = rng.integers(10**3, 10**6, features)
    constant[single, each] *= rng.uniform(3, 1e4, features)
    signs[single, each] = rng.uniform(10, 1e4, features)
    found |= {"whole numbers, one huge": (whole, noise), "constant but for one": (constant, noise)}
    found |= {"signs, and one": (signs, noise), "two values": (np.where(more < 0, 1.1, -2.7) * sizes, noise)}
    blocks = np.where(np.arange(rows) // max(1, rows // 7) % 2, 1e3, 1)[:, None]
    found |= {"scales by blocks": (x * blocks, noise * blocks[::-1])}
    return found | {"growing": (growing, noise), "shrinking": (growing[::-1], noise)}


def layouts(rows):
    """How rows x features become x and its axis: features last, first, images of several sizes."""
    yield lambda a: a, -1, rows
    yield lambda a: np.ascontiguousarray(a.T), 0, rows
    for images in (2, 8, 16):
        if rows % images == 0 and rows > images:
            yield (
                lambda a, i=images: np.ascontiguousarray(a.reshape(i, rows // i, -1).transpose(0, 2, 1)),
                1,
                (images, rows // images),
            )


class Exact(NamedTuple):
    """The answers for one pair (x, dy), and what their errors are counted in; each rows x features, or features."""

    values: dict[str, np.ndarray]
    sizes: dict[str, np.ndarray]  # of which a unit is taken
    allowed: dict[str, np.ndarray]  # that counts as nothing


def exact(x, dy, real, scale, offset, epsilon):
    """The contract's table, section 2: results, units and what float64 leaves of cancelling terms."""
    narrow = x.dtype == np.float32
    x, dy = x[real].astype(WIDE), dy[real].astype(WIDE)
    scale, offset = scale.astype(WIDE), offset.astype(WIDE)
    mean = x.mean(0)
    variance = ((x - mean) ** 2).mean(0)
    inverse = 1 / np.sqrt(variance + WIDE(epsilon))
    normalized = (x - mean) * inverse
    doffset, dscale = dy.sum(0), (dy * normalized).sum(0)
    dx = scale * inverse * (dy - doffset / len(x) - normalized * (dscale / len(x)))
    terms = abs(dy).max(0), abs(doffset / len(x)), abs(normalized).max(0) * abs(dscale / len(x))
    term = abs(scale) * inverse * np.maximum(np.maximum(terms[0], terms[1]), terms[2])
    away = np.maximum(1, abs(mean) * inverse)  # the mean argument is rounded to float64
    y = np.maximum(abs(normalized), 1) * abs(scale) + abs(offset)
    values = {"mean": mean, "variance": variance, "y": scale * normalized + offset, "dx": dx, "dscale": dscale}
    values["doffset"] = doffset
    sizes = {"mean": np.maximum(abs(mean), np.sqrt(variance)), "variance": variance, "y": y}
    sizes |= {"dx": abs(dx).max(0) if narrow else term}
    sizes |= {"dscale": np.maximum(abs(dscale), np.sqrt((dy**2 * normalized**2).sum(0)))}
    sizes |= {"doffset": np.maximum(abs(doffset), np.sqrt((dy**2).sum(0)))}
    allowed = dict.fromkeys(RESULTS, WIDE(0)) | {"dx": (1e-14 if narrow else 2.0**-53) * away * term}
    allowed["y"] = (0 if narrow else 2.0**-53) * away * abs(scale)
    allowed["dscale"] = 2.0**-53 * away * sizes["doffset"] * np.sqrt(WIDE(len(x)))
    return Exact(values, sizes, allowed)


def computed(kernels, x, dy, scale, offset, epsilon, statistics, **where):
    """The six results; `statistics` are those of the gradient."""
    y, mean, variance = kernels.batch_norm_training(x, scale, offset, epsilon=epsilon, **where)
    dx, dscale, doffset = kernels.batch_norm_gradient(x, scale, *statistics, dy, epsilon=epsilon, **where)
    return {"mean": mean, "variance": variance, "y": y, "dx": dx, "dscale": dscale, "doffset": doffset}


def units_off(found: dict[str, Any], answer: Exact, dtype, least) -> dict[str, float]:
    """Of each result the worst error, in units; what is below `least` has no digits to count in."""
    worst = {}
    for name in RESULTS:
        error = abs(found[name].astype(WIDE) - answer.values[name]) - answer.allowed[name]
        unit = np.maximum(checks.unit(answer.sizes[name], dtype), least)
        worst[name] = float(np.max(error / unit))
    return worst


def worst_units(kernels, dtype, rounds, features, sizes=ROWS, inputs=families):
    """Of each result the most units that it is off, and the family in which."""
    worst = dict.fromkeys(RESULTS, (0.0, ""))
    least = 2 * np.finfo(dtype).smallest_subnormal
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        for rows in sizes:
            for name, pair in inputs(rng, rows, features).items():
                x, dy = (a.astype(dtype) for a in pair)
                scale, offset = rng.uniform(0.5, 2, (2, features)).astype(dtype)
                some = rng.random(rows) < 0.7
                some[:2] = True
                for real in (np.ones(rows, bool), some):
                    answer = exact(x, dy, real, scale, offset, 1e-5)
                    statistics = [answer.values[each].astype(np.float64) for each in ("mean", "variance")]
                    for to_layout, axis, others in layouts(rows):
                        where = {"feature_axis": axis, "mask": None if real.all() else real.reshape(others)}
                        found = computed(kernels, to_layout(x), to_layout(dy), scale, offset, 1e-5, statistics, **where)
                        for each in ("y", "dx"):
                            found[each] = np.moveaxis(found[each], axis, -1).reshape(rows, features)[real]
                        for each, units in units_off(found, answer, dtype, least).items():
                            worst[each] = max(worst[each], (units, f"{name}, {real.sum()} rows"))
    return worst


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--features", type=int, default=19)
    parser.add_argument("--outliers", action="store_true", help="beside outliers in x and in dy, up to 1568 rows")
    parser.add_argument("--tails", action="store_true", help="heavy tails, zeros, few values, up to 1568 rows")
    options = parser.parse_args()
    where = (ROWS, families)
    if options.outliers or options.tails:
        where = (ROWS_OF_OUTLIERS, outliers if options.outliers else tails)
    print(f"{'':22s}" + "".join(f"{name:>10s}" for name in RESULTS))
    for dtype in (np.float32, np.float64):
        for kernels in (reference, pybn_ext):
            worst = worst_units(kernels, dtype, options.rounds, options.features, *where)
            head = f"{kernels.__name__:15s}{np.dtype(dtype).name[5:]:>3s}"
            print(f"{head:22s}" + "".join(f"{worst[name][0]:10.2f}" for name in RESULTS))
            print(f"{'':22s}" + "; ".join(f"{name}: {worst[name][1]}" for name in RESULTS), flush=True)


if __name__ == "__main__":
    main()
