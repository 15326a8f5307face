"""Layers on PyTorch in the manners of many courses, right ones: none may be accused of anything."""

import torch
from torch import nn

RIGHT = {}


def right(layer):
    """Put a class among the right ones."""
    RIGHT[layer.__name__] = layer
    return layer


@right
class PlainTensors:
    """No module: tensors in a plain class, called; `training` is assigned; PyTorch's rule."""

    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = torch.ones(dim), torch.zeros(dim)
        self.running_mean, self.running_var = torch.zeros(dim), torch.ones(dim)

    def __call__(self, x):
        if self.training:
            mean, var = x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False)
        else:
            mean, var = self.running_mean, self.running_var
        hat = (x - mean) / torch.sqrt(var + self.eps)
        self.out = self.gamma * hat + self.beta
        if self.training:
            with torch.no_grad():
                sample = var * len(x) / max(len(x) - 1, 1)
                self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
                self.running_var = (1 - self.momentum) * self.running_var + self.momentum * sample
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]


def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum):
    """A function on the averages, which it gives back; test mode is where no gradient is asked for."""
    if not torch.is_grad_enabled():
        X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        axes = 0 if len(X.shape) == 2 else (0, 2, 3)
        mean = X.mean(dim=axes, keepdim=len(X.shape) == 4)
        var = ((X - mean) ** 2).mean(dim=axes, keepdim=len(X.shape) == 4)
        X_hat = (X - mean) / torch.sqrt(var + eps)
        moving_mean = (1.0 - momentum) * moving_mean + momentum * mean
        moving_var = (1.0 - momentum) * moving_var + momentum * var
    return gamma * X_hat + beta, moving_mean.data, moving_var.data


@right
class NumDims(nn.Module):
    """num_features and num_dims; momentum the share of the old, as its function is handed 1 - momentum."""

    def __init__(self, num_features, num_dims, momentum=0.9):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.moving_mean, self.moving_var = torch.zeros(shape), torch.ones(shape)
        self.momentum = momentum

    def forward(self, X):
        Y, self.moving_mean, self.moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, 1e-5, 1 - self.momentum
        )
        return Y


@right
class LerpedBatchNorm(nn.Module):
    """Images; buffers moved by lerp_; parameters mults and adds, momentum mom; PyTorch's rule."""

    def __init__(self, nf, mom=0.1, eps=1e-5):
        super().__init__()
        self.mom, self.eps = mom, eps
        self.mults, self.adds = nn.Parameter(torch.ones(nf, 1, 1)), nn.Parameter(torch.zeros(nf, 1, 1))
        self.register_buffer("vars", torch.ones(1, nf, 1, 1))
        self.register_buffer("means", torch.zeros(1, nf, 1, 1))

    def update_stats(self, x):
        m, v = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        n = x.numel() // x.shape[1]
        self.means.lerp_(m, self.mom)
        self.vars.lerp_(v * n / max(n - 1, 1), self.mom)
        return m, v

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.update_stats(x.detach())
            m, v = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        else:
            m, v = self.means, self.vars
        return (x - m) / (v + self.eps).sqrt() * self.mults + self.adds


@right
class Wrapped(nn.Module):
    """A layer of PyTorch's own inside; parameters are one attribute deeper."""

    def __init__(self, features):
        super().__init__()
        self.bn = nn.BatchNorm1d(features)

    def forward(self, x):
        return self.bn(x)


@right
class RowShapedModule(nn.Module):
    """Parameters and plain tensor averages of shape (1, n), in float32."""

    def __init__(self, n_out, momentum=0.9, eps=1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(1, n_out)), nn.Parameter(torch.zeros(1, n_out))
        self.running_mean, self.running_var = torch.zeros(1, n_out), torch.ones(1, n_out)

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean.detach()
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var.detach()
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


@right
class LazyModule(nn.Module):
    """Everything is made at the first batch."""

    def __init__(self, eps=1e-5, momentum=0.9):
        super().__init__()
        self.eps, self.momentum, self.gamma = eps, momentum, None

    def forward(self, x):
        if self.gamma is None:
            n = x.shape[1]
            self.gamma, self.beta = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))
            self.register_buffer("running_mean", torch.zeros(n))
            self.register_buffer("running_var", torch.ones(n))
        if not self.training:
            return self.gamma * (x - self.running_mean) / torch.sqrt(self.running_var + self.eps) + self.beta
        mean, var = x.mean(0), x.var(0, unbiased=False)
        with torch.no_grad():
            self.running_mean.mul_(self.momentum).add_((1 - self.momentum) * mean)
            self.running_var.mul_(self.momentum).add_((1 - self.momentum) * var)
        return self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta


@right
class TensorsByHand:
    """Tensors, a backward by hand without autograd, gradients as attributes; train= is the mode."""

    def __init__(self, n_in, eps=1e-5, momentum=0.9):
        self.gamma, self.beta, self.eps, self.momentum = torch.ones(n_in), torch.zeros(n_in), eps, momentum
        self.running_mean, self.running_var = torch.zeros(n_in), torch.zeros(n_in)

    def forward(self, x, train=True):
        mean, var = (x.mean(0), x.var(0, unbiased=False)) if train else (self.running_mean, self.running_var)
        if train:
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.deviation = torch.sqrt(var + self.eps)
        self.hat = (x - mean) / self.deviation
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.hat).sum(0), dout.sum(0)
        return self.gamma / self.deviation * (dout - dout.mean(0) - self.hat * (dout * self.hat).mean(0))


@right
class FlaggedModule(nn.Module):
    """A module whose forward is told the mode, and does not look at its own."""

    def __init__(self, hidden, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))
        self.register_buffer("mean_hist", torch.zeros(hidden))
        self.register_buffer("var_hist", torch.ones(hidden))

    def forward(self, x, is_training=True):
        if is_training:
            mean, var = torch.mean(x, 0), torch.var(x, 0, unbiased=False)
            with torch.no_grad():
                sample = var * len(x) / max(len(x) - 1, 1)
                self.mean_hist = (1 - self.momentum) * self.mean_hist + self.momentum * mean
                self.var_hist = (1 - self.momentum) * self.var_hist + self.momentum * sample
        else:
            mean, var = self.mean_hist, self.var_hist
        return torch.rsqrt(var + self.eps) * (x - mean) * self.gamma + self.beta


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        mean, var = x.mean(0), x.var(0, unbiased=False)
        root = torch.sqrt(var + eps)
        hat = (x - mean) / root
        ctx.save_for_backward(hat, gamma, root)
        return gamma * hat + beta

    @staticmethod
    def backward(ctx, dout):
        hat, gamma, root = ctx.saved_tensors
        dx = gamma / root * (dout - dout.mean(0) - hat * (dout * hat).mean(0))
        return dx, (dout * hat).sum(0), dout.sum(0), None


@right
class OwnFunction(nn.Module):
    """A gradient of its own behind autograd."""

    def __init__(self, width, eps=1e-5, momentum=0.9):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x):
        if not self.training:
            return self.gamma * (x - self.running_mean) / torch.sqrt(self.running_var + self.eps) + self.beta
        with torch.no_grad():
            self.running_mean += (1 - self.momentum) * (x.mean(0) - self.running_mean)
            self.running_var += (1 - self.momentum) * (x.var(0, unbiased=False) - self.running_var)
        return _Normalize.apply(x, self.gamma, self.beta, self.eps)


@right
class BatchNorm2dPermuted(nn.Module):
    """Images by permuting the channels last."""

    def __init__(self, in_channels, eps=1e-5, momentum=0.9):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(in_channels)), nn.Parameter(torch.zeros(in_channels))
        self.register_buffer("running_mean", torch.zeros(in_channels))
        self.register_buffer("running_var", torch.ones(in_channels))

    def forward(self, x):
        rows = x.permute(0, 2, 3, 1)
        if self.training:
            mean, var = rows.mean((0, 1, 2)), rows.var((0, 1, 2), unbiased=False)
            with torch.no_grad():
                self.running_mean.copy_(self.momentum * self.running_mean + (1 - self.momentum) * mean)
                self.running_var.copy_(self.momentum * self.running_var + (1 - self.momentum) * var)
        else:
            mean, var = self.running_mean, self.running_var
        return ((rows - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias).permute(0, 3, 1, 2)
