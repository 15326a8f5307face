"""What may be wrong with dx, dgamma and dbeta: section 3, the chain rule after Algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping

from pybn.study.coursework.words import Text

_VARIANCE_RULE = "the variance is the mean of the squared distances from the mean: divided by n, each feature apart"
_DX_RULE = (
    "x acts on the loss three ways: directly, through the variance, and through the mean; dx is the sum of all three"
)

BACKWARD: Mapping[str, Text] = {
    "dx-missing": Text(
        "failure",
        "dx",
        "dx is missing or of a wrong shape",
        "dx has the shape of x",
    ),
    "dx-zero": Text(
        "mistake",
        "dx",
        "dx is zero",
        _DX_RULE,
    ),
    "dx-not-a-number": Text(
        "mistake",
        "dx",
        "dx is not a number",
        _DX_RULE,
    ),
    "dout-ignored": Text(
        "mistake",
        "dx_hat",
        "dx does not depend on dout: the derivative of y itself comes back",
        "every term of a backward pass is a product with the gradient that arrives",
    ),
    "not-linear": Text(
        "mistake",
        "dx",
        "dx is not proportional to dout",
        "every term holds dout exactly once: twice the dout gives twice the dx",
    ),
    "features-mixed-in-dx": Text(
        "mistake",
        "dx",
        "the dx of a feature depends on other features' dout",
        "features do not meet in batch normalization: sums go over the batch only",
    ),
    "statistics-constant": Text(
        "mistake",
        "dx",
        "dx takes mean and variance for constants: only the direct path is there",
        _DX_RULE,
    ),
    "variance-path-missing": Text(
        "mistake",
        "dvariance",
        "the path through the variance is missing in dx",
        _DX_RULE,
    ),
    "mean-path-missing": Text(
        "mistake",
        "dmean",
        "the path through the mean is missing in dx",
        _DX_RULE,
    ),
    "direct-path-missing": Text(
        "mistake",
        "dx direct",
        "the direct path is missing in dx",
        _DX_RULE,
    ),
    "variance-path-sign": Text(
        "mistake",
        "dvariance",
        "the path through the variance has the wrong sign",
        _DX_RULE,
    ),
    "mean-path-sign": Text(
        "mistake",
        "dmean",
        "the path through the mean has the wrong sign",
        _DX_RULE,
    ),
    "direct-path-sign": Text(
        "mistake",
        "dx direct",
        "the direct path has the wrong sign",
        _DX_RULE,
    ),
    "variance-path-factor": Text(
        "mistake",
        "dvariance",
        "the path through the variance is {factor} times what it must be",
        _DX_RULE,
    ),
    "mean-path-factor": Text(
        "mistake",
        "dmean",
        "the path through the mean is {factor} times what it must be",
        _DX_RULE,
    ),
    "direct-path-factor": Text(
        "mistake",
        "dx direct",
        "the direct path is {factor} times what it must be",
        _DX_RULE,
    ),
    "variance-sum-without-factor": Text(
        "mistake",
        "dvariance",
        "in the sum for dvariance the factor x - mean is missing, or stands there twice",
        "each summand of dl/dvariance holds x - mean of its own row, once",
    ),
    "variance-path-uncentred": Text(
        "mistake",
        "dvariance",
        "the path from the variance to x lacks its factor x - mean, or has x there",
        "the variance changes with x by 2 (x - mean) / n",
    ),
    "variance-not-summed": Text(
        "mistake",
        "dvariance",
        "dvariance is not summed over the batch",
        "the variance is one number a feature: its gradient is a sum over all rows",
    ),
    "scale-missing-in-dx": Text(
        "mistake",
        "dx_hat",
        "gamma is missing in dx",
        "y = gamma * x_hat + beta, so dl/dx_hat holds gamma",
    ),
    "offset-in-dx": Text(
        "mistake",
        "dx_hat",
        "beta stands in dx where gamma belongs: look at the order in which the cache is unpacked",
        "y = gamma * x_hat + beta, so dl/dx_hat holds gamma",
    ),
    "scale-power-in-dx": Text(
        "mistake",
        "dx_hat",
        "gamma stands in dx to the power {power}",
        "gamma stands in dx once",
    ),
    "deviation-power-in-dx": Text(
        "mistake",
        "dx direct",
        "sqrt(variance + eps) stands in dx to the power {power}; right is -1",
        "dx is divided by the deviation once",
    ),
    "dx-factor": Text(
        "mistake",
        "dx",
        "all of dx is {factor} times what it must be",
        _DX_RULE,
    ),
    "dx-sign": Text(
        "mistake",
        "dx",
        "dx has the wrong sign",
        _DX_RULE,
    ),
    "gradients-averaged": Text(
        "mistake",
        "dbeta",
        "the gradients are averaged over the batch and not summed",
        "the loss is summed already: a parameter's gradient adds up over the rows",
    ),
    "diagonal-only": Text(
        "mistake",
        "dx",
        "only the diagonal of the derivative is there: what each row does to the others' outputs through "
        "mean and variance is left out",
        _DX_RULE,
    ),
    "gradient-terms": Text(
        "mistake",
        "dx",
        "the terms of dx do not have the weights that they must have",
        _DX_RULE,
    ),
    "unexplained-dx": Text(
        "mistake",
        "dx",
        "dx differs, and by no slip that this check knows",
        _DX_RULE,
    ),
    "dx-open": Text(
        "mistake",
        "dx",
        "dx is neither the book's nor right for your own forward; what is wrong can be told when the forward is right",
        _DX_RULE,
    ),
    "follows-forward": Text(
        "mistake",
        "dx",
        "dx is the book's formula fed with what your own forward normalized to: it is right as soon as that is",
        "the gradient belongs to the formula of the forward: mend the forward and this follows",
    ),
    "follows-forward-epsilon": Text(
        "epsilon",
        "dx",
        "dx is the book's formula with the denominator of your own forward: it is right as soon as that is",
        "the gradient belongs to the formula of the forward: mend the forward and this follows",
    ),
    "dscale-follows-forward": Text(
        "mistake",
        "dgamma",
        "dgamma is made of what your own forward normalized to: it is right as soon as that is",
        "gamma multiplies x_hat, so its gradient sums dout * x_hat",
    ),
    "dscale-from-x": Text(
        "mistake",
        "dgamma",
        "dgamma is made of x and not of x_hat",
        "gamma multiplies x_hat, so its gradient sums dout * x_hat",
    ),
    "dscale-from-y": Text(
        "mistake",
        "dgamma",
        "dgamma is made of the output y and not of x_hat",
        "gamma multiplies x_hat, so its gradient sums dout * x_hat",
    ),
    "dscale-from-dout": Text(
        "mistake",
        "dgamma",
        "dgamma is the sum of dout alone",
        "gamma multiplies x_hat, so its gradient sums dout * x_hat",
    ),
    "dscale-not-divided": Text(
        "mistake",
        "dgamma",
        "dgamma is made of x - mean, not divided by the deviation",
        "gamma multiplies x_hat, so its gradient sums dout * x_hat",
    ),
    "sample-variance-in-backward": Text(
        "mistake",
        "dgamma",
        "the backward uses the sample variance, divided by n - 1",
        _VARIANCE_RULE,
    ),
    "parameters-swapped": Text(
        "mistake",
        "interface",
        "dgamma and dbeta are in each other's place",
        "the order is dx, dgamma, dbeta",
    ),
    "parameter-missing": Text(
        "mistake",
        "interface",
        "{name} is None or no array of one entry a feature",
        "dgamma and dbeta have shape (d,)",
    ),
    "parameter-sign": Text(
        "mistake",
        "dgamma",
        "{name} has the wrong sign",
        "a gradient points up the loss",
    ),
    "parameter-times-scale": Text(
        "mistake",
        "dgamma",
        "{name} is multiplied by gamma",
        "dgamma sums dout * x_hat and dbeta sums dout; gamma stands in neither",
    ),
    "parameter-factor": Text(
        "mistake",
        "dgamma",
        "{name} has a factor that does not belong there",
        "dgamma sums dout * x_hat and dbeta sums dout over the rows",
    ),
    "unexplained-parameter": Text(
        "mistake",
        "dgamma",
        "{name} differs, and by no slip that this check knows",
        "dgamma sums dout * x_hat and dbeta sums dout over the rows",
    ),
    "gradient-shape": Text(
        "shape",
        "interface",
        "the values may be right, the shape is not: {detail}",
        "dgamma and dbeta have the shape of gamma and beta, (d,)",
    ),
    "cache-changed": Text(
        "mistake",
        "interface",
        "the backward changes its cache: a second call with the same cache gives another result",
        "a backward only reads its cache",
    ),
    "right-for-own-forward": Text(
        "remark",
        "dx",
        "this backward is right for your own forward, which is not the book's: mend the forward, then this",
        "a gradient belongs to the formula of its forward",
    ),
    "right-by-the-book": Text(
        "remark",
        "dx",
        "this backward is right by the book, though not for your own forward: mend the forward and leave this",
        "a gradient belongs to the formula of its forward",
    ),
}
