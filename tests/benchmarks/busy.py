"""What a call costs on a busy machine: `python -m tests.benchmarks.busy`.

Processes that compute without an end take every processor several times; beside them each implementation makes calls
for a while, one thread and several.  What is printed is the mean time of a call, which is what a program waits for,
and the slowest one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np

import pybn_ext
from pybn import reference

SHAPES = (((8, 16, 28, 28), 1), ((4096, 256), -1))
SPIN = "import os\nprint(1, flush=True)\nwhile os.getppid() == {}: pass"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neighbours", type=int, default=8 * (os.cpu_count() or 1), help="processes that compute")
    parser.add_argument("--seconds", type=float, default=5.0, help="of calls for each cell")
    options = parser.parse_args()
    spin = [sys.executable, "-S", "-c", SPIN.format(os.getpid())]
    neighbours = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(options.neighbours)]
    try:
        for process in neighbours:
            process.stdout.readline()
        print(f"{options.neighbours} neighbours, {os.cpu_count()} processors; training, float32")
        for shape, axis in SHAPES:
            row(shape, axis, options.seconds)
    finally:
        for process in neighbours:
            process.kill()


def row(shape: tuple[int, ...], axis: int, seconds: float) -> None:
    """One shape: the reference, one thread, two."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    out, before = np.empty_like(x), pybn_ext.get_num_threads()
    for name, module, threads in (("reference", reference, 1), ("compiled", pybn_ext, 1), ("compiled", pybn_ext, 2)):
        pybn_ext.set_num_threads(threads)
        rests, times, end = pybn_ext.build_info()["rests"], [], time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            module.batch_norm_training(x, None, None, feature_axis=axis, out=out)
            times.append(time.perf_counter() - begin)
        print(
            f"{shape!s:20} {name:9} threads {threads}: mean {1e3 * np.mean(times):8.3f} ms, median "
            f"{1e3 * np.median(times):8.3f}, slowest {1e3 * max(times):8.1f}, {len(times)} calls, "
            f"{pybn_ext.build_info()['rests'] - rests} rests",
            flush=True,
        )
    pybn_ext.set_num_threads(before)


if __name__ == "__main__":
    main()
