"""One layer, many habits: how each library names its state and averages its statistics.

All of them normalize a training batch with its population variance; they differ in what they
keep of it for evaluation.  The facts were read in the sources of the versions named here or run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from pybn.study.interop.values import number

# PyTorch's None: every batch counts alike.  It is a momentum there, so None cannot mean "the default" here.
Momentum = float | None


@dataclass(frozen=True)
class Library:
    """One row of the table: names, defaults, and what becomes of the averages at each batch.

    `momentum` is the library's default in the library's own sense; `momentum_keeps` says which:
    the fraction of the "old" average that is kept, or that of the "new" batch that is taken in.
    `kept(w, momentum)` is the fraction of the old average that survives batch number w = 1, 2, ...
    """

    title: str
    scale: str
    offset: str
    mean: str
    variance: str
    counter: str | None
    momentum_keeps: Literal["old", "new"]
    momentum: Momentum | Literal["required"]
    epsilon: float
    averaged_variance: Literal["population", "sample"]
    kept: Callable[[int, Any], float]

    @property
    def keywords(self) -> tuple[str, str]:
        """What the library's constructor calls momentum and epsilon."""
        return _KEYWORDS.get(self.title.partition(" ")[0], ("momentum", "epsilon"))

    def to_pybn(self, momentum: Momentum) -> float:
        """The library's momentum as pybn's: the fraction of the old average kept, 1 for a plain mean of all batches.

        >>> LIBRARIES["pytorch"].to_pybn(0.1), LIBRARIES["pytorch"].to_pybn(None), LIBRARIES["keras"].to_pybn(0.99)
        (0.9, 1.0, 0.99)
        """
        if momentum is None and self.momentum_keeps == "new":
            return 1.0
        kept = _fraction(momentum) if self.momentum_keeps == "old" else 1 - _fraction(momentum)
        if kept == 1 and self.kept is not _debiased:
            raise ValueError(
                f"momentum {momentum!r} never moves {self.title}'s averages, and momentum 1 is the mean of all batches "
                "in pybn: use frozen_averages(True) there, and pass the momentum that training would have"
            )
        return kept

    def from_pybn(self, momentum: float) -> Momentum:
        """pybn's momentum, the fraction kept, in this library's sense.

        >>> LIBRARIES["pytorch"].from_pybn(0.75), LIBRARIES["pytorch"].from_pybn(1.0), LIBRARIES["flax"].from_pybn(0.75)
        (0.25, None, 0.75)
        """
        momentum = _fraction(momentum)
        if self.momentum_keeps == "new":
            return None if momentum == 1 else 1 - momentum
        if momentum == 1 and self.kept is not _debiased:
            raise ValueError(f"momentum 1 is the mean of all batches in pybn; {self.title} has no such rule")
        return momentum


class RunningAverages:
    """One library's moving averages of a stream of batches: start, then `update` for each batch.

    Parameters
    ----------
    library : the row of the table
    momentum : in the library's OWN sense; left out, its default

    Attributes
    ----------
    mean, variance : float64 arrays (0.0 and 1.0 before the first batch): what evaluation would use
    batches : int, how many batches they have seen
    kept : float, the fraction of the old averages that the last batch left

    >>> averages = rules["pybn"]()
    >>> for batch_mean in (1.0, 3.0, 8.0):
    ...     averages.update(mean=batch_mean, variance=0.0, count=32)
    ...     print(round(averages.mean, 6))
    1.0
    2.0
    4.0
    """

    def __init__(self, library: Library, momentum: Momentum | Literal["default"] = "default") -> None:
        chosen = library.momentum if momentum == "default" else momentum
        if chosen == "required":
            raise ValueError(f"{library.title} has no default momentum: pass momentum=")
        if not (chosen is None and library.momentum_keeps == "new"):
            chosen = _fraction(chosen)
        self.library = library
        self.momentum: Momentum = chosen
        self.mean: Any = np.float64(0.0)
        self.variance: Any = np.float64(1.0)
        self.batches = 0
        self.kept = 1.0

    def update(self, mean: Any, variance: Any, count: float) -> None:
        """Take in one batch: its mean, its POPULATION variance and its `count` of elements for each feature."""
        if self.library.averaged_variance == "sample":
            variance = sample_variance(variance, count)
        self.batches += 1
        self.kept = self.library.kept(self.batches, self.momentum)
        self.mean = self.kept * self.mean + (1 - self.kept) * np.asarray(mean, np.float64)
        self.variance = self.kept * self.variance + (1 - self.kept) * np.asarray(variance, np.float64)


def sample_variance(variance: Any, count: float) -> np.ndarray:
    """n / (n - 1) times the population variance of n = `count` elements; n = infinity leaves it as it is."""
    return np.asarray(variance, np.float64) / _shrinkage(count)


def population_variance(variance: Any, count: float) -> np.ndarray:
    """(n - 1) / n times the sample variance of n = `count` elements; n = infinity leaves it as it is."""
    return np.asarray(variance, np.float64) * _shrinkage(count)


def _shrinkage(count: Any) -> float:
    count = number(count)
    check_count(count)
    return 1 - 1 / float(count)


def check_count(count: Any) -> None:
    """TypeError or ValueError unless it is a number of elements that a sample variance can be of."""
    if isinstance(count, bool) or not isinstance(count, int | float | np.integer | np.floating):
        raise TypeError(f"count must be a number of elements, got {count!r}")
    if not (count >= 2 and (count == math.inf or count == int(count))):
        raise ValueError(f"count must be a whole number of 2 or more elements, or math.inf, got {count!r}")


def _fraction(momentum: Any) -> float:
    momentum = number(momentum)
    if isinstance(momentum, bool) or not isinstance(momentum, int | float | np.floating):
        raise TypeError(f"momentum must be a number, got {momentum!r}")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie in [0, 1], got {momentum!r}")
    return float(momentum)


# --- what the old average keeps at batch number w: the whole difference between the rules ----


def _debiased(w: int, momentum: float) -> float:
    """The plain mean of the batches until they are as many as the memory is long."""
    return min(momentum, 1 - 1 / w)


def _plain(w: int, momentum: float) -> float:
    """The same at each batch, so that the start values 0 and 1 fade only as momentum^w."""
    return momentum


def _taken(w: int, momentum: Momentum) -> float:
    """PyTorch's sense; None is the plain mean of all batches."""
    return 1 - 1 / w if momentum is None else 1 - momentum


def _adam(w: int, momentum: float) -> float:
    """Adam's: divide a plain average that started at 0 by its weight 1 - momentum^w, here as one step."""
    if momentum == 1:
        raise ValueError("momentum must be below 1 here: the weight 1 - momentum^w would be 0, got 1.0")
    return momentum * (1 - momentum ** (w - 1)) / (1 - momentum**w)


def _cumulative(w: int, momentum: Momentum) -> float:
    """Every batch counts alike."""
    return 1 - 1 / w


_OWN = ("scale", "offset", "mean", "variance", "avg_weight")
_TORCH = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_UNCOUNTED = (*_TORCH[:4], None)
_KERAS = ("gamma", "beta", "moving_mean", "moving_variance", None)
_FLAX = ("scale", "bias", "mean", "var", None)
_HAIKU = ("scale", "offset", "mean_ema", "var_ema", "counter")
_ONNX = ("scale", "B", "input_mean", "input_var", None)

_KEYWORDS = dict.fromkeys(("PyTorch", "MLX", "tinygrad"), ("momentum", "eps")) | {"Haiku": ("decay_rate", "eps")}

# fmt: off
#: The table, by the short name of each library.
LIBRARIES: Mapping[str, Library] = MappingProxyType({
    # name            title               names         keeps   default      epsilon  averages       rule
    "pybn":     Library("pybn",           *_OWN,        "old",  0.99,        1e-3,    "population",  _debiased),
    "gomlx":    Library("GoMLX 0.16",     *_OWN,        "old",  0.99,        1e-3,    "population",  _debiased),
    "pytorch":  Library("PyTorch 2.13",   *_TORCH,      "new",  0.1,         1e-5,    "sample",      _taken),
    "keras":    Library("Keras 3.15",     *_KERAS,      "old",  0.99,        1e-3,    "population",  _plain),
    "flax":     Library("Flax 0.12",      *_FLAX,       "old",  0.99,        1e-5,    "population",  _plain),
    "haiku":    Library("Haiku 0.0.17",   *_HAIKU,      "old",  "required",  1e-5,    "population",  _adam),
    "onnx":     Library("ONNX opset 15",  *_ONNX,       "old",  0.9,         1e-5,    "population",  _plain),
    "mlx":      Library("MLX 0.32",       *_UNCOUNTED,  "new",  0.1,         1e-5,    "sample",      _taken),
    "tinygrad": Library("tinygrad 0.14",  *_TORCH,      "new",  0.1,         1e-5,    "sample",      _taken),
})
# fmt: on

# Ioffe & Szegedy (2015), arXiv:1502.03167, Algorithm 2; it states no epsilon and no names.
_PAPER = Library("the paper", "gamma", "beta", "E[x]", "Var[x]", None, "new", None, math.nan, "sample", _cumulative)

#: The averages rules by library: `rules["keras"](momentum=0.9)` starts one.  "paper" is Algorithm 2 of
#: the paper: the mean over all batches of their means and sample variances.
rules: Mapping[str, Callable[..., RunningAverages]] = MappingProxyType(
    {name: partial(RunningAverages, library) for name, library in {**LIBRARIES, "paper": _PAPER}.items()}
)
