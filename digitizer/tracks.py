"""tracks: each strip of the layout gets its own path through the runs of ink, and the pixels along it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ecg_image_kit.layout import Layout, Strip

from . import refine
from .arrays import I32, I64, B
from .segment import Ink
from .trace import FOREIGN, Traced, follow, reach_of, slim

FS = 500.0  # samples per second of the fit
_NAME_TRUST = 0.3  # weight of pixels where a lead's name stands
_ON_NAME = 3.0  # extra cost, mm, of ink where a lead's name stands


@dataclass(frozen=True, eq=False)
class Track:
    """One strip's way through the ink.

    Attributes:
        first: image column of ``path``[0].
        path: (columns,) run in each column, -1 where there is none.
        label: (4,) x0, y0, x1, y1 px where the lead's name stands, if known.
        shared: (columns,) the run is also a strip's of another row: two traces cross or touch there.
    """

    strip: Strip
    first: int
    path: I32
    label: I64 | None
    shared: B

    @property
    def known(self) -> B:
        """(columns,) there is ink, and it is this strip's alone."""
        return (self.path >= 0) & ~self.shared

    @property
    def samples(self) -> int:
        """As many as are printed: to the window's very end, which the record has only if it goes on there."""
        return max(3, drawn_of(self.strip))


def first_sample(strip: Strip) -> int:
    """Number of the first of a record's samples at FS that lie in the strip's window."""
    return int(np.ceil(strip.start * FS - 1e-6))


def count_of(strip: Strip) -> int:
    """Number of samples at FS in the strip's window: the one at its very end is the next window's."""
    return int(np.ceil(strip.stop * FS - 1e-6)) - first_sample(strip)


def drawn_of(strip: Strip) -> int:
    """The same, with the one at its very end, to which a trace that goes on is drawn."""
    return int(np.floor(strip.stop * FS + 1e-6)) - first_sample(strip) + 1


def first_x(strip: Strip, speed: float, kx: float) -> float:
    """px of the first sample. Cells need not begin with one: a third of 10 s does not."""
    return (strip.x + (first_sample(strip) / FS - strip.start) * speed) * kx


def tracks_of(traced: Traced, layout: Layout, kx: float, ky: float) -> list[Track]:
    """Follow each strip within its own columns. Lead names, and ink that is another row's, cost extra."""
    runs, width = traced.runs, traced.runs.first.size - 1
    single = slim(runs, traced.pen, ky)
    out = []
    for strip, label in zip(layout.strips, _names(traced, layout.strips, kx, ky), strict=True):
        first = int(np.clip(np.floor(strip.x * kx + 0.5), 0, width - 2))  # where a sheet is cut off, beyond the image
        last = int(np.ceil((strip.x + (strip.stop - strip.start) * layout.speed) * kx - 0.5)) + 1
        last = min(width, max(last, first + 2))
        extra = np.zeros(runs.column.size)
        if label is not None:
            x0, y0, x1, y1 = label
            extra[(runs.column >= x0) & (runs.column <= x1) & (runs.top >= y0) & (runs.bottom <= y1)] = _ON_NAME
        foreign = np.zeros(runs.column.size, bool)
        for k, row in enumerate(traced.rows):
            if k != strip.row:
                foreign[row.run[row.run >= 0]] = True
        own = traced.rows[strip.row]
        foreign[own.run[own.run >= 0]] = False
        extra[foreign & single] += FOREIGN
        reach = reach_of(traced.spacing, ky)
        path = follow(runs, traced.chains, traced.keep, own.baseline, reach, kx, ky, (first, last), extra)
        out.append(Track(strip, first, path, label, np.zeros(path.size, bool)))
    users = np.zeros(runs.column.size + 1, np.int32)
    for row_number in {strip.row for strip in layout.strips}:
        used = np.concatenate([t.path for t in out if t.strip.row == row_number])
        users += np.bincount(used[used >= 0], minlength=users.size) > 0
    return [replace(t, shared=(t.path >= 0) & (users[t.path] > 1)) for t in out]


def _names(traced: Traced, strips: tuple[Strip, ...], kx: float, ky: float) -> list[I64 | None]:
    """Where each strip's lead name stands: x0, y0, x1, y1 px, or None if that cannot be told.

    Names stand at the same place of every cell, so one that touches the trace, and is not seen by itself, is found too.
    """
    marks = traced.marks
    middle = (marks[:, 1] + marks[:, 3]) / 2
    found = []
    for strip in strips:
        x, base = strip.x * kx, traced.rows[strip.row].baseline
        near = (marks[:, 0] > x - kx) & (marks[:, 2] < x + 11 * kx) & (np.abs(middle - base) < 0.6 * traced.spacing)
        near &= marks[:, 3] - marks[:, 1] < 5 * ky
        found.append(marks[near] - np.array([x, base, x, base]))
    together = np.concatenate(found)
    if len(together) < 3:
        return [None] * len(strips)
    height = (together[:, 1] + together[:, 3]) / 2
    usual = together[np.abs(height - np.median(height)) < 3 * ky]
    if len(usual) < 3:
        return [None] * len(strips)
    left, right = np.percentile(usual[:, 0], 5) - 0.8 * kx, np.percentile(usual[:, 2], 90) + 0.8 * kx
    top, bottom = np.median(usual[:, 1]) - 0.8 * ky, np.median(usual[:, 3]) + 0.8 * ky
    places = [(strip.x * kx, traced.rows[strip.row].baseline) for strip in strips]
    return [np.array([x + left, y + top, x + right, y + bottom]).astype(np.int64) for x, y in places]


def guess_of(traced: Traced, track: Track, speed: float, kx: float) -> refine.Guess:
    """First guess at a strip's samples, from the edges of its ink."""
    # The first and last column belong to the neighbouring strips as well.
    interior = track.known.copy()
    interior[[0, -1]] = False
    known = interior if interior.sum() > 10 else track.known
    y0, y1 = traced.runs.y0[track.path], traced.runs.y1[track.path]
    x0, step = first_x(track.strip, speed, kx), speed * kx / FS
    return refine.guess(x0, step, track.samples, y0, y1, known, track.first, traced.pen)


def window_of(ink: Ink, traced: Traced, track: Track, known: B, bare: int = 0) -> refine.Window:
    """The pixels of a strip's runs where ``known``, and two bare ones on either side, as far as other ink leaves room.

    The first ``bare`` columns, before the trace, get the rows of the first column that has ink of it.
    """
    runs, height, path = traced.runs, ink.coverage.shape[0], track.path
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
    x = np.repeat(np.arange(path.size), rows)
    y = np.arange(start[-1]) - start[x] + top[x]
    x = x + track.first
    values = ink.coverage[y, x].astype(np.float64)
    weight = np.minimum(ink.weight_y[y], ink.weight_x[x]).astype(np.float64)
    if track.label is not None:
        x0, y0, x1, y1 = track.label
        weight[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] *= _NAME_TRUST
    return refine.Window(track.first, top, start, values, weight)
