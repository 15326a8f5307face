"""The course's functions: under the course's names in a module, made of pybn's operations, of images of one pixel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from pybn.study.adapters.names import NEGATIVE, POSITIVE, bare, means
from pybn.study.adapters.not_judged import NotJudged


@dataclass(frozen=True)
class CourseFunctions:
    """The course's functions; None where there is none.  `**vars(functions)` hands them to check_batch_norm."""

    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    alternative_backward: Callable[..., Any] | None = None
    spatial_forward: Callable[..., Any] | None = None
    spatial_backward: Callable[..., Any] | None = None


WAY_OUT = "hand in a function (x, gamma, beta, bn_param) -> (out, cache) that calls it"


class Foreign:
    """A forward of another interface: it is not called, and nothing of it is judged."""

    def __init__(self, function: Callable[..., Any], takes: str) -> None:
        self.function, self.__name__ = function, getattr(function, "__name__", "forward")
        reason = f"{self.__name__} takes ({takes}), and not (x, gamma, beta, bn_param)"
        parts = ("training", "statistics", "test", "backward", "alternative", "spatial")
        self.not_judged = tuple(NotJudged(part, reason, WAY_OUT, "call") for part in parts)

    def __call__(self, *_: Any) -> Any:
        """Nothing: a wrong call would blame the student."""
        raise TypeError(self.not_judged[0].reason)


def course_forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or `Foreign` where its parameters are not four, or the last is a setting and no bn_param."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a compiled function does not say
        return function
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return function
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    wanted = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    fourth = places[3] if len(places) > 3 else None
    setting = fourth is not None and (isinstance(fourth.default, bool | int | float) or _is_setting(fourth.name))
    if fourth is None or len(wanted) > 4 or setting or any(each.name not in map(_name, places[:4]) for each in wanted):
        return Foreign(function, ", ".join(each.name for each in parameters))
    return function


def _name(parameter: inspect.Parameter) -> str:
    return parameter.name


def _is_setting(name: str) -> bool:
    """Whether a fourth parameter is a number or an average, and cannot be bn_param."""
    roles = ("eps", "momentum", "running_mean", "running_var", "gamma", "beta")
    return len(name) > 1 and (any(means(name, role) for role in roles) or bare(name) in (*POSITIVE, *NEGATIVE))


COURSE = {
    "forward": "batchnorm_forward",
    "backward": "batchnorm_backward",
    "alternative_backward": "batchnorm_backward_alt",
    "spatial_forward": "spatial_batchnorm_forward",
    "spatial_backward": "spatial_batchnorm_backward",
}


def from_names(
    implementation: Mapping[str, Any] | ModuleType, names: Mapping[str, str] | None = None
) -> CourseFunctions:
    """The functions that stand under the course's names in a module or a dict (`globals()` of a notebook).

    names says what else they are called, by role: {"forward": "my_forward"}.  Raises TypeError where
    neither a forward nor a spatial_forward is there, with what is.
    """
    table = implementation if isinstance(implementation, Mapping) else vars(implementation)
    unknown = sorted(set(names or {}) - set(COURSE))
    if unknown:
        raise ValueError(f"names of a module may hold {', '.join(COURSE)}, got {', '.join(unknown)}")
    absent = [name for name in (names or {}).values() if name not in table]
    functions = {role: table.get(name) for role, name in {**COURSE, **(names or {})}.items()}
    if absent or (functions["forward"] is None and functions["spatial_forward"] is None):
        where = f" ({file})" if (file := table.get("__file__")) else ""
        own = [name for name, held in table.items() if _is_own(held, table)]
        raise TypeError(
            f"no {', '.join(absent) or 'batchnorm_forward or spatial_batchnorm_forward'} in what was handed in{where}; "
            f"it has {', '.join(own[:12]) or 'no functions or classes of its own'}. Hand in one of these classes or "
            "functions itself, or say names={'forward': '...', 'backward': '...'}"
        )
    return CourseFunctions(**_of_the_course(functions))


def has_course_names(table: Mapping[str, Any]) -> bool:
    """Whether a forward of the course is there."""
    return any(table.get(COURSE[role]) is not None for role in ("forward", "spatial_forward"))


def _of_the_course(functions: Mapping[str, Any]) -> dict[str, Any]:
    forwards = {role: function for role, function in functions.items() if role.endswith("forward") and function}
    return {**functions, **{role: course_forward(function) for role, function in forwards.items()}}


def _is_own(held: Any, table: Mapping[str, Any]) -> bool:
    """A function or class that was written there and not imported."""
    return isinstance(held, FunctionType | type) and held.__module__ == table.get("__name__", held.__module__)


def from_operations(operations: Any) -> CourseFunctions:
    """pybn's operations under the course's names, with the course's rule for the averages.

    The channel is axis 1 of (n, d) and of (n, c, h, w) alike, so both pairs are one.
    """

    def forward(x, gamma, beta, bn_param):
        eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
        average = bn_param.get("running_mean", np.zeros(x.shape[1])), bn_param.get("running_var", np.zeros(x.shape[1]))
        if bn_param["mode"] == "test":
            return operations.batch_norm_inference(x, gamma, beta, *average, feature_axis=1, epsilon=eps), None
        y, mean, variance = operations.batch_norm_training(x, gamma, beta, feature_axis=1, epsilon=eps)
        bn_param["running_mean"] = momentum * average[0] + (1 - momentum) * mean
        bn_param["running_var"] = momentum * average[1] + (1 - momentum) * variance
        return y, (x, gamma, mean, variance, eps)

    def backward(dout, cache):
        x, gamma, mean, variance, eps = cache
        return operations.batch_norm_gradient(x, gamma, mean, variance, dout, feature_axis=1, epsilon=eps)

    return CourseFunctions(forward, backward, None, forward, backward)


def one_pixel(forward: Callable[..., Any], backward: Callable[..., Any] | None) -> tuple[Any, Any]:
    """A pair for (n, c, h, w) as a pair for (n, c): each row an image of one pixel."""

    def flat_forward(x, gamma, beta, bn_param):
        out, cache = forward(x[:, :, None, None], gamma, beta, bn_param)
        return out[:, :, 0, 0], cache

    def flat_backward(dout, cache):
        assert backward is not None
        dx, dgamma, dbeta = backward(dout[:, :, None, None], cache)
        return dx[:, :, 0, 0], dgamma, dbeta

    setattr(flat_forward, "of_images", True)  # noqa: B010  (a function's attribute, which mypy does not know)
    return flat_forward, flat_backward if backward else None
