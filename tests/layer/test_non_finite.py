"""Statistics that are no finite numbers: the error says where, and nothing has changed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pybn import Context, InMemoryDataset, batchnorm
from tests.support.networks import at_root, examples, in_training, normalized_first, trained, unchanged

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_statistics(bn, value):
    """The error names the scope and the features; an infinite or NaN batch poisons nothing."""
    rng = np.random.default_rng(9)
    dataset = InMemoryDataset(*examples(rng), batch_size=6)
    subject = trained(normalized_first(bn), dataset)
    inputs, labels = next(iter(dataset))
    spoiled = inputs.copy()
    spoiled[1, 2] = spoiled[3, 0] = value
    with unchanged(subject.context), pytest.raises(bn.NonFiniteStatisticsError) as caught:
        subject.train_step(spoiled, labels)
    assert "/first/batch_normalization" in str(caught.value)
    assert "[0, 2]" in str(caught.value)


def test_pooled_to_infinity(bn):
    """Two batches, each finite, whose means are 1e200 apart: their pooled variance is not."""
    ctx = Context()
    in_training(bn, ctx, np.array([[1.0], [3.0]]))
    before = at_root(ctx)
    with ctx.forward_pass(training=True):
        bn.batch_norm(ctx.checked(False), np.array([[1e200], [1e200]]))
        with pytest.raises(bn.NonFiniteStatisticsError, match=r"/batch_normalization.*\[0\]"):
            bn.batch_norm(ctx.checked(False), np.array([[-1e200], [-1e200]]))
    assert at_root(ctx) == before


def test_non_finite_features_are_named_to_the_eighth():
    x = np.full((3, 12), np.nan)
    x[:, 5] = 1
    ctx = Context()
    with pytest.raises(batchnorm.NonFiniteStatisticsError) as caught:
        in_training(batchnorm, ctx, x)
    assert "features [0, 1, 2, 3, 4, 6, 7, 8] and 3 more" in str(caught.value)


def test_non_finite_features_of_two_axes():
    x = np.ones((3, 2, 4))
    x[1, 1, 2] = np.inf
    with pytest.raises(batchnorm.NonFiniteStatisticsError) as caught:
        in_training(batchnorm, Context(), x, feature_axis=(1, 2))
    assert "features [(1, 2)]" in str(caught.value)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -0.5, -1.0])
def test_a_weight_that_is_no_number_of_batches(bn, weight):
    """At -.5 the averages would be twice the batch's less the old ones; NaN would keep .99 of them for ever."""
    dataset = InMemoryDataset(*examples(np.random.default_rng(9)), batch_size=6)
    subject = trained(normalized_first(bn), dataset)
    variable = subject.context.get_variable("/first/batch_normalization/avg_weight")
    variable.value = weight
    batch = next(iter(dataset))
    text = "/first/batch_normalization/avg_weight must be a number of batches, .*reset_weights"
    with unchanged(subject.context), pytest.raises(ValueError, match=text):
        subject.train_step(*batch)
    bn.reset_weights(subject.context)
    subject.train_step(*batch)
    assert variable.value == 1


@pytest.mark.parametrize("mended_by", ["reset_weights", "update_averages"])
@pytest.mark.parametrize("name", ["mean", "variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_averages_that_no_batch_would_mend(bn, name, value, mended_by):
    """They stayed NaN for ever, step after step; now the step says so, and both ways out that it names are such."""
    dataset = InMemoryDataset(*examples(np.random.default_rng(9)), batch_size=6)
    batch = next(iter(dataset))
    subject = trained(normalized_first(bn), dataset)
    variable = subject.context.get_variable(f"/first/batch_normalization/{name}")
    variable.value = np.where(np.arange(variable.shape[0]) == 1, value, variable.value)
    text = r"in /first/batch_normalization: its averages are .* in features \[1\], .*reset_weights.*update_averages"
    with unchanged(subject.context), pytest.raises(bn.NonFiniteStatisticsError, match=text):
        subject.train_step(*batch)
    if mended_by == "reset_weights":
        bn.reset_weights(subject.context)
    else:
        bn.update_averages(subject, dataset)
    subject.train_step(*batch)
    assert np.isfinite(variable.value).all()


@pytest.mark.parametrize("frozen", [False, True])
def test_who_normalizes_with_averages_that_are_no_numbers_is_told_once(frozen):
    ctx, x = Context(), np.array([[1.0, 2.0], [3.0, 5.0]])
    in_training(batchnorm, ctx, x)
    ctx.get_variable("/batch_normalization/mean").value = [0.0, np.nan]

    def built():
        with ctx.forward_pass(training=frozen):
            return batchnorm.batch_norm(ctx, x, frozen_averages=frozen).value

    with pytest.warns(batchnorm.NonFiniteAveragesWarning, match=r"/batch_normalization .* features \[1\]") as caught:
        first, second = built(), built()
    assert [each.filename for each in caught] == [__file__]
    for y in (first, second):
        assert np.isnan(y).tolist() == [[False, True]] * 2


def test_large_averages_are_numbers():
    """The product of mean and variance, which is asked first, is infinite; they are not."""
    ctx, x = Context(), np.full((2, 1), 1e200)
    with warnings.catch_warnings():
        warnings.simplefilter("error", batchnorm.NonFiniteAveragesWarning)
        in_training(batchnorm, ctx, x)
        ctx.get_variable("/batch_normalization/variance").value = [1e200]
        in_training(batchnorm, ctx, x)
        with ctx.forward_pass():
            batchnorm.batch_norm(ctx, x)
    assert ctx.get_variable("/batch_normalization/mean").value == [1e200]
