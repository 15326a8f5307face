"""Which of a layer's numbers are gamma, beta and the averages: by name, and by what they do.

gamma is what the training output is linear in, beta what is added to it.  An average is what training
moves from where it stands: set to two values and trained once, it keeps the same part of their
difference in every feature (a batch statistic kept for backward keeps none).  Which average is the
mean is told by the numbers that were taken in: the batch's means, or something that grows with its
variances.  Settings: the number that changes the kept part is the momentum, one that changes the
training output is eps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pybn.study.adapters.names import MEAN_NAMES, NAMES, VARIANCE_NAMES, bare
from pybn.study.adapters.places import NotSet, Place, arrays_of, as_array, get, members, numbers_of, parsed

FEATURES = 6  # no other size of the trial batch is 6
COUNT = 24  # two images of 4 x 3 positions: no axis is 1, and none as long as another
ARRAYS, NUMBERS = ("gamma", "beta", "running_mean", "running_var"), ("eps", "momentum")
CLOSE = 1e-4  # float32 keeps 1e-6 of a number; two roles differ by more than 1e-2


def batch(seed: int = 0) -> np.ndarray:
    """Rows with means and variances that are not alike from feature to feature."""
    random = np.random.default_rng(seed)
    means, deviations = np.array([3.0, -2.0, 0.7, 5.0, -4.0, 1.5]), np.array([0.3, 2.0, 0.8, 0.5, 1.2, 3.0])
    return means + deviations * random.normal(size=(COUNT, FEATURES))


UNABLE = (NotSet, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError)

Trial = Callable[[Mapping[Place, Any], bool], tuple[np.ndarray, Any]]
"""Make a layer, write to these places, call forward (True: in training); its output (n, d) and the layer."""


@dataclass
class Roles:
    """The place of each role that was found; `lazy` where the first forward makes them."""

    places: dict[str, Place] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lazy: bool = False
    of_variance: Place | None = None  # a momentum that running_var has for itself
    base: float = 0.0  # gamma is this and what stands in its place: 1 where a layer keeps its difference from one

    def missing(self, *roles: str) -> list[str]:
        """Those of the roles that have no place."""
        return [role for role in roles if role not in self.places]


def by_name(layer: Any, role: str) -> Place | None:
    """The first place whose last step has one of the role's names, and holds what the role is."""
    held = arrays_of(layer, FEATURES) if role in ARRAYS else numbers_of(layer)
    for name in NAMES[role]:
        found = [place for place in held if bare(place[-1]) == name or _object_named(place, name)]
        if found:
            return min(found, key=len)
    return None


def _object_named(place: Place, name: str) -> bool:
    """gamma.value, gamma.data: a parameter object's own array, and not its gradient."""
    return len(place) > 1 and bare(place[-2]) == name and bare(place[-1]) in ("value", "data", "values", "array")


def find_roles(trial: Trial, made: Any, named: Mapping[str, str]) -> Roles:
    """The roles of a layer: those that a teacher named, then by name, then by what the numbers do.

    made is a layer on which no forward was called yet; trial must not raise with nothing to set.
    """
    roles = Roles({role: parsed(text) for role, text in named.items() if role in (*ARRAYS, *NUMBERS)})
    _, layer = trial({}, True)
    for role in (*ARRAYS, *NUMBERS):
        place = by_name(layer, role) or by_name(made, role)
        if role not in roles.places and place is not None and place not in roles.places.values():
            roles.places[role] = place
    _parameters(trial, layer, roles, named)
    _as_they_start(made, roles, named)
    if "gamma" in roles.places:
        roles.base = _base(trial, roles.places["gamma"])
    _averages(trial, layer, roles)
    _as_named(trial, roles, named)
    _numbers(trial, layer, roles)
    for role, place in list(roles.places.items()):
        if role in ARRAYS:
            _shape(layer, made, roles, role, place)
    return roles


def _shape(layer: Any, made: Any, roles: Roles, role: str, place: Place) -> None:
    """Keep the shape that an array has; what is no array before the first forward makes the layer lazy."""
    before, after = as_array(get(made, place)), as_array(get(layer, place))
    array = before if before is not None and before.size == FEATURES else after
    if array is not None:
        roles.shapes[role] = array.shape
    if before is None:
        roles.lazy = True


# --- gamma and beta -------------------------------------------------------------------------------


def _parameters(trial: Trial, layer: Any, roles: Roles, named: Mapping[str, str]) -> None:
    """Where the list found none, or one that does nothing while another does what the role does."""
    effects: dict[Place, str] = {}

    def effect(place: Place) -> str:
        if place not in effects:
            effects[place] = _effect(trial, place)
        return effects[place]

    wanted = {"gamma": "scale", "beta": "shift"}
    for role, does in wanted.items():
        place = roles.places.get(role)
        if role in named or (place is not None and effect(place) != "none"):
            continue  # a wrong layer may do something else with its gamma
        taken = {held for other, held in roles.places.items() if other != role}
        found = [each for each in arrays_of(layer, FEATURES) if each not in taken and effect(each) == does]
        if found:
            roles.places[role] = min(found, key=len)


def _as_they_start(made: Any, roles: Roles, named: Mapping[str, str]) -> None:
    """What starts at ones is gamma, and what starts at zeros beta, whatever forward does with the two.

    That they are exchanged there is the slip then.  Names that say which is which are believed.
    """
    gamma, beta = (roles.places.get(role) for role in ("gamma", "beta"))
    told = any(role in named or by_name(made, role) for role in ("gamma", "beta"))
    if gamma is None or beta is None or told:
        return
    starts = [as_array(get(made, place)) for place in (gamma, beta)]
    if all(each is not None and np.all(each == start) for each, start in zip(starts, (0, 1), strict=True)):
        roles.places["gamma"], roles.places["beta"] = beta, gamma


def _effect(trial: Trial, place: Place) -> str:
    """What a number a feature does to the training output: "shift", "scale", "none" or "other"."""
    random = np.random.default_rng(1)
    first, move = random.uniform(1.0, 2.0, FEATURES), random.uniform(0.5, 1.5, FEATURES)
    try:
        outs = [trial({place: first + times * move}, True)[0] for times in range(3)]
    except UNABLE:
        return "other"
    one, two = outs[1] - outs[0], outs[2] - outs[1]
    size = np.abs(outs[1]).max()
    if not np.isfinite(one).all() or np.abs(one).max() <= CLOSE * size:
        return "none" if np.isfinite(one).all() else "other"
    if np.abs(one - move).max() <= CLOSE * size:
        return "shift"
    return "scale" if np.abs(two - one).max() <= CLOSE * size and np.ptp(one, 0).min() > CLOSE * size else "other"


def _base(trial: Trial, place: Place) -> float:
    """What is added to the number that stands there: with gamma 0 every row comes out alike."""
    for base in (0.0, 1.0):
        try:
            out, _ = trial({place: np.full(FEATURES, -base)}, True)
        except UNABLE:
            continue
        if np.isfinite(out).all() and np.ptp(out, 0).max() <= CLOSE:
            return base
    return 0.0


# --- averages -------------------------------------------------------------------------------------


def _averages(trial: Trial, layer: Any, roles: Roles) -> None:
    for role in ("running_mean", "running_var"):
        copy = roles.places.get(role)
        if copy is not None and _stays(trial, copy):
            continue
        taken = set(roles.places.values())
        found = [
            each
            for each in sorted(arrays_of(layer, FEATURES), key=len)
            if each not in taken and kind_of_average(trial, each) == role
        ]
        if found:
            roles.places[role] = found[0]
    _read_in_test(trial, layer, roles)
    missing = roles.missing("running_mean", "running_var")
    if len(missing) == 1:  # one of them is known: the only other array that training moves is the other, of what it may
        taken = set(roles.places.values())
        moved = [each for each in arrays_of(layer, FEATURES) if each not in taken and _moves(trial, each)]
        if len(moved) == 1:
            roles.places[missing[0]] = moved[0]


def _as_named(trial: Trial, roles: Roles, named: Mapping[str, str]) -> None:
    """What is called mean, and serves test mode as one, is the mean: training that fills it with variances is wrong.

    Where test mode reads the two crossed as well, the layer does what is right under names that are not.
    """
    mean, variance = (roles.places.get(role) for role in ("running_mean", "running_var"))
    if mean is None or variance is None or named:
        return
    crossed = _speaks(mean, VARIANCE_NAMES) and _speaks(variance, MEAN_NAMES)
    if crossed and role_in_test(trial, variance) == "running_mean" and role_in_test(trial, mean) == "running_var":
        roles.places["running_mean"], roles.places["running_var"] = variance, mean


def _speaks(place: Place, words: tuple[str, ...]) -> bool:
    return isinstance(place[-1], str) and any(word in words for word in re.split("[^a-z0-9]+|_", bare(place[-1])))


def _stays(trial: Trial, place: Place) -> bool:
    """Whether test mode leaves what is written there: else it may be a copy of what is kept elsewhere."""
    value = np.linspace(1.0, 2.0, FEATURES)
    try:
        held = as_array(get(trial({place: value}, False)[1], place))
    except UNABLE:  # an untrained layer in test mode, perhaps
        return True
    return held is not None and held.size == value.size and np.allclose(held.ravel(), value, rtol=1e-3)


def _read_in_test(trial: Trial, layer: Any, roles: Roles) -> None:
    """What test mode alone reads: averages that do not move as averages do."""
    for place in sorted(arrays_of(layer, FEATURES), key=len):
        missing = roles.missing("running_mean", "running_var")
        if not missing:
            return
        if place in roles.places.values() or _effect(trial, place) != "none":
            continue
        role = role_in_test(trial, place)
        if role in missing:
            roles.places[role] = place


def role_in_test(trial: Trial, place: Place) -> str:
    """What a number a feature is to test mode: "running_mean" shifts every row alike, "running_var" scales; ""."""
    first, move = np.linspace(1.0, 2.0, FEATURES), np.linspace(1.5, 0.5, FEATURES)
    try:
        outs = [trial({place: first + times * move}, False)[0] for times in range(3)]
    except UNABLE:
        return ""
    one, two = outs[1] - outs[0], outs[2] - outs[1]
    size = np.abs(outs[1]).max()
    if not np.isfinite(outs).all() or np.abs(one).max() <= CLOSE * size:
        return ""
    alike = np.ptp(one, 0).max() <= CLOSE * size and np.abs(two - one).max() <= CLOSE * size
    return "running_mean" if alike else "running_var"


def _moves(trial: Trial, place: Place) -> bool:
    part, taken = kept_part(trial, place)
    return bool(np.isfinite(part) and np.abs(taken).max() > 1e-6)


def kept_part(trial: Trial, place: Place, settings: Mapping[Place, Any] | None = None) -> tuple[float, np.ndarray]:
    """The part of its old value that training leaves at a place, and what it takes in; NaN where there is none."""
    random = np.random.default_rng(2)
    old = random.uniform(1.0, 2.0, (2, FEATURES))
    none = float("nan"), np.zeros(FEATURES)
    try:
        layers = [trial({**(settings or {}), place: each}, True)[1] for each in old]
    except UNABLE:
        return none
    new = [np.ravel(array) for layer in layers if (array := as_array(get(layer, place))) is not None]
    if len(new) < 2 or any(each.size != FEATURES for each in new):
        return none
    values = np.stack(new).astype(np.float64)
    parts = (values[1] - values[0]) / (old[1] - old[0])
    if not np.isfinite(parts).all() or np.ptp(parts) > 1e-2 or abs(parts.mean()) < 1e-3:
        return none
    return float(parts.mean()), values[0] - parts.mean() * old[0]


def kind_of_average(trial: Trial, place: Place) -> str:
    """ "running_mean", "running_var" or "" by what training takes in."""
    part, taken = kept_part(trial, place)
    if not np.isfinite(part) or np.abs(taken).max() < 1e-6:
        return ""
    x = batch()
    if _along(taken, x.mean(0)):
        return "running_mean"
    return "running_var" if any(_along(taken, each) for each in (x.var(0), x.std(0), (x**2).mean(0))) else ""


def _along(taken: np.ndarray, statistic: np.ndarray) -> bool:
    """Whether what was taken in is a multiple of a statistic, up to one number for all features."""
    return bool(np.corrcoef(taken, statistic)[0, 1] > 0.995)


# --- settings -------------------------------------------------------------------------------------


def _numbers(trial: Trial, layer: Any, roles: Roles) -> None:
    """eps and momentum among the single numbers, where no list has their name."""
    numbers = [place for place in numbers_of(layer) if place not in roles.places.values()]
    average = roles.places.get("running_mean")
    if "momentum" not in roles.places and average is not None:
        found = next((place for place in numbers if _is_momentum(trial, average, place)), None)
        if found is not None:
            roles.places["momentum"] = found
    momentum, variance = roles.places.get("momentum"), roles.places.get("running_var")
    if momentum is not None and variance is not None and not _is_momentum(trial, variance, momentum):
        others = (place for place in numbers if place != momentum)
        roles.of_variance = next((place for place in others if _is_momentum(trial, variance, place)), None)
    if "eps" not in roles.places:
        before, _ = trial({}, True)
        for place in numbers:
            if place != roles.places.get("momentum") and _changes(trial, place, before):
                roles.places["eps"] = place
                break


def _is_momentum(trial: Trial, average: Place, place: Place) -> bool:
    """Whether a number is the part of this average that is kept, or that is taken."""
    part, _ = kept_part(trial, average, {place: 0.3})
    return bool(np.isfinite(part) and min(abs(part - 0.3), abs(part - 0.7)) < 1e-3)


def _changes(trial: Trial, place: Place, before: np.ndarray) -> bool:
    """Whether a large value there makes the training output smaller in every feature."""
    try:
        after, _ = trial({place: 2.0}, True)
    except UNABLE:
        return False
    return bool(np.isfinite(after).all() and np.all(np.ptp(after, 0) < 0.999 * np.ptp(before, 0)))


def described(layer: Any) -> list[str]:
    """The names that a layer's arrays have, for a message: those with one number a feature first."""
    own = [".".join(map(str, place)) for place in arrays_of(layer, FEATURES)]
    return own or [str(step) for step in members(layer)]
