"""Node: an array that remembers how it was made; gradient: the chain rule, walked backwards.

A node holds its value, its parents, and for each parent a vector-Jacobian product: a function
from dy, the gradient that arrives at the node, to the gradient that leaves for the parent.  Both
are nodes, so the gradient of a gradient is asked for in the same way, to any order.

A gradient on its way is never narrower than float32, whatever the nodes it passes are: a float32
weight behind float16 activations would get infinity where 70 000 rows of 1 are added up.

Gradients are returned, never stored on nodes; a node knows its parents and nothing knows its
children, so a step's whole graph is gone as soon as its loss is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pybn.halves import is_floating
from pybn.typing import ArrayLike

#: A node, or numbers that become one.
NodeLike: TypeAlias = "Node | ArrayLike"
VectorJacobianProduct = Callable[["Node"], "Node"]
JointProduct = Callable[["Node"], Sequence["Node | None"]]


class Node:
    """An array and how it was made.

    Parameters
    ----------
    value : array
    edges : pairs (parent, vjp), where vjp(dy) is the gradient that leaves for that parent;
        a vjp of None lets no gradient through
    """

    __slots__ = ("__weakref__", "edges", "joint", "value")
    # NumPy arrays leave `array * node` to the node's own operators.
    __array_ufunc__ = None

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("a Node is not an array: pass its .value to NumPy, or use the operation of pybn.ops")

    def __init__(self, value: Any, *edges: tuple[Node, VectorJacobianProduct | None]) -> None:
        self.value: np.ndarray = value if type(value) is np.ndarray else np.asarray(value)
        self.edges = edges
        self.joint: JointProduct | None = None  # in place of the products of the edges

    @classmethod
    def with_joint_product(cls, value: Any, parents: Sequence[Node], joint: JointProduct) -> Node:
        """A node whose gradients for all parents come from one call: joint(dy) -> one for each parent."""
        node = cls(value, *zip(parents, repeat(None)))
        node.joint = joint
        return node

    @property
    def parents(self) -> list[Node]:
        """What the value was made of."""
        return [parent for parent, _ in self.edges]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The rank of the value."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """How many elements the value has."""
        return self.value.size

    @property
    def dtype(self) -> np.dtype:
        """The type of the value's elements."""
        return self.value.dtype

    def __repr__(self) -> str:
        return f"Node({self.value!r})"

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value.item())

    # Without this, `for row in node` would fall back on __getitem__ and never end.
    __iter__ = None

    if TYPE_CHECKING:  # the operators are installed by pybn.framework.ops, next to their derivatives

        def __add__(self, other: Any) -> Node: ...
        def __radd__(self, other: Any) -> Node: ...
        def __sub__(self, other: Any) -> Node: ...
        def __rsub__(self, other: Any) -> Node: ...
        def __mul__(self, other: Any) -> Node: ...
        def __rmul__(self, other: Any) -> Node: ...
        def __truediv__(self, other: Any) -> Node: ...
        def __rtruediv__(self, other: Any) -> Node: ...
        def __pow__(self, exponent: float) -> Node: ...
        def __neg__(self) -> Node: ...
        def __matmul__(self, other: Any) -> Node: ...
        def __getitem__(self, index: Any) -> Node: ...
        def astype(self, dtype: Any) -> Node: ...  # noqa: D102


def gradient(y: Node, nodes: Sequence[Node], dy: Any = None, *, partial: bool = False) -> list[Node]:
    """The gradient of y with respect to each of `nodes`, as nodes.

    Parameters
    ----------
    y : Node; a scalar, unless dy is given
    nodes : the nodes to differentiate with respect to
    dy : array or Node of y's shape, the gradient that arrives at y; default 1
    partial : take each of `nodes` for independent of the others (do not look behind them)

    Returns
    -------
    list of Node : one for each of `nodes`, of its shape and type; zeros where y does not depend on it

    >>> from pybn.framework import ops
    >>> x = Node(np.array([1.0, 2.0]))
    >>> (slope,) = gradient(ops.sum(x**3), [x])
    >>> (curvature,) = gradient(ops.sum(slope), [x])
    >>> slope.value, curvature.value
    (array([ 3., 12.]), array([ 6., 12.]))
    """
    found = travelling_gradient(y, nodes, dy, partial=partial)
    return [
        each if each.value.dtype == node.value.dtype else each.astype(node.value.dtype)
        for each, node in zip(found, nodes, strict=True)
    ]


def travelling_gradient(y: Node, nodes: Sequence[Node], dy: Any = None, *, partial: bool = False) -> list[Node]:
    """As `gradient`, in the types in which gradients travel: for derivatives that are made of gradients."""
    for node in nodes:
        if not isinstance(node, Node):
            raise TypeError(f"gradient needs Nodes to differentiate by, got {type(node).__name__}; see Variable.node")
        if not is_floating(node.value.dtype):
            raise TypeError(f"gradient needs Nodes of floats to differentiate by, got one of {node.dtype}")
    wanted = set(nodes)
    on_path = _paths_to(wanted, y, partial)
    arriving = {y: _seed(y, dy)}
    for node in reversed(on_path):
        if node not in arriving or (partial and node in wanted):
            continue
        here = arriving[node] if node in wanted else arriving.pop(node)
        together = repeat(None) if node.joint is None else node.joint(here)  # one for each parent
        for (parent, product), leaving in zip(node.edges, together, strict=node.joint is not None):
            if parent not in on_path:
                continue
            if product is not None:
                leaving = product(here)
            if leaving is None:
                continue
            if leaving.value.dtype != parent.value.dtype:  # float32 beside float64 made float64
                leaving = leaving.astype(wide(parent.value.dtype))
            arriving[parent] = arriving[parent] + leaving if parent in arriving else leaving
    return [arriving[node] if node in arriving else Node(np.zeros_like(node.value)) for node in nodes]


@functools.cache  # of a dozen types; asked 20 times in a training step
def wide(dtype: Any) -> np.dtype:
    """The type in which a gradient of `dtype` travels, and sums of it are taken: float32 or wider."""
    return np.promote_types(dtype, np.float32)


def _seed(y: Node, dy: Any) -> Node:
    if dy is None:
        if y.size != 1:
            raise ValueError(f"gradient needs a scalar, or dy for an output of shape {y.shape}")
        return Node(np.ones_like(y.value, dtype=wide(y.dtype)))
    dy = dy if isinstance(dy, Node) else Node(np.asarray(dy))
    if dy.shape != y.shape:
        raise ValueError(f"dy must have the shape of y {y.shape}, got {dy.shape}")
    return dy.astype(wide(y.dtype))


def _paths_to(wanted: set[Node], y: Node, partial: bool) -> dict[Node, None]:
    """The nodes from which y can be reached and that depend on a wanted one, parents first."""
    found: dict[Node, None] = {}
    for node in ancestors_first(y, stop=wanted if partial else ()):
        if node in wanted:
            found[node] = None
        for parent, _ in node.edges:
            if parent in found:
                found[node] = None
    return found


def ancestors_first(y: Node, stop: Container[Node] = ()) -> list[Node]:
    """y and everything it was made of, parents before children; nothing behind a node in `stop`.

    A loop, not a recursion: a graph may be deep.
    """
    order: list[Node] = []
    seen = {y}
    open_nodes = [(y, iter(() if y in stop else y.edges))]
    while open_nodes:
        node, rest = open_nodes[-1]
        for parent, _ in rest:
            if parent in seen:
                continue
            seen.add(parent)
            if parent.edges and parent not in stop:
                open_nodes.append((parent, iter(parent.edges)))
                break
            order.append(parent)
        else:
            order.append(node)
            open_nodes.pop()
    return order
