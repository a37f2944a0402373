"""alike: beats of a lead look alike. Where rows cross, the others tell which way a trace goes.

Strokes of several rows stand in the same columns during every QRS, and their ink may be shared out in more than one
way that leaves nothing unexplained. A beat of a lead that differs from all others, where they agree with each other,
is led as they are if there is ink all along that way and no more of it is left over. A beat that really is different
(ectopic, say) has no such ink.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import cv2
import numpy as np

from .arrays import I64, D, F
from .curves import Curve

_BEFORE, _AFTER = 0.10, 0.12  # s, of a beat, about its steepest part
_APART = 0.25  # s between beats, at least
_STEEP = 0.3  # of the steepest beat's steepness
_SHIFT = 0.016  # s by which beats may be out of step
_LEAST = 3  # other beats that must agree: what misleads one may mislead two
# mm, and share of their height, by which a beat is unlike the others, and times as much as they among themselves.
_UNLIKE, _OTHER, _TIMES = 1.2, 0.3, 3.0
_INKED, _SHARE = 0.25, 0.93  # coverage, and share of the way that must have it
_MORE = 0.3  # mm^2 of ink that may be left over more than before


class _Beats(NamedTuple):
    """Segments ``y`` (curves, beats, samples), px less their level, and their ``first`` samples (beats,)."""

    y: D
    first: I64


def alike(coverage: F, curves: Sequence[Curve], pen: float, kx: float, ky: float, seconds: float) -> list[Curve]:
    """The curves, with beats that are unlike the others of their lead led as those are, where there is ink.

    Args:
        coverage: (H, W) of ink. pen: px wide. kx, ky: px per mm. seconds: from a sample to the next.
    """
    curves = list(curves)

    def together(k: int) -> tuple[int, int]:
        return round(curves[k].x0), curves[k].y.size

    for _, group in groupby(sorted(range(len(curves)), key=together), key=together):
        own = list(group)
        beats = _beats([curves[k] for k in own], seconds)
        if beats is None:
            continue
        for b in range(len(beats.first)):
            odd = _unlike(beats, b, ky)
            if not odd:
                continue
            tried = list(curves)
            for c, usual in odd.items():
                tried[own[c]] = _led(curves[own[c]], int(beats.first[b]), usual)
            changed = [own[c] for c in odd]
            if _is_better(coverage, curves, tried, changed, pen, kx, ky):
                curves = tried
                continue
            for k in changed if len(changed) > 1 else ():  # together they are not; one alone may be
                alone = list(curves)
                alone[k] = tried[k]
                if _is_better(coverage, curves, alone, [k], pen, kx, ky):
                    curves = alone
    return curves


def _beats(curves: Sequence[Curve], seconds: float) -> _Beats | None:
    """The beats of strips that show the same time, in step; None if there are too few."""
    y = np.stack([c.y for c in curves])
    before, after, slack = (round(s / seconds) for s in (_BEFORE, _AFTER, _SHIFT))
    steep = np.abs(np.diff(y, axis=1, append=y[:, -1:])).sum(axis=0)
    steep = cv2.blur(steep[:, None], (1, round(0.08 / seconds)))[:, 0]
    at = _peaks(steep, round(_APART / seconds))
    first = at - before
    size = before + after
    first = first[(first >= slack) & (first + size + slack < y.shape[1])]
    if first.size <= _LEAST:
        return None
    for _ in range(2):
        usual = np.median(_cut(y, first, size), axis=1)
        shifts = np.arange(-slack, slack + 1)
        off = np.stack([np.abs(_cut(y, first + s, size) - usual[:, None]).mean(axis=2) for s in shifts])
        # Leads that are misread are few: the median lead tells.
        first = (first + shifts[np.median(off, axis=1).argmin(axis=0)]).clip(slack, y.shape[1] - size - slack)
    first = first[np.diff(first, prepend=-size) > slack]
    if first.size <= _LEAST:
        return None
    return _Beats(_cut(y, first, size), first)


def _peaks(steep: D, apart: int) -> I64:
    """Where it is steepest, at least so many samples apart."""
    around = np.ones((2 * apart + 1, 1))
    high = cv2.dilate(steep[:, None], around)[:, 0]
    return np.flatnonzero((steep >= high) & (steep > _STEEP * np.percentile(steep, 99)))


def _cut(y: D, first: I64, size: int) -> D:
    """(curves, beats, samples) less the level of their two ends."""
    part = y[:, first[:, None] + np.arange(size)]
    edge = max(2, size // 12)
    a, b = np.median(part[..., :edge], axis=2), np.median(part[..., -edge:], axis=2)
    return part - a[..., None] - (b - a)[..., None] * np.linspace(0, 1, size)


def _unlike(beats: _Beats, b: int, ky: float) -> dict[int, D]:
    """Curves whose beat is unlike all others, which agree: curve -> what is usual (samples,) px."""
    others = np.delete(beats.y, b, axis=1)
    usual = np.median(others, axis=1)
    spread = np.median(np.abs(others - usual[:, None]).max(axis=2), axis=1)
    off = np.abs(beats.y[:, b] - usual).max(axis=1)
    least = np.maximum(np.maximum(_UNLIKE * ky, _OTHER * np.ptp(usual, axis=1)), _TIMES * spread)
    return {int(c): usual[c] for c in np.flatnonzero(off > least)}


def _led(one: Curve, first: int, usual: D) -> Curve:
    """The curve, with a beat as usual."""
    size = usual.size
    edge = max(2, size // 12)
    part = one.y[first : first + size]
    a, b = np.median(part[:edge]), np.median(part[-edge:])
    y = one.y.copy()
    inner = slice(edge, size - edge)
    y[first : first + size][inner] = (usual + a + (b - a) * np.linspace(0, 1, size))[inner]
    return one.led(y)


def _is_better(
    coverage: F, before: Sequence[Curve], after: Sequence[Curve], changed: Sequence[int], pen: float, kx: float,
    ky: float,
) -> bool:  # fmt: skip
    """Whether there is ink all along the changed curves, and no more of it is left over than before."""
    columns = slice(0, 0)
    for k in changed:
        old, new = before[k], after[k]
        moved = np.flatnonzero((old.low != new.low) | (old.high != new.high))
        if not moved.size:
            return False
        near = slice(max(0, new.first + int(moved[0])), min(coverage.shape[1], new.first + int(moved[-1]) + 1))
        if _inked(coverage, new, near) < _SHARE:
            return False
        columns = near if columns.stop == 0 else slice(min(columns.start, near.start), max(columns.stop, near.stop))
    left = [_left(coverage, curves, columns, pen) for curves in (before, after)]
    return left[1] < left[0] + _MORE * kx * ky


def _inked(coverage: F, one: Curve, columns: slice) -> float:
    """Share of the way of a curve that has ink."""
    inked = total = 0
    for x in range(columns.start, columns.stop):
        k = x - one.first
        rows = slice(max(0, round(one.low[k])), max(0, round(one.high[k]) + 1))
        there = coverage[rows, max(0, x - 1) : x + 2].max(axis=1, initial=0.0) > _INKED
        inked, total = inked + int(there.sum()), total + there.size
    return inked / max(total, 1)


def _left(coverage: F, curves: Sequence[Curve], columns: slice, pen: float) -> int:
    """px of ink that no curve explains."""
    part = (coverage[:, columns] > 0.45).astype(np.uint8)
    for one in curves:
        if one.columns.start < columns.stop and one.columns.stop > columns.start:
            one.cover(part, pen / 2 + 1.0, columns.start)
    return int(part.sum())
