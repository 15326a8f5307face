"""What `update_averages` must compute, by each of its methods, as functions of the layer's package."""

from __future__ import annotations

import numpy as np

from pybn import InMemoryDataset, layers
from tests.support.networks import (
    DEPTHS,
    ByHand,
    assert_close,
    averages,
    examples,
    model,
    normalized_first,
    trained,
    unchanged,
)


class Batches:
    """A data set of given batches that counts its epochs and the batches it gave."""

    def __init__(self, batches):
        self.batches = list(batches)
        self.epochs = self.given = 0

    def __iter__(self):
        self.epochs += 1
        return self._epoch()

    def _epoch(self):
        for batch in self.batches:
            self.given += 1
            yield batch


def split(inputs, labels, sizes):
    """Batches of these sizes."""
    ends = np.cumsum(sizes)
    assert ends[-1] == len(inputs)
    return [(inputs[end - size : end], labels[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def population(ctx, network, inputs):
    """By layer, the mean and variance of its input over all examples, every earlier layer normalizing with its own."""
    found = {}

    def statistics(scope, x):
        found[scope] = x.mean(0), x.var(0)
        return found[scope]

    network(ByHand(ctx, statistics), inputs)
    return found


def assert_averages(ctx, expected, weight):
    """M, V and w of every layer."""
    for scope, (mean, variance) in expected.items():
        actual_mean, actual_variance, actual_weight = averages(ctx, scope)
        # Rounding passes through three divisions by deviations of 0.3 and more: ten times 1e-13 each.
        assert_close(actual_mean, mean, f"mean of {scope}", relative=1e-11)
        assert_close(actual_variance, variance, f"variance of {scope}", relative=1e-11)
        assert actual_weight == weight, scope


def check_exact(bn, network, sizes):
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


def check_one_pass(bn, network, sizes):
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


class TwoPhases:
    """GoMLX's rule as its documentation states it, for the statistics of `ByHand`.

    The weights are reset once.  Phase 0 normalizes with the batch's statistics and moves the averages;
    phase 1 moves the averages and normalizes with what they have just become.
    """

    def __init__(self, momentum):
        self.momentum, self.phase = momentum, 0
        self.mean, self.variance, self.weight = {}, {}, {}

    def __call__(self, scope, x):
        mean, variance = x.sum(0) / len(x), ((x - x.sum(0) / len(x)) ** 2).sum(0) / len(x)
        self.weight[scope] = self.weight.get(scope, 0) + 1
        old = min(self.momentum, 1 - 1 / self.weight[scope])
        self.mean[scope] = old * self.mean.get(scope, 0) + (1 - old) * mean
        self.variance[scope] = old * self.variance.get(scope, 0) + (1 - old) * variance
        return (mean, variance) if self.phase == 0 else (self.mean[scope], self.variance[scope])


def check_two_phase(bn, network, sizes, momentum):
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


def check_training_goes_on(bn):
    """The recomputed averages weigh as many batches as there were: the next step does not erase them."""
    rng = np.random.default_rng(23)
    inputs, labels = examples(rng, 23)
    subject = trained(normalized_first(bn), InMemoryDataset(inputs, labels, 6))
    bn.update_averages(subject, InMemoryDataset(inputs, labels, 6))
    subject.train_step(inputs[:5] + 100, labels[:5])
    mean, _, weight = averages(subject.context, "first")
    assert weight == 5
    assert_close(mean, 0.8 * inputs.mean(0) + 0.2 * (inputs[:5] + 100).mean(0), "mean")


def check_shared_at_one_depth(bn, sizes=(5, 9, 9)):
    """A layer used on two parts of the data: its population is both."""
    rng = np.random.default_rng(24)
    inputs, labels = examples(rng, 23)

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


def check_frozen_between(bn):
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


def check_used_more_often_in_a_later_batch(bn):
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


def check_stops_at_the_layer_that_is_measured(bn):
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


def check_dropout_is_off(bn, method):
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
