"""Right layers whose forward is handed what it works with: parameters, a state, averages; as texts."""

RIGHT = {}

RIGHT["init_and_apply"] = """
import numpy as np
class BatchNorm:
    def __init__(self, momentum=0.9, eps=1e-5):
        self.momentum, self.eps = momentum, eps
    def init(self, d):
        return {"gamma": np.ones(d), "beta": np.zeros(d)}, {"mean": np.zeros(d), "var": np.ones(d)}
    def apply(self, params, state, x, train):
        if train:
            mean, var = x.mean(0), x.var(0)
            k = self.momentum
            state = {"mean": k * state["mean"] + (1 - k) * mean, "var": k * state["var"] + (1 - k) * var}
        else:
            mean, var = state["mean"], state["var"]
        return params["gamma"] * (x - mean) / np.sqrt(var + self.eps) + params["beta"], state
"""

RIGHT["functions_init_and_apply"] = """
import numpy as np
def init(d):
    params = {"scale": np.ones(d), "bias": np.zeros(d)}
    state = {"mean": np.zeros(d), "var": np.ones(d)}
    return params, state
def apply(params, state, x, train=True, momentum=0.9, eps=1e-5):
    if train:
        mean, var = x.mean(axis=0), x.var(axis=0)
        new = {"mean": mean, "var": var}
        state = {key: momentum * state[key] + (1 - momentum) * new[key] for key in state}
    else:
        mean, var = state["mean"], state["var"]
    y = (x - mean) / np.sqrt(var + eps) * params["scale"] + params["bias"]
    return y, state
"""

RIGHT["autograd_function"] = """
import torch
class BatchNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps=1e-5):
        mean = x.mean(0)
        var = x.var(0, unbiased=False)
        rstd = torch.rsqrt(var + eps)
        xhat = (x - mean) * rstd
        ctx.save_for_backward(xhat, rstd, gamma)
        return gamma * xhat + beta
    @staticmethod
    def backward(ctx, dy):
        xhat, rstd, gamma = ctx.saved_tensors
        n = dy.shape[0]
        dbeta, dgamma = dy.sum(0), (dy * xhat).sum(0)
        dx = gamma * rstd * (dy - dbeta / n - xhat * dgamma / n)
        return dx, dgamma, dbeta, None
"""

RIGHT["autograd_function_with_averages"] = """
import torch
from torch.autograd import Function
class BN(Function):
    @staticmethod
    def forward(ctx, input, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5):
        ctx.training = training
        if training:
            mean, var = input.mean(0), input.var(0, unbiased=False)
            n = input.size(0)
            running_mean.mul_(1 - momentum).add_(momentum * mean)
            running_var.mul_(1 - momentum).add_(momentum * var * n / (n - 1))
        else:
            mean, var = running_mean, running_var
        inv_std = 1 / torch.sqrt(var + eps)
        norm = (input - mean) * inv_std
        ctx.save_for_backward(norm, inv_std, weight)
        return norm * weight + bias
    @staticmethod
    def backward(ctx, grad_output):
        norm, inv_std, weight = ctx.saved_tensors
        g = grad_output * weight
        if ctx.training:
            dx = inv_std * (g - g.mean(0) - norm * (g * norm).mean(0))
        else:
            dx = g * inv_std
        return dx, (grad_output * norm).sum(0), grad_output.sum(0), None, None, None, None, None
"""

RIGHT["parameters_in_each_call"] = '''
import numpy as np
class BatchNormOp:
    """parameters belong to the network, the op keeps the averages"""
    def __init__(self, dim, momentum=0.9, eps=1e-5):
        self.momentum, self.eps = momentum, eps
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)
    def forward(self, x, gamma, beta, training=True):
        if training:
            mu, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mu, var = self.running_mean, self.running_var
        self.gamma = gamma
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mu) * self.inv
        return gamma * self.xhat + beta
    def backward(self, dy):
        n = len(dy)
        dgamma, dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        dx = self.gamma * self.inv * (dy - dbeta / n - self.xhat * dgamma / n)
        return dx, dgamma, dbeta
'''

RIGHT["dict_in_each_call"] = """
import numpy as np
class BatchNorm:
    def __init__(self, dim, momentum=0.9, eps=1e-5):
        self.dim, self.momentum, self.eps = dim, momentum, eps
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)
    def forward(self, x, params, train=True):
        if train:
            mu, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mu, var = self.running_mean, self.running_var
        inv = 1 / np.sqrt(var + self.eps)
        xhat = (x - mu) * inv
        self.cache = xhat, inv, params
        return params["gamma"] * xhat + params["beta"]
    def backward(self, dy):
        xhat, inv, params = self.cache
        n = len(dy)
        grads = {"gamma": (dy * xhat).sum(0), "beta": dy.sum(0)}
        return params["gamma"] * inv * (dy - grads["beta"] / n - xhat * grads["gamma"] / n), grads
"""

RIGHT["parameters_before_x"] = '''
import numpy as np
class BatchNorm:
    """forward(params, x, state, is_training) -> out, new_state; backward(params, cache, dout)"""
    def __init__(self, num_features, decay_rate=0.9, eps=1e-5):
        self.num_features, self.decay_rate, self.eps = num_features, decay_rate, eps
    def init_params(self):
        return {"scale": np.ones(self.num_features), "offset": np.zeros(self.num_features)}
    def init_state(self):
        return {"mean": np.zeros(self.num_features), "var": np.ones(self.num_features)}
    def forward(self, params, state, x, is_training):
        if is_training:
            mean, var = x.mean(0), x.var(0)
            r = self.decay_rate
            state = {"mean": r * state["mean"] + (1 - r) * mean, "var": r * state["var"] + (1 - r) * var}
        else:
            mean, var = state["mean"], state["var"]
        inv = 1 / np.sqrt(var + self.eps)
        return (x - mean) * inv * params["scale"] + params["offset"], state
'''

RIGHT["state_in_and_out"] = """
import numpy as np
class BatchNorm:
    def __init__(self, d, momentum=0.9, eps=1e-5):
        self.d, self.momentum, self.eps = d, momentum, eps
        self.gamma, self.beta = np.ones(d), np.zeros(d)
    def initial_state(self):
        return np.zeros(self.d), np.ones(self.d)
    def forward(self, x, state, training=True):
        if training:
            mean, var = x.mean(0), x.var(0)
            k = self.momentum
            state = k * state[0] + (1 - k) * mean, k * state[1] + (1 - k) * var
        else:
            mean, var = state
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mean) * self.inv
        return self.gamma * self.xhat + self.beta, state

    def backward(self, dy):
        n = len(dy)
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        return self.gamma * self.inv * (dy - self.dbeta / n - self.xhat * self.dgamma / n)
"""
