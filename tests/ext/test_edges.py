"""The compiled module at the sizes where one way of dividing the work gives way to the next, wherever the arrays lie.

Nothing around an array is written to, what is masked is not taken in, and the bits are the same at each address, in
place, and whether or not a result goes past the caches, which depends on the number of threads.  How exact they are is
for other tests: here a lane, a constant or a byte of the mask out of place has to show.
"""

import numpy as np
import pytest

import pybn_ext
from pybn import reference

GUARD = 777  # around each array
ROOM = 32  # elements in front of an array and behind it
FAR_ABOVE_ROUNDING = {
    "float32": 1e-4,
    "float64": 1e-10,
}  # of numbers of a size of 1 to 20, over at most 300 000 elements

# (outer, features, inner).
ROWS = [
    *((1, 1, 1), (5, 1, 1), (63, 3, 1), (40, 63, 1)),  # few
    *((64, 16, 1), (200, 17, 1), (3000, 7, 1), (65, 129, 1), (130, 511, 1)),  # some rows of x are glued together
    *((130, 512, 1), (9, 513, 1), (70, 1041, 1)),  # one row of x is one of lanes
    *((65537, 1, 1), (4400, 15, 1), (1200, 64, 1), (300, 230, 1), (17, 4099, 1)),  # shared out
    *((49, 2048, 1), (70, 1009, 1), (130, 4093, 1)),  # several groups of features, tables that begin anew
    *((90_001, 3, 1), (5000, 53, 1), (530, 515, 1), (140, 2000, 1), (997, 1009, 1)),  # 1 MB and more
]
CHANNELS = [
    *((1, 4096, 1), (5, 4099, 1), (64, 4097, 1), (66, 4100, 1)),  # many features of few rows
    *((70, 2, 3), (4, 7, 3), (3, 90, 7), (64, 9, 100), (65, 9, 100)),  # tiles of a sum for each lane
    *((2, 5, 511), (1, 70, 41), (7, 33, 127), (15, 9, 300)),  # and of short runs
    *((1, 1, 16), (3, 5, 16), (1, 7, 32), (5, 70, 16), (2, 33, 8)),  # short ones that are whole cache lines
    *((1, 2, 512), (3, 5, 513), (70, 3, 575), (2, 20, 4100)),  # long runs
    *((1, 3, 40), (2, 5, 20), (3, 11, 41), (1, 130, 49), (2, 3, 64)),  # runs of a few vectors
    *((3, 1900, 49), (70, 250, 16), (8, 40, 900), (1, 6007, 50), (37, 161, 63)),  # 1 MB and more
    *((3, 2, 33_000), (20, 3, 4701), (1, 1, 270_007)),  # in pieces
]


def placed(values, skew):
    """A copy that begins `skew` elements behind a cache line, GUARD around it."""
    memory = np.full(values.size + 2 * ROOM + 16, GUARD, values.dtype)
    start = ROOM + (skew - memory.ctypes.data // values.itemsize) % (64 // values.itemsize)
    memory[start : start + values.size] = values.ravel()
    return memory[start : start + values.size].reshape(values.shape)


def assert_guarded(array):
    memory = array.base
    start = (array.ctypes.data - memory.ctypes.data) // memory.itemsize
    assert (memory[:start] == GUARD).all(), "written in front of the array"
    assert (memory[start + array.size :] == GUARD).all(), "written behind the array"


@pytest.fixture
def threads():
    """A setter of the number of threads; the number before is back afterwards."""
    before = pybn_ext.get_num_threads()
    yield pybn_ext.set_num_threads
    pybn_ext.set_num_threads(before)


def results(kernels, x, dy, parameters, where, out=(None, None, None, None)):
    """All that the operations return."""
    scale, offset, mean, variance = parameters
    given = scale, mean, variance
    sums = kernels.batch_norm_gradient_sums(x, mean, variance, dy, **where)
    return (
        *kernels.batch_norm_training(x, scale, offset, out=out[0], **where),
        *kernels.batch_norm_gradient(x, *given, dy, out=out[1], **where),
        *kernels.batch_norm_inference_gradient(x, *given, dy, out=out[2], **where),
        *sums[1:],
        kernels.batch_norm_gradient_from_sums(x, *given, dy, sums, out=out[3], **where),
        kernels.batch_norm_inference(x, *parameters, **where),
    )


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", ROWS + CHANNELS, ids=str)
def test_wherever_the_arrays_lie(shape, dtype, masked, rng, threads):
    outer, features, inner = shape
    parameters = rng.uniform(0.5, 2, (4, features))
    mask = rng.random((outer, inner)) < 0.7 if masked else np.ones((outer, inner), bool)
    mask[outer // 2, inner // 2] = True
    x, dy = rng.normal(3, 2, shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    hidden = np.broadcast_to(~mask[:, None], shape)
    x[hidden], dy[hidden] = np.inf, np.nan
    where = {"feature_axis": 1, "mask": mask if masked else None}
    first = results(pybn_ext, x, dy, parameters, where)
    for got, expected in zip(first, results(reference, x, dy, parameters, where), strict=True):
        size = max(1, np.abs(expected[np.isfinite(expected)]).max(initial=0))
        np.testing.assert_allclose(got, expected, rtol=0, atol=size * FAR_ABOVE_ROUNDING[dtype])
    for number, skew in ((1, 0), (2, 1), (1, 3), (2, 64 // x.itemsize - 1)):
        threads(number)
        inputs = over_x, *_ = placed(x, skew), placed(dy, 2 * skew % 5)
        out = [placed(np.zeros_like(x), s) for s in (skew, 2, 0, 1)]
        for got, expected in zip(results(pybn_ext, *inputs, parameters, where, out), first, strict=True):
            assert got.tobytes() == expected.tobytes()
        pybn_ext.batch_norm_inference(over_x, *parameters, out=over_x, **where)
        assert over_x.tobytes() == first[-1].tobytes()
        for array in (*inputs, *out):
            assert_guarded(array)


@pytest.mark.parametrize("threads_used", [1, 2])
@pytest.mark.parametrize("shape", [(8, 900, 49), (2, 5, 600), (20, 4099, 1), (3, 2, 33_000)], ids=str)
def test_one_feature_that_float32_cannot_finish_leaves_the_others_alone(shape, threads_used, rng, threads):
    features = shape[1]
    threads(threads_used)
    x = rng.normal(3, 2, shape).astype("float32")
    parameters = rng.uniform(0.5, 2, (4, features))
    plain = pybn_ext.batch_norm_inference(x, *parameters, feature_axis=1)
    last = features - 1
    x[:, last] *= 1e30
    parameters[3, last] = 4e60
    y = pybn_ext.batch_norm_inference(x, *parameters, feature_axis=1)
    expected = reference.batch_norm_inference(x, *parameters, feature_axis=1)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(y[:, :last], plain[:, :last], rtol=0, atol=2e-5)
