"""Every way in which the compiled module divides its work, at sizes where it does: against the textbook in longdouble.

The shapes of the other tests are small.  These reach the rows that are glued, the tiles that are summed at once or in
blocks, the runs, the features in pieces, results that go past the caches, more than one thread, and the ends that are
left over of each: with masks, at odd addresses, and in place.
"""

import numpy as np
import pytest

import pybn_ext

EPSILON = 1e-5
FEW = 100  # elements of a feature below which the rounding of its statistics is felt in dx

# (shape, feature axis): which plan it reaches
SHAPES = {
    "rows, glued to whole vectors": ((3001, 100), 1),
    "rows, glued, three features": ((90_007, 3), 1),
    "rows, glued, one feature": ((270_011, 1), 1),
    "rows, glued, an odd length": ((8009, 37), 1),
    "rows, odd, not glued": ((611, 517), 1),
    "rows, odd, glued, the tables begin anew": ((811, 171), 1),
    "rows, whole cache lines": ((2053, 128), 1),
    "rows, few of many features": ((131, 4099), 1),
    "wide tiles": ((64, 5003), 1),
    "wide tiles, more rows than are summed at once": ((97, 4100), 1),
    "tiles of images": ((20, 95, 14, 13), 1),
    "tiles of small images, written run by run": ((9, 570, 7, 7), 1),
    "short runs of one image": ((1, 2311, 7, 7), 1),
    "short runs, several features at once": ((9, 210, 14, 13), 1),
    "short runs, more rows than are summed at once": ((15, 60, 11, 29), 1),
    "tiles of more images than are summed at once": ((71, 43, 11, 12), 1),
    "tiles of very small images": ((130, 301, 3, 3), 1),
    "short runs, whole cache lines": ((33, 301, 4, 4), 1),
    "runs": ((6, 20, 56, 57), 1),
    "runs, several features at once": ((2, 77, 29, 31), 1),
    "runs, one image": ((1, 67, 71, 73), 1),
    "features in pieces": ((3, 2, 307, 311), 1),
    "the first axis": ((5, 70_001), 0),
}
MASKS = ["none", "elements", "padding"]


def textbook(x, dy, scale, offset, mask, axis):
    """y, dx, dscale, doffset, mean and variance in longdouble; where masked, what came in."""
    bare_type = x.dtype
    x, dy = x.astype(np.longdouble), dy.astype(np.longdouble)
    others = tuple(i for i in range(x.ndim) if i != axis)
    along = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    real = np.ones([x.shape[i] for i in others], bool) if mask is None else mask
    real = np.expand_dims(real, axis)
    where = np.broadcast_to(real, x.shape)
    n = np.count_nonzero(real)
    safe = np.where(where, x, 0)
    mean = safe.sum(others, keepdims=True) / n
    d = np.where(where, x - mean, 0)
    variance = (d * d).sum(others, keepdims=True) / n
    inverse = 1 / np.sqrt(variance + EPSILON)
    gamma, beta = scale.astype(np.longdouble).reshape(along), offset.astype(np.longdouble).reshape(along)
    g = np.where(where, dy, 0)
    doffset = g.sum(others, keepdims=True)
    dscale = (g * d * inverse).sum(others, keepdims=True)
    dx = gamma * inverse * (g - doffset / n - d * inverse * dscale / n)
    largest_term = np.maximum(np.abs(g), np.maximum(np.abs(doffset / n), np.abs(d * inverse * dscale / n)))
    dx_or_term = dx if n >= FEW else gamma * inverse * largest_term
    return {
        "y": np.where(where, d * inverse * gamma + beta, x),
        "dx": np.where(where, dx, dy),
        "dscale": dscale.ravel(),
        "doffset": doffset.ravel(),
        "mean": mean.ravel(),
        "variance": variance.ravel(),
        "deviation": np.sqrt(variance).ravel(),
        # What the units are of: both terms of y are rounded, also where they cancel; a sum of many terms is known to
        # the norm of their roundings; and so is dx where so few elements make the sums that they count.
        "y size": np.where(where, np.maximum(np.abs(gamma) * np.maximum(np.abs(d * inverse), 1), np.abs(beta)), 1),
        "dscale size": np.sqrt(((g * d * inverse) ** 2).sum(others)).ravel(),
        "doffset size": np.sqrt((g * g).sum(others)).ravel(),
        "dx size": np.abs(np.where(where, dx_or_term, 0)).max(others, keepdims=True),
        "dx units": 4 if n < FEW or bare_type == np.float64 else 2,
    }


def at_an_odd_address(array, elements):
    """The same values, that many elements behind where an array would begin."""
    room = np.empty(array.size + elements, array.dtype)
    moved = room[elements:].reshape(array.shape)
    moved[...] = array
    return moved


def mask_of(kind, rng, shape, axis):
    others = [size for i, size in enumerate(shape) if i != axis]
    if kind == "none":
        return None
    if kind == "elements":
        return rng.random(others) < 0.7
    mask = np.ones(others, bool)  # padding: the end of each row of the last axis, of some rows all
    mask.reshape(-1)[mask.size * 2 // 3 :] = False
    mask.reshape(-1)[5::11] = False
    return mask


def close(got, exact, units, size, where):
    """Within `units` of the last place of `size`."""
    step = np.finfo(where).eps
    both_nan = np.isnan(got) & np.isnan(exact.astype(got.dtype))
    error = np.where(both_nan, 0, np.abs(got - exact)) / (step * size)
    assert error.max() <= units, f"{error.max():.3g} units at {np.unravel_index(error.argmax(), error.shape)}"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("plan", SHAPES)
def test_a_plan(plan, dtype, kind, rng):
    shape, axis = SHAPES[plan]
    mask = mask_of(kind, rng, shape, axis)
    offset_in_memory = int(rng.integers(0, 16))
    x = at_an_odd_address(rng.normal(3, 2, shape).astype(dtype), offset_in_memory)
    dy = at_an_odd_address(rng.normal(size=shape).astype(dtype), offset_in_memory // 2)
    scale, offset = rng.normal(size=(2, shape[axis])).astype(dtype)
    if mask is not None:
        hidden = np.broadcast_to(np.expand_dims(~mask, axis), shape)
        x[hidden] = np.nan
        dy[hidden] = 7
    exact = textbook(x, dy, scale, offset, mask, axis)
    keywords = {"feature_axis": axis, "epsilon": EPSILON, "mask": mask}

    out = at_an_odd_address(np.zeros(shape, dtype), offset_in_memory)
    y, mean, variance = pybn_ext.batch_norm_training(x, scale, offset, out=out, **keywords)
    assert y is out
    close(y, exact["y"], 4, np.maximum(exact["y size"], 1), dtype)
    close(mean, exact["mean"], 2, np.maximum(np.abs(exact["mean"]), exact["deviation"]), dtype)
    close(variance, exact["variance"], 4, exact["variance"], dtype)
    for alone, with_y in zip(pybn_ext.moments(x, feature_axis=axis, mask=mask)[1:], (mean, variance), strict=True):
        np.testing.assert_array_equal(alone, with_y)

    dx, dscale, doffset = pybn_ext.batch_norm_gradient(x, scale, mean, variance, dy, **keywords)
    where = np.ones(shape, bool) if mask is None else np.broadcast_to(np.expand_dims(mask, axis), shape)
    sums = pybn_ext.batch_norm_gradient_sums(x, mean, variance, dy, **keywords)
    from_sums = pybn_ext.batch_norm_gradient_from_sums(x, scale, mean, variance, dy, sums, **keywords)
    for got in (dx, from_sums):
        close(np.where(where, got, 0), np.where(where, exact["dx"], 0), exact["dx units"], exact["dx size"], dtype)
        np.testing.assert_array_equal(got[~where], dy[~where])
    close(dscale, exact["dscale"], 4, np.maximum(np.abs(exact["dscale"]), exact["dscale size"]), dtype)
    close(doffset, exact["doffset"], 4, np.maximum(np.abs(exact["doffset"]), exact["doffset size"]), dtype)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("plan", SHAPES)
def test_in_place(plan, kind, rng):
    """out=x gives the bits of a result of its own."""
    shape, axis = SHAPES[plan]
    mask = mask_of(kind, rng, shape, axis)
    features = shape[axis]
    mean, variance = rng.normal(size=features), rng.uniform(0.5, 2, features)
    for elements in (0, 3):
        x = at_an_odd_address(rng.normal(size=shape).astype(np.float32), elements)
        keywords = {"feature_axis": axis, "mask": mask}
        y = pybn_ext.batch_norm_inference(x, None, None, mean, variance, **keywords)
        assert pybn_ext.batch_norm_inference(x, None, None, mean, variance, out=x, **keywords) is x
        np.testing.assert_array_equal(x, y)


def test_a_mask_of_either_rank_and_every_layout_gives_the_same(rng):
    """What is recognised at once, and what goes through the checks in Python."""
    x = rng.normal(size=(40, 30, 130)).astype(np.float32)
    mask = rng.random((40, 30)) < 0.6
    wanted = pybn_ext.batch_norm_training(x, None, None, mask=mask)
    for same in (mask[..., None], np.asfortranarray(mask), np.repeat(mask, 2, axis=1)[:, ::2], mask.tolist()):
        for a, b in zip(wanted, pybn_ext.batch_norm_training(x, None, None, mask=same), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_mask_that_hides_all_is_refused_and_nothing_is_written(rng):
    x, out = rng.normal(size=(2, 300, 70)).astype(np.float32)
    before = out.copy()
    with pytest.raises(ValueError, match="at least one unmasked element"):
        pybn_ext.batch_norm_training(x, None, None, mask=np.zeros(300, bool), out=out)
    np.testing.assert_array_equal(out, before)


def test_out_may_not_be_the_mask(rng):
    memory = np.zeros(4 * 64 * 32, bool)
    x = rng.normal(size=(64, 32)).astype(np.float32)
    out = memory.view(np.float32).reshape(64, 32)
    mask = memory[:64]
    mask[:] = True
    with pytest.raises(ValueError, match="out"):
        pybn_ext.batch_norm_training(x, None, None, mask=mask, out=out)


@pytest.mark.parametrize("axes", [(1, 2), (2, 3), (-2, -1), (0, 1), (1, 2, 3), (2, 1), (1, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_several_feature_axes_are_one_longer_axis(axes, masked, rng):
    """Neighbours cost nothing extra, others a copy; the results are those of one axis in their place."""
    x = rng.normal(2, 3, (9, 5, 4, 7)).astype(np.float32)
    features = tuple(sorted(axis % 4 for axis in axes))
    others = tuple(axis for axis in range(4) if axis not in features)
    shape = tuple(x.shape[axis] for axis in features)
    mask = rng.random([x.shape[axis] for axis in others]) < 0.6 if masked else None
    scale, offset = rng.normal(size=(2, *shape)).astype(np.float32)
    y, mean, variance = pybn_ext.batch_norm_training(x, scale, offset, feature_axis=axes, mask=mask)
    flat = np.moveaxis(x, features, range(-len(features), 0)).reshape(-1, scale.size)
    rows = None if mask is None else mask.ravel()
    wanted = pybn_ext.batch_norm_training(flat, scale.ravel(), offset.ravel(), mask=rows)
    assert mean.shape == variance.shape == shape
    np.testing.assert_allclose(mean.ravel(), wanted[1], rtol=1e-6)
    np.testing.assert_allclose(variance.ravel(), wanted[2], rtol=1e-6)
    moved = np.moveaxis(y, features, range(-len(features), 0)).reshape(flat.shape)
    np.testing.assert_allclose(moved, wanted[0], rtol=0, atol=4 * np.finfo(np.float32).eps * np.abs(wanted[0]).max())


@pytest.mark.parametrize("shape", [(300_000, 16, 1), (1, 16, 300_000), (1, 2, 1_000_000)], ids=str)
def test_behind_an_outlier_nothing_is_lost_whichever_lane_it_is_in(shape, rng):
    """Each of its lane's additions rounds away a part of what follows; in float64 that part is kept to the end."""
    x = rng.standard_normal(shape)
    for c in range(shape[1]):
        x[:, c].reshape(-1)[c] = 1e6  # a view: one of the two axes has length 1
    exact = x.astype(np.longdouble)
    mean = exact.mean((0, 2))
    variance = ((exact - mean[:, None]) ** 2).mean((0, 2))
    found = pybn_ext.moments(x, feature_axis=1)
    assert (x == 1e6).sum() == shape[1]
    close(found.variance, variance, 2, variance, np.float64)
    close(found.mean, mean, 2, np.sqrt(variance), np.float64)
