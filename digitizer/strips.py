"""strips: each strip of the layout gets its own path through the ink, its pixels, and its fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ecg_image_kit import raster
from ecg_image_kit.layout import Layout, Strip

from . import refine
from .arrays import I32, I64, B, F, stretches
from .calibrate import Calibration
from .rectify import Upright
from .segment import Ink
from .trace import FOREIGN, Traced, follow, reach_of, slim

FS = 500.0  # samples per second of the fit
_SHORTEST = 3.0  # mm of ink of its own that a strip must have to be read
_ON_NAME = 3.0  # extra cost, mm, of ink where a lead's name stands
_NAME_TRUST = 0.3  # weight of pixels there
_NOISY = 0.07  # RMS error of coverage above which the rows' ends tell where they begin better than a fit of it does
_BARE = 3  # px before the rows' beginning that are looked at, too


@dataclass(frozen=True, eq=False)
class Track:
    """One strip's way through the ink.

    Attributes:
        first: image column of ``path``[0].
        path: (columns,) run in each column, -1 where there is none.
        label: (4,) x0, y0, x1, y1 px where the lead's name stands, if known.
        shared: (columns,) the run is also a strip's of another row: two traces cross or touch there.
    """

    strip: Strip
    first: int
    path: I32
    label: I64 | None
    shared: B

    @property
    def known(self) -> B:
        """(columns,) there is ink, and it is this strip's alone."""
        return (self.path >= 0) & ~self.shared

    @property
    def samples(self) -> int:
        """As many as are printed: to the window's very end, which the record has only if it goes on there."""
        return max(3, int(np.floor(self.strip.stop * FS + 1e-6)) - first_sample(self.strip) + 1)

    def x0(self, speed: float, kx: float) -> float:
        """px of the first sample. Cells need not begin with one: a third of 10 s does not."""
        return (self.strip.x + (first_sample(self.strip) / FS - self.strip.start) * speed) * kx


def first_sample(strip: Strip) -> int:
    """Number of the first of a record's samples at FS that lie in the strip's window."""
    return int(np.ceil(strip.start * FS - 1e-6))


def fit_strips(
    ink: Ink, traced: Traced, calibration: Calibration, upright: Upright
) -> tuple[tuple[Strip, ...], list[refine.Fit], float]:
    """Fit every strip of the layout to the ink along its own path.

    Returns:
        The strips, moved together to where the rows really begin; a fit of each (samples every 1/FS s, px; all NaN if
        the strip could not be read); and the pen's width, px.
    """
    layout, kx, ky = calibration.layout, upright.kx, upright.ky
    scale, cap = layout.gain * ky, calibration.cap * kx
    every = _tracks(traced, layout, kx, ky)
    readable = [track.known.sum() >= _SHORTEST * kx for track in every]
    tracks = [track for track, ok in zip(every, readable, strict=True) if ok]
    if not tracks:
        return layout.strips, [_unread(track) for track in every], traced.pen
    windows = [_window(ink, traced, track, track.known) for track in tracks]
    guesses = [_guess(traced, track, layout.speed, kx) for track in tracks]
    fits, pen = refine.fit(windows, guesses, traced.pen, scale, cap)
    # Only now, with the traces and the pen known, can the rows' common beginning be fitted to a hundredth of a pixel,
    # and ink where traces cross be told apart.
    if calibration.settled:
        shift = 0.0
    elif float(np.median([fit.residual for fit in fits])) > _NOISY:
        shift = calibration.late * kx
    else:
        shift = _start(ink, traced, calibration, tracks, fits, pen, kx, ky)
    guesses = [refine.moved(g, f.y, shift) for g, f in zip(guesses, fits, strict=True)]
    if any(track.shared.any() for track in tracks):
        fits = _fit_crossings(ink, traced, tracks, guesses, pen, scale, cap)
    elif abs(shift) > 0.01:
        fits, pen = refine.fit(windows, guesses, pen, scale, cap, warm=True)
    strips = tuple(replace(strip, x=strip.x + shift / kx) for strip in layout.strips)
    found = iter(fits)
    return strips, [next(found) if ok else _unread(track) for track, ok in zip(every, readable, strict=True)], pen


def _unread(track: Track) -> refine.Fit:
    return refine.Fit(np.full(track.samples, np.nan), np.zeros(track.samples, bool), 1.0)


def _tracks(traced: Traced, layout: Layout, kx: float, ky: float) -> list[Track]:
    """Follow each strip within its own columns. Lead names, and ink that is another row's, cost extra."""
    runs, width = traced.runs, traced.runs.first.size - 1
    single = slim(runs, traced.pen, ky)
    out = []
    for strip, label in zip(layout.strips, _names(traced, layout.strips, kx, ky), strict=True):
        first = int(np.clip(np.floor(strip.x * kx + 0.5), 0, width - 2))  # where a sheet is cut off, beyond the image
        last = int(np.ceil((strip.x + (strip.stop - strip.start) * layout.speed) * kx - 0.5)) + 1
        last = min(width, max(last, first + 2))
        extra = np.zeros(runs.column.size)
        if label is not None:
            x0, y0, x1, y1 = label
            extra[(runs.column >= x0) & (runs.column <= x1) & (runs.top >= y0) & (runs.bottom <= y1)] = _ON_NAME
        foreign = np.zeros(runs.column.size, bool)
        for k, row in enumerate(traced.rows):
            if k != strip.row:
                foreign[row.run[row.run >= 0]] = True
        own = traced.rows[strip.row]
        foreign[own.run[own.run >= 0]] = False
        extra[foreign & single] += FOREIGN
        reach = reach_of(traced.spacing, ky)
        path = follow(runs, traced.chains, traced.keep, own.baseline, reach, kx, ky, (first, last), extra)
        out.append(Track(strip, first, path, label, np.zeros(path.size, bool)))
    users = np.zeros(runs.column.size + 1, np.int32)
    for row_number in {strip.row for strip in layout.strips}:
        used = np.concatenate([t.path for t in out if t.strip.row == row_number])
        users[np.unique(used[used >= 0])] += 1
    return [replace(t, shared=(t.path >= 0) & (users[t.path] > 1)) for t in out]


def _names(traced: Traced, strips: tuple[Strip, ...], kx: float, ky: float) -> list[I64 | None]:
    """Where each strip's lead name stands: x0, y0, x1, y1 px, or None if that cannot be told.

    Names stand at the same place of every cell, so one that touches the trace, and is not seen by itself, is found too.
    """
    marks = traced.marks
    middle = (marks[:, 1] + marks[:, 3]) / 2
    found = []
    for strip in strips:
        x, base = strip.x * kx, traced.rows[strip.row].baseline
        near = (marks[:, 0] > x - kx) & (marks[:, 2] < x + 11 * kx) & (np.abs(middle - base) < 0.6 * traced.spacing)
        near &= marks[:, 3] - marks[:, 1] < 5 * ky
        found.append(marks[near] - np.array([x, base, x, base]))
    together = np.concatenate(found)
    if len(together) < 3:
        return [None] * len(strips)
    height = (together[:, 1] + together[:, 3]) / 2
    usual = together[np.abs(height - np.median(height)) < 3 * ky]
    if len(usual) < 3:
        return [None] * len(strips)
    left, right = np.percentile(usual[:, 0], 5) - 0.8 * kx, np.percentile(usual[:, 2], 90) + 0.8 * kx
    top, bottom = np.median(usual[:, 1]) - 0.8 * ky, np.median(usual[:, 3]) + 0.8 * ky
    places = [(strip.x * kx, traced.rows[strip.row].baseline) for strip in strips]
    return [np.array([x + left, y + top, x + right, y + bottom]).astype(np.int64) for x, y in places]


def _guess(traced: Traced, track: Track, speed: float, kx: float) -> refine.Guess:
    """First guess at a strip's samples, from the edges of its ink."""
    # The first and last column belong to the neighbouring strips as well.
    interior = track.known.copy()
    interior[[0, -1]] = False
    known = interior if interior.sum() > 10 else track.known
    y0, y1 = traced.runs.y0[track.path], traced.runs.y1[track.path]
    x0, step = track.x0(speed, kx), speed * kx / FS
    return refine.guess(x0, step, track.samples, y0, y1, known, track.first, traced.pen)


def _window(ink: Ink, traced: Traced, track: Track, known: B, bare: int = 0) -> refine.Window:
    """The pixels of a strip's runs where ``known``, and two bare ones on either side, as far as other ink leaves room.

    The first ``bare`` columns, before the trace, get the rows of the first column that has ink of it.
    """
    runs, height, path = traced.runs, ink.coverage.shape[0], track.path
    at = path[known].astype(np.int64)
    column = runs.column[at]
    before = np.where(at > runs.first[column], runs.bottom[np.maximum(at - 1, 0)], 0)
    after = np.where(at + 1 < runs.first[column + 1], runs.top[np.minimum(at + 1, runs.top.size - 1)], height)
    low = np.maximum(runs.top[at] - 2, before).astype(np.int64)
    high = np.minimum(runs.bottom[at] + 2, after).astype(np.int64)
    top, rows = np.zeros(path.size, np.int64), np.zeros(path.size, np.int64)
    top[known], rows[known] = low, high - low
    top[:bare], rows[:bare] = top[bare], rows[bare]
    start = np.concatenate([[0], np.cumsum(rows)])
    x = np.repeat(np.arange(path.size), rows)
    y = np.arange(start[-1]) - start[x] + top[x]
    x = x + track.first
    values = ink.coverage[y, x].astype(np.float64)
    weight = np.minimum(ink.weight_y[y], ink.weight_x[x]).astype(np.float64)
    if track.label is not None:
        x0, y0, x1, y1 = track.label
        weight[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] *= _NAME_TRUST
    return refine.Window(track.first, top, start, values, weight)


def _fit_crossings(
    ink: Ink, traced: Traced, tracks: list[Track], curves: list[refine.Guess], pen: float, scale: float, cap: float
) -> list[refine.Fit]:
    """Fits of curves that are roughly known already, with the ink that they share with other rows.

    Where that ink is all one blob, which way a trace takes through it cannot be felt by a fit. So each plausible way is
    fitted from the start, and at every crossing the one that draws the ink best is kept.
    """
    mixed = [k for k, track in enumerate(tracks) if track.shared.any()]
    alone = [k for k in range(len(tracks)) if k not in mixed]
    fits: dict[int, refine.Fit] = {}
    if alone:
        windows = [_window(ink, traced, tracks[k], tracks[k].known) for k in alone]
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
    window = _window(ink, traced, track, track.path >= 0)
    if not track.shared.any():
        return window
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


def _start(
    ink: Ink, traced: Traced, calibration: Calibration, tracks: list[Track], fits: list[refine.Fit], pen: float,
    kx: float, ky: float,
) -> float:  # fmt: skip
    """px by which the rows begin later than the calibration found, judged by the ink of their first millimetres."""
    layout = calibration.layout
    length = int(np.ceil(3 * kx))
    step = layout.speed * kx / FS
    windows, guesses = [], []
    for track, fit in zip(tracks, fits, strict=True):
        strip = track.strip
        if strip.row in calibration.hidden or abs(strip.x - layout.strips[0].x) > 1e-6 or track.first < _BARE:
            continue
        inside = track.known[:length]
        if inside.mean() < 0.9 or not inside[:_BARE].any():
            continue
        path = np.concatenate([np.full(_BARE, -1, np.int32), track.path[:length]])
        known = np.concatenate([np.zeros(_BARE, bool), inside])
        early = replace(track, first=track.first - _BARE, path=path, label=None)
        windows.append(_window(ink, traced, early, known, int(np.flatnonzero(known)[0])))
        y = fit.y[: int(length / step)]
        guesses.append(refine.Guess(track.x0(layout.speed, kx), step, y, y, y))
    return refine.start_shift(windows, guesses, pen, layout.gain * ky, _BARE, calibration.cap * kx) if windows else 0.0
