"""An output that no formula gives: what it shows all the same.

Rows that a sum leaves out are read off as weights: a mean that is w0 x0 + w1 x1 + ... in eight features at once has
one solution, and weights 1/6, ..., 1/6, 0 have left out the last row.  A centre between the batch's mean and the
average is a sum of both.  Where most elements are right, the others may have been cut off, or all of them rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pybn.study.coursework.output.fit import EXACT, SINGLE, Line, agree, fit, line, some_features
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.student.probes import Probe

Arrays = Sequence[np.ndarray]  # one a probe
MOST = 0.3  # of the elements: so many are right where others were cut off


def oddities(
    part: str, outs: Sequence[np.ndarray], rights: Sequence[np.ndarray], probes: Sequence[Probe], evidence: str
):
    """The finding, where there is one."""
    found = [line(probe.x, out, SINGLE) for probe, out in zip(probes, outs, strict=True)]
    if all(each is not None for each in found):
        formulas = [_mixed_line(probe, each) for probe, each in zip(probes, found, strict=True)]
        if all(formulas):
            return [finding("statistics-mixed", part, evidence, formula=formulas[0])]
    return _elements(part, outs, rights, probes, evidence) or _of_features(part, outs, rights, evidence)


def _elements(part, outs, rights, probes: Sequence[Probe], evidence: str) -> list[Finding]:
    """Cut off or rounded, element by element."""
    hats = [[(each - p.offset) / p.scale for each, p in zip(arrays, probes, strict=True)] for arrays in (outs, rights)]
    for name, (yours, right) in {"out": (outs, rights), "x_hat": hats}.items():
        bounds = [_bounds(*each) for each in zip(yours, right, strict=True)]
        if all(bounds):
            return [finding("output-clipped", part, evidence, name=name, bounds=bounds[0])]
    for decimals in range(5):
        if all(np.abs(np.round(right, decimals) - out).max() < 1e-9 for out, right in zip(outs, rights, strict=True)):
            return [finding("output-rounded", part, evidence, decimals=decimals)]
    return []


def _bounds(yours: np.ndarray, right: np.ndarray) -> str:
    """The bounds between which the right numbers were cut off, in words; "" where they were not."""
    low, high = float(yours.min()), float(yours.max())
    kept = float(np.isclose(yours, right, rtol=SINGLE).mean())
    if not MOST < kept < 1 or not np.allclose(yours, np.clip(right, low, high), rtol=SINGLE, atol=1e-6):
        return ""
    shown = {low: right.min() < low - 1e-6, high: right.max() > high + 1e-6}
    return " and ".join(f"{bound:.4g}" for bound, cut in shown.items() if cut)


def _of_features(part, outs, rights, evidence: str) -> list[Finding]:
    some = some_features(outs, rights)
    return [finding("some-features", part, evidence, name="out", **some)] if some else []


# --- centres and spreads ------------------------------------------------------------------------------


def centre(probe: Probe, found: Line) -> np.ndarray:
    """Where the output is beta, feature by feature."""
    return probe.mean - (found.height - probe.offset) / found.slope


def mixed_centre(probe: Probe, found: Line) -> str:
    """What is subtracted as a sum of the batch's mean and the average, in words; "" where it is none."""
    parts = {"the batch mean": probe.mean, "running_mean": probe.averages[0]}
    return _mixed(centre(probe, found), parts, found.usable)


def _mixed_line(probe: Probe, found: Line | None) -> str:
    """Centre and spread, where one of them at least is a sum of the batch's statistic and the average."""
    if found is None or not found.usable.all():
        return ""
    spread = (probe.scale / found.slope) ** 2 - probe.epsilon
    parts = {"the batch variance": probe.variance, "running_var": probe.averages[1]}
    texts = mixed_centre(probe, found), _mixed(spread, parts, found.usable)
    if not all(texts):
        return ""
    return f"the mean is {texts[0]}, the variance {texts[1]}"


def _mixed(values: np.ndarray, parts: Mapping[str, np.ndarray], usable: np.ndarray) -> str:
    found = fit([part[usable] for part in parts.values()], values[usable], SINGLE)
    if found is None:
        return ""
    there = [(share, name) for share, name in zip(found, parts, strict=True) if abs(share) > 1e-6]
    return " ".join(f"{_times(share)}{name}" for share, name in there).removeprefix("+ ")


def _times(share: float) -> str:
    """A coefficient in words, with its sign: "+ 0.5 * ", "- "."""
    return ("- " if share < 0 else "+ ") + ("" if np.isclose(abs(share), 1) else f"{abs(share):.4g} * ")


# --- rows ---------------------------------------------------------------------------------------------


def rows_left_out(probe: Probe, out: np.ndarray) -> str:
    """The rows that mean or variance leave out, in words; "" where that is not what they do."""
    found = line(probe.x, out, SINGLE)
    if found is None or not found.usable.all():
        return ""
    own = centre(probe, found)
    spread = (probe.scale / found.slope) ** 2 - probe.epsilon
    return of_weights(own, probe.x) or of_weights(spread, (probe.x - own) ** 2)


def of_weights(values: np.ndarray, rows: np.ndarray) -> str:
    """Rows with no weight, where the values are a sum of equal parts of the others."""
    if not np.isfinite(values).all() or not np.isfinite(rows).all():
        return ""
    weights, _, rank, _ = np.linalg.lstsq(rows.T, values, rcond=1e-12)
    count = len(rows)
    if rank < count or np.abs(weights @ rows - values).max() > EXACT * np.abs(values).max():
        return ""
    there = np.abs(weights) > 1e-4
    if there.all() or not there.any() or np.ptp(weights[there]) > 1e-4:
        return ""
    return rows_in_words(there)


def rows_in_words(there: np.ndarray) -> str:
    """The rows that are not there, as the beginning of a sentence: "the last row is"."""
    left, count = np.flatnonzero(~there), len(there)
    for word, edge in (("first", np.arange(len(left))), ("last", np.arange(count - len(left), count))):
        if np.array_equal(left, edge):
            return f"the {word} row is" if len(left) == 1 else f"the {word} {len(left)} of {count} rows are"
    return f"row{'s' if len(left) > 1 else ''} {', '.join(map(str, left))} {'are' if len(left) > 1 else 'is'}"


def same(yours: np.ndarray | None, again: np.ndarray | None) -> bool:
    """Whether a second call gave the same."""
    return yours is None or again is None or agree(again, yours, SINGLE)
