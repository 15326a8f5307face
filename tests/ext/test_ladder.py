"""No rung of the ladder is wrong, only slow: each against the reference, within a bound of its own."""

import subprocess
import sys

import numpy as np
import pytest

from pybn import reference
from pybn.lessons import ladder
from tests.support.checks import assert_within

pytestmark = pytest.mark.slow  # compiling takes ten seconds

U = 2.0**-24  # the largest rounding error of a float32 operation, relative to its result
TILE = 32  # float32 additions in a row, in rungs 5 and 6
EPSILON = 1e-3


@pytest.fixture(scope="session")
def climbed(tmp_path_factory):
    try:
        return ladder.climb(tmp_path_factory.mktemp("ladder"))
    except ladder.CannotCompile as reason:
        pytest.skip(f"the rungs cannot be compiled here: {reason}")


def variance_error(rung, variance, distance, mean_off):
    """How far the variance of a rung may be off, where the first row lies `distance` from the mean.

    Rungs 1 to 3 centre before they square, in float64, with a mean that is off itself: a constant feature's variance is
    not quite 0.  Rung 4 squares distances from the first row, whose mean square
    is variance + distance**2, and subtracts again: n roundings of float64 at that size.  Rungs 5 and 6 add TILE of
    them in float32: TILE + 3 roundings of float32, for the sum and (doubled) for the mean that is squared.
    """
    if rung in ("rung_1", "rung_2", "rung_3"):
        return 1e-12 * variance + mean_off**2
    relative = 1e-12 if rung == "rung_4" else 3 * (TILE + 3) * U
    return relative * (variance + distance**2)


INPUTS = {
    "one row": lambda rng: rng.normal(size=(1, 3)),
    "two rows": lambda rng: rng.normal(size=(2, 5)),
    "odd": lambda rng: rng.normal(3, 2, size=(101, 37)),
    "less than a row a part": lambda rng: rng.normal(size=(7, 1)),
    "more rows than a tile": lambda rng: rng.normal(-3, 0.1, size=(1000, 70)),
    "far mean": lambda rng: rng.normal(1e6, 1, size=(333, 8)),
    "constant": lambda rng: np.full((100, 4), 0.1),
    "far first row": lambda rng: np.concatenate([np.full((1, 6), 50.0), rng.normal(size=(500, 6))]),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize("rung", ladder.RUNGS)
def test_a_rung_is_right(climbed, rung, case):
    rng = np.random.default_rng(3)
    x = INPUTS[case](rng).astype(np.float32)
    scale, offset = rng.normal(size=(2, x.shape[1])).astype(np.float32)
    expected_y, expected_mean, expected_variance = reference.batch_norm_training(x, scale, offset, epsilon=EPSILON)

    y, mean, variance = climbed.rungs[rung](x, scale, offset, EPSILON)

    assert (y.dtype, mean.dtype, variance.dtype) == (np.float32, np.float64, np.float64)
    distance = np.abs(x[0].astype(np.float64) - expected_mean)
    size = np.sqrt(expected_variance) + distance
    float32_sums = rung in ("rung_5", "rung_6")
    # The sums of all rows in float64, as many roundings as there are rows; or of a tile in float32.
    mean_off = (TILE + 3) * U * size if float32_sums else len(x) * 2.0**-53 * (np.abs(expected_mean) + size)
    assert_within(mean, expected_mean, mean_off, "mean")
    off = variance_error(rung, expected_variance, distance, mean_off)
    assert_within(variance, expected_variance, off, "variance")
    # y: the errors of mean and variance carried on, and the roundings of the last line at the size of its terms.
    inverse = 1 / np.sqrt(expected_variance + EPSILON)
    normalized = np.abs(x - expected_mean) * inverse
    carried = 1.1 * mean_off * inverse + 0.6 * normalized * off * inverse**2
    roundings = 4 * U * (normalized + distance * inverse if float32_sums else normalized)
    bound = np.abs(scale) * (carried + roundings) + 2 * U * (np.abs(scale) * normalized + np.abs(offset))
    assert_within(y, expected_y, bound, "y")


def test_threads_change_no_bit(climbed):
    """Rung 6 divides the rows alike for any number of threads, so one thread gives what all give."""
    if not climbed.threads:
        pytest.skip("the compiler here has no OpenMP: rung 6 runs on one thread")
    program = (
        "import sys, pathlib, numpy as np; from pybn.lessons import ladder\n"
        "x = np.random.default_rng(0).normal(size=(1001, 70)).astype('f4'); one = np.ones(70, 'f4')\n"
        "found = ladder.climb(pathlib.Path(sys.argv[1]))\n"
        "print(*(part.tobytes().hex() for part in found.rungs['rung_6'](x, one, one, 1e-3)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, str(climbed.annotated.parents[1])],
            env={"OMP_NUM_THREADS": threads, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_without_a_compiler_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ladder.CannotCompile, match="no-such-compiler"):
        ladder.climb(tmp_path)
    assert not list(tmp_path.iterdir()), "what was begun is not left"


def test_what_was_compiled_is_taken_again(climbed, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert ladder.climb(climbed.annotated.parents[1]).annotated == climbed.annotated
    assert "rung_6" in climbed.annotated.read_text()
