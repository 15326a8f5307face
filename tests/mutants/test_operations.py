"""The suite can fail: every mutant of the reference is refused by the very tests that the twins pass."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tests.mutants import operations as mutants
from tests.mutants.operations import MUTANTS, Mutant
from tests.operations import test_arguments
from tests.operations import test_gradients as gradients
from tests.operations import test_out as out
from tests.operations import test_parts as parts
from tests.operations import test_values as values
from tests.support import bad_arguments

FAILURES = (Exception, pytest.fail.Exception)


def battery():
    """Some of the tests of the suite with some of their parameters, the quick ones first: (function, arguments)."""
    for row in bad_arguments.ROWS:
        if row.startswith("batch_norm_gradient"):
            yield test_arguments.test_bad_argument, {"row": row}
    yield test_arguments.test_parameters_are_in_ascending_axis_order, {"order": (2, 1)}
    yield values.test_zero_variance_and_zero_epsilon, {}
    yield values.test_default_epsilon_is_a_thousandth, {}
    for counts in ((3, 7), (0, 5)):
        yield values.test_merge, {"counts": counts}
    for operation in out.OPERATIONS:
        options = {"operation": operation, "layout": "strided", "dtype": np.float32, "masked": False}
        yield out.test_out_receives_the_same_bits, options
        yield out.test_what_cannot_be_out, {"operation": operation}
        yield out.test_out_may_not_overlap_an_input, {"operation": operation}
    yield out.test_inference_over_x_itself, {"layout": "contiguous", "masked": True, "dtype": np.float32}
    for shape in ((5, 33), (2, 3, 4, 5)):
        yield gradients.test_training_by_complex_step, {"shape": shape, "feature_axis": 1, "epsilon": 0.3}
    for dtype in ("float32", "float64"):
        yield values.test_constant_features_are_exact, {"value": 3.7, "dtype": dtype, "epsilon": 0.0}
        yield values.test_without_scale_or_offset, {"dtype": dtype, "present": (False, False)}
        spoilt = {"bad": np.nan, "row": 0, "dtype": dtype, "feature_axis": 1}
        yield values.test_a_bad_number_stays_in_its_feature, spoilt
        yield values.test_padding_is_never_read, {"padding": np.nan, "dtype": dtype, "feature_axis": (0, 2)}
        for shape, axis in (((67, 3), -1), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), (3, 1, 2)), ((1, 4), -1)):
            yield values.test_shapes, {"shape": shape, "feature_axis": axis, "dtype": dtype}
    for name in ("mean 1e6", "deviation 1e18", "deviation 1e-40"):
        options = {"dtype": "float32", "name": name, "epsilon": 1e-3, "first": False}
        yield values.test_hard_numbers, options
    yield values.test_squares_that_float64_cannot_hold, {}
    yield values.test_epsilon_beside_numbers_in_another_unit, {}
    yield values.test_merge_of_means_far_apart, {"counts": (1, 10**9)}
    yield values.test_a_dy_without_bounds_stays_in_its_feature, {"bad": np.inf, "dtype": "float64", "feature_axis": 0}
    yield test_arguments.test_mask_may_be_of_zeros_and_ones, {"dtype": np.int8}
    yield test_arguments.test_out_that_overlaps_itself, {"strides": (4, 4)}
    yield parts.test_of_nothing, {"dtype": "float32"}
    yield parts.test_nothing_is_the_neutral_element, {"count": 5}
    yield parts.test_sums_of_parts_add_up, {"dtype": "float32", "sizes": (3, 0, 6)}
    yield values.test_parameters_and_statistics_of_another_type, {"dtype": "float16", "parameter_dtype": np.float64}
    yield values.test_masks, {"feature_axis": (0, 2), "dtype": "float32"}


def run_battery(kernels):
    """Every test of the battery on this implementation; the first failure ends it."""
    for function, options in battery():
        if "rng" in inspect.signature(function).parameters:
            options = {"rng": np.random.default_rng(20150211), **options}
        function(kernels, **options)


def test_the_unchanged_copy_passes():
    """The control: without a mutation nothing is refused."""
    run_battery(mutants.build(None))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_mutant_is_caught(mutant):
    kernels = mutants.build(mutant)
    with pytest.raises(FAILURES):
        run_battery(kernels)


def test_a_mutant_that_no_longer_applies_is_an_error():
    with pytest.raises(LookupError, match="not in the source 1 times"):
        mutants.build(Mutant("gone", "no such line", ""))
    with pytest.raises(LookupError, match="not in the source 3 times"):
        mutants.build(Mutant("gone", mutants.LINE_4, "", 2))


def test_every_mutant_is_another():
    sources = [(m.module, m.old, m.new, m.nth) for m in MUTANTS]
    assert len(set(sources)) == len(sources) >= 25
    assert len({m.what for m in MUTANTS}) == len(MUTANTS)
