"""The report: what is right, what is not and why, and the points."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pybn.study.coursework.findings import ORDER, Finding

NAMES = {
    "training": "training output",
    "statistics": "running averages",
    "test": "test mode",
    "backward": "backward",
    "alternative": "alternative backward",
    "spatial": "4-D pair",
}
POINTS = {"training": 3.0, "statistics": 2.0, "test": 2.0, "backward": 3.0, "alternative": 1.0, "spatial": 2.0}
# A part that is right but for eps or a shape keeps most of its points.
SHARES = {
    "right": 1.0,
    "right apart from the shape": 0.75,
    "right apart from eps": 0.75,
    "wrong": 0.0,
    "fails": 0.0,
    "not judged": 0.0,
}


@dataclass(frozen=True)
class Verdict:
    """One part: its status, and its points of how many."""

    part: str
    status: str
    points: float
    possible: float

    @property
    def ok(self) -> bool:
        """Whether nothing of this part departs."""
        return self.status == "right"


@dataclass(frozen=True)
class Report:
    """What `check_batch_norm` found: `ok`, `text`, `to_dict()`; in a notebook a table.

    findings are departures, the most basic first; remarks are habits and conventions, which are not
    mistakes; parts are the verdicts on what was handed in.
    """

    parts: Mapping[str, Verdict]
    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every part that was handed in is right."""
        return all(verdict.ok for verdict in self.parts.values())

    @property
    def points(self) -> float:
        """Points earned."""
        return sum(verdict.points for verdict in self.parts.values())

    @property
    def possible(self) -> float:
        """Points that could be earned with what was handed in."""
        return sum(verdict.possible for verdict in self.parts.values())

    @property
    def text(self) -> str:
        """The whole report in plain words."""
        right = [NAMES[part] for part, verdict in self.parts.items() if verdict.ok]
        lines = [f"Right: {', '.join(right) if right else 'nothing yet'}."]
        lines += [f"{NAMES[part]}: {verdict.status}." for part, verdict in self.parts.items() if not verdict.ok]
        for number, found in enumerate(self.findings, 1):
            lines += ["", f"{number}. {_sentences(found)}"]
        lines += ["", *(f"Remark ({NAMES[found.part]}): {found.what}." for found in self.remarks)]
        lines.append(f"{self.points:g} of {self.possible:g} points.")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "ok": self.ok,
            "points": self.points,
            "possible": self.possible,
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
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{NAMES[each.part]}</td><td>{each.status}</td><td>{each.points:g} / {each.possible:g}</td></tr>"
            for each in self.parts.values()
        )
        said = "".join(f"<li>{html.escape(_sentences(found))}</li>" for found in self.findings)
        remarks = "".join(f"<li>{html.escape(found.what)}</li>" for found in self.remarks)
        return f"<table><tr><th>part</th><th>verdict</th><th>points</th></tr>{rows}</table><ol>{said}</ol>" + (
            f"<p>Remarks</p><ul>{remarks}</ul>" if remarks else ""
        )


def make_report(found: Mapping[str, list[Finding]], seconds: float, points: Mapping[str, float] | None) -> Report:
    """Sort the findings, and give each part its verdict and points."""
    worth = {**POINTS, **(points or {})}
    everything = [each for part in ORDER for each in found.get(part, [])]
    findings = [each for each in everything if each.kind != "remark"]
    findings.sort(key=lambda each: each.kind != "failure")  # stable: what does not run comes first
    parts = {part: _verdict(part, found[part], worth[part]) for part in NAMES if part in found}
    remarks = tuple(each for each in everything if each.kind == "remark")
    return Report(parts, tuple(findings), remarks, seconds)


def _verdict(part: str, findings: list[Finding], possible: float) -> Verdict:
    kinds = {each.kind for each in findings}
    if "failure" in kinds:
        status = (
            "not judged" if all(each.code == "not-judged" for each in findings if each.kind == "failure") else "fails"
        )
    elif "mistake" in kinds:
        status = "wrong"
    elif "epsilon" in kinds:
        status = "right apart from eps"
    else:
        status = "right apart from the shape" if "shape" in kinds else "right"
    return Verdict(part, status, possible * SHARES[status], possible)


def _sentences(found: Finding) -> str:
    parts = [
        f"{NAMES[found.part]}: {found.what}.",
        f"Where: {found.where}.",
        f"Seen: {found.evidence}." if found.evidence else "",
        f"Smallest example: {found.example}." if found.example else "",
        f"Right is: {found.rule}.",
    ]
    return " ".join(filter(None, parts))
