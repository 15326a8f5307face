"""The 4-D pair, (n, c, h, w): held against the book and against the student's own 2-D pair.

A spatial version usually calls the 2-D one; then it treats the axes rightly if it equals that one on the
rearranged array, whatever the 2-D one does, and a 2-D slip is not counted twice.  A layer for images alone
has no such pair: it is held against the book, never against itself.  The geometry of axes is in `axes`;
what an output or a gradient of one
pixel an image does wrong is asked of the 2-D judges.

An example: of shape (2, 3, 4, 5) an output that is right for statistics of shape (3, 4, 5) had them taken
over the batch only; one that does not change in image 0 with image 1 normalizes each image by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from pybn.study.adapters import one_pixel
from pybn.study.coursework.averages.judge import NAMES, judge_statistics, measure_statistics, missing
from pybn.study.coursework.gradient.fit import Units, book_units, coefficients, measure, right_for_own
from pybn.study.coursework.gradient.judge import judge_backward
from pybn.study.coursework.images.axes import CHANNELS, ROWS, RULES, SHAPE, candidates, close, gathered, images, rows
from pybn.study.coursework.output.fit import EXACT, agree
from pybn.study.coursework.output.inference import judge_test
from pybn.study.coursework.output.training import Judged, judge_training
from pybn.study.coursework.report.findings import Finding, Said, failed, finding, first_difference, merged
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.student import Failure, Gradients, Step, Student

_AXES = {SHAPE[0]: "the images", SHAPE[2]: "height", SHAPE[3]: "width"}
OF_ROWS = (known("row-order"), known("rows-left-out"))  # axes in another order are, too, where there are positions
IMAGES_OWN = (known("count-without-positions"), known("images-dx-put-back"))  # a single pixel cannot show these


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
        alike = any(close(yours, right) for right in own if right is not None and not _constant(right))
        self.by_own = self.by_own or alike
        return alike


def judge_spatial(student: Student, *, same_layer: bool, others_right: bool) -> Judged:
    """Forward, averages, test mode and backward of the 4-D pair.

    same_layer says that the 2-D pair is this very layer on images of one pixel; others_right, that all of
    the 2-D parts are right.
    """
    pair = Pair(_forward(student, "spatial_forward"), _flat(student))
    if pair.spatial.failure:
        return Judged(_not_run(student, "training", "spatial_forward", pair.spatial.failure, output=True))
    findings = _output(student, pair, same_layer)
    if not findings:
        findings = _statistics(student, pair) + _test(student, pair)
    if student.has("spatial_backward"):
        of_backward = _backward(student, pair, forward_right=not findings)
        findings += [replace(each, function="spatial_backward") for each in of_backward]
    if not findings and pair.by_own and not others_right:
        findings.append(finding("images-same-function" if same_layer else "images-calls-own", "spatial"))
    return Judged(findings)


def _not_run(student: Student, part: str, role: str, failure: Failure, *, output: bool = False) -> list[Finding]:
    """A 4-D function that fails where its 2-D one fails is not to blame; one that fails on averages of shape (c,)
    keeps statistics of other axes, and shows by its output which.
    """
    function = student.name(role) + (" in test mode" if part == "test" else "")
    flat = student.failures.get(part)
    if flat is not None:
        return [finding("not-judged", "spatial", message=f"{function} and the 2-D one fail alike: {flat.message}")]
    if output and failure.kind == "raised":
        fresh = _forward(student, role, averages=False)
        axes = [] if fresh.failure else _axes(student, fresh.out, f"with averages of shape (c,) it {failure.message}")
        if axes or (axes := _axes_of_sizes(failure.message)):
            return axes
    return [failed("spatial", function, failure)]


def _forward(student: Student, role: str, *, test: bool = False, averages: bool = True) -> Step:
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


def _flat(student: Student, *, test: bool = False) -> Step | None:
    if not student.has("forward"):
        return None
    step = _forward(student, "forward", test=test)
    return None if step.failure else step


def _constant(array: np.ndarray) -> bool:
    """Whether it is a stub's: the same in every row."""
    if array.ndim != 4:
        return not array.any()
    return agree(rows(array), np.broadcast_to(rows(array)[:1], ROWS.x.shape), EXACT)


def _output(student: Student, pair: Pair, same_layer: bool) -> list[Finding]:
    out = pair.spatial.out
    assert out is not None
    if pair.matches(out, images(ROWS.out), None if pair.flat is None else images(pair.flat.out)):
        return []
    evidence = first_difference("out", out, images(ROWS.out))
    return (
        _axes(student, out, evidence, same_layer)
        or _as_flat(student, lambda pair: judge_training(pair).findings)
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


def _as_flat(student: Student, judge: Callable[[Student], list[Finding]]) -> list[Finding]:
    """What the 4-D pair does wrong on images of one pixel, where it must be a 2-D pair."""
    forward, backward = one_pixel(student.function("spatial_forward"), student.functions["spatial_backward"])
    pair = Student({"forward": forward, "backward": backward}, student.limit)
    told = [found for found in judge(pair) if found.kind in ("mistake", "epsilon") and found.code not in OF_ROWS]
    return [replace(found, part="spatial") for found in told]


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
    return (_as_flat(student, _flat_statistics) or findings) if findings else []


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
    step, flat = _forward(student, "spatial_forward", test=True), _flat(student, test=True)
    if step.failure:
        return _not_run(student, "test", "spatial_forward", step.failure)
    if pair.matches(step.out, images(ROWS.test_out), None if flat is None else images(flat.out)):
        return []
    evidence = first_difference("out", step.out, images(ROWS.test_out))
    return _as_flat(student, lambda pair: judge_test(pair).findings) or [finding("images-test", "spatial", evidence)]


# --- backward ---------------------------------------------------------------------------------


def _backward(student: Student, pair: Pair, *, forward_right: bool) -> list[Finding]:
    got = student.gradients("spatial_backward", images(ROWS.dy), pair.spatial.cache)
    if got.failure and not forward_right:  # what it gets from that forward may be anything
        return [finding("images-dx-open", "spatial")]
    if got.failure:
        return _not_run(student, "backward", "spatial_backward", got.failure)
    if got.dx is None:
        return [finding("dx-missing", "spatial", detail=student.habits.get(("dx shape", "spatial"), "None"))]
    own = [each for each in _own_backwards(student, pair) if not each.failure and each.dx is not None]
    if np.isnan(got.dx).any():
        return [_not_a_number(got.dx, own)]
    of_parameters = _parameters(student, pair, got, own, forward_right)
    if of_parameters and _made_with(got):
        return [replace(each, what=f"{each.what}, and dx is made with it") for each in of_parameters]
    findings = _dx(student, pair, got, own, forward_right) + of_parameters
    if not forward_right or not findings or any(found.code in IMAGES_OWN for found in findings):
        return findings
    if findings[0].code == "images-dx" and gathered(got.dx):
        return [finding("images-dout-gathered", "spatial", findings[0].evidence)]
    return _as_flat(student, lambda pair: judge_backward(pair, "backward", judge_training(pair)).findings) or findings


def _made_with(got: Gradients) -> bool:
    """Whether a wrong dx is the book's formula with the student's own dgamma and dbeta."""
    if got.dx is None or got.dscale is None or got.doffset is None or close(got.dx, images(ROWS.dx)):
        return False
    mean = (got.doffset + ROWS.normalized * got.dscale) / ROWS.count
    return close(got.dx, images(ROWS.scale / ROWS.deviation * (ROWS.dy - mean)))


def _not_a_number(dx: np.ndarray, own: list[Gradients]) -> Finding:
    """NaN, by itself or where an own 2-D backward has it."""
    alike = any(np.array_equal(np.isnan(dx), np.isnan(images(each.dx))) for each in own if each.dx is not None)
    detail = ", as your 2-D one that it calls" if alike else ""
    return finding("images-dx-not-a-number", "spatial", first_difference("dx", dx, images(ROWS.dx)), detail=detail)


def _own_backwards(student: Student, pair: Pair) -> list[Gradients]:
    """The student's 2-D backwards on the rearranged cotangent."""
    if pair.flat is None:
        return []
    roles = [role for role in ("backward", "alternative") if student.has(role)]
    caches = [_forward(student, "forward").cache for _ in roles]
    return [student.gradients(role, ROWS.dy, cache) for role, cache in zip(roles, caches, strict=True)]


def _dx(student: Student, pair: Pair, got: Gradients, own: list[Gradients], forward_right: bool) -> list[Finding]:
    assert got.dx is not None
    rights = [images(ROWS.dx), *(images(each.dx) for each in own if each.dx is not None)]
    if pair.matches(got.dx, *rights):
        return []
    if not forward_right and right_for_own(student, ROWS, got.dx, role="spatial_forward", arrange=images):
        return [finding("images-right-for-own", "spatial")]
    if not forward_right:  # it cannot be told what of it is wrong while the forward is
        return [finding("images-dx-open", "spatial")]
    evidence = first_difference("dx", got.dx, rights[0])
    if any(_same_numbers(got.dx, right) for right in rights):
        return [finding("images-dx-put-back", "spatial", evidence)]
    code, axes = _dx_code(student, pair)
    return [finding(code, "spatial", evidence, axes=axes)]


def _same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(np.sort(a, axis=None), np.sort(b, axis=None), rtol=1e-6, atol=1e-9))


def _dx_code(student: Student, pair: Pair) -> tuple[str, str]:
    """The slip that the three terms' weights in each channel show, and axes that a count leaves out."""

    def call(dy: np.ndarray) -> Gradients:
        got = student.gradients("spatial_backward", images(dy), _forward(student, "spatial_forward").cache)
        return replace(got, dx=None if got.dx is None else rows(got.dx))

    measured = measure(call, ROWS)
    if measured is None:
        return "images-dx", ""
    for units in (book_units(ROWS), _own_units(pair)):
        terms = coefficients(measured.dx, units)
        if not terms.complete or terms.others:
            continue
        code, axes = _weights_code(terms.values[:3]), _left_out_of_count(terms.values[:3])
        if code or axes:
            return code or "images-count", axes
    return "images-dx", ""


def _left_out_of_count(weights: np.ndarray) -> str:
    """The axes that n lacks, where both paths through the statistics are as many times too large."""
    direct, *paths = weights * [[1.0], [-1.0], [-1.0]]
    for axes in chain.from_iterable(combinations(_AXES, count) for count in (1, 2)):
        if all(np.allclose(each, np.prod(axes) * direct, rtol=1e-3) for each in paths):
            return " and ".join(_AXES[size] for size in axes)
    return ""


def _own_units(pair: Pair) -> Units:
    """x-hat and gain as the student's 4-D forward has them."""
    out, centred = rows(pair.spatial.out), ROWS.x - ROWS.mean
    return Units((out - ROWS.offset) / ROWS.scale, (centred * out).sum(0) / (centred**2).sum(0))


def _weights_code(weights: np.ndarray) -> str:
    """Of the slips that only images have or that are common the one that these weights (3, c) show; "" for none."""
    direct, *paths = weights * [[1.0], [-1.0], [-1.0]]
    if np.allclose(direct * ROWS.scale, 1, rtol=1e-3):
        return "scale-missing-in-dx"
    if not np.allclose(direct, direct[0], rtol=1e-3):
        return ""
    positions = SHAPE[2] * SHAPE[3]
    if any(np.allclose(each, positions * direct, rtol=1e-3) for each in paths):
        return "count-without-positions"
    there = tuple(bool(np.abs(each).max() > 1e-6) for each in paths)
    codes: dict[tuple[bool, ...], str] = {
        (True, False): "variance-path-missing",
        (False, True): "mean-path-missing",
        (False, False): "statistics-constant",
    }
    return codes.get(there, "")


def _parameters(
    student: Student, pair: Pair, got: Gradients, own: list[Gradients], forward_right: bool
) -> list[Finding]:
    if not forward_right:  # they follow from the axes that were found wrong already
        return []
    book = {"dscale": (ROWS.dy * ROWS.normalized).sum(0), "doffset": ROWS.dy.sum(0)}
    hat = (rows(pair.spatial.out) - ROWS.offset) / ROWS.scale
    own_forward: dict[str, list] = {"dscale": [(ROWS.dy * hat).sum(0)], "doffset": []}
    said = []
    for name, shown in (("dscale", "dgamma"), ("doffset", "dbeta")):
        rights = [book[name], *(getattr(each, name) for each in own), *own_forward[name]]
        value = getattr(got, name)
        if value is None and any(getattr(each, name) is None for each in own):
            continue  # the 2-D one gives none either
        axes = _not_summed(student.habits.get((f"{shown} shape", "spatial"), "")) if value is None else ""
        if axes:
            said.append(Said("images-not-summed", shown, "", {"axes": axes}))
        elif value is None or not any(right is not None and close(value, right) for right in rights):
            evidence = "" if value is None else first_difference(shown, value, book[name])
            divided = "" if value is None else _divided(value, book[name])
            code = "images-parameter-divided" if divided else "images-parameter"
            said.append(Said(code, shown, evidence, {"factor": divided} if divided else {}))
    return merged("spatial", said)


def _not_summed(detail: str) -> str:
    """The axes, beside the channels, that a gradient of a wrong shape still has, in words."""
    shape = re.match(r"\w+ is an array of shape \(([\d, ]*)\)", detail)
    sizes = [int(size) for size in re.findall(r"\d+", shape[1])] if shape else []
    if CHANNELS not in sizes or not set(sizes) <= {1, CHANNELS, *_AXES}:
        return ""
    return " and ".join(words for size, words in _AXES.items() if size in sizes)


# What a sum over batch and positions may have been divided by.
_COUNTS = {
    "height * width": SHAPE[2] * SHAPE[3],
    "the number of images": SHAPE[0],
    "images * height * width": SHAPE[0] * SHAPE[2] * SHAPE[3],
}


def _divided(value: np.ndarray, right: np.ndarray) -> str:
    """The count that a parameter's gradient is divided by, in words, or ""."""
    return next((words for words, count in _COUNTS.items() if close(count * value, right)), "")
