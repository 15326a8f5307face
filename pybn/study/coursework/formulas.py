"""Which formula gives this output: gain, centre, denominator and offset found one after the other.

An output that treats each feature apart is a line in x:  out = gain * (x - centre) / denominator + shift.
Its slope says gain / denominator; a power of the denominator is then a line in the spread,
denominator^p = factor * spread^q + constant, whose factor and constant are read off, not guessed: factor
n/(n-1) is the sample variance, constant 2 * eps is eps added twice.  Its height at the batch mean says
centre and shift.  So a handful of names in each place cover their whole product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

# In float64 right solutions agree to 1e-12 on the probes, in float32 to 1e-5; wrong ones are 1e-3 off and more.
EXACT, SINGLE = 1e-8, 2e-4

# How the denominator is made of the spread: the powers (p, q) of the line above.
FORMS = {
    "root": (2.0, 1.0),  # sqrt(spread + eps)
    "outside": (1.0, 0.5),  # sqrt(spread) + eps
    "no root": (1.0, 1.0),  # spread + eps
    "root of square": (2.0, 2.0),  # sqrt(spread^2 + eps)
    "root twice": (4.0, 1.0),  # the fourth root
    "squared": (0.5, 1.0),  # (spread + eps)^2
    "multiplied": (-2.0, 1.0),  # times sqrt(spread + eps)
}


@dataclass(frozen=True)
class Line:
    """out as a line in x for each feature: slope, and height where x has its batch mean."""

    slope: np.ndarray
    height: np.ndarray
    usable: np.ndarray  # features without NaN


@dataclass(frozen=True)
class Quantities:
    """What a formula may be made of, by name; the first of each mapping is the right one."""

    gains: Mapping[str, np.ndarray]
    spreads: Mapping[str, np.ndarray]
    centres: Mapping[str, np.ndarray]
    offset: np.ndarray
    mean: np.ndarray  # of the batch: where the line's height is taken


@dataclass(frozen=True)
class Formula:
    """One explanation of one output; factor and constant as found."""

    gain: str
    spread: str
    form: str
    factor: float
    constant: float
    centre: str = ""
    shift: str = ""

    @property
    def of_variance(self) -> float:
        """The factor of the spread itself, where the line is in its root or its square."""
        return 1.0 if self.form == "constant" else self.factor ** (1 / FORMS[self.form][1])

    @property
    def key(self) -> tuple[str, ...]:
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


def explanations(found: Line, quantities: Quantities, tolerance: float) -> list[Formula]:
    """Every formula that gives this line, the denominator's and then the centre's."""
    return [
        whole
        for part in _denominators(found, quantities, tolerance)
        for whole in _centres(part, found, quantities, tolerance)
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
    coefficients, _, rank, _ = np.linalg.lstsq(matrix, target * weight, rcond=1e-12)
    rest = np.abs(matrix @ coefficients - target * weight)
    return coefficients if rank == len(columns) and rest.max() <= tolerance else None


def _denominators(found: Line, quantities: Quantities, tolerance: float) -> Iterator[Formula]:
    """Each gain with each denominator that explains the slopes."""
    use = found.usable
    for gain, values in quantities.gains.items():
        denominator = values[use] / found.slope[use]
        if np.any(denominator <= 0):
            continue
        if np.ptp(denominator) <= tolerance * denominator.max():
            yield Formula(gain, "", "constant", 0.0, float(denominator[0]))
            continue
        for spread, of_features in quantities.spreads.items():
            yield from _forms(Formula(gain, spread, "", 0.0, 0.0), denominator, of_features[use], tolerance)


def _forms(start: Formula, denominator: np.ndarray, spread: np.ndarray, tolerance: float) -> Iterator[Formula]:
    if np.ptp(spread) == 0:
        return
    for form, (power, of_spread) in FORMS.items():
        if of_spread != 1 and np.any(spread < 0):
            continue
        target = denominator**power
        coefficients = fit([spread**of_spread, np.ones_like(spread)], target, tolerance)
        if coefficients is not None and coefficients[0] > 0:
            yield replace(start, form=form, factor=float(coefficients[0]), constant=float(coefficients[1]))


def _centres(part: Formula, found: Line, quantities: Quantities, tolerance: float) -> Iterator[Formula]:
    """The centre and the shift that explain the heights; ("", "") where none does."""
    use, slope = found.usable, found.slope
    size = np.abs(found.height) + np.abs(slope * quantities.mean) + np.abs(quantities.offset)
    explained = False
    scale = next(iter(quantities.gains.values()))
    for shift, values in shifts(scale, quantities.offset, slope).items():
        for centre, of_features in quantities.centres.items():
            height = values + slope * (quantities.mean - of_features)
            if np.all((np.abs(found.height - height) <= tolerance * size)[use]):
                explained = True
                yield replace(part, centre=centre, shift=shift)
    if not explained:
        yield part


def shifts(scale: np.ndarray, offset: np.ndarray, slope: np.ndarray) -> dict[str, np.ndarray]:
    """What may have been added, and where: the first is right."""
    return {
        "offset": offset,
        "none": np.zeros_like(offset),
        "scaled": scale * offset,
        "before": slope * offset,
        "subtracted": -offset,
        "scale": scale,
    }
