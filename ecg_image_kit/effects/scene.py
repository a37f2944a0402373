"""Scene: what lies around and on the sheet when the picture is taken.

The desk is drawn flat, in mm, and seen through the plane that fits the sheet best. It shows wherever the sheet is not:
outside its outline, and through boxes of kind ``tear`` and ``hole``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Page
from ..warp import Homography, fit_homography
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .light import hiding

U8 = NDArray[np.uint8]
F = NDArray[np.float32]
D = NDArray[np.float64]
Colour = tuple[float, float, float]
Texture = Callable[[np.random.Generator, tuple[int, int], float], U8]

_MISSING = ("tear", "hole")  # boxes where there is no paper
_TEXTURE_PX = 1.0e6  # of the desk's texture: it is out of focus anyway
_BEYOND = 0.3  # of the sheet's longer side, that the texture goes on beyond the sheet before it is mirrored
_TILE = 192  # px


@dataclass(frozen=True, kw_only=True)
class Desk(Effect):
    """What the sheet lies on: wood, cloth, laminate, steel, a keyboard, other papers, ..."""

    stage: ClassVar[str] = "scene"
    surface: str = word(
        OneOf(("wood", "cloth", "plain", "laminate", "steel", "keyboard", "papers", "dark")),
        ("wood", "cloth", "plain", "laminate", "steel", "keyboard", "papers", "dark"),
        "what it is made of",
    )
    brightness: float = number(Range(0.7, 1.05), 0.1, 2, "of the surface")
    shadow: float = number(Range(0.25, 0.6), 0, 1, "depth of the sheet's own shadow")
    lift: float = number(Grows(0.6, 8.0), 0.1, 60, "how far that shadow reaches", "mm")

    def paint(self, page: Page) -> Page:
        sheet = _sheet(page)
        if sheet is None:
            return page
        rng = self.rng()
        direction = rng.uniform(0, 2 * np.pi)
        shade = _sheet_shadow(sheet, page.px_per_mm, self.shadow, self.lift, direction)
        lit = np.asarray(self.brightness * shade, np.float32)
        return replace(page, image=_beneath(page, sheet, _SURFACES[self.surface], rng, lit))


@dataclass(frozen=True, kw_only=True)
class ScannerBed(Effect):
    """A scanner's lid around the sheet, with a line of shadow along the sheet's edges."""

    stage: ClassVar[str] = "scene"
    lid: str = word(OneOf(("white", "white", "grey", "black")), ("white", "grey", "black"), "its colour")
    shadow: float = number(Grows(0.05, 0.6), 0, 1, "depth of the line of shadow")
    width: float = number(Range(0.5, 2.5), 0.1, 20, "of that line", "mm")

    def paint(self, page: Page) -> Page:
        sheet = _sheet(page)
        if sheet is None:
            return page
        rng = self.rng()
        level = {"white": rng.uniform(236, 253), "grey": rng.uniform(150, 215), "black": rng.uniform(8, 40)}[self.lid]
        shade = _sheet_shadow(sheet, page.px_per_mm, self.shadow, self.width, rng.uniform(0, 2 * np.pi))

        def surface(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
            even = level + 1.5 * fl.smooth(rng, shape, 3) + 1.0 * fl.white(rng, shape)
            return _coloured(even / 255.0, ((0, 0, 0), (255, 255, 254)))

        return replace(page, image=_beneath(page, sheet, surface, rng, shade))


@dataclass(frozen=True, kw_only=True)
class OtherSheet(Effect):
    """Another sheet that lies beneath and peeks out; list it after the desk."""

    stage: ClassVar[str] = "scene"
    shift: float = number(Grows(1.0, 30.0), 0, 300, "how far it peeks out", "mm")
    turn: float = number(Grows(0.0, 12.0, signed=True), -180, 180, "against the sheet", "degrees")
    paper: str = word(OneOf(("ecg", "text", "blank")), ("ecg", "text", "blank"), "what it is")

    def paint(self, page: Page) -> Page:
        sheet = _sheet(page)
        if sheet is None:
            return page
        rng = self.rng()
        width, height = page.layout.width, page.layout.height
        angle = rng.uniform(0, 2 * np.pi)
        move = self.shift * np.array([np.cos(angle), np.sin(angle)]) + np.array([width, height]) / 2
        turn = Homography.rotation(self.turn)
        corners = turn(0.5 * np.array([[-width, -height], [width, -height], [width, height], [-width, height]])) + move
        cover = np.zeros_like(sheet)
        _fill(cover, _plane(page)(corners), 255)
        cover = np.asarray(cv2.GaussianBlur(cover, (3, 3), 0), np.uint8)
        k = page.px_per_mm
        shade = _sheet_shadow(sheet, k, 0.35, 2.0, rng.uniform(0, 2 * np.pi))

        def surface(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
            paper = _paper(rng, (max(4, round(height * k)), max(4, round(width * k))), k, self.paper)
            top, left = ((n - m) // 2 for n, m in zip(shape, paper.shape, strict=False))
            rest = (shape[0] - paper.shape[0] - top, shape[1] - paper.shape[1] - left)
            return np.asarray(cv2.copyMakeBorder(paper, top, rest[0], left, rest[1], cv2.BORDER_REPLICATE), np.uint8)

        # Its own shadow falls on what is there so far.
        own = fl.multiply(page.image, _sheet_shadow(cover, k, 0.35, 2.0, rng.uniform(0, 2 * np.pi)))
        around = cv2.copyTo(page.image, sheet, own)
        under = replace(page, image=np.asarray(around, np.uint8))
        return replace(
            page, image=_beneath(under, sheet, surface, rng, shade, cover, (self.turn, float(move[0]), float(move[1])))
        )


@dataclass(frozen=True, kw_only=True)
class Finger(Effect):
    """A thumb holds the sheet at an edge, or two do."""

    stage: ClassVar[str] = "scene"
    reach: float = number(Grows(2.0, 32.0), 0, 100, "how far it reaches over the sheet", "mm")
    count: int = number(Range(1, 2), 1, 6, "thumbs", whole=True)
    size: float = number(Range(0.85, 1.15), 0.3, 3, "of a thumb, 1 being usual")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        skin = _SKIN[int(rng.integers(len(_SKIN)))]
        first = int(rng.integers(4))
        for k in range(self.count):
            side = (first + 2 * k + int(rng.integers(0, 2))) % 4 if k else first
            tip, outward, scale = _grip(page, rng, side, self.reach)
            leave = float(np.hypot(*page.image.shape[:2])) / scale
            colour, alpha = _thumb(rng, skin, min(leave, 110.0))
            page = _put(
                page, "finger", colour, alpha, 4.0 / self.size, (15 * 4, alpha.shape[0] / 2), tip, outward, scale, 2.5
            )
        return page


@dataclass(frozen=True, kw_only=True)
class Clip(Effect):
    """A paper clip or a binder clip at an edge."""

    stage: ClassVar[str] = "scene"
    kind: str = word(OneOf(("paperclip", "binder")), ("paperclip", "binder"), "what it is")
    reach: float = number(Grows(3.0, 22.0), 0.5, 60, "how far it reaches over the sheet", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        tip, outward, scale = _grip(page, rng, int(rng.choice([0, 1, 1, 1, 2, 3])), 0.0, 8.0)
        colour, alpha = (_paperclip if self.kind == "paperclip" else _binder)(rng, self.reach)
        anchor = (_AHEAD * _METAL, colour.shape[0] / 2)
        return _put(page, "clip", colour, alpha, _METAL, anchor, tip, outward, scale, 0.6)


# The sheet in the picture, and what shows around it


def _sheet(page: Page) -> U8 | None:
    """(H, W) uint8: 255 where there is paper, with soft edges; None if that is everywhere."""
    height, width = page.image.shape[:2]
    w, h = page.layout.width, page.layout.height
    t = np.linspace(0, 1, 161)[:-1, None]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64)
    outline = np.concatenate([a + (b - a) * t for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    mask = np.zeros((height + 4, width + 4), np.uint8)
    _fill(mask, page.mm_to_px(outline) + 2, 255)
    for box in page.boxes:
        if box.kind in _MISSING:
            _fill(mask, page.outline(box, 1.0) + 2, 0)
    if mask[2:-2, 2:-2].all():
        return None
    # A pixel less: there the paper's colour was mixed with the white that is beyond it.
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(cv2.GaussianBlur(mask, (3, 3), 0)[2:-2, 2:-2], np.uint8)


def _fill(mask: U8, px: NDArray[np.floating], value: int) -> None:
    cv2.fillPoly(mask, [np.round(np.clip(px, -1e5, 1e5) * 16).astype(np.int32)], value, cv2.LINE_8, 4)


def _plane(page: Page) -> Homography:
    """sheet mm -> px of a flat desk, as near as can be to the sheet's own map."""
    w, h = page.layout.width, page.layout.height
    mm = np.stack(np.meshgrid(np.linspace(0, w, 9), np.linspace(0, h, 9)), axis=-1).reshape(-1, 2)
    px = page.mm_to_px(mm)
    fitted = fit_homography(mm, px)
    height, width = page.image.shape[:2]
    away = fitted.inverse.matrix[2] @ np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1.0]]).T
    if away.min() * away.max() > 0 and np.abs(away).max() < 4 * np.abs(away).min():
        return fitted
    # A horizon within the picture would be a desk without end.
    a = np.linalg.lstsq(np.column_stack([mm, np.ones(len(mm))]), px, rcond=None)[0].T
    return Homography(np.vstack([a, [0, 0, 1]]))


def _sheet_shadow(sheet: U8, k: float, depth: float, reach: float, direction: float) -> F:
    """(h, w) small factors: how dark the desk is beside the sheet, at ``k`` px/mm."""
    height, width = sheet.shape
    step = max(1.0, min(k / 2.0, max(height, width) / 16))
    shape = (max(2, round(height / step)), max(2, round(width / step)))
    small = cv2.resize(sheet, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    per_mm = k * shape[1] / width
    dx, dy = (0.7 * reach * per_mm * f for f in (np.cos(direction), np.sin(direction)))
    moved = cv2.warpAffine(small, np.array([[1, 0, dx], [0, 1, dy]]), shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    cast = cv2.GaussianBlur(moved, (0, 0), max(0.5, 0.5 * reach * per_mm))
    contact = cv2.GaussianBlur(small, (0, 0), max(0.5, 0.5 * per_mm))
    return np.asarray((1.0 - depth * cast) * (1.0 - 0.7 * depth * contact), np.float32)


def _beneath(
    page: Page,
    sheet: U8,
    texture: Texture,
    rng: np.random.Generator,
    shade: F,
    cover: U8 | None = None,
    lie: tuple[float, float, float] | None = None,
) -> U8:
    """The image with a texture, darkened by ``shade``, wherever ``sheet`` is not 255 (and as far as ``cover`` goes).

    lie: how the texture lies: degrees, and mm of its middle; None: anyhow.
    """
    height, width = page.image.shape[:2]
    size = np.array([page.layout.width, page.layout.height])
    size = size + 2 * _BEYOND * size.max()
    k = min(max(page.px_per_mm, 0.05), float(np.sqrt(_TEXTURE_PX / size.prod())), 5.0)
    upright = lie is None and rng.random() < 0.4
    spread = size[::-1] if upright else size
    pattern = texture(rng, (max(8, round(spread[1] * k)), max(8, round(spread[0] * k))), k)
    if lie is None:
        lie = ((90.0 if upright else 0.0) + float(rng.normal(0, 7)), page.layout.width / 2, page.layout.height / 2)
    # px of the texture -> mm of the desk -> px of the picture
    middle = Homography.affine(1 / k, 0, -pattern.shape[1] / 2 / k, 0, 1 / k, -pattern.shape[0] / 2 / k)
    put = Homography.affine(1, 0, lie[1], 0, 1, lie[2])
    whole = _plane(page).matrix @ put.matrix @ Homography.rotation(lie[0]).matrix @ middle.matrix
    back = np.linalg.inv(whole)
    shadow = fl.resize(shade, (height, width))
    out = page.image.copy()
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            part = (slice(top, min(top + _TILE, height)), slice(left, min(left + _TILE, width)))
            paper = sheet[part]
            if paper.min() == 255 or (cover is not None and not cover[part].any()):
                continue
            shape = (paper.shape[1], paper.shape[0])
            here = back @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            desk = cv2.warpPerspective(pattern, here, shape, flags=how, borderMode=cv2.BORDER_REFLECT_101)
            desk = fl.multiply(np.asarray(desk, np.uint8), shadow[part])
            show = paper.astype(np.float32) / 255.0
            # The cut edge of the paper catches less light than its face.
            image = fl.multiply(out[part], np.asarray(1.0 - 0.5 * show * (1.0 - show), np.float32))
            if cover is not None:
                show = np.maximum(show, 1.0 - cover[part].astype(np.float32) / 255.0)
            out[part] = cv2.blendLinear(image, desk, np.asarray(show, np.float32), np.asarray(1.0 - show, np.float32))
    return out


# Surfaces: (h, w, 3) uint8 at k px/mm


def _coloured(t: NDArray[np.floating], colours: tuple[Colour, ...]) -> U8:
    """(h, w, 3) of a field, 0 to 1, by colours evenly spaced along it."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, [c[k] for c in colours]) for k in range(3)], axis=-1)
    index = np.clip(np.asarray(t, np.float32) * 255.0, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(index, np.round(table).astype(np.uint8)[:, None, :]), np.uint8)


def _streaks(rng: np.random.Generator, shape: tuple[int, int], k: float, long: float, wide: float) -> F:
    """(h, w) noise stretched along the rows: ``long`` mm by ``wide`` mm; SD about 1."""
    cells = [int(np.clip(n / k / mm, 2, n)) + 3 for n, mm in zip(shape, (wide, long), strict=True)]
    return fl.resize(rng.standard_normal(cells, dtype=np.float32) * 1.3, shape, cv2.INTER_CUBIC)


def _axes(shape: tuple[int, int], k: float) -> tuple[F, F]:
    """(1, w) and (h, 1) mm."""
    return (np.arange(shape[1], dtype=np.float32) / k)[None, :], (np.arange(shape[0], dtype=np.float32) / k)[:, None]


_WOODS: tuple[tuple[Colour, ...], ...] = (
    ((92, 58, 32), (150, 102, 62), (186, 140, 94)),
    ((120, 84, 52), (186, 144, 98), (214, 178, 132)),
    ((58, 36, 26), (96, 62, 44), (124, 86, 62)),
    ((150, 126, 98), (196, 172, 140), (220, 202, 174)),
    ((98, 88, 78), (140, 130, 118), (170, 160, 148)),
)


def _wood(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    _, y = _axes(shape, k)
    bow = y + 7.0 * _streaks(rng, shape, k, 160, 45) + 1.2 * _streaks(rng, shape, k, 60, 9)
    ring = bow / rng.uniform(5, 11)
    ring = ring - np.floor(ring)  # early wood is broad and pale, late wood a narrow dark line
    t = 0.62 - 0.22 * ring**3 + 0.07 * _streaks(rng, shape, k, 50, 1.0) + 0.05 * _streaks(rng, shape, k, 14, 0.35)
    pores = np.maximum(_streaks(rng, shape, k, 5, 0.3) - 1.3, 0.0)
    t = t - 0.16 * pores
    if rng.random() < 0.6:
        board = rng.uniform(70, 150)
        row = (y + rng.uniform(0, board)) / board
        tone = rng.normal(0, 0.07, 64)[np.floor(row).astype(int) % 64]
        t = t + tone - 0.4 * (np.abs(row - np.round(row)) * board < 0.4)
    return _coloured(t, _WOODS[int(rng.integers(len(_WOODS)))])


_CLOTHS: tuple[Colour, ...] = (
    (222, 225, 228), (58, 92, 132), (70, 128, 116), (128, 132, 138), (196, 206, 214), (38, 52, 84), (178, 160, 138),
)  # fmt: skip


def _cloth(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    x, y = _axes(shape, k)
    pitch = max(rng.uniform(0.5, 1.1), 2.2 / k)
    wobble = 0.15 * fl.smooth(rng, shape, 12)
    warp, weft = np.sin(2 * np.pi / pitch * (x + wobble)), np.sin(2 * np.pi / pitch * (y + wobble))
    weave = warp * weft if rng.random() < 0.6 else np.sin(2 * np.pi / pitch * (x + y + wobble))
    uneven = _streaks(rng, shape, k, 30, 0.8) + _streaks(rng, shape[::-1], k, 30, 0.8).T
    folds = fl.fractal(rng, shape, rng.uniform(2, 5), 3, 0.45)
    t = 0.68 + 0.05 * weave + 0.025 * uneven + 0.035 * fl.white(rng, shape) + rng.uniform(0.02, 0.11) * folds
    base = np.array(_CLOTHS[int(rng.integers(len(_CLOTHS)))])
    dark, bright = base * 0.35, np.minimum(base * 1.25 + 8, 255)
    return _coloured(t, (_rgb(dark), _rgb(base * 0.72), _rgb(bright)))


_PLAINS: tuple[Colour, ...] = (
    (48, 88, 122), (204, 198, 186), (168, 170, 172), (226, 226, 222), (120, 104, 88), (84, 112, 112), (182, 158, 130),
    (66, 70, 78), (214, 206, 170),
)  # fmt: skip


def _plain(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    t = 0.7 + 0.007 * fl.fractal(rng, shape, 4, 5, 0.7) + 0.012 * fl.white(rng, shape)
    base = np.array(_PLAINS[int(rng.integers(len(_PLAINS)))])
    return _coloured(t, (_rgb(base * 0.1), _rgb(np.minimum(base * 1.4, 255))))


def _laminate(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    base = np.array(((214, 212, 206), (186, 188, 190), (224, 220, 208), (150, 152, 150))[int(rng.integers(4))])
    noise = np.asarray(cv2.GaussianBlur(fl.white(rng, shape), (0, 0), max(0.5, 0.3 * k)), np.float32)
    flecks = noise / max(float(noise.std()), 1e-6)
    t = 0.7 + 0.015 * fl.smooth(rng, shape, 4)
    t = t + 0.012 * np.clip(flecks, -1, 1) - 0.13 * (flecks < -2.2) + 0.08 * (flecks > 2.3)
    return _coloured(t, (_rgb(base * 0.15), _rgb(np.minimum(base * 1.42, 255))))


def _steel(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    _, y = _axes(shape, k)
    sheen = np.sin(2 * np.pi * (y / rng.uniform(150, 400) + rng.random())) + 0.4 * fl.smooth(rng, shape, 2)
    t = 0.58 + 0.1 * sheen + 0.035 * _streaks(rng, shape, k, 70, 0.3) + 0.02 * _streaks(rng, shape, k, 200, 1.2)
    t = t + 0.05 * (_streaks(rng, shape, k, 25, 0.25) > 3.0)
    return _coloured(t, ((30, 32, 36), (118, 122, 128), (226, 230, 234)))


def _dark(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    t = 0.3 + 0.05 * fl.fractal(rng, shape, 5, 3) + 0.06 * cv2.GaussianBlur(fl.white(rng, shape), (0, 0), 0.8)
    return _coloured(t, ((6, 6, 7), (34, 33, 34), (92, 90, 88)))


def _keyboard(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    """A keyboard at the upper edge of a table, half under the sheet."""
    table = (_plain, _wood, _laminate)[int(rng.integers(3))](rng, shape, k)
    longer = max(shape) / k / (1 + 2 * _BEYOND)  # about that of the sheet
    bottom = round(min(0.45 * shape[0], (_BEYOND * longer + rng.uniform(-5, 25)) * k))
    keys = _keys(rng, (max(8, bottom), shape[1]), k)
    alpha = np.zeros(shape, np.uint8)
    alpha[: keys.shape[0]] = 255
    cast = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 3.0 * k), np.float32) / 255.0
    out = fl.multiply(table, np.asarray(1.0 - 0.5 * cast, np.float32))
    out[: keys.shape[0]] = keys
    return out


def _keys(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    body, key = ((24, 24, 26), (44, 44, 48)) if rng.random() < 0.6 else ((150, 152, 156), (226, 227, 228))
    out = np.empty((*shape, 3), np.uint8)
    out[:] = body
    pitch, corner = 19.0 * k, 1.6 * k
    ink = [255 - 0.85 * c for c in key]
    bottom = shape[0] - 6.0 * k
    row = 0
    while bottom > -pitch:
        x = -pitch + (row * 0.37 % 1.0) * pitch
        while x < shape[1]:
            wide = pitch * float(rng.choice([1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0]))
            low, high = np.array([x, bottom - pitch]) + 1.2 * k, np.array([x + wide, bottom]) - 1.2 * k
            shade = 1.0 + float(rng.normal(0, 0.02))
            for inset, tone in ((0.0, 0.72), (1.5 * k, 1.0)):
                a, b = low + inset + corner, high - inset - corner - 0.5 * inset
                px = [np.round(np.array([[a[0], a[1]], [b[0], a[1]], b, [a[0], b[1]]]) * 16).astype(np.int32)]
                colour = [min(255.0, c * tone * shade) for c in key]
                cv2.fillPoly(out, px, colour, cv2.LINE_AA, 4)
                cv2.polylines(out, px, True, colour, max(1, round(2 * corner)), cv2.LINE_AA, 4)
            letter = chr(int(rng.integers(ord("A"), ord("Z") + 1)))
            at = (round(float(low[0] + 4.0 * k)), round(float(low[1] + 8.0 * k)))
            cv2.putText(out, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.16 * k, ink, max(1, round(0.4 * k)), cv2.LINE_AA)
            x += wide
        bottom -= pitch
        row += 1
    soft = cv2.GaussianBlur(out, (0, 0), max(0.5, 0.2 * k))
    return fl.multiply(np.asarray(soft, np.uint8), 1.0 + 0.05 * fl.smooth(rng, (24, 32), 3))


def _papers(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    out = (_wood, _plain, _laminate)[int(rng.integers(3))](rng, shape, k)
    for _ in range(int(rng.integers(5, 10))):
        size = (np.array([297.0, 210.0]) if rng.random() < 0.6 else np.array([150.0, 105.0])) * k
        paper = _paper(
            rng, (round(size[1] / 2), round(size[0] / 2)), k / 2, str(rng.choice(["ecg", "text", "text", "blank"]))
        )
        turn = float(rng.normal(0, 25) + rng.choice([0, 90]))
        centre = rng.uniform(0, 1, 2) * shape[::-1]
        move = cv2.getRotationMatrix2D((paper.shape[1] / 2, paper.shape[0] / 2), turn, 2.0)
        move = move + np.pad((centre - np.array(paper.shape[1::-1]) / 2)[:, None], ((0, 0), (2, 0)))
        edge = np.array([[0, 0], [paper.shape[1], 0], paper.shape[1::-1], [0, paper.shape[0]]]) @ move[:, :2].T
        alpha = np.zeros(shape, np.uint8)
        _fill(alpha, edge + move[:, 2], 255)
        out = fl.multiply(out, 1.0 - 0.45 * cv2.GaussianBlur(alpha, (0, 0), 2.0 * k).astype(np.float32) / 255.0)
        cv2.warpAffine(paper, move, shape[::-1], dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    return out


def _paper(rng: np.random.Generator, shape: tuple[int, int], k: float, kind: str) -> U8:
    """A sheet of paper at k px/mm with a grid, with lines of text that cannot be read, or with nothing."""
    white: tuple[Colour, ...] = ((242, 241, 236), (250, 249, 246), (232, 236, 240), (248, 244, 228))
    out = np.empty((*shape, 3), np.uint8)
    out[:] = white[int(rng.integers(len(white)))]
    if kind == "ecg":
        grid = ((240, 190, 188), (232, 176, 150), (196, 208, 220))[int(rng.integers(3))]
        for step, pen in ((1.0, 0.45), (5.0, 1.0)):
            if step * k < 3:
                continue
            for axis in (0, 1):
                at = np.round(np.arange(0, shape[axis] / k, step) * k).astype(int)
                line = np.round(np.take(out, at[at < shape[axis]], axis) * (1 - pen) + np.array(grid) * pen)
                out[(slice(None),) * axis + (at[at < shape[axis]],)] = line.astype(np.uint8)
    if kind == "text":
        for y in np.arange(18.0, shape[0] / k - 12, 4.6):
            if rng.random() > 0.12:
                _scribble(rng, out, k, y, rng.uniform(0.5, 0.95) * shape[1] / k - 16)
    soft = cv2.GaussianBlur(out, (0, 0), max(0.4, 0.25 * k))
    return fl.multiply(np.asarray(soft, np.uint8), 0.97 + 0.025 * fl.smooth(rng, (16, 24), 4))


def _scribble(rng: np.random.Generator, out: U8, k: float, y: float, length: float) -> None:
    """A line of what looks like print from afar, ``y`` mm from the top, 16 mm from the left."""
    ink = rng.random((3, max(2, round(length / 0.6))), dtype=np.float32)
    ink[:, rng.random(ink.shape[1]) < 0.16] = 0.0  # between words
    (x0, x1), (y0, y1) = ((round(a * k), round((a + b) * k) + 1) for a, b in ((16.0, length), (y, 1.6)))
    part = np.ascontiguousarray(out[y0:y1, x0:x1])
    if part.size:
        out[y0:y1, x0:x1] = fl.multiply(part, 1.0 - 0.65 * fl.resize(ink, part.shape[:2]))


def _rgb(colour: NDArray[np.floating]) -> Colour:
    return float(colour[0]), float(colour[1]), float(colour[2])


_SURFACES: dict[str, Texture] = {
    "wood": _wood, "cloth": _cloth, "plain": _plain, "laminate": _laminate, "steel": _steel, "keyboard": _keyboard,
    "papers": _papers, "dark": _dark,
}  # fmt: skip


# Things on the sheet: drawn pointing left, in px of their own, and put where they belong

_AHEAD = 26.0  # mm in front of a clip's place at the edge
_METAL = 10.0  # px/mm of clips
_SKIN: tuple[Colour, ...] = (
    (236, 196, 172),
    (222, 174, 146),
    (198, 146, 114),
    (158, 108, 80),
    (112, 76, 56),
    (82, 56, 44),
)


def _grip(page: Page, rng: np.random.Generator, side: int, reach: float, slant: float = 28.0) -> tuple[D, D, float]:
    """A point ``reach`` mm within the sheet (or the picture, where it cuts the sheet's edge), the direction out of the
    sheet there, both in px, and px per mm. side: 0 left, 1 top, 2 right, 3 bottom."""
    w, h = page.layout.width, page.layout.height
    t = rng.uniform(0.12, 0.88)
    at = np.array(((0.0, t * h), (t * w, 0.0), (w, t * h), (t * w, h))[side])
    inward = np.array(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[side])
    step = 0.1 * min(w, h)
    here, there = page.mm_to_px(np.stack([at, at + step * inward]))
    scale = max(float(np.linalg.norm(there - here)) / step, 1e-3)
    turn = Homography.rotation(float(rng.uniform(-slant, slant)))
    direction = turn(((there - here) / np.linalg.norm(there - here))[None])[0]
    here = np.clip(here, 0, np.array(page.image.shape[1::-1]) - 1.0)
    return here + direction * reach * scale, -direction, scale


def _put(
    page: Page,
    kind: str,
    colour: U8,
    alpha: F,
    k: float,
    anchor: tuple[float, float],
    at: D,
    outward: D,
    scale: float,
    lift: float,
) -> Page:
    """The page with a thing on it that hides what is under it.

    Args:
        colour, alpha: (h, w, 3) and (h, w) picture of the thing, k px/mm, that comes from the right.
        anchor: (x, y) px of its point that lies ``at`` px of the image; there ``outward`` is where it comes from.
        scale: px of the image per mm. lift: mm that its shadow is moved and blurred by.
    """
    f = scale / k
    move = np.array([[f * outward[0], -f * outward[1], 0.0], [f * outward[1], f * outward[0], 0.0]])
    move[:, 2] = at - move[:, :2] @ np.array(anchor)
    h, w = alpha.shape
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]]) @ move[:, :2].T + move[:, 2]
    edge = 3 * lift * scale + 2
    limit = np.array(page.image.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0) - edge), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + edge), 0, limit).astype(int)
    if (high - low < 2).any():
        return page
    move[:, 2] -= low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    if f < 0.7:  # or it is jagged where the picture is coarse
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), 0.4 / f), np.uint8)
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.4 / f), np.float32)
    over = np.asarray(cv2.warpAffine(colour, move, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    opaque = np.asarray(cv2.warpAffine(alpha, move, size), np.float32)
    down = lift * scale * np.array([0.5, 0.7])
    fallen = move + np.pad(down[:, None], ((0, 0), (2, 0)))
    dark = cv2.GaussianBlur(cv2.warpAffine(alpha, fallen, size), (0, 0), max(0.6, 0.6 * lift * scale))
    part = (slice(low[1], high[1]), slice(low[0], high[0]))
    image = page.image.copy()
    shaded = fl.multiply(image[part], np.asarray(1.0 - 0.5 * dark, np.float32))
    image[part] = cv2.blendLinear(over, shaded, opaque, np.asarray(1.0 - opaque, np.float32))
    boxes = hiding(page, opaque, 0.4, kind, (int(low[0]), int(low[1])), 1.0, 1)
    return replace(page, image=image, boxes=(*page.boxes, *boxes))


def _thumb(rng: np.random.Generator, skin: Colour, length: float) -> tuple[U8, F]:
    """A thumb from the right, 4 px/mm, its tip's middle 15 mm from the left and half way down."""
    k, radius = 4.0, 9.6
    across = 28.0 + 50.0 * float(np.clip((length - 45) / 65, 0.0, 1.0))
    shape = (round(across * k), round((15 + length) * k))
    x, y = _axes(shape, k)
    u, v = x - 15.0, y - across / 2
    # From the joint on it widens to the ball of the hand.
    half = radius * np.interp(
        u, [-9, 0, 6, 13, 23, 30, 42, 55, 70, 95, 110], [0.9, 0.93, 1, 1.02, 0.9, 0.95, 1.02, 1.25, 1.8, 3.1, 3.6]
    )
    half = half.astype(np.float32)
    side = (v - 0.0018 * rng.normal() * u**2) / half
    ahead = np.minimum(u, 0.0) / (0.95 * radius)
    d = np.sqrt(side**2 + ahead**2)
    alpha = np.clip((1.0 - d) * radius / 0.5 + 0.5, 0.0, 1.0).astype(np.float32)
    height = np.sqrt(np.maximum(1.0 - np.minimum(d, 1.0) ** 2, 0.0))
    lit = 0.56 + 0.42 * height + rng.choice([-1, 1]) * 0.1 * side
    lit = lit + 0.02 * fl.fractal(rng, shape, 10, 3)
    for joint in (27.0, 29.5, 31.0):
        crease = u - joint - 0.02 * v**2 * rng.uniform(-1, 1) + 0.4 * fl.smooth(rng, shape, 8)
        lit = lit - rng.uniform(0.03, 0.1) * np.exp(-((crease / 0.45) ** 2)) * height
    red = np.exp(-((u / 9.0) ** 2)) * 0.06 + 0.08 * (1.0 - height)
    tone = np.stack([lit * (1 + 0.5 * red), lit * (1 - red), lit * (1 - 1.3 * red)], axis=-1)
    colour = np.asarray(skin, np.float32) * tone
    nail = ((np.abs(u - 0.5) / 7.5) ** 2.6 + (np.abs(side) / 0.66) ** 2.6).astype(np.float32)
    on = np.clip((1.0 - nail) * 5.0, 0.0, 1.0)[..., None]
    pale = np.asarray(skin, np.float32) * 0.55 + np.array([112, 88, 84], np.float32)
    shine = 0.28 * np.exp(-(((side + 0.25) / 0.16) ** 2)) * np.exp(-(((u - 1.0) / 6.0) ** 2))
    moon = 0.06 * np.exp(-(((u - 7.0) / 2.0) ** 2)) + 0.16 * np.clip((-u - 5.2) / 0.8, 0.0, 1.0)
    plate = pale * (0.62 + 0.36 * height + shine + moon)[..., None]
    colour = colour * (1.0 - 0.14 * np.exp(-(((nail - 1.08) / 0.14) ** 2)))[..., None]
    colour = colour + on * (plate - colour)
    return np.clip(colour, 0, 255).astype(np.uint8), alpha


def _paperclip(rng: np.random.Generator, reach: float) -> tuple[U8, F]:
    """A wire bent to a U: one end lies on the sheet, the other goes round the edge to the back."""
    half, inside = 3.4, min(reach, _AHEAD - 3)
    t = np.linspace(np.pi / 2, 1.5 * np.pi, 24)
    bend = np.stack([half * np.cos(t) - max(inside - half, 0.5), half * np.sin(t)], axis=-1)
    edge = np.stack([1.6 * np.sin(t - np.pi / 2), -half + 1.6 - 1.6 * np.cos(t - np.pi / 2)], axis=-1)[:18]
    path = np.concatenate([[[-0.28 * inside, half]], bend, edge + np.array([0.2, 0.0])])
    metal = ((150, 152, 156), (186, 150, 84), (178, 44, 48), (44, 82, 160), (232, 232, 230))[int(rng.integers(5))]
    shape = (round(2 * (half + 3) * _METAL), round((_AHEAD + 6) * _METAL))
    px = [np.round((path + np.array([_AHEAD, half + 3])) * _METAL * 16).astype(np.int32)]
    alpha, colour = np.zeros(shape, np.uint8), np.empty((*shape, 3), np.uint8)
    colour[:] = [0.45 * c for c in metal]
    wire = rng.uniform(0.85, 1.1) * _METAL
    cv2.polylines(alpha, px, False, 255, round(wire), cv2.LINE_AA, 4)
    cv2.polylines(colour, px, False, metal, round(0.7 * wire), cv2.LINE_AA, 4)
    bright = [0.4 * c + 150 for c in metal]
    cv2.polylines(colour, [px[0] - round(0.12 * wire * 16)], False, bright, round(0.25 * wire), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(colour, (0, 0), 0.1 * wire)
    return np.asarray(soft, np.uint8), np.asarray(alpha, np.float32) / 255.0


def _binder(rng: np.random.Generator, reach: float) -> tuple[U8, F]:
    """A binder clip: a bent steel body over the edge, and a wire handle that lies on the sheet."""
    half = rng.uniform(9, 16)
    body = min(0.55 * reach, 12.0)
    shape = (round(2 * (half + 3) * _METAL), round((_AHEAD + 6) * _METAL))
    x, y = _axes(shape, _METAL)
    u, v = x - _AHEAD, y - half - 3
    dark: Colour = ((34, 34, 37), (34, 34, 37), (40, 66, 120), (128, 36, 40))[int(rng.integers(4))]
    roll = np.clip((u + body) / (body + 3.5), 0.0, 1.0) + 0.0 * v
    tone = (
        1.0 + 1.5 * np.exp(-(((roll - 0.82) / 0.07) ** 2)) + 0.5 * np.exp(-((roll / 0.05) ** 2)) - 0.5 * (roll > 0.93)
    )
    colour = np.clip(np.asarray(dark, np.float32) * tone[..., None] + 3.0 * fl.smooth(rng, shape, 8)[..., None], 0, 255)
    out = colour.astype(np.uint8)
    alpha = np.zeros(shape, np.uint8)
    trapezoid = np.array([[-body, -half], [3.5, -0.93 * half], [3.5, 0.93 * half], [-body, half]])
    cv2.fillPoly(
        alpha,
        [np.round((trapezoid + np.array([_AHEAD, half + 3])) * _METAL * 16).astype(np.int32)],
        255,
        cv2.LINE_AA,
        4,
    )
    wide, tip = 0.42 * half, min(reach, _AHEAD - 2)
    path = np.array([[-body + 1.5, -0.45 * wide], [-0.5 * (body + tip), -0.5 * wide], [-0.86 * tip, -wide],
                     [-tip, -0.7 * wide], [-tip, 0.7 * wide], [-0.86 * tip, wide],
                     [-0.5 * (body + tip), 0.5 * wide], [-body + 1.5, 0.45 * wide]])  # fmt: skip
    px = [np.round((path + np.array([_AHEAD, half + 3])) * _METAL * 16).astype(np.int32)]
    if tip > body + 3:
        cv2.polylines(alpha, px, False, 255, round(1.3 * _METAL), cv2.LINE_AA, 4)
        for tone_of, pen, move in ((70, 1.3, 0), (158, 0.9, 0), (238, 0.35, 2 * _METAL)):
            cv2.polylines(out, [px[0] - round(move)], False, [tone_of] * 3, max(1, round(pen * _METAL)), cv2.LINE_AA, 4)
    return out, np.asarray(alpha, np.float32) / 255.0
