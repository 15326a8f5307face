"""float16 and bfloat16 against float32 of as many elements, in the compiled implementation.

    python tests/benchmarks/halves.py [--threads N] [--seconds S]

Each cell is a ratio, the median time of one over that of float32: below 1 the narrower type is faster.  The types take
turns, and results go into the same memory at each call.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

import pybn_ext

GRID = (  # shape, axis of the features
    ((32, 64), 1),
    ((256, 128), 1),
    ((4096, 512), 1),
    ((65536, 64), 1),
    ((400000, 3), 1),
    ((128, 4099), 1),
    ((64, 56, 56, 64), 3),
    ((8, 16, 28, 28), 1),
    ((32, 64, 28, 28), 1),
    ((32, 256, 14, 14), 1),
    ((64, 512, 7, 7), 1),
    ((16, 3, 224, 224), 1),
)
TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


def calls(shape: tuple[int, ...], axis: int, dtype: type) -> Iterator[Callable[[], object]]:
    """Training, gradient and inference of one input."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, np.float32).astype(dtype) for _ in range(2))
    scale, offset = np.ones(shape[axis], np.float32), np.zeros(shape[axis], np.float32)
    options = {"feature_axis": axis, "out": np.empty_like(x)}
    _, mean, variance = pybn_ext.batch_norm_training(x, scale, offset, feature_axis=axis)
    yield lambda: pybn_ext.batch_norm_training(x, scale, offset, **options)
    yield lambda: pybn_ext.batch_norm_gradient(x, scale, mean, variance, dy, **options)
    yield lambda: pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, **options)


def medians(contestants: list[Callable[[], object]], seconds: float) -> list[float]:
    """The median time of each, taken in turns."""
    times: list[list[float]] = [[] for _ in contestants]
    until = time.perf_counter() + seconds
    while len(times[0]) < 7 or time.perf_counter() < until:
        for each, call in zip(times, contestants, strict=True):
            call()
            begin = time.perf_counter()
            call()
            each.append(time.perf_counter() - begin)
    return [statistics.median(each) for each in times]


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each shape and operation")
    options = parser.parse_args()
    pybn_ext.set_num_threads(options.threads)
    print(f"{'':20} {'training':>24} {'gradient':>24} {'inference':>24}   us of float32, float16 / it, bfloat16 / it")
    ratios = []
    for shape, axis in GRID:
        cells = []
        for contestants in zip(*(calls(shape, axis, dtype) for dtype in TYPES), strict=True):
            single, half, brain = medians(list(contestants), options.seconds)
            ratios.append((half / single, brain / single))
            cells.append(f"{single * 1e6:10.1f} {half / single:6.2f} {brain / single:6.2f}")
        print(f"{shape!s:20} " + " ".join(cells), flush=True)
    ratios = np.exp(np.log(np.reshape(ratios, (-1, 3, 2))).mean(0))
    print(f"{'geometric mean':20} " + " ".join(f"{'':10} {half:6.2f} {brain:6.2f}" for half, brain in ratios))


if __name__ == "__main__":
    main()
