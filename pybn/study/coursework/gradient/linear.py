"""A backward is linear in dout: dx(0) = 0, dx(2 dout) = 2 dx(dout); and what it holds where it is not.

A dx that is quadratic has another gradient in it.  With gamma 2 and dgamma 3 a dx that is 1.5 times what it
must be has dgamma in gamma's place; one that is -0.5 times has gamma as a step of size 1 has left it, 2 - 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pybn.study.coursework.gradient.fit import ROUNDING
from pybn.study.coursework.output.fit import SINGLE, agree
from pybn.study.coursework.output.training import PROBES
from pybn.study.coursework.report.findings import Finding, finding
from pybn.study.coursework.student.student import Gradients


def not_linear(role: str, call: Callable[[np.ndarray], Gradients], found: Gradients) -> list[Finding]:
    """The finding, where dx is not proportional to dout; call gives the gradients of a dout on the first probe."""
    dy = PROBES[0].dy
    if found.dx is None or np.isnan(found.dx).any() or agree(found.dx, PROBES[0].dx, SINGLE):
        return []
    zero, double, turned = call(np.zeros_like(dy)), call(2 * dy), call(-dy)
    if zero.dx is None or double.dx is None or turned.dx is None:
        return []
    size = np.abs(found.dx).max()
    if np.abs(zero.dx).max() > SINGLE * size and np.abs(double.dx - found.dx).max() <= SINGLE * size:
        return [finding("dout-ignored", role, f"with dout = 0, dx[0, 0] is {zero.dx[0, 0]:.6g}")]
    if agree(double.dx, 2 * found.dx, SINGLE):
        evidence = f"dx[0, 0] is {found.dx[0, 0]:.6g} for dout and {turned.dx[0, 0]:.6g} for -dout"
        return [] if agree(turned.dx, -found.dx, SINGLE) else [finding("not-linear", role, evidence)]
    evidence = f"dx[0, 0] is {found.dx[0, 0]:.6g} for dout and {double.dx[0, 0]:.6g} for 2 dout"
    wrong = _for_scale(found.dx)
    return [finding("gradient-for-scale" if wrong else "not-linear", role, evidence, wrong=wrong)]


def _for_scale(dx: np.ndarray) -> str:
    """What stands in the place of gamma: another gradient, or gamma after a step."""
    probe = PROBES[0]
    ratio = (dx * probe.dx).sum(0) / (probe.dx**2).sum(0)
    if np.abs(dx - ratio * probe.dx).max() > ROUNDING * np.abs(dx).max():
        return ""
    stands, dscale = ratio * probe.scale, (probe.dy * probe.normalized).sum(0)
    for name, gradient in (("dgamma", dscale), ("dbeta", probe.dy.sum(0))):
        if np.allclose(stands, gradient, rtol=1e-5, atol=1e-8):
            return name
    steps = (probe.scale - stands) / dscale
    return "gamma after its update" if np.allclose(steps, steps[0], rtol=1e-5) else ""
