"""Rubber stamps: their words, and the uneven ink that they leave."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf
from typing import ClassVar

import cv2
import numpy as np

from .. import strokefont
from .. import text as printed
from ..page import Page
from . import fields as fl
from . import handwriting as hw
from . import pen as pens
from . import phrases
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import RGB, U8
from .shapes import fixed, shape_of, turned
from .writing import Sheet, count_field, fine_of, lay

_STAMP_INKS: dict[str, RGB] = {
    "blue": (44, 62, 158), "red": (196, 38, 46), "violet": (104, 52, 150), "black": (40, 40, 46),
    "green": (30, 110, 70),
}  # fmt: skip

_STAMPED = (
    "RECEIVED", "COPY", "REVIEWED", "SCANNED", "FILED", "URGENT", "CONFIRMED", "DUPLICATE", "CARDIOLOGY", "ECG ROOM",
    "OUTPATIENT", "CHECKED", "NOT REPORTED", "ARCHIVE", "FAXED", "ENTERED", "DRAFT", "SAMPLE", "WARD COPY",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stamp(Effect):
    """Rubber stamps in uneven ink, framed or round: RECEIVED, COPY, a made-up place, a date."""

    stage: ClassVar[str] = "marks"
    count: int = count_field(3, "how many")
    size: float = number(Range(26, 52), 2, 200, "width", "mm")
    shape: str = word(OneOf(("box", "bare", "round")), ("box", "bare", "round"), "framed, words only, or round")
    ink: str = word(OneOf(("blue", "red", "violet", "black")), tuple(_STAMP_INKS), "colour")
    tilt: float = number(Range(-14, 14), -180, 180, "turned by", "degrees")
    wear: float = number(Grows(0.15, 0.9), 0, 1, "how unevenly it prints")
    over: float = number(Grows(0.1, 0.6), 0, 1, "share of them stamped anywhere, printed on or not")

    def paint(self, page: Page) -> Page:
        sheet, rng = Sheet(page), self.rng()
        colour = np.clip(np.array(_STAMP_INKS[self.ink]) + rng.normal(0, 10, 3), 0, 255)
        for _ in range(self.count):
            width = sheet.fitting(self.size * rng.uniform(0.85, 1.15), 0.6)
            fine = fine_of(sheet)
            if self.shape == "round":
                rubber, text = _round_stamp(min(width, 38.0), fine, rng)
            else:
                rubber, text = _box_stamp(width, fine, self.shape == "box", rng)
            angle = self.tilt + rng.normal(0, 2)
            extent = np.array(rubber.shape[1::-1]) / fine
            at = sheet.place(extent, rng, self.over, str(rng.choice(["top", "bottom", ""])))
            view, alpha = lay(sheet, _stamped(rubber, fine, self.wear, rng.spawn(1)[0]), fine, at, angle)
            fl.dye(view, (colour[0], colour[1], colour[2]), alpha)
            rows = np.flatnonzero(rubber.any(axis=1))
            ends = [(rubber[rows] > 0).argmax(axis=1), rubber.shape[1] - (rubber[rows, ::-1] > 0).argmax(axis=1)]
            points = np.vstack([np.stack([end, rows + 0.5], axis=-1) for end in ends])
            points = (points - np.array(rubber.shape[1::-1]) / 2) / fine
            sheet.box("stamp", turned(pens.hull(points, 0.2 + 0.6 / sheet.k), angle, at), text)
        return sheet.done()


def _box_stamp(width: float, fine: float, framed: bool, rng: np.random.Generator) -> tuple[fl.U8, str]:
    """A rubber of one to three lines, ``width`` mm wide, at ``fine`` px per mm, and its text."""
    lines = [str(rng.choice(_STAMPED))]
    if rng.random() < 0.7:
        lines.append(phrases.date(rng).upper())
    if rng.random() < 0.45:
        lines.insert(int(rng.integers(2)), str(rng.choice(phrases.PLACES)))
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
    place, low = str(rng.choice(phrases.PLACES)), str(rng.choice(_STAMPED))
    across = phrases.date(rng).upper()
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
        letters = [fixed(p) for p in paths]
        cv2.polylines(rubber, letters, False, 255, max(1, round(0.16 * size)), cv2.LINE_AA, 4)
    cap = min(0.26 * radius, 1.05 * radius / printed.width(across, 1.0)) / fine
    printed.draw(rubber, [printed.Text(across, width / 2, width / 2, cap, "sans", "mm", True)], fine)
    return rubber, "\n".join((place, across, low))


# How deep the rubber's valleys are, by share of it: normal about 0.5.
_NORMAL = np.linspace(-3, 3, 121)
_BUMPS = 0.5 + 0.5 * np.interp(np.arange(256) / 255, [0.5 + 0.5 * erf(x / 2**0.5) for x in _NORMAL], _NORMAL)


def _stamped(rubber: U8, fine: float, wear: float, rng: np.random.Generator) -> U8:
    """(h, w) the ink that a rubber leaves: more at its edges, blotchy, none where it did not touch."""
    size = np.array(rubber.shape) / fine
    h, w = np.maximum(np.ceil(size * 2), 2).astype(int)  # half a mm to a point: blotches are larger
    blotch = fl.fractal(rng, (int(h), int(w)), float(size.max()) / 9, 3, 0.7)
    way = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)
    tipped = np.cos(way) * x + np.sin(way) * y  # pressed harder on one side
    given = 0.9 - 0.25 * wear + wear * (0.35 * blotch + 0.35 * tipped * rng.uniform(0, 1.2))
    bumps = fl.table(fl.grain(rng, shape_of(rubber), 0.28 * fine), _BUMPS * (255 / 1.7))
    missing = fl.scaled(bumps, 1.7 * (0.075 + 0.225 * wear))
    touch = fl.scaled(cv2.subtract(fl.over(0.6 * given + 0.2, rubber), missing), 2.0)
    rim = fl.scaled(cv2.GaussianBlur(rubber, (0, 0), 0.22 * fine), -0.5, 1.25 * 255)
    ink = fl.times(fl.u8(cv2.GaussianBlur(rubber, (0, 0), 0.07 * fine)), rim)
    return fl.u8(cv2.min(fl.times(ink, touch), np.full_like(ink, 237)))
