"""Marks: what people write and draw on a printed ECG: notes, signatures, arrows, loops, measurements.

Everything is placed and sized in mm on the flat sheet: mostly where there is room, sometimes right over the traces, as
in practice. It hides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..page import Page
from . import handwriting as hw
from . import pen as pens
from . import phrases
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import D
from .handwriting import FAMILIES, Strokes
from .pen import INKS
from .shapes import turned
from .writing import Sheet, by_hand, count_field, pen_field, tip_field, written


@dataclass(frozen=True, kw_only=True)
class Handwriting(Effect):
    """Notes by hand, in one hand and one pen: findings, values, dates, initials."""

    stage: ClassVar[str] = "marks"
    notes: int = count_field(10, "how many notes")
    size: float = number(Range(2.8, 7.5), 0.5, 40, "height of capitals", "mm")
    hand: str = word(OneOf(FAMILIES), FAMILIES, "kind of hand")
    pen: str = pen_field()
    tip: str = tip_field()
    over: float = number(Grows(0.05, 0.6), 0, 1, "share of the notes written anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        hand, pen = hw.hand_of(self.hand, rng), pens.pen_of(self.pen, self.tip, rng)
        tilt = rng.normal(0, 2.5)
        for _ in range(self.notes):
            size = sheet.fitting(self.size * rng.uniform(0.8, 1.25))
            longest = max(4, int(0.8 * sheet.size[0] / (0.6 * size)))
            text = phrases.phrase(rng, longest, lines=max(1, int(0.5 * sheet.size[1] / (2 * size))))
            angle = rng.normal(tilt, 2.0)
            if (odd := rng.random()) < 0.14:  # aslant, or along the sheet's side
                angle = rng.normal(0, 18) if odd < 0.08 else -90 if odd < 0.12 else 90
            written(sheet, text, hand, pen, size, None, rng, self.over, angle)
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Signature(Effect):
    """Signatures: a large initial, a scrawl and a flourish, mostly at the top or bottom."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(3, "how many")
    size: float = number(Range(5, 11), 1, 40, "height of the initial", "mm")
    pen: str = word(OneOf(("blue", "black", "blue", "black", "red")), INKS, "what it is drawn with")
    tip: str = tip_field()
    over: float = number(Grows(0.1, 0.5), 0, 1, "share of them written anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        pen = pens.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            name = str(rng.choice(phrases.NAMES))
            strokes = _signed(name, rng)
            size = sheet.fitting(self.size, 0.4)
            every = np.vstack(strokes)[:, :2]
            middle = (every.min(axis=0) + every.max(axis=0)) / 2
            size = min(size, float((0.9 * sheet.size / np.ptp(every, axis=0)).min()))
            strokes = [turned((s - np.append(middle, 0)) * [size, size, 1], rng.normal(-4, 4)) for s in strokes]
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
    count: int = count_field(6, "how many")
    length: float = number(Range(8, 22), 1, 200, "from tail to tip", "mm")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), pens.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            length = sheet.fitting(self.length * rng.uniform(0.7, 1.2), 0.45)
            tip = sheet.beat(rng)[0] + rng.normal(0, 0.12 * length, 2)
            # Of some directions, the one whose tail lies furthest inside.
            angles = rng.uniform(0, 2 * np.pi, 5)
            tails = tip + length * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            tail = tails[int(np.argmax(np.minimum(tails, sheet.size - tails).min(axis=1)))]
            tip = tip + 0.12 * (tail - tip)
            strokes = sheet.keep_strokes_in(_arrow(tail, tip, rng))
            sheet.ink(strokes, pen, rng, "arrow")
            if rng.random() < 0.45:
                size = sheet.fitting(rng.uniform(2.4, 4.0))
                end = strokes[0][0, :2]
                at = end + (end - tip) / max(length, 1e-6) * 1.6 * size
                written(sheet, phrases.phrase(rng, 14, 1), hand, pen, size, at, rng, angle=rng.normal(0, 4))
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
        turned(np.array([[-np.cos(a) * head, np.sin(a) * head]]), angle, tip)[0]
        for a in np.deg2rad(rng.normal(28, 6)) * np.array([-1, 1])
    ]
    shake = min(0.1, 0.01 * length)
    out = [by_hand(shaft, rng, shake)]
    if rng.random() < 0.5:
        out.append(by_hand(np.array([wings[0], tip, wings[1]]), rng, shake / 2))
    else:
        out += [by_hand(np.array([tip, wing]), rng, shake / 2) for wing in wings]
    return out


@dataclass(frozen=True, kw_only=True)
class Circled(Effect):
    """Loops drawn by hand around beats, stretches of a lead or printed words."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(5, "how many")
    size: float = number(Range(9, 26), 1, 200, "width of the loop", "mm")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), pens.pen_of(self.pen, self.tip, rng)
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
            loop = sheet.keep_in(by_hand(_loop(size, rng) + centre, rng, min(0.25, 0.012 * width), taper=2.0))
            sheet.ink([loop], pen, rng, "circle")
            if rng.random() < 0.3:
                text = str(rng.choice(["?", "!", "??", "ST", "here", "PVC", "T wave", "P?", "NB", "U", "J pt"]))
                letter = sheet.fitting(rng.uniform(2.5, 4.5))
                corner = loop[:, :2].max(axis=0) * [1, 0] + loop[:, :2].min(axis=0) * [0, 1]
                written(sheet, text, hand, pen, letter, corner + letter * np.array([0.8, 0]), rng)
        return sheet.done()


def _loop(size: D, rng: np.random.Generator) -> D:
    """(N, 2) a loop ``size`` (2,) mm large about the origin, which does not close where it began."""
    turns = rng.uniform(1.02, 1.25) if rng.random() < 0.75 else rng.uniform(1.9, 2.3)
    start, way = rng.uniform(0, 2 * np.pi), float(rng.choice([-1, 1]))
    t = np.linspace(0, 1, 160)
    a = start + way * 2 * np.pi * turns * t
    grows = 1 + rng.normal(0, 0.1) * (t - 0.5) + 0.05 * np.sin(2 * a + rng.uniform(0, 6))
    loop = np.stack([np.cos(a), np.sin(a)], axis=-1) * grows[:, None] * size / 2
    return turned(loop, rng.normal(-6, 6)) + t[:, None] * rng.normal(0, 0.04, 2) * size


@dataclass(frozen=True, kw_only=True)
class Underline(Effect):
    """Lines by hand under printed words or stretches of a lead: single, double or wavy."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(6, "how many")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        pen = pens.pen_of(self.pen, self.tip, rng)
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
                lines.append(by_hand(path, rng, min(0.12, 0.02 * (right - left))))
            sheet.ink(sheet.keep_strokes_in(lines), pen, rng, "underline")
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Caliper(Effect):
    """Intervals measured by hand: marks at beats, a line or bracket between, and a number."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(5, "how many")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES[:3])), rng), pens.pen_of(self.pen, self.tip, rng)
        for _ in range(self.count):
            points, label = _interval(sheet, rng)
            style = str(rng.choice(["arrows", "bracket", "ticks"]))
            up = sheet.fitting(rng.uniform(3, 9), 0.15) * (1 if points[0, 1] > 0.12 * sheet.size[1] else -1)
            y = float(points[:, 1].min() if up > 0 else points[:, 1].max()) - up
            strokes = sheet.keep_strokes_in(_measure(points[:, 0], y, style, rng))
            sheet.ink(strokes, pen, rng, "caliper", label)
            if label:
                size = sheet.fitting(rng.uniform(2.0, 3.4))
                middle = np.vstack(strokes)[:, :2].mean(axis=0) - [0, np.sign(up) * (0.9 * size + 0.6)]
                written(sheet, label, hand, pen, size, middle, rng, angle=rng.normal(0, 3))
        return sheet.done()


def _interval(sheet: Sheet, rng: np.random.Generator) -> tuple[D, str]:
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
        by_hand(np.array([[a + rng.normal(0, 0.1), b - tick / 2], [a + rng.normal(0, 0.15), b + tick / 2]]), rng, 0.04)
        for a, b in zip(x, level, strict=True)
    ]
    if style == "ticks":
        return ticks
    left, right = np.array([x[0], level[0]]), np.array([x[-1], level[-1]])
    if style == "bracket":
        drop = np.array([0.0, tick * 0.8])
        return [by_hand(np.vstack([left + drop, left, right, right + drop]), rng, 0.08)]
    head = min(1.6, 0.3 * float(x[-1] - x[0]))
    out = [by_hand(np.vstack([left, right]), rng, 0.06), *ticks]
    for end, way in ((left, 1), (right, -1)):
        wings = end + np.array([[way * head, -0.5 * head], [0.0, 0.0], [way * head, 0.5 * head]])
        out.append(by_hand(wings, rng, 0.04))
    return out


@dataclass(frozen=True, kw_only=True)
class CheckMarks(Effect):
    """Ticks, crosses and question marks beside printed words and leads."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(9, "how many")
    size: float = number(Range(3, 6.5), 0.5, 40, "height", "mm")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        hand, pen = hw.hand_of(str(rng.choice(FAMILIES)), rng), pens.pen_of(self.pen, self.tip, rng)
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
                tick = sheet.keep_in(by_hand(corners * size + at, rng, 0.02 * size, 0.8, 0.5 * size))
                sheet.ink([tick], pen, rng, "handwriting", "\N{CHECK MARK}")
            else:
                written(sheet, str(rng.choice(["?", "x", "!", "ok"])), hand, pen, size * 0.8, at, rng)
        return sheet.done()


@dataclass(frozen=True, kw_only=True)
class Scribble(Effect):
    """Somebody tried a pen, or crossed something out: coils and zigzags."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(4, "how many")
    size: float = number(Range(6, 22), 1, 100, "length", "mm")
    pen: str = pen_field()
    tip: str = tip_field()

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        pen = pens.pen_of(self.pen, self.tip, rng)
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
            path = turned(path, rng.normal(-10, 25))
            at = sheet.place(np.ptp(path, axis=0), rng, 0.25)
            sheet.ink([sheet.keep_in(by_hand(path + at, rng, 0.1, 0.9))], pen, rng, "handwriting")
        return sheet.done()
