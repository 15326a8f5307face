"""Learning rates that change with the step: functions of how many steps the variables are the result of.

An optimizer takes one wherever it takes a number.  The step is the context's `global_step`, which a
checkpoint keeps: training that goes on goes on along the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pybn.framework.context import Context
from pybn.framework.parameters import not_negative, whole_number

__all__ = ["Cosine", "LearningRate", "Schedule", "checked", "from_context", "rate_at"]

#: The learning rate of a step, by how many were taken before it: 0 for the first.
Schedule: TypeAlias = Callable[[int], float]
#: What an optimizer takes: a number, or a function of the step.
LearningRate: TypeAlias = float | Schedule

PERIOD_PARAM = "cosine_schedule_steps"
MINIMUM_PARAM = "cosine_schedule_min_learning_rate"


@dataclass(frozen=True)
class Cosine:
    """From `learning_rate` down to `minimum` along half a cosine in `period` steps, and then anew.

    Equation 5 of Loshchilov & Hutter (2017), arXiv:1608.03983, with every period as long as the first;
    a run as long as the period never begins anew.

    >>> rate = Cosine(0.1, period=4)
    >>> [round(rate(step), 4) for step in range(6)]
    [0.1, 0.0854, 0.05, 0.0146, 0.1, 0.0854]
    """

    learning_rate: float
    period: int
    minimum: float = 0.0

    def __post_init__(self) -> None:
        not_negative("learning_rate", self.learning_rate)
        if whole_number("period", self.period) < 1:
            raise ValueError(f"period must be 1 step or more, got {self.period!r}")
        if not_negative("minimum", self.minimum) > self.learning_rate:
            raise ValueError(f"minimum must not be above learning_rate, {self.learning_rate!r}; got {self.minimum!r}")

    def __call__(self, step: int) -> float:
        """The rate after so many steps."""
        share = (1 + math.cos(math.pi * (step % self.period) / self.period)) / 2
        return self.minimum + (self.learning_rate - self.minimum) * share


def checked(learning_rate: LearningRate) -> LearningRate:
    """A learning rate as an optimizer takes it: a finite number, not negative, or a function of the step.

    What the function gives is looked at step by step, by `rate_at`.
    """
    return learning_rate if callable(learning_rate) else not_negative("learning_rate", learning_rate)


def rate_at(learning_rate: LearningRate, step: int) -> float:
    """The learning rate of the step; TypeError or ValueError, with the step, where a function gives none.

    >>> rate_at(lambda step: 0.5**step, 3)
    0.125
    """
    if callable(learning_rate):
        return float(not_negative(f"what learning_rate gives for step {step}", learning_rate(step)))
    return float(not_negative("learning_rate", learning_rate))


def from_context(ctx: Context, learning_rate: LearningRate) -> LearningRate:
    """`learning_rate`, or the cosine that begins there, if ctx's parameter `cosine_schedule_steps` is its period.

    0, the default, is no schedule.  `cosine_schedule_min_learning_rate` is where the cosine ends, 0 by default.
    """
    period = whole_number(f"the parameter {PERIOD_PARAM}", ctx.get_param(PERIOD_PARAM, 0))
    minimum = not_negative(f"the parameter {MINIMUM_PARAM}", ctx.get_param(MINIMUM_PARAM, 0.0))
    if period < 0:
        raise ValueError(
            f"the parameter {PERIOD_PARAM} must be a number of steps, or 0 for no schedule, got {period}: "
            "a share of the run is not known before it begins"
        )
    return Cosine(learning_rate, period, minimum) if period else learning_rate  # type: ignore[arg-type]
