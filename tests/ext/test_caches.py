"""Whether results are written past the caches: found by trials, or said by the environment; no bit depends on it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pybn_ext
from tests.ext import test_bits
from tests.support.fresh import run_python

operations = pybn_ext._operations
NEVER = sys.maxsize
LARGE = (5000, 257)  # 5 MB in float32, more than the second level of any core; and rests everywhere


def past():
    return pybn_ext.build_info()["past_caches"]


@pytest.fixture(autouse=True)
def fix():
    """A setter of the bytes from which on results go past the caches; afterwards it is as at the start."""
    yield lambda moved: operations.go_past_caches_from(moved, 0)
    moved = pybn_ext._bytes_moved(os.environ.get("PYBN_PAST_CACHES"))
    operations.go_past_caches_from(moved, pybn_ext._third_level())


@pytest.fixture
def measured(fix):
    """On one thread: several may be found to wait for each other, and then nothing is tried for a while."""
    before = pybn_ext.get_num_threads()
    pybn_ext.set_num_threads(1)
    fix(-1)
    yield
    pybn_ext.set_num_threads(before)


def training(shape=LARGE, **keywords):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return pybn_ext.batch_norm_training(x, None, None, **keywords)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("shape", "axis"), [*test_bits.SHAPES, ((9, 130), 1), ((1500, 400), 1), ((700, 3, 300), 1)])
def test_no_bit_depends_on_it(shape, axis, dtype, masked, fix):
    """Each operation into the caches, past them, and as a trial finds."""
    found = []
    for moved in (NEVER, 0, -1):
        fix(moved)
        found.append(test_bits.digest(shape, axis, dtype, masked))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "axis"), [(LARGE, 1), ((9, 64, 40, 41), 1), ((30, 400, 7, 9), 1), ((5, 3, 400, 43), 1)]
)
def test_a_gradient_that_cancels_is_looked_at_alike(shape, axis, dtype, rng, fix):
    """What went past the caches is computed anew for the look, not fetched."""
    x = rng.normal(5, 2, shape).astype(dtype)
    along = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    y, mean, variance = pybn_ext.batch_norm_training(x, None, None, feature_axis=axis)
    # dx of y itself is all cancellation; of every third feature it is not.
    dy = y + np.where(np.arange(shape[axis]) % 3 == 0, 1, 0).reshape(along).astype(dtype) * x[::-1]
    found = []
    for moved in (NEVER, 0, -1):
        fix(moved)
        found.append(pybn_ext.batch_norm_gradient(x, None, mean, variance, dy, feature_axis=axis)[0])
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_in_place_it_stays_in_the_caches_and_is_computed_once(measured, rng):
    x = rng.normal(size=LARGE)
    mean, variance = np.zeros(LARGE[1]), np.full(LARGE[1], 4.0)
    right = pybn_ext.batch_norm_inference(x, None, None, mean, variance)
    trials = past()["trials"]
    assert pybn_ext.batch_norm_inference(x, None, None, mean, variance, out=x) is x
    np.testing.assert_array_equal(x, right)
    assert past()["trials"] == trials


needs_a_way = pytest.mark.skipif(
    not operations.way_past_exists(), reason="this build has no way past the caches: vectors of gcc or clang on x86"
)


@needs_a_way
def test_a_size_is_tried_until_it_is_known_and_holds_for_smaller_or_for_larger_ones(measured):
    assert past() == {"by": "measured", "reported_third_level": 0, "trials": 0, "in_doubt": 0}
    training((300, 200))  # fits in any cache
    assert past()["trials"] == 0
    for _ in range(5):
        training()
    told = past()
    assert 1 <= told["trials"] <= 3
    assert told["in_doubt"] <= told["trials"]
    (name, found), *others = [(name, found) for name, found in told.items() if isinstance(found, dict)]
    assert not others
    assert name.startswith("training, ")
    moved = 2 * 4 * LARGE[0] * LARGE[1]
    assert moved in (found["into_caches_to_bytes"], found["past_from_bytes"])
    into = found["into_caches_to_bytes"] == moved
    training((LARGE[0] - 500 if into else LARGE[0] + 500, LARGE[1]))
    assert past() == told


@needs_a_way
def test_each_operation_is_tried_by_itself(measured, rng):
    x, dy = rng.normal(size=(2, *LARGE)).astype(np.float32)
    for _ in range(3):
        _, mean, variance = pybn_ext.batch_norm_training(x, None, None)
        pybn_ext.batch_norm_gradient(x, None, mean, variance, dy)
        pybn_ext.batch_norm_inference(x, None, None, mean, variance)
    names = {name.partition(",")[0] for name, found in past().items() if isinstance(found, dict)}
    assert names == {"training", "gradient", "inference"}


@needs_a_way
def test_calls_at_once_from_several_threads_share_one_trial(measured):
    """Whoever comes while another tries is not kept waiting, and the next size is tried again."""
    right = training()
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: training(), range(16)):
            for one, other in zip(got, right, strict=True):
                np.testing.assert_array_equal(one, other)
    trials = past()["trials"]
    assert trials >= 1
    for rows in (2 * LARGE[0], LARGE[0] // 2):  # one of them is not known yet
        training((rows, LARGE[1]))
    assert past()["trials"] > trials


def nearly_cancelling(mean, features):
    """A batch whose dx is in doubt in some features, with statistics that a float32 forward pass would have rounded."""
    rng = np.random.default_rng(1)
    rows = 100
    x = rng.normal(mean, 1, (rows, features)).astype(np.float32)
    exact, variance = x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64)
    x_hat = (x - exact) / np.sqrt(variance)
    noise = np.sign(rng.normal(size=x.shape))
    for _ in range(3):
        noise -= noise.mean(0)
        noise -= x_hat * (noise * x_hat).mean(0)
        noise = np.clip(noise, -1, 1)
    off = 0.04 * np.where(np.arange(features) % 2, 1, -1)
    dy = (1 + (off + 0.02) * x_hat + rng.uniform(0.8, 1.1, features) * noise).astype(np.float32)
    return x, dy, exact + off, variance


def as_images(x):
    """The rows as four images of 25 positions."""
    return np.ascontiguousarray(x.reshape(4, 25, -1).transpose(0, 2, 1))


@pytest.mark.parametrize("tiny", [1, 1e-40], ids=["float32", "finished in double"])
@pytest.mark.parametrize("layout", [np.asarray, as_images], ids=["rows", "images"])
def test_what_was_mended_in_a_trial_does_not_stay(layout, tiny, fix):
    x, dy, mean, variance = nearly_cancelling(1e5, 4000)
    scale = np.ones(4000, np.float32)
    scale[::512] = tiny
    pybn_ext.set_num_threads(1)
    found = []
    for moved in (NEVER, 0, -1, -1):
        fix(moved)
        found.append(pybn_ext.batch_norm_gradient(layout(x), scale, mean, variance, layout(dy), feature_axis=1))
    assert past()["trials"] == 1
    for one in found[1:]:
        for first, other in zip(found[0], one, strict=True):
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize(
    ("took", "said"),
    [
        ([1.0, 1.5, 1.1, 1.4, 1.0, 1.4], "into the caches"),
        ([2.0, 1.0, 2.5, 1.2, 2.0, 1.0], "past the caches"),
        ([1.0, 1.5, 1.0, 1.4, 1.6, 1.4], "into the caches"),  # a time that is too long says nothing
        ([1.0, 9.0, 1.3, 9.0, 1.0, 9.0], "into the caches"),
        ([1.0, 1.5, 1.2, 1.5, 1.3, 1.5], "in doubt"),  # the better one was so fast only once
        ([1.0, 9.0, 1.2, 1.3, 1.0, 2.0], "in doubt"),  # the worse one may be faster than was seen
        ([1.0, 1.08, 1.0, 1.08, 1.0, 1.08], "in doubt"),  # alike
        ([1.0] * 6, "in doubt"),
    ],
)
def test_what_a_trial_says(took, said):
    assert operations.verdict_of(took) == said


CLEAR = [1.0, 2.0] * 3
CLEARLY_PAST = [2.0, 1.0] * 3
LEANS_INTO = [1.0, 1.3, 9.0, 1.4, 1.2, 1.5]
LEANS_PAST = [1.5, 1.2, 1.7, 8.0, 1.7, 1.4]


@pytest.mark.parametrize(
    ("trials", "kept"),
    [
        ([CLEAR], "into the caches"),
        ([LEANS_PAST] * 2, ""),
        ([LEANS_PAST] * 3, "past the caches"),
        ([LEANS_INTO] * 3, "into the caches"),
        ([LEANS_PAST, LEANS_INTO, LEANS_PAST], "into the caches"),  # 1.0 against 1.2: the shortest of all
        ([LEANS_PAST, [1.4, 0.9, 7.0, 1.2, 2.0, 1.3], LEANS_INTO], "past the caches"),  # 0.9 against 1.0
        ([LEANS_PAST, LEANS_PAST, CLEAR], "into the caches"),  # what is clear decides alone
        ([CLEAR, CLEARLY_PAST], "past the caches"),  # what was found and is not so any more goes
        ([CLEARLY_PAST, CLEAR], "into the caches"),
        ([CLEAR, LEANS_PAST, LEANS_PAST], "into the caches"),  # doubt takes nothing away
        ([CLEAR, *[LEANS_PAST] * 3], "past the caches"),
    ],
)
def test_what_is_kept_of_trials(trials, kept):
    """After three in doubt the shortest times decide: a large call would pay for the other way for ever."""
    clear = (CLEAR, CLEARLY_PAST)
    assert all(operations.verdict_of(took) == "in doubt" for took in trials if took not in clear)
    assert operations.way_after_trials([(4_000_000, took) for took in trials]) == kept


def test_trials_in_doubt_of_another_size_do_not_count():
    small, large = (3_000_000, LEANS_INTO), (100_000_000, LEANS_PAST)
    assert operations.way_after_trials([small, small, large]) == ""
    assert operations.way_after_trials([small, small, large, large, large]) == "past the caches"


def test_a_smaller_size_that_goes_past_takes_away_what_a_larger_one_was_found_to_be():
    into, past_caches = (40_000_000, CLEAR), (30_000_000, CLEARLY_PAST)
    assert operations.way_after_trials([into, past_caches]) == "past the caches"
    assert operations.way_after_trials([past_caches, into]) == "into the caches"


@pytest.mark.slow
@needs_a_way
def test_what_was_found_is_tried_again_after_some_thousand_calls(measured):
    x, out = np.ones((2, *LARGE), np.float32)
    mean, variance = np.zeros(LARGE[1]), np.ones(LARGE[1])

    def calls(number):
        for _ in range(number):
            pybn_ext.batch_norm_inference(x, None, None, mean, variance, out=out)
        return past()["trials"]

    found = calls(3)
    assert 1 <= found <= 3
    assert calls(1500) == found
    assert calls(500) > found


PRINT = """
import numpy as np, pybn_ext
pybn_ext.batch_norm_training(np.ones((3000, 257)), None, None)
print(pybn_ext.build_info()["past_caches"])
"""


@pytest.mark.parametrize(
    ("said", "moved"),
    [("0", 0), ("1000000", 1000000), ("16K", 2**14), ("24M", 24 * 2**20), ("1G", 2**30), ("never", NEVER)],
)
def test_the_environment_fixes_it(said, moved):
    done = run_python(PRINT, PYBN_PAST_CACHES=said)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str({"by": "environment", "from_bytes": moved})


@pytest.mark.parametrize("said", ["", "yes", "-1", "1.5M", "24 M", "24m", "24MB", "always"])
def test_a_value_that_the_environment_may_not_have(said):
    with pytest.raises(ValueError, match=f"PYBN_PAST_CACHES must be a whole number of bytes.*got '{said}'"):
        pybn_ext._bytes_moved(said)


def test_a_wrong_value_is_said_at_the_import():
    done = run_python("import pybn_ext", PYBN_PAST_CACHES="much")
    assert done.stderr.splitlines()[-1].startswith("ValueError: PYBN_PAST_CACHES must be")
