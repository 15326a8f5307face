"""The student's functions behind one door: arguments copied, answers brought into form, habits noted.

The interface is the course's, `forward(x, gamma, beta, bn_param) -> (out, cache)` and
`backward(dout, cache) -> (dx, dgamma, dbeta)`; the cache is theirs and is never looked into.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pybn.study.adapters import LAYER
from pybn.study.adapters.not_judged import NotJudged, gathered
from pybn.study.coursework.student import sandbox
from pybn.study.coursework.student.probes import Own

TOGETHER = 20  # limits that all calls of one function may take
BEYOND = 5.0  # another process keeps the limit itself, and is ended a second after it

ROLE = {"alternative_backward": "alternative"}  # what the arguments call it
ROLES = ("forward", "backward", "alternative", "spatial_forward", "spatial_backward")

# Names that tell nothing, the adapters' own among them.
_NAMELESS = ("", "<lambda>", "forward", "backward", "flat_forward", "flat_backward", "wrapper", "wrapped")
_SPOKEN = {
    "forward": "forward",
    "backward": "backward",
    "alternative": "the alternative backward",
    "spatial_forward": "the 4-D forward",
    "spatial_backward": "the 4-D backward",
}


@dataclass(frozen=True)
class Failure:
    """Why a call gave nothing to judge: kind is unfinished, raised, hung, none, result-none, type or shape."""

    kind: str
    message: str


@dataclass
class Step:
    """One forward call: the output, the cache, and the averages that bn_param holds afterwards."""

    out: Any = None  # array like x, or None as the next two where there is none
    cache: Any = None
    mean: Any = None  # array (d,)
    variance: Any = None  # array (d,)
    state: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass
class Gradients:
    """One backward call: dx like x, one dscale and one doffset a feature."""

    dx: Any = None  # array like x, or None
    dscale: Any = None  # array (d,), or None
    doffset: Any = None
    failure: Failure | None = None


class Student:
    """The functions that were handed in, called within a time limit on copies."""

    def __init__(
        self, functions: dict[str, Callable[..., Any] | None], limit: float, convention: str | None = None
    ) -> None:
        self.functions, self.limit, self.convention = functions, limit, convention
        self.habits: dict[tuple[str, str], str] = {}  # (kind, part) -> the first time it was seen
        self.failures: dict[str, Failure] = {}  # part -> the first failure of one of its calls
        self._hung: dict[tuple[str, str], Failure] = {}
        self._spent: dict[tuple[str, str], float] = {}  # seconds of all calls
        self._quickest: dict[tuple[str, str], float] = {}  # seconds of one call
        apart = any(getattr(function, "apart", False) for function in functions.values())
        self.patience = limit + BEYOND if apart else limit

    def function(self, role: str) -> Callable[..., Any]:
        """The function that was handed in for this role."""
        function = self.functions[role]
        if function is None:
            raise LookupError(f"no function was handed in as {role}")
        return function

    def own_name(self, role: str) -> str:
        """What the student calls this function; "" where that tells nothing."""
        own = getattr(self.functions.get(role), "__name__", "")
        return "" if own in _NAMELESS else own

    def name(self, role: str) -> str:
        """What the student calls this function, or what it is."""
        return self.own_name(role) or _SPOKEN[role]

    def has(self, role: str) -> bool:
        """Whether this function was handed in."""
        return self.functions.get(role) is not None

    @property
    def not_judged(self) -> tuple[NotJudged, ...]:
        """What could not be set or read in what was handed in; complete after the calls."""
        return gathered(self.functions.values())

    @property
    def seen(self) -> tuple[tuple[str, str, str], ...]:
        """Code, part and name of slips that an adapter has seen and its own settings hide."""
        return tuple(each for function in self.functions.values() for each in getattr(function, "seen", ()))

    @property
    def slowest(self) -> float:
        """Seconds that a call of the slowest function takes; on a busy machine one call in a hundred takes long."""
        return np.inf if self._hung else max(self._quickest.values(), default=0.0)

    @property
    def left(self) -> float:
        """Seconds that are left of what all calls of one function may take."""
        return max(TOGETHER * self.limit - max(self._spent.values(), default=0.0), 0.0)

    @property
    def images_alone(self) -> bool:
        """Whether the 2-D pair is the 4-D one on images of one pixel: then neither can vouch for the other."""
        return bool(getattr(self.functions.get("forward"), "of_images", False))

    @property
    def counts_the_new(self) -> bool:
        """Whether a class counts momentum as PyTorch does: its own default is below one half."""
        return bool(getattr(self.functions.get("forward"), "counts_the_new", False))

    @property
    def keeps_momentum(self) -> bool:
        """Whether a class has a momentum that was set, and read back."""
        return bool(getattr(self.functions.get("forward"), "keeps_momentum", False))

    @property
    def rule(self) -> dict[str, bool]:
        """How a step must move the averages, by the convention asked for, or the class's own."""
        pytorch = self.convention == "pytorch" or (self.convention is None and self.counts_the_new)
        return {"counts_the_new": pytorch, "sample": pytorch or self.convention == "paper"}

    @property
    def own(self) -> Own:
        """The settings that are written into a class."""
        epsilon, momentum = getattr(self.functions.get("forward"), "own", (None, None))
        return Own(epsilon, momentum)

    def note(self, kind: str, part: str, detail: str) -> None:
        """Keep the first occurrence of a habit."""
        self.habits.setdefault((kind, part), detail)

    def forward(self, x, scale, offset, *, epsilon, momentum, averages=None, test=False, role="forward") -> Step:
        """One forward call in training or test mode, from given averages or from none."""
        mode = "test" if test else "train"
        part = "spatial" if role.startswith("spatial") else "test" if test else "training"
        state: dict[str, Any] = {"mode": mode, "eps": epsilon, "momentum": momentum}
        if averages is not None:
            state |= {"running_mean": np.array(averages[0]), "running_var": np.array(averages[1])}
        given = dict(state)

        def form(value: Any) -> Step:
            self._compare_state(given, state, averages, part)
            return self._step(value, state, x, part)

        step, failure = self._call(role, mode, part, [("x", x), ("gamma", scale), ("beta", offset)], state, form)
        return Step(state=state, failure=failure) if failure else step

    def again(self, x, scale, offset, state) -> Step:
        """A further training step with the bn_param that the one before has left."""
        step, failure = self._call(
            "forward",
            "train",
            "training",
            [("x", x), ("gamma", scale), ("beta", offset)],
            state,
            lambda value: self._step(value, state, x, "training"),
        )
        return Step(state=state, failure=failure) if failure else step

    def gradients(self, role, dy, cache) -> Gradients:
        """One backward call; the shapes of dgamma and dbeta are brought into form and noted."""
        part = "spatial" if role.startswith("spatial") else role
        form = functools.partial(self._three, dy=dy, part=part)
        got, failure = self._call(role, "backward", part, [("dout", dy)], cache, form)
        return Gradients(failure=failure) if failure else got

    def batch(self, role, calls) -> list[Any] | None:
        """Many calls under one limit: the arrays they return (None for what is none), or None where one failed."""
        function = self.function(role)
        outcome = sandbox.run(lambda: [_arrays(function(*make())) for make in calls], limit=self.patience)
        return None if outcome.failure else outcome.value

    def _call(self, role, mode, part, arrays, last, form) -> tuple[Any, Failure | None]:
        """Call one function, and bring what it gives into form, all of it within the limit."""
        if (role, mode) in self._hung:
            return None, self._hung[role, mode]
        function, copies = self.function(role), [np.array(array) for _, array in arrays]

        def called() -> Any:
            value = function(*copies, last)
            nothing = value is None or (type(value) in (tuple, list) and all(each is None for each in value))
            return Failure("none", "returned None") if nothing else form(value)

        start = time.monotonic()
        outcome = sandbox.run(called, limit=self.patience)
        self._note_call(outcome, part, arrays, copies, function)
        failure = outcome.value if isinstance(outcome.value, Failure) else self._failure(outcome, role, mode)
        self._spend(role, mode, time.monotonic() - start)
        if failure:
            self.failures.setdefault(part, failure)
        return outcome.value, failure

    def _note_call(self, outcome, part, arrays, copies, function) -> None:
        for (name, array), copy in zip(arrays, copies, strict=True):
            if not np.array_equal(array, copy, equal_nan=True):
                self.note("changed", part, name)
        printed = outcome.printed.strip()
        if outcome.printed:
            self.note("printed", part, printed.splitlines()[0][:60] if printed else "")
        threads = outcome.threads + getattr(function, "threads", 0)
        if threads:
            self.note("threads", part, str(threads))
        if getattr(function, "calls_pybn", False):
            self.note("pybn", part, "")

    def _spend(self, role: str, mode: str, seconds: float) -> None:
        """A function whose calls take long each must not keep a teacher waiting for a hundred of them."""
        self._spent[role, mode] = self._spent.get((role, mode), 0.0) + seconds
        self._quickest[role, mode] = min(self._quickest.get((role, mode), seconds), seconds)
        if self._spent[role, mode] > TOGETHER * self.limit:
            message = f"took more than {TOGETHER * self.limit:g} seconds in all of its calls"
            self._hung.setdefault((role, mode), Failure("hung", message))

    def _failure(self, outcome, role, mode) -> Failure | None:
        if outcome.failure:
            kind = "unfinished" if outcome.unfinished else outcome.failure
            failure = Failure(kind, outcome.message)
            if kind == "hung":  # once is enough: each further call would cost the whole limit again
                self._hung[role, mode] = failure
            return failure
        return None

    def _compare_state(self, given, state, averages, part) -> None:
        """What else the call did to bn_param: new keys, changed settings, arrays written in place."""
        for key in ("mode", "eps", "momentum"):
            if key not in state or not np.array_equal(state[key], given[key]):
                self.note("setting", part, key)
        extra = sorted(str(key) for key in set(state) - {*given, "running_mean", "running_var", LAYER})
        if extra:
            self.note("keys", part, ", ".join(extra[:4]))
        if averages is None:
            return
        for key, original in zip(("running_mean", "running_var"), averages, strict=True):
            if not np.array_equal(given[key], original):
                self.note("in place", part, key)

    def _step(self, value, state, x, part) -> Step:
        if isinstance(value, tuple | list) and len(value) == 2 and not np.isscalar(value[0]):
            out, cache = value
            if getattr(out, "shape", None) != x.shape == getattr(cache, "shape", None):
                order = Failure("type", "returns cache, out: the order is out, cache")
                self.failures.setdefault(part, order)
                return Step(state=state, failure=order)
        else:
            out, cache = value, None
            self.note("type", part, f"must return out, cache; got {_described(value)}")
        array, failure = _array(out, "out", x.shape)
        if array is not None and not isinstance(out, np.ndarray):
            self.note("type", part, f"out must be an array, got {type(out).__name__}")
        if failure:
            self.failures.setdefault(part, failure)
        mean, variance = (self._stored(state, key, x, part) for key in ("running_mean", "running_var"))
        return Step(array, cache, mean, variance, state, failure)

    def _stored(self, state, key, x, part) -> np.ndarray | None:
        if state.get(key) is None:
            return None
        features = x.shape[1]
        array, _ = _array(state[key], key, None)
        if array is None:
            self.note("average shape", part, f"{key} is {_described(state[key])}")
            return None
        if array.shape != (features,):
            self.note("average shape", part, f"{key} has shape {array.shape}, not {(features,)}")
        return _one_a_feature(array, features)

    def _three(self, value, dy, part) -> Gradients:
        if isinstance(value, tuple | list) and len(value) == 3:
            return self._in_form(value, dy, part)
        failure = Failure("type", f"must return dx, dgamma, dbeta; got {_described(value)}")
        self.failures.setdefault(part, failure)
        return Gradients(failure=failure)

    def _in_form(self, value, dy, part) -> Gradients:
        places = [place for place, each in enumerate(value, 1) if getattr(each, "shape", None) == dy.shape]
        if len(places) == 1 and places[0] > 1:
            self.note("order", part, str(places[0]))
        dx, failure = _array(value[0], "dx", dy.shape)
        if failure is not None:
            self.failures.setdefault(part, failure)
            self.note("dx shape", part, failure.message)
        features = dy.shape[1]
        parameters: list[Any] = []
        for name, given in zip(("dgamma", "dbeta"), value[1:], strict=True):
            array, _ = _array(given, name, None)
            if array is None or array.shape != (features,):
                self.note(f"{name} shape", part, f"{name} is {_described(given)}, not of shape {(features,)}")
            parameters.append(None if array is None else _one_a_feature(array, features))
        return Gradients(dx, parameters[0], parameters[1])


def _one_a_feature(array: np.ndarray, features: int) -> np.ndarray | None:
    """Shape (1, D), (D, 1), (1, C, 1, 1) as (D,); of a (D, D) product the diagonal, which holds the sums."""
    if array.size == features:
        return array.reshape(features)
    return np.diagonal(array) if array.shape == (features, features) else None


def _array(value: Any, name: str, shape: tuple[int, ...] | None) -> tuple[np.ndarray | None, Failure | None]:
    """`value` as a float array of this shape, or why it is not one."""
    if value is None:
        return None, Failure("result-none", f"{name} is None")
    try:
        array = np.array(value)  # a copy: a layer may write its next result into the same buffer
        if array.dtype.kind == "c":
            return None, Failure("type", f"{name} must be real, got {array.dtype}")
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None, Failure("type", f"{name} must be an array, got {_described(value)}")
    if shape is not None and array.shape != shape:
        return None, Failure("shape", f"{name} must have shape {shape}, got {array.shape}")
    return array, None


def _arrays(value: Any) -> Any:
    """What a call returned, each element an array; None for what is none, such as the cache."""
    if not isinstance(value, tuple | list):
        return _array(value, "", None)[0]
    return [_array(each, "", None)[0] for each in value]


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"
