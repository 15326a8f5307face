"""What a figure can be given for a record: a recorder, what it recorded, or one layer of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from pybn.study.record import DataRecord, DataRecorder, LayerRecord, StatisticsRecorder

Record = TypeVar("Record", LayerRecord, DataRecord)
# Batches on each side whose mean stands for the data's where those were not recorded.
AROUND = 5


def layers_of(given: Any) -> dict[str, LayerRecord]:
    """The records by scope, of a StatisticsRecorder, of its layers, or of one layer; TypeError for anything else."""
    return _by_scope("records", given, LayerRecord, StatisticsRecorder)


def layer_of(given: Any) -> LayerRecord:
    """One layer's record, also of a recorder that has one alone; ValueError where there are several."""
    records = layers_of(given)
    if len(records) > 1:
        raise ValueError(f"record must be one layer's, as recorder[{next(iter(records))!r}]; got {', '.join(records)}")
    return next(iter(records.values()))


def data_of(given: Any, records: Mapping[str, LayerRecord]) -> dict[str, DataRecord]:
    """The data's statistics for each of `records`, of a DataRecorder or of its layers.

    None: from the batches around each step.  TypeError for anything else, ValueError where a layer is missing.
    """
    if given is None:
        return {scope: of_batches(record) for scope, record in records.items()}
    found = _by_scope("data", given, DataRecord, DataRecorder)
    if len(found) == len(records) == 1:
        return dict(zip(records, found.values(), strict=True))
    missing = [scope for scope in records if scope not in found]
    if missing:
        raise ValueError(f"data must hold each layer of the records, lacks {missing}; it has {list(found)}")
    return {scope: found[scope] for scope in records}


def of_batches(record: LayerRecord) -> DataRecord:
    """The data's statistics at each step as the batches around it show them, up to `AROUND` on each side, pooled."""
    rows = []
    for at in range(len(record.step)):
        near = slice(max(0, at - AROUND), at + AROUND + 1)
        mean, variance = record.batch_mean[near], record.batch_variance[near]
        rows.append((mean.mean(axis=0), variance.mean(axis=0) + mean.var(axis=0)))
    means, variances = zip(*rows, strict=True)
    return DataRecord(record.step, np.array(means), np.array(variances))


def _by_scope(name: str, given: Any, kind: type[Record], recorder: type) -> dict[str, Record]:
    if isinstance(given, kind):
        return {"": given}
    found = getattr(given, "layers", given)
    if not isinstance(found, Mapping) or not all(isinstance(each, kind) for each in found.values()):
        of = f" of {type(next(iter(found.values()))).__name__}" if isinstance(found, Mapping) and found else ""
        raise TypeError(
            f"{name} must be a {recorder.__name__}, its layers, or one {kind.__name__}, got {type(given).__name__}{of}"
        )
    if not found:
        raise ValueError(f"{name} must hold a layer: make the {recorder.__name__} before the training runs")
    return dict(found)
