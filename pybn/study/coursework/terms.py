"""Names for the terms of dx: what is missing, what does not belong there, what has a wrong factor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pybn.study.coursework.findings import Finding, finding
from pybn.study.coursework.formulas import Formula, shifts
from pybn.study.coursework.jacobian import (
    ROUNDING,
    Backward,
    Coefficients,
    Factor,
    Units,
    book_units,
    coefficients,
    factor,
)
from pybn.study.coursework.probes import Probe
from pybn.study.coursework.student import Step
from pybn.study.coursework.training import PROBES, Judged, gains

# A set of slips that asks this much is no explanation.
UNCERTAIN = 10.0


def name_terms(role, matrices: Sequence[Backward], own, training: Judged | None, evidence) -> list[Finding]:
    """The slips that the coefficients show, measured by the book and by the own forward: the fewest are told."""
    if _diagonal(matrices[0].dx):
        return [finding("diagonal-only", role, evidence)]
    book = [coefficients(each.dx, book_units(probe)) for each, probe in zip(matrices, PROBES, strict=True)]
    readings = [_slips(role, book, None, deviations(training), evidence)] if _complete(book) else []
    if training is not None:
        target = _target(own)
        if _complete(book) and target:
            readings.append(_slips(role, book, target, deviations(training), evidence))
        readings += _by_own_units(role, matrices, training, evidence)
    best = min(readings, key=_weight) if readings else _outside_terms(role, matrices, evidence)
    if training is not None and _weight(best) >= UNCERTAIN and any(f.kind == "mistake" for f in training.findings):
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
    units = [own_units(*each) for each in zip(training.formula, training.steps, PROBES, strict=True)]
    terms = [coefficients(each.dx, unit) for each, unit in zip(matrices, units, strict=True)]
    if not _complete(terms):
        return []
    return [[_follows(role, training, evidence), *_slips(role, terms, None, {}, evidence, certain=False)]]


def _follows(role, training: Judged, evidence) -> Finding:
    only_epsilon = all(found.kind == "epsilon" for found in training.findings)
    return finding("follows-forward-epsilon" if only_epsilon else "follows-forward", role, evidence)


def own_units(formula: Formula, step: Step, probe: Probe) -> Units:
    """x-hat and scale / denominator as the student's forward has them."""
    centred = probe.x - probe.mean
    slope = (centred * step.out).sum(0) / (centred**2).sum(0)
    denominator = gains(probe)[formula.gain] / slope
    shift = shifts(probe.scale, probe.offset, slope).get(formula.shift, probe.offset)
    return Units((step.out - shift) / (slope * denominator), probe.scale / denominator)


def _weight(findings: list[Finding]) -> float:
    """How much a set of slips asks one to believe; nothing new is asked by what follows the forward."""
    weights = {"follows": 0.5, "unexplained": UNCERTAIN, "gradient": UNCERTAIN}
    return sum(weights.get(found.code.partition("-")[0], 1.0) for found in findings)


def _diagonal(matrices: np.ndarray) -> bool:
    """Whether each row's dx comes from its own dout alone, by weights that differ from row to row."""
    own = np.einsum("frr->fr", matrices)
    others = np.abs(matrices).sum() - np.abs(own).sum()
    return bool(others <= ROUNDING * np.abs(own).sum() and np.ptp(own, axis=1).max() > ROUNDING * np.abs(own).max())


def _outside_terms(role, matrices: Sequence[Backward], evidence) -> list[Finding]:
    return [finding("unexplained-dx", role, f"{evidence}; {_sums(matrices[0].dx)}")]


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
    """Missing terms, foreign terms, then factors of the terms that are there."""
    ratios = [_ratio(each, None if target is None else target[index]) for index, each in enumerate(terms)]
    present = [bool(np.abs(ratios[0][term]).max() > ROUNDING) for term in range(3)]
    evidence = f"{evidence}; terms found {_shown(ratios[0])}"
    foreign = terms[0].others
    if target is not None:
        foreign = [name for name in foreign if name not in target[0].others]
    if foreign:
        return _foreign(role, present, foreign, evidence, certain=certain and "own" not in others)
    factors = [
        factor([ratio[term] for ratio in ratios], PROBES, others) if present[term] else None for term in range(3)
    ]
    if any(there and each is None for there, each in zip(present, factors, strict=True)):
        return [finding("gradient-terms", role, evidence)]
    return [*_missing(role, present, evidence), *_factors(role, factors, evidence)]


def _ratio(terms: Coefficients, target: Coefficients | None) -> np.ndarray:
    """The three coefficients over the right ones (1, -1, -1 by the book)."""
    right = np.array([[1.0], [-1.0], [-1.0]]) if target is None else target.values[:3]
    with np.errstate(all="ignore"):
        ratio = terms.values[:3] / right
    return np.where(np.abs(right) < ROUNDING, np.where(np.abs(terms.values[:3]) < ROUNDING, 1.0, np.inf), ratio)


def _missing(role, present: Sequence[bool], evidence) -> list[Finding]:
    codes: dict[tuple[bool, ...], str] = {
        (True, True, False): "variance-path-missing",
        (True, False, True): "mean-path-missing",
        (True, False, False): "statistics-constant",
        (False, True, True): "direct-path-missing",
        (False, False, False): "dx-zero",
    }
    code = codes.get(tuple(present))
    if code is None and not all(present):
        code = "gradient-terms"
    return [finding(code, role, evidence)] if code else []


def _foreign(role, present, foreign: Sequence[str], evidence, *, certain: bool) -> list[Finding]:
    """Terms that do not belong there: what a sum with a missing or a wrong factor leaves behind."""
    codes: dict[tuple[str, ...], str] = {
        ("x_hat * mean(dout)",): "variance-sum-without-factor",
        ("mean(dout * x_hat)",): "variance-path-uncentred",
        ("mean(dout * x_hat^2)",): "variance-sum-without-factor",
        ("x_hat * mean(dout * x_hat^2)",): "variance-sum-without-factor",
        ("dout * x_hat^2",): "variance-not-summed",
    }
    code = codes.get(tuple(foreign))
    if code is None or not certain:  # beside another forward such a term may be the forward's
        return [finding("gradient-terms", role, f"{evidence}; it also holds {', '.join(foreign)}")]
    return [finding(code, role, f"{evidence}; it holds {foreign[0]}")]


def _factors(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    """Names for the factors: one for all terms, or one for each."""
    there = [each for each in factors if each is not None]
    if not there or all(each.departures == 0 for each in there):
        return []
    if any(each.other for each in there):
        return _epsilon_factors(role, factors, evidence)
    return _plain_factors(role, factors, evidence)


def _plain_factors(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    """Factors without another denominator: of all of dx, or of single terms."""
    there = [each for each in factors if each is not None]
    if all(each == there[0] for each in there):
        return _overall(role, there[0], evidence)
    return _each_term(role, factors, evidence)


def _epsilon_factors(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    """Another denominator in some of the terms; what remains is a factor of its own."""
    other = next(each.other for each in factors if each is not None and each.other)
    codes = {"own": "follows-forward", "sample": "sample-variance-in-backward"}
    code = codes.get(other, f"epsilon-{other}")
    value = float(other.partition(" ")[2]) if other.startswith("fixed") else 0.0
    findings = [finding(code.partition(" ")[0], role, evidence, value=value)]
    rest = [None if each is None else replace(each, other="", power=0) for each in factors]
    return findings + _plain_factors(role, rest, evidence)


def _overall(role, common: Factor, evidence) -> list[Finding]:
    """A factor that all of dx has: each of its parts is a slip of its own."""
    codes: list[tuple[str, dict]] = []
    if common.sign < 0:
        codes.append(("dx-sign", {}))
    if common.scale == -1:
        codes.append(("scale-missing-in-dx", {}))
    elif common.scale:
        codes.append(("scale-power-in-dx", {"power": 1 + common.scale}))
    if common.offset:
        codes.append(("offset-in-dx", {}))
    if common.deviation:
        codes.append(("deviation-power-in-dx", {"power": common.deviation - 1}))
    if common.constant == "1/n":
        codes.append(("gradients-averaged", {}))
    elif common.constant != "1":
        codes.append(("dx-factor", {"factor": common.constant}))
    return [finding(code, role, evidence, **values) for code, values in codes]


def _each_term(role, factors: Sequence[Factor | None], evidence) -> list[Finding]:
    names = ("direct", "mean", "variance")
    findings = []
    for name, each in zip(names, factors, strict=True):
        if each is None or each.departures == 0:
            continue
        minus = Factor(sign=-1)
        code = f"{name}-path-sign" if each == minus else f"{name}-path-factor"
        findings.append(finding(code, role, evidence, factor=_written(each)))
    return findings


def _written(each: Factor) -> str:
    """A factor in words."""
    parts = [each.constant] if each.constant != "1" else []
    for name, power in (("gamma", each.scale), ("sqrt(variance + eps)", each.deviation)):
        if power:
            parts.append(name if power == 1 else f"{name}^{power}")
    return ("-" if each.sign < 0 else "") + (" * ".join(parts) or "1")


def _shown(ratio: np.ndarray) -> str:
    feature = 0
    values = ratio[:, feature].round(9) + 0.0  # what rounding left is shown as 0
    names = ("dout", "-mean(dout)", "-x_hat * mean(dout * x_hat)")
    shown = ", ".join(f"{value:.4g} x [{name}]" for value, name in zip(values, names, strict=True))
    return f"(times gamma/sqrt(variance + eps), feature {feature}): {shown}"


def _with_epsilon(epsilon: float, probe: Probe) -> np.ndarray:
    return np.sqrt(probe.variance + epsilon)


def deviations(training: Judged | None) -> Mapping[str, list[np.ndarray]]:
    """Denominators that may stand in the backward for sqrt(variance + eps), on each probe."""
    makers: dict[str, Callable[[Probe], np.ndarray]] = {
        "missing": lambda p: np.sqrt(p.variance),
        "outside": lambda p: np.sqrt(p.variance) + p.epsilon,
        "twice": lambda p: np.sqrt(p.variance + 2 * p.epsilon),
        "squared": lambda p: np.sqrt(p.variance + p.epsilon**2),
    }
    for value in (1e-5, 1e-8, 1e-3, 1e-7, 1e-6, 1e-4, 1e-10, 1e-12):
        makers[f"fixed {value:g}"] = partial(_with_epsilon, value)
    makers["sample"] = lambda p: np.sqrt(p.variance * p.count / (p.count - 1) + p.epsilon)
    found = {name: [make(probe) for probe in PROBES] for name, make in makers.items()}
    if training is not None and training.formula:
        own = [own_units(*each) for each in zip(training.formula, training.steps, PROBES, strict=True)]
        found["own"] = [np.abs(probe.scale / unit.gain) for unit, probe in zip(own, PROBES, strict=True)]
    return found
