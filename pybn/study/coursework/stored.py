"""The statistics' verdict: the rule found, held against a convention.

Conventions are not mistakes: a student who follows one library in everything is told its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pybn.study.coursework.averages import PROBES, Rule, Stored, fresh_rule, stored_rule
from pybn.study.coursework.findings import Finding, finding, first_difference
from pybn.study.coursework.student import Student
from pybn.study.coursework.training import Judged


@dataclass(frozen=True)
class Convention:
    """How one library keeps its averages."""

    name: str
    momentum: str  # "right": of the old average; "swapped": of the new statistic
    factor: str  # "": population variance; "sample"
    start: float | None  # of the averaged variance; None: not said
    debiased: bool = False


CONVENTIONS = {
    "course": Convention("the course's (cs231n)", "right", "", 0.0),
    "keras": Convention("Keras's", "right", "", 1.0),
    "pytorch": Convention("PyTorch's", "swapped", "sample", 1.0),
    "paper": Convention("the paper's (Algorithm 2)", "right", "sample", None),
    "pybn": Convention("pybn's", "right", "", None, debiased=True),
}


def judge_statistics(student: Student, training: Judged, convention: str | None) -> Judged:
    """What does a training step store, and by whose rule?"""
    steps = training.steps
    if any(step.failure and step.mean is None for step in steps):
        return Judged([finding("not-judged", "statistics", "the training forward gave no result")])
    stored = fresh_rule(student, stored_rule(PROBES, steps))
    findings = _rule_findings(stored, steps)
    if stored.first_failure:
        findings.append(finding("first-step-fails", "statistics", message=stored.first_failure))
    if convention is None:
        findings += _by_the_nearest(stored)
    else:
        findings += _by(CONVENTIONS[convention], stored)
    return Judged(_merged(findings), steps=steps)


def _rule_findings(stored: Stored, steps) -> list[Finding]:
    """Departures that no convention explains, and the rules that nothing explains."""
    findings = []
    for index, (name, rule) in enumerate((("running_mean", stored.mean), ("running_var", stored.variance))):
        if rule is None or (rule.sense == "unknown" and not stored.debiased):
            findings.append(_unexplained(index, name, rule, steps))
        else:
            findings += _departures(name, rule, stored.debiased)
    return findings


def _departures(name: str, rule: Rule, debiased: bool) -> list[Finding]:
    codes = []
    statistic = {
        "deviation": "deviation-stored",
        "deviation with epsilon": "deviation-stored",
        "sample deviation": "deviation-stored",
        "sample deviation with epsilon": "deviation-stored",
        "absolute deviation": "absolute-deviation",
        "root of uncentred": "deviation-stored",
        "inverse deviation": "inverse-deviation-stored",
        "uncentred": "variance-uncentred",
        "global": "global-stored",
        "global deviation": "global-stored",
        "squared": "variance-squared-stored",
        "median": "median-stored",
        "output variance": "output-variance-stored",
    }
    if rule.statistic.startswith("about"):
        codes.append("variance-about-average")
    elif rule.statistic in statistic:
        codes.append(statistic[rule.statistic])
    elif (name, rule.statistic) in (("running_mean", "variance"), ("running_var", "mean")):
        codes.append("other-statistic-stored")
    if rule.extra == "epsilon" or rule.statistic.endswith("with epsilon"):
        codes.append("epsilon-in-variance")
    if rule.factor == "sum":
        codes.append("sum-stored")
    if rule.factor == "divided":
        codes.append("statistic-divided-twice")
    if rule.factor == "small":
        codes.append("small-variance-stored")
    if rule.sense not in ("right", "swapped") and not debiased:
        codes.append(_sense_code(rule))
    if rule.old.startswith("other"):
        codes.append("averages-decay-from-other")
    evidence = _evidence(name, rule)
    return [finding(code, "statistics", evidence, name=name, keep=rule.keep, take=rule.take) for code in codes]


def _sense_code(rule: Rule) -> str:
    named = {
        "never": "averages-never-updated",
        "overwritten": "averages-overwritten",
        "twice": "averages-updated-twice",
        "twice swapped": "averages-updated-twice",
        "fixed": "momentum-fixed",
    }
    return named.get(rule.sense, "momentum-rule")


def _by_the_nearest(stored: Stored) -> list[Finding]:
    """No convention was asked for: each that fits in everything is right, and is named."""
    mean, variance = stored.mean, stored.variance
    if stored.debiased:
        return [finding("follows-convention", "statistics", convention=CONVENTIONS["pybn"].name)]
    senses = {rule.sense for rule in (mean, variance) if rule is not None}
    sample = variance is not None and variance.sample
    if senses == {"swapped"} and sample:
        return [finding("follows-convention", "statistics", convention=CONVENTIONS["pytorch"].name)]
    if sample and "swapped" not in senses:
        return [finding("follows-convention", "statistics", convention=CONVENTIONS["paper"].name)]
    findings = _swapped(stored, "right")
    if sample:
        findings.append(finding("sample-variance-averaged", "statistics", _evidence("running_var", variance)))
    if stored.start_variance is not None and np.isclose(stored.start_variance, 1.0) and not findings:
        findings.append(finding("follows-convention", "statistics", convention=CONVENTIONS["keras"].name))
    return findings


def _by(convention: Convention, stored: Stored) -> list[Finding]:
    """Departures from the convention that was asked for."""
    findings = [] if stored.debiased else _swapped(stored, convention.momentum)
    variance = stored.variance
    if (
        variance is not None
        and variance.factor in ("", "sample")
        and variance.sample != (convention.factor == "sample")
    ):
        if variance.of_the_variance and variance.sense not in ("never", "unknown"):
            code = "sample-variance-averaged" if variance.sample else "population-variance-averaged"
            findings.append(finding(code, "statistics", _evidence("running_var", variance)))
    if convention.debiased and not stored.debiased:
        findings.append(finding("not-debiased", "statistics"))
    elif stored.debiased and not convention.debiased:
        findings.append(finding("debiased", "statistics", convention=convention.name))
    start = stored.start_variance
    if convention.start is not None and start is not None and not np.isclose(start, convention.start, atol=1e-3):
        findings.append(finding("variance-start", "statistics", start=start, right=convention.start))
    return findings


def _swapped(stored: Stored, right: str) -> list[Finding]:
    """momentum in the other sense than `right`, in one average or in both."""
    other = {"right": "swapped", "swapped": "right"}[right]
    findings = []
    for name, rule in (("running_mean", stored.mean), ("running_var", stored.variance)):
        if rule is not None and rule.sense == other:
            code = "momentum-swapped" if right == "right" else "momentum-of-the-old"
            findings.append(finding(code, "statistics", _evidence(name, rule), name=name))
    return findings


def _unexplained(index: int, name: str, rule: Rule | None, steps) -> Finding:
    step, probe = steps[0], PROBES[0]
    got = (step.mean, step.variance)[index]
    if got is None:
        return finding("average-missing", "statistics", name=name)
    m, statistic = probe.momentum, (probe.mean, probe.variance)[index]
    right = m * probe.averages[index] + (1 - m) * statistic
    evidence = first_difference(name, got, right) + f" (old {probe.averages[index][0]:.6g}, batch {statistic[0]:.6g})"
    if rule is not None:
        evidence = f"{_evidence(name, rule)}; {evidence}"
    return finding("unexplained-average", "statistics", evidence, name=name)


def _evidence(name: str, rule: Rule | None) -> str:
    if rule is None:
        return ""
    statistic = rule.statistic if rule.statistic not in ("mean", "variance") else f"batch {rule.statistic}"
    keep, take = (round(value, 9) + 0.0 for value in (rule.keep, rule.take))  # what rounding left is shown as 0
    return f"with momentum {PROBES[0].momentum:g}: new {name} = {keep:.4g} * old + {take:.4g} * {statistic}"


def _merged(findings: list[Finding]) -> list[Finding]:
    """The same departure of both averages said once."""
    merged: dict[str, Finding] = {}
    for found in findings:
        if found.code in merged:
            first = merged[found.code]
            both = f"{first.evidence}; {found.evidence}" if found.evidence else first.evidence
            what = first.what.replace("running_mean", "running_mean and running_var")
            merged[found.code] = Finding(**{**first.to_dict(), "evidence": both, "what": what})
        else:
            merged[found.code] = found
    return list(merged.values())
