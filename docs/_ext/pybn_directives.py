"""What the pages show that comes from elsewhere: lessons' figures, the libraries' conventions."""

from pathlib import Path

from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from pybn.study.interop import LIBRARIES


class LessonFigure(SphinxDirective):
    """`.. lesson-figure:: plot_02 1`: the lesson's first figure, linked to the lesson, with a caption.

    A site without lessons has no figure there; a site that lacks this one lesson is an error.
    """

    required_arguments = 2
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012  # docutils' own way

    def run(self):
        """A figure node, or a warning that fails the build."""
        lesson, number = self.arguments
        gallery = Path(self.env.srcdir) / "gallery"
        if not list(gallery.glob("plot_*.rst")):
            return []
        pages = sorted(gallery.glob(f"{lesson}*.rst"))
        if len(pages) != 1:
            raise self.error(f"lesson-figure: one lesson must begin with {lesson}, found {[p.name for p in pages]}")
        name = pages[0].stem
        text = [
            f".. figure:: /gallery/images/sphx_glr_{name}_{int(number):03d}.png",
            f"   :alt: {self.options['alt']}",
            f"   :target: gallery/{name}.html",
            "",
            *(f"   {line}" for line in self.content),
            f"   From the lesson :doc:`/gallery/{name}`.",
        ]
        return self.parse_text_to_nodes("\n".join(text))


class ConventionsTable(SphinxDirective):
    """`.. conventions-table:: names` or `rules`: the columns of pybn.study.interop.LIBRARIES."""

    required_arguments = 1

    def run(self):
        """A table node."""
        header, row = {"names": (NAMES_HEADER, names_row), "rules": (RULES_HEADER, rules_row)}[self.arguments[0]]
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
        for cells in [header, *(row(library) for library in LIBRARIES.values())]:
            lines += [f"   {'* -' if first else '  -'} {cell}" for first, cell in marked(cells)]
        return self.parse_text_to_nodes(StringList(lines, source="conventions-table"))


NAMES_HEADER = ("library", "scale", "offset", "mean", "variance", "counter")
RULES_HEADER = ("library", "momentum is the share of the", "default", "epsilon", "variance that is averaged")


def names_row(library):
    """What the library calls its state."""
    names = (library.scale, library.offset, library.mean, library.variance, library.counter)
    return (library.title, *("—" if name is None else f"``{name}``" for name in names))


def rules_row(library):
    """How the library averages."""
    keeps = {"old": "old average", "new": "**new** batch"}[library.momentum_keeps]
    variance = {"population": "population", "sample": "**sample**, :math:`n/(n-1)`"}[library.averaged_variance]
    return library.title, keeps, str(library.momentum), f"{library.epsilon:g}", variance


def marked(cells):
    """Each cell with whether it begins a row."""
    return ((position == 0, cell) for position, cell in enumerate(cells))


def setup(app):
    """Register the directives."""
    app.add_directive("lesson-figure", LessonFigure)
    app.add_directive("conventions-table", ConventionsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
