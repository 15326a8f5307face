"""From the docstrings' short form to numpydoc's: headings for what follows a section, one line for an entry.

In the source a section ends at an empty line, and free text or an example may follow it:

    Parameters
    ----------
    epsilon : float >= 0, added to the variance
        under the root

    Raises ValueError for anything else.

    >>> f(epsilon=0.0)

numpydoc takes all that for entries of the section.  Here the text gets the heading Notes and the example
the heading Examples, and an entry that goes on in the next line is joined to one.
"""

from itertools import pairwise


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


def process(app, what, name, obj, options, lines):
    """Rewrite a docstring in place, before numpydoc reads it."""
    lines[:] = with_headings(with_joined_entries(lines))


def skip(app, what, name, obj, skip, options):
    """Leave out the fields of a named tuple, whose docstring only counts them."""
    if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return None


def setup(app):
    """Register before numpydoc, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
