"""What could not be set or read is not judged, and findings that would rest on it are not told."""

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
