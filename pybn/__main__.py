"""The command line: python -m pybn demo | compare | check | info.

Exit status: 0 when all is well, 1 when a check failed, 2 for wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

USAGE = """usage: python -m pybn COMMAND [OPTION ...]

  demo      train a network on the digits, on both implementations, and draw what the averages do
  compare   hold the reference and the compiled implementation against each other
  check     check somebody's batch normalization: MODULE:FORWARD[,BACKWARD]
  info      versions, and whether and how the compiled implementation was built

python -m pybn COMMAND --help tells the options."""


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    command = _commands().get(arguments[0])
    if command is None:
        print(f"pybn: there is no command {arguments[0]!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    return command(arguments[1:])


def _commands() -> dict[str, Callable[[Sequence[str]], int]]:
    # Imported here: `python -m pybn info` must work, and say what is missing, where a tool cannot load.
    from pybn.study import compare, coursework, demo, info

    return {"demo": demo.main, "compare": compare.main, "check": coursework.main, "info": info.main}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
