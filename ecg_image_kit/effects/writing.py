"""Writing on a page: where there is room, what stands there already, and lines drawn by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Box, Page, Trace
from . import handwriting as hw
from . import pen as pens
from .base import Grows, OneOf, number, word
from .fields import U8, D, Some
from .handwriting import Hand, Strokes
from .pen import INKS, TIPS, Pen
from .shapes import turned

_EDGE = 1.2  # mm that marks keep from the sheet's edges


def count_field(most: float, text: str) -> int:
    return number(Grows(0, most), 0, 60, text, whole=True)  # type: ignore[no-any-return]


def pen_field() -> str:
    return word(OneOf(INKS), INKS, "what it is drawn with")  # type: ignore[no-any-return]


def tip_field() -> str:
    return word(OneOf(("ballpoint", "ballpoint", "felt")), TIPS, "of the pen")  # type: ignore[no-any-return]


class Sheet:
    """A page being written on: a copy of its image, the boxes added, and where there is still room.

    ``k``: px per mm; ``size``: (width, height) mm; ``short``: the shorter of them.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.image = page.image.copy()
        self.k = page.px_per_mm
        self.size = np.array([page.layout.width, page.layout.height])
        self.short = float(self.size.min())
        self.boxes: list[Box] = []
        self._full: D | None = None

    def done(self) -> Page:
        return replace(self.page, image=self.image, boxes=(*self.page.boxes, *self.boxes)) if self.boxes else self.page

    def fitting(self, mm: float, share: float = 0.3) -> float:
        """A size in mm, or less on a small sheet."""
        return min(mm, share * self.short)

    def ink(self, strokes: Sequence[D], pen: Pen, rng: np.random.Generator, kind: str, text: str = "") -> None:
        """Draw strokes (N, 3) mm and note the box."""
        if not strokes:
            return
        # Textures have generators of their own: how much they draw depends on the resolution.
        pens.ink(self.image, strokes, self.page.mm_to_px, self.k, pen, rng.spawn(1)[0])
        self.box(kind, pens.hull(np.vstack(strokes), 0.5 * pen.width + 1.5 * pen.wet + 0.6 / self.k), text)

    def box(self, kind: str, outline: D, text: str = "", hides: bool = False) -> None:
        self.boxes.append(Box(kind, outline, text, hides))
        if self._full is not None:
            low, high = self._cell(outline.min(axis=0)), self._cell(outline.max(axis=0)) + 1
            self._full[low[1] : high[1], low[0] : high[0]] = 1.0

    # Room

    @property
    def _pitch(self) -> float:
        return min(1.5, self.short / 8)  # mm

    def _cell(self, mm: D) -> NDArray[np.intp]:
        shape = self._room().shape[::-1]
        return np.clip((mm / self._pitch).astype(np.intp), 0, np.array(shape) - 1)

    def _room(self) -> D:
        """(rows, columns) 0 to 1: how much is printed in each cell; the grid, which is everywhere, does not count."""
        if self._full is None:
            columns, rows = np.maximum(np.ceil(self.size / self._pitch), 1).astype(int)
            # Some of the pixels are enough, and coloured grids are hardly seen in their brightest channel.
            n = int(np.clip(3.5 * self._pitch, 1, 8))
            some = cv2.resize(self.image, (int(columns) * n, int(rows) * n), interpolation=cv2.INTER_NEAREST)
            small = cv2.resize(some, (int(columns), int(rows)), interpolation=cv2.INTER_AREA).max(axis=2)
            base = float(np.median(small))
            self._full = np.clip((base - small.astype(np.float64)) / max(base * 0.25, 8.0), 0, 1)
        return self._full

    def place(self, size: D, rng: np.random.Generator, over: float = 0.2, where: str = "", printed: bool = False) -> D:
        """(2,) mm: the centre for something ``size`` (2,) mm large.

        ``over``: chance that it stands just anywhere, printed on or not. ``where``: ``top`` or ``bottom`` of the sheet,
        or anywhere. ``printed``: where most is printed instead of least.
        """
        low, high = size / 2 + _EDGE, self.size - size / 2 - _EDGE
        middle = self.size / 2
        low, high = np.where(high > low, low, middle), np.where(high > low, high, middle)
        at = rng.uniform(low, high, (40, 2))
        if where:
            band = 0.22 * self.size[1]
            near = np.clip([low[1], low[1] + band] if where == "top" else [high[1] - band, high[1]], low[1], high[1])
            at[:30, 1] = rng.uniform(near[0], near[1], 30)
        if rng.random() < over:
            return np.asarray(at[0], np.float64)
        total = np.pad(self._room(), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        a, b = self._cell(at - size / 2), self._cell(at + size / 2) + 1
        inside = total[b[:, 1], b[:, 0]] - total[a[:, 1], b[:, 0]] - total[b[:, 1], a[:, 0]] + total[a[:, 1], a[:, 0]]
        full = inside / np.prod(b - a, axis=1) + 0.04 * rng.random(len(at))
        return np.asarray(at[int(np.argmax(full) if printed else np.argmin(full))], np.float64)

    def keep_in(self, points: D) -> D:
        """Points (N, 2+), moved together so that they lie on the sheet, and shrunk if they have to be."""
        out = points.copy()
        xy = out[:, :2]
        low, high = xy.min(axis=0), xy.max(axis=0)
        room = self.size - 2 * min(_EDGE, 0.05 * self.short)
        shrink = min(1.0, float((room / np.maximum(high - low, 1e-6)).min()))
        middle = (low + high) / 2
        half = shrink * (high - low) / 2
        edge = (self.size - room) / 2
        out[:, :2] = (xy - middle) * shrink + np.clip(middle, edge + half, self.size - edge - half)
        return out

    def keep_strokes_in(self, strokes: Sequence[D]) -> list[D]:
        """Strokes (N, 2+) each, moved and shrunk together as ``keep_in`` does points."""
        return np.split(self.keep_in(np.vstack(strokes)), np.cumsum([len(s) for s in strokes])[:-1])

    # What is printed

    def beat(self, rng: np.random.Generator) -> tuple[D, Trace | None, NDArray[np.intp]]:
        """(2,) mm of a beat's peak on a trace, the trace and all its peaks; without traces, of somewhere printed."""
        traces = [trace for trace in self.page.traces if np.isfinite(trace.mv).sum() > 0.3 * trace.fs]
        if traces:
            trace = traces[int(rng.integers(len(traces)))]
            peaks = _peaks(trace)
            if peaks.size:
                mm = self.page.mm(trace)[peaks]
                inside = np.flatnonzero(((mm > 0) & (mm < self.size)).all(axis=1))
                if inside.size:
                    return np.asarray(mm[int(rng.choice(inside))]), trace, peaks
        return self.place(np.zeros(2), rng, over=1.0), None, np.zeros(0, np.intp)

    def texts(self, *kinds: str) -> list[Box]:
        return [box for box in self.page.boxes if box.kind in kinds and not box.hides]


def _peaks(trace: Trace) -> NDArray[np.intp]:
    """Samples at which the beats of a trace peak: where it is steepest, half a beat apart at least."""
    mv = np.nan_to_num(trace.mv - np.nanmedian(trace.mv)).astype(np.float64)
    steep = np.abs(np.gradient(mv)) if mv.size > 2 else np.zeros(mv.size)
    near = max(1, round(0.04 * trace.fs))
    steep = np.convolve(steep, np.ones(2 * near + 1), "same")
    apart = max(1, round(0.3 * trace.fs))
    limit = 0.5 * float(steep.max(initial=0.0))
    found: list[int] = []
    for i in np.argsort(-steep, kind="stable")[: 6 * apart * 4]:
        if steep[i] <= max(limit, 1e-9):
            break
        if all(abs(int(i) - j) >= apart for j in found):
            found.append(int(i))
    tops = [max(0, j - near) + int(np.argmax(np.abs(mv[max(0, j - near) : j + near + 1]))) for j in found]
    return np.array(sorted(tops), np.intp)


def by_hand(path: D, rng: np.random.Generator, shake: float = 0.12, press: float = 0.5, taper: float = 1.0) -> D:
    """(N, 3): a path in mm as a hand draws it: smooth wobbles of about ``shake`` mm, and pressure."""
    p = hw.resampled(path, 0.25)
    n = len(p)
    knots = max(4, int(n * 0.25 / 6) + 3)
    at = np.linspace(0, knots - 1, n)
    wobble = np.stack([np.interp(at, np.arange(knots), rng.normal(0, shake, knots)) for _ in range(2)], axis=-1)
    p = hw.soften(p + hw.soften(wobble, 5), 2)
    force = hw.pressure(p, press, 0.0, rng)
    if taper > 0:
        steps = np.arange(n) * 0.25 / taper
        force = force * np.clip(0.6 + 0.4 * steps, 0, 1) * np.clip(0.35 + 0.65 * steps[::-1], 0, 1)
    return np.column_stack([p, np.clip(force, 0.12, 1)])


def lettered(text: str, hand: Hand, size: float, rng: np.random.Generator) -> list[tuple[str, Strokes]]:
    """Each line of a text and its strokes, mm, all lines about the text's centre. ``size``: cap height."""
    lines: list[tuple[str, Strokes]] = []
    lead = rng.uniform(1.5, 2.0)
    indent = rng.normal(0, 0.3)
    for i, line in enumerate(text.split("\n")):
        strokes, _ = hw.write(line, hand, rng)
        move = np.array([indent * i, lead * i, 0])
        lines.append((line, [(s + move) * [size, size, 1] for s in strokes]))
    lines = [(line, strokes) for line, strokes in lines if strokes]
    if lines:
        every = np.vstack([s for _, strokes in lines for s in strokes])[:, :2]
        middle = np.append((every.min(axis=0) + every.max(axis=0)) / 2, 0)
        lines = [(line, [s - middle for s in strokes]) for line, strokes in lines]
    return lines


def _extent(lines: Sequence[tuple[str, Strokes]]) -> D:
    """(2,) width and height of written lines."""
    every = np.vstack([s for _, strokes in lines for s in strokes])[:, :2]
    return np.asarray(np.ptp(every, axis=0))


def shrunk(lines: list[tuple[str, Strokes]], room: D) -> list[tuple[str, Strokes]]:
    """The lines, made smaller if they would not fit into ``room`` (2,) mm."""
    shrink = min(1.0, float((room / np.maximum(_extent(lines), 1e-6)).min()))
    return [(line, [s * [shrink, shrink, 1] for s in strokes]) for line, strokes in lines]


def written(
    sheet: Sheet,
    text: str,
    hand: Hand,
    pen: Pen,
    size: float,
    at: D | None,
    rng: np.random.Generator,
    over: float = 0.2,
    angle: float = 0.0,
) -> None:
    """Write a text, each line with a box, centred ``at`` mm or where there is room."""
    lines = lettered(text, hand, size, rng)
    if not lines:
        return
    lines = shrunk(lines, sheet.size[:: -1 if abs(angle) > 45 else 1] * 0.9)
    lines = [(line, [turned(s, angle) for s in strokes]) for line, strokes in lines]
    extent = _extent(lines)
    if at is None:
        centre = sheet.place(extent, rng, over, str(rng.choice(["top", "top", "bottom", "", "", ""])))
    else:
        inside = extent / 2 + 0.5 * _EDGE
        centre = np.clip(at, np.minimum(inside, sheet.size / 2), np.maximum(sheet.size - inside, sheet.size / 2))
    for line, strokes in lines:
        sheet.ink([s + np.append(centre, 0) for s in strokes], pen, rng, "handwriting", line)


def fine_of(sheet: Sheet) -> float:
    """px per mm at which patches are drawn: twice as fine as the image, within reason."""
    return min(2 * sheet.k, 24.0)


def lay(sheet: Sheet, patch: Some, fine: float, centre: D, angle: float) -> tuple[U8, Some]:
    """A patch (h, w), ``fine`` px per mm, turned about its centre, which comes to ``centre`` mm.

    Returns:
        The part of the sheet's image that it reaches, to be painted on, and the patch as seen there, 0 where it is not.
    """
    h, w = patch.shape
    px = sheet.page.mm_to_px(turned(np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / (2 * fine), angle, centre))
    low = np.maximum(np.floor(px.min(axis=0)) - 1, 0).astype(int)
    high = np.maximum(np.minimum(np.ceil(px.max(axis=0)) + 2, sheet.image.shape[1::-1]).astype(int), low)
    view = sheet.image[low[1] : high[1], low[0] : high[0]]
    if not view.size:
        return view, np.zeros(view.shape[:2], patch.dtype)
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(corners, (px - low).astype(np.float32))
    return view, cv2.warpPerspective(patch, matrix, (high - low).tolist(), flags=cv2.INTER_LINEAR)
