"""polish: traces read from the network's drawing, fitted once more to the page's own ink.

The network tells apart what crosses, what is printed over and what is torn, but draws to a fifth of a pixel; ink that
is sharp says where the trace runs to a fiftieth. So the drawing decides which way a trace takes, and its own ink, where
there is any that is nobody else's, where exactly: a fit that is held at the drawing's curve as firmly as that is known.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ecg_image_kit.layout import Layout, Strip

from . import refine
from .arrays import B, smoothed
from .begins import all_begun
from .borders import Shift
from .calibrate import Calibration
from .curves import Curve, curve, pen_of, windows_of
from .ends import later
from .rectify import Upright, offset
from .segment import INK, Ink
from .strips import fit_curves, refitted
from .trace import Runs, find_runs
from .tracks import FS, first_x
from .untangle import mended

_SPREAD = 0.1  # mm, SD, of the network's drawing
_DRAWN, _FITTED = 0.25, 0.2  # share of each neighbour, before and after a fit to blurred ink
# Share of the error with which the beginning of time is known, that the rows' ends are held against. The odds of
# borders say less than they know, and ends that are blurred err alike: of 81 pages time was off by 0.14 ms (median) so,
# and by 0.21 if ends counted more (0.5).
_HELD = 0.22
_FAR_OFF = 0.1  # mm
_CRISP = 0.1  # RMS error of coverage below which it pays to fit from the start
_NEXT = 1.5  # px beside a trace's ink that are its own, too
_FAR = 2.5  # px by which the edges of the ink may be elsewhere than where the curve has them


def polish(
    ink: Ink, calibration: Calibration, fits: list[refine.Fit], view: Upright, upright: Upright, gaps: bool,
    timed: Shift,
) -> tuple[Calibration, list[refine.Fit], float]:  # fmt: skip
    """Fits to the page's own ``ink``, which is that of ``upright``.

    Args:
        calibration, fits: read from the network's drawing in ``view``, the same view at another pitch.
        gaps: whether those of the drawing may be closed along ``ink``: not if grid and traces are equally dark.
        timed: mm by which ``calibration`` was moved to where leads are seen to begin.

    Returns:
        Calibration in mm of ``upright``, fits in its px, and the pen's width, px.
    """
    layout, kx, ky = calibration.layout, upright.kx, upright.ky
    right, down = offset(view, upright)
    strips = tuple(replace(s, x=s.x + right, y=s.y + down) for s in layout.strips)
    pulses = tuple(replace(p, x=p.x + right, y=p.y + down) for p in layout.pulses)
    layout = replace(layout, strips=strips, pulses=pulses)
    out = [replace(fit, y=(fit.y / view.ky + down) * ky) for fit in fits]
    numbered = _curves(ink, strips, out, kx, layout.speed)
    if not numbered:
        return replace(calibration, layout=layout), out, 0.3 * ky
    read, curves = list(numbered), list(numbered.values())
    if gaps:  # what the network did not see, as little of it as is missing, may be there all the same
        curves = mended(ink.coverage, curves, pen_of(ink.coverage, curves, 0.3 * ky), kx, ky, INK)
    pen = pen_of(ink.coverage, curves, 0.3 * ky)
    scale, spread = layout.gain * ky, _SPREAD * ky
    step = curves[0].step
    curves = [c.led(smoothed(c.y, _DRAWN, step)) for c in curves]
    found, pen = fit_curves(ink, curves, pen, scale, spread=spread)
    curves = [c.led(fit.y) for c, fit in zip(curves, found, strict=True)]
    crisp = float(np.median([fit.residual for fit in found])) < _CRISP
    # The rows' own ends tell, too, where time begins; but not where a ruled line or a pulse hides them.
    shown = [k for k, number in enumerate(read) if strips[number].row not in calibration.hidden]
    told = [curves[k] for k in shown], [strips[read[k]] for k in shown]
    if shown:
        shift = later(ink.coverage, *told, pen, kx, _HELD * timed.error)
    else:  # where no row's beginning is bare, the length of rows that are sharp tells it better, unless it is far off
        shift = -timed.by * kx if crisp and abs(timed.by) < _FAR_OFF else 0.0
    curves = [c.moved(shift) for c in curves]
    layout = replace(layout, strips=tuple(replace(s, x=s.x + shift / kx) for s in strips))
    if crisp:  # from the edges of the ink itself: what was drawn rounder than it is would stay so
        windows = windows_of(ink, curves, pen)
        runs = find_runs(ink.coverage, ink.coverage > INK)
        sharp, pen = refine.fit(windows, [_guess(runs, c, pen) for c in curves], pen, scale)
        found = [replace(fit, seen=c.seen) for fit, c in zip(sharp, curves, strict=True)]
    else:  # once more, also where nothing was moved: one fit alone does not reach its end
        found, pen = fit_curves(ink, curves, pen, scale, spread=spread)
        found = [replace(fit, y=smoothed(fit.y, _FITTED, step)) for fit in found]
    curves = [c.led(fit.y) for c, fit in zip(curves, found, strict=True)]
    # Not held: the stroke is no more than a guess.
    found = refitted(ink, curves, all_begun(ink, curves, pen, kx, ky), found, pen, scale)
    for k, fit in zip(read, found, strict=True):
        out[k] = fit
    return replace(calibration, layout=layout), out, pen


def uncovered(ink: Ink, layout: Layout, fits: list[refine.Fit], pen: float, kx: float) -> B:
    """(H, W) of the ``ink``'s px, which of them lie further from all these fits than their strokes reach."""
    bare = np.ones(ink.coverage.shape, np.bool_)
    for one in _curves(ink, layout.strips, fits, kx, layout.speed).values():
        one.cover(bare, pen / 2 + _NEXT)
    return bare


def _curves(ink: Ink, strips: tuple[Strip, ...], fits: list[refine.Fit], kx: float, speed: float) -> dict[int, Curve]:
    """The curve of every strip that could be read, by its number."""
    out = {}
    for k, (strip, fit) in enumerate(zip(strips, fits, strict=True)):
        if np.isfinite(fit.y).all():
            x0 = first_x(strip, speed, kx)
            first = int(np.clip(np.floor(x0 + 0.5), 0, ink.coverage.shape[1] - 2))
            out[k] = curve(strip.row, 0.0, x0, speed * kx / FS, fit.y, fit.seen, first)
    return out


def _guess(runs: Runs, one: Curve, pen: float) -> refine.Guess:
    """A first guess from the edges of the ink about a curve; from the curve where that ink is more than its stroke."""
    n = min(one.low.size, runs.first.size - 1 - one.first)
    low, high = one.low[:n], one.high[:n]
    column = one.first + np.arange(n)
    if not runs.column.size:
        return refine.Guess(one.x0, one.step, one.y, one.y - 2 * pen, one.y + 2 * pen)
    # The run that the middle of the curve lies in, or the one below it, or the one above: whichever is nearest.
    tall = float(runs.bottom.max(initial=0) + 2)
    at = np.searchsorted(runs.column * tall + runs.bottom, column * tall + (low + high) / 2 + 0.5, side="right")
    best, off = np.full(n, -1), np.full(n, np.inf)
    for k in (at, at - 1):
        k = np.clip(k, 0, max(0, runs.column.size - 1))
        away = np.maximum(np.abs(runs.y0[k] + pen / 2 - low), np.abs(runs.y1[k] - pen / 2 - high))
        closer = (runs.column[k] == column) & (away < off)
        best[closer], off[closer] = k[closer], away[closer]
    known = off < _FAR + pen / 2
    free = 2 * pen
    if known.sum() < 10:
        return refine.Guess(one.x0, one.step, one.y, one.y - free, one.y + free)
    g = refine.guess(one.x0, one.step, one.y.size, runs.y0[best], runs.y1[best], known, one.first, pen)
    samples = np.clip(np.round(one.x0 + one.step * np.arange(one.y.size)).astype(int) - one.first, 0, n - 1)
    known = np.asarray(cv2.erode(known.astype(np.uint8)[:, None], np.ones((3, 1))) > 0)[:, 0][samples]
    y, top, bottom = (np.where(known, a, b) for a, b in ((g.y, one.y), (g.low, one.y - free), (g.high, one.y + free)))
    return replace(g, y=y, low=np.minimum(top, y), high=np.maximum(bottom, y))
