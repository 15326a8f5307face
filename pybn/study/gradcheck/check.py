"""A vector-Jacobian product against the derivative by numbers: each element, and the whole."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pybn.study.gradcheck.differences import Derivative, Function, StepError, derivative
from pybn.study.gradcheck.kinds import Wrong, kind_of_error

# Rounding does not add up over the elements and a wrong formula does, so the whole of a gradient (its norm)
# is held to a hundredth of rtol: 1e-5 by default.  That finds a factor of 1.0005, and a missing variance path
# where epsilon is a thousand variances (6.7e-5 of the gradient).
WHOLE = 0.01
# A gradient this much smaller than the terms it is the sum of has vanished: what is left of it is rounding.
VANISHED = 1e-9


class CannotJudgeError(ValueError):
    """The numbers at hand cannot tell a right gradient from a wrong one."""


@dataclass(frozen=True)
class InputReport:
    """The gradient by one input: the verdict and its evidence at the worst element."""

    name: str
    ok: bool
    kind: str  # what kind of error it looks like; "" where it is right
    index: tuple[int, ...]
    given: float  # what the vjp says there
    numeric: float  # what the numbers say there
    allowed: float
    whole: float  # norm of the error over the norm of the gradient
    method: str

    @property
    def text(self) -> str:
        """Two lines: the verdict, and the worst element."""
        verdict = "right" if self.ok else f"wrong: {self.kind}"
        return (
            f"  {self.name}: {verdict}\n"
            f"    worst at {list(self.index)}: the vjp gives {self.given:.6g}, {self.method} gives {self.numeric:.6g} "
            f"(allowed {self.allowed:.3g})"
        )


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found, input by input.  True where all is right."""

    inputs: tuple[InputReport, ...]
    seed: int

    @property
    def ok(self) -> bool:
        """Whether the gradient by every input is right."""
        return all(report.ok for report in self.inputs)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def text(self) -> str:
        """The verdict and the evidence, some lines."""
        head = "the gradient is right" if self.ok else "the gradient is wrong"
        return "\n".join([head, *(report.text for report in self.inputs)])

    def __str__(self) -> str:
        return self.text

    def raise_if_wrong(self) -> GradientReport:
        """The report itself; AssertionError with its text where a gradient is wrong."""
        if not self.ok:
            raise AssertionError(self.text)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        inputs = [{**asdict(report), "index": list(report.index)} for report in self.inputs]
        return {"ok": self.ok, "seed": self.seed, "inputs": inputs}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(r.name)}</td><td>{'right' if r.ok else 'wrong: ' + html.escape(r.kind)}</td>"
            f"<td>{list(r.index)}</td><td>{r.given:.6g}</td><td>{r.numeric:.6g}</td><td>{r.method}</td></tr>"
            for r in self.inputs
        )
        head = "".join(f"<th>{name}</th>" for name in ("input", "gradient", "worst at", "vjp", "numbers", "method"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def check_gradients(
    f: Function,
    inputs: Sequence[Any],
    *,
    vjp: Callable[..., Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    seed: int = 0,
) -> GradientReport:
    """Hold `vjp` against the derivative of `f` by complex step or central differences.

    Parameters
    ----------
    f : function of the inputs that returns one float64 array; it gets copies
    inputs : float64 arrays
    vjp : function (dy, *inputs) that returns the gradient by each input, in order; dy is like f's result.
        None for an input means that nothing depends on it
    eps : the step of central differences, small against the scale on which f changes (for batch norm
        the square root of variance + epsilon); shorter and longer ones are tried where it does not settle
    atol, rtol : an element may be off by atol + rtol * its size, a whole gradient by rtol / 100 of its norm
    seed : of the random dy.  Under dy = 1 batch norm's dx is zero, and most wrong ones pass

    Returns
    -------
    GradientReport : `.ok`, `.text`, `.to_dict()`, `.raise_if_wrong()`; a table in a notebook

    Raises
    ------
    TypeError : an input, or f's result, is not float64
    CannotJudgeError : the step is not small; the true gradient vanishes; f is not finite; f or vjp changes its input
    """
    arrays = [_float64(f"inputs[{number}]", value) for number, value in enumerate(inputs)]
    if not arrays:
        raise ValueError("inputs must hold at least one array, got none")
    if not (np.isfinite(eps) and eps > 0):
        raise ValueError(f"eps must be finite and positive, got {eps!r}")
    for name, tolerance in (("atol", atol), ("rtol", rtol)):
        if not 0 <= tolerance < np.inf:  # within NaN is nothing, and within infinity everything
            raise ValueError(f"{name} must be finite and not negative, got {tolerance!r}")
    result = _float64("the result of f", _untouched(f, arrays, "f"))
    if not np.isfinite(result).all():
        raise CannotJudgeError(f"f must be finite at the inputs, got {np.sum(~np.isfinite(result))} NaN or infinities")
    # A stream of its own: x drawn from default_rng(seed) too would make dy equal x_hat, along which dx vanishes.
    dy = np.random.default_rng([seed, 1]).standard_normal(np.shape(result))
    gradients = _gradients(vjp, dy, arrays)
    reports = []
    for which, (name, gradient) in enumerate(zip(_names(f, len(arrays)), gradients, strict=True)):
        right = _derivative(f, arrays, which, dy, eps, result)
        reports.append(_judged(name, Wrong(gradient, right.value, arrays, which, dy), right, atol, rtol))
    return GradientReport(tuple(reports), seed)


def _judged(name: str, given: Wrong, right: Derivative, atol: float, rtol: float) -> InputReport:
    """Each element within atol + rtol of its size, the whole within rtol / 100; and what the differences lose."""
    if given.given.shape != right.value.shape or not np.isfinite(given.given).all():
        return _unusable(name, given, right)
    error = np.abs(given.given - right.value)
    allowed = atol + rtol * np.abs(right.value) + right.error
    size, whole = np.linalg.norm(right.value), float(np.linalg.norm(error))
    ok = bool((error <= allowed).all() and whole <= WHOLE * rtol * size + 3 * np.linalg.norm(right.error))
    index = tuple(map(int, np.unravel_index(np.argmax(_over(error, allowed)), error.shape))) if error.size else ()
    return InputReport(
        name=name,
        ok=ok,
        kind="" if ok else kind_of_error(given),
        index=index,
        given=float(given.given[index]) if error.size else 0.0,
        numeric=float(right.value[index]) if error.size else 0.0,
        allowed=float(allowed[index]) if error.size else 0.0,
        whole=whole / float(size) if size > 0 else whole,
        method=right.method,
    )


def _over(error: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """How often the error is what is allowed; an element without an error is right where none is allowed too."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / allowed)


def _unusable(name: str, given: Wrong, right: Derivative) -> InputReport:
    """A gradient of another shape, or with NaN in it."""
    index = (0,) * right.value.ndim
    at = float(given.given[index]) if given.given.shape == right.value.shape and right.value.size else float("nan")
    numeric = float(right.value[index]) if right.value.size else 0.0
    return InputReport(name, False, kind_of_error(given), index, at, numeric, 0.0, float("inf"), right.method)


def _derivative(
    f: Function, arrays: list[np.ndarray], which: int, dy: np.ndarray, eps: float, result: np.ndarray
) -> Derivative:
    """The derivative by numbers, refused where it says nothing."""
    try:
        right = derivative(f, arrays, which, dy, eps)
    except StepError as error:
        raise CannotJudgeError(str(error)) from None
    if not np.isfinite(right.value).all():
        raise CannotJudgeError(f"f must be finite near the inputs, got NaN or infinity around input {which}")
    terms = max(right.size, _terms_by_rounding(f, arrays, which, dy, result))
    largest = np.abs(right.value).max(initial=0.0)
    if right.size > 0 and largest <= max(VANISHED * terms, 10 * float(right.error.max(initial=0.0))):
        raise CannotJudgeError(
            f"the gradient by input {which} must not vanish under this cotangent, got at most {largest:.3g} from terms "
            f"of the size of {terms:.3g}: rounding alone would decide (the sum of batch norm's outputs does not depend "
            "on x; let f return the outputs, not their sum)"
        )
    return right


def _terms_by_rounding(f: Function, arrays: list[np.ndarray], which: int, dy: np.ndarray, result: np.ndarray) -> float:
    """The size of the terms that cancel inside f, where it returns their sum: from what a rounding of x changes."""
    x, rng = arrays[which], np.random.default_rng(0)
    spread = float(np.abs(x).max(initial=0.0))
    if spread == 0:
        return 0.0
    changes = []
    for _ in range(4):
        moved = [a.copy() for a in arrays]
        moved[which] = np.nextafter(x, rng.choice([-np.inf, np.inf], x.shape))
        changes.append(abs(float((dy * (f(*moved) - result)).sum())))
    return max(changes) / (np.finfo(np.float64).eps * spread)


def _gradients(vjp: Callable[..., Any], dy: np.ndarray, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What vjp returns, one array for each input."""
    given = _untouched(vjp, [dy, *arrays], "vjp")
    if not isinstance(given, tuple | list):
        given = (given,)
    if len(given) != len(arrays):
        raise ValueError(f"vjp must return one gradient for each of {len(arrays)} inputs, got {len(given)}")
    return [np.zeros(a.shape) if g is None else np.asarray(g, np.float64) for g, a in zip(given, arrays, strict=True)]


def _untouched(function: Callable[..., Any], arrays: list[np.ndarray], name: str) -> Any:
    """The result on copies; an error where the function changed one of them."""
    copies = [a.copy() for a in arrays]
    result = function(*copies)
    for number, (copy, original) in enumerate(zip(copies, arrays, strict=True)):
        if not np.array_equal(copy, original, equal_nan=True):
            raise CannotJudgeError(
                f"{name} must leave its arguments as they are, it changed argument {number} in place"
            )
    return result


def _float64(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype != np.float64:
        raise TypeError(
            f"{name} must be float64, got {array.dtype}: in float32 rounding hides errors of a thousandth; "
            "convert with astype(numpy.float64)"
        )
    return array


def _names(f: Function, count: int) -> list[str]:
    """The names of f's parameters, or "input 0", "input 1", ..."""
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):  # a builtin without a signature
        names = []
    return names[:count] if len(names) >= count else [f"input {number}" for number in range(count)]
