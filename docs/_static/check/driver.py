"""What the page "Check my code" runs in the browser's Python: the reader's code, and the check of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "your_code"


def check(source: str) -> str:
    """Run the code and check its functions: JSON with `printed`, and `report` or `error`."""

    def judged(module: ModuleType) -> dict[str, Any]:
        from pybn.study.coursework import check_batch_norm

        return {"report": check_batch_norm(vars(module)).to_dict()}

    return _answer(source, judged)


def run(source: str) -> str:
    """Run the code alone: JSON with `printed`, and `error` where it raised."""
    return _answer(source, lambda module: {})


def _answer(source: str, then: Any) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            answer = then(_module(source))
        except BaseException as error:  # also what sys.exit raises: the page shows it
            answer = {"error": _told(error)}
    return json.dumps({"printed": printed.getvalue(), **answer})


def _module(source: str) -> ModuleType:
    """The code as a module with a file, so that a traceback shows its lines."""
    Path(f"{NAME}.py").write_text(source, encoding="utf-8")
    sys.modules.pop(NAME, None)
    sys.dont_write_bytecode = True  # two versions within a second look the same to the cache
    importlib.invalidate_caches()
    if "" not in sys.path:
        sys.path.insert(0, "")
    return importlib.import_module(NAME)


def _told(error: BaseException) -> str:
    """The error with the reader's own lines."""
    told = traceback.TracebackException.from_exception(error)
    own = [frame for frame in told.stack if Path(frame.filename).stem == NAME]
    lines = [f"line {frame.lineno}: {frame.line}" for frame in own]
    return "\n".join([*lines, "".join(told.format_exception_only()).strip()])
