"""The README: its code runs and prints what the text says, and its commands, options and files exist."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pybn

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The fenced code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title):
    """The text under a heading of the second level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def session():
    """What each Python block printed, and the names that they share, run one after the other as in a notebook."""
    names, printed = {}, []
    for number, code in enumerate(blocks("python"), start=1):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(code, f"README.md, Python block {number}", "exec"), names)
        printed.append(output.getvalue())
    return names, printed


def the_one_with(word, printed):
    """The output of the only block that has `word` in its code."""
    (output,) = [out for code, out in zip(blocks("python"), printed, strict=True) if word in code]
    return output


def test_the_five_lines(session):
    """They print means of 0 and deviations of 1."""
    output = the_one_with("forward_pass", session[1])
    means, deviations = re.findall(r"\[(.*?)\]", output, re.DOTALL)
    np.testing.assert_allclose([float(v) for v in means.split()], 0, atol=1e-3)
    np.testing.assert_allclose([float(v) for v in deviations.split()], 1, atol=1e-3)


def test_the_operations(session):
    """Gradients of the shapes that the text leads one to expect."""
    names, _ = session
    assert names["dx"].shape == names["x"].shape
    assert names["dscale"] is None
    assert names["doffset"].shape == names["mean"].shape


def test_the_model_learns(session):
    """Three epochs read the digits."""
    result = ast.literal_eval(the_one_with("run_epochs", session[1]))
    assert result["accuracy"] > 0.9
    assert result["loss"] < 0.5


def test_the_coursework_is_told_its_one_mistake(session):
    """The report names the epsilon outside the root, in both modes, and nothing else, as the text says."""
    assert "eps is outside the root" in the_one_with("my_forward", session[1])
    report = pybn.study.check_batch_norm(forward=session[0]["my_forward"])
    assert [(found.part, found.code) for found in report.findings] == [
        ("training", "epsilon-outside"),
        ("test", "epsilon-outside"),
    ]


def test_every_option_is_in_the_table():
    """Each method of Config with its default; no other."""
    rows = re.findall(r"^\| (`.*?`(?:, `.*?`)*)(?: \(of .*?\))? \| *(.*?) *\|", section("The layer"), re.MULTILINE)
    told = {name: default for cell, default in rows for name in re.findall(r"`(\w+)", cell)}
    assert told.pop("batch_statistics") == ""  # no option of the layer, but of an evaluation
    assert callable(pybn.batchnorm.batch_statistics)
    parameters = inspect.signature(pybn.batch_norm).parameters
    wanted = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert set(told) == set(wanted)
    for name, default in told.items():
        if name == "current_scope":
            assert default == ""
        else:
            assert ast.literal_eval(default) == wanted[name], name


def test_names_exist():
    """Every `pybn.something` that the text mentions."""
    for path in re.findall(r"\bpybn\.([A-Za-z_][\w.]*\w)", README):
        target = pybn
        for part in path.split("."):
            assert hasattr(target, part), f"pybn.{path}"
            target = getattr(target, part)


def test_commands_are_single_lines():
    """Each makes its own environment, or says where it is used; the extras that they install exist."""
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == len(blocks("console"))
    assert sum(line.startswith("python3 -m venv .venv && ") for line in commands) == 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"-e '\.\[(\w+)\]'", README)) <= set(extras)
