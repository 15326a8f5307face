"""`update_averages`: whatever fails on the way leaves everything as it was."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import InMemoryDataset, batchnorm, layers, update_averages
from tests.layer import untouched_checks as checks
from tests.layer.untouched_checks import Stop
from tests.layer.update_checks import Batches, split
from tests.support.networks import chain, examples, model, normalized_first, trained, trainer, unchanged

pytestmark = pytest.mark.usefixtures("backend")

METHODS = ("exact", "two_phase", "one_pass")
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize(
    "error", [Stop("on purpose"), KeyboardInterrupt(), SystemExit()], ids=lambda e: type(e).__name__
)
def test_raising_dataset(method, error):
    checks.check_raising_dataset(batchnorm, method, error)


@every_method
@pytest.mark.parametrize("error", [Stop("on purpose"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_raising_model(method, error):
    checks.check_raising_model(batchnorm, method, error)


@every_method
def test_nan_in_the_data(method):
    checks.check_nan_in_the_data(batchnorm, method)


@every_method
def test_no_dataset(method):
    checks.check_no_dataset(batchnorm, method)


@every_method
def test_one_shot(method):
    checks.check_one_shot(batchnorm, method)


@every_method
def test_empty(method):
    checks.check_empty(batchnorm, method)


@pytest.mark.parametrize("method", ["exact", "two_phase"])
def test_unequal_epochs(method):
    checks.check_unequal_epochs(batchnorm, method)


def test_shared_iterator_at_depth_one():
    checks.check_shared_iterator_at_depth_one(batchnorm)


@every_method
def test_endless(method):
    checks.check_endless(batchnorm, method)


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
def test_a_model_that_changes_its_weights(method):
    """Even what the model itself assigned is put back when the update fails."""
    rng = np.random.default_rng(51)
    inputs, labels = examples(rng, 12)
    batches = split(inputs, labels, (5, 4, 3))
    subject = trained(normalized_first(batchnorm), Batches(batches))

    def run(ctx, x):
        weights = ctx.get_variable("/out/dense/weights")
        weights.value = weights.value + 1
        return normalized_first(batchnorm)(ctx, x)

    subject.model_fn = run
    with unchanged(subject.context), pytest.raises(Stop):
        update_averages(subject, checks.FailsAt(batches, 2, Stop()), method=method)
