"""Memory of large outputs: kept when an array dies, used again, capped, given back on request."""

import os
import sys
import threading

import numpy as np
import pytest

import pybn_ext

LARGE = (1100, 1000)  # 4.4 MB of float32: above the size from which outputs come from the pool


@pytest.fixture(autouse=True)
def empty_pool():
    pybn_ext.clear_cache()
    yield
    pybn_ext.clear_cache()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=LARGE).astype(np.float32)


def address(array):
    return array.__array_interface__["data"][0]


def infer(x):
    features = x.shape[1]
    return pybn_ext.batch_norm_inference(x, None, None, np.zeros(features), np.ones(features))


def test_a_dead_output_serves_the_next_call(x):
    y = infer(x)
    at = address(y)
    del y
    assert address(infer(x)) == at


def test_a_living_output_is_never_given_again(x):
    first = infer(x)
    before = first.copy()
    second = infer(-x)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, before)


def test_a_view_keeps_its_block(x):
    row = infer(x)[3]
    before = row.copy()
    infer(-x)
    np.testing.assert_array_equal(row, before)


def test_large_outputs_are_aligned_writeable_and_whole(x):
    y = infer(x)
    assert address(y) % 64 == 0
    assert y.flags.writeable
    assert y.flags.c_contiguous
    assert y.shape == x.shape
    y[...] = 0


def test_clear_cache_forgets_what_is_kept(x):
    y = infer(x)
    del y
    pybn_ext.clear_cache()
    assert pybn_ext.build_info()["kept_bytes"] == 0


def test_kept_bytes_are_counted_and_capped(x):
    outputs = [infer(x) for _ in range(40)]
    assert pybn_ext.build_info()["kept_bytes"] == 0
    size = outputs[0].nbytes
    del outputs
    kept = pybn_ext.build_info()["kept_bytes"]
    assert size <= kept <= 1 << 30
    assert kept < 40 * size


def test_arrays_die_in_other_threads(x):
    def work():
        for _ in range(50):
            np.testing.assert_array_equal(infer(x)[0], expected)

    expected = infer(x)[0].copy()
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.skipif(not hasattr(os, "fork") or sys.version_info >= (3, 12), reason="fork warns from Python 3.12 on")
def test_a_forked_child_uses_its_own_copy(x):
    y = infer(x)
    before = y.copy()
    child = os.fork()
    if child == 0:
        try:
            del y
            ok = np.array_equal(infer(x), before)
        finally:
            os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    np.testing.assert_array_equal(y, before)
