"""Batch normalization as a layer: `new(ctx, x)` … `.done()`, moving averages, and their update."""

from pybn.batchnorm.averages import (
    Averages,
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
from pybn.batchnorm.layer import batch_statistics, reset_weights
from pybn.batchnorm.update import update_averages

__all__ = [
    "AVERAGES_UPDATES_TRIGGER_PARAM",
    "BATCH_NORMALIZATION_SCOPE_NAME",
    "Averages",
    "Config",
    "NonFiniteStatisticsError",
    "SmallBatchWarning",
    "batch_norm",
    "batch_statistics",
    "effective_momentum",
    "new",
    "reset_weights",
    "update_averages",
]
