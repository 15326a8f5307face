"""What was found: one departure or remark, in the words of `words`, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pybn.study.adapters.not_judged import NotJudged
from pybn.study.coursework.report.words import TEXTS, place

PARTS = ("training", "statistics", "test", "backward", "alternative", "spatial")

# Kinds that take something away from a part, and those that tell what a part waits for or comes from.
DEPARTURES = ("failure", "unfinished", "mistake", "epsilon", "shape")


@dataclass(frozen=True)
class Finding:
    """One thing to say of one part.

    kind is "failure" (it does not run), "unfinished" (it is not begun), "mistake", "epsilon" (right apart
    from eps), "shape" (right apart from the shape), "follows" (right as soon as another part is), "waits"
    (to be judged when another part runs), "unjudged" (something could not be set or read), or "remark"
    (nothing wrong: a convention, a habit).  quantity is what an example of it must show.
    """

    code: str
    part: str
    kind: str
    what: str
    where: str
    rule: str
    evidence: str = ""
    example: str = ""
    quantity: str = ""
    values: tuple[tuple[str, str], ...] = ()  # what its words were filled with, but for a name
    function: str = ""  # the key of the function at fault, where it is not the part's own

    def to_dict(self) -> dict[str, Any]:
        """Plain strings, for JSON."""
        return {key: value for key, value in self.__dict__.items() if key != "values"}


_QUANTITIES = {"training": "out", "test": "out", "backward": "dx", "alternative": "dx"}


def finding(code: str, part: str, evidence: str = "", *, name: str = "", **values: Any) -> Finding:
    """The finding with this code, its words filled with `name` (one thing, or two with "and") and `values`."""
    text = TEXTS[code]
    words = {**_agreement(name), "name": name, "detail": "", "used": "", **values}
    return Finding(
        code=code,
        part=part,
        kind=text.kind,
        what=text.what.format(**words),
        where=place(part, name if text.step in ("dgamma", "dbeta") and name in ("dgamma", "dbeta") else text.step),
        rule=text.rule.format(**words),
        evidence=evidence,
        values=tuple((key, str(value)) for key, value in values.items()),
        quantity=name or (text.step if text.step in ("dgamma", "dbeta") else _QUANTITIES.get(part, "")),
    )


def _agreement(name: str) -> dict[str, str]:
    """The verbs for one thing or for two."""
    if " and " in name:
        return {"are": "are", "s": "", "do": "do", "have": "have", "it": "them"}
    return {"are": "is", "s": "s", "do": "does", "have": "has", "it": "it"}


@dataclass(frozen=True)
class Said:
    """A finding to be, of one thing (one of two averages, one of two gradients) that may share it with another."""

    code: str
    name: str = ""
    evidence: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def merged(part: str, said: Iterable[Said]) -> list[Finding]:
    """The findings, what was said of two things in the same words said once: its first evidence is kept for each."""
    same: dict[tuple[str, str], list[Said]] = {}
    for each in said:
        same.setdefault((each.code, repr(sorted(each.values.items()))), []).append(each)
    findings = []
    for (code, _), group in same.items():
        names = list(dict.fromkeys(part for each in group for part in each.name.split(" and ") if part))
        name = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
        evidence = "; ".join(dict.fromkeys(each.evidence for each in group if each.evidence))
        findings.append(finding(code, part, evidence, name=name, **group[0].values))
    return findings


def failed(part: str, function: str, failure: Any) -> Finding:
    """A call that gave nothing to judge."""
    code = {"none": "returned-none"}.get(failure.kind, failure.kind)
    return finding(code, part, function=function, message=failure.message)


def not_judged(record: NotJudged) -> Finding:
    """A setting that was not made, in the adapter's own words; a value fixed in the class is a remark."""
    return Finding(
        code=f"fixed-{record.setting}" if record.fixed else "not-set",
        part=record.part,
        kind="remark" if record.fixed else "unjudged",
        what=record.reason,
        where=place(record.part, "interface"),
        rule=record.remedy,
    )


def first_difference(name: str, yours: np.ndarray, right: np.ndarray, tolerance: float = 1e-6) -> str:
    """The first element that differs, with both numbers; "" where none does.  NaN differs from everything."""
    yours, right = np.asarray(yours, float), np.asarray(right, float)
    if yours.shape != right.shape:
        return f"{name} has shape {yours.shape}, right is {right.shape}"
    size = np.abs(right).max() if right.size else 0.0
    wrong = ~(np.abs(yours - right) <= tolerance * size)
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    shown = ", ".join(map(str, index))
    return f"{name}[{shown}] is {yours[index]:.6g}, right is {right[index]:.6g}"
