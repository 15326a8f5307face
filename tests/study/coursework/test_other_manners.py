"""Functions and classes as courses, books and libraries have them: none that is right is accused, slips are named."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import classes, functions, last_class, run, slips

TORCH = {name for name, text in classes.RIGHT.items() if "import torch" in text}


def checked_class(name, text):
    if name in TORCH:
        pytest.importorskip("torch")
    return check_batch_norm(last_class(text))


def edited(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def codes(report):
    return list(dict.fromkeys(found.code for found in report.findings))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", functions.RIGHT)
def test_right_functions_are_right(name):
    report = check_batch_norm(run(functions.RIGHT[name]))
    assert report.ok, report.text


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", classes.RIGHT)
def test_right_classes_are_right(name):
    report = checked_class(name, classes.RIGHT[name])
    assert report.ok, report.text


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "old", "new", "what", "said"), slips.FUNCTIONS)
def test_a_slip_in_functions_has_its_name(name, old, new, what, said):
    report = check_batch_norm(run(edited(functions.RIGHT[name], old, new)))
    assert codes(report) == said, f"{what}: {report.text}"


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "old", "new", "what", "said"), slips.CLASSES)
def test_a_slip_in_a_class_has_its_name(name, old, new, what, said):
    report = checked_class(name, edited(classes.RIGHT[name], old, new))
    assert codes(report) == said, f"{what}: {report.text}"


def test_one_slip_in_two_parts_is_told_once():
    """A line that serves training and test mode alike: one block with both parts, one finding a part for graders."""
    name, old, new, *_ = next(slip for slip in slips.FUNCTIONS if slip[4] == ["epsilon-squared"])
    report = check_batch_norm(run(edited(functions.RIGHT[name], old, new)))
    assert [found.part for found in report.findings] == ["training", "test"]
    assert "1. training output and test mode (batchnorm_forward): eps is squared" in report.text
    assert "2. " not in report.text.splitlines()
    assert report.text.count("eps is squared") == report._repr_html_().count("eps is squared") == 1


def test_a_mode_that_nobody_can_set_is_not_judged_in_training_either():
    """A layer that normalizes with its averages, for lack of being told, has shown nothing of its training."""
    text = (
        classes.RIGHT["sized"]
        .replace("not Tensor.training", "not Tensor.is_awake")
        .replace("Tensor.training", "Tensor.is_awake")
    )
    text = text.replace("    training = False", "    is_awake = False")
    pytest.importorskip("torch")
    report = check_batch_norm(last_class(text))
    assert not report.findings, report.text
    assert not report.ok
    assert report.points == 0


def test_averages_that_a_backward_of_its_own_uses_up_stay():
    """A layer whose backward uses up what its forward left is called again; its averages do not move by that."""
    report = checked_class("scaler_and_intercept", classes.RIGHT["scaler_and_intercept"])
    assert report.parts["statistics"].ok, report.text
    assert report.parts["backward"].ok, report.text
