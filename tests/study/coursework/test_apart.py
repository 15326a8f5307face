"""A stranger's file in a process of its own: the verdict stands, whatever the file does."""

import contextlib
import os
import threading

import numpy as np
import pytest

from pybn.study.coursework import NoVerdict, check_batch_norm, check_file
from pybn.study.coursework.apart import wire
from tests.support.students import hostile
from tests.support.students.right import einsum_backward, einsum_forward

FORWARDS = ("training", "statistics", "test")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a student's file into a directory of its own, and gives its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.txt").write_text("kept")

    def write(text):
        (tmp_path / "layers.py").write_text(text)
        return "layers.py"

    return write


def told(report, part):
    return " ".join(each.what for each in report.findings if each.part == part)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", hostile.IN_A_FUNCTION)
def test_a_backward_that_does_harm_hides_nothing_else(name, file, tmp_path, capfd):
    text, words = hostile.IN_A_FUNCTION[name]
    limit = 10 if name == "memory" else 0.5  # a busy machine takes a second to hand out 400 MB
    report = check_file(file(text), time_limit=limit, memory=400)
    assert words in told(report, "backward")
    assert report.parts["backward"].status in ("fails", "wrong")
    assert all(report.parts[part].ok for part in FORWARDS), report.text
    assert len(report.text) < 4000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.txt", "layers.py"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", hostile.HARMLESS)
def test_what_is_odd_and_right_is_right(name, file, capfd):
    report = check_file(file(hostile.HARMLESS[name]))
    assert report.ok, report.text
    assert capfd.readouterr() == ("", "")
    if name == "is asked for as a script":
        assert "exits when it is read (0): what it had defined by then is checked" in report.text


@pytest.mark.parametrize("name", hostile.CHEATS)
def test_a_cheat_changes_no_verdict_and_not_the_next_one(name, file):
    status = "not judged"
    with contextlib.suppress(NoVerdict):  # who breaks what asks it is not judged, and is no success
        status = check_file(file(hostile.WRONG_BACKWARD + hostile.CHEATS[name])).parts["backward"].status
    assert status in ("wrong", "fails", "not judged")
    assert check_batch_norm(einsum_forward, einsum_backward).ok
    assert not np.array_equal([1], [2])


@pytest.mark.parametrize("name", hostile.NO_VERDICT)
def test_no_verdict_is_said(name, file):
    text, words = hostile.NO_VERDICT[name]
    with pytest.raises(NoVerdict) as error:
        check_file(file(text))
    assert words in str(error.value)


def test_no_file_is_said(file):
    for module in ("nothing.py", "nothing"):
        with pytest.raises(NoVerdict, match="there is no"):
            check_file(module)


def test_threads_that_go_on_end_with_the_check(file):
    text = hostile.in_backward(
        "import threading\n"
        "def go_on():\n    while True:\n        try: sum(range(9))\n        except: pass\n"
        "for _ in range(5): threading.Thread(target=go_on).start()"
    )
    before = threading.active_count()
    report = check_file(file(text), time_limit=3.0)
    assert all(report.parts[part].ok for part in FORWARDS)
    said = {each.code for each in (*report.remarks, *report.findings)}
    assert said & {"threads-left", "hung"}  # beside five loops a backward may not come to its end in time
    assert threading.active_count() <= before + 1


def test_a_copy_of_pybn_is_told(file):
    text = hostile.HONEST + (
        "from pybn import reference\n"
        "def batchnorm_backward(d, c):\n"
        "    reference.batch_norm_training(d, None, None)\n    h, g = c\n"
        "    return g * (d - d.mean(0) - h * (d * h).mean(0)), (d * h).sum(0), d.sum(0)\n"
    )
    report = check_file(file(text))
    assert report.ok
    assert [each.code for each in report.remarks if each.part == "backward"] == ["calls-pybn"]


def test_a_class_with_what_a_course_says(file, tmp_path):
    text = (
        "import numpy as np\nclass Layer:\n    zone = 7\n"
        "    def __init__(self, n, style):\n        self.gamma, self.beta = np.ones(n), np.zeros(n)\n"
        "        self.eps, self.momentum, self.m, self.v = 1e-5, 0.9, np.zeros(n), np.zeros(n)\n"
        "    def forward(self, x):\n"
        "        m, v = (x.mean(0), x.var(0)) if self.zone == 7 else (self.m, self.v)\n"
        "        if self.zone == 7:\n"
        "            k = self.momentum\n"
        "            self.m, self.v = k * self.m + (1 - k) * m, k * self.v + (1 - k) * v\n"
        "        return self.gamma * (x - m) / np.sqrt(v + self.eps) + self.beta\n"
    )
    (tmp_path / "course.py").write_text(
        "from layers import Layer\ndef build(n): return Layer(n, 'x')\n"
        "def mode(layer, training): layer.zone = 7 if training else 8\n"
    )
    with_nothing = check_file(file(text), {"forward": "Layer"})
    assert {each.status for each in with_nothing.parts.values()} == {"not judged"}
    assert not with_nothing.ok
    report = check_file("layers.py", {"forward": "Layer"}, build="course.py:build", mode="course.py:mode")
    assert report.ok, report.text


def test_both_ways_say_the_same(file, monkeypatch):
    apart = check_file(file(hostile.WRONG_BACKWARD))
    names = {}
    exec(compile(hostile.WRONG_BACKWARD, "layers.py", "exec"), names)
    here = check_batch_norm(names["batchnorm_forward"], names["batchnorm_backward"])
    assert [each.to_dict() for each in apart.findings] == [each.to_dict() for each in here.findings]
    assert apart.points == here.points


# --- the wire -------------------------------------------------------------------------------------------


def crossed(message):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as incoming:
        with os.fdopen(writing, "wb") as outgoing:
            wire.send(outgoing, message)
        return wire.receive(incoming, 3)


def test_what_crosses_is_what_was_sent():
    message = {"a": np.arange(6.0).reshape(2, 3)[:, ::-1], "b": (1, None, "x", [True, 2.5]), "c": np.float32(2)}
    got = crossed(message)
    np.testing.assert_array_equal(got["a"], message["a"])
    assert got["b"] == message["b"]
    assert got["c"] == 2.0
    kept = crossed([wire.named(wire.Kept, "Layer")(7, 3)])[0]
    assert (type(kept).__name__, kept.number, kept.life) == ("Layer", 7, 3)


def test_an_object_does_not_cross():
    with pytest.raises(wire.BadMessage, match="a object does not cross"):
        crossed([object()])


HEADS = {
    "not JSON": b"{",
    "too large": b'{"array": "<f8", "shape": [1000000]}',
    "negative": b'{"array": "<f8", "shape": [-1]}',
    "objects": b'{"array": "|O", "shape": [1]}',
    "wrong kind": b'{"array": 3, "shape": 4}',
    "half": b'{"kept": 3}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_a_crafted_message_is_refused(head, tmp_path):
    path = tmp_path / "message"
    path.write_bytes(len(head).to_bytes(4, "little") + (8).to_bytes(4, "little") + head + b"\0" * 8)
    with path.open("rb") as stream, pytest.raises(wire.BadMessage):
        wire.receive(stream)


def test_a_message_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "message"
    path.write_bytes(b"\xff" * 8)
    with path.open("rb") as stream, pytest.raises(wire.BadMessage, match="bytes in one message"):
        wire.receive(stream)
