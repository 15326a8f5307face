"""The bits of the compiled operations are the stored ones: on every processor, every level, any number of threads."""

import json

import pytest

import pybn_ext
from tests.ext import digests

STORED = json.loads(digests.STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", digests.LAYOUTS)
def test_bits_are_the_stored_ones(layout, threads):
    """`python -m tests.ext.digests --write` stores them anew, where a change of bits was meant."""
    before = pybn_ext.get_num_threads()
    pybn_ext.set_num_threads(threads)
    try:
        found = digests.digests([layout])
    finally:
        pybn_ext.set_num_threads(before)
    assert len(found) == 6
    assert digests.differences(found, STORED) == []


def test_a_bit_that_differs_is_found():
    """One unit in the last place of one element changes the digest, and is reported with its case."""
    (case, operations), *_ = digests.digests(["rows"], ["float32"]).items()
    arrays = [array.copy() for array in digests.results(*digests.LAYOUTS["rows"], "float32", False)["training"]]
    assert digests.digest(arrays) == operations["training"]
    arrays[1].view("u8")[-1] ^= 1
    changed = {case: {"training": digests.digest(arrays)}}
    assert digests.differences(changed, STORED) != []


def test_nothing_is_stored_that_is_not_computed():
    assert set(STORED) == {
        f"{layout}, {dtype}{masked}"
        for layout in digests.LAYOUTS
        for dtype in digests.DTYPES
        for masked in ("", ", masked")
    }
