"""A busy machine: where threads wait for each other one computes alone for a while, and no bit changes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pybn_ext
from tests.support.fresh import run_python

pytestmark = pytest.mark.skipif(not pybn_ext.build_info()["openmp"], reason="built without OpenMP: one thread")
SPIN = "import os\nprint(1, flush=True)\nwhile os.getppid() == {}: pass"
# How many threads this process has, after an operation that is shared out.
COUNT = """
import os, numpy as np, pybn_ext
weighed = pybn_ext._operations.weighed
pybn_ext.set_num_threads(2)
begin = len(os.listdir("/proc/self/task"))
def threads():
    pybn_ext.batch_norm_training(np.ones((512, 513)), None, None)
    return len(os.listdir("/proc/self/task")) - begin
"""


@pytest.fixture(autouse=True)
def no_rest():
    """No rest of a test is left to the next."""
    before = pybn_ext.get_num_threads()
    yield
    pybn_ext.set_num_threads(before)


@pytest.fixture
def neighbours():
    """Four times as many processes that compute as there are processors, all awake."""
    number = 4 * (os.cpu_count() or 1)
    spin = [sys.executable, "-S", "-c", SPIN.format(os.getpid())]
    processes = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(number)]
    for process in processes:
        process.stdout.readline()
    yield number
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("took", "alone", "rest"),
    [
        (0.0007, 0.0002, 0.0),  # threads that slept were woken
        (0.010, 0.010, 0.0),  # no gain, and no loss
        (0.010, 0.0085, 0.0),  # a quarter is not yet a loss
        (0.070, 0.00005, 20 * 0.06995),  # a full machine
        (2.0, 0.5, 5.0),  # at most so long
        (0.0, 0.0, 0.0),
    ],
)
def test_a_loss_is_answered_with_twenty_times_as_much_rest(took, alone, rest):
    counted = pybn_ext.build_info()["rests"]
    assert pybn_ext._operations.weighed(took, alone) == pytest.approx(rest, rel=1e-12)
    assert pybn_ext.build_info()["rests"] == counted + (rest > 0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not list a process's threads")
def test_while_it_rests_one_thread_computes_and_a_number_that_is_set_ends_it():
    rests = "weighed(1.0, 0.1); print(threads(), pybn_ext.get_num_threads())"
    again = "pybn_ext.set_num_threads(2); print(threads() > 0)"
    done = run_python(f"{COUNT}\n{rests}\n{again}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "2", "True"]


def test_no_bit_depends_on_a_rest(rng):
    x, dy = rng.normal(size=(2, 700, 129)).astype(np.float32)
    pybn_ext.set_num_threads(2)
    y, mean, variance = pybn_ext.batch_norm_training(x, None, None)
    shared = [y, mean, variance, *pybn_ext.batch_norm_gradient(x, None, mean, variance, dy)[:2]]
    assert pybn_ext._operations.weighed(60.0, 0.0) == 5.0
    y, mean, variance = pybn_ext.batch_norm_training(x, None, None)
    alone = [y, mean, variance, *pybn_ext.batch_norm_gradient(x, None, mean, variance, dy)[:2]]
    for one, other in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_full_machine_changes_no_result(neighbours, rng):
    """Many calls, from several threads at once, on two threads each, while every processor has four others to serve."""
    x = rng.normal(size=(8, 16, 28, 28)).astype(np.float32)
    pybn_ext.set_num_threads(1)
    right = pybn_ext.batch_norm_training(x, None, None, feature_axis=1)
    pybn_ext.set_num_threads(2)

    def work(_):
        return [pybn_ext.batch_norm_training(x, None, None, feature_axis=1) for _ in range(20)]

    with ThreadPoolExecutor(3) as pool:
        results = [each for several in pool.map(work, range(3)) for each in several]
    assert len(results) == 60
    for got in results:
        for one, other in zip(got, right, strict=True):
            np.testing.assert_array_equal(one, other)
