"""begins: leads that begin within a beat.

Where one lead gives way to the next the trace jumps, and if the next one begins high up on an R wave its first two or
three columns are one tall stroke: of a handful of samples, but most of the page's error if they are missed. Separators
and letters stand there, too, so that the network draws little of it. A stroke tells itself apart by what it is: it
reaches from the curve to one side only, leans, lies on its lead's side of the border, and is no other row's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .arrays import I32, B, D, F
from .curves import Curve
from .segment import INK, Ink, erase

_TALL = 1.0  # mm that it reaches beyond the curve, at least
_LOOKED = (1.0, 3)  # mm, and px beyond these, of the lead's first columns
_FOOT = 0.05  # of its height, that the curve may be off where it ends
_OTHER = 0.4  # of that, that ink (a separator) may reach beyond the curve on the other side
_BEFORE = 0.3  # of its ink that may lie on the other side of the border
_LEANS = (0.1, 0.9)  # of its height that some column has: no column of what stands upright does
_TICK, _OWN_TICK, _MARGIN = 40.0, 8.0, 2.0  # mm of the longest; from its middle to the trace; px that it may be larger
_ROWS_DIFFER = 1.0  # mm by which ticks of different rows may be differently high above their leads
_NEXT = 0.7  # px beside another row's stroke that are its own, too


class Tick(NamedTuple):
    """px: rows above and below a ruled tick, and how far it reaches beyond the border in its middle."""

    top: float
    bottom: float
    width: float


def all_begun(ink: Ink, curves: Sequence[Curve], pen: float, kx: float, ky: float) -> list[Curve]:
    """``begun`` of all curves but the first of each row. What may be left of separators says nothing."""
    coverage = ink.coverage.copy()
    erase(coverage, ink.rulings)
    inner = [any(other.row == one.row and other.x0 < one.x0 for other in curves) for one in curves]
    ticks = ink.rulings[ink.rulings[:, 3] < _TICK * ky] if len(ink.rulings) else ink.rulings
    return [
        begun(coverage, one, curves, pen, kx, ky, _tick_of(one, curves, ticks, ky)) if ok else one
        for one, ok in zip(curves, inner, strict=True)
    ]


def _tick_of(one: Curve, curves: Sequence[Curve], ticks: I32 | D, ky: float) -> Tick | None:
    """The tick that may stand where a curve begins: as those that its row has elsewhere, or another row's."""
    if not len(ticks):
        return None
    levels = {row: float(np.median(np.concatenate([c.y for c in curves if c.row == row]))) for row in
              {c.row for c in curves}}  # fmt: skip
    away = np.abs(ticks[:, 1:2] + ticks[:, 3:4] / 2 - np.array(list(levels.values())))
    near = away.min(axis=1) < _OWN_TICK * ky  # what is ruled elsewhere is no tick
    if not near.any():
        return None
    ticks, away = ticks[near], away[near]
    rows = np.array(list(levels))[away.argmin(axis=1)]
    own = np.flatnonzero(rows == one.row)
    k = int(own[0]) if own.size else int(away.min(axis=1).argmin())
    moved, margin = (0.0, _MARGIN) if own.size else (levels[one.row] - levels[int(rows[k])], _ROWS_DIFFER * ky)
    _, top, width, height = (float(v) for v in ticks[k])
    return Tick(top + moved - margin, top + height + moved + margin, width / 2 + _MARGIN)


def begun(
    coverage: F, one: Curve, others: Sequence[Curve], pen: float, kx: float, ky: float,
    tick: Tick | None = None,
) -> Curve:  # fmt: skip
    """The curve, led along the stroke with which it begins, if there is one that it does not follow.

    Args:
        coverage: (H, W) of ink.
        others: curves of the page; those of other rows keep their ink, and leads before if ticks are known.
        pen: px wide. kx, ky: px per mm.
        tick: where ink may be that of a tick that separates leads.
    """
    reach = min(round(_LOOKED[0] * kx) + _LOOKED[1], one.low.size, coverage.shape[1] - one.first)
    if not 4 <= reach <= one.first:
        return one
    near = coverage[:, one.first - reach : one.first + reach].copy()
    for other in others:
        if other.row != one.row:
            other.cover(near, pen / 2 + _NEXT, one.first - reach)
        elif tick is not None and other.x0 < one.x0:  # else what it follows before the border may be half a tick
            other.cover(near[:, :reach], pen / 2 + _NEXT, one.first - reach)
    ink, low, high = near[:, reach:] > INK, one.low[:reach], one.high[:reach]
    edges = np.array([_through(ink[:, c], low[c], high[c]) for c in range(reach)], np.float64)
    beyond = np.stack([low - pen / 2 - edges[:, 0], edges[:, 1] - high - pen / 2])
    # A pen as wide as a QRS draws its peak in columns before it, too.
    upper, lower = (edge[:reach] for edge in one.reach(pen / 2))
    if tick is not None:
        its = np.arange(reach) < tick.width
        beyond[0, its & (edges[:, 0] > tick.top)] = beyond[1, its & (edges[:, 1] < tick.bottom)] = 0.0
    side = int(beyond[:, :3].max(axis=1).argmax())  # 0: it begins above the curve, 1: below
    peak = int(beyond[side, :3].argmax())
    tall = float(beyond[side, peak])
    more = (upper - edges[:, 0], edges[:, 1] - lower)[side][peak]
    short = np.flatnonzero(beyond[side, peak:] < max(pen, _FOOT * tall))
    if min(tall, more) < _TALL * ky or not short.size:
        return one
    end = peak + int(short[0])
    share = beyond[side, peak:end] / tall
    leans = bool(((share > _LEANS[0]) & (share < _LEANS[1])).any())
    # In the very first column ink of the lead before is seen, too.
    if not leans or beyond[1 - side, 1:end].max(initial=0.0) > _OTHER * tall:
        return one
    top, bottom = sorted([edges[peak, side], low[peak] - pen if side == 0 else high[peak] + pen])
    rows = np.arange(max(0, int(top)), min(int(bottom) + 1, len(near)))
    if tick is not None:
        rows = rows[(rows < tick.top) | (rows > tick.bottom)]
    stroke = near[rows]
    if stroke[:, reach - end : reach].sum() > _BEFORE * stroke[:, reach : reach + end].sum():
        return one
    # The far edge of a steep stroke is half a pen ahead of its middle.
    column = np.append(np.arange(peak, end), end - 0.5) - pen / 2
    until = float(one.at(one.first + column[-1:])[0])
    level = np.append(edges[peak:end, side] + (pen / 2 if side == 0 else -pen / 2), until)
    x = one.x0 + one.step * np.arange(one.y.size) - one.first
    inside = x < column[-1]
    return one.led(np.where(inside, np.interp(x, column, level), one.y)) if inside.any() else one


def _through(ink: B, low: float, high: float) -> tuple[int, int]:
    """First and last row of the ink of a column that goes on from rows ``low`` to ``high``."""
    bare = np.flatnonzero(~ink)
    above, below = np.searchsorted(bare, round(low)), np.searchsorted(bare, round(high), side="right")
    return (
        int(bare[above - 1]) + 1 if above else 0,
        int(bare[below]) - 1 if below < bare.size else ink.size - 1,
    )
