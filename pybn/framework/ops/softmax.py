"""Softmax and the cross-entropy that a classifier is trained with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pybn.framework.graph import Node, wide
from pybn.framework.ops import shapes


def softmax(x: Node) -> Node:
    """e ** x over its sum along the last axis."""
    return _softmax(x, np.exp(_log_softmax(x.value)))


def _softmax(x: Node, value: np.ndarray) -> Node:
    def product(dy: Node) -> Node:
        y = _softmax(x, value)
        return y * (dy - shapes.sum(dy * y, axis=-1, keepdims=True))

    return Node(value, (x, product))


def log_softmax(x: Node) -> Node:
    """Logarithm of the softmax along the last axis, without overflow."""
    return Node(_log_softmax(x.value), (x, lambda dy: dy - softmax(x) * shapes.sum(dy, axis=-1, keepdims=True)))


def cross_entropy(logits: Node, labels: np.ndarray) -> Node:
    """-log softmax(logits) at each label: logits (N, classes), integer labels (N,) -> (N,)."""
    losses, slope = _cross_entropy(logits, labels)
    return Node(losses, (logits, lambda dy: shapes.reshape(dy, (-1, 1)) * slope()))


def mean_cross_entropy(logits: Node, labels: np.ndarray) -> Node:
    """The mean of `cross_entropy` over N >= 1 examples, as one node: a mean of its own takes 20 us more each step."""
    losses, slope = _cross_entropy(logits, labels)
    return Node(losses.sum() / len(losses), (logits, lambda dy: dy * (1.0 / len(losses)) * slope()))


def _cross_entropy(logits: Node, labels: np.ndarray) -> tuple[np.ndarray, Callable[[], Node]]:
    """-log softmax(logits) at each label, and a function that makes their derivatives (N, classes)."""
    rows = np.arange(len(labels))
    log_probability = _log_softmax(logits.value)

    def slope() -> Node:
        one_hot = np.zeros(log_probability.shape, log_probability.dtype)
        one_hot[rows, labels] = 1
        # d(-log p_label)/dlogits = p - 1 at the label, p elsewhere
        return _softmax(logits, np.exp(log_probability)) - one_hot

    return -log_probability[rows, labels], slope


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=wide(x.dtype))
    return (shifted - np.log(total)).astype(x.dtype, copy=False)
