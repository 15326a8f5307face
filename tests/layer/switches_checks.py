"""What each switch of the layer must do, in training, evaluation and every update of the averages."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from pybn import Context, InMemoryDataset, Trainer, gradient, layers, losses, optimizers
from tests.support.networks import assert_close, examples, in_training, unchanged

METHODS = ("exact", "two_phase", "one_pass")


class Switches(NamedTuple):
    """One setting of all of them."""

    center: bool = True
    scale: bool = True
    trainable: bool = True
    frozen_averages: bool = False
    current_scope: bool = False
    use_backend_inference: bool = True

    @property
    def moves(self):
        """The contract's table: M and V move, and batch statistics normalize, only so."""
        return self.trainable and not self.frozen_averages

    @property
    def parameters(self):
        """The layer's variables that an optimizer might change."""
        return [name for name, there in (("scale", self.scale), ("offset", self.center)) if there]

    @property
    def place(self):
        """Where the layer's variables are."""
        return "/block/" if self.current_scope else "/block/batch_normalization/"

    def __str__(self):
        return " ".join(name for name, on in self._asdict().items() if on) or "nothing"


ALL = [Switches(*setting) for setting in product((True, False), repeat=6)]


class Recording(optimizers.SGD):
    """Remembers the paths of the variables that it was given."""

    def __init__(self):
        super().__init__(0.1)
        self.paths = []

    def new_values(self, ctx, variables, gradients):
        self.paths = [variable.path for variable in variables]
        return super().new_values(ctx, variables, gradients)


class Subject:
    """dense -> batch normalization with these switches -> the loss, and what goes on inside."""

    def __init__(self, bn, switches):
        self.bn, self.switches = bn, switches
        self.optimizer, self.ctx = Recording(), Context(1)
        self.trainer = Trainer(self.ctx, self._model, self._loss, self.optimizer)
        rng = np.random.default_rng(11)
        self.inputs, self.labels = examples(rng, 12)
        self.dataset = InMemoryDataset(self.inputs, self.labels, 5)
        self.trainer.eval_step(self.inputs, self.labels)

    def _model(self, ctx, x):
        block = ctx.in_scope("block")
        return self.bn.batch_norm(block, layers.dense(block, x, 2), **self.switches._asdict())

    def _loss(self, labels, predictions):
        self.predictions = predictions.value
        return losses.mean_squared_error(labels, predictions)

    def with_distinct_values(self):
        """Averages and parameters that could not be mistaken for their first values or for each other."""
        rng = np.random.default_rng(13)
        for name in ("scale", "offset", "mean", "variance"):
            if name in self.switches.parameters or name in ("mean", "variance"):
                self.variable(name).value = rng.uniform(1, 2, 2)
        self.variable("avg_weight").value = 3
        return self

    def variable(self, name):
        return self.ctx.get_variable(self.switches.place + name)

    def value(self, name, default=None):
        here = name in self.switches.parameters or default is None
        return self.variable(name).value if here else default

    def before_the_layer(self):
        """What dense hands to the layer, by hand."""
        weights, bias = (self.ctx.get_variable(f"/block/dense/{name}").value for name in ("weights", "bias"))
        return self.inputs @ weights + bias

    def expected(self, mean, variance):
        """The layer's output by hand."""
        normalized = (self.before_the_layer() - mean) / np.sqrt(variance + 1e-3)
        return self.value("scale", 1.0) * normalized + self.value("offset", 0.0)


def check_variables(bn, switches):
    """Those that the switches leave, where they belong, and of what kind."""
    subject = Subject(bn, switches)
    there = {variable.path: variable for variable in subject.ctx.variables()}
    names = ["mean", "variance", "avg_weight", *switches.parameters]
    dense = {"/block/dense/weights", "/block/dense/bias"}
    assert set(there) - dense == {switches.place + name for name in names}
    for name in names:
        may_learn = switches.trainable and name in ("scale", "offset")
        assert there[switches.place + name].trainable == may_learn, name
    trigger = subject.ctx.get_param(bn.AVERAGES_UPDATES_TRIGGER_PARAM, False)
    assert trigger == switches.moves


def check_training(bn, switches):
    """What normalizes, which averages move, and what the optimizer gets and changes."""
    subject = Subject(bn, switches).with_distinct_values()
    x = subject.before_the_layer()
    batch, moving = (x.mean(0), x.var(0)), (subject.value("mean"), subject.value("variance"))
    expected = subject.expected(*(batch if switches.moves else moving))
    parameters = {name: subject.value(name) for name in switches.parameters}
    subject.trainer.train_step(subject.inputs, subject.labels)

    assert_close(subject.predictions, expected, "training")
    learnt = [switches.place + name for name in switches.parameters] if switches.trainable else []
    assert sorted(subject.optimizer.paths) == sorted(["/block/dense/weights", "/block/dense/bias", *learnt])
    for name, before in parameters.items():
        assert (subject.value(name) != before).all() == switches.trainable, name
    moved = [0.75 * old + 0.25 * new for old, new in zip(moving, batch, strict=True)]  # w = 3, so k = 1 - 1/4
    for name, old, new in zip(("mean", "variance"), moving, moved, strict=True):
        if switches.moves:
            assert_close(subject.value(name), new, name)
        else:
            np.testing.assert_array_equal(subject.value(name), old)
    assert subject.value("avg_weight") == (4 if switches.moves else 3)


def check_evaluation(bn, switches):
    """M and V normalize, and nothing changes."""
    subject = Subject(bn, switches).with_distinct_values()
    with unchanged(subject.ctx):
        predictions = subject.trainer.predict(subject.inputs)
        subject.trainer.eval(subject.dataset)
    assert_close(predictions, subject.expected(subject.value("mean"), subject.value("variance")), "evaluation")


def check_update(bn, switches, method):
    """M and V are recomputed where they may move; otherwise the answer is False and nothing changes."""
    subject = Subject(bn, switches).with_distinct_values()
    if not switches.moves:
        # Also where another layer once set the trigger, and where this one was trained before.
        for trigger in (False, True):
            subject.ctx.set_param(bn.AVERAGES_UPDATES_TRIGGER_PARAM, trigger)
            with unchanged(subject.ctx):
                assert bn.update_averages(subject.trainer, subject.dataset, method=method) is False
        return
    x, averages = subject.before_the_layer(), [switches.place + name for name in ("mean", "variance", "avg_weight")]
    others = {v.path: v.value for v in subject.ctx.variables() if v.path not in averages}
    assert bn.update_averages(subject.trainer, subject.dataset, method=method) is True
    for path, value in others.items():
        np.testing.assert_array_equal(subject.ctx.get_variable(path).value, value, err_msg=path)
    if method == "two_phase":
        batches = [x[:5], x[5:10], x[10:]]
        x_mean, x_variance = (np.mean([getattr(b, f)(0) for b in batches], axis=0) for f in ("mean", "var"))
    else:
        x_mean, x_variance = x.mean(0), x.var(0)
    assert_close(subject.value("mean"), x_mean, "mean")
    assert_close(subject.value("variance"), x_variance, "variance")
    assert subject.value("avg_weight") == (6 if method == "two_phase" else 3)


def check_switching(bn):
    """Switches turned on a layer that has been trained: frozen, not trainable, and back."""
    rng = np.random.default_rng(12)
    inputs, labels = examples(rng, 12)
    now = {}
    optimizer = Recording()

    def run(ctx, x):
        return bn.batch_norm(ctx.in_scope("block"), layers.dense(ctx, x, 2), **now)

    trainer = Trainer(Context(1), run, losses.mean_squared_error, optimizer)
    places = {name: f"/block/batch_normalization/{name}" for name in ("scale", "offset", "mean", "variance")}

    def changed_by_a_step(**switches):
        now.clear()
        now.update(switches)
        before = {name: trainer.context.get_variable(path).value for name, path in places.items()}
        trainer.train_step(inputs, labels)
        return {name for name, old in before.items() if (trainer.context.get_variable(places[name]).value != old).any()}

    trainer.train_step(inputs, labels)
    assert changed_by_a_step() == {"scale", "offset", "mean", "variance"}
    assert changed_by_a_step(frozen_averages=True) == {"scale", "offset"}
    assert changed_by_a_step(trainable=False) == set()
    assert changed_by_a_step(trainable=False, frozen_averages=True) == set()
    assert changed_by_a_step() == {"scale", "offset", "mean", "variance"}
    assert changed_by_a_step(scale=False) == {"offset", "mean", "variance"}
    assert changed_by_a_step(center=False) == {"scale", "mean", "variance"}
    assert trainer.context.get_variable("/block/batch_normalization/avg_weight").value == 5


def check_batch_statistics_leave_frozen_layers_alone(bn, switch):
    subject = Subject(bn, Switches(**switch)).with_distinct_values()
    expected = subject.trainer.predict(subject.inputs)
    with unchanged(subject.ctx), bn.batch_statistics(subject.ctx):
        np.testing.assert_array_equal(subject.trainer.predict(subject.inputs), expected)


def penalty(bn, ctx, x, **options):
    """What the layer adds to the loss, and its gradient for every trainable variable."""
    with ctx.forward_pass(training=True) as run:
        bn.batch_norm(ctx, x, **options)
        if not run.losses:
            return 0.0, {}
        (loss,) = run.losses
        variables = ctx.variables(trainable=True)
        gradients = gradient(loss, [variable.node for variable in variables])
        return float(loss), {v.name: g.value for v, g in zip(variables, gradients, strict=True)}


def check_l2_is_on_the_scale_alone(bn, rng):
    ctx, x = Context(), rng.normal(size=(5, 3))
    ctx.set_param("l2_regularization", 0.25)
    in_training(bn, ctx, x)
    scale, offset = rng.normal(size=(2, 3))
    ctx.get_variable("/batch_normalization/scale").value = scale
    ctx.get_variable("/batch_normalization/offset").value = offset
    loss, gradients = penalty(bn, ctx, x)
    assert_close(loss, 0.25 * (scale**2).sum(), "amount * sum(scale ** 2)", relative=1e-15)
    assert_close(gradients["scale"], 0.5 * scale, "its gradient", relative=1e-15)
    np.testing.assert_array_equal(gradients["offset"], 0)
    with ctx.forward_pass(training=True) as run:  # shared weights are penalized once
        for _ in range(2):
            bn.batch_norm(ctx.checked(False), x)
        assert_close(sum(map(float, run.losses)), loss, "used twice", relative=1e-15)
