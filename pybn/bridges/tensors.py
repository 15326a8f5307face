"""Tensors as arrays and arrays as tensors, and what a tensor must be: for the bridge to PyTorch."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from pybn import halves

__all__ = ["ACCEPTED", "along", "array", "check", "move", "tensor"]

ACCEPTED = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
STRIDED, BFLOAT16 = torch.strided, torch.bfloat16  # looked up once


def array(values: Any) -> Any:
    """The memory of a tensor as an array; None stays None.

    bfloat16, which PyTorch does not hand to NumPy, by way of integers of its size.
    """
    if values is None:
        return None
    if values.dtype is BFLOAT16:
        return values.detach().view(torch.int16).numpy().view(halves.bfloat16())
    return values.numpy(force=True)  # .2 us sooner than detach().numpy()


def tensor(values: np.ndarray) -> Tensor:
    """The memory of an array as a tensor."""
    if halves.is_bfloat16(values.dtype):
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def along(values: Tensor, ndim: int) -> Tensor:
    """One float64 for each feature, shaped to broadcast against x."""
    return values.double().reshape(1, -1, *[1] * (ndim - 2))


def move(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    count: int,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """new = (1 - momentum) * old + momentum * the batch's mean, or its sample variance, in place."""
    sample = momentum * (count / (count - 1))
    for running, share, value in ((running_mean, momentum, mean), (running_var, sample, variance)):
        if running is not None:
            memory = array(running)
            if halves.is_half(memory.dtype):  # rounded once
                memory[...] = halves.rounded((1 - momentum) * memory + share * value, memory.dtype)
            else:
                memory *= 1 - momentum
                memory += (share * value).astype(memory.dtype)  # a sum of two types takes another 2 us
            increment_version(running)


def check(x: Tensor, mean: Tensor | None, variance: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> None:
    """What a tensor must be; the implementations check what an array must be."""
    if not _usable(x):
        _refuse("input", x)
    if x.ndim < 2:
        raise ValueError(f"input must have rank 2 or more, (N, C, ...), got shape {tuple(x.shape)}")
    features = x.shape[1:2]
    for each in (mean, variance, weight, bias):
        if each is not None and not (_usable(each) and each.shape == features):
            break
    else:
        return  # as ever: names are not needed, which took 2 of 5 us
    for name, each in (("running_mean", mean), ("running_var", variance), ("weight", weight), ("bias", bias)):
        if each is not None and not _usable(each):
            _refuse(name, each)
        if each is not None and each.shape != features:
            raise ValueError(
                f"{name} must have one number for each of input's {x.shape[1]} features, shape {tuple(features)}; "
                f"got {tuple(each.shape)}"
            )


def _usable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in ACCEPTED and x.is_cpu and x.layout is STRIDED


def _refuse(name: str, x: Any) -> NoReturn:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in ACCEPTED:
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {x.dtype}; convert it with to()")
    raise ValueError(
        f"{name} must be a dense tensor on the CPU, where pybn computes, got device {x.device} and layout {x.layout}"
    )
