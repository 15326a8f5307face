"""python -m pybn check: what it prints, and its exit status."""

import json

import pytest

from pybn.study.coursework import main

SOLUTIONS = "tests.support.students.right"


def test_right_is_0(capsys):
    assert main([f"{SOLUTIONS}:einsum_forward,einsum_backward"]) == 0
    assert capsys.readouterr().out.startswith("Right: training output, running averages, test mode, backward.")


def test_a_mistake_is_1_and_json_tells_it(capsys, tmp_path, monkeypatch):
    (tmp_path / "homework.py").write_text(
        "from tests.support.students.right import staged_forward as batchnorm_forward\n"
        "def batchnorm_backward(dout, cache):\n    return dout, dout.sum(0), dout.sum(0)\n"
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
