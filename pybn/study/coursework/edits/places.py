"""The places of a function's syntax tree, what may stand there by name, and an edit: something else in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LONGEST = 48  # characters of an expression that is shown

# A piece of a sentence: a text, a node as it is written, or several of them.  Of thousands of edits one is told, and
# the words of the others are never made.
Words = str | ast.AST | tuple[str | ast.AST, ...]


@dataclass(frozen=True)
class Slot:
    """A place of a syntax tree: a field of a node, or an element of a list there."""

    parent: Any
    field: str
    index: int | None

    @property
    def node(self) -> Any:
        """What stands there."""
        held = getattr(self.parent, self.field)
        return held if self.index is None else held[self.index]

    def put(self, node: Any) -> None:
        """Have something else stand there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Edit:
    """What stands at a place instead, and how the slip that this mends is called."""

    slot: Slot
    new: Any
    code: str
    line: int
    around: ast.AST  # the expression that is shown
    wrong: Words = ""
    right: Words = ""
    stage: int = 0  # how likely: 0 before 1

    def placed(self) -> Any:
        """The new node with the line of what it replaces: a compiler asks for one."""
        place = self.slot.node if hasattr(self.slot.node, "lineno") else self.slot.parent
        return ast.fix_missing_locations(ast.copy_location(self.new, place))

    @property
    def values(self) -> dict[str, Any]:
        """What the words of the code are filled with."""
        return {
            "line": self.line,
            "shown": shown(self.around),
            "wrong": _spoken(self.wrong),
            "right": _spoken(self.right),
        }


class Names:
    """What a function has names for: its variables, and the attributes of its class's layers."""

    def __init__(self, function: ast.FunctionDef, around: ast.AST) -> None:
        inner = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
        owners = {id(node.value) for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        arguments = [each.arg for each in function.args.args]
        stored = [node.id for node in inner if isinstance(node.ctx, ast.Store)]
        self.own = arguments[0] if arguments[:1] in (["self"], ["cls"]) else ""
        used = [node.id for node in inner if id(node) not in called and id(node) not in owners]
        self.variables = [name for name in dict.fromkeys([*arguments, *stored, *used]) if name != self.own]
        read = [node for node in ast.walk(around) if isinstance(node, ast.Attribute)]
        of_own = [node.attr for node in read if self.own and name_of(node.value) == self.own]
        methods = [node.name for node in ast.walk(around) if isinstance(node, ast.FunctionDef)]
        self.attributes = [name for name in dict.fromkeys(of_own) if name not in methods]

    def others(self, node: ast.AST) -> Iterator[ast.expr]:
        """Everything that may stand for this name or attribute."""
        for name in self.variables:
            if name != name_of(node):
                yield ast.Name(name, ast.Load())
        for name in self.attributes:
            if not (isinstance(node, ast.Attribute) and node.attr == name):
                yield ast.Attribute(ast.Name(self.own, ast.Load()), name, ast.Load())


def name_of(node: ast.AST) -> str:
    """The name that stands there; "" for anything else."""
    return node.id if isinstance(node, ast.Name) else ""


def slots(tree: ast.AST) -> Iterator[Slot]:
    """Every place of a tree."""
    for parent in ast.walk(tree):
        for field, held in ast.iter_fields(parent):
            if isinstance(held, ast.AST):
                yield Slot(parent, field, None)
            elif isinstance(held, list):
                yield from (Slot(parent, field, i) for i, each in enumerate(held) if isinstance(each, ast.AST))


def is_beside(slot: Slot) -> bool:
    """What is no part of a computation: annotations, decorators, arguments, what is called."""
    return slot.field in ("annotation", "returns", "decorator_list", "args", "func", "ctx", "defaults") and not (
        slot.field == "args" and isinstance(slot.parent, ast.Call)
    )


def shown(node: ast.AST) -> str:
    """An expression as it is written, cut where it is long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _spoken(words: Words) -> str:
    if isinstance(words, str):
        return words
    return shown(words) if isinstance(words, ast.AST) else "".join(map(_spoken, words))


def edit(slot: Slot, new: Any, code: str, around: ast.AST, wrong: Words = "", right: Words = "") -> Edit:
    """The edit of a place, with its line and the expression around it."""
    line = getattr(slot.node, "lineno", getattr(slot.parent, "lineno", 0))
    return Edit(slot, new, code, line, around, wrong, right)
