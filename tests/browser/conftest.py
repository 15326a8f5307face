"""A site and a Chromium that may not use the network; without either, these tests say what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.site import build, chromium, short_lessons

LOCAL = ("about:", "file:", "data:", "blob:", "http://127.0.0.1:")
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of a built site: that of PYBN_SITE, else one with lessons cut short."""
    if "PYBN_SITE" in os.environ:
        return Path(os.environ["PYBN_SITE"]).resolve(strict=True)
    pytest.importorskip("sphinx", reason="the site's tools are not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    result = build(folder, short_lessons())
    assert result.returncode == 0, result.stderr
    return folder / "site"


@pytest.fixture(scope="package")  # while it is open, its event loop runs in this thread, where no other may
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # As root, as in a container, Chromium has no sandbox of its own; the pages are ours.
        flags = [
            "--no-sandbox",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]  # no other machine has a name
        launched = driver.chromium.launch(executable_path=path, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser):
    """A function that opens an address without a network; the test fails where a page had an error."""
    contexts, errors = [], []

    def open_page(address, size="desk", scheme="light", offline=True, **options):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, offline=offline, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: request.url.startswith(LOCAL) or errors.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
