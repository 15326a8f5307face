"""Slips typed into right solutions, one by one: what the check calls each of them."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.students.edits import EDITS, edited
from tests.support.students.names import NEUTRAL


def name(edit):
    style, changes, _ = edit
    return f"{style}: {changes[0][1].strip()}"[:60]


@pytest.mark.parametrize("edit", EDITS[::3], ids=name)
def test_slip_is_named(edit):
    assert_named(edit)


@pytest.mark.slow
@pytest.mark.parametrize("edit", [edit for number, edit in enumerate(EDITS) if number % 3], ids=name)
def test_the_other_slips_are_named(edit):
    assert_named(edit)


def assert_named(edit):
    style, changes, wanted = edit
    functions = edited(style, *changes)
    if "spatial" not in wanted:
        functions = {role: function for role, function in functions.items() if "spatial" not in role}
    report = check_batch_norm(**functions)
    said = {}
    for found in report.findings + report.remarks:
        if found in report.findings or found.code == wanted.get(found.part):
            said.setdefault(found.part, set()).add(found.code)
    for part, codes in wanted.items():
        codes = {codes} if isinstance(codes, str) else set(codes)
        assert said.get(part), report.text
        assert codes == {"*"} or said[part] & codes, report.text
        assert not any(code.startswith(("unexplained", "images-output", "images-dx")) for code in said[part] - codes)
    others = {part: codes - NEUTRAL for part, codes in said.items() if part not in wanted}
    assert not any(others.values()), report.text
