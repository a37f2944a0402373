"""curves: traces that are roughly known, and the pixels about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from . import refine
from .arrays import I64, U8, B, D, F, runs_of, stretches
from .segment import INK, Ink

_MARGIN = 2  # px around a trace's ink that a fit looks at
_TOUCH = 0.7  # px beyond another trace's ink that is not looked at
_FLAT = 0.15  # px per px: slope below which the ink's height is the pen's width
_SEEN = 0.25  # coverage
_AROUND = 9  # columns whose ink a trace may lie in


class Box(NamedTuple):
    """A rectangle of px."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Curve:
    """A trace's samples (x0 + k step, ``y`` (N,)) px, and ``seen`` (N,): which of them are more than bridged.

    Attributes:
        row, baseline: of the strip; px.
        first: image column that it begins in.
        low, high: (columns,) from there, the highest and the lowest px (y) that it passes in each.
    """

    row: int
    baseline: float
    x0: float
    step: float
    y: D
    seen: B
    first: int
    low: D
    high: D

    @property
    def columns(self) -> slice:
        return slice(self.first, self.first + self.low.size)

    def at(self, x: D) -> D:
        """y at ``x`` px; beyond its ends, their own."""
        return np.asarray(np.interp(x, self.x0 + self.step * np.arange(self.y.size), self.y), np.float64)

    def reach(self, radius: float) -> tuple[D, D]:
        """Upper and lower edge (columns,) of all that a pen of that radius touches in each."""
        around = np.ones((2 * int(np.ceil(radius)) + 1, 1), np.uint8)
        low, high = cv2.erode(self.low[:, None], around), cv2.dilate(self.high[:, None], around)
        return np.asarray(low[:, 0] - radius, np.float64), np.asarray(high[:, 0] + radius, np.float64)

    def cover(self, part: B | U8 | F, radius: float, left: int = 0) -> None:
        """Set to 0, in place, px that a pen of that radius touches, in a ``part`` (H, W) from column ``left`` on."""
        low, high = self.reach(radius)
        top, stop = np.floor(low).astype(int).clip(0).tolist(), np.ceil(high).astype(int).clip(0).tolist()
        for column in range(max(left, self.first), min(left + part.shape[1], self.first + low.size)):
            k = column - self.first
            part[top[k] : stop[k] + 1, column - left] = 0

    def led(self, y: D) -> Curve:
        """The same strip with other samples."""
        return curve(self.row, self.baseline, self.x0, self.step, y, self.seen, self.first)

    def moved(self, shift: float) -> Curve:
        """The same line, with samples that lie ``shift`` px further right."""
        y = self.at(np.asarray(self.x0 + shift + self.step * np.arange(self.y.size), np.float64))
        return curve(self.row, self.baseline, self.x0 + shift, self.step, y, self.seen, self.first)


def curve(row: int, baseline: float, x0: float, step: float, y: D, seen: B, first: int) -> Curve:
    """A curve through samples of which some may be NaN: these are bridged, and not ``seen``."""
    known = np.isfinite(y)
    if not known.all():
        seen = seen & known
        y = np.interp(np.arange(y.size), np.flatnonzero(known), y[known]) if known.any() else np.full(y.size, baseline)
    count = max(1, int(np.ceil(x0 + step * (y.size - 1) - 0.5)) - first + 1)
    at = first - 0.5 + (np.arange(4 * count) + 0.5) / 4
    fine = np.interp(at, x0 + step * np.arange(y.size), y).reshape(count, 4)
    return Curve(row, baseline, x0, step, y, seen, first, fine.min(axis=1), fine.max(axis=1))


def pen_of(coverage: F, curves: Iterable[Curve], usual: float) -> float:
    """The pen's width, px: the ink's height where traces are flat; ``usual`` if they nowhere are."""
    heights = []
    for one in curves:
        level = (one.low + one.high) / 2
        if level.size < 8:
            continue
        steep = cv2.dilate(np.abs(np.gradient(level))[:, None], np.ones((5, 1)))[:, 0]
        flat = np.flatnonzero(steep < _FLAT)
        rows = np.round(level[flat]).astype(int)[:, None] + np.arange(-6, 7)
        column = one.first + flat
        ok = (rows[:, 0] >= 0) & (rows[:, -1] < coverage.shape[0]) & (column < coverage.shape[1])
        heights.append(coverage[rows[ok], column[ok][:, None]].sum(axis=1))
    every = np.concatenate(heights) if heights else np.zeros(0)
    return float(np.clip(np.median(every), 1.0, 9.0)) if every.size > 20 else usual


def windows_of(
    ink: Ink, curves: list[Curve], pen: float, hidden: Sequence[Sequence[Box]] | None = None
) -> list[refine.Window]:
    """The pixels about each curve. Those that another row's ink reaches count for nothing.

    ``hidden``: of each curve, boxes in which ink is something else's; what is around them is looked at.
    """
    height, width = ink.coverage.shape
    runs = runs_of(ink.coverage > INK) if ink.drawn else None  # else letters may be part of it
    edges = [one.reach(pen / 2) for one in curves]
    out = []
    for k, (one, (low, high)) in enumerate(zip(curves, edges, strict=True)):
        n = min(low.size, width - one.first)
        first, last = np.floor(low[:n]), np.ceil(high[:n]) + 1
        boxes = hidden[k] if hidden else ()
        for box in boxes:
            its = slice(max(0, box.x - one.first), max(0, box.x + box.width - one.first))
            first[its], last[its] = np.minimum(first[its], box.y), np.maximum(last[its], box.y + box.height)
        if runs is not None:  # to the end of the ink that it lies in: what it leaves of that has to be explained
            first = np.minimum(first, _through(runs, one.first + np.arange(n), one.low[:n], height)[0])
            last = np.maximum(last, _through(runs, one.first + np.arange(n), one.high[:n], height)[1])
        top = np.clip(first.astype(np.int64) - _MARGIN, 0, height - 1)
        rows = np.clip(last.astype(np.int64) + _MARGIN, 1, height) - top
        start = np.concatenate([[0], np.cumsum(rows)])
        column = np.repeat(np.arange(n), rows)
        x, y = column + one.first, np.arange(start[-1]) - start[column] + top[column]
        weight = np.minimum(ink.weight_y[y], ink.weight_x[x]).astype(np.float64)
        for box in boxes:
            across = (x >= box.x) & (x < box.x + box.width)
            weight[across & (y >= box.y) & (y < box.y + box.height)] = 0.0
        for other, (above, below) in zip(curves, edges, strict=True):
            if other.row == one.row:
                continue
            a, b = max(one.first, other.first), min(one.first + n, other.first + above.size)
            if a >= b:
                continue
            mine = slice(int(start[a - one.first]), int(start[b - one.first]))
            at = x[mine] - other.first
            weight[mine][(y[mine] > above[at] - _TOUCH) & (y[mine] < below[at] + _TOUCH)] = 0.0
        values = ink.coverage[y, x].astype(np.float64)
        out.append(refine.Window(one.first, top, start, values, weight))
    return out


def bounded(one: Curve, window: refine.Window, pen: float, spread: float | D = np.inf) -> refine.Guess:
    """The curve as a guess: free to lie anywhere in the ink of its window, and a pen's width beyond its own place."""
    n = window.top.size
    top, rows = window.top.astype(np.float64), np.diff(window.start)
    around = np.ones((_AROUND, 1), np.uint8)
    low, high = cv2.erode(top[:, None], around)[:, 0], cv2.dilate((top + rows)[:, None], around)[:, 0]
    at, columns = one.x0 + one.step * np.arange(one.y.size), window.left + np.arange(n)
    low, high = np.interp(at, columns, low + _MARGIN + 0.3 * pen), np.interp(at, columns, high - _MARGIN - 0.3 * pen)
    return refine.Guess(one.x0, one.step, one.y, np.minimum(low, one.y - pen), np.maximum(high, one.y + pen), spread)


def _through(runs: tuple[I64, I64, I64], columns: I64, y: D, height: int) -> tuple[D, D]:
    """First row (columns,) of the run of ink that goes through ``y`` px in each column, and the one after its last;
    the row of ``y`` where there is none."""
    column, top, bottom = runs
    row = np.clip(np.round(y), 0, height - 1)
    if not column.size:
        return row, row
    at = np.searchsorted(column * (height + 1) + bottom, columns * (height + 1) + row, side="right")
    at = np.minimum(at, column.size - 1)
    inside = (column[at] == columns) & (top[at] <= row)
    return np.where(inside, top[at], row), np.where(inside, bottom[at], row)


def looked(coverage: F, one: Curve, least: float = _SEEN) -> Curve:
    """The curve, ``seen`` also where there is ink on it, its own or another's."""
    return _also_seen(one, _inked(coverage, one, least))


def grown(coverage: F, one: Curve, least: float) -> Curve:
    """The curve, ``seen`` also where there is ink on it without a break from what is seen."""
    inked = _inked(coverage, one, least) | one.seen
    linked = np.zeros_like(inked)
    for start, stop in stretches(inked):
        linked[start:stop] = one.seen[start:stop].any()
    return _also_seen(one, linked)


def _inked(coverage: F, one: Curve, least: float) -> B:
    """(N,) whether there is ink on a curve's samples."""
    n = min(one.low.size, coverage.shape[1] - one.first)
    rows = np.clip(np.round((one.low[:n] + one.high[:n]) / 2).astype(int)[:, None] + np.arange(-1, 2), 0, None)
    rows = np.minimum(rows, coverage.shape[0] - 1)
    inked = coverage[rows, one.first + np.arange(n)[:, None]].max(axis=1) > least
    at = np.round(one.x0 + one.step * np.arange(one.y.size)).astype(int) - one.first
    return np.asarray((at >= -1) & (at <= n) & inked[at.clip(0, n - 1)], np.bool_)  # an end may lie on a pixel's edge


def _also_seen(one: Curve, more: B) -> Curve:
    return replace(one, seen=one.seen | more) if (more & ~one.seen).any() else one
