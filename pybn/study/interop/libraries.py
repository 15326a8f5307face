"""A door in and out for each library, and for pybn's own layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pybn.framework.context import Context
from pybn.framework.variables import Variable
from pybn.study.interop.conventions import (
    LIBRARIES,
    Library,
    Momentum,
)
from pybn.study.interop.state import Arrays, State, arrays_from, counted, expect_keys, state_from


def options(library: str, state: State) -> dict[str, Momentum]:
    """The constructor's keywords that make the library's layer go on with this state's momentum and epsilon.

    >>> options("pytorch", State(np.zeros(2), np.ones(2), momentum=0.75, epsilon=1e-3))
    {'momentum': 0.25, 'eps': 0.001}
    """
    row = _library(library)
    momentum, epsilon = row.keywords
    return {momentum: row.from_pybn(state.momentum), epsilon: state.epsilon}


# --- PyTorch, and who took over its names: MLX, tinygrad ------------------------------------


def from_pytorch(
    arrays: Mapping[str, Any],
    *,
    count: float | None = None,
    momentum: Momentum = 0.1,
    epsilon: float = 1e-5,
    avg_weight: float | None = None,
    prefix: str = "",
) -> State:
    """State of a `torch.nn.BatchNorm*d`, from its `state_dict()`; of MLX's and tinygrad's layers too.

    Parameters
    ----------
    arrays : weight and bias (or neither), running_mean, running_var, num_batches_tracked (or not)
    count : n, the elements per feature in a training batch (rows, times pixels of an image):
        running_var is a SAMPLE variance, and pybn's is the population's, (n - 1) / n of it.
        math.inf takes it as it is: evaluation then gives PyTorch's numbers.
    momentum, epsilon : what the layer was built with, in PyTorch's sense (they are not in the state_dict);
        momentum=None is the mean of all batches
    avg_weight : how many batches the averages stand for; left out, num_batches_tracked, and where that is
        missing or 0 (as after loading an old checkpoint) the length of momentum's memory, 1 / momentum
    prefix : what the keys start with in a whole model's state_dict, as "bn1."; other keys are not looked at

    Raises ValueError for a missing, unknown or misshapen array, and where count is needed and not given.

    >>> state = from_pytorch({"running_mean": np.zeros(2), "running_var": np.full(2, 4.0)}, count=8)
    >>> state.variance, state.momentum, state.avg_weight
    (array([3.5, 3.5]), 0.9, 10.0)
    """
    chosen = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    return state_from("pytorch", chosen, momentum, epsilon, avg_weight, count)


def to_pytorch(state: State, *, count: float | None = None, dtype: Any = np.float32, prefix: str = "") -> Arrays:
    """Arrays for `load_state_dict`: running_var is the sample variance of `count` elements (left out, state.count).

    weight and bias are both there or both absent, as PyTorch has it; the one that was not learned is 1 or 0.
    """
    arrays = arrays_from("pytorch", state, dtype, both=state.scale is not None or state.offset is not None, count=count)
    return {prefix + name: values for name, values in arrays.items()}


# --- libraries that average the population variance -----------------------------------------


def from_keras(
    arrays: Mapping[str, Any], *, momentum: float = 0.99, epsilon: float = 1e-3, avg_weight: float | None = None
) -> State:
    """State of a `keras.layers.BatchNormalization`: `{w.name: w.numpy() for w in layer.weights}`.

    Keras counts no batches: `avg_weight`, left out, is the length of momentum's memory, 1 / (1 - momentum),
    so that the next batch moves the averages as it would there.  (A weight of 0 would throw them away.)
    Under a mask Keras normalizes the padding too, which pybn gives back as it is.
    """
    return state_from("keras", arrays, momentum, epsilon, avg_weight)


def to_keras(state: State, *, dtype: Any = np.float32) -> Arrays:
    """gamma and beta (where learned), moving_mean, moving_variance: in this order `layer.set_weights` takes them.

    Under a mask Keras normalizes the padding too, which pybn gives back as it is.
    """
    return arrays_from("keras", state, dtype)


def from_flax(
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    avg_weight: float | None = None,
) -> State:
    """State of a Flax linen `BatchNorm`: its own dicts from the collections "params" and "batch_stats".

    Flax counts no batches: see `from_keras`.
    """
    return state_from("flax", {**params, **batch_stats}, momentum, epsilon, avg_weight)


def to_flax(state: State, *, dtype: Any = np.float32) -> tuple[Arrays, Arrays]:
    """The layer's dicts for the collections "params" and "batch_stats"."""
    arrays = arrays_from("flax", state, dtype)
    stats = {name: arrays.pop(name) for name in ("mean", "var")}
    return arrays, stats


def from_nnx(
    arrays: Mapping[str, Any], *, momentum: float = 0.99, epsilon: float = 1e-5, avg_weight: float | None = None
) -> State:
    """State of a Flax nnx `BatchNorm`: scale, bias, mean, var in one dict; what is None is absent.

    Flax counts no batches: see `from_keras`.
    """
    present = {name: values for name, values in arrays.items() if values is not None}
    return state_from("flax", present, momentum, epsilon, avg_weight)


def to_nnx(state: State, *, dtype: Any = np.float32) -> Arrays:
    """scale and bias (where learned), mean, var in one dict."""
    return arrays_from("flax", state, dtype)


def from_onnx(
    arrays: Mapping[str, Any], *, momentum: float = 0.9, epsilon: float = 1e-5, avg_weight: float | None = None
) -> State:
    """State of an ONNX `BatchNormalization` node: its initializers, by the names of the operator's inputs.

    That is {"scale", "B", "input_mean", "input_var"}; momentum and epsilon are the node's attributes.
    ONNX counts no batches: see `from_keras`.
    """
    return state_from("onnx", arrays, momentum, epsilon, avg_weight)


def to_onnx(state: State, *, dtype: Any = np.float32) -> Arrays:
    """The four initializers; scale and B are required by the operator, so ones and zeros stand for none."""
    return arrays_from("onnx", state, dtype, both=True)


def from_gomlx(
    arrays: Mapping[str, Any], *, momentum: float = 0.99, epsilon: float = 1e-3, avg_weight: float | None = None
) -> State:
    """State of a GoMLX `batchnorm` layer; its avg_weight is a vector whose elements are all the same number."""
    return state_from("gomlx", arrays, momentum, epsilon, avg_weight)


def to_gomlx(state: State, *, dtype: Any = np.float32) -> Arrays:
    """scale and offset (where learned), mean, variance, and avg_weight as a vector in the same dtype."""
    arrays = arrays_from("gomlx", state, dtype)
    arrays["avg_weight"] = np.full(state.mean.shape, state.avg_weight, dtype)
    return arrays


# --- Haiku: averages with a hidden undebiased twin ------------------------------------------


def from_haiku(
    params: Mapping[str, Any],
    mean_ema: Mapping[str, Any],
    var_ema: Mapping[str, Any],
    *,
    decay_rate: float,
    epsilon: float = 1e-5,
    avg_weight: float | None = None,
) -> State:
    """State of a Haiku `BatchNorm`: its parameters, and the states of its two moving averages.

    Parameters
    ----------
    params : scale, offset, each as learned; shapes like (1, C) lose their ones
    mean_ema, var_ema : average, counter and hidden of each
    decay_rate : what the layer was built with (Haiku has no default)
    """
    arrays = {name: _without_ones(name, values) for name, values in params.items()}
    for name, ema in (("mean_ema", mean_ema), ("var_ema", var_ema)):
        expect_keys(f"Haiku's {name}", ema, required=("average", "counter"), known=("average", "counter", "hidden"))
        arrays[name] = _without_ones(name, ema["average"])
    arrays["counter"] = np.asarray(mean_ema["counter"])
    if counted("haiku", arrays) == 0:
        raise ValueError("Haiku's averages must have seen a batch (counter 1 or more): before it they are 0, got 0")
    return state_from("haiku", arrays, decay_rate, epsilon, avg_weight)


def to_haiku(state: State, *, ndim: int, feature_axis: int = -1, dtype: Any = np.float32) -> tuple[Arrays, ...]:
    """(params, mean_ema, var_ema) for an input of rank `ndim`: arrays keep a size of 1 along the reduced axes."""
    if state.avg_weight < 1:
        raise ValueError(
            f"avg_weight must be 1 or more: Haiku cannot hold averages of no batch, got {state.avg_weight}"
        )
    shape = [1] * ndim
    shape[feature_axis] = -1
    arrays = {name: values.reshape(shape) for name, values in arrays_from("haiku", state, dtype).items() if values.ndim}
    averages = {name: arrays.pop(name) for name in ("mean_ema", "var_ema")}
    counter = np.int32(round(state.avg_weight))
    weight = 1 - LIBRARIES["haiku"].to_pybn(state.momentum) ** int(counter)  # of the hidden sums, which start at 0
    emas = (
        {"average": values, "hidden": (values * weight).astype(dtype), "counter": np.asarray(counter)}
        for values in averages.values()
    )
    return arrays, *emas


# --- pybn's own layer -----------------------------------------------------------------------


def read_layer(
    ctx: Context, scope: str, *, momentum: float = 0.99, epsilon: float = 1e-3, count: float | None = None
) -> State:
    """State of the layer whose variables stand in `scope`, such as "/layer_0/batch_normalization".

    momentum and epsilon are those that the layer is built with; count, where given, lets `to_pytorch` convert.
    """
    found = {name: ctx.get_variable(f"{scope}/{name}").value.copy() for name in ("mean", "variance", "avg_weight")}
    learned = {name: _find(ctx, f"{scope}/{name}") for name in ("scale", "offset")}
    return State(
        mean=found["mean"].astype(np.float64),
        variance=found["variance"].astype(np.float64),
        scale=None if learned["scale"] is None else learned["scale"].value.copy(),
        offset=None if learned["offset"] is None else learned["offset"].value.copy(),
        avg_weight=float(found["avg_weight"]),
        momentum=momentum,
        epsilon=epsilon,
        count=count,
    )


def write_layer(ctx: Context, scope: str, state: State) -> None:
    """Put `state` into the variables of the layer in `scope`, all of them or, after an error, none.

    The layer must have run once, so that its variables exist; build it with `options("pybn", state)`.
    A scale or offset that the state lacks becomes 1 or 0; one that the layer lacks is a ValueError.
    """
    values = {"mean": state.mean, "variance": state.variance, "avg_weight": state.avg_weight}
    learned = {"scale": (state.scale, np.ones_like(state.mean)), "offset": (state.offset, np.zeros_like(state.mean))}
    for name, (given, neutral) in learned.items():
        if _find(ctx, f"{scope}/{name}") is not None:
            values[name] = neutral if given is None else given
        elif given is not None:
            raise ValueError(f"the layer in {scope} learns no {name}, but the state has one: build it with one")
    variables = {name: ctx.get_variable(f"{scope}/{name}") for name in values}
    checked = {name: variable.checked(values[name]) for name, variable in variables.items()}
    for name, variable in variables.items():
        variable.value = checked[name]


def _find(ctx: Context, path: str) -> Variable | None:
    try:
        return ctx.get_variable(path)
    except KeyError:  # the layer was built without it
        return None


def _without_ones(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.size != max(array.shape, default=1):
        raise ValueError(f"{name} must have one axis larger than 1, the features, got shape {array.shape}")
    return array.reshape(-1)


def _library(name: str) -> Library:
    if name not in LIBRARIES:
        raise ValueError(f"library must be one of {list(LIBRARIES)}, got {name!r}")
    return LIBRARIES[name]
