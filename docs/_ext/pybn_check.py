"""The page "Check my code": pybn as an archive for the browser's Python, and where that is fetched from."""

import json
import zipfile
from pathlib import Path

import pybn

# Entries of an archive carry a time; a fixed one makes two builds the same bytes.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def archive(target):
    """Write all of pybn but what is compiled."""
    package = Path(pybn.__file__).parent
    wanted = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(wanted):
            name = path.relative_to(package.parent).as_posix()
            made.writestr(zipfile.ZipInfo(name, NO_TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)


def write(app, error):
    """Beside the page's scripts."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "_static" / "check"
        archive(folder / "pybn.zip")
        base = app.config.pyodide_base.rstrip("/") + "/"
        (folder / "settings.js").write_text(f"window.pyodideBase = {json.dumps(base)};\n", "utf-8")


def add_scripts(app, pagename, templatename, context, doctree):
    """The page's own scripts and style."""
    if pagename == "check":
        for script in ("settings.js", "examples.js", "check.js"):
            app.add_js_file(f"check/{script}", loading_method="defer")
        app.add_css_file("check/check.css")


def setup(app):
    """Register."""
    app.add_config_value("pyodide_base", None, "html", str)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
