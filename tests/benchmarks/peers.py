"""Batch normalization as other libraries do it on the processor, for `operations.py` to time.

One small function each, all alike: `peer(case, threads) -> {operation: callable}`, where a callable takes nothing, is
done when it returns and returns its result, or results, as the library's own arrays.  The inputs are turned into those
beforehand.  An operation or a dtype that a library does not have is left out.  A peer imports its library itself, so
this file can be read without any; most of them ask for their number of threads when they start, so a process should
know only one such number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

EPSILON = float(np.float32(1e-5))  # ONNX keeps it in float32, and float64 results show that
# By Higham & Mary (2019, theorem 2.4) the rounding of a sum of n terms is below 6 sqrt(n) u times the sum of their
# sizes, except with probability 3e-8; u is half of eps, and the mean's and the variance's errors add up to twice that.
BOUND = 6

Case = dict[str, Any]
Operations = dict[str, Callable[[], Any]]


def is_last(k: Case) -> bool:
    """Whether the features stand on the last axis."""
    return k["axis"] == k["x"].ndim - 1


def flat(k: Case, name: str) -> np.ndarray:
    """An array of the case with its features second, as it stands in memory: (n, C), or (images, C, pixels)."""
    array, features = k[name], k["x"].shape[k["axis"]]
    return array.reshape(-1, features) if is_last(k) else array.reshape(len(array), features, -1)


def in_dtype(k: Case, *names: str) -> list[np.ndarray]:
    """Vectors of the case in x's dtype; ours takes the statistics in float64, nobody else does."""
    return [k[name].astype(k["x"].dtype) for name in names]


def pytorch(k: Case, threads: int) -> Operations:
    """PyTorch's native operations, features last as its channels-last memory format; its gradient has no `out=`."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)

    def tensor(array: np.ndarray) -> torch.Tensor:
        t = torch.from_numpy(array)
        return t.movedim(-1, 1) if array.ndim > 2 and is_last(k) else t

    x, dy = tensor(k["x"]), tensor(k["dy"])
    scale, offset, mean, variance = map(torch.from_numpy, in_dtype(k, "scale", "offset", "mean", "variance"))
    inverse = 1 / torch.sqrt(variance + EPSILON)
    out = {} if k["out"] is None else {"out": (tensor(k["out"]), torch.empty_like(mean), torch.empty_like(mean))}
    native, backward = torch.native_batch_norm, torch.ops.aten.native_batch_norm_backward
    return {
        "training": lambda: native(x, scale, offset, None, None, True, 0.1, EPSILON, **out),
        "gradient": lambda: backward(dy, x, scale, None, None, mean, inverse, True, EPSILON, [True] * 3),
        "inference": lambda: native(x, scale, offset, mean, variance, False, 0.1, EPSILON, **out),
    }


def jax_jitted(k: Case, threads: int) -> Operations:
    """The equations in jax.numpy, jitted; statistics as flax takes them, E[x^2] - E[x]^2; results always new."""
    os.environ["NPROC"] = str(threads)  # what XLA's pool of threads goes by when it is made
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", k["x"].dtype == np.float64)
    axes = tuple(axis for axis in range(k["x"].ndim) if axis != k["axis"])
    count = k["x"].size // len(k["scale"])

    def wide(vector: jax.Array) -> jax.Array:
        return jnp.expand_dims(vector, axes)

    @jax.jit
    def inference(x, scale, offset, mean, variance):
        return (x - wide(mean)) * wide(scale * jax.lax.rsqrt(variance + EPSILON)) + wide(offset)

    @jax.jit
    def training(x, scale, offset):
        mean = x.mean(axes)
        variance = jnp.square(x).mean(axes) - jnp.square(mean)
        return inference(x, scale, offset, mean, variance), mean, variance

    @jax.jit
    def gradient(x, scale, mean, variance, dy):
        inverse = jax.lax.rsqrt(variance + EPSILON)
        normalized = (x - wide(mean)) * wide(inverse)
        dscale, doffset = (dy * normalized).sum(axes), dy.sum(axes)
        dx = wide(scale * inverse) * (dy - wide(doffset / count) - normalized * wide(dscale / count))
        return dx, dscale, doffset

    x, dy = jnp.asarray(k["x"]), jnp.asarray(k["dy"])
    scale, offset, mean, variance = map(jnp.asarray, in_dtype(k, "scale", "offset", "mean", "variance"))
    return {
        "training": lambda: jax.block_until_ready(training(x, scale, offset)),
        "gradient": lambda: jax.block_until_ready(gradient(x, scale, mean, variance, dy)),
        "inference": lambda: jax.block_until_ready(inference(x, scale, offset, mean, variance)),
    }


def onnx_runtime(k: Case, threads: int) -> Operations:
    """ONNX Runtime's BatchNormalization, input and output bound; features are second there, so last ones as (n, C)."""
    import onnxruntime
    from onnx import helper, numpy_helper

    x, names = flat(k, "x"), ["scale", "offset", "mean", "variance"]
    y = np.empty_like(x)
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node("BatchNormalization", ["x", *names], ["y"], epsilon=EPSILON)],
        "batch_norm",
        [helper.make_tensor_value_info("x", element, x.shape)],
        [helper.make_tensor_value_info("y", element, x.shape)],
        [numpy_helper.from_array(vector, name) for name, vector in zip(names, in_dtype(k, *names), strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads wait actively for the next run, 48 ms of 50 measured, and would take the others' processors.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, x.dtype, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, x.dtype, x.shape, y.ctypes.data)

    def inference() -> np.ndarray:
        session.run_with_iobinding(binding)
        return y

    return {"inference": inference}


def numba_loops(k: Case, threads: int) -> Operations:
    """Loops by hand that numba compiles, sums in float64, always into the same memory; no gradient, to stay short."""
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    training, inference = numba_operations(planes=not is_last(k))
    x, out = flat(k, "x"), flat(k, "target")
    scale, offset, mean, variance = in_dtype(k, "scale", "offset", "mean", "variance")
    return {
        "training": lambda: training(x, scale, offset, out),
        "inference": lambda: inference(x, scale, offset, mean, variance, out),
    }


@cache
def numba_operations(*, planes: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Training and inference for arrays (images, features, pixels) if `planes`, (rows, features) if not."""
    from numba import get_num_threads, njit, prange

    parallel = njit(parallel=True, fastmath=True)

    @parallel
    def row_sums(x):  # of x and of its squares, for each feature
        parts, n = get_num_threads(), len(x)
        sums = np.zeros((parts, 2, x.shape[1]))
        for part in prange(parts):
            plain, square = sums[part]
            for row in range(n * part // parts, n * (part + 1) // parts):
                for i in range(x.shape[1]):
                    plain[i] += x[row, i]
                    square[i] += np.float64(x[row, i]) ** 2
        return sums.sum(0)

    @parallel
    def plane_sums(x):
        sums = np.empty((2, x.shape[1]))
        for i in prange(x.shape[1]):
            plain = square = 0.0
            for image in range(len(x)):
                for j in range(x.shape[2]):
                    plain += x[image, i, j]
                    square += np.float64(x[image, i, j]) ** 2
            sums[0, i], sums[1, i] = plain, square
        return sums

    @parallel
    def write_rows(x, factor, rest, out):  # out = factor x + rest
        for row in prange(len(x)):
            for i in range(x.shape[1]):
                out[row, i] = factor[i] * x[row, i] + rest[i]

    @parallel
    def write_planes(x, factor, rest, out):
        for plane in prange(x.shape[0] * x.shape[1]):
            image, i = plane // x.shape[1], plane % x.shape[1]
            for j in range(x.shape[2]):
                out[image, i, j] = factor[i] * x[image, i, j] + rest[i]

    sums, write = (plane_sums, write_planes) if planes else (row_sums, write_rows)

    @njit
    def inference(x, scale, offset, mean, variance, out):
        factor = scale / np.sqrt(variance + EPSILON)
        write(x, factor.astype(x.dtype), (offset - factor * mean).astype(x.dtype), out)
        return out

    @njit
    def training(x, scale, offset, out):
        mean, square = sums(x) / (x.size // len(scale))
        variance = square - mean**2
        return inference(x, scale, offset, mean, variance, out), mean, variance

    return training, inference


def tensorflow_fused(k: Case, threads: int) -> Operations:
    """TensorFlow's fused operation, eager, results always new; float32 only; made for images, so a row is one pixel."""
    if k["x"].dtype != np.float32:
        return {}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    last, features = is_last(k), k["x"].shape[k["axis"]]
    x, dy = (tf.constant(k[n] if k[n].ndim == 4 else k[n].reshape(-1, 1, 1, features)) for n in ("x", "dy"))
    scale, offset, mean, variance = map(tf.constant, in_dtype(k, "scale", "offset", "mean", "variance"))
    none = tf.zeros(0)
    settings = {"epsilon": EPSILON, "data_format": "NHWC" if last else "NCHW"}
    fused, backward = tf.raw_ops.FusedBatchNormV3, tf.raw_ops.FusedBatchNormGradV3
    given = {"x": x, "scale": scale, "offset": offset, **settings}
    saved = {"reserve_space_1": mean, "reserve_space_2": variance, "reserve_space_3": none}
    return {
        "training": lambda: fused(mean=none, variance=none, is_training=True, **given),
        "gradient": lambda: backward(y_backprop=dy, x=x, scale=scale, is_training=True, **saved, **settings),
        "inference": lambda: fused(mean=mean, variance=variance, is_training=False, **given),
    }


PEERS = {  # the function, and the modules that it imports
    "torch": (pytorch, ("torch",)),
    "jax": (jax_jitted, ("jax", "jaxlib")),
    "onnxruntime": (onnx_runtime, ("onnxruntime", "onnx")),
    "numba": (numba_loops, ("numba",)),
    "tensorflow": (tensorflow_fused, ("tensorflow",)),
}


def missing(name: str) -> list[str]:
    """The modules of a peer that are not installed here."""
    return [module for module in PEERS[name][1] if find_spec(module) is None]


def version(name: str) -> str:
    """Of an installed peer, without importing it."""
    return metadata.version(metadata.packages_distributions()[name][0])


def check(name: str, result: Any, expected: tuple[np.ndarray, ...], count: int) -> None:
    """AssertionError if a result, as native arrays, is not the expected one; `count` is the elements of a feature.

    What stands in memory is compared: a result in another layout than its input would be work left to someone else.
    Results beyond the expected ones are not compared: libraries differ in which statistics they return.
    """
    results = result if isinstance(result, tuple | list) else (result,)
    if len(results) < len(expected):
        raise AssertionError(f"{name}: {len(results)} results, not {len(expected)}")
    for got, exact in zip(results, expected, strict=False):
        size = np.abs(exact).max() if exact.ndim > 1 else count  # dscale and doffset sum `count` terms of size 1
        bound = BOUND * np.sqrt(count) * np.finfo(exact.dtype).eps * size
        in_memory = np.asarray(got).ravel("K")
        if in_memory.shape != (exact.size,):
            raise AssertionError(f"{name}: {in_memory.size} elements, not {exact.size}")
        error = np.abs(in_memory.astype(np.float64) - exact.ravel()).max()
        if not error <= bound:  # a NaN is wrong
            raise AssertionError(f"{name}: off by {error:.3g}, more than {bound:.3g} that rounding explains")
