"""Networks written once and run twice, by pybn and by hand in NumPy; and all that a context holds.

A network is a function (net, x) of the pieces that `InPybn` and `ByHand` both have, so the two share
its drawing and no arithmetic.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from pybn import Context, Trainer, layers, losses, ops, optimizers
from pybn.framework import blocks

EPSILON = 1e-3


class InPybn:
    """The pieces as layers of pybn; `bn` is the package of the layer, or a mutant of it."""

    def __init__(self, bn, ctx, **options):
        self.bn, self.ctx, self.options = bn, ctx, options

    def dense(self, scope, x, features=3):
        return layers.dense(self.ctx.in_scope(scope), x, features)

    def normalize(self, scope, x):
        return self.bn.batch_norm(self.ctx.in_scope(scope).checked(False), x, **self.options)

    def relu(self, x):
        return ops.relu(x)

    def stop_gradient(self, x):
        return ops.stop_gradient(x)


class ByHand:
    """The pieces in NumPy on the variables of ctx; `statistics(scope, x)` says what normalizes x."""

    def __init__(self, ctx, statistics):
        self.ctx, self.statistics = ctx, statistics

    def value(self, path):
        return self.ctx.get_variable(path).value.astype(np.float64)

    def dense(self, scope, x, features=3):
        return x @ self.value(f"/{scope}/dense/weights") + self.value(f"/{scope}/dense/bias")

    def normalize(self, scope, x):
        mean, variance = self.statistics(scope, x)
        scale, offset = (self.value(f"/{scope}/batch_normalization/{name}") for name in ("scale", "offset"))
        return (x - mean) / np.sqrt(variance + EPSILON) * scale + offset

    def relu(self, x):
        return np.maximum(x, 0)

    def stop_gradient(self, x):
        return x


# --- the drawings ------------------------------------------------------------------------------


def chain(net, x):
    """Three blocks, one after the other: three depths."""
    for scope in ("a", "b", "c"):
        x = net.relu(net.normalize(scope, net.dense(scope, x)))
    return net.dense("out", x, 2)


def residual(net, x):
    """A branch of two blocks beside one: a and c see the data, b sees a, d sees them all."""
    branch = net.normalize("b", net.dense("b", net.relu(net.normalize("a", net.dense("a", x)))))
    joined = net.relu(branch + net.normalize("c", net.dense("c", x)))
    return net.dense("out", net.normalize("d", joined) + joined, 2)


def behind_a_stopped_gradient(net, x):
    """b sees a's output, although no gradient flows that way."""
    return net.dense("out", net.normalize("b", net.dense("b", net.stop_gradient(net.normalize("a", x)))), 2)


DEPTHS = {chain: 3, residual: 3, behind_a_stopped_gradient: 2}


def model(bn, network, **options):
    """A model function of pybn for a drawing."""
    return lambda ctx, x: network(InPybn(bn, ctx, **options), x)


def normalized_first(bn, **options):
    """One batch normalization straight on the data, so that its statistics are known, then dense."""

    def run(ctx, x):
        return layers.dense(ctx.in_scope("out"), bn.batch_norm(ctx.in_scope("first"), x, **options), 2)

    return run


# --- data and trainers ---------------------------------------------------------------------------


def examples(rng, count=23, features=4, dtype=np.float64):
    """Inputs whose features differ in mean and deviation, and labels of two numbers."""
    inputs = rng.normal(2, 3, features) + rng.uniform(0.5, 2, features) * rng.standard_normal((count, features))
    return inputs.astype(dtype), rng.standard_normal((count, 2)).astype(dtype)


def trainer(model_fn, optimizer=None, seed=0):
    """A trainer in a context of its own, with a state in its optimizer."""
    optimizer = optimizer or optimizers.SGD(0.05, momentum=0.9)
    return Trainer(Context(seed), model_fn, losses.mean_squared_error, optimizer)


def trained(model_fn, dataset, epochs=2, seed=0):
    """A trainer after some epochs: weights, offsets and averages are what they are, none at its start."""
    result = trainer(model_fn, seed=seed)
    for _ in range(epochs):
        for inputs, labels in dataset:
            result.train_step(inputs, labels)
    return result


def in_training(bn, ctx, x, **options):
    """One training step of a layer alone; its output."""
    with ctx.forward_pass(training=True):
        y = bn.batch_norm(ctx, x, **options)
        ctx.apply()
    return y


PATH = "/batch_normalization/"  # of a layer's variables, in its scope


def averages(ctx, scope):
    """M, V and w of the layer in /scope."""
    return at_root(ctx.in_scope(scope))


def at_root(ctx):
    """M, V and w of the layer in the scope itself."""
    return tuple(
        ctx.get_variable(ctx.scope.removesuffix("/") + PATH + n).value for n in ("mean", "variance", "avg_weight")
    )


# --- nothing has changed -------------------------------------------------------------------------


def snapshot(ctx):
    """Everything that a context holds, to the bit."""
    root = ctx.in_absolute_path("/")
    return {
        "variables": {
            v.path: (v.value.tobytes(), v.shape, str(v.dtype), v.trainable, v.role) for v in root.variables()
        },
        "parameters": root.parameters,
        "blocks": blocks.around(),
        "mode": root.is_training,
        "run": root.run,
        "random numbers": root.rng.bit_generator.state,
    }


@contextmanager
def unchanged(ctx, *but):
    """Fail if the block changes anything in ctx, except what `but` names."""
    before = snapshot(ctx)
    yield
    after = snapshot(ctx)
    for name in before:
        if name in but:
            continue
        if name == "variables":
            changed = [path for path in before[name] | after[name] if before[name].get(path) != after[name].get(path)]
            assert not changed, f"changed: {changed}"
        assert before[name] == after[name], f"{name} changed"


def assert_close(actual, expected, what, relative=1e-12):
    """Equal to rounding: the sums here have some hundred terms of size 1 to 10, 100 * 10 * 1e-16 = 1e-13."""
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=relative, err_msg=what)
