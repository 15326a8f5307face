"""Beyond ordinary batches: one row, a constant feature, a large mean, float32, integers; and habits.

Looked at only where the ordinary output is right: a missing eps makes NaN of a batch of one, and would
be named twice.  Around a mean of 1e6 with deviation 1, E[x^2] - E[x]^2 takes 1e12 from 1e12 and keeps four
digits of the variance; centred values keep ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pybn.study.coursework.output.fit import EXACT
from pybn.study.coursework.output.training import Judged, train
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import COURSE_EPSILON, LARGE_EPSILON, probe
from pybn.study.coursework.student.student import Failure, Step, Student

# At mean 1e6 and deviation 1 the mean's own rounding leaves 1e-10 in float64; E[x^2] - E[x]^2 leaves 1e-4 and more.
LARGE_MEAN, LOST = 1e6, 1e-6
# At mean 1e3 in float32 a centred variance leaves 1e-4, the other 1e-2 and more.
LARGE_MEAN_SINGLE, LOST_SINGLE = 1e3, 5e-3
# At 1e5 right gradients are good to 1e-10; a wrong factor of a term that is 0 on paper leaves 1e-8 and more.
LARGE_SCALE, LOST_AT_SCALE = 1e5, 5e-9


STATE_KEPT = known("state-kept")


def judge_edges(student: Student, training: Judged, *, sample: bool = False) -> list[Finding]:
    """What ordinary batches do not show of the training forward; sample: it averages the sample variance."""
    told = {each.code for each in training.findings}
    findings = [each for each in _kept_state(student, training) if each.code not in told]
    if not training.right:
        return findings
    one_pass = _large_mean(student, training)
    findings += one_pass or _rows_alone(student, sample)
    if training.error > EXACT:
        findings.append(finding("single-precision", "training", detail=f"relative error {training.error:.1g}"))
    return findings + _dtypes(student) + _integers(student)


def _kept_state(student: Student, training: Judged) -> list[Finding]:
    """Two calls once more, from given averages and from none: equal to the bit, whatever came between."""
    first, again = training.steps[0], train(student, LARGE_EPSILON)
    fresh = [_fresh(student) for _ in range(2)]
    for before, after in ((first, again), fresh):
        if after.failure and not before.failure:
            return [finding("state-kept", "training", f"the second call {after.failure.message}")]
        for name, shown in (("out", "out"), ("mean", "running_mean"), ("variance", "running_var")):
            if not _same(getattr(before, name), getattr(after, name)):
                return [finding("state-kept", "training", f"{shown} differs at the second call")]
    return []


def _fresh(student: Student) -> Step:
    probe = LARGE_EPSILON
    return student.forward(probe.x, probe.scale, probe.offset, epsilon=probe.epsilon, momentum=probe.momentum)


def _same(before: np.ndarray | None, after: np.ndarray | None) -> bool:
    if before is None or after is None:
        return before is after
    return np.array_equal(before, after, equal_nan=True)


def _epsilon(student: Student) -> float:
    """What ordinary code is called with, or what is written into the class."""
    return student.own.epsilon or 1e-5


def _call(student: Student, x: np.ndarray) -> Step:
    scale, offset = LARGE_EPSILON.scale.astype(_float(x)), LARGE_EPSILON.offset.astype(_float(x))
    averages = np.zeros_like(scale), np.ones_like(scale)
    return student.forward(x, scale, offset, epsilon=_epsilon(student), momentum=0.9, averages=averages)


def _float(x: np.ndarray) -> np.dtype:
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)


def _book(x: np.ndarray, epsilon: float) -> np.ndarray:
    """The right output in extended precision."""
    wide = x.astype(np.longdouble)
    centred = wide - wide.mean(0)
    return LARGE_EPSILON.scale * centred / np.sqrt((centred**2).mean(0) + epsilon) + LARGE_EPSILON.offset


def _large_mean(student: Student, training: Judged) -> list[Finding]:
    """The same numbers around a large mean, in float64 and in float32."""
    unit = LARGE_EPSILON.normalized
    steps = training.steps
    double = steps[0].out is not None and steps[0].out.dtype == np.float64 and training.error <= EXACT
    trials = [(np.float64, LARGE_MEAN, LOST)] * double + [(np.float32, LARGE_MEAN_SINGLE, LOST_SINGLE)]
    for dtype, mean, lost in trials:
        x = (mean + unit).astype(dtype)
        step = _call(student, x)
        if step.out is None:
            continue
        error = np.abs(step.out - _book(x, _epsilon(student))).max()
        if not error <= lost * 3:  # out reaches 3 in size
            detail = f"{np.dtype(dtype).name}, mean {mean:g}, deviation 1: out is wrong by {float(error):.2g}"
            return [finding("one-pass-variance", "training", detail=detail)]
    return []


def _rows_alone(student: Student, sample: bool) -> list[Finding]:
    """One row, then a constant feature: variance 0, y = beta."""
    findings = []
    for code, x in (
        ("batch-of-one", LARGE_EPSILON.x[:1]),
        ("constant-feature", np.where(np.arange(8) == 1, 4.25, LARGE_EPSILON.x)),
    ):
        step = _call(student, x)
        if step.failure:
            findings.append(_refused(code, step.failure, sample))
        elif step.out is not None and not np.allclose(step.out[:, 1], LARGE_EPSILON.offset[1], rtol=1e-6, atol=1e-6):
            detail = f"out is {step.out[0, 1]:.6g} where beta is {LARGE_EPSILON.offset[1]:.6g}"
            findings.append(finding(code, "training", detail=detail))
    return findings


def _refused(code: str, failure: Failure, sample: bool) -> Finding:
    """A ValueError is a refusal, and so is a division by n - 1 where that is averaged; anything else is a crash."""
    refusals = ("ValueError", "ZeroDivisionError") if sample else ("ValueError",)
    if code == "batch-of-one" and failure.message.startswith(refusals):
        return finding("refuses-batch-of-one", "training", detail=failure.message)
    return finding(code, "training", detail=f"it {failure.kind}: {failure.message}")


def _dtypes(student: Student) -> list[Finding]:
    x = LARGE_EPSILON.x.astype(np.float32)
    step = _call(student, x)
    if step.out is not None and step.out.dtype != np.float32:
        return [finding("dtype-changed", "training", detail=f"float32 in, {step.out.dtype} out")]
    return []


def _integers(student: Student) -> list[Finding]:
    x = np.arange(40).reshape(5, 8) ** 2 % 17 + 1
    step = _call(student, x)
    if step.failure and step.failure.message.startswith(("RuntimeError", "NotImplementedError")):
        return []  # a tensor library's refusal: its users know that
    if step.failure:
        return [finding("integers", "training", detail=step.failure.message)]
    right = _book(x, _epsilon(student)).astype(float)
    if step.out is not None and not np.allclose(step.out, right, rtol=1e-4, atol=1e-4):
        return [finding("integers", "training", detail="the output is cut to whole numbers")]
    return []


def backward_edges(student: Student, role: str) -> list[Finding]:
    """Remarks on a backward that is right: the dtype that it gives back, and digits at a large scale."""
    findings = []
    single = LARGE_EPSILON.x.astype(np.float32)
    got = student.gradients(role, LARGE_EPSILON.dy.astype(np.float32), _call(student, single).cache)
    if got.dx is not None and got.dx.dtype != np.float32:
        findings.append(finding("dtype-changed", role, detail=f"float32 in, dx {got.dx.dtype}"))
    return findings + _large_scale(student, role)


def _large_scale(student: Student, role: str) -> list[Finding]:
    wide, epsilon = probe(5, 50, epsilon=1e-5, momentum=0.9), _epsilon(student)
    x = wide.x * LARGE_SCALE
    step = student.forward(x, wide.scale, wide.offset, epsilon=epsilon, momentum=0.9, averages=COURSE_EPSILON.averages)
    got = student.gradients(role, wide.dy, step.cache)
    if step.out is None or step.out.dtype != np.float64 or got.dx is None:
        return []
    longer = x.astype(np.longdouble)
    centred = longer - longer.mean(0)
    deviation = np.sqrt((centred**2).mean(0) + epsilon)
    h = centred / deviation
    right = wide.scale / deviation * (wide.dy - wide.dy.mean(0) - h * (wide.dy * h).mean(0))
    error = float((np.abs(got.dx - right).max(0) / np.abs(right).max(0)).max())
    if error > LOST_AT_SCALE:
        return [finding("dx-at-large-scale", role, detail=f"relative error {error:.2g} at x of size 1e5")]
    return []


_HABITS = {
    "changed": known("input-changed"),
    "printed": known("prints"),
    "setting": known("setting-changed"),
    "keys": known("extra-keys"),
    "in place": known("average-in-place"),
    "average shape": known("average-shape"),
    "dgamma shape": known("gradient-shape"),
    "dbeta shape": known("gradient-shape"),
    "type": known("wrong-type"),
    "threads": known("threads-left"),
    "pybn": known("calls-pybn"),
}
# What a finding has said already, a habit does not say again.
_SAID = {
    known("average-shape"): {
        known("average-broadcast"),
        known("average-missing"),
        known("row-statistics"),
        *(known(code) for code in ("position-statistics", "instance-statistics", "wrong-axes", "variance-apart")),
    },
    known("gradient-shape"): {
        known("gradients-order"),
        known("images-not-summed"),
        *(known(code) for code in ("position-statistics", "instance-statistics", "wrong-axes", "variance-apart")),
        known("parameter-missing"),
        known("parameter-follows-forward"),
        known("gradient-matrix"),
        known("gradient-not-summed"),
        known("gradient-summed-over-all"),
        known("gradient-summed-over-features"),
    },
}


def habits(student: Student, found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """What was noted at the calls, as findings, beside those that were made already."""
    findings: dict[tuple[str, str], Finding] = {}
    for (kind, part), detail in student.habits.items():
        if kind not in _HABITS or (kind == "average shape" and part == "test"):
            continue
        if part == "spatial" and any(other == kind and place != "spatial" for other, place in student.habits):
            continue  # it calls the 2-D version
        code = _HABITS[kind]
        where = "statistics" if kind in ("average shape", "in place") and part == "training" else part
        said = {each.code for each in found.get(where, [])}
        if not said & _SAID.get(code, set()):
            findings.setdefault((code, where), finding(code, where, name=detail, detail=detail))
    return list(findings.values())
