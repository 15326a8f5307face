"""Five networks of other kinds, each healthy and ill: a table's MLP, a CNN, a deep narrow one, frozen, fine-tuned."""

import numpy as np
import pytest

from pybn import (
    Context,
    InMemoryDataset,
    Loop,
    Trainer,
    batch_norm,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    update_averages,
)
from pybn.lessons import experiments
from pybn.study.examine import examine

SEEDS = (0, 1, 2)


def table(seed, rows=1024, batch_size=64, **options):
    """Eight columns of sizes from a thousandth to ten thousand, one of them rare; whether a sum of them is large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 8))
    x[:, 5] = rng.exponential(size=rows)
    x[:, 6] = rng.random(rows) < 0.2
    labels = (x[:, 0] + x[:, 3] * x[:, 6] - x[:, 5] + 1 > 0).astype(np.int64)
    inputs = (x * np.geomspace(1e-3, 1e4, 8) + np.geomspace(1e4, 1e-3, 8)[::-1]).astype(np.float64)
    return InMemoryDataset(inputs, labels, batch_size, **{"shuffle": True, "rng": seed, **options})


def of_a_table(ctx, x):
    x = batch_norm(ctx.in_scope("columns"), x, epsilon=1e-9)
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.relu(batch_norm(here, layers.dense(here, x, 24, use_bias=False)))
    return layers.dense(ctx.in_scope("output"), x, 2)


def images(ctx, x):
    x = ops.reshape(x, (-1, 8, 8, 1))
    for index, filters in enumerate((8, 16)):
        here = ctx.in_scope(f"conv_{index}")
        x = layers.max_pool(layers.relu(batch_norm(here, layers.conv2d(here, x, filters, use_bias=False))))
    return layers.dense(ctx.in_scope("output"), layers.flatten(x), 10)


def transferred(**options):
    """A body whose batch normalizations take `options`, and a head of its own."""

    def model(ctx, x):
        x = layers.flatten(x)
        for index in range(2):
            here = ctx.in_scope(f"body_{index}")
            x = layers.relu(batch_norm(here, layers.dense(here, x, 32, use_bias=False), **options))
        here = ctx.in_scope("head")
        x = layers.relu(batch_norm(here, layers.dense(here, x, 32, use_bias=False)))
        return layers.dense(ctx.in_scope("output"), x, 10)

    return model


def trained(seed, model, data, steps, learning_rate=0.1):
    optimizer, measured = optimizers.SGD(learning_rate), {"accuracy": metrics.accuracy}
    trainer = Trainer(Context(seed), model, losses.softmax_cross_entropy, optimizer, measured)
    Loop(trainer).run_steps(data, steps)
    return trainer


def kinds(report):
    return {each.kind for each in report.findings}


def of_classes(data, wanted, **options):
    chosen = np.isin(data.train.labels, wanted)
    given = {"batch_size": 32, "shuffle": True, "rng": 0, **options}
    return InMemoryDataset(data.train.inputs[chosen], data.train.labels[chosen], **given)


# --- an MLP on a table --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tables_mlp(seed):
    data = table(seed)
    report = examine(trained(seed, of_a_table, data, 80), data)
    assert report.ok, report.text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_whose_small_columns_epsilon_drowns(seed):
    def usual_epsilon(ctx, x):
        return layers.dense(ctx, batch_norm(ctx.in_scope("columns"), x, epsilon=1e-3), 2)

    data = table(seed)
    data = InMemoryDataset(data.inputs * 1e-3, data.labels, 64, shuffle=True, rng=seed)
    report = examine(trained(seed, usual_epsilon, data, 80, 0.01), data)
    assert kinds(report) == {"large_epsilon"}, report.text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_sorted_by_its_label(seed):
    data = table(seed)
    order = np.argsort(data.labels, kind="stable")
    by_label = InMemoryDataset(data.inputs[order], data.labels[order], 64)
    assert "sorted_batches" in kinds(examine(trained(seed, of_a_table, by_label, 48), by_label))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_in_another_unit_than_it_was_trained_in(seed):
    data = table(seed)
    trainer = trained(seed, of_a_table, data, 80)
    other = InMemoryDataset(data.inputs * np.where(np.arange(8) == 2, 1000.0, 1.0), data.labels, 64)
    report = examine(trainer, other)
    assert kinds(report) == {"lagging"}, report.text
    assert report.findings[0].layer == "/columns/batch_normalization"


# --- a CNN --------------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cnn(seed):
    data = experiments.digits(seed, examples=640)
    report = examine(trained(seed, images, data.train, 30), data.train, max_batches=6)
    assert report.ok, report.text


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cnn_that_left_its_averages_behind(seed):
    data = experiments.digits(seed, examples=640)
    trainer = trained(seed, images, data.train, 30)
    trainer.optimizer.learning_rate = 2.0
    Loop(trainer).run_steps(data.train, 6)
    report = examine(trainer, data.train, max_batches=6)
    assert kinds(report) == {"lagging"}, report.text


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cnn_with_a_dead_filter(seed):
    data = experiments.digits(seed, examples=640)
    trainer = trained(seed, images, data.train, 20)
    kernel = next(v for v in trainer.context.variables(trainable=True) if v.value.ndim == 4 and "conv_1" in v.path)
    kernel.value = np.where(np.arange(16) == 3, 0, kernel.value)
    update_averages(trainer, data.whole)
    report = examine(trainer, data.train, max_batches=6)
    assert kinds(report) == {"dead_features"}, report.text
    assert "1 of 16 features" in report.findings[0].sentence


# --- a deep narrow one --------------------------------------------------------------------------

NARROW = experiments.classifier((12,) * 8)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_deep_narrow_network(seed):
    data = experiments.digits(seed)
    report = examine(trained(seed, NARROW, data.train, 120, 0.05), data.train, max_batches=8)
    assert report.ok, report.text


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_deep_narrow_network_in_batches_of_three(seed):
    data = experiments.digits(seed, batch_size=3)
    report = examine(trained(seed, NARROW, data.train, 60, 0.01), data.train, max_batches=40)
    assert {each.layer for each in report.findings if each.kind == "small_batches"} == {
        f"/layer_{index}/batch_normalization" for index in range(8)
    }


# --- frozen layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_frozen_body_on_its_own_data(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, transferred(), data.train, 80)
    trainer.model_fn = transferred(trainable=False)
    Loop(trainer).run_steps(data.train, 20)
    report = examine(trainer, data.train)
    assert report.ok, report.text
    assert not report.checkup.layers["/body_0/batch_normalization"].moves


@pytest.mark.parametrize("seed", SEEDS)
def test_a_frozen_body_that_was_never_trained(seed):
    data = experiments.digits(seed)
    report = examine(trained(seed, transferred(frozen_averages=True), data.train, 20, 0.02), data.train)
    unseen = [each for each in report.findings if each.kind == "never_updated"]
    assert [each.layer for each in unseen] == ["/body_0/batch_normalization", "/body_1/batch_normalization"]
    assert all("it is frozen: load the averages" in each.sentence for each in unseen)


# --- fine-tuned ---------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_fine_tuned_on_other_classes(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, transferred(), of_classes(data, range(5)), 60)
    few = of_classes(data, range(5, 10))
    Loop(trainer).run_steps(few, 100)
    update_averages(trainer, few)
    report = examine(trainer, few)
    assert report.ok, report.text


@pytest.mark.parametrize("seed", SEEDS)
def test_fine_tuned_on_the_old_averages(seed):
    """The body keeps the averages of five classes in white on black, and is asked about black on white."""
    data = experiments.digits(seed)
    trainer = trained(seed, transferred(), of_classes(data, range(5)), 60)
    trainer.model_fn = transferred(frozen_averages=True)
    few = of_classes(data, range(5, 10))
    inverted = InMemoryDataset(data.train.inputs.max() - few.inputs, few.labels, 32, shuffle=True, rng=seed)
    Loop(trainer).run_steps(inverted, 30)
    report = examine(trainer, inverted)
    assert "frozen_on_other_data" in kinds(report), report.text
    assert kinds(report) <= {"frozen_on_other_data", "lagging"}
    assert report.findings[0].layer == "/body_0/batch_normalization"
