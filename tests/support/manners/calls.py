"""Right layers by how they are called and what they work on: tensors of their own, keywords alone, a cache first."""

RIGHT = {}

GRAPH = """
import numpy as np


def unbroadcast(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for i, s in enumerate(shape):
        if s == 1:
            g = g.sum(i, keepdims=True)
    return g


class Tensor:
    def __init__(self, data, children=(), op=""):
        self.data = data if isinstance(data, np.ndarray) else np.array(data, dtype=float)
        self.grad = np.zeros_like(self.data, dtype=float)
        self._backward = lambda: None
        self._prev = set(children)

    def __add__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        out = Tensor(self.data + other.data, (self, other))

        def _backward():
            self.grad = self.grad + unbroadcast(out.grad, self.data.shape)
            other.grad = other.grad + unbroadcast(out.grad, other.data.shape)

        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        out = Tensor(self.data * other.data, (self, other))

        def _backward():
            self.grad = self.grad + unbroadcast(out.grad * other.data, self.data.shape)
            other.grad = other.grad + unbroadcast(out.grad * self.data, other.data.shape)

        out._backward = _backward
        return out

    def __pow__(self, k):
        out = Tensor(self.data**k, (self,))

        def _backward():
            self.grad = self.grad + k * self.data ** (k - 1) * out.grad

        out._backward = _backward
        return out

    def mean(self, axis=None, keepdims=False):
        out = Tensor(self.data.mean(axis=axis, keepdims=keepdims), (self,))
        n = self.data.size / out.data.size

        def _backward():
            g = out.grad
            if axis is not None and not keepdims:
                g = np.expand_dims(g, axis)
            self.grad = self.grad + np.broadcast_to(g, self.data.shape) / n

        out._backward = _backward
        return out

    def sum(self):
        out = Tensor(self.data.sum(), (self,))

        def _backward():
            self.grad = self.grad + np.broadcast_to(out.grad, self.data.shape)

        out._backward = _backward
        return out

    def __neg__(self): return self * -1
    def __sub__(self, other): return self + (-other)
    def __truediv__(self, other): return self * other**-1
    def __radd__(self, other): return self + other
    def __rmul__(self, other): return self * other

    def backward(self):
        topo, visited = [], set()

        def build(v):
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    build(child)
                topo.append(v)

        build(self)
        self.grad = np.ones_like(self.data)
        for v in reversed(topo):
            v._backward()
"""

RIGHT["graph_of_tensors"] = (
    GRAPH
    + """

class BatchNorm1d:
    def __init__(self, nin, eps=1e-5, momentum=0.1):
        self.gamma = Tensor(np.ones(nin))
        self.beta = Tensor(np.zeros(nin))
        self.running_mean = np.zeros(nin)
        self.running_var = np.ones(nin)
        self.eps, self.momentum = eps, momentum
        self.training = True

    def __call__(self, x):
        if self.training:
            mu = x.mean(0)
            var = ((x - mu) ** 2).mean(0)
            n = x.data.shape[0]
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mu.data
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var.data * n / (n - 1)
        else:
            mu, var = Tensor(self.running_mean), Tensor(self.running_var)
        xhat = (x - mu) * (var + self.eps) ** -0.5
        return self.gamma * xhat + self.beta

    def parameters(self):
        return [self.gamma, self.beta]
"""
)

RIGHT["function_with_context"] = '''
"""In the manner of an autograd homework: a Function with a ctx, a Tensor with grad_fn, a Module."""
import numpy as np
class ContextManager:
    def __init__(self):
        self.saved_tensors = []

    def save_for_backward(self, *args):
        self.saved_tensors.extend(args)


class Tensor:
    def __init__(self, data, requires_grad=False, is_leaf=True, is_parameter=False):
        self.data = np.array(data, dtype=float)
        self.requires_grad, self.is_leaf, self.is_parameter = requires_grad, is_leaf, is_parameter
        self.grad, self.grad_fn = None, None

    @staticmethod
    def zeros(*shape): return Tensor(np.zeros(shape))
    @staticmethod
    def ones(*shape): return Tensor(np.ones(shape))
    @property
    def shape(self): return self.data.shape

    def backward(self, gradient=None):
        gradient = Tensor(np.ones(self.shape)) if gradient is None else gradient
        walk(self.grad_fn, gradient)


def walk(node, gradient):
    if node is None:
        return
    if isinstance(node, Tensor):
        node.grad = gradient if node.grad is None else Tensor(node.grad.data + gradient.data)
        return
    for parent, each in zip(node.parents, node.function.backward(node.ctx, gradient)):
        walk(parent, each)


class Node:
    def __init__(self, function, ctx, parents):
        self.function, self.ctx, self.parents = function, ctx, parents


class BatchNormFunction:
    @staticmethod
    def forward(ctx, x, gamma, beta, mean, var, eps, train):
        inv = 1 / np.sqrt(var + eps)
        xhat = (x.data - mean) * inv
        ctx.save_for_backward(xhat, inv, gamma.data, train)
        return Tensor(xhat * gamma.data + beta.data, requires_grad=True, is_leaf=False)

    @staticmethod
    def backward(ctx, grad_output):
        xhat, inv, gamma, train = ctx.saved_tensors
        g = grad_output.data
        n = g.shape[0]
        dbeta, dgamma = g.sum(0), (g * xhat).sum(0)
        dx = gamma * inv / n * (n * g - dbeta - xhat * dgamma)
        return Tensor(dx), Tensor(dgamma), Tensor(dbeta)


class Module:
    def __init__(self):
        self.is_train = True
    def train(self): self.is_train = True
    def eval(self): self.is_train = False
    def __call__(self, *args): return self.forward(*args)


class BatchNorm1d(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps, self.momentum = Tensor(np.array([eps])), Tensor(np.array([momentum]))
        self.gamma = Tensor(np.ones(num_features), requires_grad=True, is_parameter=True)
        self.beta = Tensor(np.zeros(num_features), requires_grad=True, is_parameter=True)
        self.running_mean = Tensor(np.zeros(num_features))
        self.running_var = Tensor(np.ones(num_features))

    def forward(self, x):
        if self.is_train:
            mean, var = x.data.mean(0), x.data.var(0)
            m, n = self.momentum.data[0], x.shape[0]
            self.running_mean = Tensor((1 - m) * self.running_mean.data + m * mean)
            self.running_var = Tensor((1 - m) * self.running_var.data + m * var * n / (n - 1))
        else:
            mean, var = self.running_mean.data, self.running_var.data
        ctx = ContextManager()
        out = BatchNormFunction.forward(ctx, x, self.gamma, self.beta, mean, var, self.eps.data[0], self.is_train)
        out.grad_fn = Node(BatchNormFunction, ctx, (x, self.gamma, self.beta))
        return out
'''

RIGHT["class_wide_training"] = (
    GRAPH.replace("def backward(self):", "training = False\n\n    def backward(self):")
    + """
    @property
    def shape(self): return self.data.shape
    def detach(self): return Tensor(self.data)
    def numpy(self): return self.data
    @staticmethod
    def ones(*s): return Tensor(np.ones(s))
    @staticmethod
    def zeros(*s): return Tensor(np.zeros(s))
    def reshape(self, *s):
        out = Tensor(self.data.reshape(*s), (self,))
        def _backward(): self.grad = self.grad + out.grad.reshape(self.data.shape)
        out._backward = _backward
        return out


class BatchNorm:
    def __init__(self, sz, eps=1e-5, affine=True, track_running_stats=True, momentum=0.1):
        self.eps, self.track_running_stats, self.momentum = eps, track_running_stats, momentum
        self.weight = Tensor.ones(sz) if affine else None
        self.bias = Tensor.zeros(sz) if affine else None
        if track_running_stats:
            self.running_mean, self.running_var = Tensor.zeros(sz), Tensor.ones(sz)

    def calc_stats(self, x):
        if self.track_running_stats and not Tensor.training:
            return self.running_mean, self.running_var
        mean = x.mean(0)
        y = x - mean
        return mean, (y * y).mean(0)

    def __call__(self, x):
        mean, var = self.calc_stats(x)
        if self.track_running_stats and Tensor.training:
            n = x.shape[0]
            self.running_mean = ((1 - self.momentum) * self.running_mean + self.momentum * mean.detach()).detach()
            var_now = self.momentum * n / (n - 1) * var.detach()
            self.running_var = ((1 - self.momentum) * self.running_var + var_now).detach()
        return (x - mean) * (var + self.eps) ** -0.5 * self.weight + self.bias
"""
)

RIGHT["cache_first"] = """
import numpy as np
class BatchNorm:
    def __init__(self, d, alpha=0.1, eps=1e-5):
        self.gamma, self.beta, self.alpha, self.eps = np.ones(d), np.zeros(d), alpha, eps
        self.mu_run, self.var_run = np.zeros(d), np.ones(d)
    def forward(self, x, is_train):
        if is_train:
            mu, var = x.mean(0), x.var(0)
            self.mu_run = self.alpha * mu + (1 - self.alpha) * self.mu_run
            self.var_run = self.alpha * var + (1 - self.alpha) * self.var_run
        else:
            mu, var = self.mu_run, self.var_run
        std = np.sqrt(var + self.eps)
        xhat = (x - mu) / std
        return self.gamma * xhat + self.beta, dict(xhat=xhat, std=std)
    def backward(self, cache, dout):
        n = dout.shape[0]
        dgamma, dbeta = np.sum(dout * cache["xhat"], 0), np.sum(dout, 0)
        dx = self.gamma / cache["std"] * (dout - dbeta / n - cache["xhat"] * dgamma / n)
        return dx, dgamma, dbeta
"""

RIGHT["keywords_alone"] = """
import numpy as np
class BatchNormalizer:
    def __init__(self, *, num_features, epsilon=1e-3, decay=0.99):
        self.scale, self.offset = np.ones(num_features), np.zeros(num_features)
        self.moving_mean, self.moving_variance = np.zeros(num_features), np.ones(num_features)
        self.epsilon, self.decay = epsilon, decay
    def __call__(self, *, inputs, training):
        if training:
            mean, variance = np.mean(inputs, 0), np.var(inputs, 0)
            self.moving_mean = self.decay * self.moving_mean + (1 - self.decay) * mean
            self.moving_variance = self.decay * self.moving_variance + (1 - self.decay) * variance
        else:
            mean, variance = self.moving_mean, self.moving_variance
        self._rstd = (variance + self.epsilon) ** -0.5
        self._normed = (inputs - mean) * self._rstd
        return self._normed * self.scale + self.offset
    def backward(self, *, grad):
        n = grad.shape[0]
        self.scale_grad, self.offset_grad = (grad * self._normed).sum(0), grad.sum(0)
        return self.scale * self._rstd * (grad - self.offset_grad / n - self._normed * self.scale_grad / n)
"""

RIGHT["frozen_state"] = """
from dataclasses import dataclass, replace
import numpy as np
@dataclass(frozen=True)
class State:
    mean: np.ndarray
    var: np.ndarray
class BatchNorm:
    def __init__(self, features, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(features), np.zeros(features)
        self.state = State(np.zeros(features), np.ones(features))
        self.momentum, self.eps, self.training = momentum, eps, True
    def forward(self, x):
        if self.training:
            mean, var = x.mean(0), x.var(0)
            k = self.momentum
            new_var = k * self.state.var + (1 - k) * var
            self.state = replace(self.state, mean=k * self.state.mean + (1 - k) * mean, var=new_var)
        else:
            mean, var = self.state.mean, self.state.var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        n = len(dy)
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        return self.gamma * self.inv * (dy - self.dbeta / n - self.xhat * self.dgamma / n)
"""

RIGHT["rate_from_momentum"] = """
import numpy as np
class BatchNorm:
    def __init__(self, d, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(d), np.zeros(d)
        self.running_mean, self.running_var = np.zeros(d), np.ones(d)
        self.rate = 1 - momentum
        self.eps = eps
        self.mode = "train"
    def train(self): self.mode = "train"
    def test(self): self.mode = "test"
    def forward(self, x):
        if self.mode == "train":
            mean, var = x.mean(0), x.var(0)
            self.running_mean += self.rate * (mean - self.running_mean)
            self.running_var += self.rate * (var - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        n = len(dy)
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        return self.gamma * self.inv * (dy - self.dbeta / n - self.xhat * self.dgamma / n)
"""

RIGHT["debiased"] = """
import numpy as np
class DebiasedBatchNorm:
    def __init__(self, d, decay=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(d), np.zeros(d)
        self.mean_acc, self.var_acc, self.t = np.zeros(d), np.zeros(d), 0
        self.moving_mean, self.moving_var = np.zeros(d), np.ones(d)
        self.decay, self.eps = decay, eps
    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(0), x.var(0)
            self.t += 1
            self.mean_acc = self.decay * self.mean_acc + (1 - self.decay) * mean
            self.var_acc = self.decay * self.var_acc + (1 - self.decay) * var
            correction = 1 - self.decay ** self.t
            self.moving_mean = self.mean_acc / correction
            self.moving_var = self.var_acc / correction
        else:
            mean, var = self.moving_mean, self.moving_var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        n = len(dy)
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        return self.gamma * self.inv * (dy - self.dbeta / n - self.xhat * self.dgamma / n)
"""

RIGHT["debiased_in_test_mode"] = """
import numpy as np
class BN:
    def __init__(self, d, rho=0.95, eps=1e-5):
        self.gamma, self.beta = np.ones(d), np.zeros(d)
        self.running_mean, self.running_var, self.steps = np.zeros(d), np.zeros(d), 0
        self.rho, self.eps = rho, eps
    def forward(self, x, train=True):
        if train:
            mean, var = x.mean(0), x.var(0)
            self.steps += 1
            self.running_mean = self.rho * self.running_mean + (1 - self.rho) * mean
            self.running_var = self.rho * self.running_var + (1 - self.rho) * var
        else:
            c = 1 - self.rho**self.steps
            mean, var = self.running_mean / c, self.running_var / c
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        n = len(dy)
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        return self.gamma * self.inv * (dy - self.dbeta / n - self.xhat * self.dgamma / n)
"""

RIGHT["rate_with_a_default"] = """
import numpy as np


class BatchNorm:
    def __init__(self, n_in, decay=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(n_in), np.zeros(n_in)
        self.mean, self.var, self.decay, self.eps = np.zeros(n_in), np.ones(n_in), decay, eps

    def forward(self, x, train=True):
        mean, var = (x.mean(0), x.var(0)) if train else (self.mean, self.var)
        if train:
            self.mean = self.decay * self.mean + (1 - self.decay) * mean
            self.var = self.decay * self.var + (1 - self.decay) * var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.xhat * self.gamma + self.beta

    def backward(self, grad, lr=0.01):
        dgamma, dbeta = (grad * self.xhat).sum(0), grad.sum(0)
        dxhat = grad * self.gamma
        dx = self.inv * (dxhat - dxhat.mean(0) - self.xhat * (dxhat * self.xhat).mean(0))
        self.gamma -= lr * dgamma
        self.beta -= lr * dbeta
        return dx
"""
