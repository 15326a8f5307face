"""One element per feature in training: defined, and warned of once for each layer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pybn import (
    Context,
    Node,
    SmallBatchWarning,
    batchnorm,
    gradient,
)
from tests.support.networks import in_training

pytestmark = pytest.mark.usefixtures("backend")


def test_small_batch_warns_once_a_layer():
    """One element per feature: y is the offset, the average is that element, and one warning for each layer."""
    ctx = Context()
    x = np.array([[5.0, 7.0]])

    def one_step():
        with ctx.forward_pass(training=True):
            for name in ("one", "other"):
                y = batchnorm.new(ctx.in_scope(name), x).done()
            ctx.apply()
        return y

    with pytest.warns(SmallBatchWarning) as caught:
        one_step()
    y = one_step()  # a second warning would be an error here
    assert [str(each.message).split(":")[0] for each in caught] == [
        f"batch normalization in /{name}/batch_normalization" for name in ("one", "other")
    ]
    assert all(each.filename == __file__ for each in caught)
    np.testing.assert_array_equal(y.value, [[0, 0]])
    np.testing.assert_array_equal(ctx.get_variable("/one/batch_normalization/mean").value, [5, 7])
    np.testing.assert_array_equal(ctx.get_variable("/one/batch_normalization/variance").value, [0, 0])


def test_small_batch_of_the_one_call_points_at_the_model():
    ctx = Context()
    with pytest.warns(SmallBatchWarning) as caught, ctx.forward_pass(training=True):
        batchnorm.batch_norm(ctx, np.array([[5.0]]))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3)], ids=str)
def test_no_small_batch(shape):
    """Two elements per feature are enough, also of one example."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_training(batchnorm, Context(), np.ones(shape))


def test_small_batch_where_it_does_not_matter():
    """Evaluation, frozen and not trainable layers take one element as it is."""
    ctx, x = Context(), np.ones((1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ctx.forward_pass():
            batchnorm.batch_norm(ctx, x)
        in_training(batchnorm, ctx, x, frozen_averages=True)
        in_training(batchnorm, ctx, x, trainable=False)


def test_small_batch_gradient_is_zero(rng):
    ctx = Context()
    x, dy = Node(rng.normal(size=(1, 3))), rng.normal(size=(1, 3))
    with ctx.forward_pass(training=True):
        with pytest.warns(SmallBatchWarning):
            y = batchnorm.batch_norm(ctx, x)
        nodes = [x, *(ctx.get_variable(f"/batch_normalization/{name}").node for name in ("scale", "offset"))]
        dx, dscale, doffset = gradient(y, nodes, dy)
    np.testing.assert_array_equal(dx.value, 0)
    np.testing.assert_array_equal(dscale.value, 0)
    np.testing.assert_array_equal(doffset.value, dy[0])
