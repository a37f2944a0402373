"""read: flatten -> locate -> rectify -> segment -> trace -> calibrate -> borders -> refine -> polish -> nudges.

A page in, a Reading out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError
from ecg_image_kit.images import read_image
from ecg_image_kit.layout import Layout, Strip
from ecg_image_kit.page import Page, Trace
from ecg_image_kit.record import Record
from ecg_image_kit.warp import Chain, Homography

from . import borders, network, nudges, trust
from .arrays import U8, B, D, stretches
from .flatten import flatten
from .found import Found, find, fit_rows, follow
from .gridless import without_grid
from .inks import other_ink
from .laid import notes_of
from .locate import Grid, GridNotFound, locate
from .plain import (
    AS_DRAWN,
    Plain,
    black_and_white,
    even,
    is_all,
    is_better,
    moved,
    own_ink,
    plainly,
    second_look,
    timed_as,
)
from .polish import polish
from .rectify import Upright, at_pitch, inside, offset, rectify, stretched, turned
from .refine import Fit
from .report import POOR
from .segment import Ink, NoInk, segment
from .trace import NoTrace
from .tracks import FS, count_of, first_sample, first_x

READERS = ("auto", "learned", "analytic")
LIMITS = {"fs": (50.0, 10_000.0), "px_per_mm": (1.0, 60.0), "speed": (1.0, 500.0), "gain": (0.5, 200.0)}
_FINE = 13.0  # px per mm above which the network's pitch is fine enough
_WEAK = 5.0  # contrast of a grid whose pitch may be off by some per cent
_CLEAR = 3.0  # contrast of a grid that would be taken for a trace, if it were as dark


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read from an image.

    Attributes:
        page: the image with the estimated layout, traces (mV, NaN where unread) and mm_to_px; paper mm have the grid's
            5 mm lines at multiples of 5.
        record: the traces as a record over the printed time, each lead in its own window, NaN elsewhere.
        confidence: lead -> 0 to 1, how likely it is read with a plain SNR of over 15 dB (see ``digitizer.trust``).
        notes: where grid, speed, gain, layout and lead names came from; ``residuals``: RMS error of coverage with which
            each strip's drawing reproduces its ink, as it was fitted to that.
        warnings: what was only assumed, or looks wrong.
    """

    page: Page
    record: Record
    confidence: Mapping[str, float]
    notes: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())

    def overlay(self) -> U8:
        """(H, W, 3) uint8 RGB: the recovered traces drawn over the image."""
        from .report import overlay

        return overlay(self)

    def save(self, stem: str | os.PathLike[str], write: tuple[str, ...] = ("csv", "json", "overlay")) -> list[Path]:
        """Write ``stem``.csv, .json, .overlay.png (and wfdb, npz, dicom, html if asked for); returns the paths."""
        from .report import save

        return save(self, Path(stem), write)


class Look(NamedTuple):
    """A ``view`` of a page at the networks' pitch, and what the first of them has ``seen`` there.

    ``timer``: sees where leads begin; ``nudger``: how far beside its fit a trace runs.
    """

    view: Upright
    seen: network.Seen
    timer: network.Small | None = None
    nudger: network.Small | None = None


def read(
    image: NDArray[np.uint8] | str | os.PathLike[str],
    *,
    fs: float = 500.0,
    px_per_mm: float | None = None,
    speed: float | None = None,
    gain: float | None = None,
    reader: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    name: str = "",
) -> Reading:
    """Read a scan, a render, or a photograph of a sheet that may be bent, tilted or lie on its side.

    Args:
        image: (H, W, 3) uint8 RGB, grey (H, W), or RGBA, which is laid on white; or the path of a png, jpg, webp, bmp,
            gif, tif, heic or pdf, of which the first page is read.
        fs: Hz of the result.
        px_per_mm: pitch of the grid to within 3 %, if known.
        speed: mm/s, gain: mm/mV, if known; else read from the page.
        reader: ``learned``: a network tells traces, pulses, lead names and which way is up; ``analytic``: the darkest
            ink that is not the grid, on a page the right way up; ``auto``: whichever suits the page.
        name: of the record; that of the file if empty.
        weights: folder of a network of one's own (python -m digitizer.export), and of those that see where leads begin
            and how far beside their fits they run, if it has them (digitizer.fit_borders, digitizer.fit_nudges); the
            shipped ones' if None.

    Raises:
        EcgError: GridNotFound, NoInk or NoTrace: the image is not a page that this reader can read; PageError: not an
            image; UsageError: an array of another kind, a number out of its range, an unknown reader, no weights there.
    """
    if reader not in READERS:
        raise UsageError(f"reader {reader!r}; expected one of {', '.join(READERS)}.")
    for key, value in (("fs", fs), ("px_per_mm", px_per_mm), ("speed", speed), ("gain", gain)):
        low, high = LIMITS[key]
        if value is not None and not low <= value <= high:
            raise UsageError(f"{key} {value}; expected {low:g} to {high:g}.")
    if isinstance(image, str | os.PathLike):
        name, image = name or Path(image).stem, read_image(image)
    image = _rgb(image)
    if reader == "auto" and weights is None and not network.WEIGHTS.is_dir():
        reader = "analytic"  # a copy without weights
    if reader == "analytic":
        grid, upright = _laid_flat(image, px_per_mm, None)
        return interpret(image, grid, upright, None, fs=fs, speed=speed, gain=gain, name=name)
    folder, threads = os.fspath(weights or network.WEIGHTS), cv2.getNumThreads()
    net = network.load(folder, threads)
    try:
        grid, upright = _laid_flat(image, px_per_mm, net)
    except GridNotFound:
        if px_per_mm:
            raise
        grid, upright = without_grid(image, net)
    upright, view = _pages(image, upright)
    alone = reader == "auto"
    drawn = alone and not grid.straightened and even(image)
    sure = grid.contrast >= _WEAK  # else leads' borders are asked for the scale

    def all_of(upright: Upright, view: Upright, paper: B) -> tuple[Plain | None, bool]:
        """What is read without a network, if it may be, and whether that is all that there is."""
        if not drawn:
            return None, False
        hidden = notes_of(view.image, view.kx)
        plain = plainly(image, upright, hidden, speed, gain)
        return plain, plain is not None and sure and is_all(plain, upright, view, paper, hidden, net, speed, gain)

    paper = inside(view, image.shape[1::-1])
    plain, whole = all_of(upright, view, paper)
    if not whole:
        turn, view, seen = network.right_way_up(view, net)
        if turn:
            upright, paper = turned(upright, turn), inside(view, image.shape[1::-1])
            plain, whole = all_of(upright, view, paper)
    if plain is not None and whole:
        return _reading(image, name, fs, grid, upright, plain.found, "analytic")
    seen = seen.within(paper)
    look = Look(view, seen, *(network.small(name, folder, threads) for name in network.SMALL))
    return interpret(image, grid, upright, look, fs=fs, speed=speed, gain=gain, name=name, alone=alone, plain=plain)


def interpret(
    image: U8,
    grid: Grid,
    upright: Upright,
    look: Look | None,
    *,
    fs: float = FS,
    speed: float | None = None,
    gain: float | None = None,
    name: str = "",
    alone: bool = True,
    scaled: bool = False,
    plain: Plain | None = None,
) -> Reading:
    """What an upright page says: its ink, told by its darkness and by what a network has seen, made signals.

    Args:
        image: the photograph that ``upright`` is a view of.
        look: what the networks see of it; None: darkness alone.
        alone: whether darkness alone may be relied on where it says more, or the network sees no traces.
        scaled: the scale of time is not to be questioned, however little of a grid was seen.
        plain: what darkness alone says, if it may say it better.
    """
    if look is None:
        found = find(segment(upright.image, upright.kx, upright.ky), upright, speed, gain)
        return _reading(image, name, fs, grid, upright, found, "analytic")
    view, seen, timer, nudger = look
    hidden = notes_of(view.image, view.kx)
    seen = seen.less(hidden)
    gaps, ink = not black_and_white(image) or grid.contrast < _CLEAR, None
    with contextlib.suppress(NoInk):
        ink = plain.ink if plain else own_ink(image, upright, hidden)
        seen, ink = _of_one_ink(seen, ink, view)
    own = network.ink_of(seen, view.kx, view.ky)
    if ink is not None:
        own = network.unruled(own, moved(ink.rulings, upright, view))
        if gaps:
            own = network.joined(own, ink, seen, view.ky)
    try:
        rows = follow(own, view, speed, gain)
        if timer is not None and not scaled and grid.contrast < _WEAK:
            share = borders.scale_off(rows.calibration, rows.traced, view, own.edge, timer)
            if share:
                along, down = 1 + share, 1 + share * (grid.contrast == 0)  # one scale for both, if there is no grid
                evidence = f"{grid.evidence}; {share:+.1%}, as is seen by where leads begin and end"
                (kx, ky), upright = grid.px_per_mm, stretched(upright, along, down)
                grid = replace(grid, px_per_mm=(kx * down, ky * down), evidence=evidence)
                look = look._replace(view=stretched(view, along, down))
                return interpret(
                    image, grid, upright, look, fs=fs, speed=speed, gain=gain, name=name, alone=alone, scaled=True
                )
        found = fit_rows(own, view, rows, timer)
    except NoTrace:
        if not alone or hidden.any():  # what is written on a note would be read
            raise
        return interpret(image, grid, upright, None, fs=fs, speed=speed, gain=gain, name=name)
    fitted, how = view, "learned"
    if ink is not None:
        calibration, fits, pen = polish(ink, found.calibration, found.fits, view, upright, gaps, found.timed)
        found, fitted = Found(calibration, fits, pen, found.timed), upright
        drawn = plain is not None
        if plain is None and alone:
            plain = second_look(ink, found, own, upright, speed, gain)
        if plain is not None and is_better(plain, found, own, upright, drawn):
            found, how = timed_as(found, plain.found), "analytic"
    if nudger is not None and (ink is None or found.residual > AS_DRAWN):
        found = _nudged(found, fitted, view, nudger)
    return _reading(image, name, fs, grid, fitted, found, how)


def _of_one_ink(seen: network.Seen, ink: Ink, view: Upright) -> tuple[network.Seen, Ink]:
    """What a network has seen on a ``view``, and the page's own ink, but what is in another ink than the traces."""
    coverage = cv2.resize(ink.coverage, seen.trace.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    other = other_ink(view.image, seen.trace, coverage, view.kx)
    if not other.any():
        return seen, ink
    there = cv2.resize(other.astype(np.uint8), ink.coverage.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    return replace(seen, trace=seen.trace * ~other), replace(ink, coverage=ink.coverage * ~there)


def _nudged(found: Found, fitted: Upright, view: Upright, nudger: network.Small) -> Found:
    """The fits, which are in px of ``fitted``, moved to where traces are seen on ``view`` of the same page."""
    layout, (right, down) = found.calibration.layout, offset(view, fitted)
    read = [k for k, fit in enumerate(found.fits) if np.isfinite(fit.y).all()]
    x: list[D] = []
    y: list[D] = []
    for k in read:
        along = np.arange(found.fits[k].y.size, dtype=np.float64) * (layout.speed / FS)
        x.append((first_x(layout.strips[k], layout.speed, 1.0) + along - right) * view.kx)
        y.append((found.fits[k].y / fitted.ky - down) * view.ky)
    fits = list(found.fits)
    for k, seen in zip(read, nudges.nudged(view.image, x, y, nudger), strict=True):
        fits[k] = replace(fits[k], y=(seen / view.ky + down) * fitted.ky)
    return replace(found, fits=fits)


def _pages(image: U8, upright: Upright) -> tuple[Upright, Upright]:
    """The page at the pitch at which its own ink is read, and at the network's: of what is much finer, the same."""
    view = at_pitch(image, upright, network.PX_PER_MM)
    return (upright if max(upright.kx, upright.ky) < _FINE else view), view


def _laid_flat(image: U8, px_per_mm: float | None, net: network.Network | None) -> tuple[Grid, Upright]:
    """The grid and the upright image, of the image as it is if the sheet is flat (a scan in black and white always is),
    else of the sheet laid flat.

    ``net`` keeps the traces from being taken for lines of the grid.
    """
    flat_for_sure = bool(px_per_mm) or black_and_white(image)  # one pitch for all was given; only scanners see no grey
    try:
        grid = locate(image, px_per_mm)
        if grid.flat or flat_for_sure or grid.by_pen:
            return grid, rectify(image, grid)
    except GridNotFound as error:
        if flat_for_sure:
            raise
        grid, why = None, error
    try:
        flat = flatten(image, partial(network.traces, net=net) if net else None)
        again = locate(flat.image, flat.px_per_mm)
    except GridNotFound:
        if grid is None:
            raise why from None
        return grid, rectify(image, grid)
    if grid is not None and not again.explains_more_than(grid):
        return grid, rectify(image, grid)
    upright = rectify(flat.image, again)
    upright = replace(upright, to_source=Chain((upright.to_source, flat.to_source)))
    evidence = f"{again.evidence}; the sheet was laid flat by its grid ({flat.share:.0%} of it agreed)"
    return replace(again, evidence=evidence, straightened=True), upright


def _rgb(image: Any) -> U8:
    """(H, W, 3) RGB of an array given by a user: grey is stacked, RGBA laid on white. Raises UsageError."""
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image of type {type(image).__name__}; expected a path, or an array (try numpy.asarray).")
    if image.dtype != np.uint8:
        raise UsageError(
            f"image array of {image.dtype}; expected uint8, 0 to 255. Convert it: numpy.uint8(255 * image) if it is 0 "
            "to 1."
        )
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise UsageError(f"image array of shape {image.shape}; expected (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA.")
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if channels == 4:
        clear = 255 - image[..., 3:].astype(np.uint16)
        image = (image[..., :3] * (255 - clear) + 255 * clear + 127) // 255
    return np.ascontiguousarray(image, np.uint8)


def _reading(
    image: U8,
    name: str,
    fs: float,
    grid: Grid,
    upright: Upright,
    found: Found,
    how: str,
) -> Reading:
    """Put what was measured on the paper: px of the upright image become mm of the grid's own lattice."""
    calibration, pen = found.calibration, found.pen
    layout = calibration.layout
    kx, ky = upright.kx, upright.ky
    ox, oy = (float(v) % 5.0 for v in upright.px_to_mm(np.zeros((1, 2)))[0])
    strips, traces = [], []
    for strip, fit in zip(_of_one_zero(layout, found.fits, ky), found.fits, strict=True):
        placed = replace(strip, x=strip.x + ox, y=strip.y + oy)
        mv = ((strip.y - fit.y / ky) / strip.gain).astype(np.float32)
        seen = _bridged(fit.seen, int(np.ceil(0.4 / layout.speed * FS)) + 1)
        mv[~seen] = np.nan
        first = first_sample(strip)
        strips.append(placed)
        traces.append(Trace(placed, first / FS, FS, mv[: count_of(strip)]))
    pulses = tuple(replace(p, x=p.x + ox, y=p.y + oy) for p in layout.pulses)
    sheet = replace(layout, strips=tuple(strips), pulses=pulses, width=layout.width + ox, height=layout.height + oy)
    mm_to_px = Chain((Homography.affine(kx, 0, -ox * kx, 0, ky, -oy * ky),)).then(upright.to_source)
    style = {"pen_width": pen / ky}
    meta = {"record": name, "reader": how}
    residuals = [fit.residual for fit in found.fits]
    confidence = trust.confidence(traces, residuals, layout.speed)
    if fs != FS:
        traces = [replace(t, fs=fs, mv=Record(("x",), t.mv[None], FS).resample(fs).mv[0]) for t in traces]
    page = Page(image, sheet, tuple(traces), (), mm_to_px, style, (), meta)
    notes = {
        "grid": {
            "px_per_mm": [round(v, 5) for v in grid.px_per_mm],
            "tilt_degrees": round(grid.tilt, 4),
            "residual_mm": round(grid.residual_mm, 4),
            "bend_mm": round(grid.bend_mm, 4),
            "contrast": round(grid.contrast, 1),
            "evidence": grid.evidence,
        },
        **calibration.notes,
        "pen_mm": round(pen / ky, 3),
        "residuals": [round(residual, 4) for residual in residuals],
    }
    poor = [lead for lead, value in confidence.items() if value < POOR]
    warnings = calibration.warnings
    if poor:
        warnings += (f"probably misread ({', '.join(poor)}): confidence under {POOR:g}; look at the overlay",)
    return Reading(page, page.record(), confidence, notes, warnings)


def _of_one_zero(layout: Layout, fits: list[Fit], ky: float) -> list[Strip]:
    """The strips, moved to where a lead is as high in its rhythm strip as in its cell, over the seconds that both show.

    A pulse says where its row has its zero, and the others follow; where both rows have one nothing is moved.
    """
    strips, told = list(layout.strips), {pulse.row for pulse in layout.pulses}
    for k, strip in enumerate(strips):
        c = next(c for c, cell in enumerate(strips) if cell.lead == strip.lead)
        cell = strips[c]
        late = first_sample(cell) - first_sample(strip)
        a, b = max(0, late), min(fits[k].y.size, late + fits[c].y.size)
        if not strip.rhythm or cell.rhythm or a >= b or {strip.row, cell.row} <= told:
            continue
        own, its = slice(a, b), slice(a - late, b - late)
        both = fits[k].seen[own] & fits[c].seen[its]
        if not both.any():
            continue
        above = (strip.y - fits[k].y[own] / ky) / strip.gain - (cell.y - fits[c].y[its] / ky) / cell.gain  # mV
        higher = float(np.median(above[both]))
        if strip.row in told:
            strips = [replace(s, y=s.y + higher * s.gain) if s.row == cell.row else s for s in strips]
        else:
            strips[k] = replace(strip, y=strip.y - higher * strip.gain)
    return strips


def _bridged(seen: B, gap: int) -> B:
    """``seen`` with gaps of at most ``gap`` samples (narrower than the pen) filled."""
    out = seen.copy()
    if seen.any():
        for start, stop in stretches(~seen):
            if stop - start <= gap:
                out[start:stop] = True
    return out
