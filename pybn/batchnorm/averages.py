"""The moving averages of one layer: the rule by which they move, and what stops them.

    w <- w + 1    k = min(momentum, 1 - 1/w)    M <- k M + (1 - k) mean    V <- k V + (1 - k) variance

so they are the plain mean of the batches until w reaches 1 / (1 - momentum), and an exponential
average afterwards: the first values M = 0, V = 1 leave no trace.  All of it is float64.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from pybn.arguments import Moments, all_finite


class SmallBatchWarning(UserWarning):
    """A batch with one element per feature: its variance is 0, and the layer's output its offset."""


class NonFiniteStatisticsError(ArithmeticError):
    """A batch's statistics, or the averages that they would move, are NaN or infinite; no variable was changed."""


class NonFiniteAveragesWarning(UserWarning):
    """A layer normalizes with averages that are NaN or infinite: so is what it puts out."""


class Averages(NamedTuple):
    """M, V and how many batches they have seen."""

    mean: np.ndarray
    variance: np.ndarray
    avg_weight: float

    def after(self, mean: np.ndarray, variance: np.ndarray, momentum: float) -> Averages:
        """The averages after one more batch.

        >>> averages = Averages(np.zeros(1), np.ones(1), 0.0)
        >>> for batch_mean in (1.0, 3.0, 8.0):
        ...     averages = averages.after(np.array([batch_mean]), np.zeros(1), momentum=0.5)
        ...     print(averages.mean)
        [1.]
        [2.]
        [5.]
        """
        weight = self.avg_weight + 1
        keep = effective_momentum(weight, momentum)
        if keep == 0:  # not 0 * M + mean: an M of NaN would stay for ever, even after reset_weights
            return Averages(mean, variance, weight)
        return Averages(
            keep * self.mean + (1 - keep) * mean,
            keep * self.variance + (1 - keep) * variance,
            weight,
        )


def effective_momentum(avg_weight: float, momentum: float) -> float:
    """The fraction of the old average that batch number `avg_weight` (counted from 1) keeps."""
    return min(momentum, 1 - 1 / avg_weight)


def check_finite(scope: str, batch: Moments) -> None:
    """Raise NonFiniteStatisticsError where a statistic is NaN or infinite, naming the scope and the features."""
    if both_finite(batch.mean, batch.variance):
        return
    raise NonFiniteStatisticsError(
        f"batch normalization in {scope}: the batch has NaN or infinite statistics in features "
        f"{_not_finite(batch.mean, batch.variance)}; "
        "no variable was changed. Look for NaN or infinity in the data, or for a learning rate that diverges"
    )


def check_moved(scope: str, averages: Averages) -> None:
    """Raise NonFiniteStatisticsError where a finite batch moved averages that are not: they would stay so."""
    if both_finite(averages.mean, averages.variance):
        return
    raise NonFiniteStatisticsError(
        f"batch normalization in {scope}: its averages are NaN or infinite already in features "
        f"{_not_finite(averages.mean, averages.variance)}, and no batch would mend them; no variable was changed. "
        "reset_weights(ctx) lets them begin anew with the next batch, update_averages measures them"
    )


def warn_of_averages(scope: str, averages: Averages, stacklevel: int) -> None:
    """A NonFiniteAveragesWarning that names the scope and the features."""
    warnings.warn(
        f"batch normalization in {scope} normalizes with averages that are NaN or infinite in features "
        f"{_not_finite(averages.mean, averages.variance)}, and so is what it puts out; update_averages(trainer, data) "
        "measures them anew",
        NonFiniteAveragesWarning,
        stacklevel=stacklevel + 1,
    )


def both_finite(mean: np.ndarray, variance: np.ndarray) -> bool:
    """Whether no number of two float64 arrays of one shape is NaN or infinite.

    >>> both_finite(np.array([1.0, 1e200]), np.array([0.0, 1e200]))
    True
    >>> both_finite(np.array([1.0, np.inf]), np.array([1.0, 0.0]))
    False
    """
    # NaN and infinity stay one of the two in every product and sum: one question to BLAS, as in `all_finite`.
    if mean.size < 10_000 and math.isfinite(np.vdot(mean, variance)):
        return True
    return all_finite(mean) and all_finite(variance)


def _not_finite(mean: np.ndarray, variance: np.ndarray) -> str:
    """The features where one of the two is not finite, the first eight of them by name."""
    features = np.argwhere(~(np.isfinite(mean) & np.isfinite(variance)))
    names = [int(each[0]) if each.size == 1 else tuple(map(int, each)) for each in features[:8]]
    more = f" and {len(features) - len(names)} more" if len(features) > len(names) else ""
    return f"{names}{more}"
