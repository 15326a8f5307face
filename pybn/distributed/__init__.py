"""More than one worker, more than one memory: batches that are spread over workers, arrays that no memory holds."""

from pybn.distributed.larger import from_dask, from_npy, moments
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
    "from_dask",
    "from_npy",
    "moments",
    "synchronized",
]
