"""Right solutions as classes, in the manners of books, courses and small libraries, as texts that can be changed."""

RIGHT = {}

RIGHT["numbered_dictionary"] = '''
import numpy as np

class BatchNorm:
    """A layer that keeps everything in dictionaries, with the layer's number in the names."""

    def __init__(self, n, epsilon=1e-8, decay=0.9):
        self.epsilon, self.decay = epsilon, decay
        self.parameters = {"gamma1": np.ones((1, n)), "beta1": np.zeros((1, n))}
        self.averages = {"mu1": np.zeros((1, n)), "sigma2_1": np.ones((1, n))}
        self.grads = {}

    def forward(self, Z, training=True):
        if training:
            mu = np.mean(Z, axis=0, keepdims=True)
            sigma2 = np.mean((Z - mu) ** 2, axis=0, keepdims=True)
            self.averages["mu1"] = self.decay * self.averages["mu1"] + (1 - self.decay) * mu
            self.averages["sigma2_1"] = self.decay * self.averages["sigma2_1"] + (1 - self.decay) * sigma2
        else:
            mu, sigma2 = self.averages["mu1"], self.averages["sigma2_1"]
        Z_norm = (Z - mu) / np.sqrt(sigma2 + self.epsilon)
        self.cache = (Z_norm, sigma2)
        return self.parameters["gamma1"] * Z_norm + self.parameters["beta1"]

    def backward(self, dZ_tilde):
        Z_norm, sigma2 = self.cache
        m = dZ_tilde.shape[0]
        self.grads["dgamma1"] = np.sum(dZ_tilde * Z_norm, axis=0, keepdims=True)
        self.grads["dbeta1"] = np.sum(dZ_tilde, axis=0, keepdims=True)
        dZ_norm = dZ_tilde * self.parameters["gamma1"]
        return (dZ_norm - np.sum(dZ_norm, axis=0) / m - Z_norm * np.sum(dZ_norm * Z_norm, axis=0) / m) / np.sqrt(
            sigma2 + self.epsilon)
'''

RIGHT["train_flag_book"] = """
import numpy as np

class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.input_shape = None
        self.running_mean, self.running_var = running_mean, running_var
        self.batch_size = self.xc = self.std = self.dgamma = self.dbeta = None

    def forward(self, x, train_flg=True):
        self.input_shape = x.shape
        if x.ndim != 2:
            N, C, H, W = x.shape
            x = x.reshape(N, -1)
        out = self.__forward(x, train_flg)
        return out.reshape(*self.input_shape)

    def __forward(self, x, train_flg):
        if self.running_mean is None:
            N, D = x.shape
            self.running_mean = np.zeros(D)
            self.running_var = np.zeros(D)
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc ** 2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size = x.shape[0]
            self.xc, self.xn, self.std = xc, xn, std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xc = x - self.running_mean
            xn = xc / np.sqrt(self.running_var + 10e-7)
        return self.gamma * xn + self.beta

    def backward(self, dout):
        if dout.ndim != 2:
            dout = dout.reshape(dout.shape[0], -1)
        dx = self.__backward(dout)
        return dx.reshape(*self.input_shape)

    def __backward(self, dout):
        dbeta = dout.sum(axis=0)
        dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx
"""

RIGHT["capital_letters"] = """
import numpy as np

class BatchNorm1d:
    def __init__(self, num_features, alpha=0.9):
        self.alpha = alpha
        self.eps = 1e-8
        self.BW = np.ones((1, num_features))
        self.Bb = np.zeros((1, num_features))
        self.dLdBW = np.zeros((1, num_features))
        self.dLdBb = np.zeros((1, num_features))
        self.running_M = np.zeros((1, num_features))
        self.running_V = np.ones((1, num_features))

    def forward(self, Z, eval=False):
        self.Z = Z
        self.N = Z.shape[0]
        if eval:
            NZ = (Z - self.running_M) / np.sqrt(self.running_V + self.eps)
            return self.BW * NZ + self.Bb
        self.M = np.mean(Z, axis=0)
        self.V = np.var(Z, axis=0)
        self.NZ = (Z - self.M) / np.sqrt(self.V + self.eps)
        self.BZ = self.BW * self.NZ + self.Bb
        self.running_M = self.alpha * self.running_M + (1 - self.alpha) * self.M
        self.running_V = self.alpha * self.running_V + (1 - self.alpha) * self.V
        return self.BZ

    def backward(self, dLdBZ):
        self.dLdBW = np.sum(dLdBZ * self.NZ, axis=0)
        self.dLdBb = np.sum(dLdBZ, axis=0)
        dLdNZ = dLdBZ * self.BW
        dLdV = -0.5 * np.sum(dLdNZ * (self.Z - self.M) * (self.V + self.eps) ** (-1.5), axis=0)
        first = -((self.V + self.eps) ** (-0.5))
        second = -0.5 * (self.Z - self.M) * ((self.V + self.eps) ** (-1.5))
        second = second * (-2 / self.N * np.sum(self.Z - self.M, axis=0))
        dLdM = np.sum(dLdNZ * (first + second), axis=0)
        dLdZ = dLdNZ * ((self.V + self.eps) ** (-0.5)) + dLdV * (2 / self.N) * (self.Z - self.M) + dLdM / self.N
        return dLdZ
"""

RIGHT["old_homework"] = """
import numpy as np

class BatchNorm(object):
    def __init__(self, in_feature, alpha=0.9):
        self.alpha = alpha
        self.eps = 1e-8
        self.x = None
        self.norm = None
        self.out = None
        self.var = np.ones((1, in_feature))
        self.mean = np.zeros((1, in_feature))
        self.gamma = np.ones((1, in_feature))
        self.dgamma = np.zeros((1, in_feature))
        self.beta = np.zeros((1, in_feature))
        self.dbeta = np.zeros((1, in_feature))
        self.running_mean = np.zeros((1, in_feature))
        self.running_var = np.ones((1, in_feature))

    def __call__(self, x, eval=False):
        return self.forward(x, eval)

    def forward(self, x, eval=False):
        if eval:
            norm = (x - self.running_mean) / np.sqrt(self.running_var + self.eps)
            return self.gamma * norm + self.beta
        self.x = x
        self.mean = np.mean(x, axis=0, keepdims=True)
        self.var = np.var(x, axis=0, keepdims=True)
        self.norm = (x - self.mean) / np.sqrt(self.var + self.eps)
        self.out = self.gamma * self.norm + self.beta
        self.running_mean = self.alpha * self.running_mean + (1 - self.alpha) * self.mean
        self.running_var = self.alpha * self.running_var + (1 - self.alpha) * self.var
        return self.out

    def backward(self, delta):
        b = delta.shape[0]
        self.dbeta = np.sum(delta, axis=0, keepdims=True)
        self.dgamma = np.sum(delta * self.norm, axis=0, keepdims=True)
        g = self.gamma * delta
        sqrt_var_eps = np.sqrt(self.var + self.eps)
        dvar = -np.sum(g * (self.x - self.mean) / sqrt_var_eps ** 3, axis=0, keepdims=True) / 2
        dmu = -np.sum(g, axis=0, keepdims=True) / sqrt_var_eps - 2 / b * dvar * np.sum(self.x - self.mean, axis=0)
        return g / sqrt_var_eps + dvar * 2 * (self.x - self.mean) / b + dmu / b
"""

RIGHT["moving_mean_module"] = """
import torch
from torch import nn

def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum):
    if not torch.is_grad_enabled():
        X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        assert len(X.shape) in (2, 4)
        if len(X.shape) == 2:
            mean = X.mean(dim=0)
            var = ((X - mean) ** 2).mean(dim=0)
        else:
            mean = X.mean(dim=(0, 2, 3), keepdim=True)
            var = ((X - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        X_hat = (X - mean) / torch.sqrt(var + eps)
        moving_mean = (1.0 - momentum) * moving_mean + momentum * mean
        moving_var = (1.0 - momentum) * moving_var + momentum * var
    Y = gamma * X_hat + beta
    return Y, moving_mean.data, moving_var.data

class BatchNorm(nn.Module):
    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)
        self.moving_var = torch.ones(shape)

    def forward(self, X):
        if self.moving_mean.device != X.device:
            self.moving_mean = self.moving_mean.to(X.device)
            self.moving_var = self.moving_var.to(X.device)
        Y, self.moving_mean, self.moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, eps=1e-5, momentum=0.1)
        return Y
"""

RIGHT["plain_torch_out"] = """
import torch

class BatchNorm1d:
    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps = eps
        self.momentum = momentum
        self.training = True
        self.gamma = torch.ones(dim)
        self.beta = torch.zeros(dim)
        self.running_mean = torch.zeros(dim)
        self.running_var = torch.ones(dim)

    def __call__(self, x):
        if self.training:
            dim = 0 if x.ndim == 2 else (0, 1)
            xmean = x.mean(dim, keepdim=True)
            xvar = x.var(dim, keepdim=True, unbiased=False)
        else:
            xmean = self.running_mean
            xvar = self.running_var
        xhat = (x - xmean) / torch.sqrt(xvar + self.eps)
        self.out = self.gamma * xhat + self.beta
        if self.training:
            with torch.no_grad():
                self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * xmean
                self.running_var = (1 - self.momentum) * self.running_var + self.momentum * xvar
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]
"""

RIGHT["mults_and_adds"] = """
import torch
from torch import nn

class BatchNorm(nn.Module):
    def __init__(self, nf, mom=0.1, eps=1e-5):
        super().__init__()
        self.mom, self.eps = mom, eps
        self.mults = nn.Parameter(torch.ones(nf, 1, 1))
        self.adds = nn.Parameter(torch.zeros(nf, 1, 1))
        self.register_buffer("vars", torch.ones(1, nf, 1, 1))
        self.register_buffer("means", torch.zeros(1, nf, 1, 1))

    def update_stats(self, x):
        m = x.mean((0, 2, 3), keepdim=True)
        v = x.var((0, 2, 3), keepdim=True, unbiased=False)
        with torch.no_grad():
            self.means.lerp_(m, self.mom)
            self.vars.lerp_(v, self.mom)
        return m, v

    def forward(self, x):
        if self.training:
            m, v = self.update_stats(x)
        else:
            m, v = self.means, self.vars
        x = (x - m) / (v + self.eps).sqrt()
        return x * self.mults + self.adds
"""
RIGHT["sized"] = '''
import torch

class Tensor:
    """What the small framework keeps for all of its layers."""

    training = False

class BatchNorm2d:
    def __init__(self, sz, eps=1e-5, affine=True, track_running_stats=True, momentum=0.1):
        self.eps, self.track_running_stats, self.momentum = eps, track_running_stats, momentum
        self.weight = torch.ones(sz, requires_grad=True) if affine else None
        self.bias = torch.zeros(sz, requires_grad=True) if affine else None
        self.num_batches_tracked = torch.zeros(1)
        if track_running_stats:
            self.running_mean, self.running_var = torch.zeros(sz), torch.ones(sz)

    def calc_stats(self, x):
        shape_mask = [1, -1, *([1] * (x.ndim - 2))]
        if self.track_running_stats and not Tensor.training:
            return self.running_mean, self.running_var.reshape(shape_mask).expand(x.shape)
        axes = tuple(a for a in range(x.ndim) if a != 1)
        batch_mean = x.mean(axes)
        y = x - batch_mean.reshape(shape_mask)
        return batch_mean, (y * y).mean(axes)

    def __call__(self, x):
        shape = [1, -1, *([1] * (x.ndim - 2))]
        mean, var = self.calc_stats(x)
        if self.track_running_stats and Tensor.training:
            m = self.momentum
            n = x.numel() / x.shape[1]
            self.running_mean = ((1 - m) * self.running_mean + m * mean.detach())
            self.running_var = ((1 - m) * self.running_var + m * n / (n - 1) * var.detach())
            self.num_batches_tracked += 1
        var = var if var.ndim == x.ndim else var.reshape(shape)
        out = (x - mean.reshape(shape)) * (var + self.eps).rsqrt()
        return out * self.weight.reshape(shape) + self.bias.reshape(shape)
'''

RIGHT["scaler_and_intercept"] = """
import numpy as np

class LayerBase:
    def __init__(self, optimizer=None):
        self.X = []
        self.act_fn = None
        self.trainable = True
        self.optimizer = optimizer
        self.gradients, self.parameters, self.derived_variables = {}, {}, {}

    def freeze(self):
        self.trainable = False

    def unfreeze(self):
        self.trainable = True

    def flush_gradients(self):
        assert self.trainable, "Layer is frozen"
        self.X = []
        for k, v in self.gradients.items():
            self.gradients[k] = np.zeros_like(v)

class BatchNorm1D(LayerBase):
    def __init__(self, momentum=0.9, epsilon=1e-5, optimizer=None):
        super().__init__(optimizer)
        self.n_in = None
        self.n_out = None
        self.epsilon = epsilon
        self.momentum = momentum
        self.parameters = {"scaler": None, "intercept": None, "running_var": None, "running_mean": None}
        self.is_initialized = False

    def _init_params(self):
        self.parameters = {"scaler": np.ones(self.n_in), "intercept": np.zeros(self.n_in),
                           "running_mean": np.zeros(self.n_in), "running_var": np.ones(self.n_in)}
        self.gradients = {"scaler": np.zeros(self.n_in), "intercept": np.zeros(self.n_in)}
        self.is_initialized = True

    def forward(self, X, retain_derived=True):
        if not self.is_initialized:
            self.n_in = self.n_out = X.shape[1]
            self._init_params()
        Y, N, mean, var = self._fwd(X, retain_derived)
        if retain_derived:
            self.X.append(X)
        return Y

    def _fwd(self, X, retain_derived):
        scaler, intercept = self.parameters["scaler"], self.parameters["intercept"]
        mean, var = self.parameters["running_mean"], self.parameters["running_var"]
        if self.trainable and retain_derived:
            mean, var = X.mean(axis=0), X.var(axis=0)
            mm = self.momentum
            self.parameters["running_mean"] = mm * self.parameters["running_mean"] + (1.0 - mm) * mean
            self.parameters["running_var"] = mm * self.parameters["running_var"] + (1.0 - mm) * var
        N = (X - mean) / np.sqrt(var + self.epsilon)
        return scaler * N + intercept, N, mean, var

    def backward(self, dLdy, retain_grads=True):
        assert self.trainable, "Layer is frozen"
        if not isinstance(dLdy, list):
            dLdy = [dLdy]
        dX = []
        for dy, x in zip(dLdy, self.X):
            dx, dScaler, dIntercept = self._bwd(dy, x)
            dX.append(dx)
            if retain_grads:
                self.gradients["scaler"] += dScaler
                self.gradients["intercept"] += dIntercept
        self.X = []
        return dX[0] if len(self.X) <= 1 else dX

    def _bwd(self, dLdy, X):
        n_ex = X.shape[0]
        mean, var = X.mean(axis=0), X.var(axis=0)
        N = (X - mean) / np.sqrt(var + self.epsilon)
        dIntercept = dLdy.sum(axis=0)
        dScaler = np.sum(dLdy * N, axis=0)
        dN = dLdy * self.parameters["scaler"]
        dX = (n_ex * dN - dN.sum(axis=0) - N * (dN * N).sum(axis=0)) / (n_ex * np.sqrt(var + self.epsilon))
        return dX, dScaler, dIntercept
"""

RIGHT["own_autograd"] = '''
import numpy as np

class Value:
    """An array that remembers how it was made."""

    def __init__(self, data, children=()):
        self.data = np.asarray(data, dtype=float)
        self.grad = np.zeros_like(self.data)
        self._prev, self._backward = children, lambda: None

    @staticmethod
    def _fit(grad, shape):
        while grad.ndim > len(shape):
            grad = grad.sum(0)
        for axis, size in enumerate(shape):
            if size == 1 and grad.shape[axis] != 1:
                grad = grad.sum(axis, keepdims=True)
        return grad

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))
        def _backward():
            self.grad = self.grad + self._fit(out.grad, self.data.shape)
            other.grad = other.grad + self._fit(out.grad, other.data.shape)
        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other))
        def _backward():
            self.grad = self.grad + self._fit(out.grad * other.data, self.data.shape)
            other.grad = other.grad + self._fit(out.grad * self.data, other.data.shape)
        out._backward = _backward
        return out

    def __pow__(self, p):
        out = Value(self.data ** p, (self,))
        def _backward():
            self.grad = self.grad + p * self.data ** (p - 1) * out.grad
        out._backward = _backward
        return out

    def mean(self):
        out = Value(self.data.mean(0, keepdims=True), (self,))
        def _backward():
            self.grad = self.grad + np.ones_like(self.data) * out.grad / len(self.data)
        out._backward = _backward
        return out

    def backward(self, seed=None):
        order, seen = [], set()
        def visit(v):
            if id(v) not in seen:
                seen.add(id(v))
                for child in v._prev:
                    visit(child)
                order.append(v)
        visit(self)
        self.grad = np.ones_like(self.data) if seed is None else seed
        for v in reversed(order):
            v._backward()

class BatchNorm:
    def __init__(self, nin, eps=1e-5, momentum=0.9):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = Value(np.ones(nin)), Value(np.zeros(nin))
        self.running_mean, self.running_var = np.zeros(nin), np.ones(nin)

    def forward(self, x):
        self.x = Value(x)
        for p in (self.gamma, self.beta):
            p.grad = np.zeros_like(p.data)
        if self.training:
            mean = self.x.mean()
            centred = self.x + mean * -1.0
            var = (centred ** 2).mean()
            k = self.momentum
            self.running_mean = k * self.running_mean + (1 - k) * mean.data[0]
            self.running_var = k * self.running_var + (1 - k) * var.data[0]
        else:
            centred = self.x + self.running_mean * -1.0
            var = Value(self.running_var)
        self.y = centred * (var + self.eps) ** -0.5 * self.gamma + self.beta
        return self.y.data

    def backward(self, dout):
        self.y.backward(dout)
        return self.x.grad
'''

RIGHT["forward_pass"] = '''
import numpy as np

class BatchNormalization:
    """Batch normalization, that an optimizer updates within backward_pass."""

    def __init__(self, momentum=0.99):
        self.momentum = momentum
        self.trainable = True
        self.eps = 0.01
        self.running_mean = None
        self.running_var = None
        self.gamma = None

    def set_input_shape(self, shape):
        self.input_shape = shape

    def initialize(self, optimizer=None):
        self.gamma = np.ones(self.input_shape)
        self.beta = np.zeros(self.input_shape)
        self.optimizer = optimizer

    def forward_pass(self, X, training=True):
        if self.gamma is None:
            self.set_input_shape(X.shape[1:])
            self.initialize()
        if self.running_mean is None:
            self.running_mean = np.mean(X, axis=0)
            self.running_var = np.var(X, axis=0)
        if training and self.trainable:
            mean = np.mean(X, axis=0)
            var = np.var(X, axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean = self.running_mean
            var = self.running_var
        self.X_centered = X - mean
        self.stddev_inv = 1 / np.sqrt(var + self.eps)
        X_norm = self.X_centered * self.stddev_inv
        return self.gamma * X_norm + self.beta

    def backward_pass(self, accum_grad):
        gamma = self.gamma
        if self.trainable:
            X_norm = self.X_centered * self.stddev_inv
            self.grad_gamma = np.sum(accum_grad * X_norm, axis=0)
            self.grad_beta = np.sum(accum_grad, axis=0)
            if self.optimizer is not None:
                self.gamma = self.optimizer.update(self.gamma, self.grad_gamma)
                self.beta = self.optimizer.update(self.beta, self.grad_beta)
        batch_size = accum_grad.shape[0]
        accum_grad = (1 / batch_size) * gamma * self.stddev_inv * (
            batch_size * accum_grad
            - np.sum(accum_grad, axis=0)
            - self.X_centered * self.stddev_inv ** 2 * np.sum(accum_grad * self.X_centered, axis=0)
        )
        return accum_grad
'''

RIGHT["autograd_function"] = """
import torch
from torch import nn

class _BatchNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, gamma, beta, eps):
        mean = input.mean(0)
        var = input.var(0, unbiased=False)
        inv = 1 / torch.sqrt(var + eps)
        norm = (input - mean) * inv
        ctx.save_for_backward(norm, gamma, inv)
        return gamma * norm + beta

    @staticmethod
    def backward(ctx, grad_output):
        norm, gamma, inv = ctx.saved_tensors
        B = grad_output.shape[0]
        grad_gamma = (grad_output * norm).sum(0)
        grad_beta = grad_output.sum(0)
        grad_input = gamma * inv / B * (B * grad_output - grad_beta - grad_gamma * norm)
        return grad_input, grad_gamma, grad_beta, None

class CustomBatchNorm(nn.Module):
    def __init__(self, n_neurons, eps=1e-5, momentum=0.1):
        super().__init__()
        self.n_neurons, self.eps, self.momentum = n_neurons, eps, momentum
        self.gammas = nn.Parameter(torch.ones(n_neurons))
        self.betas = nn.Parameter(torch.zeros(n_neurons))
        self.register_buffer("running_mean", torch.zeros(n_neurons))
        self.register_buffer("running_var", torch.ones(n_neurons))

    def forward(self, input):
        if input.shape[1] != self.n_neurons:
            raise ValueError("wrong number of neurons")
        if not self.training:
            return self.gammas * (input - self.running_mean) / torch.sqrt(self.running_var + self.eps) + self.betas
        with torch.no_grad():
            n = input.shape[0]
            self.running_mean.mul_(1 - self.momentum).add_(self.momentum * input.mean(0))
            self.running_var.mul_(1 - self.momentum).add_(self.momentum * input.var(0, unbiased=False) * n / (n - 1))
        return _BatchNormFunction.apply(input, self.gammas, self.betas, self.eps)
"""

RIGHT["learning_rate"] = """
import numpy as np

class Layer:
    def forward(self, x, train):
        raise NotImplementedError

    def backward(self, dout, lr):
        raise NotImplementedError

class BatchNormLayer(Layer):
    def __init__(self, size):
        self.size = size
        self.scale = np.ones(size)
        self.shift = np.zeros(size)
        self.mean_avg = np.zeros(size)
        self.var_avg = np.ones(size)
        self.rate = 0.9
        self.small = 1e-5

    def forward(self, x, train):
        if train:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self.mean_avg = self.rate * self.mean_avg + (1 - self.rate) * mean
            self.var_avg = self.rate * self.var_avg + (1 - self.rate) * var
        else:
            mean, var = self.mean_avg, self.var_avg
        self.root = np.sqrt(var + self.small)
        self.normal = (x - mean) / self.root
        return self.scale * self.normal + self.shift

    def backward(self, dout, lr):
        d_scale = (dout * self.normal).sum(axis=0)
        d_shift = dout.sum(axis=0)
        m = len(dout)
        dx = self.scale / self.root * (dout - d_shift / m - self.normal * d_scale / m)
        self.scale = self.scale - lr * d_scale
        self.shift = self.shift - lr * d_shift
        return dx
"""

RIGHT["build_and_call"] = """
import numpy as np

class BatchNormalization:
    def __init__(self, axis=-1, momentum=0.99, epsilon=1e-3, center=True, scale=True):
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon
        self.center, self.scale, self.built = center, scale, False

    def add_weight(self, name, shape, value):
        weight = np.full(shape, value, dtype=float)
        setattr(self, name, weight)
        return weight

    def build(self, input_shape):
        d = (1, input_shape[self.axis])
        self.add_weight("gamma", d, 1.0)
        self.add_weight("beta", d, 0.0)
        self.add_weight("moving_mean", d, 0.0)
        self.add_weight("moving_variance", d, 1.0)
        self.built = True

    def call(self, inputs, training=None):
        if training:
            mean = inputs.mean(axis=0, keepdims=True)
            variance = inputs.var(axis=0, keepdims=True)
            self.moving_mean = self.moving_mean * self.momentum + mean * (1 - self.momentum)
            self.moving_variance = self.moving_variance * self.momentum + variance * (1 - self.momentum)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        self.inv = 1 / np.sqrt(variance + self.epsilon)
        self.normalized = (inputs - mean) * self.inv
        return self.normalized * self.gamma + self.beta

    def __call__(self, inputs, training=None):
        if not self.built:
            self.build(inputs.shape)
        return self.call(inputs, training=training)

    def backward(self, grad):
        self.gamma_grad = np.sum(grad * self.normalized, axis=0, keepdims=True)
        self.beta_grad = np.sum(grad, axis=0, keepdims=True)
        n = grad.shape[0]
        return self.gamma * self.inv * (grad - self.beta_grad / n - self.normalized * self.gamma_grad / n)
"""

RIGHT["output_and_dinputs"] = """
import numpy as np

class Layer_BatchNorm:
    def __init__(self, n_inputs, epsilon=1e-5, momentum=0.9):
        self.gammas = np.ones((1, n_inputs))
        self.betas = np.zeros((1, n_inputs))
        self.running_means = np.zeros((1, n_inputs))
        self.running_variances = np.ones((1, n_inputs))
        self.epsilon = epsilon
        self.momentum = momentum

    def forward(self, inputs, training):
        self.inputs = inputs
        if not training:
            self.output = self.gammas * (inputs - self.running_means) / np.sqrt(
                self.running_variances + self.epsilon) + self.betas
            return
        self.means = np.mean(inputs, axis=0, keepdims=True)
        self.variances = np.var(inputs, axis=0, keepdims=True)
        self.normalized = (inputs - self.means) / np.sqrt(self.variances + self.epsilon)
        self.output = self.gammas * self.normalized + self.betas
        self.running_means = self.momentum * self.running_means + (1 - self.momentum) * self.means
        self.running_variances = self.momentum * self.running_variances + (1 - self.momentum) * self.variances

    def backward(self, dvalues):
        samples = len(dvalues)
        self.dgammas = np.sum(dvalues * self.normalized, axis=0, keepdims=True)
        self.dbetas = np.sum(dvalues, axis=0, keepdims=True)
        dnormalized = dvalues * self.gammas
        self.dinputs = (
            samples * dnormalized
            - np.sum(dnormalized, axis=0, keepdims=True)
            - self.normalized * np.sum(dnormalized * self.normalized, axis=0, keepdims=True)
        ) / (samples * np.sqrt(self.variances + self.epsilon))
"""

RIGHT["features_in_rows"] = '''
import numpy as np

class BatchNorm:
    """As the lectures have it: a column is an example, Z is (n_units, m)."""

    def __init__(self, n_units, beta_ema=0.9, epsilon=1e-8):
        self.gamma = np.ones((n_units, 1))
        self.beta = np.zeros((n_units, 1))
        self.mu_ema = np.zeros((n_units, 1))
        self.sigma2_ema = np.ones((n_units, 1))
        self.beta_ema, self.epsilon = beta_ema, epsilon

    def forward(self, Z, is_training=True):
        if is_training:
            mu = np.mean(Z, axis=1, keepdims=True)
            sigma2 = np.var(Z, axis=1, keepdims=True)
            self.mu_ema = self.beta_ema * self.mu_ema + (1 - self.beta_ema) * mu
            self.sigma2_ema = self.beta_ema * self.sigma2_ema + (1 - self.beta_ema) * sigma2
        else:
            mu, sigma2 = self.mu_ema, self.sigma2_ema
        self.s = np.sqrt(sigma2 + self.epsilon)
        self.Z_norm = (Z - mu) / self.s
        return self.gamma * self.Z_norm + self.beta

    def backward(self, dZ):
        m = dZ.shape[1]
        self.dgamma = np.sum(dZ * self.Z_norm, axis=1, keepdims=True)
        self.dbeta = np.sum(dZ, axis=1, keepdims=True)
        d = dZ * self.gamma
        along = (d * self.Z_norm).mean(axis=1, keepdims=True)
        return (d - d.mean(axis=1, keepdims=True) - self.Z_norm * along) / self.s
'''

RIGHT["avg_mean_config"] = """
import contextlib
import numpy as np

class Config:
    train = True

@contextlib.contextmanager
def using_config(name, value):
    old = getattr(Config, name)
    setattr(Config, name, value)
    try:
        yield
    finally:
        setattr(Config, name, old)

class BatchNormalization:
    def __init__(self, size, decay=0.9, eps=2e-5):
        self.avg_mean = np.zeros(size)
        self.avg_var = np.ones(size)
        self.gamma = np.ones(size)
        self.beta = np.zeros(size)
        self.decay, self.eps = decay, eps

    def __call__(self, x):
        if Config.train:
            mean, var = x.mean(axis=0), x.var(axis=0)
            m = x.size // self.gamma.size
            adjust = m / (m - 1.0 if m - 1.0 > 1.0 else 1.0)
            self.avg_mean *= self.decay
            self.avg_mean += (1 - self.decay) * mean
            self.avg_var *= self.decay
            self.avg_var += (1 - self.decay) * adjust * var
        else:
            mean, var = self.avg_mean, self.avg_var
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.xn = (x - mean) * self.inv_std
        return self.gamma * self.xn + self.beta

    def backward(self, gy):
        batch_size = len(gy)
        self.gbeta = gy.sum(axis=0)
        self.ggamma = (self.xn * gy).sum(axis=0)
        gx = gy - self.gbeta / batch_size - self.xn * self.ggamma / batch_size
        gx *= self.gamma * self.inv_std
        return gx
"""

RIGHT["two_dimensional"] = """
import numpy as np

class BatchNorm2d:
    def __init__(self, num_features, alpha=0.9):
        self.alpha = alpha
        self.eps = 1e-8
        self.Z = None
        self.NZ = None
        self.BZ = None
        self.BW = np.ones((1, num_features, 1, 1))
        self.Bb = np.zeros((1, num_features, 1, 1))
        self.dLdBW = np.zeros((1, num_features, 1, 1))
        self.dLdBb = np.zeros((1, num_features, 1, 1))
        self.M = np.zeros((1, num_features, 1, 1))
        self.V = np.ones((1, num_features, 1, 1))
        self.running_M = np.zeros((1, num_features, 1, 1))
        self.running_V = np.ones((1, num_features, 1, 1))

    def __call__(self, Z, eval=False):
        return self.forward(Z, eval)

    def forward(self, Z, eval=False):
        if eval:
            return self.BW * (Z - self.running_M) / np.sqrt(self.running_V + self.eps) + self.Bb
        self.Z = Z
        self.N = Z.shape[0] * Z.shape[2] * Z.shape[3]
        self.M = np.mean(Z, axis=(0, 2, 3), keepdims=True)
        self.V = np.var(Z, axis=(0, 2, 3), keepdims=True)
        self.NZ = (Z - self.M) / np.sqrt(self.V + self.eps)
        self.BZ = self.BW * self.NZ + self.Bb
        self.running_M = self.alpha * self.running_M + (1 - self.alpha) * self.M
        self.running_V = self.alpha * self.running_V + (1 - self.alpha) * self.V
        return self.BZ

    def backward(self, dLdBZ):
        self.dLdBW = np.sum(dLdBZ * self.NZ, axis=(0, 2, 3), keepdims=True)
        self.dLdBb = np.sum(dLdBZ, axis=(0, 2, 3), keepdims=True)
        dLdNZ = dLdBZ * self.BW
        total = np.sum(dLdNZ, axis=(0, 2, 3), keepdims=True)
        along = np.sum(dLdNZ * self.NZ, axis=(0, 2, 3), keepdims=True)
        return (dLdNZ - total / self.N - self.NZ * along / self.N) / np.sqrt(self.V + self.eps)
"""

RIGHT["lists_of_params"] = """
import numpy as np

class BatchNorm:
    def __init__(self, dim, momentum=0.9):
        self.params = [np.ones(dim), np.zeros(dim)]
        self.grads = [np.zeros(dim), np.zeros(dim)]
        self.momentum = momentum
        self.mean, self.var = np.zeros(dim), np.ones(dim)

    def forward(self, x, train_flg=True):
        gamma, beta = self.params
        if train_flg:
            mu, var = x.mean(0), x.var(0)
            self.mean = self.momentum * self.mean + (1 - self.momentum) * mu
            self.var = self.momentum * self.var + (1 - self.momentum) * var
        else:
            mu, var = self.mean, self.var
        self.std = np.sqrt(var + 1e-7)
        self.xn = (x - mu) / self.std
        return gamma * self.xn + beta

    def backward(self, dout):
        gamma, beta = self.params
        dgamma, dbeta = (dout * self.xn).sum(0), dout.sum(0)
        self.grads[0][...] = dgamma
        self.grads[1][...] = dbeta
        n = dout.shape[0]
        return gamma / self.std * (dout - dbeta / n - self.xn * dgamma / n)
"""

RIGHT["param_objects"] = """
import numpy as np

class Param:
    def __init__(self, value):
        self.value = value
        self.grad = np.zeros_like(value)

class BatchNormLayer:
    def __init__(self, n_input, eps=1e-5, momentum=0.9):
        self.gamma = Param(np.ones((1, n_input)))
        self.beta = Param(np.zeros((1, n_input)))
        self.mean_ = np.zeros((1, n_input))
        self.var_ = np.ones((1, n_input))
        self.eps, self.momentum = eps, momentum
        self.is_train = True

    def train(self):
        self.is_train = True

    def test(self):
        self.is_train = False

    def forward(self, X):
        if self.is_train:
            mean = X.mean(axis=0, keepdims=True)
            var = X.var(axis=0, keepdims=True)
            self.mean_ = self.momentum * self.mean_ + (1 - self.momentum) * mean
            self.var_ = self.momentum * self.var_ + (1 - self.momentum) * var
        else:
            mean, var = self.mean_, self.var_
        self.d = np.sqrt(var + self.eps)
        self.X_hat = (X - mean) / self.d
        return self.gamma.value * self.X_hat + self.beta.value

    def backward(self, d_out):
        self.gamma.grad += np.sum(d_out * self.X_hat, axis=0, keepdims=True)
        self.beta.grad += np.sum(d_out, axis=0, keepdims=True)
        d = d_out * self.gamma.value
        d_result = (d - d.mean(axis=0) - self.X_hat * (d * self.X_hat).mean(axis=0)) / self.d
        return d_result

    def params(self):
        return {"gamma": self.gamma, "beta": self.beta}
"""

RIGHT["update_output"] = """
import numpy as np

class Module:
    def __init__(self):
        self.output = None
        self.gradInput = None
        self.training = True

    def forward(self, input):
        return self.updateOutput(input)

    def backward(self, input, gradOutput):
        self.updateGradInput(input, gradOutput)
        self.accGradParameters(input, gradOutput)
        return self.gradInput

    def train(self):
        self.training = True

    def evaluate(self):
        self.training = False

class BatchNormalization(Module):
    EPS = 1e-3

    def __init__(self, n_out, alpha=0.9):
        super().__init__()
        self.alpha = alpha
        self.gamma = np.ones(n_out)
        self.beta = np.zeros(n_out)
        self.gradGamma = np.zeros(n_out)
        self.gradBeta = np.zeros(n_out)
        self.moving_mean = np.zeros(n_out)
        self.moving_variance = np.ones(n_out)

    def updateOutput(self, input):
        if self.training:
            self.batch_mean = np.mean(input, axis=0)
            self.batch_variance = np.var(input, axis=0)
            self.moving_mean = self.moving_mean * self.alpha + self.batch_mean * (1 - self.alpha)
            self.moving_variance = self.moving_variance * self.alpha + self.batch_variance * (1 - self.alpha)
            mean, variance = self.batch_mean, self.batch_variance
        else:
            mean, variance = self.moving_mean, self.moving_variance
        self.normed = (input - mean) / np.sqrt(variance + self.EPS)
        self.output = self.gamma * self.normed + self.beta
        return self.output

    def updateGradInput(self, input, gradOutput):
        B = input.shape[0]
        g = gradOutput * self.gamma
        self.gradInput = (g - np.sum(g, axis=0) / B - self.normed * np.sum(g * self.normed, axis=0) / B) / np.sqrt(
            self.batch_variance + self.EPS)
        return self.gradInput

    def accGradParameters(self, input, gradOutput):
        self.gradBeta = np.sum(gradOutput, axis=0)
        self.gradGamma = np.sum(gradOutput * self.normed, axis=0)

    def zeroGradParameters(self):
        self.gradGamma.fill(0)
        self.gradBeta.fill(0)
"""

RIGHT["dataclass"] = """
from dataclasses import dataclass, field
import numpy as np

@dataclass
class BatchNorm:
    width: int
    eps: float = 1e-5
    momentum: float = 0.9
    training: bool = True
    gamma: np.ndarray = field(init=False)
    beta: np.ndarray = field(init=False)
    running_mean: np.ndarray = field(init=False)
    running_var: np.ndarray = field(init=False)
    grad: dict = field(init=False, default_factory=dict)

    def __post_init__(self):
        self.gamma, self.beta = np.ones(self.width), np.zeros(self.width)
        self.running_mean, self.running_var = np.zeros(self.width), np.ones(self.width)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.training:
            mean, var = x.mean(0), x.var(0)
            for name, value in (("running_mean", mean), ("running_var", var)):
                old = getattr(self, name)
                setattr(self, name, self.momentum * old + (1 - self.momentum) * value)
        else:
            mean, var = self.running_mean, self.running_var
        self._saved = (x - mean, 1 / np.sqrt(var + self.eps))
        return self.gamma * self._saved[0] * self._saved[1] + self.beta

    def backward(self, g: np.ndarray) -> np.ndarray:
        centred, inverse = self._saved
        hat = centred * inverse
        self.grad["gamma"] = (g * hat).sum(0)
        self.grad["beta"] = g.sum(0)
        return self.gamma * inverse * (g - g.mean(0) - hat * (g * hat).mean(0))
"""

RIGHT["single_precision"] = """
import numpy as np

class BN:
    def __init__(self, c, momentum=0.9, eps=1e-5):
        self.w = np.ones(c, dtype=np.float32)
        self.b = np.zeros(c, dtype=np.float32)
        self.rm = np.zeros(c, dtype=np.float32)
        self.rv = np.ones(c, dtype=np.float32)
        self.momentum, self.eps = momentum, eps
        self.mode = "train"

    def set_mode(self, mode):
        assert mode in ("train", "eval")
        self.mode = mode

    def forward(self, x):
        x = x.astype(np.float32)
        if self.mode == "train":
            mu, var = x.mean(0), x.var(0)
            self.rm = (self.momentum * self.rm + (1 - self.momentum) * mu).astype(np.float32)
            self.rv = (self.momentum * self.rv + (1 - self.momentum) * var).astype(np.float32)
        else:
            mu, var = self.rm, self.rv
        self.inv = (1 / np.sqrt(var + self.eps)).astype(np.float32)
        self.xhat = (x - mu) * self.inv
        return self.w * self.xhat + self.b

    def backward(self, dy):
        dy = dy.astype(np.float32)
        self.dw = (dy * self.xhat).sum(0)
        self.db = dy.sum(0)
        return self.w * self.inv * (dy - self.db / len(dy) - self.xhat * self.dw / len(dy))
"""

RIGHT["cache_and_gradients_returned"] = """
import numpy as np

class BatchNorm:
    def __init__(self, n_features, momentum=0.9, eps=1e-5):
        self.gamma = np.ones(n_features)
        self.beta = np.zeros(n_features)
        self.bn_param = {"mode": "train", "momentum": momentum, "eps": eps,
                         "running_mean": np.zeros(n_features), "running_var": np.zeros(n_features)}

    def forward(self, x):
        p = self.bn_param
        if p["mode"] == "train":
            mu, var = x.mean(axis=0), x.var(axis=0)
            p["running_mean"] = p["momentum"] * p["running_mean"] + (1 - p["momentum"]) * mu
            p["running_var"] = p["momentum"] * p["running_var"] + (1 - p["momentum"]) * var
        else:
            mu, var = p["running_mean"], p["running_var"]
        xhat = (x - mu) / np.sqrt(var + p["eps"])
        return self.gamma * xhat + self.beta, (xhat, var)

    def backward(self, dout, cache):
        xhat, var = cache
        dgamma = (dout * xhat).sum(axis=0)
        dbeta = dout.sum(axis=0)
        N = dout.shape[0]
        dx = self.gamma * (N * dout - dbeta - xhat * dgamma) / (N * np.sqrt(var + self.bn_param["eps"]))
        return dx, dgamma, dbeta
"""

RIGHT["torch_module_plain"] = """
import torch
from torch import nn

class MyBatchNorm1d(nn.Module):
    def __init__(self, features: int, epsilon: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.epsilon = epsilon
        self.momentum = momentum
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("exp_mean", torch.zeros(features))
        self.register_buffer("exp_var", torch.ones(features))

    def forward(self, x: torch.Tensor):
        x_shape = x.shape
        batch_size = x_shape[0]
        x = x.view(batch_size, x_shape[1], -1)
        if self.training:
            mean = x.mean(dim=[0, 2])
            var = ((x - mean.view(1, -1, 1)) ** 2).mean(dim=[0, 2])
            self.exp_mean = (1 - self.momentum) * self.exp_mean + self.momentum * mean.detach()
            self.exp_var = (1 - self.momentum) * self.exp_var + self.momentum * var.detach()
        else:
            mean, var = self.exp_mean, self.exp_var
        x_norm = (x - mean.view(1, -1, 1)) / torch.sqrt(var + self.epsilon).view(1, -1, 1)
        x_norm = self.scale.view(1, -1, 1) * x_norm + self.shift.view(1, -1, 1)
        return x_norm.view(x_shape)
"""

RIGHT["state_copied_at_each_call"] = """
import numpy as np

class Norm:
    def __init__(self, width, eps=1e-5, momentum=0.9):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = np.ones(width), np.zeros(width)
        self.state = {"running_mean": np.zeros(width), "running_var": np.ones(width)}
        self.running_mean, self.running_var = np.zeros(width), np.ones(width)

    def forward(self, x, training=True):
        self.running_mean, self.running_var = self.state["running_mean"], self.state["running_var"]
        mean, var = (x.mean(0), x.var(0)) if training else (self.running_mean, self.running_var)
        if training:
            m = self.momentum
            self.state = {"running_mean": m * self.running_mean + (1 - m) * mean,
                          "running_var": m * self.running_var + (1 - m) * var}
        self.inverse = 1 / np.sqrt(var + self.eps)
        self.hat = (x - mean) * self.inverse
        return self.gamma * self.hat + self.beta, mean, var

    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.hat).sum(0), dy.sum(0)
        return self.gamma * self.inverse * (dy - self.dbeta / len(dy) - self.hat * self.dgamma / len(dy))
"""

RIGHT["fused_by_eval"] = """
import numpy as np

class FusedNorm:
    def __init__(self, n_features, decay=0.9, eps=1e-4):
        self.decay, self.eps, self.training = decay, eps, True
        self.weight, self.bias = np.ones(n_features), np.zeros(n_features)
        self.mean_ema, self.var_ema = np.zeros(n_features), np.ones(n_features)
        self.slope = self.height = None

    def train(self):
        self.training = True

    def eval(self):
        self.training = False
        self.slope = self.weight / np.sqrt(self.var_ema + self.eps)
        self.height = self.bias - self.slope * self.mean_ema

    def __call__(self, x):
        if not self.training:
            return self.slope * x + self.height
        mean, var = x.mean(axis=0), x.var(axis=0)
        self.mean_ema += (1 - self.decay) * (mean - self.mean_ema)
        self.var_ema += (1 - self.decay) * (var - self.var_ema)
        self.hat = (x - mean) / np.sqrt(var + self.eps)
        self.gain = self.weight / np.sqrt(var + self.eps)
        return self.weight * self.hat + self.bias

    def backward(self, dy):
        self.d_weight, self.d_bias = np.einsum("ij,ij->j", dy, self.hat), dy.sum(0)
        return self.gain * (dy - dy.mean(0) - self.hat * self.d_weight / len(dy))
"""

RIGHT["difference_from_one"] = """
import numpy as np

class OnePlus:
    def __init__(self, channels, eps=1e-5, rate=0.9):
        self.eps, self.rate, self.training = eps, rate, True
        self.delta, self.bias = np.zeros(channels), np.zeros(channels)
        self.mean, self.var = np.zeros(channels), np.ones(channels)

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x):
        rows = x.reshape(x.shape[0], x.shape[1], -1).transpose(0, 2, 1).reshape(-1, x.shape[1])
        mean, var = (rows.mean(0), rows.var(0)) if self.training else (self.mean, self.var)
        if self.training:
            self.mean = self.rate * self.mean + (1 - self.rate) * mean
            self.var = self.rate * self.var + (1 - self.rate) * var
        self.inverse = 1 / np.sqrt(var + self.eps)
        self.hat = (rows - mean) * self.inverse
        return self._back((1 + self.delta) * self.hat + self.bias, x.shape)

    def _back(self, rows, shape):
        return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)

    def backward(self, dy):
        d = np.moveaxis(dy, 1, -1).reshape(-1, dy.shape[1])
        self.d_delta, self.d_bias = (d * self.hat).sum(0), d.sum(0)
        inner = d - self.d_bias / len(d) - self.hat * self.d_delta / len(d)
        return self._back((1 + self.delta) * self.inverse * inner, dy.shape)
"""

RIGHT["static_functions_on_torch"] = """
import torch

class Normalization(object):
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        eps, m = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
        zeros = torch.zeros(x.shape[1], dtype=x.dtype)
        old_mean, old_var = bn_param.get("running_mean", zeros), bn_param.get("running_var", zeros)
        if bn_param["mode"] != "train":
            return gamma * (x - old_mean) / torch.sqrt(old_var + eps) + beta, None
        mean, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
        bn_param["running_mean"] = (m * old_mean + (1 - m) * mean).detach()
        bn_param["running_var"] = (m * old_var + (1 - m) * var).detach()
        std = torch.sqrt(var + eps)
        hat = (x - mean) / std
        return gamma * hat + beta, (hat, std, gamma)

    @staticmethod
    def backward(dout, cache):
        hat, std, gamma = cache
        dbeta, dgamma = dout.sum(dim=0), (dout * hat).sum(dim=0)
        return gamma / std * (dout - (dbeta + hat * dgamma) / dout.shape[0]), dgamma, dbeta
"""

RIGHT["keywords_handed_on"] = """
import numpy as np

class Base:
    def __call__(self, inputs, **options):
        return self.call(inputs, **options)

class PrivateNorm(Base):
    def __init__(self, units, epsilon=1e-3, momentum=0.99):
        self.__gamma, self.__beta = np.ones(units), np.zeros(units)
        self.__moving_mean, self.__moving_variance = np.zeros(units), np.ones(units)
        self.epsilon, self.momentum = epsilon, momentum

    def call(self, inputs, training=False):
        mean, variance = self.__moving_mean, self.__moving_variance
        if training:
            mean, variance = inputs.mean(axis=0), inputs.var(axis=0)
            self.__moving_mean = self.__moving_mean * self.momentum + mean * (1 - self.momentum)
            self.__moving_variance = self.__moving_variance * self.momentum + variance * (1 - self.momentum)
        return self.__gamma * (inputs - mean) / np.sqrt(variance + self.epsilon) + self.__beta
"""
