"""Optimizers: new values for variables from their gradients.

An optimizer changes nothing itself: it returns what the variables, and its own state beside them,
should become, and `Context.apply` assigns all of it together with the moving averages.  A learning
rate is a number or a function of the step, such as `pybn.schedules.Cosine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from pybn.framework import schedules
from pybn.framework.context import Context
from pybn.framework.packs import packs
from pybn.framework.parameters import chosen, not_negative, number
from pybn.framework.schedules import LearningRate
from pybn.framework.variables import Held, NewValues, Variable


class Optimizer(Protocol):
    """What a Trainer asks of an optimizer."""

    learning_rate: LearningRate

    def new_values(self, ctx: Context, variables: Sequence[Variable], gradients: Sequence[np.ndarray]) -> NewValues:
        """What each variable should become, and the optimizer's own state."""
        ...


class SGD:
    """Stochastic gradient descent: w - learning_rate * gradient.

    With momentum: v = momentum * v + gradient, w - learning_rate * v (Polyak 1964).
    """

    def __init__(self, learning_rate: LearningRate, momentum: float = 0.0) -> None:
        self.learning_rate = schedules.checked(learning_rate)
        self.momentum = _fraction("momentum", momentum)

    def new_values(self, ctx: Context, variables: Sequence[Variable], gradients: Sequence[np.ndarray]) -> NewValues:
        """One step down the gradient."""
        rate = schedules.rate_at(self.learning_rate, ctx.global_step)
        new = Held()
        for weights, gradient in packs(ctx, variables, gradients, ("velocity",) if self.momentum else ()):
            step = gradient
            if self.momentum:
                (velocity,) = weights.kept
                step = self.momentum * velocity.value + gradient
                velocity.put(new, step)
            weights.put(new, weights.value - rate * step)
        return new


class Adam:
    """Adaptive moments (Kingma & Ba 2015, Algorithm 1)."""

    _weight_decay = 0.0

    def __init__(
        self, learning_rate: LearningRate = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self.learning_rate = schedules.checked(learning_rate)
        self.beta1, self.beta2 = _fraction("beta1", beta1), _fraction("beta2", beta2)
        self.epsilon = _positive("epsilon", epsilon)

    def new_values(self, ctx: Context, variables: Sequence[Variable], gradients: Sequence[np.ndarray]) -> NewValues:
        """One step with the moments of each gradient, corrected for their start at 0."""
        rate = schedules.rate_at(self.learning_rate, ctx.global_step)
        new = Held()
        for weights, gradient in packs(ctx, variables, gradients, ("first_moment", "second_moment", "steps")):
            first, second, steps = weights.kept
            t = steps.value + 1
            m = self.beta1 * first.value + (1 - self.beta1) * gradient
            v = self.beta2 * second.value + (1 - self.beta2) * gradient**2
            # NumPy's own numbers: the step is computed in float64, and rounded once, with the new weight.
            step = m / weights.for_elements([1 - self.beta1**each for each in np.ravel(t).tolist()])
            step *= rate
            deviation = np.sqrt(v / weights.for_elements([1 - self.beta2**each for each in np.ravel(t).tolist()]))
            deviation += self.epsilon
            step /= deviation
            if self._weight_decay:
                step += rate * self._weight_decay * weights.value
            for each, values in ((first, m), (second, v), (steps, t), (weights, weights.value - step)):
                each.put(new, values)
        return new


class AdamW(Adam):
    """Adam whose weights also decay by themselves (Loshchilov & Hutter 2019): w - learning_rate * weight_decay * w.

    L2 in the loss would be divided by the gradient's size like the rest of it; this decays all weights
    alike, whatever their gradients.  "All" are the trainable ones, scales and offsets among them.
    The default of `weight_decay` is that of Keras and GoMLX.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        weight_decay: float = 0.004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon)
        self.weight_decay = self._weight_decay = not_negative("weight_decay", weight_decay)


OPTIMIZER_PARAM = "optimizer"
LEARNING_RATE_PARAM = "learning_rate"
_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": AdamW, "adam": Adam, "sgd": SGD}


def from_context(ctx: Context) -> Optimizer:
    """What ctx's parameters name: `optimizer` ("adamw", the default, "adam" or "sgd") and `learning_rate`.

    Without `learning_rate` the optimizer's own default holds; SGD has none.  `cosine_schedule_steps` lets
    it fall along a cosine, see `pybn.schedules.from_context`.

    >>> ctx = Context()
    >>> ctx.set_params({"optimizer": "sgd", "learning_rate": 0.1, "cosine_schedule_steps": 500})
    >>> from_context(ctx).learning_rate
    Cosine(learning_rate=0.1, period=500, minimum=0.0)
    """
    name = ctx.get_param(OPTIMIZER_PARAM, "adamw")
    kind = chosen(OPTIMIZER_PARAM, name, _OPTIMIZERS)
    rate = ctx.get_param(LEARNING_RATE_PARAM)
    if rate is None and kind is SGD:
        raise ValueError(f"the optimizer 'sgd' has no default learning rate: set the parameter {LEARNING_RATE_PARAM}")
    optimizer = kind() if rate is None else kind(rate)
    optimizer.learning_rate = schedules.from_context(ctx, optimizer.learning_rate)
    return optimizer


def _positive(name: str, value: float) -> float:
    # 0 would divide 0 by 0 where a gradient has always been 0, as behind a dead relu.
    if not 0 < number(name, value) < np.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")
    return value


def _fraction(name: str, value: float) -> float:
    if not 0 <= number(name, value) < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value!r}")
    return value
