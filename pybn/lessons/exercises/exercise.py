"""What an exercise is: a question, a number, the lines that find it, and the numbers that slips lead to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is a number.

    question : text; `code` between backticks
    answer : the number
    solution : lines of Python that end with `answer = ...`
    slips : numbers that a known mistake gives, and what it is
    within : how far an answer may be off, as a share of the right one (of 1, where that is 0)
    """

    question: str
    answer: float
    solution: str
    slips: Mapping[float, str] = field(default_factory=dict)
    within: float = 5e-3

    def judge(self, answer: float) -> tuple[bool, str]:
        """Whether `answer` is right, and a sentence; TypeError for what is no number."""
        try:
            value = float(np.asarray(answer).reshape(()))
        except (TypeError, ValueError):
            raise TypeError(f"the answer of an exercise is one number, got {answer!r}") from None
        if self._near(value, self.answer):
            return True, "right."
        for slip, words in self.slips.items():
            if self._near(value, slip):
                return False, f"not {value:g}: {words}"
        return False, f"not {value:g}.  Try again, or unfold the solution."

    def _near(self, value: float, target: float) -> bool:
        return math.isclose(value, target, rel_tol=self.within, abs_tol=0.0 if target else self.within)


@dataclass(frozen=True)
class Exercises:
    """Those of one lesson, and what to discuss in class; shows itself on a page and in a notebook."""

    topic: str
    exercises: tuple[Exercise, Exercise, Exercise]
    discuss: str

    def __str__(self) -> str:
        numbered = [f"{self.topic}-{number}: {each.question}" for number, each in enumerate(self.exercises, start=1)]
        return "\n".join([*numbered, f"To discuss: {self.discuss}"])

    def _repr_html_(self) -> str:
        items = "".join(self._item(number, each) for number, each in enumerate(self.exercises, start=1))
        return f'<div class="exercises"><ol>{items}</ol><p><b>To discuss.</b> {_marked(self.discuss)}</p></div>'

    def _item(self, number: int, exercise: Exercise) -> str:
        call = f"lesson.check({f'{self.topic}-{number}'!r}, …)"
        return (
            f"<li><p>{_marked(exercise.question)}<br><code>{call}</code></p>"
            f"<details><summary>Solution</summary><pre>{escape(exercise.solution)}</pre>"
            f"<p>{exercise.answer:.6g}</p></details></li>"
        )


def _marked(text: str) -> str:
    """The text as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
