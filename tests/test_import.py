"""What `import pybn` does to a process: it gives the public names, and nothing else happens."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import pybn

PUBLIC = (
    "reference batchnorm batch_norm layers losses optimizers ops Context Variable Node gradient Trainer Loop "
    "InMemoryDataset update_averages reset_weights use_backend backend_name SmallBatchWarning "
    "NonFiniteStatisticsError study"
).split()

REPORT = """
import json, sys, threading, warnings
warnings.simplefilter("error")
import numpy
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import numpy.random.mtrand
state = numpy.random.get_state()[1].tolist()
import pybn
print(json.dumps({
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "threads": threading.active_count(),
    "tasks": __import__("os").listdir("/proc/self/task") if sys.platform == "linux" else ["1"],
    "opened": [name for name in opened if not name.endswith((".py", ".pyc", ".so", ".pyd"))],
    "global random state untouched": numpy.random.get_state()[1].tolist() == state,
}))
"""


@pytest.fixture(scope="module")
def report():
    """What a fresh process tells after `import pybn`."""
    done = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "importing pybn prints"
    assert done.stderr == "", "importing pybn prints"
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names(name):
    assert hasattr(pybn, name) or importlib.import_module(f"pybn.{name}")


def test_all_is_there():
    assert [name for name in pybn.__all__ if not hasattr(pybn, name)] == []
    assert sorted(pybn.__all__) == sorted(set(pybn.__all__))


@pytest.mark.parametrize(
    "package", ["matplotlib", "scipy", "torch", "IPython", "sklearn", "pytest", "mpi4py", "dask", "distributed"]
)
def test_nothing_heavy_is_imported(report, package):
    assert package not in report["modules"]


def test_no_thread_is_started(report):
    assert report["threads"] == 1


def test_no_file_is_opened(report):
    assert report["opened"] == []


def test_the_global_random_state_is_left_alone(report):
    assert report["global random state untouched"]
