"""The statistics' verdict: the rule found, held against a convention.

Conventions are not mistakes: a student who follows one library in everything is told its name.  A momentum
of 0.9 that multiplies the new statistic is the other way round in the course and at home in PyTorch; a
class whose own default momentum is below one half counts PyTorch's way, and is judged by that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pybn.study.coursework.averages.candidates import FIXED, RIGHT, SWAPPED, UNKNOWN, Sense
from pybn.study.coursework.averages.fit import EPSILON_STORED, PROBES, Rule, Stored, fresh_rule, stored_rule
from pybn.study.coursework.averages.mixture import mixture
from pybn.study.coursework.output.fit import SINGLE, some_features
from pybn.study.coursework.output.oddities import of_weights
from pybn.study.coursework.output.training import Judged, train
from pybn.study.coursework.report.findings import Said, finding, first_difference, merged
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.student import Step, Student


@dataclass(frozen=True)
class Convention:
    """How one library keeps its averages."""

    name: str
    sense: Sense  # what momentum multiplies
    sample: bool  # the variance that is averaged is the sample variance
    start: float | None  # of the averaged variance; None: not said
    debiased: bool = False


CONVENTIONS = {
    "course": Convention("the course's (cs231n)", RIGHT, False, 0.0),
    "keras": Convention("Keras's", RIGHT, False, 1.0),
    "pytorch": Convention("PyTorch's", SWAPPED, True, 1.0),
    "paper": Convention("the paper's (Algorithm 2)", RIGHT, True, None),
    "pybn": Convention("pybn's", RIGHT, False, None, debiased=True),
}
NAMES = ("running_mean", "running_var")
FOLLOWS, CUMULATIVE = known("follows-convention"), known("averages-cumulative")


def measure_statistics(student: Student, training: Judged) -> Stored | None:
    """The rules of what a training step stores; None where the forward stores nothing because it fails."""
    for step, probe in zip(training.steps, PROBES, strict=True):
        if step.failure and (step.mean is None or np.array_equal(step.mean, probe.averages[0])):
            return None
    return fresh_rule(student, stored_rule(PROBES, training.steps))


def judge_statistics(
    student: Student,
    training: Judged,
    stored: Stored | None,
    convention: str | None,
    *,
    used: bool | None = None,
    torch: bool = False,
) -> Judged:
    """What does a training step store, and by whose rule?

    used says whether test mode uses what is stored as what it is (None: that is not known); torch, whether
    momentum may count PyTorch's way.
    """
    if stored is None:
        return Judged([finding("not-judged", "statistics", message=f"{student.name('forward')} gave no result")])
    said = [_told_in_training(each, training) for each in _rule_findings(student, stored, training.steps, used)]
    if stored.first_failure and not any(step.failure for step in training.steps):
        said.append(Said("first-step-fails", "", values={"message": stored.first_failure}))
    if stored.cumulative and student.keeps_momentum:
        said = [Said("momentum-ignored", " and ".join(NAMES))]
    elif convention is not None:
        said += _by(CONVENTIONS[convention], stored)
    else:
        said += [each for each in _by_the_nearest(stored, torch) if not (said and each.code == FOLLOWS)]
    return Judged(merged("statistics", said), steps=training.steps)


OTHER = known("other-statistic-stored")


def _rule_findings(student: Student, stored: Stored, steps, used: bool | None) -> list[Said]:
    """Departures that no convention explains, and the rules that nothing explains."""
    said = []
    if all(_alike(step) for step in steps):
        return [Said("averages-alike")]
    rules = stored.mean, stored.variance
    if all(each is not None and each.old == "other" and each.statistic.code == OTHER for each in rules):
        return [Said("averages-stored-exchanged")]
    for index, rule in enumerate((stored.mean, stored.variance)):
        if rule is None:
            said.append(_unexplained(student, index, rule, steps))
        else:
            formula = mixture(index, PROBES[0], steps[0]) if rule.old.startswith("other") else ""
            odd = formula and (rule.sense not in (RIGHT, SWAPPED) or rule.statistic.code)
            if odd:
                said.append(Said("average-mixed", NAMES[index], _evidence(NAMES[index], rule), {"formula": formula}))
            else:
                said += _departures(NAMES[index], rule, stored.debiased, used)
    return said + _apart(stored)


# What is averaged, and what of the same numbers has normalized in training: one slip, told as that.
_NORMALIZED = {
    known("sum-stored"): (known("variance-not-averaged"), known("mean-not-averaged")),
    known("variance-uncentred"): (known("not-centred"),),
    known("variance-about-whole"): (known("global-mean"),),
    known("global-stored"): (known("global-variance"), known("global-mean")),
    known("divided-by-features-stored"): (known("divided-by-features"),),
    known("divided-by-elements-stored"): (known("divided-by-elements"),),
    known("median-stored"): (known("median-for-mean"),),
    known("statistic-divided-twice"): (known("variance-averaged-twice"),),
    known("deviation-stored"): (known("deviation-under-root"),),
    known("nothing-taken"): (known("variance-zero"),),
    known("average-broadcast"): (known("row-statistics"),),
    UNKNOWN.code: (known("row-statistics"),),
}


# What a sum over the rows does wrong, and what it is said of where it has normalized in training.
_OF_ROWS = {known("rows-left-out"): "the statistics", known("row-order"): "the result"}


def _told_in_training(said: Said, training: Judged) -> Said:
    there = {each.code for each in training.findings}
    if said.code in _OF_ROWS and there & set(_OF_ROWS):
        (told,) = (each for each in training.findings if each.code in _OF_ROWS)
        return replace(said, code=told.code, name=_OF_ROWS[told.code], values=dict(told.values))
    code = next((code for code in _NORMALIZED.get(said.code, ()) if code in there), said.code)
    return replace(said, code=code)


def _alike(step: Step) -> bool:
    """Whether both averages are the same numbers."""
    if step.mean is None or step.variance is None:
        return False
    return bool(np.array_equal(step.mean, step.variance) and np.ptp(step.mean) > 0)


def _apart(stored: Stored) -> list[Said]:
    """One momentum that is fixed in the code, and counts two ways in the two averages."""
    mean, variance = stored.mean, stored.variance
    if mean is None or variance is None or not mean.sense is variance.sense is FIXED:
        return []
    if np.isclose(mean.keep, variance.keep, atol=1e-3):
        return []
    return [Said("averages-keep-apart", " and ".join(NAMES), values={"keep": mean.keep, "take": variance.keep})]


def _departures(name: str, rule: Rule, debiased: bool, used: bool | None) -> list[Said]:
    if rule.sense.code == "momentum-rule" and abs(rule.take) < 1e-6 and rule.old == "own" and not debiased:
        return [Said("nothing-taken", name, _evidence(name, rule), {"keep": _shown(rule.keep)})]
    if rule.sense is UNKNOWN and rule.statistic.code == "global-stored":  # any number is a multiple of it
        added = _shown(rule.take * float(rule.statistic.of(PROBES[0])[0]))
        return [Said("constant-added", name, "", {"keep": _shown(rule.keep), "added": f"{added:.4g}"})]
    codes = [rule.statistic.code, rule.factor.code]
    if rule.epsilon and not rule.statistic.code:  # beside a deviation it is the student's own way to make one
        codes.append(EPSILON_STORED)
    if rule.sense not in (RIGHT, SWAPPED) and not debiased:
        codes.append("momentum-rule" if rule.sense is UNKNOWN else rule.sense.code)
    if rule.old.startswith("other"):
        codes.append("averages-decay-from-other")
    again = {EPSILON_STORED: ", and test mode adds eps again"}
    values = {"keep": _shown(rule.keep), "take": _shown(rule.take)}
    said = []
    for code in filter(None, codes):
        told = ", and test mode counts on it" if used else again.get(code, "") if used is False else ""
        said.append(Said(code, name, _evidence(name, rule), {**values, "used": told}))
    return said


def _by_the_nearest(stored: Stored, torch: bool) -> list[Said]:
    """No convention was asked for: each that fits in everything is right, and is named."""
    mean, variance = stored.mean, stored.variance
    if stored.cumulative:
        return [Said(CUMULATIVE)]
    if stored.debiased:
        return [_follows("pybn")]
    senses = {rule.sense for rule in (mean, variance) if rule is not None}
    sample = variance is not None and variance.sample
    if senses == {SWAPPED} and sample:
        return [_follows("pytorch")]
    if torch:
        return _by_pytorch(stored)
    if sample and SWAPPED not in senses:
        return [_follows("paper")]
    said = [] if _one_of_pytorch(stored) else _swapped(stored, RIGHT)
    if (
        sample and variance is not None and variance.sense is not RIGHT
    ):  # beside a momentum that is right it is the paper's
        said.append(Said("sample-variance-averaged", NAMES[1], _evidence(NAMES[1], variance)))
    return said


def _one_of_pytorch(stored: Stored) -> bool:
    """Whether one average counts PyTorch's way, and the other is wrong and keeps as much: that tells nothing."""
    rules = stored.mean, stored.variance
    others = [rule for rule in rules if rule is None or rule.sense is not SWAPPED]
    if len(others) != 1:
        return False
    kept = 1 - PROBES[0].momentum
    return all(rule is None or (rule.sense is not RIGHT and np.isclose(rule.keep, kept, atol=1e-3)) for rule in others)


def _by_pytorch(stored: Stored) -> list[Said]:
    """A default momentum below one half is a share of the new: an average that keeps so little of the old is wrong."""
    said, variance = _swapped(stored, SWAPPED), stored.variance
    if said or variance is None or variance.sample or not variance.of_the_variance or variance.factor.code:
        return said
    rest = "running_var averages the population variance, where PyTorch takes n/(n - 1) of it"
    return [Said("momentum-of-pytorch", "", values={"rest": rest})]


def _follows(convention: str) -> Said:
    return Said(FOLLOWS, "", values={"convention": CONVENTIONS[convention].name})


def _by(convention: Convention, stored: Stored) -> list[Said]:
    """Departures from the convention that was asked for."""
    said = [] if stored.debiased else _swapped(stored, convention.sense)
    variance = stored.variance
    if variance is not None and not variance.factor.code and variance.sample != convention.sample:
        if variance.of_the_variance and variance.sense.code not in ("averages-never-updated", UNKNOWN.code):
            code = "sample-variance-averaged" if variance.sample else "population-variance-averaged"
            said.append(Said(code, NAMES[1], _evidence(NAMES[1], variance)))
    if convention.debiased and not stored.debiased:
        said.append(Said("not-debiased", ""))
    elif stored.debiased and not convention.debiased:
        said.append(Said("debiased", "", values={"convention": convention.name}))
    start = stored.start_variance
    if convention.start is not None and start is not None and not np.isclose(start, convention.start, atol=1e-3):
        said.append(Said("variance-start", "", values={"start": start, "right": convention.start}))
    return said


def _swapped(stored: Stored, right: Sense) -> list[Said]:
    """momentum in the other sense than `right`, in one average or in both."""
    other, code = (SWAPPED, "momentum-swapped") if right is RIGHT else (RIGHT, "momentum-of-the-old")
    rules = zip(NAMES, (stored.mean, stored.variance), strict=True)
    return [Said(code, name, _evidence(name, rule)) for name, rule in rules if rule and rule.sense is other]


def _unexplained(student: Student, index: int, rule: Rule | None, steps) -> Said:
    name, step, probe = NAMES[index], steps[0], PROBES[0]
    got = (step.mean, step.variance)[index]
    if got is None:
        return missing(student, "training", name)
    statistic, right = (probe.mean, probe.variance)[index], probe.averages_after(**student.rule)[index]
    evidence = first_difference(name, got, right) + f" (old {probe.averages[index][0]:.6g}, batch {statistic[0]:.6g})"
    averages = [(each.mean, each.variance)[index] for each in steps]
    if _of_order(student, index, got):
        return _left_out(name, steps, evidence) or Said("row-order", name, evidence)
    taken = [(a - p.momentum * p.averages[index]) / (1 - p.momentum) for a, p in zip(averages, PROBES, strict=True)]
    if all(np.allclose(each, np.round(each), atol=1e-9) and each.any() for each in taken):
        return Said("whole-numbers", name, evidence)
    some = some_features(averages, [each.averages_after(**student.rule)[index] for each in PROBES])
    if some:
        return Said("some-features", name, evidence, some)
    if rule is not None:
        evidence = f"{_evidence(name, rule)}; {evidence}"
    mixed = mixture(index, PROBES[0], steps[0]) if rule is None or rule.old.startswith("other") else ""
    if mixed and mixture(index, PROBES[1], steps[1]):
        return Said("average-mixed", name, evidence, {"formula": mixed})
    return Said(UNKNOWN.code, name, evidence)


def _left_out(name: str, steps, evidence: str) -> Said | None:
    """Rows that are in no sum of what is averaged, where it is averaged by the course's rule."""
    found, index = [], NAMES.index(name)
    for probe, step in zip(PROBES, steps, strict=True):
        new, old = (step.mean, step.variance)[index], probe.averages[index]
        taken = (new - probe.momentum * old) / (1 - probe.momentum)
        centre = (step.mean - probe.momentum * probe.averages[0]) / (1 - probe.momentum)
        found.append(of_weights(taken, (probe.x - centre) ** 2 if index else probe.x))
    if not all(found):
        return None
    return Said("rows-left-out", name, evidence, {"rows": found[0]})


def _of_order(student: Student, index: int, got: np.ndarray) -> bool:
    """Whether an average is another one where the rows of the batch come in another order."""
    probe = PROBES[0]
    step = train(student, probe.turned())
    turned = (step.mean, step.variance)[index]
    return turned is not None and not np.allclose(turned, got, rtol=SINGLE, equal_nan=True)


def missing(student: Student, part: str, name: str) -> Said:
    """An average that is not there, or has a shape that holds no number for each feature."""
    shape = student.habits.get(("average shape", part), "")
    if not shape:
        return Said("average-missing", name)
    return Said("average-broadcast", name, values={"detail": shape})


def _shown(value: float) -> float:
    """What rounding left is shown as 0."""
    return round(value, 9) + 0.0


def _evidence(name: str, rule: Rule | None) -> str:
    if rule is None:
        return ""
    keep, take = _shown(rule.keep), _shown(rule.take)
    return f"with momentum {PROBES[0].momentum:g}: new {name} = {keep:.4g} * old + {take:.4g} * {rule.words}"
