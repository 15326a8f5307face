"""The derivative of a function of arrays by numbers alone, with an estimate of its own error.

Complex step: Im f(x + ih) / h has no subtraction in it, so h may be 1e-20 and the answer is exact to
rounding (Squire & Trapp 1998); it needs a function that is analytic in every step, which `np.abs`,
`np.var` and a comparison are not.  So it is used where it agrees with central differences along one
random direction, and central differences elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Function = Callable[..., np.ndarray]

COMPLEX_STEP = 1e-20
# Steps tried for one element, as multiples of eps, each beside a quarter of itself: larger ones where
# rounding drowns the difference (values of 1e6), smaller ones where the function bends (deviations of 1e-3).
MULTIPLES = (1, *(4.0**power for power in (1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 8, -8, 10)))
# Two steps that agree to this part of the derivative have settled; the search ends there.
SETTLED = 1e-7


class Derivative(NamedTuple):
    """d(sum of cotangent * f) by one input: values, what each may be off by, and how it was found."""

    value: np.ndarray
    error: np.ndarray
    size: float  # the largest element before the terms of the sum cancelled
    method: str  # "complex step" or "central differences"


class StepError(ValueError):
    """The step is not small against the scale on which the function changes."""


class _Problem(NamedTuple):
    """Which derivative is asked for, of what, where."""

    f: Function
    inputs: Sequence[np.ndarray]
    which: int
    cotangent: np.ndarray
    eps: float

    @property
    def x(self) -> np.ndarray:
        return self.inputs[self.which]

    def moved(self, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The input after the change, and f there; f gets copies."""
        arguments = [a.copy() for a in self.inputs]
        arguments[self.which] = there = self.x + change
        return there, np.asarray(self.f(*arguments))


def derivative(f: Function, inputs: Sequence[np.ndarray], which: int, cotangent: np.ndarray, eps: float) -> Derivative:
    """d(sum of cotangent * f(*inputs)) by inputs[which], element by element.

    StepError where no step settles, or `eps` is far from one that does.
    """
    problem = _Problem(f, inputs, which, cotangent, eps)
    rounding = _rounding(problem)
    return _by_complex_step(problem) if _takes_complex(problem, rounding) else _by_differences(problem, rounding)


# --- complex step ------------------------------------------------------------------------------


def _by_complex_step(problem: _Problem) -> Derivative:
    value, sizes = np.empty(problem.x.shape), np.empty(problem.x.shape)
    for index in np.ndindex(value.shape):
        terms = problem.cotangent * _complex_change(problem, _unit(index, value.shape))
        value[index], sizes[index] = terms.sum(), np.abs(terms).sum()
    return Derivative(value, 1e-14 * sizes, float(sizes.max(initial=0.0)), "complex step")


def _complex_change(problem: _Problem, direction: np.ndarray) -> np.ndarray:
    """The derivative of f along `direction`, in the shape of f."""
    _, result = problem.moved(1j * COMPLEX_STEP * direction)
    return np.imag(result) / COMPLEX_STEP


def _takes_complex(problem: _Problem, rounding: float) -> bool:
    """Whether f computes with complex numbers, and analytically: held against differences along a random direction."""
    direction = np.random.default_rng(0).standard_normal(problem.x.shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a complex number cast to a real one is a warning
            change = _complex_change(problem, direction)
    except Exception:  # f runs on real numbers: whatever it raises here says that it takes no complex ones
        return False
    if change.shape != problem.cotangent.shape:
        return False
    terms = problem.cotangent * change
    along = _Line(problem, direction, rounding).best()
    return bool(abs(terms.sum() - along.value) <= 1e-5 * np.abs(terms).sum() + 10 * along.error)


# --- central differences -----------------------------------------------------------------------


def _by_differences(problem: _Problem, rounding: float) -> Derivative:
    shape = problem.x.shape
    value, error, sizes, first, steps = (np.empty(shape) for _ in range(5))
    for index in np.ndindex(shape):
        line = _Line(problem, _unit(index, shape), rounding)
        value[index], error[index], steps[index] = line.best()
        first[index], sizes[index] = line.quotient(problem.eps), line.size(problem.eps)
    _refuse_unsettled(problem, value, error)
    _refuse_long_steps(problem, value, first, steps)
    return Derivative(value, error, float(sizes.max(initial=0.0)), "central differences")


def _refuse_unsettled(problem: _Problem, value: np.ndarray, error: np.ndarray) -> None:
    """No two neighbouring steps agree: f is not smooth there, or changes on a far smaller scale."""
    unsettled = np.isfinite(value) & ~np.isfinite(error)
    if unsettled.any():
        raise StepError(
            f"{_rule(problem)}: at element {_index(np.argwhere(unsettled)[0])} the difference quotients agree for no "
            f"step from {min(MULTIPLES) * problem.eps / 4:.1g} to {max(MULTIPLES) * problem.eps:.1g}"
        )


def _refuse_long_steps(problem: _Problem, value: np.ndarray, first: np.ndarray, steps: np.ndarray) -> None:
    """A step at which the quotient is a tenth off says more of the step than of the derivative."""
    off = np.where(steps < problem.eps, np.abs(first - value), 0)
    if off.size and off.max() > 0.1 * np.abs(value).max():
        worst = _index(np.unravel_index(np.argmax(off), off.shape))
        raise StepError(
            f"{_rule(problem)}: at element {worst} the difference quotient is {first[worst]:.4g} with it and settles "
            f"at {value[worst]:.4g} with eps={steps[worst]:.1g}"
        )


def _rule(problem: _Problem) -> str:
    return f"eps must be small against the scale on which f changes with input {problem.which}, got eps={problem.eps:g}"


class _Best(NamedTuple):
    value: float
    error: float
    step: float


class _Line:
    """Central differences of sum(cotangent * f) along one direction, each step computed once."""

    def __init__(self, problem: _Problem, direction: np.ndarray, rounding: float):
        self._problem, self._direction, self._rounding = problem, direction, rounding
        self._terms: dict[float, np.ndarray] = {}

    def quotient(self, step: float) -> float:
        return float(self._quotients(step).sum())

    def size(self, step: float) -> float:
        """What the quotient would be if none of its terms cancelled."""
        return float(np.abs(self._quotients(step)).sum())

    def best(self) -> _Best:
        """The quotient of the step that agrees best with four times itself."""
        found = []
        for multiple in MULTIPLES:
            found.append(self._tried(multiple * self._problem.eps / 4))
            if found[-1].error <= SETTLED * abs(found[-1].value):
                break
        return min(found, key=lambda one: one.error)

    def _tried(self, step: float) -> _Best:
        """The quotient; its error is what the longer step says otherwise, and never below what rounding leaves."""
        value, longer, rounding = self.quotient(step), self.quotient(4 * step), self._rounding / step
        difference = abs(longer - value)
        # Far beyond the scale of f both quotients are small, so they differ little: they must agree as well.
        agree = difference <= max(0.1 * abs(value), 0.1 * abs(longer), 10 * rounding)
        return _Best(value, max(difference, rounding) if agree else np.inf, step)

    def _quotients(self, step: float) -> np.ndarray:
        if step not in self._terms:
            ahead, result = self._problem.moved(step * self._direction)
            behind, other = self._problem.moved(-step * self._direction)
            # The distance that was really gone: x + step is rounded, by 1e-10 at x = 1e6.
            gone = np.abs(ahead - behind).sum() / np.abs(self._direction).sum()
            change = self._problem.cotangent * (result - other)
            self._terms[step] = change / gone if gone > 0 else np.full_like(change, np.nan)
        return self._terms[step]


def _rounding(problem: _Problem) -> float:
    """What sum(cotangent * f) may be off by: one rounding of each of its terms."""
    _, result = problem.moved(np.zeros(problem.x.shape))
    return float(np.finfo(np.float64).eps * np.abs(problem.cotangent * result).sum())


def _unit(index: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """1 at the index, 0 elsewhere."""
    direction = np.zeros(shape)
    direction[index] = 1
    return direction


def _index(place: Sequence[np.intp] | np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in place)
