"""The site, built from a copy of the docs with lessons that are quickly run; and a browser that looks at it."""

from __future__ import annotations

import ast
import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
FIGURE = "\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2])\n"
FOLDED = '\n# %%\n\n# Folded: the check of <nothing>\nassert 1 < 2\nprint("so it is")\n'
# Trainings of 40 steps say what those of 200 do, in a fifth of the time.
SHORT_PLAYGROUND = ("-D", "playground_steps=40", "-D", "playground_every=20")
# Cython takes seven seconds for its pages; tests/browser looks at those of the whole site.
NOT_ANNOTATED = ("-D", "pybn_annotated=0")


def build(folder: Path, lessons: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Build `folder`/site from a copy of the docs with the given lessons, {name: source}."""
    ignored = shutil.ignore_patterns("_build", "gallery", "generated", "rooms", "__pycache__", "sg_execution_times.rst")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=ignored)
    for name in ("pybn", "pybn_ext", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "tutorials").mkdir()
    shutil.copy(ROOT / "tutorials" / "GALLERY_HEADER.rst", folder / "tutorials")
    for name, source in lessons.items():
        (folder / "tutorials" / name).write_text(source, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        *SHORT_PLAYGROUND,
        *NOT_ANNOTATED,
        "docs",
        "site",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)


def short_lessons() -> dict[str, str]:
    """Every lesson with its own title and labels, and one quick figure: what they do has tests of its own."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tutorials").glob("plot_*.py")}
    titles = {name: ast.get_docstring(ast.parse(source)) for name, source in sources.items()}
    return {name: f'r"""\n{title}\n"""\n{FIGURE}{FOLDED}' for name, title in titles.items()}


def dead_anchors(site: Path) -> list[tuple[str, str]]:
    """Every link within the site that leads to no page, or to no place on its page."""
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    places = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for path, text in pages.items()}
    dead = []
    for path, text in pages.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            if re.match(r"[a-z]+:|//", link):
                continue
            file, _, place = html.unescape(link).partition("#")
            target = (path.parent / unquote(file)).resolve() if file else path
            # The playground reads its setting from behind the #.
            known = target not in places or "=" in place or not place or unquote(place) in places[target]
            if not (target.exists() and known):
                dead.append((path.name, link))
    return dead


def chromium() -> str | None:
    """Where a Chromium is that can be driven, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
