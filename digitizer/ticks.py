"""ticks: upright strokes that separate leads, drawn over the end of one and the beginning of the next.

Where a beat runs through one, they cannot be told from it in a single place. But ticks stand exactly where leads meet,
equally high above and below every row: what is inked there at nearly every border is a tick. What it covers says
nothing of the traces: they are fitted to what is seen around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecg_image_kit.layout import Strip

from .arrays import stretches
from .curves import Box, Curve
from .segment import INK, Ink

_REACH = 7.0  # mm above and below a row that are looked at
_SHORTEST = 3.0  # mm of what may be a tick
_LEAST = 3  # borders
_BARE = 0.15  # share of borders at which a row of the tick may be bare
_ASIDE = 1.0  # mm from its row, that its middle may be: a beat goes up or down


class Tick(NamedTuple):
    """px that a tick fills, and some about it; ``gone``: it was taken away from the ink."""

    box: Box
    gone: bool


def ticks_of(ink: Ink, strips: Sequence[Strip], kx: float, ky: float, pen: float) -> list[Tick]:
    """Ticks, one at every border of leads; none if there are no such.

    Args:
        ink: of the page; rulings that were taken away from it are known. strips: of the page, in mm of it at ``kx, ky``
            px per mm. pen: px wide; ticks are as wide.
    """
    first = {row: min(s.x for s in strips if s.row == row) for row in {s.row for s in strips}}
    inner = [s for s in strips if s.x > first[s.row] + 1.0]
    if len(inner) < _LEAST:
        return []
    (height, width), reach = ink.coverage.shape, round(_REACH * ky)
    half = max(0.0, pen / 2 - 1)  # px that it surely fills on either side
    inked = np.zeros((len(inner), 2 * reach + 1), np.bool_)
    gone = np.zeros(len(inner), np.bool_)
    for k, s in enumerate(inner):
        x, top = s.x * kx, round(s.y * ky) - reach
        columns = np.arange(np.floor(x - half + 0.5), np.floor(x + half + 0.5) + 1).astype(int).clip(0, width - 1)
        rows = np.arange(top, top + 2 * reach + 1)
        part = ink.coverage[rows.clip(0, height - 1)[:, None], columns] > INK
        inked[k] = part.all(axis=1) & (rows >= 0) & (rows < height)
        for left, above, wide, high in ink.rulings.tolist():
            its = inked[k, max(0, round(above) - top) : max(0, round(above + high) - top)]
            if left - 1 <= x <= left + wide and its.size:
                its[:] = gone[k] = True
    common = stretches(inked.mean(axis=0) >= 1 - _BARE)
    long = [(a, b) for a, b in common if b - a >= _SHORTEST * ky and abs(reach + 0.5 - (a + b) / 2) < _ASIDE * ky]
    long = [(a, b) for a, b in long if a > 0 and b < inked.shape[1]]  # else lines
    if not long:
        return []
    a, b = max(long, key=lambda s: s[1] - s[0])
    out, half = [], pen / 2 + 1
    for s, away in zip(inner, gone.tolist(), strict=True):
        box = Box(int(np.floor(s.x * kx - half + 0.5)), round(s.y * ky) - reach + a - 2, int(2 * half) + 1, b - a + 4)
        out.append(Tick(box, away))
    return out


def hiding(ticks: Sequence[Tick], one: Curve) -> list[Tick]:
    """Those of the ticks that hide the beginning or the end of a curve."""
    out = []
    for tick in ticks:
        x, y, width, height = tick.box
        away = min(abs(x + width / 2 - end) for end in (one.x0, one.x0 + one.step * (one.y.size - 1)))
        if away < width and abs(y + height / 2 - float(np.median(one.y))) < height:
            out.append(tick)
    return out
