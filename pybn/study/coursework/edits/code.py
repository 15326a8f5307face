"""The student's own functions and their text: found, and edited in place by another code object.

A function keeps its identity: whoever calls it, a class's adapter or another function, calls the edited one, and the
old code is put back after the trial.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any, NamedTuple

from pybn.study.adapters.layers import Adapted, Function
from pybn.study.coursework.edits.changes import edits
from pybn.study.coursework.edits.places import Edit
from pybn.study.coursework.student.sandbox import is_own

MOST = 40  # functions of one file that are looked at
MOST_EDITS = 20_000  # of one function: of eighty that were counted the longest has 14 000


class Place(NamedTuple):
    """Where an edit is found again: a file, the line at which a function's code starts, the number among its edits."""

    file: str
    line: int
    number: int


def own_functions(handed: Iterable[Any]) -> list[FunctionType]:
    """The functions that these call or hold, written in a file of the student's, in the order in which they are met."""
    found: dict[int, FunctionType] = {}
    waiting = list(handed)
    while waiting and len(found) < MOST:
        held = waiting.pop(0)
        if isinstance(held, FunctionType):
            if id(held) in found:
                continue
            if is_own(held.__code__.co_filename):
                found[id(held)] = held
            waiting += _beside(held)
        else:
            waiting += _within(held)
    return list(found.values())


def _within(held: Any) -> list[Any]:
    """The functions of what stands for a function."""
    if isinstance(held, functools.partial):
        return [held.func]
    if isinstance(held, Function):
        return [held.adapted.kind]
    if isinstance(held, Adapted):
        return [held.kind]
    if isinstance(held, MethodType):
        return [held.__func__, held.__self__]
    if isinstance(held, staticmethod | classmethod):
        return [held.__func__]
    if isinstance(held, property):
        return [each for each in (held.fget, held.fset) if each]
    if inspect.isclass(held) and held is not object:
        return list(vars(held).values()) + list(held.__bases__)
    return []


def _beside(function: FunctionType) -> list[Any]:
    """What a function closes over, wraps, and calls by the names of its file."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # an empty one
            continue
    own = [function.__globals__.get(name) for code in _codes(function.__code__) for name in code.co_names]
    called = [each for each in own if isinstance(each, FunctionType | functools.partial)]
    return [*cells, *filter(None, [getattr(function, "__wrapped__", None)]), *called]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


@dataclass
class Text:
    """A function with what of its file is compiled for it, and its own definition there."""

    function: FunctionType
    statements: list[ast.stmt]  # the one that it stands in, after the imports: Python compiles their names otherwise
    definition: ast.FunctionDef

    def compiled(self) -> CodeType | None:
        """The function's code as the tree has it now."""
        module = ast.Module(self.statements, type_ignores=[])
        whole = compile(module, self.function.__code__.co_filename, "exec", dont_inherit=True)
        own = self.function.__code__
        found = (each for each in _codes(whole) if each.co_qualname == own.co_qualname)
        return next((each for each in found if each.co_firstlineno == own.co_firstlineno), None)

    def edited(self, edit: Edit) -> CodeType | None:
        """The function's code with one edit; None where that is no Python."""
        old = edit.slot.node
        edit.slot.put(edit.placed())
        try:
            code = self.compiled()
        except (SyntaxError, ValueError, TypeError, RecursionError):
            return None
        finally:
            edit.slot.put(old)
        return code if code is not None and code.co_freevars == self.function.__code__.co_freevars else None

    def edits(self) -> Iterator[tuple[Place, Edit]]:
        """What is tried."""
        code = self.function.__code__
        for number, edit in enumerate(islice(edits(self.definition, self.statements[-1]), MOST_EDITS)):
            yield Place(code.co_filename, code.co_firstlineno, number), edit


def texts(functions: Iterable[FunctionType]) -> list[Text]:
    """Those functions whose text can be had and is what runs."""
    trees: dict[str, Mapping[int, tuple[list[ast.stmt], ast.FunctionDef]]] = {}
    found = []
    for function in functions:
        code = function.__code__
        if code.co_filename not in trees:
            trees[code.co_filename] = _definitions(source_of(code.co_filename, function.__globals__))
        place = trees[code.co_filename].get(code.co_firstlineno)
        text = Text(function, *place) if place else None
        if text and _is_what_runs(text):
            found.append(text)
    return found


def edit_at(place: Place, source: str) -> Edit | None:
    """The edit of this place, from the text of its file; None where there is none."""
    found = _definitions(source).get(place.line)
    if found is None or not 0 <= place.number < MOST_EDITS:
        return None
    statements, definition = found
    return next(islice(edits(definition, statements[-1]), place.number, None), None)


def source_of(file: str, names: dict[str, Any] | None = None) -> str:
    """The text that Python has of a file, or of a notebook's cell; "" where it has none."""
    return "".join(linecache.getlines(file, names))


def _definitions(source: str) -> dict[int, tuple[list[ast.stmt], ast.FunctionDef]]:
    """Every function of a file by the line of its code, with the imports and the outermost statement around it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last: too deep for the parser
        return {}
    imports = [each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)]
    return {
        min([node.lineno, *(each.lineno for each in node.decorator_list)]): ([*imports, statement], node)
        for statement in tree.body
        for node in ast.walk(statement)
        if isinstance(node, ast.FunctionDef)
    }


def _is_what_runs(text: Text) -> bool:
    try:
        compiled = text.compiled()
    except (SyntaxError, ValueError, RecursionError):
        return False
    return compiled is not None and compiled.co_code == text.function.__code__.co_code


def run_by(call: Callable[[], Any]) -> set[CodeType]:
    """The code of all functions that a call runs, whatever it raises."""
    ran: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            ran.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    except Exception:  # what ran until then has run
        return ran
    finally:
        sys.setprofile(before)
    return ran


def holds(text: Text, edit: Edit, judge: Callable[[], bool]) -> bool:
    """Whether the judge is content while the function runs with this edit."""
    code, old = text.edited(edit), text.function.__code__
    if code is None:
        return False
    text.function.__code__ = code
    try:
        return judge()
    finally:
        text.function.__code__ = old
