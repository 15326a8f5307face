"""Figures in the pages that follow from the code or from arithmetic are computed, and the sentence is held to them.

What was measured (times, units over many inputs) is not here: performance.rst and implementations.rst say where it is.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pybn
from pybn import batchnorm, reference
from pybn.study import check_batch_norm
from pybn.study.interop import conventions

DOCS = Path(__file__).parents[2] / "docs"
MINUS = "\N{MINUS SIGN}"
MOMENTUM = inspect.signature(pybn.batch_norm).parameters["momentum"].default


def text_of(page):
    """A page as one line, the marks of its markup left out."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"\\ :sup:`(.*?)`|[*`|]", r"\1", text))


def says(page, sentence):
    """Hold a page to a sentence with the figures filled in."""
    assert sentence in text_of(page), f"{page}.rst does not say: {sentence}"


def numbers(values, digits):
    """As a page prints them."""
    return ", ".join(f"{value:.{digits}f}".replace("-", MINUS) for value in values)


def test_the_memory_of_the_default_momentum_is_one_everywhere():
    memory = round(1 / (1 - MOMENTUM))
    share = 1 - MOMENTUM**memory
    says(
        "differences",
        f"a memory of 1/(1 {MINUS} momentum) batches, {memory} with the default: the last {memory} of the second pass "
        f"make up {100 * share:.0f} % of it",
    )
    says(
        "conventions",
        f"with {MOMENTUM}, after {memory} batches, {100 * MOMENTUM**memory:.0f} % of the average is still",
    )
    says("layer", f"The length of the averages' memory is about 1/(1 {MINUS} momentum) batches")


def test_the_sample_variance_of_eight():
    ratio = float(conventions.sample_variance(1.0, count=8))
    says(
        "conventions",
        f"with 8 elements per feature the averaged variance is {100 * (ratio - 1):.0f} % larger, and evaluation's "
        f"outputs {100 * (1 - ratio**-0.5):.0f} % smaller",
    )


def test_the_worked_gradient():
    x, dy = np.arange(4.0)[:, None], np.eye(4)[:, :1]
    _, mean, variance = reference.batch_norm_training(x, np.ones(1), None, epsilon=0.0)
    options = {"mean": mean, "variance": variance, "dy": dy, "epsilon": 0.0}
    whole = reference.batch_norm_gradient(x, np.ones(1), **options)[0].ravel()
    direct = reference.batch_norm_inference_gradient(x, np.ones(1), **options)[0].ravel()
    says("differences", f"it is {numbers(whole, 6)}; with stopped statistics it would be {direct[0]:.6f}, 0, 0, 0")
    says("derivation", f"s,dy = ({direct[0]:.6f}, 0, 0, 0)".replace(",dy", "\\,dy"))
    assert np.all(direct[1:] == 0)


def test_the_worked_averages():
    def means(momentum):
        averages = batchnorm.Averages(np.zeros(1), np.ones(1), 0.0)
        for batch_mean in (1.0, 3.0, 8.0):
            averages = averages.after(np.array([batch_mean]), np.zeros(1), momentum)
            yield f"{averages.mean[0]:g}"

    long, short = ", ".join(means(0.99)), ", ".join(means(0.5))
    says("derivation", f"Batch means 1, 3, 8 give {long} with :math:m = 0.99 and {short} with :math:m = 0.5")


def test_where_float16_stops_counting():
    counter = np.float16(0)
    while counter + np.float16(1) > counter:
        counter += np.float16(1)
    says("differences", f"in float16 it stops counting at {counter:.0f}")


def test_a_float32_mean_far_away():
    """One number of float32 near 1e6 is this far from the next: half of it is what rounding may take."""
    says(
        "differences",
        f"At mean 106 a float32 mean is {np.spacing(np.float32(1e6)) / 2:.2f} \N{GREEK SMALL LETTER SIGMA} off",
    )


def test_the_report_that_the_page_for_teachers_prints():
    """Its numbers are those of the students whose mistakes it tells."""

    def batchnorm_forward(x, gamma, beta, bn_param):
        keep, eps = bn_param["momentum"], bn_param["eps"]
        mean, var = (
            bn_param.get("running_mean", np.zeros(x.shape[1])),
            bn_param.get("running_var", np.zeros(x.shape[1])),
        )
        if bn_param["mode"] == "test":
            return gamma * (x - mean) / (np.sqrt(var) + eps) + beta, None
        mu, v = x.mean(axis=0), x.var(axis=0)
        bn_param["running_mean"], bn_param["running_var"] = keep * mean + (1 - keep) * mu, keep * var + (1 - keep) * v
        x_hat = (x - mu) / np.sqrt(v + eps)
        return gamma * x_hat + beta, (x_hat, gamma, v + eps)

    def batchnorm_backward(dout, cache):
        x_hat, gamma, variance = cache
        dgamma, dbeta = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
        return gamma / np.sqrt(variance) * (dout - dbeta / len(dout)), dgamma, dbeta

    report = check_batch_norm(batchnorm_forward, batchnorm_backward)
    says("teaching", " ".join(report.text.split()))
    says("teaching", f"a cell of {report.possible:g} points gives {report.points:g} for the solution above")


@pytest.mark.parametrize(("parameter", "says_so"), [("time_limit", "after time_limit seconds ({} by default)")])
def test_defaults(parameter, says_so):
    says("teaching", says_so.format(inspect.signature(check_batch_norm).parameters[parameter].default))
