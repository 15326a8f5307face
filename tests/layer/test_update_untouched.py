"""`update_averages`: whatever fails on the way leaves everything as it was."""

from __future__ import annotations

from itertools import chain as joined

import numpy as np
import pytest

from pybn import InMemoryDataset, batchnorm, layers, update_averages
from tests.support.networks import InPybn, chain, examples, model, normalized_first, trained, trainer, unchanged
from tests.support.updates import Batches, assert_averages, split


class Stop(Exception):
    """Raised by what fails on purpose."""


class FailsAt:
    """A data set that raises after so many batches in all, over its epochs."""

    def __init__(self, batches, at, error):
        self.batches, self.left, self.error = batches, at, error

    def __iter__(self):
        for batch in self.batches:
            self.left -= 1
            if self.left < 0:
                raise self.error
            yield batch


class Shrinks:
    """A data set that gives fewer batches in each epoch."""

    def __init__(self, batches):
        self.batches, self.epochs = batches, -1

    def __iter__(self):
        self.epochs += 1
        return iter(self.batches[: max(0, len(self.batches) - max(0, self.epochs - 1))])


class SharedIterator:
    """A generator in a class: it looks re-iterable, and every epoch takes from the same one."""

    def __init__(self, batches):
        self.rest = iter(batches)

    def __iter__(self):
        yield from self.rest


class Endless:
    """Never ends."""

    def __init__(self, batches):
        self.batches, self.given = batches, 0

    def __iter__(self):
        for batch in joined.from_iterable(iter(lambda: self.batches, None)):
            self.given += 1
            yield batch


pytestmark = pytest.mark.usefixtures("backend")


METHODS = ("exact", "two_phase", "one_pass")


every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize(
    "error", [Stop("on purpose"), KeyboardInterrupt(), SystemExit()], ids=lambda e: type(e).__name__
)
def test_raising_dataset(bn, method, error):
    """After an error or an interrupt at any batch of any pass, everything is as it was."""
    rng = np.random.default_rng(26)
    inputs, labels = examples(rng, 12)
    batches = split(inputs, labels, (5, 4, 3))
    subject = trained(model(bn, chain), Batches(batches))
    last = {"exact": 9, "two_phase": 6, "one_pass": 3}[method]
    for at in range(last):
        with unchanged(subject.context), pytest.raises(type(error)):
            bn.update_averages(subject, FailsAt(batches, at, error), method=method)
    assert bn.update_averages(subject, FailsAt(batches, last, error), method=method) is True


@every_method
@pytest.mark.parametrize("error", [Stop("on purpose"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_raising_model(bn, method, error):
    """The same for a model that raises before, between and after its layers, on any of its runs."""
    rng = np.random.default_rng(27)
    inputs, labels = examples(rng, 12)
    batches = split(inputs, labels, (5, 4, 3))
    left = [10**9]

    def tick():
        left[0] -= 1
        if left[0] < 0:
            raise error

    class Raising:
        def __init__(self, net):
            self.net = net

        def __getattr__(self, name):
            tick()
            return getattr(self.net, name)

    def run(ctx, x):
        return chain(Raising(InPybn(bn, ctx)), x)

    subject, twin = (trained(model(bn, chain), Batches(batches)) for _ in range(2))
    subject.model_fn = twin.model_fn = run
    bn.update_averages(twin, Batches(batches), method=method)
    ticks = 10**9 - left[0]
    assert ticks > 20
    for at in range(0, ticks, 3):
        left[0] = at
        with unchanged(subject.context), pytest.raises(type(error)):
            bn.update_averages(subject, Batches(batches), method=method)
    left[0] = ticks
    assert bn.update_averages(subject, Batches(batches), method=method) is True


@every_method
def test_nan_in_the_data(bn, method):
    """A NaN in any batch: the error names scope and feature, and everything is as it was."""
    rng = np.random.default_rng(28)
    inputs, labels = examples(rng, 12)
    subject = trained(normalized_first(bn), InMemoryDataset(inputs, labels, 5))
    for row in (0, 6, 11):
        spoiled = inputs.copy()
        spoiled[row, 2] = np.nan
        with unchanged(subject.context), pytest.raises(bn.NonFiniteStatisticsError) as caught:
            bn.update_averages(subject, InMemoryDataset(spoiled, labels, 5), method=method)
        assert "/first/batch_normalization" in str(caught.value)
        assert "features [2]" in str(caught.value)


@every_method
def test_no_dataset(bn, method):
    """None: False and nothing touched, and above all the weights not reset."""
    rng = np.random.default_rng(29)
    subject = trained(normalized_first(bn), InMemoryDataset(*examples(rng), 5))
    with unchanged(subject.context):
        assert bn.update_averages(subject, None, method=method) is False


@every_method
def test_one_shot(bn, method):
    """Generators, zip and map end after an epoch: refused before anything is read from them."""
    rng = np.random.default_rng(30)
    batches = split(*examples(rng, 12), (6, 6))
    subject = trained(normalized_first(bn), Batches(batches))
    for one_shot in ((batch for batch in batches), zip(*zip(*batches, strict=True), strict=True), map(tuple, batches)):
        with unchanged(subject.context), pytest.raises(ValueError, match="re-iterable") as caught:
            bn.update_averages(subject, one_shot, method=method)
        assert type(one_shot).__name__ in str(caught.value)
        assert len(list(one_shot)) == 2


@every_method
def test_empty(bn, method):
    """No batch in the first epoch, or in the second."""
    rng = np.random.default_rng(31)
    batches = split(*examples(rng, 12), (6, 6))
    subject = trained(model(bn, chain), Batches(batches))
    with unchanged(subject.context), pytest.raises(ValueError, match="0 batches"):
        bn.update_averages(subject, [], method=method)


@every_method
def test_batches_of_nothing(bn, method):
    """An epoch of empty batches has no averages: 0 is none."""
    rng = np.random.default_rng(35)
    inputs, labels = examples(rng, 12)
    subject = trained(normalized_first(bn), InMemoryDataset(inputs, labels, 5))
    with unchanged(subject.context), pytest.raises(ValueError, match="element") as caught:
        bn.update_averages(subject, Batches([(inputs[:0], labels[:0])] * 2), method=method)
    assert method != "exact" or "['/first/batch_normalization'] no element in this epoch" in str(caught.value)


@pytest.mark.parametrize("method", ["exact", "two_phase"])
def test_unequal_epochs(bn, method):
    """A data set whose second epoch is shorter, or empty: an error, with everything as it was."""
    rng = np.random.default_rng(32)
    batches = split(*examples(rng, 12), (6, 3, 3))
    subject = trained(model(bn, chain), Batches(batches))
    for dataset, words in (
        (Shrinks(batches), ("2 batches", "3 in the one before")),
        (SharedIterator(batches), ("0 batches",)),
    ):
        with unchanged(subject.context), pytest.raises(ValueError, match="same epoch") as caught:
            bn.update_averages(subject, dataset, method=method)
        for each in words:
            assert each in str(caught.value)


def test_shared_iterator_at_depth_one(bn):
    """One pass is enough for one depth, and it must not lose the batch on which the layers were found."""
    rng = np.random.default_rng(33)
    inputs, labels = examples(rng, 12)
    subject = trained(normalized_first(bn), InMemoryDataset(inputs, labels, 5))
    assert bn.update_averages(subject, SharedIterator(split(inputs, labels, (6, 3, 3)))) is True
    assert_averages(subject.context, {"first": (inputs.mean(0), inputs.var(0))}, 3)


@every_method
def test_endless(bn, method):
    """`max_batches` ends it; exactly as many are allowed."""
    rng = np.random.default_rng(34)
    batches = split(*examples(rng, 12), (6, 3, 3))
    subject = trained(model(bn, chain), Batches(batches))
    endless = Endless(batches)
    with unchanged(subject.context), pytest.raises(ValueError, match=r"max_batches=7.*endless"):
        bn.update_averages(subject, endless, method=method, max_batches=7)
    assert endless.given == 8
    with unchanged(subject.context), pytest.raises(ValueError, match="max_batches=2"):
        bn.update_averages(subject, Batches(batches), method=method, max_batches=2)
    assert bn.update_averages(subject, Batches(batches), method=method, max_batches=3) is True
    for limit in (0, np.nan, 2.5):  # more than NaN is nothing: the endless one would never end
        with pytest.raises((ValueError, TypeError), match=r"max_batches must be (1 or more|a whole number), got"):
            bn.update_averages(subject, Batches(batches), method=method, max_batches=limit)


@every_method
def test_without_a_batch_normalization(method):
    """No layer set the trigger: False, and the data set is not even opened."""
    rng = np.random.default_rng(41)
    inputs, labels = examples(rng)
    subject = trained(lambda ctx, x: layers.dense(ctx, x, 2), InMemoryDataset(inputs, labels, 6))
    dataset = Batches(split(inputs, labels, (23,)))
    with unchanged(subject.context):
        assert update_averages(subject, dataset, method=method) is False
    assert dataset.epochs == 0


def test_unknown_method():
    subject = trainer(normalized_first(batchnorm))
    with pytest.raises(ValueError, match=r"method must be one of \('exact', 'two_phase', 'one_pass'\), got 'excat'"):
        update_averages(subject, None, method="excat")


def test_progress_that_raises():
    rng = np.random.default_rng(50)
    dataset = InMemoryDataset(*examples(rng, 12), 5)
    subject = trained(model(batchnorm, chain), dataset)

    def progress(done, total, text):
        if total is not None and done == 2:
            raise Stop

    for method in ("exact", "two_phase"):
        with unchanged(subject.context), pytest.raises(Stop):
            update_averages(subject, dataset, method=method, progress=progress)


@every_method
@pytest.mark.parametrize("error", [Stop("on purpose"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_a_model_that_changes_its_weights(bn, method, error):
    """Even what the model itself assigned is put back when the update fails."""
    rng = np.random.default_rng(51)
    inputs, labels = examples(rng, 12)
    batches = split(inputs, labels, (5, 4, 3))
    subject = trained(normalized_first(bn), Batches(batches))

    def run(ctx, x):
        weights = ctx.get_variable("/out/dense/weights")
        weights.value = weights.value + 1
        return normalized_first(bn)(ctx, x)

    subject.model_fn = run
    with unchanged(subject.context), pytest.raises(type(error)):
        bn.update_averages(subject, FailsAt(batches, 2, error), method=method)
