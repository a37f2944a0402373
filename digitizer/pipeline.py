"""read: (flatten ->) locate -> rectify -> segment -> trace -> calibrate -> refine. One page in, a Reading out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError
from ecg_image_kit.page import Page, Trace, read_image
from ecg_image_kit.record import Record
from ecg_image_kit.warp import Chain, Homography

from .arrays import U8, B, stretches
from .calibrate import Calibration, calibrate
from .flatten import flatten
from .locate import Grid, GridNotFound, locate
from .rectify import Upright, rectify
from .refine import Fit
from .segment import segment
from .strips import FS, fit_strips
from .trace import trace

LIMITS = {"fs": (50.0, 10_000.0), "px_per_mm": (1.0, 60.0), "speed": (1.0, 500.0), "gain": (0.5, 200.0)}
_FLAT = 0.1  # mm; a flat sheet's grid departs from a flat map by less (RMS)
_POOR = 0.3  # confidence under which a lead is not to be relied on
_DOUBT = 0.12  # RMS error of coverage that halves a lead's confidence


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read from an image.

    Attributes:
        page: the image with the estimated layout, traces (mV, NaN where unread) and mm_to_px; paper mm have the grid's
            5 mm lines at multiples of 5.
        record: the traces as a record over the printed time, each lead in its own window, NaN elsewhere.
        confidence: lead -> 0 to 1, from how much was read and how well its drawing reproduces the ink.
        notes: where grid, speed, gain, layout and lead names came from.
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
        """Write ``stem``.csv, .json, .overlay.png (and .hea/.dat, .npz if asked for); returns the paths."""
        from .report import save

        return save(self, Path(stem), write)


def read(
    image: NDArray[np.uint8] | str | os.PathLike[str],
    *,
    fs: float = 500.0,
    px_per_mm: float | None = None,
    speed: float | None = None,
    gain: float | None = None,
) -> Reading:
    """Read a scan, a render, or a photograph of a sheet that may be bent or tilted, with a visible grid, right way up.

    Args:
        image: (H, W, 3) uint8 RGB, grey (H, W), or RGBA, which is laid on white; or the path of a png, jpg, webp, bmp
            or tif.
        fs: Hz of the result.
        px_per_mm: pitch of the grid to within 3 %, if known.
        speed: mm/s, gain: mm/mV, if known; else read from the page.

    Raises:
        EcgError: GridNotFound, NoInk or NoTrace: the image is not a page that this reader can read; PageError: not an
            image; UsageError: an array of another kind, or a number out of its range.
    """
    for key, value in (("fs", fs), ("px_per_mm", px_per_mm), ("speed", speed), ("gain", gain)):
        low, high = LIMITS[key]
        if value is not None and not low <= value <= high:
            raise UsageError(f"{key} {value}; expected {low:g} to {high:g}.")
    name = ""
    if isinstance(image, str | os.PathLike):
        name, image = Path(image).stem, read_image(image)
    image = _rgb(image)
    grid, upright = _laid_flat(image, px_per_mm)
    ink = segment(upright.image, upright.kx, upright.ky)
    traced = trace(ink.coverage, upright.kx, upright.ky)
    calibration = calibrate(ink, traced, upright.kx, upright.ky, speed, gain)
    strips, fits, pen = fit_strips(ink, traced, calibration, upright)
    calibration = replace(calibration, layout=replace(calibration.layout, strips=strips))
    return _reading(image, name, fs, grid, upright, calibration, fits, pen)


def _laid_flat(image: U8, px_per_mm: float | None) -> tuple[Grid, Upright]:
    """The grid and the upright image, of the image as it is if the sheet is flat, else of the sheet laid flat."""
    try:
        grid = locate(image, px_per_mm)
        if grid.residual_mm < _FLAT or px_per_mm:
            return grid, rectify(image, grid)
    except GridNotFound as error:
        if px_per_mm:  # one pitch for the whole image: the caller says that it is flat
            raise
        grid, why = None, error
    try:
        flat = flatten(image)
        again = locate(flat.image, flat.px_per_mm)
    except GridNotFound:
        if grid is None:
            raise why from None
        return grid, rectify(image, grid)
    if grid is not None and grid.residual_mm < again.residual_mm:
        return grid, rectify(image, grid)
    upright = rectify(flat.image, again)
    evidence = f"{again.evidence}; the sheet was laid flat by its grid ({flat.share:.0%} of it agreed)"
    return replace(again, evidence=evidence), replace(upright, to_source=Chain((upright.to_source, flat.to_source)))


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
    calibration: Calibration,
    fits: list[Fit],
    pen: float,
) -> Reading:
    """Put what was measured on the paper: px of the upright image become mm of the grid's own lattice."""
    layout = calibration.layout
    kx, ky = upright.kx, upright.ky
    ox, oy = (float(v) % 5.0 for v in upright.px_to_mm(np.zeros((1, 2)))[0])
    strips, traces, weights = [], [], []
    for strip, found in zip(layout.strips, fits, strict=True):
        placed = replace(strip, x=strip.x + ox, y=strip.y + oy)
        mv = ((strip.y - found.y / ky) / strip.gain).astype(np.float32)
        seen = _bridged(found.seen, int(np.ceil(0.4 / layout.speed * FS)) + 1)
        mv[~seen] = np.nan
        count = round((strip.stop - strip.start) * FS)
        strips.append(placed)
        traces.append(Trace(placed, strip.start, FS, mv[:count]))
        weights.append((float(np.mean(seen[:count])), found.residual))
    pulses = tuple(replace(p, x=p.x + ox, y=p.y + oy) for p in layout.pulses)
    sheet = replace(layout, strips=tuple(strips), pulses=pulses, width=layout.width + ox, height=layout.height + oy)
    mm_to_px = Chain((Homography.affine(kx, 0, -ox * kx, 0, ky, -oy * ky),)).then(upright.to_source)
    style = {"pen_width": pen / ky}
    meta = {"record": name, "reader": "analytic"}
    if fs != FS:
        traces = [replace(t, fs=fs, mv=Record(("x",), t.mv[None], FS).resample(fs).mv[0]) for t in traces]
    page = Page(image, sheet, tuple(traces), (), mm_to_px, style, (), meta)
    confidence: dict[str, float] = {}
    for strip, (share, residual) in zip(strips, weights, strict=True):
        lead = strip.lead.lstrip("-")
        value = share / (1.0 + (residual / _DOUBT) ** 2)
        confidence[lead] = round(max(confidence.get(lead, 0.0), value), 3)
    notes = {
        "grid": {
            "px_per_mm": [round(v, 5) for v in grid.px_per_mm],
            "tilt_degrees": round(grid.tilt, 4),
            "residual_mm": round(grid.residual_mm, 4),
            "contrast": round(grid.contrast, 1),
            "evidence": grid.evidence,
        },
        **calibration.notes,
        "pen_mm": round(pen / ky, 3),
    }
    poor = [lead for lead, value in confidence.items() if value < _POOR]
    warnings = calibration.warnings
    if poor:
        warnings += (f"probably misread ({', '.join(poor)}): confidence under {_POOR:g}; look at the overlay",)
    return Reading(page, page.record(), confidence, notes, warnings)


def _bridged(seen: B, gap: int) -> B:
    """``seen`` with gaps of at most ``gap`` samples (narrower than the pen) filled."""
    out = seen.copy()
    if seen.any():
        for start, stop in stretches(~seen):
            if stop - start <= gap:
                out[start:stop] = True
    return out
