"""Where a backward has left dgamma and dbeta: by their parameters' names, by usual ones, last by value and order."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.names import NAMES, bare, kin
from pybn.study.adapters.places import Place, arrays_of, written
from pybn.study.adapters.roles import CLOSE, FEATURES, Roles


def find_gradients(
    layer: Any, before: Mapping[Place, np.ndarray], roles: Roles, right: Mapping[str, np.ndarray]
) -> dict[str, Place]:
    """Where backward has left dgamma and dbeta, of what appeared or changed: by their parameters' names, or usual ones.

    Values alone do not tell whose gradient it is: whoever has the two swapped would be put right by it.  What
    has no name for it is taken where the order in which the layer holds them says the same as the values.
    """
    everything = arrays_of(layer)
    parameters = dict(zip(("dgamma", "dbeta"), (roles.places.get(role) for role in ("gamma", "beta")), strict=True))
    new = [place for place in written(before, everything) if place not in parameters.values()]
    changed = [place for place in new if everything[place].size == FEATURES]
    found: dict[str, Place] = {}
    for places in (changed, new):  # of another size: one that was not summed is there all the same
        for tells in (_is_of_parameter, _is_gradient_of):
            for role, parameter in parameters.items():
                free = [place for place in places if place not in found.values() and tells(place, role, parameter)]
                if role not in found and free:
                    found[role] = min(free, key=functools.partial(_order, role))
    for role, parameter in parameters.items():
        gone = [place for place in before if place not in everything and _is_gradient_of(place, role, parameter)]
        if role not in found and gone:  # summed over everything: no array any more
            found[role] = min(gone, key=functools.partial(_order, role))
    rest = [place for place in changed if place not in found.values()]
    if len(found) == 1 and len(rest) == 1:
        found["dbeta" if "dgamma" in found else "dgamma"] = rest[0]
    return found or _by_value_and_order(rest, everything, list(parameters.values()), right)


def _by_value_and_order(rest, everything, parameters, right) -> dict[str, Place]:
    """Two places whose values are the two gradients, in the order of the parameters."""
    equal = {
        role: [place for place in rest if np.allclose(everything[place].ravel(), value, rtol=CLOSE, atol=CLOSE)]
        for role, value in right.items()
    }
    held = list(everything)
    if not all(equal.values()) or any(parameter not in held for parameter in parameters):
        return {}
    found = {role: min(places, key=len) for role, places in equal.items()}
    order = [held.index(found[role]) for role in ("dgamma", "dbeta")]
    own = [held.index(parameter) for parameter in parameters]
    return found if (order[0] < order[1]) == (own[0] < own[1]) else {}


def _is_of_parameter(place: Place, role: str, parameter: Place | None) -> bool:
    """By the name of its own parameter: grads["scale"], d_scale, scale.grad, grads[0] beside params[0]."""
    if parameter is None:
        return False
    last = bare(place[-1])
    if last in ("grad", "gradient", "g") and place[:-1] in (parameter, parameter[:-1]) and len(place) > 1:
        return True
    inside = len(place) > 1 and bare(place[-2]).startswith(("grad", "d_param", "dparam"))
    if inside and isinstance(place[-1], int):
        return bool(place[-1] == parameter[-1])
    named = (
        parameter[-2]
        if len(parameter) > 1 and bare(parameter[-1]) in ("value", "data", "values", "array")
        else parameter[-1]
    )
    return kin(place[-1], named)


def _is_gradient_of(place: Place, role: str, parameter: Place | None) -> bool:
    """By a usual name: dgamma, grads["gamma"]."""
    last = bare(place[-1])
    inside = len(place) > 1 and bare(place[-2]).startswith(("grad", "d_param", "dparam"))
    return last in NAMES[role] or (inside and last in NAMES[role[1:]])


def _order(role: str, place: Place) -> tuple[int, int]:
    names = NAMES[role]
    return names.index(bare(place[-1])) if bare(place[-1]) in names else len(names), len(place)
