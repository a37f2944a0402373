"""Marks: what people leave on a printed ECG: handwriting, stamps, highlighter, stickers, redaction.

Everything is placed and sized in mm on the flat sheet: mostly where there is room, sometimes right over the traces, as
in practice. What is written hides nothing; stickers, notes and redaction do, and say so in their boxes. Names, places
and dates are made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import headers, strokefont
from .. import text as printed
from ..page import Box, Page, Trace
from . import fields as fl
from . import handwriting as hw
from .base import Effect, Grows, OneOf, Range, number, word
from .handwriting import FAMILIES, INKS, TIPS, Hand, Pen, Strokes

D = NDArray[np.float64]
RGB = tuple[float, float, float]

_EDGE = 1.2  # mm that marks keep from the sheet's edges


def _count(most: float, text: str) -> int:
    return number(Grows(0, most), 0, 60, text, whole=True)  # type: ignore[no-any-return]


def _pen() -> str:
    return word(OneOf(INKS), INKS, "what it is drawn with")  # type: ignore[no-any-return]


def _tip() -> str:
    return word(OneOf(("ballpoint", "ballpoint", "felt")), TIPS, "of the pen")  # type: ignore[no-any-return]


# The sheet being written on


class _Sheet:
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
        hw.ink(self.image, strokes, self.page.mm_to_px, self.k, pen, rng.spawn(1)[0])
        self.box(kind, hw.hull(np.vstack(strokes), 0.5 * pen.width + 1.5 * pen.wet + 0.6 / self.k), text)

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
            step = max(1, int(self.k / 3.5))
            some = np.ascontiguousarray(self.image[::step, ::step])
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


# Shapes


def _turn(points: D, degrees: float, to: D | Sequence[float] = (0.0, 0.0)) -> D:
    """Points (N, 2+) turned about the origin (clockwise as seen), then moved."""
    a = np.deg2rad(degrees)
    out = points.copy()
    out[:, :2] = points[:, :2] @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + np.asarray(to)
    return out


def _by_hand(path: D, rng: np.random.Generator, shake: float = 0.12, press: float = 0.5, taper: float = 1.0) -> D:
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


def _lettered(text: str, hand: Hand, size: float, rng: np.random.Generator) -> list[tuple[str, Strokes]]:
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


def _scaled(lines: list[tuple[str, Strokes]], room: D) -> list[tuple[str, Strokes]]:
    """The lines, made smaller if they would not fit into ``room`` (2,) mm."""
    shrink = min(1.0, float((room / np.maximum(_extent(lines), 1e-6)).min()))
    return [(line, [s * [shrink, shrink, 1] for s in strokes]) for line, strokes in lines]


def _written(
    sheet: _Sheet,
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
    lines = _lettered(text, hand, size, rng)
    if not lines:
        return
    lines = _scaled(lines, sheet.size[:: -1 if abs(angle) > 45 else 1] * 0.9)
    lines = [(line, [_turn(s, angle) for s in strokes]) for line, strokes in lines]
    extent = _extent(lines)
    if at is None:
        centre = sheet.place(extent, rng, over, str(rng.choice(["top", "top", "bottom", "", "", ""])))
    else:
        inside = extent / 2 + 0.5 * _EDGE
        centre = np.clip(at, np.minimum(inside, sheet.size / 2), np.maximum(sheet.size - inside, sheet.size / 2))
    for line, strokes in lines:
        sheet.ink([s + np.append(centre, 0) for s in strokes], pen, rng, "handwriting", line)


# Written and drawn by hand


@dataclass(frozen=True, kw_only=True)
class Handwriting(Effect):
    """Notes by hand, in one hand and one pen: findings, values, dates, initials."""

    stage: ClassVar[str] = "marks"
    notes: int = _count(10, "how many notes")
    size: float = number(Range(2.8, 7.5), 0.5, 40, "height of capitals", "mm")
    hand: str = word(OneOf(FAMILIES), FAMILIES, "kind of hand")
    pen: str = _pen()
    tip: str = _tip()
    over: float = number(Grows(0.05, 0.6), 0, 1, "share of the notes written anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        hand, pen = hw.hand_of(self.hand, rng), hw.pen_of(self.pen, self.tip, rng)
        tilt = rng.normal(0, 2.5)
        for _ in range(self.notes):
            size = sheet.fitting(self.size * rng.uniform(0.8, 1.25))
            longest = max(4, int(0.8 * sheet.size[0] / (0.6 * size)))
            text = hw.phrase(rng, longest, lines=max(1, int(0.5 * sheet.size[1] / (2 * size))))
            angle = rng.normal(tilt, 2.0)
            if (odd := rng.random()) < 0.14:  # aslant, or along the sheet's side
                angle = rng.normal(0, 18) if odd < 0.08 else -90 if odd < 0.12 else 90
            _written(sheet, text, hand, pen, size, None, rng, self.over, angle)
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Signature(Effect):
    """Signatures: a large initial, a scrawl and a flourish, mostly at the top or bottom."""

    stage: ClassVar[str] = "marks"
    count: int = _count(3, "how many")
    size: float = number(Range(5, 11), 1, 40, "height of the initial", "mm")
    pen: str = word(OneOf(("blue", "black", "blue", "black", "red")), INKS, "what it is drawn with")
    tip: str = _tip()
    over: float = number(Grows(0.1, 0.5), 0, 1, "share of them written anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        pen = hw.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            name = str(rng.choice(hw.NAMES))
            strokes = _signed(name, rng)
            size = sheet.fitting(self.size, 0.4)
            every = np.vstack(strokes)[:, :2]
            middle = (every.min(axis=0) + every.max(axis=0)) / 2
            size = min(size, float((0.9 * sheet.size / np.ptp(every, axis=0)).min()))
            strokes = [_turn((s - np.append(middle, 0)) * [size, size, 1], rng.normal(-4, 4)) for s in strokes]
            extent = np.ptp(np.vstack(strokes)[:, :2], axis=0)
            at = sheet.place(extent, rng, self.over, str(rng.choice(["top", "bottom"])))
            sheet.ink([s + np.append(at, 0) for s in strokes], pen, rng, "signature", name)
        return sheet.done()


def _signed(name: str, rng: np.random.Generator) -> Strokes:
    """Strokes of a signature, in heights of its initial."""
    hand = replace(hw.hand_of("doctor", rng), big=1.1, flat=rng.uniform(0.3, 0.9), climb=rng.uniform(0, 0.06))
    first = str(rng.choice(list("ABCDEFGHJKLMNPRSTVW")))
    strokes, x = hw.write(first if rng.random() < 0.5 else f"{first}.", hand, rng)
    strokes = [s * [1.15, 1.15, 1] for s in strokes]
    x = x * 1.15 - 0.15
    if rng.random() < 0.5:
        more, width = hw.write(name, replace(hand, flat=rng.uniform(0.5, 0.9)), rng)
        move = np.array([x + 0.15, 0, 0])
        strokes += [s + move for s in more]
        end = move[:2] + np.array([width, -0.1])
    else:
        # A capital, some humps with a loop or two, and a long tail.
        n = int(rng.integers(5, 12))
        ups = x + 0.1 + np.cumsum(rng.uniform(0.1, 0.26, 2 * n))
        high = rng.uniform(0.12, 0.42, 2 * n) * np.linspace(1, 0.35, 2 * n)
        high[::2] *= -1
        high[1::2] *= 0.25
        high[2 * int(rng.integers(0, n))] = -rng.uniform(0.7, 1.2)
        tail = [[ups[-1] + rng.uniform(0.4, 1.6), rng.uniform(-0.3, 0.1)]]
        wave = np.vstack([np.stack([ups, high], axis=-1), tail])
        wave[:, 0] -= 0.12 * (np.arange(len(wave)) % 2)
        path = hw.soften(hw.resampled(hw.curve_through(wave), 0.045), 1.5)
        path[:, 0] -= 0.35 * path[:, 1]
        strokes.append(np.column_stack([path, hw.pressure(path, 0.6, 0.6, rng)]))
        end = wave[-1]
    if rng.random() < 0.6:  # a line back under it, and sometimes forth again
        y = rng.uniform(0.15, 0.4)
        under = np.array([end, end + np.array([0.15, 0.1]), [end[0] * 0.4, y], [rng.uniform(-0.2, 0.3), y + 0.1]])
        if rng.random() < 0.5:
            under = np.vstack([under, [[0.1, y + 0.2], [end[0] * rng.uniform(0.6, 1.3), y + rng.uniform(0, 0.25)]]])
        path = hw.resampled(hw.curve_through(under), 0.045)
        strokes.append(np.column_stack([path, hw.pressure(path, 0.5, 0.8, rng)]))
    return strokes


@dataclass(frozen=True, kw_only=True)
class Arrow(Effect):
    """Arrows drawn by hand that point at beats, some with a word at their tail."""

    stage: ClassVar[str] = "marks"
    count: int = _count(6, "how many")
    length: float = number(Range(8, 22), 1, 200, "from tail to tip", "mm")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), hw.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            length = sheet.fitting(self.length * rng.uniform(0.7, 1.2), 0.45)
            tip = sheet.beat(rng)[0] + rng.normal(0, 0.12 * length, 2)
            # Of some directions, the one whose tail lies furthest inside.
            angles = rng.uniform(0, 2 * np.pi, 5)
            tails = tip + length * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            tail = tails[int(np.argmax(np.minimum(tails, sheet.size - tails).min(axis=1)))]
            tip = tip + 0.12 * (tail - tip)
            strokes = _arrow(tail, tip, rng)
            moved = sheet.keep_in(np.vstack(strokes))
            cuts = np.cumsum([len(s) for s in strokes])[:-1]
            sheet.ink(np.split(moved, cuts), pen, rng, "arrow")
            if rng.random() < 0.45:
                size = sheet.fitting(rng.uniform(2.4, 4.0))
                at = moved[0, :2] + (moved[0, :2] - tip) / max(length, 1e-6) * 1.6 * size
                _written(sheet, hw.phrase(rng, 14, 1), hand, pen, size, at, rng, angle=rng.normal(0, 4))
        return sheet.done()


def _arrow(tail: D, tip: D, rng: np.random.Generator) -> Strokes:
    """A shaft, bowed a little, and a head in two strokes or one."""
    along = tip - tail
    length = float(np.linalg.norm(along))
    side = np.array([-along[1], along[0]])
    t = np.linspace(0, 1, 24)[:, None]
    shaft = tail + t * along + 4 * t * (1 - t) * side * rng.normal(0, 0.06)
    angle = np.rad2deg(np.arctan2(along[1], along[0])) + rng.normal(0, 4)
    head = np.clip(0.22 * length, 0.4, 4) * rng.uniform(0.8, 1.2)
    wings = [
        _turn(np.array([[-np.cos(a) * head, np.sin(a) * head]]), angle, tip)[0]
        for a in np.deg2rad(rng.normal(28, 6)) * np.array([-1, 1])
    ]
    shake = min(0.1, 0.01 * length)
    out = [_by_hand(shaft, rng, shake)]
    if rng.random() < 0.5:
        out.append(_by_hand(np.array([wings[0], tip, wings[1]]), rng, shake / 2))
    else:
        out += [_by_hand(np.array([tip, wing]), rng, shake / 2) for wing in wings]
    return out


@dataclass(frozen=True, kw_only=True)
class Circled(Effect):
    """Loops drawn by hand around beats, stretches of a lead or printed words."""

    stage: ClassVar[str] = "marks"
    count: int = _count(5, "how many")
    size: float = number(Range(9, 26), 1, 200, "width of the loop", "mm")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), hw.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            width = sheet.fitting(self.size * rng.uniform(0.7, 1.3), 0.7)
            size = np.array([width, width * rng.uniform(0.55, 1.2)])
            words = sheet.texts("header", "measurement", "label")
            if words and rng.random() < 0.3:
                outline = words[int(rng.integers(len(words)))].outline
                centre = (outline.min(axis=0) + outline.max(axis=0)) / 2
                size = np.ptp(outline, axis=0) * [1.15, 1.5] + [2.5, 2]
            else:
                centre = sheet.beat(rng)[0] + [rng.uniform(0, 0.25) * width, 0.12 * size[1]]
            loop = sheet.keep_in(_by_hand(_loop(size, rng) + centre, rng, min(0.25, 0.012 * width), taper=2.0))
            sheet.ink([loop], pen, rng, "circle")
            if rng.random() < 0.3:
                text = str(rng.choice(["?", "!", "??", "ST", "here", "PVC", "T wave", "P?", "NB", "U", "J pt"]))
                letter = sheet.fitting(rng.uniform(2.5, 4.5))
                corner = loop[:, :2].max(axis=0) * [1, 0] + loop[:, :2].min(axis=0) * [0, 1]
                _written(sheet, text, hand, pen, letter, corner + letter * np.array([0.8, 0]), rng)
        return sheet.done()


def _loop(size: D, rng: np.random.Generator) -> D:
    """(N, 2) a loop ``size`` (2,) mm large about the origin, which does not close where it began."""
    turns = rng.uniform(1.02, 1.25) if rng.random() < 0.75 else rng.uniform(1.9, 2.3)
    start, way = rng.uniform(0, 2 * np.pi), float(rng.choice([-1, 1]))
    t = np.linspace(0, 1, 160)
    a = start + way * 2 * np.pi * turns * t
    grows = 1 + rng.normal(0, 0.1) * (t - 0.5) + 0.05 * np.sin(2 * a + rng.uniform(0, 6))
    loop = np.stack([np.cos(a), np.sin(a)], axis=-1) * grows[:, None] * size / 2
    return _turn(loop, rng.normal(-6, 6)) + t[:, None] * rng.normal(0, 0.04, 2) * size


@dataclass(frozen=True, kw_only=True)
class Underline(Effect):
    """Lines by hand under printed words or stretches of a lead: single, double or wavy."""

    stage: ClassVar[str] = "marks"
    count: int = _count(6, "how many")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        pen = hw.pen_of(self.pen, self.tip, rng)
        words = sheet.texts("header", "measurement", "label", "text")
        for _ in range(self.count):
            if words and rng.random() < 0.75:
                outline = words[int(rng.integers(len(words)))].outline
                left, right, y = outline[:, 0].min(), outline[:, 0].max(), outline[:, 1].max() + rng.uniform(0.4, 1.2)
                left, right = left - rng.uniform(-0.5, 1.5), right + rng.uniform(-1, 2)
            else:
                length = sheet.fitting(rng.uniform(12, 45), 0.7)
                left, y = sheet.beat(rng)[0] + [-0.3 * length, sheet.fitting(rng.uniform(4, 8), 0.1)]
                right = left + length
            right = max(right, left + 0.5)
            how = str(rng.choice(["single", "single", "double", "wavy"]))
            lines = []
            for i in range(2 if how == "double" else 1):
                x = np.linspace(left, right, 60) + rng.normal(0, 0.4)
                wave = 0.5 * np.sin((x - left) * rng.uniform(2.2, 3.2)) if how == "wavy" else 0 * x
                path = np.stack([x, y + wave + i * rng.uniform(0.8, 1.4) + (x - left) * rng.normal(0, 0.012)], axis=-1)
                lines.append(_by_hand(path, rng, min(0.12, 0.02 * (right - left))))
            kept = sheet.keep_in(np.vstack(lines))
            sheet.ink(np.split(kept, np.cumsum([len(s) for s in lines])[:-1]), pen, rng, "underline")
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Caliper(Effect):
    """Intervals measured by hand: marks at beats, a line or bracket between, and a number."""

    stage: ClassVar[str] = "marks"
    count: int = _count(5, "how many")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES[:3])), rng), hw.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            points, label = _interval(sheet, rng)
            style = str(rng.choice(["arrows", "bracket", "ticks"]))
            up = sheet.fitting(rng.uniform(3, 9), 0.15) * (1 if points[0, 1] > 0.12 * sheet.size[1] else -1)
            y = float(points[:, 1].min() if up > 0 else points[:, 1].max()) - up
            strokes = _measure(points[:, 0], y, style, rng)
            kept = sheet.keep_in(np.vstack(strokes))
            sheet.ink(np.split(kept, np.cumsum([len(s) for s in strokes])[:-1]), pen, rng, "caliper", label)
            if label:
                size = sheet.fitting(rng.uniform(2.0, 3.4))
                middle = kept[:, :2].mean(axis=0) - [0, np.sign(up) * (0.9 * size + 0.6)]
                _written(sheet, label, hand, pen, size, middle, rng, angle=rng.normal(0, 3))
        return sheet.done()


def _interval(sheet: _Sheet, rng: np.random.Generator) -> tuple[D, str]:
    """(N, 2) mm of what is measured, and the number that somebody would write beside it (or none)."""
    at, trace, peaks = sheet.beat(rng)
    speed = max(sheet.page.layout.speed, 1.0)
    kind = str(rng.choice(["RR", "RR", "QRS", "PR", "QT"]))
    if trace is not None and kind == "RR" and peaks.size > 1:
        mm = sheet.page.mm(trace)[peaks]
        first = int(rng.integers(len(mm) - 1))
        points = mm[first : first + (2 if rng.random() < 0.7 else 6)]
    else:
        span = {"RR": (0.5, 1.1), "QRS": (0.08, 0.16), "PR": (0.12, 0.24), "QT": (0.34, 0.46)}[kind]
        start = {"RR": 0.0, "QRS": -0.05, "PR": -0.2, "QT": -0.04}[kind]
        x = at[0] + speed * np.array([start, start + rng.uniform(*span)])
        points = np.stack([x, np.full(2, at[1])], axis=-1)
    points = points + rng.normal(0, 0.15, points.shape)
    seconds = float(np.diff(points[:2, 0])[0]) / speed
    ms = max(10, 10 * round(100 * seconds))
    forms = [
        f"{ms}",
        f"{ms} ms",
        f"{kind} {ms}",
        f"{ms / 1000:.2f}",
        f"{kind} .{ms // 10:02d}" if ms < 1000 else f"{ms}",
        "",
    ]
    if kind == "RR" and seconds > 0.25:
        forms += [f"{round(60 / seconds)}/min", f"{max(1, round(seconds * speed / 5))} sq"]
    return points, forms[int(rng.integers(len(forms)))]


def _measure(x: D, y: float, style: str, rng: np.random.Generator) -> Strokes:
    """Strokes of marks at ``x`` (N,) mm on a line at ``y`` mm: ticks, arrows between two of them, or a bracket."""
    tick = rng.uniform(1.8, 3.5)
    slope = rng.normal(0, 0.01)
    level = y + slope * (x - x[0])
    ticks = [
        _by_hand(np.array([[a + rng.normal(0, 0.1), b - tick / 2], [a + rng.normal(0, 0.15), b + tick / 2]]), rng, 0.04)
        for a, b in zip(x, level, strict=True)
    ]
    if style == "ticks":
        return ticks
    left, right = np.array([x[0], level[0]]), np.array([x[-1], level[-1]])
    if style == "bracket":
        drop = np.array([0.0, tick * 0.8])
        return [_by_hand(np.vstack([left + drop, left, right, right + drop]), rng, 0.08)]
    head = min(1.6, 0.3 * float(x[-1] - x[0]))
    out = [_by_hand(np.vstack([left, right]), rng, 0.06), *ticks]
    for end, way in ((left, 1), (right, -1)):
        wings = end + np.array([[way * head, -0.5 * head], [0.0, 0.0], [way * head, 0.5 * head]])
        out.append(_by_hand(wings, rng, 0.04))
    return out


@dataclass(frozen=True, kw_only=True)
class CheckMarks(Effect):
    """Ticks, crosses and question marks beside printed words and leads."""

    stage: ClassVar[str] = "marks"
    count: int = _count(9, "how many")
    size: float = number(Range(3, 6.5), 0.5, 40, "height", "mm")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), hw.pen_of(self.pen, self.tip, rng)
        words = sheet.texts("header", "measurement", "label")
        bend = rng.normal(0, 0.08, (3, 2))
        for _ in range(self.count):
            size = sheet.fitting(self.size * rng.uniform(0.8, 1.2))
            if words and rng.random() < 0.75:
                outline = words[int(rng.integers(len(words)))].outline
                side = outline[:, 0].max() + size if rng.random() < 0.7 else outline[:, 0].min() - size
                at = np.array([side, outline[:, 1].mean()]) + rng.normal(0, 0.15 * size, 2)
            else:
                at = sheet.place(np.full(2, size), rng, 0.3)
            if rng.random() < 0.85:
                corners = np.array([[-0.4, 0.05], [-0.12, 0.45], [0.55, -0.6]]) + bend + rng.normal(0, 0.05, (3, 2))
                tick = sheet.keep_in(_by_hand(corners * size + at, rng, 0.02 * size, 0.8, 0.5 * size))
                sheet.ink([tick], pen, rng, "handwriting", "\N{CHECK MARK}")
            else:
                _written(sheet, str(rng.choice(["?", "x", "!", "ok"])), hand, pen, size * 0.8, at, rng)
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Scribble(Effect):
    """Somebody tried a pen, or crossed something out: coils and zigzags."""

    stage: ClassVar[str] = "marks"
    count: int = _count(4, "how many")
    size: float = number(Range(6, 22), 1, 100, "length", "mm")
    pen: str = _pen()
    tip: str = _tip()

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        pen = hw.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            length = sheet.fitting(self.size * rng.uniform(0.7, 1.3), 0.6)
            high = length * rng.uniform(0.15, 0.5)
            turns = rng.uniform(4, 14)
            t = np.linspace(0, 1, int(40 * turns))
            a = 2 * np.pi * turns * t + rng.uniform(0, 6)
            swell, lag, lead = (np.interp(t * 9, np.arange(10), rng.normal(0, 1, 10)) for _ in range(3))
            a += 0.8 * lag
            swell = 1 + 0.3 * swell
            back = rng.choice([0.0, rng.uniform(0.06, 0.2)])  # 0: a zigzag, more: coils
            x = t - 0.5 + 0.04 * lead + back * (1 + 0.3 * lag) * np.cos(a)
            path = np.stack([length * x, high * (0.5 * swell * np.sin(a) + 0.1 * lead)], axis=-1)
            path = _turn(path, rng.normal(-10, 25))
            at = sheet.place(np.ptp(path, axis=0), rng, 0.25)
            sheet.ink([sheet.keep_in(_by_hand(path + at, rng, 0.1, 0.9))], pen, rng, "handwriting")
        return sheet.done()


# Laid on the paper


def _lay(
    sheet: _Sheet, patch: NDArray[np.generic], fine: float, centre: D, angle: float
) -> tuple[tuple[slice, slice], fl.F] | None:
    """A patch (h, w) or (h, w, c), ``fine`` px per mm, turned about its centre, which comes to ``centre`` mm.

    Returns:
        The rows and columns of the image that it reaches, and it as seen there (0 where it is not); None if off the
        image.
    """
    h, w = patch.shape[:2]
    mm = _turn(np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / (2 * fine), angle, centre)
    px = sheet.page.mm_to_px(mm)
    low = np.maximum(np.floor(px.min(axis=0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(px.max(axis=0)) + 2, sheet.image.shape[1::-1]).astype(int)
    if (high <= low).any():
        return None
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(corners, (px - low).astype(np.float32))
    seen = cv2.warpPerspective(np.asarray(patch, np.float32), matrix, (high - low).tolist(), flags=cv2.INTER_LINEAR)
    return (slice(low[1], high[1]), slice(low[0], high[0])), np.asarray(seen, np.float32)


def _fine(sheet: _Sheet) -> float:
    """px per mm at which patches are drawn: twice as fine as the image, within reason."""
    return min(2 * sheet.k, 24.0)


def _corners(size: D, angle: float, centre: D, cut: float = 0.0) -> D:
    """(4 or more, 2) mm: a turned rectangle, its corners rounded by ``cut`` mm."""
    w, h = size / 2
    if cut > 0:
        a = np.deg2rad(np.arange(0, 91, 15))
        arc = np.stack([np.cos(a), np.sin(a)], axis=-1) * cut
        quarter = [(1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270)]
        parts = [_turn(arc, turn, [sx * (w - cut), sy * (h - cut)]) for sx, sy, turn in quarter]
        return _turn(np.vstack(parts), angle, centre)
    return _turn(np.array([[-w, -h], [w, -h], [w, h], [-w, h]]), angle, centre)


def _filled(outline: D, fine: float, room: float = 0.0) -> tuple[fl.U8, D]:
    """The inside of an outline (N, 2) mm at ``fine`` px per mm, and (2,) mm of the middle of that picture."""
    low, high = outline.min(axis=0) - room, outline.max(axis=0) + room
    w, h = np.maximum(np.ceil((high - low) * fine), 1).astype(int)
    mask: fl.U8 = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [np.rint(((outline - low) * fine - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return mask, low + np.array([w, h]) / (2 * fine)


def _cover(sheet: _Sheet, outline: D, colour: RGB) -> None:
    """Paint an outline (N, 2) mm full."""
    mask, middle = _filled(outline, min(4 * sheet.k, 30.0), 1 / sheet.k)
    laid = _lay(sheet, cv2.blur(mask, (3, 3)), min(4 * sheet.k, 30.0), middle, 0.0)
    if laid:
        where, alpha = laid
        sheet.image[where] = fl.blend(sheet.image[where], colour, alpha / np.float32(255))


def _shade(sheet: _Sheet, outline: D, offset: D, blur: float, depth: float) -> None:
    """A soft shadow that an outline (N, 2) mm casts, moved by ``offset`` mm, over ``blur`` mm."""
    mask, middle = _filled(outline, min(sheet.k, 6.0), 2.5 * blur)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.4, blur * min(sheet.k, 6.0)))
    laid = _lay(sheet, soft, min(sheet.k, 6.0), middle + offset, 0.0)
    if laid:
        where, alpha = laid
        sheet.image[where] = fl.multiply(sheet.image[where], 1 - np.float32(depth / 255) * alpha)


def _tone(sheet: _Sheet, tone: NDArray[np.floating], size: D, angle: float, centre: D) -> None:
    """Multiply a turned rectangle of the image by a small field (h, w)."""
    fine = 48.0 / float(size.max())
    h, w = np.maximum(np.round(size[::-1] * fine), 2).astype(int)
    laid = _lay(sheet, 1 - fl.resize(tone, (int(h), int(w))), fine, centre, angle)
    if laid:
        where, dark = laid
        sheet.image[where] = fl.multiply(sheet.image[where], 1 - dark)


_STAMP_INKS: dict[str, RGB] = {
    "blue": (44, 62, 158), "red": (196, 38, 46), "violet": (104, 52, 150), "black": (40, 40, 46),
    "green": (30, 110, 70),
}  # fmt: skip
_STAMPED = (
    "RECEIVED", "COPY", "REVIEWED", "SCANNED", "FILED", "URGENT", "CONFIRMED", "DUPLICATE", "CARDIOLOGY", "ECG ROOM",
    "OUTPATIENT", "CHECKED", "NOT REPORTED", "ARCHIVE", "FAXED", "ENTERED", "DRAFT", "SAMPLE", "WARD COPY",
)  # fmt: skip
_PLACES = ("INKWELL CLINIC", "SMUDGE HOSPITAL", "DOODLE INFIRMARY", "BLOTCH HEART UNIT", "PLONK MEDICAL CENTRE")


@dataclass(frozen=True, kw_only=True)
class Stamp(Effect):
    """Rubber stamps in uneven ink, framed or round: RECEIVED, COPY, a made-up place, a date."""

    stage: ClassVar[str] = "marks"
    count: int = _count(3, "how many")
    size: float = number(Range(26, 52), 2, 200, "width", "mm")
    shape: str = word(OneOf(("box", "bare", "round")), ("box", "bare", "round"), "framed, words only, or round")
    ink: str = word(OneOf(("blue", "red", "violet", "black")), tuple(_STAMP_INKS), "colour")
    tilt: float = number(Range(-14, 14), -180, 180, "turned by", "degrees")
    wear: float = number(Grows(0.15, 0.9), 0, 1, "how unevenly it prints")
    over: float = number(Grows(0.1, 0.6), 0, 1, "share of them stamped anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        colour = np.clip(np.array(_STAMP_INKS[self.ink]) + rng.normal(0, 10, 3), 0, 255)
        for _ in range(self.count):
            width = sheet.fitting(self.size * rng.uniform(0.85, 1.15), 0.6)
            fine = _fine(sheet)
            if self.shape == "round":
                rubber, text = _round_stamp(min(width, 38.0), fine, rng)
            else:
                rubber, text = _box_stamp(width, fine, self.shape == "box", rng)
            angle = self.tilt + rng.normal(0, 2)
            extent = np.array(rubber.shape[1::-1]) / fine
            at = sheet.place(extent, rng, self.over, str(rng.choice(["top", "bottom", ""])))
            laid = _lay(sheet, _stamped(rubber, fine, self.wear, rng.spawn(1)[0]), fine, at, angle)
            if laid is None:
                continue
            where, alpha = laid
            sheet.image[where] = fl.dye(sheet.image[where], (colour[0], colour[1], colour[2]), alpha)
            rows = np.flatnonzero(rubber.any(axis=1))
            ends = [(rubber[rows] > 0).argmax(axis=1), rubber.shape[1] - (rubber[rows, ::-1] > 0).argmax(axis=1)]
            points = np.vstack([np.stack([end, rows + 0.5], axis=-1) for end in ends])
            points = (points - np.array(rubber.shape[1::-1]) / 2) / fine
            sheet.box("stamp", _turn(hw.hull(points, 0.2 + 0.6 / sheet.k), angle, at), text)
        return sheet.done()


def _box_stamp(width: float, fine: float, framed: bool, rng: np.random.Generator) -> tuple[fl.U8, str]:
    """A rubber of one to three lines, ``width`` mm wide, at ``fine`` px per mm, and its text."""
    lines = [str(rng.choice(_STAMPED))]
    if rng.random() < 0.7:
        lines.append(hw.date(rng).upper())
    if rng.random() < 0.45:
        lines.insert(int(rng.integers(2)), str(rng.choice(_PLACES)))
    font = str(rng.choice(["sans", "serif", "plain", "sans"]))
    bold = bool(rng.random() < 0.7)
    inner = width - (5.0 if framed else 2.0) * width / 40
    sizes = [min(inner / printed.width(line, 1.0, font, bold), 0.22 * width) for line in lines]
    sizes[1:] = [min(size, 0.75 * max(sizes)) for size in sizes[1:]]
    pad = 0.07 * width
    height = sum(1.45 * size for size in sizes) + 2 * pad
    rubber: fl.U8 = np.zeros((int(np.ceil(height * fine)), int(np.ceil(width * fine))), np.uint8)
    y, texts = pad, []
    for line, size in zip(lines, sizes, strict=True):
        y += 1.2 * size
        texts.append(printed.Text(line, width / 2, y, size, font, "ms", bold))
        y += 0.25 * size
    printed.draw(rubber, texts, fine)
    if framed:
        pen = max(1, round(rng.uniform(0.5, 1.1) * width / 40 * fine))
        h, w = rubber.shape
        cv2.rectangle(rubber, (pen, pen), (w - 1 - pen, h - 1 - pen), 255, pen)
        if rng.random() < 0.35:
            cv2.rectangle(rubber, (3 * pen, 3 * pen), (w - 1 - 3 * pen, h - 1 - 3 * pen), 255, max(1, pen // 2))
    return rubber, "\n".join(lines)


def _round_stamp(width: float, fine: float, rng: np.random.Generator) -> tuple[fl.U8, str]:
    """A round rubber: a place along its rim, a date or a word across its middle."""
    side = int(np.ceil(width * fine))
    rubber: fl.U8 = np.zeros((side, side), np.uint8)
    middle, radius = (side - 1) / 2, 0.47 * side
    pen = max(1, round(0.018 * side))
    for share, wide in ((1.0, pen), (0.62, max(1, pen // 2))):
        cv2.circle(rubber, (round(middle), round(middle)), round(share * radius), 255, wide, cv2.LINE_AA)
    place, low = str(rng.choice(_PLACES)), str(rng.choice(_STAMPED))
    across = hw.date(rng).upper()
    for rim, upper in ((place, True), (low, False)):
        r = (0.72 if upper else 0.9) * radius
        size = min(0.19 * radius, 2.5 * r / strokefont.advance(rim))
        start = -strokefont.advance(rim) / 2
        paths = []
        for path in strokefont.strokes(rim):
            dense = hw.resampled(path, 0.1)
            a = (dense[:, 0] + start) * size * 1.08 / r
            rho = r - dense[:, 1] * size if upper else r + dense[:, 1] * size
            y = -np.cos(a) if upper else np.cos(a)
            paths.append(np.stack([middle + rho * np.sin(a), middle + rho * y], axis=-1))
        letters = [np.rint(p * 16).astype(np.int32) for p in paths]
        cv2.polylines(rubber, letters, False, 255, max(1, round(0.16 * size)), cv2.LINE_AA, 4)
    cap = min(0.26 * radius, 1.05 * radius / printed.width(across, 1.0)) / fine
    printed.draw(rubber, [printed.Text(across, width / 2, width / 2, cap, "sans", "mm", True)], fine)
    return rubber, "\n".join((place, across, low))


def _stamped(rubber: fl.U8, fine: float, wear: float, rng: np.random.Generator) -> fl.F:
    """(h, w) 0 to 1: the ink that a rubber leaves: more at its edges, blotchy, none where it did not touch."""
    shape = (rubber.shape[0], rubber.shape[1])
    mm = max(shape) / fine
    cover = cv2.GaussianBlur(rubber, (0, 0), 0.07 * fine).astype(np.float32) / np.float32(255)
    inside = cv2.GaussianBlur(rubber, (0, 0), 0.22 * fine).astype(np.float32) / np.float32(255)
    rim = np.clip(1.25 - 0.5 * inside, 0, 1)
    blotch = fl.fractal(rng, shape, mm / 9, 3, 0.7)
    grain = fl.smooth(rng, shape, min(mm / 0.28, max(shape) / 2))
    way = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)
    tipped = np.cos(way) * x + np.sin(way) * y  # pressed harder on one side
    given = 0.9 - 0.25 * wear + wear * (0.35 * blotch + 0.35 * tipped * rng.uniform(0, 1.2))
    touch = np.clip(1.2 * given + 0.4 - (0.15 + 0.45 * wear) * (0.5 + 0.5 * grain), 0.0, 1.0)
    return np.asarray(np.clip(cover * rim * touch, 0, 0.93), np.float32)


_DYES: dict[str, RGB] = {
    "yellow": (255, 240, 60), "pink": (255, 130, 190), "green": (150, 245, 110), "blue": (125, 205, 255),
    "orange": (255, 185, 80),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Highlighter(Effect):
    """Transparent bands of a highlighter over words and stretches of a lead."""

    stage: ClassVar[str] = "marks"
    count: int = _count(6, "how many")
    width: float = number(Range(3.2, 5.5), 0.5, 40, "of the tip", "mm")
    colour: str = word(OneOf(("yellow", "yellow", "pink", "green", "blue", "orange")), tuple(_DYES), "colour")
    strength: float = number(Range(0.55, 0.95), 0, 1, "how much dye it gives")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        colour = np.clip(np.array(_DYES[self.colour]) + rng.normal(0, 6, 3), 0, 255)
        words = sheet.texts("header", "measurement", "label", "text")
        for _ in range(self.count):
            width = sheet.fitting(self.width, 0.3)
            if words and rng.random() < 0.6:
                outline = words[int(rng.integers(len(words)))].outline
                at = (outline.min(axis=0) + outline.max(axis=0)) / 2
                length = float(np.ptp(outline[:, 0])) * rng.uniform(0.9, 1.1) + rng.uniform(1, 5)
            else:
                at, trace, _ = sheet.beat(rng)
                if trace is not None:
                    at = np.array([at[0], float(np.nanmedian(sheet.page.mm(trace)[:, 1]))])
                at = at + rng.normal(0, 1.5, 2)
                length = rng.uniform(12, 70)
            length = min(max(length, 1.5 * width), 0.9 * float(sheet.size[0]))
            passes = 1 if rng.random() < 0.75 else 2
            for i in range(passes):
                move = np.array([rng.normal(0, 1.0), i * width * rng.uniform(0.6, 0.95)])
                here = sheet.keep_in(
                    np.array([at + move - [length / 2, width / 2], at + move + [length / 2, width / 2]])
                )
                self._band(sheet, here.mean(axis=0), length, width, (colour[0], colour[1], colour[2]), rng)
        return sheet.done()

    def _band(self, sheet: _Sheet, at: D, length: float, width: float, colour: RGB, rng: np.random.Generator) -> None:
        """One stroke of a chisel tip."""
        angle = rng.normal(0, 0.8)
        t = np.linspace(0, 1, 24)
        bow = (
            rng.normal(0, 0.004) * length * np.sin(np.pi * t + rng.uniform(-1, 1))
            + 0.08 * hw.soften(rng.normal(0, 1, (24, 2)), 2)[:, 0]
        )
        lean = width * rng.uniform(-0.2, 0.35)  # of the chisel's edge
        x = (t - 0.5) * length
        upper = np.stack([x + lean / 2, bow - width / 2], axis=-1)
        lower = np.stack([x - lean / 2, bow + width / 2], axis=-1)
        outline = _turn(np.vstack([upper, lower[::-1]]), angle, at)
        fine = min(sheet.k, 8.0) * 1.5
        mask, middle = _filled(outline, fine, 0.5)
        cover = cv2.GaussianBlur(mask, (0, 0), 0.12 * fine).astype(np.float32) / np.float32(255)
        inside = cv2.GaussianBlur(mask, (0, 0), 0.5 * fine).astype(np.float32) / np.float32(255)
        shape = (mask.shape[0], mask.shape[1])
        streaks = fl.resize(rng.normal(0, 1, (max(4, int(width * 3)), max(4, int(length / 15) + 3))), shape)
        dose = self.strength * (0.9 + 0.06 * streaks + 0.2 * np.clip(1 - inside, 0, 0.5))
        ends = np.linspace(0, 1, shape[1], dtype=np.float32)
        dose = dose * (1 + 0.15 * np.exp(-ends * length / 2.0) + 0.2 * np.exp(-(1 - ends) * length / 2.0))
        laid = _lay(sheet, np.clip(cover * dose, 0, 1), fine, middle, 0.0)
        if laid:
            where, alpha = laid
            sheet.image[where] = fl.dye(sheet.image[where], colour, alpha)
            sheet.box("highlighter", hw.hull(outline, 0.25 + 0.5 / sheet.k))


# Opaque


_LABELS: dict[str, RGB] = {
    "white": (250, 250, 247), "yellow": (252, 236, 140), "green": (190, 226, 178), "orange": (250, 200, 130),
    "pink": (246, 196, 204), "blue": (186, 214, 240),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sticker(Effect):
    """Adhesive labels with a bar code and made-up patient data; they hide what is below."""

    stage: ClassVar[str] = "marks"
    count: int = _count(3, "how many")
    size: float = number(Range(32, 62), 3, 200, "width", "mm")
    colour: str = word(OneOf(("white", "white", "white", "yellow", "green", "blue")), tuple(_LABELS), "of the label")
    tilt: float = number(Range(-5, 5), -180, 180, "turned by", "degrees")
    over: float = number(Grows(0.0, 0.5), 0, 1, "share of them stuck anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        for _ in range(self.count):
            width = sheet.fitting(self.size * rng.uniform(0.85, 1.15), 0.6)
            size = np.array([width, width * rng.uniform(0.32, 0.55)])
            angle = self.tilt + rng.normal(0, 1)
            at = sheet.place(np.abs(np.ptp(_corners(size, angle, np.zeros(2)), axis=0)), rng, self.over, "top")
            cut = min(rng.uniform(0.5, 2.0), 0.15 * float(size[1]))
            outline = _corners(size, angle, at, cut)
            fine = _fine(sheet)
            ink, text = _label_print(size, fine, rng)
            _shade(sheet, outline, np.array([0.1, 0.15]), 0.25, rng.uniform(0.08, 0.22))
            paper = np.array(_LABELS[self.colour]) + rng.normal(0, 2, 3)
            _cover(sheet, outline, (paper[0], paper[1], paper[2]))
            tone = 1 - 0.025 * fl.smooth(rng, (24, 48), 2.5)  # it does not lie quite flat
            _tone(sheet, np.minimum(tone, 1.0), size, angle, at)
            laid = _lay(sheet, ink, fine, at, angle)
            if laid:
                where, alpha = laid
                sheet.image[where] = fl.dye(sheet.image[where], (24, 24, 28), alpha / np.float32(255))
            sheet.box("sticker", outline, text, hides=True)
        return sheet.done()


def _label_print(size: D, fine: float, rng: np.random.Generator) -> tuple[fl.U8, str]:
    """What is printed on a label of ``size`` (2,) mm, at ``fine`` px per mm, and its text."""
    w, h = float(size[0]), float(size[1])
    ink: fl.U8 = np.zeros((int(np.ceil(h * fine)), int(np.ceil(w * fine))), np.uint8)
    code = f"{rng.integers(10**7, 10**8)}"
    name = f"{rng.choice(hw.NAMES).upper()}, {rng.choice(list('ABCDEFGHJKLMNPRST'))}."
    lines = [
        name if rng.random() < 0.7 else f"SPECIMEN {rng.integers(100, 999)}",
        f"{rng.choice(['MRN', 'ID', 'No.'])} {code}",
        f"DOB {hw.date(rng)}  {rng.choice(['M', 'F'])}",
        f"{rng.choice(['Ward', 'Unit', 'Bed'])} {rng.integers(1, 30)}  {rng.choice(_PLACES).title()}",
    ][: int(rng.integers(2, 5))]
    bar = rng.random() < 0.75
    pad = 0.06 * w
    font = str(rng.choice(["sans", "plain", "stroke", "sans"]))
    room = (h - 2 * pad) * (0.6 if bar else 1.0)
    cap = min(room / len(lines) / 1.6, *((w - 2 * pad) / printed.width(line, 1.0, font) for line in lines))
    texts = [
        printed.Text(line, pad, pad + (1.6 * i + 1) * cap, cap * (1.0 if i else 1.05), font, "ls", i == 0)
        for i, line in enumerate(lines)
    ]
    if bar:
        matrix = headers.code_matrix("bar", code)
        module = (w - 2 * pad) * rng.uniform(0.7, 1.0) / matrix.shape[1]
        top, tall = pad + room + 0.05 * h, h - pad - (pad + room + 0.05 * h)
        strip: fl.U8 = np.zeros_like(ink[: max(1, int(np.ceil(module * fine)) + 1)])
        headers.paint_code(strip, matrix, pad, 0.0, module, fine)
        first, last = int(top * fine), max(int(top * fine) + 1, int((top + tall) * fine))
        ink[first:last] = strip[:1]
    printed.draw(ink, texts, fine)
    return ink, "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class StickyNote(Effect):
    """Coloured squares with handwriting, stuck over a part of the page; they hide what is below."""

    stage: ClassVar[str] = "marks"
    count: int = _count(2, "how many")
    size: float = number(Range(32, 62), 3, 200, "side", "mm")
    colour: str = word(
        OneOf(("yellow", "yellow", "pink", "green", "blue", "orange")), tuple(_LABELS)[1:], "of the note"
    )
    hand: str = word(OneOf(FAMILIES), FAMILIES, "kind of hand")
    pen: str = _pen()
    over: float = number(Grows(0.1, 0.8), 0, 1, "share of them stuck anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        for _ in range(self.count):
            side = sheet.fitting(self.size * rng.uniform(0.9, 1.1), 0.5)
            size = np.array([side, side * rng.choice([1.0, 1.0, 0.66])])
            angle = rng.normal(0, 6)
            at = sheet.place(np.ptp(_corners(size, angle, np.zeros(2)), axis=0), rng, self.over)
            outline = _corners(size, angle, at)
            lower = _corners(size * [0.98, 0.9], angle, at)
            _shade(sheet, lower, np.array([0.5, 0.09 * side]), 0.05 * side, 0.3)  # it stands off at its foot
            paper = np.array(_LABELS[self.colour]) * [1, 1, 0.9] + rng.normal(0, 4, 3)
            _cover(sheet, outline, (paper[0], paper[1], paper[2]))
            self._bent_paper(sheet, size, angle, at)
            hand, pen = hw.hand_of(self.hand, rng), hw.pen_of(self.pen, "ballpoint", rng)
            text = "\n".join(hw.phrase(rng, 16, 2) for _ in range(int(rng.integers(1, 4))))
            lines = _lettered(text, hand, side * rng.uniform(0.09, 0.15), rng)
            lines = _scaled(lines, 0.82 * size)
            sheet.box("note", outline, text, hides=True)
            for line, strokes in lines:
                sheet.ink([_turn(s, angle, at) for s in strokes], pen, rng, "handwriting", line)
        return sheet.done()

    def _bent_paper(self, sheet: _Sheet, size: D, angle: float, at: D) -> None:
        """Shade a note that is glued along its upper edge and bends up below."""
        y = np.linspace(0, 1, 48, dtype=np.float32)[:, None]
        bend = 0.05 * np.exp(-(((y - 0.16) / 0.06) ** 2)) + 0.12 * np.clip(y - 0.55, 0, 1) ** 1.5
        _tone(sheet, 1 - np.repeat(bend, 24, axis=1), size, angle, at)


_BARS: dict[str, RGB] = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (205, 203, 198), "marker": (18, 18, 22)}


@dataclass(frozen=True, kw_only=True)
class Redaction(Effect):
    """Words made unreadable as in archives: black, white or grey bars, brush strokes, a marker."""

    stage: ClassVar[str] = "marks"
    count: int = _count(9, "how many")
    style: str = word(OneOf(tuple(_BARS)), tuple(_BARS), "bars, strokes of a grey brush, or of a marker")
    over: float = number(Grows(0.0, 0.5), 0, 1, "share of them put anywhere instead of over printed words")

    def paint(self, page: Page) -> Page:
        sheet, rng = _Sheet(page), self.rng()
        words = sheet.texts("header", "footer", "text", "code", "measurement")
        order = list(rng.permutation(len(words)))
        colour = _BARS[self.style]
        for _ in range(self.count):
            if order and rng.random() >= self.over:
                outline = words[int(order.pop())].outline
                low, high = outline.min(axis=0), outline.max(axis=0)
                size, at = (high - low) + rng.uniform(0.4, 1.6, 2), (low + high) / 2
            else:
                size = np.array([sheet.fitting(rng.uniform(10, 45), 0.5), sheet.fitting(rng.uniform(3, 7), 0.2)])
                at = sheet.place(size, rng, self.over, "top", printed=True)
            if self.style in ("black", "white"):
                bar = _blanked(sheet, at, size, colour)
            else:
                bar = _brushed(at, size, rng)
                _cover(sheet, bar, colour)
            sheet.box("redaction", bar, hides=True)
        return sheet.done()


def _blanked(sheet: _Sheet, at: D, size: D, colour: RGB) -> D:
    """Fill a bar as a computer does, on whole pixels. Its corners (4, 2) mm."""
    corners = np.round(sheet.page.mm_to_px(np.array([at - size / 2, at + size / 2]))).astype(int)
    (x0, y0), (x1, y1) = np.clip([corners.min(axis=0), corners.max(axis=0)], 0, np.array(sheet.image.shape[1::-1]) - 1)
    sheet.image[y0 : y1 + 1, x0 : x1 + 1] = colour
    edges = np.array([[x0, y0], [x1 + 1, y0], [x1 + 1, y1 + 1], [x0, y1 + 1]], np.float64) - 0.5
    return np.asarray(sheet.page.mm_to_px.inverse(edges), np.float64)


def _brushed(at: D, size: D, rng: np.random.Generator) -> D:
    """(N, 2) mm: the outline of one stroke of a round brush, a little bowed, over ``size`` (2,) mm."""
    thick = float(size[1]) * 1.15
    x = np.linspace(-0.5, 0.5, 20) * max(0.1, float(size[0]) - 0.4 * thick)
    bow = hw.soften(np.stack([x, rng.normal(0, 0.12 * thick, 20)], axis=-1), 3)[:, 1] + x * rng.normal(0, 0.01)
    half = thick / 2 * (1 + 0.06 * hw.soften(rng.normal(0, 1, (20, 2)), 3)[:, 0])
    a = np.linspace(-np.pi / 2, np.pi / 2, 12)[1:-1]
    right = np.stack([x[-1] + half[-1] * np.cos(a), bow[-1] + half[-1] * np.sin(a)], axis=-1)
    left = np.stack([x[0] - half[0] * np.cos(a), bow[0] - half[0] * np.sin(a)], axis=-1)
    above, below = np.stack([x, bow - half], axis=-1), np.stack([x, bow + half], axis=-1)
    return np.asarray(np.vstack([above, right, below[::-1], left]) + at, np.float64)
