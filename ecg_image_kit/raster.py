"""Exact strokes: how much of every pixel a round pen covers when it follows a graph y(x).

A disc of radius r that slides along a continuous graph covers, at each x, one interval:

    upper(x) = min over |u| < r of y(x + u) - sqrt(r^2 - u^2),    lower(x) = max of y(x + u) + sqrt(r^2 - u^2)

(the grey-scale erosion and dilation of y by the disc). So a stroke needs no polygons and no joins, only two extrema on
`sub` sub-columns per pixel; the interval's coverage of each pixel is exact in y. Of a polyline the extrema are known in
closed form: each edge runs along segments moved by r along their normal, and along arcs about the vertices where these
part. So a peak narrower than a sub-column keeps its height and a steep stroke its width. The same model,
differentiated, is what the digitizer inverts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

D = NDArray[np.float64]

_FAR = 1e6  # px: edges further out are off any image, and float32 has no use for them
_BLOCK = 256  # columns filled at a time: a tall complex makes a small area tall, not the whole strip


def envelope(x: D, y: D, radius: float, first: int, count: int, sub: int) -> tuple[D, D]:
    """Upper and lower edge (count,) px of the stroke with round ends along the polyline ``x`` (N,), ``y`` (N,) px.

    Sub-column j has its centre at x = (first + j + 0.5) / sub - 0.5 px. Where there is no ink, upper is inf and lower
    -inf. ``x`` must not decrease.
    """
    run, rise = np.diff(x), np.diff(y)
    length = np.hypot(run, rise)
    length[length == 0] = 1.0
    sine, cosine = rise / length, run / length
    centres = (np.arange(first, first + count) + 0.5) / sub - 0.5
    slope = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)

    def covered(start: D, stop: D) -> tuple[NDArray[np.intp], NDArray[np.intp], D]:
        """Every sub-column with its centre in [start, stop) of piece i, as (i, sub-column, centre)."""
        a, b = (np.clip(np.ceil((v + 0.5) * sub - 0.5) - first, 0, count).astype(np.intp) for v in (start, stop))
        many = np.maximum(b - a, 0)
        piece = np.repeat(np.arange(many.size), many)
        column = np.arange(piece.size) + (a - np.cumsum(many) + many)[piece]
        return piece, column, centres[column]

    edges = []
    for sign, extremum in ((1.0, np.minimum), (-1.0, np.maximum)):
        edge = np.full(count, sign * np.inf)
        # Segments, moved along their normal: by `shift` in x and -sign * radius * cosine in y.
        shift = sign * radius * sine
        i, column, centre = covered(x[:-1] + shift, x[1:] + shift)
        level = y[:-1] - sign * radius * cosine - slope * (x[:-1] + shift)
        extremum.at(edge, column, level[i] + slope[i] * centre)
        # Arcs between the moved ends of two segments; where the segments cross there, the arc is empty.
        i, column, centre = covered(x + np.append(-radius, shift), x + np.append(shift, radius))
        extremum.at(edge, column, y[i] - sign * np.sqrt(np.maximum(radius**2 - (centre - x[i]) ** 2, 0.0)))
        edges.append(edge)
    return edges[0], edges[1]


def add_up(shape: tuple[int, int], column: NDArray[np.intp], upper: D, lower: D, weight: D) -> D:
    """(H, W) sum over intervals [upper, lower] px of ``weight`` times the part of each pixel they cover in height.

    ``column``, ``upper``, ``lower`` and ``weight`` are (N,). Each edge is split between two pixels so that the running
    sum down a column is exact. (It runs along memory: numpy is 10 times slower across.)
    """
    height, width = shape
    flat, weights = [], []
    for edge, sign in ((upper, weight), (lower, -weight)):
        e = np.clip(edge, -0.5, height - 0.5) + 0.5
        row = e.astype(np.intp)
        part = (row + 1 - e) * sign
        index = column * (height + 2) + row
        flat += [index, index + 1]
        weights += [part, sign - part]
    steps = np.bincount(np.concatenate(flat), np.concatenate(weights), minlength=width * (height + 2))
    total: D = np.cumsum(steps, dtype=np.float64)
    return total.reshape(width, height + 2)[:, :height].T


def draw_graph(coverage: NDArray[np.uint8], x: D, y: D, width: float, cap: str = "butt", sub: int = 8) -> None:
    """Paint the stroke of a graph into ``coverage`` (H, W) uint8 by maximum.

    Args:
        x: (N,) px, not decreasing, pixel centres at integers. y: (N,) px; NaN splits the stroke. A point between two
            NaN is a dot.
        width: pen width, px. cap: ``butt`` ends at the first and last sample, ``round`` goes half a pen further.
        sub: sub-columns per pixel.
    """
    known = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        _draw_piece(coverage, x[a:b], y[a:b], width / 2, 0.0 if cap == "butt" and b - a > 1 else width / 2, sub)


def _draw_piece(coverage: NDArray[np.uint8], x: D, y: D, radius: float, reach: float, sub: int) -> None:
    """One stroke without gaps, cut off ``reach`` px beyond its first and last point."""
    width = coverage.shape[1]
    start, stop = x[0] - reach, x[-1] + reach
    # Pixel c spans [c - 0.5, c + 0.5], and so sub-columns c * sub to (c + 1) * sub - 1.
    first, last = max(np.floor((start + 0.5) * sub), 0.0), min(np.ceil((stop + 0.5) * sub), float(width * sub))
    if last <= first:
        return
    k = np.arange(int(first), int(last))
    upper, lower = envelope(x, np.clip(y, -1e12, 1e12), radius, k[0], k.size, sub)
    # How much of each sub-column lies between the ends.
    centre = (k + 0.5) / sub - 0.5
    share = np.minimum(np.minimum(centre - start, stop - centre) * sub + 0.5, 1.0)
    inked = (upper < lower) & (share > 0)
    if not inked.any():
        return
    column, weight = k[inked] // sub, share[inked] / sub
    upper, lower = np.clip(upper[inked], -_FAR, _FAR), np.clip(lower[inked], -_FAR, _FAR)
    for left in range(int(column[0]), int(column[-1]) + 1, _BLOCK):
        part = slice(*np.searchsorted(column, (left, left + _BLOCK)))
        if part.stop > part.start:
            _fill(coverage, column[part], upper[part], lower[part], weight[part])


def _fill(coverage: NDArray[np.uint8], column: NDArray[np.intp], upper: D, lower: D, weight: D) -> None:
    """Paint intervals, as ``add_intervals`` takes them, into the rows and columns they lie in."""
    height = coverage.shape[0]
    top = int(np.clip(np.floor(upper.min()) - 1, 0, height))
    bottom = int(np.clip(np.ceil(lower.max()) + 2, 0, height))
    left, right = int(column[0]), int(column[-1]) + 1
    if bottom <= top:
        return
    ink = add_up((bottom - top, right - left), column - left, upper - top, lower - top, 255.0 * weight)
    view = coverage[top:bottom, left:right]
    np.maximum(view, (ink + 0.5).astype(np.uint8), out=view)
