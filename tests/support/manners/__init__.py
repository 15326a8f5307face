"""Batch normalization in the manners of courses, books and libraries: texts, with slips to type into them."""

from types import ModuleType
from typing import Any


def run(text: str) -> ModuleType:
    """The text as a module."""
    module = ModuleType("handed_in")
    exec(compile(text, "handed_in.py", "exec"), module.__dict__)
    return module


def last_class(text: str) -> type[Any]:
    """The class that a text defines last."""
    module = run(text)
    return [held for held in vars(module).values() if isinstance(held, type) and held.__module__ == module.__name__][-1]
