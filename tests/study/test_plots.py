"""The figures show the numbers they were given, are labelled, and leave nothing behind."""

import inspect
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
from matplotlib import pyplot as plt

from pybn import reference
from pybn.lessons import experiments, figures
from pybn.study import plots, records
from pybn.study.compare import compare
from pybn.study.record import DataRecord, LayerRecord, replay

SCOPES = ("/layer_0/batch_normalization", "/layer_1/batch_normalization")


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


@pytest.fixture
def layer(rng):
    steps, features = 12, 5
    mean, variance = rng.normal(size=(steps, features)), rng.uniform(0.5, 2, size=(steps, features))
    averages, variances = np.zeros_like(mean), np.ones_like(variance)
    record = LayerRecord(
        np.arange(1, steps + 1), np.full(steps, 8), mean, variance, averages, variances, np.arange(1.0, 13), mean[:, 0]
    )
    averages[:], variances[:] = replay(record, 0.9)
    return record


@pytest.fixture
def data(layer):
    return DataRecord(layer.step[2::3], layer.mean[2::3] + 0.5, np.full((4, 5), 4.0))


def line(ax, label):
    return next(each for each in ax.get_lines() if each.get_label() == label)


def test_moving_averages_are_the_replayed_ones(layer, data):
    ax = plots.moving_averages(layer, (0.5, 0.9), data, feature=3)
    assert np.array_equal(line(ax, "average, momentum 0.9").get_ydata(), layer.mean[:, 3])
    assert np.array_equal(line(ax, "mean of each batch").get_ydata(), layer.batch_mean[:, 3])
    assert np.array_equal(line(ax, "mean of the data").get_xdata(), data.step)


def test_variances_can_be_drawn_too(layer):
    ax = plots.moving_averages(layer, (0.9,), feature=1, statistic="variance")
    assert np.array_equal(line(ax, "average, momentum 0.9").get_ydata(), layer.variance[:, 1])


def test_the_feature_that_moved_most():
    mean = np.zeros((20, 3))
    mean[10:, 1] = 2
    mean[:, 2] = 50
    still = LayerRecord(*[np.arange(20)] * 2, mean, np.ones((20, 3)), mean, mean, np.arange(20), np.arange(20))
    assert plots.most_moved_feature(still) == 1


def test_memory_is_the_rule():
    ax = plots.memory((0.5,), 4)
    assert list(line(ax, "momentum 0.5").get_ydata()) == [0, 0.5, 0.5, 0.5]


def test_gain_is_below_its_limit_and_dead_features_are_counted():
    ax = plots.gain([0.0, 1e-4, 1.0], (1e-2,))
    assert line(ax, "epsilon 0.01").get_ydata().max() <= 10
    assert line(ax, "2 features\n(1 more: variance 0)").get_xdata().tolist() == [1e-4, 1.0]


def test_output_deviation(layer):
    ax = plots.output_deviation({1e-3: layer, 1.0: layer})
    expected = np.median(np.sqrt(layer.batch_variance / (layer.batch_variance + 1.0)), axis=1)
    np.testing.assert_allclose(line(ax, "epsilon 1").get_ydata(), expected)


def test_lag_is_in_standard_deviations_and_zero_at_an_update(layer, data):
    # The data's mean is 0.5 above the average, at a standard deviation of 2.
    np.testing.assert_allclose(plots.lag_in_deviations(layer, data), 0.25)
    ax = plots.lag({SCOPES[0]: layer}, {SCOPES[0]: data}, updates=[6])
    drawn = line(ax, "layer_0")
    assert drawn.get_xdata().tolist() == [3, 6, 6, 9, 12]
    np.testing.assert_allclose(drawn.get_ydata(), [0.25, 0.25, 0, 0.25, 0.25])


def test_a_feature_that_never_varies_is_not_behind(layer, data):
    constant = DataRecord(data.step, data.mean, np.zeros_like(data.variance))
    assert not plots.lag_in_deviations(layer, constant).any()


def test_lag_map_has_a_row_for_each_layer(layer, data):
    ax = plots.lag_map(dict.fromkeys(SCOPES, layer), dict.fromkeys(SCOPES, data))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layer_0", "layer_1"]
    assert ax.collections[0].get_array().shape == (2, 4)


def test_before_and_after():
    ax = plots.before_and_after({"momentum 0.9": (0.5, 0.75)}, "accuracy", truth=0.8)
    assert tuple(line(ax, "momentum 0.9").get_ydata()) == (0.5, 0.75)


def test_over_seeds_draws_the_mean_and_the_range():
    ax = plots.over_seeds((1, 2), {"loss": [[1, 5], [3, 7]]}, ("x (steps)", "loss (nats)"))
    assert line(ax, "loss").get_ydata().tolist() == [2, 6]
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == (1, 7)


def test_growing_begins_and_ends_with_the_whole_figure(layer):
    ax = plots.moving_averages(layer, (0.5,), feature=0)
    whole = line(ax, "average, momentum 0.5").get_ydata().tolist()
    animation = plots.growing(ax, frames=4)
    lengths = []
    for moment in animation.new_frame_seq():
        animation._draw_frame(moment)
        lengths.append(len(line(ax, "average, momentum 0.5").get_ydata()))
    assert lengths == [12, 4, 8, 12]
    assert line(ax, "average, momentum 0.5").get_ydata().tolist() == whole


FIGURES = {
    "moving_averages": lambda layer, data, ax: plots.moving_averages(layer, data=data, ax=ax),
    "memory": lambda layer, data, ax: plots.memory((0.9,), 5, ax=ax),
    "gain": lambda layer, data, ax: plots.gain(layer.variance, ax=ax),
    "output_deviation": lambda layer, data, ax: plots.output_deviation({1e-3: layer}, ax=ax),
    "lag": lambda layer, data, ax: plots.lag({SCOPES[0]: layer}, {SCOPES[0]: data}, ax=ax),
    "lag_map": lambda layer, data, ax: plots.lag_map({SCOPES[0]: layer}, {SCOPES[0]: data}, ax=ax),
    "over_seeds": lambda layer, data, ax: plots.over_seeds((1, 2), {"a": [[1, 2]]}, ("x", "y"), ax=ax),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_draws_on_the_axes_it_is_given(draw, layer, data):
    ax = plots.panels()
    before = len(plt.get_fignums())
    assert draw(layer, data, ax) is ax
    assert len(plt.get_fignums()) == before
    assert ax.get_xlabel()


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_makes_a_figure_of_its_own_where_it_is_given_none(draw, layer, data):
    first, second = draw(layer, data, None), draw(layer, data, None)
    assert first.figure is not second.figure


def test_more_curves_than_can_be_told_apart_are_an_error(layer):
    with pytest.raises(ValueError, match="up to 6 curves that can be told apart, got 7"):
        plots.moving_averages(layer, np.linspace(0.1, 0.9, 7))


def test_demo_figures_are_written_and_closed(tmp_path):
    story = experiments.story(seed=0, stretch=4)
    paths = figures.save_demo_figures(story, tmp_path / "figures")
    assert [path.name for path in paths] == ["momentum.png", "epsilon.png", "update_averages.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert plt.get_fignums() == []


def test_importing_opens_nothing_and_loads_no_pyplot():
    code = "import sys, pybn.study.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_matplotlib_one_sentence_says_what_to_install(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import pybn.study.plots
except ImportError as error:
    print(error)
"""
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('gone', name='matplotlib')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "the figures need matplotlib, which is not installed: pip install matplotlib\n", done.stderr


# --- what a figure can be given ----------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return experiments.recorded(0, experiments.classifier((8, 8)), every=3).steps(12)


@pytest.mark.parametrize("draw", [plots.lag, plots.lag_map])
def test_a_recorder_its_layers_or_one_layer(draw, run):
    def drawn(*arguments):
        ax = draw(*arguments)
        return [line.get_xydata().tolist() for line in ax.get_lines()] + [c.get_array() for c in ax.collections]

    whole = drawn(run.statistics.layers, run.data.layers)
    for given in ((run.statistics, run.data), (run.statistics, run.data.layers)):
        np.testing.assert_equal(drawn(*given), whole)
    one, data = run.statistics[SCOPES[0]], run.data[SCOPES[0]]
    np.testing.assert_equal(drawn(one, data), drawn({SCOPES[0]: one}, {SCOPES[0]: data}))


def test_a_map_of_one_layer_and_one_step_has_an_area(run):
    one_step = {s: DataRecord(r.step[:1], r.mean[:1], r.variance[:1]) for s, r in run.data.layers.items()}
    for ax in (plots.lag_map(run.statistics[SCOPES[0]]), plots.lag_map(run.statistics, one_step)):
        box = ax.collections[0].get_datalim(ax.transData)
        assert box.width > 0
        assert box.height > 0


@pytest.mark.parametrize("draw", [plots.lag, plots.lag_map])
def test_without_the_datas_record_the_batches_stand_for_it(draw, run):
    ax = draw(run.statistics)
    said = " ".join(text.get_text() for text in ax.figure.findobj(mpl.text.Text))
    assert "behind the batches" in said


def test_the_batches_around_a_step_are_pooled(layer):
    around = records.of_batches(layer)
    mean, variance = layer.batch_mean[1:12], layer.batch_variance[1:12]
    np.testing.assert_allclose(around.mean[6], mean.mean(axis=0))
    np.testing.assert_allclose(around.variance[6], variance.mean(axis=0) + mean.var(axis=0))


def test_one_layer_is_taken_out_of_a_recorder_of_one():
    run = experiments.recorded(0, experiments.classifier((8,)), every=3).steps(4)
    ax = plots.moving_averages(run.statistics, (0.9,), run.data)
    assert len(ax.get_lines()) == 3
    plots.output_deviation({1e-3: run.statistics})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda run: plots.lag([1, 2]),
            "records must be a StatisticsRecorder, its layers, or one LayerRecord, got list",
        ),
        (lambda run: plots.lag({"a": 1}), "got dict of int"),
        (lambda run: plots.lag(run.data), "got DataRecorder of DataRecord"),
        (lambda run: plots.lag_map(run.statistics, run.statistics), "data must be a DataRecorder, .* got StatisticsR"),
        (lambda run: plots.moving_averages(run.trainer), "records must be a StatisticsRecorder, .* got Trainer"),
    ],
)
def test_anything_else_is_told_what_was_wanted(call, message, run):
    with pytest.raises(TypeError, match=message):
        call(run)


def test_what_is_empty_or_lacks_a_layer_is_told(run):
    fresh = experiments.recorded(0, experiments.classifier((8,)))
    with pytest.raises(ValueError, match="make the StatisticsRecorder before the training runs"):
        plots.lag(fresh.statistics)
    with pytest.raises(ValueError, match="make the DataRecorder before the training runs"):
        plots.lag(run.statistics, fresh.data)
    part = {SCOPES[0]: run.data[SCOPES[0]]}
    with pytest.raises(ValueError, match=r"lacks \['/layer_1/batch_normalization'\]"):
        plots.lag_map(run.statistics, part)
    with pytest.raises(ValueError, match=r"must be one layer's, as recorder\['/layer_0/batch_normalization'\]"):
        plots.moving_averages(run.statistics)


def test_nan_is_not_drawn_as_nothing_behind(layer, data):
    spoilt = DataRecord(data.step, data.mean, data.variance.copy())
    spoilt.variance[1, 0] = np.nan
    behind = plots.lag_in_deviations(layer, spoilt)
    assert np.isnan(behind[1, 0])
    assert np.isfinite(np.delete(behind, 1, axis=0)).all()


@pytest.mark.parametrize("variances", [[1, np.nan], [1, np.inf], [-1, 1], [0, 0]])
def test_gain_refuses_what_is_no_variance(variances):
    with pytest.raises(ValueError, match="variances must be finite, not negative, and one of them above 0"):
        plots.gain(variances)


# --- all words are on the page ------------------------------------------------------------------

NAMES = dict.fromkeys(f"/block_{i}/a_rather_long_name_of_a_layer/batch_normalization" for i in range(3))
SIZES = {"small": (4.5, 3.0), "page": (8.0, 4.0), "slide": (13.0, 7.5)}


def _comparison(layer, data, ax):
    options = {"shapes": [(3, 2)], "dtypes": ["float64"], "operations": ["moments", "batch_norm_training"], "turns": 1}
    return compare({"reference": reference, "again": reference}, **options).plot(ax)


ALL = FIGURES | {
    "lag_of_many": lambda layer, data, ax: plots.lag(
        dict.fromkeys(NAMES, layer), dict.fromkeys(NAMES, data), [6], ax=ax
    ),
    "lag_map_of_many": lambda layer, data, ax: plots.lag_map(dict.fromkeys(NAMES, layer), ax=ax),
    "before_and_after": lambda layer, data, ax: plots.before_and_after({"a": (0.1, 0.9)}, "accuracy", 0.95, ax=ax),
    "ratio_bars": lambda layer, data, ax: plots.ratio_bars({"a long name": 1.5, "b": 123.0}, "times as long", ax=ax),
    "comparison": _comparison,
}


def assert_all_text_is_inside(figure):
    """What is drawn, with the ticks within the limits alone, as matplotlib itself adds it up to trim a page."""
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    pixel = 1 / figure.dpi
    inside = min(box.x0, box.y0) >= -pixel and box.x1 <= width + pixel and box.y1 <= height + pixel
    assert inside, f"cut off: {box} is not within {width:g} by {height:g} inches"


def test_every_function_that_draws_is_public():
    """Else the two tests below would not see it."""
    own = {name: function for name, function in inspect.getmembers(plots, inspect.isfunction) if name[0] != "_"}
    drawing = {
        name
        for name, function in own.items()
        if function.__module__ == plots.__name__ and "ax" in inspect.signature(function).parameters
    }
    assert drawing <= set(plots.__all__)


def test_every_function_that_draws_is_drawn():
    drawn = {name for name in plots.__all__ if name.islower()} - {
        "growing",
        "panels",
        "short_name",
        "most_moved_feature",
        "lag_in_deviations",
    }
    assert drawn <= set(ALL)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_no_word_is_cut_off(draw, size, layer, data):
    ax = plots.panels()
    ax.figure.set_size_inches(size)
    draw(layer, data, ax)
    assert_all_text_is_inside(ax.figure)


@pytest.mark.parametrize("draw", ALL.values(), ids=ALL)
def test_no_word_is_cut_off_in_a_figure_of_its_own(draw, layer, data):
    assert_all_text_is_inside(draw(layer, data, None).figure)


def test_a_word_that_is_cut_off_is_seen():
    ax = plots.panels()
    ax.figure.text(0.97, 0.5, "a word at the edge of the figure")
    with pytest.raises(AssertionError, match="cut off"):
        assert_all_text_is_inside(ax.figure)


# 3.9 and 3.10 place the label below the last figure 1.7 pixels lower than its edge, where one is allowed: seen there,
# and not in 3.11.
@pytest.mark.skipif(
    tuple(map(int, mpl.__version__.split(".")[:2])) < (3, 11),
    reason="matplotlib before 3.11 is up to 1.7 pixels off in where a label ends",
)
def test_no_word_of_the_demos_figures_is_cut_off():
    story = experiments.story(seed=0, stretch=4)
    for draw in (figures.momentum_figure, figures.epsilon_figure, figures.update_figure):
        assert_all_text_is_inside(draw(story))
