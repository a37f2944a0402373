"""ends: where the rows' ink begins and ends, and so where time begins, to a fraction of a millisecond.

The time axis dominates the error of a page: 1 ms of offset caps it at 22.7 dB. A pen that ends round, blur, and a
threshold lengthen or shorten every row alike on both sides; as it is known how long the rows last, the middle between
both ends tells where they begin, whatever the ends look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecg_image_kit.layout import Strip
from ecg_image_kit.raster import draw_graph

from .arrays import D, F
from .curves import Curve
from .tracks import count_of

_BEYOND, _WITHIN = 0.8, 2.0  # mm about an end that are looked at
_BEGINS = 0.6  # mm over which ink becomes as wide as it is further in
_BARE, _FOREIGN = 0.4, 0.7  # share of the stroke: less is bare paper; more, before the end, is something else's
_STROKE = (0.5, 1.8)  # of the pen's width, that the ink of a trace has
_FLAT = 0.8  # steepness at which an end counts half: a pen cut straight says little there
_ROUND = 0.25  # of the pen's width, that ends must be longer than those cut straight to be taken for round
_ALONE = 0.02  # mm, SD, of where rows begin by a single row's ink
_ASKEW = 2.0  # mm within which rows begin, and end
_TOO_LITTLE = 0.5  # worth of all ends on one side
_OFF = 0.3  # mm by which rows may be too short or too long; else what was seen is not their ends


def later(coverage: F, curves: Sequence[Curve], strips: Sequence[Strip], pen: float, kx: float, known: float) -> float:
    """px by which the rows begin later than the curves say; 0 if that cannot be told.

    Args:
        coverage: (H, W) of ink. curves, strips: one of each per strip that was read.
        pen: px wide. kx: px per mm.
        known: mm, SD, of where they begin before their ink is looked at.
    """
    first, last = min(c.x0 for c in curves), max(c.x0 + c.step * c.y.size for c in curves)
    begins, ends = [], []
    for one, strip in zip(curves, strips, strict=True):
        if one.x0 - first < _ASKEW * kx:
            begins.append(_beyond(coverage, one, 0, pen, kx))
        if last - one.x0 - one.step * one.y.size < _ASKEW * kx:
            ends.append(_beyond(coverage, one, count_of(strip) - 1, pen, kx))
    for cap in ("butt", "round"):
        before, after = _middle(begins, cap, kx), _middle(ends, cap, kx)
        if not before.px + after.px > 2 * _ROUND * pen:  # no longer than such a pen draws them
            break
    if not abs(before.px + after.px) < _OFF * kx:  # also if NaN
        return 0.0
    # What was known before counts, too.
    prior, variance = (known * kx) ** 2, (before.error**2 + after.error**2) / 4
    return (after.px - before.px) / 2 * prior / (prior + variance)


class _Middle(NamedTuple):
    """A median, px, and its standard error."""

    px: float
    error: float


class _End(NamedTuple):
    """px by which ink goes on beyond an end of a curve, more than either cap of a pen does; and what that is worth."""

    butt: float
    round: float
    worth: float


def _beyond(coverage: F, one: Curve, sample: int, pen: float, kx: float) -> _End | None:
    """Of the end at a curve's first (0) or at its last sample; None if where the ink ends is not clear."""
    height, width = coverage.shape
    side, end = (1, one.x0 + one.step * sample) if sample else (-1, one.x0)
    column = int(np.floor(end + 0.5)) - side * np.arange(-round(_BEYOND * kx), round(_WITHIN * kx) + 1)
    if column.min() < 0 or column.max() >= width:
        return None
    x = column.astype(np.float64)
    y, reach = one.at(x), int(np.ceil(pen / 2 + 1))
    rows = np.round(y).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    over = max(2.0, pen)  # px; the samples of a blurred trace are not smooth
    wide = pen * np.hypot(1.0, (one.at(x + over / 2) - one.at(x - over / 2)) / over)

    def after(ink: D) -> float:
        """px from ``end`` to where a stroke ends whose ``ink`` (columns,) is given, NaN if that is not clear."""
        stroke = ink / wide
        usual = float(np.median(stroke[stroke.size // 2 :]))
        if not _STROKE[0] < usual < _STROKE[1]:
            return float("nan")
        share = np.clip(stroke / usual, 0.0, 1.0)
        bare = np.flatnonzero((share[1:] < _BARE) & (share[:-1] < _BARE)) + 1
        if not bare.size or share[: bare[-1]].max() > _FOREIGN:
            return float("nan")
        inner = min(share.size - 1, int(bare[-1]) + round(_BEGINS * kx))
        return float(side * (x[inner] - end) + share[bare[-1] - 1 : inner + 1].sum() - 0.5)

    found = after(coverage[np.clip(rows, 0, height - 1), column[:, None]].sum(axis=1).astype(np.float64))
    if np.isnan(found):
        return None
    # Where a stroke begins steeply, less of it lies about its level: what a perfect one would look like is taken off.
    left, top = int(column.min()), int(rows.min())
    at = one.x0 + one.step * np.arange(sample + 1 if sample else one.y.size)
    at = at[np.abs(at - end) < (_WITHIN + _BEYOND) * kx]
    usual = []
    for cap in ("butt", "round"):
        drawn = np.zeros((int(rows.max()) - top + 1, int(column.max()) - left + 1), np.uint8)
        draw_graph(drawn, at - left, one.at(at) - top, pen, cap)
        usual.append(after(drawn[rows - top, column[:, None] - left].sum(axis=1) / 255))
    steep = float(np.abs(np.diff(one.at(np.array([end, end - side * _BEYOND * kx])))[0])) / (_BEYOND * kx)
    return _End(found - usual[0], found - usual[1], 1 / (1 + (steep / _FLAT) ** 2))


def _middle(found: list[_End | None], cap: str, kx: float) -> _Middle:
    """Over the ends that are known, by their worth; NaN if that is too little."""
    pairs = [(getattr(end, cap), end.worth) for end in found if end is not None]
    known: D = np.array([pair for pair in pairs if np.isfinite(pair[0])]).reshape(-1, 2)
    value, worth = known.T
    if worth.sum() < _TOO_LITTLE:
        return _Middle(float("nan"), float("nan"))
    middle = _median(value, worth)
    spread = 1.5 * _median(np.abs(value - middle), worth)  # as a standard deviation
    return _Middle(middle, float(np.hypot(spread, _ALONE * kx) / np.sqrt(worth.sum())))


def _median(value: D, weight: D) -> float:
    """The weighted one."""
    order = np.argsort(value)
    half = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(weight.sum() / 2, half, value[order]))
