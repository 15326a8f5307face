"""The 4-D pair, (n, c, h, w): held against the book and against the student's own 2-D pair.

A spatial version usually calls the 2-D one; then it is right if it equals that one on the rearranged
array, whatever the 2-D one does, and a 2-D slip is not counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations, permutations

import numpy as np

from pybn.study.adapters import one_pixel
from pybn.study.coursework.findings import Finding, failed, finding, first_difference
from pybn.study.coursework.formulas import SINGLE
from pybn.study.coursework.gradients import judge_backward
from pybn.study.coursework.inference import judge_test
from pybn.study.coursework.jacobian import DIFFERENCES
from pybn.study.coursework.probes import Probe, probe
from pybn.study.coursework.stored import judge_statistics
from pybn.study.coursework.student import Failure, Gradients, Step, Student
from pybn.study.coursework.training import Judged, judge_training

SHAPE = (2, 3, 4, 5)  # every size differs, so no wrong axis fits by chance
CHANNELS = SHAPE[1]
ROWS = probe(4, 40, epsilon=0.3, momentum=0.7, features=CHANNELS)
IMAGES_OWN = ("count-without-positions", "images-dx-put-back")  # slips that a batch of single pixels cannot show
RULES = {
    (0, 1): "instance-statistics",
    (1, 2, 3): "position-statistics",
    (0, 2, 3): "channel-axis",
}


def images(rows: np.ndarray) -> np.ndarray:
    """Rows (n h w, c) as an array (n, c, h, w)."""
    n, c, h, w = SHAPE
    return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def rows(array: np.ndarray) -> np.ndarray:
    """(n, c, h, w) as rows (n h w, c)."""
    return array.transpose(0, 2, 3, 1).reshape(-1, array.shape[1])


@dataclass(frozen=True)
class Pair:
    """What the student's two forwards made of the same numbers."""

    spatial: Step
    flat: Step | None  # None: there is no 2-D forward that runs


def judge_spatial(student: Student) -> Judged:
    """Forward, averages, test mode and backward of the 4-D pair."""
    training = Pair(_forward(student, "spatial_forward"), _flat(student))
    if training.spatial.failure:
        return Judged([_not_run(student, "training", "the 4-D forward", training.spatial.failure)])
    findings = _output(student, training)
    if not findings:
        findings = _statistics(student, training) + _test(student)
    if student.has("spatial_backward"):
        findings += _backward(student, training, forward_right=not findings)
    return Judged(findings, error=0.0)


def _not_run(student: Student, part: str, function: str, failure: Failure) -> Finding:
    """A 4-D function that fails where its 2-D one fails is not to blame."""
    flat = student.failures.get(part)
    if flat is not None:
        return finding("not-judged", "spatial", f"{function} and the 2-D one fail alike: {flat.message}")
    return failed("spatial", function, failure)


def _forward(student: Student, role: str, *, test: bool = False) -> Step:
    x = images(ROWS.x) if role == "spatial_forward" else ROWS.x
    return student.forward(
        x,
        ROWS.scale,
        ROWS.offset,
        epsilon=ROWS.epsilon,
        momentum=ROWS.momentum,
        averages=ROWS.averages,
        test=test,
        role=role,
    )


def _flat(student: Student, *, test: bool = False) -> Step | None:
    if not student.has("forward"):
        return None
    step = _forward(student, "forward", test=test)
    return None if step.failure else step


def _matches(array: np.ndarray | None, book: np.ndarray, own: np.ndarray | None, tolerance: float = SINGLE) -> bool:
    """By the book or by the student's own 2-D version."""
    return array is not None and any(_close(array, right, tolerance) for right in (book, own) if right is not None)


def _close(yours: np.ndarray, right: np.ndarray, tolerance: float = SINGLE) -> bool:
    """Within `tolerance` of the largest; NaN where the other has NaN."""
    if yours.shape != right.shape or not np.array_equal(np.isnan(yours), np.isnan(right)) or np.isnan(right).all():
        return False
    return bool(np.nanmax(np.abs(yours - right)) <= tolerance * np.nanmax(np.abs(right)))


def _output(student: Student, pair: Pair) -> list[Finding]:
    out = pair.spatial.out
    assert out is not None
    if _matches(out, images(ROWS.out), None if pair.flat is None else images(pair.flat.out)):
        return []
    evidence = first_difference("out", out, images(ROWS.out))
    for code, axes, candidate in _candidates(student):
        if _close(out, candidate):
            return [finding(code, "spatial", evidence, axes=axes)]
    return _as_flat(student, lambda pair: judge_training(pair).findings) or [
        finding("images-output", "spatial", evidence)
    ]


def _as_flat(student: Student, judge: Callable[[Student], list[Finding]]) -> list[Finding]:
    """What the 4-D pair does wrong on images of one pixel, where it must be a 2-D pair."""
    forward, backward = one_pixel(student.function("spatial_forward"), student.functions["spatial_backward"])
    pair = Student({"forward": forward, "backward": backward}, student.limit)
    return [replace(found, part="spatial") for found in judge(pair) if found.kind in ("mistake", "epsilon")]


def _candidates(student: Student) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Outputs with the statistics kept apart along other axes, and with the axes in another order."""
    for normalize in _normalizers(student):
        for axes in chain.from_iterable(combinations(range(4), size) for size in range(5)):
            yield from _kept_apart(axes, normalize)
        yield from _reordered(normalize)


def _normalizers(student: Student):
    """The student's own 2-D forward, then the book's."""

    def own(array, scale, offset):
        averages = ROWS.averages if len(scale) == CHANNELS else (np.zeros_like(scale), np.ones_like(scale))
        step = student.forward(array, scale, offset, epsilon=ROWS.epsilon, momentum=ROWS.momentum, averages=averages)
        return np.full_like(array, np.nan) if step.out is None else step.out

    def book(array, scale, offset):
        return scale * (array - array.mean(0)) / np.sqrt(array.var(0) + ROWS.epsilon) + offset

    return (own, book) if student.has("forward") else (book,)


def _kept_apart(axes: tuple[int, ...], normalize) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Statistics for each index along `axes`, scale and offset for each channel."""
    x, order = images(ROWS.x), [axis for axis in range(4) if axis not in axes] + list(axes)
    moved = x.transpose(order)
    flat = moved.reshape(-1, int(np.prod([SHAPE[axis] for axis in axes], dtype=int)))
    width = flat.shape[1]
    normalized = normalize(flat, np.ones(width), np.zeros(width)).reshape(moved.shape).transpose(np.argsort(order))
    channel = (1, CHANNELS, 1, 1)
    out = normalized * ROWS.scale.reshape(channel) + ROWS.offset.reshape(channel)
    if axes != (1,):
        yield RULES.get(axes, "wrong-axes"), axes, out


def _reordered(normalize) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Every order of axes before flattening to (-1, c), and every order of putting it back."""
    x = images(ROWS.x)
    for order in permutations(range(4)):
        moved = x.transpose(order)
        out = normalize(moved.reshape(-1, CHANNELS), ROWS.scale, ROWS.offset)
        code = "put-back-wrong" if order[-1] == 1 else "channels-mixed"
        for back in _put_back(out):
            yield code, (), back
    moved = x.transpose(1, 0, 2, 3).reshape(CHANNELS, -1).reshape(-1, CHANNELS)
    yield "channels-mixed", (), normalize(moved, ROWS.scale, ROWS.offset).reshape(SHAPE)


def _put_back(flat: np.ndarray) -> Iterator[np.ndarray]:
    """Flat numbers as (n, c, h, w) by every order of axes."""
    for order in permutations(range(4)):
        sizes = [SHAPE[axis] for axis in order]
        yield flat.reshape(sizes).transpose(np.argsort(order))


def _statistics(student: Student, pair: Pair) -> list[Finding]:
    """The averages of the 4-D version: the own 2-D ones, or the book's."""
    m, findings = ROWS.momentum, []
    for name, index, statistic in (("mean", 0, ROWS.mean), ("variance", 1, ROWS.variance)):
        got = getattr(pair.spatial, name)
        own = None if pair.flat is None else getattr(pair.flat, name)
        book = m * ROWS.averages[index] + (1 - m) * statistic
        if not _matches(got, book, own):
            shown = {"mean": "running_mean", "variance": "running_var"}[name]
            evidence = "" if got is None else first_difference(shown, got, book)
            findings.append(finding("images-statistics", "spatial", evidence, name=shown))
    return (_as_flat(student, _flat_statistics) or findings) if findings else []


def _flat_statistics(pair: Student) -> list[Finding]:
    return judge_statistics(pair, judge_training(pair), None).findings


def _test(student: Student) -> list[Finding]:
    step, flat = _forward(student, "spatial_forward", test=True), _flat(student, test=True)
    if step.failure:
        return [_not_run(student, "test", "the 4-D forward in test mode", step.failure)]
    if _matches(step.out, images(ROWS.test_out), None if flat is None else images(flat.out)):
        return []
    evidence = first_difference("out", step.out, images(ROWS.test_out))
    return _as_flat(student, lambda pair: judge_test(pair).findings) or [finding("images-test", "spatial", evidence)]


# --- backward ---------------------------------------------------------------------------------


def _backward(student: Student, pair: Pair, *, forward_right: bool) -> list[Finding]:
    got = student.gradients("spatial_backward", images(ROWS.dy), pair.spatial.cache)
    if got.failure:
        return [_not_run(student, "backward", "the 4-D backward", got.failure)]
    if got.dx is None:
        return [finding("dx-missing", "spatial", student.habits.get(("dx shape", "spatial"), ""))]
    own = [each for each in _own_backwards(student, pair) if not each.failure and each.dx is not None]
    findings = _dx(student, pair, got, own, forward_right) + _parameters(pair, got, own, forward_right)
    if not forward_right or not findings or any(found.code in IMAGES_OWN for found in findings):
        return findings
    if findings[0].code == "images-dx" and _gathered(got.dx):
        return [finding("images-dout-gathered", "spatial", findings[0].evidence)]
    return _as_flat(student, lambda pair: judge_backward(pair, "backward", judge_training(pair)).findings) or findings


def _gathered(dx: np.ndarray) -> bool:
    """Whether dx is the right formula on a dout whose axes were brought into another order."""
    dy, gain = images(ROWS.dy), ROWS.scale / ROWS.deviation
    for order in permutations(range(4)):
        d = dy.transpose(order).reshape(-1, CHANNELS)
        flat = gain * (d - d.mean(0) - ROWS.normalized * (d * ROWS.normalized).mean(0))
        if any(_close(dx, back) for back in _put_back(flat)):
            return True
    return False


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
    if any(_close(got.dx, right) for right in rights):
        return []
    if not forward_right and _right_for_own(student, got.dx):
        return [finding("images-right-for-own", "spatial")]
    if not forward_right:  # it cannot be told what of it is wrong while the forward is
        return [finding("images-dx-open", "spatial")]
    evidence = first_difference("dx", got.dx, rights[0])
    if any(_same_numbers(got.dx, right) for right in rights):
        return [finding("images-dx-put-back", "spatial", evidence)]
    return [finding(_dx_code(pair, got.dx), "spatial", evidence)]


def _same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(np.sort(a, axis=None), np.sort(b, axis=None), rtol=1e-6, atol=1e-9))


def _dx_code(pair: Pair, dx: np.ndarray) -> str:
    """The three terms' weights in each channel, in the book's units or in those of the own forward."""
    out = rows(pair.spatial.out)
    centred = ROWS.x - ROWS.mean
    slope = (centred * out).sum(0) / (centred**2).sum(0)
    own = (out - ROWS.offset) / ROWS.scale
    for normalized, gain in ((ROWS.normalized, ROWS.scale / ROWS.deviation), (own, slope)):
        code = _weights_code(_weights(rows(dx), normalized, gain))
        if code:
            return code
    return "images-dx"


def _weights(dx: np.ndarray, normalized: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Weights of the three terms, (3, c); NaN where they do not suffice."""
    weights = []
    for feature, column in enumerate((dx / gain).T):
        d, h = ROWS.dy[:, feature], normalized[:, feature]
        terms = np.stack([d, np.full_like(d, -d.mean()), -h * (d * h).mean()], axis=1)
        found, *_ = np.linalg.lstsq(terms, column, rcond=None)
        fits = np.abs(terms @ found - column).max() <= 1e-6 * np.abs(column).max()
        weights.append(found if fits else np.full(3, np.nan))
    return np.array(weights).T


def _weights_code(weights: np.ndarray) -> str:
    """The slip that these weights show, "" for none of those that only images have or that are common."""
    direct, *paths = weights
    if np.allclose(direct * ROWS.scale, 1, rtol=1e-3):
        return "scale-missing-in-dx"
    if not np.allclose(direct, direct[0], rtol=1e-3):  # NaN among them too: these terms do not suffice
        return ""
    positions = SHAPE[2] * SHAPE[3]
    averaged = [np.allclose(each, positions * direct, rtol=1e-3) for each in paths]
    there = [bool(np.abs(each).max() > 1e-6) for each in paths]
    if any(averaged):
        return "count-without-positions"
    missing = ["variance-path-missing"] * there[0] + ["mean-path-missing"] * there[1]
    return missing[0] if len(missing) == 1 else "" if missing else "statistics-constant"


def _right_for_own(student: Student, dx: np.ndarray) -> bool:
    """Whether dx is the derivative of the own 4-D forward, by central differences along random directions."""
    random, step, x = np.random.default_rng(0), 1e-4, images(ROWS.x)
    directions = random.normal(size=(4, *SHAPE))

    def arguments(moved):
        mean, variance = ROWS.averages
        settings = {"mode": "train", "eps": ROWS.epsilon, "momentum": ROWS.momentum}
        return moved, ROWS.scale.copy(), ROWS.offset.copy(), settings | {"running_mean": mean, "running_var": variance}

    moves = [x + sign * step * direction for direction in directions for sign in (1, -1)]
    values = student.batch("spatial_forward", [lambda moved=moved: arguments(moved) for moved in moves])
    if values is None:
        return False
    losses = np.array([(np.asarray(value[0]) * images(ROWS.dy)).sum() for value in values]).reshape(4, 2)
    slopes, products = (losses[:, 0] - losses[:, 1]) / (2 * step), (dx * directions).reshape(4, -1)
    return bool(np.all(np.abs(products.sum(1) - slopes) <= DIFFERENCES * np.abs(products).sum(1)))


def _parameters(pair: Pair, got: Gradients, own: list[Gradients], forward_right: bool) -> list[Finding]:
    if not forward_right:  # they follow from the axes that were found wrong already
        return []
    book = {"dscale": (ROWS.dy * ROWS.normalized).sum(0), "doffset": ROWS.dy.sum(0)}
    hat = (rows(pair.spatial.out) - ROWS.offset) / ROWS.scale
    own_forward: dict[str, list] = {"dscale": [(ROWS.dy * hat).sum(0)], "doffset": []}
    findings = []
    for name, shown in (("dscale", "dgamma"), ("doffset", "dbeta")):
        rights = [book[name], *(getattr(each, name) for each in own), *own_forward[name]]
        value = getattr(got, name)
        if value is None and any(getattr(each, name) is None for each in own):
            continue  # the 2-D one gives none either
        if value is None or not any(right is not None and _close(value, right) for right in rights):
            evidence = "" if value is None else first_difference(shown, value, book[name])
            findings.append(finding("images-parameter", "spatial", evidence, name=shown))
    return findings


__all__ = ["Probe", "judge_spatial"]
