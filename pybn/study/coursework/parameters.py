"""dgamma and dbeta: sums over the rows of dout * x_hat and of dout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pybn.study.coursework.findings import Finding, finding, first_difference
from pybn.study.coursework.formulas import SINGLE
from pybn.study.coursework.jacobian import DIFFERENCES, ROUNDING, Factor, Matrices, factor
from pybn.study.coursework.probes import Probe
from pybn.study.coursework.student import Gradients
from pybn.study.coursework.terms import deviations
from pybn.study.coursework.training import PROBES


def judge_parameters(role, found: Sequence[Gradients], own, matrices: Matrices) -> list[Finding]:
    """dgamma and dbeta: sums over the rows of dout * x_hat and of dout."""
    dscale = [(probe.dy * probe.normalized).sum(0) for probe in PROBES]
    doffset = [probe.dy.sum(0) for probe in PROBES]
    wrong_scale = not _all_agree([each.dscale for each in found], dscale, own, "dscale")
    wrong_offset = not _all_agree([each.doffset for each in found], doffset, own, "doffset")
    if wrong_scale and wrong_offset and _swapped(found, dscale, doffset):
        return [finding("parameters-swapped", role, first_difference("dgamma", found[0].dscale, dscale[0]))]
    findings = []
    if wrong_scale:
        findings += _explain_parameter(role, "dgamma", [each.dscale for each in found], dscale[0], matrices)
    if wrong_offset:
        findings += _explain_parameter(role, "dbeta", [each.doffset for each in found], doffset[0], matrices)
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


def _swapped(found, dscale, doffset) -> bool:
    return all(
        each.dscale is not None
        and each.doffset is not None
        and _close(each.dscale, o, SINGLE)
        and _close(each.doffset, s, SINGLE)
        for each, s, o in zip(found, dscale, doffset, strict=True)
    )


def _explain_parameter(role, name, yours, right, matrices: Matrices) -> list[Finding]:
    if any(each is None for each in yours):
        return [finding("parameter-missing", role, name=name)]
    evidence = first_difference(name, yours[0], right)
    if not np.isfinite(yours[0]).all():
        return [finding("unexplained-parameter", role, evidence, name=name)]
    measured = matrices.get()
    attribute = "dscale" if name == "dgamma" else "doffset"
    weights: Any = [getattr(each, attribute) if each else None for each in measured]
    if any(each is None or not np.isfinite(each).all() for each in weights):
        weights = None
    code = _weights_code(name, weights) if weights else None
    values: dict[str, Any] = {"name": name, "value": 0.0}
    if code and code[0].startswith("epsilon-fixed"):
        values["value"] = code[1]
    return [finding(code[0] if code else "unexplained-parameter", role, evidence, **values)]


def _weights_code(name: str, weights) -> tuple[str, float] | None:
    """What dout is multiplied with before it is summed: a line in x_hat, slope * x_hat + level."""
    slopes, levels = zip(*[_line(each, probe) for each, probe in zip(weights, PROBES, strict=True)], strict=True)
    if slopes is None or any(each is None for each in slopes):
        return None
    flat = all(
        np.abs(slope).max() < ROUNDING * (np.abs(level).max() + 1e-300)
        for slope, level in zip(slopes, levels, strict=True)
    )
    level_free = all(
        np.abs(level).max() < 1e-6 * np.abs(slope).max() for slope, level in zip(slopes, levels, strict=True)
    )
    if name == "dgamma" and not level_free:
        return _dscale_source(slopes, levels)
    if name == "dbeta" and not flat:
        return None
    found = factor(slopes if name == "dgamma" else levels, PROBES, deviations(None))
    return _parameter_factor(name, found) if found else None


def _line(weight: np.ndarray, probe: Probe):
    h = probe.normalized.T
    slope = (weight * h).sum(1) / (h * h).sum(1)
    level = weight.mean(1)
    rest = np.abs(weight - slope[:, None] * h - level[:, None]).max()
    return (slope, level) if rest <= 1e-6 * np.abs(weight).max() else (None, None)


def _dscale_source(slopes, levels) -> tuple[str, float] | None:
    """x or y where x_hat belongs."""
    for code, slope, level in (
        ("dscale-from-x", lambda p: p.deviation, lambda p: p.mean),
        ("dscale-from-y", lambda p: p.scale, lambda p: p.offset),
        ("dscale-from-dout", lambda p: 0 * p.scale, lambda p: 1 + 0 * p.scale),
    ):
        if all(
            np.allclose(s, slope(p), rtol=1e-5, atol=1e-9) and np.allclose(o, level(p), rtol=1e-5)
            for s, o, p in zip(slopes, levels, PROBES, strict=True)
        ):
            return code, 0.0
    return None


def _parameter_factor(name: str, found: Factor) -> tuple[str, float] | None:
    if found == Factor(deviation=1) and name == "dgamma":
        return "dscale-not-divided", 0.0
    if found == Factor(constant="1/n"):
        return "gradients-averaged", 0.0
    if found == Factor(sign=-1):
        return "parameter-sign", 0.0
    if found == Factor(scale=1):
        return "parameter-times-scale", 0.0
    if found.other and found == Factor(other=found.other, power=found.power) and name == "dgamma":
        kind, _, value = found.other.partition(" ")
        code = "sample-variance-in-backward" if kind == "sample" else f"epsilon-{kind}"
        return code, float(value or 0)
    return "parameter-factor", 0.0
