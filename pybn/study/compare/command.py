"""The command `python -m pybn compare`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from pybn.study.compare.comparison import compare


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m pybn compare`: 0, or 1 where a difference exceeds its bound or nothing is there to compare."""
    parser = argparse.ArgumentParser(prog="python -m pybn compare", description="Reference against compiled.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    parser.add_argument("--threads", type=int, help="of the compiled implementation (default: as it is)")
    parser.add_argument("--turns", type=int, default=7, help="how often each is timed (default 7)")
    options = parser.parse_args(arguments)
    for name, least in (("threads", 1), ("turns", 1), ("seed", 0)):
        if (number := getattr(options, name)) is not None and number < least:
            parser.error(f"--{name} must be at least {least}, got {number}")
    try:
        found = compare(threads=options.threads, seed=options.seed, turns=options.turns)
    except ImportError as missing:
        print(f"pybn compare: there is nothing to compare the reference with: {missing}", file=sys.stderr)
        return 1
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 0 if found.ok else 1
