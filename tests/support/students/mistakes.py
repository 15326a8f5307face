"""Solutions with planted mistakes, alone or together, in four codings: functions with and without a
cache, a class, and a PyTorch module.

The numbers are those of the table of twenty; a letter tells variants apart.  Nothing here knows how
the check looks for them.
"""

import itertools

import numpy as np

VARIANTS = {
    "1": "sample variance normalizes",
    "2": "sample variance averaged",
    "3": "momentum the other way round",
    "4": "averages never stored",
    "5": "averages updated in evaluation",
    "6": "evaluation uses batch statistics",
    "7": "training uses the averages",
    "8a": "eps outside the root",
    "8b": "eps squared",
    "8c": "eps missing",
    "8d": "no root",
    "9": "variance not centred",
    "10": "one-pass variance",
    "11a": "images: statistics over the batch only",
    "11b": "images: layer normalization's axes",
    "11c": "images: channels first taken for channels last",
    "12": "dx takes mean and variance for constants",
    "13a": "dx lacks the mean's term",
    "13b": "dx lacks the variance's term",
    "14a": "images: dx divides by the number of images",
    "14b": "dx forgets the scale",
    "15a": "dscale from x",
    "15b": "dscale from y",
    "15c": "parameter gradients averaged",
    "16": "offset inside the scale",
    "17": "standard deviation kept",
    "18": "the averaged variance starts at 0",
    "19a": "input changed in place",
    "19b": "averages changed in place",
    "19c": "state shared between layers",
    "20a": "dtype changed",
    "20b": "a batch of one crashes",
}


def number(variant):
    return int(variant.rstrip("abcd"))


# Two mistakes in one place: the second cannot be made once the first is.
_ONE_PLACE = (
    {"9", "10"},
    {"12", "13a", "13b"},
    {"8a", "8b", "8c", "8d"},
    {"11a", "11b", "11c"},
    {"15a", "15b", "15c"},
    {"19a", "19b", "19c"},
)


def pairs():
    """Every two variants of different numbers that can stand in one solution."""
    return [
        (a, b)
        for a, b in itertools.combinations(VARIANTS, 2)
        if number(a) != number(b) and not any({a, b} <= place for place in _ONE_PLACE)
    ]


def _spread(x, wrong):
    """What this student takes for the variance."""
    n = x.shape[0]
    if "9" in wrong:
        total = (x * x).sum(axis=0)
    elif "10" in wrong:
        total = n * ((x * x).mean(axis=0) - x.mean(axis=0) ** 2)
    else:
        total = np.square(x - x.mean(axis=0)).sum(axis=0)
    return total / (n - 1 if "1" in wrong and n > 1 else n)


def _divisor(var, eps, wrong):
    if "8a" in wrong:
        return np.sqrt(var) + eps
    if "8b" in wrong:
        return np.sqrt(var + eps * eps)
    if "8c" in wrong:
        return np.sqrt(var)
    if "8d" in wrong:
        return var + eps
    return np.sqrt(var + eps)


def _shared(bn_param, d, wrong, store):
    """Averages of this call: the layer's own, or one pair for every layer of that width."""
    start = 0.0 if "18" in wrong else 1.0
    if "19c" in wrong and "running_mean" not in bn_param:
        bn_param["running_mean"], bn_param["running_var"] = store.setdefault(d, (np.zeros(d), np.full(d, start)))
    return bn_param.get("running_mean", np.zeros(d)), bn_param.get("running_var", np.full(d, start))


def _new_averages(bn_param, mean, var, rm, rv, n, wrong):
    keep = bn_param["momentum"]
    if "3" in wrong:
        keep = 1 - keep
    var = var * (n - 1) / n if "1" in wrong and n > 1 else var  # the slip is in line 3, not in what is kept
    stat = var * n / (n - 1) if "2" in wrong and n > 1 else var
    stat = np.sqrt(stat) if "17" in wrong else stat
    if "4" in wrong:
        return
    if "19b" in wrong or "19c" in wrong:
        rm *= keep
        rm += (1 - keep) * mean
        rv *= keep
        rv += (1 - keep) * stat
    else:
        rm, rv = keep * rm + (1 - keep) * mean, keep * rv + (1 - keep) * stat
    bn_param["running_mean"], bn_param["running_var"] = rm, rv


def functions(wrong, cached=True):
    """The course's five functions with these mistakes; `cached`: the backward is fed by the forward."""
    wrong, store = frozenset(wrong), {}

    def forward(x, gamma, beta, bn_param):
        eps, (n, d) = bn_param["eps"], x.shape
        if "20b" in wrong and bn_param["mode"] == "train":
            assert n > 1, "I need more rows than this"
        rm, rv = _shared(bn_param, d, wrong, store)
        mean, var = x.mean(axis=0), _spread(x, wrong)
        train = bn_param["mode"] == "train"
        if train or "5" in wrong:
            _new_averages(bn_param, mean, var, rm, rv, n, wrong)
        by_batch = (train and "7" not in wrong) or (not train and "6" in wrong)
        center, by = (mean, _divisor(var, eps, wrong)) if by_batch else (rm, _divisor(rv, eps, wrong))
        kept = x.copy()
        if "19a" in wrong:
            x -= center
            hat = x / by
        else:
            hat = (x - center) / by
        y = gamma * (hat + beta) if "16" in wrong else gamma * hat + beta
        if "20a" in wrong:
            y = y.astype(np.float64)
        elif y.dtype != kept.dtype:
            y = y.astype(kept.dtype)
        return y, (kept, hat, 1 / by, gamma, y, bn_param["eps"])

    def backward(dout, cache):
        x, hat, inverse, gamma, y, eps = cache
        if not cached:
            centred = x - x.mean(0)
            inverse = 1 / np.sqrt(np.mean(centred**2, 0) + eps)
            hat = centred * inverse
        return _gradients(dout, x, hat, inverse, gamma, y, wrong, len(dout))

    def spatial_forward(x, gamma, beta, bn_param):
        n, c, h, w = x.shape
        if "11c" in wrong:
            out, cache = forward(x.reshape(-1, c), gamma, beta, bn_param)
            return out.reshape(x.shape), (cache, x.shape)
        if wrong & {"11a", "11b"}:
            return _other_axes(x, gamma, beta, bn_param, (0,) if "11a" in wrong else (1, 2, 3), wrong)
        out, cache = forward(np.moveaxis(x, 1, -1).reshape(n * h * w, c), gamma, beta, bn_param)
        return np.moveaxis(out.reshape(n, h, w, c), -1, 1), (cache, x.shape)

    def spatial_backward(dout, cache):
        if wrong & {"11a", "11b"}:
            return _other_axes_backward(dout, cache)
        cache, (n, c, h, w) = cache
        if "11c" in wrong:
            dx, dgamma, dbeta = backward(dout.reshape(-1, c), cache)
            return dx.reshape(n, c, h, w), dgamma, dbeta
        rows = np.moveaxis(dout, 1, -1).reshape(-1, c)
        if "14a" in wrong:
            dx, dgamma, dbeta = _gradients(rows, *cache[:5], wrong, n)
        else:
            dx, dgamma, dbeta = backward(rows, cache)
        return np.moveaxis(dx.reshape(n, h, w, c), -1, 1), dgamma, dbeta

    return {
        "forward": forward,
        "backward": backward,
        "spatial_forward": spatial_forward,
        "spatial_backward": spatial_backward,
    }


def _gradients(dout, x, hat, inverse, gamma, y, wrong, count):
    dbeta, dgamma = dout.sum(axis=0), (dout * hat).sum(axis=0)
    through_mean, through_var = dbeta / count, hat * dgamma / count
    dx = dout.copy()
    if not wrong & {"12", "13a"}:
        dx = dx - through_mean
    if not wrong & {"12", "13b"}:
        dx = dx - through_var
    dx = dx * inverse if "14b" in wrong else dx * inverse * gamma
    if "15a" in wrong:
        dgamma = (dout * x).sum(axis=0)
    if "15b" in wrong:
        dgamma = (dout * y).sum(axis=0)
    if "15c" in wrong:
        dgamma, dbeta = dgamma / len(dout), dbeta / len(dout)
    return dx.astype(x.dtype), dgamma, dbeta


def _other_axes(x, gamma, beta, bn_param, axes, wrong):
    """Images normalized over `axes`; whatever averages this student keeps have that shape."""
    mean = x.mean(axes, keepdims=True)
    inverse = 1 / _divisor(np.square(x - mean).mean(axes, keepdims=True), bn_param["eps"], wrong)
    hat = (x - mean) * inverse
    wide = (1, -1, 1, 1)
    bn_param["running_mean"], bn_param["running_var"] = mean, 1 / inverse**2
    return gamma.reshape(wide) * hat + beta.reshape(wide), (hat, inverse, gamma, axes)


def _other_axes_backward(dout, cache):
    hat, inverse, gamma, axes = cache
    g = dout * gamma.reshape(1, -1, 1, 1)
    dx = inverse * (g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True))
    return dx, (dout * hat).sum((0, 2, 3)), dout.sum((0, 2, 3))


IMAGES_ONLY = {"11a", "11b", "11c", "14a"}


def layer(wrong):
    """A class with forward and backward and the same mistakes, in its own arithmetic."""
    wrong = frozenset(wrong)

    shared = {}

    class Normalizer:
        def __init__(self, num_features, eps=1e-5, momentum=0.9):
            self.eps, self.momentum = eps, momentum
            self.gamma, self.beta = np.ones((1, num_features)), np.zeros((1, num_features))
            self.running_mean = np.zeros((num_features,))
            self.running_var = np.zeros(num_features) if "18" in wrong else np.ones(num_features)
            if "19c" in wrong:
                own = (self.running_mean, self.running_var)
                self.running_mean, self.running_var = shared.setdefault(num_features, own)

        def _measure(self, x):
            mean = np.add.reduce(x) / len(x)
            return mean, _spread(x, wrong)

        def forward(self, x, training=True):
            if "20b" in wrong and training:
                self.list = [1.0 / (len(x) > 1 or [])]
            mean, var = self._measure(x)
            if training or "5" in wrong:
                self._learn(mean, var, len(x))
            use_batch = (training and "7" not in wrong) or (not training and "6" in wrong)
            m, v = (mean, var) if use_batch else (self.running_mean, self.running_var)
            self.x, self.inv = np.array(x), 1.0 / _divisor(v, self.eps, wrong)
            if "19a" in wrong:
                x[...] = x - m
                self.hat = x * self.inv
            else:
                self.hat = (x - m) * self.inv
            if "16" in wrong:
                self.y = (self.hat + self.beta) * self.gamma
            else:
                self.y = self.hat * self.gamma + self.beta
            return self.y.astype(float if "20a" in wrong else x.dtype)

        def _learn(self, mean, var, n):
            rate = self.momentum if "3" in wrong else 1 - self.momentum
            if n > 1:
                var = var * ((n - ("1" in wrong)) / (n - ("2" in wrong)))
            if "17" in wrong:
                var = var**0.5
            if "4" in wrong:
                return
            if "19c" in wrong:
                self.running_mean += rate * (mean - self.running_mean)
                self.running_var += rate * (var - self.running_var)
            else:
                self.running_mean = self.running_mean + rate * (mean - self.running_mean)
                self.running_var = self.running_var + rate * (var - self.running_var)

        def backward(self, grad):
            n = len(grad)
            self.dbeta = grad.sum(0)
            self.dgamma = (grad * self.hat).sum(0)
            project = np.eye(n, dtype=grad.dtype)
            if not wrong & {"12", "13a"}:
                project = project - 1.0 / n
            dx = project @ grad
            if not wrong & {"12", "13b"}:
                dx -= self.hat * ((grad * self.hat).sum(0) / n)
            dx *= self.inv
            if "15a" in wrong:
                self.dgamma = np.einsum("ij,ij->j", grad, self.x)
            if "15b" in wrong:
                self.dgamma = np.einsum("ij,ij->j", grad, self.y)
            if "15c" in wrong:
                self.dgamma, self.dbeta = (grad * self.hat).mean(0), grad.mean(0)
            return dx if "14b" in wrong else dx * self.gamma

    return Normalizer


CLASS_VARIANTS = [variant for variant in VARIANTS if variant not in IMAGES_ONLY | {"19b"}]
# What a module can do wrong while autograd does its backward.
MODULE_VARIANTS = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8a",
    "8b",
    "8c",
    "8d",
    "9",
    "10",
    "12",
    "13a",
    "13b",
    "16",
    "17",
    "18",
    "20b",
]


def module(wrong):
    """A PyTorch module with the same mistakes; keeps `momentum` of the old average, as the course does."""
    import torch

    wrong = frozenset(wrong)

    class TorchNormalizer(torch.nn.Module):
        def __init__(self, num_features, eps=1e-5, momentum=0.9):
            super().__init__()
            self.eps, self.momentum = eps, momentum
            self.weight = torch.nn.Parameter(torch.ones(num_features))
            self.bias = torch.nn.Parameter(torch.zeros(num_features))
            self.register_buffer("running_mean", torch.zeros(num_features))
            start = torch.zeros if "18" in wrong else torch.ones
            self.register_buffer("running_var", start(num_features))

        def forward(self, x):
            n = x.shape[0]
            if "20b" in wrong and self.training and n == 1:
                raise RuntimeError("one row")
            mean = x.mean(0)
            if "9" in wrong:
                var = (x * x).mean(0)
            elif "10" in wrong:
                var = (x * x).mean(0) - mean * mean
            else:
                var = ((x - mean) ** 2).mean(0)
            if "1" in wrong and n > 1:
                var = var * n / (n - 1)
            before = self.running_mean.clone(), self.running_var.clone()
            if self.training or "5" in wrong:
                self._learn(mean.detach(), var.detach(), n)
            if "12" in wrong:
                mean, var = mean.detach(), var.detach()
            use_batch = (self.training and "7" not in wrong) or (not self.training and "6" in wrong)
            mean, var = (mean, var) if use_batch else before
            if "13a" in wrong:
                mean = mean.detach()
            if "13b" in wrong:
                var = var.detach()
            hat = (x - mean) / self._divisor(var)
            return self.weight * (hat + self.bias) if "16" in wrong else self.weight * hat + self.bias

        def _divisor(self, var):
            if "8a" in wrong:
                return var.sqrt() + self.eps
            if "8d" in wrong:
                return var + self.eps
            return (var + {"8b": self.eps**2, "8c": 0.0}.get(next(iter(wrong & {"8b", "8c"}), ""), self.eps)).sqrt()

        @torch.no_grad()
        def _learn(self, mean, var, n):
            keep = 1 - self.momentum if "3" in wrong else self.momentum
            if n > 1:
                var = var * ((n - ("1" in wrong)) / (n - ("2" in wrong)))
            if "17" in wrong:
                var = var.sqrt()
            if "4" not in wrong:
                self.running_mean = keep * self.running_mean + (1 - keep) * mean
                self.running_var = keep * self.running_var + (1 - keep) * var

    return TorchNormalizer
