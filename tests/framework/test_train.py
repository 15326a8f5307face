"""Trainer and Loop: a step is a transaction, an evaluation changes nothing, hooks come in their order."""

from __future__ import annotations

from collections import UserDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

import pybn
from pybn import (
    Context,
    InMemoryDataset,
    Loop,
    Node,
    NonFiniteGradientError,
    NonFiniteLossError,
    NonFiniteStatisticsError,
    NonFiniteUpdateError,
    Trainer,
    batchnorm,
    every_n_steps,
    exponential_callback,
    initializers,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
)


def model(ctx, x):
    x = layers.dense(ctx.in_scope("first"), x, 4, use_bias=False)
    x = layers.relu(batchnorm.new(ctx, x).done())
    return layers.dense(ctx.in_scope("second"), x, 3)


def trainer_for(model_fn=model, loss_fn=losses.softmax_cross_entropy, optimizer=None, **more):
    optimizer = optimizer or optimizers.Adam(0.01)
    return Trainer(Context(0), model_fn, loss_fn, optimizer, **more)


@pytest.fixture
def data(rng):
    return InMemoryDataset(rng.standard_normal((11, 5)).astype(np.float32), rng.integers(0, 3, 11), 4)


@pytest.fixture
def batch(data):
    return next(iter(data))


def state(ctx):
    """Everything of a context that a step may change, as plain values."""
    return {v.path: (v.value.tobytes(), v.trainable) for v in ctx.variables()}, ctx.parameters, ctx.is_training


pytestmark = pytest.mark.usefixtures("backend")


# --- a step ------------------------------------------------------------------------------------------


def test_a_step_by_hand(rng):
    """Linear regression, whose gradient is known: 2/n x' (x w - t)."""
    x, targets = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    trainer = trainer_for(lambda ctx, x: layers.dense(ctx, x, 2), losses.mean_squared_error, optimizers.SGD(0.1))
    trainer.predict(x)
    w, b = (variable.value for variable in trainer.context.variables())
    values = trainer.train_step(x, targets)
    error = x @ w + b - targets
    np.testing.assert_allclose(values["loss"], np.mean(error**2), rtol=1e-14)
    after = [variable.value for variable in trainer.context.variables()]
    np.testing.assert_allclose(after[0], w - 0.1 * 2 / 12 * x.T @ error, rtol=1e-13)
    np.testing.assert_allclose(after[1], b - 0.1 * 2 / 12 * error.sum(0), rtol=1e-13)


def test_training_learns(rng):
    x = rng.standard_normal((64, 5)).astype(np.float32)
    labels = x[:, :3].argmax(1)  # guessing gets a third of them
    trainer = trainer_for(optimizer=optimizers.Adam(0.05), metrics={"accuracy": metrics.accuracy})
    data = InMemoryDataset(x, labels, 16, shuffle=True, rng=0)
    Loop(trainer).run_epochs(data, 60)
    assert trainer.eval(data)["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_bits(data):
    def trained():
        trainer = trainer_for()
        Loop(trainer).run_epochs(data, 2)
        return state(trainer.context)

    assert trained() == trained()


def test_only_what_the_run_used_is_trained(batch):
    trainer = trainer_for()
    aside = trainer.context.in_scope("aside").variable("w", (2, 2))
    before = aside.value
    trainer.train_step(*batch)
    assert aside.value is before
    assert not [each for each in trainer.context.variables() if each.path.startswith("/optimizer/aside")]


def test_what_is_not_trainable_stays(batch):
    trainer = trainer_for(optimizer=optimizers.SGD(0.1))
    trainer.predict(batch[0])
    frozen = trainer.context.get_variable("/first/dense/weights")
    frozen.trainable = False
    before = frozen.value
    trainer.train_step(*batch)
    assert frozen.value is before


def test_loss_and_regularization_are_said_apart(batch):
    """What loss_fn says is "loss", in training as in evaluation; the step goes down the sum."""
    trainer = trainer_for(optimizer=optimizers.SGD(0.0))
    plain = trainer.train_step(*batch)
    assert list(plain) == ["loss"]
    trainer.context.set_param("l2_regularization", 0.5)
    weights = [trainer.context.get_variable(path).value for path in ("/first/dense/weights", "/second/dense/weights")]
    penalty = 0.5 * sum(float(np.sum(each.astype(float) ** 2)) for each in weights)
    penalty += 0.5 * 4  # the scale of the batch normalization, still 1
    both = trainer.train_step(*batch)
    assert list(both) == ["loss", "regularization"]
    assert both["loss"] == plain["loss"]
    np.testing.assert_allclose(both["regularization"], penalty, rtol=1e-5)
    assert list(trainer.eval_step(*batch)) == ["loss"]
    before = trainer.context.get_variable("/second/dense/weights").value
    trainer.optimizer = optimizers.SGD(1.0)
    trainer.loss_fn = lambda labels, predictions: ops.sum(predictions * 0.0)
    trainer.train_step(*batch)
    np.testing.assert_allclose(  # 2 * .5 * w is what L2's gradient takes off
        trainer.context.get_variable("/second/dense/weights").value, 0 * before, atol=1e-7
    )


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_an_infinite_regularization_is_a_loss_that_is_refused(batch):
    trainer = trainer_for()
    trainer.train_step(*batch)
    trainer.context.set_param("l2_regularization", 1e39)
    with pytest.raises(NonFiniteLossError, match="the loss of this batch is inf"):
        trainer.train_step(*batch)


def test_values_are_floats_by_name(batch):
    trainer = trainer_for(metrics={"accuracy": metrics.accuracy})
    for values in (trainer.train_step(*batch), trainer.eval_step(*batch), trainer.eval([batch])):
        assert list(values) == ["loss", "accuracy"]
        assert {type(each) for each in values.values()} == {float}


@pytest.mark.parametrize("narrow", [np.float16, np.float32, lambda value: ops.mean(Node(np.array([value]))), np.array])
def test_a_metric_of_another_type_is_a_float_too(narrow):
    """The sum of 70 000 times .9 is infinite in float16, and in float32 that of 30 000 thirds is 2e-5 off."""
    trainer = Trainer(Context(0), lambda ctx, x: x, lambda y, x: ops.mean(x), None, {"m": lambda y, x: narrow(0.9)})
    batch = np.zeros((70_000, 1), np.float32), np.zeros(70_000)
    for values in (trainer.eval_step(*batch), trainer.eval([batch, batch])):
        assert type(values["m"]) is float
        assert abs(values["m"] - 0.9) < 1e-3


@pytest.mark.parametrize("value", [None, "0.5", np.ones(2), [0.5], 1j])
def test_a_metric_that_gives_no_number_is_named(value):
    trainer = Trainer(Context(0), lambda ctx, x: x, lambda y, x: ops.mean(x), None, {"m": lambda y, x: value})
    with pytest.raises(TypeError, match="the metric 'm' must give one number, got"):
        trainer.eval_step(np.ones((2, 1)), np.ones(2))


def test_what_the_layers_saw_can_be_observed(batch):
    trainer = trainer_for()
    trainer.train_step(*batch)
    (seen,) = trainer.observed.values()
    assert list(trainer.observed) == ["/batch_normalization"]
    assert seen.count == 4
    assert type(seen.mean) is np.ndarray


# --- a step that fails changes nothing -----------------------------------------------------------------


def failing_model(error):
    def function(ctx, x):
        model(ctx, x)
        raise error

    return function


def spoilt_by_nan(trainer, batch, rng):
    inputs = batch[0].copy()
    inputs[1, 2] = np.nan
    trainer.train_step(inputs, batch[1])


def with_nan_loss(trainer, batch, rng):
    trainer.loss_fn = lambda labels, logits: ops.mean(logits) * np.nan
    trainer.train_step(*batch)


def with_infinite_loss(trainer, batch, rng):
    trainer.loss_fn = lambda labels, logits: ops.mean(logits) + np.inf
    trainer.train_step(*batch)


def with_no_derivative(trainer, batch, rng):
    """The loss of logits that are all 0 is sqrt(0), which is finite and has no slope."""
    trainer.loss_fn = lambda labels, logits: ops.sqrt(ops.mean(logits * 0.0))
    with np.errstate(all="ignore"):
        trainer.train_step(*batch)


def with_bad_labels(trainer, batch, rng):
    trainer.train_step(batch[0], batch[1] + 7)


def with_failing_model(trainer, batch, rng):
    trainer.model_fn = failing_model(RuntimeError("the model gave up"))
    trainer.train_step(*batch)


def with_interrupt(trainer, batch, rng):
    trainer.model_fn = failing_model(KeyboardInterrupt())
    trainer.train_step(*batch)


def with_failing_metric(trainer, batch, rng):
    trainer.metrics = {"bad": lambda labels, logits: 1 / 0}
    trainer.train_step(*batch)


def with_failing_optimizer(trainer, batch, rng):
    class Failing(optimizers.Adam):
        def new_values(self, ctx, variables, gradients):
            values = super().new_values(ctx, variables, gradients)
            values[variables[-1]] = np.zeros(99)
            return values

    trainer.optimizer = Failing()
    trainer.train_step(*batch)


FAILURES = [
    (spoilt_by_nan, NonFiniteStatisticsError, r"/batch_normalization.*no variable was changed"),
    (with_nan_loss, NonFiniteLossError, "the loss of this batch is nan; nothing was changed"),
    (with_infinite_loss, NonFiniteLossError, "the loss of this batch is inf; nothing was changed"),
    (with_no_derivative, NonFiniteGradientError, "the gradient of /.* is NaN or infinite although the loss is finite"),
    (with_bad_labels, ValueError, "labels must be one or more classes"),
    (with_failing_model, RuntimeError, "the model gave up"),
    (with_interrupt, KeyboardInterrupt, None),
    (with_failing_metric, ZeroDivisionError, None),
    (with_failing_optimizer, ValueError, "must keep its shape"),
]


@pytest.mark.parametrize(("fail", "error", "text"), FAILURES, ids=[each[0].__name__ for each in FAILURES])
def test_a_failed_step_changes_nothing(batch, rng, fail, error, text):
    """Not the weights, not the optimizer's moments and steps, not the moving averages, not the mode."""
    trainer = trainer_for()
    for _ in range(2):
        trainer.train_step(*batch)
    before, observed = state(trainer.context), trainer.observed
    with pytest.raises(error, match=text):
        fail(trainer, batch, rng)
    assert state(trainer.context) == before
    assert trainer.observed is observed
    trainer.model_fn, trainer.loss_fn, trainer.metrics = model, losses.softmax_cross_entropy, {}
    trainer.optimizer = optimizers.Adam(0.01)
    trainer.train_step(*batch)
    assert state(trainer.context) != before


def test_a_step_after_a_failed_one_is_as_if_that_had_not_been(batch, rng):
    trainer, straight = trainer_for(), trainer_for()
    for each in (trainer, straight):
        each.train_step(*batch)
    with pytest.raises(NonFiniteStatisticsError):
        spoilt_by_nan(trainer, batch, rng)
    for each in (trainer, straight):
        each.train_step(*batch)
    assert state(trainer.context) == state(straight.context)


def test_a_trainer_without_an_optimizer_evaluates(batch):
    trainer = Trainer(Context(0), model, losses.softmax_cross_entropy, None)
    trainer.eval_step(*batch)
    with pytest.raises(ValueError, match="without an optimizer: it evaluates, it does not train"):
        trainer.train_step(*batch)


@pytest.mark.parametrize("wrong", [lambda labels, y: 1.0, lambda labels, y: y, lambda labels, y: y.value.mean()])
def test_a_loss_is_a_scalar_node(batch, wrong):
    with pytest.raises(TypeError, match="loss_fn must return a scalar Node, got"):
        trainer_for(loss_fn=wrong).train_step(*batch)


def test_a_loss_of_one_element_is_a_scalar(batch):
    trainer = trainer_for(loss_fn=lambda labels, y: ops.reshape(ops.mean(y * y), (1, 1)))
    assert type(trainer.train_step(*batch)["loss"]) is float


# --- evaluation ---------------------------------------------------------------------------------------------


def test_an_evaluation_changes_nothing_and_repeats_itself(data, batch):
    trainer = trainer_for(metrics={"accuracy": metrics.accuracy})
    Loop(trainer).run_epochs(data, 2)
    before = state(trainer.context)
    first = trainer.eval(data)
    assert trainer.eval(data) == first
    np.testing.assert_array_equal(trainer.predict(batch[0]), trainer.predict(batch[0]))
    trainer.eval_step(*batch)
    assert state(trainer.context) == before


@pytest.mark.parametrize("size", [1, 3, 4, 11])
def test_an_evaluation_counts_each_example_alike(data, size):
    trainer = trainer_for(metrics={"accuracy": metrics.accuracy})
    Loop(trainer).run_epochs(data, 1)
    whole = trainer.eval_step(data.inputs, data.labels)
    parts = trainer.eval(InMemoryDataset(data.inputs, data.labels, size))
    # float32 losses of 11 examples, summed in another order.
    np.testing.assert_allclose([parts[name] for name in whole], list(whole.values()), rtol=1e-5)


def test_an_evaluation_of_nothing():
    with pytest.raises(ValueError, match="there is no mean over no examples"):
        trainer_for().eval([])


@pytest.mark.parametrize("wrap", [lambda a: {"a": a, "b": a}, lambda a: (a, a, a), lambda a: {"x": (a,)}])
def test_labels_in_a_structure_count_by_example(data, wrap):
    """Two arrays in a dict are not two examples."""

    def leaf(labels):
        while isinstance(labels, dict | tuple):
            labels = next(iter(labels.values())) if isinstance(labels, dict) else labels[0]
        return labels

    plain = trainer_for()
    structured = trainer_for(loss_fn=lambda labels, y: losses.softmax_cross_entropy(leaf(labels), y))
    assert structured.eval([(x, wrap(labels)) for x, labels in data]) == plain.eval(data)


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("make", "get"),
    [
        (lambda a, b: (a, b), lambda x: x),
        (lambda a, b: [a, b], lambda x: x),
        (lambda a, b: {"a": a, "b": b}, lambda x: (x["a"], x["b"])),
        (lambda a, b: {"all": (a, [b])}, lambda x: (x["all"][0], x["all"][1][0])),
        (Pair, lambda x: (x.left, x.right)),
        (lambda a, b: UserDict(a=a, b=b), lambda x: (x["a"], x["b"])),
        (lambda a, b: MappingProxyType({"a": a, "b": b}), lambda x: (x["a"], x["b"])),
    ],
)
def test_inputs_come_in_the_structure_of_the_data_set(batch, make, get):
    inputs, labels = batch
    mask = np.array([True, False, True, True])

    def masked(ctx, x):
        x, mask = get(x)
        assert type(x) is Node
        assert type(mask) is np.ndarray
        return layers.dense(ctx, batchnorm.new(ctx, x).mask(mask).done(), 3)

    trainer = trainer_for(masked)
    trainer.train_step(make(inputs, mask), labels)
    assert trainer.predict(make(inputs, mask)).shape == (4, 3)


def test_predictions_come_as_arrays_in_the_models_structure(batch):
    trainer = trainer_for(lambda ctx, x: {"y": x * 2, "both": (x, [3])})
    found = trainer.predict(batch[0])
    np.testing.assert_array_equal(found["y"], 2 * batch[0])
    assert type(found["both"][0]) is np.ndarray
    assert found["both"][1][0] == 3


def test_inputs_may_be_nodes(batch):
    trainer = trainer_for()
    np.testing.assert_array_equal(trainer.predict(Node(batch[0])), trainer.predict(batch[0]))


def test_masked_arrays_are_refused(batch):
    """Their masked values would be taken for real ones."""
    with pytest.raises(TypeError, match=r"inputs must be plain arrays, got a numpy\.ma\.MaskedArray"):
        trainer_for().predict(np.ma.masked_less(batch[0], 0))


def test_predict_does_not_write_its_input(batch):
    kept = batch[0].copy()
    trainer_for().predict(batch[0])
    np.testing.assert_array_equal(batch[0], kept)


def test_averages_are_updated_through_the_trainer(data):
    trainer = trainer_for()
    assert trainer.batch_normalization_averages_update(data) is False
    Loop(trainer).run_epochs(data, 1)
    before = trainer.context.get_variable("/batch_normalization/mean").value
    assert trainer.batch_normalization_averages_update(data, method="one_pass") is True
    assert (trainer.context.get_variable("/batch_normalization/mean").value != before).any()
    assert trainer.batch_normalization_averages_update(None) is False


def test_without_the_layer_there_is_nothing_to_update(monkeypatch):
    from pybn.framework import train

    monkeypatch.setattr(train, "_averages_updater", None)
    assert trainer_for().batch_normalization_averages_update([]) is False


# --- the loop -------------------------------------------------------------------------------------------------


class Counting:
    """A trainer that takes no steps, and the batches that it got."""

    def __init__(self):
        self.seen, self.context = [], Context(0)

    def train_step(self, inputs, labels):
        self.seen.append(inputs)
        return {"loss": float(len(self.seen))}


@pytest.fixture
def loop():
    return Loop(Counting())


THREE = [(0, 0), (1, 1), (2, 2)]


def test_run_epochs(loop):
    assert loop.run_epochs(THREE, 2) == {"loss": 6.0}
    assert loop.trainer.seen == [0, 1, 2, 0, 1, 2]
    assert (loop.step, loop.epoch, loop.end_step) == (6, 2, 6)


def test_run_steps_goes_on_into_the_next_epoch(loop):
    assert loop.run_steps(THREE, 7) == {"loss": 7.0}
    assert loop.trainer.seen == [0, 1, 2, 0, 1, 2, 0]
    assert (loop.step, loop.epoch, loop.end_step) == (7, 2, 7)


def test_steps_count_over_runs(loop):
    loop.run_steps(THREE, 2)
    loop.run_epochs(THREE, 1)
    assert (loop.step, loop.end_step) == (5, 5)


def test_a_data_set_without_length(loop):
    class Unsized:
        def __iter__(self):
            return iter(THREE)

    loop.run_epochs(Unsized(), 2)
    assert (loop.step, loop.end_step) == (6, None)


def test_no_steps(loop):
    called = []
    loop.on_start(lambda loop, metrics: called.append("start"))
    loop.on_end(lambda loop, metrics: called.append("end"))
    assert loop.run_steps(THREE, 0) == {}
    assert loop.run_epochs(THREE, 0) == {}
    assert called == ["start", "end"] * 2


@pytest.mark.parametrize("run", ["steps", "epochs"])
@pytest.mark.parametrize(("number", "text"), [(-1, "not be negative, got -1"), (1.5, "be a whole number, got 1.5")])
def test_a_number_of_steps(loop, run, number, text):
    with pytest.raises((ValueError, TypeError), match=f"{run} must {text}"):
        getattr(loop, f"run_{run}")(THREE, number)


@pytest.mark.parametrize(
    "run", [lambda loop, data: loop.run_steps(data, 2), lambda loop, data: loop.run_epochs(data, 1)]
)
def test_an_empty_data_set_is_an_error_not_an_endless_loop(loop, run):
    with pytest.raises(ValueError, match="the data set gave no batch in this epoch"):
        run(loop, [])


def test_a_generator_runs_out(loop):
    with pytest.raises(ValueError, match="a generator that ran out"):
        loop.run_epochs(iter(THREE), 2)
    assert loop.step == 3


def test_hooks_are_called_by_priority_and_then_in_the_order_they_were_added(loop):
    calls = []
    for when in ("start", "step", "end"):
        for name, priority in (("c", 5), ("a", -1), ("b", 0), ("d", 5)):
            getattr(loop, f"on_{when}")(lambda loop, metrics, name=when + name: calls.append(name), priority)
    loop.run_steps(THREE, 2)
    assert calls == [when + name for when in ("start", "step", "step", "end") for name in "abcd"]


def test_hooks_see_the_loop_and_the_metrics(loop):
    seen = []
    for when in (loop.on_start, loop.on_step, loop.on_end):
        when(lambda loop, metrics: seen.append((loop.step, dict(metrics))))
    loop.run_steps(THREE, 2)
    assert seen == [(0, {}), (1, {"loss": 1.0}), (2, {"loss": 2.0}), (2, {"loss": 2.0})]


def test_a_hook_that_raises_ends_the_run(loop):
    ended = []
    loop.on_step(lambda loop, metrics: 1 / 0)
    loop.on_end(lambda loop, metrics: ended.append(1))
    with pytest.raises(ZeroDivisionError):
        loop.run_steps(THREE, 2)
    assert (loop.step, ended) == (1, [])


@pytest.mark.parametrize(("n", "expected"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6]), (7, [7]), (8, [])])
def test_every_n_steps(loop, n, expected):
    steps = []
    every_n_steps(loop, n, lambda loop, metrics: steps.append(loop.step))
    loop.run_steps(THREE, 5)
    loop.run_steps(THREE, 2)
    assert steps == expected


@pytest.mark.parametrize(
    ("start", "factor", "expected"),
    [(1, 2, [1, 3, 7, 15, 31]), (2, 1, list(range(2, 41, 2))), (5, 3, [5, 20]), (1, 1.5, [1, 3, 6, 10, 16, 24, 36])],
)
def test_exponential_callback(loop, start, factor, expected):
    """After `start`, and then at intervals of start * factor, start * factor**2, ..."""
    steps = []
    exponential_callback(loop, start, factor, lambda loop, metrics: steps.append(loop.step))
    loop.run_steps(THREE, 40)
    assert steps == expected


def test_callbacks_are_checked(loop):
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        every_n_steps(loop, 0, print)
    for number in (np.nan, 2.5, True):
        with pytest.raises(TypeError, match="n must be a whole number, got"):
            every_n_steps(loop, number, print)
    for start, factor in ((0, 2), (1, 0.5), (1, np.nan), (np.nan, 2), (np.inf, 2), (1, np.inf)):
        with pytest.raises(ValueError, match="start must be 1 or more and factor 1 or more"):
            exponential_callback(loop, start, factor, print)


def test_callbacks_have_priorities(loop):
    calls = []
    every_n_steps(loop, 1, lambda loop, metrics: calls.append("late"), priority=1)
    exponential_callback(loop, 1, 1, lambda loop, metrics: calls.append("early"), priority=-1)
    loop.run_steps(THREE, 1)
    assert calls == ["early", "late"]


def test_a_failed_step_is_not_counted(data, rng):
    spoilt = [
        (np.full_like(inputs, np.nan), labels) if i == 1 else (inputs, labels)
        for i, (inputs, labels) in enumerate(data)
    ]
    loop = Loop(trainer_for())
    with pytest.raises(NonFiniteStatisticsError):
        loop.run_epochs(spoilt, 1)
    assert loop.step == 1


def test_initial_values_do_not_depend_on_the_batch(data):
    def first(size):
        trainer = trainer_for(optimizer=optimizers.SGD(0.0))
        trainer.train_step(data.inputs[:size], data.labels[:size])
        return trainer.context.get_variable("/first/dense/weights").value

    np.testing.assert_array_equal(first(4), first(7))
    assert pybn.Trainer is Trainer
    assert initializers.he(np.random.default_rng(0), (5, 4), np.dtype(np.float32)).tolist() == first(4).tolist()


# --- what would be stored is looked at, not the gradient alone ----------------------------------------------


def linear(ctx, x):
    return pybn.layers.dense(ctx, x, 1)


def everything(ctx):
    return {v.path: v.value.tobytes() for v in ctx.variables()}


@pytest.mark.parametrize(
    ("optimizer", "what"),
    [
        (optimizers.Adam(1e-3), "/optimizer/dense/weights/second_moment"),
        (optimizers.SGD(1e30), "/dense/weights"),
        (optimizers.SGD(1e30, momentum=0.9), "/dense/weights"),
    ],
    ids=["Adam", "SGD", "momentum"],
)
def test_a_step_that_would_store_infinity_is_refused(optimizer, what):
    """The gradient, 1e20, is finite; its square, or a step of 1e30 times it, is not in float32."""
    ctx = Context(0)
    trainer = Trainer(ctx, linear, lambda labels, predictions: ops.mean(predictions * labels), optimizer)
    x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    rate, optimizer.learning_rate = optimizer.learning_rate, 0.0
    trainer.train_step(x, y)
    optimizer.learning_rate = rate
    before = everything(ctx)
    with pytest.raises(NonFiniteUpdateError, match=f"would make {what} NaN or infinite although the gradients are fi"):
        trainer.train_step(x, y * np.float32(1e20))
    assert everything(ctx) == before
    assert issubclass(NonFiniteUpdateError, NonFiniteGradientError)


def test_a_state_that_is_nan_already_is_named_before_it_reaches_the_weights():
    ctx = Context(0)
    trainer = Trainer(ctx, linear, losses.mean_squared_error, optimizers.Adam(1e-3))
    x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    trainer.train_step(x, y)
    moment = ctx.get_variable("/optimizer/dense/bias/first_moment")
    moment.value = [np.nan]
    before = everything(ctx)
    with pytest.raises(NonFiniteUpdateError, match=r"/optimizer/dense/bias/first_moment .* It is so already"):
        trainer.train_step(x, y)
    assert everything(ctx) == before


# --- a hook that ends the run -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["run_steps", "run_epochs"])
def test_a_hook_stops_the_run_after_its_step(batch, run):
    loop, seen = Loop(trainer_for()), []
    data = InMemoryDataset(*batch, batch_size=2)
    loop.on_step(lambda loop, metrics: loop.stop() if loop.step == 2 else None, priority=-1)
    loop.on_step(lambda loop, metrics: seen.append(loop.step))
    loop.on_end(lambda loop, metrics: seen.append(("end", metrics["loss"])))
    last = getattr(loop, run)(data, 5)
    assert seen == [1, 2, ("end", last["loss"])]
    assert loop.step == 2
    getattr(loop, run)(data, 1)  # the next run begins anew
    assert loop.step > 2


def test_a_run_that_is_stopped_before_its_first_step_takes_none(batch):
    loop, ended = Loop(trainer_for()), []
    loop.on_start(lambda loop, metrics: loop.stop())
    loop.on_end(lambda loop, metrics: ended.append(loop.step))
    assert loop.run_steps(InMemoryDataset(*batch), 3) == {}
    assert ended == [0]


def test_none_is_no_end_of_a_data_set():
    with pytest.raises(TypeError, match=r"must yield pairs .* got a NoneType"):
        Loop(trainer_for()).run_epochs([None], 1)


def test_fewer_than_no_steps():
    loop = Loop(Trainer(Context(0), lambda ctx, x: x, lambda labels, x: ops.mean(x), optimizers.SGD(0.1)))
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        loop.run_steps([(np.zeros(2), np.zeros(2))], -1)


@pytest.mark.parametrize("name", ["loss", "regularization"])
def test_a_metric_does_not_take_the_place_of_the_loss(name):
    with pytest.raises(ValueError, match=f"a metric must have a name of its own, got '{name}'"):
        Trainer(Context(0), lambda ctx, x: x, losses.mean_squared_error, None, {name: lambda labels, x: 7.0})
