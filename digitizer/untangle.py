"""untangle: whose is the ink that no trace explains? Rows that cross, or run into each other, are told apart by it.

A first tracing goes wrong where beats of several rows stand in the same columns: an R wave is cut where the row above
crosses it, and its tip is then nobody's. For each such piece of ink every row near it is led through it by the best of
all paths, and the row whose path explains most more than before keeps it.

The best path is found exactly, in time linear in the pixels: within a column a path covers an interval between its
height at either side, whose worth is a difference of running sums, so that the best predecessor of every height is a
running maximum (Viterbi with slopes of any steepness). What is worth something is the middle of strokes alone, or a
path would gain by going up and down a thick one as often as it is wide.
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from .arrays import I64, B, D, F, runs_of, stretches
from .curves import Curve, grown, looked

_INKED = 0.45  # coverage of ink that ought to be some row's
_LEAST = 0.8  # mm, of the height or width of a piece of it
_AROUND = 1.4  # mm before and behind it that may be led otherwise
_ROOM = 3.0  # mm above and below it and the trace
# What a pixel is worth: the middle of a stroke; other ink; covered by another row's trace; hardly inked; bare.
_MIDDLE, _BESIDE, _TAKEN, _FAINT, _BARE = 1.0, -0.05, -0.04, -0.4, -3.0
_WORTH = 0.8  # mm of ink that a path must explain more than before
_NEAR = 4.5  # spacings of rows within which a piece may be a row's
_ORDER, _ASIDE = 0.6, 0.5  # what it costs more beyond the row above or below; mm beside it that this is looked at
_LEVEL, _TALL = 0.9, 1.5  # mm: what goes up and down by less runs level; what is taller is part of a beat
_BORDER, _WITHIN = 0.5, 2.0  # mm of a strip's beginning and end; that it may be led up or down there
_ALONG = 3.0  # mm for which two rows may run along each other
_PALE = 0.08  # coverage of ink that may close a gap
_GAP, _BESIDE_GAP, _AWAY = 0.25, 0.5, 12.0  # mm: of the shortest; beside, above and below it that may be led otherwise
_LONG, _MOSTLY = 3.0, 0.75  # mm of a long gap; share of it that must be inked
_BROKEN = 4.0  # mm of ink that mending a gap is worth


def untangle(coverage: F, curves: list[Curve], pen: float, spacing: float, kx: float, ky: float) -> list[Curve]:
    """The curves, some of them led through ink that none of them explained.

    Args:
        coverage: (H, W) of the traces alone.
        pen, spacing: px, of the strokes and of the rows. kx, ky: px per mm.
    """
    curves = list(curves)
    inked = coverage > _INKED
    worth = _worths(inked, 1.0)
    worth[(worth == _FAINT) & (coverage < _PALE)] = _BARE  # a streak or a hair that no trace leads to is nobody's
    for columns, rows in _places(_unexplained(inked, curves, pen, kx, ky), kx, inked.shape[1]):
        near, level = {}, set()
        for k, one in enumerate(curves):
            part = slice(max(columns.start, one.first), min(columns.stop, one.first + one.low.size))
            away = max(0.0, rows.start - one.baseline, one.baseline - rows.stop)
            if part.stop - part.start > 2 and away < _NEAR * spacing:
                near[k] = part
                if _is_level(one, part, ky):
                    level.add(k)
        if rows.stop - rows.start > _TALL * ky:  # a trace that is seen to run level has no beat there
            near = {k: part for k, part in near.items() if k not in level}
        ways = {}
        while near:
            for k, part in near.items():
                if k not in ways:
                    ways[k] = (*_led(worth, curves, k, part, rows, pen, kx, ky, level), part)
            best = max(ways, key=lambda k: ways[k][1], default=-1)
            if best < 0 or ways[best][1] < _WORTH * ky:
                break
            path, _, part = ways[best]
            curves[best] = _along(curves[best], part, path)
            del near[best]
            low, high = path.min() - 2 * pen, path.max() + 2 * pen
            # What another one gains depends on this one only if they meet.
            ways = {
                k: way for k, way in ways.items()
                if k != best and (way[0].max() < low or way[0].min() > high)
            }  # fmt: skip
    return mended(coverage, [looked(coverage, one) for one in curves], pen, kx, ky, _PALE)


def _is_level(one: Curve, columns: slice, ky: float) -> bool:
    """Whether a curve is seen throughout these columns, and goes neither up nor down."""
    inner = slice(columns.start - one.first, columns.stop - one.first)
    samples = slice(*(max(0, int((c - one.x0) / one.step)) for c in (columns.start, columns.stop)))
    return bool(one.high[inner].max() - one.low[inner].min() < _LEVEL * ky and one.seen[samples].all())


def mended(coverage: F, curves: list[Curve], pen: float, kx: float, ky: float, least: float) -> list[Curve]:
    """The curves, with gaps closed where there is something of a stroke: ``least`` coverage or more of it."""
    curves = [grown(coverage, one, least) if one.seen.any() else one for one in curves]
    gaps = [
        (k, gap) for k, one in enumerate(curves) for gap in stretches(~one.seen)
        if one.seen.any() and gap[1] - gap[0] > _GAP * kx / one.step
    ]  # fmt: skip
    if not gaps:
        return curves
    pale = coverage > least
    worth = _worths(pale, np.sqrt(coverage))
    for k, (start, stop) in gaps:
        one = curves[k]
        a, b = (
            round(one.x0 + one.step * at + beside)
            for at, beside in ((start, -_BESIDE_GAP * kx), (stop, _BESIDE_GAP * kx))
        )
        columns = slice(max(a, one.first), min(b, one.first + one.low.size, coverage.shape[1]))
        if columns.stop - columns.start < 3:
            continue
        middle = one.y[start:stop]
        place = slice(int(middle.min() - _AWAY * ky), int(middle.max() + _AWAY * ky))
        path, gain = _led(worth, curves, k, columns, place, pen, kx, ky)
        if gain > _WORTH * ky / 2:
            led = looked(coverage, _along(one, columns, path), least)
            # Of what is hidden over a long way nothing is seen; what stands near it, here and there, is letters.
            if (stop - start) * one.step < _LONG * kx or led.seen[start:stop].mean() > _MOSTLY:
                curves[k] = led
    return curves


def _worths(inked: B, middle: F | float) -> D:
    """(H, W) what each pixel is worth."""
    worth = np.where(inked, _BESIDE, _FAINT)
    return np.where(_middles(inked), _MIDDLE * middle, worth)


def _places(pieces: list[tuple[int, ...]], kx: float, width: int) -> list[tuple[slice, slice]]:
    """Columns and rows about pieces of ink, from left to right; those that overlap in columns are one."""
    around = round(_AROUND * kx)
    out: list[list[int]] = []
    for x0, y0, x1, y1 in sorted(pieces):
        if out and x0 - around < out[-1][1]:
            last = out[-1]
            out[-1] = [last[0], max(last[1], x1 + around), min(last[2], y0), max(last[3], y1)]
        else:
            out.append([x0 - around, x1 + around, y0, y1])
    return [(slice(max(0, a), min(width, b)), slice(top, stop)) for a, b, top, stop in out]


def _unexplained(inked: B, curves: list[Curve], pen: float, kx: float, ky: float) -> list[tuple[int, ...]]:
    """Boxes x0, y0, x1, y1 px of ink that no curve's pen covers."""
    left = inked.astype(np.uint8)
    for one in curves:
        one.cover(left, pen / 2 + 1.0)
    inside = np.zeros(left.shape[1], bool)
    for one in curves:
        inside[one.columns] = True
    left[:, ~inside] = 0
    count, _, stats, _ = cv2.connectedComponentsWithStats(left, connectivity=8)
    boxes = [tuple(int(v) for v in stats[k, :4]) for k in range(1, count)]
    return [(x, y, x + w, y + h) for x, y, w, h in boxes if h >= _LEAST * ky or w >= _LEAST * kx]


def _middles(inked: B) -> B:
    """(H, W) the middle of every stroke: of its horizontal runs where it is steep, of its vertical ones where flat."""
    column, top, bottom = runs_of(inked)
    row, left, right = runs_of(np.ascontiguousarray(inked.T))
    high, wide = np.zeros(inked.shape, np.int32), np.zeros(inked.shape, np.int32)
    high.T[inked.T] = np.repeat(bottom - top, bottom - top)
    wide[inked] = np.repeat(right - left, right - left)
    out = np.zeros(inked.shape, np.bool_)
    y, x = (top + bottom - 1) // 2, (left + right - 1) // 2
    flat, steep = high[y, column] <= wide[y, column], wide[row, x] < high[row, x]
    out[y[flat], column[flat]] = True
    out[row[steep], x[steep]] = True
    return out


def _led(
    worth: D,
    curves: list[Curve],
    k: int,
    columns: slice,
    place: slice,
    pen: float,
    kx: float,
    ky: float,
    level: Collection[int] = (),
) -> tuple[D, float]:
    """Curve k's best path, (columns + 1,) px y at the columns' sides, and how much more it is worth than now."""
    one = curves[k]
    inner = slice(columns.start - one.first, columns.stop - one.first)
    room = round(_ROOM * ky)
    top = max(0, int(min(one.low[inner].min(), place.start)) - room)
    stop = min(len(worth), int(max(one.high[inner].max(), place.stop)) + room)
    own = worth[top:stop, columns].copy()
    rows = np.arange(top, stop)[:, None]
    for number, other in enumerate(curves):
        a, b = max(columns.start, other.first), min(columns.stop, other.first + other.low.size)
        if other.row == one.row or a >= b:
            continue
        low, high = (edge[a - other.first : b - other.first] for edge in other.reach(pen / 2 + 0.5))
        part = own[:, a - columns.start : b - columns.start]
        part[(rows >= low) & (rows <= high)] = _TAKEN
        # Beats stand at the same times in every row, so that rows keep their order even where they overlap.
        if number not in level:
            above, below = (edge[a - other.first : b - other.first] for edge in other.reach(_ASIDE * kx))
            part[(rows < above) if other.row < one.row else (rows > below)] -= _ORDER
    total = np.concatenate([np.zeros((1, own.shape[1])), np.cumsum(own, axis=0)])
    x = np.arange(columns.start, columns.stop + 1) - 0.5
    before = one.at(x) - top
    # Its ends stay where they are, unless the strip itself ends there.
    ends = one.x0, one.x0 + one.step * (one.y.size - 1)
    free = np.array([columns.start - 0.5 <= ends[0] + 1, columns.stop - 0.5 >= ends[1] - 1])
    band = np.stack([np.floor(before) - 1, np.ceil(before) + 2]).clip(0, len(own)).astype(np.int64)
    if (band[0] >= band[1]).any():  # it runs beside the image
        return before + top, 0.0
    now = _best(total, band)[1]
    band[0, 1:-1], band[1, 1:-1] = 0, len(own)
    # Where a strip begins or ends a ruled line may stand, which is no beat.
    around = np.stack([before - _WITHIN * ky, before + _WITHIN * ky]).clip(0, len(own)).astype(np.int64)
    wide = (free[0] & (x - ends[0] < _BORDER * kx)) | (free[1] & (ends[1] - x < _BORDER * kx))
    band[:, wide] = around[:, wide]
    path, value = _best(total, band)
    path += float(top)
    if _rides(path, curves, one.row, columns, pen, kx):
        return path, 0.0
    at = slice(int((columns.start - one.x0) / one.step), int((columns.stop - one.x0) / one.step) + 1)
    broken = not one.seen[max(0, at.start) : max(0, at.stop)].all()
    return path, value - now + (_BROKEN * ky if broken and value - now > _WORTH * ky else 0.0)


def _rides(path: D, curves: list[Curve], row: int, columns: slice, pen: float, kx: float) -> bool:
    """Whether a path runs along another row's trace, which it may only cross."""
    for other in curves:
        a, b = max(columns.start, other.first), min(columns.stop, other.first + other.low.size)
        if other.row == row or b - a < _ALONG * kx:
            continue
        low, high = other.low[a - other.first : b - other.first], other.high[a - other.first : b - other.first]
        own = (path[a - columns.start : b - columns.start] + path[a - columns.start + 1 : b - columns.start + 1]) / 2
        along = (own > low - pen / 2 - 1) & (own < high + pen / 2 + 1) & (high - low < pen)
        if any(stop - start > _ALONG * kx for start, stop in stretches(along)):
            return True
    return False


def _best(total: D, band: I64) -> tuple[D, float]:
    """The path worth most, (columns + 1,) rows at the columns' sides, and its worth.

    Args:
        total: (rows + 1, columns) running sums of the pixels' worth down each column.
        band: (2, columns + 1) first row it may pass at each side, and the one after the last; at least one everywhere.
    """
    first, stop = int(band[0].min()), int(band[1].max())
    sums, (low, high) = np.ascontiguousarray(total[first : stop + 1].T), band - first
    value = np.full((len(sums) + 1, stop - first), -1e9)
    value[0, low[0] : high[0]] = 0.0
    for c, column in enumerate(sums):
        above, below, passed = column[:-1], column[1:], slice(low[c + 1], high[c + 1])
        down = np.maximum.accumulate(value[c] - above) + below
        up = np.maximum.accumulate((value[c] + below)[::-1])[::-1] - above
        value[c + 1, passed] = np.maximum(down, up)[passed]
    path = np.empty(len(value), np.int64)
    path[-1] = y = int(np.argmax(value[-1]))
    for c in range(len(sums) - 1, -1, -1):
        down, up = (value[c, : y + 1] - sums[c, : y + 1])[::-1], value[c, y:] + sums[c, y + 1 :]
        a, b = int(np.argmax(down)), int(np.argmax(up))
        path[c] = y = y - a if down[a] + sums[c, y + 1] >= up[b] - sums[c, y] else y + b
    return path.astype(np.float64) + first, float(value[-1].max())


def _along(one: Curve, columns: slice, path: D) -> Curve:
    """The curve, through ``path`` within the columns."""
    at = one.x0 + one.step * np.arange(one.y.size)
    inside = (at > columns.start - 0.5) & (at < columns.stop - 0.5)
    y = one.y.copy()
    y[inside] = np.interp(at[inside], np.arange(columns.start, columns.stop + 1) - 0.5, path)
    return one.led(y)
