"""A batch that is spread over workers gives what the whole batch gives: to the bounds of the operations themselves."""

from __future__ import annotations

import numpy as np
import pytest

import pybn
from pybn import Context, arguments, gradient
from pybn.distributed import Simulated, synchronized
from pybn.framework.graph import Node
from tests.distributed.spread import Spread
from tests.operations.test_cancelling import behind_its_own_forward_pass, families
from tests.support import arrays, checks

UNEVEN = (0.5, 0.3, 0.15, 0.05)
SHARES = {"halves": (0.5, 0.5), "uneven": UNEVEN, "one is empty": (0.6, 0.0, 0.4), "first is empty": (0.0, 1.0)}
CASES = [((64, 5), -1, 0), ((40, 3, 4), 1, 0), ((20, 3, 4), (0, 2), 1), ((2, 3, 20, 5), 1, 2), ((20, 6), 1, 0)]


@pytest.fixture(params=SHARES)
def shares(request):
    return SHARES[request.param]


def check(kernels, x, dy, scale=None, offset=None, **where):
    """float32 and narrower: the contract's own bounds, because the parts are pooled in float64.  float64: see below."""
    if x.dtype == np.float64:
        check_float64(kernels, x, dy, scale, offset, **where)
    else:
        _, *statistics = checks.check_training(kernels, x, scale, offset, **where)
        checks.check_gradient(kernels, x, dy, scale, statistics=statistics, **where)


def check_float64(kernels, x, dy, scale, offset, feature_axis=-1, mask=None, epsilon=1e-3):
    """What pooling costs where the pooled numbers are no wider than x.

    A merge rounds six times at the size of the variance, and takes the difference of two means that were rounded at
    their own size, so for each part: 8 units of variance + |mean| * deviation.  What follows from mean and variance is
    off by that, relatively, in y and dx; and as much again for the operation itself.
    """
    batch = arguments.batch(x, feature_axis, mask)
    real = np.ones([1] * x.ndim, bool) if batch.mask is None else batch.mask
    options = {"axis": batch.reduced_axes, "keepdims": True, "where": real}
    wide, upstream = x.astype(np.longdouble), dy.astype(np.longdouble)
    mean = wide.mean(**options)
    variance = ((wide - mean) ** 2).mean(**options)
    deviation = np.sqrt(variance)
    normalized = (wide - mean) / np.sqrt(variance + epsilon)
    gamma, beta = (np.reshape(each, mean.shape) if each is not None else None for each in (scale, offset))
    gamma, beta = 1 if gamma is None else gamma, 0 if beta is None else beta
    share = [
        np.where(real, each, 0).sum(axis=batch.reduced_axes, keepdims=True) / batch.count
        for each in (upstream, upstream * normalized)
    ]
    relative = 8 * len(kernels.fractions) * np.finfo(float).eps * (1 + abs(mean) / np.sqrt(variance + epsilon))

    y, got_mean, got_variance = kernels.batch_norm_training(
        x, scale, offset, feature_axis=feature_axis, mask=mask, epsilon=epsilon
    )
    checks.assert_within(got_mean.reshape(mean.shape), mean, relative * deviation + np.spacing(2 * abs(mean)), "mean")
    checks.assert_within(got_variance.reshape(mean.shape), variance, relative * variance, "variance")
    bound = 2 * relative * (abs(gamma) * np.maximum(abs(normalized), 1) + abs(beta))
    real = np.broadcast_to(real, x.shape)
    checks.assert_within(y[real], (gamma * normalized + beta)[real], bound[real], "y")
    checks.assert_same(y[~real], x[~real], "y under the mask")

    dx, dscale, doffset = kernels.batch_norm_gradient(
        x,
        scale,
        np.float64(mean.ravel().reshape(batch.feature_shape)),
        None,
        dy,
        feature_axis=feature_axis,
        mask=mask,
        epsilon=epsilon,
    )
    gain = gamma / np.sqrt(variance + epsilon)
    terms = gain * upstream, gain * share[0], gain * normalized * share[1]
    largest = np.maximum.reduce([np.where(real, abs(each), 0).max(batch.reduced_axes, keepdims=True) for each in terms])
    bound = np.broadcast_to(2 * relative * largest, x.shape)
    checks.assert_within(dx[real], (terms[0] - terms[1] - terms[2])[real], bound[real], "dx")
    checks.assert_same(dx[~real], dy[~real], "dx under the mask")
    for name, got, exact in (("doffset", doffset, share[0]), ("dscale", dscale, share[1])):
        if got is not None:
            size = np.sqrt((np.where(real, upstream * np.maximum(abs(normalized), 1), 0) ** 2).sum(**options))
            bound = relative * size * np.sqrt(batch.count)
            checks.assert_within(got.reshape(mean.shape), exact * batch.count, bound, name)


@pytest.mark.parametrize("dtype", arrays.NAMES)
@pytest.mark.parametrize(("shape", "feature_axis", "axis"), CASES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_equal_to_the_whole_batch(implementation, rng, shares, shape, feature_axis, axis, dtype, masked):
    x = arrays.sample(rng, shape, dtype, feature_axis)
    scale, offset = arrays.parameters(rng, shape, feature_axis, dtype)
    where = {"feature_axis": feature_axis}
    if masked:
        where["mask"] = arrays.masks(rng, shape, feature_axis)["rank of x"]
    kernels = Spread(implementation, shares, axis)
    check(kernels, x, rng.standard_normal(shape).astype(dtype), scale, offset, **where)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wholly_masked_part(implementation, rng, dtype):
    x = arrays.sample(rng, (60, 4), dtype)
    mask = np.arange(60) >= 30
    x[~mask] = np.nan  # padding may be anything
    check(Spread(implementation, (0.5, 0.25, 0.25)), x, rng.standard_normal(x.shape).astype(dtype), mask=mask)


def test_without_scale_and_offset(implementation, rng):
    x = arrays.sample(rng, (30, 4), np.float32)
    checks.check_training(Spread(implementation, UNEVEN), x)


@pytest.mark.parametrize("dy_of", ["y", "nearly constant"])
def test_gradients_that_cancel(implementation, rng, dy_of):
    """The terms of dx cancel over the whole batch, which no worker sees alone."""
    x = arrays.sample(rng, (400, 5), np.float32)
    dy = (100 + rng.standard_normal(x.shape)).astype(np.float32)
    if dy_of == "y":
        dy = pybn.reference.batch_norm_training(x, None, None)[0]
    kernels = Spread(implementation, UNEVEN)
    _, *statistics = kernels.batch_norm_training(x, None, None)  # the gradient is exact for these, rounded as they are
    checks.check_gradient(kernels, x, dy, statistics=statistics)


@pytest.mark.parametrize("name", ["y", "y, mean 100", "constant", "100 + noise", "an outlier in x"])
def test_gradients_that_cancel_behind_their_own_forward_pass(implementation, rng, name):
    """The statistics are the workers' own, merged: what rounding took from them would be 3e-3 of dx."""
    for rows in (9, 16, 100, 400):
        x, dy = (each.astype(np.float32) for each in families(rng, rows, 7)[name])
        scale = rng.uniform(0.5, 2, 7).astype(np.float32)
        behind_its_own_forward_pass(Spread(implementation, UNEVEN), x, dy, scale, {"feature_axis": -1})


def test_parts_far_from_each_other(implementation, rng):
    """Each worker's classes are others: means 1000 deviations apart."""
    x = np.concatenate([rng.normal(1000 * part, 1, (25, 3)) for part in range(4)]).astype(np.float32)
    checks.check_training(Spread(implementation, (0.25,) * 4), x)


def on_workers(size, build, training=True):
    """What `build(ctx, part, comm)` gives on each worker."""

    def work(comm):
        ctx = Context(0)
        with ctx.forward_pass(training=training), synchronized(ctx, comm):
            result = build(ctx, np.arange(6.0).reshape(3, 2) + comm.rank, comm)
            ctx.apply()
            return result, {v.path: v.value for v in ctx.variables()}

    return Simulated(size).run(work)


def test_evaluation_and_frozen_layers_exchange_nothing():
    class Deaf:
        rank, size = 0, 2

        def allgather(self, sendobj):
            raise AssertionError("nothing is to be exchanged")

    ctx, x = Context(0), np.ones((3, 2))
    with synchronized(ctx, Deaf()):
        with ctx.forward_pass():
            pybn.batch_norm(ctx, x)
        with ctx.forward_pass(training=True):
            pybn.batch_norm(ctx, x, frozen_averages=True)
        with ctx.forward_pass(training=True):
            pybn.batch_norm(ctx, x, trainable=False)
        with ctx.forward_pass(training=True), pytest.raises(AssertionError, match="nothing is to be"):
            pybn.batch_norm(ctx, x)


def test_nothing_on_any_worker_is_an_error():
    with pytest.raises(ValueError, match="got none on any of 3 workers"):
        on_workers(3, lambda ctx, part, comm: pybn.batch_norm(ctx, part[:0]))


def test_one_element_in_all_warns_once_a_worker():
    with pytest.warns(pybn.SmallBatchWarning) as warned:
        on_workers(2, lambda ctx, part, comm: pybn.batch_norm(ctx, part[: 1 - comm.rank]))
    assert len(warned) == 2


def test_one_element_on_each_does_not_warn():
    y = on_workers(2, lambda ctx, part, comm: pybn.batch_norm(ctx, part[:1], epsilon=0.0).value)
    np.testing.assert_array_equal([part for part, _ in y], [[[-1, -1]], [[1, 1]]])


def test_a_layer_that_is_used_twice_moves_once():
    def twice(ctx, part, comm):
        pybn.batch_norm(ctx, part, momentum=0.5)
        return pybn.batch_norm(ctx.reuse(), part + 10, momentum=0.5).value

    (_, first), (_, second) = on_workers(2, twice)
    assert first["/batch_normalization/avg_weight"] == 1
    np.testing.assert_array_equal(first["/batch_normalization/mean"], [7.5, 8.5])  # of 0, 2, 4, 1, 3, 5 and 10 more
    np.testing.assert_array_equal(second["/batch_normalization/mean"], [7.5, 8.5])


def test_a_gradient_of_a_gradient_is_refused():
    def twice(ctx, part, comm):
        x = Node(part)
        (dx,) = gradient(pybn.batch_norm(ctx, x, scale=False, center=False), [x], part**2)
        gradient(dx, [x], part)

    with pytest.raises(NotImplementedError, match="over several workers has no gradient of its own"):
        on_workers(2, twice)


@pytest.mark.parametrize(
    ("mine", "told"),
    [
        ({"epsilon": 0.1}, "epsilon 0.1"),
        ({"momentum": 0.5}, "momentum 0.5"),
        ({"scale": False}, "learns offset"),
        ({"center": False}, "learns scale"),
        ({"feature_axis": 0}, "feature_axis 0"),
        ({"current_scope": True}, "the layer / "),
    ],
    ids=str,
)
def test_layers_that_differ_are_named_on_all(mine, told):
    """The error comes before anything waits, and says both sides."""
    seen = []

    def differing(ctx, part, comm):
        try:
            pybn.batch_norm(ctx, part, **(mine if comm.rank == 1 else {}))
        except pybn.distributed.WorkersDifferError as error:
            seen.append(str(error))
            raise

    with pytest.raises(pybn.distributed.WorkersDifferError, match=r"rank 0 is at .*, rank 1 at"):
        on_workers(3, differing)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert told in seen[0]
    assert "/batch_normalization" in seen[0]


def test_ghost_batches_are_the_opposite_and_refused():
    with pytest.raises(ValueError, match=r"ghost_batch\(2\) normalizes parts on their own"):
        on_workers(2, lambda ctx, part, comm: pybn.batch_norm(ctx, part, ghost_batch=2))
