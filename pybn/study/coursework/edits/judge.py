"""Which one edit makes a part right: asked where what was found has no name, or names only what comes of the slip.

`out = gamma / x_hat + beta` gives an output of no formula that is known, but the text has few places: of the edits of
it (`changes`) one makes both probes right in every element, and says the line and the operator.  An edit is told only
where it makes the whole part right; then it is the part's one finding, and that of each other part that it mends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

from pybn.study.coursework.edits.code import Text, holds, own_functions, run_by, texts
from pybn.study.coursework.edits.places import Edit
from pybn.study.coursework.images.axes import ROWS, close, images
from pybn.study.coursework.output.fit import SINGLE, agree
from pybn.study.coursework.output.training import PROBES
from pybn.study.coursework.report.findings import DEPARTURES, PARTS, Finding, finding
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student import sandbox
from pybn.study.coursework.student.probes import Probe, settled
from pybn.study.coursework.student.student import Student

# Processor seconds for all searches of one check, some three thousand edits of functions on arrays, so that a busy
# machine finds what an idle one does; the rest of a check takes .2.  An edit that does not return is ended at BEYOND.
PATIENCE, BEYOND = 1.0, 3.0
SLOW = 0.1  # of a call: so slow a function is not called a thousand times, nor one that does not return

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
)
_ROLES: dict[str, tuple[str, ...]] = {
    "backward": ("backward", "forward"),
    "alternative": ("alternative", "forward"),
    "spatial": ("spatial_forward", "spatial_backward"),
}


def named_by_edits(student: Student, found: dict[str, list[Finding]]) -> dict[str, list[Finding]]:
    """The findings, where an edit was found that mends a part: that in the place of the part's others."""
    open_parts = [part for part in PARTS if any(each.code in OPEN | SEEN for each in found.get(part, ()))]
    if not open_parts or student.slowest > SLOW:
        return found
    search, told, first = _Search(student, found), dict(found), dict[int, Finding]()
    named = [part for part in PARTS if any(each.kind in DEPARTURES for each in found.get(part, ()))]
    for part in sorted(named, key=lambda part: part not in open_parts):
        line = _line_of(found[part])
        edit = search.one_for(part, line) if part in open_parts else search.known_for(part)
        if edit is not None:
            said = first.setdefault(id(edit), _with_edit(part, found[part], edit))
            told[part] = _instead(part, found[part], said)
    return told


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
        return replace(wrong[0], code=edit.code, kind="mistake", what=said.what)
    return replace(seen, what=f"{seen.what}; {said.what}")


def _instead(part: str, findings: Sequence[Finding], said: Finding) -> list[Finding]:
    """One finding for all departures of a part, in the same words in each part that the edit mends."""
    wrong = next(each for each in findings if each.kind in DEPARTURES)
    told = said if said.part == part else replace(wrong, code=said.code, kind=said.kind, what=said.what)
    return [told, *(each for each in findings if each.kind not in DEPARTURES)]


class _Search:
    """The edits of one student's functions, each tried within the time that is left."""

    def __init__(self, student: Student, found: Mapping[str, Sequence[Finding]]) -> None:
        self.functions = student.functions
        self.left, self.start = PATIENCE, 0.0
        self.mended: list[tuple[Text, Edit]] = []
        self.tests = _Tests(student)
        self.whole = [part for part in found if not any(each.kind in DEPARTURES for each in found[part])]
        self.follow = [part for part in self.whole if any(each.kind == "follows" for each in found[part])]

    def one_for(self, part: str, line: int = 0) -> Edit | None:
        """An edit that makes this part right; those of a line where it raises are tried first."""
        return self.known_for(part) or self._run(lambda: self._among(part, self._tried(part, line)))

    def known_for(self, part: str) -> Edit | None:
        """One that has made another part right, and this one too."""
        return self._run(lambda: self._among(part, iter(self.mended)))

    def _run(self, search: Callable[[], Edit | None]) -> Edit | None:
        if self.left <= 0:
            return None

        def counted() -> Edit | None:
            self.start = time.thread_time()
            try:
                return search()
            finally:
                self.left -= time.thread_time() - self.start

        outcome = sandbox.run(counted, limit=BEYOND)
        if outcome.failure:  # once is enough
            self.left = 0.0
            return None
        edit: Edit | None = outcome.value
        return edit

    @cached_property
    def others(self) -> list[str]:
        """What an edit must leave right, or make right where it follows: a slip's own edit does."""
        return [part for part in self.whole if part in self.follow or self.tests.right(part)]

    def _among(self, part: str, tried: Iterator[tuple[Text, Edit]]) -> Edit | None:
        """The first that makes the part right and leaves the others so; else the first that makes it right."""
        others, second = self.others, None
        for text, edit in tried:
            if time.thread_time() - self.start > self.left:
                break
            if not holds(text, edit, lambda: self.tests.right(part)):
                continue
            if holds(text, edit, lambda: all(map(self.tests.right, others))):
                return self._kept(text, edit)
            second = second or (text, edit)
        return self._kept(*second) if second else None

    def _kept(self, text: Text, edit: Edit) -> Edit:
        if (text, edit) not in self.mended:
            self.mended.append((text, edit))
        return edit

    def _tried(self, part: str, line: int) -> Iterator[tuple[Text, Edit]]:
        """Every edit of the functions that a part runs, the likeliest of all functions first."""
        roles = _ROLES.get(part, ("forward",))
        ran = run_by(lambda: self.tests.right(part))
        functions = [each for each in self._functions(roles) if each.__code__ in ran]
        if part == "spatial":  # what it has for itself
            flat = self._functions(("forward", "backward"))
            functions = [each for each in functions if each not in flat] or functions
        if roles[0] in ("backward", "alternative"):  # its own before the forward's
            first = run_by(lambda: self.tests.right("training"))
            functions.sort(key=lambda each: each.__code__ in first)
        pairs = [(text, edit) for text in texts(functions) for edit in text.edits()]
        yield from sorted(pairs, key=lambda each: (each[1].line != line, each[1].stage))

    def _functions(self, roles: Sequence[str]) -> list[FunctionType]:
        return own_functions([self.functions[role] for role in roles if self.functions.get(role) is not None])


@dataclass
class _Ran:
    """What one forward gave."""

    out: np.ndarray
    cache: Any
    state: Mapping[str, Any]


class _Tests:
    """Whether a part is right, asked of the functions themselves and not through the student's limits."""

    def __init__(self, student: Student) -> None:
        self.functions, self.rule = student.functions, student.rule
        self.probes, self.rows = [settled(probe) for probe in PROBES], settled(ROWS)
        if student.own.epsilon is None:  # .3 is 1 - momentum there as well, and one may stand for the other
            self.rows = replace(self.rows, epsilon=0.17)

    def right(self, part: str) -> bool:
        """Whether this part is right; whatever is raised is not."""
        try:
            return bool(getattr(self, part)())
        except Exception:
            return False

    def training(self) -> bool:
        """The output of both probes."""
        return all(agree(self._forward("forward", p).out, p.out, SINGLE) for p in self.probes)

    def statistics(self) -> bool:
        """What both leave, by the rule that the student follows or by the course's."""
        ran = [self._forward("forward", probe).state for probe in self.probes]
        rules = (self.rule, {"counts_the_new": False, "sample": False})
        return any(all(_left(state, p, rule) for state, p in zip(ran, self.probes, strict=True)) for rule in rules)

    def test(self) -> bool:
        """The output from given averages, which stay."""
        for probe in self.probes:
            ran = self._forward("forward", probe, test=True)
            kept = all(map(_near, _averages(ran.state), probe.averages))
            if not (agree(ran.out, probe.test_out, SINGLE) and kept):
                return False
        return True

    def backward(self, role: str = "backward") -> bool:
        """The three gradients of both probes."""
        for probe in self.probes:
            ran = self._forward("forward", probe)
            dx, dscale, doffset = self._function(role)(probe.dy.copy(), ran.cache)
            if not agree(np.asarray(dx, float), probe.dx, SINGLE) or not _parameters(dscale, doffset, probe):
                return False
            if not agree(ran.out, probe.out, SINGLE):
                return False
        return True

    def alternative(self) -> bool:
        """The same of the other backward."""
        return self.backward("alternative")

    def spatial(self) -> bool:
        """All that the 4-D pair does."""
        probe = self.rows
        ran = self._forward("spatial_forward", probe, arrange=images)
        if not close(ran.out, images(probe.out)) or not _left(ran.state, probe, self.rule):
            return False
        of_test = self._forward("spatial_forward", probe, test=True, arrange=images)
        if not close(of_test.out, images(probe.test_out)) or not all(
            map(_near, _averages(of_test.state), probe.averages)
        ):
            return False
        if self.functions.get("spatial_backward") is None:
            return True
        dx, dscale, doffset = self._function("spatial_backward")(images(probe.dy).copy(), ran.cache)
        return close(np.asarray(dx, float), images(probe.dx)) and _parameters(dscale, doffset, probe)

    def _function(self, role: str) -> Callable[..., Any]:
        function = self.functions[role]
        assert function is not None
        return function

    def _forward(
        self, role: str, probe: Probe, *, test: bool = False, arrange: Callable[[Any], Any] = np.asarray
    ) -> _Ran:
        mean, variance = probe.averages
        state: dict[str, Any] = {"mode": "test" if test else "train", "eps": probe.epsilon, "momentum": probe.momentum}
        state |= {"running_mean": mean.copy(), "running_var": variance.copy()}
        arguments = [each.copy() for each in (arrange(probe.x), probe.scale, probe.offset)]
        out, cache = self._function(role)(*arguments, state)
        return _Ran(np.asarray(out, float), cache, state)


def _averages(state: Mapping[str, Any]) -> list[np.ndarray]:
    return [np.asarray(state[name], float) for name in ("running_mean", "running_var")]


def _left(state: Mapping[str, Any], probe: Probe, rule: Mapping[str, bool]) -> bool:
    return all(map(_near, _averages(state), probe.averages_after(**rule)))


def _near(yours: np.ndarray, right: np.ndarray) -> bool:
    return yours.shape == right.shape and bool(np.all(np.abs(yours - right) <= SINGLE * np.abs(right).max()))


def _parameters(dscale: Any, doffset: Any, probe: Probe) -> bool:
    rights = ((probe.dy * probe.normalized).sum(0), probe.dy.sum(0))
    return all(_near(np.asarray(got, float), right) for got, right in zip((dscale, doffset), rights, strict=True))
