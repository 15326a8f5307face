"""The operations over a grid of shapes: the compiled implementation against NumPy, and against the peers that are here.

    python tests/benchmarks/operations.py [--json FILE] [--threads N ...] [--dtype float32] [--rounds N] [--quick]
                                          [--shapes TEXT ...] [--peers NAME ...] [--fresh] [--then relu]

Each cell is a ratio, our time over theirs: below 1 we are faster.  The contestants take turns, so that what else the
machine does slows each alike; the ratio is the median over the rounds of the ratio of neighbours in time, and the
spread behind it runs from the lower to the upper quartile.  A wide spread means a busy machine, not a slow contestant.

`MB` is what the operation has to move at least: each array of x's size read once, the result written once.  `GB/s` is
what ours moves of these in a second, `copy` what this machine moves when it copies x, and `of copy` their ratio as
times: 1 means that the operation costs no more than a copy of its bytes.  Training and its gradient must read their
inputs twice where these do not stay in a cache.

Results are read, most of them at once.  With `--then relu` or `--then sum` each turn is an operation, or the copy, and
NumPy's relu or sum of what it wrote behind it, on one thread, in the same memory at each turn: a result that is still
in a cache is worth something then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

import numpy as np
import peers

import pybn_ext
from pybn import reference

GRID = (  # shape, axis of the features
    ((32, 64), 1),
    ((256, 128), 1),
    ((1009, 127), 1),  # primes: no vector is whole
    ((100000, 1), 1),
    ((400000, 3), 1),
    ((50000, 37), 1),
    ((65536, 64), 1),
    ((4096, 512), 1),
    ((997, 1009), 1),
    ((300, 10000), 1),
    ((64, 32768), 1),
    ((32, 7, 7, 2048), 3),
    ((64, 56, 56, 64), 3),
    ((1, 2048, 7, 7), 1),  # one image
    ((1, 256, 14, 14), 1),
    ((1, 64, 56, 56), 1),
    ((4, 256, 28, 28), 1),
    ((128, 512, 4, 4), 1),
    ((8, 2048, 7, 7), 1),
    ((32, 256, 14, 14), 1),
    ((32, 64, 56, 56), 1),
    ((16, 3, 224, 224), 1),
)
QUICK = ((32, 64), (256, 128), (8, 2048, 7, 7))
MOVED = {"training": 2, "gradient": 3, "inference": 2}  # arrays of the size of x that an operation has to move
READERS = {"relu": 2, "sum": 1}  # and who reads its result
# OpenMP's threads wait actively for more work, 5 to 12 ms measured, ours as PyTorch's: the next must not pay for it.
PAUSE = 0.02
# A call this long finds little in the caches that it left there itself, so it need not be made once before.
LONG = 0.05
# Handing a second thread its half takes 50 us, measured; at 4 MB two need 200 us where one needs 360.
COPY_ALONE = 4 << 20
POOL = ThreadPoolExecutor()  # for the copy; it has no thread before it gets work


def label(shape: tuple[int, ...], axis: int) -> str:
    """The shape, and where its features stand."""
    return f"{shape} {'last' if axis == len(shape) - 1 else 'second'}"


def case(shape: tuple[int, ...], axis: int, dtype: np.dtype, fresh: bool) -> dict[str, Any]:
    """Arrays for one line of the grid; `out` is memory for the result, None if each is to be new."""
    rng = np.random.default_rng(7)
    features = shape[axis]
    target = np.empty(shape, dtype)
    return {
        "x": rng.normal(0.5, 2, shape).astype(dtype),
        "dy": rng.normal(size=shape).astype(dtype),
        "scale": rng.normal(size=features).astype(dtype),
        "offset": rng.normal(size=features).astype(dtype),
        "mean": np.full(features, 0.5),
        "variance": np.full(features, 4.0),
        "target": target,
        "out": None if fresh else target,
        "axis": axis,
    }


def ours(k: dict[str, Any], module: Any) -> dict[str, Callable[[], Any]]:
    """The three operations of one of our implementations."""
    keywords = {"feature_axis": k["axis"], "epsilon": peers.EPSILON, "out": k["out"]}
    x, scale, offset, mean, variance = k["x"], k["scale"], k["offset"], k["mean"], k["variance"]
    return {
        "training": lambda: module.batch_norm_training(x, scale, offset, **keywords),
        "gradient": lambda: module.batch_norm_gradient(x, scale, mean, variance, k["dy"], **keywords),
        "inference": lambda: module.batch_norm_inference(x, scale, offset, mean, variance, **keywords),
    }


def copying(source: np.ndarray, target: np.ndarray, threads: int) -> tuple[Callable[[], Any], int]:
    """A copy by so many threads, small arrays by one; and how many."""
    threads = threads if source.nbytes >= COPY_ALONE else 1
    (first, *others) = zip(*(np.array_split(a.reshape(-1), threads) for a in (target, source)), strict=True)

    def call() -> None:
        waiting = [POOL.submit(np.copyto, *pair) for pair in others]
        np.copyto(*first)
        wait(waiting)

    return call, threads


def contestants(k: dict[str, Any], names: list[str], threads: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """The operations of each, the peers and the compiled ones checked against the reference."""
    pybn_ext.set_num_threads(threads)
    found = {"pybn_ext": ours(k, pybn_ext), **{name: peers.PEERS[name][0](k, threads) for name in names}}
    for operation, exact in ours({**k, "out": None}, reference).items():
        expected = exact()
        # The statistics that training returns are not alike: variances, their inverse roots, biased or not.
        expected = expected if operation == "gradient" else expected[:1] if operation == "training" else (expected,)
        for name in (name for name in found if operation in found[name]):
            k["target"].fill(np.nan)  # or who writes nothing would pass with the result of the one before
            result = found[name][operation]()
            peers.check(f"{name}, {operation}", result, expected, k["x"].size // len(k["scale"]))
    return {**found, "numpy": ours(k, reference)}


def as_it_lies(array: Any) -> np.ndarray:
    """All elements of a result in the order of memory, without a copy."""
    array = np.asarray(array)
    return array.transpose(np.argsort(array.strides, kind="stable")[::-1]).reshape(-1)


def read_after(call: Callable[[], Any], reader: str, target: np.ndarray, room: np.ndarray) -> Callable[[], Any]:
    """The operation, and NumPy's relu or sum of its result; of `target`, where it tells of none."""

    def both() -> None:
        result = call()
        result = result[0] if isinstance(result, tuple | list) else result
        flat = as_it_lies(target if result is None else result)
        if reader == "relu":
            np.maximum(flat, 0, out=room)
        else:
            flat.sum()

    return both


def seconds(call: Callable[[], Any], repeat: int = 1) -> float:
    """Of one call, in a row of `repeat`."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def contest(calls: dict[str, Callable[[], Any]], rounds: int, pause: float) -> dict[str, np.ndarray]:
    """Seconds per call of each contestant, in turns; each starts its threads and fills its caches in a call before."""
    takes = {name: min(seconds(call) for _ in range(3)) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(pause)
            if takes[name] < LONG:
                call()
            times[name].append(seconds(call, max(1, min(1000, int(2e-3 / takes[name])))))
    return {name: np.array(each) for name, each in times.items()}


def measure(shape: tuple[int, ...], axis: int, options: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """The rows of one shape: one for each operation and opponent, and one against a copy of the bytes."""
    k = case(shape, axis, np.dtype(options.dtype), options.fresh)
    everyone = contestants(k, options.peers, threads)
    copy, copy_threads = copying(k["x"], k["target"], threads)
    room = np.empty(k["x"].size, k["x"].dtype)
    rows = []
    for operation, arrays in MOVED.items():
        calls = {"copy": copy} | {name: each[operation] for name, each in everyone.items() if operation in each}
        if options.then:
            calls = {name: read_after(call, options.then, k["target"], room) for name, call in calls.items()}
        times = contest(calls, options.rounds, PAUSE if threads > 1 else 0)
        read = READERS.get(options.then, 0)
        moved = dict.fromkeys(times, (arrays + read) * k["x"].nbytes) | {"copy": (2 + read) * k["x"].nbytes}
        speeds = {name: moved[name] / 1e9 / float(np.median(each)) for name, each in times.items()}
        for name in (name for name in times if name != "pybn_ext"):
            ratios = times["pybn_ext"] / times[name] * moved[name] / moved["pybn_ext"]
            low, middle, high = map(float, np.percentile(ratios, [25, 50, 75]))
            rows.append(
                {
                    "shape": label(shape, axis),
                    "dtype": options.dtype,
                    "threads": threads,
                    "operation": operation,
                    "then": options.then,
                    "against": name,
                    "their_threads": {"copy": copy_threads, "numpy": 1}.get(name, threads),
                    "ratio": middle,
                    "lower": low,
                    "upper": high,
                    "fastest_seconds": float(times["pybn_ext"].min()),
                    "bytes": moved["pybn_ext"],
                    "GB_per_second": speeds["pybn_ext"],
                    "their_GB_per_second": speeds[name],
                }
            )
    return rows


def copy_bandwidth(threads: int) -> dict[str, float]:
    """GB read and written per second by a copy, at best: in the caches by one thread, and in memory by all."""
    found = {}
    for name, size in (("1 MB", 1 << 18), ("128 MB", 1 << 25)):
        source, target = np.ones(size, np.float32), np.empty(size, np.float32)
        call, used = copying(source, target, threads)
        best = min(seconds(call) for _ in range(7))
        found[f"{name}, {used} thread{'s' * (used > 1)}"] = 2 * source.nbytes / best / 1e9
    return found


def head(columns: list[str]) -> str:
    """The line above the cells."""
    return (f"{'':36s}{'MB':>8s}{'GB/s':>7s}{'copy':>7s}  " + "".join(f"{name:26s}" for name in columns)).rstrip()


def cell(row: dict[str, Any] | None) -> str:
    """The ratio and its quartiles; - where a peer has no such operation."""
    if row is None:
        return "-"
    ratio, lower, upper = (f"{row[at]:.3f}" if row[at] < 10 else f"{row[at]:.1f}" for at in ("ratio", "lower", "upper"))
    return f"{ratio} ({lower} to {upper})"


def show(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """The rows of one shape, an operation a line."""
    for operation in MOVED:
        found = {row["against"]: row for row in rows if row["operation"] == operation}
        copy = found["copy"]
        line = f"{copy['shape']:26s}{operation:10s}{copy['bytes'] / 1e6:8.2f}"
        line += f"{copy['GB_per_second']:7.1f}{copy['their_GB_per_second']:7.1f}  "
        line += "".join(f"{cell(found.get(name)):26s}" for name in columns)
        print(line.rstrip(), flush=True)


def run(options: argparse.Namespace, threads: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The whole grid with one number of threads: what a copy reaches, and the rows."""
    copied = copy_bandwidth(threads)
    then = f", then {options.then}" if options.then else ""
    print(f"\n--- {options.dtype}{then}, {threads} thread{'s' * (threads > 1)} (NumPy: 1): our time over theirs")
    print("copy of " + "; ".join(f"{name}: {value:.1f} GB/s" for name, value in copied.items()))
    columns = ["copy", "numpy", *options.peers]
    print(head(["of copy", *columns[1:]]))
    rows = []
    for shape, axis in GRID:
        wanted = not options.shapes or any(text in label(shape, axis) for text in options.shapes)
        if wanted and (shape in QUICK or not options.quick):
            found = measure(shape, axis, options, threads)
            show(found, columns)
            rows += found
    return copied, rows


def arguments() -> argparse.Namespace:
    """What was asked for; a peer that is not installed is named, and left out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="file to save every row in")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, pybn_ext.get_num_threads()])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three small shapes only")
    parser.add_argument("--shapes", nargs="+", metavar="TEXT", help='only those with this in their name, "(32, 64)"')
    parser.add_argument("--peers", nargs="*", default=list(peers.PEERS), choices=list(peers.PEERS))
    parser.add_argument("--fresh", action="store_true", help="results in new memory, not in the same at each call")
    parser.add_argument("--then", choices=list(READERS), help="who reads each result at once")
    options = parser.parse_args()
    absent = [f"{name} (no module {gone[0]})" for name in options.peers if (gone := peers.missing(name))]
    print(f"not installed: {', '.join(absent) or 'none of the peers asked for'}")
    options.peers = [name for name in options.peers if not peers.missing(name)]
    return options


def main() -> None:
    """Measure, print, save."""
    options = arguments()
    machine: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "build": pybn_ext.build_info(),
        "numpy": np.__version__,
        "peers": {name: peers.version(name) for name in options.peers},
        "fresh_results": options.fresh,
        "copy_GB_per_second": {},
    }
    print(f"against NumPy {np.__version__}" + "".join(f", {name} {v}" for name, v in machine["peers"].items()))
    rows = []
    for threads in sorted(set(options.threads)):
        # A process each: most of the peers ask for their number of threads once, when they start.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            machine["copy_GB_per_second"][threads], found = process.submit(run, options, threads).result()
        rows += found
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
