"""The same over MPI, where it is installed: 2 and 4 processes under mpiexec."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
# A container's only user is root, and a machine may have fewer processors than there are ranks.
PERMITTED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mpi4py") is None or MPIEXEC is None,
        reason="mpi4py and an MPI are not installed: pip install -e '.[mpi]'",
    ),
]


@pytest.mark.parametrize("ranks", [2, 4])
def test_over_mpi(ranks, tmp_path):
    done = subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "tests.distributed.under_mpi", tmp_path],
        cwd=ROOT,
        env={**os.environ, **PERMITTED, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} of {ranks}: as one process" for rank in range(ranks)]


def test_the_script_of_the_page(tmp_path):
    """A reader's first command with several workers."""
    page = (ROOT / "docs" / "distributed.rst").read_text(encoding="utf-8")
    script = textwrap.dedent(page.partition("   # train.py\n")[2].partition("\nFrom a clone")[0])
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    command = [MPIEXEC, "-n", "4", sys.executable, "-m", "mpi4py", "train.py"]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **PERMITTED, **one_thread},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = done.stdout.splitlines()  # by the first rank alone
    assert 0 < ast.literal_eval(said)["loss"] < 1
