"""Figures of the pages that the code, its constants or a short computation give: the table of dx, bounds, defaults.

`test_figures` has those that follow from arithmetic alone.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

import pybn
from pybn import datasets, reference
from pybn.lessons import experiments
from pybn.study import coursework, interop
from pybn.study.compare import bounds, families
from pybn.study.coursework.student import probes, sandbox
from tests.docs.test_figures import DOCS, says, text_of
from tests.ext import digests

ROOT = DOCS.parent
DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(pybn.batch_norm).parameters.items()
    if parameter.default is not parameter.empty
}


def rows_of(page, first):
    """The cells of the rst table whose heading begins with `first`, row by row."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    table = text[text.index(f"   * - {first}\n") :].split("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"\n     - ", row)] for row in table.split("   * - ")[1:]]


def constant(name):
    """The value of a constant of the compiled implementation, as its source says it."""
    found = [
        match[1]
        for path in sorted((ROOT / "pybn_ext").glob("*.pxi"))
        for match in re.finditer(
            rf"^    {name} = ([\d <]+?) *(?:#.*)?$", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(found) == 1, f"{name} stands {len(found)} times in pybn_ext"
    factor, _, shift = found[0].partition("<<")
    return int(factor) << int(shift or 0)


# --- the table of dx ------------------------------------------------------------------------------


def cotangents():
    """(x, dy, epsilon) of each row, 4096 rows of 64 features but where it says fewer."""
    rng = np.random.default_rng(0)
    x, noise = (rng.standard_normal((4096, 64), dtype=np.float32) for _ in range(2))
    normalized = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    return {
        "normal": (x, noise, 1e-3),
        "5 + noise": (x, noise + np.float32(5), 1e-3),
        "100 + noise": (x, noise + np.float32(100), 1e-3),
        "10 x̂ + noise": (x, (10 * normalized + noise).astype(np.float32), 1e-3),
        "y: the loss is the mean of y²": (x, normalized, 1e-3),
        "y, with ε = 1e-5": (x, normalized, 1e-5),
        "two rows": (x[:2], noise[:2], 1e-3),
        "three rows": (x[:3], noise[:3], 1e-3),
        "four rows": (x[:4], noise[:4], 1e-3),
    }


def units_of_dx(gradient, x, dy, epsilon):
    """How far `gradient` is off, in units of the feature's largest dx."""
    dx = gradient(x, dy, epsilon)
    wide, upstream = x.astype(np.longdouble), dy.astype(np.longdouble)
    centred = wide - wide.mean(0)
    inverse = 1 / np.sqrt(np.square(centred).mean(0) + epsilon)
    normalized = centred * inverse
    exact = inverse * (upstream - upstream.mean(0) - normalized * (upstream * normalized).mean(0))
    largest = np.abs(exact).max(0).astype(np.float32)
    return float((np.abs(dx - exact).max(0) / np.spacing(largest)).max())


def behind_its_own_forward_pass(kernels):
    def gradient(x, dy, epsilon):
        scale = np.ones(x.shape[1], np.float32)
        _, mean, variance = kernels.batch_norm_training(x, scale, None, epsilon=epsilon)
        return kernels.batch_norm_gradient(x, scale, mean, variance, dy, epsilon=epsilon)[0]

    return gradient


def told_of_dx(column):
    """The cells of one column by dy."""
    head, *rows = rows_of("implementations", "dy")
    return {row[0]: row[head.index(column)] for row in rows}


def test_the_table_of_dx(kernels):
    told = told_of_dx("compiled" if kernels.__name__ == "pybn_ext" else "reference")
    given = cotangents()
    assert list(told) == list(given)
    for dy, cell in told.items():
        found, figure = units_of_dx(behind_its_own_forward_pass(kernels), *given[dy]), float(cell)
        assert abs(found - figure) <= 0.1 * figure, f"{dy}: {found}, the page says {cell}"  # another order of addition


def test_pytorch_beside_it():
    """Its order of addition is its own on each machine: the figures are of the size that the page says."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def gradient(x, dy, epsilon):
        leaf = torch.tensor(x, requires_grad=True)
        scale = torch.ones(x.shape[1])
        torch.nn.functional.batch_norm(leaf, None, None, scale, None, True, 0.0, epsilon).backward(torch.tensor(dy))
        return leaf.grad.numpy()

    given, before = cotangents(), torch.get_num_threads()
    torch.set_num_threads(1)  # with two it adds in another order, and is off by less
    try:
        for dy, cell in told_of_dx("PyTorch 2.13").items():
            found, told = units_of_dx(gradient, *given[dy]), float(cell.replace(" ", ""))
            assert told / 2 < found < told * 2, f"{dy}: {found}, the page says {told}"
    finally:
        torch.set_num_threads(before)


# --- bounds ---------------------------------------------------------------------------------------


def test_the_bounds_are_those_that_compare_tries():
    units = bounds.UNITS
    says(
        "implementations",
        f"the mean within {units['mean']} of max(\\μ\\, \N{GREEK SMALL LETTER SIGMA}), the variance within "
        f"{units['variance']}, y within {units['y']} (in float64 {units['y'] + 1})",
    )
    says("implementations", f"dx is within {units['dx']} of the feature's largest element for every dy")
    assert units["dscale"] == units["doffset"] == units["dx"]
    far, wide = (np.log10(families.FAR[dtype]) for dtype in ("float32", "float64"))
    large, small = (np.log10(size["float32"]) for size in (families.LARGE, families.SMALL))
    both = np.log10(families.LARGE["float64"])
    assert families.SMALL["float64"] == pytest.approx(1 / families.LARGE["float64"])
    says(
        "implementations",
        f"means 10{far:.0f} away (in float64 10{wide:.0f}), numbers of 10{large:.0f} and 10{small:.0f} "
        f"(in float64 10±{both:.0f})",
    )


# --- defaults and constants -----------------------------------------------------------------------


def test_the_defaults_of_the_layer():
    told = {re.match(r"``(\w+)", row[0])[1]: row[1].strip("`") for row in rows_of("layer", "option")[1:]}
    assert ast.literal_eval(told.pop("new")) == DEFAULTS["feature_axis"]
    for name, value in DEFAULTS.items():
        if name not in ("feature_axis", "current_scope"):
            assert ast.literal_eval(told[name]) == value, name
    says(
        "gomlx",
        f"The defaults are the same in all three: momentum {DEFAULTS['momentum']}, epsilon "
        f"10{np.log10(DEFAULTS['epsilon']):.0f}".replace("-", "\N{MINUS SIGN}"),
    )


def test_the_constants_of_the_compiled_implementation():
    serial = f"{constant('SERIAL'):,}".replace(",", " ")
    says("performance", f"Below {serial} elements one thread")
    says("performance", f"Outputs from {constant('POOLED') >> 20} MB on come from a pool")
    says("performance", f"From {constant('FAR') >> 20} MB on nothing is tried")
    says("performance", f"taken from {constant('SAMPLES')} elements")
    says("performance", f"over at most {constant('ROWS')} rows in x's own type ({constant('ROWS') // 2} in float64)")


def test_the_digests_are_as_many_as_the_pages_say():
    number = sum(map(len, json.loads(digests.STORED.read_text(encoding="utf-8")).values()))
    says("performance", f"The digests are of {number} results: every operation over thirteen layouts, three types")
    says("developing", "every operation over thirteen layouts, three types, with and without a mask")
    assert (len(digests.LAYOUTS), len(digests.DTYPES)) == (13, 3)
    assert f"({number} digests over layouts" in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_the_digits():
    assert f"{len(datasets.digits()[1])} // comm.size" in text_of("distributed")
    batches = sum(1 for _ in experiments.digits(0).whole)
    says("playground", f"counts as {batches} batches from which the average goes on")
    says("playground", f"Every training had epsilon {DEFAULTS['epsilon']}")


def test_what_two_workers_say_to_each_other():
    features = 7
    x = np.random.default_rng(0).standard_normal((5, features)).astype(np.float32)
    moments = reference.moments(x)
    sums = reference.batch_norm_gradient_sums(x, moments.mean, moments.variance, x)
    forward, backward = ((each[1].nbytes + each[2].nbytes) // features for each in (moments, sums))
    says("distributed", f"{forward} C bytes forward (mean and variance in float64), {backward} C bytes backward")


def test_the_import_of_a_young_counter():
    arrays = {"running_mean": np.zeros(1), "running_var": np.ones(1), "num_batches_tracked": np.int64(3)}
    weight = interop.from_pytorch(arrays, count=8, momentum=0.1).avg_weight
    says("conventions", f"num_batches_tracked = 3 with PyTorch's 0.1 becomes a weight of {weight:.0f}")


def test_what_remains_of_an_average_of_haiku():
    """The tests of interop hold each continuation to this bound; here it is no larger than it must be."""
    rule, most = interop.rules, 0.0
    for decay in (0.5, 0.9, 0.97, 0.99):
        for seen in (1, 3, 9, 20, 50):
            there = rule["haiku"](momentum=decay)
            for _ in range(seen):
                there.update(np.ones(1), np.ones(1), 8)
            ema = {"average": there.mean, "counter": np.int32(seen)}
            state = interop.from_haiku({}, ema, ema, decay_rate=decay)
            here, weight = state.mean, state.avg_weight
            for _ in range(60):
                there.update(np.zeros(1), np.ones(1), 8)
                weight += 1
                here = here * min(state.momentum, 1 - 1 / weight)
                most = max(most, abs(float(there.mean[0] - here[0])))
    assert 0.07 < most < 0.085
    says("conventions", "the share of them that is still what was imported differs from Haiku's by less than 0.085")


def test_the_limits_of_a_check():
    defaults = inspect.signature(coursework.check_file).parameters
    says("teaching", f"memory megabytes ({defaults['memory'].default:.0f} by default)")
    printed = f"{sandbox.PRINTED:,}".replace(",", " ")
    says("teaching", f"dropped after {printed} characters, an exception's words after {sandbox.SHOWN}")


def test_the_probes():
    large, small = probes.LARGE_EPSILON, probes.SMALL_EPSILON
    says("teaching", f"an eps of {large.epsilon} and {small.epsilon}")
    says(
        "teaching",
        f"a momentum of {large.momentum} and {small.momentum}, and scales of both signs that are never near 1",
    )
    for probe in (large, small):
        assert set(np.sign(probe.scale)) == {-1, 1}
        assert np.abs(np.abs(probe.scale) - 1).min() > 0.2


def test_the_worked_example_of_the_derivation():
    x = np.arange(4.0)[:, None]
    _, mean, variance = reference.moments(x)
    says("derivation", rf":math:\mu = {mean[0]}, :math:\sigma^2 = {variance[0]}, :math:s = {variance[0] ** -0.5:.6f}")


def test_a_page_that_is_out_of_step_is_refused():
    with pytest.raises(AssertionError, match=r"performance.rst does not say"):
        says("performance", "Below 65 537 elements one thread")
    with pytest.raises(AssertionError, match="NO_SUCH stands 0 times"):
        constant("NO_SUCH")
    assert Path(digests.STORED).is_file()
