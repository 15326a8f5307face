"""What the texts tell people to type: `pip install` and what it is to install, found in any kind of file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The words after the command, up to the end of the line, a quotation mark, a backtick, or the next command.
_COMMAND = re.compile(r"""pip\ install((?:\s+(?:'[^'\s]+'|"[^"\s]+"|[^\s'"`;&|)\\]+))+)""")
_WORD = re.compile(r"""'[^']+'|"[^"]+"|\S+""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TOOLS = {"pre-commit"}  # on the index under these names, and needed by nothing here


def install_targets(text: str) -> list[list[str]]:
    """For each `pip install` in a text what it would install; a command ends with its line.

    >>> install_targets("missing: run `pip install -q -e '.[plots]'` in a clone\\npip install -r needs.txt cython")
    [['.[plots]'], ['cython']]
    """
    found = []
    for line in text.splitlines():
        for command in _COMMAND.finditer(line):
            words = [word.strip("'\"") for word in _WORD.findall(command[1])]
            values = {position + 1 for position, word in enumerate(words) if word in ("-r", "--requirement")}
            # "{" begins what a program fills in: where that is made it is tested.
            found.append([w for position, w in enumerate(words) if w[0] not in "-{" and position not in values])
    return found


def project() -> dict:
    """The table `project` of pyproject.toml, and what the build requires as `build`."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {**read["project"], "build": read["build-system"]["requires"]}


def works_from_a_clone(target: str) -> bool:
    """Whether pip finds it there: the clone itself with extras that exist, or a package that the project needs."""
    about = project()
    extras = about["optional-dependencies"]
    if target.startswith("."):
        asked = re.fullmatch(r"\.(?:\[([\w,-]+)\])?", target)
        return asked is not None and set((asked[1] or "").split(",")) <= {"", *extras}
    needs = [*about["dependencies"], *about["build"], *(need for extra in extras.values() for need in extra)]
    named = _NAME.match(target)
    known = {_NAME.match(need)[0] for need in needs} | _TOOLS
    return named is not None and named[0] in known - {about["name"], "pybn"}
