"""setup.py with compilers that refuse something: what is told, kept, and what works all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pybn_ext
from tests.support.fresh import ROOT, run_python

for needed in ("Cython", "setuptools"):
    pytest.importorskip(needed, reason=f"compiling needs it: pip install {needed.lower()}")

SETUP = ROOT / "setup.py"
pytestmark = pytest.mark.skipif(not SETUP.exists(), reason="setup.py is in a clone, and this is none")
LOWEST = pybn_ext._LOWEST


@pytest.fixture
def clone(tmp_path):
    """The sources alone."""
    for name in ("pybn", "pybn_ext"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def build(folder: Path, refused: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`setup.py build_ext --inplace` with a compiler that refuses commands which match the shell pattern."""
    if refused:
        compiler = folder / "cc"
        compiler.write_text(
            f'#!/bin/sh\ncase "$*" in {refused}) echo "x.c:7:1: error: never heard of that" >&2; exit 1;; esac\n'
            'exec cc "$@"\n'
        )
        compiler.chmod(0o755)
        environment["CC"] = str(compiler)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYBN_")}
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env={**kept, "PYBN_LEVELS": LOWEST, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("levels", ["sse9", "", "all sse2"])
def test_an_unknown_level_is_refused(clone, levels):
    done = build(clone, PYBN_LEVELS=levels)
    assert done.returncode != 0
    assert f"PYBN_LEVELS must be all, native, or name some of {LOWEST}" in done.stderr
    assert repr(levels) in done.stderr


@pytest.mark.parametrize("name", ["PYBN_REQUIRE_EXT", "PYBN_LIMITED_API", "PYBN_OPENMP"])
def test_a_switch_is_1_or_0(clone, name):
    """With "yes" the extension was not required, and an installation without it ended well."""
    done = build(clone, **{name: "yes"})
    assert done.returncode != 0
    assert f"{name} must be 1 or 0, or not set, got 'yes'" in done.stderr


@pytest.mark.slow
def test_a_failed_compile_is_told_kept_and_shown(clone):
    """The compiler's first error line: at the end of the installation, and by `python -m pybn info` ever after."""
    done = build(clone, refused="*_baseline.c*")
    assert done.returncode == 0, done.stderr
    line = "_baseline: x.c:7:1: error: never heard of that"
    assert line in done.stderr[done.stderr.index("could NOT be built") :]
    assert (clone / "pybn_ext" / "build_failures.txt").read_text() == line + "\n"
    shown = run_python("from pybn.__main__ import main; main(['info'])", clone)
    assert "never heard of that" in shown.stdout
    assert "install a C compiler" in shown.stdout
    assert shown.stderr == ""
    told = run_python("import pybn; print(pybn.backend_name(), pybn.backend_name())", clone)
    assert told.stdout == "reference reference\n"
    assert told.stderr.count("RuntimeWarning: pybn_ext is not compiled in this installation") == 1
    assert "never heard of that" in told.stderr

    required = build(clone, refused="*_baseline.c*", PYBN_REQUIRE_EXT="1")
    assert required.returncode != 0
    assert line in required.stderr

    # A compiler without OpenMP and without one of gcc's flags, for every later Python too: built, and nothing failed.
    refused = "*-fopenmp*|*-fno-tree-loop-distribute-patterns*"
    done = build(clone, refused=refused, PYBN_LIMITED_API="1", PYBN_REQUIRE_EXT="1")
    assert done.returncode == 0, done.stderr
    assert "no OpenMP: everything will be computed on one thread" in done.stderr
    assert not (clone / "pybn_ext" / "build_failures.txt").exists()
    assert (clone / "pybn_ext" / "_baseline.abi3.so").exists()
    program = (
        "import pybn_ext, numpy as np\n"
        "info = pybn_ext.build_info()\n"
        "print(info['levels'], info['openmp'], info['threads'], info['not_built'], 'distribute' in info['flags'])\n"
        "x = np.arange(42, dtype=np.float32).reshape(3, 7, 2) ** 2\n"
        "y, mean, variance = pybn_ext.batch_norm_training(x, None, None, feature_axis=(1,), epsilon=0.5)\n"
        "print(y.tobytes().hex(), mean.tobytes().hex(), variance.tobytes().hex())\n"
        "pybn_ext.set_num_threads(1)\n"
    )
    out = run_python(program, clone)
    assert out.stderr == ""
    first, bits = out.stdout.splitlines()
    assert first == f"[{LOWEST!r}] False 1 {{}} False", out.stderr
    assert bits == run_python(program).stdout.splitlines()[1], "another build, other bits"
    out = run_python("import pybn_ext as e; e.set_num_threads(4); print(e.get_num_threads())", clone)
    assert out.stdout == "1\n"
    assert "RuntimeWarning: pybn_ext was built without OpenMP and computes on one thread, got n = 4" in out.stderr


def test_a_processor_that_runs_none_of_the_levels_is_told(monkeypatch):
    """Compiled on one machine, carried to an older one: an error, no other answer."""
    monkeypatch.setattr(pybn_ext, "find_spec", lambda name: name if name.endswith("_avx512") else None)
    monkeypatch.setattr(pybn_ext._cpu, "runs", lambda level: False)
    with pytest.raises(ImportError, match=r"compiled for avx512, which this processor does not run.*PYBN_LEVELS=all"):
        pybn_ext._choose(None)
