"""Layers as classes in the manners of many courses, right ones: none may be accused of anything.

Each has names, a mode, a start and a way to hand out gradients of its own.
"""

import numpy as np

RIGHT = {}


def right(layer):
    """Put a class among the right ones."""
    RIGHT[layer.__name__] = layer
    return layer


def normalized(x, mean, variance, eps):
    """x-hat and the deviation."""
    deviation = np.sqrt(variance + eps)
    return (x - mean) / deviation, deviation


def input_gradient(dout, hat, gain):
    """The three terms, features last."""
    return gain * (dout - dout.mean(0) - hat * (dout * hat).mean(0))


@right
class Matrices:
    """Parameters, averages and gradients of shape (1, n) under names in capitals; eval=True for test mode."""

    def __init__(self, num_features, alpha=0.9):
        self.alpha, self.eps = alpha, 1e-8
        self.BW, self.Bb = np.ones((1, num_features)), np.zeros((1, num_features))
        self.dLdBW, self.dLdBb = np.zeros((1, num_features)), np.zeros((1, num_features))
        self.running_M, self.running_V = np.zeros((1, num_features)), np.ones((1, num_features))

    def forward(self, Z, eval=False):
        if eval:
            return self.BW * (Z - self.running_M) / np.sqrt(self.running_V + self.eps) + self.Bb
        M, V = Z.mean(0, keepdims=True), Z.var(0, keepdims=True)
        self.NZ, self.S = normalized(Z, M, V, self.eps)
        self.running_M = self.alpha * self.running_M + (1 - self.alpha) * M
        self.running_V = self.alpha * self.running_V + (1 - self.alpha) * V
        return self.BW * self.NZ + self.Bb

    def backward(self, dLdBZ):
        self.dLdBW = (dLdBZ * self.NZ).sum(0, keepdims=True)
        self.dLdBb = dLdBZ.sum(0, keepdims=True)
        return input_gradient(dLdBZ, self.NZ, self.BW / self.S)


@right
class BookLayer:
    """Parameters handed in, averages from nothing, images flattened; eps written into the code."""

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.input_shape = None
        self.running_mean, self.running_var = running_mean, running_var
        self.batch_size = self.xc = self.std = self.dgamma = self.dbeta = None

    def forward(self, x, train_flg=True):
        self.input_shape = x.shape
        flat = x.reshape(len(x), -1)
        return self._forward(flat, train_flg).reshape(self.input_shape)

    def _forward(self, x, train_flg):
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        if train_flg:
            mu = x.mean(axis=0)
            self.xc = x - mu
            var = np.mean(self.xc**2, axis=0)
            self.std = np.sqrt(var + 1e-7)
            self.batch_size, self.xn = x.shape[0], self.xc / self.std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
            xn = self.xn
        else:
            xn = (x - self.running_mean) / np.sqrt(self.running_var + 1e-7)
        return self.gamma * xn + self.beta

    def backward(self, dout):
        flat = dout.reshape(len(dout), -1)
        self.dbeta, self.dgamma = flat.sum(axis=0), np.sum(self.xn * flat, axis=0)
        dxn = self.gamma * flat
        dxc = dxn / self.std
        dstd = -np.sum(dxn * self.xc / self.std**2, axis=0)
        dxc += self.xc * dstd / self.std / self.batch_size
        return (dxc - dxc.mean(axis=0)).reshape(self.input_shape)


@right
class LayerBatchNormalization:
    """forward returns nothing and leaves `output`; backward leaves `dinputs`."""

    def __init__(self, n_inputs, epsilon=1e-5, momentum=0.9):
        self.weights, self.biases = np.ones((1, n_inputs)), np.zeros((1, n_inputs))
        self.epsilon, self.momentum = epsilon, momentum
        self.moving_mean, self.moving_variance = np.zeros((1, n_inputs)), np.ones((1, n_inputs))

    def forward(self, inputs, training):
        self.inputs = inputs
        if not training:
            scaled = (inputs - self.moving_mean) / np.sqrt(self.moving_variance + self.epsilon)
            self.output = self.weights * scaled + self.biases
            return
        mean, variance = inputs.mean(0, keepdims=True), inputs.var(0, keepdims=True)
        self.normed, self.deviation = normalized(inputs, mean, variance, self.epsilon)
        self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
        self.moving_variance = self.momentum * self.moving_variance + (1 - self.momentum) * variance
        self.output = self.weights * self.normed + self.biases

    def backward(self, dvalues):
        self.dweights = np.sum(dvalues * self.normed, axis=0, keepdims=True)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = input_gradient(dvalues, self.normed, self.weights / self.deviation)


@right
class ColumnsOfExamples:
    """Examples are columns, Z of shape (n, m); parameters and gradients in dictionaries."""

    def __init__(self, n, epsilon=1e-8, beta=0.9):
        self.epsilon, self.decay = epsilon, beta
        self.parameters = {"gamma": np.ones((n, 1)), "beta": np.zeros((n, 1))}
        self.averages = {"mu": np.zeros((n, 1)), "sigma2": np.ones((n, 1))}
        self.grads = {}

    def forward(self, Z, mode="train"):
        if mode == "test":
            mu, sigma2 = self.averages["mu"], self.averages["sigma2"]
        else:
            mu, sigma2 = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
            self.averages["mu"] = self.decay * self.averages["mu"] + (1 - self.decay) * mu
            self.averages["sigma2"] = self.decay * self.averages["sigma2"] + (1 - self.decay) * sigma2
        self.Z_norm, self.root = normalized(Z, mu, sigma2, self.epsilon)
        return self.parameters["gamma"] * self.Z_norm + self.parameters["beta"]

    def backward(self, dZ_tilde):
        self.grads["dgamma"] = np.sum(dZ_tilde * self.Z_norm, axis=1, keepdims=True)
        self.grads["dbeta"] = np.sum(dZ_tilde, axis=1, keepdims=True)
        gain = (self.parameters["gamma"] / self.root).T
        return input_gradient(dZ_tilde.T, self.Z_norm.T, gain).T


@right
class ScratchLibraryLayer:
    """forward_pass and backward_pass, averages from nothing, parameters made by initialize(optimizer)."""

    def __init__(self, momentum=0.99):
        self.momentum, self.trainable, self.eps = momentum, True, 0.01
        self.running_mean = self.running_var = None

    def set_input_shape(self, shape):
        self.input_shape = shape

    def initialize(self, optimizer):
        self.gamma, self.beta = np.ones(self.input_shape), np.zeros(self.input_shape)
        self.gamma_opt, self.beta_opt = optimizer, optimizer

    def forward_pass(self, X, training=True):
        if self.running_mean is None:
            self.running_mean, self.running_var = np.mean(X, axis=0), np.var(X, axis=0)
        mean, var = self.running_mean, self.running_var
        if training and self.trainable:
            mean, var = np.mean(X, axis=0), np.var(X, axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.X_centered, self.stddev_inv = X - mean, 1 / np.sqrt(var + self.eps)
        return self.gamma * self.X_centered * self.stddev_inv + self.beta

    def backward_pass(self, accum_grad):
        return input_gradient(accum_grad, self.X_centered * self.stddev_inv, self.gamma * self.stddev_inv)


@right
class BuildAndCall:
    """build(input_shape) makes the weights, call(inputs, training=None) runs; no backward."""

    def __init__(self, momentum=0.99, epsilon=1e-3):
        self.momentum, self.epsilon, self.built = momentum, epsilon, False

    def build(self, input_shape):
        width = input_shape[-1]
        self.gamma, self.beta = np.ones(width), np.zeros(width)
        self.moving_mean, self.moving_variance = np.zeros(width), np.ones(width)
        self.built = True

    def __call__(self, inputs, training=None):
        if not self.built:
            self.build(inputs.shape)
        return self.call(inputs, training)

    def call(self, inputs, training=None):
        if training:
            mean, variance = np.mean(inputs, axis=0), np.var(inputs, axis=0)
            self.moving_mean = self.moving_mean * self.momentum + mean * (1 - self.momentum)
            self.moving_variance = self.moving_variance * self.momentum + variance * (1 - self.momentum)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        inverse = self.gamma / np.sqrt(variance + self.epsilon)
        return inputs * inverse + (self.beta - mean * inverse)


class Parameter:
    """A value with its gradient."""

    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


@right
class WithParameterObjects:
    """Objects with value and grad; gradients are added up, as an optimizer's zero_grad expects."""

    def __init__(self, dim, eps=1e-5, momentum=0.9):
        self.gamma, self.beta = Parameter(np.ones(dim)), Parameter(np.zeros(dim))
        self.eps, self.momentum, self.is_training = eps, momentum, True
        self.running_mean, self.running_var = np.zeros(dim), np.zeros(dim)

    def params(self):
        return [self.gamma, self.beta]

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.is_training:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.gamma.value * self.hat + self.beta.value

    def backward(self, dy):
        self.gamma.grad += (dy * self.hat).sum(0)
        self.beta.grad += dy.sum(0)
        return input_gradient(dy, self.hat, self.gamma.value / self.deviation)


@right
class ListsOfParameters:
    """params and grads are lists of two; backward writes into the lists' arrays."""

    def __init__(self, size):
        self.params = [np.ones(size), np.zeros(size)]
        self.grads = [np.zeros(size), np.zeros(size)]
        self.momentum, self.eps = 0.9, 1e-5
        self.running_mean, self.running_var = np.zeros(size), np.zeros(size)

    def forward(self, x, is_train=True):
        gamma, beta = self.params
        if not is_train:
            return gamma * (x - self.running_mean) / np.sqrt(self.running_var + self.eps) + beta
        mean, var = x.mean(0), x.var(0)
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.cache = normalized(x, mean, var, self.eps)
        return gamma * self.cache[0] + beta

    def backward(self, dout):
        hat, deviation = self.cache
        self.grads[0][...] = (dout * hat).sum(0)
        self.grads[1][...] = dout.sum(0)
        return input_gradient(dout, hat, self.params[0] / deviation)


@right
class LearnsInBackward:
    """backward(grad, learning_rate) takes the step itself, and keeps no gradient."""

    def __init__(self, units, momentum=0.9, epsilon=1e-5):
        self.gamma, self.beta = np.ones(units), np.zeros(units)
        self.momentum, self.epsilon = momentum, epsilon
        self.running_mean, self.running_var = np.zeros(units), np.ones(units)

    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.hat, self.deviation = normalized(x, mean, var, self.epsilon)
        return self.gamma * self.hat + self.beta

    def backward(self, grad, learning_rate):
        dx = input_gradient(grad, self.hat, self.gamma / self.deviation)
        self.gamma = self.gamma - learning_rate * (grad * self.hat).sum(0)
        self.beta = self.beta - learning_rate * grad.sum(0)
        return dx


TRAINING = True


@right
class AsksAGlobal:
    """Whether it trains is a variable of the module."""

    def __init__(self, n_features, eps=1e-5, momentum=0.9):
        self.g, self.b, self.eps, self.momentum = np.ones(n_features), np.zeros(n_features), eps, momentum
        self.mean_avg, self.var_avg = np.zeros(n_features), np.zeros(n_features)

    def forward(self, x):
        mean, var = (x.mean(0), x.var(0)) if TRAINING else (self.mean_avg, self.var_avg)
        if TRAINING:
            self.mean_avg = self.momentum * self.mean_avg + (1 - self.momentum) * mean
            self.var_avg = self.momentum * self.var_avg + (1 - self.momentum) * var
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.g * self.hat + self.b

    def backward(self, dout):
        self.dg, self.db = (dout * self.hat).sum(0), dout.sum(0)
        return input_gradient(dout, self.hat, self.g / self.deviation)


@right
class PhasesByName:
    """forward(x, phase="train"), and "eval" for test mode; gradients come back as a dictionary."""

    def __init__(self, num_neurons, eps=1e-4, decay=0.95):
        self.scale, self.shift, self.eps, self.decay = np.ones(num_neurons), np.zeros(num_neurons), eps, decay
        self.mean_ema, self.var_ema = np.zeros(num_neurons), np.ones(num_neurons)

    def forward(self, x, phase="train"):
        if phase not in ("train", "eval"):
            raise ValueError(f"unknown phase {phase}")
        if phase == "eval":
            mean, var = self.mean_ema, self.var_ema
        else:
            mean, var = x.mean(0), x.var(0)
            self.mean_ema = self.decay * self.mean_ema + (1 - self.decay) * mean
            self.var_ema = self.decay * self.var_ema + (1 - self.decay) * var
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.scale * self.hat + self.shift

    def backward(self, upstream):
        grads = {"scale": (upstream * self.hat).sum(0), "shift": upstream.sum(0)}
        return input_gradient(upstream, self.hat, self.scale / self.deviation), grads


@right
class CalledLayer:
    """Called, with is_train; all three gradients come back, averages in a dictionary."""

    def __init__(self, in_dim, eps=1e-5, momentum=0.9):
        self.w, self.b, self.eps, self.momentum = np.ones(in_dim), np.zeros(in_dim), eps, momentum
        self.stats = {"mean": np.zeros(in_dim), "var": np.ones(in_dim)}

    def __call__(self, x, is_train=True):
        mean, var = self.stats["mean"], self.stats["var"]
        if is_train:
            mean, var = x.mean(0), x.var(0)
            for name, new in (("mean", mean), ("var", var)):
                self.stats[name] = self.momentum * self.stats[name] + (1 - self.momentum) * new
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.w * self.hat + self.b

    def backward(self, dout):
        dx = input_gradient(dout, self.hat, self.w / self.deviation)
        return dx, (dout * self.hat).sum(0), dout.sum(0)


class Averages:
    """Both averages in an object of their own."""

    def __init__(self, n):
        self.mean, self.var = np.zeros(n), np.ones(n)


@right
class KeepsAnObject:
    """Averages are attributes of an object; mode is a string that is assigned."""

    def __init__(self, n, eps=1e-5, momentum=0.9):
        self.gamma, self.beta, self.eps, self.momentum = np.ones(n), np.zeros(n), eps, momentum
        self.average, self.mode = Averages(n), "train"

    def forward(self, x):
        mean, var = self.average.mean, self.average.var
        if self.mode == "train":
            mean, var = x.mean(0), x.var(0)
            self.average.mean = self.momentum * self.average.mean + (1 - self.momentum) * mean
            self.average.var = self.momentum * self.average.var + (1 - self.momentum) * var
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.hat).sum(0), dout.sum(0)
        return input_gradient(dout, self.hat, self.gamma / self.deviation)


@right
class LettersOnly:
    """Names that no list has; a random start of gamma."""

    def __init__(self, d, eps=1e-5, momentum=0.9):
        self.a, self.c = np.random.default_rng(0).normal(1, 0.02, d), np.zeros(d)
        self.p, self.q, self.eps, self.momentum = np.zeros(d), np.ones(d), eps, momentum

    def forward(self, x, train=True):
        u, v = (x.mean(0), x.var(0)) if train else (self.p, self.q)
        if train:
            self.p, self.q = (
                self.momentum * self.p + (1 - self.momentum) * u,
                (self.momentum * self.q + (1 - self.momentum) * v),
            )
        self.z, self.s = normalized(x, u, v, self.eps)
        return self.a * self.z + self.c

    def backward(self, dout):
        self.ga, self.gc = (dout * self.z).sum(0), dout.sum(0)
        return input_gradient(dout, self.z, self.a / self.s)


@right
class Gewichtet:
    """German names, from nothing at the first batch, for which the averages are that batch's."""

    def __init__(self, traegheit=0.9, epsilon=1e-5):
        self.traegheit, self.epsilon, self.gewicht = traegheit, epsilon, None

    def vorwaerts(self, x, training=True):
        if self.gewicht is None:
            self.gewicht, self.versatz = np.ones(x.shape[1]), np.zeros(x.shape[1])
            self.mittel, self.streuung = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        mittel, streuung = (x.mean(0), x.var(0)) if training else (self.mittel, self.streuung)
        if training:
            self.mittel = self.traegheit * self.mittel + (1 - self.traegheit) * mittel
            self.streuung = self.traegheit * self.streuung + (1 - self.traegheit) * streuung
        self.dach, self.wurzel = normalized(x, mittel, streuung, self.epsilon)
        return self.gewicht * self.dach + self.versatz

    forward = vorwaerts

    def backward(self, dy):
        self.dgewicht, self.dversatz = (dy * self.dach).sum(0), dy.sum(0)
        return input_gradient(dy, self.dach, self.gewicht / self.wurzel)


@right
class InPlaceEverywhere:
    """Averages updated with *= and +=, in float32 from the start."""

    def __init__(self, channels, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.running_mean, self.running_var = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        self.momentum, self.eps, self.training = momentum, eps, True

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x):
        if not self.training:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + self.eps) + self.beta
        mean, var = x.mean(0), x.var(0)
        self.running_mean *= self.momentum
        self.running_mean += (1 - self.momentum) * mean
        self.running_var *= self.momentum
        self.running_var += (1 - self.momentum) * var
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.hat).sum(0), dout.sum(0)
        return input_gradient(dout, self.hat, self.gamma / self.deviation)


@right
class Underscores:
    """Everything private; a method sets the mode."""

    def __init__(self, input_size, eps=1e-5, momentum=0.9):
        self._gamma, self._beta, self._eps, self._momentum = np.ones(input_size), np.zeros(input_size), eps, momentum
        self._running_mean, self._running_var, self._training = np.zeros(input_size), np.ones(input_size), True

    def set_training(self, flag):
        self._training = flag

    def forward(self, x):
        if self._training:
            mean, var = x.mean(0), x.var(0)
            self._running_mean += (1 - self._momentum) * (mean - self._running_mean)
            self._running_var += (1 - self._momentum) * (var - self._running_var)
        else:
            mean, var = self._running_mean, self._running_var
        self._hat, self._deviation = normalized(x, mean, var, self._eps)
        return self._gamma * self._hat + self._beta

    def backward(self, dout):
        self._dgamma, self._dbeta = (dout * self._hat).sum(0), dout.sum(0)
        return input_gradient(dout, self._hat, self._gamma / self._deviation)


@right
class ForwardAndPredict:
    """Training is forward, test mode another method; another library's rule for the averages."""

    def __init__(self, n_features, momentum=0.1, eps=1e-5):
        self.gamma, self.beta, self.momentum, self.eps = np.ones(n_features), np.zeros(n_features), momentum, eps
        self.population_mean, self.population_var = np.zeros(n_features), np.ones(n_features)

    def forward(self, x):
        mean, var = x.mean(0), x.var(0)
        self.population_mean = (1 - self.momentum) * self.population_mean + self.momentum * mean
        self.population_var = (1 - self.momentum) * self.population_var + self.momentum * x.var(0, ddof=len(x) > 1)
        self.hat, self.deviation = normalized(x, mean, var, self.eps)
        return self.gamma * self.hat + self.beta

    def predict(self, x):
        return self.gamma * normalized(x, self.population_mean, self.population_var, self.eps)[0] + self.beta

    def backward(self, dout):
        self.gamma_grad, self.beta_grad = (dout * self.hat).sum(0), dout.sum(0)
        return input_gradient(dout, self.hat, self.gamma / self.deviation)


@right
class TakesADictionary:
    """The course's bn_param within a class."""

    def __init__(self, dim):
        self.gamma, self.beta = np.ones(dim), np.zeros(dim)
        self.bn_param = {"mode": "train", "eps": 1e-5, "momentum": 0.9}
        self.bn_param |= {"running_mean": np.zeros(dim), "running_var": np.zeros(dim)}

    def forward(self, x):
        p = self.bn_param
        if p["mode"] == "test":
            return self.gamma * normalized(x, p["running_mean"], p["running_var"], p["eps"])[0] + self.beta
        mean, var, m = x.mean(0), x.var(0), p["momentum"]
        p["running_mean"] = m * p["running_mean"] + (1 - m) * mean
        p["running_var"] = m * p["running_var"] + (1 - m) * var
        self.cache = normalized(x, mean, var, p["eps"])
        return self.gamma * self.cache[0] + self.beta

    def backward(self, dout):
        hat, deviation = self.cache
        self.dgamma, self.dbeta = (dout * hat).sum(0), dout.sum(0)
        return input_gradient(dout, hat, self.gamma / deviation)


@right
class SpatialRows:
    """Images by rows of channels, parameters (c,), test mode by training=False."""

    def __init__(self, channels, eps=1e-5, momentum=0.9):
        self.gamma, self.beta, self.eps, self.momentum = np.ones(channels), np.zeros(channels), eps, momentum
        self.moving_avg_mean, self.moving_avg_var = np.zeros(channels), np.ones(channels)

    def forward(self, x, training=True):
        n, c, h, w = x.shape
        rows = x.transpose(0, 2, 3, 1).reshape(-1, c)
        mean, var = (rows.mean(0), rows.var(0)) if training else (self.moving_avg_mean, self.moving_avg_var)
        if training:
            self.moving_avg_mean = self.momentum * self.moving_avg_mean + (1 - self.momentum) * mean
            self.moving_avg_var = self.momentum * self.moving_avg_var + (1 - self.momentum) * var
        self.hat, self.deviation = normalized(rows, mean, var, self.eps)
        return (self.gamma * self.hat + self.beta).reshape(n, h, w, c).transpose(0, 3, 1, 2)

    def backward(self, dout):
        n, c, h, w = dout.shape
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, c)
        self.dgamma, self.dbeta = (rows * self.hat).sum(0), rows.sum(0)
        dx = input_gradient(rows, self.hat, self.gamma / self.deviation)
        return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2)


@right
class NegatesTesting:
    """is_test= says the mode; the gradients are gW and gB, the momentum is called m."""

    def __init__(self, size, m=0.9, e=1e-5):
        self.W, self.B, self.m, self.e = np.ones(size), np.zeros(size), m, e
        self.mu_bar, self.var_bar = np.zeros(size), np.ones(size)

    def forward(self, X, is_test=False):
        mu, var = (self.mu_bar, self.var_bar) if is_test else (X.mean(0), X.var(0))
        if not is_test:
            self.mu_bar, self.var_bar = (
                self.m * self.mu_bar + (1 - self.m) * mu,
                (self.m * self.var_bar + (1 - self.m) * var),
            )
        self.X_hat, self.deviation = normalized(X, mu, var, self.e)
        return self.W * self.X_hat + self.B

    def backward(self, G):
        self.gW, self.gB = (G * self.X_hat).sum(0), G.sum(0)
        return input_gradient(G, self.X_hat, self.W / self.deviation)


@right
class KeepsItsRate:
    """The step is taken in backward, in place, with a learning rate of the layer's own."""

    def __init__(self, n_features=10, learning_rate=0.01, momentum=0.9, eps=1e-5):
        self.learning_rate, self.momentum, self.eps = learning_rate, momentum, eps
        self.gamma, self.beta = np.ones(n_features), np.zeros(n_features)
        self.mean_, self.var_ = np.zeros(n_features), np.ones(n_features)

    def forward(self, X, training):
        mean, var = (X.mean(0), X.var(0)) if training else (self.mean_, self.var_)
        if training:
            self.mean_ = self.momentum * self.mean_ + (1 - self.momentum) * mean
            self.var_ = self.momentum * self.var_ + (1 - self.momentum) * var
        self.hat, self.deviation = normalized(X, mean, var, self.eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        dx = input_gradient(dout, self.hat, self.gamma / self.deviation)
        self.gamma -= self.learning_rate * (dout * self.hat).sum(0)
        self.beta -= self.learning_rate * dout.sum(0)
        return dx


@right
class TakesItsOwnTensors:
    """Written for arrays of a library of its own, which have methods that NumPy's have not."""

    def __init__(self, dim, eps=1e-5):
        self.eps, self.weight, self.bias = eps, np.ones(dim), np.zeros(dim)
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)

    def forward(self, x):
        centred = x - x.summation(0).broadcast_to(x.shape) / len(x)
        return centred
