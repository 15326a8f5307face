# The operations are the reference's, with the same signatures; the rest is this package's own.

from typing import Any

from pybn.reference import (
    GradientSums,
    Moments,
    batch_norm_gradient,
    batch_norm_gradient_from_sums,
    batch_norm_gradient_sums,
    batch_norm_inference,
    batch_norm_inference_gradient,
    batch_norm_training,
    merge_moments,
    moments,
)

__all__ = [
    "GradientSums",
    "Moments",
    "batch_norm_gradient",
    "batch_norm_gradient_from_sums",
    "batch_norm_gradient_sums",
    "batch_norm_inference",
    "batch_norm_inference_gradient",
    "batch_norm_training",
    "build_info",
    "clear_cache",
    "get_num_threads",
    "merge_moments",
    "moments",
    "set_num_threads",
]

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def clear_cache() -> None: ...
def build_info() -> dict[str, Any]: ...
