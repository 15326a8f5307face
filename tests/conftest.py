"""Which implementation a test runs on: named by a fixture, and missing means an error.

`pytest --reference-only` is for machines without a compiler; the header of the run says that it was given.
"""

from __future__ import annotations

import importlib
import os
import zlib

import hypothesis
import numpy as np
import pytest

pytest.register_assert_rewrite("tests.support")

# Before OpenMP is loaded: threads that wait for each other sleep.  The suite's workers share the processors, and while
# one thread spins, the one that it waits for may not run: on a busy machine 180 s instead of 41 for large arrays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

MODULES = {"reference": "pybn.reference", "compiled": "pybn_ext"}

# The same examples in every run: what is green here is green there.  Kernels warm up, so no deadline.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser):
    parser.addoption(
        "--reference-only",
        action="store_true",
        help="run without pybn_ext: nothing compiled is tested, and the header says so",
    )


def pytest_ignore_collect(collection_path, config):
    """Students' solutions, some of which need PyTorch; what is about the compiled module, where there is none."""
    if collection_path.match("tests/support/students"):
        return True
    if config.getoption("--reference-only") and collection_path.match("tests/ext"):
        return True
    return None


def pytest_report_header(config):
    """Which tests run, and on what."""
    return [_selection(config), _implementation(config)]


def _selection(config):
    if config.option.markexpr == "not slow":
        return 'pybn: without the tests marked slow; all of them: pytest -m ""'
    return f"pybn: the tests marked {config.option.markexpr}" if config.option.markexpr else "pybn: all tests"


def _implementation(config):
    if config.getoption("--reference-only"):
        return "pybn: --reference-only was given: the compiled implementation is NOT tested"
    try:
        build = importlib.import_module("pybn_ext").build_info()
    except ImportError as missing:
        return f"pybn: the compiled implementation is MISSING, its tests will fail: {missing}"
    return "pybn_ext: " + ", ".join(f"{key} {value}" for key, value in build.items())


def pytest_generate_tests(metafunc):
    """One run for each implementation of every test that takes `implementation`, directly or through a fixture."""
    if "implementation" in metafunc.fixturenames:
        names = ["reference"] if metafunc.config.getoption("--reference-only") else list(MODULES)
        metafunc.parametrize("implementation", names, scope="session")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """Mark slow what `sampled(n)` leaves out of the plain run: by its name, so that a new case moves no other."""
    begun = set()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled and item.function in begun and zlib.crc32(item.name.encode()) % sampled.args[0]:
            item.add_marker("slow")
        elif sampled:
            begun.add(item.function)


@pytest.fixture(scope="session")
def kernels(implementation):
    """The module with the operations.  A missing one is an ImportError here, never a skip."""
    return importlib.import_module(MODULES[implementation])


@pytest.fixture(scope="session")
def compiled(request):
    """`pybn_ext`, for what only it can do."""
    if request.config.getoption("--reference-only"):
        pytest.skip("only the compiled implementation can do this, and --reference-only leaves it out")
    return importlib.import_module(MODULES["compiled"])


@pytest.fixture
def backend(implementation):
    """Graph and layer compute with this implementation for the length of the test; its name."""
    from pybn import use_backend

    with use_backend(implementation):
        yield implementation


@pytest.fixture
def rng():
    """A fresh generator: no test depends on which ran before."""
    return np.random.default_rng(20150211)
