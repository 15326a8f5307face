"""Which one edit makes a part right, and its words.

Asked where what was found has no name, or names only what comes of the slip.  `out = gamma / x_hat + beta` gives an
output of no formula that is known, but the text has few places: of the edits of it (`changes`) one makes both probes
right in every element (`search`), and says the line and the operator.  An edit is told only where it makes the whole
part right; then it is the part's one finding, and that of each other part that it mends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pybn.study.coursework.edits.code import Place, edit_at, source_of
from pybn.study.coursework.edits.places import Edit
from pybn.study.coursework.edits.search import BEYOND, Answer, Question, search
from pybn.study.coursework.report.findings import DEPARTURES, PARTS, Finding, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.student import Student

SLOW = 0.1  # seconds of a call: so slow a function is not called a thousand times, nor one that does not return


class Elsewhere(Protocol):
    """Who searches, and has the texts, where the functions are in another process."""

    def search(self, question: Question) -> Answer:
        """The places that mend the parts."""

    def source(self, file: str) -> str:
        """The text of a file; "" where there is none."""


# What says that something is wrong and not what.
OPEN = frozenset(
    known(code)
    for code in (
        "unexplained-output unexplained-average unexplained-dx unexplained-parameter gradient-terms parameter-factor "
        "dscale-of-line images-output images-test images-statistics images-dx images-parameter variance-factor "
        "one-denominator epsilon-unknown wrong-centre"
    ).split()
)
# What says rightly what is seen, of which a line of the text is the cause.
SEEN = frozenset(
    known(code)
    for code in (
        "raised shape type average-mixed average-broadcast statistics-mixed centre-mixed constant-added "
        "momentum-rule nothing-taken parameter-zero variance-zero some-features features-mixed-in-dx "
        "output-constant row-order not-linear deviation-powers variance-path-uncentred "
        "variance-sum-without-factor dx-factor both-paths-factor direct-path-factor mean-path-factor "
        "variance-path-factor"
    ).split()
)  # A part's points go by the first of these that it has.
_GRAVEST = ("failure", "mistake", "epsilon", "shape", "unfinished")


def named_by_edits(
    student: Student, found: dict[str, list[Finding]], elsewhere: Elsewhere | None = None
) -> dict[str, list[Finding]]:
    """The findings, where an edit was found that mends a part: that in the place of the part's others."""
    question = _question(student, found)
    if not question.searched or student.slowest > SLOW:
        return found
    answer = elsewhere.search(question) if elsewhere else search(question, student.functions)
    source = elsewhere.source if elsewhere else source_of
    told, first = dict(found), dict[Place, Finding]()
    for part in question.wrong:
        place = answer.places.get(part)
        edit = edit_at(place, source(place.file)) if place else None
        if place and edit:
            said = first.setdefault(place, _with_edit(part, found[part], edit))
            told[part] = _instead(part, found[part], said)
        elif part in question.searched and answer.early:
            told[part] = [*found[part], finding("search-ended-early", part)]
    return told


def _question(student: Student, found: Mapping[str, Sequence[Finding]]) -> Question:
    """What is to be mended, in plain values: the parts of which nothing is named first."""
    open_parts = [part for part in PARTS if any(each.code in OPEN | SEEN for each in found.get(part, ()))]
    wrong = [part for part in PARTS if any(each.kind in DEPARTURES for each in found.get(part, ()))]
    right = [part for part in found if part not in wrong]
    return Question(
        wrong=sorted(wrong, key=lambda part: part not in open_parts),
        searched=open_parts,
        lines={part: _line_of(found[part]) for part in open_parts},
        right=right,
        follow=[part for part in right if any(each.kind == "follows" for each in found[part])],
        rule=student.rule,
        own=(student.own.epsilon, student.own.momentum),
        seconds=min(BEYOND, student.left),
    )


def _line_of(findings: Sequence[Finding]) -> int:
    """The line at which a part raises, 0 where it does not."""
    places = [re.search(r"\(line (\d+), in ", each.what) for each in findings if each.kind == "failure"]
    return next((int(place[1]) for place in places if place), 0)


def _with_edit(part: str, findings: Sequence[Finding], edit: Edit) -> Finding:
    """The edit in the place of what has no name; behind what was seen rightly."""
    wrong = [each for each in findings if each.kind in DEPARTURES]
    said = finding(edit.code, part, **edit.values)
    seen = next((each for each in wrong if each.code in SEEN), None)
    if seen is None:
        return replace(wrong[0], code=edit.code, what=said.what)
    return replace(seen, what=f"{seen.what}; {said.what}")


def _instead(part: str, findings: Sequence[Finding], said: Finding) -> list[Finding]:
    """One finding for all departures of a part, in the same words in each part that the edit mends.

    It is of the gravest kind among them, so that a part has the points that it had without an edit.
    """
    wrong = [each for each in findings if each.kind in DEPARTURES]
    kind = min((each.kind for each in wrong), key=_GRAVEST.index)
    told = said if said.part == part else replace(wrong[0], code=said.code, what=said.what)
    return [replace(told, kind=kind), *(each for each in findings if each.kind not in DEPARTURES)]
