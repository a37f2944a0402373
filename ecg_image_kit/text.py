"""Printed text: labels, headers and calibration notes as ink coverage, with the outline of what was really painted.

Four fonts come along: ``sans`` (the scalable font inside Pillow) and three faces of our own pen strokes: ``stroke`` (a
plotter or a thermal printer), ``plain`` (the same at a fixed pitch) and ``serif`` (a broad nib and serifs). A path to a
.ttf or .otf file is a font too. (OpenCV's putText is not used: its fonts changed between versions 4 and 5, and with
them every page.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import strokefont
from .errors import UsageError

U8 = NDArray[np.uint8]

FONTS = ("sans", "serif", "plain", "stroke")

_FINE = 56.0  # px of cap height below which a font is drawn larger and area-reduced: no hinting, no rounded advances
_FINE_STROKES = 90.0  # the same for our own faces, which are drawn without antialiasing
_SMEAR = 0.075  # cap heights that bold type is widened by


@dataclass(frozen=True)
class Text:
    """One line of text on the sheet.

    Attributes:
        x, y: mm, x right, y down: where the anchor lies.
        size: cap height, mm.
        font: sans, serif, plain, stroke, or the path of a .ttf or .otf file.
        anchor: l, m or r (left, middle, right of the advance width), then s (baseline), m or t (half, full cap height).
        boxed: with a thin frame.
        kind: label, header, footer, calibration, measurement, code, or text.
    """

    text: str
    x: float
    y: float
    size: float = 3.0
    font: str = "sans"
    anchor: str = "ls"
    bold: bool = False
    boxed: bool = False
    kind: str = "text"

    def __post_init__(self) -> None:
        if len(self.anchor) != 2 or self.anchor[0] not in "lmr" or self.anchor[1] not in "smt":
            raise UsageError(
                f"anchor {self.anchor!r} of {self.text!r}; expected l, m or r, then s, m or t, such as 'ls'."
            )
        if not (0 < self.size < 1000 and math.isfinite(self.x) and math.isfinite(self.y)):
            raise UsageError(
                f"text {self.text!r} of {self.size} mm at ({self.x}, {self.y}); expected a size of 0 to 1000 mm."
            )


@dataclass(frozen=True, eq=False)
class _Mask:
    """Tight ink coverage (h, w): its first column is ``left`` px right of the origin, its first row ``up`` px above."""

    ink: U8
    left: int
    up: int
    advance: float  # px


def draw(coverage: U8, texts: Iterable[Text], px_per_mm: float) -> list[tuple[Text, NDArray[np.float64]]]:
    """Paint texts into ``coverage`` (H, W) uint8 by maximum, on whole pixels.

    Returns:
        Each painted text with the outline (4, 2) mm of its pixels (TL TR BR BL), cut to the sheet. Texts without ink or
        off the sheet are left out.

    Raises:
        UsageError: a font that cannot be read.
    """
    painted = []
    for text in texts:
        mask = _mask(text.text, text.font, round(text.size * px_per_mm, 2), text.bold, text.boxed)
        x = text.x * px_per_mm - {"l": 0.0, "m": 0.5, "r": 1.0}[text.anchor[0]] * mask.advance
        y = text.y * px_per_mm + {"s": 0.0, "m": 0.5, "t": 1.0}[text.anchor[1]] * text.size * px_per_mm
        outline = paint(coverage, mask.ink, math.floor(x + 0.5) + mask.left, math.floor(y + 0.5) - mask.up, px_per_mm)
        if outline is not None:
            painted.append((text, outline))
    return painted


def paint(coverage: U8, ink: U8, left: int, top: int, px_per_mm: float) -> NDArray[np.float64] | None:
    """Paint ``ink`` (h, w) at column ``left``, row ``top`` by maximum; its outline (4, 2) mm, or None off the sheet."""
    height, width = coverage.shape
    r0, c0 = max(top, 0), max(left, 0)
    r1, c1 = min(top + ink.shape[0], height), min(left + ink.shape[1], width)
    if r1 <= r0 or c1 <= c0:
        return None
    seen = ink[r0 - top : r1 - top, c0 - left : c1 - left]
    view = coverage[r0:r1, c0:c1]
    np.maximum(view, seen, out=view)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return None
    # Pixel i covers [i, i + 1] / px_per_mm: its centre, at i, is (i + 0.5) / px_per_mm on the sheet.
    t, b = (r0 + rows[0]) / px_per_mm, (r0 + rows[-1] + 1) / px_per_mm
    x0, x1 = (c0 + columns[0]) / px_per_mm, (c0 + columns[-1] + 1) / px_per_mm
    return np.array([[x0, t], [x1, t], [x1, b], [x0, b]])


def width(text: str, size: float = 3.0, font: str = "sans", bold: bool = False) -> float:
    """Advance width of ``text``, mm, at cap height ``size`` mm."""
    return _advance(text, font, bold) * size


@lru_cache(maxsize=2048)
def _advance(text: str, font: str, bold: bool) -> float:
    """Advance width in cap heights."""
    if font in strokefont.FACES:
        face = _face(font, bold)
        return strokefont.advance(text, face) * _unit(face)
    return float(_load(font, _FINE).getlength(_spell(text, font))) / _FINE + (_SMEAR if bold else 0.0)


@lru_cache(maxsize=2048)
def _mask(text: str, font: str, cap: float, bold: bool, boxed: bool) -> _Mask:
    """The text's ink at a cap height of ``cap`` px."""
    if font in strokefont.FACES:
        scale = max(3, min(64, math.ceil(_FINE_STROKES / cap)))
        ink, left, up, advance = _strokes(text, font, cap * scale, bold)
    else:
        scale = min(64, math.ceil(_FINE / cap))
        ink, left, up, advance = _type(text, font, cap * scale, bold)
    # The origin falls on a corner of the coarse grid.
    before, above = left % scale, -up % scale
    rows, columns = (-(-(n + p) // scale) for n, p in zip(ink.shape, (above, before), strict=True))
    fine = np.zeros((rows * scale, columns * scale), np.uint8)
    fine[above : above + ink.shape[0], before : before + ink.shape[1]] = ink
    coarse = (
        np.asarray(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8) if fine.size else fine
    )
    mask = _tight(_Mask(coarse, (left - before) // scale, (up + above) // scale, advance / scale))
    return _framed(mask, cap) if boxed and mask.ink.size else mask


def _tight(mask: _Mask) -> _Mask:
    """Without its empty margins."""
    rows, columns = np.flatnonzero(mask.ink.any(axis=1)), np.flatnonzero(mask.ink.any(axis=0))
    if not rows.size:
        return _Mask(np.zeros((0, 0), np.uint8), 0, 0, mask.advance)
    ink = mask.ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _Mask(ink, mask.left + int(columns[0]), mask.up - int(rows[0]), mask.advance)


def _framed(mask: _Mask, cap: float) -> _Mask:
    """With a frame around it."""
    line, room = max(1, round(0.08 * cap)), max(1, round(0.35 * cap))
    pad = line + room
    ink = np.pad(mask.ink, pad)
    ink[:line], ink[-line:], ink[:, :line], ink[:, -line:] = 255, 255, 255, 255
    return _Mask(ink, mask.left - pad, mask.up + pad, mask.advance)


# Our own faces


@lru_cache(maxsize=16)
def _face(font: str, bold: bool) -> strokefont.Face:
    face = strokefont.FACES[font]
    return strokefont.bold(face) if bold else face


def _unit(face: strokefont.Face) -> float:
    """The paths' scale: the pen's width belongs to the cap height, so the paths are that much smaller."""
    return 1 - face.pen


def _strokes(text: str, font: str, cap: float, bold: bool) -> tuple[U8, int, int, float]:
    """Ink (h, w) of a pen-stroke face ``cap`` px high; its left from and top above the origin, and the advance, px."""
    face = _face(font, bold)
    up, down, side = math.ceil(1.3 * cap), math.ceil(0.5 * cap), math.ceil(0.3 * cap)
    spelled = strokefont.spell(text)
    total = _unit(face) * strokefont.advance(spelled, face) * cap
    ink = np.zeros((up + down, math.ceil(total) + 2 * side), np.uint8)
    x = 0.0
    for char in spelled:
        glyph = _glyph(char, font, cap, bold)
        if glyph.ink.size:
            at = side + round(x) + glyph.left
            view = ink[up - glyph.up : up - glyph.up + glyph.ink.shape[0], at : at + glyph.ink.shape[1]]
            np.maximum(view, glyph.ink, out=view)
        x += glyph.advance
    return ink, -side, up, total


@lru_cache(maxsize=2048)
def _glyph(char: str, font: str, cap: float, bold: bool) -> _Mask:
    """One character of a pen-stroke face, ``cap`` px high."""
    face = _face(font, bold)
    pen = 2 * round((face.pen * cap - 1) / 2) + 1  # odd: see below
    up, side = math.ceil(1.3 * cap), math.ceil(0.3 * cap)
    advance = _unit(face) * strokefont.advance(char, face) * cap
    ink: U8 = np.zeros((up + math.ceil(0.5 * cap), math.ceil(advance) + 2 * side), np.uint8)
    # Paths in 1/16 px; pixel centres lie at integers, so the baseline, an edge, is at up - 0.5.
    origin = (side - 0.5, up - 0.5 - pen / 2)
    paths = [np.rint((path * (cap - pen) + origin) * 16).astype(np.int32) for path in strokefont.strokes(char, face)]
    # With fractional points OpenCV draws the odd widths only, and each 2 px too wide (measured, 4.8 and 5.0).
    cv2.polylines(ink, paths, False, 255, max(1, pen - 2), cv2.LINE_8, 4)
    if face.nib:
        ink = np.asarray(cv2.dilate(ink, np.ones((1, 2 * round(face.nib * cap / 2) + 1), np.uint8)), np.uint8)
    return _tight(_Mask(ink, -side, up, advance))


# Outline fonts


def _type(text: str, font: str, cap: float, bold: bool) -> tuple[U8, int, int, float]:
    """Ink of an outline font at ``cap`` px, as ``_strokes`` gives it."""
    type_ = _load(font, cap)
    spelled = _spell(text, font)
    x0, y0, x1, y1 = (math.floor(v) for v in type_.getbbox(spelled, anchor="ls"))
    smear = max(1, round(_SMEAR * cap)) if bold else 0
    w, h = x1 - x0 + 2 + smear, y1 - y0 + 2
    image = Image.new("L", (w, h))
    ImageDraw.Draw(image).text((-x0, -y0), spelled, fill=255, font=type_, anchor="ls")
    ink = np.asarray(image)
    if smear:
        ink = np.asarray(cv2.dilate(ink, np.ones((1, smear + 1), np.uint8), anchor=(smear, 0)), np.uint8)
    return ink, x0, -y0, float(type_.getlength(spelled)) + smear


@lru_cache(maxsize=64)
def _load(font: str, cap: float) -> ImageFont.FreeTypeFont:
    """An outline font whose H is ``cap`` px high."""
    return _open(font, max(1.0, cap / _cap_ratio(font)))


@lru_cache(maxsize=16)
def _cap_ratio(font: str) -> float:
    """Height of H over the nominal size."""
    size = 512
    _, top, _, bottom = _open(font, size).getbbox("H", anchor="ls")
    if bottom <= top:
        raise UsageError(
            f"font {font!r} has no letter H to measure; expected a text font. Give another file or {', '.join(FONTS)}."
        )
    return (bottom - top) / size


def _open(font: str, size: float) -> ImageFont.FreeTypeFont:
    if font == "sans":
        found = ImageFont.load_default(size)
        if not isinstance(found, ImageFont.FreeTypeFont):
            raise UsageError("font 'sans' needs a Pillow with FreeType; this one has none. Use serif, plain or stroke.")
        return found
    try:
        return ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"font {font!r} cannot be read ({error}); expected {', '.join(FONTS)}, or the path of a .ttf or .otf file. "
            "Check the path."
        ) from error


@lru_cache(maxsize=2048)
def _has(char: str, font: str) -> bool:
    """Whether an outline font has a glyph: it does not look like the one of a code point that is never assigned."""
    type_ = _load(font, 40.0)
    return bytes(type_.getmask(char)) != bytes(type_.getmask("\U0010ffff")) or type_.getbbox(char) != type_.getbbox(
        "\U0010ffff"
    )


def _spell(text: str, font: str) -> str:
    if font == "sans" and text.isascii() and text.isprintable():
        return text
    return strokefont.spell(text, lambda char: _has(char, font))
