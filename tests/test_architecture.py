"""The house: five floors, and a file imports only from a floor below or from its own floor's left.

Read from the sources by `ast`; nothing is executed.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up; within a floor from left to right.  A package stands for all of its files, and its
# own __init__ is its right-most: it names what its files hold.
FLOORS = {
    1: ["pybn.typing", "pybn.halves", "pybn.arguments", "pybn.reference", "pybn.backend"],
    2: [
        "pybn.framework.blocks",
        "pybn.framework.graph",
        "pybn.framework.ops.shapes",
        "pybn.framework.ops.elementwise",
        "pybn.framework.ops.linear",
        "pybn.framework.ops.softmax",
        "pybn.framework.ops.batch_norm",
        "pybn.framework.ops",
        "pybn.framework.initializers",
        "pybn.framework.variables",
        "pybn.framework.runs",
        "pybn.framework.parameters",
        "pybn.framework.store",
        "pybn.framework.context",
        "pybn.framework.regularizers",
        "pybn.framework.layers",
        "pybn.framework.structures",
        "pybn.framework.losses",
        "pybn.framework.metrics",
        "pybn.framework.schedules",
        "pybn.framework.packs",
        "pybn.framework.optimizers",
        "pybn.framework.datasets",
        "pybn.framework.train",
        "pybn.framework.hooks",
        "pybn.framework.progress",
        "pybn.framework.files",
        "pybn.framework.draws",
        "pybn.framework.checkpoints",
        "pybn.framework.kept",
        "pybn.framework",
    ],
    3: [
        "pybn.batchnorm.averages",
        "pybn.batchnorm.ghosts",
        "pybn.batchnorm.layer",
        "pybn.batchnorm.config",
        "pybn.batchnorm.update",
        "pybn.batchnorm",
    ],
    4: [
        "pybn.distributed.team",
        "pybn.distributed.simulated",
        "pybn.distributed.synchronized",
        "pybn.distributed.trainer",
        "pybn.distributed.larger",
        "pybn.distributed",
        "pybn.bridges.tensors",
        "pybn.bridges.torch",
        "pybn.bridges",
        "pybn.study.record",
        "pybn.study.records",
        "pybn.study.drawing",
        "pybn.study.plots",
        "pybn.study.compare.families",
        "pybn.study.compare.samples",
        "pybn.study.compare.bounds",
        "pybn.study.compare.rows",
        "pybn.study.compare.figure",
        "pybn.study.compare.comparison",
        "pybn.study.compare.command",
        "pybn.study.compare",
        "pybn.study.gradcheck.differences",
        "pybn.study.gradcheck.kinds",
        "pybn.study.gradcheck.check",
        "pybn.study.gradcheck",
        "pybn.study.examine.checkup",
        "pybn.study.examine.symptoms",
        "pybn.study.examine.gap",
        "pybn.study.examine.doctor",
        "pybn.study.examine",
        "pybn.study.interop.values",
        "pybn.study.interop.conventions",
        "pybn.study.interop.names",
        "pybn.study.interop.onnx_model",
        "pybn.study.interop.state",
        "pybn.study.interop.libraries",
        "pybn.study.interop",
        "pybn.study.fold",
        "pybn.study.adapters.names",
        "pybn.study.adapters.places",
        "pybn.study.adapters.own_tensors",
        "pybn.study.adapters.debiased",
        "pybn.study.adapters.not_judged",
        "pybn.study.adapters.modes",
        "pybn.study.adapters.making",
        "pybn.study.adapters.handed",
        "pybn.study.adapters.running",
        "pybn.study.adapters.roles",
        "pybn.study.adapters.found_gradients",
        "pybn.study.adapters.trying",
        "pybn.study.adapters.functions",
        "pybn.study.adapters.meeting",
        "pybn.study.adapters.settings",
        "pybn.study.adapters.gradients",
        "pybn.study.adapters.layers",
        "pybn.study.adapters.namespaces",
        "pybn.study.adapters.operations",
        "pybn.study.adapters",
        # Who is asked < what fits < what it is called < the verdict < the report.
        "pybn.study.coursework.student.sandbox",
        "pybn.study.coursework.student.probes",
        "pybn.study.coursework.student.student",
        "pybn.study.coursework.student",
        "pybn.study.coursework.report.words",
        "pybn.study.coursework.report.findings",
        "pybn.study.coursework.output.candidates",
        "pybn.study.coursework.output.fit",
        "pybn.study.coursework.output.oddities",
        "pybn.study.coursework.output.names",
        "pybn.study.coursework.output.training",
        "pybn.study.coursework.output.inference",
        "pybn.study.coursework.output.edges",
        "pybn.study.coursework.output",
        "pybn.study.coursework.averages.candidates",
        "pybn.study.coursework.averages.fit",
        "pybn.study.coursework.averages.mixture",
        "pybn.study.coursework.averages.judge",
        "pybn.study.coursework.averages",
        "pybn.study.coursework.gradient.fit",
        "pybn.study.coursework.gradient.units",
        "pybn.study.coursework.gradient.rows",
        "pybn.study.coursework.gradient.terms",
        "pybn.study.coursework.gradient.parameters",
        "pybn.study.coursework.gradient.linear",
        "pybn.study.coursework.gradient.judge",
        "pybn.study.coursework.gradient",
        "pybn.study.coursework.images.axes",
        "pybn.study.coursework.images.pair",
        "pybn.study.coursework.images.backward",
        "pybn.study.coursework.images.judge",
        "pybn.study.coursework.images",
        "pybn.study.coursework.edits.places",
        "pybn.study.coursework.edits.changes",
        "pybn.study.coursework.edits.code",
        "pybn.study.coursework.edits.trials",
        "pybn.study.coursework.edits.search",
        "pybn.study.coursework.edits.judge",
        "pybn.study.coursework.edits",
        "pybn.study.coursework.report.examples",
        "pybn.study.coursework.report.report",
        "pybn.study.coursework.report",
        "pybn.study.coursework.apart.wire",
        "pybn.study.coursework.apart.limits",
        "pybn.study.coursework.apart.guest",
        "pybn.study.coursework.apart.host",
        "pybn.study.coursework.apart",
        "pybn.study.coursework.command",
        "pybn.study.coursework",
        "pybn.study",
        "pybn",
    ],
    5: [
        "pybn.study.info",
        "pybn.lessons.batches",
        "pybn.lessons.sequences",
        "pybn.lessons.experiments",
        "pybn.lessons.trials",
        "pybn.lessons.workers",
        "pybn.lessons.ladder",
        "pybn.lessons.cancelling",
        "pybn.lessons.walk.way",
        "pybn.lessons.walk.sums",
        "pybn.lessons.walk.forward",
        "pybn.lessons.walk.backward",
        "pybn.lessons.walk",
        "pybn.lessons.exercises.exercise",
        "pybn.lessons.exercises.understand",
        "pybn.lessons.exercises.use",
        "pybn.lessons.exercises.hood",
        "pybn.lessons.exercises",
        "pybn.lessons.drawings.understand",
        "pybn.lessons.drawings.use",
        "pybn.lessons.drawings.hood",
        "pybn.lessons.drawings",
        "pybn.lessons.lesson",
        "pybn.lessons.notebooks",
        "pybn.lessons.command",
        "pybn.lessons.figures",
        "pybn.lessons.demo",
        "pybn.lessons",
        "pybn.__main__",
    ],
}
PLACES = {module: (floor, place) for floor, modules in FLOORS.items() for place, module in enumerate(modules)}
OURS = {"numpy", "pybn", "pybn_ext"}


def sources():
    """Every module of the two packages, by name."""
    found = {}
    for package in ("pybn", "pybn_ext"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def imports(module, for_types=False, within_functions=True):
    """The names of all modules that `module` imports; those for annotations only if asked for."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    skipped = [] if for_types else _type_checking(tree)
    if not within_functions:
        skipped += [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    unseen = {id(node) for block in skipped for node in ast.walk(block)}
    names = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: write the whole name"
            names.update(_target(node.module, alias.name) for alias in node.names)
    return names


def _target(module, name):
    """`from module import name`: the module that is meant, which `name` may be itself."""
    return f"{module}.{name}" if f"{module}.{name}" in SOURCES else module


def _type_checking(tree):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]


def place(module):
    """Its floor, and its place from the left."""
    assert module in PLACES, f"{module} stands nowhere in the drawing: give it a place in FLOORS"
    return PLACES[module]


@pytest.mark.parametrize("module", [name for name in SOURCES if name.split(".")[0] == "pybn"])
def test_a_file_imports_only_from_below_or_from_the_left(module):
    here = place(module)
    for imported in imports(module):
        if imported.split(".")[0] != "pybn":
            continue
        there = place(imported)
        assert there < here, f"{module} {here} imports {imported} {there}"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_for_annotations_name_what_exists(module):
    for imported in imports(module, for_types=True):
        if imported.split(".")[0] == "pybn":
            assert imported in SOURCES, f"{module} imports {imported}"


def test_the_drawing_names_only_files_that_exist():
    assert set(PLACES) - set(SOURCES) == set()


def test_the_page_draws_the_floors_in_this_order():
    """A room of the page is a file or a package; from the ground up, from left to right."""
    page = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
    floors = [re.findall(r"\* :mod:`~(pybn\S*)`", floor) for floor in page.split(".. container:: floor")[1:]]
    drawn = [room for rooms in reversed(floors) for room in rooms]
    assert drawn == sorted(drawn, key=place)
    assert len(floors) == len(FLOORS)


def test_the_check_sees_imports_within_functions_and_of_submodules():
    """Else the tests here would pass by reading nothing."""
    assert "pybn_ext" in imports("pybn.backend")
    assert {"pybn.arguments", "pybn.backend", "pybn.framework.ops.shapes"} <= imports("pybn.framework.ops.batch_norm")
    assert "pybn.batchnorm.layer" not in imports("pybn.batchnorm.averages")
    assert "pybn_ext" not in imports("pybn.backend", within_functions=False)


def importers(package):
    return {module for module in SOURCES if any(name.split(".")[0] == package for name in imports(module))}


def test_one_file_names_the_compiled_package():
    assert {module for module in importers("pybn_ext") if module.split(".")[0] == "pybn"} == {"pybn.backend"}


def test_matplotlib_is_imported_where_figures_are_drawn_and_where_lessons_show_them():
    assert importers("matplotlib") == {"pybn.study.drawing", "pybn.lessons.lesson"}


def test_the_compiled_package_knows_the_arguments_and_their_types_alone():
    """Its Cython files are read as text: they are no Python."""
    names = {name for module in SOURCES if module.split(".")[0] == "pybn_ext" for name in imports(module, True)}
    for path in [*(ROOT / "pybn_ext").glob("*.pyx"), *(ROOT / "pybn_ext").glob("*.px[di]")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["import"] or (words[:1] == ["from"] and "import" in words):
                inner = words[words.index("import") + 1 :] if words[0] == "from" else []
                names.update({words[1], *(f"{words[1]}.{each.strip('(),')}" for each in inner)})
    known = {name for name in names if name.split(".")[0] == "pybn"}
    modules = {name if name in SOURCES else name.rpartition(".")[0] for name in known} - {"pybn"}
    assert modules <= {"pybn.arguments", "pybn.halves"}


@pytest.mark.parametrize("module", SOURCES)
def test_the_library_needs_numpy_alone(module):
    """Others are imported by drawing.py, by each bridge, and by functions whose business they are."""

    def foreign(**how):
        return {name.split(".")[0] for name in imports(module, **how)} - set(sys.stdlib_module_names) - OURS

    needed = {"pybn.study.drawing": {"matplotlib"}, "pybn.bridges.torch": {"torch"}, "pybn.bridges.tensors": {"torch"}}
    assert foreign(within_functions=False) <= needed.get(module, set())
    assert foreign() <= {"matplotlib", "torch", "onnx", "dask", "IPython", "ml_dtypes"}


# --- the rooms of the compiled implementation -----------------------------------------------------

PXI = ROOT / "pybn_ext"


def parts():
    """The rooms of operations.pxi by the part of the way that they stand in, as its head lists them."""
    head = (PXI / "operations.pxi").read_text(encoding="utf-8").partition("cimport")[0]
    found = []
    for line in head.splitlines():
        if re.match(r"#   \S", line):
            found.append([])
        elif room := re.match(r"#     (\w+)  ", line):
            found[-1].append(room[1])
    return found


ROOMS = [room for part in parts() for room in part]


def code_of(room):
    """Without comments and docstrings, but with C in strings."""
    text = re.sub(r'^ *"""[^\n]*?"""$', "", (PXI / f"{room}.pxi").read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r'^( *)"""(?!\n)[^"]*"""$', "", text, flags=re.MULTILINE)
    return re.sub(r"#.*", "", text)


def made_in(code):
    """The functions, types and constants that a room defines."""
    functions = re.findall(r"^(?:c?p?def) (?:[\w* ]+ \*?)?(\w+)\($", code, re.MULTILINE)
    functions += re.findall(r"^(?:c?p?def) (?:[\w*. ]+[ *])?(\w+)\(.*\)?", code, re.MULTILINE)
    types = re.findall(r"^c(?:type)?def (?:struct|fused|enum) (\w+):", code, re.MULTILINE)
    constants = re.findall(r"^    ([A-Z][A-Z_]+)(?: =|$)", code, re.MULTILINE)
    return {*functions, *types, *constants}


def used_in(code):
    """What a room calls or hands on to be called, and the types and constants that it names."""
    return {*re.findall(r"\b(\w+)\(", code), *re.findall(r"\b(\w+_task|[A-Z]\w*)\b", code)}


MADE = {name: room for room in ROOMS for name in made_in(code_of(room))}


def test_the_list_of_rooms_is_the_order_in_which_they_are_compiled():
    included = re.findall(r'^include "(\w+)\.pxi"$', (PXI / "operations.pxi").read_text("utf-8"), re.MULTILINE)
    assert included == ROOMS
    assert sorted(ROOMS) == sorted({path.stem for path in PXI.glob("*.pxi")} - {"operations"})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_its_own_part_what_stands_further_down_and_the_words(room):
    place_of = {each: place for place, part in enumerate(parts()) for each in part}
    for name in used_in(code_of(room)) & set(MADE):
        there = place_of[MADE[name]]
        assert there == 0 or there >= place_of[room], f"{room} uses {name} of {MADE[name]}, which stands above it"


def test_the_check_of_rooms_sees_what_is_made_and_used():
    """Else it would pass by reading nothing."""
    assert {"Call", "real", "GRADIENT", "TILE_LANES", "element"} <= made_in(code_of("call"))
    assert {"perform", "batch_norm_training", "moments"} <= made_in(code_of("entry"))
    assert {MADE[name] for name in used_in(code_of("rows")) & set(MADE)} >= {"threads", "sums", "finish", "write"}
    assert len(MADE) > 200
