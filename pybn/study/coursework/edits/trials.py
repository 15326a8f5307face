"""Whether a part is right: asked of the functions themselves, a thousand times for a thousand edits.

The judges of a report ask what is wrong, in words; here the answer is yes or no, and the first number that differs ends
the question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pybn.study.coursework.images.axes import ROWS, close, images
from pybn.study.coursework.output.fit import SINGLE, agree
from pybn.study.coursework.output.training import PROBES
from pybn.study.coursework.student.probes import Probe, settled

Functions = Mapping[str, Callable[..., Any] | None]


@dataclass
class _Ran:
    """What one forward gave."""

    out: np.ndarray
    cache: Any
    state: Mapping[str, Any]


class Trials:
    """Whether a part is right, asked of the functions themselves and not through the student's limits."""

    def __init__(self, functions: Functions, rule: Mapping[str, bool], own_epsilon: float | None) -> None:
        self.functions, self.rule = functions, rule
        self.probes, self.rows = [settled(probe) for probe in PROBES], settled(ROWS)
        if own_epsilon is None:  # .3 is 1 - momentum there as well, and one may stand for the other
            self.rows = replace(self.rows, epsilon=0.17)

    def right(self, part: str) -> bool:
        """Whether this part is right; whatever is raised is not."""
        try:
            return bool(getattr(self, part)())
        except Exception:
            return False

    def training(self) -> bool:
        """The output of both probes."""
        return all(agree(self._forward("forward", p).out, p.out, SINGLE) for p in self.probes)

    def statistics(self) -> bool:
        """What both leave, by the rule that the student follows or by the course's."""
        ran = [self._forward("forward", probe).state for probe in self.probes]
        rules = (self.rule, {"counts_the_new": False, "sample": False})
        return any(all(_left(state, p, rule) for state, p in zip(ran, self.probes, strict=True)) for rule in rules)

    def test(self) -> bool:
        """The output from given averages, which stay."""
        for probe in self.probes:
            ran = self._forward("forward", probe, test=True)
            kept = all(map(_near, _averages(ran.state), probe.averages))
            if not (agree(ran.out, probe.test_out, SINGLE) and kept):
                return False
        return True

    def backward(self, role: str = "backward") -> bool:
        """The three gradients of both probes."""
        for probe in self.probes:
            ran = self._forward("forward", probe)
            dx, dscale, doffset = self._function(role)(probe.dy.copy(), ran.cache)
            if not agree(np.asarray(dx, float), probe.dx, SINGLE) or not _parameters(dscale, doffset, probe):
                return False
            if not agree(ran.out, probe.out, SINGLE):
                return False
        return True

    def alternative(self) -> bool:
        """The same of the other backward."""
        return self.backward("alternative")

    def spatial(self) -> bool:
        """All that the 4-D pair does."""
        probe = self.rows
        ran = self._forward("spatial_forward", probe, arrange=images)
        if not close(ran.out, images(probe.out)) or not _left(ran.state, probe, self.rule):
            return False
        of_test = self._forward("spatial_forward", probe, test=True, arrange=images)
        if not close(of_test.out, images(probe.test_out)) or not all(
            map(_near, _averages(of_test.state), probe.averages)
        ):
            return False
        if self.functions.get("spatial_backward") is None:
            return True
        dx, dscale, doffset = self._function("spatial_backward")(images(probe.dy).copy(), ran.cache)
        return close(np.asarray(dx, float), images(probe.dx)) and _parameters(dscale, doffset, probe)

    def _function(self, role: str) -> Callable[..., Any]:
        function = self.functions[role]
        assert function is not None
        return function

    def _forward(
        self, role: str, probe: Probe, *, test: bool = False, arrange: Callable[[Any], Any] = np.asarray
    ) -> _Ran:
        mean, variance = probe.averages
        state: dict[str, Any] = {"mode": "test" if test else "train", "eps": probe.epsilon, "momentum": probe.momentum}
        state |= {"running_mean": mean.copy(), "running_var": variance.copy()}
        arguments = [each.copy() for each in (arrange(probe.x), probe.scale, probe.offset)]
        out, cache = self._function(role)(*arguments, state)
        return _Ran(np.asarray(out, float), cache, state)


def _averages(state: Mapping[str, Any]) -> list[np.ndarray]:
    return [np.asarray(state[name], float) for name in ("running_mean", "running_var")]


def _left(state: Mapping[str, Any], probe: Probe, rule: Mapping[str, bool]) -> bool:
    return all(map(_near, _averages(state), probe.averages_after(**rule)))


def _near(yours: np.ndarray, right: np.ndarray) -> bool:
    return yours.shape == right.shape and bool(np.all(np.abs(yours - right) <= SINGLE * np.abs(right).max()))


def _parameters(dscale: Any, doffset: Any, probe: Probe) -> bool:
    rights = ((probe.dy * probe.normalized).sum(0), probe.dy.sum(0))
    return all(_near(np.asarray(got, float), right) for got, right in zip((dscale, doffset), rights, strict=True))
