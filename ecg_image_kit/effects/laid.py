"""Laid on the paper: stickers, notes and redaction, which hide what is below; highlighter, which does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import headers
from .. import text as printed
from ..page import Page
from . import fields as fl
from . import handwriting as hw
from . import pen as pens
from . import phrases
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import RGB, D
from .handwriting import FAMILIES
from .shapes import fixed, turned
from .writing import Sheet, count_field, fine_of, lay, lettered, pen_field, shrunk


def corners(size: D, angle: float, centre: D, cut: float = 0.0) -> D:
    """(4 or more, 2) mm: a turned rectangle, its corners rounded by ``cut`` mm."""
    w, h = size / 2
    if cut > 0:
        a = np.deg2rad(np.arange(0, 91, 15))
        arc = np.stack([np.cos(a), np.sin(a)], axis=-1) * cut
        quarter = [(1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270)]
        parts = [turned(arc, turn, [sx * (w - cut), sy * (h - cut)]) for sx, sy, turn in quarter]
        return turned(np.vstack(parts), angle, centre)
    return turned(np.array([[-w, -h], [w, -h], [w, h], [-w, h]]), angle, centre)


def filled(outline: D, fine: float, room: float = 0.0) -> tuple[fl.U8, D]:
    """The inside of an outline (N, 2) mm at ``fine`` px per mm, and (2,) mm of the middle of that picture."""
    low, high = outline.min(axis=0) - room, outline.max(axis=0) + room
    w, h = np.maximum(np.ceil((high - low) * fine), 1).astype(int)
    mask: fl.U8 = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [fixed((outline - low) * fine - 0.5)], 255, cv2.LINE_8, 4)
    return mask, low + np.array([w, h]) / (2 * fine)


def _cover(sheet: Sheet, outline: D, colour: RGB) -> None:
    """Paint an outline (N, 2) mm full."""
    mask, middle = filled(outline, min(4 * sheet.k, 30.0), 1 / sheet.k)
    view, alpha = lay(sheet, cv2.blur(mask, (3, 3)), min(4 * sheet.k, 30.0), middle, 0.0)
    fl.cover(view, colour, alpha)


def _shade(sheet: Sheet, outline: D, offset: D, blur: float, depth: float) -> None:
    """A soft shadow that an outline (N, 2) mm casts, moved by ``offset`` mm, over ``blur`` mm."""
    fine = min(sheet.k, 6.0, 4.0 / blur)
    mask, middle = filled(outline, fine, 2.5 * blur)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.4, blur * fine))
    view, alpha = lay(sheet, soft, fine, middle + offset, 0.0)
    fl.dye(view, (0.0, 0.0, 0.0), fl.scaled(alpha, depth))


def _tone(sheet: Sheet, tone: NDArray[np.floating], size: D, angle: float, centre: D) -> None:
    """Multiply a turned rectangle of the image by a small field (h, w)."""
    fine = 48.0 / float(size.max())
    h, w = np.maximum(np.round(size[::-1] * fine), 2).astype(int)
    view, dark = lay(sheet, 1 - fl.resize(tone, (int(h), int(w))), fine, centre, angle)
    fl.dye(view, (0.0, 0.0, 0.0), dark)


_DYES: dict[str, RGB] = {
    "yellow": (255, 240, 60), "pink": (255, 130, 190), "green": (150, 245, 110), "blue": (125, 205, 255),
    "orange": (255, 185, 80),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Highlighter(Effect):
    """Transparent bands of a highlighter over words and stretches of a lead."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(6, "how many")
    width: float = number(Range(3.2, 5.5), 0.5, 40, "of the tip", "mm")
    colour: str = word(OneOf(("yellow", "yellow", "pink", "green", "blue", "orange")), tuple(_DYES), "colour")
    strength: float = number(Range(0.55, 0.95), 0, 1, "how much dye it gives")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
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

    def _band(self, sheet: Sheet, at: D, length: float, width: float, colour: RGB, rng: np.random.Generator) -> None:
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
        outline = turned(np.vstack([upper, lower[::-1]]), angle, at)
        fine = min(sheet.k, 8.0) * 1.5
        mask, middle = filled(outline, fine, 0.5)
        cover = cv2.GaussianBlur(mask, (0, 0), 0.12 * fine).astype(np.float32) / np.float32(255)
        inside = cv2.GaussianBlur(mask, (0, 0), 0.5 * fine).astype(np.float32) / np.float32(255)
        shape = (mask.shape[0], mask.shape[1])
        streaks = fl.resize(rng.normal(0, 1, (max(4, int(width * 3)), max(4, int(length / 15) + 3))), shape)
        dose = self.strength * (0.9 + 0.06 * streaks + 0.2 * np.clip(1 - inside, 0, 0.5))
        ends = np.linspace(0, 1, shape[1], dtype=np.float32)
        dose = dose * (1 + 0.15 * np.exp(-ends * length / 2.0) + 0.2 * np.exp(-(1 - ends) * length / 2.0))
        view, alpha = lay(sheet, fl.eight(cover * dose), fine, middle, 0.0)
        fl.dye(view, colour, alpha)
        if view.size:
            sheet.box("highlighter", pens.hull(outline, 0.25 + 0.5 / sheet.k))


_LABELS: dict[str, RGB] = {
    "white": (250, 250, 247), "yellow": (252, 236, 140), "green": (190, 226, 178), "orange": (250, 200, 130),
    "pink": (246, 196, 204), "blue": (186, 214, 240),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sticker(Effect):
    """Adhesive labels with a bar code and made-up patient data; they hide what is below."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(3, "how many")
    size: float = number(Range(32, 62), 3, 200, "width", "mm")
    colour: str = word(OneOf(("white", "white", "white", "yellow", "green", "blue")), tuple(_LABELS), "of the label")
    tilt: float = number(Range(-5, 5), -180, 180, "turned by", "degrees")
    over: float = number(Grows(0.0, 0.5), 0, 1, "share of them stuck anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        for _ in range(self.count):
            width = sheet.fitting(self.size * rng.uniform(0.85, 1.15), 0.6)
            size = np.array([width, width * rng.uniform(0.32, 0.55)])
            angle = self.tilt + rng.normal(0, 1)
            at = sheet.place(np.abs(np.ptp(corners(size, angle, np.zeros(2)), axis=0)), rng, self.over, "top")
            cut = min(rng.uniform(0.5, 2.0), 0.15 * float(size[1]))
            outline = corners(size, angle, at, cut)
            fine = fine_of(sheet)
            ink, text = _label_print(size, fine, rng)
            _shade(sheet, outline, np.array([0.1, 0.15]), 0.25, rng.uniform(0.08, 0.22))
            paper = np.array(_LABELS[self.colour]) + rng.normal(0, 2, 3)
            _cover(sheet, outline, (paper[0], paper[1], paper[2]))
            tone = 1 - 0.025 * fl.smooth(rng, (24, 48), 2.5)  # it does not lie quite flat
            _tone(sheet, np.minimum(tone, 1.0), size, angle, at)
            view, alpha = lay(sheet, ink, fine, at, angle)
            fl.dye(view, (24, 24, 28), alpha)
            sheet.box("sticker", outline, text, hides=True)
        return sheet.done()


def _label_print(size: D, fine: float, rng: np.random.Generator) -> tuple[fl.U8, str]:
    """What is printed on a label of ``size`` (2,) mm, at ``fine`` px per mm, and its text."""
    w, h = float(size[0]), float(size[1])
    ink: fl.U8 = np.zeros((int(np.ceil(h * fine)), int(np.ceil(w * fine))), np.uint8)
    code = f"{rng.integers(10**7, 10**8)}"
    name = f"{rng.choice(phrases.NAMES).upper()}, {rng.choice(list('ABCDEFGHJKLMNPRST'))}."
    lines = [
        name if rng.random() < 0.7 else f"SPECIMEN {rng.integers(100, 999)}",
        f"{rng.choice(['MRN', 'ID', 'No.'])} {code}",
        f"DOB {phrases.date(rng)}  {rng.choice(['M', 'F'])}",
        f"{rng.choice(['Ward', 'Unit', 'Bed'])} {rng.integers(1, 30)}  {rng.choice(phrases.PLACES).title()}",
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
    count: int = count_field(2, "how many")
    size: float = number(Range(32, 62), 3, 200, "side", "mm")
    colour: str = word(
        OneOf(("yellow", "yellow", "pink", "green", "blue", "orange")), tuple(_LABELS)[1:], "of the note"
    )
    hand: str = word(OneOf(FAMILIES), FAMILIES, "kind of hand")
    pen: str = pen_field()
    over: float = number(Grows(0.1, 0.8), 0, 1, "share of them stuck anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        for _ in range(self.count):
            side = sheet.fitting(self.size * rng.uniform(0.9, 1.1), 0.5)
            size = np.array([side, side * rng.choice([1.0, 1.0, 0.66])])
            angle = rng.normal(0, 6)
            at = sheet.place(np.ptp(corners(size, angle, np.zeros(2)), axis=0), rng, self.over)
            outline = corners(size, angle, at)
            lower = corners(size * [0.98, 0.9], angle, at)
            _shade(sheet, lower, np.array([0.5, 0.09 * side]), 0.05 * side, 0.3)  # it stands off at its foot
            paper = np.array(_LABELS[self.colour]) * [1, 1, 0.9] + rng.normal(0, 4, 3)
            _cover(sheet, outline, (paper[0], paper[1], paper[2]))
            self._bent_paper(sheet, size, angle, at)
            hand, pen = hw.hand_of(self.hand, rng), pens.pen_of(self.pen, "ballpoint", rng)
            text = "\n".join(phrases.phrase(rng, 16, 2) for _ in range(int(rng.integers(1, 4))))
            lines = lettered(text, hand, side * rng.uniform(0.09, 0.15), rng)
            lines = shrunk(lines, 0.82 * size)
            sheet.box("note", outline, text, hides=True)
            for line, strokes in lines:
                sheet.ink([turned(s, angle, at) for s in strokes], pen, rng, "handwriting", line)
        return sheet.done()

    def _bent_paper(self, sheet: Sheet, size: D, angle: float, at: D) -> None:
        """Shade a note that is glued along its upper edge and bends up below."""
        y = np.linspace(0, 1, 48, dtype=np.float32)[:, None]
        bend = 0.05 * np.exp(-(((y - 0.16) / 0.06) ** 2)) + 0.12 * np.clip(y - 0.55, 0, 1) ** 1.5
        _tone(sheet, 1 - np.repeat(bend, 24, axis=1), size, angle, at)


_BARS: dict[str, RGB] = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (205, 203, 198), "marker": (18, 18, 22)}


@dataclass(frozen=True, kw_only=True)
class Redaction(Effect):
    """Words made unreadable as in archives: black, white or grey bars, brush strokes, a marker."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(9, "how many")
    style: str = word(OneOf(tuple(_BARS)), tuple(_BARS), "bars, strokes of a grey brush, or of a marker")
    over: float = number(Grows(0.0, 0.5), 0, 1, "share of them put anywhere instead of over printed words")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
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


def _blanked(sheet: Sheet, at: D, size: D, colour: RGB) -> D:
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
