"""Names for a formula: which of its places depart, and by which slip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pybn.study.coursework.findings import Finding, finding
from pybn.study.coursework.formulas import EXACT, Formula, Line
from pybn.study.coursework.probes import Probe


def formula_findings(part, formula, probes, found, tolerance) -> list[Finding]:
    """One finding for each place of the formula that departs."""
    first = formula[0]
    codes = [
        *_spread_and_centre(part, first),
        *_denominator(formula, probes, tolerance),
        *_affine(first),
    ]
    findings = [finding(code, part, _slope_evidence(first, probes[0], found[0]), **values) for code, values in codes]
    if not first.centre:
        findings.append(finding("wrong-centre", part, _centre_evidence(probes[0], found[0])))
    return findings


def _spread_and_centre(part: str, formula: Formula) -> list[tuple[str, dict]]:
    spread, centre = formula.spread, formula.centre
    if part == "test":
        return _test_sources(spread, centre)
    averaged = ("averages", "updated averages")
    if spread in averaged or centre in averaged:
        return [("averages-in-training", {})]
    codes = {
        "uncentred": "variance-uncentred",
        "mean": "mean-for-variance",
        "root of deviation": "deviation-under-root",
        "absolute deviation": "absolute-deviation",
        "about the average": "variance-about-average",
    }
    found = [codes[spread]] if spread in codes else []
    return [(code, {}) for code in found + _centre_codes(centre)]


def _test_sources(spread: str, centre: str) -> list[tuple[str, dict]]:
    """Test mode: from where mean and variance were taken."""
    if centre == "batch" or spread.startswith("batch"):
        both = centre == "batch" and (spread.startswith("batch") or not spread)
        return [("batch-statistics-in-test" if both else "half-batch-statistics-in-test", {})]
    if centre.startswith("updated") or spread.startswith("updated"):
        return [("test-after-update", {})]
    codes = _centre_codes(centre)
    if spread == "mean":
        codes.append("mean-for-variance")
    return [(code, {}) for code in codes]


def _centre_codes(centre: str) -> list[str]:
    codes = {
        "none": "mean-not-subtracted",
        "global": "global-mean",
        "median": "median-for-mean",
        "added": "mean-added",
        "divided": "mean-divided",
        "subtracted twice": "mean-subtracted-twice",
    }
    return [codes[centre]] if centre in codes else []


def _denominator(formula: tuple[Formula, ...], probes: Sequence[Probe], tolerance: float) -> list[tuple[str, dict]]:
    """Factor, form and eps of what it is divided by."""
    first = formula[0]
    if first.form == "constant":
        return _constant(formula, probes)
    codes: list[tuple[str, dict]] = []
    factor = factor_code(formula, probes)
    if factor:
        codes.append((factor, {"factor": first.factor}))
    form = {
        "no root": "no-root",
        "squared": "no-root",
        "root twice": "root-twice",
        "root of square": "square-under-root",
        "multiplied": "multiplied-by-deviation",
    }
    if first.form in form:
        codes.append((form[first.form], {}))
    rule, value = epsilon_rule(formula, probes, tolerance)
    if first.form == "outside" and rule == "right":
        codes.append(("epsilon-outside", {}))
    elif rule != "right":
        codes.append((f"epsilon-{rule}", {"value": value}))
    return codes


def _constant(formula: tuple[Formula, ...], probes: Sequence[Probe]) -> list[tuple[str, dict]]:
    """Every feature is divided by one number: 1, the whole array's deviation, or another."""
    whole = [np.sqrt(probe.x.var() + probe.epsilon) for probe in probes]
    got = [each.constant for each in formula]
    if np.allclose(got, 1, rtol=1e-4):
        return [] if formula[0].centre in ("divided", "subtracted twice") else [("not-divided", {})]
    if np.allclose(got, whole, rtol=0.1):  # eps may be handled in any way: it is 1 % of this variance
        return [("global-variance", {})]
    return [("one-denominator", {"value": got[0]})]


def _affine(formula: Formula) -> list[tuple[str, dict]]:
    """What was done with scale and offset."""
    gain, shift = formula.gain, formula.shift
    if gain == "none" and shift == "none":
        return [("affine-missing", {})]
    by_gain = {
        "none": "scale-missing",
        "offset": "offset-for-scale",
        "negative": "scale-negated",
        "absolute": "scale-absolute",
        "squared": "scale-squared",
        "inverse": "scale-inverted",
    }
    by_shift = {
        "none": "offset-missing",
        "scaled": "offset-inside-scale",
        "before": "offset-before-scale",
        "subtracted": "offset-subtracted",
        "scale": "scale-for-offset",
    }
    return [(codes[name], {}) for codes, name in ((by_gain, gain), (by_shift, shift)) if name in codes]


def factor_code(formula: Sequence[Formula], probes: Sequence[Probe]) -> str:
    """The name of the variance's factor, or "" where it is 1."""
    rules: dict[str, Callable[[int], float]] = {
        "": lambda n: 1.0,
        "sample-variance": lambda n: n / (n - 1),
        "variance-not-averaged": lambda n: float(n),
        "variance-averaged-twice": lambda n: 1 / n,
    }
    for code, rule in rules.items():
        wanted = [rule(probe.count) for probe in probes]
        if np.allclose([each.of_variance for each in formula], wanted, rtol=1e-3):
            return code
    return "variance-factor"


def epsilon_rule(formula: Sequence[Formula], probes: Sequence[Probe], tolerance: float) -> tuple[str, float]:
    """How eps enters the constant of the denominator, and the constant found."""
    rules: dict[str, Callable[[float], float]] = {
        "right": lambda e: e,
        "missing": lambda e: 0.0,
        "twice": lambda e: 2 * e,
        "subtracted": lambda e: -e,
        "squared": lambda e: e * e,
        "rooted": np.sqrt,
    }
    share, floor = (1e-6, 1e-10) if tolerance == EXACT else (2e-2, 1e-4)
    pairs = [(each.constant, probe.epsilon) for each, probe in zip(formula, probes, strict=True)]
    for name, rule in rules.items():
        if all(abs(got - rule(e)) <= share * abs(rule(e)) + floor for got, e in pairs):
            return name, pairs[0][0]
    got = [constant for constant, _ in pairs]
    fixed = np.ptp(got) <= share * max(np.abs(got)) + floor
    return ("fixed" if fixed else "unknown"), got[0]


def departures(formula: tuple[Formula, ...], probes: Sequence[Probe], tolerance: float) -> float:
    """How far from the right formula: one for each place, more where only an odd number explains it."""
    first = formula[0]
    rule, _ = epsilon_rule(formula, probes, tolerance)
    return (
        (first.gain != "scale")
        + (first.spread not in ("variance", ""))
        + (first.form != "root")
        + (first.centre != "mean")
        + 2 * (first.centre == "")
        + (first.shift != "offset")
        + {"": 0, "variance-factor": 3}.get(factor_code(formula, probes), 1)
        + {"right": 0.0, "fixed": 1.5, "unknown": 3.0}.get(rule, 1.0)
    )


def _slope_evidence(formula: Formula, probe: Probe, found: Line) -> str:
    """Both gains of the usable feature with the smallest variance."""
    usable = np.where(found.usable, probe.variance, np.inf)
    feature = int(np.argmin(usable))
    right = probe.scale[feature] / probe.deviation[feature]
    return (
        f"feature {feature}, variance {probe.variance[feature]:.4g}, eps {probe.epsilon:g}: out rises by "
        f"{found.slope[feature]:.6g} per unit of x, right is {right:.6g}; its mean is {found.height[feature]:.6g}, "
        f"beta is {probe.offset[feature]:.6g}"
    )


def _centre_evidence(probe: Probe, found: Line) -> str:
    feature = int(np.argmax(found.usable))
    centre = probe.mean[feature] - (found.height[feature] - probe.offset[feature]) / found.slope[feature]
    return (
        f"feature {feature}: out equals beta where x is {centre:.6g}, and the mean of x there is "
        f"{probe.mean[feature]:.6g}"
    )
