"""The operations on a batch that is spread over simulated workers, as if they were one more implementation.

So the bounds, the exact oracle and the awkward shapes of the other implementations' tests hold it, too.
"""

from __future__ import annotations

import numpy as np

from pybn import Context, arguments, batchnorm, gradient, use_backend
from pybn.distributed import Simulated, synchronized
from pybn.framework.graph import Node

SCOPE = "/batch_normalization/"


class Spread:
    """A batch cut along `axis` into `fractions` of it, each on a worker of its own."""

    def __init__(self, backend: str, fractions: tuple[float, ...], axis: int = 0) -> None:
        self.backend, self.fractions, self.axis = backend, fractions, axis
        self.__name__ = {"reference": "pybn.reference", "compiled": "pybn_ext"}[backend]  # whose sums these are

    def batch_norm_training(self, x, scale, offset, *, feature_axis=-1, epsilon=1e-3, mask=None):
        """y of all parts, and what the averages of each worker became in one step: the same bits on all."""
        parts = self._run(x, scale, offset, np.ones_like(x), feature_axis, epsilon, mask)
        for part in parts:
            assert part["mean"].tobytes() == parts[0]["mean"].tobytes()
            assert part["variance"].tobytes() == parts[0]["variance"].tobytes()
        return np.concatenate([part["y"] for part in parts], self.axis), parts[0]["mean"], parts[0]["variance"]

    def batch_norm_gradient(self, x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3, mask=None):
        """dx of all parts, and the shares of dscale and doffset added up; the statistics are the batch's own."""
        parts = self._run(x, scale, np.zeros(mean.shape, x.dtype), dy, feature_axis, epsilon, mask)
        dscale, doffset = (sum(part[name] for part in parts) for name in ("dscale", "doffset"))
        return np.concatenate([part["dx"] for part in parts], self.axis), None if scale is None else dscale, doffset

    def _run(self, x, scale, offset, dy, feature_axis, epsilon, mask):
        whole = arguments.batch(x, feature_axis, mask)
        cuts = np.cumsum(np.array(self.fractions[:-1]) * x.shape[self.axis]).astype(int)
        keep = None
        if mask is not None:
            keep = np.broadcast_to(whole.mask, [1 if i in whole.axes else n for i, n in enumerate(x.shape)])

        def work(comm):
            part, cotangent, kept = (
                None if each is None else np.split(each, cuts, self.axis)[comm.rank] for each in (x, dy, keep)
            )
            ctx, node = Context(0), Node(part)

            def layer():
                config = batchnorm.new(ctx, node, feature_axis).epsilon(epsilon).momentum(0.0)
                config.scale(scale is not None).center(offset is not None)
                return (config if kept is None else config.mask(kept)).done()

            with ctx.forward_pass():
                layer()  # which makes the variables
            learned = {name: value for name, value in (("scale", scale), ("offset", offset)) if value is not None}
            for name, value in learned.items():
                ctx.get_variable(SCOPE + name).value = value
            with ctx.forward_pass(training=True), synchronized(ctx, comm):
                y = layer()
                nodes = [ctx.get_variable(SCOPE + name).node for name in learned]
                dx, *others = gradient(y, [node, *nodes], cotangent)
                ctx.apply()
            result = {"y": y.value, "dx": dx.value, "dscale": 0, "doffset": 0}
            result |= {f"d{name}": each.value for name, each in zip(learned, others, strict=True)}
            return result | {name: ctx.get_variable(SCOPE + name).value for name in ("mean", "variance")}

        with use_backend(self.backend):
            return Simulated(len(self.fractions)).run(work)
