"""What a teacher or a student holds against the layer: compare, check, record, diagnose, draw.

`pybn.study.plots` needs matplotlib and is imported when it is asked for; the rest needs NumPy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pybn.study import coursework, fold, interop, record
from pybn.study.compare import Comparison, compare
from pybn.study.coursework import check_batch_norm
from pybn.study.examine import Examination, Symptom, examine
from pybn.study.gradcheck import CannotJudgeError, GradientReport, check_gradients
from pybn.study.record import StatisticsRecorder

__all__ = [
    "CannotJudgeError",
    "Comparison",
    "Examination",
    "GradientReport",
    "StatisticsRecorder",
    "Symptom",
    "check_batch_norm",
    "check_gradients",
    "compare",
    "coursework",
    "examine",
    "fold",
    "interop",
    "plots",
    "record",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module("pybn.study.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
