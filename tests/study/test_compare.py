"""The comparison of implementations: it sees differences, keeps its bounds, and puts everything back."""

from __future__ import annotations

import importlib
import json
from itertools import chain, repeat
from types import SimpleNamespace

import numpy as np
import pytest

from pybn import reference
from pybn.study.compare import compare, comparison, main
from pybn.study.compare.bounds import Bounds
from pybn.study.compare.comparison import HARD_SHAPES
from pybn.study.compare.families import FAMILIES, HARD
from pybn.study.compare.samples import OPERATIONS, Sample, results_of
from tests.support import arrays

SMALL = {"shapes": [(6, 5), ((2, 3, 4), 1)], "turns": 2}


def copy_of_reference(**changed):
    """The reference's operations in an object of another name, some of them changed."""
    return SimpleNamespace(**{name: getattr(reference, name) for name in OPERATIONS} | changed)


def off_by(units):
    """Training with y a number of units in the last place off."""

    def training(x, *args, **kwargs):
        y, mean, variance = reference.batch_norm_training(x, *args, **kwargs)
        return y + units * np.spacing(np.maximum(np.abs(y), 1)).astype(y.dtype), mean, variance

    return copy_of_reference(batch_norm_training=training)


def against(other, **options):
    return compare({"reference": reference, "other": other}, **{**SMALL, **options})


def test_an_implementation_equals_itself():
    found = against(copy_of_reference())
    assert found.ok
    assert {(row.absolute, row.units) for row in found.rows} == {(0.0, 0.0)}
    assert len(found.rows) == 2 * 2 * len(OPERATIONS)
    assert {row.operation for row in found.rows} == set(OPERATIONS)
    assert found.names == ("reference", "other")


@pytest.mark.parametrize("dtype", arrays.NAMES)
def test_compiled_is_within_the_bound(compiled, dtype):
    shapes = [(6, 5), (200, 31), ((2, 3, 4), 1), ((3, 2, 5, 4), (1, 2)), (1, 4)]
    pair = {"reference": reference, "compiled": compiled}
    for seed in range(3):
        found = compare(pair, shapes=shapes, dtypes=[dtype], hard=True, seed=seed, turns=1)
        assert found.ok, str(found)
    assert [row.family for row in found.rows if row.ratio is None] == list(HARD)


def in_float32(**changed):
    """An implementation without float64, its sums NumPy's, but for some operations."""

    def gradient(x, scale, mean, variance, dy, *, feature_axis=-1, epsilon=1e-3):
        others = tuple(axis for axis in range(x.ndim) if axis != feature_axis % x.ndim)
        along = [size if axis == feature_axis % x.ndim else 1 for axis, size in enumerate(x.shape)]
        scale, mean, inverse = (
            each.astype(x.dtype).reshape(along) for each in (scale, mean, 1 / np.sqrt(variance + epsilon))
        )
        normalized = (x - mean) * inverse
        doffset, dscale = dy.sum(others, keepdims=True), (dy * normalized).sum(others, keepdims=True)
        n = dy.size // doffset.size
        dx = scale * inverse * (dy - doffset / n - normalized * dscale / n)
        return dx, dscale.ravel(), doffset.ravel()

    def training(x, scale, offset, *, feature_axis=-1, epsilon=1e-3):
        _, mean, variance = reference.moments(x, feature_axis=feature_axis)
        along = [size if axis == feature_axis % x.ndim else 1 for axis, size in enumerate(x.shape)]
        a = (scale / np.sqrt(variance + epsilon)).astype(x.dtype)
        folded = x * a.reshape(along) + (offset - a * mean).astype(x.dtype).reshape(along)
        return folded, mean, variance

    return copy_of_reference(**{"batch_norm_gradient": gradient, "batch_norm_training": training, **changed})


def test_what_is_right_on_random_numbers_is_found_out():
    """A gradient in float32 alone, and inference folded to a x + c: in bounds where nothing cancels."""
    options = {"dtypes": ["float32"], "turns": 1, "shapes": [(200, 5), ((8, 5, 6, 6), 1)]}
    easy = against(in_float32(), operations=["batch_norm_gradient"], **options)
    assert easy.ok, str(easy)
    found = against(in_float32(), **options, hard=True)
    wrong = {row.family: row.result for row in found.rows if not row.ok}
    cancel = {"dy constant", "dy = 100 + noise", "dy = y", "dy = 10 y + noise", "an outlier, dy along it"}
    assert cancel <= {family for family, result in wrong.items() if result == "dx"}
    assert wrong["far mean"] == "y"
    assert "masked, dy = y" not in {row.family for row in found.rows if "gradient" in row.operation}


def test_every_family_is_tried_in_each_type():
    found = against(copy_of_reference(), hard=True, dtypes=arrays.DTYPES, shapes=[])
    assert [(row.family, row.dtype) for row in found.rows] == [
        (family, np.dtype(dtype).name) for family in HARD for dtype in arrays.DTYPES
    ]
    assert found.ok
    assert all(row.seconds is row.ratio is row.ratio_low is row.ratio_high is None for row in found.rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", arrays.NAMES)
def test_a_family_is_finite_and_what_it_says(family, dtype):
    """Whatever is in x is finite, but under the mask, and the true results are."""
    for shape, axis in HARD_SHAPES[::2]:
        sample = Sample(shape, axis, np.dtype(dtype), 1, family)
        assert sample.x.shape == sample.dy.shape == shape
        assert np.isfinite(sample.columns(sample.x)).all()
        for operation in OPERATIONS:
            results = results_of(operation, sample.call(reference, operation)())
            for name, result in results.items():
                real = sample.columns(result) if name in ("y", "dx") else result
                assert np.isfinite(real).all(), (operation, name, shape)
                unit, bound = Bounds(sample, operation).of(name, result)
                assert np.broadcast_shapes(unit.shape, bound.shape, result.shape) == result.shape
                assert (bound > 0).all()


@pytest.mark.parametrize("dtype", arrays.HALVES)
@pytest.mark.parametrize(("places", "ok"), [(1, True), (2, False)])
def test_places_of_sixteen_bits_are_counted(dtype, places, ok):
    """Two that are rounded once each may be neighbours."""

    def training(x, *args, **kwargs):
        y, mean, variance = reference.batch_norm_training(x, *args, **kwargs)
        return (y.view(np.int16) + np.int16(places)).view(x.dtype), mean, variance

    other = copy_of_reference(batch_norm_training=training)
    found = against(other, dtypes=[dtype], operations=["batch_norm_training"])
    assert found.ok is ok, str(found)


@pytest.mark.parametrize(("units", "ok"), [(3, True), (5, True), (7, False), (1000, False)])
def test_units_are_counted(units, ok):
    """Two implementations that may be 3 units off each may be 6 apart."""
    found = against(off_by(units), dtypes=["float32"], operations=["batch_norm_training"])
    assert found.ok is ok
    for row in found.rows:
        assert row.result == "y"
        assert units - 0.5 <= row.units <= units + 0.5
        assert row.bound == 6


def test_wrong_gradients_exceed_the_bound():
    def gradient(x, scale, mean, variance, dy, **kwargs):
        dx, dscale, doffset = reference.batch_norm_gradient(x, scale, mean, variance, dy, **kwargs)
        return dx, dscale * 1.001, doffset

    found = against(copy_of_reference(batch_norm_gradient=gradient))
    wrong = [row for row in found.rows if not row.ok]
    assert {row.operation for row in wrong} == {"batch_norm_gradient"}
    assert {row.result for row in wrong} == {"dscale"}
    assert len(wrong) == 4


def test_nan_is_a_difference():
    def moments(x, **kwargs):
        count, mean, variance = reference.moments(x, **kwargs)
        return count, mean, variance * np.nan

    found = against(copy_of_reference(moments=moments), operations=["moments"])
    assert not found.ok
    assert {(row.result, row.units) for row in found.rows} == {("variance", np.inf)}


def test_three_implementations_and_pairs_against_the_first():
    found = compare({"a": reference, "b": copy_of_reference(), "c": off_by(100)}, dtypes=["float32"], **SMALL)
    assert {row.implementation for row in found.rows} == {"b", "c"}
    assert {row.implementation for row in found.rows if not row.ok} == {"c"}


def test_names_and_modules():
    found = compare(["reference", SimpleNamespace(moments=reference.moments)], **SMALL)
    assert found.names == ("reference", "SimpleNamespace")
    assert {row.operation for row in found.rows} == {"moments"}


class Clock:
    """In place of the time module: it shows how long the calls say that they took."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    thread_time = perf_counter  # one processor for itself

    def implementation(self, calls):
        """The moments; each call takes the next number of seconds."""

        def moments(x, **kwargs):
            self.now += next(calls)
            return reference.moments(x, **kwargs)

        return SimpleNamespace(moments=moments)


def timed(monkeypatch, first, other, turns):
    """The one row of two implementations whose calls take these seconds, one after the other."""
    clock = Clock()
    monkeypatch.setattr(comparison, "time", clock)
    pair = {"first": clock.implementation(first), "other": clock.implementation(other)}
    (row,) = compare(pair, shapes=[(6, 5)], dtypes=["float32"], operations=["moments"], turns=turns).rows
    return row


def then_one(*seconds):
    """Calls that take so long, and then a second each.

    The calls before the turns: of each one for its values, and one that tells how many make a turn.
    """
    return chain(seconds, repeat(1.0))


def test_times_are_ratios_of_turns(monkeypatch):
    """The machine slows down from turn to turn; how the two stand to each other does not."""
    weather = [1.0, 2.0, 4.0, 8.0, 16.0]
    slow = [3 * each for each in weather]
    row = timed(monkeypatch, then_one(1.0, 1.0, *weather), then_one(1.0, 1.0, *slow), turns=5)
    assert (row.ratio_low, row.ratio, row.ratio_high) == (3, 3, 3)
    assert row.seconds == 12  # the median of the other's


def test_the_ratio_is_the_median_with_the_middle_half_around_it(monkeypatch):
    row = timed(monkeypatch, repeat(1.0), then_one(1.0, 1.0, 9.0, 2.0, 5.0, 3.0, 4.0), turns=5)
    assert (row.ratio_low, row.ratio, row.ratio_high) == (3, 4, 5)


def test_short_calls_are_repeated_for_a_turn(monkeypatch):
    """A turn lasts 2 ms: a call of 0.02 ms is made a hundred times, one of a second once."""
    calls = {"long": 0, "short": 0}

    def counted(name, seconds):
        while True:
            calls[name] += 1
            yield seconds

    row = timed(monkeypatch, counted("long", 1.0), counted("short", 2e-5), turns=3)
    assert calls == {"long": 2 + 3, "short": 2 + 3 * 100}
    assert row.ratio == pytest.approx(2e-5, rel=1e-9)


def test_threads_are_put_back():
    number = 5

    def set_num_threads(n):
        nonlocal number
        number = n

    seen = []

    def moments(x, **kwargs):
        seen.append(number)
        return reference.moments(x, **kwargs)

    other = SimpleNamespace(moments=moments, set_num_threads=set_num_threads, get_num_threads=lambda: number)
    found = against(other, threads=3)
    assert set(seen) == {3}
    assert number == 5
    assert found.threads == 3
    with pytest.raises(ValueError, match="must be two or more"):
        compare({"alone": other}, threads=2)
    assert number == 5


def test_misuse():
    with pytest.raises(ValueError, match="must be two or more, got 1"):
        compare(["reference"])
    with pytest.raises(TypeError, match="two or more names or modules, got 'reference'"):
        compare("reference")
    with pytest.raises(ValueError, match="different names, got 'reference' twice"):
        compare(["reference", "reference"])
    with pytest.raises(ValueError, match="the backend must be one of"):
        compare(["reference", "torch"])
    with pytest.raises(ValueError, match="an operation in common"):
        against(SimpleNamespace())
    with pytest.raises(ValueError, match=r"operations must be of .* got 'softmax'"):
        against(copy_of_reference(), operations=["softmax"])
    with pytest.raises(ValueError, match="got 'other' without 'moments'"):
        against(SimpleNamespace(), operations=["moments"])
    with pytest.raises(ValueError, match=r"'other' must give mean of shape \(5,\), got \(1, 5\)"):
        against(SimpleNamespace(moments=lambda x, **_: (6, np.zeros((1, 5)), np.zeros(5))))
    with pytest.raises(ValueError, match="moments must return count, mean, variance; got 2 results"):
        against(SimpleNamespace(moments=lambda x, **_: (np.zeros(5), np.zeros(5))))


def test_text_html_and_json():
    found = against(off_by(1000), dtypes=["float32"])
    lines = str(found).splitlines()
    assert len(lines) == 1 + len(found.rows) + 2
    assert (
        lines[0].split()
        == "operation inputs shape features dtype implementation difference units of bound time".split()
    )
    assert "2 of 12 differences exceed the bound; differences from reference" in lines[-1]
    assert sum("!" in line for line in lines) == 2
    assert found._repr_html_().count("<tr>") == 1 + len(found.rows)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["names"] == ["reference", "other"]
    assert data["ok"] is False
    assert len(data["rows"]) == 12
    assert data["rows"][0]["shape"] == [6, 5]


def test_plot():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = compare({"a": reference, "b": copy_of_reference(), "c": off_by(1)}, dtypes=["float32"], **SMALL)
    ax = found.plot()
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"a", "b", "c"}
    assert len(ax.get_yticks()) == 12
    _, mine = plt.subplots()
    assert found.plot(mine) is mine
    plt.close("all")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("result", [1, 2])
def test_one_value_that_is_no_number_is_never_in_bounds(value, result):
    """Also where a result before it is right: NaN is larger than nothing."""

    def spoilt(*args, **options):
        results = [np.array(each) for each in reference.batch_norm_training(*args, **options)]
        results[result].flat[-1] = value
        return tuple(results)

    found = against(copy_of_reference(batch_norm_training=spoilt), operations=["batch_norm_training"])
    assert not any(row.ok for row in found.rows)
    assert {row.units for row in found.rows} == {np.inf}


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """The command on small shapes."""
    module = importlib.import_module("pybn.study.compare.comparison")
    monkeypatch.setattr(module, "SHAPES", SMALL["shapes"])
    return module


def test_command(small, compiled, capsys):
    assert main(["--turns", "1"]) == 0
    assert "every difference is in bounds" in capsys.readouterr().out
    assert main(["--json", "--turns", "1", "--threads", "1", "--seed", "3"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["names"], data["threads"], data["seed"]) == (["reference", "compiled"], 1, 3)
    assert {row["family"] for row in data["rows"]} == set(FAMILIES)


def test_command_tells_a_difference(small, monkeypatch, capsys):
    monkeypatch.setattr(small.backend, "load", lambda name: reference if name == "reference" else off_by(50))
    assert main(["--turns", "1"]) == 1
    assert "exceed the bound" in capsys.readouterr().out


def test_command_without_the_compiled_build(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError("pybn_ext is not compiled in this installation: install a C compiler")

    monkeypatch.setattr(importlib.import_module("pybn.backend"), "load", missing)
    assert main([]) == 1
    assert "pybn_ext is not compiled" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--turns", "0"], ["--threads", "-1"], ["--seed", "x"], ["--fast"], ["more"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_busy_machine_is_said_with_its_share(monkeypatch):
    """Where the calling thread had less than four fifths of a processor, the ratios tell of its neighbours."""
    clock = comparison.time.thread_time
    quiet = against(copy_of_reference())
    assert 0 < quiet.processor <= 1
    assert ("BUSY" in str(quiet)) == (quiet.processor < comparison.BUSY)
    monkeypatch.setattr(comparison.time, "thread_time", lambda: clock() / 10)
    busy = against(copy_of_reference())
    assert busy.to_dict()["processor"] == busy.processor < 0.2
    assert f"BUSY: this process had {busy.processor:.0%} of a processor" in str(busy)
    assert "BUSY" in busy._repr_html_()
