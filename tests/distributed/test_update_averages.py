"""An update of the averages over the data of all workers is that of one process over all the data."""

from __future__ import annotations

import numpy as np
import pytest

import pybn
from pybn import Trainer
from pybn.distributed import DataParallelTrainer, Simulated, WorkersDifferError
from tests.distributed.workers import arguments, assert_same_state, batch, state

BATCHES = [batch(step, np.float64) for step in range(7)]
# Whose batches are whose: evenly, unevenly, none for one of them.
SHARDS = {
    "uneven": [[0, 1, 2, 3], [4], [5, 6]],
    "none for the first": [[], [0, 1, 2], [3, 4, 5, 6]],
    "one": [[*range(7)]],
}


def trained(trainer):
    """A trainer whose averages are not yet those of the data."""
    trainer.train_step(*BATCHES[0])
    return trainer


def alone(method):
    trainer = trained(Trainer(*arguments()))
    assert pybn.update_averages(trainer, BATCHES, method=method)
    return state(trainer.context)


@pytest.mark.parametrize("method", ["exact", "one_pass"])
@pytest.mark.parametrize("shards", SHARDS)
def test_equal_to_one_process(method, shards):
    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        nothing = tuple(array[:0] for array in BATCHES[0])
        trainer.train_step(*(BATCHES[0] if comm.rank == 0 else nothing))
        assert pybn.update_averages(trainer, [BATCHES[i] for i in SHARDS[shards][comm.rank]], method=method)
        return state(trainer.context)

    expected = alone(method)
    found = Simulated(len(SHARDS[shards])).run(work)
    for there in found:
        assert_same_state(there, found[0])
    for path, value in expected.items():
        if "batch_normalization" in path:
            np.testing.assert_allclose(found[0][path], value, rtol=1e-12, atol=1e-14, err_msg=path)
    assert found[0]["/first/batch_normalization/avg_weight"] == 7


def refused(shards, error, text, method="exact"):
    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(*BATCHES[comm.rank])
        before = state(trainer.context)
        with pytest.raises(error, match=text):
            pybn.update_averages(trainer, shards(comm.rank), method=method)
        assert_same_state(state(trainer.context), before)

    Simulated(2).run(work)


def test_no_batch_on_any_worker():
    refused(lambda rank: [], ValueError, "gave 0 batches")


def test_two_phases_are_for_one_worker():
    refused(lambda rank: BATCHES, ValueError, "one batch after the other", "two_phase")


def test_nan_on_one_worker_leaves_all_as_they_were():
    poisoned = [(np.full_like(BATCHES[0][0], np.nan), BATCHES[0][1])]
    refused(lambda rank: poisoned if rank else BATCHES, pybn.NonFiniteStatisticsError, "/first/batch_normalization")


def test_a_data_set_that_raises_on_one_worker():
    class Breaking:
        def __iter__(self):
            yield BATCHES[0]
            raise OSError("the disk is gone")

    refused(lambda rank: Breaking() if rank else BATCHES, OSError, "the disk is gone")


def test_a_worker_that_does_something_else():
    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(*BATCHES[0])
        with pytest.raises(WorkersDifferError, match="rank 0 is at the layers by depth"):
            pybn.update_averages(trainer, BATCHES) if comm.rank == 0 else trainer.train_step(*BATCHES[0])

    Simulated(2).run(work)
