"""Other people's implementations in two common shapes, so that one line adapts them.

`course_functions` brings anything it knows (functions, a class, a PyTorch module, an implementation of
pybn's operations) to the course's pair, `forward(x, gamma, beta, bn_param) -> (out, cache)` and
`backward(dout, cache) -> (dx, dgamma, dbeta)`, which `check_batch_norm` takes.  `operations` goes the
other way: it gives such a pair pybn's names and signatures, so that it can be compared with
`pybn.reference`.  Names here are the other side's: gamma and beta for scale and offset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

# How others spell the same thing; the first that is there is taken.
NAMES: Mapping[str, tuple[str, ...]] = {
    "features": ("num_features", "n_features", "num_channels", "features", "channels", "input_dim", "dim", "size", "d"),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum", "decay", "alpha", "rho"),
    "gamma": ("gamma", "weight", "scale", "g"),
    "beta": ("beta", "bias", "offset", "shift", "b"),
    "mean": ("running_mean", "moving_mean", "mean_average", "avg_mean", "running_mu", "global_mean"),
    "variance": (
        "running_var",
        "moving_variance",
        "moving_var",
        "running_variance",
        "variance_average",
        "avg_var",
        "global_var",
    ),
    "dgamma": ("dgamma", "grad_gamma", "d_gamma", "gamma_grad", "dweight", "grad_weight", "dscale", "dg"),
    "dbeta": ("dbeta", "grad_beta", "d_beta", "beta_grad", "dbias", "grad_bias", "doffset", "db"),
    "training": ("training", "train", "is_training", "train_flg", "train_flag", "train_mode", "mode"),
}
LAYER = "_layer"  # where an adapted class lives in bn_param, so that a second step meets the same object


@dataclass(frozen=True)
class CourseFunctions:
    """The course's functions; None where there is none.  `**vars(functions)` hands them to check_batch_norm."""

    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    alternative_backward: Callable[..., Any] | None = None
    spatial_forward: Callable[..., Any] | None = None
    spatial_backward: Callable[..., Any] | None = None


def course_functions(implementation: Any, *, images: bool | None = None) -> CourseFunctions:
    """The course's functions of whatever was handed in.

    Parameters
    ----------
    implementation : a CourseFunctions; a function (then it is the forward); a mapping or a module with
        the course's names (`batchnorm_forward`, ...); an implementation of pybn's operations; a class
        with forward and backward; a PyTorch module class
    images : whether a class takes (n, c, h, w); by default a class with "2d" or "spatial" in its name

    Raises TypeError for anything else.
    """
    if isinstance(implementation, CourseFunctions):
        return implementation
    if hasattr(implementation, "batch_norm_training"):
        return from_operations(implementation)
    if isinstance(implementation, Mapping | ModuleType):
        return from_names(implementation)
    if inspect.isclass(implementation):
        return (
            from_torch(implementation, images=images)
            if _is_torch(implementation)
            else from_class(implementation, images=images)
        )
    if callable(implementation):
        return CourseFunctions(forward=implementation)
    raise TypeError(
        "an implementation must be a function, a class, a module, a mapping or have pybn's operations, "
        f"got {type(implementation).__name__}"
    )


def from_names(names: Mapping[str, Any] | ModuleType) -> CourseFunctions:
    """The functions that stand under the course's names in a module or a dict (`globals()` of a notebook)."""
    table = names if isinstance(names, Mapping) else vars(names)
    functions = {
        "forward": table.get("batchnorm_forward"),
        "backward": table.get("batchnorm_backward"),
        "alternative_backward": table.get("batchnorm_backward_alt"),
        "spatial_forward": table.get("spatial_batchnorm_forward"),
        "spatial_backward": table.get("spatial_batchnorm_backward"),
    }
    if functions["forward"] is None and functions["spatial_forward"] is None:
        raise TypeError("names must hold batchnorm_forward or spatial_batchnorm_forward, got neither")
    return CourseFunctions(**functions)


# --- pybn's operations as the course's functions --------------------------------------------------


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


# --- classes --------------------------------------------------------------------------------------


def from_class(layer: type, *, images: bool | None = None) -> CourseFunctions:
    """A class with `forward(x, ...)` and `backward(dout)` as the course's functions.

    Settings go to the constructor or to attributes, gamma, beta and the averages to attributes, by the
    names in `NAMES`; training is a parameter of forward, methods train() and eval(), or an attribute.
    backward returns dx, or all three; then dgamma and dbeta are attributes.  An eps that is written
    into the class cannot be set, and the check says so.
    """

    def forward(x, gamma, beta, bn_param):
        instance = bn_param.get(LAYER)
        if instance is None:
            instance = _construct(layer, x.shape[1], gamma, beta, bn_param)
            _set_averages(instance, bn_param)
            bn_param[LAYER] = instance
        out = _run(instance, x, bn_param["mode"] == "train")
        _get_averages(instance, bn_param)
        return out, instance

    def backward(dout, instance):
        result = instance.backward(dout)
        if isinstance(result, tuple | list) and len(result) == 3:
            return result
        dx = result[0] if isinstance(result, tuple | list) and len(result) == 1 else result
        return dx, _get(instance, "dgamma"), _get(instance, "dbeta")

    return _pairs(layer, forward, backward if hasattr(layer, "backward") else None, images)


def _pairs(layer: type, forward, backward, images: bool | None) -> CourseFunctions:
    """The pair in two dimensions, and for a layer of images in four, with one pixel an image in two."""
    name = layer.__name__.lower()
    if not (images if images is not None else "2d" in name or "spatial" in name):
        return CourseFunctions(forward, backward)

    return CourseFunctions(*one_pixel(forward, backward), None, forward, backward)


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


def _construct(layer: type, features: int, gamma, beta, bn_param) -> Any:
    """A new layer with its settings, as far as the constructor or attributes take them."""
    given = {"features": features, "eps": bn_param.get("eps"), "momentum": bn_param.get("momentum")}
    given |= {"gamma": np.array(gamma), "beta": np.array(beta)}
    parameters = [name for name in inspect.signature(layer).parameters.values() if name.kind is not name.VAR_KEYWORD]
    arguments = {}
    for parameter in parameters:
        meaning = _meaning(parameter.name, given)
        if meaning is not None:
            arguments[parameter.name] = given[meaning]
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
            arguments[parameter.name] = features if not arguments else None
    instance = layer(**arguments)
    for meaning in ("eps", "momentum", "gamma", "beta"):
        _set(instance, meaning, given[meaning])
    return instance


def _meaning(name: str, given: Mapping[str, Any]) -> str | None:
    return next((meaning for meaning in given if name.lower() in NAMES[meaning]), None)


def _run(instance: Any, x: Any, training: bool) -> Any:
    """Call forward in the mode that is wanted, in whatever way the layer is told."""
    call = instance.forward if hasattr(instance, "forward") else instance
    flag = next((name for name in inspect.signature(call).parameters if name in NAMES["training"]), None)
    if flag == "mode":
        return call(x, **{flag: "train" if training else "test"})
    if flag is not None:
        return call(x, **{flag: training})
    if callable(getattr(instance, "train", None)) and callable(getattr(instance, "eval", None)):
        (instance.train if training else instance.eval)()
    else:
        _set(instance, "training", training)
    return call(x)


def _attribute(instance: Any, meaning: str) -> str | None:
    return next((name for name in NAMES[meaning] if hasattr(instance, name)), None)


def _get(instance: Any, meaning: str) -> Any:
    name = _attribute(instance, meaning)
    if name is not None:
        return getattr(instance, name)
    grads = getattr(instance, "grads", None)
    return next((grads[key] for key in NAMES[meaning[1:]] if key in grads), None) if isinstance(grads, dict) else None


def _set(instance: Any, meaning: str, value: Any) -> None:
    """Set an attribute that is there, in the shape that it has ((1, d) and (1, c, 1, 1) are common)."""
    name = _attribute(instance, meaning)
    if name is None or value is None:
        return
    before = getattr(instance, name)
    fits = isinstance(value, np.ndarray) and isinstance(before, np.ndarray) and before.size == value.size
    if name == "mode":
        value = "train" if value else "test"
    setattr(instance, name, value.reshape(before.shape) if fits else value)


def _set_averages(instance: Any, bn_param) -> None:
    for meaning, key in (("mean", "running_mean"), ("variance", "running_var")):
        if key in bn_param:  # a copy: a layer may well write into its own
            _set(instance, meaning, np.array(bn_param[key]))


def _get_averages(instance: Any, bn_param) -> None:
    for meaning, key in (("mean", "running_mean"), ("variance", "running_var")):
        name = _attribute(instance, meaning)
        if name is not None and getattr(instance, name) is not None:
            bn_param[key] = np.array(getattr(instance, name))


# --- PyTorch --------------------------------------------------------------------------------------


def _is_torch(layer: type) -> bool:
    """Whether this is a class of PyTorch modules; PyTorch is not imported for the question."""
    return any(base.__module__.startswith("torch.nn") for base in layer.__mro__)


def from_torch(layer: type, *, images: bool | None = None) -> CourseFunctions:
    """A PyTorch module class as the course's functions; the backward is autograd's.

    The module takes the dtype of x.  Its momentum is set as it is, so the share of the new statistic:
    the check names PyTorch's convention.
    """
    import torch

    _warm_up(torch)

    def forward(x, gamma, beta, bn_param):
        instance = bn_param.get(LAYER)
        if instance is None:
            instance = bn_param[LAYER] = _torch_module(torch, layer, x, gamma, beta, bn_param)
        tensor = torch.tensor(x, requires_grad=bool(np.issubdtype(x.dtype, np.floating)))
        instance.train(bn_param["mode"] == "train")
        out = instance(tensor)
        for meaning, key in (("mean", "running_mean"), ("variance", "running_var")):
            name = _attribute(instance, meaning)
            if name is not None and getattr(instance, name) is not None:
                bn_param[key] = getattr(instance, name).detach().numpy().copy()
        return out.detach().numpy().copy(), (tensor, out, instance)

    def backward(dout, cache):
        tensor, out, instance = cache
        parameters = [getattr(instance, _attribute(instance, meaning) or "") for meaning in ("gamma", "beta")]
        gradients = torch.autograd.grad(
            out, [tensor, *parameters], torch.tensor(dout), retain_graph=True, allow_unused=True
        )
        return tuple(None if gradient is None else gradient.numpy().copy() for gradient in gradients)

    return _pairs(layer, forward, backward, images)


def _warm_up(torch: Any) -> None:
    """The first gradient imports for seconds; that must not count against a student's time."""
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x * x, [x], torch.ones(2))


def _torch_module(torch: Any, layer: type, x, gamma, beta, bn_param) -> Any:
    instance = layer(x.shape[1])
    instance.to(torch.float64 if x.dtype == np.float64 else torch.float32)
    _set(instance, "eps", bn_param.get("eps"))
    _set(instance, "momentum", bn_param.get("momentum"))
    values = {
        "gamma": gamma,
        "beta": beta,
        "mean": bn_param.get("running_mean"),
        "variance": bn_param.get("running_var"),
    }
    with torch.no_grad():
        for meaning, value in values.items():
            name = _attribute(instance, meaning)
            if name is not None and value is not None:
                held = getattr(instance, name)
                held.copy_(torch.tensor(value).reshape(held.shape))
    return instance


# --- the course's functions as pybn's operations ----------------------------------------------------


class CourseOperations:
    """A course pair under the names and signatures of `pybn.reference`, for `study.compare`.

    x may have any rank; feature_axis must be one axis, and there is no mask.  The batch statistics are
    read off the averages of a step that keeps nothing of the old ones (momentum 0), so a pair whose
    averages are wrong gives wrong statistics here too.  The course has no gradient of test mode.
    """

    def __init__(self, functions: CourseFunctions) -> None:
        if functions.forward is None:
            raise TypeError("operations need a forward for (n, d), got none")
        self.functions = functions

    def batch_norm_training(self, x, scale, offset, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
        """y, mean, variance."""
        y, _, state = self._forward(x, scale, offset, feature_axis, epsilon, mask)
        mean, variance = (np.ravel(state[key]).astype(np.float64) for key in ("running_mean", "running_var"))
        return _deliver(y, x, feature_axis, out), mean, variance

    def batch_norm_gradient(self, x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None):
        """dx, dscale, doffset; mean and variance are the pair's own, from a forward run again."""
        if self.functions.backward is None:
            raise NotImplementedError("this implementation has no backward")
        _, cache, _ = self._forward(x, scale, None, feature_axis, epsilon, mask)
        dx, dscale, doffset = self.functions.backward(_rows(dy, feature_axis), cache)
        return _deliver(dx, x, feature_axis, out), None if scale is None else np.ravel(dscale), np.ravel(doffset)

    def batch_norm_inference(
        self, x, scale, offset, mean, variance, *, feature_axis=-1, epsilon=1e-3, mask=None, out=None
    ):
        """y, from given mean and variance."""
        averages = {"running_mean": np.array(mean), "running_var": np.array(variance)}
        y, _, _ = self._forward(x, scale, offset, feature_axis, epsilon, mask, {"mode": "test", **averages})
        return _deliver(y, x, feature_axis, out)

    def _forward(self, x, scale, offset, feature_axis, epsilon, mask, settings=None):
        if mask is not None:
            raise NotImplementedError("this implementation takes no mask")
        rows = _rows(x, feature_axis)
        features = rows.shape[1]
        scale = np.ones(features, rows.dtype) if scale is None else scale
        offset = np.zeros(features, rows.dtype) if offset is None else offset
        state = {"mode": "train", "eps": epsilon, "momentum": 0.0} | (settings or {})
        assert self.functions.forward is not None
        y, cache = self.functions.forward(rows, scale, offset, state)
        return y, cache, state


def operations(implementation: Any) -> Any:
    """pybn's operations of whatever `course_functions` takes; what has them already is given back."""
    if hasattr(implementation, "batch_norm_training"):
        return implementation
    return CourseOperations(course_functions(implementation))


def _one_axis(feature_axis: Any) -> int:
    axes = tuple(feature_axis) if isinstance(feature_axis, Sequence) else (feature_axis,)
    if len(axes) != 1:
        raise NotImplementedError(f"this implementation takes one feature axis, got {feature_axis!r}")
    return axes[0]


def _rows(x: np.ndarray, feature_axis: Any) -> np.ndarray:
    """x with the features last and everything else in rows."""
    moved = np.moveaxis(x, _one_axis(feature_axis), -1)
    return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))


def _deliver(rows: np.ndarray, x: np.ndarray, feature_axis: Any, out: np.ndarray | None) -> np.ndarray:
    """Rows in the order of x again, in `out` where that is given."""
    axis = _one_axis(feature_axis)
    moved = np.moveaxis(x, axis, -1).shape
    result = np.moveaxis(np.asarray(rows).reshape(moved), -1, axis)
    if out is None:
        return result
    out[...] = result
    return out
