"""Threads of the compiled module: how many, after a fork, under threadpoolctl, called from several at once."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pybn_ext

LARGE = (512, 513)  # above the size from which a second thread is used


@pytest.fixture
def threads():
    before = pybn_ext.get_num_threads()
    yield pybn_ext.set_num_threads
    pybn_ext.set_num_threads(before)


def python(program, **environment):
    """Standard output of a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_set_and_get(threads):
    threads(1)
    assert pybn_ext.get_num_threads() == 1
    threads(3)
    assert pybn_ext.get_num_threads() == (3 if pybn_ext.build_info()["openmp"] else 1)


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_wrong_number_is_refused(number, error):
    before = pybn_ext.get_num_threads()
    with pytest.raises(error, match=f"got {number!r}"):
        pybn_ext.set_num_threads(number)
    assert pybn_ext.get_num_threads() == before


def test_the_default_is_what_the_process_may_use():
    program = "import os; {} import pybn_ext; print(pybn_ext.get_num_threads())"
    openmp = pybn_ext.build_info()["openmp"]
    assert python(program.format(""), OMP_NUM_THREADS="3") == ("3" if openmp else "1")
    if hasattr(os, "sched_setaffinity"):
        one = "os.environ.pop('OMP_NUM_THREADS', None); os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        assert python(program.format(one)) == "1"


@pytest.mark.parametrize(
    ("said", "threads"), [("99999999999", 1024), ("4294967297", 1024), ("3000000000", 1024), (" 4,2 ", 4), ("+0003", 3)]
)
def test_omp_num_threads_is_read_whole(said, threads):
    """32 bits of it were told: 1215752191, 1 and -1294967296."""
    info = pybn_ext.build_info()
    if info["openmp"] and info["compiler"].startswith("clang") and said in ("99999999999", "+0003"):
        pytest.skip("LLVM's OpenMP reads the variable, too, and ends the process where it cannot take what it says")
    expected = threads if info["openmp"] else 1
    assert python("import pybn_ext; print(pybn_ext.get_num_threads())", OMP_NUM_THREADS=said) == str(expected)


def test_all_is_done_where_openmp_sends_fewer_threads():
    """Whoever comes does what is left of the others' shares."""
    program = """
import numpy as np, pybn_ext
x = np.random.default_rng(0).normal(size=(900, 513)).astype(np.float32)
results = []
for number in (1, 4):
    pybn_ext.set_num_threads(number)
    y, mean, variance = pybn_ext.batch_norm_training(x, None, None)
    results.append([y, mean, variance, pybn_ext.batch_norm_gradient(x, None, mean, variance, x * x)[0]])
print(all((a == b).all() for a, b in zip(*results)))
"""
    assert python(program, OMP_THREAD_LIMIT="2") == "True"
    assert python(program, OMP_THREAD_LIMIT="1") == "True"


def test_a_second_thread_comes_to_the_processor_that_it_may_use():
    """After a pause, and beside the first on its only processor: the same bits, and the processors are as before."""
    program = """
import os, time, numpy as np, pybn_ext
x = np.random.default_rng(0).normal(size=(900, 513)).astype(np.float32)
pybn_ext.set_num_threads(1)
right = pybn_ext.batch_norm_training(x, None, None)
same = []
def allowed():
    return {tuple(sorted(os.sched_getaffinity(int(task)))) for task in os.listdir("/proc/self/task")}
for processors in (os.sched_getaffinity(0), [min(os.sched_getaffinity(0))]):
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), processors)
    for pause in (0, 0.02, 0.05):
        time.sleep(pause)
        pybn_ext.set_num_threads(2)
        got = pybn_ext.batch_norm_training(x, None, None)
        same.append(all((a == b).all() for a, b in zip(got, right)))
    same.append(allowed() == {tuple(sorted(processors))})
print(all(same))
"""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tell a thread which processors it may use")
    assert python(program) == "True"


def test_threadpoolctl_limits_it(threads):
    threadpoolctl = pytest.importorskip(
        "threadpoolctl", reason="threadpoolctl is not installed; it may limit our threads"
    )
    if not pybn_ext.build_info()["openmp"]:
        pytest.skip("built without OpenMP")
    threads(2)
    x = np.random.default_rng(0).normal(size=LARGE)
    y = pybn_ext.batch_norm_training(x, None, None)[0]
    with threadpoolctl.threadpool_limits(limits=1, user_api="openmp"):
        assert pybn_ext.get_num_threads() == 1
        np.testing.assert_array_equal(pybn_ext.batch_norm_training(x, None, None)[0], y)


def test_eight_python_threads_at_once(threads):
    """Different arrays in each, some with threads of their own; results as when alone."""
    threads(2)
    rng = np.random.default_rng(1)
    batches = [rng.normal(k, 1 + k, (300 + 40 * k, 257)).astype(np.float32) for k in range(8)]
    alone = [pybn_ext.batch_norm_training(x, None, None) for x in batches]

    def work(k):
        for _ in range(10):
            for a, b in zip(alone[k], pybn_ext.batch_norm_training(batches[k], None, None), strict=True):
                np.testing.assert_array_equal(a, b)
        return k

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == list(range(8))


def _child(connection, x):
    connection.send((pybn_ext.batch_norm_training(x, None, None)[0], pybn_ext.get_num_threads()))
    try:
        pybn_ext.set_num_threads(2)
    except RuntimeError as error:
        connection.send(str(error))
    else:
        connection.send("no error")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_after_a_parallel_region(threads):
    """libgomp's threads are not there in the child, which would wait for them for ever."""
    threads(2)
    x = np.random.default_rng(2).normal(size=LARGE)
    y = pybn_ext.batch_norm_training(x, None, None)[0]
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, x))
    with pytest.warns(DeprecationWarning, match="fork") if sys.version_info >= (3, 12) else _nothing():
        child.start()
    try:
        assert here.poll(60), "the child hangs"
        result, number = here.recv()
        np.testing.assert_array_equal(result, y)
        assert number == 1
        assert "do not survive a fork" in here.recv()
    finally:
        child.kill()
        child.join()
    np.testing.assert_array_equal(pybn_ext.batch_norm_training(x, None, None)[0], y)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False
