"""Names for a formula: which of its places depart, and by which slip.

A place's code stands in its table (`candidates`); here is only what two places say together: gamma
missing and beta missing are one sentence, and so are mean and variance from the same wrong source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pybn.study.coursework.output.candidates import (
    AVERAGED,
    AVERAGED_MEAN,
    AVERAGED_VARIANCE,
    BOTH,
    EPSILONS,
    FACTORS,
    MEAN,
    VARIANCE,
)
from pybn.study.coursework.output.fit import EXACT, Formula, Line
from pybn.study.coursework.output.oddities import mixed_centre
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe

# A wrong source of the mean, of the variance, and what it is called where both are from there.
_SHARED = (
    (MEAN, VARIANCE, BOTH),
    (AVERAGED_MEAN, AVERAGED_VARIANCE, AVERAGED),
    (known("averages-exchanged"), known("mean-for-variance"), known("averages-exchanged")),
)
# A slip, and what it makes of another place as well.
_WHOLE = (
    (known("global-mean"), known("variance-about-whole")),
    (known("absolute-deviation"), known("square-under-root")),
    (known("epsilon-twice"), known("epsilon-outside")),
)
_AFTER = known("test-after-update")


def formula_findings(
    part, formula, probes, found: Sequence[Line | None], right: Sequence[Line | None], tolerance
) -> list[Finding]:
    """One finding for each place of the formula that departs; `right` are the lines of the right outputs."""
    first, yours, book = formula[0], found[0], right[0]
    assert yours is not None  # a formula was found
    assert book is not None
    evidence = _slope_evidence(probes[0], yours, book)
    if first.form is None and first.centre.code == "mean-not-subtracted" and np.isclose(first.constant, 1, rtol=1e-4):
        return [finding("input-returned", part, evidence)]
    codes = [*_sources(first), *_denominator(formula, probes, tolerance), *_affine(first)]
    if {code for code, _ in codes} >= {"variance-uncentred", "mean-not-subtracted"}:
        together = ("variance-uncentred", "mean-not-subtracted")
        codes = [("not-centred", {}), *(each for each in codes if each[0] not in together)]
    if part == "test" and not first.spread.code:  # of the average, and not of the test batch
        codes = [("bessel-in-test" if code == "sample-variance" else code, values) for code, values in codes]
    for whole, of_it in _WHOLE:
        if {whole, of_it} <= {code for code, _ in codes}:
            codes = [each for each in codes if each[0] != of_it]
    codes = list({code: (code, values) for code, values in codes}.values())
    # What is missing in the root stands there instead.
    if first.shift.code == "epsilon-on-quotient" or first.spread.code == "epsilon-as-floor":
        codes = [(code, values) for code, values in codes if code != "epsilon-missing"]
    findings = [finding(code, part, evidence, **values) for code, values in codes]
    if first.centre.row < 0:
        mixed = mixed_centre(probes[0], yours) if not codes else ""
        code = "centre-mixed" if mixed else "wrong-centre"
        findings.append(finding(code, part, _centre_evidence(probes[0], yours, book), formula=mixed))
    return findings


def _sources(formula: Formula) -> list[tuple[str, dict]]:
    """From where mean and variance were taken."""
    spread, centre = formula.spread.code, formula.centre.code
    for of_mean, of_variance, both in _SHARED:
        if centre == of_mean and (spread == of_variance or formula.form is None):
            return [(both, {})]
    # A source says more than what is made of it.
    for source in (_AFTER, VARIANCE, MEAN, AVERAGED_VARIANCE, AVERAGED_MEAN):
        if source in (spread, centre):
            return [(source, {})]
    return [(code, {}) for code in (spread, centre) if code]


def _denominator(formula: tuple[Formula, ...], probes: Sequence[Probe], tolerance: float) -> list[tuple[str, dict]]:
    """Factor, form and eps of what it is divided by."""
    first = formula[0]
    if first.form is None:
        return _constant(formula, probes)
    factor, form = factor_code(formula, probes), first.form.code
    epsilon, value = epsilon_code(formula, probes, tolerance)
    codes: list[tuple[str, dict]] = [(factor, {"factor": first.of_variance})] if factor else []
    if form and (form != "epsilon-outside" or not epsilon):
        codes.append((form, {"power": f"{1 / first.form.power:.4g}"}))
    return codes + ([(epsilon, {"value": value})] if epsilon else [])


def _constant(formula: tuple[Formula, ...], probes: Sequence[Probe]) -> list[tuple[str, dict]]:
    """Every feature is divided by one number: 1, the whole array's deviation, or another."""
    # Of the whole array, about its one mean or about each feature's own.
    whole = [np.sqrt([probe.x.var() + probe.epsilon, probe.variance.mean() + probe.epsilon]) for probe in probes]
    got = [each.constant for each in formula]
    if np.allclose(got, 1, rtol=1e-4):
        return [] if formula[0].centre.code in ("mean-divided", "mean-subtracted-twice") else [("not-divided", {})]
    if any(np.allclose(got, each, rtol=0.1) for each in zip(*whole, strict=True)):  # eps is 1 % of these, where it is
        return [("global-variance", {})]
    if np.allclose(got, np.sqrt([probe.epsilon for probe in probes]), rtol=1e-4):
        return [("variance-zero", {})]
    return [("one-denominator", {"value": got[0]})]


def _affine(formula: Formula) -> list[tuple[str, dict]]:
    """What was done with scale and offset."""
    codes = [code for code in (formula.gain.code, formula.shift.code) if code]
    both: dict[tuple[str, ...], str] = {("scale-missing", "offset-missing"): "affine-missing"}
    both[known("offset-for-scale"), known("scale-for-offset")] = "affine-exchanged"
    return [(each, {}) for each in ([both[tuple(codes)]] if tuple(codes) in both else codes)]


def factor_code(formula: Sequence[Formula], probes: Sequence[Probe]) -> str:
    """The slip that gives the variance's factor, "" where it is 1."""
    got = [each.of_variance for each in formula]
    for rule in FACTORS:
        if np.allclose(got, [rule.of(probe.count) for probe in probes], rtol=1e-3):
            return rule.code
    return "variance-factor"


def epsilon_code(formula: Sequence[Formula], probes: Sequence[Probe], tolerance: float) -> tuple[str, float]:
    """The slip that gives the constant of the denominator, "" for eps itself; and the constant found."""
    share, floor = (1e-6, 1e-10) if tolerance == EXACT else (2e-2, 1e-4)
    pairs = [(each.constant, probe.epsilon) for each, probe in zip(formula, probes, strict=True)]
    for rule in EPSILONS:
        if all(abs(got - rule.of(e)) <= share * abs(rule.of(e)) + floor for got, e in pairs):
            return rule.code, pairs[0][0]
    got = [constant for constant, _ in pairs]
    fixed = np.ptp(got) <= share * max(np.abs(got)) + floor
    return ("epsilon-fixed" if fixed else "epsilon-unknown"), got[0]


def departures(formula: tuple[Formula, ...], probes: Sequence[Probe], tolerance: float) -> float:
    """How far from the right formula: one for each place, more where only an odd number explains it."""
    first = formula[0]
    epsilon, _ = epsilon_code(formula, probes, tolerance)
    places = [first.gain, first.spread, first.centre, first.shift]
    return (
        sum(bool(each.code) for each in places)
        + (first.form is None or bool(first.form.code))
        + 3 * (first.centre.row < 0)
        + {"": 0, "variance-factor": 3}.get(factor_code(formula, probes), 1)
        + {"": 0.0, "epsilon-fixed": 1.5, "epsilon-unknown": 3.0}.get(epsilon, 1.0)
    )


def _slope_evidence(probe: Probe, found: Line, right: Line) -> str:
    """Both slopes of the usable feature with the smallest variance, where eps counts most."""
    feature = int(np.argmin(np.where(found.usable, probe.variance, np.inf)))
    return (
        f"feature {feature}, eps {probe.epsilon:g}: out rises by {found.slope[feature]:.6g} per unit of x, right is "
        f"{right.slope[feature]:.6g}; its mean is {found.height[feature]:.6g}, right is {right.height[feature]:.6g}"
    )


def _centre_evidence(probe: Probe, found: Line, right: Line) -> str:
    feature = int(np.argmax(found.usable))
    zero = [
        probe.mean[feature] - (each.height[feature] - probe.offset[feature]) / each.slope[feature]
        for each in (found, right)
    ]
    return f"feature {feature}: out equals beta where x is {zero[0]:.6g}, right is {zero[1]:.6g}"
