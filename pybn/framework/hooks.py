"""When a loop calls a hook: after so many steps, so many seconds, or so often in a run."""

from __future__ import annotations

import math
import time

from pybn.framework.parameters import whole_number
from pybn.framework.train import Hook, Loop


def every_n_steps(loop: Loop, n: int, hook: Hook, priority: int = 0) -> None:
    """Call `hook` after every n-th step."""
    if whole_number("n", n) < 1:
        raise ValueError(f"n must be 1 or more, got {n}")

    def counted(loop: Loop, metrics: dict[str, float]) -> None:
        if loop.step % n == 0:
            hook(loop, metrics)

    loop.on_step(counted, priority)


def exponential_callback(loop: Loop, start: int, factor: float, hook: Hook, priority: int = 0) -> None:
    """Call `hook` after step `start`, and then at intervals that grow by `factor`."""
    if not (1 <= start < math.inf and 1 <= factor < math.inf):
        raise ValueError(f"start must be 1 or more and factor 1 or more, both finite, got {start} and {factor}")
    interval, due = float(start), float(start)

    def counted(loop: Loop, metrics: dict[str, float]) -> None:
        nonlocal interval, due
        if loop.step >= due:
            hook(loop, metrics)
            interval *= factor
            due = loop.step + interval

    loop.on_step(counted, priority)


def every_n_seconds(loop: Loop, seconds: float, hook: Hook, priority: int = 0) -> None:
    """Call `hook` after the first step that ends `seconds` or more after its last call, or after the run's start.

    The time that the hook takes itself does not count, nor that between two runs.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be finite and not negative, got {seconds!r}")
    since = time.monotonic()

    def begin(loop: Loop, metrics: dict[str, float]) -> None:
        nonlocal since
        since = time.monotonic()

    def timed(loop: Loop, metrics: dict[str, float]) -> None:
        if time.monotonic() - since >= seconds:
            hook(loop, metrics)
            begin(loop, metrics)

    loop.on_start(begin, priority)
    loop.on_step(timed, priority)


def n_times(loop: Loop, n: int, hook: Hook, priority: int = 0) -> None:
    """Call `hook` n times in each run, evenly spread, and the last time after its last step.

    A run of fewer steps calls it after each.  Raises ValueError as the run starts where its length is
    not known, as for a data set without a length in `run_epochs`.
    """
    if whole_number("n", n) < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    first = 0

    def begin(loop: Loop, metrics: dict[str, float]) -> None:
        nonlocal first
        if loop.end_step is None:
            raise ValueError("n_times needs to know how long the run is: use run_steps, or a data set with a length")
        first = loop.step

    def counted(loop: Loop, metrics: dict[str, float]) -> None:
        done, steps = loop.step - first, (loop.end_step or 0) - first
        if done * n // steps > (done - 1) * n // steps:  # one more of the n parts is full
            hook(loop, metrics)

    loop.on_start(begin, priority)
    loop.on_step(counted, priority)
