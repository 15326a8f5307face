"""`update_averages`: models whose layers are shared, frozen, left out, stopped early, or depend on themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import InMemoryDataset, batchnorm, layers, ops, update_averages
from tests.support.networks import ByHand, assert_close, averages, examples, trained, unchanged
from tests.support.updates import METHODS, Batches, assert_averages, split

pytestmark = pytest.mark.usefixtures("backend")


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


@pytest.mark.parametrize("method", METHODS)
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
