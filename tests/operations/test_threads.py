"""The same bits for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arrays, checks

# Large enough (1 to 4 MB) that the work is divided, odd so that it does not divide evenly.
CASES = [((4099, 129), -1), ((263, 5, 31, 33), 1), ((1_000_003, 1), -1), ((17, 33, 511), (0, 2)), ((5, 100_003), 0)]


@pytest.fixture
def threads(compiled):
    """`set_num_threads`, put back afterwards."""
    before = compiled.get_num_threads()
    yield compiled.set_num_threads
    compiled.set_num_threads(before)


def results(kernels, rng_seed, shape, feature_axis, dtype, masked):
    rng = np.random.default_rng(rng_seed)
    x = rng.normal(3, 2, shape).astype(dtype)
    dy = rng.standard_normal(shape).astype(dtype)
    scale, offset = arrays.parameters(rng, shape, feature_axis, dtype)
    mask = arrays.masks(rng, shape, feature_axis)["rank of the other axes"] if masked else None
    where = {"feature_axis": feature_axis, "mask": mask}
    y, mean, variance = kernels.batch_norm_training(x, scale, offset, **where)
    sums = kernels.batch_norm_gradient_sums(x, mean, variance, dy, **where)
    return (
        y,
        mean,
        variance,
        *kernels.batch_norm_gradient(x, scale, mean, variance, dy, **where),
        *sums[1:],
        kernels.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **where),
        kernels.batch_norm_inference(x, scale, offset, mean, variance, **where),
        *kernels.batch_norm_inference_gradient(x, scale, mean, variance, dy, **where),
        *kernels.moments(x, **where)[1:],
    )


@pytest.mark.parametrize(("shape", "feature_axis"), CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_same_bits(compiled, threads, shape, feature_axis, dtype, masked):
    if not compiled.build_info()["openmp"]:
        pytest.skip("built without OpenMP: there is one thread")
    threads(1)
    alone = results(compiled, 7, shape, feature_axis, dtype, masked)
    for number in (2, 3, 8):
        threads(number)
        assert compiled.get_num_threads() == number
        for index, (a, b) in enumerate(
            zip(results(compiled, 7, shape, feature_axis, dtype, masked), alone, strict=True)
        ):
            assert a.tobytes() == b.tobytes(), f"result {index} with {number} threads"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, None, "two"])
def test_bad_number_of_threads(compiled, threads, number):
    before = compiled.get_num_threads()
    with pytest.raises((TypeError, ValueError), match=r"(?s)must.*got"):
        threads(number)
    assert compiled.get_num_threads() == before


def test_a_call_twice_gives_the_same_bits(kernels, rng):
    for dtype in arrays.DTYPES:
        first, second = (results(kernels, 3, (401, 7, 5), 1, dtype, True) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            checks.assert_same(a, b, "result")
