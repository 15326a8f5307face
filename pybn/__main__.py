"""The command line: pybn demo | lessons | compare | check | info, or python -m pybn where that script is not found.

Exit status: 0 when all is well, 1 when a check failed, 2 for wrong usage, 141 when nobody reads the output to its end
(`pybn check ... | head`): that of a command which the system ends for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

USAGE = """usage: python -m pybn COMMAND [OPTION ...]

  demo      train a network on the digits, on both implementations, and draw what the averages do
  lessons   list the lessons of a clone, run one, make notebooks of all
  compare   hold the reference and the compiled implementation against each other
  check     check somebody's batch normalization: FILE[:FORWARD[,BACKWARD]]
  info      versions, and whether and how the compiled implementation was built

python -m pybn COMMAND --help tells the options, python -m pybn --version the version."""

# Each has a main(arguments) -> exit status.
COMMANDS = {
    "demo": "pybn.lessons.demo",
    "lessons": "pybn.lessons.command",
    "compare": "pybn.study.compare",
    "check": "pybn.study.coursework",
    "info": "pybn.study.info",
}
UNREAD = 128 + 13  # SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name, by default those of the process; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"pybn {import_module('pybn').__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"pybn: there is no command {arguments[0]!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        status: int = import_module(COMMANDS[arguments[0]]).main(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return UNREAD
    return status


if __name__ == "__main__":
    sys.exit(main())
