"""Losses: functions (labels, predictions) -> a scalar node, the mean over the batch.

Predictions of 16 bits are taken to float32 first: a loss is a number of its own, and the square of
300 is beyond float16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pybn.framework import ops
from pybn.framework.graph import Node, wide
from pybn.framework.ops.softmax import mean_cross_entropy
from pybn.framework.structures import plain_labels
from pybn.halves import is_floating


def softmax_cross_entropy(labels: Any, logits: Node) -> Node:
    """Mean of -log softmax(logits) at each label: integer labels (N,), logits (N, classes)."""
    labels, logits = _labels(labels), _predictions(logits)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, one class for each example, got {labels.dtype}")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"labels (N,) must go with logits (N, classes), got {labels.shape} and {logits.shape}")
    if labels.size == 0 or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be one or more classes in [0, {logits.shape[1]}), got {_range_of(labels)}")
    return mean_cross_entropy(logits, labels)


def binary_cross_entropy_with_logits(labels: Any, logits: Node) -> Node:
    """Mean of -labels log p - (1 - labels) log(1 - p) with p = sigmoid(logits), over all elements.

    Labels are probabilities in [0, 1] of the logits' shape, 0 and 1 for the most part.  Written with
    log(1 + e ** x), which neither overflows nor loses a small loss: at logit 40 and label 1 it is 4e-18.
    """
    logits = _predictions(logits)
    labels = _numbers(labels).astype(logits.dtype)
    if labels.shape != logits.shape or labels.size == 0:
        raise ValueError(f"labels must have the shape of the logits {logits.shape}, one or more, got {labels.shape}")
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"labels must lie in [0, 1], got {_range_of(labels)}")
    return ops.mean(ops.softplus(-logits) * labels + ops.softplus(logits) * (1 - labels))


def mean_squared_error(labels: Any, predictions: Node) -> Node:
    """Mean of (predictions - labels) ** 2 over all elements; the shapes must agree."""
    predictions = _predictions(predictions)
    labels = _numbers(labels).astype(predictions.dtype)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels must have the shape of the predictions {predictions.shape}, got {labels.shape}")
    difference = predictions - labels
    return ops.mean(difference * difference)


def _labels(labels: Any) -> np.ndarray:
    if isinstance(labels, Node):
        raise TypeError("a loss takes (labels, predictions) in this order, got a Node for the labels")
    return plain_labels(labels)


def _numbers(labels: Any) -> np.ndarray:
    labels = _labels(labels)
    if labels.dtype.kind not in "biuf" and not is_floating(labels.dtype):
        raise TypeError(f"labels must be real numbers, got {labels.dtype}")
    return labels


def _predictions(predictions: Any) -> Node:
    node = ops.as_node(predictions)
    return node.astype(wide(node.dtype))


def _range_of(labels: np.ndarray) -> str:
    return f"[{labels.min()}, {labels.max()}]" if labels.size else "none"
