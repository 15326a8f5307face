"""The progress bar in a terminal, in a file, and in a notebook."""

from __future__ import annotations

import io
import sys
import types

import pytest

from pybn import Context, Loop, ProgressBar, progress_bar
from pybn.framework import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def test_a_terminal_writes_one_line_over(clock):
    terminal = Terminal()
    bar = ProgressBar("work", terminal)
    bar(1, 4, "a long text")
    clock.seconds = 1
    bar(2, 4, "short")
    clock.seconds = 2.4
    bar(4, 4)
    lines = terminal.getvalue().split("\r")
    assert lines[0] == ""
    assert lines[1] == "work [########......................] 1/4 0 s  a long text"
    assert lines[2].rstrip() == "work [###############...............] 2/4 1 s  short"
    assert len(lines[2]) == len(lines[1]), "what was longer before is wiped out"
    assert lines[3].split() == ["work", f"[{'#' * 30}]", "4/4", "2", "s"]
    assert terminal.getvalue().endswith("\n")


def test_it_shows_ten_times_a_second_and_the_end(clock):
    terminal = Terminal()
    bar = ProgressBar(file=terminal)
    for done in range(1, 101):
        clock.seconds = done / 100
        bar(done, 100)
    assert terminal.getvalue().count("\r") == pytest.approx(11, abs=1)
    assert "100/100" in terminal.getvalue()


def test_a_file_gets_the_last_state_alone(clock):
    file = io.StringIO()
    bar = ProgressBar("work", file)
    for done in range(1, 4):
        clock.seconds += 1
        bar(done, 3, "x")
    bar.end()
    assert file.getvalue() == f"work [{'#' * 30}] 3/3 3 s  x\n"


def test_where_the_total_is_unknown_the_end_is_told(clock):
    file, terminal = io.StringIO(), Terminal()
    for each in (file, terminal):
        bar = ProgressBar("work", each)
        bar(7)
        bar(8)
        bar.end()
        bar.end()
    assert file.getvalue() == "work [8] 0 s\n"
    assert terminal.getvalue() == "\rwork [7] 0 s\rwork [8] 0 s\n"


def test_a_bar_that_was_never_called_shows_nothing():
    file = io.StringIO()
    ProgressBar("work", file).end()
    assert file.getvalue() == ""


def test_more_than_all_is_all(clock):
    file = io.StringIO()
    ProgressBar("work", file)(5, 4)
    assert "#" * 30 + "]" in file.getvalue()


def test_it_writes_to_stderr_by_default(capsys, clock):
    ProgressBar("work")(1, 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1/1" in captured.err


class Trained:
    def __init__(self):
        self.context = Context(0)

    def train_step(self, inputs, labels):
        return {"loss": 1.0 / 3, "accuracy": 1.0}


@pytest.fixture
def loop():
    return Loop(Trained())


BATCHES = [(0, 0), (1, 1), (2, 2)]


def test_the_bar_of_a_loop(loop, capsys):
    progress_bar(loop, "digits")
    loop.run_epochs(BATCHES, 2)
    loop.run_steps(BATCHES, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"digits [{'#' * 30}] 6/6 ")
    assert lines[0].endswith("loss 0.333  accuracy 1.000")
    assert lines[1].startswith(f"digits [{'#' * 30}] 2/2 "), "a second run counts from its own start"


def test_the_bar_of_a_loop_that_does_not_know_its_end(loop, capsys):
    class Unsized:
        def __iter__(self):
            return iter(BATCHES)

    progress_bar(loop)
    loop.run_epochs(Unsized(), 2)
    assert capsys.readouterr().err.startswith("training [6] ")


def test_a_notebook_updates_one_output(monkeypatch, clock):
    shown = []

    class Handle:
        def update(self, what):
            shown.append(("update", what.text))

    def display(what, display_id):
        assert display_id is True
        shown.append(("new", what.text))
        return Handle()

    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    ipython.display.Pretty = lambda text: types.SimpleNamespace(text=text)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    bar = ProgressBar("work")
    bar(1, 2)
    bar(2, 2)
    assert [kind for kind, _ in shown] == ["new", "update"]
    assert "2/2" in shown[-1][1]
    shell.config = {"TerminalIPythonApp": {}}
    assert not progress._in_notebook()
    ipython.get_ipython = lambda: None
    assert not progress._in_notebook()
