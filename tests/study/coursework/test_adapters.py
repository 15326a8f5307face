"""Whatever shape an implementation has, it comes to the course's pair and to pybn's operations."""

import numpy as np
import pytest

from pybn import reference
from pybn.study import adapters
from pybn.study.adapters import places
from pybn.study.coursework import check_batch_norm
from tests.support.manners import run
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


def test_a_class_with_an_eps_of_its_own_is_judged_with_it():
    report = check_batch_norm(Book)
    assert report.ok, report.text
    assert {found.code for found in report.remarks} >= {"fixed-epsilon"}
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
    with pytest.raises(TypeError, match="no batchnorm_forward or spatial_batchnorm_forward in what was handed in"):
        adapters.from_names({"other": 1})


def test_what_cannot_be_adapted():
    with pytest.raises(TypeError, match="an implementation must be"):
        adapters.course_functions(3)
    with pytest.raises(TypeError, match="must be the class Settable and not one layer of it"):
        adapters.course_functions(Settable(1, 0))
    with pytest.raises(ValueError, match=r"names may hold gamma, beta, .*, got colour"):
        check_batch_norm(Settable, names={"colour": "red"})
    with pytest.raises(ValueError, match="time_limit must be a positive number of seconds, got -1"):
        check_batch_norm(Settable, time_limit=-1)


def test_functions_under_other_names():
    table = {"hin": right.paper_forward, "her": right.paper_backward}
    assert set(check_batch_norm(table, names={"forward": "hin", "backward": "her"}).parts) > {"backward"}
    with pytest.raises(TypeError, match="no zurueck in what was handed in"):
        check_batch_norm(table, names={"forward": "hin", "backward": "zurueck"})


# --- what a teacher says once for a course ----------------------------------------------------------


class NothingToHoldOnTo:
    """Closures hold the averages, and the mode is a count of calls: nothing can be set or read."""

    def __init__(self, n, width):
        self.gamma, self.beta = np.ones(n), np.zeros(n)
        self.hidden = (np.zeros(n), np.ones(n))

    def forward(self, x):
        return self.gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + self.beta


class Eigen(Settable):
    """Averages of an own name, which are never moved: what they are cannot be told by what they do."""

    def forward(self, x, train_flg=True):
        self.running_mean, self.running_var = self.links, self.rechts
        return super().forward(x, train_flg)

    def __init__(self, gamma, beta):
        super().__init__(gamma, beta)
        self.links, self.rechts = np.zeros(len(gamma)), np.ones(len(gamma))


def reasons(report):
    """By part what the report says of what is not judged."""
    return {each.part: each.what.removeprefix("not judged: ") for each in report.remarks if each.code == "not-set"}


def test_a_constructor_that_asks_for_more_is_not_judged_until_build_says_how():
    said = reasons(check_batch_norm(NothingToHoldOnTo))
    assert set(said) == {"training", "statistics", "test"}
    assert said["training"] == "the constructor asks for 'width'"
    report = check_batch_norm(NothingToHoldOnTo, build=lambda features: NothingToHoldOnTo(features, 3))
    assert report.parts["training"].ok
    assert set(reasons(report)) == {"statistics", "test"}
    assert "running_mean" in reasons(report)["statistics"]
    assert "the class has gamma, beta" in reasons(report)["statistics"]


def test_a_mode_that_is_not_found_is_not_judged_until_mode_says_how():
    class Secret(Settable):
        def forward(self, x, zone=7):
            return super().forward(x, zone == 7)

    assert "no way found to ask for test mode" in reasons(check_batch_norm(Secret))["test"]

    class Zone(Settable):
        zone = 7

        def forward(self, x):
            return super().forward(x, self.zone == 7)

    report = check_batch_norm(Zone, mode=lambda layer, training: setattr(layer, "zone", 7 if training else 8))
    assert report.ok, report.text


def test_a_name_that_does_not_hold_is_told():
    said = reasons(check_batch_norm(Settable, names={"gamma": "gama"}))
    assert "names= says gamma is 'gama'; the class has" in said["training"]


def test_what_is_set_is_read_back():
    class Frozen(dict):
        def __setitem__(self, key, value):
            """Nothing is written."""

    class Deaf(Settable):
        def __init__(self, gamma, beta):
            super().__init__(gamma, beta)
            self.stats = Frozen(gamma=np.ones(len(gamma)))
            del self.gamma

        def forward(self, x, train_flg=True):
            mean, var = (x.mean(0), x.var(0)) if train_flg else (self.running_mean, self.running_var)
            return self.stats["gamma"] * (x - mean) / np.sqrt(var + self.eps) + self.beta

    said = reasons(check_batch_norm(Deaf))
    assert said["training"] == "gamma: stats.gamma does not keep what it is set to"


@pytest.mark.parametrize("place", [("top",), ("state", "mean"), ("state", "both", 1), ("own", "value")], ids=str)
def test_a_place_is_written_at_any_depth_and_nothing_beside_it(place):
    class Own:
        value = None

        def __init__(self):
            self.value = np.zeros(2)

    owner = {"top": np.zeros(2), "state": {"mean": np.zeros(2), "both": [np.zeros(2), np.zeros(2)]}, "own": Own()}
    places.put(owner, place, np.full(2, 3.0))
    changed = {at for at, leaf in places.walk(owner) if leaf is not None and leaf[0] == 3}
    assert changed == {place}


OWN_BACKWARD = """
def batchnorm_forward(x, gamma, beta, bn_param):
    return x, None

def batchnorm_backward(dout, cache):
    cache.backward(dout)
"""


@pytest.mark.parametrize(("method", "arrays"), [("backward", True), ("sum", False)])
def test_what_the_first_gradient_of_an_array_imports_is_imported_before_the_clock_runs(method, arrays, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is optional")
    asked, grad = [], torch.autograd.grad

    def recorded(outputs, inputs, *cotangents, **options):
        asked.append(bool(cotangents))
        return grad(outputs, inputs, *cotangents, **options)

    monkeypatch.setattr(torch.autograd, "grad", recorded)
    adapters.course_functions(run(OWN_BACKWARD.replace("cache.backward", f"cache.{method}")))
    assert any(asked) == arrays
