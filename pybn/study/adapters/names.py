"""How others spell the same thing: gamma and beta, averages, gradients, settings, methods, modes.

A list finds what is usual; what has another name is found by what it does (`roles`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product


def _joined(firsts: Iterable[str], seconds: Iterable[str]) -> tuple[str, ...]:
    """Both orders, with and without an underscore: running_mean, runningmean, mean_running, meanrunning."""
    pairs = list(product(firsts, seconds))
    return tuple(f"{a}{bar}{b}" for bar in ("_", "") for a, b in [*pairs, *(pair[::-1] for pair in pairs)])


_AVERAGED: tuple[str, ...] = ("running", "moving", "mov", "avg", "average", "averaged", "global", "population", "pop")
_AVERAGED += ("ema", "smooth", "moving_avg", "running_avg", "moving_average", "running_average")
MEAN_NAMES, VARIANCE_NAMES = ("mean", "mu", "means"), ("var", "variance", "vars", "variances", "sigma2", "sigma_sq")
_GAMMA = ("gamma", "gammas", "weight", "weights", "scale", "mults", "gain", "bw", "w", "g")
_BETA = ("beta", "betas", "bias", "biases", "offset", "shift", "adds", "bb", "b")


def _gradients(names: Iterable[str]) -> tuple[str, ...]:
    """d, grad, dL, dLd before or behind each name."""
    return tuple(
        form.format(name)
        for form in ("d{}", "grad_{}", "{}_grad", "d_{}", "dl_d{}", "dld{}", "{}grad", "grad{}", "g{}", "delta_{}")
        for name in names
    )


# By role; the first that is there is taken.  Compared in lower case, without underscores at either end.
NAMES: Mapping[str, tuple[str, ...]] = {
    "features": ("num_features", "n_features", "num_channels", "features", "channels", "input_dim", "dim", "size", "d"),
    "dims": ("num_dims", "n_dims", "ndim", "ndims", "dims"),
    "shape": ("input_shape", "shape", "in_shape", "param_shape"),
    "eps": ("eps", "epsilon", "e"),
    "momentum": ("momentum", "decay", "alpha", "rho", "mom", "m"),
    "gamma": _GAMMA,
    "beta": _BETA,
    "running_mean": (*_joined(_AVERAGED, MEAN_NAMES), "running_m", "mean_hist", "mean_old"),
    "running_var": (
        *_joined(_AVERAGED, VARIANCE_NAMES),
        *_joined(_AVERAGED, ("std", "sigma")),
        "running_v",
        "var_hist",
    ),
    "dgamma": _gradients(_GAMMA),
    "dbeta": _gradients(_BETA),
    "cache": ("cache", "ctx", "context", "saved", "memory"),
    "x": ("input", "inputs", "x", "z"),
    "output": ("output", "outputs", "out", "y"),
    "dx": ("dinputs", "dinput", "dx", "grad_input", "grad_x", "d_x"),
    "learning_rate": ("learning_rate", "lr", "eta", "step_size", "rate", "learningrate", "alpha"),
    "forward": ("forward", "forward_pass", "call", "fprop", "forward_prop", "feedforward"),
    "backward": ("backward", "backward_pass", "bprop", "backprop", "back_prop", "gradient", "gradients"),
    "test forward": ("predict", "inference", "infer", "forward_test", "test_forward", "forward_inference"),
    "setup": ("set_input_shape", "build", "initialize", "init", "setup", "init_params", "initialize_parameters"),
}

# What a flag is called: true in training, true in test mode, or a word.
POSITIVE: tuple[str, ...] = ("training", "train", "is_training", "is_train", "istraining", "istrain", "train_flg")
POSITIVE += ("train_flag", "train_mode", "training_mode", "training_phase", "in_training", "trainmode")
POSITIVE += ("learning", "learn", "is_learning", "learning_mode")
NEGATIVE: tuple[str, ...] = ("eval", "evaluation", "is_test", "test", "testing", "is_eval", "eval_mode", "test_mode")
NEGATIVE += ("inference", "infer", "is_inference", "predict", "test_flg", "is_testing", "test_time")
NEGATIVE += (
    "use_running_average",
    "use_running_averages",
    "use_running_stats",
    "use_global_stats",
    "use_moving_average",
)
WORDED = ("mode", "phase", "stage", "state")
TRAIN_WORDS = ("train", "training", "fit", "learn")
TEST_WORDS = ("test", "eval", "testing", "evaluation", "inference", "infer", "predict", "val", "valid", "validation")
SETTERS = ("set_training", "set_train", "set_is_training", "set_training_mode", "set_mode", "set_train_mode")


_OF_CLASS = re.compile(r"^_[A-Z]\w*?__(?=[a-zA-Z])")  # of _BatchNorm__gamma, as Python stores self.__gamma


def bare(name: object) -> str:
    """A name in lower case without underscores around it, a private one without its class; of what is no text, ""."""
    return _OF_CLASS.sub("", name).lower().strip("_") if isinstance(name, str) else ""


def means(name: object, role: str) -> bool:
    """Whether this name stands in the list of the role."""
    return bare(name) in NAMES[role]


def kin(gradient: object, parameter: object) -> bool:
    """Whether a gradient's name says whose it is: d_weight, weight_grad; weight itself; any name around a long one.

    A name of two letters stands in too many others, but for one that is written in characters of more than a letter.
    """
    own, its = bare(parameter), bare(gradient)
    long = len(own) > 2 or (len(own) == 2 and not own.isascii())
    return bool(own) and (its == own or its in _gradients((own,)) or (long and own in its))
