"""What may be wrong with an output: training, Algorithm 1, and test mode, Algorithm 2, line 11."""

from __future__ import annotations

from collections.abc import Mapping

from pybn.study.coursework.words import Text

_AFFINE_RULE = "gamma multiplies x_hat alone, then beta is added"
_CENTRE_RULE = "each feature has its own mean, taken over the rows of the batch, and it is subtracted from x"
_VARIANCE_RULE = "the variance is the mean of the squared distances from the mean: divided by n, each feature apart"
_DENOMINATOR_RULE = "eps is added to the variance, once, and the root is taken of the sum"
_TEST_RULE = "test mode uses running_mean and running_var as training left them, with the same eps, gamma and beta"

FORWARD: Mapping[str, Text] = {
    "mean-not-subtracted": Text(
        "mistake",
        "normalize",
        "the mean is not subtracted from x",
        _CENTRE_RULE,
    ),
    "mean-added": Text(
        "mistake",
        "normalize",
        "the mean is added to x and not subtracted",
        _CENTRE_RULE,
    ),
    "mean-divided": Text(
        "mistake",
        "normalize",
        "only the mean is divided by the deviation: x - mean / deviation",
        "the difference x - mean is divided, so it needs parentheses",
    ),
    "mean-subtracted-twice": Text(
        "mistake",
        "normalize",
        "the mean is subtracted twice: once divided by the deviation, once as it is",
        "the difference x - mean is divided, so it needs parentheses, and nothing else is subtracted",
    ),
    "global-mean": Text(
        "mistake",
        "mean",
        "one mean for the whole array is subtracted",
        _CENTRE_RULE,
    ),
    "median-for-mean": Text(
        "mistake",
        "mean",
        "the median is subtracted",
        _CENTRE_RULE,
    ),
    "wrong-centre": Text(
        "mistake",
        "mean",
        "what is subtracted from x (or added at the end) is not the mean",
        _CENTRE_RULE,
    ),
    "global-variance": Text(
        "mistake",
        "variance",
        "one variance for the whole array divides every feature",
        _VARIANCE_RULE,
    ),
    "row-statistics": Text(
        "mistake",
        "mean",
        "each row is normalized with its own mean and variance (layer normalization's axis)",
        "statistics are taken over the batch: one for each feature, not for each row",
    ),
    "variance-uncentred": Text(
        "mistake",
        "variance",
        "the variance is not centred: it is the mean of x^2, without the mean taken off",
        _VARIANCE_RULE,
    ),
    "mean-for-variance": Text(
        "mistake",
        "variance",
        "the mean stands where the variance belongs",
        _VARIANCE_RULE,
    ),
    "deviation-under-root": Text(
        "mistake",
        "normalize",
        "the root is taken twice: a standard deviation stands under it",
        _DENOMINATOR_RULE,
    ),
    "absolute-deviation": Text(
        "mistake",
        "variance",
        "the mean absolute distance stands where the variance belongs",
        _VARIANCE_RULE,
    ),
    "variance-about-average": Text(
        "mistake",
        "variance",
        "distances are taken from the moving average and not from the mean of the batch",
        _VARIANCE_RULE,
    ),
    "sample-variance": Text(
        "mistake",
        "variance",
        "the sample variance, divided by n - 1, normalizes the batch",
        _VARIANCE_RULE,
    ),
    "variance-not-averaged": Text(
        "mistake",
        "variance",
        "the squared distances are summed and not divided by n",
        _VARIANCE_RULE,
    ),
    "variance-averaged-twice": Text(
        "mistake",
        "variance",
        "the variance is divided by n once too often",
        _VARIANCE_RULE,
    ),
    "variance-factor": Text(
        "mistake",
        "variance",
        "the variance is {factor:.4g} times what it must be",
        _VARIANCE_RULE,
    ),
    "one-pass-variance": Text(
        "mistake",
        "variance",
        "the variance loses its digits where the mean is large, as E[x^2] - E[x]^2 does",
        "centre first, then square: the difference of two large numbers keeps few digits",
    ),
    "averages-in-training": Text(
        "mistake",
        "normalize",
        "training normalizes with the moving averages and not with the batch's own statistics",
        "in training the batch's own mean and variance normalize it; the averages are only kept for test mode",
    ),
    "no-root": Text(
        "mistake",
        "normalize",
        "it is divided by the variance and not by its root",
        _DENOMINATOR_RULE,
    ),
    "root-twice": Text(
        "mistake",
        "normalize",
        "the root is taken twice",
        _DENOMINATOR_RULE,
    ),
    "square-under-root": Text(
        "mistake",
        "normalize",
        "the variance is squared under the root",
        _DENOMINATOR_RULE,
    ),
    "multiplied-by-deviation": Text(
        "mistake",
        "normalize",
        "it is multiplied by the deviation and not divided by it",
        _DENOMINATOR_RULE,
    ),
    "not-divided": Text(
        "mistake",
        "normalize",
        "it is not divided by the deviation at all",
        _DENOMINATOR_RULE,
    ),
    "one-denominator": Text(
        "mistake",
        "normalize",
        "every feature is divided by the same number, {value:.6g}",
        _DENOMINATOR_RULE,
    ),
    "epsilon-outside": Text(
        "epsilon",
        "normalize",
        "eps is outside the root: sqrt(variance) + eps",
        _DENOMINATOR_RULE,
    ),
    "epsilon-missing": Text(
        "epsilon",
        "normalize",
        "eps is left out: a feature that is constant divides by zero",
        _DENOMINATOR_RULE,
    ),
    "epsilon-twice": Text(
        "epsilon",
        "normalize",
        "eps is added twice",
        _DENOMINATOR_RULE,
    ),
    "epsilon-subtracted": Text(
        "epsilon",
        "normalize",
        "eps is subtracted: a small variance gives the root of a negative number",
        _DENOMINATOR_RULE,
    ),
    "epsilon-squared": Text(
        "epsilon",
        "normalize",
        "eps is squared before it is added",
        _DENOMINATOR_RULE,
    ),
    "epsilon-rooted": Text(
        "epsilon",
        "normalize",
        "the root of eps is added",
        _DENOMINATOR_RULE,
    ),
    "epsilon-fixed": Text(
        "epsilon",
        "normalize",
        "the eps that is handed over is not used: a fixed {value:.3g} stands there",
        "eps is the caller's, in bn_param",
    ),
    "epsilon-unknown": Text(
        "epsilon",
        "normalize",
        "beside the variance stands {value:.4g}, which is not eps",
        _DENOMINATOR_RULE,
    ),
    "affine-missing": Text(
        "mistake",
        "affine",
        "gamma and beta are not applied: x_hat itself comes back",
        _AFFINE_RULE,
    ),
    "scale-missing": Text(
        "mistake",
        "affine",
        "gamma is not applied",
        _AFFINE_RULE,
    ),
    "scale-negated": Text(
        "mistake",
        "affine",
        "the sign is turned: minus gamma multiplies x_hat",
        _AFFINE_RULE,
    ),
    "scale-absolute": Text(
        "mistake",
        "affine",
        "gamma loses its sign",
        _AFFINE_RULE,
    ),
    "scale-squared": Text(
        "mistake",
        "affine",
        "gamma multiplies twice",
        _AFFINE_RULE,
    ),
    "scale-inverted": Text(
        "mistake",
        "affine",
        "it is divided by gamma",
        _AFFINE_RULE,
    ),
    "offset-for-scale": Text(
        "mistake",
        "affine",
        "beta stands where gamma belongs",
        _AFFINE_RULE,
    ),
    "scale-for-offset": Text(
        "mistake",
        "affine",
        "gamma stands where beta belongs",
        _AFFINE_RULE,
    ),
    "offset-missing": Text(
        "mistake",
        "affine",
        "beta is not added",
        _AFFINE_RULE,
    ),
    "offset-inside-scale": Text(
        "mistake",
        "affine",
        "beta is inside the scale: gamma * (x_hat + beta)",
        _AFFINE_RULE,
    ),
    "offset-before-scale": Text(
        "mistake",
        "affine",
        "beta is added before the division by the deviation",
        _AFFINE_RULE,
    ),
    "offset-subtracted": Text(
        "mistake",
        "affine",
        "beta is subtracted",
        _AFFINE_RULE,
    ),
    "not-a-number": Text(
        "mistake",
        "normalize",
        "the output is not a number",
        "every variance is positive or zero, and eps is added to it before the root",
    ),
    "unexplained-output": Text(
        "mistake",
        "normalize",
        "the output differs, and by no slip that this check knows",
        "out = gamma * (x - mean) / sqrt(variance + eps) + beta, each feature with its own statistics",
    ),
    "averages-move-in-test": Text(
        "mistake",
        "inference",
        "the averages are updated in test mode as well",
        "only training moves the averages",
    ),
    "batch-statistics-in-test": Text(
        "mistake",
        "inference",
        "test mode normalizes with the statistics of the test batch, so a row's result depends on its neighbours",
        _TEST_RULE,
    ),
    "half-batch-statistics-in-test": Text(
        "mistake",
        "inference",
        "test mode takes one of mean and variance from the test batch",
        _TEST_RULE,
    ),
    "test-after-update": Text(
        "mistake",
        "inference",
        "test mode first updates the averages with the test batch and uses the result",
        _TEST_RULE,
    ),
}
