"""Python in a process of its own, with packages from a given folder before any that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# An editable installation answers for every submodule of its packages, also of a copy without the compiled ones.
WITHOUT_EDITABLE_INSTALLATION = (
    "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
)


def run_python(program: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished process; what it printed is in `.stdout` and `.stderr`."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EDITABLE_INSTALLATION + program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
