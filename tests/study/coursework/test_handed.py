"""A forward that is handed its parameters or a state in each call: the layer made of it is judged, slips are named."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import last_class, run
from tests.support.manners.handed import RIGHT

POINTS = {"init_and_apply": 7, "functions_init_and_apply": 7, "parameters_before_x": 7}  # without a backward


def checked(name, old="", new=""):
    if "torch" in RIGHT[name]:
        pytest.importorskip("torch")
    assert old in RIGHT[name]
    text = RIGHT[name].replace(old, new, 1)
    return check_batch_norm(run(text) if name.startswith("functions") else last_class(text))


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "autograd_function"])
def test_a_right_layer_is_judged_whole(name):
    report = checked(name)
    assert report.ok, report.text
    assert report.possible == POINTS.get(name, 10)


def test_a_function_that_keeps_no_averages_is_judged_in_training_and_backward():
    report = checked("autograd_function")
    assert not report.findings, report.text
    assert [part for part, verdict in report.parts.items() if verdict.ok] == ["training", "backward"]


SLIPS = [
    ("init_and_apply", 'k * state["mean"] + (1 - k) * mean', '(1 - k) * state["mean"] + k * mean', "momentum-swapped"),
    ("init_and_apply", '+ params["beta"], state', '+ params["beta"]', "averages-never-updated"),
    ("functions_init_and_apply", "np.sqrt(var + eps)", "(np.sqrt(var) + eps)", "epsilon-outside"),
    ("autograd_function", "return dx, dgamma, dbeta, None", "return dx, dbeta, dgamma, None", "parameters-swapped"),
    ("autograd_function_with_averages", "* n / (n - 1)", "* (n - 1) / n", "small-variance-stored"),
    (
        "parameters_in_each_call",
        "return gamma * self.xhat + beta",
        "return beta * self.xhat + gamma",
        "affine-exchanged",
    ),
    ("dict_in_each_call", '"beta": dy.sum(0)', '"beta": dy.mean(0)', "gradients-averaged"),
    (
        "parameters_before_x",
        'mean, var = state["mean"], state["var"]',
        "mean, var = x.mean(0), x.var(0)",
        "batch-statistics-in-test",
    ),
    ("state_in_and_out", "k * state[1] + (1 - k) * var", "k * state[0] + (1 - k) * var", "averages-decay-from-other"),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "old", "new", "said"), SLIPS)
def test_a_slip_has_its_name(name, old, new, said):
    report = checked(name, old, new)
    assert [found.code for found in report.findings][:1] == [said], report.text
