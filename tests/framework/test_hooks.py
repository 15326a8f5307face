"""Hooks by the clock, and so often in a run."""

from __future__ import annotations

import pytest

from pybn import Context, Loop, every_n_seconds, n_times
from pybn.framework import hooks


class Steps:
    context = Context(0)

    def train_step(self, inputs, labels):
        return {"loss": 0.0}


@pytest.fixture
def loop():
    return Loop(Steps())


class Clock:
    """One second for each step, and as many as a hook takes."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(hooks, "time", clock)
    return clock


def ticking(loop, clock):
    def tick(loop, metrics):
        clock.now += 1

    loop.on_step(tick, priority=-1)


def test_every_n_seconds(loop, clock):
    """The 10 seconds that the hook takes do not count, nor those between the runs."""
    called = []

    def hook(loop, metrics):
        called.append(loop.step)
        clock.now += 10

    ticking(loop, clock)
    every_n_seconds(loop, 2.5, hook)
    loop.run_steps([(0, 0)], 8)
    assert called == [3, 6]
    clock.now += 1000
    loop.run_steps([(0, 0)], 4)
    assert called == [3, 6, 11]


def test_every_0_seconds_is_each_step(loop, clock):
    called = []
    every_n_seconds(loop, 0, lambda loop, metrics: called.append(loop.step))
    loop.run_steps([(0, 0)], 3)
    assert called == [1, 2, 3]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_seconds_that_are_refused(loop, seconds):
    with pytest.raises(ValueError, match="seconds must be finite and not negative, got"):
        every_n_seconds(loop, seconds, print)


@pytest.mark.parametrize(
    ("n", "steps", "expected"),
    [
        (1, 7, [7]),
        (2, 7, [4, 7]),
        (3, 9, [3, 6, 9]),
        (4, 10, [3, 5, 8, 10]),
        (5, 5, [1, 2, 3, 4, 5]),
        (9, 3, [1, 2, 3]),
    ],
)
def test_n_times_in_each_run(loop, n, steps, expected):
    called = []
    n_times(loop, n, lambda loop, metrics: called.append(loop.step))
    loop.run_steps([(0, 0)], steps)
    assert called == expected
    loop.run_epochs([(0, 0)] * steps, 1)
    assert called == expected + [steps + each for each in expected]


def test_n_times_needs_an_end(loop):
    class Unsized:
        def __iter__(self):
            return iter([(0, 0)])

    n_times(loop, 2, lambda loop, metrics: None)
    with pytest.raises(ValueError, match="n_times needs to know how long the run is: use run_steps, or a data set"):
        loop.run_epochs(Unsized(), 1)
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        n_times(loop, 0, print)
    with pytest.raises(TypeError, match="n must be a whole number, got nan"):
        n_times(loop, float("nan"), print)
