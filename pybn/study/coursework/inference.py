"""Test mode: Algorithm 2, line 11, from given averages, held against every formula that could give it."""

from __future__ import annotations

import numpy as np

from pybn.study.coursework.findings import failed, finding, first_difference
from pybn.study.coursework.formulas import Quantities
from pybn.study.coursework.probes import Probe
from pybn.study.coursework.student import Step, Student
from pybn.study.coursework.training import PROBES, Judged, gains, judge_output


def judge_test(student: Student) -> Judged:
    """Is the output made of the given averages alone, and do they stay as they are?"""
    steps = tuple(infer(student, probe) for probe in PROBES)
    broken = next((step.failure for step in steps if step.failure), None)
    if broken:
        return Judged([failed("test", "forward in test mode", broken)], steps=steps)
    outs = [step.out for step in steps]
    quantities = [_quantities(probe, step) for probe, step in zip(PROBES, steps, strict=True)]
    judged = judge_output("test", PROBES, outs, [probe.test_out for probe in PROBES], quantities)
    judged.steps = steps
    moved = _moved(steps[0], PROBES[0])
    if moved:
        judged.findings.insert(0, finding("averages-move-in-test", "test", moved))
    return judged


def infer(student: Student, probe: Probe, rows: slice = slice(None)) -> Step:
    """Test mode on some rows of a probe, from its averages."""
    return student.forward(
        probe.x[rows],
        probe.scale,
        probe.offset,
        epsilon=probe.epsilon,
        momentum=probe.momentum,
        averages=probe.averages,
        test=True,
    )


def _quantities(probe: Probe, step: Step) -> Quantities:
    """What may have been taken for mean and variance in test mode."""
    mean, variance = probe.averages
    centres, spreads = _updated(probe, step)
    deviation = np.sqrt(variance + probe.epsilon)
    return Quantities(
        gains=gains(probe),
        spreads={"variance": variance, "batch": probe.variance, "mean": mean, **_batch(probe), **spreads},
        centres={
            "mean": mean,
            "none": np.zeros_like(mean),
            "batch": probe.mean,
            "added": -mean,
            "divided": mean / deviation,
            "subtracted twice": mean + mean / deviation,
            "global": np.full_like(mean, mean.mean()),
            **centres,
        },
        offset=probe.offset,
        mean=probe.mean,
    )


def _batch(probe: Probe) -> dict[str, np.ndarray]:
    """What a slip in the variance makes of the test batch's own."""
    return {
        "batch, uncentred": (probe.x**2).mean(0),
        "batch, absolute": np.abs(probe.x - probe.mean).mean(0),
        "batch, root": np.sqrt(probe.variance),
    }


def _updated(probe: Probe, step: Step) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The averages after the test batch, as stored and by either sense of the momentum."""
    (mean, variance), m = probe.averages, probe.momentum
    keeps = {"updated": m, "updated, swapped": 1 - m}
    centres = {name: keep * mean + (1 - keep) * probe.mean for name, keep in keeps.items()}
    spreads = {name: keep * variance + (1 - keep) * probe.variance for name, keep in keeps.items()}
    if step.mean is not None and step.variance is not None:
        centres["updated as stored"], spreads["updated as stored"] = step.mean, step.variance
    return centres, spreads


def _moved(step: Step, probe: Probe) -> str:
    for name, now, before in zip(
        ("running_mean", "running_var"), (step.mean, step.variance), probe.averages, strict=True
    ):
        if now is not None and not np.array_equal(now, before):
            return first_difference(f"after a call in test mode {name}", now, before, 0.0)
    return ""
