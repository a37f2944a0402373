"""gridless: scale and tilt of a flat page whose grid cannot be seen (a fax, a scan in black and white).

What is left are the traces and the calibration pulses, as the network sees them. Rows begin and end together, so their
ends give the tilt; they last whole half seconds, which makes their length the scale of time; and the pulses are 10 mm
high. A pulse is only known to some per cent, a row's length to a pixel in two thousand: the pulse tells how many half
seconds there are, the row how long a second is.
"""

from __future__ import annotations

import cv2
import numpy as np

from ecg_image_kit.warp import Chain, Homography

from .arrays import U8, B, D, F
from .calibrate import Line, measure, span
from .locate import Grid, GridNotFound
from .network import PX_PER_MM, ROUGH, Network, Seen, ink_of, right_way_up
from .rectify import Upright, at_pitch, through, turned
from .trace import NoTrace, trace

_SHEET = 290.0  # mm; of the longer side of what is not blank, before anything better is known
_SPEED, _PULSE = 25.0, 10.0  # mm/s and mm that are taken for granted here
_DPI = (72, 75, 96, 100, 120, 144, 150, 200, 240, 250, 300, 400, 600, 1200)
_NEARLY = 0.004  # by which a scale that was measured on the rows is off, at most
_WIDE = 0.4  # of the image's width that a single row must have
_TILTS = np.deg2rad(np.arange(-6.0, 6.01, 0.1))


def without_grid(image: U8, net: Network) -> tuple[Grid, Upright]:
    """The scale and tilt of a page without a grid, and the page the right way up at the network's pitch.

    Raises:
        GridNotFound: no traces, or rows that do not begin and end together.
    """
    rough = max(image.shape[:2]) / _SHEET
    pitch, turn = ROUGH, 0
    view = _view(image, rough, pitch)
    seen = net.see(view.image)
    if not seen.upright:  # names say better which way is up, and are seen from nearer
        pitch = PX_PER_MM
        turn, view, seen = right_way_up(_view(image, rough, pitch), net)
    pulse = _pulse_height(seen, pitch)
    if pulse is not None and abs(np.log(pulse / _PULSE)) > 0.08:  # the guess was poor: look again at a better one
        rough *= pulse / _PULSE
        view = turned(_view(image, rough, pitch), turn)
        seen = net.see(view.image)
        pulse = _pulse_height(seen, pitch)
    coarse = _coarse_tilt(seen.trace)
    view = _tilted(image, view, coarse, PX_PER_MM / pitch)
    seen = net.see(view.image)
    fine, length = _measured(seen)
    pulse = _pulse_height(seen, PX_PER_MM) or pulse
    seconds = round(2 * length / _SPEED / ((pulse or _PULSE) / _PULSE)) / 2
    if seconds <= 0:
        raise GridNotFound(f"no grid, and rows only {length:.0f} mm long; expected half a second or more.")
    scale = span(seconds, _SPEED) / length
    dpi = _pitch_of(view) / scale * 25.4
    usual = min(_DPI, key=lambda d: abs(np.log(d / dpi)))
    scanned = abs(np.log(usual / dpi)) < _NEARLY  # at a usual resolution: that is exact, the rows' ends are not
    view = _tilted(image, view, fine, scale * dpi / usual if scanned else scale)
    pitch = _pitch_of(view)
    evidence = f"no grid is seen; rows are taken for {seconds:g} s at {_SPEED:g} mm/s" + (
        f", as the pulses' height says ({pulse * scale:.1f} mm)" if pulse else ", for there are no pulses"
    )
    if scanned:
        evidence += f"; that is {dpi:.1f} dpi, taken for {usual}"
    return Grid(view.px_to_mm, (pitch, pitch), float(np.rad2deg(coarse + fine)), 0.0, evidence, 0.0), view


def _pitch_of(view: Upright) -> float:
    """Image px per mm along the view."""
    ends = np.asarray(view.to_source(np.array([[0.0, 0.0], [100.0, 0.0]])))
    return float(np.linalg.norm(ends[1] - ends[0])) / 100 * PX_PER_MM


def _view(image: U8, px_per_mm: float, pitch: float) -> Upright:
    """The whole image at a pitch for the network, if it has so many px per mm."""
    plain = Upright(
        image, px_per_mm, px_per_mm, Homography(np.eye(3)), Homography.affine(1 / px_per_mm, 0, 0, 0, 1 / px_per_mm, 0)
    )
    return at_pitch(image, plain, pitch)


def _tilted(image: U8, view: Upright, tilt: float, scale: float) -> Upright:
    """The view turned back by ``tilt`` (rad, clockwise) and enlarged, resampled from the image."""
    height, width = view.image.shape[:2]
    c, s = np.cos(tilt) / scale, np.sin(tilt) / scale
    cx, cy = (width - 1) / 2, (height - 1) / 2
    nx, ny = (width * scale - 1) / 2, (height * scale - 1) / 2
    back = Homography.affine(c, -s, cx - c * nx + s * ny, s, c, cy - s * nx - c * ny)
    to_source = Chain((back, view.to_source))
    size = max(32, round(width * scale)), max(32, round(height * scale))
    unit = float(np.linalg.norm(np.diff(to_source(np.array([[cx, cy], [cx + 1.0, cy]])), axis=0)))
    flat = through(image, to_source, size, unit)
    mm = Homography.affine(1 / PX_PER_MM, 0, 0, 0, 1 / PX_PER_MM, 0)
    return Upright(flat, PX_PER_MM, PX_PER_MM, to_source, mm)


def _pulse_height(seen: Seen, pitch: float) -> float | None:
    """mm, median of the pulses that are seen at so many px per mm."""
    pulses = ink_of(seen, pitch, pitch).pulses
    return float(np.median([p.height for p in pulses])) if pulses else None


def _coarse_tilt(trace_: F) -> float:
    """rad, clockwise: the tilt at which the traces crowd into the fewest rows."""
    small = cv2.resize(trace_, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    y, x = np.nonzero(small > 0.15)
    if y.size < 100:
        raise GridNotFound("no grid, and hardly any traces; expected an ECG. Is the image blank?")
    weight = small[y, x]
    best, tilt = -1.0, 0.0
    for angle in _TILTS.tolist():
        rows = np.round(y - np.tan(angle) * x).astype(int)
        crowd = float(np.sum(np.bincount(rows - rows.min(), weight) ** 2))
        if crowd > best:
            best, tilt = crowd, angle
    return tilt


def _measured(seen: Seen) -> tuple[float, float]:
    """Tilt left, rad, by which rows begin and end later from row to row; and the rows' length, mm."""
    ink = ink_of(seen, PX_PER_MM, PX_PER_MM)
    try:
        traced = trace(ink.coverage, PX_PER_MM, PX_PER_MM, ink.drawn)
    except NoTrace as error:
        raise GridNotFound(f"no grid, and no rows of traces ({error})") from None
    lines = [line for k in range(len(traced.rows)) if (line := measure(ink, traced, k, PX_PER_MM, PX_PER_MM))]
    if not lines:
        raise GridNotFound("no grid, and no row of traces is long enough to tell the scale by.")
    if len(lines) == 1 and not ink.pulses and lines[0].right - lines[0].left < _WIDE * seen.trace.shape[1] / PX_PER_MM:
        raise GridNotFound("no grid, no pulse, and one short line; nothing says that it is an ECG. Crop what is not.")
    y = np.array([traced.rows[line.row].baseline / PX_PER_MM for line in lines])
    left, right = _edge_line(lines, y, "left"), _edge_line(lines, y, "right")
    tilt = -float(np.arctan((left[1] + right[1]) / 2))
    middle = float(np.mean(y))
    return tilt, (right[0] + right[1] * middle - left[0] - left[1] * middle) * float(np.cos(tilt))


def _edge_line(lines: list[Line], y: D, side: str) -> tuple[float, float]:
    """x = a + b y, mm, through most rows' ends."""
    x = np.array([getattr(line, side) for line in lines])
    steep = np.array([getattr(line, f"{side}_slope") for line in lines])
    near = max((np.abs(x - v) < 4.0 for v in x), key=np.count_nonzero)
    good: B = near & (steep < max(0.5, float(steep[near].min()) + 1e-9))
    if np.ptp(y[good]) < 30.0:
        return float(np.median(x[good])), 0.0
    b, a = np.polyfit(y[good], x[good], 1)
    for _ in range(5):
        off = np.abs(x - a - b * y)
        weight = np.where(good, 1 / (1 + (off / 0.15) ** 2), 0.0)
        b, a = np.polyfit(y, x, 1, w=np.sqrt(weight) + 1e-9)
    return float(a), float(b)
