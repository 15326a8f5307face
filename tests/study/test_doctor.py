"""Each planted illness is found and named, a healthy model gets a clean bill, and nothing changes."""

import json

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
from tests.support import arrays

SEEDS = (0, 1, 2)


def kinds(report):
    return {finding.kind for finding in report.findings}


def finding(report, kind):
    return next(each for each in report.findings if each.kind == kind)


def trained(seed, model, dataset, *, steps=60, learning_rate=0.1, optimizer=None):
    trainer = Trainer(
        Context(seed),
        model,
        losses.softmax_cross_entropy,
        optimizer or optimizers.SGD(learning_rate),
        {"accuracy": metrics.accuracy},
    )
    Loop(trainer).run_steps(dataset, steps)
    return trainer


def convolutional(ctx, images):
    x = ops.reshape(images, (-1, 8, 8, 1))
    for index, filters in enumerate((6, 12)):
        here = ctx.in_scope(f"conv_{index}")
        x = layers.max_pool(layers.relu(batch_norm(here, layers.conv2d(here, x, filters, use_bias=False))))
    return layers.dense(ctx.in_scope("output"), layers.flatten(x), 10)


def with_dropout(ctx, images):
    x = layers.dense(ctx, layers.flatten(images), 32)
    return layers.dense(ctx.in_scope("output"), layers.dropout(ctx, layers.relu(batch_norm(ctx, x)), 0.5), 10)


HEALTHY = {
    "two blocks": (experiments.classifier((64, 64)), {}),
    "long memory": (experiments.classifier((32,), momentum=0.999), {}),
    "short memory": (experiments.classifier((64, 64), momentum=0.9), {}),
    "four blocks": (experiments.classifier((32,) * 4), {}),
    "one epoch": (experiments.classifier((64, 64)), {"steps": 21}),
    "many epochs": (experiments.classifier((32, 32)), {"steps": 250}),
    "convolutions": (convolutional, {"steps": 25}),
    "dropout": (with_dropout, {}),
    "no scale, no offset": (experiments.classifier((64,), scale=False, center=False), {}),
    "Adam": (experiments.classifier((64, 64)), {"optimizer": optimizers.Adam(1e-3)}),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_model_gets_a_clean_bill(name, seed):
    model, options = HEALTHY[name]
    data = experiments.digits(seed)
    report = examine(trained(seed, model, data.train, **options), data.train, max_batches=8)
    assert report.ok, report.text
    assert "Nothing found" in report.text


@pytest.mark.parametrize("batch_size", [16, 32, 200])
def test_healthy_in_other_batches(batch_size):
    data = experiments.digits(3, batch_size=batch_size)
    report = examine(trained(3, experiments.classifier((64, 64)), data.train, learning_rate=0.05), data.train)
    assert report.ok, report.text


@pytest.mark.parametrize("seed", SEEDS)
def test_frozen_on_its_own_data_is_healthy(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((32,)), data.train)
    trainer.model_fn = experiments.classifier((32,), frozen_averages=True)
    assert examine(trainer, data.train).ok


# --- the planted illnesses ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_averages_never_updated(seed):
    """A training loop of one's own that forgets what the layers left to be done."""
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((32, 32)), data.train)
    for weight in trainer.context.variables():
        if weight.name in ("mean", "variance", "avg_weight"):
            weight.value = np.full(weight.shape, float(weight.name == "variance"))
    report = examine(trainer, data.train)
    assert kinds(report) == {"never_updated"}
    assert len(report.findings) == 2
    assert "seen 0 batches" in report.findings[0].sentence


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", range(6))
def test_lagging_averages_after_a_high_learning_rate(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((64, 64)), data.train)
    trainer.optimizer.learning_rate = 2.0
    Loop(trainer).run_steps(data.train, 10)
    report = examine(trainer, data.train)
    assert kinds(report) == {"lagging"}, report.text
    assert report.findings[0].layer == "/layer_0/batch_normalization"
    assert "update_averages" in report.findings[0].sentence
    assert report.checkup.losses.lag > 0.1
    update_averages(trainer, data.whole)
    assert examine(trainer, data.whole).ok


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_sorted_by_class(seed):
    data = experiments.digits(seed)
    order = np.argsort(data.train.labels, kind="stable")
    by_class = InMemoryDataset(data.train.inputs[order], data.train.labels[order], 64)
    report = examine(trained(seed, experiments.classifier((32,)), by_class), by_class)
    assert "sorted_batches" in kinds(report)
    assert kinds(report) <= {"sorted_batches", "lagging"}
    assert "1.4 of the 10 classes" in finding(report, "sorted_batches").sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_of_two(seed):
    data = experiments.digits(seed, batch_size=2)
    report = examine(trained(seed, experiments.classifier((32,)), data.train, learning_rate=0.02), data.train)
    assert "small_batches" in kinds(report)
    assert "n = 2" in finding(report, "small_batches").sentence
    assert kinds(report) <= {"small_batches", "lagging"}, report.text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_last_batch_of_one(seed):
    data = experiments.digits(seed, batch_size=64, examples=64 * 8 + 1)
    trainer = trained(seed, experiments.classifier((32,)), data.train, steps=40)
    report = examine(trainer, InMemoryDataset(data.train.inputs, data.train.labels, 64))
    assert kinds(report) == {"single_example"}
    assert "1 of 9 batches" in report.findings[0].sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dead_feature(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((32, 32)), data.train)
    weights = trainer.context.get_variable("/layer_1/dense/weights")
    weights.value = np.where(np.arange(32) == 5, 0, weights.value)
    update_averages(trainer, data.whole)
    report = examine(trainer, data.train)
    assert kinds(report) == {"dead_features"}, report.text
    assert report.findings[0].layer == "/layer_1/batch_normalization"
    assert "1 of 32 features" in report.findings[0].sentence
    assert "(5)" in report.findings[0].sentence


def test_pixels_that_are_always_blank_are_dead_features():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,), normalized_pixels=True), data.train)
    report = examine(trainer, data.train)
    assert kinds(report) == {"dead_features"}
    assert "(0, 32, 39)" in report.findings[0].sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_a_frozen_layer_on_shifted_data(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((32, 32)), data.train)
    trainer.model_fn = experiments.classifier((32, 32), frozen_averages=True)
    shifted = InMemoryDataset(3 * data.train.inputs + 1, data.train.labels, 64)
    report = examine(trainer, shifted)
    assert kinds(report) == {"frozen_on_other_data"}, report.text
    assert "/layer_0/batch_normalization" in {each.layer for each in report.findings}


@pytest.mark.parametrize("seed", SEEDS)
def test_nan_in_the_data(seed):
    data = experiments.digits(seed)
    trainer = trained(seed, experiments.classifier((32, 32)), data.train)
    spoiled = data.train.inputs.copy()
    spoiled[200, 3, 3] = np.nan
    report = examine(trainer, InMemoryDataset(spoiled, data.train.labels, 64))
    assert kinds(report) == {"non_finite_data"}
    assert "1 of 22 batches, first in batch 3" in report.findings[0].sentence
    assert report.findings[0].layer == "/layer_0/batch_normalization"
    assert np.isfinite(report.checkup.losses).all()


@pytest.mark.parametrize("dtype", arrays.HALVES)
def test_nan_in_data_of_sixteen_bits(dtype):
    """To NumPy bfloat16 is of no kind of float, and its NaN are in the data all the same."""
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    spoiled = data.train.inputs.astype(dtype)
    spoiled[200, 3, 3] = np.nan
    report = examine(trainer, InMemoryDataset(spoiled, data.train.labels, 64), max_batches=4)
    assert kinds(report) == {"non_finite_data"}


def test_nan_in_every_batch():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    report = examine(trainer, InMemoryDataset(np.full_like(data.train.inputs, np.nan), data.train.labels, 64))
    assert kinds(report) == {"non_finite_data"}
    assert report.checkup.losses is None
    assert "no batch was finite" in report.text
    assert report.to_dict()["losses"] is None


def test_nan_in_the_weights():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32, 32)), data.train)
    weights = trainer.context.get_variable("/layer_1/dense/weights")
    weights.value = np.full(weights.shape, np.nan)
    report = examine(trainer, data.train)
    assert kinds(report) == {"non_finite_activations"}
    assert report.findings[0].layer == "/layer_1/batch_normalization"


def test_nan_in_the_averages():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    mean = trainer.context.get_variable("/layer_0/batch_normalization/mean")
    mean.value = np.where(np.arange(32) < 3, np.nan, mean.value)
    report = examine(trainer, data.train)
    assert "3 of the 32 averages" in finding(report, "non_finite_averages").sentence


def test_nan_under_a_mask_is_healthy(rng):
    def masked(ctx, inputs):
        x, mask = inputs
        y = ops.where(mask[..., None], batch_norm(ctx, x, mask=mask), 0.0)
        return layers.dense(ctx, ops.sum(y, axis=1), 3)

    x, mask = rng.normal(size=(120, 6, 4)), rng.random((120, 6)) < 0.7
    mask[:, 0] = True
    x[~mask] = np.nan
    batches = [((x[i : i + 20], mask[i : i + 20]), rng.integers(3, size=20)) for i in range(0, 120, 20)]
    assert examine(trained(0, masked, batches, steps=30, learning_rate=0.01), batches).ok


@pytest.mark.parametrize("seed", SEEDS)
def test_epsilon_larger_than_the_variance(seed):
    data = experiments.digits(seed)
    report = examine(trained(seed, experiments.classifier((32,), epsilon=30.0), data.train), data.train)
    assert kinds(report) == {"large_epsilon"}, report.text
    assert "32 of the 32 features" in report.findings[0].sentence


# --- the report, and what must not change -------------------------------------------------------


@pytest.fixture(scope="module")
def ill():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((64,) * 3), data.train, learning_rate=2.0)
    return trainer, data, examine(trainer, data.train)


def test_the_gap_is_split_without_a_remainder(ill):
    *_, report = ill
    losses = report.checkup.losses
    assert losses.training + losses.rest + losses.batch_noise + losses.lag == pytest.approx(losses.averages, abs=1e-12)
    assert losses.rest == 0, "without dropout, evaluation differs by its statistics alone"


def test_exact_is_the_loss_after_an_update():
    data = experiments.digits(1)
    trainer = trained(1, experiments.classifier((32, 32)), data.whole)
    report = examine(trainer, data.whole)
    assert trainer.eval(data.whole)["loss"] == report.checkup.losses.averages
    update_averages(trainer, data.whole)
    assert trainer.eval(data.whole)["loss"] == report.checkup.losses.exact


def test_dropout_is_the_rest():
    data = experiments.digits(0)
    losses = examine(trained(0, with_dropout, data.train), data.train).checkup.losses
    assert losses.rest < -0.05


def test_nothing_changes():
    data = experiments.digits(0)
    trainer = trained(0, with_dropout, data.train)
    ctx = trainer.context
    before = {variable.path: variable.value for variable in ctx.variables()}
    states = (ctx.rng.bit_generator.state, data.train.rng.bit_generator.state, ctx.is_training, ctx.parameters)
    examine(trainer, data.train)
    assert {variable.path for variable in ctx.variables()} == before.keys()
    assert all(variable.value is before[variable.path] for variable in ctx.variables(trainable=True))
    assert all(np.array_equal(variable.value, before[variable.path]) for variable in ctx.variables())
    assert (ctx.rng.bit_generator.state, data.train.rng.bit_generator.state, ctx.is_training, ctx.parameters) == states


def test_nothing_changes_after_an_error():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    before = {variable.path: variable.value for variable in trainer.context.variables()}
    state = data.train.rng.bit_generator.state
    trainer.loss_fn = lambda labels, predictions: 1 / 0
    with pytest.raises(ZeroDivisionError):
        examine(trainer, data.train)
    assert all(np.array_equal(each.value, before[each.path]) for each in trainer.context.variables())
    assert data.train.rng.bit_generator.state == state


def test_no_batch_is_an_error():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    with pytest.raises(ValueError, match="no batch"):
        examine(trainer, [])


def test_only_so_many_batches_are_looked_at():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    assert examine(trainer, data.train, max_batches=4).checkup.batches == 4


def test_a_model_without_batch_norm_is_healthy():
    data = experiments.digits(0)

    def plain(ctx, images):
        return layers.dense(ctx, layers.flatten(images), 10)

    report = examine(trained(0, plain, data.train), data.train)
    assert report.ok
    assert report.text.startswith("0 batch normalizations")


def test_text_dictionary_and_notebook_say_the_same(ill):
    *_, report = ill
    as_dict = report.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert not as_dict["ok"]
    assert as_dict["gap"]["lag"] == report.checkup.losses.lag
    assert set(as_dict["layers"]) == set(report.checkup.layers)
    row = as_dict["layers"]["/layer_0/batch_normalization"]
    assert row["batches_seen"] == 60
    assert row["weight_on_start_values"] == 0
    assert row["n"] == 64
    for each in report.findings:
        assert each.sentence in report.text
        assert each.kind in report._repr_html_()
    assert str(report) == report.text


# --- NaN is not compared away -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mean", "variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("frozen", [False, True])
def test_averages_that_are_no_numbers_are_shown_and_build_no_other_finding(name, value, frozen):
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32, 32)), data.train)
    variable = trainer.context.get_variable(f"/layer_0/batch_normalization/{name}")
    variable.value = np.where(np.arange(32) == 7, value, variable.value)
    trainer.model_fn = experiments.classifier((32, 32), frozen_averages=frozen)
    report = examine(trainer, data.train, max_batches=4)
    spoilt = [each for each in report.findings if each.layer == "/layer_0/batch_normalization"]
    assert [each.kind for each in spoilt] == ["non_finite_averages"], report.text
    shown = report.to_dict()["layers"]["/layer_0/batch_normalization"][
        "mean_lag" if name == "mean" else "variance_ratio"
    ]
    if frozen:  # and its NaN reaches the next layer, so that no batch is left to measure
        assert {each.kind for each in report.findings} == {"non_finite_averages", "non_finite_activations"} or shown
    else:
        assert not np.isfinite(shown)
    assert "nan" not in " ".join(each.sentence for each in report.findings)


def test_what_infinity_costs_is_not_told_of_another_layer():
    """The loss is infinite by the averages of the one layer, and not by those of the other."""
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32, 32)), data.train)
    trainer.loss_fn = lambda labels, predictions: ops.mean(predictions * predictions)
    variable = trainer.context.get_variable("/layer_1/batch_normalization/mean")
    variable.value = np.where(np.arange(32) == 7, -np.inf, variable.value)
    report = examine(trainer, data.train, max_batches=4)
    assert report.checkup.losses.averages == np.inf
    assert [(each.kind, each.layer) for each in report.findings] == [
        ("non_finite_averages", "/layer_1/batch_normalization")
    ], report.text


@pytest.mark.parametrize("weight", [np.nan, -1.0, np.inf])
def test_a_weight_that_is_no_number_of_batches(weight):
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    trainer.context.get_variable("/layer_0/batch_normalization/avg_weight").value = weight
    report = examine(trainer, data.train, max_batches=4)
    assert kinds(report) == {"non_finite_averages"}
    assert f"seen {weight:g} batches" in report.findings[0].sentence


@pytest.mark.parametrize("path", ["/output/dense/weights", "/layer_0/batch_normalization/scale"])
def test_nan_behind_the_last_layers_statistics_is_no_clean_bill(path):
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    variable = trainer.context.get_variable(path)
    variable.value = np.full(variable.shape, np.nan)
    report = examine(trainer, data.train, max_batches=4)
    assert kinds(report) == {"non_finite_loss"}, report.text
    assert f"{path} hold NaN" in report.findings[0].sentence


def test_a_loss_that_is_not_finite_is_no_clean_bill():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((32,)), data.train)
    trainer.loss_fn = lambda labels, predictions: losses.softmax_cross_entropy(labels, predictions) * np.inf
    report = examine(trainer, data.train, max_batches=4)
    assert kinds(report) == {"non_finite_loss"}
    assert "look for a logarithm" in report.findings[0].sentence


# --- a gap that is seen is explained ------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_demos_gap_is_explained(seed):
    data = experiments.digits(seed)
    trainer = experiments.trainer(seed, experiments.classifier((64, 64, 64)))
    Loop(trainer).run_epochs(data.train, 10)
    both = experiments.evaluate_both_ways(trainer, data.test)
    report = examine(trainer, data.test)
    assert report.ok
    lost = both.averages["accuracy"] - both.batch["accuracy"]
    assert lost < -0.01, "else there is no gap to explain"
    assert f"{report.checkup.losses.lag:+.3g} (100% of the gap to training), of accuracy {lost:+.3f}" in report.text
    assert "no mean off by more than 0.35 deviations" in report.text
    assert report.to_dict()["metrics"]["accuracy"]["averages"] == both.averages["accuracy"]
    update_averages(trainer, data.test)
    assert examine(trainer, data.test)._verdict()[0].startswith("Nothing found: the averages describe these data")


def test_metrics_are_split_as_the_loss_is(ill):
    *_, report = ill
    accuracy = report.checkup.metrics["accuracy"]
    assert accuracy.training + accuracy.rest + accuracy.batch_noise + accuracy.lag == pytest.approx(accuracy.averages)
    assert accuracy.lag < -0.01
    assert "accuracy" in report.text.splitlines()[1]


def test_no_share_is_named_where_another_step_is_for_the_better():
    data = experiments.digits(0)
    trainer = trained(0, experiments.classifier((64, 64)), data.train)
    losses_ = examine(trainer, data.train).checkup.losses
    assert losses_.batch_noise < 0
    assert "% of the gap" not in examine(trainer, data.train).text


def alike(rng, examples, rows, features):
    """Examples whose rows and features share a brightness, in random order."""
    x = rng.standard_normal((examples, 1, 1)) + 0.2 * rng.standard_normal((examples, rows, features))
    return x.astype(np.float32)


def features_first(ctx, x):
    flat = ops.transpose(ops.reshape(x, (len(x), -1)))
    return layers.dense(ctx, ops.transpose(batch_norm(ctx, flat, feature_axis=0)), 2)


def rows_first(ctx, x):
    h = batch_norm(ctx, ops.reshape(x, (-1, x.shape[2])))
    return layers.dense(ctx, ops.mean(ops.reshape(h, x.shape), axis=1), 2)


@pytest.mark.parametrize("model", [features_first, rows_first])
def test_what_one_example_has_in_common_is_no_sorting(rng, model):
    """The first axis of such a layer is not the batch's: its rows are alike in any order of the examples."""
    batches = [(alike(rng, 32, 10, 4), np.zeros((32, 2), np.float32)) for _ in range(16)]
    trainer = Trainer(Context(0), model, losses.mean_squared_error, optimizers.SGD(0.05))
    for inputs, labels in batches:
        trainer.train_step(inputs, labels)
    assert "sorted_batches" not in kinds(examine(trainer, batches))


@pytest.mark.parametrize("several", [tuple, list], ids=lambda kind: kind.__name__)
def test_labels_of_several_shapes(rng, several):
    labels = several([np.arange(8) % 2, np.zeros((8, 3))])
    trainer = Trainer(
        Context(0),
        lambda ctx, x: layers.dense(ctx, batch_norm(ctx, x), 2),
        lambda labels, y: losses.softmax_cross_entropy(labels[0], y),
        optimizers.SGD(0.05),
    )
    batches = [(rng.standard_normal((8, 3)), labels) for _ in range(3)]
    trainer.train_step(*batches[0])
    assert examine(trainer, batches).checkup.classes is None


def test_an_averaged_variance_near_the_largest_number_is_far_off(rng):
    trainer = Trainer(Context(0), batch_norm, losses.mean_squared_error, optimizers.SGD(0.05))
    batches = [(rng.standard_normal((8, 3)), np.zeros((8, 3))) for _ in range(3)]
    for inputs, labels in batches:
        trainer.train_step(inputs, labels)
    trainer.context.get_variable("/batch_normalization/variance").value = np.array([1.0, 1.7e308, 1.0])
    assert "lagging" in kinds(examine(trainer, batches))
