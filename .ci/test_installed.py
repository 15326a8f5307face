"""The tests on the pybn that is installed, from a folder that holds no source of it.

python .ci/test_installed.py CLONE [OPTION OF PYTEST ...]
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# About the clone's own files: its pages, its drawing, its types and lessons.
ABOUT_THE_CLONE = ("docs", "browser", "lessons", "commands/test_lessons.py", "test_architecture.py", "test_types.py")


def main(clone, *options):
    """Copy the tests, and run them there."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(clone, "tests"), Path(folder, "tests"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(clone, "pyproject.toml"), folder)
        where = "import pybn, pybn_ext; print(pybn.__file__); print(pybn_ext.build_info())"
        found = subprocess.run(
            [sys.executable, "-c", where], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        print(found)
        if Path(found.splitlines()[0]).is_relative_to(Path(clone).resolve() / "pybn"):
            sys.exit(f"{found.splitlines()[0]} is the clone's own source: install the wheel")
        parallel = ["-n", "auto"] if importlib.util.find_spec("xdist") else []
        without = [f"--ignore=tests/{name}" for name in ABOUT_THE_CLONE]
        command = [sys.executable, "-m", "pytest", "-q", *parallel, *without, *options, "tests"]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
