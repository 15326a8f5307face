"""What may be wrong with what is stored: the rule, the statistic, the start."""

from __future__ import annotations

from collections.abc import Mapping

from pybn.study.coursework.words import Text

_AVERAGE_RULE = "new average = momentum * old average + (1 - momentum) * statistic of the batch"
_STORED_RULE = "running_var averages the variance itself: no root, no eps"

STORED: Mapping[str, Text] = {
    "momentum-swapped": Text(
        "mistake",
        "averages",
        "momentum counts the other way round in {name}: it multiplies the new statistic (PyTorch's sense)",
        _AVERAGE_RULE,
    ),
    "momentum-of-the-old": Text(
        "mistake",
        "averages",
        "momentum multiplies the old {name} and not the new statistic",
        "by PyTorch's rule momentum is the share of the new statistic",
    ),
    "momentum-fixed": Text(
        "mistake",
        "averages",
        "{name} does not follow the momentum that is handed over: it always keeps {keep:.4g}",
        _AVERAGE_RULE,
    ),
    "momentum-rule": Text(
        "mistake",
        "averages",
        "{name} keeps {keep:.4g} of the old average and takes {take:.4g} of the new statistic",
        _AVERAGE_RULE,
    ),
    "averages-never-updated": Text(
        "mistake",
        "averages",
        "{name} is never updated, or the update is not stored back",
        _AVERAGE_RULE + ", stored where test mode finds it",
    ),
    "averages-overwritten": Text(
        "mistake",
        "averages",
        "{name} is overwritten by the last batch",
        _AVERAGE_RULE,
    ),
    "averages-updated-twice": Text(
        "mistake",
        "averages",
        "{name} is updated twice in one step",
        _AVERAGE_RULE + ", once a step",
    ),
    "averages-decay-from-other": Text(
        "mistake",
        "averages",
        "{name} decays from the other average: the two names are mixed up",
        _AVERAGE_RULE,
    ),
    "first-step-fails": Text(
        "mistake",
        "averages",
        "the first step, when bn_param holds no averages yet, raises {message}",
        "without averages a forward starts its own, of zeros",
    ),
    "average-missing": Text(
        "mistake",
        "averages",
        "{name} is not stored",
        _AVERAGE_RULE,
    ),
    "sample-variance-averaged": Text(
        "mistake",
        "averages",
        "running_var averages the sample variance, n/(n - 1) times the one that normalizes",
        "the variance that is averaged is the one that normalizes, divided by n",
    ),
    "population-variance-averaged": Text(
        "mistake",
        "averages",
        "running_var averages the population variance; by this convention it is the sample variance",
        "the variance that is averaged is n/(n - 1) times the one that normalizes",
    ),
    "statistic-divided-twice": Text(
        "mistake",
        "averages",
        "what {name} averages is divided by n once too often",
        _AVERAGE_RULE,
    ),
    "small-variance-stored": Text(
        "mistake",
        "averages",
        "running_var averages (n - 1)/n times the variance",
        _STORED_RULE,
    ),
    "sum-stored": Text(
        "mistake",
        "averages",
        "{name} averages a sum over the batch that is not divided by n",
        _AVERAGE_RULE,
    ),
    "deviation-stored": Text(
        "mistake",
        "averages",
        "running_var keeps the standard deviation and not the variance",
        _STORED_RULE,
    ),
    "inverse-deviation-stored": Text(
        "mistake",
        "averages",
        "running_var keeps one over the standard deviation",
        _STORED_RULE,
    ),
    "variance-squared-stored": Text(
        "mistake",
        "averages",
        "running_var keeps the square of the variance",
        _STORED_RULE,
    ),
    "output-variance-stored": Text(
        "mistake",
        "averages",
        "running_var keeps the variance of the output and not of x",
        _STORED_RULE,
    ),
    "epsilon-in-variance": Text(
        "epsilon",
        "averages",
        "eps is stored with the variance: running_var averages variance + eps, and test mode adds eps again",
        _STORED_RULE,
    ),
    "other-statistic-stored": Text(
        "mistake",
        "averages",
        "{name} averages the other statistic: mean and variance are mixed up",
        _AVERAGE_RULE,
    ),
    "global-stored": Text(
        "mistake",
        "averages",
        "{name} keeps one number for the whole array",
        "each feature has its own averages",
    ),
    "median-stored": Text(
        "mistake",
        "averages",
        "{name} averages the median",
        _AVERAGE_RULE,
    ),
    "unexplained-average": Text(
        "mistake",
        "averages",
        "{name} differs, and by no rule that this check knows",
        _AVERAGE_RULE,
    ),
    "variance-start": Text(
        "mistake",
        "averages",
        "running_var starts at {start:.4g}; by this convention it starts at {right:.4g}",
        "what the start leaves behind is momentum^t after t batches, unless it is taken out",
    ),
    "not-debiased": Text(
        "mistake",
        "averages",
        "the first batches are not averaged plainly: the start values stay in the averages by momentum^t",
        "keep = min(momentum, 1 - 1/t) in the t-th batch",
    ),
    "debiased": Text(
        "mistake",
        "averages",
        "the start is taken out of the averages, which {convention} rule does not do",
        _AVERAGE_RULE,
    ),
    "average-in-place": Text(
        "mistake",
        "averages",
        "the caller's {name} is changed in place",
        "store a new array: whoever handed over the old one may still use it",
    ),
    "average-shape": Text(
        "shape",
        "averages",
        "the values may be right, the shape is not: {detail}",
        "running_mean and running_var have one entry a feature, shape (d,)",
    ),
    "follows-convention": Text(
        "remark",
        "averages",
        "the averages follow {convention} convention, in momentum and variance alike",
        "a convention is not a mistake; say which one you use",
    ),
}
