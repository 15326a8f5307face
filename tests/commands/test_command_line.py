"""python -m pybn: what it prints, what it writes, how it exits."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import pybn
from pybn import __main__ as command_line
from pybn import backend
from pybn.lessons import demo
from pybn.study import info
from tests.support.fresh import ROOT


def run(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", "pybn", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def built(request):
    """The names of the implementations that are there; without --reference-only it is both."""
    there = ["reference", "compiled"] if backend.compiled_is_built() else ["reference"]
    assert len(there) == 2 or request.config.getoption("--reference-only")
    return there


def test_no_command_is_wrong_usage():
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "usage: python -m pybn COMMAND" in err


def test_help_is_none():
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "demo" in out


def test_the_script_is_the_module():
    """`pybn`, which the installation puts beside Python, is the same command; --version is the package's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"pybn": "pybn.__main__:main"}
    assert inspect.signature(command_line.main).parameters["arguments"].default is None
    for option in ("--version", "-V"):
        assert run(option) == (0, f"pybn {pybn.__version__}\n", "")


def test_output_that_nobody_reads_to_its_end_is_no_error():
    """As in `pybn info | head -1`."""
    command = subprocess.Popen([sys.executable, "-m", "pybn", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait() == 141


def test_an_unknown_command_is_named(capsys):
    assert command_line.main(["dmeo"]) == 2
    assert "no command 'dmeo'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "0"],
        ["--epochs", "x"],
        ["--seed", "-1"],
        ["--output", __file__],
        ["--backend", "fast"],
        ["--nonsense"],
    ],
)
def test_wrong_options_of_the_demo(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        demo.main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert arguments[0] in said
    assert arguments[-1] in said
    assert not re.search(r"\b_\w", said), "the name of a function of ours"


@pytest.mark.parametrize("option", ["--threads", "--turns", "--seed"])
def test_wrong_options_of_compare(option, capsys):
    for value in ("-1", "x"):
        with pytest.raises(SystemExit) as stop:
            command_line.main(["compare", option, value])
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert option in said
        assert value in said


@pytest.mark.parametrize(("option", "least"), [("--threads", 1), ("--turns", 1), ("--seed", 0)])
def test_the_least_that_compare_takes_is_told(option, least, capsys):
    with pytest.raises(SystemExit):
        command_line.main(["compare", option, str(least - 1)])
    assert f"{option} must be at least {least}, got {least - 1}" in capsys.readouterr().err


def test_the_demo_trains_compares_and_draws(built, tmp_path):
    pytest.importorskip("matplotlib", reason="the demo's figures need matplotlib: pip install '.[plots]'")
    code, out, err = run("demo", "--epochs", "2", "--seed", "3", "--output", str(tmp_path / "new" / "folder"))
    assert code == 0, err
    for name in built:
        assert f"{name:10s} [##############################] 42/42" in err
    table = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert [" ".join(row[: -len(built)]) for row in table] == [
        "with batch statistics",
        "with the moving averages",
        "after update_averages",
    ]
    assert all(0.7 < float(value) <= 1 for row in table for value in row[-len(built) :])
    assert ("largest difference" in out) == (len(built) == 2)
    written = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == {"momentum.png", "epsilon.png", "update_averages.png"}
    assert all(str(tmp_path / "new" / "folder" / name) in out for name in written)


def test_the_demo_without_matplotlib_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['matplotlib'] = None; from pybn.lessons import demo; sys.exit(demo.main(sys.argv[1:]))"
    )
    arguments = ["--epochs", "1", "--backend", "reference", "--output", str(tmp_path / "none")]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "no figures: " in result.stdout
    assert "install" in result.stdout
    assert not (tmp_path / "none").exists()


def test_a_difference_beyond_the_bound_fails_the_demo(compiled, monkeypatch, capsys):
    monkeypatch.setattr(demo, "BOUND", 0.0)
    monkeypatch.setattr(demo, "_draw", lambda seed, output: None)
    assert demo.main(["--epochs", "1"]) == 1
    assert "FAILED" in capsys.readouterr().err


def test_the_difference_is_that_of_the_worst_variable():
    a, b = (demo.train("reference", seed=0, epochs=1) for _ in range(2))
    assert demo.largest_difference(a, b)[0] == 0
    worst = b.trainer.context.get_variable("/layer_1/dense/weights")
    worst.value = worst.value * 1.5
    difference, path = demo.largest_difference(a, b)
    assert path == "/layer_1/dense/weights"
    assert difference == pytest.approx(0.5)


def test_nan_is_no_agreement():
    a, b = (demo.train("reference", seed=0, epochs=1) for _ in range(2))
    spoilt = b.trainer.context.get_variable("/layer_0/dense/weights")
    spoilt.value = spoilt.value * np.nan
    assert demo.largest_difference(a, b) == (np.inf, "/layer_0/dense/weights")


def test_without_the_compiled_implementation_the_demo_says_so_or_fails_where_it_was_asked_for(monkeypatch, capsys):
    def load(name):
        if name == "compiled":
            raise ModuleNotFoundError("pybn_ext is not compiled here", name="pybn_ext._cpu")
        return pybn.reference

    monkeypatch.setattr(backend, "load", load)
    monkeypatch.setattr(demo, "_draw", lambda seed, output: None)
    assert demo.main(["--epochs", "1"]) == 0
    assert "the reference runs alone" in capsys.readouterr().out
    assert demo.main(["--epochs", "1", "--backend", "compiled"]) == 1
    assert "pybn_ext is not compiled here" in capsys.readouterr().err


def test_info_names_versions_and_the_build(built, capsys):
    assert info.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pybn"] == pybn.__version__
    assert (found["backend"] == "compiled") == (len(built) == 2)
    assert isinstance(found["compiled"], dict) == (len(built) == 2)
    assert info.main([]) == 0
    assert pybn.__version__ in capsys.readouterr().out


def test_info_says_what_is_wrong_with_the_environment():
    rules = {"PYBN_BACKEND": "one of", "PYBN_SIMD": "one of", "PYBN_PAST_CACHES": "a whole number of bytes"}
    for name, rule in rules.items():
        result = subprocess.run(
            [sys.executable, "-m", "pybn", "info"],
            env={**os.environ, name: "bogus"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert f"{name} must be {rule}" in result.stdout or not backend.compiled_is_built()
