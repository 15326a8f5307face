"""dgamma and dbeta: sums over the rows of dout * x_hat and of dout.

Fed with the rows of the identity, each shows by what it multiplies dout before it sums.  Weights that are
x_hat / n are an average where a sum belongs; weights that are x - mean were not divided by the deviation.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pybn.study.coursework.gradient.fit import DIFFERENCES, ROUNDING, Backward, Factor, Matrices, factor
from pybn.study.coursework.gradient.units import deviations, own_units
from pybn.study.coursework.output.fit import EXACT, SINGLE, some_features
from pybn.study.coursework.output.oddities import rows_in_words
from pybn.study.coursework.output.training import PROBES, Judged
from pybn.study.coursework.report.findings import Finding, Said, finding, first_difference, merged
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Gradients, Student

NOT_DIVIDED = known("dscale-not-divided")
UNSUMMED = known("gradient-not-summed")
_UNSUMMED = {(known("gradient-not-summed"), known(f"{what}-not-summed")) for what in ("mean", "variance")}
# What a gradient of a wrong shape was summed over; axes of size 1 left out.
_SHAPES: Mapping[Any, str] = {
    PROBES[0].x.shape: known("gradient-not-summed"),
    PROBES[0].x.shape[:1]: known("gradient-summed-over-features"),
    (): known("gradient-summed-over-all"),
    **{f"a {kind}": known("gradient-summed-over-all") for kind in ("float", "float64", "float32")},
}
# Beside these dx has its own place for what is wrong.
_OF_OTHER_UNITS = (known("parameters-swapped"),)
NAMES = {"dgamma": "dscale", "dbeta": "doffset"}
_SOURCES = {
    "x": known("dscale-from-x"),
    "y": known("dscale-from-y"),
    "ones": known("dscale-from-dout"),
    "averages": known("dscale-from-averages"),
    "new averages": known("dscale-from-averages"),
}
_FACTORS = {
    Factor(): known("dscale-follows-forward"),
    Factor(constant="1/n"): known("gradients-averaged"),
    Factor(sign=-1): known("parameter-sign"),
    Factor(scale=1): known("parameter-times-scale"),
}
Own = Sequence[Backward | None] | None  # the own forward's derivative on each probe, where it is asked for


def judge_parameters(
    student: Student, role: str, found: Sequence[Gradients], own: Own, matrices: Matrices, training: Judged
) -> list[Finding]:
    """dgamma and dbeta of one backward."""
    rights = {
        "dgamma": [(probe.dy * probe.normalized).sum(0) for probe in PROBES],
        "dbeta": [probe.dy.sum(0) for probe in PROBES],
    }
    yours = {name: [getattr(each, attribute) for each in found] for name, attribute in NAMES.items()}
    wrong = [name for name in NAMES if not _agrees(yours[name], rights[name], own, name)]
    if len(wrong) == 2:
        swapped = _swapped(role, yours, rights, own, training)
        if swapped:
            return swapped
    said = [_explain(student, role, name, yours[name], rights[name], own, matrices, training) for name in wrong]
    said += [Said("gradient-matrix", name) for name in NAMES if name not in wrong and _matrix(student, role, name)]
    return merged(role, said)


def with_its_parameters(findings: list[Finding], of_dx: list[Finding], matrices: Matrices) -> list[Finding]:
    """All findings; a dx that is the book's formula with the student's own wrong dgamma or dbeta is no slip of its own.

    dx = gamma / deviation * (dout - dbeta / n - x_hat * dgamma / n), and x_hat may be what dgamma was made of.
    """
    slips = [each for each in findings if each.kind == "mistake"]
    if len(slips) != 1 or not any(each.kind in ("mistake", "epsilon") for each in of_dx):
        return findings + of_dx
    if slips[0].code == NOT_DIVIDED and dict(of_dx[0].values).get("factor") == "sqrt(variance + eps)^-2":
        return [
            finding("cache-order", of_dx[0].part, slips[0].evidence, wrong="x - mean", right="x_hat (and the reverse)")
        ]
    if slips[0].code == UNSUMMED and of_dx[0].code == "unexplained-dx":  # nothing to hold it against
        return [*findings, finding("dx-open", of_dx[0].part, of_dx[0].evidence)]
    if (slips[0].code, of_dx[0].code) not in _UNSUMMED and (
        slips[0].code in _OF_OTHER_UNITS or not all(map(_made_with, matrices.get(), PROBES))
    ):
        return findings + of_dx
    return [replace(each, what=f"{each.what}, and dx is made with it") if each in slips else each for each in findings]


def _made_with(measured: Backward | None, probe: Probe) -> bool:
    """Whether each feature's matrix is g * (I - 1 b' / n - h k' / n), with b and k what dbeta and dgamma sum."""
    if measured is None or not np.isfinite(measured.dscale).all() or not np.isfinite(measured.doffset).all():
        return False
    n, gain = probe.count, probe.scale / probe.deviation
    for own in (False, True):
        left = measured.dscale if own else probe.normalized.T
        made = np.eye(n) - np.ones((n, 1)) * measured.doffset[:, None, :] / n
        made = made - left[:, :, None] * measured.dscale[:, None, :] / n
        times = (made * measured.dx).sum((1, 2)) / (made * made).sum((1, 2))
        rest = np.abs(measured.dx - times[:, None, None] * made).max((1, 2))
        if np.all(rest <= ROUNDING * np.abs(measured.dx).max((1, 2))) and (own or np.allclose(times, gain, rtol=1e-6)):
            return True
    return False


def _agrees(yours, right, own: Own, name: str, factor: Sequence[float] = (1.0, 1.0)) -> bool:
    """Right by the book, or the derivative of the own forward where that has one; `factor` times it."""
    if any(each is None for each in yours):
        return False
    scaled = [each * times for each, times in zip(yours, factor, strict=True)]
    if all(_close(each, wanted, SINGLE) for each, wanted in zip(scaled, right, strict=True)):
        return True
    numeric = _numeric(own, name)
    return bool(numeric) and all(
        _close(each, wanted, DIFFERENCES) for each, wanted in zip(scaled, numeric, strict=True)
    )


def _numeric(own: Own, name: str) -> list[np.ndarray]:
    """The own forward's derivative by gamma or beta; none where the forward does not use it."""
    if own is None or any(each is None for each in own):
        return []
    derivative = [getattr(each, NAMES[name]) for each in own]
    if any(np.abs(each).max() <= ROUNDING for each in derivative):
        return []
    return [np.einsum("fr,rf->f", each, probe.dy) for each, probe in zip(derivative, PROBES, strict=True)]


def _close(yours: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """A sum may be near 0 in one feature: against the largest."""
    return yours.shape == right.shape and bool(np.abs(yours - right).max() <= tolerance * np.abs(right).max())


def _swapped(role: str, yours: Mapping[str, Any], rights, own: Own, training: Judged) -> list[Finding]:
    """Whether each is what the other must be, or that over n."""
    counts = [float(probe.count) for probe in PROBES]
    evidence = first_difference("dgamma", _array(yours["dgamma"][0]), rights["dgamma"][0])
    for times, more in (([1.0, 1.0], []), (counts, [Said("gradients-averaged", "dgamma and dbeta", evidence)])):
        if _agrees(yours["dgamma"], rights["dbeta"], own, "dbeta", times) and _agrees(
            yours["dbeta"], rights["dgamma"], own, "dgamma", times
        ):
            return merged(role, [Said("parameters-swapped", "dgamma and dbeta", evidence), *more])
    # Beside a wrong forward dgamma has no right value; dbeta has, and here stands in the other's place.
    if not training.right and _agrees(yours["dgamma"], rights["dbeta"], None, "dbeta"):
        return merged(role, [Said("parameters-swapped", "dgamma and dbeta", evidence)])
    return []


def _array(value: np.ndarray | None) -> np.ndarray:
    return np.full(1, np.nan) if value is None else value


def _matrix(student: Student, role: str, name: str) -> bool:
    """Whether what came back was a (d, d) matrix, of which the diagonal was taken."""
    features = PROBES[0].x.shape[1]
    return f"shape {(features, features)}" in student.habits.get((f"{name} shape", role), "")


def _explain(student: Student, role, name, yours, right, own: Own, matrices: Matrices, training: Judged) -> Said:
    if any(each is None for each in yours):
        return _missing(student, role, name, own, training)
    evidence = first_difference(name, yours[0], right[0])
    if not np.isfinite(yours[0]).all():
        return Said("unexplained-parameter", name, evidence)
    if all(np.abs(each).max() <= EXACT * np.abs(wanted).max() for each, wanted in zip(yours, right, strict=True)):
        return Said("parameter-zero", name, evidence)
    some = some_features(yours, right)
    if some.get("rest") == "0":
        return Said("some-features", name, evidence, some)
    weights = _weights(name, matrices)
    if weights and _ignores_dout(yours[0], weights[0]):
        return Said("parameter-ignores-dout", name, evidence)
    source, found = _source(name, weights, training) if weights else ("", None)
    if found is None and weights and name == "dgamma":
        formula = _taken_back(weights, training)
        if formula:
            return Said("x-hat-taken-back", name, evidence, {"formula": formula})
    if found is None:
        line = _line(weights) if weights and name == "dgamma" else ""
        if line and all(np.allclose(each, p.normalized.T + 1) for each, p in zip(weights, PROBES, strict=True)):
            return Said("dbeta-in-dgamma", name, evidence)
        if line:
            return Said("dscale-of-line", name, f"{evidence}; {line}")
        rows = _rows_left_out(weights, PROBES[0], name)
        if rows:
            return Said("rows-left-out", name, evidence, {"rows": rows})
        return Said("some-features" if some else "unexplained-parameter", name, evidence, some)
    code, value = _code(name, source, found)
    return Said(code, name, evidence, {"value": value, "wrong": "gamma", "right": "x_hat"})


def _missing(student: Student, role: str, name: str, own: Own, training: Judged) -> Said:
    """None, or no array of one entry a feature."""
    detail = student.habits.get((f"{name} shape", role), "").removeprefix(f"{name} is ")
    parameter = {"dgamma": "gamma", "dbeta": "beta"}[name]
    unused = {"dgamma": "scale-missing", "dbeta": "offset-missing"}[name]
    codes = {each.code for each in training.findings}
    if detail.startswith("None") and codes & {unused, "affine-missing"}:
        return Said("parameter-follows-forward", name, values={"parameter": parameter})
    shape = re.match(r"an array of shape (\([\d, ]*\))", detail)
    code = _SHAPES.get(tuple(size for size in literal_eval(shape[1]) if size > 1) if shape else detail.split(",")[0])
    return Said(code, name) if code else Said("parameter-missing", name, values={"detail": detail or "None"})


def _ignores_dout(yours: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the same comes back for this dout and for each row of the identity."""
    size = np.abs(yours).max() + 1e-300
    return bool(np.all(np.abs(weights - yours[:, None]) <= ROUNDING * size))


def _weights(name: str, matrices: Matrices) -> list[np.ndarray]:
    """What dout is multiplied with before it is summed, on each probe; empty where a call fails."""
    weights: list[Any] = [getattr(each, NAMES[name]) if each else None for each in matrices.get()]
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
    sources["averages"] = [_by_averages(probe, *probe.averages) for probe in PROBES]
    if all(step.mean is not None and step.variance is not None for step in training.steps):
        pairs = zip(PROBES, training.steps, strict=True)
        sources["new averages"] = [_by_averages(probe, step.mean, step.variance) for probe, step in pairs]
    sources["x"] = [probe.x for probe in PROBES]
    sources["y"] = [step.out for step in training.steps]
    return sources


# x_hat made of the output in another way than (y - beta) / gamma; and of x, where that stands for y.
_TAKEN_BACK: Mapping[str, Callable[[np.ndarray, Probe], np.ndarray]] = {
    "y / gamma - beta": lambda y, p: y / p.scale - p.offset,
    "y / gamma": lambda y, p: y / p.scale,
    "(y + beta) / gamma": lambda y, p: (y + p.offset) / p.scale,
    "(y - gamma) / beta": lambda y, p: (y - p.scale) / p.offset,
    "gamma * y - beta": lambda y, p: y * p.scale - p.offset,
    "gamma * y + beta": lambda y, p: y * p.scale + p.offset,
}
_OF_X: Mapping[str, Callable[[np.ndarray, Probe], np.ndarray]] = {
    "(x - beta) / gamma": lambda x, p: (x - p.offset) / p.scale,
    **{name.replace("y", "x"): of for name, of in _TAKEN_BACK.items()},
}


def _taken_back(weights: Sequence[np.ndarray], training: Judged) -> str:
    """The formula by which a backward has its x_hat from what it takes for the output."""
    outs, rows = [step.out for step in training.steps], [probe.x for probe in PROBES]
    for table, arrays, rest in ((_TAKEN_BACK, outs, ""), (_OF_X, rows, ", with x in the place of y")):
        for formula, of in table.items():
            made = [of(array, probe).T for array, probe in zip(arrays, PROBES, strict=True)]
            if all(np.abs(a - b).max() <= ROUNDING * np.abs(b).max() for a, b in zip(weights, made, strict=True)):
                return formula + rest
    return ""


def _by_averages(probe: Probe, mean, variance) -> np.ndarray:
    """x normalized with averages where the batch's own statistics belong."""
    return (probe.x - mean) / np.sqrt(np.abs(variance) + probe.epsilon)


def _rows_left_out(weights: Sequence[np.ndarray], probe: Probe, name: str) -> str:
    """The rows whose dout is in no sum, where all others are as they must be."""
    right = probe.normalized.T if name == "dgamma" else np.ones_like(probe.x.T)
    if not weights:
        return ""
    there = np.abs(weights[0]).max(0) > ROUNDING
    alike = np.allclose(weights[0][:, there], right[:, there], rtol=1e-6)
    return rows_in_words(there) if alike and there.any() and not there.all() else ""


def _line(weights: Sequence[np.ndarray]) -> str:
    """The weights as a * x_hat + b of the first feature, where they are one on every probe; "" where not."""
    for weight, probe in zip(weights, PROBES, strict=True):
        for row, h in zip(weight, probe.normalized.T, strict=True):
            columns = np.stack([h, np.ones_like(h)], axis=1)
            rest = columns @ np.linalg.lstsq(columns, row, rcond=None)[0] - row
            if np.abs(rest).max() > ROUNDING * (np.abs(row).max() + 1e-300):
                return ""
    h = PROBES[0].normalized[:, 0]
    slope, height = np.linalg.lstsq(np.stack([h, np.ones_like(h)], axis=1), weights[0][0], rcond=None)[0]
    return f"in feature 0 dout is multiplied by {slope:.4g} * x_hat {'-' if height < 0 else '+'} {abs(height):.4g}"


def _ratio(weight: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """weight / source of each feature where it is one number."""
    source = source.T
    ratio = (weight * source).sum(1) / (source * source).sum(1)
    rest = np.abs(weight - ratio[:, None] * source).max(1)
    return ratio if np.all(rest <= ROUNDING * (np.abs(weight).max(1) + 1e-300)) else None


def _code(name: str, source: str, found: Factor) -> tuple[str, float]:
    """The slip's name, and its eps where it is a fixed one."""
    if name == "dgamma" and source == "ones" and found == Factor(scale=1):
        return "cache-order", 0.0
    if name == "dgamma" and source in _SOURCES:
        return _SOURCES[source], 0.0
    if name == "dbeta" and source in ("x_hat", "own x_hat") and found == Factor():
        return "offset-from-x_hat", 0.0
    if name == "dbeta" and source != "ones":
        return "unexplained-parameter", 0.0
    if name == "dgamma" and found == Factor(deviation=1):
        return "dscale-not-divided", 0.0
    if found.other and found == Factor(other=found.other, power=found.power) and name == "dgamma":
        return found.other_code
    return _FACTORS.get(found, "parameter-factor"), 0.0
