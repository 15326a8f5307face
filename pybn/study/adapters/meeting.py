"""Getting acquainted with a class: how its layers are made, which number has which role, what cannot be done.

Nothing here is a verdict.  Each thing that could not be set or read is kept as a record, so that no
verdict rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.making import Maker, NotMade, has_setup, required, uses_torch
from pybn.study.adapters.modes import Override, find_mode
from pybn.study.adapters.names import NAMES, bare, means
from pybn.study.adapters.places import NotSet, Place, arrays_of, as_array, get, numbers_of, parsed, put, visible
from pybn.study.adapters.roles import ARRAYS, COUNT, FEATURES, Roles, batch, described, find_gradients, find_roles
from pybn.study.adapters.running import STEP, Runner, method


class Met:
    """One class, met once: how its layers are made, called and read.

    dims is 2 for (n, d) and 4 for (n, c, h, w).  `not_judged` holds what could not be set or read.
    """

    def __init__(
        self,
        kind: type,
        *,
        dims: int = 2,
        names: Mapping[str, str] | None = None,
        build: Callable[[int], Any] | None = None,
        mode: Override | None = None,
        acquainted: bool = True,
    ) -> None:
        self.kind, self.dims, self.names, self.mode = kind, dims, dict(names or {}), mode
        self.build, self.roles, self.unread = build, Roles(), set[str]()
        self.records: list[tuple[str, str, str]] = []  # setting, reason, remedy
        self.maker = Maker(kind, dims=dims, build=build)
        self.runner: Runner | None = None
        self.gradients: dict[str, Place] = {}
        self.works = False  # a forward in training ran
        try:
            self._meet(acquainted)
        except NotMade as reason:
            self._record("construction", f"{reason}", "build=lambda features: the layer, ready for its first batch")

    # --- getting acquainted -----------------------------------------------------------------------

    def _meet(self, acquainted: bool) -> None:
        made = self._make_or_refuse()
        self._prepare_runner(made)
        self._turn_columns(made)
        if not acquainted:
            return
        try:
            self._trial({}, True)
        except NotMade:
            raise
        except Exception as error:
            if not self._set_up_by_methods():
                self._blame(error)
                return
            made = self.maker.make(FEATURES, {})
        self.works = True
        self.roles = find_roles(self._trial, made, self.names)
        self._check_settings()
        self._check_mode()
        self._check_gradients()

    def _make_or_refuse(self) -> Any:
        try:
            return self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES)})
        except NotMade:
            raise
        except Exception as error:
            if self.build is None and list(self.maker.parameters):
                raise NotMade(
                    f"{self.kind.__name__}({', '.join(self.maker.parameters)}) cannot be made from the number of "
                    f"features alone: {type(error).__name__}: {error}"
                ) from error
            raise NotMade(f"making a layer raises {type(error).__name__}: {error}") from error

    def _prepare_runner(self, made: Any) -> None:
        forward = method(made, "forward", self.names.get("forward", ""))
        if forward is None:
            raise NotMade(f"the class has no method {', '.join(NAMES['forward'][:4])} and cannot be called")
        call = forward
        try:
            mode = find_mode(made, call, self.mode)
        except LookupError as error:
            raise NotMade(str(error)) from error
        self.runner = Runner(
            torch=uses_torch(self.kind, made),
            mode=mode,
            forward=self.names.get("forward", ""),
            backward=self.names.get("backward", ""),
            output=parsed(self.names["output"]) if "output" in self.names else (),
        )

    def _set_up_by_methods(self) -> bool:
        """Try once more with the methods that make parameters."""
        if not has_setup(self.kind) or self.build:
            return False
        self.maker.needs_setup = True
        try:
            self._trial({}, True)
        except Exception:
            self.maker.needs_setup = False
            return False
        return True

    def _blame(self, error: Exception) -> None:
        """A forward that does not run is the student's, but where it waits for methods or for arrays of its own."""
        if isinstance(error, AttributeError) and has_setup(self.kind):
            methods = [name for name in NAMES["setup"] if callable(getattr(self.kind, name, None))]
            reason = f"forward raises {type(error).__name__}: {error}; the class has {', '.join(methods)}"
            self._record("construction", reason, "build=lambda features: the layer, ready for its first batch")

        elif isinstance(error, AttributeError) and str(error).startswith(("'numpy.ndarray'", "'Tensor'")):
            reason = f"forward wants x to be more than an array: {error}"
            self._record("call", reason, "functions (x, gamma, beta, bn_param) and (dout, cache) around the layer")

    def _turn_columns(self, made: Any) -> None:
        """Parameters of shape (d, 1): examples are columns."""
        assert self.runner is not None
        shapes = {array.shape for array in arrays_of(made, FEATURES).values()}
        self.runner.columns = self.dims == 2 and shapes == {(FEATURES, 1)}

    def _trial(self, settings: Mapping[Place, Any], training: bool) -> tuple[np.ndarray, Any]:
        """One layer, some places written, one forward; for lazy ones a forward before it."""
        layer = self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES)})
        assert self.runner is not None
        x = self._shaped(batch())
        if any(get(layer, place) is None for place in settings):
            self.runner.forward(layer, x, True)
        for place, value in settings.items():
            put(layer, place, value)
        run = self.runner.forward(layer, x, training)
        return self._rows(self.runner.plain(run.out)), layer

    def _shaped(self, rows: np.ndarray) -> np.ndarray:
        if self.dims == 2:
            return rows
        return np.ascontiguousarray(rows.reshape(3, COUNT // 3, 1, FEATURES).transpose(0, 3, 1, 2))

    def _rows(self, out: Any) -> np.ndarray:
        """An output of the trial as (n, d) floats."""
        array = np.asarray(out, float)
        return array.transpose(0, 2, 3, 1).reshape(-1, array.shape[1]) if array.ndim == 4 else array

    # --- what could not be done -------------------------------------------------------------------

    def _record(self, setting: str, reason: str, remedy: str) -> None:
        self.records.append((setting, reason, remedy))

    def _check_settings(self) -> None:
        _, layer = self._trial({}, True)
        unheld = set()
        for role, text in self.names.items():
            if role in ARRAYS and as_array(get(layer, parsed(text))) is None:
                self.roles.places.pop(role, None)
                unheld.add(role)
                has = ", ".join(described(layer))
                self._record("parameters", f"names= says {role} is {text!r}; the class has {has}", "names={...} anew")
        self._read_back(layer)
        for setting, roles in (("parameters", ("gamma", "beta")), ("averages", ("running_mean", "running_var"))):
            told = unheld | {role for role in roles for _, reason, _ in self.records if reason.startswith(f"{role}: ")}
            missing = [role for role in self.roles.missing(*roles) if role not in told]
            if missing:
                self._record(setting, *self._looked_for(missing, layer))
        for role in ("eps", "momentum"):
            if role not in self.roles.places and role not in self.maker.takes:
                self._record("epsilon" if role == "eps" else role, *self._fixed(role))

    def _read_back(self, layer: Any) -> None:
        """Write to every place once: what does not keep it is not set in a judged call either."""
        settings = {"gamma": "parameters", "beta": "parameters", "eps": "epsilon", "momentum": "momentum"}
        for role, place in list(self.roles.places.items()):
            held = as_array(get(layer, place)) if role in ARRAYS else None
            try:
                put(layer, place, 0.25 if held is None else held + 0.25)
            except NotSet as reason:
                del self.roles.places[role]
                self._record(settings.get(role, "averages"), f"{role}: {reason}", f"names={{{role!r}: '...'}}")

    def _looked_for(self, missing: list[str], layer: Any) -> tuple[str, str]:
        wanted = "; ".join(f"{role}: {', '.join(NAMES[role][:4])}, ..." for role in missing)
        reason = f"{' and '.join(missing)} not found. Looked for {wanted}; the class has {', '.join(described(layer))}"
        return reason, "names={" + ", ".join(f"{role!r}: '...'" for role in missing) + "}"

    def _fixed(self, role: str) -> tuple[str, str]:
        word = {"eps": "eps", "momentum": "momentum"}[role]
        value = self._fixed_epsilon() if role == "eps" else None
        shown_value = f" at {value:.3g}" if value is not None else ""
        return f"{word} is fixed{shown_value} in the class, and judged as it is", f"names={{{role!r}: '...'}}"

    def _fixed_epsilon(self) -> float | None:
        """The eps written into the class, from the output of features with small variances."""
        if "gamma" not in self.roles.places:
            return None
        assert self.runner is not None
        x = (batch() - batch().mean(0)) * 10.0 ** -np.arange(FEATURES)
        layer = self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES)})
        out = self._rows(self.runner.plain(self.runner.forward(layer, self._shaped(x), True).out))
        gain = as_array(get(layer, self.roles.places["gamma"]))
        variance, spread = x.var(0), (out / (1.0 if gain is None else gain.ravel())).var(0)
        found = variance / spread - variance
        usable = found[(variance < found) & np.isfinite(found)]
        return float(np.median(usable)) if usable.size > 1 and np.ptp(usable) < 0.05 * usable.max() else None

    def _check_mode(self) -> None:
        assert self.runner is not None
        mode = self.runner.mode
        if (mode.ways and not mode.to_be_tried) or self._modes_differ():
            return
        call = self.runner.forward_name or "forward"
        has = visible(self._trial({}, True)[1])
        reason = f"no way found to ask for test mode: {call} takes no training=, mode=, ..., and the class has {has}"
        setting = "phase" if self._uses_averages() else "mode"
        self._record(setting, reason, "mode='a parameter, attribute or method', or mode=a function (layer, training)")

    def _modes_differ(self) -> bool:
        """Whether torch.no_grad() makes a difference to the output."""
        places = [self.roles.places[role] for role in ("running_mean", "running_var") if role in self.roles.places]
        if len(places) < 2:
            return False
        settings = {place: np.linspace(1.0, 2.0, FEATURES) for place in places}
        trained, tested = (self._trial(settings, training)[0] for training in (True, False))
        return not np.allclose(trained, tested, rtol=1e-3)

    def _uses_averages(self) -> bool:
        """Whether a layer that is told nothing normalizes with its averages, as if in test mode."""
        place = self.roles.places.get("running_mean")
        if place is None:
            return False
        first, second = (self._trial({place: np.full(FEATURES, value)}, True)[0] for value in (0.0, 1.0))
        return not np.allclose(first, second, rtol=1e-3)

    def _check_gradients(self) -> None:
        """One backward, and where its gradients are."""
        assert self.runner is not None
        own = self.has_own_backward()
        if not own:
            return
        layer = self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES)})
        run = self.runner.forward(layer, self._shaped(batch()), True)
        rates = [place for place in numbers_of(layer) if means(place[-1], "learning_rate")]
        self.rate = min(rates, key=len, default=None)
        self.set_rate(layer)
        before = arrays_of(layer, FEATURES)
        dout = self._shaped(batch(3))
        out, rows = self._rows(self.runner.plain(run.out)), self._rows(dout)
        try:
            result = self.runner.backward(run, dout)
        except NotMade as reason:
            self._record("backward", str(reason), "names={'backward': '...'}, or a function (dout, cache) of your own")
            return
        except Exception:
            return  # the student's: it is told when it is judged
        if returned(result, FEATURES) is not None:
            return
        hat = (out - out.mean(0)) / np.where(out.std(0) > 0, out.std(0), 1)
        right = {"dgamma": (rows * hat).sum(0), "dbeta": rows.sum(0)}
        self.gradients = {role: parsed(self.names[role]) for role in ("dgamma", "dbeta") if role in self.names}
        self.gradients = {**find_gradients(layer, before, self.roles, right), **self.gradients}
        missing = [role for role in ("dgamma", "dbeta") if role not in self.gradients]
        if missing and not self._by_difference(layer, before):
            self.unread.update(missing)
            self._record("gradients", *self._looked_for(missing, layer))

    def _by_difference(self, layer: Any, before: Mapping[Place, np.ndarray]) -> bool:
        """A backward that takes the step itself: what the parameters lost is the gradient."""
        places = [self.roles.places.get(role) for role in ("gamma", "beta")]
        after = arrays_of(layer, FEATURES)
        if any(place is None or place not in before or place not in after for place in places):
            return False
        if not self.runner_takes_rate(layer) and self.rate is None:
            return False
        self.learns = all(not np.array_equal(before[p], after[p]) for p in places if p is not None)
        return self.learns

    learns = False
    rate: Place | None = None  # where the layer keeps the learning rate of its own steps

    def runner_takes_rate(self, layer: Any) -> bool:
        """Whether backward is handed the learning rate."""
        call = method(layer, "backward", self.names.get("backward", ""))
        return call is not None and any(means(each.name, "learning_rate") for each in required(call))

    def set_rate(self, layer: Any) -> None:
        """A step of 1, where the layer keeps its own: then what a parameter loses is the gradient."""
        if self.rate is not None and self.rate != self.roles.places.get("momentum"):
            put(layer, self.rate, STEP)

    def has_own_backward(self) -> bool:
        """Whether the class has a backward of its own, and not only autograd's."""
        named = self.names.get("backward", "")
        return callable(getattr(self.kind, named or "", None)) or any(
            callable(getattr(self.kind, name, None)) for name in NAMES["backward"]
        )

    def has_backward(self) -> bool:
        """Whether there are gradients at all."""
        return self.has_own_backward() or (self.runner is not None and self.runner.torch)


def returned(result: Any, features: int) -> tuple[Any, Any, Any] | None:
    """dx, dgamma, dbeta of a backward that returns all three, in one of the usual forms."""
    if isinstance(result, tuple | list) and len(result) == 3:
        return result[0], result[1], result[2]
    if isinstance(result, tuple | list) and len(result) == 2:
        dx, others = result
        if isinstance(others, dict):
            found = [_entry(others, role) for role in ("dgamma", "dbeta")]
            return (dx, *found) if any(each is not None for each in found) else None
        if isinstance(others, tuple | list) and len(others) == 2:
            return dx, *others
    return None


def _entry(table: Mapping[Any, Any], role: str) -> Any:
    names = (*NAMES[role], *NAMES[role[1:]])
    return next((table[key] for name in names for key in table if bare(key) == name), None)
