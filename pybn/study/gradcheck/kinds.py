"""What kind of error a wrong gradient looks like, in words.

The tests run from the plain (zero, a sign, a factor) to what belongs to batch normalization: its
gradient is, for each feature, a combination of dy, a constant and x, whose three coefficients are
fitted to the right gradient and to the wrong one, and compared term by term.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# A hypothesis explains an error when it leaves a hundredth of it.
EXPLAINED = 1e-2
# Three coefficients fit three elements whatever they are; from five on a fit says something.
LEAST_FOR_A_FIT = 5


class Wrong(NamedTuple):
    """One wrong gradient: what the vjp gave, what is right, and what it belongs to."""

    given: np.ndarray
    right: np.ndarray
    inputs: Sequence[np.ndarray]
    which: int
    dy: np.ndarray

    def explained_by(self, guess: np.ndarray) -> bool:
        """Whether `guess` is what was given, up to a hundredth of the error."""
        return bool(np.linalg.norm(self.given - guess) <= EXPLAINED * _distance(self))


def kind_of_error(wrong: Wrong) -> str:
    """A phrase: the first explanation that fits."""
    if wrong.given.shape != wrong.right.shape:
        return _shape(wrong)
    if not np.isfinite(wrong.given).all():
        return f"not finite in {np.sum(~np.isfinite(wrong.given))} of {wrong.given.size} elements"
    for explain in (_plain, _factor, _forgotten_input, _transposed, _terms, _constant, _along_x):
        if phrase := explain(wrong):
            return phrase
    return "no simple kind of error"


def _shape(wrong: Wrong) -> str:
    phrase = f"of shape {wrong.given.shape}, not {wrong.right.shape}"
    if wrong.given.T.shape == wrong.right.shape and np.allclose(wrong.given.T, wrong.right, rtol=1e-4):
        return f"transposed: {phrase}"
    return phrase


def _plain(wrong: Wrong) -> str | None:
    if not wrong.given.any():
        return "zero everywhere, as if the output did not depend on this input"
    if not wrong.right.any():
        return "not zero, though the output does not depend on this input"
    if wrong.explained_by(-wrong.right):
        return "of the wrong sign"
    return None


def _factor(wrong: Wrong) -> str | None:
    factor = _ratio(wrong.given, wrong.right)
    if not wrong.explained_by(factor * wrong.right):
        return None
    return f"right but for a factor: {factor:.6g} times too large{_named(factor, wrong.inputs)}"


def _ratio(given: np.ndarray, right: np.ndarray) -> float:
    """The factor c for which c * right is nearest to given."""
    return float(np.vdot(given, right) / np.vdot(right, right))


def _named(factor: float, inputs: Sequence[np.ndarray]) -> str:
    """Which sizes of an input multiply to this factor, or to one over it."""
    for a in inputs:
        for number in range(1, a.ndim + 1):
            for axes in itertools.combinations(range(a.ndim), number):
                size = math.prod(a.shape[axis] for axis in axes)
                for power, words in ((1, ""), (-1, "1 / ")):
                    if size > 1 and math.isclose(factor, float(size) ** power, rel_tol=1e-4):
                        return f" ({words}{size}, the size of axes {axes} of shape {a.shape})"
                if size > 1 and math.isclose(factor, size / (size - 1), rel_tol=1e-4):
                    return f" ({size} / {size - 1}: n - 1 for n, with n the size of axes {axes} of shape {a.shape})"
    return ""


def _forgotten_input(wrong: Wrong) -> str | None:
    """A factor that is an input, one value for each feature."""
    for number, other in enumerate(wrong.inputs):
        if not other.all():  # a factor 0 cannot be divided out
            continue
        for values in _spread(other, wrong.right.shape):
            if wrong.explained_by(wrong.right / values):
                return f"right but for the factor input {number}, which is forgotten"
            if wrong.explained_by(wrong.right * values):
                return f"right but for the factor input {number}, which is there once too often"
    return None


def _spread(values: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`values` along each choice of axes of `shape` that have its sizes."""
    for axes in itertools.combinations(range(len(shape)), values.ndim):
        if tuple(shape[axis] for axis in axes) == values.shape:
            yield values.reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])


def _transposed(wrong: Wrong) -> str | None:
    for order in itertools.permutations(range(wrong.right.ndim)):
        other = wrong.right.transpose(order)
        if order != tuple(range(wrong.right.ndim)) and other.shape == wrong.given.shape and wrong.explained_by(other):
            return f"transposed: right with its axes in the order {order}"
        mixed = other.reshape(wrong.given.shape)
        if order != tuple(range(wrong.right.ndim)) and wrong.explained_by(mixed):
            return f"transposed in memory: the right numbers, with axes {order}, reshaped without moving the axes back"
    return None


# --- the three terms of batch normalization's gradient ----------------------------------------


def _feature_axes(ndim: int) -> Iterator[tuple[int, ...]]:
    for number in range(1, ndim):
        yield from itertools.combinations(reversed(range(ndim)), number)


def _columns(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Rows x features."""
    moved = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    return moved.reshape(-1, math.prod(a.shape[axis] for axis in axes))


def _terms(wrong: Wrong) -> str | None:
    """Fit dy, 1 and x - mean to each feature of the right and of the given gradient, and compare the coefficients."""
    x = wrong.inputs[wrong.which]
    if wrong.dy.shape != x.shape:
        return None
    for axes in _feature_axes(x.ndim):
        dy_columns, x_columns = _columns(wrong.dy, axes), _columns(x, axes)
        if len(x_columns) < LEAST_FOR_A_FIT:
            continue
        noise = 1e-6 * float(np.linalg.norm(wrong.right))
        right = _coefficients(_columns(wrong.right, axes), dy_columns, x_columns, noise)
        leaves = noise + EXPLAINED * _distance(wrong)
        given = _coefficients(_columns(wrong.given, axes), dy_columns, x_columns, leaves)
        if right is not None and given is not None:
            return _compared(right, given, wrong.inputs)
    return None


def _distance(wrong: Wrong) -> float:
    return float(np.linalg.norm(wrong.given - wrong.right))


def _coefficients(gradient: np.ndarray, dy: np.ndarray, x: np.ndarray, leaves: float) -> np.ndarray | None:
    """Of dy, 1 and x - mean, for each feature; None where they leave more of the gradient than `leaves`."""
    found, rest = [], 0.0
    for g, d, v in zip(gradient.T, dy.T, x.T, strict=True):
        basis = np.stack([d, np.ones_like(v), v - v.mean()], axis=1)
        coefficients = np.linalg.lstsq(basis, g, rcond=None)[0]
        found.append(coefficients)
        rest += float(np.sum((g - basis @ coefficients) ** 2))
    return np.array(found) if math.sqrt(rest) <= leaves else None


def _compared(right: np.ndarray, given: np.ndarray, inputs: Sequence[np.ndarray]) -> str | None:
    """The first of the three coefficients (dy's own, the mean's, the variance's) that is not in proportion."""
    direct, mean, variance = (_ratio(given[:, term], right[:, term]) for term in range(3))
    if not _proportional(given[:, 0], right[:, 0], direct):
        return "right in form, with another factor in each feature"
    mean, variance = mean / direct, variance / direct
    wrong_mean, wrong_variance = (abs(ratio - 1) > 1e-3 for ratio in (mean, variance))
    if wrong_mean and wrong_variance:
        if abs(mean) < 1e-3 and abs(variance) < 1e-3:
            return "without the paths through the mean and the variance, as if the statistics did not depend on x"
        if math.isclose(mean, variance, rel_tol=1e-3):
            of_both = f"the terms of the mean and of the variance are {mean:.6g} times too large"
            return of_both + _named(mean, inputs)
    if wrong_mean:
        return _one_term("mean", "a constant in each feature", mean, inputs)
    if wrong_variance:
        return _one_term("variance", "a projection on x-hat", variance, inputs)
    return None


def _proportional(given: np.ndarray, right: np.ndarray, factor: float) -> bool:
    return bool(np.linalg.norm(given - factor * right) <= 1e-3 * np.linalg.norm(given))


def _one_term(path: str, what: str, ratio: float, inputs: Sequence[np.ndarray]) -> str:
    if abs(ratio) < 1e-3:
        return f"without the path through the {path} ({what} is missing)"
    if math.isclose(ratio, -1, rel_tol=1e-3):
        return f"with the path through the {path} ({what}) of the wrong sign"
    return f"with the path through the {path} ({what}) {ratio:.6g} times too large{_named(ratio, inputs)}"


# --- few elements: the difference itself ------------------------------------------------------


def _constant(wrong: Wrong) -> str | None:
    error = wrong.given - wrong.right
    for axes in _feature_axes(error.ndim):
        columns = _columns(error, axes)
        if len(columns) > 1 and np.linalg.norm(columns - columns.mean(0)) <= EXPLAINED * np.linalg.norm(columns):
            return f"off by a constant in each feature (axes {axes}), as without the path through the mean"
    return None


def _along_x(wrong: Wrong) -> str | None:
    error, x = wrong.given - wrong.right, wrong.inputs[wrong.which]
    for axes in _feature_axes(error.ndim):
        e, v = _columns(error, axes), _columns(x, axes)
        if len(e) < 2:
            continue
        v = v - v.mean(0)
        size = (v**2).sum(0)
        slope = np.divide((e * v).sum(0), size, out=np.zeros_like(size), where=size > 0)
        if np.linalg.norm(e - slope * v) <= EXPLAINED * np.linalg.norm(e):
            return f"off by a multiple of x-hat in each feature (axes {axes}), as without the path through the variance"
    return None
