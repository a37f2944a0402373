"""lines: where a grid's lines really run, to hundredths of a millimetre, against a flat map of them.

Paper is drawn through a recorder unevenly, scanners hurry and hesitate, damp sheets swell: the lines of a sheet that
lies flat are then not evenly spaced, by tenths of a millimetre, and so is time. Each 5 mm line is found by itself in
many narrow bands across it; what its neighbours along the line agree on is the sheet's, the rest is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ecg_image_kit.warp import Homography, Mesh

from .arrays import D

PERIOD = 5.0  # mm
# Of each pass: mm around where a line should be, in which its middle is looked for; mm beyond which a band says
# something else than the line (a trace that runs along it); over how many lines their departures are averaged, because
# drawings have them on whole pixels.
_PASSES = ((1.2, 0.5, 1.5), (0.7, 0.2, 1.0), (0.45, 0.12, 1.0))
_ALONG = 30.0  # mm along a line over which bands are averaged
_NODE = 1.25  # mm between nodes of the map; finer than the lines, because control points are smoothed
_LEAST = 12  # places in which lines must be seen
# Programs draw lines on whole pixels: px by which one may be off such a place, the share of lines that must be on one,
# and px by which even spacing may have been rounded.
_WHOLE, _MOST_WHOLE, _ROUNDED = 0.2, 0.8, 0.55


@dataclass(frozen=True, eq=False)
class Departures:
    """How far one family of lines is from where it should be.

    Attributes:
        at: (lines,) mm, multiples of 5.
        rows: (bands,) px along the lines.
        off: (bands, lines) mm by which each is beyond its place, smoothed along the lines; 0 in the mean.
        noise: RMS mm of what single bands say otherwise.
        left: RMS mm of what neighbouring bands of neighbouring lines say otherwise alike.
        agreed: share, 0 to 1, of what single bands say that agrees with ``off``.
    """

    at: D
    rows: D
    off: D
    noise: float
    left: float
    agreed: float

    @property
    def rms(self) -> float:
        """RMS mm of all departures."""
        return float(np.sqrt(np.mean(self.off**2)))


def measure(profiles: D, rows: D, vector: D, offset: float, shrink: int = 1) -> tuple[D, float, Departures | None]:
    """Positions of the 5 mm lines across x.

    Args:
        profiles: (bands, W) mean darkness, high-passed, of bands across the lines; rows: (bands,) px, their middles.
        vector, offset: mm = vector[0] x + vector[1] y + offset at the lines, roughly (to half a millimetre).
        shrink: how many px of the image as it was drawn make one of these.

    Returns:
        Vector and offset of the plane that fits best, and what is left; None if too few lines are seen.
    """
    size = profiles.shape[1]
    span = np.array([offset, vector[0] * size + offset, vector[1] * rows[-1] + offset])
    span = np.append(span, vector[0] * size + vector[1] * rows[-1] + offset)
    lines = np.arange(np.ceil(span.min() / PERIOD), span.max() / PERIOD) * PERIOD
    if lines.size < 3:
        return vector, offset, None
    off = np.zeros((rows.size, lines.size))
    plane = np.zeros(3)
    flat = lines[None, :] - vector[1] * rows[:, None] - offset
    x = flat / vector[0]
    a = np.stack([x - x.mean(), np.broadcast_to((rows - rows.mean())[:, None], x.shape), np.ones_like(x)], axis=-1)
    smooth = _ALONG / vector[0] / (rows[1] - rows[0]) if rows.size > 1 else 1.0  # bands
    for reach, spread, beside in _PASSES:
        found = _centroids(profiles, x + (a @ plane + off) / vector[0], reach / vector[0])
        error = vector[0] * (found - x)  # mm beyond its place
        seen = np.isfinite(error)
        if seen.sum() < _LEAST:
            return vector, offset, None
        error[~seen] = 0.0
        for _ in range(3):
            w = seen * np.exp(-0.5 * ((error - a @ plane - off) / spread) ** 2)
            normal = np.einsum("ijk,ijl,ij->kl", a, a, w) + np.diag([1e-9, 1e-9, 1e-12])
            plane = np.linalg.solve(normal, np.einsum("ijk,ij,ij->k", a, error, w))
            rest = error - a @ plane
            off = np.zeros_like(rest)
            for _again in range(2):  # the second time, what the first smoothed away
                top, below = (cv2.GaussianBlur(v, (0, 0), beside, sigmaY=smooth) for v in (w * (rest - off), w))
                # Where a line is hardly seen, it is where its own other parts and its neighbours are.
                off += top / (below + 0.02)
    left = (error - a @ plane - off) * (w > 0.3)
    both = (w[:-2, :-1] > 0.3) & (w[2:, 1:] > 0.3)
    common = float(np.mean((left[:-2, :-1] * left[2:, 1:])[both])) if both.any() else 0.0
    noise = float(np.sqrt(np.sum(w * left**2) / np.sum(w)))
    vector = np.array([vector[0] - plane[0], vector[1] - plane[1]])
    offset = float(offset - (plane[2] - plane[0] * x.mean() - plane[1] * rows.mean()))
    agreed = float(np.sum(w) / np.sum(seen))
    if abs(vector[1]) * (rows[-1] - rows[0]) < _WHOLE / shrink * vector[0]:
        at = np.array([np.median(px[ok]) if ok.any() else np.nan for px, ok in zip(found.T, (w > 0.3).T, strict=True)])
        even = _rounded(lines, at, vector[0], offset, shrink)
        if even is not None:
            return even[0], even[1], Departures(lines, rows, np.zeros_like(off), noise, 0.0, agreed)
    return vector, offset, Departures(lines, rows, off, noise, float(np.sqrt(max(common, 0.0))), agreed)


def _rounded(lines: D, at: D, mm_per_px: float, offset: float, shrink: int) -> tuple[D, float] | None:
    """Vector and offset of evenly spaced lines that a program rounded to whole pixels; None if they are not such lines.

    Rounding moves lines by up to half a pixel, in steps that look like uneven paper. Of all even spacings that would be
    rounded to what is seen, the one in their middle is taken.

    Args:
        lines: (lines,) mm; at: (lines,) px where each is, NaN where unseen; mm_per_px, offset: of the plane that fits
            them best; shrink: as in ``measure``.
    """
    seen = np.abs(at * mm_per_px + offset - lines) * shrink < mm_per_px * 2 * _ROUNDED  # the others are something else
    mm, px = lines[seen], at[seen] * shrink
    phase = float(np.angle(np.exp(2j * np.pi * px).mean())) / (2 * np.pi)
    whole = np.round(px - phase)
    ok = np.abs(px - phase - whole) < _WHOLE
    if ok.sum() < _LEAST or ok.mean() < _MOST_WHOLE:
        return None
    from scipy.optimize import linprog  # takes half a second to import
    from scipy.spatial import ConvexHull, HalfspaceIntersection

    mm, px = mm[ok], whole[ok]
    middle, far = float(mm.mean()), float(np.ptp(mm)) / 2
    # px = slope (mm - middle) / far + start, within +-reach: first the least reach.
    sides = np.stack([(mm - middle) / far, np.ones_like(mm)], axis=1)
    limits = np.concatenate([np.insert(sides, 2, -1, axis=1), np.insert(-sides, 2, -1, axis=1)])
    least = linprog([0, 0, 1], limits, np.concatenate([px, -px]), bounds=[(None, None)] * 3)
    if not least.success or least.x[2] > _ROUNDED:
        return None
    # All that would be rounded to the same are a polygon.
    limits[:, 2] = np.concatenate([-px, px]) - max(0.5, least.x[2] + 0.02)
    corners = HalfspaceIntersection(limits, least.x[:2]).intersections
    x, y = corners[ConvexHull(corners).vertices].T
    area = x * np.roll(y, -1) - np.roll(x, -1) * y
    slope, start = (float(np.sum((v + np.roll(v, -1)) * area) / (3 * area.sum())) for v in (x, y))
    slope, start = slope / far / shrink, (start + phase) / shrink
    return np.array([1 / slope, 0.0]), float(middle - start / slope)


def _centroids(profiles: D, at: D, reach: float) -> D:
    """(bands, lines) px where the line near ``at`` (bands, lines) px has its middle in each band, NaN where unseen."""
    span = np.arange(-int(np.ceil(reach)) - 1, int(np.ceil(reach)) + 2)
    inside = (at > span[-1] + 1) & (at < profiles.shape[1] - span[-1] - 2)
    index = np.round(np.where(inside, at, span[-1] + 2)).astype(int)[..., None] + span
    window = profiles[np.arange(len(profiles))[:, None, None], index]
    share = np.clip(reach + 0.5 - np.abs(index - at[..., None]), 0.0, 1.0)
    floor = np.minimum(window[..., :1], window[..., -1:])
    mass = np.clip(window - floor, 0, None) * share
    total = mass.sum(axis=-1)
    usual = float(np.median(total[inside])) if inside.any() else 0.0
    ok = inside & (total > 0.3 * max(usual, 1e-6))
    return np.where(ok, (mass * index).sum(axis=-1) / np.where(ok, total, 1.0), np.nan)


def unevenness(x: Departures | None, y: Departures | None, px_to_mm: Homography, size: tuple[int, int]) -> Mesh:
    """Where the flat map puts points of the sheet: true mm -> mm.

    Args:
        x: of the lines across x, along y; y: of those across y, along x; None: even. px_to_mm: the flat map.
        size: of the image, (width, height) px.
    """
    from scipy.interpolate import CubicSpline

    width, height = size
    corners = px_to_mm(np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64))
    low, high = corners.min(axis=0) - PERIOD, corners.max(axis=0) + PERIOD
    across, down = (np.arange(a, b + _NODE, _NODE) for a, b in zip(low, high, strict=True))
    nodes = np.stack(np.meshgrid(across, down), axis=-1)
    for axis, lines, steps, along in ((0, x, across, down), (1, y, down, across)):
        if lines is None:
            continue
        # Where along the lines each band crosses each of them, mm.
        m = px_to_mm.matrix
        position = (lines.at[None, :] - m[axis, 2] - m[axis, 1 - axis] * lines.rows[:, None]) / m[axis, axis]
        px = [position, np.broadcast_to(lines.rows[:, None], position.shape)]
        at = px_to_mm(np.stack(px if axis == 0 else px[::-1], axis=-1))[..., 1 - axis]
        order = np.argsort(at[:, 0])
        table = np.stack([np.interp(along, at[order, k], lines.off[order, k]) for k in range(lines.at.size)])
        inner = np.clip(steps, lines.at[0], lines.at[-1])
        shift = CubicSpline(lines.at, table, axis=0)(inner)  # (steps, along)
        nodes[..., axis] += shift.T if axis == 0 else shift
    return Mesh(nodes, (float(low[0]), float(low[1])), _NODE)
