"""Masks through the layer: padding counts in no average and no gradient, and passes through."""

from __future__ import annotations

import numpy as np
import pytest

from pybn import Context, Node, Trainer, batchnorm, gradient, layers, losses, ops, optimizers, update_averages
from tests.support.networks import assert_close, at_root, averages, in_training, trained, unchanged

pytestmark = pytest.mark.usefixtures("backend")

SHAPE = (4, 5, 3)


def padded(rng, padding=np.nan):
    """(x, mask, the real rows): sequences of 5, 3, 1 and 4 steps, padded."""
    x = rng.normal(2, 3, SHAPE)
    mask = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    x[~mask] = padding
    return x, mask, x[mask]


@pytest.mark.parametrize("padding", [0.0, 1e30, np.nan, np.inf])
def test_training(rng, padding):
    """Statistics of the real elements alone; the padding is there again in y."""
    x, mask, real = padded(rng, padding)
    ctx = Context()
    y = in_training(batchnorm, ctx, x, mask=mask).value
    assert_close(y[mask], (real - real.mean(0)) / np.sqrt(real.var(0) + 1e-3), "real elements")
    np.testing.assert_array_equal(y[~mask], x[~mask])
    assert_close(ctx.get_variable("/batch_normalization/mean").value, real.mean(0), "mean")
    assert_close(ctx.get_variable("/batch_normalization/variance").value, real.var(0), "variance")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("padding", [0.0, np.nan])
def test_evaluation(rng, fused, padding):
    x, mask, real = padded(rng, padding)
    ctx = Context()
    in_training(batchnorm, ctx, rng.normal(1, 2, (6, 3)))
    mean, variance = (ctx.get_variable(f"/batch_normalization/{name}").value for name in ("mean", "variance"))
    with ctx.forward_pass():
        y = batchnorm.new(ctx, x).use_backend_inference(fused).mask(mask).done().value
    assert_close(y[mask], (real - mean) / np.sqrt(variance + 1e-3), "real elements")
    np.testing.assert_array_equal(y[~mask], x[~mask])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 1), (1, 5), (1, 5, 1), (1, 1), (1, 1, 1)], ids=str)
def test_shapes(rng, shape):
    """The mask's own rank or x's, with ones that broadcast."""
    x, mask = rng.normal(size=SHAPE), rng.random(shape) < 0.6
    mask.flat[-1] = True
    whole = np.broadcast_to(mask if mask.ndim == 3 else mask[..., None], (4, 5, 1))[..., 0]
    ctx = Context()
    in_training(batchnorm, ctx, x, mask=mask)
    assert_close(ctx.get_variable("/batch_normalization/mean").value, x[whole].mean(0), "mean")


def test_two_feature_axes(rng):
    x, mask = rng.normal(size=(6, 2, 3)), np.array([True, False, True, True, False, True])
    ctx = Context()
    y = in_training(batchnorm, ctx, x, feature_axis=(1, 2), mask=mask).value
    assert_close(ctx.get_variable("/batch_normalization/mean").value, x[mask].mean(0), "mean")
    np.testing.assert_array_equal(y[~mask], x[~mask])


@pytest.mark.parametrize("mode", ["training", "fused", "composed"])
def test_gradient_passes_the_padding(rng, mode):
    """dx is dy under the mask; dscale and doffset are of the real elements, NaN padding or not."""
    x, mask, real = padded(rng)
    dy = rng.normal(size=SHAPE)
    ctx = Context()
    in_training(batchnorm, ctx, rng.normal(1, 2, (6, 3)))
    nodes = [Node(x)] + [ctx.get_variable(f"/batch_normalization/{name}").node for name in ("scale", "offset")]
    with ctx.forward_pass(training=mode == "training"):
        y = batchnorm.batch_norm(ctx, nodes[0], mask=mask, use_backend_inference=mode == "fused")
        dx, dscale, doffset = (each.value for each in gradient(y, nodes, dy))
    moving = [ctx.get_variable(f"/batch_normalization/{name}").value for name in ("mean", "variance")]
    mean, variance = (real.mean(0), real.var(0)) if mode == "training" else moving
    normalized, g = (real - mean) / np.sqrt(variance + 1e-3), dy[mask]
    np.testing.assert_array_equal(dx[~mask], dy[~mask])
    assert_close(doffset, g.sum(0), "doffset")
    assert_close(dscale, (g * normalized).sum(0), "dscale")
    centred = g - g.mean(0) - normalized * (g * normalized).mean(0) if mode == "training" else g
    assert_close(dx[mask], centred / np.sqrt(variance + 1e-3), "dx")


def test_off_again(rng):
    """mask(None) takes a mask back, its count of elements too."""
    x = rng.normal(size=(2, 3))
    with Context().forward_pass(training=True):
        one_left = batchnorm.new(Context(), x).mask(np.array([True, False]))
        assert_close(one_left.mask(None).done().value, batchnorm.new(Context(), x).done().value, "y")
    ctx = Context()
    with ctx.forward_pass(training=True):
        batchnorm.new(ctx, x).mask(np.array([True, False])).mask(None).done()  # no SmallBatchWarning: an error here


def test_one_element_left_warns(rng):
    ctx = Context()
    with ctx.forward_pass(training=True), pytest.warns(batchnorm.SmallBatchWarning):
        batchnorm.batch_norm(ctx, rng.normal(size=(2, 3)), mask=np.array([True, False]))


def test_pooled_by_real_elements(rng):
    """A layer used twice in a step, with masks of 3 and 1 elements: the counts weigh."""
    x, other = rng.normal(size=(2, 4, 2))
    ctx = Context()
    with ctx.forward_pass(training=True):
        batchnorm.batch_norm(ctx.checked(False), x, mask=np.array([True, True, False, True]))
        batchnorm.batch_norm(ctx.checked(False), other, mask=np.array([False, True, True, False]))
        ctx.apply()
    real = np.concatenate([x[[0, 1, 3]], other[[1, 2]]])
    assert_close(ctx.get_variable("/batch_normalization/mean").value, real.mean(0), "mean")
    assert_close(ctx.get_variable("/batch_normalization/variance").value, real.var(0), "variance")


# --- through the trainer: inputs are (x, mask) ---------------------------------------------------


def network(ctx, inputs):
    x, mask = inputs
    assert isinstance(mask, np.ndarray)
    assert mask.dtype == bool
    y = ops.relu(batchnorm.batch_norm(ctx.in_scope("first"), x, mask=mask))
    y = batchnorm.batch_norm(ctx.in_scope("second"), 2.0 * y, mask=mask)
    weight = Node((mask / mask.sum(1, keepdims=True))[:, :, None])
    return layers.dense(ctx.in_scope("out"), ops.sum(y * weight, axis=1), 2)


def batches(rng, padding=0.0):
    whole, mask, _ = padded(rng, padding)
    more, all_real = rng.normal(size=(2, 5, 3)), np.ones((2, 5), bool)
    return [((whole, mask), rng.normal(size=(4, 2))), ((more, all_real), rng.normal(size=(2, 2)))]


def test_trainer(rng):
    """What stands in the padding changes nothing: weights and averages to the bit."""
    results = []
    for padding in (0.0, 7.0):
        subject = trained(network, batches(np.random.default_rng(3), padding), epochs=3)
        results.append({variable.path: variable.value for variable in subject.context.variables()})
    for path, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][path], err_msg=path)
    subject = Trainer(Context(), network, losses.mean_squared_error, optimizers.SGD(0.1))
    (inputs, labels), _ = batches(rng)
    subject.train_step(inputs, labels)
    x, mask = inputs
    assert_close(averages(subject.context, "first")[0], x[mask].mean(0), "mean")


@pytest.mark.parametrize("method", ["exact", "one_pass", "two_phase"])
def test_update_averages(method):
    """Pooled over the real elements of all batches."""
    rng = np.random.default_rng(4)
    dataset = batches(rng)
    subject = trained(network, dataset)
    x = np.concatenate([x[mask] for (x, mask), _ in dataset])
    with unchanged(subject.context, "variables"):
        assert update_averages(subject, dataset, method=method) is True
    mean, variance, weight = averages(subject.context, "first")
    if method == "two_phase":
        parts = [x[mask] for (x, mask), _ in dataset]
        assert_close(mean, np.mean([part.mean(0) for part in parts], axis=0), "mean")
        return
    assert weight == 2
    assert_close(mean, x.mean(0), "mean")
    assert_close(variance, x.var(0), "variance")
    if method == "exact":
        scale, offset = (
            subject.context.get_variable(f"/first/batch_normalization/{n}").value for n in ("scale", "offset")
        )
        y = 2 * np.maximum((x - mean) / np.sqrt(variance + 1e-3) * scale + offset, 0)
        assert_close(averages(subject.context, "second")[0], y.mean(0), "mean of the second")
        assert_close(averages(subject.context, "second")[1], y.var(0), "variance of the second")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_a_mask_of_a_data_set_is_taken_as_it_comes(rng, dtype):
    """One of zeros and ones in floats reaches the model as a Node."""
    x, mask, real = padded(rng)
    trainer = Trainer(
        Context(),
        lambda ctx, inputs: batchnorm.batch_norm(ctx, inputs[0], mask=inputs[1]),
        lambda labels, y: ops.sum(ops.where(mask[..., None], y, 0.0)),
        optimizers.SGD(0.1),
    )
    trainer.train_step((x, mask.astype(dtype)), x)
    assert_close(at_root(trainer.context)[0], real.mean(0), "mean")
