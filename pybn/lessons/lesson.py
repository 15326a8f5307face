"""What surrounds a lesson: its figures, shown or saved, and one sentence where they cannot be drawn.

A lesson is a script, a test, a page of the docs and a notebook; here is what differs between these.
"""

from __future__ import annotations

import builtins
import functools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pybn import backend
from pybn.lessons import exercises as all_exercises
from pybn.lessons.exercises import Exercises


def seeds(count: int = 3) -> range:
    """The seeds that a lesson measures with: `count` of them, from the environment's PYBN_LESSON_SEEDS on, or from 0.

    Every lesson takes its seeds here, so that what it claims can be tried on others.

    Raises ValueError where PYBN_LESSON_SEEDS is no whole number of 0 or more.
    """
    said = os.environ.get("PYBN_LESSON_SEEDS", "0")
    if not re.fullmatch(r"\s*[0-9]{1,12}\s*", said):
        raise ValueError(
            "PYBN_LESSON_SEEDS must be the first seed, a whole number of 0 or more with up to 12 digits, got "
            f"{said[:40]!r}"
        )
    first = int(said)
    return range(first, first + count)


@functools.cache  # says its sentence once
def pyplot() -> Any:
    """matplotlib.pyplot; where matplotlib is missing the lesson ends, with a sentence that says what to install."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "matplotlib":
            raise
        raise SystemExit(
            "This lesson draws figures with matplotlib, which is missing: pip install matplotlib"
        ) from None
    if not backend.compiled_is_built():
        print("(pybn_ext is not built here: pybn.reference does the computing, the same numbers in more time)")
    return pyplot


def plots() -> ModuleType:
    """The figures of `pybn.study.plots`, on the same terms as `pyplot`."""
    pyplot()
    from pybn.study import plots

    return plots


def drawings() -> ModuleType:
    """The figures of single lessons, `pybn.lessons.drawings`, on the same terms as `pyplot`."""
    pyplot()
    from pybn.lessons import drawings

    return drawings


def show() -> None:
    """Show the open figures; a script without a display saves them in the current folder and says so.

    On a page of the docs the page takes them.
    """
    plt = pyplot()
    if plt.get_backend().lower() != "agg":
        plt.show()
    elif "sphinx_gallery" not in sys.modules:
        _save(plt)


def _save(plt: Any) -> None:
    name = Path(getattr(sys.modules["__main__"], "__file__", None) or "figure").stem
    for number in plt.get_fignums():
        figure, path = plt.figure(number), Path(f"{name}_{number}.png")
        if not hasattr(figure, "saved_as"):
            figure.savefig(path, dpi=150)
            figure.saved_as = path
            print(f"figure {number}: {path}")


class Table(NamedTuple):
    """Rows with a name, which a page and a notebook show as a table and a terminal in columns."""

    rows: Mapping[str, Sequence[Any]]
    columns: Sequence[str]

    def _cells(self) -> list[list[str]]:
        header = ["", *(name.replace("_", " ") for name in self.columns)]
        return [header, *([name, *map(_written, values)] for name, values in self.rows.items())]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)

    def _repr_html_(self) -> str:
        head, *body = (
            "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(["th", *["td"] * len(self.rows)], self._cells(), strict=True)
        )
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        return f'<table class="docutils"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> Table:
    """A table; at the end of a cell, a page and a notebook show it, and a script prints it."""
    made = Table(rows, columns)
    if not _shown_by_itself():
        print(made)
    return made


def _shown_by_itself() -> bool:
    """Whether the last value of a cell is shown: by the gallery, or by IPython."""
    return "sphinx_gallery" in sys.modules or hasattr(builtins, "__IPYTHON__")


def exercises(topic: str) -> Exercises:
    """The three exercises of the lesson plot_NN_`topic`: at the end of a cell, a notebook and a page show them."""
    return all_exercises.of(topic)


def check(name: str, answer: float) -> bool:
    """Whether `answer` solves an exercise, "momentum-1" for one; prints it, and of a known slip what it is."""
    return all_exercises.check(name, answer)
