"""What a function does beside its arithmetic: hang, raise, print, return other things, keep state."""

import contextlib
import gc
import json
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.student.sandbox import run
from tests.support.fresh import run_python
from tests.support.students.right import einsum_backward, einsum_forward, staged_backward, staged_forward


def codes(report, part=None):
    return {found.code for found in report.findings + report.remarks if part in (None, found.part)}


# --- time ------------------------------------------------------------------------------------------


def for_ever():
    while True:
        pass


def for_ever_in_numpy():
    while True:
        np.ones(10_000).sum()


def for_ever_and_deaf():
    while True:
        try:
            sum(range(100))
        except:  # noqa: E722  (students write this)
            pass


def assert_no_more_than(before):
    """Threads that were ended need a moment for their own last lines; how long, is for a busy machine to say."""
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # a guard against one that hangs
        assert not thread.is_alive(), thread


@pytest.mark.parametrize("function", [for_ever, for_ever_in_numpy, for_ever_and_deaf])
def test_a_loop_is_ended(function):
    before = set(threading.enumerate())
    outcome = run(function, limit=0.1)
    assert outcome.failure == "hung"
    assert_no_more_than(before)


WITHOUT_THREADS = """
import sys
from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.edits import judge, search
from pybn.study.coursework.student import sandbox
from tests.support.students.right import staged_backward, staged_forward

search.PATIENCE = judge.BEYOND = 60.0  # where each line looks at the clock the search takes longer, and is to end alike

def for_ever(*arguments):
    while True:
        len(arguments)

def twice(dout, cache):
    return tuple(2 * gradient for gradient in staged_backward(dout, cache))

sandbox.HAS_THREADS = False
outcome = sandbox.run(for_ever, limit=0.1)
assert (outcome.failure, outcome.message) == ("hung", "did not return within 0.1 seconds"), outcome
assert sys.gettrace() is None
wrong, hangs = check_batch_norm(staged_forward, twice).text, check_batch_norm(staged_forward, for_ever).text
sandbox.HAS_THREADS = True
assert wrong == check_batch_norm(staged_forward, twice).text
assert hangs == check_batch_norm(staged_forward, for_ever).text
"""


@pytest.mark.slow
def test_without_threads_a_loop_ends_at_its_next_line_and_the_report_is_the_same():
    """In a process of its own: Python 3.11 stands still when it traces after a thread was interrupted."""
    result = run_python(WITHOUT_THREADS)
    assert result.returncode == 0, result.stderr


def test_pytorch_s_default_dtype_is_everybody_s():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")

    def changes():
        torch.set_default_dtype(torch.float64)
        for_ever()

    assert run(changes, limit=0.1).failure == "hung"
    assert torch.get_default_dtype() == torch.float32


def test_no_exception_reaches_the_end_of_a_call_s_thread():
    """Of many calls that are too late by little: one that hit the thread's own last lines would be told on stderr."""
    result = run_python(
        "import sys, threading, time\n"
        "from pybn.study.coursework.student.sandbox import run\n"
        "seen = []\n"
        "threading.excepthook = seen.append\n"
        "sys.unraisablehook = seen.append\n"
        "for at in range(60):\n"
        "    run(time.sleep, 0.02 + at % 7 * 0.0002, limit=0.02)\n"
        "print(seen)\n"
    )
    assert result.stdout.strip() == "[]", result.stderr


COLLECTING = """
import gc, sys, time
from pybn.study.coursework.student.sandbox import run

def callback(phase, info):
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass

def student():
    gc.collect()
    while True:
        pass

seen = []
sys.unraisablehook = seen.append
gc.callbacks.append(callback)
print(run(student, limit=0.05).failure, seen)
"""


def test_no_exception_reaches_a_callback_of_the_collector():
    """In a large program a collection alone may take longer than the limit; an exception in a callback ends nothing."""
    result = run_python(COLLECTING)
    assert result.stdout.strip() == "hung []", result.stderr


def test_a_sleep_is_left_behind():
    woken = threading.Event()
    assert run(woken.wait, 60, limit=0.1).failure == "hung"
    woken.set()


def test_the_limit_holds_outside_the_main_thread():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(run(for_ever, limit=0.1).failure))
    thread.start()
    thread.join(60)
    assert answers == ["hung"]


def test_a_hanging_backward_hides_nothing_else():
    def backward(dout, cache):
        for_ever()

    report = check_batch_norm(staged_forward, backward, alternative_backward=staged_backward, time_limit=0.3)
    assert codes(report, "backward") == {"hung"}
    assert all(report.parts[part].ok for part in ("training", "statistics", "test", "alternative"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_are_ended_and_told():
    before = set(threading.enumerate())
    outcome = run(leaves_three_threads, limit=5)
    assert (outcome.failure, outcome.threads, outcome.printed) == ("", 3, "started\n")
    assert_no_more_than(before)


def test_a_thread_of_somebody_else_is_left_alone():
    stop = threading.Event()
    theirs = threading.Thread(target=stop.wait, daemon=True)
    outcome = run(theirs.start, limit=5)
    assert outcome.threads == 0
    assert theirs.is_alive()
    stop.set()
    theirs.join()


@pytest.mark.slow
def test_slow_calls_are_not_made_to_the_end():
    calls = []

    def backward(dout, cache):
        calls.append(1)
        time.sleep(0.09)
        return staged_backward(2 * dout, cache)

    report = check_batch_norm(staged_forward, backward, time_limit=0.1)
    assert not report.parts["backward"].ok
    assert len(calls) < 60  # 23 calls take 20 limits; a whole judgement makes hundreds


TRACED = """
import threading, time
from pybn.study.coursework.student.sandbox import run
from tests.study.coursework.test_behaviour import for_ever, for_ever_and_deaf, for_ever_in_numpy

threading.settrace(lambda *arguments: lambda *arguments: None)
for function in (for_ever, for_ever_in_numpy, for_ever_and_deaf):
    print(run(function, limit=0.1).failure)
threading.settrace(None)
time.sleep(0.1)
print(threading.active_count())
"""


def test_a_loop_is_ended_under_a_tracer():
    # Coverage and debuggers call back at each line of the thread; in an interpreter of its own, which pytest's is not.
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["hung", "hung", "hung", "1"]
    assert done.stderr == ""


WATCHED_CALLER = """
import sys, threading
from pybn.study.coursework.student import sandbox
from tests.study.coursework.test_behaviour import for_ever, leaves_three_threads

sent, send = [], sandbox._set_exception

def watched_send(thread, exception):
    sent.append((sys.gettrace(), sys.getprofile()))
    send(thread, exception)

def watcher(frame, event, argument):
    return watcher

sandbox._set_exception = watched_send
threading.{set}(watcher)
sys.{set}(watcher)
for function, limit in ((leaves_three_threads, 20), (for_ever, 0.1)):
    outcome = sandbox.run(function, limit=limit)
    print(outcome.failure or outcome.threads)
print(sys.{get}() is watcher, set(sent))
"""


@pytest.mark.parametrize("which", ["trace", "profile"])
def test_a_caller_who_is_watched_sends_no_exception_and_stays_watched(which):
    """Python 3.11 stands still in a frame that is traced (coverage) or profiled while one is on its way."""
    program = WATCHED_CALLER.format(set=f"set{which}", get=f"get{which}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["3", "hung", "True {(None, None)}"]


TRACED_AFTERWARDS = """
import sys
from pybn.study.coursework.student.sandbox import run
from tests.study.coursework.test_behaviour import for_ever_and_deaf, gives_in, leaves_a_thread

for function, failure in ((len, "raised"), (leaves_a_thread, ""), (gives_in, "hung"), (for_ever_and_deaf, "hung")):
    assert run(function, limit=0.1).failure == failure
    calls = []
    sys.settrace(lambda frame, event, argument: calls.append(event))
    (lambda: None)()
    sys.settrace(None)
    assert calls == ["call"], calls
"""


def gives_in():
    with contextlib.suppress(BaseException):
        for_ever()


def leaves_a_thread():
    threading.Thread(target=for_ever, daemon=True).start()


def leaves_three_threads():
    def loop():
        while True:
            sum(range(9))

    for _ in range(3):
        threading.Thread(target=loop, daemon=True).start()
    print("started")


def test_a_process_can_be_traced_after_a_check():
    """Python 3.11 stands still there where an exception that was on its way to a thread has been taken back."""
    done = subprocess.run([sys.executable, "-c", TRACED_AFTERWARDS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


WORDS = {
    "loops": lambda self: for_ever(),
    "raises": lambda self: 1 / 0,
    "is long": lambda self: "a" * 10_000_000,
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
def test_the_words_of_an_exception_are_made_within_the_limit(words):
    odd = type("Odd", (Exception,), {"__str__": words})

    def function():
        raise odd

    outcome = run(function, limit=0.2)
    assert outcome.failure in ("raised", "hung")
    assert len(outcome.message) < 1000


def test_prints_are_cut_and_the_stream_stays_open():
    def function():
        print("a" * 100_000)
        sys.stdout.close()
        print("b" * 100_000)

    outcome = run(function, limit=5)
    assert outcome.failure == ""
    assert outcome.printed == "a" * 10_000
    assert not sys.stdout.closed


ODD = {
    "array that loops": {"__array__": lambda self, *rest, **more: for_ever()},
    "array that raises": {"__array__": lambda self, *rest, **more: 1 / 0},
    "len that loops": {"__len__": lambda self: for_ever(), "__getitem__": lambda self, index: 1.0},
    "float that loops": {"__float__": lambda self: for_ever()},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_object_is_asked_within_the_limit(odd):
    made = type("Odd", (), odd)()
    report = check_batch_norm(staged_forward, lambda dout, cache: (made, [made], made), time_limit=0.2)
    assert not report.parts["backward"].ok
    assert report.parts["training"].ok


# --- failures --------------------------------------------------------------------------------------


def test_an_exception_is_told_with_its_line():
    def backward(dout, cache):
        return undefined_name + dout  # noqa: F821

    report = check_batch_norm(staged_forward, backward)
    (found,) = report.findings
    assert found.code == "raised"
    assert "undefined_name" in found.what
    assert "in backward: return undefined_name + dout" in found.what


def test_an_exit_does_not_end_the_process():
    def forward(x, gamma, beta, bn_param):
        raise SystemExit(0)

    assert codes(check_batch_norm(forward), "training") >= {"raised"}


@pytest.mark.parametrize(
    ("result", "code"),
    [(None, "returned-none"), ((None, None, None), "returned-none"), ((1, 2), "type"), ("text", "type")],
)
def test_other_results_of_a_backward(result, code):
    report = check_batch_norm(staged_forward, lambda dout, cache: result)
    assert codes(report, "backward") == {code}
    assert report.parts["backward"].status == ("not written yet" if code == "returned-none" else "fails")


def test_unfinished_work_hides_nothing_else():
    def forward(x, gamma, beta, bn_param):
        if bn_param["mode"] == "test":
            raise NotImplementedError("test mode")
        return staged_forward(x, gamma, beta, bn_param)

    report = check_batch_norm(forward, staged_backward)
    assert [found.code for found in report.findings] == ["unfinished"]
    assert report.parts["backward"].ok


def test_output_of_another_shape():
    def forward(x, gamma, beta, bn_param):
        out, cache = staged_forward(x, gamma, beta, bn_param)
        return out.T, cache

    assert "shape" in codes(check_batch_norm(forward), "training")


def test_output_alone_is_told_and_judged():
    report = check_batch_norm(lambda *arguments: staged_forward(*arguments)[0])
    assert codes(report, "training") == {"wrong-type"}
    assert "out, cache" in report.text


# --- habits ----------------------------------------------------------------------------------------


def test_prints_are_caught_and_told(capsys):
    def forward(x, gamma, beta, bn_param):
        print("shape", x.shape)
        return staged_forward(x, gamma, beta, bn_param)

    report = check_batch_norm(forward)
    assert report.ok
    assert "prints" in codes(report)
    assert capsys.readouterr().out == ""


def test_changed_inputs_are_told():
    def backward(dout, cache):
        result = staged_backward(dout, cache)
        dout *= 0
        return result

    report = check_batch_norm(staged_forward, backward)
    assert [found.code for found in report.findings] == ["input-changed"]


def test_changed_settings_are_told():
    def forward(x, gamma, beta, bn_param):
        out = staged_forward(x, gamma, beta, bn_param)
        bn_param["eps"] = 1e-5
        return out

    assert "setting-changed" in codes(check_batch_norm(forward))


def test_state_between_calls_is_told():
    seen = []

    def forward(x, gamma, beta, bn_param):
        seen.append(1)
        out, cache = staged_forward(x, gamma, beta, bn_param)
        return out + 1e-3 * (len(seen) > 4), cache

    assert "state-kept" in codes(check_batch_norm(forward))


def test_a_cache_that_can_be_used_once():
    def backward(dout, cache):
        dx = einsum_backward(dout, cache)
        cache[0][:] = 1.0
        return dx

    report = check_batch_norm(einsum_forward, backward)
    assert [found.code for found in report.findings] == ["cache-changed"]


# --- the report ------------------------------------------------------------------------------------


def wrong_forward(x, gamma, beta, bn_param):
    out, cache = staged_forward(x, gamma, beta, {**bn_param, "eps": 0.0})
    return out, cache


def test_the_report_says_what_where_example_and_rule():
    (found,) = [f for f in check_batch_norm(wrong_forward).findings if f.part == "training"]
    assert (found.code, found.kind) == ("epsilon-missing", "epsilon")
    assert "Algorithm 1, line 3" in found.where
    assert "x = [1, 5]" in found.example
    assert "out is [-1, 1], right is [-0.5, 0.5]" in found.example
    assert "eps is added to the variance" in found.rule


def test_the_report_as_json_html_and_text():
    report = check_batch_norm(
        staged_forward, lambda dout, cache: (2 * dout, dout.sum(0), dout.sum(0)), points={"test": 5}
    )
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["ok"] is False
    assert plain["parts"]["backward"]["status"] == "wrong"
    assert plain["parts"]["test"]["points"] == 5
    assert plain["points"] == report.points < report.possible == plain["possible"]
    assert "<table>" in report._repr_html_()
    assert str(report) == report.text
    assert report.text.startswith("Right: training output, running averages, test mode.")


def test_a_text_holds_no_code_that_solves_the_exercise():
    from pybn.study.coursework.report.findings import DEPARTURES
    from pybn.study.coursework.report.words import TEXTS

    for code, text in TEXTS.items():
        assert "np." not in text.what + text.rule, code
        assert text.kind in (*DEPARTURES, "follows", "waits", "unjudged", "remark")


def test_wrong_usage_is_an_error_of_the_check():
    with pytest.raises(TypeError, match="needs forward"):
        check_batch_norm()
    with pytest.raises(ValueError, match="convention must be one of"):
        check_batch_norm(staged_forward, convention="caffe")


@pytest.mark.parametrize(
    ("convention", "wanted"),
    [
        ("course", set()),
        ("keras", {"variance-start"}),
        ("pytorch", {"momentum-of-the-old", "population-variance-averaged", "variance-start"}),
        ("paper", {"population-variance-averaged"}),
        ("pybn", {"not-debiased"}),
    ],
)
def test_a_convention_that_is_asked_for_is_held(convention, wanted):
    report = check_batch_norm(staged_forward, staged_backward, convention=convention)
    assert {found.code for found in report.findings} == wanted


@pytest.mark.parametrize(("forward", "most"), [(staged_forward, 25), (wrong_forward, 125)])
def test_a_check_calls_what_it_checks_seldom(forward, most):
    """Its time is that of the student's calls: 20 forwards where all is right, 102 to say what is wrong."""
    calls = {"forward": 0, "backward": 0}

    def counted(name, function):
        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    check_batch_norm(counted("forward", forward), counted("backward", staged_backward))
    assert 0 < calls["forward"] <= most
    assert 0 < calls["backward"] <= 10


JUNK = {
    "number": 1.5,
    "text": "abc",
    "empty list": [],
    "ragged list": [[1, 2], [3]],
    "dict": {},
    "empty array": np.zeros(0),
    "nan": np.full((7, 8), np.nan),
    "infinity": np.full((7, 8), np.inf),
    "integers": np.ones((7, 8), int),
    "complex": np.ones((7, 8), complex),
    "objects": np.ones((7, 8), object),
    "masked": np.ma.ones((7, 8)),
    "huge": np.full((7, 8), 1e300),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_junk_is_a_finding_and_never_an_error(junk):
    def forward(x, gamma, beta, bn_param):
        out, cache = staged_forward(x, gamma, beta, bn_param)
        bn_param["running_var"] = junk
        return out, cache

    report = check_batch_norm(
        forward, lambda dout, cache: (junk, junk, junk), spatial_forward=lambda *arguments: (junk, None)
    )
    assert report.parts["training"].ok
    assert not any(report.parts[part].ok for part in ("statistics", "backward", "spatial"))
    assert report.text
    assert json.dumps(report.to_dict())


def test_a_first_step_that_needs_averages():
    def forward(x, gamma, beta, bn_param):
        bn_param["running_mean"] + 0  # KeyError where there is none yet
        return staged_forward(x, gamma, beta, bn_param)

    report = check_batch_norm(forward, staged_backward)
    assert [found.code for found in report.findings] == ["first-step-fails"]
    assert "KeyError: 'running_mean'" in report.text


class Held:
    """Something that a call holds when it fails."""


@pytest.mark.parametrize("chained", [False, True])
def test_what_a_failed_call_held_is_free_at_once(chained):
    """After a MemoryError the next call needs the memory; no collector may have to come by first."""
    held = []

    def fails():
        mine = Held()
        held.append(weakref.ref(mine))
        raise MemoryError

    def fails_again():
        try:
            fails()
        except MemoryError:
            raise ValueError("in its place")  # noqa: B904  (it is chained by itself)

    gc.disable()
    try:
        outcome = run(fails_again if chained else fails, limit=20)
        assert outcome.failure == "raised"
        assert held[0]() is None
    finally:
        gc.enable()


NOT_FINITE = """
import numpy as np
def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    variance = bn_param.get("running_var", np.zeros(x.shape[1]))
    if bn_param["mode"] == "test":
        return gamma * (x - mean) / np.sqrt(variance + eps) + beta, None
    mu = x.mean(0); var = ((x - mu) ** 2).mean(0)
    bn_param["running_mean"] = momentum * mean + (1 - momentum) * mu
    bn_param["running_var"] = momentum * variance + (1 - momentum) * var
    out = gamma * (x - mu) / np.sqrt(var + eps) + beta
    {spoil}
    return out, None
"""


@pytest.mark.parametrize("spoil", ["out[-1, -1] = np.nan", "out[:, 0] = np.nan", "out[0, 2] = np.inf", "pass"])
def test_an_output_that_is_no_number_in_one_place_is_never_right(spoil):
    """The formula is read off the features that are numbers, and there it is the book's."""
    namespace = {}
    exec(NOT_FINITE.format(spoil=spoil), namespace)
    report = check_batch_norm(namespace["batchnorm_forward"])
    assert ("training output" in report.text.partition("\n")[0]) == (spoil == "pass"), report.text
