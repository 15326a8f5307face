"""The run under way belongs to its thread or task: predictions beside training, and two that want to train at once."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

import pybn
from pybn import Context, Trainer, batch_norm, batchnorm, layers, losses, optimizers
from pybn.framework import blocks
from pybn.framework.checkpoints import load_checkpoint, save_checkpoint
from pybn.framework.runs import ConcurrentTrainingError

THREADS = 8


@pytest.fixture(autouse=True)
def switching_often():
    """Change threads every 10 us, not every 5 ms: what can come between comes between."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def model(ctx, x):
    for depth in range(3):
        x = batch_norm(ctx.in_scope(f"layer_{depth}"), layers.dense(ctx.in_scope(f"layer_{depth}"), x, 4))
        x = layers.dropout(ctx, layers.relu(x), 0.1)
    return layers.dense(ctx, x, 2)


def a_trainer(model=model, learning_rate=0.05):
    return Trainer(Context(0), model, losses.mean_squared_error, optimizers.SGD(learning_rate, momentum=0.5))


@pytest.fixture
def batch(rng):
    return rng.standard_normal((12, 3)).astype(np.float32), rng.standard_normal((12, 2)).astype(np.float32)


def together(*functions):
    """Run the functions at once, each in a thread of its own; their results, or the first error."""
    ready = threading.Barrier(len(functions))

    def started(function):
        ready.wait(30)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [each.result(60) for each in [pool.submit(started, function) for function in functions]]


def test_predictions_in_many_threads_are_all_the_same(batch):
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)
    expected = trainer.predict(inputs)
    found = together(*[lambda: [trainer.predict(inputs) for _ in range(25)]] * THREADS)
    for predictions in found:
        for each in predictions:
            np.testing.assert_array_equal(each, expected)
    assert not trainer.context.is_training
    assert trainer.context.get_variable("/layer_0/batch_normalization/avg_weight").value == 1


def test_the_first_predictions_at_once_make_each_variable_once(batch):
    trainer = a_trainer()
    found = together(*[lambda: trainer.predict(batch[0])] * THREADS)
    for each in found:
        np.testing.assert_array_equal(each, found[0])
    np.testing.assert_array_equal(trainer.predict(batch[0]), found[0])


def test_a_prediction_beside_training_sees_one_state_and_its_own_mode(batch):
    """Each prediction is that of the model after some whole number of steps; every step counts."""
    inputs, labels = batch
    steps = 60
    trainer, alone = a_trainer(), a_trainer()
    states = [alone.predict(inputs).tobytes()]
    for _ in range(steps):
        alone.train_step(inputs, labels)
        states.append(alone.predict(inputs).tobytes())
    assert trainer.predict(inputs).tobytes() == states[0]
    ended = threading.Event()

    def train():
        try:
            return [trainer.train_step(inputs, labels)["loss"] for _ in range(steps)]
        finally:
            ended.set()

    def predict():
        seen = []
        while not ended.is_set():
            seen.append(trainer.predict(inputs).tobytes())
        return [states.index(each) for each in seen]

    _, *seen = together(train, *[predict] * 3)
    assert any(0 < number < steps for each in seen for number in each), "nothing was predicted during the training"
    for numbers in seen:
        assert numbers == sorted(numbers)
    for variable in trainer.context.variables():
        np.testing.assert_array_equal(variable.value, alone.context.get_variable(variable.path).value)
    assert trainer.context.get_variable("/layer_0/batch_normalization/avg_weight").value == steps
    assert not trainer.context.is_training


def test_an_update_of_the_averages_is_seen_whole(batch):
    """Mean and variance move together for who predicts meanwhile."""
    inputs, labels = batch
    trainer = a_trainer(lambda ctx, x: batch_norm(ctx, x, epsilon=0.0))
    trainer.loss_fn = lambda labels, predictions: pybn.ops.mean(predictions)
    data = [[(inputs * size, labels)] for size in (1.0, 1e3)]
    trainer.train_step(inputs, labels)
    allowed = []
    for each in data:
        trainer.batch_normalization_averages_update(each)
        allowed.append(trainer.predict(inputs).tobytes())
    ended = threading.Event()

    def update():
        try:
            for round_ in range(40):
                trainer.batch_normalization_averages_update(data[round_ % 2])
        finally:
            ended.set()

    def predict():
        while not ended.is_set():
            assert trainer.predict(inputs).tobytes() in allowed

    together(update, predict, predict)


def in_another_thread(function):
    """What it returns there, where nothing that this thread's blocks set is seen."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(60)


@pytest.mark.parametrize("method", ["exact", "two_phase", "one_pass"])
def test_until_all_averages_are_new_others_see_the_old_ones(batch, method):
    """Three layers deep: after the first pass of "exact" one layer was new and two were old, for all to see."""
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)
    before, seen = trainer.predict(inputs).tobytes(), []
    paths = [each.path for each in trainer.context.variables()]

    def progress(done, total, text):
        seen.append(in_another_thread(lambda: trainer.predict(inputs).tobytes()))
        seen.append(in_another_thread(lambda: trainer.eval([(inputs, labels)])["loss"]))

    loss = trainer.eval([(inputs, labels)])["loss"]
    data = [(inputs * 2 + 3, labels)] * 2
    assert trainer.batch_normalization_averages_update(data, method=method, progress=progress)
    assert len(seen) >= 4
    assert set(seen) == {before, loss}
    after = trainer.predict(inputs).tobytes()
    assert after != before
    assert in_another_thread(lambda: trainer.predict(inputs).tobytes()) == after
    assert [each.path for each in trainer.context.variables()] == paths


def test_nobody_sees_the_averages_that_an_examination_tries(batch):
    """Whatever the model asks for in the middle of it, another thread predicts as before."""
    inputs, labels = batch
    predicted = []

    def watched(ctx, x):
        if threading.current_thread() is threading.main_thread():
            predicted.append(in_another_thread(lambda: trainer.predict(inputs).tobytes()))
        return model(ctx, x)

    trainer = a_trainer(watched)
    trainer.train_step(inputs, labels)
    predicted.clear()
    expected = trainer.predict(inputs).tobytes()
    values = [each.value for each in trainer.context.variables()]
    pybn.study.examine(trainer, [(inputs * 2 + 3, labels)] * 2)
    assert len(predicted) > 10
    assert set(predicted) == {expected}
    assert all(new.value is old for new, old in zip(trainer.context.variables(), values, strict=True))


def test_what_is_assigned_aside_ends_with_its_block():
    ctx = Context()
    one, other = (ctx.variable(name, shape=(), initializer=pybn.framework.initializers.zeros) for name in "ab")

    def elsewhere():
        return in_another_thread(lambda: (float(one.value), float(other.value)))

    with ctx.aside([one]) as view:
        one.value, other.value = 1.0, 1.0
        assert elsewhere() == (0, 1)
        with ctx.forward_pass():  # a run that begins here sees what is kept here
            assert float(one.value) == 1
            one.value = 2.0
        assert (float(one.value), float(view[one])) == (2, 2)
        with ctx.aside([one]):
            one.value = 3.0
            with suppress(KeyError), ctx.restored_on_error():
                one.value = 4.0
                raise KeyError
            assert float(one.value) == 3
        assert float(one.value) == 2
    assert (float(one.value), float(other.value)) == (0, 1) == elsewhere()


def test_a_second_training_step_at_once_says_so_and_loses_nothing(batch):
    inputs, labels = batch
    within, go_on = threading.Event(), threading.Event()

    def slow(ctx, x):
        if ctx.is_training and threading.current_thread() is first:
            within.set()
            assert go_on.wait(30)
        return model(ctx, x)

    trainer, alone = a_trainer(slow), a_trainer()
    results = []
    first = threading.Thread(target=lambda: results.append(trainer.train_step(inputs, labels)))
    first.start()
    assert within.wait(30)
    ctx = trainer.context
    before = {variable.path: variable.value.tobytes() for variable in ctx.variables()}
    for what, change in {
        "a training step": lambda: trainer.train_step(inputs, labels),
        "a reset of the weights": lambda: batchnorm.reset_weights(ctx),
    }.items():
        with pytest.raises(ConcurrentTrainingError, match=f"{what} cannot begin while a training step is under way"):
            change()
    assert {variable.path: variable.value.tobytes() for variable in ctx.variables()} == before
    go_on.set()
    first.join()
    assert results == [alone.train_step(inputs, labels)]
    assert trainer.train_step(inputs, labels) == alone.train_step(inputs, labels)
    for variable in ctx.variables():
        np.testing.assert_array_equal(variable.value, alone.context.get_variable(variable.path).value)
    assert not ctx.is_training


def test_of_many_training_threads_none_loses_a_step(batch):
    """Each step is either taken and counted, or an error."""
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)

    def train():
        taken = 0
        for _ in range(20):
            try:
                trainer.train_step(inputs, labels)
            except ConcurrentTrainingError:
                continue
            taken += 1
        return taken

    taken = sum(together(*[train] * THREADS))
    assert trainer.context.get_variable("/layer_0/batch_normalization/avg_weight").value == 1 + taken
    assert not trainer.context.is_training
    trainer.train_step(inputs, labels)  # and the next one may begin


def test_a_training_step_within_a_training_step_is_refused(batch):
    inputs, labels = batch

    def nested(ctx, x):
        if ctx.is_training:
            trainer.train_step(inputs, labels)
        return model(ctx, x)

    trainer = a_trainer(nested)
    with pytest.raises(ConcurrentTrainingError, match="around this call"):
        trainer.train_step(inputs, labels)
    assert trainer.context.variables() == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_after_an_error_the_next_step_may_begin(batch, error):
    inputs, labels = batch
    trainer = a_trainer()

    def raises(labels, predictions):
        raise error

    trainer.loss_fn = raises
    with pytest.raises(type(error)):
        trainer.train_step(inputs, labels)
    trainer.loss_fn = losses.mean_squared_error
    trainer.train_step(inputs, labels)
    assert blocks.around() == ()


def test_nothing_else_changes_a_context_during_an_update_of_its_averages(batch, tmp_path):
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)
    path = save_checkpoint(trainer.context, tmp_path / "m.npz")
    tried = []

    def progress(done, total, text):
        for change in (
            lambda: trainer.train_step(inputs, labels),
            lambda: trainer.batch_normalization_averages_update([batch]),
            lambda: load_checkpoint(trainer.context, path),
        ):
            with pytest.raises(ConcurrentTrainingError, match="while an update of the averages is under way"):
                change()
            tried.append(change)

    assert trainer.batch_normalization_averages_update([batch], progress=progress)
    assert len(tried) == 3 * 3


# --- steps written by hand, threads and tasks -------------------------------------------------------


def test_a_step_that_was_overtaken_is_not_applied():
    ctx = Context(0)
    weight = ctx.variable("w", ())
    with ctx.forward_pass(training=True):
        with ctx.forward_pass(training=True):
            ctx.apply({weight: 1.0})
            ctx.apply({weight: 2.0})  # its own step is not another's
        with pytest.raises(ConcurrentTrainingError, match="was applied since this one began"):
            ctx.apply({weight: 3.0})
    assert weight.value == 2
    ctx.apply({weight: 4.0})  # outside a run there is nothing that was overtaken
    assert weight.value == 4


def test_tasks_have_their_own_runs(batch):
    """Tasks that take turns in the middle of their runs: eight predict, two train, and one of those is told."""
    inputs = pybn.Node(batch[0])
    ctx = Context(0)
    with ctx.forward_pass(training=True):
        model(ctx, inputs)
        ctx.apply()
    with ctx.forward_pass():
        expected = model(ctx, inputs).value
    weight = ctx.get_variable("/layer_0/batch_normalization/avg_weight")

    async def predict():
        with ctx.forward_pass() as run:
            await asyncio.sleep(0)
            assert not ctx.is_training
            y = model(ctx, inputs).value
            await asyncio.sleep(0)
            assert ctx.run is run
            return y

    async def train():
        with ctx.forward_pass(training=True) as run:
            await asyncio.sleep(0)
            assert ctx.is_training
            model(ctx, inputs)
            await asyncio.sleep(0)
            assert ctx.run is run
            ctx.apply()

    async def both():
        return await asyncio.gather(*(predict() for _ in range(8)), train(), train(), return_exceptions=True)

    *predictions, one, other = asyncio.run(both())
    for each in predictions:
        np.testing.assert_array_equal(each, expected)
    assert one is None
    assert isinstance(other, ConcurrentTrainingError)
    assert weight.value == 2
    assert not ctx.is_training
    assert blocks.around() == ()


def test_a_task_begun_within_a_run_does_not_reach_out_of_its_own(batch):
    ctx = Context(0)

    async def evaluate():
        with ctx.forward_pass():
            await asyncio.sleep(0)
            return ctx.is_training

    async def around():
        with ctx.forward_pass(training=True):
            task = asyncio.create_task(evaluate())
            await asyncio.sleep(0)
            assert ctx.is_training
            found = await task
            assert ctx.is_training
            return found

    assert asyncio.run(around()) is False


def test_a_generator_that_ends_late_takes_nothing_with_it():
    ctx = Context(0)

    def passes(training):
        with ctx.forward_pass(training=training):
            yield

    first, second = passes(True), passes(False)
    next(first)
    next(second)
    assert not ctx.is_training
    first.close()
    assert not ctx.is_training
    second.close()
    assert blocks.around() == ()


def test_outside_a_run_each_thread_has_its_own_mode():
    ctx = Context(0)
    ctx.is_training = True
    ctx.variable("w")

    def elsewhere():
        ctx.variable("w")  # not used twice: this thread did not use it
        return ctx.is_training

    assert together(elsewhere) == [False]
    assert ctx.is_training


def test_a_way_to_normalize_is_that_of_its_thread(batch):
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)
    expected = trainer.predict(inputs)
    with batchnorm.batch_statistics(trainer.context):
        (elsewhere,) = together(lambda: trainer.predict(inputs))
        assert not np.array_equal(trainer.predict(inputs), expected)
    np.testing.assert_array_equal(elsewhere, expected)


def test_a_checkpoint_beside_training_holds_one_state(batch, tmp_path):
    inputs, labels = batch
    trainer = a_trainer()
    trainer.train_step(inputs, labels)
    ended = threading.Event()

    def train():
        try:
            for _ in range(60):
                trainer.train_step(inputs, labels)
        finally:
            ended.set()

    def save():
        weights = []
        while not ended.is_set():
            save_checkpoint(trainer.context, tmp_path / "m.npz")
            ctx = Context(0)
            load_checkpoint(ctx, tmp_path / "m.npz")
            weights.append({float(each.value) for each in ctx.variables() if each.name == "avg_weight"})
        return weights

    _, saved = together(train, save)
    assert saved
    for each in saved:
        assert len(each) == 1, "layers of one model, saved after different steps"


def test_one_s_own_assignments_are_seen_in_every_run_around():
    ctx = Context(0)
    weight = ctx.variable("w", ())
    with ctx.forward_pass():
        with ctx.forward_pass():
            weight.value = 1.0
            assert weight.value == 1
        assert weight.value == 1
        assert weight.node.value == 1
    assert weight.value == 1


def test_another_s_assignment_is_seen_by_the_next_run():
    ctx = Context(0)
    weight = ctx.variable("w", ())

    def assign():
        weight.value = 1.0

    with ctx.forward_pass():
        node = weight.node
        together(assign)
        assert weight.value == 0
        assert weight.node is node
    with ctx.forward_pass():
        assert weight.value == 1
