"""The pages of the site: their examples run, and what they list is what there is."""

import doctest
import importlib
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest

import pybn
from pybn import batchnorm, reference
from pybn.study.interop import conventions

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.rst"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples(page):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert failed == 0


def test_the_code_of_who_comes_from_pytorch_runs(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")
    if not pybn.backend.compiled_is_built():
        pytest.skip("the page compares both implementations, and the compiled one is not built")
    page = (DOCS / "pytorch.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", page)
    assert len(blocks) == 2
    exec(textwrap.dedent("".join(blocks)), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in printed] == ["reference", "compiled"]
    # Float32 through a convolution and a batch norm: y is below 6, and PyTorch some units of its last place off.
    assert all(float(difference) < 1e-5 for _, difference in printed)


def test_the_pages_that_teach_have_examples():
    for name in ("index", "derivation", "conventions", "layer", "implementations"):
        assert ">>>" in (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def public_modules():
    """Every module of pybn without an underscore; those in a package that hands on their names count as its own."""
    names = [module.name for module in pkgutil.walk_packages(pybn.__path__, "pybn.")]
    tools = {f"pybn.study.{tool}" for tool in ("adapters", "compare", "gradcheck", "examine", "interop", "coursework")}
    held = {
        "pybn.batchnorm",
        "pybn.distributed",
        "pybn.bridges",
        "pybn.framework.ops",
        "pybn.lessons.exercises",
        "pybn.lessons.drawings",
        "pybn.lessons.walk",
    }
    packages = held | tools
    return [n for n in names if "._" not in n and ".__" not in n and not any(n.startswith(p + ".") for p in packages)]


def test_every_public_module_has_an_api_page():
    listed = re.findall(r"^   (pybn\S*)$", (DOCS / "api" / "index.rst").read_text(encoding="utf-8"), re.MULTILINE)
    missing = [name for name in public_modules() if not any((name + ".").startswith(there + ".") for there in listed)]
    assert missing == []


def test_every_module_stands_in_the_house():
    page = (DOCS / "architecture.rst").read_text(encoding="utf-8")
    rooms = re.findall(r"\* :mod:`~(pybn\S*)`", page)
    hallways = {"pybn.framework", "pybn.study", "pybn.lessons"}  # which hold rooms, and are none
    assert sorted(rooms) == sorted(set(public_modules()) - hallways)


def test_every_option_of_the_layer_is_in_its_table():
    page = (DOCS / "layer.rst").read_text(encoding="utf-8")
    for option in (name for name in vars(batchnorm.Config) if not name.startswith("_")):
        assert f"* - ``{option}(" in page


def test_every_operation_is_named():
    page = (DOCS / "implementations.rst").read_text(encoding="utf-8")
    for name in (name for name in reference.__all__ if name not in ("Moments", "GradientSums")):
        assert f"~pybn.reference.{name}`" in page


def test_every_equation_of_the_reference_is_in_the_derivation():
    included = set(re.findall(r":pyobject: (\w+)", (DOCS / "derivation.rst").read_text(encoding="utf-8")))
    operations = {name for name in reference.__all__ if name not in ("Moments", "GradientSums", "moments")}
    assert (
        operations | {"_centred", "_two_sums", "_from_sums", "_sum", "_inverse_deviation", "_keep_padding"} <= included
    )


def test_every_included_piece_of_code_is_found():
    """The build says so too, minutes later."""
    page = (DOCS / "derivation.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"literalinclude:: \.\./(\S+)\n((?: +:.*\n)+)", page)
    assert len(blocks) > 8
    for path, options in blocks:
        source = (DOCS.parent / path).read_text(encoding="utf-8")
        name = re.search(r":pyobject: (\S+)", options)[1].rpartition(".")[2]
        body = re.split(r"\n(?=[\w@#])", source[source.index(f"def {name}(") :])[0]
        for pattern in re.findall(r":(?:start-at|end-at|start-after|end-before): (.*)", options):
            assert pattern in body, f"{path}, {name}: {pattern}"


def test_every_name_on_the_page_for_gomlx_exists():
    """Methods are written as `Class.method`, all else from pybn on; what a call takes is not looked at."""
    page = (DOCS / "gomlx.rst").read_text(encoding="utf-8")
    classes = {"Config": batchnorm.Config, "Context": pybn.Context, "Trainer": pybn.Trainer, "Loop": pybn.Loop}
    rows = re.findall(r"^   \* - .*\n     - .*\n     - (.*)$", page, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"``((?:pybn|Config|Context|Trainer|Loop)\.[\w.]+)", row)]
    assert len(named) > 30
    for name in named:
        first, *rest = name.split(".")
        target = {"pybn": pybn, **classes}[first]
        for part in rest:
            assert hasattr(target, part), name
            target = getattr(target, part)


def test_the_difference_of_the_two_variances_is_as_the_page_says():
    ratio = conventions.sample_variance(1.0, count=8)
    assert ratio == pytest.approx(1.14, abs=0.005)
    assert 1 / ratio**0.5 == pytest.approx(0.94, abs=0.005)
    assert 0.99**100 == pytest.approx(0.37, abs=0.005)


def test_docstrings_in_their_short_form_get_numpydocs_headings(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    docstrings = importlib.import_module("pybn_docstrings")
    lines = """A rule of *args:

    w <- w + 1

Parameters
----------
count : how many
    there are

Raises ValueError for none.

>>> 1 * 1
1""".splitlines()
    docstrings.process(None, "function", "f", None, None, lines)
    expected = r"""A rule of \*args:

::

    w <- w + 1

Parameters
----------
count : how many there are

Notes
-----
Raises ValueError for none.

Examples
--------
>>> 1 * 1
1"""
    assert "\n".join(lines) == expected


def test_a_site_without_a_network():
    """No page asks for a script, a style or a font from elsewhere."""
    for path in [*DOCS.rglob("*.rst"), *DOCS.rglob("*.py"), *DOCS.rglob("*.css"), *DOCS.rglob("*.html")]:
        if "_build" not in path.parts:
            assert not re.search(r"(src=|@import|url\().{0,3}https?:", path.read_text(encoding="utf-8")), path
