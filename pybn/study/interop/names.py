"""Which arrays of a file belong to one layer: names with paths, prefixes, Keras's ":0", groups within groups.

A source is a dict of arrays, or of such dicts, an open h5py file or group, or an open safetensors file.  Nothing of it
is read but what the layer needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

Get = Callable[[], Any]
SEPARATORS = ("/", ".")


def chosen(
    owner: str,
    source: Any,
    prefix: str,
    required: Collection[str],
    known: Collection[str],
    by_place: Sequence[str] = (),
) -> dict[str, Any]:
    """The arrays of one layer by their last names, such as "gamma" for "bn_1/gamma:0".

    Parameters
    ----------
    owner : the library, for the errors
    prefix : what the layer's names begin with; "" where one layer alone is in there
    required, known : the last names that must be there, and all that may be
    by_place : the names of arrays that the file numbers "0", "1", ...

    Raises ValueError where `prefix` leads to no layer or to several, with those that there are, and for a name that
    would be ignored.
    """
    arrays = _numbers_named(dict(_leaves(source)), by_place)
    return _at(owner, arrays, _stem(owner, arrays, prefix, required), required, known)


def stem_of(owner: str, source: Any, prefix: str, required: Collection[str]) -> str:
    """All that stands before the last names of the layer that `prefix` leads to; errors as in `chosen`."""
    return _stem(owner, dict(_leaves(source)), prefix, required)


def at_stem(owner: str, source: Any, stem: str, known: Collection[str]) -> dict[str, Any]:
    """The arrays, maybe none, that stand right at `stem`."""
    return _at(owner, dict(_leaves(source)), stem, (), known)


def _stem(owner: str, arrays: Collection[str], prefix: str, required: Collection[str]) -> str:
    if all(prefix + name in arrays for name in required):
        return prefix
    layers = [stem for stem, lasts in _stems(arrays).items() if set(required) <= lasts]
    beneath = [stem for stem in layers if _begins(stem, prefix)]
    if len(beneath) > 1:
        raise ValueError(f"prefix must name one batch normalization of {owner}, got {prefix!r}: {some(beneath)}")
    if layers and not beneath:
        raise ValueError(
            f"prefix must be what the names of a batch normalization of {owner} begin with, got {prefix!r}: "
            f"missing {list(required)} there; there is {some(layers)}"
        )
    return beneath[0] if beneath else prefix


def _at(
    owner: str, arrays: Mapping[str, Get], stem: str, required: Collection[str], known: Collection[str]
) -> dict[str, Any]:
    own = {name.removeprefix(stem): get for name, get in arrays.items() if name.startswith(stem)}
    found = {name: get for name, get in own.items() if name in known or not any(s in name for s in SEPARATORS)}
    if not set(required) <= set(found):
        found = own  # the error shows all that there is
    expect_keys(owner, found, required, known)
    return {name: get() for name, get in found.items()}


def expect_keys(owner: str, arrays: Collection[str], required: Collection[str], known: Collection[str]) -> None:
    """ValueError where an array is missing, or has a name that would be ignored."""
    missing = [name for name in required if name not in arrays]
    unknown = [name for name in arrays if name not in known]
    if missing or unknown:
        raise ValueError(
            f"{owner} must have the arrays {list(required)} and may have {[n for n in known if n not in required]}; "
            f"missing {missing}, unknown {some(unknown)}"
        )


def _leaves(source: Any, path: str = "") -> Iterator[tuple[str, Get]]:
    """The arrays in `source` by their whole names, without Keras's ":0", each to be got when it is needed."""
    if hasattr(source, "get_tensor"):  # an open safetensors file
        yield from ((name, partial(source.get_tensor, name)) for name in source.keys())
        return
    if not _is_group(source):
        raise TypeError(
            "arrays must be a dict of arrays or an open file of h5py or safetensors (h5py.File(path), "
            f"safetensors.numpy.load_file(path)), got {type(source).__name__}"
        )
    for name in source.keys():  # a file has keys() and is not always iterable
        value = source[name]
        if _is_group(value):
            yield from _leaves(value, f"{path}{name}/")
        elif value is not None:  # Flax's nnx has None for what is not learned
            yield f"{path}{name}".removesuffix(":0"), partial(_itself, value)


def _is_group(value: Any) -> bool:
    return isinstance(value, Mapping) or (hasattr(value, "keys") and not hasattr(value, "shape"))


def _itself(value: Any) -> Any:
    return value


def _stems(arrays: Collection[str]) -> dict[str, set[str]]:
    """The last parts of the names by what stands before them."""
    stems: dict[str, set[str]] = {}
    for name in arrays:
        cut = max(name.rfind(separator) for separator in SEPARATORS) + 1
        stems.setdefault(name[:cut], set()).add(name[cut:])
    return stems


def _begins(stem: str, prefix: str) -> bool:
    """Whether `stem` is that of `prefix` or lies beneath it: "bn1" begins "bn1." and "bn1.inner.", not "bn10."."""
    whole = prefix.rstrip("".join(SEPARATORS))
    return not whole or any((stem or "/").startswith(whole + separator) for separator in SEPARATORS)


def _numbers_named(arrays: dict[str, Get], names: Sequence[str]) -> dict[str, Get]:
    """`arrays`, where as many as `names` that are numbered and of one shape (C,) have these names.

    Fewer keep their numbers: two could be a layer normalization's too.
    """
    numbers = {str(place) for place in range(len(names))}
    renamed = {}
    for stem, lasts in _stems(arrays).items():
        if names and lasts == numbers:
            shapes = {tuple(getattr(arrays[stem + last](), "shape", ())) for last in lasts}
            if len(shapes) == 1 and len(shapes.pop()) == 1:
                renamed.update({stem + str(place): stem + name for place, name in enumerate(names)})
    return {renamed.get(name, name): get for name, get in arrays.items()}


def some(names: Sequence[str]) -> str:
    """The first eight, and how many more."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{list(names[:8])}{more}"
