"""A door in and out for each library, and for pybn's own layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pybn.framework.context import Context
from pybn.framework.variables import Variable
from pybn.study.interop.conventions import LIBRARIES, Library, Momentum
from pybn.study.interop.names import at_stem, chosen, stem_of
from pybn.study.interop.onnx_model import arrays_of, graph_of
from pybn.study.interop.state import ALIKE, Arrays, State, arrays_from, count_in, counted, fitting, names_in, state_from


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
    avg_weight : how many batches the averages stand for; left out, num_batches_tracked, and at least the length of
        momentum's memory, 1 / momentum: a fixed momentum does not look at the counter
    prefix : what the keys start with in a whole model's state_dict, as "bn1."; other keys are not looked at, and
        where one layer alone is in there it is found without

    Raises ValueError for a missing, unknown or misshapen array, and where count is needed and not given.

    >>> state = from_pytorch({"running_mean": np.zeros(2), "running_var": np.full(2, 4.0)}, count=8)
    >>> state.variance, state.momentum, state.avg_weight
    (array([3.5, 3.5]), 0.9, 10.0)
    """
    return state_from("pytorch", _layer("pytorch", arrays, prefix), momentum, epsilon, avg_weight, count)


def to_pytorch(state: State, *, count: float | None = None, dtype: Any = np.float32, prefix: str = "") -> Arrays:
    """Arrays for `load_state_dict`: running_var is the sample variance of `count` elements (left out, state.count).

    weight and bias are both there or both absent, as PyTorch has it; the one that was not learned is 1 or 0.
    """
    arrays = arrays_from("pytorch", state, dtype, both=state.scale is not None or state.offset is not None, count=count)
    return {prefix + name: values for name, values in arrays.items()}


# --- libraries that average the population variance -----------------------------------------


def from_keras(
    arrays: Any,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    avg_weight: float | None = None,
    prefix: str = "",
) -> State:
    """State of a `keras.layers.BatchNormalization`: `{w.path: w.numpy() for w in model.weights}`, or an open h5py file.

    Names are taken as Keras 3, Keras 2 and tf.keras write them, such as "bn_1/gamma:0"; `prefix` is what those of the
    layer begin with.  In a .weights.h5 file of Keras 3 ("layers/batch_normalization/vars") they are numbers: of four
    arrays it is known which is which; name fewer yourself.

    Keras counts no batches: `avg_weight`, left out, is the length of momentum's memory, 1 / (1 - momentum),
    so that the next batch moves the averages as it would there.  (A weight of 0 would throw them away.)
    Under a mask Keras normalizes the padding too, which pybn gives back as it is.
    """
    return state_from("keras", _layer("keras", arrays, prefix, by_place=True), momentum, epsilon, avg_weight)


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
    prefix: str = "",
) -> State:
    """State of a Flax linen `BatchNorm`: its own dicts from the collections "params" and "batch_stats".

    With `prefix`, such as "BatchNorm_0", they are the whole model's.
    Flax counts no batches: see `from_keras`.
    """
    (mean, variance), known = names_in("flax")
    title = LIBRARIES["flax"].title
    stats = chosen(f"{title}'s batch_stats", batch_stats, prefix, (mean, variance), (mean, variance))
    stem = stem_of(f"{title}'s batch_stats", batch_stats, prefix, (mean, variance))
    learned = at_stem(f"{title}'s params", params, stem, known[:2])
    return state_from("flax", {**learned, **stats}, momentum, epsilon, avg_weight)


def to_flax(state: State, *, dtype: Any = np.float32) -> tuple[Arrays, Arrays]:
    """The layer's dicts for the collections "params" and "batch_stats"."""
    arrays = arrays_from("flax", state, dtype)
    stats = {name: arrays.pop(name) for name in ("mean", "var")}
    return arrays, stats


def from_nnx(
    arrays: Any,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    avg_weight: float | None = None,
    prefix: str = "",
) -> State:
    """State of a Flax nnx `BatchNorm`: scale, bias, mean, var in one dict; what is None is absent.

    Flax counts no batches: see `from_keras`; `prefix` is what the layer's names begin with.
    """
    return state_from("flax", _layer("flax", arrays, prefix), momentum, epsilon, avg_weight)


def to_nnx(state: State, *, dtype: Any = np.float32) -> Arrays:
    """scale and bias (where learned), mean, var in one dict."""
    return arrays_from("flax", state, dtype)


def from_onnx(
    arrays: Any,
    *,
    momentum: float | None = None,
    epsilon: float | None = None,
    avg_weight: float | None = None,
    prefix: str = "",
) -> State:
    """State of an ONNX `BatchNormalization` node: the model, or its initializers by the names of the operator's inputs.

    Parameters
    ----------
    arrays : what `onnx.load(path)` gives, or {"scale", "B", "input_mean", "input_var"}
    momentum, epsilon : left out, the attributes of the model's node, and where it has none ONNX's .9 and 1e-5
    prefix : what the node's name, or the names of its arrays, begin with; "" where there is one such node

    ONNX counts no batches: see `from_keras`.
    """
    row = LIBRARIES["onnx"]
    attributes: dict[str, Any] = {}
    if (graph := graph_of(arrays)) is not None:
        arrays, attributes = arrays_of(graph, prefix, (row.scale, row.offset, row.mean, row.variance))
        prefix = ""
    return state_from(
        "onnx",
        _layer("onnx", arrays, prefix),
        attributes.get("momentum", row.momentum) if momentum is None else momentum,
        attributes.get("epsilon", row.epsilon) if epsilon is None else epsilon,
        avg_weight,
    )


def to_onnx(state: State, *, dtype: Any = np.float32) -> Arrays:
    """The four initializers; scale and B are required by the operator, so ones and zeros stand for none."""
    return arrays_from("onnx", state, dtype, both=True)


def from_gomlx(
    arrays: Any,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    avg_weight: float | None = None,
    prefix: str = "",
) -> State:
    """State of a GoMLX `batchnorm` layer, by the names of its variables, which begin with `prefix`.

    Its avg_weight is a vector whose elements are all the same number; 0 is taken as it is: nothing was averaged yet.
    """
    return state_from("gomlx", _layer("gomlx", arrays, prefix), momentum, epsilon, avg_weight)


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
    prefix: str = "",
) -> State:
    """State of a Haiku `BatchNorm`: its parameters, and the states of its two moving averages.

    Parameters
    ----------
    params : scale, offset, each as learned; shapes like (1, C) lose their ones
    mean_ema, var_ema : average, counter and hidden of each
    decay_rate : what the layer was built with (Haiku has no default)
    prefix : of the layer, such as "batch_norm", where params and the two states are the whole net's

    The averages stand for as many batches as make the next one move them as in Haiku; from the second on the two
    rules differ by a little until `decay_rate`'s memory is full.
    """
    (mean, variance), known = names_in("haiku")
    arrays = at_stem("Haiku's params", params, f"{prefix}/" if prefix else "", known[:2])
    counters: list[float] = []
    for name, ema in ((mean, mean_ema), (variance, var_ema)):
        inner = f"{prefix}/~/{name}" if prefix else ""
        stored = chosen(f"Haiku's {name}", ema, inner, ("average", "counter"), ("average", "counter", "hidden"))
        arrays[name] = stored["average"]
        counters.append(count_in(f"{name}'s counter", stored["counter"]))
    if counters[0] != counters[1]:
        raise ValueError(f"Haiku's averages must have seen the same batches, got the counters {counters}")
    arrays["counter"] = counters[0]
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
    LIBRARIES["haiku"].from_pybn(state.momentum)  # momentum 1 is refused
    counter = np.int32(_haiku_counter(state.avg_weight, state.momentum))
    weight = 1 - state.momentum ** int(counter)  # of the hidden sums, which start at 0
    emas = (
        {"average": values, "hidden": (values * weight).astype(dtype), "counter": np.asarray(counter)}
        for values in averages.values()
    )
    return arrays, *emas


def _haiku_counter(weight: float, momentum: float) -> int:
    """The counter with which Haiku's next batch moves the averages as pybn's does after `weight` batches."""
    counter, full = max(1, round(weight)), weight * (1 - momentum) >= momentum
    if momentum == 0 or not full:
        started = 1 - weight * (1 - momentum) / momentum if momentum else 0.0
        return max(1, round(math.log(started) / math.log(momentum))) if started > 0 else counter
    # Haiku nears momentum only slowly: as many batches as bring it there.
    return max(counter, math.ceil(math.log(ALIKE / (1 - momentum)) / math.log(momentum)))


# --- pybn's own layer -----------------------------------------------------------------------


def read_layer(
    ctx: Context, scope: str, *, momentum: float = 0.99, epsilon: float = 1e-3, count: float | None = None
) -> State:
    """State of the layer whose variables stand in `scope`, such as "/layer_0/batch_normalization".

    momentum and epsilon are those that the layer is built with; count, where given, lets `to_pytorch` convert.
    """
    scope = scope.rstrip("/")
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
    A scale or offset that the state lacks becomes 1 or 0; one that the layer lacks is a ValueError.  So are NaN,
    infinity and a negative variance, in a state whose arrays were changed in place too, with the array and the
    features, and a number that is too large for the variable's type.  While the context is being trained or updated,
    it is a ConcurrentTrainingError: the step would be lost, or the state.
    """
    scope = scope.rstrip("/")
    state = replace(state)  # arrays can be changed in place: checked again
    values: dict[str, Any] = {"mean": state.mean, "variance": state.variance, "avg_weight": state.avg_weight}
    learned = {"scale": (state.scale, np.ones_like(state.mean)), "offset": (state.offset, np.zeros_like(state.mean))}
    for name, (given, neutral) in learned.items():
        if _find(ctx, f"{scope}/{name}") is not None:
            values[name] = neutral if given is None else given
        elif given is not None:
            raise ValueError(f"the layer in {scope} learns no {name}, but the state has one: build it with one")
    variables = {name: ctx.get_variable(f"{scope}/{name}") for name in values}
    with ctx.changing("write_layer"):
        ctx.assign({each: fitting(name, values[name], each.dtype) for name, each in variables.items()})


def _find(ctx: Context, path: str) -> Variable | None:
    try:
        return ctx.get_variable(path)
    except KeyError:  # the layer was built without it
        return None


def _layer(library: str, arrays: Any, prefix: str, by_place: bool = False) -> dict[str, Any]:
    """One layer's arrays, by the library's names."""
    required, known = names_in(library)
    return chosen(LIBRARIES[library].title, arrays, prefix, required, known, known if by_place else ())


def _library(name: str) -> Library:
    if name not in LIBRARIES:
        raise ValueError(f"library must be one of {list(LIBRARIES)}, got {name!r}")
    return LIBRARIES[name]
