"""From the docstrings' short form to numpydoc's: headings for what follows a section, one line for an entry.

In the source a section ends at an empty line, and free text or an example may follow it:

    Parameters
    ----------
    epsilon : float >= 0, added to the variance
        under the root

    Raises ValueError for anything else.

    >>> f(epsilon=0.0)

numpydoc takes all that for entries of the section, and RST reads *args as the start of an emphasis.
Here the text gets the heading Notes and the example the heading Examples, an entry that goes on in the next
line is joined to one, and a star is a star.  Below, each object shows the lessons that use it, and each
module begins with a table of what it holds.
"""

import re
from itertools import pairwise
from pathlib import Path
from types import FunctionType, GenericAlias

# What stands between backticks, or one character that RST would read as markup: *args, |x|, name_
_CODE_OR_MARKUP = re.compile(r"(``.+?``|`.+?`|\s\* )|(\*|\||_(?!\w))")


def with_headings(lines):
    """The docstring's lines, where whatever follows a section has a heading of its own."""
    result, inside = [], False
    for position, line in enumerate(lines):
        begins = bool(line.strip()) and not line.startswith(" ") and (position == 0 or not lines[position - 1].strip())
        if begins and is_heading(lines, position):
            inside = True
        elif begins and inside:
            title = "Examples" if line.startswith(">>>") else "Notes"
            result += [title, "-" * len(title)]
            inside = False
        elif begins and line.startswith(">>>") and "Notes" in result:
            result += ["Examples", "--------"]
        result.append(line)
    return result


def with_literal_blocks(lines):
    """The docstring's lines, where an indented block of the text, a formula or a few lines of code, is literal."""
    result, inside = [], False
    for position, line in enumerate(lines):
        after_gap = position > 0 and not lines[position - 1].strip()
        if not line.startswith(" ") and line.strip():
            inside = is_heading(lines, position) or (inside and not after_gap)
        if line.startswith("    ") and after_gap and not inside and _text_before(result):
            result += ["::", ""]
        result.append(line)
    return result


def _text_before(lines):
    """Whether the last line that says something is text at the margin that does not announce a block itself."""
    said = [line for line in lines if line.strip()]
    return bool(said) and not said[-1].startswith((" ", ">>>", "*", "-", "..")) and not said[-1].endswith("::")


def is_heading(lines, position):
    """Whether a line is underlined by hyphens."""
    below = lines[position + 1].strip() if position + 1 < len(lines) else ""
    return bool(below) and set(below) == {"-"}


def with_joined_entries(lines):
    """The docstring's lines, where "name : text" and the indented lines under it are one line."""
    result = lines[:1]
    for before, line in pairwise(lines):
        goes_on = line.startswith("    ") and before.strip() and not line.strip().startswith((">>>", "...", "-", "*"))
        if goes_on and result and " : " in result[-1] and not result[-1].startswith((" ", ">>>")):
            result[-1] += " " + line.strip()
        else:
            result.append(line)
    return result


def without_markup(lines):
    """The docstring's lines, where a star, a bar or a last underscore is only that: the source is plain text."""
    result, literal = [], False
    for line in lines:
        literal = line == "::" or (literal and not (line.strip() and not line.startswith(" ")))
        kept = literal or line.lstrip().startswith((">>>", "...", "* ", ".. "))
        result.append(line if kept else _plain(line))
    return result


def _plain(line):
    # `.ok` would search every class for an ok.
    line = re.sub(r"(?<!`)`(\.[^`]+)`(?!`)", r"``\1``", line)
    return _CODE_OR_MARKUP.sub(lambda found: found[1] or "\\" + found[2], line)


def process(app, what, name, obj, options, lines):
    """Rewrite a docstring in place, before numpydoc reads it."""
    lines[:] = without_markup(with_headings(with_joined_entries(with_literal_blocks(lines))))


def add_lessons(app, what, name, obj, options, lines):
    """Append the thumbnails of the lessons that use an object, where sphinx-gallery found some."""
    if what not in ("function", "class"):
        return
    found = Path(app.srcdir) / "api" / "generated" / "backreferences" / f"{name}.examples"
    if found.is_file() and found.stat().st_size:
        lines += ["", ".. rubric:: Lessons that use it", "", f".. minigallery:: {name}", ""]


def add_contents(app, what, name, obj, options, lines):
    """Append a table of what a module documents, in the order of the page."""
    if what != "module" or name in app.config.autosummary_context["submodules"]:
        return
    own = [key for key, value in vars(obj).items() if getattr(value, "__module__", None) == name]
    names = getattr(obj, "__all__", [key for key in own if not key.startswith("_")])
    listed = [key for key in names if isinstance(getattr(obj, key), type | FunctionType)]
    if listed:
        lines += ["", f".. currentmodule:: {name}", "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [*(f"   {key}" for key in listed), ""]


def skip(app, what, name, obj, skip, options):
    """Leave out the fields of a named tuple, whose docstring only counts them, and names for NumPy's own types.

    Such a name has NumPy's docstring, whose signature numpydoc would give to an object that Sphinx says has none.
    """
    if isinstance(obj, GenericAlias):
        return True
    if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return None


def setup(app):
    """Register before and after numpydoc, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-docstring", add_lessons, priority=600)
    app.connect("autodoc-process-docstring", add_contents, priority=600)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
