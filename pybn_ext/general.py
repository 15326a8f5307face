"""Any input that is not the ordinary case of the compiled operations, brought into form, or refused in clear words.

`pybn.arguments` judges it, and what remains is an ordinary call on a view, or on one copy, of x.  Python, and not a
room of the compiled modules: what it does takes as long either way, and compiled it was a fifth of each module's C.
`compiled`, everywhere, is the module of the level that was asked; `compiled.compute` checks nothing any more.
"""

import math

import numpy as np

from pybn import arguments
from pybn.arguments import Moments


def _memory_order(batch):
    """The order of x's axes that makes its features adjacent, contiguous in memory where x is."""
    x, axes = batch.x, batch.axes
    stored = tuple(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))
    for order in (tuple(range(x.ndim)), stored):
        if x.transpose(order).flags.c_contiguous and _adjacent(order, axes):
            return order
    order = tuple(range(x.ndim))
    return order if _adjacent(order, axes) else batch.reduced_axes + axes


def _adjacent(order, axes):
    """Whether `axes` stand side by side, and in ascending order, in `order`."""
    first = order.index(axes[0])
    return order[first : first + len(axes)] == axes


class _Form:
    """One checked call brought into form: contiguous arrays (outer, features, inner), and the way back."""

    def __init__(self, compiled, batch, out, dy=None):
        self.compiled, self.batch, self.out = compiled, batch, out
        self.order = _memory_order(batch)
        first = self.order.index(batch.axes[0])
        sizes = [batch.x.shape[axis] for axis in self.order]
        features = sizes[first : first + len(batch.axes)]
        self.view = (math.prod(sizes[:first]), math.prod(features), math.prod(sizes[first + len(features) :]))
        self.x = self._ordinary(batch.x)
        self.dy = None if dy is None else self._ordinary(dy)
        self.keep = self._keep()
        self.target = self._target()

    def _ordinary(self, array):
        """`array` as (outer, features, inner): a view where it can be, else one copy."""
        ordered = array.transpose(self.order)
        if ordered.flags.c_contiguous and ordered.flags.aligned:
            return ordered.reshape(self.view)
        copy = self.compiled.new_like(np.broadcast_to(np.empty((), array.dtype), ordered.shape))
        np.copyto(copy, ordered)
        return copy.reshape(self.view)

    def _keep(self):
        """The mask as (outer, inner) bytes, or None where nothing is masked."""
        batch = self.batch
        if batch.mask is None or batch.count * self.view[1] == batch.x.size:
            return None
        sizes = tuple(1 if axis in batch.axes else size for axis, size in enumerate(batch.x.shape))
        spread = np.broadcast_to(batch.mask, sizes).transpose(self.order)
        return np.ascontiguousarray(spread.reshape(self.view[0], self.view[2])).view(np.uint8)

    def _target(self):
        """Where the result is computed: `out`, or over a copy that was made, or fresh memory."""
        if self.out is not None:
            ordered = self.out.transpose(self.order)
            if ordered.flags.c_contiguous and ordered.flags.aligned:
                return ordered.reshape(self.view)
        if self.dy is None and not np.may_share_memory(self.x, self.batch.x):
            return self.x
        return self.compiled.new_like(self.x)

    def compute(
        self, operation, epsilon, *, mean, variance, scale=None, offset=None, dscale=None, doffset=None, count=None
    ):
        """The operation on it; `count` where the statistics are those of more than this batch."""
        target = None if operation in ("moments", "gradient_sums") else self.target
        self.compiled.compute(
            operation,
            self.x,
            self.view,
            self.keep,
            self.batch.count if count is None else count,
            epsilon,
            _flat64(scale),
            _flat64(offset),
            self.dy,
            target,
            mean,
            variance,
            dscale,
            doffset,
        )

    def result(self):
        """The result in x's shape, in `out` where that was given."""
        ordered = self.target.reshape([self.batch.x.shape[axis] for axis in self.order])
        array = ordered.transpose(np.argsort(self.order))
        if self.out is None:
            return array
        if not np.may_share_memory(array, self.out):
            self.out[...] = array
        return self.out


def _flat64(values):
    """One float64 for each feature, in a row, aligned as C expects it."""
    return None if values is None else np.require(values, np.float64, ("C", "A")).reshape(-1)


def mergeable(a, b):
    """Two Moments as `merge_moments` adds them: of float64, in a row."""
    return [
        Moments(each.count, *(np.require(values, np.float64, ("C", "A")) for values in each[1:]))
        for each in arguments.mergeable(a, b)
    ]


def moments(compiled, x, feature_axis, mask):
    """`pybn.reference.moments`."""
    batch = arguments.batch(x, feature_axis, mask)
    shape = batch.feature_shape
    mean, variance = np.zeros(shape), np.zeros(shape)
    if batch.count and batch.x.size:
        with np.errstate(all="ignore"):
            form = _Form(compiled, batch, None)
        form.compute("moments", 0.0, mean=mean, variance=variance)
    return Moments(batch.count, mean, variance)


def training(compiled, x, scale, offset, feature_axis, epsilon, mask, out):
    """`pybn.reference.batch_norm_training`."""
    batch = arguments.whole_batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = None if scale is None else arguments.feature_values("scale", scale, batch)
    beta = None if offset is None else arguments.feature_values("offset", offset, batch)
    out = arguments.output_array(out, batch, x, scale, offset, mask)
    mean, variance = np.empty(batch.feature_shape), np.empty(batch.feature_shape)
    with np.errstate(all="ignore"):
        if not batch.x.size:
            return (np.empty_like(batch.x) if out is None else out), mean, variance
        form = _Form(compiled, batch, out)
        form.compute("training", epsilon, mean=mean, variance=variance, scale=gamma, offset=beta)
        y = form.result()
        training_in_units(compiled, y, batch, gamma, beta, variance, epsilon)
        return y, mean, variance


def training_in_units(compiled, y, batch, scale, offset, variance, epsilon):
    """y again, where the deviation of a float64 feature, or 1 / it, is no float64: from x in a unit of about its size.

    Beside such a variance epsilon is nothing, or is 0.
    """
    found = batch.along_features(np.isinf(variance) | ((variance == 0) & (epsilon == 0)))
    if batch.x.dtype != np.float64 or not found.any():
        return
    real = True if batch.mask is None else batch.mask
    largest = np.max(np.abs(batch.x), axis=batch.reduced_axes, keepdims=True, where=real, initial=0.0)
    unit = np.where(found & (largest > 0), np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    form = _Form(compiled, batch._replace(x=batch.x / unit), None)
    mean, variance = np.empty_like(variance), np.empty_like(variance)
    form.compute("training", 0.0, mean=mean, variance=variance, scale=scale, offset=offset)
    np.copyto(y, form.result(), where=found & real)


def inference(compiled, x, scale, offset, mean, variance, feature_axis, epsilon, mask, out):
    """`pybn.reference.batch_norm_inference`."""
    batch = arguments.batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = None if scale is None else arguments.feature_values("scale", scale, batch)
    beta = None if offset is None else arguments.feature_values("offset", offset, batch)
    mean64 = _flat64(arguments.feature_values("mean", mean, batch))
    variance64 = _flat64(arguments.feature_values("variance", variance, batch))
    out = arguments.output_array(out, batch, x, scale, offset, mean, variance, mask, may_be=x)
    with np.errstate(all="ignore"):
        if not batch.count or not batch.x.size:  # what is masked passes through
            return _untouched(batch.x, out)
        form = _Form(compiled, batch, out)
        form.compute("inference", epsilon, mean=mean64, variance=variance64, scale=gamma, offset=beta)
        return form.result()


def gradient(compiled, operation, x, scale, mean, variance, dy, sums, feature_axis, epsilon, mask, out):
    """dx (None where none is asked for), dscale and doffset; where `sums` are given, dx alone is computed."""
    batch = (arguments.whole_batch if operation == "gradient" else arguments.batch)(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = None if scale is None else arguments.feature_values("scale", scale, batch)
    mean64 = _flat64(arguments.feature_values("mean", mean, batch))
    variance64 = _flat64(arguments.feature_values("variance", variance, batch))
    checked_dy = arguments.output_gradient(dy, batch)
    out = arguments.output_array(out, batch, x, scale, mean, variance, dy, mask)
    count, dscale, doffset = batch.count, np.zeros(batch.feature_shape), np.zeros(batch.feature_shape)
    if operation == "gradient_from_sums":
        count, doffset, dscale = arguments.sums_of_whole_batch(sums, batch)
        out = arguments.output_array(out, batch, doffset, dscale)
    with np.errstate(all="ignore"):
        if not batch.count or not batch.x.size:  # nothing to sum, and what is masked passes through
            dx = _untouched(checked_dy, out)
        else:
            form = _Form(compiled, batch, out, checked_dy)
            form.compute(
                operation,
                epsilon,
                mean=mean64,
                variance=variance64,
                scale=gamma,
                dscale=_flat64(dscale),
                doffset=_flat64(doffset),
                count=count,
            )
            dx = None if operation == "gradient_sums" else form.result()
    return dx, dscale, doffset


def _untouched(array, out):
    """What came in as what goes out."""
    if out is None:
        return array.copy()
    out[...] = array
    return out


def parameter_gradients(compiled, operation, x, scale, mean, variance, dy, feature_axis, epsilon, mask, out):
    """`gradient` with dscale and doffset in the type of the parameters."""
    dx, dscale, doffset = gradient(
        compiled, operation, x, scale, mean, variance, dy, None, feature_axis, epsilon, mask, out
    )
    dtype = np.promote_types(np.float32, dx.dtype if scale is None else arguments.float_array("scale", scale).dtype)
    with np.errstate(all="ignore"):
        return dx, (None if scale is None else dscale.astype(dtype)), doffset.astype(dtype)
