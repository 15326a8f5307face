"""The playground: its recording is made by the build and kept with it, and its scripts stand on its page alone.

On the start page the directive `playground-card` shows its first picture; the lessons' pages link to it.
"""

import hashlib
import json
import re
from pathlib import Path

import playground_recording
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import pybn

SCRIPTS = ("uplot/uPlot.iife.min.js", "recording.js", "averages.js", "charts.js", "playground.js")
STYLES = ("uplot/uPlot.min.css", "playground.css")

# The setting at which each lesson opens the playground, and what to do there.
SETTINGS = {
    "lesson-momentum": (
        "momentum=0.99&rate=0.1&batch=64&feature=4&step=100",
        "drag the momentum from 0 to 0.999 and watch the average go from noisy to late",
    ),
    "lesson-update-averages": (
        "momentum=0.999&start=0-and-1&rate=0.5&batch=64&feature=4&step=100",
        "press the button, and see what evaluation reads from there on",
    ),
    "lesson-epsilon": (
        "momentum=0.99&epsilon=1e-8&rate=0.5&batch=64&feature=1&step=200",
        "drag epsilon, and watch the gain of a pixel that hardly ever has ink",
    ),
    "lesson-learning-rate": (
        "momentum=0.99&rate=0.5&batch=64&feature=4&step=60",
        "switch the learning rate, and see how far off the averages are",
    ),
    "lesson-small-batches": (
        "momentum=0.9&rate=0.1&batch=4&feature=5&step=200",
        "switch the batch size, and compare the batches' variances with the data's",
    ),
}

# A title's underline, with the empty line below it.
_TITLE = re.compile(r"^=+\n\n", re.MULTILINE)

logger = logging.getLogger(__name__)


def recording(app):
    """What the page shows; made once for each state of the code that makes it, and kept beside the doctrees."""
    steps, every = app.config.playground_steps, app.config.playground_every
    made_by = [Path(playground_recording.__file__), *sorted(Path(pybn.__file__).parent.rglob("*.py"))]
    digest = hashlib.sha256(repr((steps, every)).encode())
    for path in made_by:
        digest.update(path.read_bytes())
    kept = Path(app.doctreedir) / f"playground-{digest.hexdigest()[:16]}.json"
    if not kept.is_file():
        logger.info("recording the playground's trainings")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(playground_recording.record_all(steps, every), separators=(",", ":")), "utf-8")
    return kept.read_text("utf-8")


def make(app):
    """Before the pages are read: the card needs the recording."""
    app.pybn_recording = recording(app)


def write(app, error):
    """A script, since a page that is opened as a file may not fetch data."""
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "_static" / "playground" / "recording.js"
        target.write_text(f"window.playgroundRecording = {app.pybn_recording};\n", "utf-8")


def add_scripts(app, pagename, templatename, context, doctree):
    """The page's own scripts; its style also on the start page, for the card."""
    if pagename == "playground":
        for script in SCRIPTS:
            app.add_js_file(f"playground/{script}", loading_method="defer")
    if pagename in ("playground", "index"):
        for style in STYLES:
            app.add_css_file(f"playground/{style}")


def link_from_lesson(app, docname, source):
    """Under the title of a lesson that has a setting: open the playground at it."""
    for label, (setting, what) in SETTINGS.items():
        if docname.startswith("gallery/plot_") and f".. _{label}:\n" in source[0]:
            tip = (
                f".. tip:: `Open the playground at this lesson's setting <../playground.html#{setting}>`__ and {what}."
            )
            source[0] = _TITLE.sub(lambda title, tip=tip: f"{title[0]}{tip}\n\n", source[0], count=1)


class PlaygroundCard(SphinxDirective):
    """`.. playground-card::` with a sentence: a link to the playground with its first picture."""

    has_content = True

    def run(self):
        """A raw node; the curves are the recording's."""
        data = json.loads(self.env.app.pybn_recording)
        text = " ".join(self.content)
        html = (
            f'<a class="pg-card" href="playground.html"><span><b>Drag, and see</b>{text} '
            f'<span class="pg-go">Open the playground</span></span>{picture(data)}</a>'
        )
        return [nodes.raw("", html, format="html")]


def picture(data):
    """An SVG of the batches of one feature, the data's mean, and an average that lags behind."""
    run = next(run for run in data["runs"] if (run["rate"], run["batch"]) == (0.5, 64))
    steps, feature = data["steps"], 4
    batch = playground_recording.from_float32(run["batchMean"]).reshape(-1, steps)[feature]
    truth = playground_recording.from_float32(run["trueMean"]).reshape(-1, steps // 2)[feature]
    average, now = [], pybn.batchnorm.Averages(0.0, 1.0, float("inf"))  # at infinity: momentum from the first step
    for mean in batch:
        now = now.after(mean, 1.0, 0.97)
        average.append(now.mean)
    low, high = min(batch.min(), 0.0), max(batch.max(), 0.0)

    def place(step, value):
        return f"{step / steps * 300:.1f},{110 - (value - low) / (high - low) * 100:.1f}"

    circle = '<circle class="batch" r="1.6" cx="{}" cy="{}"/>'
    dots = "".join(circle.format(*place(i, v).split(",")) for i, v in enumerate(batch, 1))
    line = '<polyline class="{}" points="{}"/>'
    curves = line.format("data", " ".join(place(2 * i, v) for i, v in enumerate(truth, 1)))
    curves += line.format("average", " ".join(place(i, v) for i, v in enumerate(average, 1)))
    label = "Dots: a feature's mean in each batch; a moving average that begins at 0 and follows the data's mean late"
    return f'<svg viewBox="0 0 300 120" role="img" aria-label="{label}">{dots}{curves}</svg>'


def setup(app):
    """Register."""
    app.add_config_value("playground_steps", 200, "html", int)
    app.add_config_value("playground_every", 20, "html", int)
    app.add_directive("playground-card", PlaygroundCard)
    app.connect("builder-inited", make)
    app.connect("source-read", link_from_lesson)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
