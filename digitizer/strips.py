"""strips: a fit of each strip of the layout."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ecg_image_kit.layout import Strip

from . import refine
from .alike import alike
from .begins import all_begun
from .calibrate import Calibration
from .crossings import fit_crossings
from .curves import Curve, bounded, curve, windows_of
from .exchange import exchanged
from .rectify import Upright
from .segment import Ink
from .ticks import Tick, hiding, ticks_of
from .trace import Traced
from .tracks import FS, Track, first_x, guess_of, tracks_of, window_of
from .untangle import untangle

_SHORTEST = 3.0  # mm of ink of its own that a strip must have to be read
_NOISY = 0.07  # RMS error of coverage above which the rows' ends tell where they begin better than a fit of it does
_BEYOND = 10  # samples about an exchange that are fitted again
_HELD = 5.0  # px, SD, of a fit that has seen what crosses a tick
_BARE = 3  # px before the rows' beginning that are looked at, too


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
    every = tracks_of(traced, layout, kx, ky)
    readable = [track.known.sum() >= _SHORTEST * kx for track in every]
    tracks = [track for track, ok in zip(every, readable, strict=True) if ok]
    if not tracks:
        return layout.strips, [_unread(track) for track in every], traced.pen
    windows = [window_of(ink, traced, track, track.known) for track in tracks]
    guesses = [guess_of(traced, track, layout.speed, kx) for track in tracks]
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
    if ink.drawn:
        moved = [replace(fit, y=g.y) for g, fit in zip(guesses, fits, strict=True)]
        curves = _curves(traced, tracks, guesses, moved)
        curves = untangle(ink.coverage, curves, pen, traced.spacing, kx, ky)
        curves = exchanged(ink.coverage, curves, 1 / FS, kx, ky)
        curves = alike(ink.coverage, curves, pen, kx, ky, 1 / FS)
        fits, pen = fit_curves(ink, curves, pen, scale, cap)
    else:
        if any(track.shared.any() for track in tracks):
            fits = fit_crossings(ink, traced, tracks, guesses, pen, scale, cap)
            curves = _curves(traced, tracks, guesses, fits)
            right = exchanged(ink.coverage, curves, 1 / FS, kx, ky)
            right = alike(ink.coverage, right, pen, kx, ky, 1 / FS)
            fits = refitted(ink, curves, right, fits, pen, scale, cap)
        elif abs(shift) > 0.01:
            fits, pen = refine.fit(windows, guesses, pen, scale, cap, warm=True)
        curves = _curves(traced, tracks, guesses, fits)
        fits = refitted(ink, curves, all_begun(ink, curves, pen, kx, ky), fits, pen, scale)
        curves = _curves(traced, tracks, guesses, fits)
        begun = [replace(track.strip, x=track.strip.x + shift / kx) for track in tracks]
        fits = beside(ink, ticks_of(ink, begun, kx, ky, pen), curves, fits, pen, scale, cap)
    strips = tuple(replace(strip, x=strip.x + shift / kx) for strip in layout.strips)
    found = iter(fits)
    return strips, [next(found) if ok else _unread(track) for track, ok in zip(every, readable, strict=True)], pen


def _curves(traced: Traced, tracks: list[Track], guesses: list[refine.Guess], fits: list[refine.Fit]) -> list[Curve]:
    """Each strip's fit, as a curve of its row."""
    return [
        curve(t.strip.row, traced.rows[t.strip.row].baseline, g.x0, g.step, fit.y, fit.seen, t.first)
        for t, g, fit in zip(tracks, guesses, fits, strict=True)
    ]


def fit_curves(
    ink: Ink, curves: list[Curve], pen: float, px_per_mv: float, cap: float = 0.0, spread: float = np.inf
) -> tuple[list[refine.Fit], float]:
    """Fits of curves that are nearly right already, and the pen's width. ``spread``: as in refine.Guess."""
    windows = windows_of(ink, curves, pen)
    guesses = [bounded(c, window, pen, spread) for c, window in zip(curves, windows, strict=True)]
    fits, pen = refine.fit(windows, guesses, pen, px_per_mv, cap, warm=True)
    return [replace(fit, seen=c.seen) for fit, c in zip(fits, curves, strict=True)], pen


def refitted(
    ink: Ink, before: list[Curve], after: list[Curve], fits: list[refine.Fit], pen: float, px_per_mv: float,
    cap: float = 0.0,
) -> list[refine.Fit]:  # fmt: skip
    """The fits, made again where a curve is another ``after`` than ``before``, and some ms beyond."""
    others = [k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a is not b]
    if not others:
        return fits
    again, _ = fit_curves(ink, [after[k] for k in others], pen, px_per_mv, cap)
    out = list(fits)
    for k, fit in zip(others, again, strict=True):
        out[k] = _where_changed(before[k], after[k], fits[k], fit)
    return out


def beside(
    ink: Ink, ticks: list[Tick], curves: list[Curve], fits: list[refine.Fit], pen: float, px_per_mv: float,
    cap: float = 0.0,
) -> list[refine.Fit]:  # fmt: skip
    """The fits, made again where ``ticks`` cover a curve, by what is seen around these.

    Where a tick was taken away before, the fit is held: it has seen what crosses it there.
    """
    hidden = [hiding(ticks, one) for one in curves]
    if not any(hidden):
        return fits
    windows = windows_of(ink, curves, pen, [[tick.box for tick in its] for its in hidden])
    covered, guesses = [], []
    for one, window, its in zip(curves, windows, hidden, strict=True):
        x = one.x0 + one.step * np.arange(one.y.size)
        near, spread = np.zeros(x.size, np.bool_), np.full(x.size, _HELD)
        for tick in its:
            left, wide = tick.box.x, tick.box.width
            about = (x > left - _BEYOND * one.step) & (x < left + wide + _BEYOND * one.step)
            near |= about
            spread[about & (not tick.gone)] = np.inf
        covered.append(near)
        guesses.append(bounded(one, window, pen, spread))
    again, _ = refine.fit(windows, guesses, pen, px_per_mv, cap, warm=True)
    return [replace(fit, y=np.where(near, new.y, fit.y)) for fit, new, near in zip(fits, again, covered, strict=True)]


def _where_changed(before: Curve, after: Curve, fit: refine.Fit, again: refine.Fit) -> refine.Fit:
    """The fit that was made ``again`` where the curve is another than before, and some ms beyond."""
    changed = (before.y != after.y).astype(np.uint8)[:, None]
    if not changed.any():
        return fit
    near = cv2.dilate(changed, np.ones((2 * _BEYOND + 1, 1), np.uint8))[:, 0] > 0
    return replace(fit, y=np.where(near, again.y, fit.y), seen=after.seen)


def _unread(track: Track) -> refine.Fit:
    return refine.Fit(np.full(track.samples, np.nan), np.zeros(track.samples, bool), 1.0)


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
        first = min(other.x for other in layout.strips if other.row == strip.row)
        if strip.row in calibration.hidden or strip.x > first + 1e-6 or track.first < _BARE:
            continue
        inside = track.known[:length]
        if inside.mean() < 0.9 or not inside[:_BARE].any():
            continue
        path = np.concatenate([np.full(_BARE, -1, np.int32), track.path[:length]])
        known = np.concatenate([np.zeros(_BARE, bool), inside])
        early = replace(track, first=track.first - _BARE, path=path, label=None)
        windows.append(window_of(ink, traced, early, known, int(np.flatnonzero(known)[0])))
        y = fit.y[: int(length / step)]
        guesses.append(refine.Guess(first_x(track.strip, layout.speed, kx), step, y, y, y))
    if not windows:
        return 0.0
    return float(
        np.nan_to_num(refine.start_shift(windows, guesses, pen, layout.gain * ky, _BARE, calibration.cap * kx))
    )
