# The signatures with their types: in reference.py they are short, and the equations are near.
# The compiled twin has the same ones.

from typing import Any

from pybn.arguments import GradientSums, Moments
from pybn.typing import Array, ArrayLike, FeatureAxis, Float64Array, MaskLike

__all__ = [
    "GradientSums",
    "Moments",
    "batch_norm_gradient",
    "batch_norm_gradient_from_sums",
    "batch_norm_gradient_sums",
    "batch_norm_inference",
    "batch_norm_inference_gradient",
    "batch_norm_training",
    "merge_moments",
    "moments",
]

def moments(x: ArrayLike, *, feature_axis: FeatureAxis = -1, mask: MaskLike | None = None) -> Moments: ...
def merge_moments(a: tuple[int, ArrayLike, ArrayLike], b: tuple[int, ArrayLike, ArrayLike]) -> Moments: ...
def batch_norm_training(
    x: ArrayLike,
    scale: ArrayLike | None,
    offset: ArrayLike | None,
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
    out: Array | None = None,
) -> tuple[Array, Float64Array, Float64Array]: ...
def batch_norm_gradient(
    x: ArrayLike,
    scale: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    dy: ArrayLike,
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
    out: Array | None = None,
) -> tuple[Array, Any, Array]: ...  # dscale is None where scale is
def batch_norm_gradient_sums(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    dy: ArrayLike,
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
) -> GradientSums: ...
def batch_norm_gradient_from_sums(
    x: ArrayLike,
    scale: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    dy: ArrayLike,
    sums: tuple[int, ArrayLike, ArrayLike],
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
    out: Array | None = None,
) -> Array: ...
def batch_norm_inference(
    x: ArrayLike,
    scale: ArrayLike | None,
    offset: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
    out: Array | None = None,
) -> Array: ...
def batch_norm_inference_gradient(
    x: ArrayLike,
    scale: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    dy: ArrayLike,
    *,
    feature_axis: FeatureAxis = -1,
    epsilon: float = 1e-3,
    mask: MaskLike | None = None,
    out: Array | None = None,
) -> tuple[Array, Any, Array]: ...  # dscale is None where scale is
