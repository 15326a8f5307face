"""The playground in a browser without a network: it draws what pybn computes, and every control does its part."""

import base64
import json
import math
import re

import numpy as np
import pytest

from pybn.batchnorm.averages import Averages

pytestmark = pytest.mark.slow

LOOKS = [(size, scheme) for size in ("desk", "phone") for scheme in ("light", "dark")]
START = "#momentum=0.9&epsilon=0.001&rate=0.1&batch=16&feature=2&start=counted&step=20"


@pytest.fixture(scope="module")
def recording(site):
    """What the page holds, with arrays for base64."""
    text = (site / "_static" / "playground" / "recording.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("window.playgroundRecording = ").rstrip(";\n"))
    for run in data["runs"]:
        for name, value in run.items():
            if isinstance(value, str):
                kind = "<u2" if name in ("right", "loss") else "<f4"
                run[name] = np.frombuffer(base64.b64decode(value), kind).astype(np.float64)
    return data


@pytest.fixture
def playground(site, opened):
    """A function that opens the page at a setting, from the file."""
    return lambda setting=START, *look, **options: opened(
        (site / "playground.html").as_uri() + setting, *look, **options
    )


def drawn(page, chart):
    """The columns that a chart draws, x first, with NaN for what it leaves out."""
    index = page.evaluate("CHARTS.map((chart) => chart.id)").index(chart)
    columns = page.evaluate(f"pybnPlayground.charts[{index}].plot.data.map((column) => Array.from(column))")
    return [np.array([np.nan if value is None else value for value in column]) for column in columns]


def state(page):
    return page.evaluate("pybnPlayground.state")


def one_run(recording, state):
    """The run of a state, its rows for the chosen feature."""
    (run,) = (run for run in recording["runs"] if (run["rate"], run["batch"]) == (state["rate"], state["batch"]))
    rows = ("batchMean", "batchVariance", "trueMean", "trueVariance")
    return {name: run[name].reshape(len(recording["features"]), -1)[state["feature"]] for name in rows}, run


def averages(recording, state):
    """What pybn's rule makes of the recorded batches, with the state's updates, a row for each step."""
    feature, _ = one_run(recording, state)
    now = Averages(0.0, 1.0, 0.0 if state["counted"] else math.inf)  # at infinity every step keeps the momentum
    rows = []
    for step, batch in enumerate(zip(feature["batchMean"], feature["batchVariance"], strict=True), start=1):
        now = now.after(*batch, momentum=1 - 1 / state["memory"])
        if step in state["updates"]:
            exact = feature["trueMean"][step // 2 - 1], feature["trueVariance"][step // 2 - 1]
            now = Averages(*exact, recording["updateWeight"])
        rows.append(now)
    return rows


SETTINGS = {
    "counted": "momentum=0.99&rate=0.5&batch=64&feature=4",
    "from 0 and 1": "momentum=0.999&rate=0.1&batch=4&feature=3&start=0-and-1",
    "no memory": "momentum=0&rate=0.5&batch=16&feature=0",
    "a pixel without ink, the least epsilon": "momentum=0.95&epsilon=1e-8&rate=0.5&batch=4&feature=1&step=40",
    "updated twice": "momentum=0.9&rate=0.5&batch=4&feature=5&updates=20,40&step=40",
    "updated, from 0 and 1": "momentum=0.98&rate=0.5&batch=64&feature=4&start=0-and-1&updates=20&step=40",
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_what_is_drawn_is_what_pybn_computes(playground, recording, setting):
    page = playground("#" + setting)
    now = state(page)
    rows = averages(recording, now)
    feature, run = one_run(recording, now)
    exactly = {"rtol": 1e-12, "atol": 1e-12}
    for chart, batch, truth, field in (
        ("mean", "batchMean", "trueMean", "mean"),
        ("variance", "batchVariance", "trueVariance", "variance"),
    ):
        steps, batches, data, moving = drawn(page, chart)
        np.testing.assert_array_equal(steps, np.arange(1, recording["steps"] + 1))
        np.testing.assert_array_equal(batches, feature[batch])
        np.testing.assert_array_equal(data[1::2], feature[truth])
        np.testing.assert_allclose(moving, [getattr(row, field) for row in rows], **exactly)

    deviation = np.sqrt(feature["trueVariance"])
    _, of_deviation, of_mean = drawn(page, "distance")
    mean, variance = (np.array([getattr(row, name) for row in rows])[1::2] for name in ("mean", "variance"))
    np.testing.assert_allclose(of_mean[1::2], np.abs(mean - feature["trueMean"]) / deviation, **exactly)
    np.testing.assert_allclose(of_deviation[1::2], np.abs(np.sqrt(variance) - deviation) / deviation, **exactly)

    at, epsilon = rows[now["step"] - 1], 10 ** now["exponent"]
    _, _, _, this = drawn(page, "gain")
    np.testing.assert_allclose(this[~np.isnan(this)], 1 / np.sqrt(at.variance + epsilon), **exactly)
    x = run["imageInputs"].reshape(len(recording["features"]), -1, recording["imagesFollowed"])
    x = x[now["feature"], now["step"] // recording["every"] - 1]
    training, _, evaluation = drawn(page, "images")
    batch = feature["batchMean"][now["step"] - 1], feature["batchVariance"][now["step"] - 1]
    np.testing.assert_allclose(np.sort(training), np.sort((x - batch[0]) / np.sqrt(batch[1] + epsilon)), **exactly)
    np.testing.assert_allclose(np.sort(evaluation), np.sort((x - at.mean) / np.sqrt(at.variance + epsilon)), **exactly)


def test_accuracy_is_what_was_recorded(playground, recording):
    """At each mark, for a start and for an update, at the recorded momentum and epsilon that the note names."""
    shape = (-1, len(recording["memories"]), len(recording["epsilons"]))
    page = playground("#momentum=0.9&epsilon=1e-5&rate=0.5&batch=4&start=0-and-1&updates=40")
    _, run = one_run(recording, state(page))
    right = run["right"].reshape(shape)[:, recording["memories"].index(10), recording["epsilons"].index(1e-5)]
    marks, batch, updated, yours = (column[:2] for column in drawn(page, "accuracy"))
    np.testing.assert_array_equal(marks, [recording["every"], 2 * recording["every"]])
    np.testing.assert_allclose(batch * recording["images"], run["batchRight"][:2], rtol=1e-12)
    # The first mark holds two starts and one update, the second two starts and two updates.
    np.testing.assert_allclose(updated * recording["images"], [right[2], right[6]], rtol=1e-12)
    np.testing.assert_allclose(yours * recording["images"], [right[0], right[6]], rtol=1e-12)
    assert "momentum 0.9, epsilon 1e-5" in page.locator("#pg-chart-accuracy .pg-note").inner_text()


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_every_control_moves_what_it_should(playground, size, scheme):
    """By the keyboard alone: the setting, the sentence, what is drawn and the address follow."""
    page = playground(START, size, scheme)
    before = page.locator("#pg-sentence").inner_text()
    assert "Momentum 0.9 remembers about 10 batches." in before

    def press(control, key, name, wanted, chart):
        old = drawn(page, chart)
        page.locator(control).focus()
        page.keyboard.press(key)
        assert state(page)[name] == wanted
        new = drawn(page, chart)
        assert not all(
            a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in zip(old, new, strict=True)
        )

    press("#pg-momentum", "End", "memory", 1000, "mean")
    press("#pg-epsilon", "Home", "exponent", -8, "gain")
    press("#pg-step", "ArrowRight", "step", 40, "images")
    press("input[name=pg-rate]:checked", "ArrowRight", "rate", 0.5, "variance")
    press("input[name=pg-batch]:checked", "ArrowRight", "batch", 64, "distance")
    press("input[name=pg-start]:checked", "ArrowDown", "counted", False, "mean")
    press("#pg-feature", "ArrowDown", "feature", 3, "mean")
    press("#pg-update", "Enter", "updates", [40], "mean")

    after = page.locator("#pg-sentence").inner_text()
    assert "Momentum 0.999 remembers about 1000 batches." in after
    assert "At step 40 the average of the mean is 0.000 standard deviations from the data's" in after
    assert "epsilon 1e-8 allows 10000 at most" in after
    page.wait_for_function("location.hash.includes('updates=40')")
    wanted = {"momentum": "0.999", "epsilon": "1e-8", "step": "40", "rate": "0.5", "batch": "64", "feature": "3"}
    given = dict(part.split("=") for part in page.url.partition("#")[2].split("&"))
    assert {**wanted, "start": "0-and-1", "updates": "40"} == given
    page.reload()
    assert page.locator("#pg-sentence").inner_text() == after
    press("#pg-forget", "Enter", "updates", [], "mean")


def test_updates_leave_marks_and_start_again(playground, recording):
    page = playground("#momentum=0.999&start=0-and-1&rate=0.5&batch=64&step=20&feature=4")
    assert "of it is still its start, 0 and 1" in page.locator("#pg-sentence").inner_text()
    page.locator("#pg-update").click()
    assert page.locator("#pg-update").is_disabled(), "they are up to date at this step"
    page.locator("#pg-step").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#pg-update").click()
    assert state(page)["updates"] == [20, 40]
    feature, _ = one_run(recording, state(page))
    _, _, _, moving = drawn(page, "mean")
    assert (moving[19], moving[39]) == (feature["trueMean"][9], feature["trueMean"][19])


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_it_can_be_read(playground, size, scheme):
    """Nothing runs over the page, every picture has its width and a name, and curves stand out from the ground."""
    page = playground("", size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    figures = page.locator(".pg-charts figure")
    assert figures.count() == 6
    for figure in figures.all():
        box = figure.locator("canvas").bounding_box()
        assert box["width"] >= 220
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        assert re.search(r"\d", figure.locator("[role=img]").get_attribute("aria-label"))
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.1) == (scheme == "dark")
    for colour in page.evaluate("['average', 'data', 'other'].map((name) => colours[name])"):
        one, other = sorted((ground, luminance(colour)), reverse=True)
        assert (one + 0.05) / (other + 0.05) >= 4.5, colour


def luminance(colour):
    """Relative luminance (WCAG 2) of #rrggbb or rgb(r, g, b)."""
    hexadecimal = re.findall(r"[0-9a-f]{2}", colour) if colour.startswith("#") else None
    parts = [int(x, 16) for x in hexadecimal] if hexadecimal else [float(x) for x in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(parts) / 255]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(
    "hash_", ["#momentum=x&epsilon=-1&step=7e9&rate=3&batch=&feature=99&updates=a,-5,20", "#%", "#momentum=1"]
)
def test_an_address_that_makes_no_sense_is_a_setting_all_the_same(playground, hash_):
    page = playground(hash_)
    now = state(page)
    assert now["rate"] in (0.1, 0.5)
    assert now["batch"] in (4, 16, 64)
    assert "nan" not in page.locator("#pg-sentence").inner_text().lower()


def test_the_lesson_that_explains_it_is_there(playground, site):
    for setting, lesson in (
        ("#epsilon=1e-8&feature=1", "plot_03"),
        ("#updates=20&step=20", "plot_02"),
        ("#start=0-and-1&momentum=0.999&step=20", "plot_01"),
    ):
        page = playground(setting)
        link = page.locator("#pg-lesson").get_attribute("href").partition("#")[0]
        assert lesson in link
        assert (site / "gallery" / link.rpartition("/")[2]).is_file()


def test_without_javascript_a_sentence_says_what_is_missing(playground):
    page = playground("", java_script_enabled=False)
    assert "JavaScript is switched off" in page.locator(".pg-missing").inner_text()
    assert not page.locator(".pg").is_visible()
    assert page.locator(".pg-lessons a").count() == 5


def test_the_start_page_offers_it_first(site, opened):
    for size in ("desk", "phone"):
        page = opened((site / "index.html").as_uri(), size)
        card = page.locator("a.pg-card")
        box = card.bounding_box()
        assert box["y"] + box["height"] <= page.viewport_size["height"], "above the fold"
        card.click()
        page.locator("#pg-momentum").wait_for(state="visible")


def test_lessons_open_it_at_their_setting(site, opened):
    settings = set()
    for lesson in ("plot_01", "plot_02", "plot_03", "plot_04", "plot_05"):
        (path,) = (site / "gallery").glob(f"{lesson}*.html")
        page = opened(path.as_uri())
        page.locator("a[href*='playground.html#']").first.click()
        page.wait_for_load_state()  # the click returns before the new page's script has run
        settings.add(page.locator("#pg-sentence").inner_text())
    assert len(settings) == 5
    assert "" not in settings


def test_the_page_is_small(site):
    """With all that it loads, scripts and styles of the theme included."""
    page = (site / "playground.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(_static/[^"?]+)', page)
    assert any("recording.js" in path for path in loaded)
    assert len(page.encode()) + sum((site / path).stat().st_size for path in set(loaded)) < 600_000
