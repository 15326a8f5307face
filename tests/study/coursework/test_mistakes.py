"""Each of the twenty mistakes is named; of two together both or one, and never a third."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.students.mistakes import (
    CLASS_VARIANTS,
    IMAGES_ONLY,
    MODULE_VARIANTS,
    VARIANTS,
    functions,
    layer,
    module,
    number,
    pairs,
)
from tests.support.students.names import said

BACKWARD = ["12", "13a", "13b", "14a", "14b", "15a", "15b", "15c"]
PAIRS = pairs()
# 475 pairs take about two minutes; every thirteenth meets each variant at least once.
SAMPLE = PAIRS[::13]


def check(solution, *wrong):
    """The report of one solution; its averages are Keras's, so that mistake 18 is one."""
    if isinstance(solution, dict):
        if not set(wrong) & IMAGES_ONLY:
            solution = {role: function for role, function in solution.items() if "spatial" not in role}
        return check_batch_norm(**solution, convention="keras")
    return check_batch_norm(solution, convention="keras")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("wrong", VARIANTS)
def test_functions_with_a_cache(wrong):
    assert said(check(functions({wrong}), wrong)) == {number(wrong)}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", BACKWARD)
def test_functions_without_a_cache(wrong):
    assert said(check(functions({wrong}, cached=False), wrong)) == {number(wrong)}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", CLASS_VARIANTS)
def test_classes(wrong):
    assert said(check(layer({wrong}))) == {number(wrong)}


@pytest.mark.parametrize("wrong", MODULE_VARIANTS)
def test_modules(wrong):
    pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    assert said(check(module({wrong}))) == {number(wrong)}


@pytest.mark.parametrize("build", [functions, layer, module])
def test_nothing_planted_nothing_found(build):
    if build is module:
        pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    report = check(build(set()))
    assert report.ok, report.text
    assert not said(report)


REMARKS = {"10", "19b", "20b"}  # right on ordinary data, and said so


def assert_pair(pair, report):
    named, planted = said(report), {number(wrong) for wrong in pair}
    assert named & planted, f"neither of {pair} was named: {report.text}"
    assert named <= planted, f"{named - planted} was named beside {pair}: {report.text}"
    assert not report.ok or "20a" in pair or set(pair) <= REMARKS


@pytest.mark.sampled(4)
@pytest.mark.parametrize("pair", SAMPLE, ids="-".join)
def test_some_pairs(pair):
    assert_pair(pair, check(functions(pair), *pair))


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_all_pairs_of_functions(pair, cached):
    assert_pair(pair, check(functions(pair, cached=cached), *pair))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if set(pair) <= set(CLASS_VARIANTS)], ids="-".join)
def test_all_pairs_in_classes(pair):
    assert_pair(pair, check(layer(pair)))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if set(pair) <= set(MODULE_VARIANTS)], ids="-".join)
def test_all_pairs_in_modules(pair):
    pytest.importorskip("torch", reason="PyTorch is not installed; it is an optional oracle")
    assert_pair(pair, check(module(pair)))
