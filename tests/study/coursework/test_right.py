"""No right solution is accused, in whatever style it is written."""

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.students.mistakes import functions
from tests.support.students.right import SOLUTIONS


@pytest.mark.parametrize("style", SOLUTIONS)
@pytest.mark.parametrize("convention", [None, "course"])
def test_right_solutions_are_not_accused(style, convention):
    report = check_batch_norm(**SOLUTIONS[style], convention=convention)
    assert report.ok, report.text
    assert not report.findings
    assert report.points == report.possible


class Debiased:
    """pybn's rule in a class of its own: the first batches averaged plainly."""

    def __init__(self, num_features, eps=1e-3, momentum=0.99):
        self.eps, self.momentum, self.seen = eps, momentum, 0
        self.scale, self.offset = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)

    def forward(self, x, training=True):
        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = x.mean(0), x.var(0)
            self.seen += 1
            keep = min(self.momentum, 1 - 1 / self.seen)
            self.running_mean = keep * self.running_mean + (1 - keep) * mean
            self.running_var = keep * self.running_var + (1 - keep) * var
        self.xhat, self.rstd = (x - mean) / np.sqrt(var + self.eps), 1 / np.sqrt(var + self.eps)
        return self.scale * self.xhat + self.offset

    def backward(self, dout):
        self.dscale, self.doffset = (dout * self.xhat).sum(0), dout.sum(0)
        return self.scale * self.rstd * (dout - self.doffset / len(dout) - self.xhat * self.dscale / len(dout))


CONVENTIONS = {
    "course": functions({"18"}),
    "keras": functions(set()),
    "pytorch": functions({"2", "3"}),
    "paper": functions({"2"}),
    "pybn": {"forward": Debiased},
}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("asked", [True, False])
def test_each_convention_is_right_in_itself(convention, asked):
    report = check_batch_norm(**CONVENTIONS[convention], convention=convention if asked else None)
    assert report.ok, report.text
    if not asked and convention not in ("course", "keras"):  # one rule; that a variance starts at 1 is no news
        assert "follow" in report.text


@pytest.mark.parametrize("style", SOLUTIONS)
def test_no_style_is_accused_beside_its_averages(style):
    # Under another convention only what is stored may be told.
    report = check_batch_norm(**SOLUTIONS[style], convention="pytorch")
    assert {found.part for found in report.findings} == {"statistics"}
