"""Statistics of arrays, and batches of data sets, that are larger than memory: on dask, a block at a time.

Moments pool exactly, so the blocks are measured one by one, by the active implementation, and merged in a fixed tree:
the same chunks give the same bits on every scheduler.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pybn import arguments, backend
from pybn.arguments import Moments
from pybn.framework.parameters import whole_number

FAN_IN = 8  # Moments that one task merges: of 10 000 blocks the last is five tasks away


def moments(
    array: Any, *, feature_axis: int | tuple[int, ...] = -1, mask: Any = None, progress: bool = False
) -> Moments:
    """Count, mean and population variance of each feature of a dask array, which need not fit into memory.

    Parameters
    ----------
    array : dask.array.Array of rank >= 2, float16, bfloat16, float32 or float64, in chunks of known sizes
    feature_axis : int or tuple of int; the axes that are NOT reduced; they may be chunked, too
    mask : bool array of NumPy or dask over the other axes; False elements do not count
    progress : print how much is done, in a terminal and in a notebook

    Returns
    -------
    Moments(count, mean, variance) : as of `pybn.reference.moments`

    It computes on dask's scheduler of the moment: threads, processes, or a cluster's client.  Whoever opens a file
    should do that in the tasks (`from_npy`): a memory-mapped array in the graph is sent to the workers whole.
    """
    dask, da = _dask()
    if not isinstance(array, da.Array):
        raise TypeError(
            f"array must be a dask.array.Array, got {type(array).__name__}; pybn.reference.moments takes NumPy's"
        )
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        raise ValueError(f"the chunks of array must have known sizes, got {array.chunks}; see compute_chunk_sizes()")
    # The rules, and their errors, are those of every operation; they look at shape and type alone.
    axes = arguments.batch(np.empty([0] * array.ndim, array.dtype), feature_axis).axes
    blocks = array.to_delayed()
    masks = None if mask is None else _mask_blocks(da, mask, array, axes)
    measure = dask.delayed(functools.partial(_measured, axes, backend.backend_name()), pure=False)
    by_feature: dict[tuple[int, ...], list[Any]] = {}
    for index in itertools.product(*(range(number) for number in blocks.shape)):
        kept = None if masks is None else masks[tuple(0 if axis in axes else at for axis, at in enumerate(index))]
        by_feature.setdefault(tuple(index[axis] for axis in axes), []).append(measure(blocks[index], kept))
    whole = {index: _in_a_tree(dask, parts) for index, parts in by_feature.items()}
    return _assembled(_computed(dask, whole, progress), [blocks.shape[axis] for axis in axes])


def from_npy(path: str | os.PathLike[str], rows: int) -> Any:
    """The array in an .npy file as a dask array of `rows` rows a block; each task opens the file itself."""
    dask, da = _dask()
    if whole_number("rows", rows) < 1:
        raise ValueError(f"rows must be 1 or more, got {rows}")
    path = os.path.abspath(path)
    whole = np.load(path, mmap_mode="r")
    shape, dtype = whole.shape, whole.dtype
    del whole
    read = dask.delayed(_rows_of_npy, pure=True)
    parts = [
        da.from_delayed(
            read(path, start, min(start + rows, shape[0])), (min(rows, shape[0] - start), *shape[1:]), dtype
        )
        for start in range(0, shape[0], rows)
    ]
    return da.concatenate(parts) if parts else da.zeros(shape, dtype=dtype)


class from_dask:
    """A data set whose batches are the blocks of dask arrays along their first axis; each is computed when it is due.

    Parameters
    ----------
    inputs, labels : dask.array.Array, with the same blocks along the first axis; labels may be None

    It can be iterated again and again, and a batch is dropped when the next is asked for: only one is in memory.
    """

    def __init__(self, inputs: Any, labels: Any = None) -> None:
        _, da = _dask()
        self._arrays = [inputs] if labels is None else [inputs, labels]
        for name, array in zip(("inputs", "labels"), self._arrays, strict=False):
            if not isinstance(array, da.Array):
                raise TypeError(f"{name} must be a dask.array.Array, got {type(array).__name__}")
        if labels is not None and inputs.chunks[0] != labels.chunks[0]:
            raise ValueError(
                "inputs and labels must have the same blocks along their first axis, "
                f"got {inputs.chunks[0]} and {labels.chunks[0]}; see rechunk()"
            )

    def __len__(self) -> int:
        return int(self._arrays[0].numblocks[0])

    def __iter__(self) -> Iterator[Any]:
        dask, _ = _dask()
        for block in range(len(self)):
            batch = dask.compute(*(array.blocks[block] for array in self._arrays))
            yield batch if len(batch) > 1 else (batch[0], None)


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import dask.array as da
    except ModuleNotFoundError as missing:
        raise ImportError(f"this needs dask: {missing}; from a clone, pip install -e '.[dask]'") from None
    return dask, da


def _measured(axes: tuple[int, ...], implementation: str, block: np.ndarray, mask: np.ndarray | None) -> Moments:
    found: Moments = backend.load(implementation).moments(np.ascontiguousarray(block), feature_axis=axes, mask=mask)
    return found


def _merged(parts: Sequence[Moments]) -> Moments:
    # Whose arithmetic merges is no matter of speed, and the reference's is everywhere.
    merged: Moments = functools.reduce(backend.load("reference").merge_moments, parts)
    return merged


def _in_a_tree(dask: Any, parts: list[Any]) -> Any:
    merge = dask.delayed(_merged, pure=False)
    while len(parts) > 1:
        parts = [merge(parts[at : at + FAN_IN]) for at in range(0, len(parts), FAN_IN)]
    return parts[0]


def _mask_blocks(da: Any, mask: Any, array: Any, axes: tuple[int, ...]) -> Any:
    """The mask in the chunks of the array, one element along the feature axes."""
    mask = da.asarray(mask)
    if mask.ndim == array.ndim - len(axes):
        mask = mask[tuple(np.newaxis if axis in axes else slice(None) for axis in range(array.ndim))]
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(array.shape))
    chunks = tuple((1,) if axis in axes else sizes for axis, sizes in enumerate(array.chunks))
    return da.broadcast_to(mask, shape).rechunk(chunks).to_delayed()


def _assembled(found: dict[tuple[int, ...], Moments], numbers: list[int]) -> Moments:
    def together(name: str) -> np.ndarray:
        blocks = np.empty(numbers, object)
        for index, part in found.items():
            blocks[index] = getattr(part, name)
        return np.block(blocks.tolist())

    return Moments(next(iter(found.values())).count, together("mean"), together("variance"))


def _computed(dask: Any, whole: Any, progress: bool) -> Any:
    """The result, on the scheduler of the moment; a cluster's client has a progress bar of its own."""
    if not progress:
        return dask.compute(whole)[0]
    client = getattr(dask.base.get_scheduler(), "__self__", None)
    if client is not None:
        from dask.distributed import progress as show

        future = client.compute(dask.delayed(whole))
        show(future, notebook=False)  # as text, in a notebook too: the other one asks for ipywidgets
        return future.result()
    from dask.diagnostics import ProgressBar

    with ProgressBar():
        return dask.compute(whole)[0]


def _rows_of_npy(path: str, start: int, stop: int) -> np.ndarray:
    return np.array(np.load(path, mmap_mode="r")[start:stop])
