"""The source of the compiled path as pages: one for each room of `pybn_ext`, and Cython's annotated pages.

:room:`plans` links to the source of plans.pxi.  `.. rooms-table::` lists them in the order in which a batch passes, as
`operations.pxi` says it; `.. annotated-pages::` links to what `cython -a` makes, where Cython is installed.
"""

import importlib.util
import re
import subprocess
import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from docutils import nodes
from sphinx.util.docutils import ReferenceRole, SphinxDirective
from sphinx.util.nodes import make_refnode

ROOM = re.compile(r"^#     (\w+) +(.+)$", re.MULTILINE)
GROUP = re.compile(r"^#   (\w[^:\n]*)(?:: (.+))?$", re.MULTILINE)
TITLE = re.compile(r"^=+\n\n", re.MULTILINE)  # the end of it
COMMAND = "cython -3 -a"
# setup.py's, but for what says nothing on a page.
DIRECTIVES = ("binding=True", "boundscheck=False", "wraparound=False", "cdivision=True", "initializedcheck=False")


def groups(text):
    """[(group, [(room, what it is), ...]), ...] from the head of operations.pxi."""
    head = text.partition("cimport cython")[0]
    found = []
    for line in head.splitlines():
        if room := ROOM.match(line):
            found[-1][1].append((room[1], room[2]))
        elif group := GROUP.match(line):
            found.append((group[1], []))
    return found


def folder(app):
    """Where the sources are: beside docs."""
    return Path(app.srcdir).parent / "pybn_ext"


def write_pages(app):
    """A page for each room, docs/rooms/NAME.rst."""
    pages = Path(app.srcdir) / "rooms"
    pages.mkdir(exist_ok=True)
    for path in sorted([*folder(app).glob("*.pxi"), folder(app) / "ladder.pyx"]):
        lines = [":orphan:", "", path.name, "=" * len(path.name), ""]
        lines += ["A room of the compiled path: :doc:`/compiled` says what it does.", ""]
        lines += [f".. literalinclude:: ../../pybn_ext/{path.name}", "   :language: cython", "   :linenos:", ""]
        page, text = pages / f"{path.stem}.rst", "\n".join(lines)
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")


class Room(ReferenceRole):
    """:room:`plans`: a link to the page of plans.pxi."""

    def run(self):
        """The reference; a room that does not exist is an error."""
        page = f"rooms/{self.target}"
        if page not in self.env.found_docs:
            message = self.inliner.reporter.error(f"there is no room {self.target}.pxi in pybn_ext", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        name = nodes.literal(text=f"{self.title}.pxi")
        return [make_refnode(self.env.app.builder, self.env.docname, page, "", name)], []


class RoomsTable(SphinxDirective):
    """`.. rooms-table::`: the rooms in the order in which a batch passes through them."""

    def run(self):
        """A table node."""
        text = (folder(self.env.app) / "operations.pxi").read_text("utf-8")
        lines = [".. list-table::", "   :widths: 18 16 66", "   :class: cards", ""]
        for group, rooms in groups(text):
            for number, (room, what) in enumerate(rooms):
                lines += [f"   * - {'' if number else group}", f"     - :room:`{room}`", f"     - {what}"]
        return self.parse_text_to_nodes("\n".join(lines))


class AnnotatedPages(SphinxDirective):
    """`.. annotated-pages::`: links to Cython's pages, or how to make them."""

    def run(self):
        """A paragraph."""
        text = (
            "``cython -a`` writes a page on which a line is the more yellow the more it talks to the interpreter; a "
            "press unfolds the C that was made of it. "
        )
        if annotates(self.env.app):
            text += (
                "Of this source: `the ladder <_static/annotated/ladder.html>`__, and `all rooms of the compiled path "
                "in one <_static/annotated/pybn_ext.html>`__ (3 MB). Yellow are the door, and what counts the threads: "
                "from the plan on no line knows Python. "
            )
        else:
            text += "This site was built without these pages. "
        text += f"On your machine, in ``pybn_ext``: ``{COMMAND} ladder.pyx``."
        return self.parse_text_to_nodes(text)


def annotates(app):
    """Whether Cython's pages are made: where it is installed, unless the settings say no."""
    return app.config.pybn_annotated and importlib.util.find_spec("Cython") is not None


def beside_the_ladder(app, docname, source):
    """On the page of the lesson on the ladder: what comes after its last rung, and how yellow each is."""
    if docname.startswith("gallery/plot_") and docname.endswith("_ladder"):
        line = ".. seealso:: What comes after the last rung: :doc:`/compiled`."
        if annotates(app):
            line += " How yellow each rung is: `Cython's page of them <../_static/annotated/ladder.html>`__."
        source[0] = TITLE.sub(lambda found: f"{found[0]}{line}\n\n", source[0], count=1)


def in_one_file(rooms):
    """operations.pxi with its rooms in place of the lines that include them: `cython -a` shows one file alone."""
    include = re.compile(r'^include "(\w+\.pxi)"$', re.MULTILINE)
    text = (rooms / "operations.pxi").read_text("utf-8")
    return include.sub(lambda found: f"# === {found[1]} ===\n" + (rooms / found[1]).read_text("utf-8"), text)


def annotate(app, error):
    """_static/annotated/ladder.html and pybn_ext.html; an old one that is younger than its sources stays."""
    if error is not None or app.builder.format != "html" or not annotates(app):
        return
    target = Path(app.outdir) / "_static" / "annotated"
    target.mkdir(exist_ok=True)
    rooms = folder(app)
    youngest = max(path.stat().st_mtime for path in rooms.glob("*.p[yx]*"))
    sources = {"ladder": (rooms / "ladder.pyx").read_text("utf-8"), "pybn_ext": in_one_file(rooms)}
    for name, source in sources.items():
        page = target / f"{name}.html"
        if not page.exists() or page.stat().st_mtime < youngest:
            page.write_text(annotated(name, source), "utf-8")


def annotated(name, source):
    """Cython's page of a source."""
    with TemporaryDirectory() as scratch:
        (Path(scratch) / f"{name}.pyx").write_text(source, "utf-8")
        options = [word for directive in DIRECTIVES for word in ("-X", directive)]
        typed = [sys.executable, "-m", "cython", "-3", "-a", *options, f"{name}.pyx"]
        run = subprocess.run(typed, cwd=scratch, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{' '.join(typed)} failed: {escape(run.stderr)}")
        page = (Path(scratch) / f"{name}.html").read_text("utf-8")
    return re.sub(r'<a href="\w+\.c">(.+?)</a>', r"\1", page)  # which is not kept


def setup(app):
    """Register."""
    app.add_config_value("pybn_annotated", True, "env", bool)
    app.add_role("room", Room())
    app.add_directive("rooms-table", RoomsTable)
    app.add_directive("annotated-pages", AnnotatedPages)
    app.connect("builder-inited", write_pages)
    app.connect("source-read", beside_the_ladder)
    app.connect("build-finished", annotate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
