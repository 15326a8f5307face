"""pybn: batch normalization to read, to run and to teach with.

`pybn.reference` holds the equations on NumPy arrays, `pybn_ext` its compiled twin,
`pybn.batchnorm` the layer, `pybn.framework` the small training library that it lives in,
`pybn.distributed` what takes more than one worker or more than one memory, and `pybn.study` the
tools to hold implementations and models against it.
"""

from pybn import batchnorm, distributed, reference, study
from pybn.backend import backend_name, use_backend
from pybn.batchnorm import NonFiniteStatisticsError, SmallBatchWarning, batch_norm, reset_weights, update_averages
from pybn.framework import checkpoints, datasets, initializers, layers, losses, metrics, ops, optimizers, schedules
from pybn.framework.context import Context
from pybn.framework.datasets import InMemoryDataset
from pybn.framework.graph import Node, gradient
from pybn.framework.hooks import every_n_seconds, every_n_steps, exponential_callback, n_times
from pybn.framework.kept import Checkpoints
from pybn.framework.progress import ProgressBar, progress_bar
from pybn.framework.runs import ConcurrentTrainingError
from pybn.framework.train import (
    Loop,
    NonFiniteGradientError,
    NonFiniteLossError,
    NonFiniteUpdateError,
    Trainer,
)
from pybn.framework.variables import Variable

__version__ = "0.1.0"

__all__ = [
    "Checkpoints",
    "ConcurrentTrainingError",
    "Context",
    "InMemoryDataset",
    "Loop",
    "Node",
    "NonFiniteGradientError",
    "NonFiniteLossError",
    "NonFiniteStatisticsError",
    "NonFiniteUpdateError",
    "ProgressBar",
    "SmallBatchWarning",
    "Trainer",
    "Variable",
    "backend_name",
    "batch_norm",
    "batchnorm",
    "checkpoints",
    "datasets",
    "distributed",
    "every_n_seconds",
    "every_n_steps",
    "exponential_callback",
    "gradient",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "n_times",
    "ops",
    "optimizers",
    "progress_bar",
    "reference",
    "reset_weights",
    "schedules",
    "study",
    "update_averages",
    "use_backend",
]
