"""A trained layer folded into the dense or conv2d layer beside it: inference without batch normalization.

With the averages fixed the layer is a line, y = gain * x + shift for each feature, and a line before or after a sum of
products is another sum of products.  The new weights are computed in float64 and rounded once.  What that costs is
measured: `report` holds the folded outputs, and those of the two layers apart, against exact ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pybn import arguments
from pybn.framework.context import OPTIMIZER_SCOPE, Context
from pybn.framework.variables import Variable
from pybn.study.interop import State, read_layer
from pybn.study.interop.state import fitting

__all__ = ["Folded", "FoldingReport", "FoldingWarning", "fold", "into_next", "into_previous", "report"]

# The mean so many deviations away: its product with the gain is the term that cancels, and of float32's seven digits
# two are gone.
FAR = 100.0


class FoldingWarning(UserWarning):
    """A folded feature is the small difference of large terms."""


class Folded(NamedTuple):
    """The layer that stands for two: `weights` in the shape and type of the old ones, and `bias`.

    `cancelling` are the features of the folded layer whose mean is 100 or more times sqrt(variance + epsilon).
    """

    weights: np.ndarray
    bias: np.ndarray
    cancelling: np.ndarray


def into_previous(state: State, weights: Any, bias: Any = None) -> Folded:
    """Fold `state` into the layer before it: norm(x @ weights + bias), and the same of a convolution.

    Parameters
    ----------
    state : of a trained layer, from `interop.read_layer`, `interop.from_pytorch`, ...
    weights : (inputs, C) of dense or (height, width, inputs, C) of conv2d
    bias : (C,) or None

    Raises ValueError for other shapes; warns with FoldingWarning of features that cancel.

    >>> state = State(mean=np.array([3.0]), variance=np.array([4.0]), epsilon=0.0)
    >>> into_previous(state, np.array([[2.0]]), np.array([1.0]))[:2]
    (array([[1.]]), array([-1.]))
    """
    weights, bias = _layer(weights, bias)
    _same("the last axis of weights", weights.shape[-1], state)
    gain, _ = _line(state)
    before = 0.0 if bias is None else bias.astype(np.float64)
    # Not gain * bias + shift: bias and mean are near each other where the layer's input is near 0.
    moved = gain * (before - state.mean) + _offset(state)
    return _folded(weights * gain, moved, weights.dtype, state)


def into_next(state: State, weights: Any, bias: Any = None, *, padding: str = "valid") -> Folded:
    """Fold `state` into the layer after it, where nothing stands between: norm(x) @ weights + bias.

    Parameters
    ----------
    weights : (C, outputs) of dense or (height, width, C, outputs) of conv2d
    bias : (outputs,) or None
    padding : of the conv2d, "valid"; under "same" the zeros around the image are put there after the
        normalization, and no weights do that: ValueError

    >>> state = State(mean=np.array([3.0]), variance=np.array([4.0]), epsilon=0.0)
    >>> into_next(state, np.array([[2.0]]))[:2]
    (array([[1.]]), array([-3.]))
    """
    weights, bias = _layer(weights, bias)
    _same("the last axis but one of weights", weights.shape[-2], state)
    if padding != "valid" and weights.shape[:-2] not in ((), (1, 1)):
        raise ValueError(
            f"padding must be 'valid' to fold into the next convolution, got {padding!r}: its zeros around the image "
            "are not normalized; pad with the mean less offset / gain, or fold into the layer before"
        )
    gain, shift = _line(state)
    wide = weights.astype(np.float64)
    moved = np.tensordot(wide.sum(tuple(range(wide.ndim - 2))), shift, axes=(0, 0))
    if bias is not None:
        moved = moved + bias
    return _folded(wide * gain[:, None], moved, weights.dtype, state)


def fold(ctx: Context, layers: Mapping[str, str], *, epsilon: float = 1e-3) -> Context:
    """A new context for the model without its batch norms, each folded into the layer before it.

    Parameters
    ----------
    ctx : of the trained model; it stays as it is
    layers : the scope of each batch norm, and that of the dense or conv2d before it:
        {"/layer_0/batch_normalization": "/layer_0/dense"}
    epsilon : that of the layers

    The plain model is the same function without the batch norms, and with use_bias=True before where they stood.
    What belongs to an optimizer is left out.
    """
    folded: dict[str, np.ndarray] = {}
    for norm, before in layers.items():
        weights = ctx.get_variable(f"{before}/weights").value
        bias = {each.path: each.value for each in ctx.variables()}.get(f"{before}/bias")
        found = into_previous(read_layer(ctx, norm, epsilon=epsilon), weights, bias)
        folded |= {f"{before}/weights": found.weights, f"{before}/bias": found.bias}
    plain = Context()
    for each in ctx.variables():
        kept = each.path not in folded and each.scope not in layers
        if kept and not each.path.startswith(f"{OPTIMIZER_SCOPE}/"):
            plain.add_variable(Variable(each.path, each.value.copy(), each.trainable, each.role))
    for path, value in folded.items():
        plain.add_variable(Variable(path, value))
    return plain


@dataclass(frozen=True, eq=False)
class FoldingReport:
    """What folding costs, in units of the last place of max(abs(y), 1), against the exact outputs.

    Attributes
    ----------
    apart, folded : (features,) the largest error of each feature, of the two layers and of the folded one
    worst_image : int, the row of the batch with the largest error of the folded one
    agreement : float, the fraction of the rows (and pixels) whose largest feature is the same folded as apart; not so
        where one of them is NaN
    """

    apart: np.ndarray
    folded: np.ndarray
    worst_image: int
    agreement: float

    @property
    def text(self) -> str:
        """The report in sentences."""
        feature = int(np.argmax(self.folded))
        return (
            f"The folded layer is off by {self.folded.max():.3g} units in the last place at most, the two apart by "
            f"{self.apart.max():.3g}.\nIt is worst in feature {feature} (apart: {self.apart[feature]:.3g}) and for "
            f"image {self.worst_image}.\nThe largest feature is the same for {self.agreement:.2%} of the rows."
        )


def report(exact: Any, apart: Any, folded: Any) -> FoldingReport:
    """Hold two kinds of outputs against exact ones, computed in float64 from the same numbers.

    Parameters
    ----------
    exact : (N, ..., features) float64
    apart, folded : outputs of the same shape, as the layers gave them and as the folded one does

    >>> one = np.float32(1)
    >>> report([[1.0, 0.0]], [[one, 0]], np.array([[np.nextafter(one, 2, dtype=np.float32), 0]], np.float32)).folded
    array([1., 0.])
    """
    exact, folded = np.asarray(exact, np.float64), arguments.float_array("folded", folded)
    apart = np.asarray(apart, folded.dtype)
    if not exact.shape == apart.shape == folded.shape or exact.ndim < 2 or not exact.size:
        raise ValueError(
            "exact, apart and folded must have one shape (N, ..., features), "
            f"got {exact.shape}, {apart.shape} and {folded.shape}"
        )
    unit = np.finfo(folded.dtype).eps * np.maximum(np.abs(exact), 1)
    of_apart, of_folded = (np.abs(each - exact) / unit for each in (apart, folded))
    rows = tuple(range(exact.ndim - 1))
    # argmax takes NaN for the largest, and two rows of NaN would agree.
    numbers = ~(np.isnan(apart) | np.isnan(folded)).any(axis=-1)
    return FoldingReport(
        of_apart.max(axis=rows),
        of_folded.max(axis=rows),
        worst_image=int(np.argmax(of_folded.reshape(len(exact), -1).max(axis=1))),
        agreement=float(np.mean((apart.argmax(axis=-1) == folded.argmax(axis=-1)) & numbers)),
    )


def _line(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Gain and shift of y = gain * x + shift, float64; a feature without any variance comes out as its offset."""
    beneath = state.variance + state.epsilon
    inverse = np.where(beneath == 0, 0.0, 1 / np.sqrt(np.where(beneath == 0, 1.0, beneath)))
    gain = inverse if state.scale is None else inverse * state.scale
    return gain, _offset(state) - gain * state.mean


def _offset(state: State) -> Any:
    return 0.0 if state.offset is None else state.offset.astype(np.float64)


def _folded(weights: np.ndarray, bias: np.ndarray, dtype: np.dtype, state: State) -> Folded:
    """Both in the type of the layer's weights; ValueError where that has not such numbers."""
    weights, bias = fitting("the folded weights", weights, dtype), fitting("the folded bias", bias, dtype)
    return Folded(weights, bias, _cancelling(state))


def _cancelling(state: State) -> np.ndarray:
    """The features that lose digits, after a warning that names them."""
    deviation = np.sqrt(state.variance + state.epsilon)
    found = np.flatnonzero(np.abs(state.mean) >= FAR * deviation)
    found = found[state.mean[found] != 0]
    if found.size:
        at = found[np.argmax(np.abs(state.mean[found]) / np.maximum(deviation[found], np.finfo(np.float64).tiny))]
        warnings.warn(
            f"folding loses digits in {found.size} of {state.mean.size} features, most in feature {at}: its mean "
            f"{state.mean[at]:.3g} is {FAR:g} or more times sqrt(variance + epsilon), of variance "
            f"{state.variance[at]:.3g} and epsilon {state.epsilon:.3g}; measure it with fold.report",
            FoldingWarning,
            stacklevel=4,
        )
    return found


def _layer(weights: Any, bias: Any) -> tuple[np.ndarray, np.ndarray | None]:
    weights = arguments.float_array("weights", weights)
    if weights.ndim not in (2, 4):
        raise ValueError(
            "weights must have shape (inputs, outputs) or (height, width, inputs, outputs), the features last; "
            f"got {weights.shape}"
        )
    _check_finite("weights", weights)
    if bias is None:
        return weights, None
    bias = arguments.float_array("bias", bias)
    _check_finite("bias", bias)
    if bias.shape != weights.shape[-1:]:
        raise ValueError(f"bias must have the shape of weights' outputs {weights.shape[-1:]}, got {bias.shape}")
    return weights, bias


def _check_finite(name: str, values: np.ndarray) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if wrong.size:
        at = tuple(map(int, wrong[0]))
        raise ValueError(f"{name} must be finite, got {values[at]} at {at}")


def _same(what: str, size: int, state: State) -> None:
    if state.mean.shape != (size,):
        raise ValueError(f"{what} must be the layer's features, of shape {state.mean.shape}, got {size}")
