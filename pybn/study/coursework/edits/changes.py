"""The edits of a function's text that are tried: each changes one place of its syntax tree.

In `out = gamma / x_hat + beta` an operator is another one, a name stands for another that the function has, a part is
left out or comes first.  The likeliest are tried first: operators, entries that are exchanged, axes; then names; then
parts that are one too many; then factors and sums that are missing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

from pybn.study.coursework.edits.places import Edit, Names, Slot, edit, is_beside, name_of, shown, slots
from pybn.study.coursework.report.words import known

WRONG, EXTRA = known("edit-wrong"), known("edit-extra")
MISSING, EXCHANGED = known("edit-missing"), known("edit-exchanged")
FORMS = known("edit-parentheses")

_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.MatMult: "@",
    ast.Pow: "**",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
# What stands for what, the likeliest first.
_OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Div, ast.Add, ast.Sub),
    ast.Div: (ast.Mult, ast.Add, ast.Sub),
    ast.FloorDiv: (ast.Div,),
    ast.MatMult: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
_CALLS: dict[str, tuple[str, ...]] = {
    "sum": ("mean",),
    "mean": ("sum",),
    "var": ("std",),
    "std": ("var",),
    "zeros": ("ones",),
    "ones": ("zeros",),
}
_CALLS |= {f"{name}_like": tuple(f"{other}_like" for other in others) for name, others in _CALLS.items()}
_WORDS = {"running_mean": "running_var", "running_var": "running_mean", "train": "test", "test": "train"}
_AXES = ("axis", "dim")


def edits(function: ast.FunctionDef, around: ast.AST) -> Iterator[Edit]:
    """All edits of one function, the likeliest first; around is the statement it stands in, a class or itself."""
    places = [each for each in slots(function) if not is_beside(each)]
    names = Names(function, around)
    for number, stage in enumerate(_STAGES):
        for slot in places:
            yield from (replace(each, stage=number) for each in stage(slot, names))


# --- the stages ---------------------------------------------------------------------------------------------


def _signs(slot: Slot, names: Names) -> Iterator[Edit]:
    """Another operator, the two sides exchanged, a sign, parentheses."""
    node, around = slot.node, slot.parent
    for other in _OPERATORS.get(type(node), ()):
        if isinstance(around, ast.BinOp) and _is_nothing(other, around.right):
            continue
        yield edit(slot, other(), WRONG, around, _SIGNS[type(node)], _SIGNS[other])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield edit(slot, node.operand, EXTRA, node, "not" if isinstance(node.op, ast.Not) else "the minus")
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(node.right, ast.Constant) and not isinstance(node.op, ast.Pow):
        yield edit(slot, node.left, EXTRA, node, (f"{_SIGNS.get(type(node.op), '')} ", node.right))
    if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult):
        turned = ast.BinOp(node.right, node.op, node.left)
        yield edit(slot, turned, EXCHANGED, node, node.left, node.right)
    for nested in _regrouped(node):
        yield edit(slot, nested, FORMS, node)


def _is_nothing(operator: type[ast.AST], right: Any) -> bool:
    """Whether an operation would leave its left side as it is: times or by 1, plus or minus 0.

    Instead of `n * 1` it is said that the number is one too many.
    """
    number = right.value if isinstance(right, ast.Constant) else None
    return (operator in (ast.Mult, ast.Div) and number == 1) or (operator in (ast.Add, ast.Sub) and number == 0)


def _regrouped(node: ast.BinOp) -> Iterator[ast.BinOp]:
    """The same operators and operands with other parentheses: (a - b) / c for a - b / c, and the reverse."""
    if isinstance(node.right, ast.BinOp):
        inner = node.right
        yield ast.BinOp(ast.BinOp(node.left, node.op, inner.left), inner.op, inner.right)
    if isinstance(node.left, ast.BinOp):
        inner = node.left
        yield ast.BinOp(inner.left, inner.op, ast.BinOp(inner.right, node.op, node.right))


def _exchanged(slot: Slot, names: Names) -> Iterator[Edit]:
    """Two entries of a tuple in each other's place, two axes, two keys or modes."""
    node = slot.node
    if isinstance(node, ast.Tuple | ast.List):
        yield from _reordered(slot, node, lambda elements: type(node)(elements, node.ctx))
    if isinstance(node, ast.Call) and _called(node) in ("transpose", "permute", "reshape", "view"):
        yield from _reordered(slot, node, lambda elements: ast.Call(node.func, elements, node.keywords), node.args)
    if isinstance(node, ast.IfExp):
        turned = ast.IfExp(node.test, node.orelse, node.body)
        yield edit(slot, turned, EXCHANGED, node, node.body, node.orelse)
    if isinstance(node, ast.Constant) and node.value in _WORDS:
        right = _WORDS[node.value]
        yield edit(slot, ast.Constant(right), WRONG, slot.parent, repr(node.value), repr(right))


def _reordered(slot: Slot, node: Any, made: Callable[[list], Any], elements: list | None = None) -> Iterator[Edit]:
    """Two of the elements in each other's place; of axes, which are numbers, every order."""
    elements = list(node.elts if elements is None else elements)
    numbers = [each.value for each in elements if isinstance(each, ast.Constant) and isinstance(each.value, int)]
    if len(numbers) == len(elements) in (3, 4) and len(set(numbers)) == len(numbers):
        for order in permutations(elements):
            if list(order) != elements:
                right = ", ".join(map(shown, order))
                yield edit(slot, made(list(order)), WRONG, node, ", ".join(map(shown, elements)), right)
        return
    for i, j in combinations(range(len(elements)), 2):
        turned = list(elements)
        turned[i], turned[j] = turned[j], turned[i]
        yield edit(slot, made(turned), EXCHANGED, node, elements[i], elements[j])


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else name_of(node.func)


def _settings(slot: Slot, names: Names) -> Iterator[Edit]:
    """Axes, keywords, numbers, and functions that are taken for one another."""
    node = slot.node
    if isinstance(node, ast.Call):
        yield from _of_call(slot, node)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        beside = slot.parent if isinstance(slot.parent, ast.BinOp) and slot.field == "right" else None
        for value in _numbers(node.value):
            if beside and _is_nothing(type(beside.op), ast.Constant(value)):
                continue
            yield edit(slot, ast.Constant(value), WRONG, slot.parent, f"{node.value:g}", f"{value:g}")


def _numbers(value: float) -> list[float]:
    near: list[float] = [0, 1, 2, -1, 0.5, 3, 1.5, -0.5, -1.5]
    return [each for each in near if each != value]


def _of_call(slot: Slot, node: ast.Call) -> Iterator[Edit]:
    for other in _CALLS.get(_called(node), ()):
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(node.func.value, other, ast.Load())
            yield edit(slot, ast.Call(func, node.args, node.keywords), WRONG, node, _called(node), other)
    for index, keyword in enumerate(node.keywords):
        rest = node.keywords[:index] + node.keywords[index + 1 :]
        text = (f"{keyword.arg}=", keyword.value)
        if keyword.arg in _AXES:
            for axes in _axes():
                if ast.unparse(axes) != ast.unparse(keyword.value):
                    new = ast.Call(node.func, node.args, [*rest, ast.keyword(keyword.arg, axes)])
                    yield edit(slot, new, WRONG, node, text, (f"{keyword.arg}=", axes))
        yield edit(slot, ast.Call(node.func, node.args, rest), EXTRA, node, text)
    if _called(node) in ("sum", "mean", "var", "std"):
        given = {keyword.arg for keyword in node.keywords}
        added = [("axis", axes) for axes in _axes()] if not given & set(_AXES) else []
        added += [("keepdims", ast.Constant(True))] if "keepdims" not in given else []
        for name, value in added:
            new = ast.Call(node.func, node.args, [*node.keywords, ast.keyword(name, value)])
            yield edit(slot, new, MISSING, node, right=(f"{name}=", value))


def _axes() -> list[ast.expr]:
    return [ast.parse(text, mode="eval").body for text in ("0", "1", "(0, 2, 3)", "(2, 3)")]


def _names(slot: Slot, names: Names) -> Iterator[Edit]:
    """Another name of the function."""
    node = slot.node
    index = isinstance(node, ast.Constant) and isinstance(slot.parent, ast.Subscript | ast.Tuple | ast.Call)
    if not (_is_read(slot) or (index and isinstance(node.value, int))):
        return
    for other in names.others(node):
        yield edit(slot, other, WRONG, slot.parent, node, other)


def _is_read(slot: Slot) -> bool:
    """Whether a variable or an attribute is read here, for itself and not for what it has."""
    node = slot.node
    if isinstance(slot.parent, ast.Attribute) and not isinstance(node, ast.Attribute):
        return isinstance(slot.parent.ctx, ast.Load) and name_of(node) not in ("np", "numpy", "torch", "self", "")
    return isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)


def _less(slot: Slot, names: Names) -> Iterator[Edit]:
    """A part that is one too many: one side of an operator, a call around it, a whole statement."""
    node = slot.node
    if isinstance(node, ast.BinOp):
        sign = _SIGNS.get(type(node.op), "**")
        yield edit(slot, node.left, EXTRA, node, (f"{sign} ", node.right))
        if not isinstance(node.op, ast.Pow):
            yield edit(slot, node.right, EXTRA, node, (node.left, f" {sign}"))
    if isinstance(node, ast.Call):
        if node.args and isinstance(node.func, ast.Attribute):
            yield edit(slot, node.args[0], EXTRA, node, _called(node))
        if isinstance(node.func, ast.Attribute):
            yield edit(slot, node.func.value, EXTRA, node, _called(node))
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield edit(slot, node.value, EXTRA, slot.parent, ("[", node.slice, "]"))
    if isinstance(node, ast.AugAssign | ast.Assign) and isinstance(slot.index, int):
        yield edit(slot, ast.Pass(), EXTRA, node, "this statement")
    if isinstance(node, ast.AugAssign):
        target = node.target
        yield edit(slot, ast.Assign([target], node.value), WRONG, node, f"{_SIGNS.get(type(node.op), '')}=", "=")


def _may_be_more(slot: Slot) -> bool:
    """Whether something may be missing at this expression: not inside of what is read or called as a whole."""
    node = slot.node
    if not isinstance(node, ast.expr) or not (_is_read(slot) or isinstance(node, ast.BinOp | ast.Call)):
        return False
    return isinstance(node, ast.BinOp) or not isinstance(slot.parent, ast.keyword | ast.Tuple)


def _more(slot: Slot, names: Names) -> Iterator[Edit]:
    """What is missing: a sign, one minus it, a root, a square, a sum over the rows."""
    node = slot.node
    if not _may_be_more(slot):
        return
    yield edit(slot, ast.UnaryOp(ast.USub(), node), MISSING, node, right="a minus")
    yield edit(slot, ast.BinOp(ast.Constant(1), ast.Sub(), node), MISSING, node, right="1 minus it")
    for power, word in ((2, "the square"), (0.5, "the root"), (-1, "one over it")):
        yield edit(slot, ast.BinOp(node, ast.Pow(), ast.Constant(power)), MISSING, node, right=word)
    for name in ("sum", "mean"):
        call = ast.Call(ast.Attribute(node, name, ast.Load()), [ast.Constant(0)], [])
        yield edit(slot, call, MISSING, node, right=f"the {name} over the rows")


def _with_names(slot: Slot, names: Names) -> Iterator[Edit]:
    """A factor or a term that is missing, by its name."""
    node = slot.node
    if not (_may_be_more(slot) or (isinstance(node, ast.Constant) and isinstance(slot.parent, ast.BinOp))):
        return
    for other in names.others(node):
        for operator in (ast.Mult, ast.Div, ast.Sub, ast.Add):
            new = ast.BinOp(node, operator(), other)
            yield edit(slot, new, MISSING, node, right=(f"{_SIGNS[operator]} ", other))
        for operator in (ast.Sub, ast.Div):
            new = ast.BinOp(other, operator(), node)
            yield edit(slot, new, MISSING, node, right=(other, f" {_SIGNS[operator]}"))


def _names_of_tuples(slot: Slot, names: Names) -> Iterator[Edit]:
    """Another name in a cache or among results."""
    if isinstance(slot.parent, ast.Tuple | ast.List | ast.Dict):
        yield from _names(slot, names)


def _for_parts(slot: Slot, names: Names) -> Iterator[Edit]:
    """A name in the place of a whole expression."""
    if isinstance(slot.node, ast.BinOp | ast.Call) and _may_be_more(slot):
        for other in names.others(slot.node):
            yield edit(slot, other, WRONG, slot.node, slot.node, other)


_STAGES: Sequence[Callable[[Slot, Names], Iterator[Edit]]]
_STAGES = (_signs, _exchanged, _names_of_tuples, _settings, _names, _less, _more, _for_parts, _with_names)
