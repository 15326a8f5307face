"""What could not be set or read is not judged, and findings that would rest on it are not told."""

import numpy as np
import pytest

from pybn.study.adapters.not_judged import NotJudged
from pybn.study.coursework import check_batch_norm
from tests.support.students.right import staged_backward, staged_forward


class Adapted:
    """A function with records, as an adapter hands it in."""

    def __init__(self, function, *records):
        self.function, self.not_judged = function, records

    def __call__(self, *arguments):
        return self.function(*arguments)


def forward(x, gamma, beta, bn_param):
    """An eps of its own, and no averages in test mode."""
    return staged_forward(x, gamma, beta, {**bn_param, "eps": 1e-5})


def test_a_whole_part_is_not_judged():
    record = NotJudged("test", "no way to ask for test mode", "say mode=", "mode")
    report = check_batch_norm(Adapted(staged_forward, record), staged_backward)
    assert report.parts["test"].status == "not judged"
    assert [found.what for found in report.remarks if found.part == "test"] == ["no way to ask for test mode"]
    assert report.possible == 8.0  # the two points of test mode are neither given nor taken
    assert not report.ok
    assert report.parts["training"].ok


def test_a_fixed_epsilon_takes_only_what_rests_on_it():
    records = [NotJudged(part, "eps is fixed", "", "epsilon") for part in ("training", "test")]
    report = check_batch_norm(Adapted(forward, *records))
    assert report.parts["training"].ok
    assert {found.code for found in report.findings if found.part == "training"} == set()
    assert {found.code for found in report.remarks} >= {"fixed-epsilon"}


def test_what_does_not_rest_on_it_is_told():
    record = NotJudged("backward", "no attribute holds dgamma", "say names=", "gradients")
    backward = Adapted(lambda dout, cache: (dout, None, dout.sum(0)), record)
    report = check_batch_norm(staged_forward, backward)
    codes = {found.code for found in report.findings}
    assert codes
    assert "parameter-missing" not in codes
    assert "not-set" in {found.code for found in report.remarks}


def test_a_setting_must_be_one_that_is_known():
    with pytest.raises(ValueError, match="setting must be one of"):
        NotJudged("test", "", "", "colour")


def test_a_pair_made_of_the_4d_one_says_so():
    from pybn.study.adapters import course_functions
    from pybn.study.coursework.student.student import Student
    from tests.study.coursework.test_adapters import BatchNorm2d, Settable

    images, rows = (Student(vars(course_functions(layer)), 1.0) for layer in (BatchNorm2d, Settable))
    assert images.images_alone
    assert not rows.images_alone


class Shadowed:
    """Test mode reads averages with the start taken out, which the last step of training has left."""

    def __init__(self, num_features, eps=1e-5, momentum=0.9):
        self.eps, self.momentum, self.steps = eps, momentum, 0
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.zeros(num_features)
        self.mean_for_test, self.var_for_test = np.zeros(num_features), np.ones(num_features)

    def forward(self, x, training=True):
        mean, var = self.mean_for_test, self.var_for_test
        if training:
            mean, var, self.steps = x.mean(0), x.var(0), self.steps + 1
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
            share = self.share()
            self.mean_for_test, self.var_for_test = self.running_mean / share, self.running_var / share
        return self.gamma * (x - mean) / np.sqrt(var + self.eps) + self.beta

    def share(self):
        return 1 - self.momentum**self.steps


class Otherwise(Shadowed):
    """The start taken out by a rule that nobody here knows."""

    def share(self):
        return 1 - 0.5 / self.steps


def test_averages_with_the_start_taken_out_are_judged_by_what_is_kept():
    report = check_batch_norm(Shadowed)
    assert report.ok, report.text
    assert report.possible == 7


def test_averages_that_test_mode_does_not_read_are_not_judged():
    """They follow from all batches: this is no test mode that takes the last one."""
    report = check_batch_norm(Otherwise)
    assert not report.findings, report.text
    assert report.parts["test"].status == "not judged"
    assert "mean_for_test and var_for_test" in report.text


class Sums(Shadowed):
    """Sums over the batches, and their number."""

    def forward(self, x, training=True):
        count = max(self.steps, 1)
        mean, var = self.running_mean / count, self.running_var / count
        if training:
            mean, var, self.steps = x.mean(0), x.var(0), self.steps + 1
            self.running_mean, self.running_var = self.running_mean + mean, self.running_var + var
        return self.gamma * (x - mean) / np.sqrt(var + self.eps) + self.beta


def test_sums_that_test_mode_divides_by_their_number_are_not_judged():
    report = check_batch_norm(Sums)
    assert not report.findings, report.text
    assert "sums over the batches" in report.text
    assert report.parts["training"].ok


class Infinite(Shadowed):
    """An average that is divided by itself: from zeros it is infinite."""

    def forward(self, x, training=True):
        out = super().forward(x, training)
        self.running_mean = self.momentum / self.running_mean * 0 + self.momentum / np.zeros_like(self.running_mean)
        return out


def test_infinite_averages_are_judged():
    assert not check_batch_norm(Infinite).ok


class Fixed:
    """eps and momentum in the code; one slip, in backward."""

    def __init__(self, num_features):
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)

    def forward(self, x, training=True):
        mean, var = (x.mean(0), x.var(0)) if training else (self.running_mean, self.running_var)
        if training:
            self.running_mean = 0.95 * self.running_mean + 0.05 * mean
            self.running_var = 0.95 * self.running_var + 0.05 * var
        self.deviation = np.sqrt(var + 1e-3)
        self.normalized = (x - mean) / self.deviation
        return self.gamma * self.normalized + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.normalized).sum(0), dout.sum(0)
        return self.gamma / self.deviation * (dout - self.normalized * self.dgamma / len(dout))


def test_a_class_is_held_against_what_is_written_into_it():
    report = check_batch_norm(Fixed)
    (found,) = report.findings
    assert found.code == "mean-path-missing"
    assert "eps = 0.001" in found.example
    assert {each.what.partition(" in the class")[0] for each in report.remarks} == {
        "eps is fixed at 0.001",
        "momentum is fixed at 0.95",
    }


def test_the_right_numbers_of_an_example_are_those_of_the_class():
    """What the right class gives for the example's own input."""
    found = check_batch_norm(Fixed).findings[0]
    layer = Fixed(1)
    layer.gamma, layer.beta = np.array([2.0]), np.array([1.0])
    x, dout = np.array([[1.0], [5.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    layer.forward(x)
    right = layer.backward(dout) - layer.gamma / layer.deviation * dout.mean(0)
    assert "x = [1, 5, 6], gamma = 2, beta = 1" in found.example
    assert "right is [" + ", ".join(f"{value:.5g}" for value in right[:, 0]) + "]" in found.example
