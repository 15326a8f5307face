"""The suite refuses wrong layers: each mutant in a private copy of the package, by the suite's own checks."""

from __future__ import annotations

import importlib
import sys
from itertools import count
from pathlib import Path

import pytest

from pybn import batchnorm, update_averages, use_backend
from pybn.framework.train import register_averages_updater
from tests.mutants.layer import RULE, SWITCHES, WHEN
from tests.mutants.update import UNTOUCHED, UPDATE

ALL = {**RULE, **WHEN, **SWITCHES, **UPDATE, **UNTOUCHED}
SOURCE = Path(batchnorm.__file__).parent
numbers = count()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A function (file, old, new) -> the package of the layer under another name, with that change."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(file=None, old="", new=""):
        name = f"layer_copy_{next(numbers)}"
        (tmp_path / name).mkdir()
        for source in SOURCE.glob("*.py"):
            text = source.read_text(encoding="utf-8")
            if source.name == file:
                assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times: the mutant must be rewritten"
                text = text.replace(old, new)
            text = text.replace("pybn.batchnorm", name)
            (tmp_path / name / source.name).write_text(text, encoding="utf-8")
        made.append(name)
        return importlib.import_module(name)

    with use_backend("reference"):
        yield make
    register_averages_updater(update_averages)
    for module in [each for each in sys.modules if each.partition(".")[0] in made]:
        del sys.modules[module]


@pytest.mark.parametrize("name", list(ALL))
def test_refused(copy, name):
    mutant = ALL[name]
    changed = copy(mutant.file, mutant.old, mutant.new)
    # Or the mutant refuses the check's input by itself, as the package does with averages that became NaN.
    with pytest.raises((AssertionError, pytest.fail.Exception, ArithmeticError)):
        mutant.check(changed)


def test_the_copy_itself_passes(copy):
    """What refuses a mutant accepts the package: the checks fail for the change and nothing else."""
    unchanged = copy()
    assert unchanged.update_averages is not update_averages
    for mutant in ALL.values():
        mutant.check(unchanged)


def test_a_mutant_that_no_longer_applies_is_an_error(copy):
    with pytest.raises(AssertionError, match="must be rewritten"):
        copy("averages.py", "no such line", "")
