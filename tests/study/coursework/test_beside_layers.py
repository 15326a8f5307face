"""What stands beside a layer and is no mistake: an inverse, a score, a strict order of calls, other values."""

import sys
import time
import types

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm


class Layer:
    def __init__(self, d, eps=1e-5, momentum=0.9):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = np.ones(d), np.zeros(d)
        self.running_mean, self.running_var = np.zeros(d), np.ones(d)
        self.mean = None

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = self.mean, self.var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.inverse = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inverse
        return self.gamma * self.x_hat + self.beta


class Inverted(Layer):
    def denormalize(self, y):
        return (y - self.beta) / self.gamma / self.inverse + self.mean


class Centred(Layer):
    def centred(self, x):
        return x - self.mean


class Scored(Layer):
    def score(self, x):
        return float((-0.5 * (x - self.mean) ** 2 / self.var).mean())


class Strict(Layer):
    waits = False

    def forward(self, x):
        if self.training and self.waits:
            raise RuntimeError("call backward first")
        self.waits = self.training
        return super().forward(x)

    def backward(self, dy):
        self.waits = False
        self.dgamma, self.dbeta = (dy * self.x_hat).sum(0), dy.sum(0)
        return self.gamma * self.inverse * (dy - self.dbeta / len(dy) - self.x_hat * self.dgamma / len(dy))


class Asserting(Strict):
    def forward(self, x):
        assert not (self.training and self.waits), "call backward first"
        return super().forward(x)


STRICT = [(Strict, 10), (Asserting, 10)]


@pytest.mark.parametrize(("kind", "points"), [(Inverted, 7), (Centred, 7), (Scored, 7), *STRICT])
def test_a_method_that_is_no_backward_is_not_taken_for_one(kind, points):
    report = check_batch_norm(kind)
    assert report.ok
    assert f"{points} of {points} points" in str(report)


def test_a_wrong_backward_of_another_name_still_is():
    class Backwards(Layer):
        def rueckweg(self, g):
            self.dgamma, self.dbeta = (g * self.x_hat).sum(0), g.sum(0)
            return 1 + self.gamma * self.inverse * g

    assert not check_batch_norm(Backwards).ok


def test_test_mode_that_gives_nan_is_not_said_to_read_the_last_batch():
    class Negative(Layer):
        def forward(self, x):
            if self.training:
                return super().forward(x)
            return self.gamma * (x - self.running_mean) / np.sqrt(-self.running_var) + self.beta

    said = str(check_batch_norm(Negative))
    assert "not a number" in said
    assert "last training batch" not in said


FORWARD = """
import numpy as np

class AttrDict(dict):
    __getattr__ = dict.__getitem__

config = AttrDict(eps=1e-5, momentum=0.9)

def forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", config.eps), bn_param.get("momentum", config.momentum)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1]))
    mean, var = running_mean, running_var
    if bn_param["mode"] == "train":
        mean, var = x.mean(0), x.var(0)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    return gamma * (x - mean) / np.sqrt(var + eps) + beta, None
"""


def module_of(source, monkeypatch):
    module = types.ModuleType("handed_in")
    monkeypatch.setitem(sys.modules, "handed_in", module)
    exec(source, module.__dict__)
    return module


def test_a_value_that_answers_to_no_name_is_no_obstacle(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert check_batch_norm(module_of(FORWARD, monkeypatch).forward).ok


TENSORS = """
import torch
import torch as t

def normalized(x, p):
    eps, momentum = p.get("eps", 1e-5), p.get("momentum", 0.9)
    running_mean, running_var = p.get("running_mean"), p.get("running_var")
    if running_mean is None:
        running_mean = running_var = x.new_zeros(x.shape[1])
    mean, var = running_mean, running_var
    if p["mode"] == "train":
        mean, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
        p["running_mean"] = momentum * running_mean + (1 - momentum) * mean.detach()
        p["running_var"] = momentum * running_var + (1 - momentum) * var.detach()
    deviation = (var + eps).sqrt()
    return (x - mean) / deviation, deviation

def gradients(dout, x_hat, deviation, gamma):
    dx = gamma / deviation * (dout - dout.mean(dim=0) - x_hat * (dout * x_hat).mean(dim=0))
    return dx, (dout * x_hat).sum(dim=0), dout.sum(dim=0)

class Methods:
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        x_hat, deviation = normalized(x, bn_param)
        return gamma * x_hat + beta, (x_hat, deviation, gamma)

    @staticmethod
    def backward(dout, cache):
        return gradients(dout, *cache)

class Alias(Methods):
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        x_hat, deviation = normalized(x, bn_param)
        return t.add(gamma * x_hat, beta), (x_hat, deviation, gamma)

class OneTensor:
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        x_hat, deviation = normalized(x, bn_param)
        return gamma * x_hat + beta, torch.cat([x_hat, deviation[None], gamma[None]])

    @staticmethod
    def backward(dout, cache):
        return gradients(dout, cache[:-2], cache[-2], cache[-1])

class Graph:
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        x, gamma, beta = (torch.clone(each).requires_grad_() for each in (x, gamma, beta))
        x_hat, _ = normalized(x, bn_param)
        out = gamma * x_hat + beta
        return out.detach(), {"x": x, "gamma": gamma, "beta": beta, "out": out}

    @staticmethod
    def backward(dout, cache):
        wanted = cache["x"], cache["gamma"], cache["beta"]
        return torch.autograd.grad(cache["out"], wanted, dout, retain_graph=True)
"""


@pytest.mark.parametrize("name", ["Methods", "Alias", "OneTensor", "Graph"])
def test_static_functions_on_tensors_keep_their_cache(name, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    report = check_batch_norm(getattr(module_of(TENSORS, monkeypatch), name))
    assert report.ok, str(report)
    assert "10 of 10 points" in str(report)


class Slow(Layer):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)


class FailsLater(Layer):
    calls = 0

    def forward(self, x):
        FailsLater.calls += 1
        if FailsLater.calls > 3:
            raise KeyError("full")
        return super().forward(x)


def test_a_class_too_slow_to_be_met_is_not_judged():
    """By name alone its parameters were never set, and all of it was called wrong."""
    report = check_batch_norm(Slow, time_limit=0.1)
    assert not report.ok
    assert all(verdict.status == "not judged" for verdict in report.parts.values())
    assert "not tried out within 0.4 seconds, of which time_limit= gives more" in str(report).replace("\n  ", " ")
    assert "7 of 7 points" in str(check_batch_norm(Slow, time_limit=2))


def test_a_class_that_soon_fails_is_accused_of_nothing_else():
    said = " ".join(str(check_batch_norm(FailsLater)).split())
    assert "gamma and beta are not applied" not in said
    assert "KeyError" in said


def test_a_forward_that_hangs_is_told_so():
    class Hangs(Layer):
        def forward(self, x):
            while True:
                pass

    report = check_batch_norm(Hangs, time_limit=0.1)
    assert report.findings[0].code == "hung"


class Scaled:
    """Its scale and shift are a method of their own, which treats each row alone, as test mode does."""

    def __init__(self, d, eps=1e-5, inertia=0.9):
        self.eps, self.inertia = eps, inertia
        self.a, self.c, self.average, self.spread = np.ones(d), np.zeros(d), np.zeros(d), np.ones(d)

    def affine(self, h):
        return self.a * h + self.c

    def propagate(self, x, learns=True):
        mean, var = self.average, self.spread
        if learns:
            mean, var = x.mean(0), x.var(0)
            self.average = self.inertia * self.average + (1 - self.inertia) * mean
            self.spread = self.inertia * self.spread + (1 - self.inertia) * var
        return self.affine((x - mean) / np.sqrt(var + self.eps))


class Columns:
    """Examples are columns, and the first batch says how many rows, the features, there are."""

    def __init__(self, eps=1e-5, momentum=0.9):
        self.eps, self.momentum, self.built = eps, momentum, False

    def forward(self, x, training=True):
        if not self.built:
            d, self.built = len(x), True
            self.gamma, self.beta = np.ones((d, 1)), np.zeros((d, 1))
            self.running_mean, self.running_var = np.zeros((d, 1)), np.ones((d, 1))
        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.inverse = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inverse
        return self.gamma * self.x_hat + self.beta


@pytest.mark.parametrize("kind", [Scaled, Columns])
def test_right_classes_in_other_manners(kind):
    report = check_batch_norm(kind)
    assert report.ok, str(report)
    assert "7 of 7 points" in str(report)


def test_columns_that_are_made_late_and_wrong():
    class Wrong(Columns):
        def forward(self, x, training=True):
            y = super().forward(x, training)
            return y if training else y * np.sqrt(self.running_var + self.eps) / (self.running_var + self.eps)

    report = check_batch_norm(Wrong)
    assert not report.ok
    assert report.parts["training"].ok
    assert not report.parts["test"].ok
