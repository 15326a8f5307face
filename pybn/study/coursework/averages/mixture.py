"""An average that no rule explains, as a sum of multiples of the numbers that were there.

old_var + 0.3 * (var - new_mean) is 1 * the old variance - 0.3 * the new mean + 0.3 * the batch variance: whoever
reads it sees the name that stands in the wrong place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pybn.study.coursework.output.fit import EXACT, fit
from pybn.study.coursework.student.probes import Probe
from pybn.study.coursework.student.student import Step


def mixture(index: int, probe: Probe, step: Step) -> str:
    """An average (0: the mean, 1: the variance) in words, as a sum of multiples of other numbers; "" if it is none.

    The other average counts as it was or as it is by now, whichever needs fewer terms.
    """
    names, new = ("mean", "variance"), (step.mean, step.variance)
    batch = {f"the batch {name}": value for name, value in zip(names, (probe.mean, probe.variance), strict=True)}
    old = {f"the old {name}": value for name, value in zip(names, probe.averages, strict=True)}
    own, other = names[index], names[1 - index]
    one = {"1": np.ones_like(probe.mean)}
    updated = {f"the old {own}": old[f"the old {own}"], f"the new {other}": new[1 - index], **batch}
    sums = [_sum(new[index], parts, probe) for parts in ({**old, **batch}, {**old, **batch, **one}, updated)]
    return min(filter(None, sums), key=len, default="")


def _sum(new: np.ndarray | None, parts: Mapping[str, np.ndarray | None], probe: Probe) -> str:
    columns = [part for part in parts.values() if part is not None]
    found = None if new is None or len(columns) < len(parts) else fit(columns, new, EXACT)
    if found is None:
        return ""
    there = [(value, name) for value, name in zip(found, parts, strict=True) if abs(value) > 1e-6]
    text = " ".join(f"{'-' if value < 0 else '+'} {abs(value):.4g} * {name}" for value, name in there)
    return f"{text.removeprefix('+ ')} (with momentum {probe.momentum:g})" if there else ""
