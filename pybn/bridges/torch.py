"""PyTorch's batch-norm layers over pybn's operations: put them where `torch.nn.BatchNorm1d/2d/3d` stood.

They are subclasses of PyTorch's, with its constructor, state_dict and running statistics; the active
implementation (`pybn.use_backend`) computes forward and backward, on the CPU.  Channels are axis 1, as there.
Names are PyTorch's: weight and bias are scale and offset, momentum is the fraction of the NEW batch taken in.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from pybn import backend, halves

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm", "convert"]

ACCEPTED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize as `torch.nn.functional.batch_norm` does; differentiable in input, weight and bias to any order.

    Parameters
    ----------
    input : (N, C, ...) float16, bfloat16, float32 or float64 on the CPU; in the memory format channels-last it is read
        as it lies, and the result lies so too
    running_mean, running_var : (C,), or None in training; training moves them in place,
        new = (1 - momentum) * old + momentum * (the batch's mean, its sample variance)
    weight, bias : (C,), or None for 1 and 0
    training : normalize with the batch's own statistics

    Raises TypeError and ValueError with the rule and the value; then nothing has moved.  An empty batch comes back
    empty and moves nothing, as in PyTorch.

    >>> x = torch.tensor([[1.0], [3.0]])
    >>> mean, variance = torch.zeros(1), torch.ones(1)
    >>> batch_norm(x, mean, variance, training=True, eps=0.0).ravel(), mean, variance
    (tensor([-1.,  1.]), tensor([0.2000]), tensor([1.1000]))
    """
    _check(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("running_mean and running_var must be given where training is False, got None")
        return _inference(input, weight, bias, running_mean, running_var, eps)
    count = input.numel() // input.shape[1] if input.shape[1] else 0
    if count == 1:
        raise ValueError(
            f"training needs 2 or more elements per feature, for the sample variance of one does not exist; "
            f"got input of shape {tuple(input.shape)}"
        )
    if count == 0:
        nothing = torch.zeros(input.shape[1])
        return _inference(input, weight, bias, nothing, nothing + 1, eps)
    y, mean, variance = _Training.apply(input, weight, bias, eps)
    _move(running_mean, mean, momentum)
    _move(running_var, variance, momentum, count / (count - 1))
    return y


class _Layer(torch.nn.modules.batchnorm._BatchNorm):
    """What the three layers share: PyTorch's books, and pybn's arithmetic."""

    ranks: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: in training with input's own statistics, in evaluation with the running ones if they are kept."""
        self._check_input_dim(input)
        mean, variance = self.running_mean, self.running_var
        tracked = self.training and self.track_running_stats
        if self.training and not tracked:
            mean = variance = None
        counter = self.num_batches_tracked if tracked else None
        momentum = self.momentum
        if momentum is None:
            momentum = 0.0 if counter is None else 1 / (int(counter) + 1)
        training = self.training or (mean is None and variance is None)
        y = batch_norm(input, mean, variance, self.weight, self.bias, training, momentum, self.eps)
        if counter is not None:
            counter.add_(1)
        return y

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self.ranks:
            wanted = " or ".join(map(str, self.ranks))
            raise ValueError(f"{type(self).__name__} takes input of rank {wanted}, got shape {tuple(input.shape)}")


class BatchNorm1d(_Layer, torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` over pybn's operations: (N, C) or (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(_Layer, torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` over pybn's operations: (N, C, H, W)."""

    ranks = (4,)


class BatchNorm3d(_Layer, torch.nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` over pybn's operations: (N, C, D, H, W)."""

    ranks = (5,)


_TWINS: dict[type, type] = {cls.__mro__[2]: cls for cls in (BatchNorm1d, BatchNorm2d, BatchNorm3d)}


def convert(module: AnyModule) -> AnyModule:
    """Let every `torch.nn.BatchNorm1d/2d/3d` in `module`, in place, compute with pybn; returns `module`.

    Parameters, running statistics, hooks and names stay the very same objects, so an optimizer goes on with them.
    Subclasses of PyTorch's layers are left alone: what they compute may be something else.

    >>> convert(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)))[1].__class__.__module__
    'pybn.bridges.torch'
    """
    for each in module.modules():
        if type(each) in _TWINS:
            each.__class__ = _TWINS[type(each)]
    return module


# --- the autograd functions -----------------------------------------------------------------


class _Call(NamedTuple):
    """How one forward pass computes, kept for its backward pass.

    `order` is the permutation after which the memory of a channels-last input lies in order, with the features on
    the last axis; None where axis 1 is taken as it is.
    """

    kernels: ModuleType
    training: bool
    epsilon: float
    order: tuple[int, ...] | None

    @classmethod
    def of(cls, x: Tensor, training: bool, epsilon: float) -> _Call:
        order = None
        if x.ndim > 2 and not x.is_contiguous():
            order = (0, *range(2, x.ndim), 1)
            order = order if x.permute(order).is_contiguous() else None
        return cls(backend.active(), training, epsilon, order)

    @property
    def options(self) -> dict[str, Any]:
        return {"feature_axis": 1 if self.order is None else -1, "epsilon": self.epsilon}

    def array(self, x: Tensor) -> np.ndarray:
        """The memory of x as an array, features where `options` says."""
        return _array(x if self.order is None else x.permute(self.order))

    def tensor(self, array: np.ndarray) -> Tensor:
        """The array's memory as a tensor with the features on axis 1."""
        tensor = _tensor(array)
        return tensor if self.order is None else tensor.movedim(-1, 1)

    def normalize(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, *running: Tensor) -> Any:
        """Y, mean and variance in training; y in evaluation, with the `running` two."""
        which = self.kernels.batch_norm_training if self.training else self.kernels.batch_norm_inference
        return which(self.array(x), _array(weight), _array(bias), *map(_array, running), **self.options)

    def gradient(self, x: Tensor, weight: Tensor | None, dy: Tensor, mean: np.ndarray, variance: np.ndarray) -> Any:
        """dx, dweight (None where there is no weight) and dbias, by the implementation of the forward pass."""
        which = self.kernels.batch_norm_gradient if self.training else self.kernels.batch_norm_inference_gradient
        dx, dweight, dbias = which(self.array(x), _array(weight), mean, variance, self.array(dy), **self.options)
        return self.tensor(dx), None if dweight is None else _tensor(dweight), _tensor(dbias)


class _Training(torch.autograd.Function):
    """(x, weight, bias, epsilon) -> y, mean, variance; the statistics are arrays, which no graph holds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Any:
        ctx.call = _Call.of(x, True, epsilon)
        y, *ctx.statistics = ctx.call.normalize(x, weight, bias)
        ctx.save_for_backward(x, weight)
        return ctx.call.tensor(y), *ctx.statistics

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:
        return *_gradients(ctx, dy, *ctx.saved_tensors, *ctx.statistics), None


class _Inference(torch.autograd.Function):
    """(x, weight, bias, mean, variance, epsilon) -> y."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, epsilon: float
    ) -> Tensor:
        ctx.call = _Call.of(x, False, epsilon)
        # Saved, not kept: autograd then refuses a backward pass after training has moved them.
        ctx.save_for_backward(x, weight, mean, variance)
        return ctx.call.tensor(ctx.call.normalize(x, weight, bias, mean, variance))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, variance = ctx.saved_tensors
        return *_gradients(ctx, dy, x, weight, _array(mean), _array(variance)), None, None, None


def _inference(x: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> Tensor:
    """`_Inference`; without the work of autograd (10 of 25 us) where nothing is recorded."""
    if torch.is_grad_enabled():
        return _Inference.apply(x, weight, bias, *rest)
    call = _Call.of(x, False, rest[-1])
    return call.tensor(call.normalize(x, weight, bias, *rest[:-1]))


def _gradients(
    ctx: Any, dy: Tensor, x: Tensor, weight: Tensor | None, mean: np.ndarray, variance: np.ndarray
) -> list[Tensor | None]:
    """The gradients of x, weight and bias; as a graph of their own where somebody wants to differentiate them."""
    if torch.is_grad_enabled():  # create_graph=True
        found = _Gradient.apply(x, weight, dy, mean, variance, ctx.call)
    else:
        found = ctx.call.gradient(x, weight, dy, mean, variance)
    return [each if needed else None for each, needed in zip(found, ctx.needs_input_grad, strict=False)]


class _Gradient(torch.autograd.Function):
    """The fused gradient; for the orders above the first it is written once more in float64 with PyTorch's own."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        dy: Tensor,
        mean: np.ndarray,
        variance: np.ndarray,
        call: _Call,
    ) -> Any:
        # Copies: running statistics are moved in place.
        ctx.call, ctx.statistics = call, (mean.copy(), variance.copy())
        ctx.save_for_backward(x, weight, dy)
        ctx.set_materialize_grads(False)
        return call.gradient(x, weight, dy, mean, variance)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        higher, needed = torch.is_grad_enabled(), ctx.needs_input_grad[:3]
        with torch.enable_grad():
            # Aliases: dy may depend on x, and what is asked for is how this operation depends on each alone.
            inputs: list[Any] = [None if each is None else each.view_as(each) for each in ctx.saved_tensors]
            composed = _composed(ctx.call, *inputs, *map(torch.from_numpy, ctx.statistics))
        pairs = zip(composed, cotangents, strict=True)
        asked = [(y, dy.double()) for y, dy in pairs if dy is not None and y.requires_grad]
        if not asked:
            return (None,) * 6
        outputs, dys = zip(*asked, strict=True)
        wanted = [each for each, asks in zip(inputs, needed, strict=True) if asks]
        found = iter(torch.autograd.grad(outputs, wanted, dys, create_graph=higher, allow_unused=True))
        return *(next(found) if asks else None for asks in needed), None, None, None


def _composed(
    call: _Call, x: Any, weight: Any, dy: Any, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dweight, dbias with PyTorch's operations, in float64: one line for each term of the derivation."""
    over = (0, *range(2, x.ndim))
    count = x.numel() // x.shape[1]
    x, dy, mean, variance = x.double(), dy.double(), _along(mean, x.ndim), _along(variance, x.ndim)
    if call.training:
        mean = x.mean(over, keepdim=True)
        variance = ((x - mean) ** 2).mean(over, keepdim=True)
    beneath = variance + call.epsilon
    inverse = torch.where(beneath == 0, 0.0, torch.where(beneath == 0, 1.0, beneath).rsqrt())
    normalized = (x - mean) * inverse
    dbias, dweight = dy.sum(over), (dy * normalized).sum(over)
    gain = inverse if weight is None else inverse * _along(weight, x.ndim)
    if not call.training:
        return gain * dy, dweight, dbias
    dx = gain * (dy - _along(dbias, x.ndim) / count - normalized * _along(dweight, x.ndim) / count)
    return dx, dweight, dbias


# --- tensors in, tensors out ----------------------------------------------------------------


def _array(values: Any) -> Any:
    """The memory of a tensor as an array; None stays None.

    bfloat16, which PyTorch does not hand to NumPy, by way of integers of its size.
    """
    if values is None:
        return None
    if values.dtype is torch.bfloat16:
        return values.detach().view(torch.int16).numpy().view(halves.bfloat16())
    return values.detach().numpy()


def _tensor(array: np.ndarray) -> Tensor:
    """The memory of an array as a tensor."""
    if halves.is_bfloat16(array.dtype):
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _along(values: Tensor, ndim: int) -> Tensor:
    """One float64 for each feature, shaped to broadcast against x."""
    return values.double().reshape(1, -1, *[1] * (ndim - 2))


def _move(running: Tensor | None, value: np.ndarray, momentum: float, correction: float = 1.0) -> None:
    """new = (1 - momentum) * old + momentum * correction * value, in place."""
    if running is not None:
        array = _array(running)
        array[...] = halves.rounded((1 - momentum) * array + momentum * correction * value, array.dtype)
        torch.autograd.graph.increment_version(running)


def _check(x: Tensor, **others: Tensor | None) -> None:
    """What a tensor must be; the implementations check what an array must be."""
    _check_tensor("input", x)
    if x.ndim < 2:
        raise ValueError(f"input must have rank 2 or more, (N, C, ...), got shape {tuple(x.shape)}")
    features = x.shape[1:2]
    for name, each in others.items():
        if each is None:
            continue
        _check_tensor(name, each)
        if each.shape != features:
            raise ValueError(
                f"{name} must have one number for each of input's {x.shape[1]} features, shape {tuple(features)}; "
                f"got {tuple(each.shape)}"
            )


def _check_tensor(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in ACCEPTED:
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {x.dtype}; convert it with to()")
    if not x.is_cpu or x.layout is not torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor on the CPU, where pybn computes, "
            f"got device {x.device} and layout {x.layout}"
        )
