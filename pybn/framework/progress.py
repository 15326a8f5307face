"""A progress bar: one line that is written over, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from pybn.framework.train import Loop

WIDTH = 30
# Ten times a second looks continuous; more often costs time in a notebook.
SECONDS_BETWEEN = 0.1


class ProgressBar:
    """Shows how far long work is: call it with what is done and, where that is known, of how much.

    In a terminal it writes one line over; in a notebook it updates one output; into a file or a
    pipe it writes only the last state.
    """

    def __init__(self, title: str = "", file: TextIO | None = None) -> None:
        self.title = title
        self._file = file or sys.stderr
        self._started = time.monotonic()
        self._last_shown = float("-inf")
        self._display: Any = None
        self._notebook = file is None and _in_notebook()
        self._line = self._shown = ""
        self._ended = False

    def __call__(self, done: int, total: int | None = None, text: str = "") -> None:
        """Show that `done` of `total` is done."""
        now = time.monotonic()
        self._line = self._as_line(done, total, text, now - self._started)
        self._ended = total is not None and done >= total
        if self._ended or now - self._last_shown >= SECONDS_BETWEEN:
            self._last_shown = now
            self._show()

    def end(self) -> None:
        """Show the last state and end the line; needed where the total was not known, or not reached."""
        if self._line and not self._ended:
            self._ended = True
            self._show()

    def _as_line(self, done: int, total: int | None, text: str, seconds: float) -> str:
        if total:
            filled = round(WIDTH * min(1.0, done / total))
            bar = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {done}/{total}"
        else:
            bar = f"[{done}]"
        return f"{self.title} {bar} {seconds:.0f} s  {text}".strip()

    def _show(self) -> None:
        if self._notebook:
            self._show_in_notebook(self._line)
        elif self._file.isatty():
            self._file.write("\r" + self._line.ljust(len(self._shown)) + ("\n" if self._ended else ""))
            self._file.flush()
        elif self._ended:
            self._file.write(self._line + "\n")
        self._shown = "" if self._ended else self._line

    def _show_in_notebook(self, line: str) -> None:
        from IPython.display import Pretty, display

        if self._display is None:
            self._display = display(Pretty(line), display_id=True)
        else:
            self._display.update(Pretty(line))


def progress_bar(loop: Loop, title: str = "training") -> None:
    """Show a progress bar, with the metrics, while `loop` runs."""
    bar, first = ProgressBar(title), 0

    def start(loop: Loop, metrics: dict[str, float]) -> None:
        nonlocal bar, first
        bar, first = ProgressBar(title), loop.step

    def show(loop: Loop, metrics: dict[str, float]) -> None:
        text = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        bar(loop.step - first, None if loop.end_step is None else loop.end_step - first, text)

    def end(loop: Loop, metrics: dict[str, float]) -> None:
        bar.end()

    loop.on_start(start, priority=100)
    loop.on_step(show, priority=100)
    loop.on_end(end, priority=100)


def _in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel (asked of IPython only where that is loaded)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
