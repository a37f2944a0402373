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
from .calibrate import Calibration, calibrate
from .flatten import flatten
from .gridless import without_grid
from .laid import notes_of
from .locate import Grid, GridNotFound, locate
from .polish import about, lost, polish
from .rectify import Upright, at_pitch, inside, offset, rectify, stretched, turned
from .refine import Fit
from .report import POOR
from .segment import Ink, NoInk, segment
from .strips import fit_strips
from .trace import NoTrace, Traced, trace
from .tracks import FS, count_of, first_sample, first_x

READERS = ("auto", "learned", "analytic")
LIMITS = {"fs": (50.0, 10_000.0), "px_per_mm": (1.0, 60.0), "speed": (1.0, 500.0), "gain": (0.5, 200.0)}
_FINE = 13.0  # px per mm above which the network's pitch is fine enough
# What says nothing: a difference of RMS errors of coverage, and of shares of ink that are left unexplained.
_ALIKE, _LEFT = 0.01, 0.002
_DRAWN = 0.12  # RMS error of coverage below which a page may be as it was drawn, so that its ink alone is enough
_WEAK = 5.0  # contrast of a grid whose pitch may be off by some per cent
# RMS error of coverage of a page that is as it was drawn: its own ink says where traces run to a hundredth of a px;
# and below which nothing could be better.
_AS_DRAWN, _PERFECT = 0.065, 0.04
_EVEN = 0.35  # share of pixels that are like the next one: cameras and scanners hardly leave so many
_SAME_GAIN = 0.03
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
    upright, view, seen = _looked_at(image, upright, net)
    look = Look(view, seen, *(network.small(name, folder, threads) for name in network.SMALL))
    return interpret(image, grid, upright, look, fs=fs, speed=speed, gain=gain, name=name, alone=reader == "auto")


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
) -> Reading:
    """What an upright page says: its ink, told by its darkness and by what a network has seen, made signals.

    Args:
        image: the photograph that ``upright`` is a view of.
        look: what the networks see of it; None: darkness alone.
        alone: whether darkness alone may be relied on where it says the same, or the network sees no traces.
        scaled: the scale of time is not to be questioned, however little of a grid was seen.
    """
    if look is None:
        found = _found(segment(upright.image, upright.kx, upright.ky), upright, speed, gain)
        return _reading(image, name, fs, grid, upright, found, "analytic")
    view, seen, timer, nudger = look
    hidden = notes_of(view.image, view.kx)
    seen = seen.less(hidden)
    own, ink, plain = network.ink_of(seen, view.kx, view.ky), None, None
    gaps = not _black_and_white(image) or grid.contrast < _CLEAR
    with contextlib.suppress(NoInk):
        ink = segment(upright.image, upright.kx, upright.ky)
        # Beyond the photograph its edges are repeated: traces that it cuts off would go on there.
        bare = cv2.resize(hidden.astype(np.uint8), upright.image.shape[1::-1], interpolation=cv2.INTER_NEAREST) == 0
        ink = replace(ink, coverage=ink.coverage * inside(upright, image.shape[1::-1]) * bare)
        sx, sy = view.kx / upright.kx, view.ky / upright.ky
        own = network.unruled(own, np.asarray(ink.rulings * np.array([sx, sy, sx, sy]), np.float64))
        if gaps:
            own = network.joined(own, ink, seen, view.ky)
    try:
        rows = _followed(own, view, speed, gain)
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
        early = alone and not grid.straightened and _even(image)
        if ink is not None and early:
            plain = _same(ink, rows.calibration.layout, upright, speed, gain)
            near = network.narrowed(ink, own)
            if plain is not None and plain.residual < _PERFECT and _lost(near, plain, upright) < _LEFT:
                return _reading(image, name, fs, grid, upright, plain, "analytic")
        found = _fitted(own, view, rows, timer)
    except NoTrace:
        if not alone or hidden.any():  # what is written on a note would be read
            raise
        return interpret(image, grid, upright, None, fs=fs, speed=speed, gain=gain, name=name)
    fitted, how = view, "learned"
    if ink is not None:
        calibration, fits, pen = polish(ink, found.calibration, found.fits, view, upright, gaps, found.timed)
        found, fitted = _Found(calibration, fits, pen, found.timed), upright
        if alone and found.residual < _DRAWN:  # a page as it was drawn
            layout = calibration.layout
            near = about(ink, network.narrowed(ink, own), layout.strips, fits, pen, upright.kx, layout.speed)
            left = _lost(near, found, upright)
            if left > _LEFT or not grid.straightened:
                plain = plain if early else _same(ink, layout, upright, speed, gain)
                if plain is not None and _is_better(
                    plain, found, _lost(near, plain, upright) - left, grid.straightened
                ):
                    found, how = _timed_as(found, plain), "analytic"
    if nudger is not None and (ink is None or found.residual > _AS_DRAWN):
        found = _nudged(found, fitted, view, nudger)
    return _reading(image, name, fs, grid, fitted, found, how)


def _timed_as(found: _Found, plain: _Found) -> _Found:
    """``plain``, the same strips read without a network, with time beginning where networks have ``found`` it to.

    Of a page as it was drawn the ink itself tells it better.
    """
    if plain.residual < _AS_DRAWN or found.timed == borders.UNSEEN:
        return plain
    layout, strips = plain.calibration.layout, found.calibration.layout.strips
    by = float(np.median([there.x - here.x for here, there in zip(layout.strips, strips, strict=True)]))
    later = replace(layout, strips=tuple(replace(strip, x=strip.x + by) for strip in layout.strips))
    fits = []
    for fit in plain.fits:
        samples = np.arange(fit.y.size, dtype=np.float64)
        at = samples + by * FS / layout.speed
        nearest = np.round(at).astype(np.int64)
        inside = nearest.clip(0, fit.y.size - 1)
        seen = (nearest == inside) & fit.seen[inside]
        fits.append(replace(fit, y=np.interp(at, samples, fit.y), seen=seen))
    notes = {**plain.calibration.notes, "time": found.calibration.notes["time"]}
    return replace(plain, calibration=replace(plain.calibration, layout=later, notes=notes), fits=fits)


def _nudged(found: _Found, fitted: Upright, view: Upright, nudger: network.Small) -> _Found:
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


def _same(ink: Ink, layout: Layout, upright: Upright, speed: float | None, gain: float | None) -> _Found | None:
    """The strips of ``layout``, read without a network; None if that sees others or another scale, or none at all."""
    with contextlib.suppress(NoTrace):
        rows = _followed(ink, upright, speed, gain)
        own = rows.calibration.layout
        alike = own.speed == layout.speed and abs(own.gain / layout.gain - 1) < _SAME_GAIN
        if alike and _cells(own) == _cells(layout):
            return _fitted(ink, upright, rows, None)
    return None


def _is_better(plain: _Found, found: _Found, more: float, straightened: bool) -> bool:
    """Whether what was read without the network leaves no ``more`` ink unexplained, as a share, than what it sees.

    It may draw the ink a little worse, and somewhat worse if it explains more of it. On a sheet that was
    ``straightened`` that is asked of it in any case: what is blurred is read better with the network.
    """
    worse = plain.residual - found.residual
    return (worse < _ALIKE and more < _LEFT and not straightened) or (worse < 2 * _ALIKE and more < -_LEFT)


def _lost(ink: Ink, found: _Found, upright: Upright) -> float:
    """Share of the ``ink`` of traces that was not read."""
    layout = found.calibration.layout
    return lost(ink, layout.strips, found.fits, found.pen, upright.kx, layout.speed)


def _even(image: U8) -> bool:
    """Whether an image looks as if it came straight from a program, uncompressed; not if it is black and white."""
    some = image[::3, :, 1]
    return bool(np.mean(some[:, 1:] == some[:, :-1]) > _EVEN) and not _black_and_white(image)


def _black_and_white(image: U8) -> bool:
    """Whether hardly any pixel is between black and white."""
    some = image[::3, ::3, 1]
    return bool(np.mean((some > 50) & (some < 205)) < 0.02)


@dataclass(frozen=True, eq=False)
class _Found:
    """Calibration, a fit of each of its strips, the pen's width in px; by how many mm time was moved."""

    calibration: Calibration
    fits: list[Fit]
    pen: float
    timed: borders.Shift = borders.UNSEEN

    @property
    def residual(self) -> float:
        """RMS error of coverage with which the median fit draws the ink."""
        return float(np.median([fit.residual for fit in self.fits]))


def _cells(layout: Layout) -> list[tuple[str, float]]:
    """Lead and second of beginning of every strip."""
    return [(strip.lead, round(strip.start, 1)) for strip in layout.strips]


class _Rows(NamedTuple):
    """Rows that were followed, and what they say."""

    traced: Traced
    calibration: Calibration


def _followed(ink: Ink, upright: Upright, speed: float | None, gain: float | None) -> _Rows:
    """trace -> calibrate."""
    traced = trace(ink.coverage, upright.kx, upright.ky, ink.drawn)
    return _Rows(traced, calibrate(ink, traced, upright.kx, upright.ky, speed, gain))


def _found(ink: Ink, upright: Upright, speed: float | None, gain: float | None) -> _Found:
    """trace -> calibrate -> refine, without looking at where leads begin."""
    return _fitted(ink, upright, _followed(ink, upright, speed, gain), None)


def _fitted(ink: Ink, upright: Upright, rows: _Rows, timer: network.Small | None) -> _Found:
    """borders -> refine. ``timer``: sees where leads begin on a view at its pitch."""
    (traced, calibration), shift = rows, borders.UNSEEN
    if timer is not None:
        calibration, shift = borders.timed(calibration, traced, upright, ink.edge, timer)
    strips, fits, pen = fit_strips(ink, traced, calibration, upright)
    calibration = replace(calibration, layout=replace(calibration.layout, strips=strips))
    return _Found(calibration, fits, pen, shift)


def _looked_at(image: U8, upright: Upright, net: network.Network) -> tuple[Upright, Upright, network.Seen]:
    """The page the right way up, at its own pitch and at the network's, and what the network sees there."""
    view = at_pitch(image, upright, network.PX_PER_MM)
    turn, view, seen = network.right_way_up(view, net)
    upright = turned(upright, turn)
    seen = seen.within(inside(view, image.shape[1::-1]))
    return (upright if max(upright.kx, upright.ky) < _FINE else view), view, seen


def _laid_flat(image: U8, px_per_mm: float | None, net: network.Network | None) -> tuple[Grid, Upright]:
    """The grid and the upright image, of the image as it is if the sheet is flat (a scan in black and white always is),
    else of the sheet laid flat.

    ``net`` keeps the traces from being taken for lines of the grid.
    """
    flat_for_sure = bool(px_per_mm) or _black_and_white(image)  # one pitch for all was given; only scanners see no grey
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
    found: _Found,
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
