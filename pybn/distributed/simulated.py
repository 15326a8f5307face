"""Workers that are threads of this process: for lessons, for tests, and where there is no MPI."""

from __future__ import annotations

import contextvars
import pickle
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pybn.distributed.team import WorkerFailedError

T = TypeVar("T")


class Simulated:
    """`size` workers in this process, which run the same function in step with each other.

    They take the same way through the code as workers under MPI do.  It saves neither time nor memory: every worker's
    part of the batch is there at once.

    >>> Simulated(3).run(lambda comm: comm.allgather(10 * comm.rank))
    [[0, 10, 20], [0, 10, 20], [0, 10, 20]]
    """

    def __init__(self, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"size must be an int, got {size!r}")
        if size < 1:
            raise ValueError(f"size must be 1 or more, got {size}")
        self.size = size

    def run(self, work: Callable[[SimulatedCommunicator], T]) -> list[T]:
        """What `work(comm)` returns on each worker, in the order of the ranks.

        Raises what the first worker raised that failed by itself; the others are ended at their next exchange.
        """
        meeting = _Meeting(self.size)
        results: list[Any] = [None] * self.size
        errors: list[BaseException | None] = [None] * self.size

        def worker(rank: int) -> None:
            try:
                results[rank] = work(SimulatedCommunicator(rank, meeting))
            except BaseException as error:  # it is raised below, in the thread that asked
                errors[rank] = error
            finally:
                meeting.leave()

        # Each with the settings of the code around, the active implementation among them.
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(worker, rank), name=f"rank {rank}")
            for rank in range(self.size)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failed = [error for error in errors if error is not None]
        if failed:
            raise min(failed, key=lambda error: isinstance(error, _LeftAlone))
        return results


class SimulatedCommunicator:
    """One worker's side of a `Simulated`."""

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.size = meeting.size
        self._meeting = meeting

    def allgather(self, sendobj: Any) -> list[Any]:
        """Everybody's objects, in the order of the ranks; WorkerFailedError where a worker has ended."""
        return self._meeting.gather(self.rank, sendobj)


class _LeftAlone(WorkerFailedError):
    """Another worker ended, well or not, while this one was waiting for it."""


class _Meeting:
    """Where the workers wait for each other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._changed = threading.Condition()
        self._brought: dict[int, bytes] = {}
        self._everything: list[bytes] = []
        self._meetings = 0
        self._someone_left = False

    def gather(self, rank: int, value: Any) -> list[Any]:
        copy = pickle.dumps(value)  # as under MPI: no worker can change what another one holds
        with self._changed:
            this = self._meetings
            self._brought[rank] = copy
            if len(self._brought) == self.size:
                self._everything = [self._brought[each] for each in range(self.size)]
                self._brought.clear()
                self._meetings += 1
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._meetings > this or self._someone_left)
            if self._meetings == this:
                raise _LeftAlone(f"a worker ended while the worker of rank {rank} waited for it")
            everything = self._everything  # the next meeting cannot be over before this worker comes to it
        return [pickle.loads(each) for each in everything]

    def leave(self) -> None:
        """Nobody needs to wait for this worker any more."""
        with self._changed:
            self._someone_left = True
            self._changed.notify_all()
