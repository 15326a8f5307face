"""The lessons as the site shows them: in three groups of cards, with a way to run each, and pictures that fit the page.

A card has the lesson's finished figure, a sentence and minutes.  On a lesson's page a line leads to Colab and Binder,
which open its notebook from where the site is published; and code that checks what the page says is folded.
"""

import json
import re
import shutil
from html import escape
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from PIL import Image
from sphinx.util.docutils import SphinxDirective

from pybn.lessons.notebooks import FOLDED, HIDDEN


class Lesson(NamedTuple):
    """What a card says: the group it stands in, minutes to read and try, and what one will know."""

    group: str
    minutes: int
    sentence: str


GROUPS = {
    "understand": "Understand",
    "use": "Use it, and see it fail",
    "hood": "Look under the hood",
}
LESSONS = {
    "one_feature": Lesson("understand", 10, "Four lines of arithmetic, and what each does to one feature."),
    "momentum": Lesson("understand", 15, "How many batches the averages remember: few are noisy, many are late."),
    "update_averages": Lesson("understand", 15, "Evaluation is bad, training was fine: make the averages exact."),
    "epsilon": Lesson("understand", 15, "A limit on how far a feature that hardly varies is amplified."),
    "gradient": Lesson("understand", 20, "Mean and variance depend on x: what the gradient loses without them."),
    "learning_rate": Lesson("use", 10, "Why evaluation jumps at a high learning rate, and when that ends."),
    "small_batches": Lesson("use", 15, "What a batch of two knows of a variance, and what no update repairs."),
    "transfer": Lesson("use", 15, "Averages that move while weights are frozen, or stay while data change."),
    "padding": Lesson("use", 15, "Padding counted as data: how wrong the statistics get, and the mask."),
    "libraries": Lesson("use", 10, "Momentum means two things: the same stream by five libraries' rules."),
    "batches": Lesson("use", 10, "Batches sorted by class: statistics that nothing repairs afterwards."),
    "workers": Lesson("use", 10, "A batch spread over workers: whose statistics, and how they are pooled."),
    "evaluation": Lesson("use", 20, "Five ill networks: the report on each, and the cure."),
    "folding": Lesson("use", 15, "A trained layer folded into its neighbour: inference for nothing, and its price."),
    "context": Lesson("use", 20, "A convolutional network set from outside, and a run that goes on where it ended."),
    "implementations": Lesson("hood", 10, "Reference and compiled twin, held against each other on your machine."),
    "ladder": Lesson("hood", 30, "From loops to the speed of memory in six rungs, each timed."),
}
# Pages that are no lessons, and stand among them.
PAGES = {
    "compiled": Lesson("hood", 40, "One small batch through the compiled path, with its numbers at each stage."),
}
# What stands on the card of the compiled path, in the place of a figure.
STAGES = ("entry", "plan", "shift", "sums", "totals", "finish", "write")
# In a gallery's page: the code of a cell that is to be folded, the first line of it apart.
_FOLDED = re.compile(
    rf"^\.\. code-block:: Python\n(?P<gap>\s*)^ +{FOLDED}(?P<what>.+)\n(?P<code>(?:(?: +.*)?\n)*?)(?=^\S)", re.MULTILINE
)
# Code that is there for the script's sake: it shows the figures and the exercises, which the page shows anyway.
_SHOWING = re.compile(
    r"^\.\. code-block:: Python\n\s*^ +lesson\.(?:show\(\)|exercises\(.*\))\n(?=\s*^\S)", re.MULTILINE
)
# The end of a lesson's title, where its introduction begins.
_TITLE = re.compile(r"^=+\n\n", re.MULTILINE)


class LessonCards(SphinxDirective):
    """`.. lesson-cards::`: all lessons of the gallery, in their groups."""

    def run(self):
        """A section's worth of raw HTML; titles are read from the lessons."""
        gallery = Path(self.env.srcdir) / "gallery"
        pages = {page.stem: page for page in sorted(gallery.glob("plot_*.rst"))}
        groups = {group: [] for group in GROUPS}
        for stem, page in pages.items():
            lesson = LESSONS.get(topic(stem))
            if lesson is None:
                raise self.error(
                    f"{stem} has no card: say its group, minutes and sentence in docs/_ext/pybn_lessons.py"
                )
            groups[lesson.group].append(self.card(stem, title(page), lesson))
        for name, page in PAGES.items():
            groups[page.group].append(self.card(name, title(Path(self.env.srcdir) / f"{name}.rst"), page, "../"))
        html = "".join(
            f'<h2 class="lessons">{GROUPS[group]}</h2><div class="lesson-cards">{"".join(cards)}</div>'
            for group, cards in groups.items()
            if cards
        )
        return [nodes.raw("", html, format="html")]

    def card(self, stem, name, lesson, where=""):
        """A link as a whole."""
        picture = thumbnail(Path(self.env.srcdir) / "gallery" / "images" / "thumb", stem)
        image = f'<img src="../_static/lessons/{stem}.png" alt="" loading="lazy">' if picture else ""
        if stem in PAGES:
            image = way(STAGES)
        return (
            f'<a class="lesson-card" href="{where}{stem}.html">{image}<b>{escape(name)}</b>'
            f"<span>{escape(lesson.sentence)}</span><small>{lesson.minutes} minutes</small></a>"
        )


def way(stages):
    """A picture of stages that follow each other, down a staircase, in the colours of the page."""
    steps = []
    for number, name in enumerate(stages):
        x, y = 8 + 21 * number, 22 + 17 * number
        down = "v12" if number + 1 < len(stages) else ""
        steps.append(f'<text x="{x + 4}" y="{y}">{name}</text><path d="M{x} {y + 5}h21{down}"/>')
    return f'<svg viewBox="0 0 200 140" aria-hidden="true">{"".join(steps)}</svg>'


def topic(stem):
    """plot_01_momentum -> momentum."""
    return stem.split("_", 2)[2]


def title(page):
    """The lesson's title."""
    return re.search(r"^(.+)\n=+\n\n", page.read_text("utf-8"), re.MULTILINE)[1]


def thumbnail(folder, stem):
    """The lesson's thumbnail, or None where lessons were not run."""
    return next(iter(sorted(folder.glob(f"sphx_glr_{stem}_thumb.*"))), None)


def ways_to_run(app, docname, source):
    """Below a lesson's title: where it can be run, and what can be downloaded."""
    if not docname.startswith("gallery/plot_"):
        return
    stem = docname.removeprefix("gallery/")
    forge = app.config.pybn_repository.removeprefix("https://github.com/")
    branch, path = app.config.pybn_published, f"notebooks/{stem}.ipynb"
    colab = f"https://colab.research.google.com/github/{forge}/blob/{branch}/{path}"
    binder = f"https://mybinder.org/v2/gh/{forge}/{branch}?urlpath=lab/tree/{path}"
    line = (
        ".. rst-class:: ways-to-run\n\n"
        f"`Open in Colab <{colab}>`__ · `Open in Binder <{binder}>`__ · "
        f":download:`Notebook <{stem}.ipynb>` · :download:`Script <{stem}.py>`\n\n"
    )
    source[0] = _TITLE.sub(lambda found: found[0] + line, source[0], count=1)


def fold(app, docname, source):
    """Code that begins with "# Folded: what it is" becomes a line that unfolds it; what it prints stays in sight.

    What only shows figures and exercises is left out.
    """
    if docname.startswith("gallery/plot_"):
        source[0] = _SHOWING.sub("", _FOLDED.sub(_unfolding, source[0]))


def _unfolding(found):
    html = ".. raw:: html\n\n    {}\n\n"
    return (
        html.format(f'<details class="folded"><summary>{escape(found["what"])}</summary>')
        + f".. code-block:: Python\n{found['gap']}{found['code']}\n"
        + html.format("</details>")
    )


def fold_in_notebooks(app):
    """The same in the gallery's notebooks, before they are copied."""
    for path in (Path(app.srcdir) / "gallery").glob("plot_*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code" and "".join(cell["source"]).startswith(FOLDED):
                cell["metadata"] = HIDDEN
        path.write_text(json.dumps(notebook, indent=2), "utf-8")


def write(app, error):
    """Thumbnails at their end, and the notebooks where Colab and Binder look for them."""
    if error is not None or app.builder.format != "html":
        return
    gallery, site = Path(app.srcdir) / "gallery", Path(app.outdir)
    for folder in ("notebooks", "binder", "_static/lessons"):
        (site / folder).mkdir(exist_ok=True)
    for page in sorted(gallery.glob("plot_*.rst")):
        shutil.copy(page.with_suffix(".ipynb"), site / "notebooks")
        picture = thumbnail(gallery / "images" / "thumb", page.stem)
        if picture:
            with Image.open(picture) as image:
                image.seek(getattr(image, "n_frames", 1) - 1)  # of an animation the last: the finished figure
                image.convert("RGB").save(site / "_static" / "lessons" / f"{page.stem}.png")
    (site / "binder" / "requirements.txt").write_text(f"{app.config.pybn_requirement}\n", "utf-8")


def first_cell(requirement):
    """What a notebook begins with: it installs pybn where that is missing, as on Colab."""
    return (
        f"try:\n    import pybn\nexcept ImportError:\n    %pip install -q {json.dumps(requirement)}\n%matplotlib inline"
    )


def setup(app):
    """Register."""
    app.add_config_value("pybn_repository", None, "env", str)
    app.add_config_value("pybn_requirement", None, "env", str)
    app.add_config_value("pybn_published", "gh-pages", "env", str)
    app.add_directive("lesson-cards", LessonCards)
    app.add_js_file("zoom.js", loading_method="defer")
    app.connect("builder-inited", fold_in_notebooks, priority=900)  # after the gallery has made them
    app.connect("source-read", fold)
    app.connect("source-read", ways_to_run, priority=600)  # after the playground's tip, so above it
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
