"""Training on parts of a batch is training on the batch; what one worker raises, all raise, and nothing has changed."""

from __future__ import annotations

import numpy as np
import pytest

import pybn
from pybn import Context, InMemoryDataset, Trainer, layers, optimizers
from pybn.distributed import DataParallelTrainer, Simulated, WorkerFailedError, WorkersDifferError
from tests.distributed.workers import (
    FAULTS,
    arguments,
    assert_like_one_process,
    assert_same_state,
    batch,
    digits,
    fail_here,
    model,
    part_of,
    state,
    train_here,
)


def adam(learning_rate):
    """Adam that does not divide rounding by its own size: the digits' dead pixels have no other gradient."""
    return optimizers.Adam(learning_rate, epsilon=1.0)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("optimizer", [optimizers.SGD, adam])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_sixty_steps_are_those_of_one_process(implementation, optimizer, dtype, size):
    with pybn.use_backend(implementation):
        found = Simulated(size).run(lambda comm: train_here(comm, 60, dtype, optimizer))
        for told, there in found:
            assert_same_state(there, found[0][1])
            assert told == found[0][0]
        assert_like_one_process(*found[0], 60, dtype, optimizer)


def test_the_workers_step_moves_the_averages_as_the_whole_batch_does():
    """Not those of one part: with two examples on each worker a part's variance is half of the whole's."""
    alone = Trainer(*arguments())
    alone.train_step(*(array[:8] for array in batch(0, np.float64)))

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(*part_of([array[:8] for array in batch(0, np.float64)], comm, (0.25,) * 4))
        return state(trainer.context)

    for there in Simulated(4).run(work):
        for path in ("mean", "variance", "avg_weight"):
            path = f"/first/batch_normalization/{path}"
            np.testing.assert_allclose(there[path], state(alone.context)[path], rtol=1e-13, atol=1e-15)


class Weighing:
    """A communicator that notes how many bytes of arrays each message holds."""

    def __init__(self, comm):
        self.comm, self.rank, self.size, self.bytes = comm, comm.rank, comm.size, {}

    def allgather(self, message):
        value = message.value
        arrays = [each for each in value if isinstance(each, np.ndarray)] if isinstance(value, list | tuple) else []
        self.bytes[message.what] = sum(each.nbytes for each in arrays)
        return self.comm.allgather(message)


def test_what_travels():
    """As the page says: 16 bytes a feature forward and backward, and the gradients once."""

    def work(comm):
        weighed = Weighing(comm)
        trainer = DataParallelTrainer(weighed, *arguments())
        trainer.train_step(*part_of(batch(0, np.float32), comm, (0.5, 0.5)))
        trained = sum(each.value.nbytes for each in trainer.context.variables() if each.trainable)
        return weighed.bytes, trained

    found, trained = Simulated(2).run(work)[0]
    layers_of = {
        start: [n for what, n in found.items() if what.startswith(start)] for start in ("the stat", "the sums")
    }
    assert layers_of == {"the stat": [16 * 16] * 2, "the sums": [16 * 16] * 2}
    assert sum(found.values()) == 4 * 16 * 16 + trained


def test_evaluation_counts_each_example_alike():
    images, labels = digits(np.float32)
    alone = Trainer(*arguments())
    whole = alone.eval(InMemoryDataset(images[:203], labels[:203], batch_size=50))

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        mine = part_of((images[:203], labels[:203]), comm, (0.7, 0.2, 0.1))
        return trainer.eval(InMemoryDataset(*mine, batch_size=10))  # a rank has 14 batches, another 3

    for found in Simulated(3).run(work):
        assert found.keys() == whole.keys()
        np.testing.assert_allclose(list(found.values()), list(whole.values()), rtol=1e-5)


def test_an_evaluation_of_nothing_on_one_worker():
    images, labels = digits(np.float32)

    class Nothing:
        def __iter__(self):
            return iter(())

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        return trainer.eval(InMemoryDataset(images[:50], labels[:50], batch_size=10) if comm.rank else Nothing())

    first, second = Simulated(2).run(work)
    assert first == second


@pytest.mark.parametrize("where", ["before", "between", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_one_worker_ends_the_step_on_all(fault, where):
    states = Simulated(3).run(lambda comm: fail_here(comm, fault, where))
    for each in states:
        assert_same_state(each, states[0])


def refused(make_batch, error, text, size=3):
    """A second step that all workers refuse alike, with nothing changed."""

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(*part_of(batch(0, np.float32), comm))
        before = state(trainer.context)
        with pytest.raises(error, match=text) as raised:
            trainer.train_step(*make_batch(comm, *part_of(batch(1, np.float32), comm)))
        assert_same_state(state(trainer.context), before)
        return str(raised.value)

    assert len(set(Simulated(size).run(work))) == 1


def test_nan_on_one_worker_names_the_layer_on_all():
    def poisoned(comm, images, labels):
        images = images.copy()
        if comm.rank == 1:
            images[0] = np.nan
        return images, labels

    refused(poisoned, pybn.NonFiniteStatisticsError, "/first/batch_normalization")


def test_no_example_anywhere():
    refused(lambda comm, images, labels: (images[:0], labels[:0]), ValueError, "none on any of 3 workers")


def test_a_wrong_label_on_one_worker():
    refused(lambda comm, images, labels: (images, labels + 10 * (comm.rank == 2)), ValueError, "label")


def test_models_of_other_layers_are_told_apart_before_anything_waits():
    def other(ctx, images):
        x = pybn.batch_norm(ctx.in_scope("extra"), layers.flatten(images))
        return model(ctx, x)

    def work(comm):
        made = list(arguments())
        made[1] = other if comm.rank == 1 else model
        trainer = DataParallelTrainer(comm, *made)
        with pytest.raises(WorkersDifferError) as raised:
            trainer.train_step(*part_of(batch(0, np.float32), comm))
        return str(raised.value)

    (text,) = set(Simulated(2).run(work))
    assert "rank 0 is at the statistics of the layer /first/batch_normalization" in text
    assert "rank 1 at the statistics of the layer /extra/batch_normalization" in text


def test_a_layer_more_at_the_end_of_one_model():
    def longer(ctx, images):
        return pybn.batch_norm(ctx.in_scope("extra"), model(ctx, images))

    def work(comm):
        made = list(arguments())
        made[1] = longer if comm.rank == 0 else model
        with pytest.raises(WorkersDifferError, match="the layer /extra/batch_normalization"):
            DataParallelTrainer(comm, *made).train_step(*part_of(batch(0, np.float32), comm))

    Simulated(2).run(work)


def test_first_values_that_differ_are_named():
    def work(comm):
        made = list(arguments())
        made[0] = Context(comm.rank)
        with pytest.raises(WorkersDifferError, match=r"/first/dense/weights is .* every worker must have"):
            DataParallelTrainer(comm, *made).train_step(*part_of(batch(0, np.float32), comm))

    Simulated(2).run(work)


def second_step_after(change, synchronize=True):
    """What a second step says on each worker, `change(comm, trainer)` between the two."""

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments(), synchronize=synchronize)
        trainer.train_step(*part_of(batch(0, np.float32), comm, (0.5, 0.5)))
        change(comm, trainer)
        before = state(trainer.context)
        try:
            trainer.train_step(*part_of(batch(1, np.float32), comm, (0.5, 0.5)))
        except ValueError as error:
            assert_same_state(state(trainer.context), before)
            return str(error)
        return None

    return Simulated(2).run(work)


def assign(path):
    """Change one variable, as reading a checkpoint does."""

    def change(comm, trainer):
        variable = trainer.context.get_variable(path)
        variable.value = variable.value * 2

    return change


def on_one(change):
    return lambda comm, trainer: change(comm, trainer) if comm.rank == 1 else None


@pytest.mark.parametrize("path", ["/first/dense/weights", "/second/batch_normalization/mean"])
def test_a_checkpoint_that_one_worker_alone_has_read_is_told(path):
    """Their variables would stay apart for ever, and every step would look right."""
    first, second = second_step_after(on_one(assign(path)))
    assert first == second
    assert first.startswith(f"{path} is ")
    assert second_step_after(assign(path)) == [None, None]


def test_averages_that_are_not_synchronized_are_each_workers_own():
    path = "/second/batch_normalization/mean"
    assert second_step_after(on_one(assign(path)), synchronize=False) == [None, None]
    (text, _) = second_step_after(on_one(assign("/first/dense/weights")), synchronize=False)
    assert text.startswith("/first/dense/weights is ")


def test_another_regularization_on_one_worker_is_told():
    """The first worker's counts alone, so the other would never be missed."""

    def twice(comm, trainer):
        trainer.context.set_param("l2_regularization", 2e-3)

    first, second = second_step_after(on_one(twice))
    assert first == second
    assert "rank 0 is at the loss" in first
    assert "a regularization of" in first


def test_a_trainer_without_an_optimizer_on_one_worker():
    def forget(comm, trainer):
        trainer.optimizer = None

    first, second = second_step_after(on_one(forget))
    assert first == second
    assert "without an optimizer" in first


@pytest.mark.parametrize("fault", FAULTS)
def test_a_first_step_that_fails_on_one_worker_can_be_taken_again(fault):
    """The others have made more variables by then, and drawn more numbers: all of that is taken back."""
    error, told, _ = FAULTS[fault]
    broken = [True, True]

    def work(comm):
        def faulty(ctx, images):
            x = layers.dense(ctx.in_scope("first"), layers.flatten(images), 8)
            if comm.rank == 1 and broken[1]:
                raise error
            x = pybn.batch_norm(ctx.in_scope("first"), layers.dropout(ctx, x, 0.2))
            return layers.dense(ctx.in_scope("readout"), x, 10)

        made = list(arguments())
        made[1] = faulty
        trainer = DataParallelTrainer(comm, *made)
        mine = part_of(batch(0, np.float32), comm, (0.5, 0.5))
        if broken[comm.rank]:
            with pytest.raises(type(error) if comm.rank == 1 else told):
                trainer.train_step(*mine)
            assert state(trainer.context) == {}
            broken[comm.rank] = False
        trainer.train_step(*mine)
        return state(trainer.context)

    again = Simulated(2).run(work)
    never_failed = Simulated(2).run(work)
    for there in again:
        assert_same_state(there, never_failed[0])


class Silent(np.random.PCG64):
    """A generator of somebody's own that does not tell its state."""

    @property
    def state(self):
        raise NotImplementedError


def test_a_generator_that_does_not_tell_its_state_trains_and_an_error_says_what_is_not_taken_back():
    def work(comm, bits):
        made = list(arguments())
        made[0] = Context(np.random.Generator(bits(0)))
        trainer = DataParallelTrainer(comm, *made)
        images, labels = part_of(batch(0, np.float32), comm, (0.5, 0.5))
        trainer.train_step(images, labels)
        with pytest.raises(ArithmeticError) as raised:
            trainer.train_step(images * np.nan, labels)
        return state(trainer.context), getattr(raised.value, "__notes__", [])

    silent = Simulated(2).run(lambda comm: work(comm, Silent))
    usual = Simulated(2).run(lambda comm: work(comm, np.random.PCG64))
    for (there, notes), (known, none) in zip(silent, usual, strict=True):
        assert_same_state(there, known)
        said = "The random numbers that were drawn are not taken back: Silent does not tell its state"
        assert notes.count(said) == 1
        assert not any("random numbers" in each for each in none)


def test_another_type_on_one_worker_is_told():
    def wider(comm, images, labels):
        return images.astype(np.float64 if comm.rank == 1 else np.float32), labels

    refused(wider, WorkersDifferError, "/first/batch_normalization .* dtype float32, .* dtype float64, ")


def test_a_data_set_that_ends_early_on_one_worker():
    """The others are at their next step when it evaluates."""

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        mine = part_of(batch(0, np.float32), comm, (0.5, 0.5))
        for _ in range(2):
            trainer.train_step(*mine)
        go_on = trainer.eval if comm.rank == 0 else lambda batches: trainer.train_step(*batches[0])
        with pytest.raises(WorkersDifferError, match="the evaluation"):
            go_on([mine])

    Simulated(2).run(work)


def test_a_worker_that_is_a_step_behind_is_told():
    """As after an interrupt between the agreement and the last assignment."""

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(*part_of(batch(0, np.float32), comm))
        trainer._steps -= comm.rank
        with pytest.raises(WorkersDifferError, match=r"rank 0 is at .* step 2, rank 1 at .* step 1"):
            trainer.train_step(*part_of(batch(1, np.float32), comm))

    Simulated(2).run(work)


def test_an_evaluation_whose_parts_are_empty_batches():
    inputs, labels = batch(0, np.float64)
    alone = Trainer(*arguments()).eval([(inputs, labels)])

    def evaluate(comm):
        here = slice(None) if comm.rank == 1 else slice(0)
        return DataParallelTrainer(comm, *arguments()).eval([(inputs[here], labels[here])])

    for told in Simulated(3).run(evaluate):
        assert told == pytest.approx(alone)


@pytest.mark.parametrize("evaluating", [False, True])
def test_a_metric_that_one_worker_lacks_is_told(evaluating):
    """Its mean would be over the examples of some workers, divided by all."""
    inputs, labels = batch(0, np.float64)

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        if comm.rank == 0:
            trainer.metrics["always one"] = lambda labels, predictions: 1.0
        before = state(trainer.context)
        with pytest.raises(WorkersDifferError, match="always one"):
            trainer.eval([(inputs, labels)]) if evaluating else trainer.train_step(inputs, labels)
        return before, state(trainer.context)

    Simulated(2).run(work)


def test_a_learning_rate_that_differs_is_told():
    """Each worker would take another step, and their variables part for ever."""
    inputs, labels = batch(0, np.float64)

    def work(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        trainer.train_step(inputs, labels)
        before = state(trainer.context)
        trainer.optimizer.learning_rate *= 1 + comm.rank
        with pytest.raises(WorkersDifferError, match="learning_rate"):
            trainer.train_step(inputs, labels)
        assert_same_state(before, state(trainer.context))

    Simulated(2).run(work)


class Speechless(RuntimeError):
    """Can neither be sent nor put in words."""

    def __reduce__(self):
        raise TypeError("no pickle")

    def __str__(self):
        raise TypeError("no words")


def test_an_error_that_cannot_be_put_in_words_is_heard_all_the_same():
    def fail(comm):
        trainer = DataParallelTrainer(comm, *arguments())
        try:
            with trainer.together():
                if comm.rank == 1:
                    raise Speechless
                trainer.gather("anything", None)
        except RuntimeError as error:
            return type(error), None if comm.rank == 1 else str(error)

    heard = (WorkerFailedError, "the worker of rank 1 failed: Speechless")
    assert Simulated(3).run(fail) == [heard, (Speechless, None), heard]


@pytest.mark.parametrize("size", [0, -1])
def test_a_team_of_nobody_is_refused(size):
    with pytest.raises(ValueError, match=f"size must be 1 or more, got {size}"):
        Simulated(size)
