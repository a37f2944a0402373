"""read: locate -> rectify -> segment -> trace -> calibrate -> refine. One page in, a Reading out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.layout import Strip
from ecg_image_kit.page import Page, Trace, read_image
from ecg_image_kit.record import Record
from ecg_image_kit.warp import Chain, Homography

from . import refine
from .calibrate import Calibration, calibrate
from .locate import Grid, locate
from .rectify import Upright, rectify
from .segment import Ink, segment
from .trace import Traced, follow, trace

_FS = 500.0  # samples per second of the fit


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

    def overlay(self) -> NDArray[np.uint8]:
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
    """Read a flat or slightly rotated (up to 5 degrees) scan or render with a visible grid.

    Args:
        image: (H, W, 3) uint8 RGB, or the path of a png, jpg, webp, bmp or tif.
        fs: Hz of the result.
        px_per_mm: pitch of the grid to within 3 %, if known.
        speed: mm/s, gain: mm/mV, if known; else read from the page.

    Raises:
        EcgError: GridNotFound, NoInk or NoTrace: the image is not a page that this reader can read; PageError: not an image.
    """
    name = "" if isinstance(image, np.ndarray) else Path(image).stem
    if not isinstance(image, np.ndarray):
        image = read_image(image)
    grid = locate(image, px_per_mm)
    upright = rectify(image, grid)
    ink = segment(upright.image, upright.kx, upright.ky)
    traced = trace(ink.coverage, upright.kx, upright.ky)
    calibration = calibrate(ink, traced, upright.kx, upright.ky, speed, gain)
    strips, fits, pen = _refine(ink, traced, calibration, upright)
    calibration = replace(calibration, layout=replace(calibration.layout, strips=strips))
    return _reading(image, name, fs, grid, upright, calibration, fits, pen)


def _refine(ink: Ink, traced: Traced, calibration: Calibration, upright: Upright) -> tuple[tuple[Strip, ...], list[refine.Fit], float]:
    """Fit every strip of the layout to the ink along its own path."""
    kx, ky = upright.kx, upright.ky
    layout = calibration.layout
    width = ink.coverage.shape[1]
    step = layout.speed * kx / _FS
    zones = _label_zones(traced, layout.strips, kx, ky)
    spans, paths = [], []
    for strip, zone in zip(layout.strips, zones, strict=True):
        first = int(np.floor(strip.x * kx + 0.5))
        last = int(np.ceil((strip.x + (strip.stop - strip.start) * layout.speed) * kx - 0.5)) + 1
        first, last = max(0, first), min(width, max(last, first + 2))
        runs = traced.runs
        extra = np.zeros(runs.column.size)
        if zone is not None:
            x0, z0, x1, z1 = zone
            letter = (runs.column >= x0) & (runs.column <= x1) & (runs.top >= z0) & (runs.bottom <= z1)
            extra[letter] = 3.0
        row = traced.rows[strip.row]
        owned = [other.run[other.run >= 0] for k, other in enumerate(traced.rows) if k != strip.row]
        mine = row.run[row.run >= 0]
        foreign = np.zeros(runs.column.size, bool)
        if owned:
            foreign[np.concatenate(owned)] = True
        foreign[mine] = False
        extra[foreign & (runs.y1 - runs.y0 < 2 * traced.pen + 0.5 * ky)] += 1.5
        reach = 1.6 * traced.spacing + 2 * ky
        paths.append(follow(runs, traced.chains, traced.keep, row.baseline, reach, kx, ky, (first, last), extra))
        spans.append((first, last))
    shared = _shared(traced, layout.strips, paths)
    windows: list[refine.Window] = []
    guesses: list[refine.Guess] = []
    readable: list[int] = []
    for k, (strip, (first, _), path, zone) in enumerate(zip(layout.strips, spans, paths, zones, strict=True)):
        known = (path >= 0) & ~shared[path]
        if known.sum() < 3 * kx:
            continue
        interior = known.copy()
        interior[[0, -1]] = False
        edges = interior if interior.sum() > 10 else known
        readable.append(k)
        count = _count(strip)
        guesses.append(refine.guess(strip.x * kx, step, count, traced.runs.y0[path], traced.runs.y1[path], edges, first, traced.pen))
        windows.append(_window(ink, traced, path, known, first, zone))
    fits = [refine.Fit(np.full(_count(s), np.nan), np.zeros(_count(s), bool), 1.0) for s in layout.strips]
    if not readable:
        return layout.strips, fits, traced.pen
    found, pen = refine.fit(windows, guesses, traced.pen, layout.gain * ky)
    # Only now, with the traces and the pen known, can the rows' common beginning be fitted to a hundredth of a pixel.
    shift = _start(ink, traced, calibration, {k: f for k, f in zip(readable, found, strict=True)}, spans, paths, shared, pen, upright)
    if abs(shift) > 0.01:
        moved = [refine.moved(g, f.y, shift) for g, f in zip(guesses, found, strict=True)]
        found, pen = refine.fit(windows, moved, pen, layout.gain * ky, warm=True)
    for k, f in zip(readable, found, strict=True):
        fits[k] = f
    return tuple(replace(strip, x=strip.x + shift / kx) for strip in layout.strips), fits, pen


def _count(strip: Strip) -> int:
    """Samples of the fit: one more than the record has in this window, so that the trace reaches the window's end."""
    return max(3, round((strip.stop - strip.start) * _FS) + 1)


def _start(
    ink: Ink, traced: Traced, calibration: Calibration, fits: Mapping[int, refine.Fit], spans: list[tuple[int, int]],
    paths: list[NDArray[np.int32]], shared: NDArray[np.bool_], pen: float, upright: Upright,
) -> float:  # fmt: skip
    """px by which the rows begin later than the calibration found, judged by the ink of their first millimetres."""
    layout, kx = calibration.layout, upright.kx
    bare = 3
    length = int(np.ceil(3 * kx)) + bare
    step = layout.speed * kx / _FS
    windows, guesses = [], []
    for k, found in fits.items():
        strip, path, first = layout.strips[k], paths[k], spans[k][0]
        if strip.row in calibration.hidden or abs(strip.x - layout.strips[0].x) > 1e-6 or first < bare:
            continue
        padded = np.concatenate([np.full(bare, -1, np.int32), path])[:length]
        known = (padded >= 0) & ~shared[padded]
        if known[bare:].mean() < 0.9 or not known[bare : bare + 3].any():
            continue
        begin = int(np.flatnonzero(known)[0])
        windows.append(_window(ink, traced, np.where(known, padded, -1), known, first - bare, None, begin))
        y = found.y[: int((length - bare) / step)]
        guesses.append(refine.Guess(strip.x * kx, step, y, y, y))
    return refine.start_shift(windows, guesses, pen, layout.gain * upright.ky, bare) if windows else 0.0


def _shared(traced: Traced, strips: tuple[Strip, ...], paths: list[NDArray[np.int32]]) -> NDArray[np.bool_]:
    """(runs + 1,) runs through which strips of different rows pass; the last entry, for "none", is False."""
    users = np.zeros(traced.runs.column.size + 1, np.int32)
    for row in {strip.row for strip in strips}:
        used = np.concatenate([path for path, strip in zip(paths, strips, strict=True) if strip.row == row])
        users[np.unique(used[used >= 0])] += 1
    return users > 1


def _window(
    ink: Ink, traced: Traced, path: NDArray[np.int32], known: NDArray[np.bool_], first: int, zone: NDArray[np.int64] | None,
    bare: int = 0,
) -> refine.Window:
    """The pixels of a strip's runs and two bare ones on either side, as far as other ink leaves room.

    The first ``bare`` columns, before the trace, get the rows of the first column that has ink of it.
    """
    runs, height = traced.runs, ink.coverage.shape[0]
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
    of = np.repeat(np.arange(path.size), rows)
    y = np.arange(start[-1]) - start[of] + top[of]
    values = ink.coverage[y, of + first].astype(np.float64)
    weight = np.minimum(ink.weight_y[y], ink.weight_x[of + first]).astype(np.float64)
    if zone is not None:
        x0, z0, x1, z1 = zone
        weight[(of + first >= x0) & (of + first <= x1) & (y >= z0) & (y <= z1)] *= 0.3
    return refine.Window(first, top, start, values, weight)


def _label_zones(traced: Traced, strips: tuple[Strip, ...], kx: float, ky: float) -> list[NDArray[np.int64] | None]:
    """Where each strip's lead name stands (x0, y0, x1, y1 px), also where it touches the trace and is not seen by itself:
    names stand at the same place of every cell."""
    marks = traced.marks
    if not len(marks):
        return [None] * len(strips)
    spacing = traced.spacing
    middle = (marks[:, 1] + marks[:, 3]) / 2
    found = []
    for strip in strips:
        base = traced.rows[strip.row].baseline
        near = (marks[:, 0] > strip.x * kx - 1.0 * kx) & (marks[:, 2] < strip.x * kx + 11 * kx) & (np.abs(middle - base) < 0.6 * spacing)
        near &= (marks[:, 3] - marks[:, 1]) < 5 * ky
        found.append(marks[near] - np.array([strip.x * kx, base, strip.x * kx, base]))
    together = np.concatenate(found)
    if len(together) < 3:
        return [None] * len(strips)
    offset = np.median((together[:, 1] + together[:, 3]) / 2)
    usual = together[np.abs((together[:, 1] + together[:, 3]) / 2 - offset) < 3 * ky]
    x0, y0, x1, y1 = np.percentile(usual, 5, axis=0)[0], *np.median(usual, axis=0)[[1]], np.percentile(usual, 90, axis=0)[2], np.median(usual, axis=0)[3]
    margin = 0.8
    out: list[NDArray[np.int64] | None] = []
    for strip in strips:
        base, x = traced.rows[strip.row].baseline, strip.x * kx
        out.append(np.array([x + x0 - margin * kx, base + y0 - margin * ky, x + x1 + margin * kx, base + y1 + margin * ky]).astype(np.int64))
    return out


def _reading(
    image: NDArray[np.uint8], name: str, fs: float, grid: Grid, upright: Upright, calibration: Calibration, fits: list[refine.Fit], pen: float
) -> Reading:
    """Put what was measured on the paper: px of the upright image become mm of the grid's own lattice."""
    layout = calibration.layout
    kx, ky = upright.kx, upright.ky
    ox, oy = (float(v) % 5.0 for v in upright.px_to_mm(np.zeros((1, 2)))[0])
    strips, traces, weights = [], [], []
    for strip, found in zip(layout.strips, fits, strict=True):
        placed = replace(strip, x=strip.x + ox, y=strip.y + oy)
        mv = ((strip.y - found.y / ky) / strip.gain).astype(np.float32)
        seen = _bridged(found.seen, int(np.ceil(0.4 / layout.speed * _FS)) + 1)
        mv[~seen] = np.nan
        count = round((strip.stop - strip.start) * _FS)
        strips.append(placed)
        traces.append(Trace(placed, strip.start, _FS, mv[:count]))
        weights.append((float(np.mean(seen[:count])), found.residual))
    pulses = tuple(replace(p, x=p.x + ox, y=p.y + oy) for p in layout.pulses)
    sheet = replace(layout, strips=tuple(strips), pulses=pulses, width=layout.width + ox, height=layout.height + oy)
    mm_to_px = Chain((Homography.affine(kx, 0, -ox * kx, 0, ky, -oy * ky),)).then(upright.to_source)
    style = {"pen_width": pen / ky}
    meta = {"record": name, "reader": "analytic"}
    if fs != _FS:
        traces = [replace(t, fs=fs, mv=Record(("x",), t.mv[None], _FS).resample(fs).mv[0]) for t in traces]
    page = Page(image, sheet, tuple(traces), (), mm_to_px, style, (), meta)
    confidence: dict[str, float] = {}
    for strip, (share, residual) in zip(strips, weights, strict=True):
        lead = strip.lead.lstrip("-")
        value = share / (1.0 + (residual / 0.12) ** 2)
        confidence[lead] = round(max(confidence.get(lead, 0.0), value), 3)
    notes = {
        "grid": {"px_per_mm": [round(v, 5) for v in grid.px_per_mm], "tilt_degrees": round(grid.tilt, 4), "residual_mm": round(grid.residual_mm, 4), "contrast": round(grid.contrast, 1), "evidence": grid.evidence},
        **calibration.notes,
        "pen_mm": round(pen / ky, 3),
    }  # fmt: skip
    return Reading(page, page.record(), confidence, notes, calibration.warnings)


def _bridged(seen: NDArray[np.bool_], gap: int) -> NDArray[np.bool_]:
    """``seen`` with gaps of at most ``gap`` samples (narrower than the pen) filled."""
    out = seen.copy()
    edges = np.flatnonzero(np.diff(seen.astype(np.int8)))
    for a, b in zip(edges, edges[1:], strict=False):
        if seen[a] and not seen[a + 1] and b - a <= gap:
            out[a + 1 : b + 1] = True
    if seen.any():
        first, last = np.flatnonzero(seen)[[0, -1]]
        out[: first if first <= gap else 0] = True
        out[last if seen.size - 1 - last <= gap else seen.size :] = True
    return out
