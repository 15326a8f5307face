"""Names for the terms of dx: what is missing, what does not belong there, what has a wrong factor.

In units of gamma / s the right dx is  1 dout - 1 mean(dout) - 1 x_hat mean(dout x_hat).  A fit that finds
1, 0, -1 misses the mean's path; one that finds s^2, s^2, s^2 multiplies where it should divide; one that
finds 1 - 1/n, 0, -1 has left out the sum over the batch in the mean's path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pybn.study.coursework.gradient.fit import (
    ROUNDING,
    Backward,
    Coefficients,
    Factor,
    Units,
    book_units,
    coefficients,
    factor,
)
from pybn.study.coursework.gradient.rows import seen_at_once
from pybn.study.coursework.gradient.units import deviations, own_units
from pybn.study.coursework.output.training import PROBES, Judged
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe

# A set of slips that asks this much is no explanation; what follows from elsewhere asks little.
UNCERTAIN = 10.0
_WEIGHTS = {
    known("follows-forward"): 0.5,
    known("follows-forward-epsilon"): 0.5,
    known("gradient-terms"): UNCERTAIN,
    known("unexplained-dx"): UNCERTAIN,
}
# Which of direct, mean's and variance's path is there -> what is missing.
_MISSING: dict[tuple[bool, ...], str] = {
    (True, True, False): known("variance-path-missing"),
    (True, False, True): known("mean-path-missing"),
    (True, False, False): known("statistics-constant"),
    (False, True, True): known("direct-path-missing"),
    (False, True, False): known("mean-path-alone"),
    (False, False, True): known("variance-path-alone"),
    (False, False, False): known("dx-zero"),
}
# A term that does not belong there -> the sum or the factor that was left out.
_FOREIGN = {
    "x_hat * mean(dout)": known("variance-sum-without-factor"),
    "mean(dout * x_hat)": known("variance-path-uncentred"),
    "mean(dout * x_hat^2)": known("variance-sum-without-factor"),
    "x_hat * mean(dout * x_hat^2)": known("variance-sum-without-factor"),
    "dout * x_hat^2": known("variance-not-summed"),
    "dout * x_hat": known("variance-not-summed"),
}
_UNSUMMED = {"dout * x_hat^2", "mean(dout * x_hat^2)"}
_PATHS = ("direct", "mean", "variance")
_SIGN = {path: known(f"{path}-path-sign") for path in _PATHS}
_FACTOR = {path: known(f"{path}-path-factor") for path in _PATHS}


def name_terms(role, matrices: Sequence[Backward], own, training: Judged | None, evidence) -> list[Finding]:
    """The slips that the coefficients show, measured by the book and by the own forward: the fewest are told."""
    seen = seen_at_once(role, matrices, evidence)
    if seen:
        return seen
    book = [coefficients(each.dx, book_units(probe)) for each, probe in zip(matrices, PROBES, strict=True)]
    readings = [_slips(role, book, None, deviations(training), evidence)] if _complete(book) else []
    if training is not None:
        target = _target(own)
        if _complete(book) and target:
            readings.append(_slips(role, book, target, deviations(training), evidence))
        readings += _by_own_units(role, matrices, training, evidence)
    best = min(readings, key=_weight, default=[])
    if not readings:
        best = [finding("unexplained-dx", role, f"{evidence}; {_sums(matrices[0].dx)}")]
    # After a wrong forward powers of the deviation are that forward's root taken twice or not at all.
    unsure = _weight(best) >= UNCERTAIN or any(f.code == "deviation-powers" for f in best)
    if training is not None and unsure and any(f.kind == "mistake" for f in training.findings):
        return [finding("dx-open", role, evidence)]
    return best


def _complete(terms: Sequence[Coefficients]) -> bool:
    return all(each.complete for each in terms)


def _target(own: Sequence[Backward | None] | None) -> list[Coefficients] | None:
    """The own forward's terms, where it has these terms."""
    if own is None or any(each is None for each in own):
        return None
    terms = [coefficients(each.dx, book_units(probe)) for each, probe in zip(own, PROBES, strict=True) if each]
    return terms if _complete(terms) else None


def _by_own_units(role, matrices, training: Judged, evidence) -> list[list[Finding]]:
    """The book's formula fed with what the own forward normalized to: its slips, and that it follows the forward."""
    if not training.formula:
        return []
    own = [own_units(*each) for each in zip(training.formula, training.steps, PROBES, strict=True)]
    # The denominator may be the book's where the forward forgot to divide by it.
    divided = [Units(unit.normalized, book_units(probe).gain) for unit, probe in zip(own, PROBES, strict=True)]
    only_epsilon = all(found.kind == "epsilon" for found in training.findings)
    follows = finding("follows-forward-epsilon" if only_epsilon else "follows-forward", role, evidence)
    readings = []
    for units in (own, divided):
        terms = [coefficients(each.dx, unit) for each, unit in zip(matrices, units, strict=True)]
        if _complete(terms):
            readings.append([follows, *_slips(role, terms, None, {}, evidence, certain=False)])
    return readings


def _weight(findings: list[Finding]) -> float:
    """How much a set of slips asks one to believe; nothing new is asked by what follows the forward."""
    return sum(_WEIGHTS.get(found.code, 1.0) for found in findings)


def _sums(matrix: np.ndarray) -> str:
    """The two sums that are 0 in every right dx."""
    size = np.abs(matrix).max()
    of_dx = np.abs(matrix.sum(1)).max() / size
    along = np.abs(np.einsum("frk,fr->fk", matrix, PROBES[0].normalized.T)).max() / size
    state = {True: "is 0 as it must be", False: "is not 0"}
    return (
        f"sum of dx {state[bool(of_dx < ROUNDING)]}; sum of dx * x_hat {state[bool(along < ROUNDING)]} (for small eps)"
    )


def _slips(role, terms, target, others, evidence, *, certain: bool = True) -> list[Finding]:
    """Sums and factors left out, missing terms, then factors of the terms that are there."""
    ratios = [_ratio(each, None if target is None else target[index]) for index, each in enumerate(terms)]
    present = [bool(np.abs(ratios[0][term]).max() > ROUNDING) for term in range(3)]
    evidence = f"{evidence}; terms found {_shown(ratios[0])}"
    foreign = [name for name in terms[0].others if target is None or name not in target[0].others]
    if set(foreign) == _UNSUMMED:  # the mean's path sums what the variance's has left unsummed
        foreign = ["dout * x_hat^2"]
    if foreign and (len(foreign) > 1 or not certain or "follows-forward" in others):
        # Beside another forward such a term may be the forward's.
        return [finding("gradient-terms", role, f"{evidence}; it also holds {', '.join(foreign)}")]
    factors = [
        factor([ratio[term] for ratio in ratios], PROBES, others) if present[term] else None for term in range(3)
    ]
    said, spoken = [], set()  # paths that a sum left out has spoken for
    if foreign:
        said.append(_left_out(role, terms, foreign[0], present, f"{evidence}; it holds {foreign[0]}"))
        spoken.add(2)
    if not present[1] and factors[0] is not None and factors[0].constant == "(n - 1)/n":
        # (1 - 1/n) dout and no mean: each row's own dout / n stands where the mean of dout belongs.
        said.append(finding("mean-not-summed", role, evidence))
        spoken.add(1)
        factors = [replace(each, constant="1") if each == factors[0] else each for each in factors]
    if any(present[term] and factors[term] is None for term in range(3) if term not in spoken):
        return [finding("gradient-terms", role, evidence)]
    there = [present[term] or term in spoken for term in range(3)]
    left = [None if term in spoken else factors[term] for term in range(3)]
    of_factors = _factors(role, left, evidence, ratios)
    if not there[0]:  # of a - b only b is left, or its other sign
        of_factors = [each for each in of_factors if each.code not in (*_SIGN.values(), "dx-sign")]
    return [*said, *_missing(role, there, evidence), *of_factors]


def _left_out(role, terms, foreign: str, present, evidence: str) -> Finding:
    """What leaves this term behind: a sum, or a factor of the variance's path."""
    if foreign == "x_hat * mean(dout)" and present[2]:
        shares = [each.term(foreign) / each.values[2] for each in terms]
        for wrong, of in {
            "x": lambda p: p.mean / p.deviation,
            "out": lambda p: p.offset / p.scale,
        }.items():
            if all(np.allclose(share, of(probe), rtol=1e-4) for share, probe in zip(shares, PROBES, strict=True)):
                return finding("x-in-variance-sum", role, evidence, wrong=wrong)
    return finding(_FOREIGN[foreign], role, evidence)


def _ratio(terms: Coefficients, target: Coefficients | None) -> np.ndarray:
    """The three coefficients over the right ones (1, -1, -1 by the book)."""
    right = np.array([[1.0], [-1.0], [-1.0]]) if target is None else target.values[:3]
    with np.errstate(all="ignore"):
        ratio = terms.values[:3] / right
    return np.where(np.abs(right) < ROUNDING, np.where(np.abs(terms.values[:3]) < ROUNDING, 1.0, np.inf), ratio)


def _missing(role, present: Sequence[bool], evidence) -> list[Finding]:
    if all(present):
        return []
    return [finding(_MISSING.get(tuple(present), "gradient-terms"), role, evidence)]


def _factors(role, factors: Sequence[Factor | None], evidence, ratios) -> list[Finding]:
    """Names for the factors: one for all terms, or one for each."""
    there = [each for each in factors if each is not None]
    if not there or all(each.departures == 0 for each in there):
        return []
    alike = all(each == there[0] for each in there)
    swapped = _substituted(role, ratios, evidence) if alike and there[0].departures > 1 else []
    if swapped:
        return swapped
    if any(each.other for each in there):
        return _epsilon_factors(role, factors, evidence)
    if all(each.scale == -each.deviation <= -2 and not each.offset for each in there):  # powers of deviation / gamma
        return [finding("cache-order", role, evidence, wrong="sqrt(variance + eps)", right="gamma (and the reverse)")]
    return _overall(role, there[0], evidence) if alike else _each_term(role, factors, evidence)


# What may be unpacked from a cache for something else: one number a feature.
_CACHED: Mapping[str, Callable[[Probe], np.ndarray]] = {
    "beta": lambda p: p.offset,
    "the mean": lambda p: p.mean,
    "the variance": lambda p: p.variance,
    "variance + eps": lambda p: p.variance + p.epsilon,
    "sqrt(variance + eps)": lambda p: p.deviation,
    "1 / sqrt(variance + eps)": lambda p: 1 / p.deviation,
    "1 / variance": lambda p: 1 / p.variance,
    "eps": lambda p: np.full_like(p.scale, p.epsilon),
    "gamma": lambda p: p.scale,
}


def _substituted(role, ratios, evidence) -> list[Finding]:
    """Another entry of the cache in the place of gamma or of the deviation."""
    gamma, deviation = "gamma", "1 / sqrt(variance + eps)"
    for right in (gamma, deviation):
        for wrong, stands in _CACHED.items():
            made = [stands(probe) / _CACHED[right](probe) for probe in PROBES]
            power = right == deviation and wrong in (
                "sqrt(variance + eps)",
                "variance + eps",
            )  # of the deviation: it was there, and is said as that
            if (
                wrong != right
                and not power
                and all(np.allclose(r[0], m, rtol=1e-5) for r, m in zip(ratios, made, strict=True))
            ):
                code = "offset-in-dx" if (wrong, right) == ("beta", "gamma") else "cache-order"
                return [finding(code, role, evidence, wrong=wrong, right=right)]
    return []


def _epsilon_factors(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    """Another denominator in some of the terms; what remains is a factor of its own."""
    code, value = next(each.other_code for each in factors if each is not None and each.other)
    findings = [finding(code, role, evidence, value=value)]
    rest = [None if each is None else replace(each, other="", power=0) for each in factors]
    there = [each for each in rest if each is not None]
    if all(each == there[0] for each in there):
        return findings + _overall(role, there[0], evidence)
    return findings + _each_term(role, rest, evidence)


def _overall(role, common: Factor, evidence) -> list[Finding]:
    """A factor that all of dx has: each of its parts is a slip of its own."""
    if common.deviation and common.constant != "1" and not (common.scale or common.offset):
        return [finding("dx-factor", role, evidence, factor=_written(common))]
    codes: list[tuple[str, dict]] = []
    if common.sign < 0:
        codes.append(("dx-sign", {}))
    if common.scale == -1:
        codes.append(("scale-missing-in-dx", {}))
    elif common.scale:
        codes.append(("scale-power-in-dx", {"power": 1 + common.scale}))
    if common.offset:
        codes.append(("offset-in-dx", {}))
    if common.deviation == 1:
        codes.append(("dx-not-divided", {}))
    elif common.deviation:
        codes.append(("deviation-power-in-dx", {"power": common.deviation - 1}))
    if common.constant == "1/n":
        codes.append(("gradients-averaged", {"name": "dx"}))
    elif common.constant != "1":
        codes.append(("dx-factor", {"factor": common.constant}))
    return [finding(code, role, evidence, **values) for code, values in codes]


def _each_term(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    """Factors that differ from path to path; gamma missing in every path is one slip."""
    there = [each for each in factors if each is not None]
    if len(there) == 3 and all(each == Factor(deviation=each.deviation) for each in there) and _powers(there) > 1:
        shown = ", ".join(
            f"{each.deviation:+g} ({path})" for path, each in zip(_PATHS, there, strict=True) if each.deviation
        )
        return [finding("deviation-powers", role, evidence, detail=shown)]
    direct, mean, variance = factors
    if mean == variance == Factor(constant="n", scale=-1, deviation=1) and direct == Factor():
        return [finding("direct-alone-scaled", role, evidence)]
    if mean is not None and mean == variance and mean.departures and mean != direct and not mean.scale:
        apart = _each_term(role, (direct, None, None), evidence) if direct is not None and direct.departures else []
        return [*apart, finding("both-paths-factor", role, evidence, factor=_written(mean))]
    everywhere = len(there) > 1 and all(each.scale == -1 for each in there)
    findings = [finding("scale-missing-in-dx", role, evidence)] if everywhere else []
    for path, each in zip(_PATHS, factors, strict=True):
        if each is None:
            continue
        left = replace(each, scale=0) if everywhere else each
        if left == Factor(scale=-1):
            findings.append(finding("scale-missing-in-path", role, evidence, path=path))
        elif left.departures:
            code = _SIGN[path] if left == Factor(sign=-1) else _FACTOR[path]
            findings.append(finding(code, role, evidence, factor=_written(left)))
    return findings


def _powers(factors: Sequence[Factor]) -> int:
    """How many of the paths have a power of the deviation that does not belong there."""
    return sum(each.deviation != 0 for each in factors)


def _written(each: Factor) -> str:
    """A factor in words."""
    parts = [each.constant] if each.constant != "1" else []
    for name, power in (("gamma", each.scale), ("sqrt(variance + eps)", each.deviation)):
        if power:
            parts.append(name if power == 1 else f"{name}^{power}")
    meant = " (d the number of features)" if "d" in each.constant else ""
    return ("-" if each.sign < 0 else "") + (" * ".join(parts) or "1") + meant


def _shown(ratio: np.ndarray) -> str:
    feature = 0
    values = ratio[:, feature].round(9) + 0.0  # what rounding left is shown as 0
    names = ("dout", "-mean(dout)", "-x_hat * mean(dout * x_hat)")
    shown = ", ".join(f"{value:.4g} x [{name}]" for value, name in zip(values, names, strict=True))
    return f"(times gamma/sqrt(variance + eps), feature {feature}): {shown}"
