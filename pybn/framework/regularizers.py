"""Terms added to the loss, asked for by a context parameter."""

from __future__ import annotations

from pybn.framework import ops
from pybn.framework.context import Context
from pybn.framework.graph import wide
from pybn.framework.parameters import not_negative
from pybn.framework.variables import Variable

L2_PARAM = "l2_regularization"


def add_l2(ctx: Context, variable: Variable) -> None:
    """Add amount * sum(variable ** 2) to the loss, where `l2_regularization` is above 0 in ctx.

    In training only: an evaluation reports the loss of the data alone.  Once in a run, however
    often the variable is used.
    """
    amount = not_negative(f"the parameter {L2_PARAM}", ctx.get_param(L2_PARAM, 0.0))
    if amount and ctx.is_training and variable.trainable and variable.path not in ctx.run.regularized:
        ctx.run.regularized.add(variable.path)
        ctx.add_loss(amount * ops.sum(ops.cast(variable.node, wide(variable.dtype)) ** 2))
