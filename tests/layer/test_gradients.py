"""Gradients through the whole layer, with a layer in front, against differences; to the third order."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, Node, batchnorm, gradient, layers, ops

pytestmark = pytest.mark.usefixtures("backend")

# Central differences of order 4 with step h: the error is h**4 / 30 times a fifth derivative, here below 1e4,
# and rounding is 1e-16 * |f| / h; h = 1e-3 balances them near 1e-10.
STEP, BOUND = 1e-3, 2e-9


def difference(f, direction):
    """df/dt at 0 of f(t * direction)."""
    return (8 * (f(STEP * direction) - f(-STEP * direction)) - (f(2 * STEP * direction) - f(-2 * STEP * direction))) / (
        12 * STEP
    )


class Subject:
    """sum(c * tanh(batch norm of a dense layer)), as a function of every variable and of x."""

    def __init__(self, rng, count, features, training=True, **options):
        self.ctx, self.training, self.options = Context(3), training, options
        self.x = rng.normal(1, 2, (count, 4))
        self.c = rng.normal(size=(count, features))
        self.features = features
        self.value()
        for variable in self.ctx.variables():
            if variable.name != "avg_weight":
                variable.value = rng.uniform(0.5, 2, variable.shape) * rng.choice([-1, 1], variable.shape)
            if variable.name == "variance":
                variable.value = abs(variable.value)

    def loss(self, x):
        h = layers.dense(self.ctx.in_scope("front"), x, self.features)
        y = batchnorm.batch_norm(self.ctx, h, **self.options)
        return ops.sum(ops.tanh(y) * self.c)

    def value(self, moved=None, by=0.0):
        """The loss with the variable (or x, for None) moved by an array."""
        with self.ctx.forward_pass(training=self.training):
            if moved is None:
                return float(self.loss(Node(self.x + by)))
            before = moved.value
            moved.value = before + by
            try:
                return float(self.loss(Node(self.x)))
            finally:
                moved.value = before

    def gradients(self):
        """By variable, and by x under None."""
        variables = self.ctx.variables(trainable=True)
        with self.ctx.forward_pass(training=self.training):
            x = Node(self.x)
            results = gradient(self.loss(x), [x, *(variable.node for variable in variables)])
        return dict(zip([None, *variables], [each.value for each in results], strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"training": False},
        {"training": False, "use_backend_inference": False},
        {"frozen_averages": True},
        {"center": False},
        {"scale": False},
        {"center": False, "scale": False, "epsilon": 0.5},
        {"mask": np.array([True, True, False, True, True])},
    ],
    ids=str,
)
@pytest.mark.parametrize(("count", "features"), [(5, 3), (5, 31)])
def test_first_order(rng, options, count, features):
    """By x, the front layer's weights and bias, the scale and the offset, in random directions."""
    subject = Subject(rng, count, features, **options)
    gradients = subject.gradients()
    expected = {"weights", "bias"} | {
        name for name in ("scale", "offset") if options.get({"scale": "scale", "offset": "center"}[name], True)
    }
    assert {variable.name for variable in gradients if variable} == expected
    for variable, exact in gradients.items():
        direction = rng.normal(size=exact.shape)
        numeric = difference(lambda by, variable=variable: subject.value(variable, by), direction)
        assert abs((exact * direction).sum() - numeric) <= BOUND * (1 + abs(numeric)), variable
    bias = next(variable for variable in gradients if variable and variable.name == "bias")
    if subject.training and not {"frozen_averages", "mask"} & set(options):
        # The mean takes every constant away, so the front's bias learns nothing.
        np.testing.assert_allclose(gradients[bias], 0, atol=1e-13)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_examples(rng, count):
    subject = Subject(rng, count, 3)
    for variable, exact in subject.gradients().items():
        direction = rng.normal(size=exact.shape)
        numeric = difference(lambda by, variable=variable: subject.value(variable, by), direction)
        assert abs((exact * direction).sum() - numeric) <= BOUND * (1 + abs(numeric)), variable


@pytest.mark.parametrize("training", [True, False])
def test_third_order(rng, training):
    """Along a line in x and all parameters: the derivative of order n + 1 is the difference of that of order n."""
    subject = Subject(rng, 5, 3, training=training)
    variables = subject.ctx.variables(trainable=True)
    start = [subject.x, *(variable.value for variable in variables)]
    directions = [rng.normal(size=each.shape) * 0.3 for each in start]

    def derivative(order, t):
        for variable, value, direction in zip(variables, start[1:], directions[1:], strict=True):
            variable.value = value + t * direction
        with subject.ctx.forward_pass(training=training):
            x = Node(start[0] + t * directions[0])
            nodes = [x, *(variable.node for variable in variables)]
            value = subject.loss(x)
            for _ in range(order):
                slopes = gradient(value, nodes)
                value = sum(
                    (ops.sum(slope * direction) for slope, direction in zip(slopes, directions, strict=True)),
                    start=Node(np.zeros(())),
                )
        return float(value)

    for order in (1, 2, 3):
        numeric = difference(lambda t, order=order: derivative(order - 1, t), 1.0)
        exact = derivative(order, 0.0)
        assert abs(exact - numeric) <= 1e-7 * (1 + abs(exact)), order
        assert abs(exact) > 1e-2, "a direction in which nothing happens would prove nothing"


def test_averages_are_constants(rng):
    """No gradient flows into M and V, nor through them into an earlier batch."""
    subject = Subject(rng, 5, 3, training=False)
    mean = subject.ctx.get_variable("/batch_normalization/mean")
    with subject.ctx.forward_pass():
        (slope,) = gradient(subject.loss(Node(subject.x)), [mean.node])
    np.testing.assert_array_equal(slope.value, 0)
