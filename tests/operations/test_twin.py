"""The two implementations are twins: the same names, signatures, defaults, errors and results."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from pybn import reference
from tests.support import arrays, bad_arguments, checks
from tests.support.bad_arguments import MERGE_ROWS, MOMENTS, ROWS

OPERATIONS = [name for name in reference.__all__ if inspect.isfunction(getattr(reference, name))]


@pytest.fixture(scope="module")
def twin(compiled):
    """The compiled implementation: every test here holds it against the reference."""
    return compiled


def message_of(attempt):
    with pytest.raises((TypeError, ValueError)) as raised:
        attempt()
    return type(raised.value), str(raised.value)


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_signature(twin, name):
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (reference, twin))
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]


def test_contract_signatures():
    """What the contract prints, so that the twins cannot drift together."""
    written = {
        "moments": "(x, *, feature_axis=-1, mask=None)",
        "merge_moments": "(a, b)",
        "batch_norm_training": "(x, scale, offset, *, feature_axis=-1, epsilon=0.001, mask=None, out=None)",
        "batch_norm_gradient": "(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=0.001, mask=None, out=None)",
        "batch_norm_gradient_sums": "(x, mean, variance, dy, *, feature_axis=-1, epsilon=0.001, mask=None)",
        "batch_norm_gradient_from_sums": (
            "(x, scale, mean, variance, dy, sums, *, feature_axis=-1, epsilon=0.001, mask=None, out=None)"
        ),
        "batch_norm_inference": (
            "(x, scale, offset, mean, variance, *, feature_axis=-1, epsilon=0.001, mask=None, out=None)"
        ),
        "batch_norm_inference_gradient": (
            "(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=0.001, mask=None, out=None)"
        ),
    }
    assert {name: str(inspect.signature(getattr(reference, name))) for name in OPERATIONS} == written


def test_same_names(twin):
    for name in reference.__all__:
        assert hasattr(twin, name), name
    assert twin.Moments is reference.Moments
    assert twin.GradientSums is reference.GradientSums
    extras = set(twin.__all__) - set(reference.__all__)
    assert (
        {"build_info", "get_num_threads", "set_num_threads"}
        <= extras
        <= {
            "build_info",
            "get_num_threads",
            "set_num_threads",
            "clear_cache",
        }
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_documented(twin, name):
    assert inspect.getdoc(getattr(twin, name))


@pytest.mark.parametrize("row", list(ROWS))
def test_same_error(twin, row):
    operation, bad = ROWS[row]
    (_, ours), (_, theirs) = (bad_arguments.call(module, operation, bad.changes) for module in (reference, twin))
    assert message_of(ours) == message_of(theirs)


@pytest.mark.parametrize("row", list(MERGE_ROWS))
def test_same_error_merging(twin, row):
    value = MERGE_ROWS[row][0]
    for pair in ((value, MOMENTS), (MOMENTS, value)):
        assert message_of(lambda: reference.merge_moments(*pair)) == message_of(lambda: twin.merge_moments(*pair))  # noqa: B023


@pytest.mark.parametrize("operation", [name for name in bad_arguments.POSITIONAL if name != "moments"])
def test_two_wrong_arguments_are_told_in_one_order(twin, operation):
    """Of two mistakes the same one is named."""
    names = [name for name in (*bad_arguments.POSITIONAL[operation], "feature_axis", "epsilon", "mask")]
    names += [] if operation in bad_arguments.WITHOUT_OUT else ["out"]
    rows = {name: next(iter(bad_arguments.GROUPS[name].values())) for name in names}
    for first in names:
        for second in names:
            changes = {**rows[first].changes, **rows[second].changes}
            (_, ours), (_, theirs) = (bad_arguments.call(module, operation, changes) for module in (reference, twin))
            assert message_of(ours) == message_of(theirs), (first, second)


@pytest.mark.parametrize("layout", list(arrays.LAYOUTS))
@pytest.mark.parametrize("dtype", arrays.NAMES)
def test_same_results(twin, rng, layout, dtype):
    """Over all shapes, with and without a mask: both are within the bound of the truth, so within two of each other."""
    for shape, feature_axis in arrays.SHAPES:
        masks = arrays.masks(rng, shape, feature_axis)
        for mask in (None, masks["rank of the other axes"], masks["broadcast"]):
            compare(twin, rng, shape, feature_axis, dtype, mask, arrays.LAYOUTS[layout])


def compare(twin, rng, shape, feature_axis, dtype, mask, to_layout):
    x = arrays.sample(rng, shape, dtype, feature_axis)
    dy = to_layout(rng.standard_normal(shape).astype(dtype))
    scale, offset = arrays.parameters(rng, shape, feature_axis, dtype)
    where = {"feature_axis": feature_axis, "mask": mask}
    loss = checks.numpy_loss(reference, x, x.size)
    x = to_layout(x)

    def close(name, theirs, ours, size, units):
        checks.assert_array(theirs, ours.shape, ours.dtype, name)
        size = np.abs(size).max(initial=1)
        checks.assert_within(
            theirs, ours, 2 * units * checks.unit(size, dtype) + 20 * loss * size, f"{name} of {shape}"
        )

    y, mean, variance = reference.batch_norm_training(x, scale, offset, **where)
    other_y, other_mean, other_variance = twin.batch_norm_training(x, scale, offset, **where)
    close("mean", other_mean, mean, mean, 2)
    close("variance", other_variance, variance, variance, 4)
    close("y", other_y, y, y, 4)
    for operation in ("batch_norm_gradient", "batch_norm_inference_gradient"):
        ours = getattr(reference, operation)(x, scale, mean, variance, dy, **where)
        theirs = getattr(twin, operation)(x, scale, mean, variance, dy, **where)
        # A sum of n terms of size 4 at most; scale / deviation is below 2 / sqrt(epsilon) where n = 1.
        for name, a, b in zip(("dx", "dscale", "doffset"), theirs, ours, strict=True):
            close(name, a, b, np.append(np.abs(b).ravel(), 4 * np.sqrt(x.size)), 4)
    ours = reference.batch_norm_inference(x, scale, offset, mean, variance, **where)
    close("y", twin.batch_norm_inference(x, scale, offset, mean, variance, **where), ours, ours, 4)
