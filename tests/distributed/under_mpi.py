"""What each rank does under mpiexec: the tests of the simulated workers, over a real communicator.

mpiexec -n 4 python -m mpi4py -m tests.distributed.under_mpi FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from pybn import Context
from pybn.distributed import DataParallelTrainer
from pybn.framework.checkpoints import load_checkpoint, save_checkpoint
from tests.distributed.workers import (
    FAULTS,
    arguments,
    assert_like_one_process,
    assert_same_state,
    batch,
    fail_here,
    part_of,
    state,
    train_here,
)


def all_alike(comm, here):
    for there in comm.allgather(here):
        assert_same_state(there, here)


def main(folder):
    from mpi4py import MPI  # here: the suite imports every file for its doctests

    comm = MPI.COMM_WORLD
    for dtype in (np.float32, np.float64):
        told, here = train_here(comm, 60, dtype)
        all_alike(comm, here)
        assert_like_one_process(told, here, 60, dtype)
    for fault in FAULTS:
        for where in ("before", "between", "after"):
            all_alike(comm, fail_here(comm, fault, where))

    written = DataParallelTrainer(comm, *arguments())
    written.train_step(*part_of(batch(0, np.float32), comm))
    if comm.rank == 0:
        save_checkpoint(written.context, folder / "model.npz")
    comm.barrier()
    read = Context(comm.rank + 7)
    load_checkpoint(read, folder / "model.npz")
    all_alike(comm, state(read))
    assert_same_state(state(read), state(written.context))
    print(f"rank {comm.rank} of {comm.size}: as one process")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
