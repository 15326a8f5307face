"""A layer with some of its switches set, in a network that can be looked into."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from pybn import Context, InMemoryDataset, Trainer, gradient, layers, losses, optimizers
from tests.support.networks import examples

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
