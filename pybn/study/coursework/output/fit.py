"""Which formula gives this output: gain, centre, denominator and offset found one after the other.

An output that treats each feature apart is a line in x:  out = gain * (x - centre) / denominator + shift.
Its slope says gain / denominator; a power of the denominator is then a line in the spread,
denominator^p = factor * spread^q + constant, whose factor and constant are read off, not guessed: factor
n/(n-1) is the sample variance, constant 2 * eps is eps added twice.  Its height at the batch mean says
centre and shift.  So a handful of names in each place cover their whole product.

An example: gamma 2, variances 4 and 9, eps 12, slopes 2/14 and 2/15.  The denominators 14 and 15 are
sqrt(4) + 12 and sqrt(9) + 12: a line in the root with factor 1 and constant 12, so eps is outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pybn.study.coursework.output import candidates
from pybn.study.coursework.output.candidates import FORMS, SHIFTS, Candidate, Form, Places
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Step

# In float64 right solutions agree to 1e-12 on the probes, in float32 to 1e-5; wrong ones are 1e-3 off and more.
EXACT, SINGLE = 1e-8, 2e-4


class Pick(NamedTuple):
    """One line of a table: its place there, and its code."""

    row: int = -1  # none of them
    code: str = ""


NONE = Pick()


@dataclass(frozen=True)
class Line:
    """out as a line in x for each feature: slope, and height where x has its batch mean."""

    slope: np.ndarray
    height: np.ndarray
    usable: np.ndarray  # features without NaN


@dataclass(frozen=True)
class Formula:
    """One explanation of one output; form None is a denominator that is one number, `constant`."""

    gain: Pick
    spread: Pick = NONE
    form: Form | None = None
    factor: float = 0.0
    constant: float = 0.0
    centre: Pick = NONE
    shift: Pick = NONE

    @property
    def of_variance(self) -> float:
        """The factor of the spread itself, where the line is in its root or its square."""
        return 1.0 if self.form is None else self.factor ** (1 / self.form.of_spread)

    @property
    def key(self) -> tuple[object, ...]:
        """What must be the same on every probe."""
        return self.gain, self.spread, self.form, self.centre, self.shift


def agree(yours: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree within `tolerance` of the feature's largest element; NaN never does."""
    size = np.abs(right).max(axis=0) if np.ndim(right) > 1 else np.abs(right)
    return bool(np.all(np.abs(yours - right) <= tolerance * (size + 1e-300)))


def line(x: np.ndarray, out: np.ndarray, tolerance: float) -> Line | None:
    """The line of each feature, or None where an output is not one."""
    usable = np.isfinite(out).all(0)
    if usable.sum() < 4:  # two unknowns in the denominator, and two features to check them
        return None
    centred = x - x.mean(0)
    height = out.mean(0)
    slope = (centred * (out - height)).sum(0) / (centred**2).sum(0)
    rest = np.abs(out - height - slope * centred).max(0)
    size = np.abs(slope * centred).max(0) + 1e-6 * np.abs(height)
    fits = np.all((rest <= tolerance * size)[usable]) and np.all(slope[usable] != 0)
    return Line(slope, height, usable) if fits else None


def explanations(found: Line, probe: Probe, step: Step, places: Places, tolerance: float) -> list[Formula]:
    """Every formula that gives this line, the denominator's and then the centre's."""
    centres = _values(places.centres, probe, step)
    return [
        whole
        for part in _denominators(found, probe, step, places, tolerance)
        for whole in _centres(part, found, probe, centres, tolerance)
    ]


def common(per_probe: Sequence[Sequence[Formula]]) -> list[tuple[Formula, ...]]:
    """The explanations that hold on every probe, each as its formulas there."""
    tables = [{formula.key: formula for formula in formulas} for formulas in per_probe]
    keys = [key for key in tables[0] if all(key in table for table in tables)]
    return [tuple(table[key] for table in tables) for key in keys]


def fit(columns: Sequence[np.ndarray], target: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Coefficients with target = sum of coefficient * column in every feature, or None.

    Each feature counts by its own size, so that small variances have their say.
    """
    weight = 1 / (sum(np.abs(column) for column in columns) + np.abs(target) + 1e-300)
    if not np.isfinite(weight).all() or not np.isfinite(target).all():
        return None
    matrix = np.stack([column * weight for column in columns], axis=1)
    if not np.isfinite(matrix).all():  # an infinite column has no weight, and 0 times it is no number
        return None
    coefficients, _, rank, _ = np.linalg.lstsq(matrix, target * weight, rcond=1e-12)
    rest = np.abs(matrix @ coefficients - target * weight)
    return coefficients if rank == len(columns) and rest.max() <= tolerance else None


def some_features(yours: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> dict[str, str]:
    """The features that are right on every probe where the others are not, and what the others are; {} for none or all.

    One array a probe, the features along the last axis.
    """
    pairs = list(zip(yours, right, strict=True))
    each = np.array([_right_features(a, b) for a, b in pairs])
    alike, zero = each.all(0), all(not np.any(a[..., ~some]) for (a, _), some in zip(pairs, each, strict=True))
    if not alike.any() or alike.all() or np.any(each.any(0) != alike):
        return {}
    shown = ", ".join(map(str, np.flatnonzero(alike)))
    return {"right": f"feature{'s' if alike.sum() > 1 else ''} {shown}", "rest": "0" if zero else "wrong"}


def _right_features(yours: np.ndarray, right: np.ndarray) -> np.ndarray:
    size = np.abs(right).max(0) if right.ndim > 1 else np.abs(right).max()  # a sum may be near 0 in one feature
    near = np.abs(yours - right) <= EXACT * size  # one with a large variance is near in spite of a wrong eps
    return near.all(0) if right.ndim > 1 else near


def _values(table: Sequence[Candidate], probe: Probe, step: Step) -> list[tuple[Pick, np.ndarray]]:
    """Each candidate of a table with its numbers on this probe."""
    return [(Pick(index, each.code), each.of(probe, step)) for index, each in enumerate(table)]


def _denominators(found: Line, probe: Probe, step: Step, places: Places, tolerance: float) -> Iterator[Formula]:
    """Each gain with each denominator that explains the slopes."""
    use = found.usable
    spreads = _values(places.spreads, probe, step)
    for gain, values in _values(places.gains, probe, step):
        denominator = values[use] / found.slope[use]
        if np.any(denominator <= 0):
            continue
        if np.ptp(denominator) <= tolerance * denominator.max():
            yield Formula(gain, constant=float(denominator[0]))
            continue
        for spread, of_features in spreads:
            yield from _forms(Formula(gain, spread), denominator, of_features[use], tolerance)


def _forms(start: Formula, denominator: np.ndarray, spread: np.ndarray, tolerance: float) -> Iterator[Formula]:
    if np.ptp(spread) == 0:
        return
    for form in FORMS:
        if form.of_spread != 1 and np.any(spread < 0):
            continue
        target = denominator**form.power
        coefficients = fit([spread**form.of_spread, np.ones_like(spread)], target, tolerance)
        if coefficients is not None and coefficients[0] > 0:
            yield replace(start, form=form, factor=float(coefficients[0]), constant=float(coefficients[1]))


def _centres(part: Formula, found: Line, probe: Probe, centres, tolerance: float) -> Iterator[Formula]:
    """The centre and the shift that explain the heights; neither where none does."""
    use, slope = found.usable, found.slope
    size = np.abs(found.height) + np.abs(slope * probe.mean)
    explained = False
    parts = candidates.Line(probe.scale, probe.offset, slope, probe.epsilon)
    for index, shift in enumerate(SHIFTS):
        added = shift.of(parts)
        for centre, of_features in centres:
            height = added + slope * (probe.mean - of_features)
            if np.all((np.abs(found.height - height) <= tolerance * size)[use]):
                explained = True
                yield replace(part, centre=centre, shift=Pick(index, shift.code))
    if not explained:
        yield part
