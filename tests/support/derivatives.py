"""Derivatives of any order held against differences of the order below, so that each proves the next.

A function takes nodes and gives a node.  Its first gradient is held against differences of its values;
the inner product of that gradient with random constants is again such a function, and so on.  The
cotangent becomes one more argument, so that what a gradient does with it is differentiated too.
"""

from __future__ import annotations

import numpy as np

from pybn.framework import ops
from pybn.framework.graph import Node, gradient

# The central difference of eighth order: it misses h**8 / 630 of the ninth derivative, 1e-18 of it with
# this h, and adds at most 4 eps / h = 1e-13 of the largest term.  BOUND leaves both a factor of a
# thousand, and refuses a derivative that is wrong in its ninth digit.
STEP = 1e-2
WEIGHTS = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
BOUND = 1e-9


def check_orders(function, arrays, rng, orders=3, bound=BOUND):
    """The gradients of `function` with respect to all `arrays`, to the given order, in random directions."""
    arrays = [np.asarray(array, np.float64) for array in arrays]
    dy = rng.standard_normal(function(*map(Node, arrays)).shape)
    scalar, points = _paired_with_cotangent(function), [*arrays, dy]
    for order in range(1, orders + 1):
        check_gradient(scalar, points, rng, f"order {order}", bound)
        scalar = _next_order(scalar, [rng.standard_normal(point.shape) for point in points])


def check_gradient(scalar, points, rng, what="gradient", bound=BOUND):
    """The gradient of a scalar function with respect to each point, in a random direction: any error shows there."""
    nodes = [Node(point) for point in points]
    gradients = gradient(scalar(*nodes), nodes)
    for which, (point, found) in enumerate(zip(points, gradients, strict=True)):
        assert found.shape == point.shape, f"{what}: shape {found.shape} for an argument of shape {point.shape}"
        assert found.dtype == point.dtype, f"{what}: {found.dtype} for an argument of {point.dtype}"
        direction = rng.uniform(-1, 1, point.shape)
        expected, size = _difference(scalar, points, which, direction)
        actual = float(np.sum(found.value * direction))
        terms = max(1.0, size, float(np.sum(np.abs(found.value * direction))))
        assert abs(actual - expected) <= bound * terms, (
            f"{what}, argument {which}: {actual!r} along a direction, differences give {expected!r}"
        )


def _paired_with_cotangent(function):
    """<dy, function(...)>, with dy for its last argument."""
    return lambda *nodes: ops.sum(function(*nodes[:-1]) * nodes[-1])


def _next_order(scalar, constants):
    """The sum over the arguments of <constant, gradient>."""

    def following(*nodes):
        gradients = gradient(scalar(*nodes), nodes, partial=True)
        parts = [ops.sum(found * constant) for found, constant in zip(gradients, constants, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    return following


def _difference(scalar, points, which, direction):
    """d/dt scalar(point + t direction) at 0, and the size of the values that it is made of."""

    def at(t):
        moved = [point + t * direction if i == which else point for i, point in enumerate(points)]
        return float(scalar(*map(Node, moved)))

    values = {k: (at(k * STEP), at(-k * STEP)) for k in WEIGHTS}
    slope = sum(WEIGHTS[k] * (ahead - behind) for k, (ahead, behind) in values.items()) / STEP
    return slope, max(abs(value) for pair in values.values() for value in pair)
