"""Each code that the report may use comes from a slip that a test types, and each code that is used has words."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from pybn.study import coursework
from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.gradient.fit import CONSTANTS
from pybn.study.coursework.report.words import TEXTS, known
from pybn.study.coursework.student.probes import FEATURES
from tests.support.students.edits import edited
from tests.support.students.right import staged_backward, staged_forward
from tests.support.students.slips import SLIPS

HERE, ROOMS = Path(__file__).parent, Path(inspect.getfile(coursework)).parent
SOURCES = [
    *HERE.glob("*.py"),
    HERE.parents[1] / "support/students/edits.py",
    HERE.parents[1] / "support/students/slips.py",
    HERE.parents[1] / "support/manners/slips.py",
]


def codes(report):
    return {found.code for found in report.findings + report.remarks}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("code", "solution", "changes"), SLIPS, ids=[slip[0] for slip in SLIPS])
def test_a_slip_has_this_code(code, solution, changes):
    functions = edited(solution, *changes)
    images = code.startswith("images") or solution == "direct images"
    functions = {role: function for role, function in functions.items() if images or "spatial" not in role}
    report = check_batch_norm(**functions)
    assert code in codes(report), report.text
    assert report.text


@pytest.mark.parametrize("code", TEXTS)
def test_a_test_asks_for_each_code(code):
    assert any(f'"{code}"' in path.read_text(encoding="utf-8") for path in SOURCES)


def test_every_code_that_is_written_has_words():
    """Those in tables are checked when the tables are imported; here, those in calls."""
    for path in ROOMS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in ("finding", "Said") and isinstance(node.args[0], ast.Constant):
                known(node.args[0].value)
    with pytest.raises(LookupError, match="no words for the code"):
        known("no-such-slip")


# --- what an edit of a function alone cannot show -----------------------------------------------------


def test_the_start_taken_out_of_the_averages():
    """pybn's rule where the course's is asked for."""
    from tests.study.coursework.test_right import Debiased

    assert "debiased" in codes(check_batch_norm(Debiased, convention="course"))


class Shares:
    """A class whose own default says how it counts momentum; its averages hold the population variance."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)

    def forward(self, x, training=True):
        mean, var = (x.mean(0), x.var(0)) if training else (self.running_mean, self.running_var)
        if training:
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var
        return self.gamma * (x - mean) / np.sqrt(var + self.eps) + self.beta


class Keeps(Shares):
    """The same with a default that says the other way."""

    def __init__(self, num_features, eps=1e-5, momentum=0.9):
        super().__init__(num_features, eps, momentum)


def test_a_class_says_by_its_default_how_it_counts_momentum():
    assert "momentum-of-pytorch" in codes(check_batch_norm(Shares))
    assert check_batch_norm(Shares).ok
    assert "momentum-swapped" in codes(check_batch_norm(Keeps))


class Counts(Shares):
    """Plain means over all batches: there is no momentum."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__(num_features, eps)
        self.batches = 0

    def forward(self, x, training=True):
        self.batches += training
        self.momentum = 1 / max(self.batches, 1)
        return super().forward(x, training)


def test_averages_that_are_plain_means_have_no_momentum():
    report = check_batch_norm(Counts)
    assert report.ok, report.text
    assert codes(report) == {"averages-cumulative"}


class GlobalBatchNorm2d(Shares):
    """A layer of images that takes one mean and variance for the whole array."""

    def forward(self, x, training=True):
        def wide(each):
            return np.reshape(each, (1, -1, 1, 1))

        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = x.mean() + 0 * mean, x.var() + 0 * var
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var
        return wide(self.gamma) * (x - wide(mean)) / np.sqrt(wide(var) + self.eps) + wide(self.beta)


def test_a_layer_of_images_is_not_held_against_itself():
    report = check_batch_norm(GlobalBatchNorm2d)
    assert not report.parts["training"].ok
    assert not report.parts["spatial"].ok
    assert "images-same-function" in codes(report)


def test_what_waits_for_a_forward_that_fails():
    report = check_batch_norm(lambda *arguments: 1 / 0, staged_backward)
    assert {part: verdict.status for part, verdict in report.parts.items()} == {
        "training": "fails",
        "statistics": "waits",
        "test": "fails",
        "backward": "waits",
    }
    assert "not-judged" in codes(report)


@pytest.mark.parametrize(("error", "code"), [(ValueError, "refuses-batch-of-one"), (ZeroDivisionError, "batch-of-one")])
def test_a_batch_of_one_that_is_refused(error, code):
    def forward(x, gamma, beta, bn_param):
        if len(x) == 1:
            raise error("more than one row, please")
        return staged_forward(x, gamma, beta, bn_param)

    assert code in codes(check_batch_norm(forward))


def test_a_constant_feature():
    def forward(x, gamma, beta, bn_param):
        out, cache = staged_forward(x, gamma, beta, bn_param)
        return np.where(x.std(0) == 0, 0.0, out) if len(x) > 1 else out, cache

    assert "constant-feature" in codes(check_batch_norm(forward))


def test_a_factor_of_a_term_that_is_zero_on_paper():
    """The mean of x - mean is 0 up to rounding: what multiplies it shows where x is large."""

    def backward(dout, cache):
        dx, dgamma, dbeta = staged_backward(dout, cache)
        return dx + 1e9 * cache[1].mean(0) * dgamma / len(dout) / cache[4], dgamma, dbeta

    report = check_batch_norm(staged_forward, backward)
    assert report.ok
    assert "dx-at-large-scale" in codes(report)


def test_a_process_that_is_gone():
    """What a process of its own reports of a function that ended it: the call's own message, as a failure."""
    from pybn.study.coursework.report.findings import failed
    from pybn.study.coursework.student.student import Failure

    found = failed("training", "forward", Failure("ended", "ended its process"))
    assert (found.code, found.kind) == ("ended", "failure")
    assert found.what == "forward ended its process"


class KeepsATenth(Shares):
    """A default of 0.1, which is a share of the new everywhere, that multiplies the old of the variance."""

    def forward(self, x, training=True):
        before = self.running_var
        out = super().forward(x, training)
        if training:
            self.running_var = self.momentum * before + (1 - self.momentum) * x.var(0)
        return out


def test_a_class_that_counts_as_pytorch_is_measured_by_that_rule_in_both_averages():
    report = check_batch_norm(KeepsATenth)
    (found,) = (each for each in report.findings if each.part == "statistics")
    assert found.code == "momentum-of-the-old"
    assert "running_var" in found.what
    assert "running_mean" not in found.what
    # x = 1, 5 has the sample variance 8; with momentum 0.75 and 20 before: 0.25 * 20 + 0.75 * 8.
    assert "right is [11]" in found.example


def test_codes_of_paired_sources_are_told_apart():
    """Mean and variance from one wrong place are one finding."""
    for changes, code in (
        (
            [
                ("xmu = x - mu", "xmu = x - running_mean"),
                ("np.sqrt(var + eps)\n        invvar", "np.sqrt(running_var + eps)\n        invvar"),
            ],
            "averages-in-training",
        ),
        ([("xmu = x - mu", "xmu = x - running_mean")], "averaged-mean-in-training"),
    ):
        report = check_batch_norm(edited("staged", *changes)["forward"])
        assert [found.code for found in report.findings if found.part == "training"] == [code], report.text


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_what_its_name_says(name):
    for n in (2, 7):
        product = name.replace("^", "**").replace("2 n", "2 * n")
        assert CONSTANTS[name](n) == eval(product, {"n": n, "d": FEATURES})
