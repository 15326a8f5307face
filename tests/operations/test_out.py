"""`out`: receives the result and nothing else; refused where it would destroy an input."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arrays, checks

SHAPE, FEATURE_AXIS = (6, 3, 5), 1
OPERATIONS = ("batch_norm_training", "batch_norm_gradient", "batch_norm_inference", "batch_norm_inference_gradient")


def arguments_of(operation, rng, dtype=np.float32):
    """Positional arguments by name, in the operation's order."""
    x = arrays.sample(rng, SHAPE, dtype, FEATURE_AXIS)
    scale, offset = arrays.parameters(rng, SHAPE, FEATURE_AXIS, dtype)
    mean, variance = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)
    values = {"x": x, "scale": scale, "offset": offset, "mean": mean, "variance": variance}
    values["dy"] = rng.standard_normal(SHAPE).astype(dtype)
    names = {
        "batch_norm_training": ("x", "scale", "offset"),
        "batch_norm_gradient": ("x", "scale", "mean", "variance", "dy"),
        "batch_norm_inference": ("x", "scale", "offset", "mean", "variance"),
        "batch_norm_inference_gradient": ("x", "scale", "mean", "variance", "dy"),
    }
    return {name: values[name] for name in names[operation]}


def run(kernels, operation, given, **options):
    """All results, the array first."""
    result = getattr(kernels, operation)(*given.values(), feature_axis=FEATURE_AXIS, **options)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("layout", [name for name in arrays.LAYOUTS if name not in ("read-only", "byte-swapped")])
@pytest.mark.parametrize("dtype", arrays.NAMES)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_out_receives_the_same_bits(kernels, rng, operation, layout, dtype, masked):
    given = arguments_of(operation, rng, dtype)
    mask = arrays.masks(rng, SHAPE, FEATURE_AXIS)["rank of the other axes"] if masked else None
    expected = run(kernels, operation, given, mask=mask)
    out = arrays.LAYOUTS[layout](np.full(SHAPE, 99, dtype))
    with checks.untouched(*given.values(), mask):
        results = run(kernels, operation, given, mask=mask, out=out)
    assert results[0] is out
    for name, got, want in zip(("result", "second", "third"), results, expected, strict=False):
        checks.assert_same(got, want, name)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strided_out_leaves_the_gaps(kernels, rng, operation):
    given = arguments_of(operation, rng)
    wide = np.full([2 * size for size in SHAPE], 777, np.float32)
    out = wide[1::2, ::2, 1::2]
    (result, *_) = run(kernels, operation, given, out=out)
    assert result is out
    kept = np.ones(wide.shape, bool)
    kept[1::2, ::2, 1::2] = False
    assert (wide[kept] == 777).all()


@pytest.mark.parametrize("layout", ["contiguous", "Fortran", "strided", "negative strides", "transposed", "unaligned"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", arrays.NAMES)
def test_inference_over_x_itself(kernels, rng, layout, masked, dtype):
    given = arguments_of("batch_norm_inference", rng, dtype)
    mask = arrays.masks(rng, SHAPE, FEATURE_AXIS)["rank of x"] if masked else None
    (expected,) = run(kernels, "batch_norm_inference", given, mask=mask)
    given["x"] = arrays.LAYOUTS[layout](given["x"])
    (result,) = run(kernels, "batch_norm_inference", given, mask=mask, out=given["x"])
    assert result is given["x"]
    checks.assert_same(result, expected, "y")


def refused(kernels, operation, given, out, error, words):
    """The call raises, names out, and changes neither out nor an input."""
    with checks.untouched(*given.values(), out), pytest.raises(error) as raised:
        run(kernels, operation, given, out=out)
    message = str(raised.value)
    assert message.startswith("out must")
    for word in words:
        assert str(word) in message, message


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_cannot_be_out(kernels, rng, operation):
    given = arguments_of(operation, rng)
    right = np.full(SHAPE, 99, np.float32)
    refused(kernels, operation, given, right.astype(np.float64), TypeError, ["float32", "float64"])
    refused(kernels, operation, given, right.astype(np.float16), TypeError, ["float32", "float16"])
    refused(kernels, operation, given, arrays.byte_swapped(right), TypeError, ["float32", right.dtype.newbyteorder()])
    refused(kernels, operation, given, right[:, :2], ValueError, [SHAPE, (6, 2, 5)])
    refused(kernels, operation, given, right[..., None], ValueError, [SHAPE, (6, 3, 5, 1)])
    refused(kernels, operation, given, arrays.read_only(right), ValueError, ["read-only"])
    refused(kernels, operation, given, right.tolist(), TypeError, ["numpy array", "list"])
    refused(kernels, operation, given, bytearray(8), TypeError, ["numpy array", "bytearray"])
    shared_rows = np.lib.stride_tricks.as_strided(right, SHAPE, (0, 20, 4), writeable=True)
    refused(kernels, operation, given, shared_rows, ValueError, ["(0, 20, 4)"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_out_may_not_overlap_an_input(kernels, rng, operation):
    names = [name for name in arguments_of(operation, rng) if name in ("x", "dy")]
    if operation == "batch_norm_inference":
        names.remove("x")  # allowed, tested above
    for name in names:
        given = arguments_of(operation, rng)
        refused(kernels, operation, given, given[name], ValueError, ["share memory"])
    for name in ("x", "dy"):
        if name not in arguments_of(operation, rng):
            continue
        given = arguments_of(operation, rng)
        buffer = np.zeros(2 * given["x"].size, np.float32)
        size = given["x"].size
        buffer[1 : 1 + size] = given[name].ravel()
        given[name] = buffer[1 : 1 + size].reshape(SHAPE)
        refused(kernels, operation, given, buffer[:size].reshape(SHAPE), ValueError, ["share memory"])
        refused(kernels, operation, given, given[name][::-1], ValueError, ["share memory"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_out_may_not_overlap_a_parameter(kernels, rng, operation):
    for name in set(arguments_of(operation, rng, np.float64)) - {"x", "dy"}:
        given = arguments_of(operation, rng, np.float64)
        out = np.zeros(SHAPE)
        out[0, :, 0] = given[name]
        given[name] = out[0, :, 0]
        refused(kernels, operation, given, out, ValueError, ["share memory"])


def test_out_beside_an_input_in_one_buffer_is_fine(kernels, rng):
    """Interleaved and apart: no element is shared, so nothing is refused."""
    for operation in OPERATIONS:
        given = arguments_of(operation, rng)
        expected = run(kernels, operation, given)
        both = np.zeros((*SHAPE, 2), np.float32)
        both[..., 0] = given["x"]
        given["x"], out = both[..., 0], both[..., 1]
        result = run(kernels, operation, given, out=out)
        assert result[0] is out
        checks.assert_same(out, expected[0], operation)


class HandsOut:
    """What a tensor of another library is to NumPy: its own memory, and no ndarray."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("given", [HandsOut, memoryview], ids=lambda given: given.__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_out_may_not_be_memory_that_an_input_hands_out(kernels, rng, operation, given):
    values = arguments_of(operation, rng)
    for name in values:
        if values[name].shape == SHAPE:
            shared = values[name].copy()
            changed = {**values, name: given(shared)}
            with pytest.raises(ValueError, match="out must not share memory with an input"):
                run(kernels, operation, changed, out=shared[::-1])


def test_inference_may_write_over_an_x_that_hands_out_its_memory(kernels, rng):
    values = arguments_of("batch_norm_inference", rng)
    (expected,) = run(kernels, "batch_norm_inference", values)
    shared = values["x"].copy()
    run(kernels, "batch_norm_inference", {**values, "x": HandsOut(shared)}, out=shared)
    np.testing.assert_array_equal(shared, expected)
