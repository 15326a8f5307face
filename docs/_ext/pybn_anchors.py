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
        module = path.relative_to(Path(app.outdir) / "_modules").with_suffix("").as_posix().replace("/", ".")
        path.write_text(_BACK.sub(lambda link, page=path, own=module: back(app, names, page, own, link), text), "utf-8")


def back(app, names, path, module, link):
    """The link, to where the object is documented."""
    target = (path.parent / link[2]).resolve()
    docname = target.relative_to(Path(app.outdir).resolve()).with_suffix("").as_posix()
    if link[3] in names and names[link[3]].docname == docname:
        return link[0]
    for start in range(link[3].count(".") + 1):
        name = f"{module}.{'.'.join(link[3].split('.')[start:])}"
        if name in names:
            page = app.builder.get_relative_uri(f"_modules/{module.replace('.', '/')}", names[name].docname)
            return f"{link[1]}{page}#{name}{link[4]}"
    raise ValueError(f"{path}: the way back to {link[3]} leads nowhere, and {module} has no page for it")


def setup(app):
    """Register."""
    app.connect("build-finished", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
