"""Batches that are spread over workers: synchronized batch normalization, and training on parts of a batch."""

from pybn.distributed.simulated import Simulated
from pybn.distributed.synchronized import synchronized
from pybn.distributed.team import Communicator, WorkerFailedError, WorkersDifferError
from pybn.distributed.trainer import DataParallelTrainer

__all__ = [
    "Communicator",
    "DataParallelTrainer",
    "Simulated",
    "WorkerFailedError",
    "WorkersDifferError",
    "synchronized",
]
