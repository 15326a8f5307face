"""The smallest input on which a part goes wrong, with the student's numbers and the right ones.

With x = 1 and 5 the mean is 3 and the variance 4; eps 12 makes the denominator 4, so x_hat is -0.5
and 0.5, and each way to misplace eps gives another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pybn.study.coursework.output.inference import infer
from pybn.study.coursework.output.training import train
from pybn.study.coursework.report.findings import Finding
from pybn.study.coursework.student.probes import Probe, with_own
from pybn.study.coursework.student.student import Student


def _tiny(x: list[float], scale: float, offset: float, epsilon: float, dy: list[float]) -> Probe:
    return Probe(
        x=np.array(x)[:, None],
        scale=np.array([scale]),
        offset=np.array([offset]),
        dy=np.array(dy)[:, None],
        averages=(np.array([10.0]), np.array([20.0])),
        epsilon=epsilon,
        momentum=0.75,
    )


_PLAIN = _tiny([1.0, 5.0], 1.0, 0.0, 12.0, [1.0, 0.0])
_SMALL = (
    _PLAIN,
    replace(_PLAIN, scale=np.array([2.0])),
    replace(_PLAIN, scale=np.array([2.0]), offset=np.array([1.0])),
    _tiny([1.0, 5.0, 6.0], 2.0, 1.0, 12.0, [1.0, 0.0, 0.0]),
    _tiny([1.0, 5.0, 6.0], -2.0, 1.0, 12.0, [1.0, 2.0, 0.0]),
)


# Kinds that a number shows.
_SHOWN = ("mistake", "epsilon")


def with_examples(student: Student, findings: Sequence[Finding]) -> list[Finding]:
    """The findings of a part, the first of each quantity with the smallest input that shows it."""
    shown: set[str] = set()
    told = []
    for found in findings:
        example, evidence = "", found.evidence
        if found.kind in _SHOWN and found.quantity:
            if found.quantity not in shown:
                example = smallest(student, found)
            elif found.part != "statistics":
                evidence = ""  # the same numbers were shown with the finding before
            shown.add(found.quantity)
        told.append(replace(found, example=example, evidence=evidence))
    return told


def smallest(student: Student, found: Finding) -> str:
    """The first of a few small inputs on which the finding's quantity departs, in two lines; "" where none does."""
    ways: dict[str, Callable[[Student, Probe], Iterator[tuple[str, np.ndarray | None, np.ndarray]]]] = {
        "training": _training,
        "statistics": _stored,
        "test": _test,
        "backward": lambda student, probe: _gradient(student, "backward", probe),
        "alternative": lambda student, probe: _gradient(student, "alternative", probe),
    }
    if found.part not in ways:
        return ""
    for probe in map(with_own, _SMALL):
        if found.part in ("backward", "alternative") and probe.count == 2 and probe.epsilon < 0.01:
            continue  # two rows come out as 1 and -1, wherever they are: dx is almost 0
        for name, yours, right in ways[found.part](student, probe):
            if name.split()[0] not in found.quantity.split() or yours is None or yours.shape != right.shape:
                continue
            if found.code.endswith("not-a-number") and not np.isnan(yours).any():
                continue
            if not np.allclose(yours, right, rtol=1e-4, atol=1e-9):
                return f"{_given(found.part, probe)}:\n{name} is {_list(yours)}, right is {_list(right)}"
    return ""


def _training(student: Student, probe: Probe):
    yield "out", train(student, probe).out, probe.out


def _stored(student: Student, probe: Probe):
    step, (mean, variance) = train(student, probe), probe.averages_after(**student.rule)
    yield "running_mean", step.mean, mean
    yield "running_var", step.variance, variance


def _test(student: Student, probe: Probe):
    step = infer(student, probe)
    yield "out in test mode", step.out, probe.test_out


def _gradient(student: Student, role: str, probe: Probe):
    got = student.gradients(role, probe.dy, train(student, probe).cache)
    yield "dx", got.dx, probe.dx
    yield "dgamma", got.dscale, (probe.dy * probe.normalized).sum(0)
    yield "dbeta", got.doffset, probe.dy.sum(0)


def _given(part: str, probe: Probe) -> str:
    scale, offset = probe.scale[0], probe.offset[0]
    text = f"one feature, x = {_list(probe.x)}, gamma = {scale:g}, beta = {offset:g}, eps = {probe.epsilon:g}"
    if part in ("statistics", "test"):
        text += f", running_mean = {probe.averages[0][0]:g}, running_var = {probe.averages[1][0]:g}"
    if part == "statistics":
        text += f", momentum = {probe.momentum:g}"
    if part in ("backward", "alternative"):
        text += f", dout = {_list(probe.dy)}"
    return text


def _list(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.5g}" for value in np.ravel(values)) + "]"
