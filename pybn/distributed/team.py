"""What workers say to each other, so that a step is taken by all of them or by none.

There is one way to talk: `exchange`, in which every worker gives a value and gets everybody's, in the order of the
ranks.  Each value carries the name of what it is, so workers whose models differ are told where, and a worker that
failed gives its error in place of the value: whoever waits for it learns that, and raises the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol


class Communicator(Protocol):
    """A number of workers and this one's place among them; those of mpi4py are, and `Simulated` makes others."""

    @property
    def rank(self) -> int:
        """The number of this worker, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many workers there are."""
        ...

    def allgather(self, sendobj: Any) -> list[Any]:
        """Everybody's objects in the order of the ranks, on every rank."""
        ...


class WorkersDifferError(ValueError):
    """The workers are not at the same place: their models, options or data sets differ; nothing was changed."""


class WorkerFailedError(RuntimeError):
    """Another worker was interrupted, or failed with an error that cannot be sent; nothing was changed."""


class _Message(NamedTuple):
    what: str
    value: Any
    error: BaseException | None


class Team:
    """The workers, as one of them sees them."""

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        self._heard: BaseException | None = None  # an error that all have heard of already

    def exchange(self, what: str, value: Any) -> list[Any]:
        """Everybody's `value`, in the order of the ranks.

        Raises WorkersDifferError where another worker exchanges something else than `what`, and the
        error of a worker that failed; on every worker the same, and none waits for ever.
        """
        messages = self._comm.allgather(_Message(what, value, None))
        self._raise_what_was_heard(messages)
        here: dict[str, int] = {}
        for rank, message in enumerate(messages):
            here.setdefault(message.what, rank)
        if len(here) > 1:
            (one, a), (other, b) = list(here.items())[:2]
            self._heard = WorkersDifferError(
                f"the workers are not at the same place: rank {a} is at {one}, rank {b} at {other}. "
                "Every worker needs the same model with the same options, and a data set of as many steps"
            )
            raise self._heard
        return [message.value for message in messages]

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that ends for all workers if it ends for one: its error is raised on every one of them."""
        self._heard = None
        try:
            yield
        except BaseException as error:
            if error is not self._heard:
                # Whoever did not fail waits in an exchange, or will come to one: the end of the step is one.
                self._raise_what_was_heard(self._comm.allgather(_Message("", None, _sendable(error, self.rank))), error)
            raise

    def _raise_what_was_heard(self, messages: list[_Message], mine: BaseException | None = None) -> None:
        """The error of the lowest rank that failed, on every worker."""
        for rank, message in enumerate(messages):
            if message.error is not None:
                if rank == self.rank and mine is not None:
                    return  # it is on its way
                self._heard = message.error
                self._heard.add_note(f"(raised by the worker of rank {rank})")
                raise self._heard from mine


def _sendable(error: BaseException, rank: int) -> BaseException:
    """`error` where it can be sent as it is; an interrupt, or what cannot be pickled, in words."""
    if isinstance(error, Exception):
        try:
            pickle.loads(pickle.dumps(error))
            return error
        except Exception:  # whatever an exception's own pickling raises: then it is told in words
            return WorkerFailedError(f"the worker of rank {rank} failed: {type(error).__name__}{_words(error)}")
    return WorkerFailedError(f"the worker of rank {rank} was ended by {type(error).__name__}")


def _words(error: BaseException) -> str:
    try:
        return f": {error}"
    except Exception:  # an exception whose own __str__ raises: the others must hear of it all the same
        return ""
