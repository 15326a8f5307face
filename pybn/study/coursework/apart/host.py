"""The side of the verdict: functions that ask a student's process, which may hang, end or answer anything.

A function of `Host.functions` is called as the student's own would be, and does what that one does with
its arguments: it returns the numbers, writes into the arrays, leaves bn_param as the other side has left
it.  A process that does not answer a second after its limit is killed; the next call finds a new one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pybn.study.adapters.not_judged import NotJudged
from pybn.study.coursework.apart import wire
from pybn.study.coursework.edits.code import Place
from pybn.study.coursework.edits.search import Answer, Question, as_plain
from pybn.study.coursework.student.sandbox import GRACE, Failed

LATE = 2 * GRACE  # seconds after its limit at which a process is killed
STARTING = 90.0  # seconds to start and to import the file
LONGEST = 300_000  # bytes of a file that is searched for an edit; of 257 published solutions the longest has 40 000
LIVES = 4  # processes in one check; then whoever ends them is told so without another


class NoVerdict(Exception):
    """There is nothing to judge: the file cannot be read, or holds nothing; the message says why."""


class Host:
    """One student's process.  A context manager: leaving it ends the process and clears its scratch directory."""

    def __init__(self, module: str, *, limit: float, memory: int, options: Mapping[str, Any]) -> None:
        self.request = {"ask": "load", "module": module, **options}
        self.limit, self.memory = limit, memory
        self.life, self.said = 0, list[str]()
        self.functions: dict[str, Apart] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[Any] = queue.Queue()
        self._scratch = Path(tempfile.mkdtemp(prefix="pybn-check-"))

    def __enter__(self) -> Host:
        try:
            answer = self._start()
        except BaseException:
            self.__exit__()
            raise
        try:
            self.said = [str(each) for each in answer["said"]]
            self.functions = {str(role): Apart(self, role, about) for role, about in answer["functions"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.__exit__()
            raise NoVerdict(f"{self.request['module']} gives answers that cannot be read") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self) -> Any:
        """A new process with the file imported; raises NoVerdict where that fails."""
        self.life += 1
        root = str(Path(__file__).resolve().parents[4])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        scratch = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "MPLCONFIGDIR"), str(self._scratch))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pybn.study.coursework.apart.guest", str(self._scratch), str(self.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **one_thread, **scratch, "PYTHONPATH": paths, "MPLBACKEND": "Agg"},
        )
        self._answers = queue.Queue()
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers, self.life), daemon=True).start()
        try:
            answer = self.ask(self.request, STARTING)
        except Failed as failure:
            raise NoVerdict(f"reading {self.request['module']} {failure.message}") from failure
        if "functions" not in answer or not answer["functions"]:
            raise NoVerdict(str(answer.get("failure") or f"{self.request['module']} holds nothing to check"))
        return answer

    def ask(self, request: Mapping[str, Any], patience: float) -> Any:
        """One answer; raises Failed where the process ends, answers nonsense or does not answer."""
        assert self._process is not None
        try:
            wire.send(self._process.stdin, request)  # type: ignore[arg-type]
            answer = self._answers.get(timeout=patience)
        except queue.Empty:
            self._end()
            raise Failed("hung", f"did not return within {patience - LATE:g} seconds") from None
        except OSError:
            answer = EOFError()
        if isinstance(answer, EOFError):
            status = self._end()
            raise Failed("ended", f"ended the process that it ran in ({_said_of(status)})")
        if isinstance(answer, Exception) or not isinstance(answer, dict):
            self._end()
            raise Failed("ended", f"gave an answer that cannot be read ({answer})")
        return answer

    def _end(self) -> int | None:
        """Kill the process, if it is there; its status if it had ended by itself."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            status = process.wait(0.2 if process.stdin and not process.stdin.closed else 0)
        except subprocess.TimeoutExpired:
            status = None
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not sent is not needed
                if stream:
                    stream.close()
        return status

    def _run(self) -> None:
        """Have a process, a new one where the last one has ended."""
        if self._process is None:
            if self.life >= LIVES:
                raise Failed("ended", f"has ended {LIVES} processes that it ran in, and was not called again")
            self._start()

    def search(self, question: Question) -> Answer:
        """The edits of the text that the other side found; none where it does not answer."""
        try:
            self._run()
            request = {"ask": "search", "question": as_plain(question)}
            answer = self.ask(request, question.seconds + LATE)
        except (Failed, NoVerdict):
            return Answer(early=True)
        if answer.get("left"):
            self._end()
        return _read(answer, question)

    def source(self, file: str) -> str:
        """The text of a student's file, read on this side; "" for one beside the module's own directory."""
        module = self.request["module"]
        own = Path(module).parent if module.endswith(".py") else Path()
        path = Path(file)
        try:
            theirs = path.suffix == ".py" and path.resolve().is_relative_to(own.resolve()) and path.is_file()
            if not theirs or path.stat().st_size > LONGEST:
                return ""
            with tokenize.open(path) as text:
                return text.read()
        except (OSError, SyntaxError, ValueError):  # what Python itself could not read
            return ""

    def call(self, role: str, arrays: list[np.ndarray], last: Any) -> Any:
        """Ask for one call, in a new process where the last one has ended."""
        self._run()
        kept = [last, *last.values()] if isinstance(last, dict) else [last]
        if any(isinstance(each, wire.Kept | wire.Foreign) and each.life != self.life for each in kept):
            raise Failed("ended", "is asked for a cache of a process that has ended")
        request = {"ask": "call", "role": role, "arrays": arrays, "last": last, "limit": self.limit}
        answer = self.ask(request, self.limit + LATE)
        if answer.get("left"):
            self._end()
        return answer


class Apart:
    """A function of the other process."""

    apart = True

    def __init__(self, host: Host, role: str, about: Mapping[str, Any]) -> None:
        self.host, self.role = host, role
        self.__name__ = str(about["name"])
        self.of_images, self.counts_the_new = bool(about["of_images"]), bool(about["counts_the_new"])
        self.keeps_momentum = bool(about["keeps_momentum"])
        self.not_judged = tuple(NotJudged(**{k: str(v) for k, v in record.items()}) for record in about["not_judged"])
        self.seen = tuple((str(code), str(part), str(name)) for code, part, name in about["seen"])
        self.own = tuple(None if each is None else float(each) for each in about["own"])
        self.threads, self.calls_pybn = 0, False

    def __call__(self, *arguments: Any) -> Any:
        """The same with the arguments as the student's own function."""
        *arrays, last = arguments
        handed = dict(last) if isinstance(last, dict) else {}
        answer = self.host.call(self.role, list(arrays), last)
        try:
            self._take(answer, arrays, last, handed)
            failure = answer["failure"]
            value = answer["value"]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Failed("ended", "gave an answer that cannot be read") from error
        if failure:
            raise Failed(str(failure), str(answer["message"]), unfinished=bool(answer["unfinished"]))
        return value

    def _take(self, answer: Mapping[str, Any], arrays: list[Any], last: Any, handed: Mapping[str, Any]) -> None:
        """What the call did beside returning: prints, threads, changes of what was handed in."""
        self.threads, self.calls_pybn = int(answer["threads"] or 0), self.calls_pybn or bool(answer["calls_pybn"])
        print(answer["printed"] or "", end="")
        for index, changed in (answer["arrays"] or {}).items():
            _write(arrays[int(index)], changed)
        for key, changed in (answer["handed"] or {}).items():
            _write(handed.get(key), changed)
        if isinstance(last, dict) and isinstance(answer["state"], dict):
            self._leave(last, handed, answer["state"])

    def _leave(self, last: dict[str, Any], handed: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """bn_param as the other side has left it, with the arrays that were handed in where they still stand."""
        last.clear()
        for key, value in state.items():
            same = isinstance(value, np.ndarray) and isinstance(handed.get(key), np.ndarray)
            equal = same and np.array_equal(value, handed[key], equal_nan=True) and value.shape == handed[key].shape
            last[key] = handed[key] if equal else value


def _write(array: Any, changed: Any) -> None:
    if isinstance(array, np.ndarray) and isinstance(changed, np.ndarray) and array.shape == changed.shape:
        array[...] = changed


def _listen(stream: Any, answers: queue.Queue[Any], life: int) -> None:
    """Put each message into the queue, and at the end what ended them."""
    while True:
        try:
            answers.put(wire.receive(stream, life))
        except (EOFError, OSError, ValueError) as error:
            answers.put(error if isinstance(error, EOFError) else EOFError())
            return
        except wire.BadMessage as error:
            answers.put(error)
            return


def _read(answer: Mapping[str, Any], question: Question) -> Answer:
    """The places of an answer, for parts that were asked for; whatever else is in it is left."""
    given = answer.get("places")
    places = {part: _place(given.get(part)) for part in question.wrong} if isinstance(given, dict) else {}
    return Answer({part: place for part, place in places.items() if place}, bool(answer.get("early")))


def _place(value: Any) -> Place | None:
    if not isinstance(value, list) or [type(each) for each in value] != [str, int, int]:
        return None
    file, line, number = value
    return Place(file, line, number)


def _said_of(status: int | None) -> str:
    if status is None:
        return "it was killed"
    return f"signal {-status}" if status < 0 else f"exit status {status}"
