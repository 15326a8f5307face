"""A lesson as a notebook, with nothing but Python: `# %%` cells into cells, their text from reST into Markdown.

Only what the lessons use is translated: titles, links, references, code, formulas, tables.
"""

from __future__ import annotations

import ast
import re
from typing import Any

CELL = re.compile(r"^# %%.*\n", re.MULTILINE)
# A cell of code that begins so is folded where that can be: on a page, in a notebook.  What follows says what it is.
FOLDED = "# Folded: "
# As JupyterLab, Jupyter Book and Colab call it.
HIDDEN = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"], "cellView": "form"}


def notebook(source: str) -> dict[str, Any]:
    """The notebook of a lesson's source, as the dictionary that stands in its file (nbformat 4.5)."""
    title = ast.get_docstring(ast.parse(source)) or ""
    first, *others = CELL.split(source)
    parts = [("markdown", markdown(title)), ("code", first[_end_of_docstring(first) :])]
    for cell in others:
        text = re.match(r"(?:#.*\n)*", cell)
        length = text.end() if text else 0
        parts.append(("markdown", markdown(re.sub(r"^# ?", "", cell[:length], flags=re.MULTILINE))))
        parts.append(("code", cell[length:]))
    made = [(kind, text.strip("\n")) for kind, text in parts if text.strip()]
    return {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(made)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _end_of_docstring(source: str) -> int:
    """The position behind the line on which the docstring ends."""
    lines = ast.parse(source).body[0].end_lineno or 0
    return sum(len(line) for line in source.splitlines(keepends=True)[:lines])


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    hidden = HIDDEN if kind == "code" and text.startswith(FOLDED) else {}
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {**hidden}, "source": text}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def markdown(text: str) -> str:
    """Markdown of the reST that lessons are written in."""
    text = re.sub(r"^\.\. _[\w-]+:\n+", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. math::((?:.*\n)(?:(?:[ ].*)?\n)*|.*\Z)", _formula, text, flags=re.MULTILINE)
    text = re.sub(r"^(\S.*)\n=+$", r"# \1", text, flags=re.MULTILINE)
    text = re.sub(r"^(\S.*)\n-+$", r"## \1", text, flags=re.MULTILINE)
    # A table is kept as it is, in letters of one width.
    text = re.sub(r"^(=+  =.*\n(?:.*\n)*?=+  =.*\n(?:.*\n)*?=+  =.*)$", r"```\n\1\n```", text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":ref:`lesson-([\w-]+)`", lambda found: f"*{found[1].replace('-', ' ')}*", text)
    text = re.sub(r":sup:`([^`]*)`", r"<sup>\1</sup>", text.replace("\\ :sup:", ":sup:"))
    text = re.sub(r"`([^`<]+?)\s*<([^>`]+)>`__?", r"[\1](\2)", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _formula(found: re.Match[str]) -> str:
    """A displayed formula; lines that are aligned at & need the environment that Sphinx adds."""
    body = "\n".join(line.strip() for line in found[1].strip().splitlines())
    if "&" in body:
        body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
    return f"$$\n{body}\n$$\n\n"
