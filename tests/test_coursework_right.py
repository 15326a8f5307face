"""No right solution is accused, in whatever style it is written."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.students.right import SOLUTIONS


@pytest.mark.parametrize("style", SOLUTIONS)
@pytest.mark.parametrize("convention", [None, "course"])
def test_right_solutions_are_not_accused(style, convention):
    report = check_batch_norm(**SOLUTIONS[style], convention=convention)
    assert report.ok, report.text
    assert not report.findings
    assert report.points == report.possible
