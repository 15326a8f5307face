"""What a type checker sees of both packages from a project that uses them: right passes, wrong does not.

mypy is run from an empty folder, so that it finds the packages where they are installed and not in the tree.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import pybn_ext
from pybn import reference

ROOT = Path(__file__).parents[1]
needs_mypy = pytest.mark.skipif(
    find_spec("mypy") is None, reason="mypy comes with the linters: pip install -e '.[lint]'"
)

RIGHT = """
import numpy as np

import pybn
import pybn_ext
from pybn import reference

x = np.random.default_rng(0).normal(3, 2, size=(64, 10)).astype(np.float32)
for operations in (reference, pybn_ext):
    y, mean, variance = operations.batch_norm_training(x, None, None)
    z: np.ndarray = operations.batch_norm_inference(x, np.ones(10), None, mean, variance, feature_axis=(1,), out=x)
    dx, dscale, doffset = operations.batch_norm_gradient(x, np.ones(10), mean, variance, dy=y)
    count: int = operations.merge_moments(operations.moments(x), operations.moments(x, mask=x[:, 0] > 3)).count
lists = reference.batch_norm_training([[1.0, 10.0], [3.0, 20.0]], [1.0, 1.0], (0.0, 0.0), mask=[True, True])
threads: int = pybn_ext.get_num_threads()

ctx = pybn.Context(rng=0)
with ctx.forward_pass(training=True):
    node: pybn.Node = pybn.batch_norm(ctx.in_scope("layer_0"), x, momentum=0.9)
    node = pybn.batchnorm.new(ctx.in_scope("layer_1"), node, -1).epsilon(1e-3).mask(x[:, 0] > 3).done()
"""

# In each line the kind of error that mypy must find there.
WRONG = """
import numpy as np

import pybn
import pybn_ext
from pybn import reference

x = np.ones((4, 3), np.float32)
reference.batch_norm_training(x, "wrong", 3)                      # arg-type
reference.batch_norm_training(x, None, 3.0)                       # arg-type
pybn_ext.batch_norm_training(x, "wrong", None)                    # arg-type
reference.moments("x")                                            # arg-type
reference.moments(x, feature_axis="last")                         # arg-type
reference.moments(x, mask="all")                                  # arg-type
reference.moments(np.arange(6).reshape(2, 3))                     # arg-type
reference.moments([["1.0", "2.0"]])                               # arg-type
reference.batch_norm_training(x, None, None, eps=1e-3)            # call-arg
reference.batch_norm_gradient(x, None, x[0], x[0])                # call-arg
mean, variance = pybn_ext.batch_norm_training(x, None, None)      # misc
pybn_ext.set_num_threads("2")                                     # arg-type
pybn_ext.fast_training                                            # attr-defined
pybn.batch_norm(x)                                                # call-arg arg-type
pybn.batch_norm(pybn.Context(), "x")                              # arg-type
pybn.layers.dense(pybn.Context(), x, "64")                        # arg-type
pybn.batchnorm.new(pybn.Context(), x).momentum("0.9")             # arg-type
"""


def mypy(folder, *arguments):
    """mypy in an empty folder, under `--strict`, which forbids to call what has no types."""
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def stub(name):
    """A stub's functions, {name: its parameters as text}, and its __all__."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return functions, ast.literal_eval(listed)


def parameters(arguments):
    """(name, whether it is given by name alone, default) of each, from a stub."""
    positional = [(each.arg, False, None) for each in arguments.args]
    defaults = [None if value is None else ast.literal_eval(value) for value in arguments.kw_defaults]
    return positional + [(each.arg, True, value) for each, value in zip(arguments.kwonlyargs, defaults, strict=True)]


def test_the_stub_of_the_reference_has_its_functions_with_their_parameters():
    functions, listed = stub("pybn/reference.pyi")
    assert sorted(listed) == sorted(reference.__all__)
    assert set(functions) == {name for name in reference.__all__ if inspect.isfunction(getattr(reference, name))}
    for name, arguments in functions.items():
        real = inspect.signature(getattr(reference, name)).parameters.values()
        assert parameters(arguments) == [
            (each.name, each.kind is each.KEYWORD_ONLY, None if each.default is each.empty else each.default)
            for each in real
        ], name


def test_the_stub_of_the_twin_names_what_it_has():
    functions, listed = stub("pybn_ext/__init__.pyi")
    assert sorted(listed) == sorted(pybn_ext.__all__)
    assert set(functions) == set(pybn_ext.__all__) - set(reference.__all__)


@pytest.mark.slow
@needs_mypy
def test_a_right_script_passes(tmp_path):
    (tmp_path / "user.py").write_text(RIGHT)
    done = mypy(tmp_path, "mypy", "--strict", "user.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_mypy
def test_a_wrong_line_is_an_error_there_and_no_other_is(tmp_path):
    (tmp_path / "user.py").write_text(WRONG)
    done = mypy(tmp_path, "mypy", "--strict", "user.py")
    found = set(re.findall(r"^user\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE))
    lines = enumerate(WRONG.splitlines(), start=1)
    wanted = {(str(number), kind) for number, line in lines for kind in line.partition("#")[2].split()}
    assert found == wanted, done.stdout + done.stderr


@pytest.mark.slow
@needs_mypy
def test_the_stubs_say_what_the_modules_have(tmp_path):
    """Names, parameters, their order and their defaults."""
    done = mypy(tmp_path, "mypy.stubtest", "pybn.reference", "pybn_ext")
    assert done.returncode == 0, done.stdout + done.stderr
