"""crossings: fits of traces on a page's own ink, where rows share some of it.

Letters are ink, too, so that what no trace explains says nothing here (in a drawing of the traces alone it says all:
untangle). Where shared ink is all one blob, which way a trace takes through it cannot be felt by a fit either: each
plausible way is fitted from the start, and at every crossing the one that draws the ink best is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ecg_image_kit import raster

from . import refine
from .arrays import I32, I64, B, F, stretches
from .segment import Ink
from .trace import Traced
from .tracks import Track, window_of


def fit_crossings(
    ink: Ink, traced: Traced, tracks: list[Track], curves: list[refine.Guess], pen: float, scale: float, cap: float
) -> list[refine.Fit]:
    """Fits of curves that are roughly known already, with the ink that they share with other rows."""
    mixed = [k for k, track in enumerate(tracks) if track.shared.any()]
    alone = [k for k in range(len(tracks)) if k not in mixed]
    fits: dict[int, refine.Fit] = {}
    if alone:
        windows = [window_of(ink, traced, tracks[k], tracks[k].known) for k in alone]
        fits = dict(
            zip(alone, refine.fit(windows, [curves[k] for k in alone], pen, scale, cap, warm=True)[0], strict=True)
        )
    crossings = {k: _crossings(traced, tracks[k]) for k in mixed}
    free = [_freed(curve, crossings[k], pen) if k in mixed else curve for k, curve in enumerate(curves)]
    tries = []
    for way in (None, _through, _along):
        tried = list(free)
        if way is not None:
            for k in mixed:
                tried[k] = way(traced, tracks[k].strip.row, free[k], crossings[k], pen)
            if all(np.array_equal(a.y, b.y) for a, b in zip(tried, free, strict=True)):
                continue
        windows = [_crossed(ink, traced, tracks, tried, k, pen) for k in mixed]
        found, _ = refine.fit(windows, [tried[k] for k in mixed], pen, scale, cap)
        tries.append({**fits, **dict(zip(mixed, found, strict=True))})
    return _better(ink, crossings, free, tries, pen, cap)


@dataclass(frozen=True, eq=False)
class _Crossing:
    """A stretch of image columns [start, stop) where a strip shares its ink, and the ink's columns, tops, bottoms."""

    start: int
    stop: int
    columns: I64
    runs: I32
    top: F
    bottom: F

    def near(self, curve: refine.Guess, before: float = 0.5, after: float = -0.5) -> B:
        """(samples,) of the curve that lie in it, or up to so many px before its start and after its stop."""
        at = curve.x0 + curve.step * np.arange(curve.y.size)
        return (at > self.start - before) & (at < self.stop + after)


def _crossings(traced: Traced, track: Track) -> list[_Crossing]:
    """Each stretch of ink that the strip shares; single columns between belong to it."""
    shared = cv2.morphologyEx(track.shared.astype(np.uint8)[:, None], cv2.MORPH_CLOSE, np.ones((5, 1), np.uint8))[:, 0]
    out = []
    for a, b in stretches(shared > 0):
        inked = a + np.flatnonzero(track.path[a:b] >= 0)
        if inked.size:
            runs = track.path[inked]
            y0, y1 = traced.runs.y0[runs], traced.runs.y1[runs]
            out.append(_Crossing(track.first + a, track.first + b, track.first + inked, runs, y0, y1))
    return out


def _freed(curve: refine.Guess, crossings: list[_Crossing], pen: float) -> refine.Guess:
    """The curve, free to lie anywhere in ink that it shares with another row."""
    low, high = curve.low.copy(), curve.high.copy()
    for crossing in crossings:
        near = crossing.near(curve, 1.5, 0.5)
        low[near] = np.minimum(low[near], crossing.top.min() + 0.3 * pen)
        high[near] = np.maximum(high[near], crossing.bottom.max() - 0.3 * pen)
    return replace(curve, low=low, high=high)


def _along(traced: Traced, row: int, curve: refine.Guess, crossings: list[_Crossing], pen: float) -> refine.Guess:
    """The curve, led along the edge of ink that it shares with another row: the upper of the two along its top."""
    y = curve.y.copy()
    at = curve.x0 + curve.step * np.arange(y.size)
    for crossing in crossings:
        others = [
            other.baseline
            for k, other in enumerate(traced.rows)
            if k != row and np.isin(crossing.runs, other.run[crossing.start : crossing.stop]).any()
        ]
        if others:
            upper = traced.rows[row].baseline < np.mean(others)
            edge = crossing.top + pen / 2 if upper else crossing.bottom - pen / 2
            inside = crossing.near(curve)
            y[inside] = np.interp(at[inside], crossing.columns, edge)
    return replace(curve, y=np.clip(y, curve.low, curve.high))


def _through(traced: Traced, row: int, curve: refine.Guess, crossings: list[_Crossing], pen: float) -> refine.Guess:
    """The curve, led into ink that it shares with another row.

    Where an S wave and the R wave of the row below run into each other, their ink is one: its lower end is the tip of
    the upper row's wave, its upper end that of the lower row's. Only a trace that arrives well away from its own
    baseline is led there; one that merely is crossed goes straight on.
    """
    y, low, high = curve.y.copy(), curve.low.copy(), curve.high.copy()
    at = curve.x0 + curve.step * np.arange(y.size)
    baseline = traced.rows[row].baseline
    for crossing in crossings:
        top, bottom = crossing.top, crossing.bottom
        inside = np.flatnonzero(crossing.near(curve))
        if bottom.min() - top.max() < 1.5 * pen or not 0 < inside.size < y.size:
            continue
        # A strip may begin or end in the crossing: then only one side is known.
        a, b = y[inside[0] - 1] if inside[0] else np.nan, y[inside[-1] + 1] if inside[-1] + 1 < y.size else np.nan
        a, b = (b if np.isnan(a) else a), (a if np.isnan(b) else b)
        if baseline < (top.max() + bottom.min()) / 2:
            tip, beyond = float(bottom.min()) - pen / 2, np.argmin(bottom)
            further = tip > max(a, b)
        else:
            tip, beyond = float(top.max()) + pen / 2, np.argmax(top)
            further = tip < min(a, b)
        if not further or max(abs(a - baseline), abs(b - baseline)) < 0.25 * abs(tip - baseline):
            continue
        x0, x1 = crossing.start - 0.5, crossing.stop - 0.5
        x = np.clip(crossing.columns[beyond], x0 + 0.1, x1 - 0.1)
        y[inside] = np.interp(at[inside], [x0, x, x1], [a, tip, b])
        low[inside] = np.minimum(low[inside], min(tip, a, b) - pen)
        high[inside] = np.maximum(high[inside], max(tip, a, b) + pen)
    return replace(curve, y=y, low=low, high=high)


def _better(
    ink: Ink, crossings: dict[int, list[_Crossing]], curves: list[refine.Guess], tries: list[dict[int, refine.Fit]],
    pen: float, cap: float,
) -> list[refine.Fit]:  # fmt: skip
    """At every crossing, whichever of several fits draws the ink best (all strips drawn together)."""
    drawn = []
    for fits in tries:
        picture = np.zeros(ink.coverage.shape, np.uint8)
        for k, curve in enumerate(curves):
            x = np.asarray(curve.x0 + curve.step * np.arange(curve.y.size), np.float64)
            raster.draw_graph(picture, x, fits[k].y, pen, "round" if cap else "butt", 4)
        drawn.append(picture)
    out = [replace(tries[0][k], y=tries[0][k].y.copy()) for k in range(len(curves))]
    for k, places in crossings.items():
        for crossing in places:
            rows = slice(max(0, int(crossing.top.min()) - 3), int(crossing.bottom.max()) + 4)
            columns = slice(max(0, crossing.start - 2), crossing.stop + 2)
            truth = ink.coverage[rows, columns]
            errors = [float(np.sum((picture[rows, columns] / 255.0 - truth) ** 2)) for picture in drawn]
            best = int(np.argmin(errors))
            if errors[best] < 0.97 * errors[0]:
                near = crossing.near(curves[k], 2.5, 1.5)
                out[k].y[near] = tries[best][k].y[near]
    return out


def _crossed(
    ink: Ink, traced: Traced, tracks: list[Track], curves: list[refine.Guess], k: int, pen: float
) -> refine.Window:
    """The window of track k with its shared columns, where pixels that another row's curve covers count for nothing."""
    track = tracks[k]
    window = window_of(ink, traced, track, track.path >= 0)
    weight = window.weight.copy()
    for c in np.flatnonzero(track.shared):
        x = track.first + c
        pixels = slice(window.start[c], window.start[c + 1])
        y = window.top[c] + np.arange(window.start[c + 1] - window.start[c])
        for other, curve in zip(tracks, curves, strict=True):
            if other.strip.row == track.strip.row or not other.first <= x < other.first + other.path.size:
                continue
            a, b = (int(np.floor((x + d - curve.x0) / curve.step)) for d in (-0.5 - pen / 2, 0.5 + pen / 2))
            near = curve.y[max(0, a) : max(0, b) + 2]
            if near.size:
                weight[pixels][(y > near.min() - pen / 2 - 0.7) & (y < near.max() + pen / 2 + 0.7)] = 0.0
    return replace(window, weight=weight)
