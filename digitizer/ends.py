"""ends: where the rows' ink begins and ends, and so where time begins, to a fraction of a millisecond.

The time axis dominates the error of a page: 1 ms of offset caps it at 22.7 dB. A pen that ends round, blur, and a
threshold lengthen or shorten every row alike on both sides; as it is known how long the rows last, the middle between
both ends tells where they begin, whatever the ends look like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecg_image_kit.layout import Strip

from .arrays import D, F
from .curves import Curve
from .tracks import FS, first_sample

_BEYOND, _WITHIN = 0.8, 2.0  # mm about an end that are looked at
_BEGINS = 0.6  # mm over which ink becomes as wide as it is further in
_BARE, _FOREIGN = 0.4, 0.7  # share of the stroke: less is bare paper; more, before the end, is something else's
_STROKE = (0.5, 1.8)  # of the pen's width, that the ink of a trace has
_FLAT = 0.25  # steepness at which an end counts half: a pen cut straight says little there
_SHORT = 0.5  # mm by which rows may be too short; else one of their ends was not seen


def later(coverage: F, curves: Sequence[Curve], strips: Sequence[Strip], pen: float, kx: float, speed: float) -> float:
    """px by which the rows begin later than the curves say; 0 if that cannot be told.

    Args:
        coverage: (H, W) of ink. curves, strips: one of each per strip that was read.
        pen: px wide. kx: px per mm. speed: mm/s.
    """
    first, last = min(c.x0 for c in curves), max(c.x0 + c.step * c.y.size for c in curves)
    begins, ends = [], []
    for one, strip in zip(curves, strips, strict=True):
        if one.x0 - first < 2 * one.step:
            begins.append(_beyond(coverage, one, one.x0, -1, pen, kx))
        if last - one.x0 - one.step * one.y.size < 2 * one.step:
            # A row ends with the sample before its window's end.
            count = int(np.ceil(strip.stop * FS - 1e-6)) - first_sample(strip)
            ends.append(_beyond(coverage, one, one.x0 + one.step * (count - 1), 1, pen, kx))
    before, after = _middle(begins), _middle(ends)
    return (after - before) / 2 if before + after > -_SHORT * kx else 0.0  # also if NaN


def _beyond(coverage: F, one: Curve, end: float, side: int, pen: float, kx: float) -> tuple[float, float]:
    """px by which ink goes on beyond the ``end`` (px) of a curve, on its right (``side`` 1) or left (-1); NaN if that
    is not clear. And how much it is worth."""
    height, width = coverage.shape
    column = np.round(end - side * np.arange(-round(_BEYOND * kx), round(_WITHIN * kx) + 1)).astype(np.int64)
    if column.min() < 0 or column.max() >= width:
        return np.nan, 0.0
    x = column.astype(np.float64)
    y, reach = one.at(x), int(np.ceil(pen / 2 + 1))
    rows = np.clip(np.round(y).astype(np.int64)[:, None] + np.arange(-reach, reach + 1), 0, height - 1)
    over = max(2.0, pen)  # px; the samples of a blurred trace are not smooth
    slope = (one.at(x + over / 2) - one.at(x - over / 2)) / over
    stroke = coverage[rows, column[:, None]].sum(axis=1) / (pen * np.hypot(1.0, slope))
    usual = float(np.median(stroke[stroke.size // 2 :]))
    if not _STROKE[0] < usual < _STROKE[1]:
        return np.nan, 0.0
    share = np.clip(stroke / usual, 0.0, 1.0)
    bare = np.flatnonzero((share[1:] < _BARE) & (share[:-1] < _BARE)) + 1
    if not bare.size or share[: bare[-1]].max() > _FOREIGN:
        return np.nan, 0.0
    inner = min(share.size - 1, int(bare[-1]) + round(_BEGINS * kx))
    inked = float(share[bare[-1] - 1 : inner + 1].sum()) - 0.5  # px from the middle of the ``inner`` one
    at = np.array([end, end - side * _BEYOND * kx])
    steep = float(abs(np.diff(one.at(at))[0])) / (_BEYOND * kx)
    return side * (x[inner] - end) + inked, 1 / (1 + (steep / _FLAT) ** 2)


def _middle(found: list[tuple[float, float]]) -> float:
    """The weighted median of (value, weight), of those that are known; NaN if none is."""
    known: D = np.array(sorted(pair for pair in found if np.isfinite(pair[0]))).reshape(-1, 2)
    if not known.size:
        return float("nan")
    half = np.cumsum(known[:, 1]) - known[:, 1] / 2
    return float(np.interp(known[:, 1].sum() / 2, half, known[:, 0]))
