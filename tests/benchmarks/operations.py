"""The operations over a grid of shapes: the compiled implementation against NumPy, and against PyTorch where it is.

    python tests/benchmarks/operations.py [--json FILE] [--threads N ...] [--dtype float32] [--rounds N] [--quick]

Each line is a ratio, our time over theirs: below 1 we are faster.  The contestants take turns, so that what else the
machine does slows each alike; the ratio is the median over the rounds of the ratio of neighbours in time, and the
spread behind it runs from the lower to the upper quartile.  A wide spread means a busy machine, not a slow contestant.

`of copy` holds the bytes that the operation has to move (each input read once, the result written once) against what
this machine moves when it copies an array of the same size: 1 means that the operation costs no more than a copy of
its bytes.  Training and its gradient must read their inputs twice where these do not stay in a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import pybn_ext
from pybn import reference

GRID = {
    "(32, 64)": ((32, 64), 1),
    "(256, 128)": ((256, 128), 1),
    "(4096, 512)": ((4096, 512), 1),
    "(65536, 64)": ((65536, 64), 1),
    "(50000, 37)": ((50000, 37), 1),
    "(400000, 3)": ((400000, 3), 1),
    "(32, 7, 7, 2048)": ((32, 7, 7, 2048), 3),
    "(32, 64, 56, 56)": ((32, 64, 56, 56), 1),
    "(32, 256, 14, 14)": ((32, 256, 14, 14), 1),
    "(8, 2048, 7, 7)": ((8, 2048, 7, 7), 1),
    "(16, 3, 224, 224)": ((16, 3, 224, 224), 1),
}
QUICK = ("(32, 64)", "(256, 128)", "(8, 2048, 7, 7)")
MOVED = {"training": 2, "gradient": 3, "inference": 2}  # arrays of the size of x that an operation has to move
EPSILON = 1e-5


def case(shape: tuple[int, ...], axis: int, dtype: np.dtype) -> dict[str, Any]:
    """Arrays for one line of the grid, and memory for its result."""
    rng = np.random.default_rng(7)
    features = shape[axis]
    return {
        "x": rng.normal(0.5, 2, shape).astype(dtype),
        "dy": rng.normal(size=shape).astype(dtype),
        "scale": rng.normal(size=features).astype(dtype),
        "offset": rng.normal(size=features).astype(dtype),
        "mean": np.full(features, 0.5),
        "variance": np.full(features, 4.0),
        "out": np.empty(shape, dtype),
        "axis": axis,
    }


def ours(k: dict[str, Any], module: Any) -> dict[str, Callable[[], Any]]:
    """The three operations of one of our implementations, writing to memory that is there."""
    keywords = {"feature_axis": k["axis"], "epsilon": EPSILON, "out": k["out"]}
    x, scale, offset, mean, variance = k["x"], k["scale"], k["offset"], k["mean"], k["variance"]
    return {
        "training": lambda: module.batch_norm_training(x, scale, offset, **keywords),
        "gradient": lambda: module.batch_norm_gradient(x, scale, mean, variance, k["dy"], **keywords),
        "inference": lambda: module.batch_norm_inference(x, scale, offset, mean, variance, **keywords),
    }


def pytorch(k: dict[str, Any], threads: int) -> dict[str, Callable[[], Any]]:
    """The same in PyTorch, features last as its channels-last memory format; {} where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)

    def tensor(array):
        t = torch.from_numpy(array)
        return t.movedim(-1, 1) if array.ndim > 2 and k["axis"] == array.ndim - 1 else t

    x, dy, scale, offset = (tensor(k[name]) for name in ("x", "dy", "scale", "offset"))
    mean, variance = (torch.from_numpy(k[name]).to(x.dtype) for name in ("mean", "variance"))
    inverse = 1 / torch.sqrt(variance + EPSILON)
    native, backward = torch.native_batch_norm, torch.ops.aten.native_batch_norm_backward
    return {
        "training": lambda: native(x, scale, offset, None, None, True, 0.1, EPSILON),
        "gradient": lambda: backward(dy, x, scale, None, None, mean, inverse, True, EPSILON, [True] * 3),
        "inference": lambda: native(x, scale, offset, mean, variance, False, 0.1, EPSILON),
    }


def seconds(call: Callable[[], Any], repeat: int) -> float:
    """Of one call, in a row of `repeat`."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def contest(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each contestant, in turns."""
    repeat = {}
    for name, call in calls.items():
        call()
        repeat[name] = max(1, min(1000, int(2e-3 / seconds(call, 1))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, repeat[name]))
    return times


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(label: str, dtype: np.dtype, threads: int, rounds: int) -> list[dict[str, Any]]:
    """The rows of one shape: one for each operation and opponent, and one against a copy of the bytes."""
    k = case(*GRID[label], dtype)
    pybn_ext.set_num_threads(threads)
    compiled, numpy_, torch_ = ours(k, pybn_ext), ours(k, reference), pytorch(k, threads)
    rows = []
    for operation in compiled:
        calls = {"pybn_ext": compiled[operation], "numpy": numpy_[operation]}
        if torch_:
            calls["torch"] = torch_[operation]
        calls["copy"] = lambda: np.copyto(k["out"], k["x"])
        times = contest(calls, rounds)
        for opponent in list(calls)[1:]:
            each = [mine / other for mine, other in zip(times["pybn_ext"], times[opponent], strict=True)]
            if opponent == "copy":  # a copy moves two arrays
                each = [ratio * 2 / MOVED[operation] for ratio in each]
            low, middle, high = quartiles(each)
            rows.append(
                {
                    "shape": label,
                    "dtype": dtype.name,
                    "threads": threads,
                    "operation": operation,
                    "against": opponent,
                    "ratio": middle,
                    "lower": low,
                    "upper": high,
                    "fastest_seconds": min(times["pybn_ext"]),
                }
            )
    return rows


def copy_bandwidth() -> dict[str, float]:
    """Bytes read and written per second by NumPy's copy on one thread: in the caches, and in memory."""
    found = {}
    for name, size in (("1 MB", 1 << 18), ("128 MB", 1 << 25)):
        source, target = np.ones(size, np.float32), np.empty(size, np.float32)
        np.copyto(target, source)
        best = min(seconds(lambda s=source, t=target: np.copyto(t, s), 1) for _ in range(7))
        found[name] = 2 * source.nbytes / best / 1e9
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """The rows of one shape, an operation a line."""
    for operation in MOVED:
        cells = [row for row in rows if row["operation"] == operation]
        text = "   ".join(
            f"{'of ' if row['against'] == 'copy' else '/ '}{row['against']} {row['ratio']:6.3f} "
            f"({row['lower']:.3f} to {row['upper']:.3f})"
            for row in cells
        )
        print(f"{cells[0]['shape']:20s} {operation:10s} {text}", flush=True)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", help="file to save every row in")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, pybn_ext.get_num_threads()])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three small shapes only")
    options = parser.parse_args()
    machine = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "build": pybn_ext.build_info(),
        "numpy": np.__version__,
        "copy_GB_per_second": copy_bandwidth(),
    }
    print(", ".join(f"{name} copy: {value:.1f} GB/s" for name, value in machine["copy_GB_per_second"].items()))
    rows = []
    for threads in sorted(set(options.threads)):
        print(f"--- {options.dtype}, {threads} thread{'s' * (threads > 1)}: our time over theirs")
        for label in QUICK if options.quick else GRID:
            rows += measure(label, np.dtype(options.dtype), threads, options.rounds)
            show(rows[-len([r for r in rows if r["shape"] == label and r["threads"] == threads]) :])
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": machine, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
