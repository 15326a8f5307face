"""What the texts tell people to install is there: code, messages, tests, pages and lessons.

On the package index the name pybn is somebody else's, and ours is not there: from a clone, `.` works.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.commands import ROOT, install_targets, works_from_a_clone

FOLDERS = ("pybn", "pybn_ext", "docs", "tutorials", "tests")  # what .ci says it does itself
SUFFIXES = {"", ".py", ".pyi", ".pyx", ".pxi", ".pxd", ".rst", ".md", ".toml", ".yml", ".yaml", ".html", ".js", ".in"}
GENERATED = {"_build", "gallery", "generated", "rooms", "__pycache__"}
THIS = Path(__file__)  # which holds what is wrong, to see it refused


def texts():
    """Every text of the project, and nothing that a build made."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*.*"))
    return [
        path
        for path in sorted(files)
        if path.suffix in SUFFIXES
        and path.is_file()
        and path != THIS
        and not GENERATED & set(path.relative_to(ROOT).parts)
    ]


def test_what_is_told_to_install_can_be_installed():
    told = 0
    for path in texts():
        for targets in install_targets(path.read_text(encoding="utf-8")):
            told += 1
            wrong = [target for target in targets if not works_from_a_clone(target)]
            assert wrong == [], f"{path.relative_to(ROOT)} tells to install {wrong}"
    assert told > 15


def test_no_text_takes_the_name_on_the_index():
    """Extras are told as '.[extra]'; what pyproject.toml says of itself pip reads."""
    for path in texts():
        if path.name != "pyproject.toml":
            assert not re.search(r"\bpybn\[\w", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "wrong", ["pybn", "pybn[plots]", "pybn-batchnorm", ".[plot]", "numpi", "git+https://example.org/pybn", "./pybn"]
)
def test_what_would_fail_is_refused(wrong):
    assert install_targets(f"run `pip install -q {wrong}` again") == [[wrong]]
    assert not works_from_a_clone(wrong)


@pytest.mark.parametrize("right", [".", ".[plots]", ".[test,lint]", "matplotlib", "torch==2.13.0", "setuptools"])
def test_what_works_is_not(right):
    assert install_targets(f"    .venv/bin/pip install -e '{right}' && python -m pybn demo") == [[right]]
    assert works_from_a_clone(right)
