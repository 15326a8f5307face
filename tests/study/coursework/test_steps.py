"""A backward that takes the step of gradient descent itself: its rate by name or not, its gradients kept or not."""

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm


class Layer:
    def __init__(self, d):
        self.gamma, self.beta = np.ones(d), np.zeros(d)
        self.running_mean, self.running_var, self.training = np.zeros(d), np.ones(d), True

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean
            self.running_var = 0.9 * self.running_var + 0.1 * var
        self.deviation = np.sqrt(var + 1e-5)
        self.x_hat = (x - mean) / self.deviation
        return self.gamma * self.x_hat + self.beta

    def gradients(self, dy):
        dgamma, dbeta = (dy * self.x_hat).sum(0), dy.sum(0)
        return self.gamma / self.deviation * (dy - dbeta / len(dy) - self.x_hat * dgamma / len(dy)), dgamma, dbeta

    def step(self, rate, dgamma, dbeta):
        self.gamma = self.gamma - rate * dgamma
        self.beta = self.beta - rate * dbeta


class ForeignName(Layer):
    def backward(self, dy, lernrate=0.01):
        dx, *found = self.gradients(dy)
        self.step(lernrate, *found)
        return dx


class Kept(Layer):
    rate = 0.05

    def backward(self, dy):
        dx, self.dgamma, self.dbeta = self.gradients(dy)
        self.step(self.rate, self.dgamma, self.dbeta)
        return dx


class Returned(Layer):
    rate = 0.05

    def backward(self, dy):
        dx, dgamma, dbeta = self.gradients(dy)
        self.step(self.rate, dgamma, dbeta)
        return dx, dgamma, dbeta


@pytest.mark.parametrize("kind", [ForeignName, Kept, Returned])
def test_the_next_call_of_a_layer_that_has_learned_is_no_other_result(kind):
    report = check_batch_norm(kind)
    assert report.ok, str(report)
    assert "10 of 10 points" in str(report)


def test_a_step_of_a_rate_that_nobody_knows_is_not_judged():
    class Nameless(Layer):
        def __init__(self, d):
            super().__init__(d)
            self.schritt = 0.01

        def backward(self, dy):
            dx, *found = self.gradients(dy)
            self.step(self.schritt, *found)
            return dx

    report = check_batch_norm(Nameless)
    assert report.parts["backward"].status == "not judged"
    assert not [each for each in report.findings if each.part == "backward" and each.code != "not-set"]


def test_what_is_wrong_in_a_step_is_found():
    class Averaged(Layer):
        def backward(self, dy, eta=0.1):
            dx, dgamma, dbeta = self.gradients(dy)
            self.step(eta, dgamma / len(dy), dbeta)
            return dx

    report = check_batch_norm(Averaged)
    assert [each.code for each in report.findings][:1] == ["gradients-averaged"], str(report)


def test_a_number_that_is_no_rate_is_not_taken_for_one():
    class Clipped(Layer):
        def backward(self, dy, most=2.0):
            dx, dgamma, dbeta = self.gradients(dy)
            self.step(1.0, np.clip(dgamma, -most, most), np.clip(dbeta, -most, most))
            return dx

    assert check_batch_norm(Clipped).parts["backward"].status == "not judged"


def test_parameters_that_backward_changes_by_no_step_still_are_a_slip():
    class Scaled(Layer):
        def backward(self, dy):
            _, self.dgamma, self.dbeta = self.gradients(dy)
            self.gamma = self.gamma / self.deviation
            return self.gamma * (dy - self.dbeta / len(dy) - self.x_hat * self.dgamma / len(dy))

    report = check_batch_norm(Scaled)
    assert not report.parts["backward"].ok
    assert "backward changes its cache" in str(report)
