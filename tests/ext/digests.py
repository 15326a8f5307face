"""The bits of every operation over layouts, types and masks, as digests that each processor must give.

The inputs are made from integers, so no library's generator or logarithm stands between two machines; additions,
products, quotients and roots are IEEE 754's, in an order that the shape alone decides.

    python -m tests.ext.digests             print what this processor gives
    python -m tests.ext.digests --write     store it: after a change of bits that was meant
    python -m tests.ext.digests --check     hold it against what is stored; needs NumPy and pybn_ext, no pytest
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import pybn_ext

STORED = Path(__file__).with_name("digests.json")
DTYPES = ("float16", "float32", "float64")
BYTES = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}


def integers(size, seed):
    """Whole numbers in -2**15 .. 2**15 - 1, of a linear congruence: the same on every machine."""
    # x -> 6364136223846793005 x + 1442695040888963407 modulo 2**64, begun anew for each number.
    numbers = np.arange(1, size + 1, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    for _ in range(3):
        numbers = numbers * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        numbers ^= numbers >> np.uint64(29)
    return (numbers >> np.uint64(48)).astype(np.int64) - 2**15


def floats(shape, dtype, seed, centre=0.0):
    """Multiples of 2**-6 within 8 of `centre`: without rounding in all three types, cut to 10 bits for float16."""
    return (integers(int(np.prod(shape)), seed) // 64 / 64 + centre).astype(dtype).reshape(shape)


def mirrored(x):
    """The same numbers, the last axis stored backwards."""
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def apart(x):
    """The same numbers, every second element in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


# name: (shape, feature axis, how it lies in memory)
LAYOUTS = {
    "rows": ((37, 33), -1, np.ascontiguousarray),
    "narrow rows, more than one thread": ((70_001, 3), -1, np.ascontiguousarray),
    "wide rows": ((5, 2050), -1, np.ascontiguousarray),
    "images, channels last": ((3, 5, 7, 6), -1, np.ascontiguousarray),
    "images, channels first": ((4, 3, 5, 7), 1, np.ascontiguousarray),
    "long runs": ((2, 3, 2053), 1, np.ascontiguousarray),
    "long runs, more than one thread": ((3, 5, 9001), 1, np.ascontiguousarray),
    "one feature": ((1000, 1), 1, np.ascontiguousarray),
    "two feature axes side by side": ((9, 4, 6), (1, 2), np.ascontiguousarray),
    "two feature axes apart": ((4, 9, 6), (0, 2), np.ascontiguousarray),
    "Fortran's order": ((31, 12), -1, np.asfortranarray),
    "backwards": ((12, 31), -1, mirrored),
    "every second": ((12, 31), 0, apart),
}


def results(shape, axis, lay, dtype, masked):
    """{operation: its arrays} for one case."""
    axes = tuple(sorted(a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))))
    others = tuple(n for a, n in enumerate(shape) if a not in axes)
    features = tuple(shape[a] for a in axes)
    x, dy = (lay(floats(shape, dtype, seed, centre)) for seed, centre in ((1, 3.0), (2, 0.25)))
    scale, offset = floats(features, dtype, 3, 9.0), floats(features, dtype, 4)
    mean, variance = floats(features, np.float64, 5), floats(features, np.float64, 6, 9.0)
    mask = integers(int(np.prod(others)), 7).reshape(others) % 4 > 0 if masked else None
    where = {"feature_axis": axis, "mask": mask}
    moments = pybn_ext.moments(x, **where)
    y, m, v = pybn_ext.batch_norm_training(x, scale, offset, **where)
    sums = pybn_ext.batch_norm_gradient_sums(x, m, v, dy, **where)
    half = {"feature_axis": axis, "mask": np.arange(int(np.prod(others))).reshape(others) % 2 == 0}
    return {
        "moments": moments,
        "merge": pybn_ext.merge_moments(moments, pybn_ext.moments(x, **half)),
        "training": (y, m, v),
        "gradient": pybn_ext.batch_norm_gradient(x, scale, m, v, dy, **where),
        "gradient whose terms cancel": pybn_ext.batch_norm_gradient(x, scale, m, v, y, **where),
        "gradient sums": sums,
        "gradient from sums": (pybn_ext.batch_norm_gradient_from_sums(x, scale, m, v, dy, sums, **where),),
        "inference": (pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, **where),),
        "inference gradient": pybn_ext.batch_norm_inference_gradient(x, scale, mean, variance, dy, **where),
    }


def digest(arrays):
    """Sixteen digits for the bits of some arrays, in whatever order of bytes this machine has them."""
    found = hashlib.sha256()
    for array in map(np.asarray, arrays):
        found.update(f"{array.dtype.name}{array.shape}".encode())
        found.update(array.astype(BYTES.get(array.dtype.name, "<i8")).tobytes())
    return found.hexdigest()[:16]


def digests(layouts=LAYOUTS, dtypes=DTYPES):
    """{case: {operation: digest}} of everything."""
    return {
        f"{name}, {dtype}{', masked' if masked else ''}": {
            operation: digest(arrays) for operation, arrays in results(*LAYOUTS[name], dtype, masked).items()
        }
        for name in layouts
        for dtype in dtypes
        for masked in (False, True)
    }


def differences(found, stored):
    """A line for each digest that is not what is stored."""
    return [
        f"{case}: {operation}: {value}, stored is {stored[case][operation]}"
        for case, operations in found.items()
        for operation, value in operations.items()
        if value != stored[case][operation]
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"store them in {STORED.name}")
    parser.add_argument("--check", action="store_true", help="1 where one differs from what is stored")
    options = parser.parse_args(arguments)
    found = digests()
    if options.write:
        STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not options.check:
        print(json.dumps(found, indent=1))
        return 0
    wrong = differences(found, json.loads(STORED.read_text(encoding="utf-8")))
    print(*wrong, f"{sum(map(len, found.values()))} digests, {len(wrong)} of them not as stored", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
