"""Where an object keeps its numbers: attributes, entries of dicts and lists, attributes of objects it holds.

A place is a path of steps, ("stats", "mean") or ("params", 0).  Reading gives NumPy arrays, writing
keeps what is there: its shape, and whether it is a tensor, a parameter or an array.  A tuple that
holds numbers is replaced by a new one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

Place = tuple[Any, ...]
FEW = 4  # rows of one array that are told apart
DEPTH, WIDTH = 3, 40  # deeper or wider there are data, and no settings
_MODULE_STORES = ("_parameters", "_buffers", "_modules")  # of PyTorch


class NotSet(Exception):
    """A place that could not be written, or does not keep what was written."""


def is_tensor(value: Any) -> bool:
    """Whether this is a PyTorch tensor; PyTorch is not imported for the question."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def as_array(value: Any) -> np.ndarray | None:
    """A copy as an array of numbers, or None."""
    if is_tensor(value):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        return None
    return np.array(value)


def members(value: Any) -> Mapping[Any, Any]:
    """What an object, a dict or a list holds, by step."""
    if isinstance(value, dict):
        return value if len(value) <= WIDTH else {}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return dict(enumerate(value)) if len(value) <= WIDTH else {}
    own = getattr(value, "__dict__", {}) | _slots(value)
    if all(name in own for name in _MODULE_STORES):
        own = {name: each for name, each in own.items() if not name.startswith("_")} | {
            name: each for store in _MODULE_STORES for name, each in own[store].items()
        }
    return own


def _slots(value: Any) -> dict[str, Any]:
    names = [name for base in type(value).__mro__ for name in _listed(getattr(base, "__slots__", ()))]
    return {name: getattr(value, name) for name in names if name != "__dict__" and hasattr(value, name)}


def _listed(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def walk(value: Any, depth: int = DEPTH, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Place, Any]]:
    """Every leaf that can be written, nearest first."""
    deeper: list[tuple[Any, Any]] = []
    for step, held in members(value).items():
        if is_tensor(held) or isinstance(held, np.ndarray | bool | int | float | str | np.generic | Enum | None):
            yield (step,), held
            if is_tensor(held) and held.is_leaf and held.grad is not None:
                yield (step, "grad"), held.grad
            yield from (((step, row), each) for row, each in enumerate(_rows(held)))
        elif not isinstance(held, type | FunctionType | MethodType | ModuleType) and id(held) not in seen:
            deeper.append((step, held))
    if depth > 1:
        for step, held in deeper:
            for place, leaf in walk(held, depth - 1, seen | {id(value)}):
                yield (step, *place), leaf


def _rows(held: Any) -> Iterable[np.ndarray]:
    """The rows of an array that may hold gamma and beta, or both averages, one a row."""
    few = isinstance(held, np.ndarray) and held.ndim == 2 and 1 < held.shape[0] <= FEW < held.shape[1]
    return held if few else ()


def get(value: Any, place: Place) -> Any:
    """What stands at a place; None where there is nothing."""
    for step in place:
        if isinstance(value, np.ndarray) and isinstance(step, int):
            value = value[step] if value.ndim > 1 and step < len(value) else None
        elif isinstance(value, dict | list) or (isinstance(value, tuple) and isinstance(step, int)):
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        else:
            value = getattr(value, step, None) if isinstance(step, str) else None
    return value


def put(owner: Any, place: Place, value: Any) -> None:
    """Write to a place, and to each other place that holds the same object, and read it back.

    Raises NotSet where the place does not keep it.
    """
    if not _exists(owner, place):
        raise NotSet(f"there is no {shown(place)}")
    before = get(owner, place)
    aliases = [] if before is None or np.isscalar(before) else [p for p, held in walk(owner) if held is before]
    new = _like(value, before)
    for each in dict.fromkeys([place, *aliases]):
        _store(owner, each, new)
        if not _kept(get(owner, each), value):
            raise NotSet(f"{shown(each)} does not keep what it is set to")


def _exists(owner: Any, place: Place) -> bool:
    """Whether the last step is there, be it None: nothing new is made in somebody's object."""
    holder, step = get(owner, place[:-1]), place[-1]
    if isinstance(holder, tuple) and isinstance(step, int):
        return step < len(holder)
    if isinstance(holder, np.ndarray):
        return holder.ndim > 1 and isinstance(step, int) and step < len(holder)
    if isinstance(holder, dict | list):
        return step in members(holder)
    return isinstance(step, str) and hasattr(holder, step)


def _store(owner: Any, place: Place, new: Any) -> None:
    holder = get(owner, place[:-1])
    try:
        if is_tensor(get(owner, place)) and type(get(owner, place)).__name__ == "Parameter":
            get(owner, place).data = new
        elif isinstance(holder, tuple):
            _store(owner, place[:-1], _replaced(holder, place[-1], new))
        elif _is_frozen(holder):
            _store(owner, place[:-1], dataclasses.replace(holder, **{place[-1]: new}))
        elif isinstance(holder, dict | list | np.ndarray):
            holder[place[-1]] = new
        else:
            setattr(holder, place[-1], new)
    except Exception as error:  # whatever a setter of theirs does
        raise NotSet(f"{shown(place)} cannot be set: {type(error).__name__}") from error


def _is_frozen(holder: Any) -> bool:
    """A dataclass that is replaced and not written to, as a tuple is."""
    return dataclasses.is_dataclass(holder) and holder.__dataclass_params__.frozen  # type: ignore[union-attr]


def _replaced(holder: tuple[Any, ...], step: Any, new: Any) -> tuple[Any, ...]:
    """A tuple of the same kind with one element changed."""
    named = hasattr(holder, "_fields")
    index = holder._fields.index(step) if named and isinstance(step, str) else step  # type: ignore[attr-defined]
    elements = [*holder[:index], new, *holder[index + 1 :]]
    return type(holder)(*elements) if named else tuple(elements)


def _like(value: Any, before: Any) -> Any:
    """A new value in the shape and of the kind of what is there."""
    if not isinstance(value, np.ndarray):
        return value
    shape = before.shape if hasattr(before, "shape") and np.prod(before.shape) == value.size else value.shape
    new = np.array(value).reshape(shape)
    if not is_tensor(before):
        return new
    import torch

    tensor = torch.tensor(new)
    return tensor.requires_grad_(before.requires_grad) if type(before).__name__ != "Parameter" else tensor


def _kept(held: Any, value: Any) -> bool:
    if not isinstance(value, np.ndarray):
        return bool(held == value)
    array = as_array(held)
    if array is None or array.size != value.size:
        return False
    flat, wanted = array.ravel(), value.ravel()  # nearly always equal: asked first, it is a sixth of a layer's forward
    return np.array_equal(flat, wanted) or np.allclose(flat, wanted, rtol=1e-3)


def shown(place: Place) -> str:
    """A place as a teacher writes it in `names=`: stats.mean, params.0."""
    return ".".join(map(str, place))


def parsed(text: str) -> Place:
    """The place that `shown` wrote."""
    return tuple(int(step) if step.isdigit() else step for step in text.split("."))


def arrays_of(owner: Any, size: int | None = None) -> dict[Place, np.ndarray]:
    """Copies of all arrays, of those with this many elements."""
    found = {place: as_array(held) for place, held in walk(owner) if hasattr(held, "shape")}
    return {place: array for place, array in found.items() if array is not None and size in (None, array.size)}


def written(before: Mapping[Place, np.ndarray], after: Mapping[Place, np.ndarray]) -> list[Place]:
    """The places whose array is new or has changed."""
    return [p for p, array in after.items() if p not in before or not np.array_equal(before[p], array)]


def numbers_of(owner: Any) -> dict[Place, float]:
    """All single floats, and those of the class that an attribute would hide."""
    own = {place: held for place, held in walk(owner) if isinstance(held, float)}
    of_class = {(name,): held for name, held in vars(type(owner)).items() if isinstance(held, float)}
    return {**of_class, **own}


def switches_of(owner: Any, limit: int = 12) -> str:
    """What may be a mode of an object, for a message: truth values, texts, members of an Enum."""
    names = [shown(place) for place, held in walk(owner) if isinstance(held, bool | str | Enum)]
    return ", ".join(names[:limit]) or "none"
