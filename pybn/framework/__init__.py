"""Just enough of a training library to host the layer: graph, context, layers, trainer."""
