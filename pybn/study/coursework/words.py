"""One departure in words, and the steps of the algorithm that it may belong to."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """kind (see Finding), step of the algorithm, what is wrong, what is right."""

    kind: str
    step: str
    what: str
    rule: str


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
