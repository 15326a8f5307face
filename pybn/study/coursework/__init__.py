"""Someone else's batch normalization, held against the book: what is wrong, where, and what is right.

`check_batch_norm` runs a student's functions on a few designed probes (`student`), explains each answer
(`output` for what comes out, `averages` for what is stored, `gradient` for what flows back, `images` for
arrays of four axes), and says it in words (`report`).  It needs NumPy alone.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pybn.study import adapters
from pybn.study.adapters import CourseFunctions, course_functions
from pybn.study.adapters.layers import Function
from pybn.study.coursework import command
from pybn.study.coursework.apart.host import Host, NoVerdict
from pybn.study.coursework.averages.judge import CONVENTIONS, CUMULATIVE, judge_statistics, measure_statistics
from pybn.study.coursework.edits.judge import named_by_edits
from pybn.study.coursework.gradient.judge import judge_backward
from pybn.study.coursework.images.judge import judge_spatial
from pybn.study.coursework.output.edges import STATE_KEPT, backward_edges, habits, judge_edges
from pybn.study.coursework.output.inference import (
    SPEAKING,
    judge_test,
    judge_test_of,
    modes_swapped,
    with_the_floor,
    without_copies,
)
from pybn.study.coursework.output.training import judge_training
from pybn.study.coursework.report.examples import with_examples
from pybn.study.coursework.report.findings import DEPARTURES, PARTS, Finding, Said, finding, merged, not_judged
from pybn.study.coursework.report.report import Report, Verdict, make_report
from pybn.study.coursework.student import sandbox
from pybn.study.coursework.student.probes import of_own
from pybn.study.coursework.student.student import ROLE, ROLES, Student

__all__ = ["CONVENTIONS", "Finding", "NoVerdict", "Report", "Verdict", "check_batch_norm", "check_file", "main"]


MEMORY = 2000.0  # megabytes for a student's process: PyTorch takes 300 when it is imported, NumPy 50


def check_batch_norm(
    forward: Any = None,
    backward: Callable[..., Any] | None = None,
    *,
    alternative_backward: Callable[..., Any] | None = None,
    spatial_forward: Callable[..., Any] | None = None,
    spatial_backward: Callable[..., Any] | None = None,
    convention: str | None = None,
    time_limit: float = 1.5,
    points: Mapping[str, float] | None = None,
    names: Mapping[str, str] | None = None,
    build: Callable[[int], Any] | None = None,
    mode: str | Callable[[Any, bool], Any] | None = None,
) -> Report:
    """Check an implementation of batch normalization, and say how it departs.

    Parameters
    ----------
    forward : function (x, gamma, beta, bn_param) -> (out, cache), x of shape (n, d); or a whole
        implementation that `pybn.study.adapters.course_functions` takes: a class, a PyTorch module, ...
    backward, alternative_backward : functions (dout, cache) -> (dx, dgamma, dbeta)
    spatial_forward, spatial_backward : the same for x of shape (n, c, h, w)
    convention : "course", "keras", "pytorch", "paper", "pybn", or None to accept each of them
    time_limit : seconds that one call may take
    points : points of each part, where they shall not be the default
    names, build, mode : what a class calls things, how its layers are made, and how they are told to
        train, as in `course_functions`; said once, they hold for a whole course

    Returns
    -------
    Report : `ok`, `text`, `findings`, `parts`, `points`, `to_dict()`

    Raises ValueError for an unknown convention or a time limit that is not positive, and TypeError where
    nothing was handed in; what the student's functions raise is in the report.
    """
    if forward is None and spatial_forward is None:
        raise TypeError("check_batch_norm needs forward or spatial_forward, got neither")
    _valid(convention, time_limit)
    whole = CourseFunctions() if forward is None else _adapted(forward, time_limit, names, build, mode)
    functions = {
        "forward": whole.forward,
        "backward": backward or whole.backward,
        "alternative": alternative_backward or whole.alternative_backward,
        "spatial_forward": spatial_forward or whole.spatial_forward,
        "spatial_backward": spatial_backward or whole.spatial_backward,
    }
    return _report(functions, convention, time_limit, points)


def check_file(
    module: str,
    functions: Mapping[str, str] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    build: str | None = None,
    mode: str | None = None,
    convention: str | None = None,
    time_limit: float = 1.5,
    memory: float = MEMORY,
    points: Mapping[str, float] | None = None,
) -> Report:
    """Check a stranger's file in a process of its own: it writes no files, and the verdict is formed outside of it.

    Parameters
    ----------
    module : a file ("layers.py") or a module of this directory
    functions : what is checked, by role: {"forward": "my_forward", "backward": "my_backward"}, or a class
        as "forward"; by default what has the course's names
    names, convention, time_limit, points : as in `check_batch_norm`
    build, mode : as there, each a function as "course.py:its_name"; mode may be a name as well
    memory : megabytes that the process may write to (on Linux)

    Raises NoVerdict where there is nothing to judge: no such file, no such functions, an import that
    raises or ends the process.
    """
    _valid(convention, time_limit)
    if not memory > 0:
        raise ValueError(f"memory must be a positive number of megabytes, got {memory!r}")
    options = {"listed": dict(functions or {}), "names": dict(names or {}), "build": build, "mode": mode}
    with Host(module, limit=time_limit, memory=int(memory * 1e6), options=options) as host:
        found: dict[str, Any] = dict.fromkeys(ROLES)
        found |= {ROLE.get(role, role): function for role, function in host.functions.items()}
        if found["forward"] is None and found["spatial_forward"] is None:
            raise NoVerdict(f"{module} has no forward to check")
        report = _report(found, convention, time_limit, points, host)
    return replace(report, said=tuple(host.said))


def _valid(convention: str | None, time_limit: float) -> None:
    if convention is not None and convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {sorted(CONVENTIONS)} or None, got {convention!r}")
    if not time_limit > 0:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")


def _report(
    functions, convention: str | None, time_limit: float, points: Mapping[str, float] | None, host: Host | None = None
) -> Report:
    start = time.perf_counter()
    student = Student(functions, time_limit, convention)
    with np.errstate(all="ignore"), of_own(student.own):  # a student's NaN and infinity are findings, not our warnings
        found = _judge(student, convention)
        found = _judged_alone(student, found)
        found = named_by_edits(student, found, host)
        found = {part: with_examples(student, findings) for part, findings in found.items()}
    return make_report(found, time.perf_counter() - start, points, _named(student, found))


# Getting acquainted with a class takes about a hundred calls of its forward, as a check of it does.
ACQUAINTANCE = 4.0


def _adapted(implementation: Any, limit: float, names, build, mode) -> CourseFunctions:
    """The course's functions; of a class that does not let itself be met within the limit, nothing is judged."""
    given = {"names": names, "build": build, "mode": mode}
    if not inspect.isclass(implementation):
        return course_functions(implementation, **given)
    adapters.warm_up(implementation)
    met = sandbox.run(lambda: course_functions(implementation, **given), limit=ACQUAINTANCE * limit)
    if met.failure == "raised" and isinstance(met.error, TypeError | ValueError):
        raise met.error
    if not met.failure:
        return met.value
    unmet = course_functions(implementation, acquainted=False, **given)
    if met.failure == "raised":
        _leave_open(unmet, f"the class cannot be tried out: {met.message}")
    elif not sandbox.run(lambda: _one_step(unmet.forward), limit=limit).failure:  # else it is told that this hangs
        until = f"within {ACQUAINTANCE * limit:g} seconds, of which time_limit= gives more"
        _leave_open(unmet, f"the class was not tried out {until}")
    return unmet


def _leave_open(functions: CourseFunctions, reason: str) -> None:
    """Have nothing judged of a class of which it is not known what was set: none of its verdicts would be its own."""
    for adapted in {each.adapted for each in vars(functions).values() if isinstance(each, Function)}:
        adapted.leave_open(reason)


def _one_step(forward: Any) -> Any:
    return forward(np.zeros((2, 3)), np.ones(3), np.zeros(3), {"mode": "train"})


def _judge(student: Student, convention: str | None) -> dict[str, list[Finding]]:
    """The findings of every part that was handed in."""
    found: dict[str, list[Finding]] = {}
    if student.has("forward"):
        training = judge_training(student)
        found["training"] = training.findings
        stored = measure_statistics(student, training)
        kept = None if stored is None or stored.variance is None else stored.variance.kept
        by_book = judge_test(student)
        test, used = judge_test_of(student, by_book, kept)
        taken = used or (False if by_book.right else None)  # whether test mode takes what is kept for what it is
        found["statistics"] = judge_statistics(
            student, training, stored, convention, used=taken, torch=student.counts_the_new
        ).findings
        found["test"] = test.findings
        for role in ("backward", "alternative"):
            if student.has(role):
                found[role] = judge_backward(student, role, training).findings
                found[role] += backward_edges(student, role) if training.right and not found[role] else []
        sample = stored is not None and stored.variance is not None and stored.variance.sample
        found["training"] += judge_edges(student, training, sample=sample)
    if student.has("spatial_forward"):
        others = [each for findings in found.values() for each in findings]
        right = not any(each.kind in DEPARTURES for each in others)
        found["spatial"] = judge_spatial(student, same_layer=student.images_alone, others_right=right).findings
    for part in found:
        seen = merged(part, [Said(code, name) for code, where, name in student.seen if where == part])
        alone = [each for each in seen if each.code in SPEAKING]
        found[part] = alone or seen + found[part]
    if any(each.code == STATE_KEPT for each in found.get("training", [])):  # what it keeps is in every number
        for part in ("statistics", "test", "spatial"):
            if any(each.kind in DEPARTURES for each in found.get(part, [])):
                found[part] = [finding("not-judged", part, message="what is kept between calls is in it")]
    found |= modes_swapped(found)
    without_copies(found)
    with_the_floor(found)
    for habit in habits(student, found):
        found.setdefault(habit.part, []).append(habit)
    return found


def _judged_alone(student: Student, found: dict[str, list[Finding]]) -> dict[str, list[Finding]]:
    """The findings without those that rest on a setting which was not made; that it was not is told instead."""
    kept = {part: list(findings) for part, findings in found.items()}
    for record in student.not_judged:
        if record.part in kept:
            kept[record.part] = [each for each in kept[record.part] if not record.covers(each.code)]
    told: set[str] = set()
    if any(each.code == CUMULATIVE for each in kept.get("statistics", [])):
        told.add("momentum")  # there is none
    for record in student.not_judged:
        if record.part in kept and not (record.fixed and record.setting in told):
            kept[record.part].append(not_judged(record))
            told.add(record.setting)
    return {part: _without_followers(part, kept) for part in kept}


# What a part may follow from; where that is right after all, it follows from nothing.
_LEADERS = {"test": ("statistics",), "backward": ("training",), "alternative": ("training",), "spatial": PARTS}


def _without_followers(part: str, found: Mapping[str, list[Finding]]) -> list[Finding]:
    leaders = [each for leader in _LEADERS.get(part, ()) for each in found.get(leader, [])]
    if any(each.kind in DEPARTURES for each in leaders):
        return found[part]
    return [each for each in found[part] if each.kind != "follows"]


def _named(student: Student, parts: Mapping[str, Any]) -> dict[str, str]:
    """What the student calls the function of each part, and the 4-D backward."""
    roles = {part: part if part in ("backward", "alternative") else "forward" for part in parts}
    roles |= {"spatial": "spatial_forward", "spatial_backward": "spatial_backward"}
    return {part: student.own_name(role) for part, role in roles.items()}


def main(arguments: Sequence[str]) -> int:
    """`python -m pybn check`: 0 if all is right, 1 if a mistake was found, 2 for no verdict or wrong usage."""
    return command.run(arguments, check_batch_norm, check_file, CONVENTIONS)
