"""`update_averages`: what its three methods compute."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Trainer, batchnorm, checkpoints, losses, update_averages
from tests.support.networks import (
    DEPTHS,
    ByHand,
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
from tests.support.updates import METHODS, Batches, TwoPhases, assert_averages, population, split

pytestmark = pytest.mark.usefixtures("backend")

every_method = pytest.mark.parametrize("method", METHODS)
every_network = pytest.mark.parametrize("network", DEPTHS, ids=lambda network: network.__name__)
SIZES = [(23,), (6, 6, 6, 5), (10, 10, 2, 1), (1,) * 23]


@every_network
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_exact(bn, network, sizes):
    """The population statistics of what each layer sees in inference, for any batches in any order."""
    rng = np.random.default_rng(20)
    inputs, labels = examples(rng, 23)
    subject = trained(model(bn, network), InMemoryDataset(inputs, labels, 6))
    expected = population(subject.context, network, inputs)
    order = rng.permutation(23)
    dataset = Batches(split(inputs[order], labels[order], sizes))
    weights = {v.path: v.value for v in subject.context.variables() if "batch_normalization/" not in v.path}
    with unchanged(subject.context, "variables"):
        assert bn.update_averages(subject, dataset) is True
    assert_averages(subject.context, expected, len(sizes))
    for path, value in weights.items():
        np.testing.assert_array_equal(subject.context.get_variable(path).value, value, err_msg=path)
    # One pass for each depth; one more `iter` looks whether the data set can be iterated again.
    assert dataset.given == DEPTHS[network] * len(sizes)
    # The proof: in inference, each layer's output over the data set has mean `offset` and deviation `scale`.
    hand = ByHand(subject.context, lambda scope, x: averages(subject.context, scope)[:2])
    assert_close(subject.predict(inputs), network(hand, inputs), "inference by hand", relative=1e-11)


@every_network
@pytest.mark.parametrize("sizes", SIZES[:3], ids=str)
def test_one_pass(bn, network, sizes):
    """Each layer normalizes with its batch's statistics; pooled by count."""
    rng = np.random.default_rng(21)
    inputs, labels = examples(rng, 23)
    subject = trained(model(bn, network), InMemoryDataset(inputs, labels, 6))
    batches = split(inputs, labels, sizes)
    seen = {}

    def statistics(scope, x):
        seen.setdefault(scope, []).append(x)
        return x.mean(0), x.var(0)

    for x, _ in batches:
        network(ByHand(subject.context, statistics), x)
    pooled = {scope: np.concatenate(xs) for scope, xs in seen.items()}
    dataset = Batches(batches)
    assert bn.update_averages(subject, dataset, method="one_pass") is True
    assert_averages(subject.context, {scope: (x.mean(0), x.var(0)) for scope, x in pooled.items()}, len(sizes))
    assert dataset.given == len(sizes)


@every_network
@pytest.mark.parametrize("sizes", [(23,), (6, 6, 6, 5), (2,) * 10 + (3,)], ids=str)
@pytest.mark.parametrize("momentum", [0.5, 0.99])
def test_two_phase(bn, network, sizes, momentum):
    """Batch by batch the same as the rule by hand."""
    rng = np.random.default_rng(22)
    inputs, labels = examples(rng, 23)
    subject = trained(model(bn, network, momentum=momentum), InMemoryDataset(inputs, labels, 6))
    batches = split(inputs, labels, sizes)
    rule = TwoPhases(momentum)
    for rule.phase in (0, 1):
        for x, _ in batches:
            network(ByHand(subject.context, rule), x)
    dataset = Batches(batches)
    assert bn.update_averages(subject, dataset, method="two_phase") is True
    expected = {scope: (rule.mean[scope], rule.variance[scope]) for scope in rule.mean}
    assert_averages(subject.context, expected, 2 * len(sizes))
    assert dataset.given == 2 * len(sizes)


def test_training_goes_on(bn):
    """The recomputed averages weigh as many batches as there were: the next step does not erase them."""
    rng = np.random.default_rng(23)
    inputs, labels = examples(rng, 23)
    subject = trained(normalized_first(bn), InMemoryDataset(inputs, labels, 6))
    bn.update_averages(subject, InMemoryDataset(inputs, labels, 6))
    subject.train_step(inputs[:5] + 100, labels[:5])
    mean, _, weight = averages(subject.context, "first")
    assert weight == 5
    assert_close(mean, 0.8 * inputs.mean(0) + 0.2 * (inputs[:5] + 100).mean(0), "mean")


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


@every_method
def test_shuffled_and_augmented_epochs(method):
    """A data set that shuffles anew in each epoch is one data set."""
    rng = np.random.default_rng(52)
    inputs, labels = examples(rng)
    subject = trained(normalized_first(batchnorm), InMemoryDataset(inputs, labels, 6))
    update_averages(subject, InMemoryDataset(inputs, labels, 6, shuffle=True, rng=1), method=method)
    if method != "two_phase":
        assert_averages(subject.context, {"first": (inputs.mean(0), inputs.var(0))}, 4)


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
