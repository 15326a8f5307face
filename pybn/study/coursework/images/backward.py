"""The 4-D backward: against the book, against the student's own 2-D backwards, and what its terms weigh."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from pybn.study.coursework.gradient.fit import Units, book_units, coefficients, measure, right_for_own
from pybn.study.coursework.gradient.judge import judge_backward
from pybn.study.coursework.images.axes import CHANNELS, ROWS, SHAPE, close, gathered, images, rows
from pybn.study.coursework.images.pair import Pair, as_flat, forward, not_run
from pybn.study.coursework.output.training import judge_training
from pybn.study.coursework.report.findings import Finding, Said, finding, first_difference, merged
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.student import Gradients, Student

_AXES = {SHAPE[0]: "the images", SHAPE[2]: "height", SHAPE[3]: "width"}
IMAGES_OWN = (known("count-without-positions"), known("images-dx-put-back"))  # a single pixel cannot show these


def judge_backwards(student: Student, pair: Pair, *, forward_right: bool) -> list[Finding]:
    """dx, dgamma and dbeta; forward_right says whether the 4-D forward is right in all that it does."""
    got = student.gradients("spatial_backward", images(ROWS.dy), pair.spatial.cache)
    if got.failure and not forward_right:  # what it gets from that forward may be anything
        return [finding("images-dx-open", "spatial")]
    if got.failure:
        return not_run(student, "backward", "spatial_backward", got.failure)
    if got.dx is None:
        return [finding("dx-missing", "spatial", detail=student.habits.get(("dx shape", "spatial"), "None"))]
    own = [each for each in _own_backwards(student, pair) if not each.failure and each.dx is not None]
    if np.isnan(got.dx).any():
        return [_not_a_number(got.dx, own)]
    of_parameters = _parameters(student, pair, got, own, forward_right)
    if of_parameters and _made_with(got):
        unknown = any(each.code == "images-parameter" for each in of_parameters)
        carried = [replace(each, what=f"{each.what}, and dx is made with it") for each in of_parameters]
        return (_as_pair(student) if unknown else []) or carried
    findings = _dx(student, pair, got, own, forward_right) + of_parameters
    if not forward_right or not findings or any(found.code in IMAGES_OWN for found in findings):
        return findings
    if findings[0].code == "images-dx" and gathered(got.dx):
        return [finding("images-dout-gathered", "spatial", findings[0].evidence)]
    return _as_pair(student) or findings


def _as_pair(student: Student) -> list[Finding]:
    """What images of one pixel show."""
    return as_flat(student, lambda pair: judge_backward(pair, "backward", judge_training(pair)).findings)


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
    caches = [forward(student, "forward").cache for _ in roles]
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
        got = student.gradients("spatial_backward", images(dy), forward(student, "spatial_forward").cache)
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
