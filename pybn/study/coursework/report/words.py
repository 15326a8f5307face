"""The words: for each departure what is wrong, at which step, and the rule that holds there.

A slip is one line: its code and what is said of it; slips that break the same rule at the same step
stand together.  gamma, beta, running_mean and running_var are the names in the student's own code.  No
text shows code that would solve the exercise.  Line numbers are those of Ioffe & Szegedy (2015),
arXiv:1502.03167.  {are} and {s} follow the number of {name}: "running_mean is", "both are".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Text(NamedTuple):
    """kind (see `Finding`), step of the algorithm, what is right, what is wrong."""

    kind: str
    step: str
    rule: str
    what: str


_STEPS = {
    "mean": "Algorithm 1, line 1 (mini-batch mean)",
    "variance": "Algorithm 1, line 2 (mini-batch variance)",
    "normalize": "Algorithm 1, line 3 (normalize)",
    "affine": "Algorithm 1, line 4 (scale and shift)",
    "averages": "the moving averages, kept after Algorithm 1 for Algorithm 2, line 10",
    "inference": "Algorithm 2, line 11 (inference)",
    "dgamma": "section 3, dl/dgamma: the sum of dl/dy * x_hat",
    "dbeta": "section 3, dl/dbeta: the sum of dl/dy",
    "dx": "section 3, dl/dx: the sum of three paths",
    "dx_hat": "section 3, dl/dx_hat = dl/dy * gamma",
    "dx direct": "section 3, dl/dx, the direct path dl/dx_hat / sqrt(variance + eps)",
    "dvariance": "section 3, dl/dvariance, and its path 2 (x - mean) / n into dl/dx",
    "dmean": "section 3, dl/dmean, and its path 1 / n into dl/dx",
    "images": "section 3.2 (convolutions): one mean and variance a channel, over batch and positions",
    "interface": "the interface of the functions",
}


def place(part: str, step: str) -> str:
    """Where in the algorithm this step of this part stands."""
    if part == "test" and step in ("mean", "variance", "normalize", "affine"):
        return _STEPS["inference"]
    if part == "statistics" and step in ("mean", "variance", "normalize"):
        return _STEPS["averages"]
    if part in ("backward", "alternative") and step in ("mean", "variance", "normalize", "affine"):
        return _STEPS["dx"]
    return _STEPS[step]


def known(code: str) -> str:
    """`code` itself, where there are words for it; "" stands for what is right."""
    if code and code not in TEXTS:
        raise LookupError(f"no words for the code {code!r} in report/words.py")
    return code


# Slips that break one rule at one step: (kind, step, rule) -> code -> what is wrong.
_Slips = Mapping[tuple[str, str, str], Mapping[str, str]]

_AFFINE = "gamma multiplies x_hat alone, then beta is added"
_CENTRE = "each feature has its own mean, taken over the rows of the batch, and it is subtracted from x"
_VARIANCE = "the variance is the mean of the squared distances from the mean: divided by n, each feature apart"
_DENOMINATOR = "eps is added to the variance, once, and the root is taken of the sum"
_TEST = "test mode uses running_mean and running_var as training left them, with the same eps, gamma and beta"
_AVERAGE = "new average = momentum * old average + (1 - momentum) * statistic of the batch"
_STORED = "running_var averages the variance itself: no root, no eps"
_DX = "x acts on the loss three ways: directly, through the variance, and through the mean; dx is the sum of all three"
_DGAMMA = "gamma multiplies x_hat, so its gradient sums dout * x_hat"
_SUMS = "dgamma sums dout * x_hat and dbeta sums dout over the rows"
_GRADIENT = "the gradient belongs to the formula of the forward: mend the forward and this follows"
_CHANNEL = "a channel (axis 1) has one mean and variance over batch, height and width"

# Algorithm 1, lines 1 to 4; test mode, Algorithm 2, line 11, shares them.
_OUTPUT: _Slips = {
    ("mistake", "normalize", _CENTRE): {
        "mean-not-subtracted": "the mean is not subtracted from x",
        "mean-added": "the mean is added to x and not subtracted",
        "mean-divided": "only the mean is divided by the deviation: x - mean / deviation, without parentheses",
        "mean-subtracted-late": "x is divided by the deviation and the mean, subtracted after that, is not",
        "mean-subtracted-twice": "the mean is subtracted twice: once divided by the deviation, once as it is",
    },
    ("mistake", "mean", _CENTRE): {
        "global-mean": "one mean for the whole array is subtracted",
        "median-for-mean": "the median is subtracted",
        "divided-by-features": "sums over the rows are divided by the number of features and not of rows",
        "divided-by-elements": "sums over the rows are divided by the number of all elements, rows times features",
        "statistics-mixed": "batch and average are mixed: {formula}",
        "centre-mixed": "what is subtracted from x is {formula}",
        "wrong-centre": "what is subtracted from x (or added at the end) is not the mean",
        "row-statistics": "each row is normalized with its own mean and variance (layer normalization's axis)",
    },
    ("mistake", "variance", _VARIANCE): {
        "global-variance": "one variance for the whole array divides every feature",
        "variance-uncentred": "the variance is not centred: it is the mean of x^2, without the mean taken off",
        "mean-for-variance": "the mean stands where the variance belongs",
        "mean-not-squared": "the mean is taken off the mean of x^2 as it is, and not squared: E[x^2] - E[x]",
        "absolute-deviation": "the mean absolute distance stands where the variance belongs",
        "variance-about-whole": "distances are taken from the mean of the whole array and not of the feature",
        "mean-not-averaged": "the mean is a sum over the rows, not divided by n",
        "not-centred": "the mean is taken off neither from x nor in the variance",
        "mean-of-n-1": "the mean is a sum divided by n - 1, and not by n",
        "variance-about-average": "distances are taken from the moving average and not from the mean of the batch",
        "sample-variance": "the sample variance, divided by n - 1, normalizes the batch",
        "variance-not-averaged": "the squared distances are summed and not divided by n",
        "variance-averaged-twice": "the variance is divided by n once too often",
        "variance-factor": "the variance is {factor:.4g} times what it must be",
    },
    ("remark", "variance", "centre first, then square: the difference of two large numbers keeps few digits"): {
        "one-pass-variance": "the variance loses digits where the mean is large, as E[x^2] - E[x]^2 does: {detail}",
    },
    (
        "mistake",
        "normalize",
        "in training the batch's own mean and variance normalize it; averages are for test mode",
    ): {
        "averages-in-training": "the moving averages normalize in training, and not the batch's own statistics",
        "averaged-mean-in-training": "the moving mean is subtracted in training, and not the batch's own",
        "averaged-variance-in-training": "it is divided by the moving variance's root in training, not the batch's own",
    },
    ("mistake", "normalize", _DENOMINATOR): {
        "no-root": "it is divided by the variance and not by its root",
        "denominator-power": "it is divided by (variance + eps)^{power}, and not by its root",
        "root-twice": "the root is taken twice",
        "deviation-under-root": "the root is taken twice: a standard deviation stands under it",
        "square-under-root": "the variance is squared under the root",
        "multiplied-by-deviation": "it is multiplied by the deviation and not divided by it",
        "not-divided": "it is not divided by the deviation at all",
        "variance-zero": "what stands for the variance is 0, as of one element, and sqrt(eps) divides every feature",
        "one-denominator": "every feature is divided by the same number, {value:.6g}",
    },
    ("mistake", "normalize", "every variance is positive or zero, and eps is added to it before the root"): {
        "not-a-number": "the output is not a number",
    },
    ("epsilon", "normalize", _DENOMINATOR): {
        "epsilon-as-floor": "eps is a least value, max(variance, eps), and is not added",
        "epsilon-outside": "eps is outside the root: sqrt(variance) + eps",
        "epsilon-on-quotient": "eps is added to the quotient and not to the variance",
        "epsilon-on-inverse": "eps is added to 1 / sqrt(variance) and not to the variance",
        "epsilon-missing": "eps is left out: a feature that is constant divides by zero",
        "epsilon-twice": "eps is added twice",
        "epsilon-subtracted": "eps is subtracted: a small variance gives the root of a negative number",
        "epsilon-squared": "eps is squared before it is added",
        "epsilon-rooted": "the root of eps is added",
        "epsilon-fixed": "the eps that is handed over is not used: a fixed {value:.3g} stands there",
        "epsilon-unknown": "beside the variance stands {value:.4g}, which is not eps",
    },
    ("mistake", "affine", _AFFINE): {
        "affine-exchanged": "gamma and beta stand in each other's place",
        "affine-missing": "gamma and beta are not applied: x_hat itself comes back",
        "scale-missing": "gamma is not applied",
        "scale-negated": "the sign is turned: minus gamma multiplies x_hat",
        "scale-absolute": "gamma loses its sign",
        "scale-squared": "gamma multiplies twice",
        "scale-inverted": "it is divided by gamma",
        "offset-for-scale": "beta stands where gamma belongs",
        "scale-for-offset": "gamma stands where beta belongs",
        "offset-missing": "beta is not added",
        "offset-inside-scale": "beta is inside the scale: gamma * (x_hat + beta)",
        "offset-before-scale": "beta is added before the division by the deviation",
        "offset-subtracted": "beta is subtracted",
    },
    ("mistake", "normalize", "y is a straight line in x, for each feature: nothing is cut off or rounded"): {
        "output-clipped": "{name} is cut off at {bounds}",
        "output-rounded": "out is rounded to {decimals} decimals",
    },
    ("mistake", "normalize", "every row of the batch goes into each sum, and each has its own result"): {
        "rows-left-out": "{rows} left out of {name}",
        "rows-reordered": "the rows of {name} are in another order than those of dout",
    },
    ("mistake", "normalize", "every feature is treated alike, and by itself"): {
        "some-features": "{name} {are} right in {right} alone, and {rest} in the others",
    },
    ("mistake", "normalize", "a statistic is used when all rows have gone into it: their order changes nothing"): {
        "row-order": "{name} depend{s} on the order of the rows: a loop uses something before it is finished",
        "rows-so-far": "row i of {name} is made of rows up to i alone: sums are used in the loop that makes them",
    },
    ("mistake", "normalize", "out = gamma * (x - mean) / sqrt(variance + eps) + beta, for each feature"): {
        "output-constant": "out does not depend on x",
        "input-returned": "x comes back, as it is or with gamma and beta: it is not normalized",
        "unexplained-output": "the output differs, and by no slip that this check knows",
    },
    ("mistake", "inference", "only training moves the averages"): {
        "averages-move-in-test": "the averages are updated in test mode as well",
    },
    ("mistake", "inference", "eval() asks for the averages, train() for the batch's statistics"): {
        "mode-not-switched": "{name} leaves the layer in its mode; the rest is judged with its flag set",
    },
    ("mistake", "interface", "a layer makes its parameters and averages once, and keeps them from call to call"): {
        "made-anew": "{name} {are} made anew at each call: nothing that is learnt stays",
    },
    ("mistake", "inference", "a layer that trains takes the batch's statistics, and one in test mode the averages"): {
        "modes-swapped": "the modes are swapped: training uses the averages, test mode the batch's own and moves them",
    },
    ("mistake", "averages", "averages are floats: a step moves them by less than 1"): {
        "averages-of-integers": "{name} {are} kept in integers: what a step adds is cut off",
    },
    ("mistake", "inference", _TEST): {
        "test-trains": "test mode does what training does: the batch's own statistics, and the averages move",
        "bessel-in-test": "running_var is multiplied by n/(n - 1), n of the test batch",
        "batch-statistics-in-test": "mean and variance are the test batch's: a row's result depends on its neighbours",
        "batch-mean-in-test": "the mean is the test batch's, and not the average that training stored",
        "batch-variance-in-test": "the variance is the test batch's, and not the average that training stored",
        "averages-exchanged": "running_mean and running_var stand in each other's place",
        "last-batch-in-test": "{name} of the last training batch {are} used, and not the averages",
        "test-after-update": "the averages are first updated with the test batch, and the result is used",
    },
    ("follows", "inference", _TEST): {
        "right-for-stored": "right for what your training stores: mend that, then read it back as the variance",
    },
}

# What a training step leaves in bn_param.
_AVERAGES: _Slips = {
    ("mistake", "averages", _AVERAGE): {
        "momentum-swapped": "momentum counts the other way round in {name}: it multiplies the new (PyTorch's sense)",
        "momentum-fixed": "{name} {do} not follow the momentum that is handed over: {keep:.4g} is always kept",
        "momentum-ignored": "{name} are plain means over all batches so far, whatever momentum is set",
        "momentum-rule": "{name} keep{s} {keep:.4g} of the old average and take{s} {take:.4g} of the new statistic",
        "averages-keep-apart": "{name} do not keep alike: {keep:.4g} of the old mean, {take:.4g} of the old variance",
        "averages-never-updated": "{name} {are} never updated, or not stored where test mode finds {it}",
        "old-forgotten": "{name} forget{s} the old average: {take:.4g} of the new statistic is all that stays",
        "averages-overwritten": "{name} {are} overwritten by the last batch",
        "averages-updated-twice": "{name} {are} updated twice in one step",
        "averages-decay-from-other": "{name} decay{s} from the other average: the two names are mixed up",
        "average-missing": "{name} {are} not stored",
        "statistic-divided-twice": "what {name} average{s} is divided by n once too often",
        "sum-stored": "{name} average{s} a sum over the batch that is not divided by n",
        "other-statistic-stored": "{name} average{s} the other statistic: mean and variance are mixed up",
        "divided-by-features-stored": "what {name} average{s} is divided by the number of features and not of rows",
        "divided-by-elements-stored": "what {name} average{s} is divided by the number of all elements and not of rows",
        "median-stored": "{name} average{s} the median",
        "nothing-taken": "{name} take{s} nothing of the batch: {keep:.4g} of the old is kept, and 0 is added",
        "constant-added": "{name} keep{s} {keep:.4g} of the old and add{s} {added}, not the batch's statistic",
        "averages-stored-exchanged": "running_mean and running_var are stored in each other's place",
        "whole-numbers": "{name} take{s} whole numbers: a floor division, or an array of integers",
        "averages-alike": "running_mean and running_var hold the same: one is stored in the place of the other",
        "average-mixed": "{name} {are} {formula}",
        "unexplained-average": "{name} {do} not hold the right numbers, and by no rule that this check knows",
        "debiased": "the start is taken out of the averages, which {convention} rule does not do",
    },
    (
        "mistake",
        "averages",
        "by PyTorch's rule, to which a default below 0.5 belongs, momentum is the share of the new",
    ): {
        "momentum-of-the-old": "momentum multiplies the old {name} and not the new statistic",
    },
    ("mistake", "averages", "without averages a forward starts its own, of zeros"): {
        "first-step-fails": "the first step, when bn_param holds no averages yet, raises {message}",
    },
    ("mistake", "averages", "the variance that is averaged is the one that normalizes, divided by n"): {
        "sample-variance-averaged": "running_var averages the sample variance, n/(n - 1) times what normalizes",
    },
    ("mistake", "averages", "by this convention the averaged variance is n/(n - 1) times the one that normalizes"): {
        "population-variance-averaged": "running_var averages the population variance, not the sample variance",
    },
    ("mistake", "averages", _STORED): {
        "small-variance-stored": "running_var averages (n - 1)/n times the variance",
        "deviation-stored": "running_var keeps the standard deviation and not the variance{used}",
        "inverse-deviation-stored": "running_var keeps one over the standard deviation{used}",
        "variance-squared-stored": "running_var keeps the square of the variance{used}",
        "hat-variance-stored": "running_var keeps the variance of x_hat, which is nearly 1, and not of x",
        "bessel-twice": "n/(n - 1) multiplies the averaged variance twice",
        "output-mean-stored": "running_mean keeps the mean of the output and not of x",
        "output-variance-stored": "running_var keeps the variance of the output and not of x",
    },
    ("epsilon", "averages", _STORED): {
        "epsilon-in-variance": "eps is stored with the variance: running_var averages variance + eps{used}",
    },
    ("mistake", "averages", "each feature has its own averages, one entry a feature"): {
        "global-stored": "{name} keep{s} one number for the whole array",
        "average-broadcast": "{detail}: arrays of two shapes were broadcast to one",
    },
    ("mistake", "averages", "the start leaves momentum^t of itself behind after t batches"): {
        "variance-start": "running_var starts at {start:.4g}; by this convention it starts at {right:.4g}",
    },
    ("mistake", "averages", "keep = min(momentum, 1 - 1/t) in the t-th batch"): {
        "not-debiased": "the first batches are not averaged plainly: the start stays in the averages by momentum^t",
    },
    ("shape", "averages", "running_mean and running_var have one entry a feature, shape (d,)"): {
        "average-shape": "the values may be right, the shape is not: {detail}",
    },
    ("remark", "averages", "store a new array: whoever handed over the old one may still use it"): {
        "average-in-place": "the caller's {name} {are} changed in place",
    },
    ("remark", "averages", "a convention is not a mistake; say which one you use"): {
        "follows-convention": "the averages follow {convention} convention, in momentum and variance alike",
        "averages-cumulative": "the averages are plain means over all batches so far: the k-th moves them by 1/k",
        "momentum-of-pytorch": "momentum is the share of the new statistic, as in PyTorch; {rest}",
    },
}

# Section 3, the chain rule after Algorithm 1.
_BACKWARD: _Slips = {
    ("failure", "dx", "dx has the shape of x"): {
        "dx-missing": "dx is missing or of a wrong shape: {detail}",
    },
    ("mistake", "dx", _DX): {
        "dx-zero": "dx is zero",
        "dx-not-a-number": "dx is not a number{detail}",
        "statistics-constant": "dx takes mean and variance for constants: only the direct path is there",
        "dx-factor": "all of dx is {factor} times what it must be",
        "dx-sign": "dx has the wrong sign",
        "diagonal-only": "only the derivative's diagonal is there: what each row does to the others is left out",
        "direct-alone-scaled": "gamma / (n * sqrt(variance + eps)) multiplies the direct path alone, not all of dx",
        "both-paths-factor": "the paths through mean and variance are {factor} times what they must be",
        "deviation-powers": "sqrt(variance + eps) has the wrong power in dx: off by {detail}",
        "gradient-terms": "the terms of dx do not have the weights that they must have",
        "unexplained-dx": "dx differs, and by no slip that this check knows",
    },
    ("mistake", "dvariance", _DX): {
        "variance-path-alone": "only the path through the variance is in dx: the direct one and the mean's are missing",
        "variance-path-missing": "the path through the variance is missing in dx",
        "variance-path-sign": "the path through the variance has the wrong sign",
        "variance-path-factor": "the path through the variance is {factor} times what it must be",
    },
    ("mistake", "dmean", _DX): {
        "mean-path-alone": "only the path through the mean is in dx: the direct one and the variance's are missing",
        "mean-path-missing": "the path through the mean is missing in dx",
        "mean-path-sign": "the path through the mean has the wrong sign",
        "mean-path-factor": "the path through the mean is {factor} times what it must be",
    },
    ("mistake", "dx direct", _DX): {
        "direct-path-missing": "the direct path is missing in dx",
        "direct-path-sign": "the direct path has the wrong sign",
        "direct-path-factor": "the direct path is {factor} times what it must be",
    },
    ("mistake", "dx_hat", "every term of a backward pass is a product with dout, once"): {
        "dout-ignored": "dx does not depend on dout: the derivative of y itself comes back",
        "gradient-for-scale": "{wrong} stands in dx where gamma belongs",
        "not-linear": "dx is not proportional to dout: twice the dout must give twice the dx, -dout must give -dx",
    },
    ("mistake", "dx", "features do not meet in batch normalization: sums go over the batch only"): {
        "features-mixed-in-dx": "the dx of a feature depends on other features' dout",
    },
    ("mistake", "dvariance", "each summand of dl/dvariance holds x - mean of its own row, once"): {
        "variance-sum-without-factor": "in dvariance's sum the factor x - mean is missing, or stands there twice",
        "x-in-variance-sum": "in the sum for dvariance stands {wrong} where x - mean belongs",
    },
    ("mistake", "dvariance", "the variance changes with x by 2 (x - mean) / n"): {
        "variance-path-uncentred": "the path from the variance to x lacks its factor x - mean, or has x there",
    },
    ("mistake", "dvariance", "the variance is one number a feature: its gradient is a sum over all rows"): {
        "variance-not-summed": "dvariance is not summed over the batch: each row's own dout * x_hat stands in its path",
    },
    ("mistake", "dmean", "the mean is one number a feature: its gradient is a sum over all rows"): {
        "mean-not-summed": "dmean is not summed over the batch: each row's own dout stands in its path",
    },
    ("mistake", "dx_hat", "y = gamma * x_hat + beta, so dl/dx_hat holds gamma, once"): {
        "scale-missing-in-dx": "gamma is missing in dx",
        "scale-missing-in-path": "gamma is missing in the {path} path of dx",
        "offset-in-dx": "beta stands in dx where gamma belongs: look at the order in which the cache is unpacked",
        "scale-power-in-dx": "gamma stands in dx to the power {power}",
        "cache-order": "{wrong} stands where {right} belongs: look at the order of the cache",
    },
    ("mistake", "dx direct", "dx is divided by the deviation once"): {
        "dx-not-divided": "dx is not divided by the deviation",
        "deviation-power-in-dx": "sqrt(variance + eps) stands in dx to the power {power}; right is -1",
    },
    ("mistake", "dbeta", "the loss is summed already: a parameter's gradient adds up over the rows"): {
        "gradients-averaged": "{name} {are} averaged over the batch and not summed",
    },
    ("waits", "dx", _GRADIENT): {
        "dx-open": "dx is neither the book's nor your own forward's; more can be told when the forward is right",
    },
    ("follows", "dx", _GRADIENT): {
        "follows-forward": "dx is the book's formula on your own x_hat: it is right as soon as the forward is",
        "follows-forward-epsilon": "dx is the book's with your own denominator: right as soon as the forward is",
        "right-for-own-forward": "right for your own forward, which is not the book's: mend the forward, then this",
        "right-by-the-book": "right by the book, though not for your own forward: mend the forward and leave this",
    },
    ("follows", "dgamma", _GRADIENT): {
        "dscale-follows-forward": "dgamma is made of your own x_hat: it is right as soon as the forward is",
        "parameter-follows-forward": "{name} {are} not there because the forward does not use {parameter}",
    },
    ("mistake", "dgamma", _DGAMMA): {
        "dscale-from-x": "dgamma is made of x and not of x_hat",
        "dscale-from-averages": "dgamma is made of x normalized with the moving averages, not the batch's statistics",
        "x-hat-taken-back": "x_hat is taken back from the output as {formula}",
        "dbeta-in-dgamma": "dgamma has dbeta added to it: that goes to beta",
        "dscale-of-line": "dgamma is made of a multiple of x_hat with something added, and not of x_hat",
        "dscale-from-y": "dgamma is made of the output y and not of x_hat",
        "dscale-from-dout": "dgamma is the sum of dout alone",
        "dscale-not-divided": "dgamma is made of x - mean, not divided by the deviation",
    },
    ("mistake", "dgamma", _VARIANCE): {
        "averaged-variance-in-backward": "the backward divides by the moving variance's root, not the batch's own",
        "sample-variance-in-backward": "the backward uses the sample variance, divided by n - 1",
    },
    ("mistake", "interface", "the order is dx, dgamma, dbeta"): {
        "gradients-order": "dx is returned in place {place}, and not first",
        "parameters-swapped": "dgamma and dbeta are in each other's place",
    },
    ("mistake", "dgamma", _SUMS): {
        "parameter-missing": "{name} {are} {detail}",
        "offset-from-x_hat": "dbeta is what dgamma must be: dout is multiplied by x_hat before it is summed",
        "parameter-ignores-dout": "{name} {do} not depend on dout",
        "parameter-zero": "{name} {are} 0, whatever dout is",
        "parameter-sign": "{name} {have} the wrong sign",
        "parameter-times-scale": "{name} {are} multiplied by gamma, which stands in the forward alone",
        "parameter-factor": "{name} {have} a factor that does not belong there",
        "unexplained-parameter": "{name} differ{s}, and by no slip that this check knows",
        "gradient-matrix": "{name} {are} a (d, d) matrix product: its diagonal holds the sums, the rest mixes features",
        "gradient-summed-over-all": "{name} {are} one number: summed over features as well as rows",
        "gradient-summed-over-features": "{name} {have} one entry a row: summed over the features and not the rows",
        "gradient-not-summed": "{name} {are} not summed over the rows of the batch",
    },
    ("shape", "interface", "dgamma and dbeta have the shape of gamma and beta, (d,)"): {
        "gradient-shape": "the values may be right, the shape is not: {detail}",
    },
    ("mistake", "interface", "a backward only reads its cache"): {
        "cache-changed": "the backward changes its cache: a second call with the same cache gives another result",
    },
}

# Arrays (n, c, h, w).
_IMAGES: _Slips = {
    ("mistake", "images", _CHANNEL): {
        "position-statistics": "statistics are taken over the batch only: one for each channel and position",
        "instance-statistics": "each image is normalized by itself (instance normalization)",
        "one-image": "mean and variance of one image normalize all of them",
        "channel-axis": "it is normalized over the channels",
        "variance-within-images": "the variance is the mean of the images' own, and not about the channel's mean",
        "variance-between-images": "the variance is that of the images' means, and not of all elements",
        "images-not-averaged": "the squared distances are averaged over {axes} alone, and summed over the rest",
        "variance-apart": "the mean is each channel's, the variance is kept apart along axes {axes}",
        "wrong-axes": "statistics are kept apart along axes {axes}",
        "images-output": "the 4-D output differs, and by no slip that this check knows",
        "images-test": "the 4-D output in test mode differs: each channel is normalized with its own averages",
        "images-statistics": "the 4-D version stores other averages: {name}",
    },
    ("mistake", "images", "channels go last before the other axes are flattened, and back afterwards"): {
        "channels-mixed": "channels are mixed: the array is reshaped without moving their axis to the end first",
        "put-back-wrong": "the result is put back with another order of axes than x has",
        "images-dx-put-back": "dx has the right numbers in wrong places: it is put back in another order of axes",
        "images-dout-gathered": "dout is flattened with another order of axes than x was",
    },
    ("mistake", "images", "n counts every element that enters a channel's mean: batch * height * width"): {
        "images-count": "dx divides by a count that leaves out {axes}",
        "count-without-positions": "dx divides by the number of images and not by images times positions",
    },
    ("mistake", "images", "the 2-D gradient on the rearranged array, put back"): {
        "images-dx": "dx of the 4-D version differs, and by no slip that this check knows",
        "images-dx-not-a-number": "dx of the 4-D version is not a number{detail}",
    },
    ("mistake", "images", "the sums go over batch, height and width"): {
        "images-bessel": "running_var takes n/(n - 1) with n the number of {count}, not of images times positions",
        "images-not-summed": "{name} {are} not summed over {axes}",
        "images-parameter-divided": "{name} of the 4-D version {are} divided by {factor}",
        "images-parameter": "{name} of the 4-D version differs",
    },
    ("follows", "images", "mend the forward, then this"): {
        "images-dx-open": "the 4-D backward can be judged when the 4-D forward is right",
        "images-right-for-own": "the 4-D backward is right for the 4-D forward, which is not the book's",
    },
    ("follows", "images", "mend the 2-D functions and this follows"): {
        "images-calls-own": "the axes are treated rightly; the numbers are right as soon as your 2-D functions are",
    },
}

# Around the arithmetic: failures, habits, edges.
_AROUND: _Slips = {
    ("unfinished", "interface", "it is to return its results"): {
        "unfinished": "{function} is not written yet: {message}",
        "returned-none": "{function} returned None",
    },
    ("failure", "interface", "it must run on any float batch (n, d)"): {
        "raised": "{function} raises {message}",
    },
    ("failure", "interface", "it must end; a batch of 7 x 8 takes well under a millisecond"): {
        "hung": "{function} {message}: it was stopped",
    },
    ("failure", "interface", "it must return, and leave the process that it runs in as it is"): {
        "ended": "{function} {message}",
    },
    ("failure", "interface", "the results are NumPy arrays in the order of the interface"): {
        "type": "{function} {message}",
    },
    ("failure", "interface", "out and dx have the shape of x"): {
        "shape": "{function}: {message}",
        "result-none": "{function}: {message}",
    },
    ("waits", "images", "mend the layer on single pixels first"): {
        "images-same-function": "4-D images are judged once those of one pixel, which are 2-D arrays, come out right",
    },
    ("waits", "interface", "mend what it depends on first"): {
        "not-judged": "not judged: {message}",
    },
    ("unjudged", "interface", "{remedy}"): {
        "not-set": "not judged: {message}",
    },
    ("mistake", "interface", "functions leave their arguments as they are"): {
        "input-changed": "{name} {are} changed in place: the caller's array is not the same afterwards",
        "setting-changed": "bn_param[{name!r}] is changed: the next call has another setting than the caller chose",
    },
    ("mistake", "interface", "what a layer keeps is in its own bn_param alone"): {
        "state-kept": "a second call with the same arguments differs: something is kept between calls, or shared",
    },
    ("mistake", "interface", "out is a NumPy array, and forward returns out, cache"): {
        "wrong-type": "{detail}",
    },
    ("mistake", "normalize", "then the variance is 0, and y is beta"): {
        "batch-of-one": "a batch of one row goes wrong: {detail}",
        "constant-feature": "a feature that is constant goes wrong: {detail}",
    },
    ("remark", "normalize", "defined is y = beta; a refusal is a choice that PyTorch makes too"): {
        "refuses-batch-of-one": "a batch of one row is refused: {detail}",
    },
    ("remark", "interface", "a function that is called a thousand times is quiet"): {
        "prints": "it prints while it runs: {detail!r}",
    },
    ("remark", "interface", "what a call starts ends with it"): {
        "threads-left": "threads that it started went on when it had returned, and were told to end ({detail})",
    },
    ("remark", "interface", "another check of the same functions may find more"): {
        "search-ended-early": "the search of the text for the one edit that is wrong ended early, by the clock",
    },
    ("remark", "interface", "the formulas are written, and not called"): {
        "calls-pybn": "it calls pybn's own batch normalization",
    },
    ("remark", "interface", "only the averages belong there"): {
        "extra-keys": "bn_param also holds {detail} afterwards",
    },
    ("remark", "interface", "results have the dtype of x; an array made without dtype= is float64"): {
        "dtype-changed": "the dtype changes: {detail}",
        "single-precision": "it computes in single precision: {detail}",
    },
    ("remark", "interface", "a copy of an integer array cannot hold fractions"): {
        "integers": "an integer x goes wrong: {detail}",
    },
    ("remark", "dx", "a term that is exactly zero on paper has a wrong factor; look at dl/dmean again"): {
        "dx-at-large-scale": "dx loses digits where x is large: {detail}",
    },
}

# One edit of the student's own text that makes a part right (`edits`); step and rule are those of what it explains.
_EDITS: _Slips = {
    ("mistake", "interface", "with this alone the part is right"): {
        "edit-wrong": "line {line}, {shown}: {wrong} stands where {right} belongs",
        "edit-extra": "line {line}, {shown}: {wrong} does not belong there",
        "edit-missing": "line {line}, {shown}: {right} is missing",
        "edit-exchanged": "line {line}, {shown}: {wrong} and {right} are in each other's place",
        "edit-parentheses": "line {line}, {shown}: the parentheses are missing, or stand in the wrong place",
    },
}

TEXTS: Mapping[str, Text] = {
    code: Text(*about, what)
    for table in (_OUTPUT, _AVERAGES, _BACKWARD, _IMAGES, _AROUND, _EDITS)
    for about, slips in table.items()
    for code, what in slips.items()
}
