"""Differentiable operations on nodes: each value with its vector-Jacobian product beside it.

`ops.exp(x)`, `ops.sum(x, axis)`, ...; `a + b`, `a @ b`, `x[index]` and the like are these too.
"""

from pybn.framework.graph import Node
from pybn.framework.ops.batch_norm import batch_norm_inference, batch_norm_training, composed_inference
from pybn.framework.ops.elementwise import (
    add,
    as_node,
    cast,
    divide,
    exp,
    log,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    softplus,
    sqrt,
    stop_gradient,
    subtract,
    tanh,
    where,
)
from pybn.framework.ops.linear import add_windows, matmul, windows
from pybn.framework.ops.shapes import (
    broadcast_to,
    concatenate,
    flatten,
    max,
    mean,
    pad,
    put,
    reshape,
    sum,
    sum_to,
    take,
    transpose,
)
from pybn.framework.ops.softmax import cross_entropy, log_softmax, softmax

__all__ = [
    "add",
    "add_windows",
    "as_node",
    "batch_norm_inference",
    "batch_norm_training",
    "broadcast_to",
    "cast",
    "composed_inference",
    "concatenate",
    "cross_entropy",
    "divide",
    "exp",
    "flatten",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "mean",
    "multiply",
    "negative",
    "pad",
    "power",
    "put",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "softplus",
    "sqrt",
    "stop_gradient",
    "subtract",
    "sum",
    "sum_to",
    "take",
    "tanh",
    "transpose",
    "where",
    "windows",
]

_OPERATORS = {
    "__add__": add,
    "__radd__": lambda a, b: add(b, a),
    "__sub__": subtract,
    "__rsub__": lambda a, b: subtract(b, a),
    "__mul__": multiply,
    "__rmul__": lambda a, b: multiply(b, a),
    "__truediv__": divide,
    "__rtruediv__": lambda a, b: divide(b, a),
    "__pow__": power,
    "__neg__": negative,
    "__matmul__": matmul,
    "__rmatmul__": lambda a, b: matmul(b, a),
    "__getitem__": take,
    "astype": cast,
}
for _name, _operation in _OPERATORS.items():
    setattr(Node, _name, _operation)
