"""The command line: python -m pybn demo | compare | check | info.

Exit status: 0 when all is well, 1 when a check failed, 2 for wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

USAGE = """usage: python -m pybn COMMAND [OPTION ...]

  demo      train a network on the digits, on both implementations, and draw what the averages do
  compare   hold the reference and the compiled implementation against each other
  check     check somebody's batch normalization: MODULE:FORWARD[,BACKWARD]
  info      versions, and whether and how the compiled implementation was built

python -m pybn COMMAND --help tells the options."""

# Each has a main(arguments) -> exit status.
COMMANDS = {
    "demo": "pybn.lessons.demo",
    "compare": "pybn.study.compare",
    "check": "pybn.study.coursework",
    "info": "pybn.study.info",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"pybn: there is no command {arguments[0]!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[arguments[0]]).main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
