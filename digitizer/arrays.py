"""Names for the kinds of array that the reader passes around, and what every step needs of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F = NDArray[np.float32]
D = NDArray[np.float64]
B = NDArray[np.bool_]


_APART = 0.4  # px between samples up to which a zigzag cannot be seen at all


def stretches(mask: B) -> list[tuple[int, int]]:
    """[start, stop) of each stretch of True in ``mask`` (N,), from left to right."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def runs_of(inked: B) -> tuple[I64, I64, I64]:
    """Vertical runs of ``inked`` (H, W): their columns, tops and bottoms (exclusive), by column, then row."""
    padded = np.zeros((inked.shape[1], inked.shape[0] + 2), np.int8)
    padded[:, 1:-1] = inked.T
    step = np.diff(padded, axis=1)
    column, top = np.nonzero(step > 0)
    return column, top, np.nonzero(step < 0)[1]


def smoothed(y: D, share: float, step: float = 0.0) -> D:
    """(N,) samples, with that ``share`` of each neighbour in them; with less where ``step``, px between them, is long.

    A zigzag from one sample to the next cannot be seen where they lie close together, and so would be invented.
    """
    share *= min(1.0, (_APART / max(step, 1e-6)) ** 2)
    z = np.concatenate([y[:1], y, y[-1:]])
    return np.asarray((1 - 2 * share) * y + share * (z[:-2] + z[2:]), np.float64)
