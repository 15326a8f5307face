"""Getting acquainted with a class: how its layers are made, which number has which role, what cannot be done.

Nothing here is a verdict.  Each thing that could not be set or read is kept as a record, so that no
verdict rests on it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters import trying
from pybn.study.adapters.blaming import AROUND, blamed
from pybn.study.adapters.debiased import Debiased
from pybn.study.adapters.making import Maker, NotMade, has_setup, required, uses_torch
from pybn.study.adapters.modes import Mode, Override, find_mode
from pybn.study.adapters.names import NAMES
from pybn.study.adapters.own_tensors import own_tensors
from pybn.study.adapters.places import (
    Place,
    arrays_of,
    get,
    parsed,
    put,
    switches_of,
    written,
)
from pybn.study.adapters.roles import COUNT, FEATURES, NUMBERS, Roles, batch, find_roles
from pybn.study.adapters.running import TO_LAST, Runner, method, names_of, settings_of


class Met:
    """One class, met once: how its layers are made, called and read.

    dims is 2 for (n, d) and 4 for images; channels_last says whether these are (n, h, w, c).  `records`
    holds what could not be set or read, `seen` the slips that setting things hides from the verdict.
    """

    def __init__(
        self,
        kind: type,
        *,
        dims: int = 2,
        channels_last: bool = False,
        names: Mapping[str, str] | None = None,
        build: Callable[[int], Any] | None = None,
        mode: Override | None = None,
        acquainted: bool = True,
    ) -> None:
        self.kind, self.dims, self.names, self.mode = kind, dims, dict(names or {}), mode
        self.build, self.roles, self.unread = build, Roles(), set[str]()
        self.channels_last = channels_last
        self.records: list[tuple[str, str, str]] = []  # setting, reason, remedy
        self.seen: list[tuple[str, str, str]] = []  # code, part, name
        self.maker = Maker(kind, dims=dims, build=build)
        self.runner: Runner | None = None
        self.own: dict[str, float | None] = dict.fromkeys(NUMBERS)  # eps and momentum where they are written into it
        self.gradients: dict[str, Place] = {}
        self.debiased = Debiased()  # averages that are corrected for their start
        self.works = False  # a forward in training ran
        self.normalizes = False  # and each feature came out as its own x, shifted and scaled
        try:
            self._meet(acquainted)
        except NotMade as reason:
            self._record("construction", f"{reason}", reason.remedy)

    # --- getting acquainted -----------------------------------------------------------------------

    def _meet(self, acquainted: bool) -> None:
        made = self._make_or_refuse()
        self._prepare_runner(made)
        self._turn_columns(made)
        if not acquainted:
            return
        assert self.runner is not None
        unknown = any(each.name not in self.runner_flags() for each in required(self._call(made))[1:])
        if unknown or not self.runner.mode.decided:  # a switch without a default, or whose values are not known
            self._try_modes(made)
        try:
            self._trial({}, True)
        except NotMade:
            raise
        except Exception as error:
            if not self._set_up_by_methods() and not self._wrapped_in_own_tensor(made):
                if record := blamed(self.kind, self._fresh(), error):
                    self._record(*record)
                return
            made = self.maker.make(FEATURES, {})
        self.works = True
        if not unknown and self.runner.mode.decided:
            self._try_modes(made)
        for step in (lambda: self._find(made), *self._checks()):
            try:
                step()
            except NotMade:
                raise
            except Exception as error:  # whatever their code does with what is tried here, it is no verdict
                reason = f"the class cannot be tried out: {type(error).__name__}: {error}"
                self._record("call", reason, AROUND)
                return

    def _call(self, layer: Any) -> Callable[..., Any]:
        call = method(layer, "forward", self.names.get("forward", ""))
        assert call is not None
        return call

    def runner_flags(self) -> set[str]:
        """The parameters of forward that have a meaning."""
        assert self.runner is not None
        return {*self.runner.mode.flags, *self.runner.arguments.values()}

    def _checks(self) -> list[Callable[[], None]]:
        """What is looked into once the roles are known, in this order."""
        return []

    def _find(self, made: Any) -> None:
        assert self.runner is not None
        out, layer = self._trial({}, True)
        kept = arrays_of(made, FEATURES).keys() <= arrays_of(layer, FEATURES).keys()  # averages as long as they were
        self.normalizes = (
            kept
            and out.shape == (COUNT, FEATURES)
            and all(np.corrcoef(own, its)[0, 1] > 0.999 for own, its in zip(batch().T, out.T, strict=True))
        )
        self.roles = find_roles(self._trial, made, self.names)
        if self.roles.missing("running_mean", "running_var") and self._modes_exchanged():
            self.roles = find_roles(lambda settings, training: self._trial(settings, not training), made, self.names)
        for role in self.runner.arguments:
            self.roles.places.pop(role, None)
        for role in NUMBERS:
            if role in self.maker.takes and role in self.roles.places and self._derived(role):
                del self.roles.places[role]  # 1 - momentum, say: the constructor sets it

    def _modes_exchanged(self) -> bool:
        """Whether rows depend on each other in test mode, and not in training: averages show the other way round."""
        assert self.runner is not None
        mode = self.runner.mode
        try:
            return bool(mode.ways) and not self._outputs(mode, True)[1] and self._outputs(mode, False)[1]
        except Exception:  # what does not run in test mode is told when it is judged
            return False

    def _derived(self, role: str) -> bool:
        """Whether a place follows what the constructor is handed, and holds something else."""
        values = (0.3, 0.4)
        held = [get(self._fresh(**{role: value}), self.roles.places[role]) for value in values]
        return held[0] != held[1] and not np.allclose(held, values)

    def _make_or_refuse(self) -> Any:
        try:
            return self._fresh()
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
        call = method(made, "forward", self.names.get("forward", ""))
        if call is None:
            call = self._forward_by_trying(made)
        try:
            mode = find_mode(made, call, self.mode)
        except LookupError as error:
            raise NotMade(str(error), f"mode= anew: a switch it has is {switches_of(made)}") from error
        if self.other_forward and not mode.ways:
            mode = Mode(other_forward=self.other_forward)
        self.runner = Runner(
            torch=uses_torch(self.kind, made),
            mode=mode,
            forward=self.names.get("forward", ""),
            backward=self.names.get("backward", ""),
            output=parsed(self.names["output"]) if "output" in self.names else (),
        )
        named = {role: self.names[role] for role in NUMBERS if self.names.get(role) in names_of(call)}
        self.runner.arguments, self.runner.channels_last = settings_of(call) | named, self.channels_last

    other_forward = ""  # a method that is forward in test mode, found by trying

    def _forward_by_trying(self, made: Any) -> Callable[..., Any]:
        """The forward by what it does, where no name tells; raises NotMade with the methods that there are."""
        if "forward" not in self.names and not uses_torch(self.kind, made):
            found = trying.find_forward(self._fresh, batch(), lambda rows: self._laid(self._shaped(rows)))
            if found.forward:
                self.names["forward"], self.other_forward = found.forward, found.test_forward
                call: Callable[..., Any] = getattr(made, found.forward)
                return call
        own = ", ".join(trying.own_methods(self.kind)) or "no methods of its own"
        wanted = self.names.get("forward") or f"{', '.join(NAMES['forward'][:4])} and cannot be called"
        raise NotMade(
            f"the class has no method {wanted}; it has {own}",
            "names={'forward': '...', 'backward': '...'} with two of these",
        )

    def _fresh(self, **settings: float) -> Any:
        return self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES), **settings})

    def _try_modes(self, made: Any) -> None:
        """A mode that no name tells: the switch that makes a row of the output depend on itself alone."""
        assert self.runner is not None
        worded = isinstance(self.mode, str) and not self.runner.mode.other_forward and not self.runner.mode.decided
        if callable(self.mode) or (self.runner.mode.ways and not worded and not self.runner.mode.to_be_tried):
            return
        switches = list(trying.candidates(made, self._call(made), self.runner.arguments.values()))
        if worded:
            switches = [
                each
                for each in switches
                if self.mode in [*(name.removesuffix("=") for name in each.ways), each.within[0]]
            ]
        before = self.runner.mode
        found = trying.find_by_trying(switches, self._outputs) or trying.find_by_trying(switches, self._outputs_of_any)
        self.runner.mode = found or before
        if worded and not found:
            reason = f"mode={self.mode!r} was set, and training and test mode came out the same"
            self._record("mode", reason, "mode=a function (layer, training)")

    def _outputs(self, mode: Mode, training: bool) -> tuple[np.ndarray, bool, frozenset[Place]]:
        """The output under a mode, whether its rows depend on each other, and the arrays that forward has written."""
        return self._outputs_from(self._fresh, mode, training)

    def _outputs_of_any(self, mode: Mode, training: bool) -> tuple[np.ndarray, bool, frozenset[Place]]:
        """The same of a layer whose arrays hold no zeros: x does not count where beta stands for gamma."""
        return self._outputs_from(self._stirred, mode, training)

    def _stirred(self) -> Any:
        layer = self._fresh()
        for at, place in enumerate(arrays_of(layer, FEATURES)):
            put(layer, place, np.linspace(1.0, 2.0, FEATURES) + 0.1 * at)
        return layer

    def _outputs_from(
        self, make: Callable[[], Any], mode: Mode, training: bool
    ) -> tuple[np.ndarray, bool, frozenset[Place]]:
        assert self.runner is not None
        self.runner.mode = mode
        rows = batch()
        other = np.concatenate([rows[:1], rows[1:] * 1.7 + 0.3])
        layer, unused = make(), make()  # one may ask for a backward before its next forward
        before = arrays_of(layer, FEATURES)
        one = self._rows(self.runner.forward(layer, self._shaped(rows), training).out)
        left = frozenset(written(before, arrays_of(layer, FEATURES)))
        two = self._rows(self.runner.forward(unused, self._shaped(other), training).out)
        return one, not np.allclose(one[0], two[0], rtol=1e-6, atol=1e-9), left

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

    def _wrapped_in_own_tensor(self, made: Any) -> bool:
        """Try once more with x as a tensor of the file's own kind."""
        assert self.runner is not None
        for tensor in own_tensors(made):
            self.runner.tensor = tensor
            try:
                self._trial({}, True)
            except Exception:  # another kind, or none
                self.runner.tensor = None
            else:
                return True
        return False

    def _turn_columns(self, made: Any) -> None:
        """Parameters of shape (d, 1): examples are columns."""
        assert self.runner is not None
        if self.dims != 2:
            return
        shapes = {array.shape for array in arrays_of(made, FEATURES).values()}
        if not arrays_of(made):  # they are made at the first forward, which took the rows of this one for features
            with contextlib.suppress(Exception):  # whatever of theirs: the trial tells it
                self.runner.forward(made := self._fresh(), batch(), True)
                rows = {array.shape for array in arrays_of(made, COUNT).values()}
                shapes = {(FEATURES, 1)} if rows == {(COUNT, 1)} and not arrays_of(made, FEATURES) else shapes
        self.runner.columns = shapes == {(FEATURES, 1)}

    def _trial(self, settings: Mapping[Place, Any], training: bool) -> tuple[np.ndarray, Any]:
        """One layer, some places written, one forward; for lazy ones a forward before it."""
        layer = self._fresh()
        assert self.runner is not None
        x = self._shaped(batch())
        if any(get(layer, place) is None for place in settings):
            self.runner.forward(layer, x, True)
        for place, value in settings.items():
            put(layer, place, value)
        run = self.runner.forward(layer, x, training)
        return self._rows(run.out), layer

    def _shaped(self, rows: np.ndarray) -> np.ndarray:
        if self.dims == 2:
            return rows
        return np.ascontiguousarray(rows.reshape(2, 4, 3, FEATURES).transpose(0, 3, 1, 2))

    def _laid(self, array: np.ndarray) -> np.ndarray:
        """An input as the layer wants it, before there is a runner."""
        return array.transpose(TO_LAST) if self.channels_last else array

    def _rows(self, out: Any) -> np.ndarray:
        """An output of the trial as (n, d) floats."""
        assert self.runner is not None
        array = np.asarray(self.runner.plain(out), float)
        if array.ndim != 4:
            return array
        return array.transpose(TO_LAST).reshape(-1, array.shape[1])

    def argument_below(self, role: str, bound: float) -> bool:
        """Whether forward itself is handed a setting whose default lies between 0 and a bound."""
        name = self.runner.arguments.get(role) if self.runner else None
        call = method(self._fresh(), "forward", self.names.get("forward", "")) if name else None
        default = inspect.signature(call).parameters[name].default if call and name else None
        return isinstance(default, int | float) and 0 < default < bound

    @property
    def takes_momentum(self) -> bool:
        """Whether the constructor or each call asks for a momentum; forward may write to a place as it likes."""
        return "momentum" in self.maker.takes or bool(self.runner and "momentum" in self.runner.arguments)

    def held_below(self, role: str, bound: float) -> bool:
        """Whether a setting that no constructor takes stands in a new layer between 0 and a bound."""
        place = self.roles.places.get(role)
        if place is None or role in self.maker.takes:
            return False
        held = get(self._fresh(), place)
        return isinstance(held, int | float) and 0 < held < bound

    def _record(self, setting: str, reason: str, remedy: str) -> None:
        self.records.append((setting, reason, remedy))
