"""Test mode: Algorithm 2, line 11, from given averages, held against every formula that could give it.

It is judged twice where training stores something else than the variance: as if running_var held a
variance, and as if it held what training stores.  A student who keeps a standard deviation and divides
by it has made one slip, in what is stored.  With a variance of 4 and eps 12, training stores 4 and test
mode divides by it: asked with running_var = sqrt(4 + 12) = 4 the output is the book's for variance 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pybn.study.coursework.output.candidates import BOTH, TEST
from pybn.study.coursework.output.training import PROBES, Judged, judge_output
from pybn.study.coursework.report.findings import Finding, failed, finding, first_difference
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Step, Student

MOVES, AFTER = known("averages-move-in-test"), known("test-after-update")
ALIKE = known("averages-alike")
FLOOR, NO_EPSILON = known("epsilon-as-floor"), known("epsilon-missing")
NO_ROOT = known("no-root")
SPEAKING = (known("last-batch-in-test"), known("made-anew"))  # of a part of which nothing else is worth saying
UNKNOWN = (known("unexplained-output"), known("not-a-number"), known("epsilon-unknown"), known("variance-factor"))
# What is stored of a variance, given eps.
Kept = Callable[[np.ndarray, float], np.ndarray]


def judge_test(student: Student) -> Judged:
    """Is the output made of the given averages alone, and do they stay as they are?"""
    judged = _judge(student, None)
    moved = _moved(judged.steps[0], PROBES[0])
    codes = [each.code for each in judged.findings]
    if moved and codes == [BOTH]:
        judged.findings = [finding("test-trains", "test", moved)]
    elif moved and AFTER not in codes:  # which says as much
        judged.findings.insert(0, finding(MOVES, "test", moved))
    return judged


def judge_test_of(student: Student, judged: Judged, kept: Kept | None) -> tuple[Judged, bool]:
    """The verdict on test mode by what training keeps, where that explains it with fewer slips; and whether."""
    if kept is None or judged.right or any(step.failure for step in judged.steps):
        return judged, False
    own, moves = _judge(student, kept), [each for each in judged.findings if each.code == MOVES]
    unknown = any(step.failure for step in own.steps) or any(each.code in UNKNOWN for each in own.findings)
    by_book = [each for each in judged.findings if each not in moves]
    contradicted = any(each.code == NO_ROOT for each in by_book)  # what is kept has its root already
    if unknown or len(own.findings) >= len(by_book) + 2 * contradicted:
        return judged, False
    return replace(own, findings=[*moves, *own.findings, finding("right-for-stored", "test")]), True


# What the two modes say when each does what the other is to do.
_SWAPPED = {
    "training": known("averages-in-training"),
    "statistics": known("averages-never-updated"),
    "test": known("test-trains"),
}


def modes_swapped(found: Mapping[str, Sequence[Finding]]) -> dict[str, list[Finding]]:
    """One finding for the three parts, where all of them show it; else nothing."""
    codes = {part: {each.code for each in found.get(part, ())} for part in _SWAPPED}
    if any(code not in codes[part] for part, code in _SWAPPED.items()):
        return {}
    untrained = {  # what test mode leaves for it may be nothing
        part: [finding("not-judged", part, message="training must leave a cache for it")]
        for part in ("backward", "alternative")
        if any(each.kind == "failure" for each in found.get(part, ()))
    }
    return {part: [finding("modes-swapped", part)] for part in _SWAPPED} | untrained


def without_copies(found: dict[str, list[Finding]]) -> None:
    """One average stored in the place of the other moves it in test mode as well: that is told already."""
    if any(each.code == ALIKE for each in found.get("statistics", ())):
        found["test"] = [each for each in found["test"] if each.code not in (MOVES, "averages-exchanged")]


def with_the_floor(found: dict[str, list[Finding]]) -> None:
    """An eps that is a least value in training looks left out in test mode, where all averages are above it."""
    floor = next((each for each in found.get("training", ()) if each.code == FLOOR), None)
    if floor is not None and [each.code for each in found.get("test", ()) if each.kind == "epsilon"] == [NO_EPSILON]:
        found["test"] = [
            replace(each, code=FLOOR, what=floor.what) if each.code == NO_EPSILON else each for each in found["test"]
        ]


def infer(student: Student, probe: Probe, rows: slice = slice(None), kept: Kept | None = None) -> Step:
    """Test mode on some rows of a probe, from its averages, the variance as `kept` has it."""
    mean, variance = probe.averages
    return student.forward(
        probe.x[rows],
        probe.scale,
        probe.offset,
        epsilon=probe.epsilon,
        momentum=probe.momentum,
        averages=(mean, variance if kept is None else kept(variance, probe.epsilon)),
        test=True,
    )


def _judge(student: Student, kept: Kept | None) -> Judged:
    steps = tuple(infer(student, probe, kept=kept) for probe in PROBES)
    broken = next((step.failure for step in steps if step.failure), None)
    if broken:
        before = student.failures.get("training")
        alike = before is not None and before.message == broken.message  # one line that both modes run
        name = student.name("forward")
        return Judged([failed("test", name if alike else f"{name} in test mode", broken)], steps=steps)
    if kept is not None:  # what it returns as averages is in its own terms
        steps = tuple(replace(step, mean=None, variance=None) for step in steps)
    return judge_output("test", PROBES, steps, [probe.test_out for probe in PROBES], TEST)


def _moved(step: Step, probe: Probe) -> str:
    """The first average that a call in test mode has changed; one kept in float32 is compared in float32."""
    names = ("running_mean", "running_var")
    for name, now, before in zip(names, (step.mean, step.variance), probe.averages, strict=True):
        if now is not None and not np.array_equal(now, before.astype(now.dtype)):
            return first_difference(f"after a call in test mode {name}", now, before, 0.0)
    return ""
