"""The geometry of four axes: which of them share statistics, and in what order they are flattened and put back.

Nothing of a student's is called here: an output is held against what other axes would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, permutations

import numpy as np

from pybn.study.coursework.output.fit import SINGLE
from pybn.study.coursework.report.words import known
from pybn.study.coursework.student.probes import fitted

# A forward on (n, d) with given scale and offset.
Normalize = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

SHAPE = (2, 3, 4, 5)  # every size differs, so no wrong axis fits by chance
CHANNELS = SHAPE[1]
ROWS = fitted(4, 40, epsilon=0.3, momentum=0.7, features=CHANNELS)
RULES = {
    (0, 1): known("instance-statistics"),
    (1, 2, 3): known("position-statistics"),
    (0, 2, 3): known("channel-axis"),
}


def images(rows: np.ndarray) -> np.ndarray:
    """Rows (n h w, c) as an array (n, c, h, w)."""
    n, c, h, w = SHAPE
    return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def rows(array: np.ndarray) -> np.ndarray:
    """(n, c, h, w) as rows (n h w, c)."""
    return array.transpose(0, 2, 3, 1).reshape(-1, array.shape[1])


def close(yours: np.ndarray, right: np.ndarray, tolerance: float = SINGLE) -> bool:
    """Within `tolerance` of the largest; NaN equals nothing, NaN neither."""
    return yours.shape == right.shape and bool(np.abs(yours - right).max() <= tolerance * np.abs(right).max())


def candidates(normalizers: Sequence[Normalize]) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Outputs with the statistics kept apart along other axes, and with the axes in another order."""
    for normalize in normalizers:
        for axes in chain.from_iterable(combinations(range(4), size) for size in range(5)):
            yield from _kept_apart(axes, normalize)
        yield from _reordered(normalize)
    yield from _of_one_image()
    yield from _in_two_steps()


def _of_one_image() -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Every image normalized with the statistics of one of them."""
    x, channel = images(ROWS.x), (1, CHANNELS, 1, 1)
    for one in x:
        mean, variance = one.mean((1, 2)).reshape(channel), one.var((1, 2)).reshape(channel)
        hat = (x - mean) / np.sqrt(variance + ROWS.epsilon)
        yield known("one-image"), (), hat * ROWS.scale.reshape(channel) + ROWS.offset.reshape(channel)


def _in_two_steps() -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """A variance that is made of the images one by one: within each, between their means, summed and not averaged."""
    x, channel = images(ROWS.x), (1, CHANNELS, 1, 1)
    centred = x - x.mean((0, 2, 3), keepdims=True)
    n, _, h, w = SHAPE
    squares = (centred**2).mean((0, 2, 3))
    for code, axes, variance in (
        (known("variance-within-images"), (), x.var((2, 3)).mean(0)),
        (known("variance-between-images"), (), x.mean((2, 3)).var(0)),
        (known("images-not-averaged"), (2, 3), squares * n),
        (known("images-not-averaged"), (0,), squares * h * w),
        (known("images-not-averaged"), (0, 2), squares * w),
        (known("images-not-averaged"), (0, 3), squares * h),
    ):
        hat = centred / np.sqrt(variance.reshape(channel) + ROWS.epsilon)
        yield code, axes, hat * ROWS.scale.reshape(channel) + ROWS.offset.reshape(channel)


def _kept_apart(axes: tuple[int, ...], normalize) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Statistics for each index along `axes`, scale and offset for each channel."""
    x, order = images(ROWS.x), [axis for axis in range(4) if axis not in axes] + list(axes)
    moved = x.transpose(order)
    flat = moved.reshape(-1, int(np.prod([SHAPE[axis] for axis in axes], dtype=int)))
    width = flat.shape[1]
    normalized = normalize(flat, np.ones(width), np.zeros(width)).reshape(moved.shape).transpose(np.argsort(order))
    channel = (1, CHANNELS, 1, 1)
    out = normalized * ROWS.scale.reshape(channel) + ROWS.offset.reshape(channel)
    if axes != (1,):
        yield RULES.get(axes, "wrong-axes"), axes, out
        shared = tuple(axis for axis in range(4) if axis not in axes)
        for about in (None, (0, 2, 3)):  # about its own mean, or about the channel's
            yield known("variance-apart"), axes, _variance_apart(shared, about)


def _variance_apart(shared: tuple[int, ...], about: tuple[int, ...] | None) -> np.ndarray:
    """The book's output, but for a variance that is taken over other axes, about the mean over some."""
    x, channel = images(ROWS.x), (1, CHANNELS, 1, 1)
    centred = x - x.mean((0, 2, 3), keepdims=True)
    distances = x - x.mean(shared if about is None else about, keepdims=True)
    out = centred / np.sqrt((distances**2).mean(shared, keepdims=True) + ROWS.epsilon)
    return out * ROWS.scale.reshape(channel) + ROWS.offset.reshape(channel)


def _reordered(normalize) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Every order of axes before flattening to (-1, c), and every order of putting it back."""
    x = images(ROWS.x)
    for order in permutations(range(4)):
        moved = x.transpose(order)
        out = normalize(moved.reshape(-1, CHANNELS), ROWS.scale, ROWS.offset)
        code = "put-back-wrong" if order[-1] == 1 else "channels-mixed"
        for back in put_back(out):
            yield code, (), back
    moved = x.transpose(1, 0, 2, 3).reshape(CHANNELS, -1).reshape(-1, CHANNELS)
    yield "channels-mixed", (), normalize(moved, ROWS.scale, ROWS.offset).reshape(SHAPE)
    for back in put_back(normalize(x.reshape(CHANNELS, -1).T, ROWS.scale, ROWS.offset).T):
        yield "channels-mixed", (), back


def put_back(flat: np.ndarray) -> Iterator[np.ndarray]:
    """Flat numbers as (n, c, h, w) by every order of axes."""
    for order in permutations(range(4)):
        sizes = [SHAPE[axis] for axis in order]
        yield flat.reshape(sizes).transpose(np.argsort(order))


def gathered(dx: np.ndarray) -> bool:
    """Whether dx is the right formula on a dout whose axes were brought into another order than those of x."""
    dy, hat, gain = images(ROWS.dy), images(ROWS.normalized), ROWS.scale / ROWS.deviation
    for of_x in (order for order in permutations(range(4)) if order[-1] == 1):
        h = hat.transpose(of_x).reshape(-1, CHANNELS)
        for order in permutations(range(4)):
            d = dy.transpose(order).reshape(-1, CHANNELS)
            flat = gain * (d - d.mean(0) - h * (d * h).mean(0))
            if any(close(dx, back) for back in put_back(flat)):
                return True
    return False
