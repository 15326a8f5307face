"""Data sets: batches, orders that come from a generator, epochs that can be started again and again."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, Loop, Trainer, datasets, layers, losses, metrics, ops, optimizers


def batches(dataset):
    return [(inputs.tolist(), labels.tolist()) for inputs, labels in dataset]


def flat(dataset):
    return [each for _, labels in batches(dataset) for each in labels]


def test_batches_in_order_with_an_incomplete_last():
    data = InMemoryDataset(np.arange(5) * 10, np.arange(5), batch_size=2)
    assert batches(data) == [([0, 10], [0, 1]), ([20, 30], [2, 3]), ([40], [4])]
    assert len(data) == 3
    assert batches(data) == batches(data)


def test_drop_last():
    data = InMemoryDataset(np.arange(5), np.arange(5), batch_size=2, drop_last=True)
    assert flat(data) == [0, 1, 2, 3]
    assert len(data) == 2
    assert len(InMemoryDataset(np.arange(4), np.arange(4), 2, drop_last=True)) == 2
    assert flat(InMemoryDataset(np.arange(1), np.arange(1), 2, drop_last=True)) == []


def test_by_default_everything_is_one_batch():
    assert batches(InMemoryDataset([1, 2, 3], [4, 5, 6])) == [([1, 2, 3], [4, 5, 6])]


@pytest.mark.parametrize("drop_last", [False, True])
def test_shuffling_keeps_inputs_with_their_labels(drop_last):
    data = InMemoryDataset(np.arange(23) * 10, np.arange(23), 4, shuffle=True, rng=0, drop_last=drop_last)
    for inputs, labels in data:
        np.testing.assert_array_equal(inputs, labels * 10)
    kept = flat(data)
    assert len(set(kept)) == len(kept) == (20 if drop_last else 23)


def test_each_epoch_has_an_order_of_its_own_and_a_seed_repeats_them():
    first, again, other = (InMemoryDataset(np.arange(50), np.arange(50), 7, True, rng) for rng in (1, 1, 2))
    epochs = [flat(first) for _ in range(3)]
    assert [flat(again) for _ in range(3)] == epochs
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert flat(other) != epochs[0]


def test_a_generator_is_used_as_it_is():
    rng = np.random.default_rng(1)
    assert (
        flat(InMemoryDataset(np.arange(50), np.arange(50), 7, True, rng))
        == np.random.default_rng(1).permutation(50).tolist()
    )


def test_two_epochs_at_once_do_not_disturb_each_other():
    data = InMemoryDataset(np.arange(6), np.arange(6), 2)
    assert [(a[1].tolist(), b[1].tolist()) for a, b in zip(data, data, strict=True)] == [
        ([i, i + 1],) * 2 for i in (0, 2, 4)
    ]


def test_the_global_random_state_plays_no_part():
    data = InMemoryDataset(np.arange(50), np.arange(50), shuffle=True, rng=3)
    expected = flat(InMemoryDataset(np.arange(50), np.arange(50), shuffle=True, rng=3))
    np.random.seed(0)  # noqa: NPY002
    assert flat(data) == expected


def test_inputs_of_any_rank():
    inputs, _ = next(iter(InMemoryDataset(np.zeros((6, 8, 8, 1)), np.zeros(6), 4)))
    assert inputs.shape == (4, 8, 8, 1)
    assert repr(InMemoryDataset(np.zeros((6, 2)), np.zeros(6), 4, name="mine")) == (
        "InMemoryDataset(mine: 6 examples, batches of 4)"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((np.zeros(3), np.zeros(4)), "inputs and labels must be as many, got 3 and 4"),
        ((np.zeros(3), np.zeros(3), 0), "batch_size must be 1 or more, got 0 for 3 examples"),
        ((np.zeros(3), np.zeros(3), -1), "batch_size must be 1 or more"),
        ((np.zeros(0), np.zeros(0)), "batch_size must be 1 or more, got 0 for 0 examples"),
        ((np.zeros(3), np.zeros(3), 2, True), "shuffle=True needs rng"),
    ],
)
def test_what_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        InMemoryDataset(*arguments)


def test_train_test_split_parts_every_example():
    inputs, labels = np.arange(20) * 10, np.arange(20)
    train, test = datasets.train_test_split(inputs, labels, 0.25, 0)
    assert (len(train[1]), len(test[1])) == (15, 5)
    assert sorted([*train[1], *test[1]]) == list(range(20))
    for part in (train, test):
        np.testing.assert_array_equal(part[0], part[1] * 10)
    np.testing.assert_array_equal(datasets.train_test_split(inputs, labels, 0.25, 0)[1][1], test[1])
    assert datasets.train_test_split(inputs, labels, 0.25, 1)[1][1].tolist() != test[1].tolist()


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2, np.nan])
def test_train_test_split_needs_a_fraction(fraction):
    with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1, got"):
        datasets.train_test_split(np.zeros(4), np.zeros(4), fraction, 0)


def test_train_test_split_leaves_no_part_empty():
    with pytest.raises(ValueError, match=r"test_fraction 0.1 leaves a part of the 3 examples empty"):
        datasets.train_test_split(np.zeros(3), np.zeros(3), 0.1, 0)
    with pytest.raises(ValueError, match="inputs and labels must be as many, got 4 and 5"):
        datasets.train_test_split(np.zeros(4), np.zeros(5), 0.5, 0)


def test_digits():
    images, labels = datasets.digits()
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((1797, 8, 8), np.float32, (1797,), np.int64)
    assert (images.min(), images.max()) == (0, 1)
    assert np.bincount(labels).min() > 170


def test_a_pytorch_data_loader_is_a_data_set():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    images, labels = datasets.digits()
    tensors = torch.utils.data.TensorDataset(torch.tensor(images[:96]), torch.tensor(labels[:96]))
    loader = torch.utils.data.DataLoader(tensors, batch_size=40)

    def trained(dataset):
        ctx = Context(0)
        trainer = Trainer(
            ctx,
            lambda ctx, x: layers.dense(ctx, layers.flatten(x), 10),
            losses.softmax_cross_entropy,
            optimizers.SGD(0.1),
            {"accuracy": metrics.accuracy},
        )
        for inputs, targets in dataset:
            trainer.train_step(inputs, targets)
        return trainer.eval(dataset)

    assert trained(loader) == trained(InMemoryDataset(images[:96], labels[:96], 40))


def test_a_pytorch_data_loader_that_cannot_tell_its_length():
    data = pytest.importorskip("torch.utils.data")

    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter([(np.full(2, float(i)), 0.0) for i in range(5)])

    trainer = Trainer(Context(0), lambda ctx, x: x, lambda labels, x: ops.mean(x), optimizers.SGD(0.1))
    loop = Loop(trainer)
    loop.run_epochs(data.DataLoader(Stream(), batch_size=2), 2)
    assert (loop.step, loop.end_step) == (6, None)


@pytest.mark.parametrize("batch_size", [2.5, "2", True, np.float64(2)], ids=repr)
def test_a_batch_size_that_is_no_int(batch_size):
    with pytest.raises(TypeError, match="batch_size must be an int, got"):
        InMemoryDataset(np.zeros(5), np.zeros(5), batch_size=batch_size)


def test_a_number_has_no_examples():
    with pytest.raises(TypeError, match="must have an entry for each example, got array"):
        InMemoryDataset(np.float32(1), np.zeros(5))
