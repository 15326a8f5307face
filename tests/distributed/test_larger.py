"""Arrays larger than memory: the same moments whatever the chunks, the same bits whatever the scheduler."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pybn
from pybn import Trainer, reference
from tests.distributed.workers import arguments, assert_same_state, batch, state
from tests.support import arrays
from tests.support.checks import assert_within

dask = pytest.importorskip("dask", reason="dask is not installed: pip install -e '.[dask]'")
da = pytest.importorskip("dask.array", reason="dask is not installed: pip install -e '.[dask]'")

ROOT = Path(__file__).parents[2]
CHUNKS = {"one": -1, "rows": (7, -1, -1), "features, too": (5, 2, 3), "single rows": (1, -1, -1)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("feature_axis", [-1, 1, (0, 2)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_moments(implementation, rng, dtype, chunks, feature_axis, masked):
    shape = (23, 5, 4)
    x = arrays.sample(rng, shape, dtype, feature_axis)
    mask = arrays.masks(rng, shape, feature_axis)["rank of the other axes"] if masked else None
    exact = reference.moments(x.astype(np.float64), feature_axis=feature_axis, mask=mask)
    with pybn.use_backend(implementation):
        found = pybn.distributed.moments(da.from_array(x, CHUNKS[chunks]), feature_axis=feature_axis, mask=mask)
    assert found.count == exact.count
    # A merge rounds a mean three times at its own size, a variance six times: up to 23 of them, and 2 and 4 of a block.
    eps = np.finfo(np.float64).eps
    own = 4 * np.finfo(dtype).eps
    mean_off = (own + 4 * 23 * eps) * np.maximum(np.abs(exact.mean), np.sqrt(exact.variance))
    assert_within(found.mean, exact.mean, mean_off, "mean")
    spread = np.ptp(x.astype(np.float64)) + 1
    assert_within(found.variance, exact.variance, (own + 8 * 23 * eps) * exact.variance + mean_off * spread, "variance")


def test_a_mask_in_chunks(rng):
    x = arrays.sample(rng, (40, 6, 3), np.float32)
    mask = rng.random((40, 6)) < 0.5
    whole = pybn.distributed.moments(da.from_array(x, (8, 6, 3)), mask=mask)
    chunked = pybn.distributed.moments(da.from_array(x, (8, 6, 3)), mask=da.from_array(mask, (5, 2)))
    assert whole.count == chunked.count == mask.sum()
    np.testing.assert_array_equal(whole.mean, chunked.mean)
    np.testing.assert_array_equal(whole.variance, chunked.variance)


def test_a_mean_far_away_loses_nothing(rng):
    """Where the sums of float32 lose the variance's digits."""
    x = (rng.normal(size=(5000, 3)) + 1000).astype(np.float32)
    found = pybn.distributed.moments(da.from_array(x, (100, 3)))
    exact = x.astype(np.longdouble).var(0)
    assert_within(found.variance, exact, 4 * np.spacing(exact.astype(np.float32)), "variance")


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_give_the_same_bits(rng, scheduler):
    x = da.from_array(arrays.sample(rng, (999, 5), np.float32), (10, 5))
    expected = pybn.distributed.moments(x)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = pybn.distributed.moments(x)
    assert found.mean.tobytes() == expected.mean.tobytes()
    assert found.variance.tobytes() == expected.variance.tobytes()


@pytest.mark.slow
def test_a_cluster_gives_the_same_bits(rng):
    pytest.importorskip("distributed", reason="dask's cluster is not installed: pip install -e '.[dask]'")
    x = da.from_array(arrays.sample(rng, (999, 5), np.float32), (100, 5))
    expected = pybn.distributed.moments(x, progress=False)
    program = (
        "import pickle, sys\n"
        "from distributed import Client, LocalCluster\n"
        "import pybn\n"
        "if __name__ == '__main__':\n"
        "    x = pickle.loads(bytes.fromhex(sys.stdin.read()))\n"
        "    options = {'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': None}\n"
        "    with LocalCluster(**options) as cluster, Client(cluster):\n"
        "        found = pybn.distributed.moments(x, progress=True)\n"
        "    print()\n"
        "    print(found.mean.tobytes().hex(), found.variance.tobytes().hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(x).hex(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *shown, bits = done.stdout.splitlines()
    assert "100% Completed" in "".join(shown)
    assert bits.split() == [expected.mean.tobytes().hex(), expected.variance.tobytes().hex()]


@pytest.mark.slow
def test_a_file_of_a_gigabyte_takes_little_memory(tmp_path):
    """Written and read in blocks of 16 MB; the peak of the whole process beyond its imports, in MB, is printed."""
    program = (
        "import resource, sys\n"
        "import numpy as np, dask, dask.array, pybn\n"
        "from numpy.lib import format\n"
        "path, rows, block = sys.argv[1], 2_000_000, 32_768\n"
        "rng = np.random.default_rng(0)\n"
        "some = rng.normal(5, 2, (block, 128)).astype(np.float32)\n"
        "with open(path, 'wb') as file:\n"
        "    header = {'descr': '<f4', 'fortran_order': False, 'shape': (rows, 128)}\n"
        "    format.write_array_header_1_0(file, header)\n"
        "    for start in range(0, rows, block):\n"
        "        some[: rows - start].tofile(file)\n"
        "pybn.reference.moments(some[:10])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = pybn.distributed.moments(pybn.distributed.from_npy(path, block))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(found.count, abs(found.mean - 5).max() < 0.1, abs(found.variance - 4).max() < 0.2)\n"
        "print((after - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "large.npy")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.splitlines()
    assert said == "2000000 True True"
    assert float(peak) < 300


def test_an_epoch_of_blocks_updates_the_averages():
    batches = [batch(step, np.float32) for step in range(3)]
    images, labels = (np.concatenate(each) for each in zip(*batches, strict=True))

    def updated(dataset):
        trainer = Trainer(*arguments())
        trainer.train_step(*batches[0])
        assert pybn.update_averages(trainer, dataset)
        return state(trainer.context)

    blocks = pybn.distributed.from_dask(da.from_array(images, (100, *images.shape[1:])), da.from_array(labels, 100))
    assert len(blocks) == 3
    assert_same_state(updated(blocks), updated(batches))


def test_blocks_without_labels():
    (x, nothing), _ = pybn.distributed.from_dask(da.ones((6, 2), chunks=(3, 2)))
    assert x.shape == (3, 2)
    assert nothing is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pybn.distributed.moments(np.ones((3, 2))), TypeError, "must be a dask.array.Array, got ndarray"),
        (lambda: pybn.distributed.moments(da.ones((3, 2), dtype=int)), TypeError, "float"),
        (lambda: pybn.distributed.moments(da.ones(3)), ValueError, "rank"),
        (lambda: pybn.distributed.moments(da.ones((3, 2)), feature_axis=2), ValueError, "feature_axis"),
        (lambda: pybn.distributed.moments(da.ones((6, 2))[da.ones(6) > 0]), ValueError, "known sizes"),
        (lambda: pybn.distributed.from_npy("x.npy", 0), ValueError, "rows must be 1 or more"),
        (lambda: pybn.distributed.from_dask(np.ones((3, 2))), TypeError, "inputs must be a dask"),
        (
            lambda: pybn.distributed.from_dask(da.ones((6, 2), chunks=3), da.ones(6, chunks=2)),
            ValueError,
            "same blocks along their first axis",
        ),
    ],
)
def test_bad_input_is_told(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_progress_is_shown(capsys):
    pybn.distributed.moments(da.ones((30, 2), chunks=(3, 2)), progress=True)
    assert "100% Completed" in capsys.readouterr().out


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match="pip install -e"):
        pybn.distributed.moments(None)


def test_no_progress_is_shown_unless_asked_for(capsys):
    pybn.distributed.moments(da.ones((8, 2), chunks=2))
    assert capsys.readouterr() == ("", "")


def test_blocks_of_one_row(tmp_path):
    x = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    found = pybn.distributed.from_npy(tmp_path / "x.npy", 1)
    assert found.chunks[0] == (1, 1, 1)
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), x)
