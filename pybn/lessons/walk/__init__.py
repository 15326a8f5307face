"""The compiled path, stage by stage, in NumPy: what `pybn_ext` does with a small float32 batch, bit for bit.

For looking at the numbers in between, which the compiled functions keep to themselves.  Each function here is named
after what it stands for in `pybn_ext`, and does the same additions in the same order; a test holds what comes out
against the compiled functions, to the last bit.  It knows the ordinary case of small batches alone: one part, one tile,
one thread, numbers that float32 can square.

    call = entry(x, mask=mask)              rows = plan(call)
    sums = lane_sums(call, rows, shift(call, rows))

The page "How the compiled path works" walks two batches through it.
"""

from pybn.lessons.walk.backward import (
    doubt,
    finish_sums,
    gradient_shift,
    gradient_table,
    look_closer,
    mend,
    write_gradient,
)
from pybn.lessons.walk.forward import finish_moments, look_again, moments, table, write
from pybn.lessons.walk.sums import lane_sums, peaked, shift, totals
from pybn.lessons.walk.way import Call, Plan, entry, plan

__all__ = [
    "Call",
    "Plan",
    "doubt",
    "entry",
    "finish_moments",
    "finish_sums",
    "gradient_shift",
    "gradient_table",
    "lane_sums",
    "look_again",
    "look_closer",
    "mend",
    "moments",
    "peaked",
    "plan",
    "shift",
    "table",
    "totals",
    "write",
    "write_gradient",
]
