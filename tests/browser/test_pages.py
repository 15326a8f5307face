"""Every page as a reader sees it: on a phone nothing runs over, no picture is missing, no link leads nowhere."""

import re

import pytest

from tests.support.site import dead_anchors

pytestmark = pytest.mark.slow

FAULTS = """() => {
    const page = document.scrollingElement;
    const faults = [...document.images].filter((each) => each.complete && !each.naturalWidth).map((each) => each.src);
    if (page.scrollWidth > innerWidth + 1) faults.push(`it is ${page.scrollWidth} wide on ${innerWidth}`);
    return faults;
}"""


def pages(site):
    """Those that are read; of sources and of the reference one each."""
    read = [*site.glob("*.html"), *site.glob("gallery/*.html"), *site.glob("rooms/plans.html")]
    return sorted([*read, *site.glob("api/generated/pybn.reference.html")])


def test_nothing_runs_over_on_a_phone(site, opened):
    page = opened((site / "index.html").as_uri(), "phone")
    faults = {}
    for each in pages(site):
        page.goto(each.as_uri())
        found = page.evaluate(FAULTS)
        if found:
            faults[each.name] = found
    assert faults == {}


def test_no_link_within_the_site_is_dead(site):
    assert dead_anchors(site) == []


def test_a_lesson_unfolds(site, opened):
    """What a check prints is in sight; its code is a press away, also from the keyboard."""
    page = opened((site / "gallery" / "plot_01_momentum.html").as_uri())
    folded = page.locator("details.folded").first
    code = folded.locator("pre")
    assert not code.is_visible()
    assert page.locator(".sphx-glr-script-out").first.is_visible()
    folded.locator("summary").press("Enter")
    assert code.is_visible()
    assert "assert" in code.inner_text()


def test_behind_the_plan_no_line_knows_python(site):
    """As the page on the compiled path says of Cython's page: the door is yellow, and nothing behind it."""
    annotated = site / "_static" / "annotated" / "pybn_ext.html"
    if not annotated.exists():
        pytest.skip("the site was built without Cython's pages")
    room, yellow = "", set()
    lines = re.findall(r'<pre class="cython line score-(\d+)"[^>]*>(.*?)</pre>', annotated.read_text(encoding="utf-8"))
    for score, line in lines:
        begins = re.search(r"# === (\w+)\.pxi ===", line)
        room = begins[1] if begins else room
        if int(score) and room:
            yellow.add(room)
    door = {"entry", "ordinary", "pool", "parts"}
    beside = {"threads", "busy", "caches"}  # their settings, and what they tell
    assert {"entry", "pool"} <= yellow <= door | beside


def test_without_javascript_a_lesson_can_be_read_and_says_why_formulas_look_so(site, opened):
    page = opened((site / "gallery" / "plot_01_momentum.html").as_uri(), java_script_enabled=False)
    assert "as they were typed" in page.locator("p.noscript").inner_text()
    folded = page.locator("details.folded").first
    folded.locator("summary").click()
    assert folded.locator("pre").is_visible()
