"""The search for one edit that makes a part right, where the student's functions are: here, or in a process apart.

It is asked in plain values and answers so: a place for each part that an edit mends (`code.Place`).  What the edit is,
and how it is called, is read from the file's text by whoever asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

from pybn.study.coursework.edits.code import Place, Text, holds, own_functions, run_by, texts
from pybn.study.coursework.edits.places import Edit
from pybn.study.coursework.edits.trials import Functions, Trials
from pybn.study.coursework.student import sandbox
from pybn.study.coursework.student.probes import Own, of_own

# Edits that are tried in all searches of one check: some .25 ms each of functions on arrays.  The count ends a search,
# so that a busy machine finds what an idle one does; the clock, in processor seconds, is for functions of many loops.
RUNS, PATIENCE = 3000, 1.7
BEYOND = 3.0  # seconds after which the search is ended from outside: an edit may make a loop endless

_ROLES: dict[str, tuple[str, ...]] = {
    "backward": ("backward", "forward"),
    "alternative": ("alternative", "forward"),
    "spatial": ("spatial_forward", "spatial_backward"),
}


@dataclass(frozen=True)
class Question:
    """What is wrong, by part, in plain values."""

    wrong: Sequence[str]  # the parts to be mended, in the order in which they are searched
    searched: Sequence[str]  # those of them for which edits are tried; the others take what mended these
    lines: Mapping[str, int]  # where a part raises: the edits of this line are tried first
    right: Sequence[str]  # what an edit must leave right
    follow: Sequence[str]  # those of the right ones that follow from what is wrong: an edit must make them right
    rule: Mapping[str, bool]  # how a step moves the averages
    own: Sequence[float | None]  # eps and momentum that are written into a class
    seconds: float = BEYOND


@dataclass
class Answer:
    """A place for each part that one edit mends; whether the clock ended the search."""

    places: dict[str, Place] = field(default_factory=dict)
    early: bool = False


def search(question: Question, functions: Functions) -> Answer:
    """The edits of these functions that mend the parts; never raises what the functions raise."""
    answer = Answer()
    own = Own(*question.own)
    with np.errstate(all="ignore"), of_own(own):
        trials = Trials(functions, question.rule, own.epsilon)
    outcome = sandbox.run(lambda: _Search(question, trials).fill(answer), limit=question.seconds)
    answer.early = answer.early or bool(outcome.failure)
    return answer


class _Search:
    """The edits of one student's functions, each tried once."""

    def __init__(self, question: Question, trials: Trials) -> None:
        self.question, self.trials, self.functions = question, trials, trials.functions
        self.left, self.until = RUNS, time.thread_time() + PATIENCE
        self.mended: list[tuple[Text, Place, Edit]] = []
        self.early = False

    def fill(self, answer: Answer) -> None:
        """Put each place into the answer as it is found: what comes after may not return."""
        for part in self.question.wrong:
            found = self._among(part, iter(self.mended))
            if found is None and part in self.question.searched:
                found = self._among(part, self._tried(part))
            if found is not None:
                answer.places[part] = found
            answer.early = self.early

    @cached_property
    def others(self) -> list[str]:
        """What an edit must leave right, or make right where it follows: a slip's own edit does."""
        question = self.question
        return [part for part in question.right if part in question.follow or self.trials.right(part)]

    def _among(self, part: str, tried: Iterator[tuple[Text, Place, Edit]]) -> Place | None:
        """The first that makes the part right and leaves the others so; else the first that makes it right."""
        others, second = self.others, None
        for text, place, edit in tried:
            if self._is_over():
                break
            if not holds(text, edit, lambda: self.trials.right(part)):
                continue
            if holds(text, edit, lambda: all(map(self.trials.right, others))):
                return self._kept(text, place, edit)
            second = second or (text, place, edit)
        return self._kept(*second) if second else None

    def _is_over(self) -> bool:
        self.left -= 1
        self.early = self.early or time.thread_time() > self.until
        return self.left < 0 or self.early

    def _kept(self, text: Text, place: Place, edit: Edit) -> Place:
        if all(place != other for _, other, _ in self.mended):
            self.mended.append((text, place, edit))
        return place

    def _tried(self, part: str) -> Iterator[tuple[Text, Place, Edit]]:
        """Every edit of the functions that a part runs, the likeliest of all functions first."""
        roles, line = _ROLES.get(part, ("forward",)), self.question.lines.get(part, 0)
        ran = run_by(lambda: self.trials.right(part))
        functions = [each for each in self._functions(roles) if each.__code__ in ran]
        if part == "spatial":  # what it has for itself
            flat = self._functions(("forward", "backward"))
            functions = [each for each in functions if each not in flat] or functions
        if roles[0] in ("backward", "alternative"):  # its own before the forward's
            first = run_by(lambda: self.trials.right("training"))
            functions.sort(key=lambda each: each.__code__ in first)
        every = [(text, place, edit) for text in texts(functions) for place, edit in text.edits()]
        yield from sorted(every, key=lambda each: (each[2].line != line, each[2].stage))

    def _functions(self, roles: Sequence[str]) -> list[FunctionType]:
        return own_functions([self.functions[role] for role in roles if self.functions.get(role) is not None])


def as_plain(value: Question | Answer) -> dict[str, Any]:
    """Texts, numbers, lists: what crosses between two processes."""
    return {key: list(each) if isinstance(each, tuple) else each for key, each in vars(value).items()}
