"""Right classes whose names tell nothing: what is what is found by what it does."""

RIGHT = {}

RIGHT["finnish"] = '''
import numpy as np

class Tasaaja:
    """Everything in another language; training is an argument without a default."""

    def __init__(self, leveys, vauhti=0.8, tyvi=1e-4):
        self.kerroin, self.lisa = np.ones(leveys), np.zeros(leveys)
        self.keski, self.hajonta2 = np.zeros(leveys), np.ones(leveys)
        self.vauhti, self.tyvi = vauhti, tyvi

    def eteen(self, syote, opetus):
        if opetus:
            m, v = syote.mean(0), syote.var(0)
            self.keski = self.vauhti * self.keski + (1 - self.vauhti) * m
            self.hajonta2 = self.vauhti * self.hajonta2 + (1 - self.vauhti) * v
        else:
            m, v = self.keski, self.hajonta2
        self.k = np.sqrt(v + self.tyvi)
        self.normi = (syote - m) / self.k
        return self.kerroin * self.normi + self.lisa

    def taakse(self, virhe):
        self.d_kerroin = (virhe * self.normi).sum(0)
        self.d_lisa = virhe.sum(0)
        return self.kerroin / self.k * (virhe - virhe.mean(0) - self.normi * (virhe * self.normi).mean(0))
'''

RIGHT["text_mode"] = '''
import numpy as np

class Normaliser:
    """A text of its own for each mode, an else that raises, gradients beside the parameters by key."""

    def __init__(self, n, epsilon=1e-5):
        self.epsilon, self.stand = epsilon, "oefenen"
        self.p = {"rek": np.ones(n), "schuif": np.zeros(n)}
        self.afgeleiden = {"rek": None, "schuif": None}
        self.gem, self.vari = np.zeros(n), np.ones(n)

    def heen(self, x):
        if self.stand == "oefenen":
            m, v = x.mean(0), x.var(0)
            self.gem, self.vari = 0.9 * self.gem + 0.1 * m, 0.9 * self.vari + 0.1 * v
        elif self.stand == "meten":
            m, v = self.gem, self.vari
        else:
            raise ValueError(self.stand)
        self.s = np.sqrt(v + self.epsilon)
        self.h = (x - m) / self.s
        return self.p["rek"] * self.h + self.p["schuif"]

    def terug(self, d):
        self.afgeleiden["rek"] = (d * self.h).sum(0)
        self.afgeleiden["schuif"] = d.sum(0)
        return self.p["rek"] / self.s * (d - d.mean(0) - self.h * (d * self.h).mean(0))
'''

RIGHT["enum_and_tuple"] = '''
from enum import Enum
from typing import NamedTuple

import numpy as np

class Stage(Enum):
    LEARN = "a"
    MEASURE = "b"

class Moments(NamedTuple):
    first: np.ndarray
    second: np.ndarray

class BatchNorm:
    """The mode is a member of an Enum, both averages are one tuple, the gradients come back in a dict."""

    def __init__(self, size, eps=1e-5, momentum=0.9):
        self.now, self.eps, self.momentum = Stage.LEARN, eps, momentum
        self.scale, self.shift = np.ones(size), np.zeros(size)
        self.kept = Moments(np.zeros(size), np.ones(size))

    def forward(self, x):
        used = self.kept
        if self.now is Stage.LEARN:
            used = Moments(x.mean(0), x.var(0))
            pairs = zip(self.kept, used)
            self.kept = Moments(*(self.momentum * old + (1 - self.momentum) * new for old, new in pairs))
        self.root = np.sqrt(used.second + self.eps)
        self.hat = (x - used.first) / self.root
        return self.scale * self.hat + self.shift

    def backward(self, dy):
        dx = self.scale / self.root * (dy - dy.mean(0) - self.hat * (dy * self.hat).mean(0))
        return {"to_scale": (dy * self.hat).sum(0), "to_shift": dy.sum(0), "down": dx}
'''

RIGHT["settings_of_forward"] = '''
import numpy as np

class BatchNorm:
    """eps and momentum are arguments of forward; the layer keeps eps for its backward."""

    def __init__(self, size):
        self.gamma, self.beta = np.ones(size), np.zeros(size)
        self.running_mean, self.running_var = np.zeros(size), np.ones(size)

    def forward(self, x, training=True, momentum=0.9, eps=1e-5):
        if not training:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + eps) + self.beta
        mean, var = x.mean(0), x.var(0)
        self.running_mean = momentum * self.running_mean + (1 - momentum) * mean
        self.running_var = momentum * self.running_var + (1 - momentum) * var
        self.eps, self.var, self.hat = eps, var, (x - mean) / np.sqrt(var + eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.hat).sum(0), dy.sum(0)
        n = len(dy)
        return self.gamma / np.sqrt(self.var + self.eps) * (dy - self.dbeta / n - self.hat * self.dgamma / n)
'''

RIGHT["handed_an_optimizer"] = '''
import numpy as np

class BatchNorm:
    """The optimizer that initialize is handed takes the step in backward."""

    def __init__(self, eps=0.01):
        self.eps, self.rule, self.mean, self.var = eps, None, None, None

    def initialize(self, shape, optimizer):
        self.gamma, self.beta, self.rule = np.ones(shape), np.zeros(shape), optimizer
        self.mean, self.var = np.zeros(shape), np.ones(shape)

    def forward(self, x, training=True):
        m, v = (x.mean(0), x.var(0)) if training else (self.mean, self.var)
        if training:
            self.mean, self.var = 0.9 * self.mean + 0.1 * m, 0.9 * self.var + 0.1 * v
        self.inv = 1 / np.sqrt(v + self.eps)
        self.hat = (x - m) * self.inv
        return self.gamma * self.hat + self.beta

    def backward(self, dy):
        gain = self.gamma * self.inv
        self.gamma = self.rule.update(self.gamma, (dy * self.hat).sum(0))
        self.beta = self.rule.update(self.beta, dy.sum(0))
        return gain * (dy - dy.mean(0) - self.hat * (dy * self.hat).mean(0))
'''

RIGHT["channels_last"] = '''
import numpy as np

class ImageNorm:
    """Images with the channels in the last axis, and nothing else."""

    def __init__(self, channels, eps=1e-3, momentum=0.99):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = np.ones(channels), np.zeros(channels)
        self.moving_mean, self.moving_var = np.zeros(channels), np.ones(channels)

    def forward(self, x):
        n, height, width, channels = x.shape
        mean, var = self.moving_mean, self.moving_var
        if self.training:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
            self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        self.root = np.sqrt(var + self.eps)
        self.hat = (x - mean) / self.root
        return self.gamma * self.hat + self.beta

    def backward(self, dy):
        axes = (0, 1, 2)
        self.dgamma, self.dbeta = (dy * self.hat).sum(axes), dy.sum(axes)
        return self.gamma / self.root * (dy - dy.mean(axes) - self.hat * (dy * self.hat).mean(axes))
'''

RIGHT["any_axes"] = '''
import numpy as np

class Norm:
    """Rows or images: every axis but the second is summed over; train() and eval() set the flag."""

    def __init__(self, size, eps=1e-5, momentum=0.9):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.weight, self.bias = np.ones(size), np.zeros(size)
        self.running_mean, self.running_var = np.zeros(size), np.ones(size)

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def over(self, array):
        return array.reshape([1, -1] + [1] * (self.axes - 2))

    def forward(self, x):
        self.axes = x.ndim
        rest = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(rest), x.var(rest)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.inverse = self.over(1 / np.sqrt(var + self.eps))
        self.hat = (x - self.over(mean)) * self.inverse
        return self.over(self.weight) * self.hat + self.over(self.bias)

    def backward(self, dy):
        rest = tuple(axis for axis in range(dy.ndim) if axis != 1)
        count = dy.size / dy.shape[1]
        self.d_weight, self.d_bias = (dy * self.hat).sum(rest), dy.sum(rest)
        along = self.over(self.d_bias) + self.hat * self.over(self.d_weight)
        return self.over(self.weight) * self.inverse * (dy - along / count)
'''
