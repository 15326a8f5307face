"""The report: what is right, what is not and why, and the points."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pybn.study.coursework.report.findings import DEPARTURES, PARTS, Finding

NAMES = {
    "training": "training output",
    "statistics": "running averages",
    "test": "test mode",
    "backward": "backward",
    "alternative": "alternative backward",
    "spatial": "4-D pair",
}
POINTS = {"training": 3.0, "statistics": 2.0, "test": 2.0, "backward": 3.0, "alternative": 1.0, "spatial": 2.0}
WIDTH = 88  # of a line: fits a terminal beside others, a notebook's cell, an issue

# The first kind that a part's findings have says its status; without one it is right.
_STATUSES = {
    "failure": "fails",
    "mistake": "wrong",
    "unjudged": "not judged",
    "epsilon": "right apart from eps",
    "shape": "right apart from the shape",
    "unfinished": "not written yet",
    "waits": "waits",
    "follows": "right once the part that it follows from is",
}
# A part that is right but for eps or a shape keeps most of its points; one that follows another loses none.
SHARES = {
    "right": 1.0,
    "right once the part that it follows from is": 1.0,
    "right apart from the shape": 0.75,
    "right apart from eps": 0.75,
}
# What is not begun comes after what is wrong, and a shape after a number.
_LAST = {"shape": 1, "unfinished": 2}


@dataclass(frozen=True)
class Verdict:
    """One part: its status, and its points of how many."""

    part: str
    status: str
    points: float
    possible: float
    unjudged: float = 0.0  # points of a part that could not be judged: neither given nor taken

    @property
    def ok(self) -> bool:
        """Whether nothing of this part departs."""
        return self.status == "right"


@dataclass(frozen=True)
class Report:
    """What `check_batch_norm` found: `ok`, `text`, `to_dict()`; in a notebook a table.

    findings are departures, the first to mend first; remarks are habits, conventions, what follows from
    a departure elsewhere, and what could not be judged; parts are the verdicts on what was handed in.
    """

    parts: Mapping[str, Verdict]
    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    seconds: float
    functions: Mapping[str, str] = field(default_factory=dict)  # what the student calls each part's function
    said: tuple[str, ...] = ()  # what is to be known of the file itself

    @property
    def ok(self) -> bool:
        """Whether every part that was handed in was judged and is right."""
        return all(verdict.ok for verdict in self.parts.values())

    @property
    def points(self) -> float:
        """Points earned."""
        return sum(verdict.points for verdict in self.parts.values())

    @property
    def possible(self) -> float:
        """Points that could be earned with what was handed in and could be judged."""
        return sum(verdict.possible for verdict in self.parts.values())

    @property
    def unjudged(self) -> float:
        """Points of the parts that could not be judged."""
        return sum(verdict.unjudged for verdict in self.parts.values())

    @property
    def text(self) -> str:
        """The whole report in plain words, no line longer than `WIDTH` but where a name is."""
        blocks = [_filled(line) for line in (*(f"{each}." for each in self.said), *self._summary())]
        for number, (found, parts) in enumerate(self._told_once(), 1):
            blocks += ["", _block(f"{number}. ", f"{parts}: {found.what}.", _rest(found))]
        if self.remarks:
            blocks.append("")
        blocks += [_block("- ", f"{parts}: {found.what}.", _remedy(found)) for found, parts in self._remarked_once()]
        return "\n".join(blocks)

    def __str__(self) -> str:
        return self.text

    def _summary(self) -> list[str]:
        """The parts by status, and the points."""
        by_status: dict[str, list[str]] = {}
        for part, verdict in self.parts.items():
            by_status.setdefault(verdict.status, []).append(NAMES[part])
        right = by_status.pop("right", ["nothing yet"])
        lines = [f"Right: {', '.join(right)}."]
        lines += [f"{status.capitalize()}: {', '.join(parts)}." for status, parts in by_status.items()]
        if not self.unjudged:
            return [*lines, f"{self.points:g} of {self.possible:g} points."]
        judged = f"{self.points:g} of {self.possible:g} points judged" if self.possible else "No points judged"
        return [*lines, f"{judged}; {self.unjudged:g} not judged."]

    def _told_once(self) -> list[tuple[Finding, str]]:
        """The first finding of each slip, and all parts that show it: one line of code may serve two of them."""
        slips: dict[tuple[str, str], list[Finding]] = {}
        for found in self.findings:
            slips.setdefault((found.code, found.what), []).append(found)
        return [(group[0], self._parts(group)) for group in slips.values()]

    def _remarked_once(self) -> list[tuple[Finding, str]]:
        """Each remark once: what keeps several parts from being judged is one reason with one way out."""
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for found in self.remarks:
            groups.setdefault((found.code, found.what, found.rule), []).append(found)
        return [(group[0], _and([NAMES[found.part] for found in group])) for group in groups.values()]

    def _parts(self, group: list[Finding]) -> str:
        """The parts with the student's own functions; a function that several share is named once, after them."""
        shown = list(dict.fromkeys(self._part(found) for found in group))
        before = {each.rpartition(" (")[2] for each in shown}
        if len(before) == 1 and shown[0].endswith(")"):
            shown = [each.rpartition(" (")[0] for each in shown[:-1]] + shown[-1:]
        return _and(shown)

    def _part(self, found: Finding) -> str:
        """The part, and the student's own function."""
        own = self.functions.get(found.function or found.part, "")
        named = NAMES[found.part]
        return f"{named} ({own})" if own and own not in found.what.split() else named

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "ok": self.ok,
            "points": self.points,
            "possible": self.possible,
            "unjudged": self.unjudged,
            "seconds": round(self.seconds, 3),
            "parts": {
                part: {
                    "status": verdict.status,
                    "ok": verdict.ok,
                    "points": verdict.points,
                    "possible": verdict.possible,
                }
                for part, verdict in self.parts.items()
            },
            "findings": [found.to_dict() for found in self.findings],
            "remarks": [found.to_dict() for found in self.remarks],
            "said": list(self.said),
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{NAMES[each.part]}</td><td>{each.status}</td><td>{each.points:g} / {each.possible:g}</td></tr>"
            for each in self.parts.values()
        )
        said = "".join(
            f"<li>{html.escape(parts)}: {html.escape(found.what)}.{_html(_rest(found))}</li>"
            for found, parts in self._told_once()
        )
        remarks = "".join(
            f"<li>{html.escape(parts)}: {html.escape(found.what)}.{_html(_remedy(found))}</li>"
            for found, parts in self._remarked_once()
        )
        return f"<table><tr><th>part</th><th>verdict</th><th>points</th></tr>{rows}</table><ol>{said}</ol>" + (
            f"<p>Beside that</p><ul>{remarks}</ul>" if remarks else ""
        )


def make_report(
    found: Mapping[str, list[Finding]],
    seconds: float,
    points: Mapping[str, float] | None,
    functions: Mapping[str, str] | None = None,
) -> Report:
    """Sort the findings, and give each part its verdict and points."""
    worth = {**POINTS, **(points or {})}
    everything = [each for part in PARTS for each in found.get(part, [])]
    findings = [each for each in everything if each.kind in DEPARTURES]
    findings.sort(key=lambda each: _LAST.get(each.kind, 0))  # stable: by part, in the order of the algorithm
    parts = {part: _verdict(part, found[part], worth[part]) for part in PARTS if part in found}
    remarks = tuple(each for each in everything if each.kind not in DEPARTURES)
    return Report(parts, tuple(findings), remarks, seconds, functions or {})


def _verdict(part: str, findings: list[Finding], possible: float) -> Verdict:
    kinds = {each.kind for each in findings}
    status = next((status for kind, status in _STATUSES.items() if kind in kinds), "right")
    if status == "not judged":  # it costs no points and gives none
        return Verdict(part, status, 0.0, 0.0, possible)
    return Verdict(part, status, possible * SHARES.get(status, 0.0), possible)


def _and(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _rest(found: Finding) -> list[tuple[str, str]]:
    """Where, the rule, and one piece of evidence: the smallest example, or what was seen."""
    rows = [("Where", found.where), ("Right is", found.rule)]
    if found.evidence and (found.part == "statistics" or not found.example):
        rows += [("Seen", part) for part in found.evidence.split("; ")[:2]]
    return rows + [("Example", line) for line in found.example.splitlines()]


def _remedy(found: Finding) -> list[tuple[str, str]]:
    """What is to be done about something that could not be judged."""
    return [("", found.rule)] if found.kind == "unjudged" and found.rule else []


def _block(mark: str, first: str, rows: Iterable[tuple[str, str]]) -> str:
    """A numbered sentence, and below it a table of two columns; a name that comes again is left out."""
    indent = " " * len(mark)
    lines, before = [_filled(mark + first, indent)], ""
    for name, value in rows:
        shown = "" if name == before else name
        head = f"{indent}{shown:<10}" if name else indent
        lines.append(_filled(head + value, " " * len(head)))
        before = name
    return "\n".join(lines)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, drop_whitespace=True, break_long_words=False, break_on_hyphens=False
    )


def _html(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<br>{html.escape(f'{name}: ' if name else '')}{html.escape(value)}" for name, value in rows)
