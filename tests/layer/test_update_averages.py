"""`update_averages`: what its three methods compute."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Trainer, batchnorm, checkpoints, layers, losses, ops, update_averages
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
from tests.support.updates import Batches, TwoPhases, assert_averages, population, split

pytestmark = pytest.mark.usefixtures("backend")


METHODS = ("exact", "two_phase", "one_pass")


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


def test_shared_at_one_depth(bn):
    """A layer used on two parts of the data: its population is both."""
    rng = np.random.default_rng(24)
    inputs, labels = examples(rng, 23)
    sizes = (5, 9, 9)

    def run(ctx, x):
        first = ctx.in_scope("first").checked(False)
        y = bn.batch_norm(first, x) + bn.batch_norm(first, 3.0 * x + 1.0)
        return layers.dense(ctx.in_scope("out"), bn.batch_norm(ctx.in_scope("second"), y), 2)

    subject = trained(run, InMemoryDataset(inputs, labels, 6))
    assert bn.update_averages(subject, Batches(split(inputs, labels, sizes))) is True
    everything = np.concatenate([inputs, 3 * inputs + 1])
    mean, variance = everything.mean(0), everything.var(0)
    scale, offset = (subject.context.get_variable(f"/first/batch_normalization/{n}").value for n in ("scale", "offset"))
    y = sum((part - mean) / np.sqrt(variance + 1e-3) * scale + offset for part in (inputs, 3 * inputs + 1))
    expected = {"first": (mean, variance), "second": (y.mean(0), y.var(0))}
    assert_averages(subject.context, expected, len(sizes))


def test_frozen_between(bn):
    """A frozen layer keeps its averages, and those after it see what it makes in inference."""
    rng = np.random.default_rng(25)
    inputs, labels = examples(rng, 23)

    def run(ctx, x):
        x = bn.batch_norm(ctx.in_scope("frozen"), x, frozen_averages=True)
        x = bn.batch_norm(ctx.in_scope("fixed"), x, trainable=False)
        return layers.dense(ctx.in_scope("out"), bn.batch_norm(ctx.in_scope("free"), x), 2)

    for method in ("exact", "one_pass"):
        subject = trained(run, InMemoryDataset(inputs, labels, 6))
        for scope in ("frozen", "fixed"):
            for name, low in (("mean", -1), ("variance", 0.5), ("scale", 0.5)):
                subject.context.get_variable(f"/{scope}/batch_normalization/{name}").value = rng.uniform(low, 2, 4)
        before = {scope: averages(subject.context, scope) for scope in ("frozen", "fixed")}
        dataset = Batches(split(inputs, labels, (7, 7, 9)))
        assert bn.update_averages(subject, dataset, method=method) is True
        assert dataset.given == 3, method
        for scope, values in before.items():
            for actual, kept in zip(averages(subject.context, scope), values, strict=True):
                np.testing.assert_array_equal(actual, kept)

        def own(scope, x, ctx=subject.context):
            return averages(ctx, scope)[:2]

        hand = ByHand(subject.context, own)
        x = hand.normalize("fixed", hand.normalize("frozen", inputs))
        assert_averages(subject.context, {"free": (x.mean(0), x.var(0))}, 3)


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
    assert_averages(subject.context, expected, 3)


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


def test_used_more_often_in_a_later_batch(bn):
    """A layer shared over time steps, whose number differs from batch to batch: every use counts."""
    rng = np.random.default_rng(44)
    batches = [(rng.normal(steps, 1, (4, steps, 3)), rng.normal(size=(4, 3))) for steps in (2, 5, 3)]

    def run(ctx, x):
        shared = ctx.in_scope("first").checked(False)
        outputs = [bn.batch_norm(shared, x[:, t]) for t in range(x.shape[1])]
        return sum(outputs[1:], outputs[0])

    subject = trained(run, Batches(batches))
    assert bn.update_averages(subject, Batches(batches)) is True
    everything = np.concatenate([x.reshape(-1, 3) for x, _ in batches])
    assert_averages(subject.context, {"first": (everything.mean(0), everything.var(0))}, 3)


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


def test_stops_at_the_layer_that_is_measured(bn):
    """What comes after the last layer is not computed: a model that would raise there does not."""
    rng = np.random.default_rng(46)
    inputs, labels = examples(rng)
    runs = []

    def run(ctx, x):
        y = bn.batch_norm(ctx.in_scope("first"), x)
        runs.append(ctx.is_training)
        return layers.dense(ctx, y, 2)

    subject = trained(run, InMemoryDataset(inputs, labels, 6))
    runs.clear()
    bn.update_averages(subject, InMemoryDataset(inputs, labels, 6))
    assert runs == [False]  # the run that looks for the layers goes to the end


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
def test_dropout_is_off(bn, method):
    """The model runs in evaluation: no random number is drawn, and the pooled input is the whole one."""
    rng = np.random.default_rng(48)
    inputs, labels = examples(rng)

    def run(ctx, x):
        return layers.dense(ctx, bn.batch_norm(ctx.in_scope("first"), layers.dropout(ctx, x, 0.5)), 2)

    subject = trained(run, InMemoryDataset(inputs, labels, 6))
    with unchanged(subject.context, "variables"):
        bn.update_averages(subject, InMemoryDataset(inputs, labels), method=method)
    assert_close(averages(subject.context, "first")[0], inputs.mean(0), "mean")
    assert_close(averages(subject.context, "first")[1], inputs.var(0), "variance")


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
        assert_averages(subject.context, {"first": (inputs.mean(0), inputs.var(0))}, 4)


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
