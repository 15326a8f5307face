"""The process in which a student's code runs: it is asked for numbers, and has nothing else to say.

`python -P -m pybn.study.coursework.apart.guest SCRATCH MEMORY` with messages (`wire`) on its standard
input and output.  These are moved out of the way before anything of the student's is read, so prints to
file descriptors go nowhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from pybn import reference
from pybn.study import adapters
from pybn.study.coursework.apart import limits, wire
from pybn.study.coursework.edits.search import Question, search
from pybn.study.coursework.student import sandbox
from pybn.study.coursework.student.student import ROLE

IMPORT_LIMIT = 60.0  # seconds to import what a file imports: PyTorch takes 2 to 20 on a busy machine
ROLES = ("forward", "backward", "alternative_backward", "spatial_forward", "spatial_backward")


class NoFunctions(Exception):
    """There is nothing to check; the message says what there is."""


class Guest:
    """The student's functions by role, and what they have kept (caches, layers) by number."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self.kept: dict[int, Any] = {}
        self.next = 0
        self.calls_pybn = False

    def keep(self, value: Any) -> int:
        """A number for an object that stays here."""
        self.next += 1
        self.kept[self.next] = value
        return self.next

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One answer; what a student's code raises is in it."""
        asked = {"load": self.load, "call": self.call, "search": self.search}
        return asked[request["ask"]](request)

    def load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Import the file and adapt its functions."""
        self._watch_pybn()
        said: list[str] = []
        outcome = sandbox.run(lambda: self._functions(request, said), limit=IMPORT_LIMIT)
        limits.close()
        if outcome.failure:
            known = isinstance(outcome.error, NoFunctions)
            words = outcome.message if not known else str(outcome.error)
            return {"failure": words if known or outcome.failure == "hung" else f"it raises {words}"}
        self.functions = outcome.value
        return {"functions": {role: self._described(role) for role in self.functions}, "said": said}

    def _described(self, role: str) -> dict[str, Any]:
        function = self.functions[role]
        records = [each.to_dict() for each in getattr(function, "not_judged", ())]
        return {
            "name": str(getattr(function, "__name__", "")),
            "not_judged": records,
            "of_images": bool(getattr(function, "of_images", False)),
            "seen": [list(each) for each in getattr(function, "seen", ())],
            "own": list(getattr(function, "own", (None, None))),
            "keeps_momentum": bool(getattr(function, "keeps_momentum", False)),
            "counts_the_new": bool(getattr(function, "counts_the_new", False)),
        }

    def _functions(self, request: Mapping[str, Any], said: list[str]) -> dict[str, Callable[..., Any]]:
        module = imported(request["module"], said)
        options = {key: _option(request[key], module) for key in ("build", "mode")}
        options["names"] = request["names"] or None
        listed = {role: _attribute(module, name) for role, name in request["listed"].items()}
        if listed and "forward" not in listed:  # a 4-D pair alone
            return listed
        try:
            found = adapters.course_functions(listed.get("forward", module), **options)
        except (TypeError, ValueError) as error:
            raise NoFunctions(str(error)) from error
        functions = {**{role: function for role, function in vars(found).items() if function}, **_without_class(listed)}
        return {role: functions[role] for role in ROLES if role in functions}

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call a function within the limit, and say what came, what was printed, and what was changed."""
        arrays, last, function = request["arrays"], request["last"], self.functions[request["role"]]
        handed = dict(last) if isinstance(last, dict) else {}
        before = [np.array(array) for array in arrays]

        def called() -> Any:
            value = function(*arrays, last)
            if request["role"].endswith("forward") and type(value) in (tuple, list) and len(value) == 2:
                return (_element(value[0], self.keep), _left(value[1], self.keep)), _state(last, self.keep)
            return _crossing(value, self.keep), _state(last, self.keep)

        self.calls_pybn = False
        outcome = sandbox.run(called, limit=request["limit"])
        value, state = outcome.value if not outcome.failure else (None, _settled(last))
        changed = {key: handed[key] for key in ("running_mean", "running_var") if type(handed.get(key)) is np.ndarray}
        return {
            "value": value,
            "state": state,
            "handed": changed,
            "arrays": {
                str(i): array
                for i, (array, old) in enumerate(zip(arrays, before, strict=True))
                if not np.array_equal(array, old, equal_nan=True)
            },
            "failure": outcome.failure,
            "message": outcome.message,
            "unfinished": outcome.unfinished,
            "printed": outcome.printed,
            "threads": outcome.threads,
            "left": outcome.failure == "hung" and _left_behind(),
            "calls_pybn": self.calls_pybn,
        }

    def search(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The places of the edits that mend what is wrong; their words are made on the other side."""
        question = Question(**request["question"])
        answer = search(question, {ROLE.get(role, role): function for role, function in self.functions.items()})
        places = {part: list(place) for part, place in answer.places.items()}
        return {"places": places, "early": answer.early, "left": _left_behind()}

    def _watch_pybn(self) -> None:
        """A call of pybn's own operations is noticed; who copies their text is not."""
        for name in reference.__all__:
            function = getattr(reference, name)
            if callable(function) and not isinstance(function, type):
                setattr(reference, name, self._watched(function))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **keywords: Any) -> Any:
            self.calls_pybn = True
            return function(*arguments, **keywords)

        return watched


def _crossing(value: Any, keep: Callable[[Any], int]) -> Any:
    """What a call returned in a form that crosses, made within the call's limit."""
    if isinstance(value, tuple | list) and len(value) <= 10:
        kind = tuple if isinstance(value, tuple) else list
        return kind(_element(each, keep) for each in value)
    return _element(value, keep)


def _element(value: Any, keep: Callable[[Any], int]) -> Any:
    if value is None or type(value) in (bool, int, float) or isinstance(value, np.generic):
        return value
    if type(value) is str:
        return value[:1000]
    try:
        array = np.array(value)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except Exception:
        return _left(value, keep)
    if array.dtype.kind not in wire.KINDS or (array.ndim == 0 and not isinstance(value, np.ndarray)):
        return _left(value, keep)
    if isinstance(value, np.ndarray):
        return array
    return wire.named(wire.Foreign, type(value).__name__)(array, keep(value), 0)


def _left(value: Any, keep: Callable[[Any], int]) -> wire.Kept:
    """What stays here."""
    kept: wire.Kept = wire.named(wire.Kept, type(value).__name__)(keep(value), 0)
    return kept


def _state(last: Any, keep: Callable[[Any], int]) -> Any:
    """bn_param after the call."""
    if type(last) is not dict:
        return None
    return {str(key): _element(each, keep) for key, each in list(last.items())[:50]}


def _settled(last: Any) -> Any:
    """bn_param after a call that failed: the numbers alone."""
    if type(last) is not dict:
        return None
    return {str(key): each for key, each in last.items() if type(each) in (bool, int, float, str, np.ndarray)}


def _left_behind() -> bool:
    import threading

    return any(thread.name == "pybn-coursework" for thread in threading.enumerate())


# --- what is imported -----------------------------------------------------------------------------------


def imported(name: str, said: list[str]) -> ModuleType:
    """A module by name or by file; one that exits when it is read is taken as far as it came.

    Raises NoFunctions where there is none.
    """
    sys.path.insert(0, os.getcwd())  # as `python -m` does, so that a module of this directory is found
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise NoFunctions(f"there is no file {name}")
        sys.path.insert(0, str(path.parent.resolve()))
        spec = importlib.util.spec_from_file_location(path.stem, path)
    else:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError) as error:
            raise NoFunctions(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if spec is None or spec.loader is None:
        raise NoFunctions(f"there is no module {name!r} here; a file is named with its .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as stop:
        said.append(f"{name} exits when it is read ({stop.code!r}): what it had defined by then is checked")
    except sandbox.TimeIsUp:
        raise
    except BaseException as error:
        raise NoFunctions(f"{name!r} cannot be imported: {sandbox.described(error)}") from error
    return module


def _attribute(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        own = ", ".join(each for each in vars(module) if not each.startswith("_"))
        raise NoFunctions(f"{module.__name__} has no {name!r}; it has {own or 'no names of its own'}")
    return getattr(module, name)


def _option(value: str | None, module: ModuleType) -> Any:
    """The text of --build and --mode: a function as FILE:NAME, or, for a mode, a name."""
    if value is None or ":" not in value:
        return getattr(module, value) if value and callable(getattr(module, value, None)) else value
    where, _, name = value.rpartition(":")
    return _attribute(imported(where, []), name)


def _without_class(listed: Mapping[str, Any]) -> dict[str, Any]:
    """The functions that were named one by one; what stands in the first place is adapted."""
    return {role: each for role, each in listed.items() if role != "forward"}


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer until nobody asks."""
    guest = Guest()
    while True:
        try:
            request = wire.receive(incoming, resolve=guest.kept.get)
        except EOFError:
            return
        answer = guest.answer(request)
        try:
            wire.send(outgoing, answer)
        except MemoryError:
            wire.send(
                outgoing, {**dict.fromkeys(answer), "failure": "raised", "message": "MemoryError: no answer fits"}
            )


def main() -> None:
    """Move the streams out of the way, set the limits, serve."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.dont_write_bytecode = True
    limits.set_limits(int(sys.argv[2]))
    limits.refuse(Path(sys.argv[1]))
    serve(incoming, outgoing)
    incoming.close()
    os._exit(0)  # threads of a student's that go on end here


if __name__ == "__main__":
    main()
