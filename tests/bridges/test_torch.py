"""The bridge to PyTorch, held against PyTorch's own layers in float64 and against its numerical derivatives."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest

import pybn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")

from pybn.bridges import tensors  # noqa: E402  # needs PyTorch
from pybn.bridges import torch as bridge  # noqa: E402  # needs PyTorch
from tests.support import arrays  # noqa: E402

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = {1: [(2, 3), (31, 5), (2, 3, 4)], 2: [(2, 3, 4, 5), (3, 1, 1, 1)], 3: [(2, 3, 2, 3, 2)]}
CASES = [(rank, shape) for rank, shapes in SHAPES.items() for shape in shapes]
OPTIONS = [
    {},
    {"momentum": None},
    {"momentum": 0.0},
    {"eps": 0.3, "momentum": 0.7},
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
]
BFLOAT16 = pytest.param(torch.bfloat16, marks=arrays.WITHOUT)
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20150211)


def pair(rank, channels, generator, dtype=torch.float64, **options):
    """Our layer and PyTorch's in one state, which no two numbers of are alike."""
    theirs = getattr(torch.nn, f"BatchNorm{rank}d")(channels, dtype=dtype, **options)
    with torch.no_grad():
        for name, values in [*theirs.named_parameters(), *theirs.named_buffers()]:
            if name != "num_batches_tracked":
                values.copy_(torch.rand(values.shape, generator=generator, dtype=dtype) + 0.5)
    ours = getattr(bridge, f"BatchNorm{rank}d")(channels, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def sample(shape, generator, dtype=torch.float64):
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 3).to(dtype)


def results(layer, x, dy):
    """y, the gradients, and the buffers afterwards, by name."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(dy)
    named = {"y": y.detach(), "dx": x.grad}
    named |= {f"d{name}": each.grad for name, each in layer.named_parameters()}
    return named | {name: each.clone() for name, each in layer.named_buffers()}


def assert_same(got, expected, relative):
    assert list(got) == list(expected)
    for name in expected:
        assert got[name].dtype == expected[name].dtype, name
        # Of the largest: rounding of a sum grows with its terms, and x - mean with x.
        bound = relative * max(1.0, float(expected[name].abs().max()))
        assert float((got[name].double() - expected[name].double()).abs().max()) <= bound, name


# Mean 1.5 and its square against deviations down to .03 (two rows): x-hat and dx lose up to a factor of 1e3.
FLOAT64 = 1e-11


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("rank", "shape"), CASES, ids=str)
def test_values_gradients_and_running_statistics_are_pytorchs(rank, shape, options, training, generator):
    ours, theirs = (layer.train(training) for layer in pair(rank, shape[1], generator, **options))
    for _ in range(3):  # the running statistics move on
        x, dy = sample(shape, generator), torch.randn(shape, generator=generator, dtype=torch.float64)
        assert_same(results(ours, x, dy), results(theirs, x, dy), FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float16, BFLOAT16, torch.float32], ids=str)
def test_narrow_types_are_nearer_to_the_truth_than_their_last_place(dtype, generator):
    ours, theirs = pair(2, 3, generator)
    x, dy = sample((4, 3, 5, 5), generator, dtype), sample((4, 3, 5, 5), generator, dtype)
    exact = results(theirs, x.double(), dy.double())
    got = results(ours.float(), x, dy)
    assert got["y"].dtype == got["dx"].dtype == dtype
    assert got["dweight"].dtype == torch.float32
    for name, values in exact.items():
        if name != "num_batches_tracked":
            bound = 4 * torch.finfo(got[name].dtype).eps * max(1.0, float(values.abs().max()))
            assert float((got[name].double() - values).abs().max()) <= bound, name


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (4, 3, 2, 2)], ids=str)
def test_first_and_second_derivatives_are_those_of_differences(shape, training, affine, generator):
    channels = shape[1]
    given = [sample(shape, generator).requires_grad_()]
    if affine:
        given += [sample((channels,), generator).requires_grad_() for _ in range(2)]
    statistics = sample((channels,), generator), sample((channels,), generator) ** 2 + 0.1

    def function(x, weight=None, bias=None):
        return bridge.batch_norm(x, *(each.clone() for each in statistics), weight, bias, training=training, eps=0.1)

    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given)


@pytest.mark.parametrize("training", [True, False])
def test_the_third_derivative_is_that_of_the_formula_written_out(training, generator):
    """The loss makes dy depend on x: each share of it must be counted once."""
    x, weight = sample((5, 2), generator).requires_grad_(), sample((2,), generator).requires_grad_()
    mean, variance = sample((2,), generator), sample((2,), generator) ** 2

    def written_out(x, weight):
        over = (x.mean(0), x.var(0, unbiased=False)) if training else (mean, variance)
        return (x - over[0]) / (over[1] + 0.1).sqrt() * weight

    def third(function):
        value = (function(x, weight) ** 3).sum()
        for _ in range(3):
            found = torch.autograd.grad(value, (x, weight), create_graph=True)
            value = sum((each**2).sum() for each in found)
        return found

    ours = third(lambda x, weight: bridge.batch_norm(x, mean, variance, weight, None, training, 0.0, 0.1))
    for got, expected in zip(ours, third(written_out), strict=True):
        # Three derivatives, each of a square: the numbers grow to 1e10, and with them what is rounded.
        assert float((got - expected).detach().abs().max() / expected.detach().abs().max()) < 1e-10


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 5, 3, 2, 4)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_is_read_and_written_as_it_lies(shape, training, generator, monkeypatch):
    """The implementation gets x's own memory, features last, and the results lie as x does."""
    rank = len(shape) - 2
    ours, theirs = (layer.train(training) for layer in pair(rank, shape[1], generator))
    x = sample(shape, generator).to(memory_format=FORMATS[len(shape)])
    dy = sample(shape, generator)  # of the other layout
    kernels, seen = pybn.backend.active(), []
    name = "batch_norm_training" if training else "batch_norm_inference"
    operation = getattr(kernels, name)

    def spied(array, *arguments, **options):
        seen.append((array.flags.c_contiguous, np.shares_memory(array, x.numpy()), options["feature_axis"]))
        return operation(array, *arguments, **options)

    monkeypatch.setattr(kernels, name, spied)
    y = ours(x)
    assert seen == [(True, True, -1)]
    assert y.is_contiguous(memory_format=FORMATS[len(shape)])
    monkeypatch.undo()
    ours.load_state_dict(theirs.state_dict())
    got = results(ours, x, dy)
    assert got["dx"].is_contiguous(memory_format=FORMATS[len(shape)])
    assert_same(got, results(theirs, x, dy), FLOAT64)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::2],
        lambda x: x[:, 1:3],
        lambda x: x.transpose(2, 3),
        lambda x: x.transpose(0, 1),
        lambda x: x[:1].expand(4, -1, -1, -1),
    ],
    ids=["every other row", "two channels", "transposed pixels", "transposed batch", "one row four times"],
)
def test_any_strides(view, generator):
    x = view(sample((4, 4, 4, 3), generator))
    dy = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    ours, theirs = pair(2, x.shape[1], generator)
    assert_same(results(ours, x, dy), results(theirs, x.contiguous(), dy), FLOAT64)


def test_an_empty_batch_comes_back_and_moves_nothing(generator):
    ours, _ = pair(2, 3, generator)
    x = torch.zeros(0, 3, 2, 2, dtype=torch.float64)
    before = {name: each.clone() for name, each in ours.state_dict().items()}
    got = results(ours, x, x)
    assert got["y"].shape == got["dx"].shape == x.shape
    assert float(got["dweight"].abs().max()) == float(got["dbias"].abs().max()) == 0
    before["num_batches_tracked"] += 1
    assert all(torch.equal(each, before[name]) for name, each in ours.state_dict().items())


# --- the books: state_dict, copies, optimizers -------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_state_goes_both_ways(rank, generator):
    ours, theirs = pair(rank, 3, generator)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fresh = getattr(torch.nn, f"BatchNorm{rank}d")(3, dtype=torch.float64)
    fresh.load_state_dict(ours.state_dict())
    assert isinstance(ours, type(fresh))
    assert repr(ours) == repr(fresh)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(twin) is type(ours)
        assert all(torch.equal(each, fresh.state_dict()[name]) for name, each in twin.state_dict().items())


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 6),
        torch.nn.BatchNorm1d(6),
    ).double()


def test_a_converted_network_trains_as_it_did(generator):
    """Twenty steps of an optimizer that was made before the conversion."""
    theirs = network()
    ours = copy.deepcopy(theirs)
    trained = []
    for model in (ours, theirs):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if model is ours:
            assert bridge.convert(model) is model
        batches = torch.Generator().manual_seed(1)
        for _ in range(20):
            x = torch.randn((8, 1, 4, 4), generator=batches, dtype=torch.float64)
            target = torch.randint(6, (8,), generator=batches)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()
        trained.append(model.state_dict())
    assert [type(each) for each in ours if "norm" in type(each).__name__.lower()] == [
        bridge.BatchNorm2d,
        bridge.BatchNorm1d,
    ]
    for name, expected in trained[1].items():
        # Twenty steps carry a rounding on; 1e-16 grows to 1e-13 here.
        assert float((trained[0][name] - expected).abs().max()) < 1e-9, name


def test_a_subclass_of_pytorchs_layer_is_left_alone():
    class Own(torch.nn.BatchNorm1d):
        """Somebody's own."""

    assert type(bridge.convert(Own(3))) is Own
    synced = bridge.convert(torch.nn.SyncBatchNorm(3))
    assert type(synced) is torch.nn.SyncBatchNorm


def test_the_gradient_uses_the_implementation_of_its_forward_pass(generator, monkeypatch):
    x = sample((4, 3), generator).requires_grad_()
    y = bridge.batch_norm(x, None, None, training=True)
    used = pybn.backend.active()
    asked = []
    original = used.batch_norm_gradient
    monkeypatch.setattr(used, "batch_norm_gradient", lambda *a, **k: asked.append(1) or original(*a, **k))
    with pybn.use_backend("reference"):
        y.sum().backward()
    assert asked == [1]


def test_moved_statistics_are_not_differentiated_with(generator):
    """Evaluation, then training on the same layer, then backward through the evaluation."""
    layer, _ = pair(1, 3, generator)
    x = sample((4, 3), generator).requires_grad_()
    y = layer.eval()(x)
    layer.train()(x.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# --- what is refused ---------------------------------------------------------------------------

ROWS = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: bridge.batch_norm(ROWS, None, None), ValueError, "must be given where training is False"),
        (lambda: bridge.batch_norm(ROWS.numpy(), None, None, training=True), TypeError, "must be a torch.Tensor"),
        (lambda: bridge.batch_norm(ROWS.cfloat(), None, None, training=True), TypeError, "torch.complex64; convert"),
        (lambda: bridge.batch_norm(ROWS.int(), None, None, training=True), TypeError, "torch.int32"),
        (lambda: bridge.batch_norm(ROWS.to("meta"), None, None, training=True), ValueError, "on the CPU"),
        (lambda: bridge.batch_norm(ROWS.to_sparse(), None, None, training=True), ValueError, "dense tensor"),
        (lambda: bridge.batch_norm(ROWS[0], None, None, training=True), ValueError, r"rank 2 or more.*\(3,\)"),
        (lambda: bridge.batch_norm(ROWS, None, None, ROWS[0, :2], training=True), ValueError, r"weight.*3 features"),
        (lambda: bridge.batch_norm(ROWS, ROWS[0], ROWS[:, 0], training=True), ValueError, r"running_var.*\(4,\)"),
        (lambda: bridge.batch_norm(ROWS[:1], None, None, training=True), ValueError, r"2 or more elements.*\(1, 3\)"),
        (lambda: bridge.batch_norm(ROWS, None, None, training=True, eps=-1.0), ValueError, "not negative.*-1.0"),
        (lambda: bridge.BatchNorm1d(3)(torch.zeros(2, 3, 4, 4)), ValueError, "BatchNorm1d takes input of rank 2 or 3"),
        (lambda: bridge.BatchNorm2d(3)(ROWS), ValueError, r"rank 4, got shape \(4, 3\)"),
        (lambda: bridge.BatchNorm3d(3)(ROWS), ValueError, "rank 5"),
    ],
)
def test_errors_say_the_rule_and_the_value(call, error, words):
    with pytest.raises(error, match=words):
        call()


@arrays.WITHOUT
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 5)], ids=str)
def test_bfloat16_is_handed_over_without_a_copy(shape, generator):
    """Parameters and running statistics of that type too; channels-last as it lies."""
    ours, theirs = pair(1 if len(shape) == 2 else 2, 3, generator)
    ours, theirs = ours.bfloat16(), theirs.bfloat16().double()
    x, dy = sample(shape, generator, torch.bfloat16), sample(shape, generator, torch.bfloat16)
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    array = tensors.array(x)
    assert array.ctypes.data == x.data_ptr()
    assert tensors.tensor(array).data_ptr() == x.data_ptr()
    exact = results(theirs, x.double(), dy.double())
    got = results(ours, x, dy)
    assert {got[name].dtype for name in ("y", "dx", "dweight", "running_mean")} == {torch.bfloat16}
    for name, values in exact.items():
        if name != "num_batches_tracked":
            bound = torch.finfo(torch.bfloat16).eps * max(1.0, float(values.abs().max()))
            assert float((got[name].double() - values).abs().max()) <= bound, name


def test_bfloat16_without_ml_dtypes_says_what_to_install(monkeypatch, generator):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    layer, _ = pair(1, 3, generator)
    before = {name: each.clone() for name, each in layer.state_dict().items()}
    with pytest.raises(ModuleNotFoundError, match="pip install ml_dtypes"):
        layer(sample((4, 3), generator, torch.bfloat16))
    assert all(torch.equal(each, before[name]) for name, each in layer.state_dict().items())


def test_after_an_error_nothing_has_moved(generator):
    layer, _ = pair(1, 3, generator)
    before = {name: each.clone() for name, each in layer.state_dict().items()}
    for wrong in (torch.zeros(1, 3).double(), torch.zeros(4, 2).double(), torch.zeros(4, 3, 2).int()):
        with pytest.raises((ValueError, TypeError)):
            layer(wrong)
    assert all(torch.equal(each, before[name]) for name, each in layer.state_dict().items())
