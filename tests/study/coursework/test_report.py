"""How the report reads: the first thing to mend first, short lines, one example, and what is called right is right."""

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.report.report import WIDTH
from tests.support.students.edits import edited
from tests.support.students.manners import SLIPS, functions
from tests.support.students.right import staged_backward, staged_forward


@pytest.mark.parametrize("slip", SLIPS[::6], ids=lambda slip: f"{slip[0]}: {slip[1][0][1].strip()}"[:60])
def test_lines_are_short_and_an_example_stands_once(slip):
    manner, changes, _ = slip
    text = check_batch_norm(**functions(manner, *changes)).text
    assert max(map(len, text.splitlines())) <= WIDTH
    for block in text.split("\n\n"):
        assert block.count("Example") <= 1
        assert "is never updated" not in block.replace("running_mean is", "").replace("running_var is", "")


def test_two_things_are_and_one_is():
    both = edited(
        "staged", ('    bn_param["running_mean"] = running_mean\n    bn_param["running_var"] = running_var\n', "")
    )
    assert "running_mean and running_var are never updated" in check_batch_norm(both["forward"]).text
    one = edited("staged", ('    bn_param["running_var"] = running_var\n', ""))
    assert "running_var is never updated" in check_batch_norm(one["forward"]).text


def test_what_is_not_begun_comes_last():
    def forward(x, gamma, beta, bn_param):
        if bn_param["mode"] == "test":
            raise NotImplementedError
        return staged_forward(x, gamma, beta, bn_param)

    report = check_batch_norm(forward, lambda dout, cache: (dout, dout.sum(0), dout.sum(0)))
    assert {found.part for found in report.findings[:-1]} == {"backward"}
    assert report.findings[-1].code == "unfinished"


def test_a_stub_has_no_part_right():
    def forward(x, gamma, beta, bn_param):
        return np.zeros_like(x), None

    def backward(dout, cache):
        return np.zeros_like(dout), np.zeros(dout.shape[1]), np.zeros(dout.shape[1])

    report = check_batch_norm(
        forward, backward, alternative_backward=backward, spatial_forward=forward, spatial_backward=backward
    )
    assert report.points == 0
    assert report.text.startswith("Right: nothing yet.")


def test_the_identity_has_no_part_right():
    report = check_batch_norm(lambda x, *rest: (x, x), lambda dout, cache: (dout, dout.sum(0), dout.sum(0)))
    assert report.points == 0


def test_not_a_number_equals_nothing():
    """A backward that gives NaN, and images that call it: neither is right because the other has NaN too."""

    def nowhere(dout, cache):
        dx, dgamma, dbeta = staged_backward(dout, cache)
        return dx * np.nan, dgamma, dbeta

    pair = edited("staged")
    report = check_batch_norm(
        staged_forward, nowhere, spatial_forward=pair["spatial_forward"],
        spatial_backward=lambda dout, cache: (dout * np.nan, dout.sum((0, 2, 3)), dout.sum((0, 2, 3))),
    )  # fmt: skip
    assert not report.parts["backward"].ok
    assert not report.parts["spatial"].ok


def test_the_numbers_called_right_in_test_mode_are_those_of_the_averages():
    """gamma / sqrt(running_var + eps) and its height, not the batch's."""
    slip = edited("staged", ("gamma * xhat + beta, (running_mean", "gamma * xhat, (running_mean"))
    (found,) = check_batch_norm(slip["forward"]).findings
    from pybn.study.coursework.student.probes import LARGE_EPSILON as probe

    feature = int(np.argmin(probe.variance))
    slope = probe.scale[feature] / np.sqrt(probe.averages[1][feature] + probe.epsilon)
    assert f"right is {slope:.6g}" in found.evidence
    assert f"right is {probe.test_out[:, feature].mean():.6g}" in found.evidence


def test_dbeta_that_ignores_dout_is_wrong_whatever_the_forward():
    """Without beta the forward's own derivative by it is 0: a dbeta of zeros is wrong all the same."""
    slip = edited("staged", ("out = va3 + beta", "out = va3"), ("dbeta = np.sum(dout, axis=0)", "dbeta = np.zeros(d)"))
    report = check_batch_norm(slip["forward"], slip["backward"])
    assert "parameter-zero" in {found.code for found in report.findings}
