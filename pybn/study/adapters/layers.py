"""A class as the course's functions: everything is set, read back, and only then called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.blaming import AROUND
from pybn.study.adapters.gradients import MetWithGradients
from pybn.study.adapters.making import NotMade
from pybn.study.adapters.names import NAMES, bare
from pybn.study.adapters.not_judged import NotJudged
from pybn.study.adapters.own_tensors import holders, without_gradient
from pybn.study.adapters.places import Place, as_array, get, is_tensor, parsed, put
from pybn.study.adapters.roles import FEATURES, batch
from pybn.study.adapters.running import USUAL, Run

LAYER = "_layer"  # where an adapted class lives in bn_param, so that a second step meets the same object
KEYS = ("running_mean", "running_var")
NAMEABLE: tuple[str, ...] = ("gamma", "beta", *KEYS, "dgamma", "dbeta", "eps", "momentum", "output", "dx")
NAMEABLE += ("forward", "backward")


class Adapted(MetWithGradients):
    """The course's forward and backward of a class that was met."""

    def forward(self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: dict[str, Any]) -> Any:
        """The course's forward; the cache is the run."""
        if self.runner is None:
            raise NotMade("; ".join(reason for _, reason, _ in self.records))
        training = bn_param["mode"] == "train"
        self.runner.settings.update({role: bn_param[role] for role in USUAL if bn_param.get(role) is not None})
        given = {key: bn_param[key] for key in KEYS if bn_param.get(key) is not None}
        layer = bn_param.get(LAYER)
        fresh = layer is None and not given
        if layer is None:
            layer = self._made(x, gamma, beta, bn_param, given)
            bn_param[LAYER] = layer
        if fresh and self.roles.lazy:
            return self._first_of_lazy(layer, x, gamma, beta, bn_param)
        self._write(layer, {"gamma": gamma, "beta": beta})
        before, parameters = self._averages(layer), self._parameters(layer)
        run = self.runner.forward(layer, x, training)
        run.averages, run.parameters, run.settings = before, parameters, dict(self.runner.settings)
        self._store(layer, before, bn_param)
        return self._course_out(run.out), run

    def treats_as_rows(self, shape: tuple[int, ...], *, training: bool, axis: int = -1) -> bool:
        """Whether an array whose other axes have this shape is normalized as its rows are, each feature apart."""
        if self.runner is None or self.roles.missing("gamma", "beta", *KEYS) or not self.works:
            return False
        rows, values = batch(), np.linspace(1.0, 2.0, FEATURES)
        arranged = np.moveaxis(rows.reshape(*shape, FEATURES), -1, axis)
        try:
            layer = self._made(rows, values, -values, {}, {"running_mean": values, "running_var": values})
            self._write(layer, {"gamma": values, "beta": -values})
            own, its = (as_array(self.runner.forward(layer, each, training).out) for each in (rows, arranged))
        except Exception:  # it takes no such array, or whatever else their code does with it
            return False
        if own is None or its is None or own.shape != rows.shape or its.shape != arranged.shape:
            return False
        return np.allclose(np.moveaxis(its, axis, -1).reshape(own.shape), own, rtol=1e-5, atol=1e-6)

    def leave_open(self, reason: str) -> None:
        """Have nothing of the class judged."""
        self._record("call", reason, AROUND)

    def leave_images_open(self) -> None:
        """Have the 4-D pair not judged, where nobody knows whether images are meant."""
        self._record(
            "call",
            "test mode takes images (n, h, w, c) as it takes rows, and training does not: whether they are meant is "
            "not known",
            "hand in a class or functions of images alone",
        )

    def _made(self, x, gamma, beta, bn_param, given) -> Any:
        layer = self._new(x, gamma, beta, bn_param)
        assert self.runner is not None
        if self.roles.lazy and given:
            self.runner.forward(layer, x, True)
        self._write(layer, {"eps": bn_param.get("eps"), "momentum": bn_param.get("momentum"), **given})
        return layer

    def _new(self, x, gamma, beta, bn_param) -> Any:
        values = {"gamma": gamma, "beta": beta, "eps": bn_param.get("eps"), "momentum": bn_param.get("momentum")}
        return self.maker.make(x.shape[1], values, x.dtype if x.dtype.kind == "f" else np.dtype(np.float64))

    def _first_of_lazy(self, layer, x, gamma, beta, bn_param) -> Any:
        """The averages of a first step from the layer's own start, and the output with the parameters asked for.

        Written before, the parameters would keep the layer from making its averages.
        """
        assert self.runner is not None
        self.runner.forward(layer, x, True)
        self._store(layer, {}, bn_param)
        other = self._new(x, gamma, beta, bn_param)
        self.runner.forward(other, x, True)
        for each in (layer, other):
            self._write(each, {"gamma": gamma, "beta": beta, "eps": bn_param.get("eps")})
        run = self.runner.forward(other, x, True)
        return self._course_out(run.out), run

    def _write(self, layer: Any, values: Mapping[str, Any]) -> None:
        for role, value in values.items():
            place = self.roles.places.get(role)
            if place is None or value is None:
                continue
            if role == "gamma" and self.roles.base:
                value = value - self.roles.base
            if isinstance(value, np.ndarray):
                value = value.reshape(self._shape_of(layer, role, place, value))
            put(layer, place, value)
            if role in KEYS:
                self.debiased.write(layer, place, value)
            if role == "momentum" and self.roles.of_variance is not None:
                put(layer, self.roles.of_variance, value)
            if role in ("gamma", "beta") and not self.has_own_backward():
                _ask_for_gradient(get(layer, place))

    def _shape_of(self, layer: Any, role: str, place: Place, value: np.ndarray) -> tuple[int, ...]:
        """The shape that the layer keeps there, or kept when it was met."""
        held = as_array(get(layer, place))
        if held is not None and held.size == value.size:
            return held.shape
        known = self.roles.shapes.get(role, (FEATURES,))
        return tuple(value.size if size == FEATURES else size for size in known)

    def _averages(self, layer: Any) -> dict[str, np.ndarray | None]:
        return {role: as_array(get(layer, self.roles.places[role])) for role in KEYS if role in self.roles.places}

    def _store(self, layer: Any, before: Mapping[str, np.ndarray | None], bn_param: dict[str, Any]) -> None:
        """The averages as the layer keeps them; those that did not move stay as they were handed in.

        A layer in float32 rounds what it is given: that is no move.
        """
        for role, now in self._averages(layer).items():
            held = before.get(role)
            if now is None or (held is not None and role in bn_param and np.array_equal(held, now, equal_nan=True)):
                continue
            features = self._features(bn_param, now)
            bn_param[role] = now.reshape(-1) if now.size == features else now

    def _features(self, bn_param: Mapping[str, Any], now: np.ndarray) -> int:
        gamma = as_array(get(bn_param[LAYER], self.roles.places["gamma"])) if "gamma" in self.roles.places else None
        return now.size if gamma is None else gamma.size

    def _course_out(self, out: Any) -> Any:
        assert self.runner is not None
        return self.runner.plain(out)

    def backward(self, dout: np.ndarray, run: Run) -> Any:
        """The course's backward: dx, dgamma, dbeta."""
        assert self.runner is not None
        if self.suspected:
            raise NotMade("; ".join(reason for _, reason, _ in self.records))
        if not self.has_own_backward() and not self.differentiates:
            return self._autograd(dout, run)
        if run.used:
            run = self._again(run)
        run.used = True
        if self.differentiates:
            return self._own_autograd(dout, run)
        self._clear(run.layer)
        if self.learns:
            self.set_rate(run.layer)
        before = self._parameters(run.layer)
        result = self.runner.backward(run, dout)
        whole = self.answer(result, dout.shape, run.layer)
        if whole is not None:
            dx, dgamma, dbeta = whole
            return self.runner.plain(dx), *self._like_parameters(run.layer, dgamma, dbeta)
        dx = result[0] if isinstance(result, tuple | list) and len(result) == 1 else result
        if dx is None:
            dx = self._dx(run.layer)
        if self.learns:
            after = self._parameters(run.layer)
            found = [a - b if a is not None and b is not None else None for a, b in zip(before, after, strict=True)]
            self._put_back(run.layer, before)
        else:
            places = [self.gradients.get(role) for role in ("dgamma", "dbeta")]
            found = [None if place is None else _number(get(run.layer, place)) for place in places]
        return self.runner.plain(dx), *self._like_parameters(run.layer, *found)

    def _again(self, run: Run) -> Run:
        """The forward once more, all as it was: backward may use up what its forward left, or take a step."""
        assert self.runner is not None
        now = self._averages(run.layer)
        self._write(run.layer, run.averages)
        if self.steps:
            self._put_back(run.layer, run.parameters)
        self.runner.settings.update(run.settings)
        again = self.runner.forward(run.layer, run.rows, True)
        self._write(run.layer, now)
        return again

    def _dx(self, layer: Any) -> Any:
        if "dx" in self.names:
            return get(layer, parsed(self.names["dx"]))
        return next((get(layer, (name,)) for name in vars(layer) if bare(name) in NAMES["dx"]), None)

    def _parameters(self, layer: Any) -> list[np.ndarray | None]:
        """Copies of gamma and beta as the layer keeps them."""
        places = [self.roles.places.get(role) for role in ("gamma", "beta")]
        held = [None if place is None else as_array(get(layer, place)) for place in places]
        return [None if each is None else np.array(each) for each in held]

    def _put_back(self, layer: Any, before: list[np.ndarray | None]) -> None:
        """gamma and beta as they were, where a backward has moved them."""
        for role, old, now in zip(("gamma", "beta"), before, self._parameters(layer), strict=False):
            if old is not None and now is not None and not np.array_equal(old, now):
                put(layer, self.roles.places[role], old)

    def _clear(self, layer: Any) -> None:
        """Gradients that add up start from 0, as an optimizer's zero_grad has it."""
        for place in self.gradients.values():
            held = as_array(get(layer, place))
            if held is not None and held.dtype.kind == "f":
                put(layer, place, np.zeros_like(held))

    def _like_parameters(self, layer: Any, *gradients: Any) -> list[Any]:
        """Gradients in the shape of their parameters are in the class's own shape, and are given flat."""
        flat: list[Any] = []
        for gradient, parameter in zip(gradients, self._parameters(layer), strict=True):
            array = as_array(gradient)
            same = array is not None and parameter is not None and array.shape == parameter.shape
            flat.append(array.reshape(-1) if array is not None and same else gradient if array is None else array)
        return flat

    def _autograd(self, dout: np.ndarray, run: Run) -> Any:
        import torch

        places = [self.roles.places.get(role) for role in ("gamma", "beta")]
        held = [None if place is None else get(run.layer, place) for place in places]
        wanted = [run.x, *(each for each in held if each is not None and each.requires_grad)]
        assert self.runner is not None
        cotangent = torch.tensor(np.array(self.runner.laid(dout)))
        # A number's gradient: asked for an array's, PyTorch 2.13 imports sympy and 480 other modules for half a second.
        loss = (run.out * cotangent).sum()
        found = list(torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True))
        dx = found.pop(0)
        gradients = [found.pop(0) if each is not None and each.requires_grad else None for each in held]
        return self.runner.plain(dx), *self._like_parameters(run.layer, *gradients)

    def _own_autograd(self, dout: np.ndarray, run: Run) -> Any:
        """By the file's own tensors; every backward has a forward of its own, as what they leave adds up."""
        assert self.runner is not None
        assert self.runner.tensor is not None
        parameters = holders(run.layer, {role: self.roles.places.get(role) for role in ("gamma", "beta")})
        without_gradient(parameters)
        found = self.runner.tensor.gradients(run.out, run.x, self.runner.laid(dout), parameters)
        gradients = [found.get(role) for role in ("gamma", "beta")]
        return self.runner.plain(found["dx"]), *self._like_parameters(run.layer, *gradients)


def _number(held: Any) -> np.ndarray | None:
    """A gradient as an array; one that was summed over everything is a single number."""
    return np.array(held) if isinstance(held, np.floating | float) else as_array(held)


def _ask_for_gradient(held: Any) -> None:
    """A plain tensor becomes one that autograd follows."""
    if is_tensor(held) and held.is_leaf and held.is_floating_point():
        held.requires_grad_(True)


class Function:
    """One of the pair as a function that carries what is not judged of the parts it answers for."""

    def __init__(self, adapted: Adapted, call: Callable[..., Any], parts: tuple[str, ...]) -> None:
        self.adapted, self.call, self.parts = adapted, call, parts
        self.__name__ = getattr(call, "__name__", "forward")
        self.of_images = False  # the 2-D pair of a layer of images
        self.own = adapted.own["eps"], adapted.own["momentum"]  # settings written into the class
        self.keeps_momentum = adapted.takes_momentum  # a setting that was set and read back
        self.counts_the_new = adapted.maker.default_below("momentum", 0.5) or adapted.argument_below("momentum", 0.5)
        self.counts_the_new = self.counts_the_new or adapted.held_below("momentum", 0.5)

    def __call__(self, *arguments: Any) -> Any:
        """The call itself."""
        return self.call(*arguments)

    @property
    def seen(self) -> tuple[tuple[str, str, str], ...]:
        """Code, part and name of the slips that the adapter's own settings hide from the verdict."""
        return tuple(each for each in self.adapted.seen if each[1] in self.parts)

    @property
    def not_judged(self) -> tuple[NotJudged, ...]:
        """A record for each part that rests on what could not be done."""
        return tuple(
            NotJudged(part, reason, _way_out(remedy), setting if setting != "backward" else "call")
            for setting, reason, remedy in self.adapted.records
            for part in self.parts
            if part in RESTS_ON[setting]
        )


def _way_out(remedy: str) -> str:
    return remedy if remedy.startswith("hand in") else f"say {remedy}"


_FORWARDS = ("training", "statistics", "test", "spatial")
RESTS_ON = {
    "construction": (*_FORWARDS, "backward"),
    "call": (*_FORWARDS, "backward"),
    "parameters": ("training", "test", "backward", "spatial"),
    "averages": ("statistics", "test", "spatial"),
    "mode": ("test", "spatial"),
    "phase": (*_FORWARDS, "backward"),
    "gradients": ("backward", "spatial"),
    "backward": ("backward", "spatial"),
    "epsilon": ("training", "test", "spatial"),
    "momentum": ("statistics", "spatial"),
}
