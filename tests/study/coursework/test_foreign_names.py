"""Classes whose names tell nothing are met by what they do; what cannot be set is nobody's fault; slips show."""

import pytest

from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.command import in_shell
from tests.support.manners import last_class, run
from tests.support.manners.foreign import RIGHT


def said(name, *edits, **options):
    text = RIGHT[name]
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return check_batch_norm(last_class(text), **options)


def codes(report):
    return list(dict.fromkeys(found.code for found in report.findings))


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_class_is_right_without_a_word(name):
    report = said(name)
    assert report.ok, report.text


@pytest.mark.parametrize("name", ["channels_last", "any_axes"])
def test_what_takes_images_is_judged_on_images(name):
    assert "spatial" in said(name).parts


SLIPS = {
    "swapped by key": (
        "text_mode",
        [('afgeleiden["rek"] = (d', 'afgeleiden["x"] = (d'), ('afgeleiden["schuif"] = d', 'afgeleiden["rek"] = d'),
         ('afgeleiden["x"] =', 'afgeleiden["schuif"] =')],
        "parameters-swapped",
    ),
    "swapped in the dict that is returned": (
        "enum_and_tuple",
        [('"to_scale": (dy', '"x": (dy'), ('"to_shift": dy', '"to_scale": dy'), ('"x": (dy', '"to_shift": (dy')],
        "parameters-swapped",
    ),
    "overwritten averages, whose names tell nothing": (
        "text_mode",
        [("0.9 * self.gem + 0.1 * m, 0.9 * self.vari + 0.1 * v", "m, v")],
        "averages-overwritten",
    ),
    "integers": (
        "any_axes",
        [("np.zeros(size), np.ones(size)\n\n", "np.zeros(size, int), np.ones(size, int)\n\n"),
         ("self.running_mean = self.momentum", "self.running_mean[:] = self.momentum"),
         ("self.running_var = self.momentum", "self.running_var[:] = self.momentum")],
        "averages-of-integers",
    ),
    "eval that stays": ("any_axes", [("self.training = False", "self.training = True")], "mode-not-switched"),
    "the divisor of rows on images": ("any_axes", [("dy.size / dy.shape[1]", "len(dy)")], "count-without-positions"),
    "a momentum of 0.1 that is kept": ("any_axes", [("momentum=0.9", "momentum=0.1")], "momentum-of-the-old"),
    "a learning step before dx": (
        "handed_an_optimizer",
        [("gain = self.gamma * self.inv", "gain = 1.0"), ("return gain *", "return gain * self.gamma * self.inv *")],
        "gradient-for-scale",
    ),
}  # fmt: skip


def test_a_wrong_backward_of_any_name_is_judged():
    """Not proportional to what it is given, it is the one method that needs a forward and gives what has x's shape."""
    report = said("finnish", ("self.normi * (virhe * self.normi).mean(0)", "self.normi"))
    assert report.parts["backward"].status == "wrong", report.text


def test_what_may_be_a_backward_is_not_passed_over():
    report = said("finnish", ("return self.kerroin / self.k * (", "return (self.kerroin / self.k * ("),
                  ("(virhe * self.normi).mean(0))", "(virhe * self.normi).mean(0))).sum(0)"))  # fmt: skip
    assert report.parts["backward"].status == "not judged"
    assert "names={'backward': 'taakse'}" in report.text


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_behind_foreign_names_is_seen(slip):
    name, edits, code = SLIPS[slip]
    report = said(name, *edits)
    assert code in codes(report), report.text


# --- ways out -----------------------------------------------------------------------------------------

OWN_TENSORS = """
import numpy as np

class Number:
    def __init__(self, data):
        self.data = np.asarray(data, float)

    def __rmul__(self, other):
        raise TypeError("unsupported operand type(s) for *: 'float' and 'Number'")

    __array_ufunc__ = None

class BatchNorm:
    def __init__(self, n):
        self.gamma, self.beta = Number(np.ones(n)), Number(np.zeros(n))

    def forward(self, x):
        return ((x - x.mean(0)) / x.std(0)) * self.gamma

    def backward(self, dy):
        return dy
"""
NO_FORWARD = """
class Layer:
    def __init__(self, n):
        self.n = n

    def one(self, a, b, c):
        return a

    def two(self, a, b, c):
        return b
"""


def test_both_averages_of_integers_are_one_finding():
    name, edits, _ = SLIPS["integers"]
    report = said(name, *edits)
    assert [found.code for found in report.findings] == ["averages-of-integers"], report.text
    assert "running_mean and running_var are kept in integers" in report.text


def test_a_class_without_a_forward_is_told_its_methods_once():
    report = check_batch_norm(last_class(NO_FORWARD))
    assert not report.findings
    assert report.text.count("the class has no method") == 1
    assert "it has one, two" in report.text
    assert "say names={'forward': '...', 'backward': '...'}" in report.text
    assert "No points judged; 7 not judged." in report.text
    assert (report.points, report.possible, report.unjudged) == (0, 0, 7)


def test_tensors_of_the_file_are_not_the_students_mistake():
    report = check_batch_norm(last_class(OWN_TENSORS))
    assert not report.findings, report.text
    assert "gamma is a Number of the file" in report.text


def test_an_unjudged_part_is_no_full_mark():
    report = said("any_axes", names={"running_mean": "nowhere"})
    assert not report.findings, report.text
    assert "names= says running_mean is 'nowhere'" in report.text
    assert f"{report.points:g} of {report.possible:g} points judged; {report.unjudged:g} not judged." in report.text
    assert report.parts["statistics"].status == "not judged"


def test_a_setting_of_forward_may_be_named():
    """As an argument of forward, where its name tells nothing."""
    edits = [("momentum=0.9", "held=0.9"), ("momentum * self", "held * self"), ("(1 - momentum)", "(1 - held)")]
    report = said("settings_of_forward", *edits, names={"momentum": "held"})
    assert report.ok, report.text
    assert "momentum" not in report.text.partition("convention")[2]


@pytest.mark.parametrize(("name", "attribute"), [("text_mode", "stand"), ("enum_and_tuple", "now")])
def test_a_named_mode_gets_values_of_its_own_kind(name, attribute):
    report = said(name, mode=attribute)
    assert report.ok, report.text


def test_a_mode_that_changes_nothing_is_not_judged():
    report = said("text_mode", ('self.stand == "oefenen"', "True"), mode="stand")
    assert report.parts["test"].status == "not judged", report.text
    assert "came out the same" in report.text


SHELL = {
    "say names={'forward': '...', 'backward': '...'} with two": "say --names forward=...,backward=... with two",
    "say build=lambda features: the layer": "say --build FILE:FUNCTION, a function (features) -> the layer",
    "mode='a name', or mode=a function": "--mode NAME, a name, or --mode FILE:FUNCTION, a function",
}  # fmt: skip


@pytest.mark.parametrize("python", SHELL)
def test_a_way_out_in_the_shell_is_an_option(python):
    assert in_shell(python) == SHELL[python]


FOREIGN = {
    "def batch_norm_forward(Z, gamma, beta, epsilon=1e-8):\n    return Z, None": "Z, gamma, beta, epsilon",
    "def apply(params, state, x, train):\n    return x, state": "params, state, x, train",
    "def batch_norm(X, gamma, beta, moving_mean, moving_var, eps):\n    return X": "moving_mean, moving_var",
}


@pytest.mark.parametrize("text", FOREIGN)
def test_a_function_of_another_interface_is_not_judged(text):
    module = run(text)
    (function,) = [held for held in vars(module).values() if callable(held)]
    report = check_batch_norm(function)
    assert not report.findings, report.text
    assert f"{FOREIGN[text]}" in " ".join(report.text.split())
    assert "(x, gamma, beta, bn_param)" in report.text
    assert not report.ok
