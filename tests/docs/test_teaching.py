"""The page for teachers shows a report as it is printed."""

from pathlib import Path

import numpy as np

from pybn.study.coursework import check_batch_norm
from tests.support.students.right import staged_forward

TEACHING = Path(__file__).parents[2] / "docs" / "teaching.rst"


def test_the_page_for_teachers_shows_what_is_printed():
    def batchnorm_forward(x, gamma, beta, bn_param):
        if bn_param["mode"] == "test":
            deviation = np.sqrt(bn_param["running_var"]) + bn_param["eps"]
            return gamma * (x - bn_param["running_mean"]) / deviation + beta, None
        return staged_forward(x, gamma, beta, bn_param)

    def batchnorm_backward(dout, cache):
        inverse, hat, gamma = cache[5], cache[6], cache[8]
        return gamma * inverse * (dout - dout.mean(0)), (dout * hat).sum(0), dout.sum(0)

    printed = check_batch_norm(batchnorm_forward, batchnorm_backward).text
    shown = "\n".join(f"   {line}".rstrip() for line in printed.splitlines())
    assert shown in TEACHING.read_text(encoding="utf-8")
