"""The 4-D pair beside the student's own 2-D one: the calls, and what images of one pixel tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pybn.study.adapters import one_pixel
from pybn.study.coursework.images.axes import ROWS, close, images, rows
from pybn.study.coursework.output.fit import EXACT, agree
from pybn.study.coursework.report.findings import Finding, failed, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.student import Failure, Step, Student

OF_ROWS = (known("row-order"), known("rows-left-out"))  # axes in another order are, too, where there are positions


@dataclass
class Pair:
    """What the student's two forwards made of the same numbers."""

    spatial: Step
    flat: Step | None  # None: there is no 2-D forward that runs
    by_own: bool = False  # something equals the 2-D pair's and not the book's

    def matches(self, yours: np.ndarray | None, book: np.ndarray, *own: np.ndarray | None) -> bool:
        """By the book or by the student's own 2-D version; which, is kept."""
        if yours is None or close(yours, book):
            return yours is not None
        alike = any(close(yours, right) for right in own if right is not None and not constant(right))
        self.by_own = self.by_own or alike
        return alike


def not_run(student: Student, part: str, role: str, failure: Failure) -> list[Finding]:
    """A 4-D function that fails where its 2-D one fails is not to blame."""
    function = student.name(role) + (" in test mode" if part == "test" else "")
    alike = student.failures.get(part)
    if alike is not None:
        return [finding("not-judged", "spatial", message=f"{function} and the 2-D one fail alike: {alike.message}")]
    return [failed("spatial", function, failure)]


def forward(student: Student, role: str, *, test: bool = False, averages: bool = True) -> Step:
    """One call of the 4-D forward on images, or of the 2-D one on their rows."""
    x = images(ROWS.x) if role == "spatial_forward" else ROWS.x
    return student.forward(
        x,
        ROWS.scale,
        ROWS.offset,
        epsilon=ROWS.epsilon,
        momentum=ROWS.momentum,
        averages=ROWS.averages if averages else None,
        test=test,
        role=role,
    )


def flat(student: Student, *, test: bool = False) -> Step | None:
    """The 2-D forward on the rows; None where there is none that runs."""
    if not student.has("forward"):
        return None
    step = forward(student, "forward", test=test)
    return None if step.failure else step


def constant(array: np.ndarray) -> bool:
    """Whether it is a stub's: the same in every row."""
    if array.ndim != 4:
        return not array.any()
    return agree(rows(array), np.broadcast_to(rows(array)[:1], ROWS.x.shape), EXACT)


def as_flat(student: Student, judge: Callable[[Student], list[Finding]]) -> list[Finding]:
    """What the 4-D pair does wrong on images of one pixel, where it must be a 2-D pair."""
    forward, backward = one_pixel(student.function("spatial_forward"), student.functions["spatial_backward"])
    pair = Student({"forward": forward, "backward": backward}, student.limit)
    told = [found for found in judge(pair) if found.kind in ("mistake", "epsilon") and found.code not in OF_ROWS]
    return [replace(found, part="spatial") for found in told]
