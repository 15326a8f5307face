"""What could not be measured is not judged: the record of it, and which findings rest on it.

No verdict rests on a setting that was not made.  An adapter (`pybn.study.adapters`) sets parameters,
averages, momentum, epsilon and mode, reads each back, and tells with one record a part what it could
not do.  Such a function has an attribute `not_judged`, a sequence of these records, complete after its
first call; a function that was written in the course's own interface has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# Findings that a setting which was not made would produce by itself; None: all of the part.
RESTING: dict[str, frozenset[str] | None] = {
    "construction": None,
    "call": None,
    "parameters": None,
    "averages": None,
    "mode": None,
    "phase": None,
    "gradients": frozenset({"parameter-missing", "gradient-shape", "parameters-swapped"}),
    "epsilon": frozenset({"epsilon-fixed"}),
    "momentum": frozenset({"momentum-fixed"}),
}


@dataclass(frozen=True)
class NotJudged:
    """One setting that was not made or not read, for one part.

    part is as in `findings.PARTS`; reason says what was looked for and what the object has; remedy is
    the argument that mends it; setting is a key of `RESTING`.  A fixed epsilon or momentum takes only
    the findings that rest on it out of the verdict: the rest of the part is judged at the fixed value.
    """

    part: str
    reason: str
    remedy: str
    setting: str = "call"

    def __post_init__(self) -> None:
        if self.setting not in RESTING:
            raise ValueError(f"setting must be one of {sorted(RESTING)}, got {self.setting!r}")

    @property
    def whole(self) -> bool:
        """Whether nothing of the part can be judged."""
        return RESTING[self.setting] is None

    @property
    def fixed(self) -> bool:
        """Whether the part is judged all the same, at the value that is written into the class."""
        return self.setting in ("epsilon", "momentum")

    def covers(self, code: str) -> bool:
        """Whether a finding with this code would rest on the missing setting."""
        resting = RESTING[self.setting]
        return resting is None or code in resting

    def to_dict(self) -> dict[str, str]:
        """Plain strings, for JSON."""
        return dict(self.__dict__)


def gathered(functions: Iterable[Callable[..., Any] | None]) -> tuple[NotJudged, ...]:
    """The records of all functions that carry some, each once."""
    records: dict[NotJudged, None] = {}
    for function in functions:
        records.update(dict.fromkeys(getattr(function, "not_judged", ())))
    return tuple(records)
