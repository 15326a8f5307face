"""Classes whose settings are met in an unusual form: judged as they are, or not judged, and never accused."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import last_class

PLAIN = """import numpy as np


class Norm:
    def __init__(self, k, rate=0.9, tiny=1e-5):
        self.scale, self.offset = np.ones(k), np.zeros(k)
        self.moving_mean, self.moving_var = np.zeros(k), np.ones(k)
        self.momentum, self.eps = rate, tiny

    def forward(self, x, training=True):
        mean, var = (x.mean(0), x.var(0)) if training else (self.moving_mean, self.moving_var)
        if training:
            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
            self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.hat = (x - mean) * self.inv
        return self.scale * self.hat + self.offset

    def backward(self, dout):
        self.dscale, self.doffset = (dout * self.hat).sum(0), dout.sum(0)
        n = len(dout)
        return self.scale * self.inv * (dout - self.doffset / n - self.hat * self.dscale / n)
"""

TWO_DECAYS = [
    ("self.momentum, self.eps = rate, tiny", "self.left, self.right, self.eps = rate, rate, tiny"),
    ("self.momentum * self.moving_mean + (1 - self.momentum)", "self.left * self.moving_mean + (1 - self.left)"),
    ("self.momentum * self.moving_var + (1 - self.momentum)", "self.right * self.moving_var + (1 - self.right)"),
    ("k, rate=0.9, tiny=1e-5):", "k):\n        rate, tiny = 0.9, 1e-5"),
]
NEW_SHARES = [  # of the new, as a layer's own 0.1 says
    *TWO_DECAYS[:1],
    (
        "self.momentum * self.moving_mean + (1 - self.momentum) * mean",
        "(1 - self.left) * self.moving_mean + self.left * mean",
    ),
    (
        "self.momentum * self.moving_var + (1 - self.momentum) * var",
        "(1 - self.right) * self.moving_var + self.right * var",
    ),
    ("k, rate=0.9, tiny=1e-5):", "k):\n        rate, tiny = 0.1, 1e-5"),
]
ONE_LETTER = [
    ("self, k, rate=0.9, tiny=1e-5", "self, m, rate=0.9, tiny=1e-5"),
    ("        self.scale, ", "        k = m\n        self.scale, "),
]
RUNNING_STATS = [("training=True):", "use_running_average=None):\n        training = not use_running_average")]
ROWS = [
    ("self.moving_mean, self.moving_var = np.zeros(k), np.ones(k)", "self.both = np.array([np.zeros(k), np.ones(k)])"),
    ("(self.moving_mean, self.moving_var)", "self.both"),
    ("            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean\n", ""),
    (
        "self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var",
        "self.both = self.momentum * self.both + (1 - self.momentum) * np.array([mean, var])",
    ),
]
WRAPPED = [
    (
        "class Norm:",
        "def logged(method):\n    def inside(self, *args, **kwargs):\n        return method(self, *args, **kwargs)\n\n"
        "    return inside\n\n\nclass Norm:",
    ),
    ("    def forward", "    @logged\n    def forward"),
]
DIMENSIONS = [
    ("self, k, rate", "self, k, num_dims=2, rate"),
    (
        "        self.scale, ",
        "        self.axis = 0 if num_dims == 2 else (0, 2, 3)\n"
        "        k = (1, k) + (1, 1) * (num_dims == 4)\n        self.scale, ",
    ),
    ("x.mean(0), x.var(0)", "x.mean(self.axis, keepdims=True), x.var(self.axis, keepdims=True)"),
    (
        "(dout * self.hat).sum(0), dout.sum(0)",
        "(dout * self.hat).sum(self.axis, keepdims=True), dout.sum(self.axis, keepdims=True)",
    ),
    ("n = len(dout)", "n = dout.size / self.scale.size"),
]
RIGHT = {
    "two decays": TWO_DECAYS,
    "two shares of the new": NEW_SHARES,
    "m features": ONE_LETTER,
    "use_running_average": RUNNING_STATS,
    "rows of one array": ROWS,
    "a decorator without wraps": WRAPPED,
    "num_dims with a default": DIMENSIONS,
}


def made(*changes):
    text = PLAIN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return last_class(text)


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_right(name):
    report = check_batch_norm(made(*RIGHT[name]))
    assert report.ok, report.text
    assert not report.findings


def test_images_are_judged_where_the_number_of_dimensions_has_a_default():
    assert check_batch_norm(made(*DIMENSIONS)).parts["spatial"].ok
    wrong = check_batch_norm(made(*DIMENSIONS, ("(0, 2, 3)", "(0, 2)")))
    assert wrong.parts["training"].ok
    assert wrong.parts["spatial"].status in ("wrong", "fails")


def test_a_second_decay_that_is_used_wrongly_is_told():
    wrong = ("self.right * self.moving_var + (1 - self.right)", "(1 - self.right) * self.moving_var + self.right")
    report = check_batch_norm(made(*TWO_DECAYS, wrong))
    assert [each.code for each in report.findings] == ["momentum-swapped"]


def test_a_backward_that_takes_nothing_is_not_judged():
    report = check_batch_norm(
        made(("def backward(self, dout):", "def backward(self):\n        dout = self.out_gradient"))
    )
    assert report.parts["backward"].status == "not judged"
    assert not report.findings, report.text


def test_a_layer_that_waits_for_an_unknown_switch_is_not_judged():
    changes = (
        *ROWS,
        ("self.momentum, self.eps = rate, tiny", "self.momentum, self.eps, self.busy = rate, tiny, []"),
        ("training=True):", "*, at=None):\n        training = bool(self.busy)"),
    )
    report = check_batch_norm(made(*changes))
    assert not report.findings, report.text
    assert report.parts["training"].status == "not judged"


WITHIN = """
    @contextlib.contextmanager
    def NAME(self):
        self.inside += 1
        try:
            yield self
        finally:
            self.inside -= 1
"""


@pytest.mark.parametrize(
    ("name", "trains", "told"),
    [
        ("evaluating", False, None),
        ("evaluating", False, "evaluating"),
        ("lecture", True, None),
        ("lecture", True, "lecture"),
    ],
)
def test_a_mode_that_lasts_as_long_as_a_with(name, trains, told):
    text = PLAIN.replace("import numpy as np", "import contextlib\n\nimport numpy as np")
    text = text.replace("rate, tiny\n", "rate, tiny\n        self.inside = 0\n" + WITHIN.replace("NAME", name), 1)
    text = text.replace(
        "(self, x, training=True):\n", "(self, x):\n        training = %s self.inside > 0\n" % ("" if trains else "not")
    )
    report = check_batch_norm(last_class(text), mode=told)
    assert report.ok, report.text


def test_a_momentum_that_is_set_and_ignored():
    text = PLAIN.replace("rate", "momentum")
    text = text.replace("self.eps = momentum, tiny", "self.eps, self.seen = momentum, tiny, 0")
    text = text.replace("        if training:\n", "        if training:\n            self.seen += 1\n", 1)
    text = text.replace("self.momentum * self.", "(1 - 1 / self.seen) * self.").replace(
        "(1 - self.momentum)", "1 / self.seen"
    )
    report = check_batch_norm(last_class(text))
    assert [each.code for each in report.findings] == ["momentum-ignored"], report.text


CROSSED = PLAIN.replace("(1 - self.momentum) * mean", "(1 - self.momentum) * MEAN")
CROSSED = CROSSED.replace("(1 - self.momentum) * var", "(1 - self.momentum) * mean").replace("* MEAN", "* var")
CROSSED = CROSSED.replace("moving_", "kept_")  # a name that no list has


def test_what_is_called_mean_and_read_as_one_is_the_mean():
    report = check_batch_norm(last_class(CROSSED))
    assert "mean and variance are mixed up" in " ".join(report.text.split()), report.text
    assert {each.part for each in report.findings} == {"statistics"}


def test_names_that_are_crossed_all_through_do_what_is_right():
    text = CROSSED.replace("else (self.kept_mean, self.kept_var)", "else (self.kept_var, self.kept_mean)")
    report = check_batch_norm(last_class(text))
    assert report.ok, report.text
