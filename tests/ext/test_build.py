"""How the compiled module was built, and what is said where it was not."""

import importlib
import shutil
import signal
from pathlib import Path

import pytest

import pybn_ext
from tests.support.fresh import run_python


def test_build_info_tells_how():
    info = pybn_ext.build_info()
    assert info["simd"] in info["levels"]
    assert set(info["levels"]) <= {"baseline", "sse2", "avx2", "avx512"}
    assert isinstance(info["openmp"], bool)
    assert info["threads"] == pybn_ext.get_num_threads()
    assert info["cython"].startswith("3.")
    assert info["compiler"]
    assert "fast-math" not in info["flags"]
    assert info["checks"] in ("", "bounds", "sanitize", "scalar")


@pytest.mark.parametrize(("start", "length", "inside"), [(0, 4, True), (4, 0, True), (3, 2, False), (-1, 2, False)])
def test_a_range_outside_aborts_where_bounds_are_checked(start, length, inside):
    done = run_python(f"import pybn_ext\npybn_ext._operations.check({start}, {length}, 4)\nprint('on')")
    if inside or pybn_ext.build_info()["checks"] != "bounds":
        assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")
    else:
        assert done.returncode == -signal.SIGABRT
        assert f"elements {start} to {start + length} of 4" in done.stderr


def source_only(directory):
    """A copy of both packages without anything compiled."""
    for package in ("pybn", "pybn_ext"):
        source = Path(importlib.import_module(package).__file__).parent
        shutil.copytree(source, directory / package, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    return directory


def test_without_compiled_modules_the_import_says_what_is_missing(tmp_path):
    done = run_python("import pybn_ext", source_only(tmp_path))
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: pybn_ext is not compiled")
    assert "compiler" in last
    assert "pip install" in last


def test_without_compiled_modules_pybn_works_on_the_reference(tmp_path):
    program = (
        "import pybn, numpy as np\n"
        "print(pybn.backend_name())\n"
        "try:\n    pybn.use_backend('compiled')\n"
        "except ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    done = run_python(program, source_only(tmp_path))
    assert done.stdout.split() == ["reference", "pybn_ext"], done.stderr


def test_a_broken_module_raises_its_own_error(tmp_path):
    directory = source_only(tmp_path)
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    for name in ("_baseline", "_avx2", "_avx512", "_cpu"):
        (directory / "pybn_ext" / f"{name}{suffix}").write_bytes(b"not a shared library")
    done = run_python("import pybn_ext", directory)
    assert "ImportError" in done.stderr.splitlines()[-1]
    assert "is not compiled" not in done.stderr


@pytest.mark.parametrize("name", pybn_ext.__all__)
def test_every_public_name_is_there_and_told(name):
    assert getattr(pybn_ext, name).__doc__
