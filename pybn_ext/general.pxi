# Any input that is not the ordinary case: pybn.arguments words the errors or brings it into form,
# and what remains is an ordinary call on a view, or on one copy, of x.

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

    def __init__(self, batch, out, dy=None):
        self.batch, self.out = batch, out
        self.order = _memory_order(batch)
        first = self.order.index(batch.axes[0])
        sizes = [batch.x.shape[axis] for axis in self.order]
        features = sizes[first : first + len(batch.axes)]
        self.view = (_product(sizes[:first]), _product(features), _product(sizes[first + len(features) :]))
        self.x = self._ordinary(batch.x)
        self.dy = None if dy is None else self._ordinary(dy)
        self.keep = self._keep()
        self.target = self._target()

    def _ordinary(self, array):
        """`array` as (outer, features, inner): a view where it can be, else one copy."""
        ordered = array.transpose(self.order)
        if ordered.flags.c_contiguous and ordered.flags.aligned:
            return ordered.reshape(self.view)
        copy = new_like(np.broadcast_to(np.empty((), array.dtype), ordered.shape))
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
        return new_like(self.x)

    def result(self):
        """The result in x's shape, in `out` where that was given."""
        ordered = self.target.reshape([self.batch.x.shape[axis] for axis in self.order])
        array = ordered.transpose(np.argsort(self.order))
        if self.out is None:
            return array
        if not np.may_share_memory(array, self.out):
            self.out[...] = array
        return self.out


def _product(sizes):
    product = 1
    for size in sizes:
        product *= size
    return product


def _flat64(values):
    """One float64 for each feature, in a row, aligned as C expects it."""
    return None if values is None else np.require(values, np.float64, ("C", "A")).reshape(-1)


def _general_mergeable(a, b):
    """Two Moments as `mergeable` wants them."""
    return [
        Moments(each.count, *(np.require(values, np.float64, ("C", "A")) for values in each[1:]))
        for each in arguments.mergeable(a, b)
    ]


def _general_moments(x, feature_axis, mask):
    batch = arguments.batch(x, feature_axis, mask)
    shape = batch.feature_shape
    mean, variance = np.zeros(shape), np.zeros(shape)
    if batch.count and batch.x.size:
        with np.errstate(all="ignore"):
            form = _Form(batch, None)
        compute(
            MOMENTS, form.x, form.view, form.keep, batch.count, 0.0, None, None, None, None, mean, variance, None, None
        )
    return Moments(batch.count, mean, variance)


def _general_training(x, scale, offset, feature_axis, epsilon, mask, out):
    batch = arguments.whole_batch(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = None if scale is None else arguments.feature_values("scale", scale, batch)
    beta = None if offset is None else arguments.feature_values("offset", offset, batch)
    out = arguments.output_array(out, batch, x, scale, offset, mask)
    mean, variance = np.empty(batch.feature_shape), np.empty(batch.feature_shape)
    with np.errstate(all="ignore"):
        if not batch.x.size:
            return (np.empty_like(batch.x) if out is None else out), mean, variance
        form = _Form(batch, out)
        compute(
            TRAINING, form.x, form.view, form.keep, batch.count, epsilon, _flat64(gamma), _flat64(beta), None,
            form.target, mean, variance, None, None,
        )
        y = form.result()
        _training_in_units(y, batch, gamma, beta, variance, epsilon)
        return y, mean, variance


def _training_in_units(y, batch, scale, offset, variance, epsilon):
    """y again, where the deviation of a float64 feature, or 1 / it, is no float64: from x in a unit of about its size.

    Beside such a variance epsilon is nothing, or is 0.
    """
    found = batch.along_features(np.isinf(variance) | ((variance == 0) & (epsilon == 0)))
    if batch.x.dtype != np.float64 or not found.any():
        return
    real = True if batch.mask is None else batch.mask
    largest = np.max(np.abs(batch.x), axis=batch.reduced_axes, keepdims=True, where=real, initial=0.0)
    unit = np.where(found & (largest > 0), np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    form = _Form(batch._replace(x=batch.x / unit), None)
    compute(
        TRAINING, form.x, form.view, form.keep, batch.count, 0.0, _flat64(scale), _flat64(offset), None,
        form.target, np.empty_like(variance), np.empty_like(variance), None, None,
    )
    np.copyto(y, form.result(), where=found & real)


def _general_inference(x, scale, offset, mean, variance, feature_axis, epsilon, mask, out):
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
        form = _Form(batch, out)
        compute(
            INFERENCE, form.x, form.view, form.keep, batch.count, epsilon, _flat64(gamma), _flat64(beta), None,
            form.target, mean64, variance64, None, None,
        )
        return form.result()


def _general_gradient(operation, x, scale, mean, variance, dy, sums, feature_axis, epsilon, mask, out):
    """dx (None where none is asked for), dscale and doffset; where `sums` are given, dx alone is computed."""
    batch = (arguments.whole_batch if operation == GRADIENT else arguments.batch)(x, feature_axis, mask)
    epsilon = arguments.epsilon(epsilon)
    gamma = None if scale is None else arguments.feature_values("scale", scale, batch)
    mean64 = _flat64(arguments.feature_values("mean", mean, batch))
    variance64 = _flat64(arguments.feature_values("variance", variance, batch))
    checked_dy = arguments.output_gradient(dy, batch)
    out = arguments.output_array(out, batch, x, scale, mean, variance, dy, mask)
    count, dscale, doffset = batch.count, np.zeros(batch.feature_shape), np.zeros(batch.feature_shape)
    if operation == GRADIENT_FROM_SUMS:
        count, doffset, dscale = arguments.sums_of_whole_batch(sums, batch)
        out = arguments.output_array(out, batch, doffset, dscale)
    with np.errstate(all="ignore"):
        if not batch.count or not batch.x.size:  # nothing to sum, and what is masked passes through
            dx = _untouched(checked_dy, out)
        else:
            form = _Form(batch, out, checked_dy)
            compute(
                operation, form.x, form.view, form.keep, count, epsilon, _flat64(gamma), None, form.dy,
                None if operation == GRADIENT_SUMS else form.target, mean64, variance64, _flat64(dscale),
                _flat64(doffset),
            )
            dx = None if operation == GRADIENT_SUMS else form.result()
    return dx, dscale, doffset


def _untouched(array, out):
    """What came in as what goes out."""
    if out is None:
        return array.copy()
    out[...] = array
    return out


def _general_parameter_gradients(operation, x, scale, mean, variance, dy, feature_axis, epsilon, mask, out):
    """`_general_gradient` with dscale and doffset in the type of the parameters."""
    dx, dscale, doffset = _general_gradient(
        operation, x, scale, mean, variance, dy, None, feature_axis, epsilon, mask, out
    )
    dtype = np.promote_types(np.float32, dx.dtype if scale is None else arguments.float_array("scale", scale).dtype)
    with np.errstate(all="ignore"):
        return dx, (None if scale is None else dscale.astype(dtype)), doffset.astype(dtype)
