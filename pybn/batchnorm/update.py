"""Recompute the moving averages over one epoch, so that they are those of the model as it is now.

What went wrong in training (averages that lag behind fast weights, too few batches, a data set
that changed) is repaired without touching a weight.  Whatever happens on the way, an error or an
interrupt, the averages are then as before; and until all of them are new, other threads see the old ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice
from typing import Any

import numpy as np

from pybn import backend
from pybn.arguments import Moments
from pybn.batchnorm.averages import Averages, check_finite
from pybn.batchnorm.config import AVERAGES_UPDATES_TRIGGER_PARAM
from pybn.batchnorm.layer import ROLES, Layer, Strategy, normalizing
from pybn.framework.context import Context
from pybn.framework.datasets import Dataset
from pybn.framework.graph import Node, ancestors_first
from pybn.framework.parameters import whole_number
from pybn.framework.structures import inputs_of
from pybn.framework.train import Trainer, register_averages_updater
from pybn.framework.variables import Variable, restored_on_error

# (batches done, batches in all where known, what is being done)
Progress = Callable[[int, int | None, str], None]
Epoch = Callable[[str], Iterator[Any]]


def update_averages(
    trainer: Trainer,
    one_epoch_dataset: Dataset | None,
    *,
    method: str = "exact",
    progress: Progress | None = None,
    max_batches: int = 100_000,
) -> bool:
    """Recompute M and V of every layer that is trainable and not frozen, over one epoch.

    Parameters
    ----------
    trainer : whose model and context are used; no weight changes
    one_epoch_dataset : re-iterable, with labels or without; each `iter()` starts an epoch of the same
        examples (their order does not matter, but shuffling with drop_last would leave out others in each pass)
    method : "exact" pools each layer's input over the whole data set, depth by depth, with every
        earlier layer already in inference on its own exact averages: the result is what inference
        will see, whatever the batches.  One pass per depth.  Which layer feeds which is read off the
        graph of the first batch; what a model takes out of the graph (`x.value`) is not seen.
        "one_pass" pools by count in one pass, each layer normalizing with its batch's statistics.
        "two_phase" is GoMLX's: the averages rule over two passes, the first normalizing with the
        batch's statistics and the second with the averages just updated.
    progress : called with (batches done, batches in all or None, text); a ProgressBar is one
    max_batches : an epoch longer than this is taken for an endless data set

    Returns
    -------
    bool : whether averages were updated; False, with nothing touched, where the data set is None
        or no layer that may move was ever built

    Raises ValueError for an empty, one-shot or endless data set, NonFiniteStatisticsError, and
    what the model or the data set raise; the averages are then as they were.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {tuple(_METHODS)}, got {method!r}")
    if whole_number("max_batches", max_batches) < 1:
        raise ValueError(f"max_batches must be 1 or more, got {max_batches}")
    root = trainer.context.in_absolute_path("/")
    if one_epoch_dataset is None or not root.get_param(AVERAGES_UPDATES_TRIGGER_PARAM, False):
        return False
    epoch = _epochs(one_epoch_dataset, max_batches, progress)
    with trainer.together(), changing_averages(root, "an update of the averages"), restored_on_error(root.variables()):
        with root.aside(statistics_in(root)) as view:  # another thread predicts with the old ones until all are new
            before = dict(view)
            updated = _METHODS[method](trainer, epoch)
        root.assign({each: node.value for each, node in view.items() if node is not before[each]})
    return updated


def statistics_in(ctx: Context) -> list[Variable]:
    """M, V and their weight of every batch normalization in and under ctx's scope."""
    return [each for name in ("mean", "variance", "avg_weight") for each in ctx.variables(role=ROLES[name])]


def changing_averages(ctx: Context, what: str) -> AbstractContextManager[None]:
    """Be the only one that changes the store: `Context.changing`, once for all blocks of this thread that `lend` it."""
    return nullcontext() if ctx.service(_LENT, False) else ctx.changing(what)


def lend(ctx: Context) -> AbstractContextManager[None]:
    """Let the code of this block update averages, within a change that is under way around it."""
    return ctx.offering(_LENT, True)


_LENT = "who changes the averages here is the only one already"


# --- the methods --------------------------------------------------------------------------------


def _exact(trainer: Trainer, epoch: Epoch) -> bool:
    batches = epoch("depth 1")
    first = list(islice(batches, 1))  # empty where another worker has all the batches
    batches = chain(first, batches)
    depths = _of_all_workers(trainer, _layers_by_depth(trainer, first[0]) if first else None)
    everywhere = set().union(*depths)
    for depth, uses in enumerate(depths):
        pool = _Pool(uses, everywhere)
        for inputs in batches if depth == 0 else epoch(f"depth {depth + 1} of {len(depths)}"):
            with suppress(_AllMeasured):
                _run(trainer, inputs, pool.measure_only)
            pool.end_batch()
        pool.assign(trainer)
    return bool(depths)


def _one_pass(trainer: Trainer, epoch: Epoch) -> bool:
    pool = _Pool({}, set())
    for inputs in epoch("one pass"):
        _run(trainer, inputs, pool.normalize_with_batch)
        pool.end_batch()
    return pool.assign(trainer)


def _two_phase(trainer: Trainer, epoch: Epoch) -> bool:
    if len(trainer.gather("an update in two phases", None)) > 1:
        raise ValueError(
            "method 'two_phase' takes one batch after the other, which several workers do not: "
            "use 'exact' or 'one_pass'"
        )
    moved: set[str] = set()

    def batch_statistics(layer: Layer, x: Node) -> Node:
        if not layer.moves:
            return layer.with_averages(x)
        if layer.scope not in moved:
            moved.add(layer.scope)
            layer.avg_weight.value = 0.0
        y, batch = layer.with_batch_statistics(x)
        _assign(layer.ctx, layer.averages.after(batch.mean, batch.variance, layer.momentum))
        return y

    def averages_just_updated(layer: Layer, x: Node) -> Node:
        batch_statistics(layer, x)
        return layer.with_averages(x)

    batches = 0
    for phase, strategy in enumerate((batch_statistics, averages_just_updated)):
        for inputs in epoch(f"phase {phase + 1} of 2"):
            _run(trainer, inputs, strategy)
            batches += 1
    if batches == 0:
        raise ValueError(_NO_BATCH)
    return bool(moved)


_METHODS: dict[str, Callable[[Trainer, Epoch], bool]] = {
    "exact": _exact,
    "two_phase": _two_phase,
    "one_pass": _one_pass,
}


class _AllMeasured(BaseException):
    """Ends a pass's batch when its last layer has been measured; the model must not catch it."""


class _Pool:
    """The moments of several layers, pooled by count over the batches of an epoch."""

    def __init__(self, to_measure: dict[str, int], known: set[str]) -> None:
        self._to_measure = to_measure  # and how often the first batch used each
        self._known = known  # every layer that the first batch met, whatever its depth
        # A layer that is used again and again may be used more often in the next batch: run to the end.
        self._may_stop = all(count == 1 for count in to_measure.values())
        self._seen: set[str] = set()
        self._batches = 0
        self._moments: dict[str, Moments] = {}

    def measure_only(self, layer: Layer, x: Node) -> Node:
        """Take the moments of x where the layer is to be measured; stop the model after the last."""
        if layer.moves and layer.scope not in self._known:
            raise ValueError(_not_the_same([layer.scope], "not in the first batch but", self._batches + 1))
        if layer.scope in self._to_measure:
            self._add(layer, layer.moments(x))
            if self._may_stop and len(self._seen) == len(self._to_measure):
                raise _AllMeasured
        return layer.with_averages(x)

    def normalize_with_batch(self, layer: Layer, x: Node) -> Node:
        """Normalize with the batch's statistics, and pool them."""
        if not layer.moves:
            return layer.with_averages(x)
        y, batch = layer.with_batch_statistics(x)
        self._add(layer, batch)
        return y

    def end_batch(self) -> None:
        """Every layer that is to be measured must have been, in every batch."""
        missing = sorted(set(self._to_measure) - self._seen)
        if missing:
            raise ValueError(_not_the_same(missing, "in the first batch and not", self._batches + 1))
        self._seen.clear()
        self._batches += 1

    def assign(self, trainer: Trainer) -> bool:
        """Make the moments, pooled over all workers, the averages; they weigh as many batches as there were."""
        whole: dict[str, Moments] = {}
        batches = 0
        for moments, seen in trainer.gather("the averages that were measured", (self._moments, self._batches)):
            batches += seen
            for scope, part in moments.items():
                whole[scope] = backend.active().merge_moments(whole[scope], part) if scope in whole else part
        if batches == 0:
            raise ValueError(_NO_BATCH)
        if empty := sorted(scope for scope, moments in whole.items() if moments.count == 0):
            raise ValueError(
                f"the data set gave the batch normalizations {empty} no element in this epoch, only empty or wholly "
                "masked batches: of nothing there are no averages"
            )
        for scope, (_, mean, variance) in whole.items():
            _assign(trainer.context.in_absolute_path(scope), Averages(mean, variance, batches))
        return bool(whole)

    def _add(self, layer: Layer, batch: Moments) -> None:
        before = self._moments.get(layer.scope)
        moments = batch if before is None else backend.active().merge_moments(before, batch)
        check_finite(layer.scope, moments)
        self._seen.add(layer.scope)
        self._moments[layer.scope] = moments


def _not_the_same(scopes: list[str], where: str, batch: int) -> str:
    return (
        f"the model used the batch normalizations {scopes} {where} in batch {batch}: "
        "it must use the same ones in every batch; use method='one_pass'"
    )


def _layers_by_depth(trainer: Trainer, inputs: Any) -> list[dict[str, int]]:
    """For each depth, the layers that may move and how often a batch uses them.

    A layer's depth is the longest chain of such layers behind its inputs: those of one depth do not
    feed each other, and are measured in one pass.
    """
    calls: list[tuple[str, Node, Node]] = []

    def note(layer: Layer, x: Node) -> Node:
        y = layer.with_averages(x)
        if layer.moves:
            calls.append((layer.scope, x, y))
        return y

    _run(trainer, inputs, note)
    uses = Counter(scope for scope, _, _ in calls)
    sorter = TopologicalSorter(_feeders(calls))
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(
            f"the exact averages of {' and '.join(sorted(set(error.args[1])))} depend on themselves, because a layer "
            "is used on what it has normalized already; use method='one_pass'"
        ) from None
    depths = []
    while sorter.is_active():
        scopes = sorter.get_ready()
        depths.append({scope: uses[scope] for scope in scopes})
        sorter.done(*scopes)
    return depths


def _feeders(calls: list[tuple[str, Node, Node]]) -> dict[str, set[str]]:
    """By layer, the layers whose outputs its inputs are made of; calls are (scope, x, y)."""
    feeders: dict[str, set[str]] = {scope: set() for scope, _, _ in calls}
    for scope, x, _ in calls:
        behind = set(ancestors_first(x))
        feeders[scope].update(other for other, _, y in calls if y in behind)
    return feeders


# --- runs, epochs, and the way back ---------------------------------------------------------------


def _run(trainer: Trainer, inputs: Any, strategy: Strategy) -> None:
    """The model on one batch in evaluation, its batch normalizations as `strategy` says."""
    with trainer.context.forward_pass(training=False), normalizing(trainer.context, strategy):
        # Averages that are to be replaced may be infinite, and NumPy warn of it; what is measured is looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            trainer.run_model(inputs)


def _of_all_workers(trainer: Trainer, depths: list[dict[str, int]] | None) -> list[dict[str, int]]:
    """The layers by depth, on which all workers that have a batch must agree; None from one that has none."""
    found = [each for each in trainer.gather("the layers by depth", depths) if each is not None]
    if not found:
        raise ValueError(_NO_BATCH)
    for other in found:
        if other != found[0]:
            raise ValueError(f"the workers must use the same batch normalizations alike, got {found[0]} and {other}")
    return found[0]


def _assign(ctx: Context, averages: Averages) -> None:
    """Make `averages` those of the layer whose variables are in ctx's scope."""
    variables = [ctx.get_variable(name) for name in ("mean", "variance", "avg_weight")]
    ctx.assign(dict(zip(variables, averages, strict=True)))


_NO_BATCH = "the data set gave 0 batches in this epoch: it must not be empty, and each iter() must start the same epoch"


def _epochs(dataset: Dataset, max_batches: int, progress: Progress | None) -> Epoch:
    """A function that starts an epoch of inputs, and checks that each is like the first."""
    if iter(dataset) is dataset:
        raise ValueError(
            f"the data set must be re-iterable (each iter() starts an epoch), got a one-shot "
            f"{type(dataset).__name__}; wrap it in a class with __iter__, or use InMemoryDataset"
        )
    total: int | None = None

    def epoch(text: str) -> Iterator[Any]:
        nonlocal total
        done = 0
        for done, inputs in enumerate(map(inputs_of, dataset), start=1):
            if done > max_batches:
                raise ValueError(f"the data set gave more than max_batches={max_batches} batches: is it endless?")
            yield inputs
            if progress is not None:
                progress(done, total, text)
        if total not in (None, done):
            raise ValueError(
                f"the data set gave {done} batches in this epoch and {total} in the one before: it must not be empty, "
                "and each iter() must start the same epoch"
            )
        total = done

    return epoch


register_averages_updater(update_averages)
