"""Layers that are called in another way, or work on a tensor of their own: right ones are judged, slips are named."""

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import last_class
from tests.support.manners.calls import RIGHT


def checked(name, old="", new=""):
    text = RIGHT[name]
    assert old in text
    return check_batch_norm(last_class(text.replace(old, new, 1)))


def codes(report):
    return list(dict.fromkeys(found.code for found in report.findings))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_layer_is_judged_whole(name):
    report = checked(name)
    assert report.ok, report.text
    assert report.parts["backward"].ok, report.text
    assert report.possible == 10


SLIPS = [
    (
        "graph_of_tensors",
        "(var + self.eps) ** -0.5",
        "Tensor((var + self.eps).data) ** -0.5",
        ["variance-path-missing"],
    ),
    ("graph_of_tensors", "xhat = (x - mu)", "xhat = (x - Tensor(mu.data))", ["mean-path-missing"]),
    ("graph_of_tensors", "self.momentum * mu.data", "mu.data", ["momentum-rule"]),
    ("function_with_context", "(g * xhat).sum(0)", "g.sum(0)", ["dscale-from-dout"]),
    ("class_wide_training", "* self.weight", "", ["scale-missing"]),
    ("cache_first", '- cache["xhat"] * dgamma / n', "", ["variance-path-missing"]),
    ("keywords_alone", "self.decay * self.moving_mean + (1 - self.decay) * mean", "mean", ["averages-overwritten"]),
    (
        "frozen_state",
        "mean=k * self.state.mean + (1 - k) * mean",
        "mean=(1 - k) * self.state.mean + k * mean",
        ["momentum-swapped"],
    ),
    ("rate_from_momentum", "self.rate = 1 - momentum", "self.rate = momentum", ["momentum-swapped"]),
    ("debiased", "(1 - self.decay) * var", "self.decay * var", ["momentum-rule"]),
    (
        "debiased",
        "mean, var = self.moving_mean, self.moving_var",
        "mean, var = x.mean(0), self.moving_var",
        ["batch-mean-in-test"],
    ),
    ("debiased_in_test_mode", "self.running_var / c\n", "np.sqrt(self.running_var / c)\n", ["deviation-under-root"]),
    (
        "rate_with_a_default",
        "dgamma, dbeta = (grad * self.xhat).sum(0)",
        "dgamma, dbeta = grad.sum(0)",
        ["dscale-from-dout"],
    ),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "old", "new", "said"), SLIPS)
def test_a_slip_has_its_name(name, old, new, said):
    report = checked(name, old, new)
    assert codes(report) == said, report.text


def test_gradients_of_own_tensors_do_not_add_up_over_calls():
    """Such classes add to .grad: asked twice for one forward, each answer is that of one."""
    from pybn.study.adapters import course_functions

    functions = course_functions(last_class(RIGHT["graph_of_tensors"]))
    x, gamma = np.random.default_rng(3).normal(size=(5, 3)), np.array([1.0, -2.0, 0.5])
    _, cache = functions.forward(x, gamma, np.zeros(3), {"mode": "train", "eps": 1e-5, "momentum": 0.9})
    first, second = (functions.backward(np.ones((5, 3)), cache) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one, two)
    assert np.allclose(second[2], 5)
