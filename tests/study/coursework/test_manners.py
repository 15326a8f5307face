"""Other people's manners: the right ones are not accused, and each slip is called what its label says.

Sixty-one slips were labelled before the check was asked.  It found them all, and called 55 of them what the label
says without accusing another part.  Four were then taught (an unsummed variance or mean in a graph, a row in the
place of gamma, an eps that the backward has from the forward); two labels were wrong: a constant in the place of the
centred rows leaves no trace but a missing path, and an edit did not run as it was meant to.  Then fifty-one others
were labelled (forty-four of them stand in the table), of which 45 were called by their names, and six taught; then
thirty, of which 28 were, and two taught.
"""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.students.manners import RIGHT, SLIPS, functions
from tests.support.students.names import NEUTRAL


@pytest.mark.sampled(4)
@pytest.mark.parametrize("manner", RIGHT)
def test_a_right_manner_is_not_accused(manner):
    report = check_batch_norm(**functions(manner))
    assert report.ok, report.text
    assert not report.findings


@pytest.mark.sampled(4)
@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: f"{slip[0]}: {slip[1][0][1].strip()}"[:60])
def test_a_slip_is_called_by_its_name(slip):
    manner, changes, wanted = slip
    report = check_batch_norm(**functions(manner, *changes))
    said = {}
    for found in report.findings:
        said.setdefault(found.part, set()).add(found.code)
    for part, codes in wanted.items():
        assert said.get(part, set()) & codes or (codes == {"*"} and said.get(part)), report.text
    others = {part: codes - NEUTRAL for part, codes in said.items() if part not in wanted}
    assert not any(others.values()), report.text
