"""Getting acquainted with a class's backward: what it returns, and where it leaves the gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pybn.study.adapters import trying
from pybn.study.adapters.found_gradients import find_gradients
from pybn.study.adapters.making import NotMade, Optimizer
from pybn.study.adapters.names import NAMES, bare, kin, means
from pybn.study.adapters.places import Place, arrays_of, as_array, get, members, numbers_of, parsed, put, shown
from pybn.study.adapters.roles import FEATURES, batch
from pybn.study.adapters.running import STEP, method, rates_of
from pybn.study.adapters.settings import MetWithSettings

PARALLEL = 0.999  # of two directions the cosine; float32 keeps it to 1e-6


class MetWithGradients(MetWithSettings):
    """A class that was met, with its gradients."""

    def _checks(self) -> list[Callable[[], None]]:
        return [*super()._checks(), self._check_gradients]

    def _check_gradients(self) -> None:
        """One backward, and where its gradients are."""
        assert self.runner is not None
        if self.runner.tensor and not self.has_own_backward():
            self._meet_own_tensors()
            return
        if not self.has_own_backward() and not self._backward_by_trying():
            return
        layer = self._fresh()
        run = self.runner.forward(layer, self._shaped(batch()), True)
        rates = [place for place in numbers_of(layer) if means(place[-1], "learning_rate")]
        self.rate = min(rates, key=len, default=None)
        self.set_rate(layer)
        before = arrays_of(layer)
        dout, rows, out = self._shaped(batch(3)), batch(3), self._rows(run.out)
        try:
            result = self.runner.backward(run, dout)
        except NotMade as reason:
            self._record("backward", str(reason), "names={'backward': '...'}, or a function (dout, cache) of your own")
            return
        except Exception as error:
            self.raises_backward = True
            self._blame_backward(error, layer)
            return  # else the student's: it is told when it is judged
        answer = self.answer(result, dout.shape, layer)
        if answer is not None:
            self.steps = self._stepped(layer, before, answer[1:])
        if answer is not None or out.shape != rows.shape:
            return
        hat = (out - out.mean(0)) / np.where(out.std(0) > 0, out.std(0), 1)
        right = {"dgamma": (rows * hat).sum(0), "dbeta": rows.sum(0)}
        self.gradients = {role: parsed(self.names[role]) for role in ("dgamma", "dbeta") if role in self.names}
        self.gradients = {**find_gradients(layer, before, self.roles, right), **self.gradients}
        lost = [role for role in self.gradients if role in self.names and get(layer, self.gradients[role]) is None]
        for role in lost:
            has = ", ".join(shown(place) for place in arrays_of(layer, FEATURES))
            self._record("gradients", f"names= says {role} is {self.names[role]!r}; after backward the class has {has}",
                         "names={...} anew")  # fmt: skip
        missing = [role for role in ("dgamma", "dbeta") if role not in self.gradients]
        if not missing:
            self.steps = self._stepped(
                layer, before, [get(layer, self.gradients[role]) for role in ("dgamma", "dbeta")]
            )
        if missing and not self._by_difference(layer, before):
            self.unread.update(missing)
            self._record("gradients", *self._looked_for(missing, layer))

    def _meet_own_tensors(self) -> None:
        """How the file's own tensors give gradients, if they do."""
        assert self.runner is not None
        runner, tensor = self.runner, self.runner.tensor
        assert tensor is not None

        def make() -> tuple[Any, Any]:
            run = runner.forward(self._fresh(), self._shaped(batch()), True)
            return run.out, run.x

        self.differentiates = tensor.learn_backward(make, runner.laid(self._shaped(batch(3))))

    def _backward_by_trying(self) -> bool:
        """A backward that no name tells, by what it does: what it gives is proportional to what it is handed."""
        assert self.runner is not None
        if self.runner.torch or "backward" in self.names:
            return False

        runner = self.runner

        def trained(after: bool = True) -> Any:
            layer = self._fresh()
            if after:
                runner.forward(layer, self._shaped(batch()), True)
            return layer

        given = runner.laid(self._shaped(batch(3)))
        others = {self.names.get("forward", ""), self.runner.mode.other_forward}
        found = trying.find_backward(trained, given, others)
        if found:
            self.names["backward"] = self.runner.backward_name = found
        elif suspects := trying.needing_forward(trained, given, others):
            self.suspected = True
            reason = f"no method is known for the backward; one that needs a forward before it: {', '.join(suspects)}"
            self._record("backward", reason, f"names={{'backward': {suspects[0]!r}}}")
        return bool(found)

    def _blame_backward(self, error: Exception, layer: Any) -> None:
        """What was handed in as None, for lack of anything to hand in, is not the student's."""
        asked = [name for _, name, default in self.maker.asked() if default is None]
        none = [str(name) for name, held in members(layer).items() if held is None and name in asked]
        if none and "'NoneType' object" in str(error):
            reason = f"backward needs {' and '.join(none)}, which nobody handed in ({type(error).__name__}: {error})"
            self._record("backward", reason, "build=lambda features: the layer, ready for its first batch")

    def answer(self, result: Any, shape: tuple[int, ...], layer: Any) -> tuple[Any, Any, Any] | None:
        """dx, dgamma, dbeta of a backward that returns all three, in one of the usual forms."""
        if isinstance(result, dict):
            found = [self._entry(result, role) for role in ("dgamma", "dbeta")]
            dx = self._entry(result, "dx", shape)
            return (dx, *found) if dx is not None and any(each is not None for each in found) else None
        if isinstance(result, tuple | list) and len(result) == 3:
            return result[0], result[1], result[2]
        if isinstance(result, tuple | list) and len(result) == 2:
            dx, others = result
            if isinstance(others, dict):
                found = [self._entry(others, role) for role in ("dgamma", "dbeta")]
                return (dx, *found) if any(each is not None for each in found) else None
            if isinstance(others, tuple | list) and len(others) == 2:
                return dx, *others
        return None

    def _entry(self, table: Mapping[Any, Any], role: str, shape: tuple[int, ...] | None = None) -> Any:
        """An entry of what backward returned: as a teacher named it, by its parameter, by its usual names, by shape."""
        if self.names.get(role) in table:
            return table[self.names[role]]
        place = self.roles.places.get(role[1:])
        akin = [key for key in table if place is not None and kin(key, place[-1])]
        if akin:
            return table[akin[0]]
        names = (*NAMES[role], *NAMES[role[1:]])
        usual = next((table[key] for name in names for key in table if bare(key) == name), None)
        if usual is not None or shape is None:
            return usual
        shaped = [held for held in table.values() if np.shape(held) == shape]
        return shaped[0] if len(shaped) == 1 else None

    def _by_difference(self, layer: Any, before: Mapping[Place, np.ndarray]) -> bool:
        """A backward that takes the step itself: what the parameters lost is the gradient."""
        places = [self.roles.places.get(role) for role in ("gamma", "beta")]
        after = arrays_of(layer, FEATURES)
        if any(place is None or place not in before or place not in after for place in places):
            return False
        stands = any(isinstance(held, Optimizer) for held in members(layer).values())
        moved = {place: before[place] - after[place] for place in places if place is not None}
        self.steps = all(step.any() for step in moved.values())
        known = self.runner_takes_rate(layer) or self.rate is not None or stands
        self.learns = self.steps and (known or self._rate_by_trying(moved))
        return self.learns

    def _stepped(self, layer: Any, before: Mapping[Place, np.ndarray], gradients: Sequence[Any]) -> bool:
        """Whether backward has moved gamma and beta along their gradients: a step, and no slip."""
        for role, gradient in zip(("gamma", "beta"), gradients, strict=True):
            place, along = self.roles.places.get(role), as_array(gradient)
            if place is None or along is None or place not in before or along.size != before[place].size:
                return False
            step = np.ravel(before[place] - as_array(get(layer, place)))
            lengths = np.linalg.norm(step) * np.linalg.norm(along)
            if lengths == 0 or abs(step @ np.ravel(along)) < PARALLEL * lengths:
                return False
        return True

    def _rate_by_trying(self, moved: Mapping[Place, np.ndarray]) -> bool:
        """The one number with a default that backward takes, if the parameters move in proportion to it."""
        assert self.runner is not None
        call = method(self._fresh(), "backward", self.names.get("backward", ""))
        assert call is not None
        numbers = {
            name: float(each.default)
            for name, each in inspect.signature(call).parameters.items()
            if isinstance(each.default, int | float) and not isinstance(each.default, bool) and each.default != 0
        }
        if len(numbers) != 1:
            return False
        self.runner.rate, default = next(iter(numbers.items()))
        layer = self._fresh()
        run = self.runner.forward(layer, self._shaped(batch()), True)
        before = arrays_of(layer)
        self.runner.backward(run, self._shaped(batch(3)))
        after = arrays_of(layer)
        if all(np.allclose(default * (before[p] - after[p]), STEP * step, rtol=1e-3) for p, step in moved.items()):
            return True
        self.runner.rate = ""
        return False

    suspected = False  # a method may be the backward
    differentiates = False  # the file's own tensors give gradients
    raises_backward = False  # on the trial's batch
    learns = False  # what its step has changed is the gradient, which stands nowhere else
    steps = False  # it moves the parameters itself
    rate: Place | None = None  # where the layer keeps the learning rate of its own steps

    def runner_takes_rate(self, layer: Any) -> bool:
        """Whether backward is handed the learning rate."""
        call = method(layer, "backward", self.names.get("backward", ""))
        return call is not None and bool(rates_of(call))

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
        torch = self.runner is not None and self.runner.torch
        return self.has_own_backward() or self.suspected or self.differentiates or torch
