"""Whatever shape an implementation has, it comes to the course's pair and to pybn's operations."""

import numpy as np
import pytest

from pybn import reference
from pybn.study import adapters
from pybn.study.coursework import check_batch_norm
from tests.support.students import right


class Book:
    """The class of a well-known book: parameters in, dx out, an eps of its own, averages from nothing."""

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.dgamma = self.dbeta = None

    def forward(self, x, train_flg=True):
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        if not train_flg:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + 1e-6) + self.beta
        mu = x.mean(axis=0)
        self.xc = x - mu
        var = np.mean(self.xc**2, axis=0)
        self.std = np.sqrt(var + 1e-6)
        self.xn = self.xc / self.std
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        return self.gamma * self.xn + self.beta

    def backward(self, dout):
        self.dbeta, self.dgamma = dout.sum(axis=0), np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dxc = dxn / self.std + (1 / len(dout)) * self.xc * dstd / self.std
        return dxc - dxc.mean(axis=0)


class Settable(Book):
    """The same with an eps that can be set."""

    eps = 1e-6

    def forward(self, x, train_flg=True):
        if train_flg:
            out = super().forward(x)
            self.std = np.sqrt(np.mean(self.xc**2, axis=0) + self.eps)
            self.xn = self.xc / self.std
            return self.gamma * self.xn + self.beta + 0 * out
        return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + self.eps) + self.beta


class BatchNorm2d:
    """Images, parameters of shape (1, c, 1, 1), train() and eval(), gradients in a dict, three results."""

    def __init__(self, channels, eps=1e-5, momentum=0.9):
        shape = (1, channels, 1, 1)
        self.gamma, self.beta = np.ones(shape), np.zeros(shape)
        self.moving_mean, self.moving_var = np.zeros(shape), np.ones(shape)
        self.eps, self.momentum, self.mode = eps, momentum, "train"

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "test"

    def forward(self, x):
        mean, var = self.moving_mean, self.moving_var
        if self.mode == "train":
            mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
            self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        self.inverse = 1 / np.sqrt(var + self.eps)
        self.hat = (x - mean) * self.inverse
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        axes, n = (0, 2, 3), dout.size // dout.shape[1]
        dbeta, dgamma = dout.sum(axes, keepdims=True), (dout * self.hat).sum(axes, keepdims=True)
        self.grads = {"gamma": dgamma.ravel(), "beta": dbeta.ravel()}
        return self.gamma * self.inverse * (dout - dbeta / n - self.hat * dgamma / n)


def codes(report):
    return {found.code for found in report.findings}


def test_the_reference_is_right():
    report = check_batch_norm(reference)
    assert report.ok, report.text
    assert set(report.parts) == {"training", "statistics", "test", "backward", "spatial"}


def test_a_class_with_an_eps_of_its_own():
    report = check_batch_norm(Book)
    assert codes(report) == {"epsilon-fixed"}
    assert "1e-06" in report.text


def test_a_class_with_an_eps_that_can_be_set():
    report = check_batch_norm(Settable)
    assert report.ok, report.text


def test_a_class_for_images():
    report = check_batch_norm(BatchNorm2d)
    assert codes(report) <= {"average-shape"}, report.text  # (1, c, 1, 1), and its values are right
    assert report.parts["backward"].ok
    assert report.parts["test"].ok


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d"])
def test_torch_follows_its_own_convention(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    report = check_batch_norm(getattr(torch.nn, name))
    assert report.ok, report.text
    assert "PyTorch's convention" in report.text
    assert check_batch_norm(getattr(torch.nn, name), convention="pytorch").ok
    assert codes(check_batch_norm(getattr(torch.nn, name), convention="course")) == {
        "momentum-swapped",
        "sample-variance-averaged",
        "variance-start",
    }


def test_names_of_the_course_in_a_notebook():
    names = {"batchnorm_forward": right.paper_forward, "batchnorm_backward": right.paper_backward, "other": 1}
    assert check_batch_norm(names).ok
    with pytest.raises(TypeError, match="names must hold"):
        adapters.from_names({"other": 1})


def test_what_cannot_be_adapted():
    with pytest.raises(TypeError, match="an implementation must be"):
        adapters.course_functions(3)


@pytest.mark.parametrize("solution", [right.SOLUTIONS["einsum"], right.SOLUTIONS["loops"]], ids=["einsum", "loops"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_course_functions_as_operations(solution, axis):
    random = np.random.default_rng(3)
    functions = adapters.CourseFunctions(solution["forward"], solution["backward"])
    theirs = adapters.operations(functions)
    x, dy = random.normal(2, 3, size=(2, 4, 5, 3))
    scale, offset = random.normal(size=(2, x.shape[axis]))
    settings = {"feature_axis": axis, "epsilon": 0.1}
    expected = reference.batch_norm_training(x, scale, offset, **settings)
    got = theirs.batch_norm_training(x, scale, offset, **settings)
    mean, variance = expected[1:]
    expected += reference.batch_norm_gradient(x, scale, mean, variance, dy, **settings)
    got += theirs.batch_norm_gradient(x, scale, mean, variance, dy, **settings)
    expected += (reference.batch_norm_inference(x, scale, offset, mean, variance, **settings),)
    got += (theirs.batch_norm_inference(x, scale, offset, mean, variance, **settings),)
    for yours, ours in zip(got, expected, strict=True):
        # Both round once for each of 20 summands of size below 20: 1e-13 is ten times that.
        np.testing.assert_allclose(yours, ours, rtol=0, atol=1e-13)


def test_operations_without_scale_and_into_an_array():
    x = np.arange(12.0).reshape(4, 3) ** 2
    theirs, out = adapters.operations(right.einsum_forward), np.empty((4, 3))
    y, _, _ = theirs.batch_norm_training(x, None, None, out=out)
    assert y is out
    np.testing.assert_allclose(out, reference.batch_norm_training(x, None, None)[0], atol=1e-14)


def test_operations_say_what_they_cannot_do():
    theirs, x = adapters.operations(right.einsum_forward), np.ones((2, 3, 4))
    with pytest.raises(NotImplementedError, match="no mask"):
        theirs.batch_norm_training(x, None, None, mask=np.ones((2, 3), bool))
    with pytest.raises(NotImplementedError, match="one feature axis"):
        theirs.batch_norm_training(x, None, None, feature_axis=(1, 2))
    with pytest.raises(NotImplementedError, match="no backward"):
        theirs.batch_norm_gradient(x, None, None, None, x)
    assert adapters.operations(reference) is reference
