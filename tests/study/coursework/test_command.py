"""python -m pybn check: what it prints, and its exit status."""

import json
from pathlib import Path

import pytest

from pybn.study.coursework import main
from tests.support.students import hostile, right

SOLUTIONS = "tests.support.students.right"


def test_right_is_0(capsys):
    assert main([f"{SOLUTIONS}:einsum_forward,einsum_backward"]) == 0
    assert capsys.readouterr().out.startswith("Right: training output, running averages, test mode, backward.")


def test_a_mistake_is_1_and_json_tells_it(capsys, tmp_path, monkeypatch):
    (tmp_path / "homework.py").write_text(
        Path(right.__file__).read_text()
        + "batchnorm_forward = staged_forward\n"
        + "def batchnorm_backward(dout, cache):\n    return dout, dout.sum(0), dout.sum(0)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["homework", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["parts"]["training"]["ok"]
    assert not report["parts"]["backward"]["ok"]


def test_images(capsys):
    target = [f"{SOLUTIONS}:staged_forward", "--spatial", "rows_forward,rows_backward", "--convention", "course"]
    assert main(target) == 0
    assert "4-D pair" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no_such_module"],
        [f"{SOLUTIONS}:no_such_function"],
        [f"{SOLUTIONS}:a,b,c,d"],
        ["tests.support.students.names"],
        ["--no"],
    ],
)
def test_wrong_usage_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_help_is_0(capsys):
    assert main(["--help"]) == 0
    assert "exit status" in capsys.readouterr().out


# --- files, options and no verdict --------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="my_module.py"):
        (tmp_path / name).write_text(text)

    return write


MINE = hostile.HONEST.replace("batchnorm_", "my_")


def test_a_file_as_the_shell_completes_it(file, capsys):
    file(MINE)
    assert main(["my_module.py:my_forward,my_backward"]) == 0
    assert main(["./my_module.py:my_forward", "--here"]) == 0
    assert main(["my_module.py", "--names", "forward=my_forward,backward=my_backward"]) == 0
    assert "backward" in capsys.readouterr().out


def test_a_file_without_the_courses_names_says_what_it_has(file, capsys):
    file(MINE)
    assert main(["my_module.py"]) == 2
    said = capsys.readouterr().err
    assert "no batchnorm_forward or spatial_batchnorm_forward" in said
    assert "my_module.py" in said
    assert "it has my_forward, my_backward" in said
    assert "--names forward=..." in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\nos._exit(0)\n", "exit status 0"),
        ("raise SystemExit(0)\n", "no batchnorm_forward"),
        ("1 / 0\n", "Zero"),
    ],
)
def test_a_check_that_gave_no_verdict_is_no_success(text, words, file, capsys):
    file(text)
    assert main(["my_module.py"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("pybn check: no verdict: ")
    assert words in said.err


def test_what_is_not_judged_is_no_success(file, capsys):
    file("class Layer:\n    def __init__(self, n, style): pass\n    def forward(self, x): return x\n")
    assert main(["my_module.py:Layer"]) == 2
    assert "the constructor asks for 'style'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [["--time-limit", "-1"], ["--time-limit", "0"], ["--memory", "-5"], ["--points", "5"]]
)
def test_an_option_without_sense_is_refused(option, file, capsys):
    file(hostile.HONEST)
    assert main(["my_module.py", *option]) == 2
    said = capsys.readouterr().err
    assert "must be positive" in said or "NAME=VALUE" in said


def test_points_of_parts(file, capsys):
    file(hostile.HONEST)
    assert main(["my_module.py", "--points", "training=6,backward=1", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert (parts["training"]["possible"], parts["backward"]["possible"], parts["test"]["possible"]) == (6, 1, 2)
    assert main(["my_module.py", "--points", "practice=6"]) == 2
    assert "points are of training, statistics" in capsys.readouterr().err


COURSE = """
time_limit = 2
convention = "course"
mode = "zone"

[names]
gamma = "stretch"

[points]
test = 7
"""
ZONED = """
import numpy as np
class Layer:
    def __init__(self, n):
        self.stretch, self.move, self.eps, self.momentum = np.ones(n), np.zeros(n), 1e-5, 0.9
        self.left, self.right = np.zeros(n), np.zeros(n)
    def forward(self, x, zone=1):
        m, v, k = x.mean(0), x.var(0), self.momentum
        if zone == 0:
            m, v = self.left, self.right
        else:
            self.left, self.right = k * self.left + (1 - k) * m, k * self.right + (1 - k) * v
        return self.stretch * (x - m) / np.sqrt(v + self.eps) + self.move
"""


def test_a_course_says_it_once(file, capsys):
    file(ZONED)
    file(COURSE, "course.toml")
    assert main(["my_module.py:Layer"]) == 2
    capsys.readouterr()
    for where in ([], ["--here"]):
        assert main(["my_module.py:Layer", "--course", "course.toml", "--json", *where]) == 0
        assert json.loads(capsys.readouterr().out)["parts"]["test"]["possible"] == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "may hold names"),
        ("mode = 3", "must be a str"),
        ("= 3", "Invalid"),
        ("time_limit = -1", "positive"),
    ],
)
def test_a_course_that_makes_no_sense_is_refused(text, words, file, capsys):
    file(hostile.HONEST)
    file(text, "course.toml")
    assert main(["my_module.py", "--course", "course.toml"]) == 2
    assert words in capsys.readouterr().err
