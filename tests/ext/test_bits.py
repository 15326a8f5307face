"""The compiled module gives the same bits for any number of threads and on every level of processor."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pybn_ext

# One shape for each way in which a plan divides the work: features last (few, glued; many), tiles of features
# with short and with long runs behind them, few rows of very many features, and rests everywhere; rows of just 128
# lanes, which a large gradient takes one after the other.
SHAPES = [
    ((2049, 37), 1),
    ((1_031, 64), 1),
    ((517, 128), 1),
    ((30_011, 3), 1),
    ((600, 515), 1),
    ((70, 5_003), 1),
    ((8, 130, 7, 11), 1),
    ((3, 500, 7, 11), 1),
    ((30, 260, 4, 4), 1),
    ((15, 300, 3, 43), 1),
    ((3, 5, 97, 131), 1),
    ((9, 64, 20, 3), (1, 2)),
]


def results(x, feature_axis, mask):
    """Every array that the operations return for one input."""
    rng = np.random.default_rng(5)
    dy = rng.normal(size=x.shape).astype(x.dtype)
    axes = (feature_axis,) if isinstance(feature_axis, int) else feature_axis
    shape = tuple(x.shape[axis] for axis in axes)
    scale, offset, mean = rng.normal(size=(3, *shape))
    variance = rng.uniform(0.5, 2, shape)
    keywords = {"feature_axis": feature_axis, "mask": mask}
    yield from pybn_ext.moments(x, **keywords)[1:]
    yield from pybn_ext.batch_norm_training(x, scale, offset, **keywords)
    yield from pybn_ext.batch_norm_gradient(x, scale, mean, variance, dy, **keywords)
    sums = pybn_ext.batch_norm_gradient_sums(x, mean, variance, dy, **keywords)
    yield from sums[1:]
    yield pybn_ext.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **keywords)
    yield pybn_ext.batch_norm_inference(x, scale, offset, mean, variance, **keywords)
    yield from pybn_ext.batch_norm_inference_gradient(x, scale, mean, variance, dy, **keywords)


def inputs(shape, feature_axis, dtype, masked):
    rng = np.random.default_rng(3)
    x = rng.normal(10, 3, shape).astype(dtype)
    axes = (feature_axis,) if isinstance(feature_axis, int) else feature_axis
    others = [size for axis, size in enumerate(shape) if axis not in axes]
    return x, (rng.random(others) < 0.7 if masked else None)


def digest(shape, feature_axis, dtype, masked):
    x, mask = inputs(shape, feature_axis, dtype, masked)
    content = hashlib.sha256()
    for array in results(x, feature_axis, mask):
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


@pytest.fixture
def threads():
    """A setter of the number of threads; the number before is back afterwards."""
    before = pybn_ext.get_num_threads()
    yield pybn_ext.set_num_threads
    pybn_ext.set_num_threads(before)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "feature_axis"), SHAPES)
def test_bits_do_not_depend_on_the_number_of_threads(shape, feature_axis, dtype, masked, threads):
    threads(1)
    alone = digest(shape, feature_axis, dtype, masked)
    for number in (2, 3, 8):
        threads(number)
        assert digest(shape, feature_axis, dtype, masked) == alone, number


def test_bits_do_not_depend_on_where_the_arrays_lie():
    x, _ = inputs((2049, 37), 1, np.float32, False)
    aligned = pybn_ext.batch_norm_training(x, None, None)
    for shift in range(1, 17):
        room = np.empty(x.size + shift, np.float32)
        moved = room[shift:].reshape(x.shape)
        moved[...] = x
        for a, b in zip(aligned, pybn_ext.batch_norm_training(moved, None, None), strict=True):
            np.testing.assert_array_equal(a, b)


def usable_levels():
    from pybn_ext import _cpu

    return [level for level in pybn_ext.build_info()["levels"] if _cpu.runs(level)]


def digests_in_a_process(level):
    """The digests of all shapes, computed with PYBN_SIMD=level."""
    program = (
        "import numpy as np, pybn_ext, tests.ext.test_bits as t\n"
        "print(pybn_ext.build_info()['simd'])\n"
        "for shape, axis in t.SHAPES:\n"
        "    for dtype in (np.float32, np.float64):\n"
        "        print(t.digest(shape, axis, dtype, False), t.digest(shape, axis, dtype, True))\n"
    )
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(
        [root, os.path.dirname(os.path.dirname(pybn_ext.__file__)), os.environ.get("PYTHONPATH", "")]
    )
    environment = {**os.environ, "PYBN_SIMD": level, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    name, *digests = done.stdout.splitlines()
    assert name == level
    return digests


def test_every_level_gives_the_same_bits():
    levels = usable_levels()
    if len(levels) == 1:
        pytest.skip(f"{levels[0]} alone was built, or runs here")
    first = digests_in_a_process(levels[0])
    assert len(first) == 2 * len(SHAPES)
    for level in levels[1:]:
        assert digests_in_a_process(level) == first, level


@pytest.mark.parametrize("level", ["sse3", "avx513", ""])
def test_an_unknown_level_is_refused(level):
    done = subprocess.run(
        [sys.executable, "-c", "import pybn_ext"],
        env={**os.environ, "PYBN_SIMD": level, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"got {level!r}" in done.stderr
    assert repr(usable_levels()[0]) in done.stderr
