"""The experiments of single lessons do what their lessons say that they did."""

import numpy as np

from pybn.lessons import experiments, trials
from pybn.study import record


def test_epsilon_run_stays_below_both_limits():
    model = experiments.classifier((64,), normalized_pixels=True, epsilon=1e-6)
    run = trials.epsilon_run(seed=0, epsilon=1e-6, model=model, steps=6)
    assert len(run.in_training) == len(run.in_evaluation) == 6
    assert run.in_training.max() <= np.sqrt(63)
    assert 100 < run.in_evaluation.max() <= 1000
    image, pixel = run.worst
    assert experiments.digits(0, examples=300).test.inputs.reshape(-1, 64)[image, pixel] > 0
    assert run.variances.shape == (64,)
    assert 0 < np.count_nonzero(run.variances == 0) < 32, "some pixels are blank in all of 300 images"


def test_rate_drop_follows_the_averages_of_the_training_itself():
    found = trials.rate_drop(seed=0, momenta=(0.9, 0.99), high=0.5, steps=(8, 4), every=4)
    assert found.step.tolist() == [4, 8, 12]
    assert found.learning_rate.tolist() == [0.5, 0.5, 0.01]

    model = experiments.classifier((64, 64, 64), momentum=0.9)
    run = experiments.recorded(0, model, learning_rate=0.5, every=8).steps(8)
    both = experiments.evaluate_both_ways(run.trainer, run.digits.test)
    assert found.averages[0.9][1] == both.averages["loss"]
    assert found.batch[1] == both.batch["loss"]


def test_rate_drop_momenta_agree_until_the_memory_of_one_is_full():
    found = trials.rate_drop(seed=1, momenta=(0.5, 0.9), steps=(4, 0), every=2)
    # Two batches fill the memory of momentum 0.5; the third does not enter alike.
    assert found.averages[0.5][0] == found.averages[0.9][0]
    assert found.averages[0.5][1] != found.averages[0.9][1]
    assert found.lag[0.5][0] == found.lag[0.9][0] > 0


def test_batch_size_run():
    run = trials.batch_size_run(seed=0, batch_size=4, steps=30)
    assert 0.6 < run.variance_ratio < 0.85
    assert run.batch < run.exact


def test_only_classes():
    data = experiments.digits(0)
    chosen = trials.only_classes(data.train, (0, 1), batch_size=16)
    assert set(chosen.labels) == {0, 1}
    assert len(chosen.labels) == np.isin(data.train.labels, (0, 1)).sum()
    assert {len(labels) for _, labels in chosen} == {16}


def test_with_contrast():
    data = experiments.digits(0).test
    shifted = trials.with_contrast(data, -1.0, 1.0)
    assert np.array_equal(shifted.inputs, 1 - data.inputs)
    assert shifted.inputs.dtype == data.inputs.dtype
    assert shifted.labels is data.labels


def test_forward_passes_move_the_averages_and_no_weight():
    run = experiments.recorded(0, experiments.classifier((8,))).steps(3)
    weights = [each.value for each in run.trainer.context.variables(trainable=True)]
    before = record.averages(run.trainer.context)["/layer_0/batch_normalization"]
    trials.forward_passes(run, run.digits.whole)
    after = record.averages(run.trainer.context)["/layer_0/batch_normalization"]
    assert after.avg_weight == before.avg_weight + len(run.digits.whole)
    assert not np.array_equal(after.mean, before.mean)
    assert all(a is b.value for a, b in zip(weights, run.trainer.context.variables(trainable=True), strict=True))
