"""PyTorch's batch-norm layers over pybn's operations: put them where `torch.nn.BatchNorm1d/2d/3d` stood.

They are subclasses of PyTorch's, with its constructor, state_dict and running statistics; the active
implementation (`pybn.use_backend`) computes forward and backward, on the CPU.  Channels are axis 1, as there.
Names are PyTorch's: weight and bias are scale and offset, momentum is the fraction of the NEW batch taken in.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pybn import backend
from pybn.bridges import tensors

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm", "convert"]

#: The running mean and variance that a batch moves, the momentum, and how many elements each feature has.
Moved = tuple[Tensor | None, Tensor | None, float, int]
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
    tensors.check(input, running_mean, running_var, weight, bias)
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
    moved = running_mean, running_var, momentum, count
    if torch.is_grad_enabled():
        return _Training.apply(input, weight, bias, eps, moved)
    return _Call(input, True, eps).train(input, weight, bias, moved)[0]


class _Layer(torch.nn.modules.batchnorm._BatchNorm):
    """What the three layers share: PyTorch's books, and pybn's arithmetic."""

    ranks: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        """Normalize: in training with input's own statistics, in evaluation with the running ones if they are kept."""
        self._check_input_dim(input)
        tracked = self.training and self.track_running_stats
        mean = variance = None
        if tracked or not self.training:
            mean, variance = self._held("_buffers", "running_mean"), self._held("_buffers", "running_var")
        counter = self._held("_buffers", "num_batches_tracked") if tracked else None
        momentum = self.momentum
        if momentum is None:
            momentum = 0.0 if counter is None else 1 / (int(counter) + 1)
        training = self.training or (mean is None and variance is None)
        weight, bias = self._held("_parameters", "weight"), self._held("_parameters", "bias")
        y = batch_norm(input, mean, variance, weight, bias, training, momentum, self.eps)
        if counter is not None:
            counter.add_(1)
        return y

    def _held(self, kind: str, name: str) -> Any:
        """`self.name`; found at once it takes .1 us, and .6 where nn.Module looks for it."""
        held = self.__dict__[kind]
        return held[name] if name in held else getattr(self, name)  # a parametrized weight is a property

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


class _Call:
    """How one forward pass computes, kept for its backward pass.

    `order` is the permutation after which the memory of a channels-last input lies in order, with the features on
    the last axis; None where axis 1 is taken as it is.
    """

    __slots__ = ("axis", "epsilon", "kernels", "order", "training")

    def __init__(self, x: Tensor, training: bool, epsilon: float) -> None:
        self.kernels, self.training, self.epsilon = backend.active(), training, epsilon
        self.order: tuple[int, ...] | None = None
        self.axis = 1
        if x.ndim > 2 and not x.is_contiguous():
            order = (0, *range(2, x.ndim), 1)
            if x.permute(order).is_contiguous():
                self.order, self.axis = order, -1

    def train(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, moved: Moved) -> Any:
        """y, mean and variance, by which the running statistics are moved."""
        y, mean, variance = self.kernels.batch_norm_training(
            self.array(x), tensors.array(weight), tensors.array(bias), feature_axis=self.axis, epsilon=self.epsilon
        )
        tensors.move(*moved, mean, variance)
        return self.tensor(y), mean, variance

    def infer(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor) -> Tensor:
        """y, by the running statistics."""
        arrays = map(tensors.array, (weight, bias, mean, variance))
        return self.tensor(
            self.kernels.batch_norm_inference(self.array(x), *arrays, feature_axis=self.axis, epsilon=self.epsilon)
        )

    def gradient(self, x: Tensor, weight: Tensor | None, dy: Tensor, mean: np.ndarray, variance: np.ndarray) -> Any:
        """dx, dweight (None where there is no weight) and dbias, by the implementation of the forward pass."""
        which = self.kernels.batch_norm_gradient if self.training else self.kernels.batch_norm_inference_gradient
        dx, dweight, dbias = which(
            self.array(x),
            tensors.array(weight),
            mean,
            variance,
            self.array(dy),
            feature_axis=self.axis,
            epsilon=self.epsilon,
        )
        return self.tensor(dx), None if dweight is None else tensors.tensor(dweight), tensors.tensor(dbias)

    def array(self, x: Tensor) -> np.ndarray:
        """The memory of x as an array, features on `axis`."""
        return tensors.array(x if self.order is None else x.permute(self.order))

    def tensor(self, array: np.ndarray) -> Tensor:
        """The array's memory as a tensor with the features on axis 1."""
        tensor = tensors.tensor(array)
        return tensor if self.order is None else tensor.movedim(-1, 1)


class _Training(torch.autograd.Function):
    """(x, weight, bias, epsilon) -> y; moves the running statistics, which no graph holds."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float, moved: Moved
    ) -> Tensor:
        ctx.call = call = _Call(x, True, epsilon)
        y, *ctx.statistics = call.train(x, weight, bias, moved)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return *_gradients(ctx, dy, *ctx.saved_tensors, *ctx.statistics), None, None


class _Inference(torch.autograd.Function):
    """(x, weight, bias, mean, variance, epsilon) -> y."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, epsilon: float
    ) -> Tensor:
        ctx.call = _Call(x, False, epsilon)
        # Saved, not kept: autograd then refuses a backward pass after training has moved them.
        ctx.save_for_backward(x, weight, mean, variance)
        return ctx.call.infer(x, weight, bias, mean, variance)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, variance = ctx.saved_tensors
        return *_gradients(ctx, dy, x, weight, tensors.array(mean), tensors.array(variance)), None, None, None


def _inference(x: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> Tensor:
    """`_Inference`; without the work of autograd (10 of 25 us) where nothing is recorded."""
    if torch.is_grad_enabled():
        return _Inference.apply(x, weight, bias, *rest)
    *running, epsilon = rest
    return _Call(x, False, epsilon).infer(x, weight, bias, *running)


def _gradients(
    ctx: Any, dy: Tensor, x: Tensor, weight: Tensor | None, mean: np.ndarray, variance: np.ndarray
) -> list[Tensor | None]:
    """The gradients of x, weight and bias; as a graph of their own where somebody wants to differentiate them."""
    if torch.is_grad_enabled():  # create_graph=True
        dx, dweight, dbias = _Gradient.apply(x, weight, dy, mean, variance, ctx.call)
    else:
        dx, dweight, dbias = ctx.call.gradient(x, weight, dy, mean, variance)
    of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
    return [dx if of_x else None, dweight if of_weight else None, dbias if of_bias else None]


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
    x, dy, mean, variance = x.double(), dy.double(), tensors.along(mean, x.ndim), tensors.along(variance, x.ndim)
    if call.training:
        mean = x.mean(over, keepdim=True)
        variance = ((x - mean) ** 2).mean(over, keepdim=True)
    beneath = variance + call.epsilon
    inverse = torch.where(beneath == 0, 0.0, torch.where(beneath == 0, 1.0, beneath).rsqrt())
    normalized = (x - mean) * inverse
    dbias, dweight = dy.sum(over), (dy * normalized).sum(over)
    gain = inverse if weight is None else inverse * tensors.along(weight, x.ndim)
    if not call.training:
        return gain * dy, dweight, dbias
    dx = gain * (dy - tensors.along(dbias, x.ndim) / count - normalized * tensors.along(dweight, x.ndim) / count)
    return dx, dweight, dbias
