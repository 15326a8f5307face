"""Sphinx configuration: `sphinx-build -W --keep-going docs docs/_build/html`, without a network."""

import importlib.util
import os
import pkgutil
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.append(str(HERE.parent))  # last: an installed pybn brings its compiled twin, the tree may lack it
os.environ.setdefault("MPLBACKEND", "Agg")

from pybn_lessons import first_cell  # noqa: E402

import pybn  # noqa: E402
import pybn.lessons  # noqa: E402
import pybn.study  # noqa: E402

# MathJax as one file, SVG output without web fonts: a page needs nothing but the site itself.
# Only this file is copied: the package's whole folder is 24 MB.
_mathjax = importlib.util.find_spec("sphinx-mathjax-offline")
if _mathjax is None or _mathjax.origin is None:
    raise ImportError("the site needs sphinx-mathjax-offline: pip install '.[docs]'")
MATHJAX = Path(_mathjax.origin).parent / "static" / "mathjax" / "tex-svg.js"

project = "pybn"
author = "The pybn authors"
copyright = "the pybn authors, Apache-2.0"
version = release = pybn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "pybn_docstrings",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "pybn_directives",
    "pybn_performance",
    "pybn_rooms",
    "pybn_player",
    "pybn_playground",
    "pybn_check",
    "pybn_lessons",
    "pybn_anchors",
    "pybn_noscript",
]
exclude_patterns = ["_build", "_ext", "_static", "_templates", "README.md"]
suppress_warnings = ["myst.header"]  # the changelog is included below a title of its own
default_role = "py:obj"  # `x` in a docstring: a link where there is something of that name, else code
templates_path = ["_templates"]
nitpicky = False

html_theme = "furo"
html_title = "pybn"
html_static_path = ["_static", str(MATHJAX)]
html_css_files = ["pybn.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
mathjax_path = "tex-svg.js"
# The accessible MathML that comes with it would be another file, fetched when first needed.
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

# Where "Check my code" finds Python for the browser: Pyodide's own address, or a folder of the site ("pyodide/") into
# which `python docs/pyodide.py DIR` has copied it, for a school without a network.
pyodide_base = "https://cdn.jsdelivr.net/pyodide/v0.27.7/full/"

autosummary_generate = True
autosummary_ignore_module_all = False  # a module's page lists its __all__, where it has one
# These packages show their modules; the others hand on the names of their files, and are one page.
autosummary_context = {
    "submodules": {
        package.__name__: [
            f"{package.__name__}.{module.name}"
            for module in pkgutil.iter_modules(package.__path__)
            if module.name[0] != "_"
        ]
        for package in (pybn.framework, pybn.study, pybn.lessons)
    }
}
autodoc_typehints = "none"  # numpydoc's tables tell the types
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the class shows them itself
numpydoc_xref_param_type = False

# The forge's address stands in pyproject.toml alone.  The built site is published on its branch gh-pages, from where
# Colab and Binder open the notebooks; their first cell installs pybn from the forge.
pybn_repository = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Homepage"]
pybn_requirement = f"pybn-batchnorm[plots] @ git+{pybn_repository}"

sphinx_gallery_conf = {
    "examples_dirs": "../tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,  # a lesson whose claim fails ends the build
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("pybn", "pybn_ext"),
    "image_srcset": ["2x"],
    "matplotlib_animations": (True, "jshtml"),  # the player is part of the page
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # a page that would fetch its table from elsewhere
    "plot_gallery": "True",
    "first_notebook_cell": first_cell(pybn_requirement),
}
