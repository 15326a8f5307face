"""Wrong updates: pybn.batchnorm.update with a line changed, each with the checks that must refuse it."""

from __future__ import annotations

from tests.layer import test_switches as switches
from tests.layer import test_update_averages as update
from tests.layer import test_update_models as models
from tests.layer import test_update_untouched as untouched
from tests.mutants.layer import FROZEN, Mutant, of
from tests.support.networks import behind_a_stopped_gradient, chain, residual

UPDATE = {
    "exact without the order of depths": Mutant(
        "update.py", "feeders[scope].update(", "set().update(", of(update.test_exact, chain, (6, 6, 6, 5))
    ),
    "order by gradients": Mutant(
        "update.py",
        "behind = set(ancestors_first(x))",
        "from pybn import gradient\n"
        "        behind = {y for *_, y in calls if gradient(x, [y], x.value)[0].value.any()}",
        of(update.test_exact, behind_a_stopped_gradient, (10, 10, 2, 1)),
    ),
    "a pass for each layer": Mutant(
        "update.py",
        "    return depths\n\n\ndef _feeders",
        "    return [{scope: count} for uses in depths for scope, count in uses.items()]\n\n\ndef _feeders",
        of(update.test_exact, residual, (6, 6, 6, 5)),
    ),
    "batch statistics before the layer": Mutant(
        "update.py",
        "                raise _AllMeasured\n        return layer.with_averages(x)",
        "                raise _AllMeasured\n        return layer.with_batch_statistics(x)[0]",
        of(update.test_exact, chain, (10, 10, 2, 1)),
    ),
    "pooled by batches and not by counts": Mutant(
        "update.py",
        "        before = self._moments.get(layer.scope)\n",
        "        before = self._moments.get(layer.scope)\n        batch = batch._replace(count=1)\n",
        of(update.test_exact, chain, (10, 10, 2, 1)),
    ),
    "the last batch alone": Mutant(
        "update.py",
        "batch if before is None else",
        "batch if True else",
        of(update.test_one_pass, chain, (10, 10, 2, 1)),
    ),
    "no variance between the batches": Mutant(
        "update.py",
        "backend.active().merge_moments(before, batch)",
        "backend.active().merge_moments(before, batch)._replace(variance="
        "(before.count * before.variance + batch.count * batch.variance) / (before.count + batch.count))",
        of(update.test_exact, chain, (6, 6, 6, 5)),
    ),
    "the first batch lost": Mutant(
        "update.py", "chain(first, batches)", "chain((), batches)", update.test_training_goes_on
    ),
    "averages that weigh one batch": Mutant(
        "update.py", "Averages(mean, variance, batches)", "Averages(mean, variance, 1)", update.test_training_goes_on
    ),
    "runs the whole model": Mutant(
        "update.py",
        "                raise _AllMeasured\n",
        "                pass\n",
        models.test_stops_at_the_layer_that_is_measured,
    ),
    "stops after as many uses as at first": Mutant(
        "update.py",
        "all(count == 1 for count in to_measure.values())",
        "True",
        models.test_used_more_often_in_a_later_batch,
    ),
    "the model run as in training": Mutant(
        "update.py",
        "forward_pass(training=False)",
        "forward_pass(training=True)",
        of(models.test_dropout_is_off, "exact"),
    ),
    "one_pass updates frozen layers": Mutant(
        "update.py",
        "        if not layer.moves:\n            return layer.with_averages(x)\n"
        "        y, batch = layer.with_batch_statistics(x)\n        self._add(layer, batch)",
        "        y, batch = layer.with_batch_statistics(x)\n        self._add(layer, batch)",
        models.test_frozen_between,
    ),
    "exact updates frozen layers": Mutant(
        "update.py",
        "        if layer.moves:\n            calls.append",
        "        if True:\n            calls.append",
        of(switches.test_update, FROZEN, "exact"),
    ),
    "two_phase updates frozen layers": Mutant(
        "update.py",
        "        if not layer.moves:\n            return layer.with_averages(x)\n        if layer.scope not in moved:",
        "        if layer.scope not in moved:",
        of(switches.test_update, FROZEN, "two_phase"),
    ),
    "two_phase does not reset": Mutant(
        "update.py",
        "            layer.avg_weight.value = 0.0\n",
        "",
        of(update.test_two_phase, chain, (6, 6, 6, 5), 0.99),
    ),
    "two_phase resets in each phase": Mutant(
        "update.py",
        '        for inputs in epoch(f"phase {phase + 1} of 2"):',
        '        moved.clear()\n        for inputs in epoch(f"phase {phase + 1} of 2"):',
        of(update.test_two_phase, chain, (6, 6, 6, 5), 0.99),
    ),
    "two_phase with batch statistics in both": Mutant(
        "update.py",
        "        batch_statistics(layer, x)\n        return layer.with_averages(x)",
        "        return batch_statistics(layer, x)",
        of(update.test_two_phase, chain, (6, 6, 6, 5), 0.99),
    ),
    "two_phase in one pass": Mutant(
        "update.py",
        "enumerate((batch_statistics, averages_just_updated))",
        "enumerate((batch_statistics,))",
        of(update.test_two_phase, chain, (6, 6, 6, 5), 0.5),
    ),
}

RUN_THE_METHOD = """\
    with trainer.together(), changing_averages(root, "an update of the averages"), restored_on_error(root.variables()):
        with root.aside(statistics_in(root)) as view:  # another thread predicts with the old ones until all are new
            before = dict(view)
            updated = _METHODS[method](trainer, epoch)
        root.assign({each: node.value for each, node in view.items() if node is not before[each]})
    return updated"""
RESTORING = """\
    at_first = [(variable, variable.value) for variable in root.variables()]
    try:
        return _METHODS[method](trainer, epoch)
    except {error}:
        for variable, value in at_first:
            variable.value = value
        {end}"""

UNTOUCHED = {
    "nothing restored": Mutant(
        "update.py",
        "restored_on_error(root.variables())",
        "restored_on_error([])",
        of(untouched.test_a_model_that_changes_its_weights, "exact", untouched.Stop()),
    ),
    "averages alone restored": Mutant(
        "update.py",
        "restored_on_error(root.variables())",
        "restored_on_error(statistics_in(root))",
        of(untouched.test_a_model_that_changes_its_weights, "two_phase", untouched.Stop()),
    ),
    "the update itself undone with what was tried": Mutant(
        "update.py",
        "if node is not before[each]",
        "if node is before[each]",
        update.test_training_goes_on,
    ),
    "not restored after an interrupt": Mutant(
        "update.py",
        RUN_THE_METHOD,
        RESTORING.format(error="Exception", end="raise"),
        of(untouched.test_raising_model, "exact", KeyboardInterrupt()),
    ),
    "restored and silent": Mutant(
        "update.py",
        RUN_THE_METHOD,
        RESTORING.format(error="BaseException", end="return False"),
        of(untouched.test_raising_dataset, "one_pass", untouched.Stop()),
    ),
    "weights reset without a data set": Mutant(
        "update.py",
        "root.get_param(AVERAGES_UPDATES_TRIGGER_PARAM, False):\n",
        "root.get_param(AVERAGES_UPDATES_TRIGGER_PARAM, False):\n"
        "        for variable in root.variables():\n"
        '            if variable.name == "avg_weight":\n'
        "                variable.value = 0.0\n",
        of(untouched.test_no_dataset, "exact"),
    ),
    "one-shot data sets taken": Mutant(
        "update.py", "if iter(dataset) is dataset:", "if False:", of(untouched.test_one_shot, "one_pass")
    ),
    "one batch fewer allowed": Mutant(
        "update.py", "if done > max_batches:", "if done >= max_batches:", of(untouched.test_endless, "exact")
    ),
    "epochs of any length": Mutant(
        "update.py", "total not in (None, done)", "False", of(untouched.test_unequal_epochs, "two_phase")
    ),
    "empty data sets taken": Mutant(
        "update.py",
        "        if batches == 0:\n            raise ValueError(_NO_BATCH)\n        if empty",
        "        if empty",
        of(untouched.test_empty, "one_pass"),
    ),
    "NaN measured": Mutant(
        "update.py",
        "        check_finite(layer.scope, moments)\n",
        "",
        of(untouched.test_nan_in_the_data, "exact"),
    ),
    "the mode forgotten": Mutant(
        "update.py",
        "    with trainer.context.forward_pass(training=False), normalizing(trainer.context, strategy):\n",
        "    normalizing(trainer.context, strategy).__enter__()\n"
        "    with trainer.context.forward_pass(training=False):\n",
        of(untouched.test_raising_model, "one_pass", untouched.Stop()),
    ),
}
