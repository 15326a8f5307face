"""The arrays and attributes of one BatchNormalization node of an ONNX model."""

from __future__ import annotations

from typing import Any

from pybn.study.interop.names import some


def graph_of(source: Any) -> Any:
    """The graph of a model, the graph itself, or None where `source` is neither."""
    graph = getattr(source, "graph", source)
    return graph if hasattr(graph, "node") and hasattr(graph, "initializer") else None


def arrays_of(graph: Any, prefix: str, inputs: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, float]]:
    """The node's arrays by the names of the operator's `inputs`, and its attributes momentum and epsilon.

    `prefix` is what the node's name, or the names of its arrays, begin with; "" where there is one such node.
    Raises ValueError where there is none or there are several, and where an array is computed by the graph.
    """
    nodes = [node for node in graph.node if node.op_type == "BatchNormalization"]
    meant = [node for node in nodes if node.name.startswith(prefix) or node.input[1].startswith(prefix)]
    meant = [node for node in meant if prefix and node.name == prefix] or meant
    if len(meant) != 1:
        there = some([node.name or node.input[1] for node in nodes])
        raise ValueError(
            f"prefix must name one BatchNormalization of the graph, by its name or its arrays', got {prefix!r}: "
            f"there is {there}"
        )
    node = meant[0]
    arrays = {name: _constant(graph, of) for name, of in zip(inputs, node.input[1:5], strict=True)}
    return arrays, {each.name: each.f for each in node.attribute if each.name in ("momentum", "epsilon")}


def _constant(graph: Any, name: str) -> Any:
    """The tensor `name`: an initializer, a Constant, or one of these by another name."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return tensor
    for node in graph.node:
        if name in node.output and node.op_type == "Constant":
            return next(each.t for each in node.attribute if each.name == "value")
        if name in node.output and node.op_type == "Identity":  # exporters share equal arrays so
            return _constant(graph, node.input[0])
    raise ValueError(f"{name!r} must be an initializer or a constant of the graph, but it is computed or an input")
