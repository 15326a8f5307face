"""Operations on each element, with broadcasting: the value and, beside it, its derivatives.

dy is the gradient that arrives.  Where a derivative is made of the result itself (exp, sqrt, ...)
it is written with a node of that same value, so that it can be differentiated again; a node must
not hold itself, or a training step would outlive its loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.arguments import INTEGER
from pybn.framework.graph import Node, wide
from pybn.framework.ops.shapes import sum_to
from pybn.halves import is_floating

NUMBER = (int, float, np.integer, np.floating)  # a tuple: `int | float` would be made anew at each call


def as_node(value: Any, like: Node | None = None) -> Node:
    """`value` as a constant node; a Python number takes the dtype of `like`, unless that are integers."""
    if isinstance(value, Node):
        return value
    if like is not None and isinstance(value, NUMBER) and is_floating(like.dtype):
        return Node(np.asarray(value, dtype=like.dtype))
    return Node(value)


def add(a: Any, b: Any) -> Node:
    """a + b, broadcasting."""
    a, b = _pair(a, b)
    return Node(a.value + b.value, (a, lambda dy: sum_to(dy, a)), (b, lambda dy: sum_to(dy, b)))


def subtract(a: Any, b: Any) -> Node:
    """a - b, broadcasting."""
    a, b = _pair(a, b)
    return Node(a.value - b.value, (a, lambda dy: sum_to(dy, a)), (b, lambda dy: sum_to(-dy, b)))


def multiply(a: Any, b: Any) -> Node:
    """a * b, broadcasting."""
    a, b = _pair(a, b)
    return Node(a.value * b.value, (a, lambda dy: sum_to(dy * b, a)), (b, lambda dy: sum_to(dy * a, b)))


def divide(a: Any, b: Any) -> Node:
    """a / b, broadcasting."""
    a, b = _pair(a, b)
    return Node(a.value / b.value, (a, lambda dy: sum_to(dy / b, a)), (b, lambda dy: sum_to(-dy * a / (b * b), b)))


def negative(x: Node) -> Node:
    """-x."""
    return Node(-x.value, (x, lambda dy: -dy))


def power(x: Node, exponent: float) -> Node:
    """x ** exponent for a constant exponent."""
    if not isinstance(exponent, NUMBER):
        raise TypeError(f"power takes a constant exponent, got {exponent!r}; write exp(exponent * log(x)) for a Node")
    # A scalar of NumPy's would bring its own type: float32 ** np.float64(2) is float64.
    exponent = int(exponent) if isinstance(exponent, INTEGER) else float(exponent)
    if exponent == 0:
        return Node(np.ones_like(x.value), (x, lambda dy: dy * 0.0))
    return Node(x.value**exponent, (x, lambda dy: dy * (exponent * power(x, exponent - 1))))


def exp(x: Any) -> Node:
    """e ** x."""
    x = as_node(x)
    return _exp(x, np.exp(x.value))


def _exp(x: Node, value: np.ndarray) -> Node:
    return Node(value, (x, lambda dy: dy * _exp(x, value)))


def log(x: Any) -> Node:
    """Natural logarithm of x."""
    x = as_node(x)
    return Node(np.log(x.value), (x, lambda dy: dy / x))


def sqrt(x: Any) -> Node:
    """Square root of x."""
    x = as_node(x)
    return _sqrt(x, np.sqrt(x.value))


def _sqrt(x: Node, value: np.ndarray) -> Node:
    return Node(value, (x, lambda dy: dy / (2.0 * _sqrt(x, value))))


def tanh(x: Any) -> Node:
    """Hyperbolic tangent of x."""
    x = as_node(x)
    return _tanh(x, np.tanh(x.value))


def _tanh(x: Node, value: np.ndarray) -> Node:
    return Node(value, (x, lambda dy: dy * (1.0 - _tanh(x, value) ** 2)))


def sigmoid(x: Any) -> Node:
    """1 / (1 + e ** -x)."""
    x = as_node(x)
    # 0.5 (1 + tanh(x / 2)) is the same function and overflows nowhere.
    return _sigmoid(x, 0.5 * (1 + np.tanh(0.5 * x.value)))


def _sigmoid(x: Node, value: np.ndarray) -> Node:
    return Node(value, (x, lambda dy: dy * _sigmoid(x, value) * (1.0 - _sigmoid(x, value))))


def softplus(x: Any) -> Node:
    """log(1 + e ** x), without overflow."""
    x = as_node(x)
    value = np.logaddexp(np.zeros_like(x.value), x.value)
    # The sigmoid as e ** (x - value): far below 0 half of 1 + tanh(x / 2) is 0, and this is not.
    return Node(value, (x, lambda dy: dy * _sigmoid(x, np.exp(x.value - value))))


def relu(x: Any) -> Node:
    """max(x, 0), whose derivative at 0 is taken for 0."""
    x = as_node(x)
    value = np.maximum(x.value, 0)
    return Node(value, (x, lambda dy: _masked(dy, value > 0)))


def _masked(x: Node, mask: np.ndarray) -> Node:
    return Node(x.value * mask, (x, lambda dy: _masked(dy, mask)))


def where(condition: Any, a: Any, b: Any) -> Node:
    """a where the constant `condition` is true, else b; broadcasting."""
    a, b = _pair(a, b)
    condition = np.asarray(condition)
    return Node(
        np.where(condition, a.value, b.value),
        (a, lambda dy: sum_to(where(condition, dy, 0.0), a)),
        (b, lambda dy: sum_to(where(condition, 0.0, dy), b)),
    )


def cast(x: Any, dtype: Any) -> Node:
    """x in another floating-point type; the gradient comes back in x's, in float32 where those are 16 bits."""
    x = as_node(x)
    return x if x.dtype == dtype else Node(x.value.astype(dtype), (x, lambda dy: cast(dy, wide(x.dtype))))


def stop_gradient(x: Any) -> Node:
    """x, taken for a constant by `gradient`."""
    x = as_node(x)
    return Node(x.value, (x, None))


def _pair(a: Any, b: Any) -> tuple[Node, Node]:
    """Both as nodes; a Python number takes the dtype of the other."""
    if not isinstance(a, Node):
        a = as_node(a, like=b if isinstance(b, Node) else None)
    if not isinstance(b, Node):
        b = as_node(b, like=a)
    return a, b
