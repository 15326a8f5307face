"""The samples that PyTorch tests its own batch norm with, given to the bridge.

They come with PyTorch (`torch.testing._internal`), and expecttest, which that imports, does not.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")
pytest.importorskip("expecttest", reason="PyTorch's own samples import expecttest, which is not installed")

from torch.testing._internal import common_methods_invocations, common_modules  # noqa: E402

from pybn.bridges import torch as bridge  # noqa: E402
from tests.support import arrays  # noqa: E402

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = (torch.float64, torch.float32, torch.float16, *([torch.bfloat16] if arrays.ml_dtypes else []))
LAYERS = {torch.nn.BatchNorm1d: bridge.BatchNorm1d, torch.nn.BatchNorm2d: bridge.BatchNorm2d}
LAYERS |= {torch.nn.BatchNorm3d: bridge.BatchNorm3d}


def seeded(samples):
    """What the generator function gives when it draws its numbers from one seed, as a list."""

    def drawn():
        with torch.random.fork_rng():
            torch.manual_seed(20150211)
            return list(samples())

    return drawn


@seeded
def module_samples():
    for info in common_modules.module_db:
        if info.module_cls in LAYERS:
            options = {"device": "cpu", "dtype": torch.float64, "requires_grad": True}
            for at, each in enumerate(info.module_inputs_func(info, training=True, **options)):
                yield pytest.param(info.module_cls, each, id=f"{info.name}-{at}-{each.desc}")


@seeded
def function_samples():
    info = next(each for each in common_methods_invocations.op_db if each.name == "nn.functional.batch_norm")
    for at, each in enumerate(info.sample_inputs("cpu", torch.float64, requires_grad=True)):
        yield pytest.param(each, id=f"{at}-{tuple(each.input.shape)}")


def tensors(values, dtype):
    """Copies of the tensors among `values`, in `dtype` and as leaves of a graph where they were."""
    return [
        each.detach().to(dtype, copy=True).requires_grad_(each.requires_grad) if torch.is_tensor(each) else each
        for each in values
    ]


def gradients(y, leaves, dy):
    wanted = [each for each in leaves if torch.is_tensor(each) and each.requires_grad]
    return torch.autograd.grad(y, wanted, dy.to(y.dtype)) if wanted else ()


def assert_near(got, exact):
    """Within PyTorch's own tolerances for the type; in 16 bits within 2 units in the last place of the largest."""
    exact = exact.detach()
    options = {}
    if got.dtype.itemsize == 2:
        largest = float(exact.abs().max()) if exact.numel() else 0.0
        options = {"rtol": 0.0, "atol": 2 * torch.finfo(got.dtype).eps * max(1.0, largest)}
    torch.testing.assert_close(got.detach(), exact.to(got.dtype), equal_nan=True, **options)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cls", "given"), module_samples())
def test_modules(cls, given, dtype, training):
    made, called = given.constructor_input, given.forward_input
    exact = cls(*made.args, **made.kwargs).double().train(training)
    ours = LAYERS[cls](*made.args, **made.kwargs).to(dtype).train(training)
    narrow = tensors(called.args, dtype)
    wide = tensors(narrow, torch.float64)
    y, expected = ours(*narrow), exact(*wide)
    assert y.dtype == dtype
    assert_near(y, expected)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    got = gradients(y, [*narrow, *ours.parameters()], dy)
    for one, other in zip(got, gradients(expected, [*wide, *exact.parameters()], dy), strict=True):
        assert_near(one, other)
    for name, values in exact.named_buffers():
        assert_near(ours.get_buffer(name), values)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("given", function_samples())
def test_function(given, dtype):
    narrow = tensors([given.input, *given.args], dtype)
    if narrow[0].ndim < 2:
        with pytest.raises(ValueError, match="rank 2 or more"):
            bridge.batch_norm(*narrow, **given.kwargs)
        return
    wide = tensors(narrow, torch.float64)
    y, expected = bridge.batch_norm(*narrow, **given.kwargs), torch.nn.functional.batch_norm(*wide, **given.kwargs)
    assert_near(y, expected)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    for one, other in zip(gradients(y, narrow, dy), gradients(expected, wide, dy), strict=True):
        assert_near(one, other)
    for one, other in zip(narrow[1:3], wide[1:3], strict=True):  # the running statistics
        if one is not None:
            assert_near(one, other)


@pytest.mark.parametrize("given", [each for each in function_samples() if each.values[0].input.ndim >= 2])
def test_derivatives_of_the_function(given):
    """gradcheck and gradgradcheck over PyTorch's samples, as PyTorch does it; those of rank 1 are refused, above."""
    running = given.args[:2]
    leaves = [each for each in (given.input, *given.args[2:]) if each is not None]

    def function(x, *parameters):
        kept = [None if each is None else each.clone() for each in running]
        return bridge.batch_norm(x, *kept, *parameters, **given.kwargs)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)
