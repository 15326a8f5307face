"""Classes whose test mode takes images and whose training does not: never right in silence, and nobody's by chance."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import last_class

SECOND = """import numpy as np


class Channels:
    \"\"\"(n, c) or (n, c, h, w).\"\"\"

    def __init__(self, c, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(c), np.zeros(c)
        self.running_mean, self.running_var = np.zeros(c), np.ones(c)
        self.momentum, self.eps = momentum, eps

    def METHOD(self, x, training=True):
        self.axes, self.shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
        if training:
            mean, var = x.mean(self.axes), x.var(self.axes)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.inv = 1 / np.sqrt(var + self.eps).reshape(self.shape)
        self.hat = (x - mean.reshape(self.shape)) * self.inv
        return self.gamma.reshape(self.shape) * self.hat + self.beta.reshape(self.shape)

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.hat).sum(self.axes), dout.sum(self.axes)
        m = dout.size / dout.shape[1]
        along = self.dbeta.reshape(self.shape) / m + self.hat * self.dgamma.reshape(self.shape) / m
        return self.gamma.reshape(self.shape) * self.inv * (dout - along)
"""
LAST = """import numpy as np


class Rows:
    def __init__(self, c, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(c), np.zeros(c)
        self.running_mean, self.running_var = np.zeros(c), np.ones(c)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, training=True):
        LINE
        if training:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.hat = (x - mean) * self.inv
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.hat).sum(0), dout.sum(0)
        return self.gamma * self.inv * (dout - self.dbeta / len(dout) - self.hat * self.dgamma / len(dout))
"""


def second(method="forward", *changes):
    text = SECOND.replace("METHOD", method)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return last_class(text)


@pytest.mark.parametrize("method", ["forward", "normalize_all"])
def test_the_right_one_has_both_pairs(method):
    report = check_batch_norm(second(method))
    assert report.ok, report.text
    assert report.parts["spatial"].status == "right"


@pytest.mark.parametrize("method", ["forward", "normalize_all"])
@pytest.mark.parametrize("axes", ["(0, *range(3, x.ndim))", "(0, *range(2, x.ndim - 1))"])
def test_channels_in_second_place_are_judged_where_training_loses_them(method, axes):
    report = check_batch_norm(second(method, ("(0, *range(2, x.ndim))", axes)))
    assert not report.ok
    assert report.parts["spatial"].status in ("wrong", "fails"), report.text
    assert {each.part for each in report.findings} == {"spatial"}, report.text


@pytest.mark.parametrize("line", ["assert x.ndim in (2, 4)", "x = x[None] if x.ndim == 1 else x"])
def test_channels_in_last_place_may_be_meant_or_not(line):
    report = check_batch_norm(last_class(LAST.replace("LINE", line)))
    assert not report.findings, report.text
    assert report.parts["spatial"].status == "not judged"
    assert not report.ok
    assert "whether they are meant is not" in report.text


def test_who_counts_axes_for_sequences_is_not_asked():
    text = LAST.replace("LINE", "axes = 0 if x.ndim == 2 else (0, 1)")
    text = text.replace("x.mean(0), x.var(0)", "x.mean(axes), x.var(axes)")
    report = check_batch_norm(last_class(text))
    assert report.ok, report.text


@pytest.mark.parametrize("line", ["self.dim = x.shape[1]", "x = x.reshape((-1, x.shape[-1])) if len(x) < 0 else x"])
def test_who_does_not_count_axes_is_not_asked(line):
    report = check_batch_norm(last_class(LAST.replace("LINE", line)))
    assert report.ok, report.text
    assert "spatial" not in report.parts
