"""Other people's implementations in two common shapes, so that one line adapts them.

`course_functions` brings anything it knows (functions, a class, a PyTorch module, an implementation of
pybn's operations) to the course's pair, `forward(x, gamma, beta, bn_param) -> (out, cache)` and
`backward(dout, cache) -> (dx, dgamma, dbeta)`, which `check_batch_norm` takes.  `operations` goes the
other way: it gives such a pair pybn's names and signatures, so that it can be compared with
`pybn.reference`.  Names here are the other side's: gamma and beta for scale and offset.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

from pybn.study.adapters.functions import (
    CourseFunctions,
    course_forward,
    from_names,
    from_operations,
    has_course_names,
    one_pixel,
)
from pybn.study.adapters.handed import as_layer, from_pair
from pybn.study.adapters.layers import LAYER, NAMEABLE, Adapted, Function
from pybn.study.adapters.modes import Override, codes_of
from pybn.study.adapters.names import NAMES
from pybn.study.adapters.namespaces import from_namespace, is_namespace
from pybn.study.adapters.not_judged import NotJudged
from pybn.study.adapters.operations import CourseOperations

__all__ = [
    "LAYER",
    "NAMES",
    "CourseFunctions",
    "CourseOperations",
    "NotJudged",
    "course_functions",
    "from_names",
    "from_operations",
    "one_pixel",
    "operations",
]


def course_functions(
    implementation: Any,
    *,
    images: bool | None = None,
    names: Mapping[str, str] | None = None,
    build: Callable[[int], Any] | None = None,
    mode: Override | None = None,
    acquainted: bool = True,
) -> CourseFunctions:
    """The course's functions of whatever was handed in.

    Parameters
    ----------
    implementation : a CourseFunctions; a function (then it is the forward); a mapping or a module with
        the course's names (`batchnorm_forward`, ...); an implementation of pybn's operations; a class
        with a forward, on NumPy's arrays or on PyTorch's tensors
    images : whether a class takes (n, c, h, w); by default one with "2d" or "spatial" in its name, and
        one that runs on such arrays alone
    names : what a class calls gamma, beta, running_mean, running_var, dgamma, dbeta, eps, momentum,
        output, dx, forward or backward, {"running_mean": "stats.mean"}; for a module what it calls
        forward, backward, alternative_backward, spatial_forward or spatial_backward
    build : (number of features) -> a layer, where the class cannot be made from that number alone
    mode : how a layer is told that it trains: the name of a parameter of forward, of an attribute, or of
        the method that is forward in test mode; or a function (layer, training)
    acquainted : False leaves a class uncalled until its functions are: then it is only adapted by name

    Raises TypeError for anything else, ValueError for a role that `names` may not hold.  What could not
    be set or read in a class is in the attribute `not_judged` of the functions (`NotJudged`).
    """
    if isinstance(implementation, CourseFunctions):
        return implementation
    warm_up(implementation)
    if hasattr(implementation, "batch_norm_training"):
        return from_operations(implementation)
    if isinstance(implementation, Mapping | ModuleType):
        table = implementation if isinstance(implementation, Mapping) else vars(implementation)
        pair = None if names or has_course_names(table) else from_pair(table)
        if pair is None:
            return from_names(implementation, names)
        implementation = pair
    if inspect.isclass(implementation) and names is build is mode is None and is_namespace(implementation):
        return from_namespace(implementation)
    if inspect.isclass(implementation):
        implementation = (None if build else as_layer(implementation)) or implementation
        return from_class(implementation, images=images, names=names, build=build, mode=mode, acquainted=acquainted)
    if hasattr(implementation, "forward") or hasattr(implementation, "backward"):
        raise TypeError(
            f"an implementation must be the class {type(implementation).__name__} and not one layer of it; "
            "build=lambda features: ... says how layers are made"
        )
    if callable(implementation):
        return CourseFunctions(forward=course_forward(implementation))
    raise TypeError(
        "an implementation must be a function, a class, a module, a mapping or have pybn's operations, "
        f"got {type(implementation).__name__}"
    )


def from_class(
    layer: type,
    *,
    images: bool | None = None,
    names: Mapping[str, str] | None = None,
    build: Callable[[int], Any] | None = None,
    mode: Override | None = None,
    acquainted: bool = True,
) -> CourseFunctions:
    """A class with a forward, and a backward or PyTorch's, as the course's functions.

    Its settings, parameters, averages, gradients and mode are found by their usual names, and else by
    what they do; each is set and read back.  What could not be is in the functions' `not_judged`.
    """
    unknown = sorted(set(names or {}) - set(NAMEABLE))
    if unknown:
        raise ValueError(f"names may hold {', '.join(NAMEABLE)}, got {', '.join(unknown)}")
    given: dict[str, Any] = {"names": names, "build": build, "mode": mode, "acquainted": acquainted}
    name = layer.__name__.lower()
    if images if images is not None else "2d" in name or "spatial" in name:
        met = _met_with_images(layer, given) or Adapted(layer, dims=4, **given)
        flat = Adapted(layer, dims=2, **given)
        if met.normalizes or not flat.normalizes:
            return _of_images(met)
        return CourseFunctions(*_pair(flat), None, *_pair(met, ("spatial",), ("spatial",)))
    flat = Adapted(layer, dims=2, **given)
    if "dims" in flat.maker.takes:
        spatial = Adapted(layer, dims=4, **given)
        return CourseFunctions(*_pair(flat), None, *_pair(spatial, ("spatial",), ("spatial",)))
    of_images = _met_with_images(layer, given) if acquainted and images is None else None
    if of_images and not flat.works:
        return _of_images(of_images)
    if of_images and of_images.channels_last and of_images.raises_backward:
        of_images = None  # rows of features, which numpy happens to broadcast over images
    if of_images and (of_images.normalizes or (_speaks_of_images(layer) and not of_images.channels_last)):
        return CourseFunctions(*_pair(flat), None, *_pair(of_images, ("spatial",), ("spatial",)))
    lost = _lost_images(layer, flat, given) if acquainted and images is None else None
    if lost is not None:
        return CourseFunctions(*_pair(flat), None, *_pair(lost, ("spatial",), ("spatial",)))
    return CourseFunctions(*_pair(flat))


def _lost_images(layer: type, flat: Adapted, given: Mapping[str, Any]) -> Adapted | None:
    """The class on images, where test mode takes them, channel by channel, and training is not met on them.

    Nobody's rows of features are channels in second place by chance: these are judged.  In last place NumPy broadcasts
    whatever there is, so a class that counts axes may mean images, and may not: they are not judged.  One that trains
    on (n, t, c) counts them for that.
    """
    given = {**given, "names": flat.names}  # with what was found by trying
    if flat.treats_as_rows((2, 4, 3), training=False, axis=1):
        return Adapted(layer, dims=4, **given)
    sequences = flat.treats_as_rows((4, 6), training=True)
    if _counts_axes(layer) and not sequences and flat.treats_as_rows((2, 4, 3), training=False):
        lost = Adapted(layer, dims=4, channels_last=True, **given)
        lost.leave_images_open()
        return lost
    return None


def _counts_axes(layer: type) -> bool:
    return _speaks_of_images(layer) or any("ndim" in code.co_names for code in codes_of(layer))


def _met_with_images(layer: type, given: Mapping[str, Any]) -> Adapted | None:
    """The class on images, (n, c, h, w) or (n, h, w, c), in the order in which it normalizes each channel.

    None where it runs on neither; the course's order where it runs on both and normalizes in none.
    """
    first = Adapted(layer, dims=4, **given)
    if first.works and first.normalizes:
        return first
    last = Adapted(layer, dims=4, channels_last=True, **given)
    return last if last.works and last.normalizes else first if first.works else last if last.works else None


def _speaks_of_images(layer: type) -> bool:
    """Whether a class has code for four axes: it counts them, names three of them, or changes their order."""
    codes = list(codes_of(layer))
    counts = any(const in (4, (0, 2, 3), (0, 1, 2)) for code in codes for const in code.co_consts)
    moves = {"transpose", "permute", "moveaxis", "swapaxes"}
    return counts or any(moves & set(code.co_names) and {2, 3} <= _numbers(code) for code in codes)


def _numbers(code: CodeType) -> set[int]:
    """Whole numbers among a function's constants, and in their tuples."""
    flat = [each for const in code.co_consts for each in (const if isinstance(const, tuple) else (const,))]
    return {each for each in flat if isinstance(each, int)}


def _pair(adapted: Adapted, forward=("training", "statistics", "test"), backward=("backward",)) -> tuple[Any, Any]:
    """Forward and backward of a class, with what is not judged of these parts."""
    return Function(adapted, adapted.forward, forward), (
        Function(adapted, adapted.backward, backward) if adapted.has_backward() else None
    )


def _of_images(adapted: Adapted) -> CourseFunctions:
    """A layer of images as both pairs: in 2-D each row is an image of one pixel."""
    spatial = _pair(adapted, ("spatial",), ("spatial",))
    forward, backward = one_pixel(*spatial)
    flat = Function(adapted, forward, ("training", "statistics", "test"))
    flat.of_images = True
    return CourseFunctions(flat, Function(adapted, backward, ("backward",)) if backward else None, None, *spatial)


def warm_up(implementation: Any) -> None:
    """Have PyTorch import what its first gradient needs: that must not count against a student's time.

    For a number's gradient, which the adapter asks for, that is little; for an array's, as a student may ask for in a
    backward of his own, PyTorch 2.13 imports sympy and 480 other modules, half a second and more on a busy machine.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad((x * x).sum(), [x])
    if any({"backward", "grad"} & set(code.co_names) for code in _codes_beside(implementation)):
        torch.autograd.grad(x * x, [x], torch.ones(2))


def _codes_beside(implementation: Any) -> Iterator[CodeType]:
    """The code of all functions and classes of the file or the table that this comes from."""
    module = implementation if isinstance(implementation, ModuleType) else inspect.getmodule(implementation)
    table = implementation if isinstance(implementation, Mapping) else vars(module) if module else {}
    # By type alone: whatever else the file holds may answer each name that it is asked for, or raise.
    written = [held for held in table.values() if inspect.isclass(held) or inspect.isfunction(held)]
    for held in (implementation, *(each for each in written if each.__module__ == module_name(table))):
        if inspect.isclass(held):
            yield from codes_of(held)
        elif inspect.isfunction(held):
            yield from _with_inner(held.__code__)


def module_name(table: Mapping[str, Any]) -> str:
    """What a module's functions have as their `__module__`."""
    return str(table.get("__name__", ""))


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _with_inner(const)


def operations(implementation: Any) -> Any:
    """pybn's operations of whatever `course_functions` takes; what has them already is given back."""
    if hasattr(implementation, "batch_norm_training"):
        return implementation
    return CourseOperations(course_functions(implementation))
