"""The recorder's rows are what the training did, and recording changes nothing of it."""

import threading

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, batch_norm, layers, losses, optimizers, update_averages
from pybn.arguments import Moments
from pybn.batchnorm import Averages, effective_momentum
from pybn.framework.runs import ConcurrentTrainingError
from pybn.study import record

pytestmark = pytest.mark.usefixtures("backend")

MOMENTUM = 0.75
STEPS = 9


def model(ctx, x):
    for index in range(2):
        here = ctx.in_scope(f"layer_{index}")
        x = layers.relu(batch_norm(here, layers.dense(here, x, 5, use_bias=False), momentum=MOMENTUM))
    return layers.dense(ctx.in_scope("output"), x, 3)


@pytest.fixture
def data(rng):
    return InMemoryDataset(rng.normal(size=(42, 4)), rng.integers(3, size=42), batch_size=8)


@pytest.fixture
def loop():
    return Loop(Trainer(Context(3), model, losses.softmax_cross_entropy, optimizers.SGD(0.1)))


def test_a_row_for_each_step_and_a_column_for_each_feature(loop, data):
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, STEPS)
    assert list(recorder.layers) == ["/layer_0/batch_normalization", "/layer_1/batch_normalization"]
    for layer in recorder.layers.values():
        assert layer.step.tolist() == list(range(1, STEPS + 1))
        assert layer.count.tolist() == [8, 8, 8, 8, 8, 2, 8, 8, 8]
        assert layer.batch_mean.shape == layer.variance.shape == (STEPS, 5)
        assert layer.avg_weight.tolist() == list(range(1, STEPS + 1))


def test_the_batch_statistics_are_those_of_the_layers_input(loop, data):
    recorder = record.StatisticsRecorder(loop)
    for step, (inputs, labels) in enumerate(data):
        weights = loop.trainer.context.variables(trainable=True)
        expected = inputs @ weights[0].value if step else None
        loop.run_steps([(inputs, labels)], 1)
        if step:
            # Sums of 8 values, twice: some units in the last place of the largest.
            bound = 16 * np.finfo(float).eps * np.abs(expected).max() ** 2
            np.testing.assert_allclose(recorder["/layer_0"].batch_mean[step], expected.mean(axis=0), atol=bound)
            np.testing.assert_allclose(recorder["/layer_0"].batch_variance[step], expected.var(axis=0), atol=bound)


def test_the_last_row_of_averages_is_in_the_context(loop, data):
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, STEPS)
    mean = loop.trainer.context.get_variable("/layer_1/batch_normalization/mean")
    assert np.array_equal(recorder["/layer_1"].mean[-1], mean.value)


def test_effective_momentum_is_the_rules(loop, data):
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, STEPS)
    expected = [effective_momentum(weight, MOMENTUM) for weight in range(1, STEPS + 1)]
    # It is a quotient of differences of numbers of order 1.
    np.testing.assert_allclose(recorder["/layer_0"].effective_momentum, expected, rtol=0, atol=1e-12)


def test_effective_momentum_right_after_an_update_between_two_runs(loop, data):
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, STEPS)
    update_averages(loop.trainer, data)
    loop.run_steps(data, 1)
    assert recorder["/layer_1"].effective_momentum[-1] == pytest.approx(min(MOMENTUM, 1 - 1 / 7), abs=1e-12)


def test_fraction_kept_is_not_a_number_where_the_batch_is_the_average():
    same = Averages(np.ones(2), np.ones(2), 1.0)
    assert np.isnan(record.fraction_kept(same, Moments(4, np.ones(2), np.ones(2)), same))


def test_recording_changes_nothing(data):
    def trained(record_it):
        loop = Loop(Trainer(Context(3), model, losses.softmax_cross_entropy, optimizers.SGD(0.1)))
        if record_it:
            record.StatisticsRecorder(loop)
            record.DataRecorder(loop, data, every=2)
        loop.run_steps(data, STEPS)
        return {variable.path: variable.value for variable in loop.trainer.context.variables()}

    with_it, without = trained(True), trained(False)
    assert with_it.keys() == without.keys()
    assert all(np.array_equal(with_it[path], without[path]) for path in without)


def test_replay_is_the_training_that_would_have_been(loop, data):
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, STEPS)
    mean, variance = record.replay(recorder["/layer_1"], MOMENTUM)
    assert np.array_equal(mean, recorder["/layer_1"].mean)
    assert np.array_equal(variance, recorder["/layer_1"].variance)
    assert not np.array_equal(record.replay(recorder["/layer_1"], 0.5)[0], mean)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\]"):
        record.replay(recorder["/layer_1"], float("nan"))


def test_only_the_layers_asked_for(loop, data):
    recorder = record.StatisticsRecorder(loop, layers=["/layer_1"])
    loop.run_steps(data, 2)
    assert list(recorder.layers) == ["/layer_1/batch_normalization"]


def test_a_layer_that_is_not_there_is_an_error_that_names_those_that_are(loop, data):
    record.StatisticsRecorder(loop, layers=["/layer_7"])
    with pytest.raises(KeyError, match=r"no averages moved in /layer_7; they did in: /layer_0/.*/layer_1/"):
        loop.run_steps(data, 1)


def test_frozen_layers_have_no_rows(data):
    def frozen(ctx, x):
        return layers.dense(ctx, batch_norm(ctx, x, frozen_averages=True), 3)

    loop = Loop(Trainer(Context(0), frozen, losses.softmax_cross_entropy, optimizers.SGD(0.1)))
    recorder = record.StatisticsRecorder(loop)
    loop.run_steps(data, 2)
    assert recorder.layers == {}


def test_data_recorder_has_what_update_averages_would_make(loop, data):
    recorder = record.DataRecorder(loop, data, every=4)
    loop.run_steps(data, 8)
    update_averages(loop.trainer, data)
    assert recorder["/layer_1"].step.tolist() == [4, 8]
    variance = loop.trainer.context.get_variable("/layer_1/batch_normalization/variance").value
    assert np.array_equal(recorder["/layer_1"].variance[-1], variance)


def test_exact_averages_are_what_inference_sees(loop, data):
    loop.run_steps(data, STEPS)
    update_averages(loop.trainer, data)
    seen = record.seen_in_inference(loop.trainer, data)
    for scope, exact in record.averages(loop.trainer.context).items():
        assert seen[scope].count == 42
        # The same sums over the same 42 numbers of order 1, twice.
        np.testing.assert_allclose(seen[scope].mean, exact.mean, rtol=0, atol=1e-14)
        np.testing.assert_allclose(seen[scope].variance, exact.variance, rtol=0, atol=1e-14)


def test_what_inference_sees_before_an_update_is_something_else(loop, data):
    loop.run_steps(data, STEPS)
    before = record.averages(loop.trainer.context)["/layer_1/batch_normalization"]
    seen = record.seen_in_inference(loop.trainer, data)["/layer_1/batch_normalization"]
    assert np.abs(seen.mean - before.mean).max() > 1e-3
    after = record.averages(loop.trainer.context)["/layer_1/batch_normalization"]
    assert np.array_equal(before.mean, after.mean)


def test_averages_are_put_back_after_an_error(loop, data):
    loop.run_steps(data, 2)
    before = record.averages(loop.trainer.context)

    def interrupted():
        with record.averages_kept(loop.trainer.context):
            update_averages(loop.trainer, data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    after = record.averages(loop.trainer.context)
    assert all(np.array_equal(a, b) for scope in before for a, b in zip(before[scope], after[scope], strict=True))


def test_nobody_trains_while_the_averages_are_others(loop, data):
    """A step of another thread in there was lost from the averages, and counted among the steps."""
    loop.run_steps(data, 2)
    trainer, said = loop.trainer, []

    def train():
        try:
            trainer.train_step(*next(iter(data)))
        except ConcurrentTrainingError as error:
            said.append(str(error))

    with record.averages_kept(trainer.context), record.averages_kept(trainer.context):
        update_averages(trainer, data)
        other = threading.Thread(target=train)
        other.start()
        other.join()
    assert [each.partition(" while ")[2][:35] for each in said] == ["a measurement with other averages i"]
    trainer.train_step(*next(iter(data)))
    assert {each.avg_weight for each in record.averages(trainer.context).values()} == {3.0}
    assert trainer.context.global_step == 3


def test_several_feature_axes(rng):
    def two_axes(ctx, x):
        return layers.dense(ctx, layers.flatten(batch_norm(ctx, x, feature_axis=(1, 2))), 2)

    data = InMemoryDataset(rng.normal(size=(12, 3, 2)), rng.integers(2, size=12), batch_size=6)
    loop = Loop(Trainer(Context(0), two_axes, losses.softmax_cross_entropy, optimizers.SGD(0.1)))
    recorder, exact = record.StatisticsRecorder(loop), record.DataRecorder(loop, data)
    loop.run_steps(data, 4)
    assert recorder["/"].mean.shape == exact["/"].mean.shape == (4, 3, 2)


def test_dictionaries_hold_plain_lists(loop, data):
    recorder, exact = record.StatisticsRecorder(loop), record.DataRecorder(loop, data)
    loop.run_steps(data, 2)
    kept = recorder.to_dict()["/layer_0/batch_normalization"]
    assert kept["step"] == [1, 2]
    assert len(kept["batch_variance"][1]) == 5
    assert exact.to_dict()["/layer_1/batch_normalization"]["step"] == [1, 2]
