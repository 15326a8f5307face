"""What the lessons share gives the same numbers for the same seed, and leaves the model as it was."""

import numpy as np
import pytest

from pybn import Context
from pybn.lessons import experiments
from pybn.study import record


@pytest.fixture(scope="module")
def run():
    return experiments.recorded(1, experiments.classifier((8, 8), momentum=0.9), every=4).steps(8)


def all_values(run):
    return {variable.path: variable.value for variable in run.trainer.context.variables()}


def test_digits_are_disjoint_and_the_whole_is_what_is_trained_on():
    data = experiments.digits(seed=2)
    assert len(data.train.inputs) + len(data.test.inputs) == 1797
    assert data.whole.inputs is data.train.inputs
    assert {len(labels) for _, labels in data.train} == {64}
    assert sum(len(labels) for _, labels in data.whole) == len(data.train.inputs)


def test_fewer_digits_on_request():
    data = experiments.digits(seed=2, batch_size=10, examples=50)
    assert len(data.train.inputs) == len(data.whole.inputs) == 50
    assert len(data.test.inputs) == 449


def test_a_seed_decides_everything(run):
    again = experiments.recorded(1, experiments.classifier((8, 8), momentum=0.9), every=4).steps(8)
    one, other = all_values(run), all_values(again)
    assert all(np.array_equal(one[path], other[path]) for path in one)
    another = all_values(experiments.recorded(2, experiments.classifier((8, 8), momentum=0.9)).steps(8))
    assert not np.array_equal(one["/layer_0/dense/weights"], another["/layer_0/dense/weights"])


def test_the_classifiers_layers():
    model = experiments.classifier((8, 4), normalized_pixels=True, epsilon=0.5)
    ctx = Context(0)
    with ctx.forward_pass():
        images = experiments.digits(0).test.inputs[:3]
        assert model(ctx, images).shape == (3, 10)
    assert list(record.averages(ctx)) == [f"/{layer}/batch_normalization" for layer in ("pixels", "layer_0", "layer_1")]
    assert [each.scope for each in ctx.in_scope("pixels").variables(trainable=True)] == []


def test_plain_is_the_common_rule(run):
    layer = run.statistics["/layer_1"]
    mean, variance = np.zeros(8), np.ones(8)
    for batch_mean, batch_variance in zip(layer.batch_mean, layer.batch_variance, strict=True):
        mean, variance = 0.7 * mean + 0.3 * batch_mean, 0.7 * variance + 0.3 * batch_variance
    made = experiments.plain(0.7)(layer)
    # Eight terms of order 1 summed in another order.
    np.testing.assert_allclose(made.mean, mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(made.variance, variance, rtol=0, atol=1e-14)


def test_debiased_is_what_the_layer_did(run):
    layer = run.statistics["/layer_1"]
    made = experiments.debiased(0.9)(layer)
    kept = record.averages(run.trainer.context)["/layer_1/batch_normalization"]
    assert np.array_equal(made.mean, kept.mean)
    assert np.array_equal(made.variance, kept.variance)
    assert made.avg_weight == kept.avg_weight


def test_accuracy_with_a_rule_leaves_the_averages(run):
    before = all_values(run)
    as_they_are = run.accuracy()
    assert run.accuracy(experiments.plain(0.999)) < as_they_are
    assert run.accuracy(experiments.debiased(0.9)) == as_they_are
    run.accuracy_with_batch_statistics()
    run.error_against_inference()
    after = all_values(run)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_both_ways_are_what_they_say(run):
    both = experiments.evaluate_both_ways(run.trainer, run.digits.test)
    assert both.averages == run.trainer.eval(run.digits.test)
    assert both.batch["accuracy"] == run.accuracy_with_batch_statistics()
    assert both.averages["loss"] != both.batch["loss"]


def test_error_of_averages_is_zero_where_they_are_the_data():
    run = experiments.recorded(0, experiments.classifier((8,)), learning_rate=0.0, every=1)
    run.loop.run_steps([(run.digits.whole.inputs, run.digits.whole.labels)] * 2, 2)
    # Weights of float32 and pixels in sixteenths: sums in float64 differ by rounding alone.
    assert run.error_of_averages("/layer_0", momentum=0.9, last=2) < 1e-6


def test_update_averages_leaves_no_error():
    run = experiments.recorded(3, experiments.classifier((8, 8))).steps(5)
    assert min(run.error_against_inference().values()) > 1e-3
    assert max(run.update_averages().error_against_inference().values()) < 1e-12


def test_set_averages(run):
    with record.averages_kept(run.trainer.context):
        given = {"/layer_0/batch_normalization": record.Averages(np.full(8, 2.0), np.full(8, 3.0), 4.0)}
        experiments.set_averages(run.trainer.context, given)
        kept = record.averages(run.trainer.context)["/layer_0/batch_normalization"]
        assert kept.mean.tolist() == [2.0] * 8
        assert kept.avg_weight == 4.0


def test_a_story_has_its_updates_where_it_says():
    story = experiments.story(seed=0, stretch=3, epsilons=(0.5,))
    assert story.updates == (3, 6)
    weights = story.run.statistics[story.layer].avg_weight
    batches = len(story.run.digits.whole)
    assert weights.tolist() == [1, 2, 3, batches + 1, batches + 2, batches + 3, batches + 1, batches + 2, batches + 3]
    assert list(story.by_epsilon) == [0.5]
