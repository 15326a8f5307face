"""What the matrices of dx show before anything is fitted: rows that do not meet, or a row's number for gamma.

With three rows the right matrix of a feature has nine entries and no zeros.  One that has entries on its diagonal
alone has left out what each row does to the others; one that has none above it uses sums in the loop that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pybn.study.coursework.gradient.fit import ROUNDING, Backward
from pybn.study.coursework.output.oddities import rows_in_words
from pybn.study.coursework.output.training import PROBES
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.student.probes import Probe


def seen_at_once(role: str, matrices: Sequence[Backward], evidence: str) -> list[Finding]:
    """The finding, where there is one; evidence is what differs."""
    if _diagonal(matrices[0].dx):
        return [finding("diagonal-only", role, evidence)]
    return _so_far(role, matrices, evidence) or _of_rows(role, matrices, evidence) or _places(role, matrices, evidence)


def _places(role: str, matrices: Sequence[Backward], evidence: str) -> list[Finding]:
    """Right rows in places that are not theirs, or zeros in the place of some."""
    measured, right = matrices[0].dx, _book_matrix(PROBES[0])
    size = ROUNDING * np.abs(right).max()
    near = np.abs(measured[:, :, None] - right[:, None]).max((0, 3)) <= size  # row of theirs, row of the book
    if near.any(0).all() and near.any(1).all() and not near.diagonal().all():
        return [finding("rows-reordered", role, evidence, name="dx")]
    there = np.abs(measured).max((0, 2)) > size
    if there.any() and not there.all() and near.diagonal()[there].all():
        return [finding("rows-left-out", role, evidence, name="dx", rows=rows_in_words(there))]
    return []


def _diagonal(matrices: np.ndarray) -> bool:
    """Whether each row's dx comes from its own dout alone, by weights that are the derivative's own diagonal."""
    own = np.einsum("frr->fr", matrices)
    others = np.abs(matrices).sum() - np.abs(own).sum()
    return bool(others <= ROUNDING * np.abs(own).sum() and np.ptp(own, axis=1).max() > ROUNDING * np.abs(own).max())


def _so_far(role, matrices: Sequence[Backward], evidence) -> list[Finding]:
    """Rows that are made of the rows before them: no sum is finished but in the last (or, from behind, the first)."""
    for later, earlier in ((np.triu, np.tril), (np.tril, np.triu)):
        side = 1 if later is np.triu else -1
        if all(not later(each.dx, side).any() and earlier(each.dx, -side).any() for each in matrices):
            return [finding("rows-so-far", role, evidence, name="dx")]
    return []


def _of_rows(role, matrices: Sequence[Backward], evidence) -> list[Finding]:
    """A row's number in the place of gamma."""
    rows: dict[str, Callable[[Probe], np.ndarray]] = {
        "x - mean": lambda p: p.x - p.mean,
        "x_hat": lambda p: p.normalized,
        "x": lambda p: p.x,
        "out": lambda p: p.out,
    }
    for wrong, values in rows.items():
        made = [_book_matrix(probe) * (values(probe) / probe.scale).T[:, None, :] for probe in PROBES]
        if all(_near(each.dx, right) for each, right in zip(matrices, made, strict=True)):
            return [finding("cache-order", role, evidence, wrong=wrong, right="gamma")]
    return []


def _book_matrix(probe: Probe) -> np.ndarray:
    """dx[feature, row, from] of the right gradient."""
    h, n = probe.normalized, probe.count
    inner = np.eye(n)[None] - 1 / n - np.einsum("rf,kf->frk", h, h) / n
    return (probe.scale / probe.deviation)[:, None, None] * inner


def _near(yours: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.abs(yours - right).max() <= ROUNDING * np.abs(right).max())
