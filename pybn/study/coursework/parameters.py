"""dgamma and dbeta: sums over the rows of dout * x_hat and of dout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pybn.study.coursework.findings import Finding, finding, first_difference
from pybn.study.coursework.formulas import SINGLE
from pybn.study.coursework.jacobian import DIFFERENCES, ROUNDING, Factor, Matrices, factor
from pybn.study.coursework.student import Gradients
from pybn.study.coursework.terms import deviations, own_units
from pybn.study.coursework.training import PROBES, Judged


def judge_parameters(role, found: Sequence[Gradients], own, matrices: Matrices, training: Judged) -> list[Finding]:
    """dgamma and dbeta: sums over the rows of dout * x_hat and of dout."""
    dscale = [(probe.dy * probe.normalized).sum(0) for probe in PROBES]
    doffset = [probe.dy.sum(0) for probe in PROBES]
    wrong_scale = not _all_agree([each.dscale for each in found], dscale, own, "dscale")
    wrong_offset = not _all_agree([each.doffset for each in found], doffset, own, "doffset")
    if wrong_scale and wrong_offset and _swapped(found, own, dscale, doffset):
        return [finding("parameters-swapped", role, first_difference("dgamma", found[0].dscale, dscale[0]))]
    findings = []
    if wrong_scale:
        findings += _explain_parameter(role, "dgamma", [each.dscale for each in found], dscale[0], matrices, training)
    if wrong_offset:
        findings += _explain_parameter(role, "dbeta", [each.doffset for each in found], doffset[0], matrices, training)
    return findings


def _all_agree(yours, right, own, name) -> bool:
    """Right by the book, or the derivative of the own forward."""
    if any(each is None for each in yours):
        return False
    if all(_close(each, wanted, SINGLE) for each, wanted in zip(yours, right, strict=True)):
        return True
    if own is None or any(each is None for each in own):
        return False
    numeric = [np.einsum("fr,rf->f", getattr(each, name), probe.dy) for each, probe in zip(own, PROBES, strict=True)]
    return all(_close(each, wanted, DIFFERENCES) for each, wanted in zip(yours, numeric, strict=True))


def _close(yours: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """A sum may be near 0 in one feature: against the largest."""
    return yours.shape == right.shape and bool(np.abs(yours - right).max() <= tolerance * np.abs(right).max())


def _swapped(found, own, dscale, doffset) -> bool:
    """Whether each is what the other must be."""
    first, second = [each.dscale for each in found], [each.doffset for each in found]
    return _all_agree(first, doffset, own, "doffset") and _all_agree(second, dscale, own, "dscale")


def _explain_parameter(role, name, yours, right, matrices: Matrices, training: Judged) -> list[Finding]:
    if any(each is None for each in yours):
        return [finding("parameter-missing", role, name=name)]
    evidence = first_difference(name, yours[0], right)
    weights = [] if not np.isfinite(yours[0]).all() else _weights(name, matrices)
    if not weights:
        return [finding("unexplained-parameter", role, evidence, name=name)]
    source, found = _source(name, weights, training)
    if found is None:
        return [finding("unexplained-parameter", role, evidence, name=name)]
    code, value = _code(name, source, found)
    return [finding(code, role, evidence, name=name, value=value)]


def _weights(name: str, matrices: Matrices) -> list[np.ndarray]:
    """What dout is multiplied with before it is summed, on each probe; empty where a call fails."""
    attribute = {"dgamma": "dscale", "dbeta": "doffset"}[name]
    weights: list[Any] = [getattr(each, attribute) if each else None for each in matrices.get()]
    return [] if any(each is None or not np.isfinite(each).all() for each in weights) else weights


def _source(name: str, weights: Sequence[np.ndarray], training: Judged) -> tuple[str, Factor | None]:
    """The array that the weights are, times the simplest factor."""
    best: tuple[str, Factor | None] = ("", None)
    for source, arrays in _sources(name, training).items():
        ratios = [_ratio(*each) for each in zip(weights, arrays, strict=True)]
        if any(each is None for each in ratios):
            continue
        found = factor([each for each in ratios if each is not None], PROBES, deviations(None))
        if found is not None and (best[1] is None or found.departures < best[1].departures):
            best = source, found
    return best


def _sources(name: str, training: Judged) -> dict[str, list[np.ndarray]]:
    """What may have been multiplied with dout; the right one first."""
    ones = [np.ones_like(probe.x) for probe in PROBES]
    hats = [probe.normalized for probe in PROBES]
    sources = {"x_hat": hats, "ones": ones} if name == "dgamma" else {"ones": ones, "x_hat": hats}
    if training.formula:
        units = [own_units(*each) for each in zip(training.formula, training.steps, PROBES, strict=True)]
        sources["own x_hat"] = [unit.normalized for unit in units]
    sources["x"] = [probe.x for probe in PROBES]
    sources["y"] = [step.out for step in training.steps]
    return sources


def _ratio(weight: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """weight / source of each feature where it is one number."""
    source = source.T
    ratio = (weight * source).sum(1) / (source * source).sum(1)
    rest = np.abs(weight - ratio[:, None] * source).max(1)
    return ratio if np.all(rest <= ROUNDING * (np.abs(weight).max(1) + 1e-300)) else None


def _code(name: str, source: str, found: Factor) -> tuple[str, float]:
    """The slip's name, and its eps where it is a fixed one."""
    if name == "dgamma" and source in ("x", "y", "ones"):
        return {"x": "dscale-from-x", "y": "dscale-from-y", "ones": "dscale-from-dout"}[source], 0.0
    if name == "dbeta" and source != "ones":
        return "unexplained-parameter", 0.0
    if name == "dgamma" and found == Factor(deviation=1):
        return "dscale-not-divided", 0.0
    if found.other and found == Factor(other=found.other, power=found.power) and name == "dgamma":
        kind, _, value = found.other.partition(" ")
        return "sample-variance-in-backward" if kind == "sample" else f"epsilon-{kind}", float(value or 0)
    codes = {
        Factor(): "dscale-follows-forward",
        Factor(constant="1/n"): "gradients-averaged",
        Factor(sign=-1): "parameter-sign",
        Factor(scale=1): "parameter-times-scale",
    }
    return codes.get(found, "parameter-factor"), 0.0
