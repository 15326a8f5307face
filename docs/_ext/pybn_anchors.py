"""The way back from a source page: viewcode names an object by the module that was read first, its page by the own one.

Where the two differ, the link would lead to the right page and to no place on it.
"""

import re
from pathlib import Path

_BACK = re.compile(r'(<a class="viewcode-back" href=")([^"#]+)#([^"]+)(">)')


def repair(app, error):
    """In each source page: lead to the object's own name, where the page that is linked has that."""
    if error is not None or app.builder.format != "html":
        return
    names = app.env.domains["py"].objects
    for path in (Path(app.outdir) / "_modules").rglob("*.html"):
        text = path.read_text("utf-8")
        path.write_text(_BACK.sub(lambda link, page=path: back(app, names, page, link), text), "utf-8")


def back(app, names, path, link):
    """The link, to the object of that name on the page."""
    target = (path.parent / link[2]).resolve()
    docname = target.relative_to(Path(app.outdir).resolve()).with_suffix("").as_posix()
    parts = link[3].split(".")
    for tail in (".".join(parts[start:]) for start in range(len(parts))):
        for name, found in names.items():
            if found.docname == docname and f".{name}".endswith(f".{tail}"):
                return f"{link[1]}{link[2]}#{name}{link[4]}"
    raise ValueError(f"{path}: the way back leads to {link[3]}, which {docname} does not document")


def setup(app):
    """Register."""
    app.connect("build-finished", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
