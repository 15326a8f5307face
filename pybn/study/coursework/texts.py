"""The words: for each departure what is wrong, at which step, and the rule that holds there.

gamma, beta, running_mean and running_var are the names in the student's own code.  No text shows code
that would solve the exercise.  Line numbers are those of Ioffe & Szegedy (2015), arXiv:1502.03167.
"""

from __future__ import annotations

from collections.abc import Mapping

from pybn.study.coursework.words import Text, place
from pybn.study.coursework.words_around import AROUND
from pybn.study.coursework.words_backward import BACKWARD
from pybn.study.coursework.words_forward import FORWARD
from pybn.study.coursework.words_stored import STORED

TEXTS: Mapping[str, Text] = {**AROUND, **FORWARD, **STORED, **BACKWARD}

__all__ = ["TEXTS", "place"]
