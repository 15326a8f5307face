"""Whose it is that a forward does not run on the trial's batch: the student's, or who handed it something else."""

from __future__ import annotations

from typing import Any

from pybn.study.adapters.making import has_setup
from pybn.study.adapters.names import NAMES
from pybn.study.adapters.places import members

AROUND = "hand in functions (x, gamma, beta, bn_param) and (dout, cache) around the layer"


def blamed(kind: type, layer: Any, error: Exception) -> tuple[str, str, str] | None:
    """Setting, reason and remedy where forward waits for methods or wants no array; None: it is the student's."""
    raised = f"{type(error).__name__}: {error}"
    if isinstance(error, AttributeError) and has_setup(kind):
        methods = [name for name in NAMES["setup"] if callable(getattr(kind, name, None))]
        remedy = "build=lambda features: the layer, ready for its first batch"
        return "construction", f"forward raises {raised}; the class has {', '.join(methods)}", remedy
    if (own := _own_type(kind, layer, error)) is not None:
        return "call", f"forward does not take arrays: {own[0]} is a {own[1]} of the file ({raised})", AROUND
    if isinstance(error, AttributeError) and str(error).startswith(("'numpy.ndarray'", "'Tensor'")):
        return "call", f"forward wants x to be more than an array: {error}", AROUND
    return None


def _own_type(kind: type, layer: Any, error: Exception) -> tuple[str, str] | None:
    """An attribute of a class of the same file that this error names: forward counts on x being one as well."""
    for name, held in members(layer).items():
        own = type(held)
        if own.__module__ == kind.__module__ and f"'{own.__name__}'" in str(error):
            return str(name), own.__name__
    return None
