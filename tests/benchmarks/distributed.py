"""What spreading costs: the two halves of the gradient, moments on dask, and a training step by the number of workers.

    python tests/benchmarks/distributed.py halves [--dtype float32] [--threads N] [--shapes TEXT ...]
    python tests/benchmarks/distributed.py dask
    python tests/benchmarks/distributed.py steps [--ranks N ...] [--rounds N]

halves: the time of `batch_norm_gradient_sums` and of `batch_norm_gradient_from_sums` over that of
`batch_norm_gradient`.  Where the fused operation sums and writes a tile of features while it is in the caches, the
halves read x and dy once more.

dask: `pybn.distributed.moments` over `da.mean` and `da.var` together, on dask's threads.

steps: `DataParallelTrainer.train_step` under mpiexec, one thread a rank, over `Trainer.train_step` of one process on
the same batch.  More ranks than processors take turns.

A ratio is the median over the rounds of the ratio of neighbours in time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import operations

import pybn
import pybn_ext
from pybn import batchnorm, layers, losses, optimizers

ROUNDS = 9
ROWS, FEATURES, BLOCK = 1_000_000, 64, 32_768  # 256 MB of float32, blocks of 8 MB
STEPS, BATCH, HIDDEN = 40, 512, 256


def ratio(one: np.ndarray, other: np.ndarray) -> str:
    """Median and quartiles of the ratio of neighbours."""
    low, middle, high = np.percentile(one / other, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def fused_and_halves(k: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The gradient in one, and each of its halves."""
    x, dy, scale, out = k["x"], k["dy"], k["scale"], k["out"]
    statistics, axis = (k["mean"], k["variance"]), k["axis"]
    sums = pybn_ext.batch_norm_gradient_sums(x, *statistics, dy, feature_axis=axis)
    return {
        "fused": lambda: pybn_ext.batch_norm_gradient(x, scale, *statistics, dy, feature_axis=axis, out=out),
        "sums": lambda: pybn_ext.batch_norm_gradient_sums(x, *statistics, dy, feature_axis=axis),
        "from sums": lambda: pybn_ext.batch_norm_gradient_from_sums(
            x, scale, *statistics, dy, sums, feature_axis=axis, out=out
        ),
    }


def halves(options: argparse.Namespace) -> None:
    """A line for each shape."""
    pybn_ext.set_num_threads(options.threads)
    print(f"{options.dtype}, {options.threads} thread(s): times over that of the fused gradient")
    print(f"{'':28s}{'MB':>8s}{'fused us':>10s}  {'both':24s}{'sums':24s}from sums")
    for shape, axis in operations.GRID:
        if options.shapes and not any(text in operations.label(shape, axis) for text in options.shapes):
            continue
        k = operations.case(shape, axis, np.dtype(options.dtype), fresh=False)
        times = operations.contest(fused_and_halves(k), ROUNDS, operations.PAUSE if options.threads > 1 else 0)
        both = times["sums"] + times["from sums"]
        cells = "".join(f"{ratio(each, times['fused']):24s}" for each in (both, times["sums"], times["from sums"]))
        line = (
            f"{operations.label(shape, axis):28s}{3 * k['x'].nbytes / 1e6:8.2f}{np.median(times['fused']) * 1e6:10.1f}"
        )
        print(f"{line}  {cells}".rstrip(), flush=True)


def on_dask(options: argparse.Namespace) -> None:
    """Arrays in memory, and what both make of a mean far away."""
    import dask
    import dask.array as da

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = da.from_array(rng.normal(1000, 1, (ROWS, FEATURES)).astype(dtype), (BLOCK, -1))
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda x=x: pybn.distributed.moments(x)[1:],
            "dask": lambda x=x: dask.compute(da.mean(x, 0), da.var(x, 0)),
            "dask, float64 sums": lambda x=x: dask.compute(da.mean(x, 0, dtype=float), da.var(x, 0, dtype=float)),
        }
        with dask.config.set(scheduler="threads"):
            times = operations.contest(calls, 5, 0)
            found = {name: call() for name, call in calls.items()}
        exact = pybn.reference.moments(x.compute()).variance
        print(f"{np.dtype(dtype).name}, {x.nbytes / 1e6:.0f} MB in {x.npartitions} blocks, mean 1000 deviations away")
        for name, each in times.items():
            off = np.abs(found[name][1] / exact - 1).max()
            print(
                f"  {name:20s}{np.median(each):7.3f} s, variance off by {off:.1e}; ours: {ratio(times['ours'], each)}"
            )


def model(ctx: pybn.Context, x: pybn.Node) -> pybn.Node:
    """Two hidden layers of 256, normalized."""
    for name in ("first", "second"):
        scope = ctx.in_scope(name)
        x = layers.relu(batchnorm.new(scope, layers.dense(scope, x, HIDDEN, use_bias=False)).done())
    return layers.dense(ctx.in_scope("readout"), x, 10)


def one_rank(alone: bool) -> None:
    """Train; the first rank prints its median step in seconds."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(BATCH, HIDDEN)).astype(np.float32), rng.integers(0, 10, BATCH)
    rest = pybn.Context(0), model, losses.softmax_cross_entropy, optimizers.SGD(0.01)
    if alone:
        trainer, first = pybn.Trainer(*rest), True
    else:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        trainer, first = pybn.distributed.DataParallelTrainer(comm, *rest), comm.rank == 0
        images, labels = images[comm.rank :: comm.size], labels[comm.rank :: comm.size]
    takes = [operations.seconds(lambda: trainer.train_step(images, labels)) for _ in range(STEPS)]
    if first:
        print(float(np.median(takes)))


def started(ranks: int) -> float:
    """The median step of so many ranks, of one process without MPI where 0, each on one thread."""
    me = [sys.executable, *(["-m", "mpi4py"] if ranks else []), __file__, "one-rank", *([] if ranks else ["--alone"])]
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    command = [mpiexec, "-n", str(ranks), *me] if ranks else me
    return float(subprocess.run(command, env={**os.environ, **threads}, check=True, stdout=subprocess.PIPE).stdout)


def steps(options: argparse.Namespace) -> None:
    """A line for each number of ranks."""
    found = [[started(ranks) for ranks in (0, *options.ranks)] for _ in range(options.rounds)]
    alone, *others = np.array(found).T
    print(f"dense {HIDDEN}, twice, batches of {BATCH}; one process: {np.median(alone) * 1e3:.2f} ms a step")
    for ranks, each in zip(options.ranks, others, strict=True):
        print(f"{ranks} ranks: {np.median(each) * 1e3:.2f} ms, {ratio(each, alone)} of one process")


def main() -> None:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("halves")
    command.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--shapes", nargs="+", metavar="TEXT", help="only those with this in their name")
    command.set_defaults(do=halves)
    commands.add_parser("dask").set_defaults(do=on_dask)
    command = commands.add_parser("steps")
    command.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    command.add_argument("--rounds", type=int, default=3)
    command.set_defaults(do=steps)
    command = commands.add_parser("one-rank")
    command.add_argument("--alone", action="store_true")
    command.set_defaults(do=lambda options: one_rank(options.alone))
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
