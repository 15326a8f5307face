"""PyTorch as one more opinion, where it is installed: float64, both sides right to some units of 2.2e-16."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arrays, checks

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")

# PyTorch's channels stand on axis 1.  n is 2 at least: it refuses one value per channel in training.
SHAPES = [(2, 3), (5, 33), (31, 1), (2, 3, 4), (2, 3, 4, 5), (3, 2, 2, 3, 2)]
# Mean 12 deviations away: x - mean is right to 12 * 2.2e-16, sums of up to 100 terms to 100 times that, and PyTorch
# folds y to a * x + b.
BOUND = 1e-12


def problem(rng, shape):
    x = arrays.sample(rng, shape, np.float64, 1)
    scale, offset = arrays.parameters(rng, shape, 1, np.float64)
    return x, scale, offset, rng.standard_normal(shape)


def torch_results(x, scale, offset, dy, *, epsilon, statistics=None):
    """y, dx, dscale and doffset; running statistics are given for evaluation and absent in training."""
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, scale, offset)]
    running = (None, None) if statistics is None else tuple(map(torch.tensor, statistics))
    values, gamma, beta = leaves
    y = torch.nn.functional.batch_norm(values, *running, gamma, beta, training=statistics is None, eps=epsilon)
    y.backward(torch.tensor(dy))
    return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-3, 0.3])
def test_training(kernels, rng, shape, epsilon):
    x, scale, offset, dy = problem(rng, shape)
    options = {"feature_axis": 1, "epsilon": epsilon}
    y, mean, variance = kernels.batch_norm_training(x, scale, offset, **options)
    got = [y, *kernels.batch_norm_gradient(x, scale, mean, variance, dy, **options)]
    compare(got, torch_results(x, scale, offset, dy, epsilon=epsilon), variance + epsilon)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inference(kernels, rng, shape):
    x, scale, offset, dy = problem(rng, shape)
    statistics = rng.normal(12, 1, scale.shape), rng.uniform(0.5, 2, scale.shape)
    options = {"feature_axis": 1, "epsilon": 1e-3}
    y = kernels.batch_norm_inference(x, scale, offset, *statistics, **options)
    got = [y, *kernels.batch_norm_inference_gradient(x, scale, *statistics, dy, **options)]
    compare(got, torch_results(x, scale, offset, dy, epsilon=1e-3, statistics=statistics), statistics[1])


def compare(got, expected, under):
    """A rounding of x grows by 1 / deviation in x-hat, and once more in dx."""
    gain = 1 + 1 / under.min()
    for name, a, b in zip(("y", "dx", "dscale", "doffset"), got, expected, strict=True):
        checks.assert_within(a, b, BOUND * gain * max(np.abs(b).max(), 1), name)


def test_channels_last_equals_channels_first(kernels, rng):
    """The same numbers by the other layout: PyTorch's for the transposed image."""
    x, scale, offset, dy = problem(rng, (2, 3, 4, 5))
    last, last_dy = (np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (x, dy))
    y, mean, variance = kernels.batch_norm_training(last, scale, offset)
    dx, dscale, doffset = kernels.batch_norm_gradient(last, scale, mean, variance, last_dy)
    got = [np.moveaxis(y, -1, 1), np.moveaxis(dx, -1, 1), dscale, doffset]
    compare(got, torch_results(x, scale, offset, dy, epsilon=1e-3), variance)
