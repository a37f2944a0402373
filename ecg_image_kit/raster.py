"""Exact strokes: how much of every pixel a round pen covers when it follows a graph y(x).

A disc of radius r that slides along a continuous graph covers, at each x, one interval:

    upper(x) = min over |u| < r of y(x + u) - sqrt(r^2 - u^2),    lower(x) = max of y(x + u) + sqrt(r^2 - u^2)

(the grey-scale erosion and dilation of y by the disc). So a stroke needs no polygons and no joins, only two running
extrema, evaluated on `sub` sub-columns per pixel; the interval's coverage of each pixel is exact in y. The same model,
differentiated, is what the digitizer inverts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float32]


def envelope(y: F, radius: float, step: float) -> tuple[F, F]:
    """Upper and lower edge (N,) px of the stroke along ``y`` (N,) px sampled every ``step`` px. NaN: no ink there."""
    reach = int(np.ceil(radius / step))
    size = y.size
    upper, lower = np.full(size, np.inf, np.float32), np.full(size, -np.inf, np.float32)
    high, low = np.where(np.isnan(y), np.inf, y).astype(np.float32), np.where(np.isnan(y), -np.inf, y).astype(np.float32)
    for k in range(-reach, reach + 1):
        u = k * step
        if abs(u) >= radius:
            continue
        h = np.float32(np.sqrt(radius * radius - u * u))
        to, of = slice(max(0, -k), size - max(0, k)), slice(max(0, k), size - max(0, -k))
        np.minimum(upper[to], high[of] - h, out=upper[to])
        np.maximum(lower[to], low[of] + h, out=lower[to])
    return upper, lower


def add_intervals(band: F, column: NDArray[np.intp], upper: F, lower: F, weight: F) -> None:
    """Accumulate intervals [upper, lower] px into ``band`` (H + 2, W), whose running sum down the columns is coverage.

    ``column``, ``upper``, ``lower`` and ``weight`` (its share of a pixel's width) are (N,), one for each sub-column. Each edge is split between two rows so that the sum is the exact covered part of each pixel.
    """
    height, width = band.shape[0] - 2, band.shape[1]
    flat, weights = [], []
    for edge, sign in ((upper, weight), (lower, -weight)):
        e = np.clip(edge, -0.5, height - 0.5) + 0.5
        row = e.astype(np.intp)
        part = (row + 1 - e) * sign
        index = row * width + column
        flat += [index, index + width]
        weights += [part, sign - part]
    total = np.bincount(np.concatenate(flat), np.concatenate(weights), minlength=band.size)
    band += total.reshape(band.shape).astype(np.float32)


def draw_graph(
    coverage: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64], width: float, cap: str = "butt", sub: int = 8
) -> None:
    """Paint the stroke of a graph into ``coverage`` (H, W) uint8 by maximum.

    Args:
        x: (N,) px, increasing, pixel centres at integers. y: (N,) px; NaN splits the stroke.
        width: pen width, px. cap: ``butt`` ends at the first and last sample, ``round`` goes half a pen further.
        sub: sub-columns per pixel.
    """
    known = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        if b - a >= 2:
            _draw_piece(coverage, x[a:b], y[a:b], width / 2, cap, sub)


def _draw_piece(
    coverage: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64], radius: float, cap: str, sub: int
) -> None:
    height, width = coverage.shape
    pad = radius if cap == "round" else 0.0
    # Sub-column centres: pixel c spans [c - 0.5, c + 0.5].
    first, last = np.floor((x[0] - pad + 0.5) * sub), np.ceil((x[-1] + pad + 0.5) * sub)
    first, last = max(first, 0.0), min(last, float(width * sub))
    if last <= first:
        return
    k = np.arange(int(first), int(last))
    centre = (k + 0.5) / sub - 0.5
    fine = np.interp(centre, x, y).astype(np.float32)
    # Ends: how much of the sub-column lies within the stroke's range (exact for a butt cap).
    share = np.clip(np.minimum(centre + 0.5 / sub - (x[0] - pad), (x[-1] + pad) - (centre - 0.5 / sub)) * sub, 0.0, 1.0)
    if cap == "round":
        fine[(centre < x[0]) | (centre > x[-1])] = np.nan
    upper, lower = envelope(fine, radius, 1.0 / sub)
    inked = upper < lower
    if not inked.any():
        return
    column = k // sub
    top = int(np.clip(np.floor(upper[inked].min()) - 1, 0, height))
    bottom = int(np.clip(np.ceil(lower[inked].max()) + 2, 0, height))
    left, right = int(column[0]), int(column[-1]) + 1
    if bottom <= top:
        return
    band = np.zeros((bottom - top + 2, right - left), np.float32)
    weight = (share[inked] / sub).astype(np.float32)
    add_intervals(band, column[inked] - left, upper[inked] - top, lower[inked] - top, weight)
    ink = np.cumsum(band, axis=0)[: bottom - top]
    view = coverage[top:bottom, left:right]
    np.maximum(view, np.clip(ink * 255.0 + 0.5, 0, 255).astype(np.uint8), out=view)
