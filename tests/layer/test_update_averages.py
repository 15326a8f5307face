"""`update_averages`: what its three methods compute."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Trainer, batchnorm, checkpoints, layers, losses, ops, update_averages
from tests.layer import update_checks as checks
from tests.layer.update_checks import Batches, split
from tests.support.networks import (
    DEPTHS,
    assert_close,
    averages,
    chain,
    examples,
    model,
    normalized_first,
    residual,
    snapshot,
    trained,
    trainer,
    unchanged,
)

pytestmark = pytest.mark.usefixtures("backend")

METHODS = ("exact", "two_phase", "one_pass")
every_method = pytest.mark.parametrize("method", METHODS)
every_network = pytest.mark.parametrize("network", DEPTHS, ids=lambda network: network.__name__)
SIZES = [(23,), (6, 6, 6, 5), (10, 10, 2, 1), (1,) * 23]


@every_network
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_exact(network, sizes):
    checks.check_exact(batchnorm, network, sizes)


@every_network
@pytest.mark.parametrize("sizes", SIZES[:3], ids=str)
def test_one_pass(network, sizes):
    checks.check_one_pass(batchnorm, network, sizes)


@every_network
@pytest.mark.parametrize("sizes", [(23,), (6, 6, 6, 5), (2,) * 10 + (3,)], ids=str)
@pytest.mark.parametrize("momentum", [0.5, 0.99])
def test_two_phase(network, sizes, momentum):
    checks.check_two_phase(batchnorm, network, sizes, momentum)


def test_training_goes_on():
    checks.check_training_goes_on(batchnorm)


def test_shared_at_one_depth():
    checks.check_shared_at_one_depth(batchnorm)


def test_frozen_between():
    checks.check_frozen_between(batchnorm)


def test_the_trainer_s_method_is_the_same():
    rng = np.random.default_rng(40)
    inputs, labels = examples(rng)
    for method in METHODS:
        dataset = InMemoryDataset(inputs, labels, 6)
        one, other = (trained(model(batchnorm, residual), dataset) for _ in range(2))
        assert one.batch_normalization_averages_update(dataset, method=method) is True
        assert update_averages(other, dataset, method=method) is True
        assert snapshot(one.context)["variables"] == snapshot(other.context)["variables"]
    one, other = (trained(model(batchnorm, residual), dataset) for _ in range(2))
    one.batch_normalization_averages_update(dataset)
    update_averages(other, dataset, method="exact")
    assert snapshot(one.context)["variables"] == snapshot(other.context)["variables"]
    with unchanged(one.context):
        assert one.batch_normalization_averages_update(None) is False


@pytest.mark.parametrize("on_itself", [True, False])
def test_shared_over_depths(on_itself):
    """Used on its own output, directly or through another layer, a layer has no exact averages; else it has."""
    rng = np.random.default_rng(42)
    inputs, labels = examples(rng, 12)

    def run(ctx, x):
        shared = ctx.in_scope("shared").checked(False)
        y = batchnorm.batch_norm(shared, x)
        other = batchnorm.batch_norm(ctx.in_scope("other"), y if on_itself else 2.0 * x)
        return layers.dense(ctx.in_scope("out"), y + batchnorm.batch_norm(shared, ops.relu(other)), 2)

    dataset = InMemoryDataset(inputs, labels, 5)
    subject = trained(run, dataset)
    if on_itself:
        words = "exact averages of /shared/batch_normalization depend on themselves.*one_pass"
        with unchanged(subject.context), pytest.raises(ValueError, match=words):
            update_averages(subject, dataset)
        assert update_averages(subject, dataset, method="one_pass") is True
        return
    assert update_averages(subject, dataset) is True
    mean, variance = 2 * inputs.mean(0), 4 * inputs.var(0)
    scale, offset = (subject.context.get_variable(f"/other/batch_normalization/{n}").value for n in ("scale", "offset"))
    second = np.maximum((2 * inputs - mean) / np.sqrt(variance + 1e-3) * scale + offset, 0)
    both = np.concatenate([inputs, second])
    expected = {"other": (mean, variance), "shared": (both.mean(0), both.var(0))}
    checks.assert_averages(subject.context, expected, 3)


def test_directly_on_itself():
    rng = np.random.default_rng(43)
    dataset = InMemoryDataset(*examples(rng, 12), 5)

    def run(ctx, x):
        shared = ctx.in_scope("shared").checked(False)
        return layers.dense(ctx, batchnorm.batch_norm(shared, batchnorm.batch_norm(shared, x)), 2)

    subject = trained(run, dataset)
    with unchanged(subject.context), pytest.raises(ValueError, match="of /shared/batch_normalization depend"):
        update_averages(subject, dataset)


def test_two_layers_on_each_other():
    rng = np.random.default_rng(55)
    dataset = InMemoryDataset(*examples(rng, 12), 5)

    def run(ctx, x):
        one, other = (ctx.in_scope(name).checked(False) for name in ("one", "other"))
        y = batchnorm.batch_norm(other, batchnorm.batch_norm(one, x))
        return layers.dense(ctx, y + batchnorm.batch_norm(one, batchnorm.batch_norm(other, x)), 2)

    subject = trained(run, dataset)
    words = "of /one/batch_normalization and /other/batch_normalization depend"
    with unchanged(subject.context), pytest.raises(ValueError, match=words):
        update_averages(subject, dataset)


def test_used_more_often_in_a_later_batch():
    checks.check_used_more_often_in_a_later_batch(batchnorm)


def test_a_layer_that_a_batch_leaves_out():
    rng = np.random.default_rng(45)
    batches = split(*examples(rng, 12), (5, 5, 2))

    def run(ctx, x):
        y = batchnorm.batch_norm(ctx.in_scope("first"), x)
        if len(x) == 5:
            y = y + batchnorm.batch_norm(ctx.in_scope("often"), 2.0 * x)
        return layers.dense(ctx.in_scope("out"), y, 2)

    subject = trained(run, Batches(batches))
    with unchanged(subject.context), pytest.raises(ValueError, match=r"'/often/batch_normalization'\].*batch 3.*every"):
        update_averages(subject, Batches(batches))
    assert update_averages(subject, Batches(batches), method="one_pass") is True


def test_stops_at_the_layer_that_is_measured():
    checks.check_stops_at_the_layer_that_is_measured(batchnorm)


def test_a_layer_that_the_first_batch_leaves_out():
    """Its averages would stay what they were, in silence."""
    rng = np.random.default_rng(56)
    batches = split(*examples(rng, 12), (2, 5, 5))

    def run(ctx, x):
        if len(x) == 5:
            x = x + batchnorm.batch_norm(ctx.in_scope("late"), 2.0 * x)
        return layers.dense(ctx.in_scope("out"), batchnorm.batch_norm(ctx.in_scope("first"), x), 2)

    subject = trained(run, Batches(batches))
    with unchanged(subject.context), pytest.raises(ValueError, match=r"'/late/batch_normalization'\].*batch 2.*every"):
        update_averages(subject, Batches(batches))


@every_method
def test_images(method):
    """Channels of images (N, H, W, C), in batches of 5, 5 and 2, in float32, by a trainer that only evaluates."""
    rng = np.random.default_rng(57)
    images = rng.normal(rng.normal(0, 100, 3), rng.uniform(1, 2, 3), (12, 4, 6, 3)).astype(np.float32)
    dataset = InMemoryDataset(images, np.zeros(12), 5)

    def run(ctx, x):
        return batchnorm.batch_norm(ctx.in_scope("first"), x)

    subject = Trainer(Context(), run, losses.mean_squared_error, optimizer=None)
    subject.eval_step(images, np.zeros(images.shape))
    assert update_averages(subject, dataset, method=method) is True
    mean, variance, weight = averages(subject.context, "first")
    exact = images.astype(np.float64)
    if method == "two_phase":
        parts = [exact[:5], exact[5:10], exact[10:]]
        expected = [np.mean([getattr(part, name)((0, 1, 2)) for part in parts], axis=0) for name in ("mean", "var")]
    else:
        expected = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    # The contract: means within 2 units of float32, variances within 4; a mean here is 100 deviations and less.
    np.testing.assert_allclose(mean, expected[0], rtol=2 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(variance, expected[1], rtol=4 * np.finfo(np.float32).eps)
    assert weight == (6 if method == "two_phase" else 3)


def test_a_model_that_guards_itself():
    """`except Exception` around a layer does not swallow the end of a pass."""
    rng = np.random.default_rng(47)
    inputs, labels = examples(rng)

    def run(ctx, x):
        try:
            y = batchnorm.batch_norm(ctx.in_scope("first"), x)
        except Exception:
            pytest.fail("the model caught the end of the pass")
        return layers.dense(ctx, y, 2)

    subject = trained(run, InMemoryDataset(inputs, labels, 6))
    assert update_averages(subject, InMemoryDataset(inputs, labels, 6)) is True


@every_method
def test_dropout_is_off(method):
    checks.check_dropout_is_off(batchnorm, method)


@every_method
def test_progress(method):
    """(batches done, batches in all where an epoch has told, what is being done)."""
    rng = np.random.default_rng(49)
    dataset = InMemoryDataset(*examples(rng, 12), 5)
    subject = trained(model(batchnorm, chain), dataset)
    calls = []
    update_averages(subject, dataset, method=method, progress=lambda *told: calls.append(told))
    passes = {"exact": 3, "two_phase": 2, "one_pass": 1}[method]
    expected = [(done, None if number == 0 else 3) for number in range(passes) for done in (1, 2, 3)]
    assert [(done, total) for done, total, _ in calls] == expected
    assert all(isinstance(text, str) and text for *_, text in calls)
    assert len({text for *_, text in calls}) == passes


@every_method
def test_shuffled_and_augmented_epochs(method):
    """A data set that shuffles anew in each epoch is one data set."""
    rng = np.random.default_rng(52)
    inputs, labels = examples(rng)
    subject = trained(normalized_first(batchnorm), InMemoryDataset(inputs, labels, 6))
    update_averages(subject, InMemoryDataset(inputs, labels, 6, shuffle=True, rng=1), method=method)
    if method != "two_phase":
        checks.assert_averages(subject.context, {"first": (inputs.mean(0), inputs.var(0))}, 4)


def test_after_a_checkpoint(tmp_path):
    """A model read from a file, in a context that never ran it, is updated as the one that was saved."""
    rng = np.random.default_rng(53)
    dataset = InMemoryDataset(*examples(rng), 6)
    saved = trained(model(batchnorm, residual), dataset)
    checkpoints.save_checkpoint(saved.context, tmp_path / "model.npz")
    read = trainer(model(batchnorm, residual), seed=99)
    checkpoints.load_checkpoint(read.context, tmp_path / "model.npz")
    assert snapshot(read.context)["variables"] == snapshot(saved.context)["variables"]
    for subject in (saved, read):
        assert update_averages(subject, dataset) is True
    assert snapshot(read.context)["variables"] == snapshot(saved.context)["variables"]
    batchnorm.reset_weights(read.context)
    assert averages(read.context, "a")[2] == 0


@every_network
def test_evaluation_becomes_that_of_one_whole_batch(network):
    """After exact, evaluation in any batches is what the statistics of the whole data set as one batch give."""
    rng = np.random.default_rng(54)
    inputs, labels = examples(rng, 60)
    subject = trained(model(batchnorm, network, momentum=1.0), InMemoryDataset(inputs, labels, 12), epochs=10)
    with batchnorm.batch_statistics(subject.context):
        whole = subject.eval(InMemoryDataset(inputs, labels))["loss"]
    lagging = subject.eval(InMemoryDataset(inputs, labels, 7))["loss"]
    update_averages(subject, InMemoryDataset(inputs, labels, 12))
    assert_close(subject.eval(InMemoryDataset(inputs, labels, 7))["loss"], whole, "loss", relative=1e-11)
    assert abs(lagging - whole) > 1e-3
