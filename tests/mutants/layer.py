"""Wrong layers: pybn.batchnorm with one line changed, each with the checks that must refuse it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.layer import test_averages as averages
from tests.layer import test_l2 as l2
from tests.layer import test_non_finite as non_finite
from tests.layer import test_reset as reset
from tests.layer import test_steps as steps
from tests.layer import test_switches as switches
from tests.layer import test_update_untouched as untouched
from tests.support.switches import Switches


class Mutant(NamedTuple):
    """In `file`, `old` is replaced by `new`; `check(bn)` must fail then, and pass without."""

    file: str
    old: str
    new: str
    check: object


def of(check, *arguments):
    """`check` as a function of the package alone."""
    return lambda bn: check(bn, *arguments)


def rng():
    return np.random.default_rng(20150211)


FROZEN, FIXED = Switches(frozen_averages=True), Switches(trainable=False)

RULE = {
    "momentum reversed": Mutant(
        "averages.py",
        "return min(momentum, 1 - 1 / avg_weight)",
        "return min(1 - momentum, 1 - 1 / avg_weight)",
        of(averages.test_rule, 0.9, "float64"),
    ),
    "no plain mean at the start": Mutant(
        "averages.py", "return min(momentum, 1 - 1 / avg_weight)", "return momentum", averages.test_worked_example
    ),
    "never exponential": Mutant(
        "averages.py",
        "return min(momentum, 1 - 1 / avg_weight)",
        "return 1 - 1 / avg_weight",
        averages.test_default_momentum,
    ),
    "the larger of the two": Mutant(
        "averages.py", "return min(momentum,", "return max(momentum,", averages.test_worked_example
    ),
    "w not counted": Mutant(
        "averages.py",
        "            weight,\n        )",
        "            self.avg_weight,\n        )",
        of(averages.test_rule, 0.9, "float32"),
    ),
    "w one ahead": Mutant(
        "averages.py", "weight = self.avg_weight + 1", "weight = self.avg_weight + 2", averages.test_worked_example
    ),
    "the mean for the variance": Mutant(
        "averages.py",
        "keep * self.variance + (1 - keep) * variance",
        "keep * self.variance + (1 - keep) * mean",
        averages.test_worked_example,
    ),
    "the deviation for the variance": Mutant(
        "averages.py",
        "keep * self.variance + (1 - keep) * variance",
        "keep * self.variance + (1 - keep) * np.sqrt(variance)",
        of(averages.test_rule, 0.5, "float64"),
    ),
    "what is multiplied by 0 stays": Mutant(
        "averages.py", "if keep == 0:", "if False:", reset.test_first_values_leave_no_trace
    ),
    "NaN let through": Mutant(
        "averages.py",
        "if both_finite(batch.mean, batch.variance):",
        "if True:",
        of(untouched.test_nan_in_the_data, "exact"),
    ),
    "an infinite variance let through": Mutant(
        "averages.py",
        "if both_finite(batch.mean, batch.variance):",
        "if all_finite(batch.mean):",
        non_finite.test_pooled_to_infinity,
    ),
    "an infinite variance beside a finite mean": Mutant(
        "averages.py",
        "return all_finite(mean) and all_finite(variance)",
        "return all_finite(mean)",
        non_finite.test_pooled_to_infinity,
    ),
    "averages that are NaN already let through": Mutant(
        "averages.py",
        "if both_finite(averages.mean, averages.variance):",
        "if True:",
        of(non_finite.test_averages_that_no_batch_would_mend, "mean", np.nan, "reset_weights"),
    ),
    "averages in the type of x": Mutant(
        "config.py",
        'mean=_variable(ctx, "mean", np.float64,',
        'mean=_variable(ctx, "mean", parameter_dtype,',
        of(averages.test_rule, 0.99, "float16"),
    ),
    "momentum 0.9 by default": Mutant(
        "config.py", "momentum: float = 0.99,", "momentum: float = 0.9,", averages.test_default_momentum
    ),
}

WHEN = {
    "update in evaluation": Mutant(
        "layer.py",
        "return self.ctx.is_training and self.moves",
        "return self.moves",
        steps.test_nothing_else_moves,
    ),
    "update before the step ends": Mutant(
        "layer.py",
        "pending = run.after_step[scope] = _PendingUpdate(self, batch)",
        "pending = _PendingUpdate(self, batch)\n"
        "            for variable, value in pending().items():\n"
        "                variable.value = value",
        steps.test_abandoned_steps,
    ),
    "the last use alone": Mutant("layer.py", "pending.add(batch)", "pending.batch = batch", steps.test_pooled_uses),
    "the first use alone": Mutant("layer.py", "pending.add(batch)", "pass", steps.test_pooled_uses),
    "a move for each use": Mutant(
        "layer.py",
        "pending = run.after_step.get(scope)",
        "pending = None\n        while scope in run.after_step:\n            self.ctx.apply()",
        steps.test_pooled_uses,
    ),
    "w reset to 1": Mutant("layer.py", "variable.value = 0.0", "variable.value = 1.0", reset.test_reset),
    "reset of the whole store": Mutant(
        "layer.py", "ctx.variables(role=", 'ctx.in_absolute_path("/").variables(role=', reset.test_reset
    ),
    "reset by the spelling of the scope": Mutant(
        "layer.py",
        'ctx.variables(role=ROLES["avg_weight"]):',
        '[v for v in ctx.variables() if v.path.endswith("batch_normalization/avg_weight")]:',
        reset.test_reset,
    ),
    "reset by the variable's name": Mutant(
        "layer.py",
        'ctx.variables(role=ROLES["avg_weight"]):',
        '[v for v in ctx.variables() if v.name == "avg_weight"]:',
        reset.test_reset,
    ),
}

SWITCHES = {
    "frozen averages give way in training": Mutant(
        "layer.py",
        "return self.ctx.is_training and self.moves",
        "return self.ctx.is_training",
        of(switches.test_training, FROZEN),
    ),
    "frozen_averages ignored": Mutant(
        "config.py",
        "moves=self._trainable and not self._frozen_averages,",
        "moves=self._trainable,",
        of(switches.test_training, FROZEN),
    ),
    "trainable(False) still moves": Mutant(
        "config.py",
        "moves=self._trainable and not self._frozen_averages,",
        "moves=not self._frozen_averages,",
        of(switches.test_update, FIXED, "exact"),
    ),
    "trainable(False) still learns": Mutant(
        "config.py",
        "parameter.trainable = self._trainable",
        "parameter.trainable = True",
        of(switches.test_training, FIXED),
    ),
    "frozen averages stop the scale": Mutant(
        "config.py",
        "parameter.trainable = self._trainable",
        "parameter.trainable = self._trainable and not self._frozen_averages",
        of(switches.test_training, FROZEN),
    ),
    "trainable for good": Mutant(
        "config.py",
        "parameter.trainable = self._trainable",
        "parameter.trainable = self._trainable and parameter.trainable",
        switches.test_switching,
    ),
    "the trigger set by frozen layers": Mutant(
        "config.py", "        if layer.moves:\n", "        if True:\n", of(switches.test_variables, FROZEN)
    ),
    "center for scale": Mutant(
        "config.py",
        '"scale", parameter_dtype, initializers.ones, shape) if self._scale else',
        '"scale", parameter_dtype, initializers.ones, shape) if self._center else',
        of(switches.test_variables, Switches(center=False)),
    ),
    "no current scope": Mutant(
        "config.py",
        "ctx = self._ctx if self._current_scope else",
        "ctx = self._ctx if False else",
        of(switches.test_variables, Switches(current_scope=True)),
    ),
    "M for V": Mutant(
        "layer.py",
        "statistics = self.mean.value, self.variance.value",
        "statistics = self.variance.value, self.mean.value",
        of(switches.test_evaluation, Switches(use_backend_inference=False)),
    ),
    "no offset in inference": Mutant(
        "layer.py",
        "return infer(x, self.scale_node, self.offset_node,",
        "return infer(x, self.scale_node, None,",
        of(switches.test_evaluation, Switches()),
    ),
    "batch statistics of frozen layers": Mutant(
        "layer.py",
        "return layer.with_batch_statistics(x)[0] if layer.moves else layer.with_averages(x)",
        "return layer.with_batch_statistics(x)[0]",
        of(switches.test_batch_statistics_leave_frozen_layers_alone, {"frozen_averages": True}),
    ),
    "L2 on the offset": Mutant(
        "config.py",
        "(scale, offset if self._regularize_offset else None)",
        "(offset,)",
        lambda bn: l2.test_l2_is_on_the_scale_alone(bn, rng()),
    ),
}
