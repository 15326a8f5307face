"""The 4-D pair, (n, c, h, w): held against the book and against the student's own 2-D pair.

A spatial version usually calls the 2-D one; then it treats the axes rightly if it equals that one on the
rearranged array, whatever the 2-D one does, and a 2-D slip is not counted twice.  A layer for images alone
has no such pair: it is held against the book, never against itself.  The geometry of axes is in `axes`, what
flows back in `backward`; what one pixel an image shows is asked of the 2-D judges (`pair`).

An example: of shape (2, 3, 4, 5) an output that is right for statistics of shape (3, 4, 5) had them taken
over the batch only; one that does not change in image 0 with image 1 normalizes each image by itself.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from pybn.study.coursework.averages.judge import NAMES, judge_statistics, measure_statistics, missing
from pybn.study.coursework.images.axes import CHANNELS, ROWS, RULES, SHAPE, candidates, close, images
from pybn.study.coursework.images.backward import judge_backwards
from pybn.study.coursework.images.pair import Pair, as_flat, flat, forward, not_run
from pybn.study.coursework.output.inference import judge_test
from pybn.study.coursework.output.training import Judged, judge_training
from pybn.study.coursework.report.findings import Finding, finding, first_difference, merged
from pybn.study.coursework.student.student import Failure, Student


def judge_spatial(student: Student, *, same_layer: bool, others_right: bool) -> Judged:
    """Forward, averages, test mode and backward of the 4-D pair.

    same_layer says that the 2-D pair is this very layer on images of one pixel; others_right, that all of
    the 2-D parts are right.
    """
    pair = Pair(forward(student, "spatial_forward"), flat(student))
    if pair.spatial.failure:
        return Judged(_not_run(student, pair.spatial.failure))
    findings = _output(student, pair, same_layer)
    if not findings:
        findings = _statistics(student, pair) + _test(student, pair)
    if student.has("spatial_backward"):
        of_backward = judge_backwards(student, pair, forward_right=not findings)
        findings += [replace(each, function="spatial_backward") for each in of_backward]
    if not findings and pair.by_own and not others_right:
        findings.append(finding("images-same-function" if same_layer else "images-calls-own", "spatial"))
    return Judged(findings)


def _not_run(student: Student, failure: Failure) -> list[Finding]:
    """A 4-D forward that fails on averages of shape (c,) keeps statistics of other axes; its output shows which."""
    flat_alike = student.failures.get("training") is not None
    if failure.kind == "raised" and not flat_alike:
        fresh = forward(student, "spatial_forward", averages=False)
        axes = [] if fresh.failure else _axes(student, fresh.out, f"with averages of shape (c,) it {failure.message}")
        if axes or (axes := _axes_of_sizes(failure.message)):
            return axes
    return not_run(student, "training", "spatial_forward", failure)


def _output(student: Student, pair: Pair, same_layer: bool) -> list[Finding]:
    out = pair.spatial.out
    assert out is not None
    if pair.matches(out, images(ROWS.out), None if pair.flat is None else images(pair.flat.out)):
        return []
    evidence = first_difference("out", out, images(ROWS.out))
    return (
        _axes(student, out, evidence, same_layer)
        or as_flat(student, lambda pair: judge_training(pair).findings)
        or [finding("images-output", "spatial", evidence)]
    )


def _axes(student: Student, out: np.ndarray, evidence: str, same_layer: bool = False) -> list[Finding]:
    """Statistics kept apart along other axes, or axes in another order."""
    for code, axes, candidate in candidates(_normalizers(student, same_layer)):
        if close(out, candidate):
            return [finding(code, "spatial", evidence, axes=axes)]
    return []


def _axes_of_sizes(message: str) -> list[Finding]:
    """Which axes a statistic has kept, by its size in "shapes (3,) (15,)": no two choices of axes have one size."""
    sizes = [int(size) for size in re.findall(r"\((\d+),\)", message)]
    for axes in chain.from_iterable(combinations(range(4), count) for count in range(1, 4)):
        if axes != (1,) and int(np.prod([SHAPE[axis] for axis in axes])) in sizes:
            return [finding(RULES.get(axes, "wrong-axes"), "spatial", f"it {message}", axes=axes)]
    return []


def _normalizers(student: Student, same_layer: bool):
    """The student's own 2-D forward, where that is another than the 4-D one, then the book's."""

    def own(array, scale, offset):
        averages = ROWS.averages if len(scale) == CHANNELS else (np.zeros_like(scale), np.ones_like(scale))
        step = student.forward(array, scale, offset, epsilon=ROWS.epsilon, momentum=ROWS.momentum, averages=averages)
        return np.full_like(array, np.nan) if step.out is None else step.out

    def book(array, scale, offset):
        return scale * (array - array.mean(0)) / np.sqrt(array.var(0) + ROWS.epsilon) + offset

    return (own, book) if student.has("forward") and not same_layer else (book,)


def _statistics(student: Student, pair: Pair) -> list[Finding]:
    """The averages of the 4-D version: the own 2-D ones, or the book's."""
    m, said, findings = ROWS.momentum, [], []
    for name, index, statistic in (("mean", 0, ROWS.mean), ("variance", 1, ROWS.variance)):
        got, shown = getattr(pair.spatial, name), NAMES[index]
        own = None if pair.flat is None else getattr(pair.flat, name)
        book = m * ROWS.averages[index] + (1 - m) * statistic
        if got is None:
            said.append(missing(student, "spatial", shown))
        elif not pair.matches(got, book, own):
            count = _bessel_of(got) if index else ""
            if count:
                return [finding("images-bessel", "spatial", first_difference(shown, got, book), count=count)]
            findings.append(finding("images-statistics", "spatial", first_difference(shown, got, book), name=shown))
    if said:
        return merged("spatial", said) + findings
    return (as_flat(student, _flat_statistics) or findings) if findings else []


def _bessel_of(got: np.ndarray) -> str:
    """What n counts in an averaged n/(n - 1) times the variance, where it is not all elements; momentum either way."""
    for words, count in (("images", SHAPE[0]), ("positions", SHAPE[2] * SHAPE[3])):
        variance = ROWS.variance * count / (count - 1)
        for take in (ROWS.momentum, 1 - ROWS.momentum):
            if close(got, (1 - take) * ROWS.averages[1] + take * variance):
                return words
    return ""


def _flat_statistics(pair: Student) -> list[Finding]:
    training = judge_training(pair)
    return judge_statistics(pair, training, measure_statistics(pair, training), None).findings


def _test(student: Student, pair: Pair) -> list[Finding]:
    step, rows = forward(student, "spatial_forward", test=True), flat(student, test=True)
    if step.failure:
        return not_run(student, "test", "spatial_forward", step.failure)
    if pair.matches(step.out, images(ROWS.test_out), None if rows is None else images(rows.out)):
        return []
    evidence = first_difference("out", step.out, images(ROWS.test_out))
    return as_flat(student, lambda pair: judge_test(pair).findings) or [finding("images-test", "spatial", evidence)]
