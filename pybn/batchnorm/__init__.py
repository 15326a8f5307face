"""Batch normalization as a layer: `new(ctx, x)` … `.done()`, moving averages, and their update."""

from pybn.batchnorm.averages import (
    Averages,
    NonFiniteAveragesWarning,
    NonFiniteStatisticsError,
    SmallBatchWarning,
    effective_momentum,
)
from pybn.batchnorm.config import (
    AVERAGES_UPDATES_TRIGGER_PARAM,
    BATCH_NORMALIZATION_SCOPE_NAME,
    Config,
    batch_norm,
    new,
)
from pybn.batchnorm.layer import (
    Layer,
    Strategy,
    batch_statistics,
    in_batch_statistics,
    in_mode,
    normalizing,
    reset_weights,
)
from pybn.batchnorm.update import update_averages

__all__ = [
    "AVERAGES_UPDATES_TRIGGER_PARAM",
    "BATCH_NORMALIZATION_SCOPE_NAME",
    "Averages",
    "Config",
    "Layer",
    "NonFiniteAveragesWarning",
    "NonFiniteStatisticsError",
    "SmallBatchWarning",
    "Strategy",
    "batch_norm",
    "batch_statistics",
    "effective_momentum",
    "in_batch_statistics",
    "in_mode",
    "new",
    "normalizing",
    "reset_weights",
    "update_averages",
]
