"""The backward's verdict: against the book, against the student's own forward, and term by term.

A forward with eps outside the root has a gradient of its own.  A backward that is that gradient is right
for its forward, and one that is the book's is right by the book: neither is a second slip.  Only what is
neither is taken apart (`terms`, `parameters`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pybn.study.coursework.gradient.fit import Backward, Matrices, own_matrices, right_for_own
from pybn.study.coursework.gradient.linear import not_linear
from pybn.study.coursework.gradient.parameters import judge_parameters, with_its_parameters
from pybn.study.coursework.gradient.terms import name_terms
from pybn.study.coursework.output.fit import SINGLE, agree, some_features
from pybn.study.coursework.output.training import PROBES, Judged, train
from pybn.study.coursework.report.findings import Finding, failed, finding, first_difference
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Gradients, Student

OPEN = (known("dscale-of-line"), known("unexplained-parameter"), known("some-features"), known("parameter-factor"))


def judge_backward(student: Student, role: str, training: Judged) -> Judged:
    """dx, dgamma and dbeta of one backward, "backward" or "alternative"."""
    if any(step.out is None for step in training.steps):
        return Judged([finding("not-judged", role, message=f"{student.name('forward')} gave no cache")])
    found = [_gradients(student, role, probe)(probe.dy) for probe in PROBES]
    broken = next((each.failure for each in found if each.failure), None)
    if broken and not training.right and "not have been used in the graph" in broken.message:
        return Judged([finding("parameter-follows-forward", role, name="dgamma or dbeta", parameter="it")])
    if broken:
        return Judged([failed(role, student.name(role), broken)])
    if ("order", role) in student.habits:
        return Judged([finding("gradients-order", role, place=student.habits["order", role])])
    odd = _not_numbers(role, found, training) or not_linear(role, _gradients(student, role, PROBES[0]), found[0])
    own = None if training.right or training.trivial else [own_matrices(student, probe) for probe in PROBES]
    matrices = Matrices([_gradients(student, role, probe) for probe in PROBES], PROBES)
    findings = judge_parameters(student, role, found, own, matrices, training)
    if training.trivial:  # of a forward that normalizes nothing there is no x_hat to tell what it is made of
        findings = [each for each in findings if each.code not in OPEN]
    if odd and any(each.code.startswith("follows") for each in odd):
        return Judged(odd)  # the forward's own NaN is in everything
    findings = with_its_parameters(findings, odd or _inputs(student, role, found, training, matrices, own), matrices)
    return Judged(_named_once(_beside(findings, training, role)) + _second_call(student, role))


def _beside(findings: list[Finding], training: Judged, role: str) -> list[Finding]:
    """An eps that is where the forward has it follows the forward: steps of the backward use what that has kept."""
    there = {each.code for each in training.findings if each.kind == "epsilon"}
    follows = finding("follows-forward-epsilon", role)
    return [follows if each.code in there else each for each in findings]


def _gradients(student: Student, role: str, probe: Probe) -> Callable[[np.ndarray], Gradients]:
    """The backward with a cache of its own for each call, so that a cache used up hides nothing else."""
    return lambda dy: student.gradients(role, dy, train(student, probe).cache)


def _inputs(student, role, found: Sequence[Gradients], training: Judged, matrices: Matrices, own) -> list[Finding]:
    if any(each.dx is None for each in found):
        return [finding("dx-missing", role, detail=student.habits.get(("dx shape", role), "None"))]
    by_book = all(agree(each.dx, probe.dx, SINGLE) for each, probe in zip(found, PROBES, strict=True))
    if training.right:
        return [] if by_book else _explain_dx(role, found, matrices, None)
    if not training.trivial and all(
        right_for_own(student, probe, each.dx) for each, probe in zip(found, PROBES, strict=True)
    ):
        return [] if by_book else [finding("right-for-own-forward", role)]
    if by_book:
        return [finding("right-by-the-book", role)]
    return _explain_dx(role, found, matrices, own, training)


def _explain_dx(role, found, matrices: Matrices, own, training: Judged | None = None) -> list[Finding]:
    evidence = first_difference("dx", found[0].dx, PROBES[0].dx)
    if training is not None and not training.formula:  # nothing to measure it in
        return [finding("dx-open", role, evidence)]
    measured = matrices.get()
    if any(each is None for each in measured):
        return [finding("unexplained-dx", role, evidence)]
    if all(not each.dx.any() for each in found):
        return [finding("dx-zero", role, evidence)]
    some = some_features([each.dx for each in found], [probe.dx for probe in PROBES])
    if some:
        return [finding("some-features", role, evidence, name="dx", **some)]
    if not _apart(measured[0], found[0], PROBES[0]):
        return [finding("features-mixed-in-dx", role, evidence)]
    return name_terms(role, measured, own, training, evidence)


def _not_numbers(role, found: Sequence[Gradients], training: Judged) -> list[Finding]:
    """NaN in dx: the forward's, where its output has them too."""
    if not any(each.dx is not None and np.isnan(each.dx).any() for each in found):
        return []
    if any(np.isnan(step.out).any() for step in training.steps):
        return [finding("follows-forward", role, "the forward's output is not a number in some feature")]
    evidence = first_difference("dx", found[0].dx, PROBES[0].dx)
    return [finding("dx-not-a-number", role, evidence, detail=_where_not_a_number(found))]


def _where_not_a_number(found: Sequence[Gradients]) -> str:
    """What is negative in just the features that are NaN: a negative number has no root and no power of 1/2."""
    negative: dict[str, Callable[[Probe], np.ndarray]] = {
        "gamma": lambda p: p.scale,
        "beta": lambda p: p.offset,
        "the mean": lambda p: p.mean,
        "variance - eps": lambda p: p.variance - p.epsilon,
    }
    for name, values in negative.items():
        if all(
            np.array_equal(np.isnan(each.dx).any(0), values(probe) < 0)
            for each, probe in zip(found, PROBES, strict=True)
        ):
            return f" where {name} is negative, and there alone: a root or a power of it is taken"
    return ""


def _apart(measured: Backward, found: Gradients, probe: Probe) -> bool:
    """Whether each feature's dx comes from that feature's dout alone, and each row's by superposition."""
    combined = np.einsum("frk,kf->rf", measured.dx, probe.dy)
    return bool(np.abs(combined - found.dx).max() <= SINGLE * np.abs(found.dx).max())


def _named_once(findings: list[Finding]) -> list[Finding]:
    """One cause that shows in several gradients (an average for a sum, eps) is one finding."""
    named: dict[str, Finding] = {}
    for found in findings:
        named.setdefault(f"{found.code} {found.what}", found)
    return list(named.values())


REORDERED = 1e-12  # of the largest entry: a graph kept in sets adds its gradients up in an order that memory decides


def _second_call(student: Student, role: str) -> list[Finding]:
    """The same cache a second time must give the same gradients."""
    probe = PROBES[0]
    cache = train(student, probe).cache
    first, second = (student.gradients(role, probe.dy, cache) for _ in range(2))
    if second.failure and not first.failure:
        return [finding("cache-changed", role, f"the second call: {second.failure.message}")]
    for name in ("dx", "dscale", "doffset"):
        a, b = getattr(first, name), getattr(second, name)
        if a is None or b is None or np.array_equal(a, b, equal_nan=True):
            continue
        if differs := first_difference(name, b, a, REORDERED):
            return [finding("cache-changed", role, f"second call, {differs}")]
    return []
