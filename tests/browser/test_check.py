"""The page "Check my code": its limits in sentences and, where PYBN_PYODIDE names a copy of Pyodide, its reports."""

import functools
import http.server
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def server_of(folder):
    """A server of a folder, on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """No line for each file that is asked for."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))


@pytest.fixture(scope="module")
def address(site, tmp_path_factory):
    """The site on a server, with Pyodide beside it where there is a copy of it."""
    folder = tmp_path_factory.mktemp("served") / "site"
    shutil.copytree(site, folder, ignore=shutil.ignore_patterns("_images", "_downloads", "_sources", "_modules"))
    (folder / "_static" / "check" / "settings.js").write_text('window.pyodideBase = "pyodide/";\n')
    if "PYBN_PYODIDE" in os.environ:
        (folder / "pyodide").symlink_to(Path(os.environ["PYBN_PYODIDE"]).resolve(strict=True))
    with server_of(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def python():
    """Pyodide is at hand."""
    if "PYBN_PYODIDE" not in os.environ:
        pytest.skip("PYBN_PYODIDE does not name a copy of Pyodide; python docs/pyodide.py DIR makes one")


def test_opened_as_a_file_it_says_what_it_needs(site, opened):
    page = opened((site / "check.html").as_uri())
    missing = page.locator("#ck-missing")
    assert "opened as a file" in missing.inner_text()
    assert "python -m pybn check layers" in missing.inner_text()
    assert not page.locator("#ck").is_visible()


def test_without_webassembly_it_says_so(address, opened):
    page = opened("about:blank", offline=False)
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(f"{address}/check.html")
    assert "no WebAssembly" in page.locator("#ck-missing").inner_text()


def test_without_javascript_it_says_so(address, opened):
    page = opened(f"{address}/check.html", offline=False, java_script_enabled=False)
    assert "JavaScript is switched off" in page.locator("noscript, .ck-missing").first.inner_text()
    assert not page.locator("#ck").is_visible()


def test_without_a_network_it_says_where_python_was_not(address, opened):
    page = opened(f"{address}/check.html", offline=False)
    page.context.route("**/pyodide/**", lambda route: route.abort())
    page.locator("#ck-check").click()
    page.wait_for_function("document.getElementById('ck-status').textContent.includes('could not be loaded')")
    assert f"{address}/pyodide/" in page.locator("#ck-status").inner_text()
    assert page.locator("#ck-check").is_enabled()


def test_the_archive_is_pybn_and_nothing_compiled(site):
    with zipfile.ZipFile(site / "_static" / "check" / "pybn.zip") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert {"pybn/reference.py", "pybn/study/coursework/__init__.py", "pybn/framework/data/digits.npz"} <= set(names)
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]


SLIPS = {
    "eps outside the root": ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)", "eps is outside the root"),
    "a sample variance": ("x.var(axis=0)", "x.var(axis=0, ddof=1)", "variance"),
    "a gradient without the mean": ("- dx_hat.mean(axis=0)", "", "backward"),
}
SOLUTION = """import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1]))
    if bn_param["mode"] == "test":
        return gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta, None
    mean, var = x.mean(axis=0), x.var(axis=0)
    x_hat = (x - mean) / np.sqrt(var + eps)
    bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
    bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    return gamma * x_hat + beta, (x_hat, gamma, np.sqrt(var + eps))


def batchnorm_backward(dout, cache):
    x_hat, gamma, deviation = cache
    dx_hat = dout * gamma
    dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / deviation
    return dx, (dout * x_hat).sum(axis=0), dout.sum(axis=0)
"""


@pytest.fixture(scope="module")
def editor(python, address, browser):
    """One page with Python loaded, for all that is handed in; a function that hands in and gives what the page says."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    elsewhere = []
    context.on(
        "request", lambda request: request.url.startswith((address, "blob:", "data:")) or elsewhere.append(request.url)
    )
    page = context.new_page()
    page.goto(f"{address}/check.html")

    def hand_in(code, button="#ck-check", wait=120):
        page.locator("#ck-code").fill(code)
        page.locator(button).click()
        page.wait_for_function("!document.getElementById('ck-check').disabled", timeout=1000 * wait)
        return page.locator("#ck-status").inner_text(), page.locator("#ck-report").inner_text()

    hand_in.page = page
    yield hand_in
    context.close()
    assert elsewhere == []


def test_a_right_solution_is_right(editor):
    status, report = editor(SOLUTION)
    assert status == "All that was handed in is right."
    assert re.search(r"(\d+) of \1 points", report)


@pytest.mark.parametrize(("old", "new", "said"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_named(editor, old, new, said):
    assert old in SOLUTION
    status, report = editor(SOLUTION.replace(old, new))
    assert "wrong" in status
    assert said in report


def test_the_page_s_own_example_has_its_two_slips(editor):
    page = editor.page
    page.reload()
    page.locator("#ck-check").click()
    page.wait_for_function("!document.getElementById('ck-check').disabled", timeout=120_000)
    report = page.locator("#ck-report").inner_text()
    assert "eps is outside the root" in report
    assert "path through the variance is missing" in report


def test_it_reads_well_on_a_phone(editor):
    editor(SOLUTION.replace("np.sqrt(var + eps)", "(np.sqrt(var) + eps)"))
    page = editor.page
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    widths = page.evaluate("[...document.querySelectorAll('#ck-report dd')].map((e) => [e.scrollWidth, e.clientWidth])")
    assert widths
    assert all(inner <= outer for inner, outer in widths)


def test_an_error_shows_the_line(editor):
    status, report = editor("import numpy as np\n\nx = np.zeros(3)\nx.nothing()\n")
    assert "raised" in status
    assert "line 4: x.nothing()" in report
    assert "AttributeError" in report
    assert "invalid syntax" in editor("def f(:\n    pass\n")[1]


def test_an_endless_loop_in_a_function_is_named(editor):
    """The clock that each line looks at ends it, and the other parts are judged."""
    status, report = editor(
        SOLUTION + "\n\ndef spatial_batchnorm_forward(x, gamma, beta, bn_param):\n    while True:\n        pass\n"
    )
    assert "wrong" in status
    assert "did not return within" in report


def test_an_endless_loop_that_nothing_stops_ends_with_the_worker(editor):
    status, _ = editor("while True:\n    pass\n")
    assert "ended: is there a loop" in status
    assert editor(SOLUTION)[0] == "All that was handed in is right.", "the next one has a Python of its own"


def test_the_five_lines_run(editor):
    page = editor.page
    page.locator("#ck-example").select_option(label="five lines of pybn (press Only run it)")
    status, report = editor(page.locator("#ck-code").input_value(), "#ck-run")
    assert status == "It ran."
    assert "[[-1.02 -0.93]" in report
