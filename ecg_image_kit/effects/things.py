"""Things on the sheet: thumbs and clips. Drawn pointing left, in px of their own, and put where they belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from ..warp import Homography
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import RGB, U8, D
from .hidden import hiding
from .shapes import fixed
from .surfaces import axes

_AHEAD = 26.0  # mm in front of a clip's place at the edge
_METAL = 10.0  # px/mm of clips
_HAND = 60.0  # mm of a hand that a picture may show without an arm

_SKIN: tuple[RGB, ...] = (
    (236, 196, 172),
    (222, 174, 146),
    (198, 146, 114),
    (158, 108, 80),
    (112, 76, 56),
    (82, 56, 44),
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
            if _to_border(page, tip + self.reach * scale * outward, outward) > _HAND * scale:
                continue
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


def _to_border(page: Page, at: D, direction: D) -> float:
    """px from a point of the image to where it leaves it in a direction."""
    room = np.where(direction > 0, np.array(page.image.shape[1::-1]) - 1.0 - at, at)
    return float((room / np.maximum(np.abs(direction), 1e-6)).min())


def _put(
    page: Page,
    kind: str,
    colour: U8,
    alpha: U8,
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
        colour = fl.u8(cv2.GaussianBlur(colour, (0, 0), 0.4 / f))
        alpha = fl.u8(cv2.GaussianBlur(alpha, (0, 0), 0.4 / f))
    over = cv2.warpAffine(colour, move, size, borderMode=cv2.BORDER_REPLICATE)
    opaque = fl.u8(cv2.warpAffine(alpha, move, size))
    # Its shadow is soft: a fourth of the resolution will do.
    small = np.diag([0.25, 0.25]) @ (move + np.pad(lift * scale * np.array([[0.5], [0.7]]), ((0, 0), (2, 0))))
    cast = cv2.warpAffine(alpha, small, (size[0] // 4 + 1, size[1] // 4 + 1))
    dark = cv2.GaussianBlur(cast, (0, 0), max(0.6, 0.15 * lift * scale))
    image = page.image.copy()
    view = image[low[1] : high[1], low[0] : high[0]]
    fl.dye(view, (0, 0, 0), fl.scaled(dark, 0.5))
    fl.cover(view, over, opaque)
    boxes = hiding(page, opaque, 0.4 * 255, kind, (int(low[0]), int(low[1])), 1.0, 1)
    return replace(page, image=image, boxes=(*page.boxes, *boxes))


def _thumb(rng: np.random.Generator, skin: RGB, length: float) -> tuple[U8, U8]:
    """A thumb from the right, 4 px/mm, its tip's middle 15 mm from the left and half way down."""
    k, radius = 4.0, 9.6
    across = 28.0 + 50.0 * float(np.clip((length - 45) / 65, 0.0, 1.0))
    shape = (round(across * k), round((15 + length) * k))
    x, y = axes(shape, k)
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
    return np.clip(colour, 0, 255).astype(np.uint8), fl.eight(alpha)


def _paperclip(rng: np.random.Generator, reach: float) -> tuple[U8, U8]:
    """A wire bent to a U: one end lies on the sheet, the other goes round the edge to the back."""
    half, inside = 3.4, min(reach, _AHEAD - 3)
    t = np.linspace(np.pi / 2, 1.5 * np.pi, 24)
    bend = np.stack([half * np.cos(t) - max(inside - half, 0.5), half * np.sin(t)], axis=-1)
    edge = np.stack([1.6 * np.sin(t - np.pi / 2), -half + 1.6 - 1.6 * np.cos(t - np.pi / 2)], axis=-1)[:18]
    path = np.concatenate([[[-0.28 * inside, half]], bend, edge + np.array([0.2, 0.0])])
    metal = ((150, 152, 156), (186, 150, 84), (178, 44, 48), (44, 82, 160), (232, 232, 230))[int(rng.integers(5))]
    shape = (round(2 * (half + 3) * _METAL), round((_AHEAD + 6) * _METAL))
    px = [fixed((path + np.array([_AHEAD, half + 3])) * _METAL)]
    alpha, colour = np.zeros(shape, np.uint8), np.empty((*shape, 3), np.uint8)
    colour[:] = [0.45 * c for c in metal]
    wire = rng.uniform(0.85, 1.1) * _METAL
    cv2.polylines(alpha, px, False, 255, round(wire), cv2.LINE_AA, 4)
    cv2.polylines(colour, px, False, metal, round(0.7 * wire), cv2.LINE_AA, 4)
    bright = [0.4 * c + 150 for c in metal]
    cv2.polylines(colour, [px[0] - round(0.12 * wire * 16)], False, bright, round(0.25 * wire), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(colour, (0, 0), 0.1 * wire)
    return fl.u8(soft), alpha


def _binder(rng: np.random.Generator, reach: float) -> tuple[U8, U8]:
    """A binder clip: a bent steel body over the edge, and a wire handle that lies on the sheet."""
    half = rng.uniform(9, 16)
    body = min(0.55 * reach, 12.0)
    shape = (round(2 * (half + 3) * _METAL), round((_AHEAD + 6) * _METAL))
    x, y = axes(shape, _METAL)
    u, v = x - _AHEAD, y - half - 3
    dark: RGB = ((34, 34, 37), (34, 34, 37), (40, 66, 120), (128, 36, 40))[int(rng.integers(4))]
    roll = np.clip((u + body) / (body + 3.5), 0.0, 1.0) + 0.0 * v
    tone = (
        1.0 + 1.5 * np.exp(-(((roll - 0.82) / 0.07) ** 2)) + 0.5 * np.exp(-((roll / 0.05) ** 2)) - 0.5 * (roll > 0.93)
    )
    colour = np.clip(dark * tone[..., None] + 3.0 * fl.smooth(rng, shape, 8)[..., None], 0, 255)
    out = colour.astype(np.uint8)
    alpha = np.zeros(shape, np.uint8)
    trapezoid = np.array([[-body, -half], [3.5, -0.93 * half], [3.5, 0.93 * half], [-body, half]])
    cv2.fillPoly(
        alpha,
        [fixed((trapezoid + np.array([_AHEAD, half + 3])) * _METAL)],
        255,
        cv2.LINE_AA,
        4,
    )
    wide, tip = 0.42 * half, min(reach, _AHEAD - 2)
    path = np.array([[-body + 1.5, -0.45 * wide], [-0.5 * (body + tip), -0.5 * wide], [-0.86 * tip, -wide],
                     [-tip, -0.7 * wide], [-tip, 0.7 * wide], [-0.86 * tip, wide],
                     [-0.5 * (body + tip), 0.5 * wide], [-body + 1.5, 0.45 * wide]])  # fmt: skip
    px = [fixed((path + np.array([_AHEAD, half + 3])) * _METAL)]
    if tip > body + 3:
        cv2.polylines(alpha, px, False, 255, round(1.3 * _METAL), cv2.LINE_AA, 4)
        for tone_of, pen, move in ((70, 1.3, 0), (158, 0.9, 0), (238, 0.35, 2 * _METAL)):
            cv2.polylines(out, [px[0] - round(move)], False, [tone_of] * 3, max(1, round(pen * _METAL)), cv2.LINE_AA, 4)
    return out, alpha
