"""What was found: one departure or remark, in the words of `texts`, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pybn.study.coursework.not_judged import NotJudged
from pybn.study.coursework.texts import TEXTS, place

PARTS = ("training", "statistics", "test", "backward", "alternative", "spatial")

# The most basic first: what does not run, what is stored, what comes out, what flows back.
ORDER = ("statistics", "training", "test", "backward", "alternative", "spatial")


@dataclass(frozen=True)
class Finding:
    """One thing to say of one part.

    kind is "failure" (nothing to judge), "mistake", "epsilon" (right apart from eps), "shape" (right
    apart from the shape) or "remark" (nothing wrong: a convention, a habit).
    """

    code: str
    part: str
    kind: str
    what: str
    where: str
    rule: str
    evidence: str = ""
    example: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain strings, for JSON."""
        return dict(self.__dict__)

    def with_example(self, example: str) -> Finding:
        """The same finding with the smallest input that shows it."""
        return replace(self, example=example)


def finding(code: str, part: str, evidence: str = "", **values: Any) -> Finding:
    """The finding with this code, its words filled with `values`."""
    text = TEXTS[code]
    return Finding(
        code=code,
        part=part,
        kind=text.kind,
        what=text.what.format(**values),
        where=place(part, text.step),
        rule=text.rule.format(**values),
        evidence=evidence,
    )


def failed(part: str, function: str, failure: Any) -> Finding:
    """A call that gave nothing to judge."""
    code = {"none": "returned-none"}.get(failure.kind, failure.kind)
    return finding(code, part, function=function, message=failure.message)


def not_judged(record: NotJudged) -> Finding:
    """A setting that was not made, in the adapter's own words; a value fixed in the class is a remark."""
    return Finding(
        code=f"fixed-{record.setting}" if record.fixed else "not-judged",
        part=record.part,
        kind="remark" if record.fixed else "failure",
        what=record.reason,
        where=place(record.part, "interface"),
        rule=record.remedy,
    )


def first_difference(name: str, yours: np.ndarray, right: np.ndarray, tolerance: float = 1e-6) -> str:
    """The first element that differs, with both numbers; "" where none does."""
    yours, right = np.asarray(yours, float), np.asarray(right, float)
    size = np.abs(right).max() if right.size else 0.0
    wrong = ~(np.abs(yours - right) <= tolerance * size)
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    shown = ", ".join(map(str, index))
    return f"{name}[{shown}] is {yours[index]:.6g}, right is {right[index]:.6g}"


def numbers(values: Iterable[float], count: int = 3) -> str:
    """A few numbers as a student would print them."""
    listed = [f"{value:.6g}" for value in values]
    return ", ".join(listed[:count]) + (", ..." if len(listed) > count else "")
