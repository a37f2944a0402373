"""Scene: what the sheet lies on when the picture is taken.

The desk is drawn flat, in mm, and seen through the plane that fits the sheet best. It shows wherever the sheet is not:
outside its outline, and through boxes of kind ``tear`` and ``hole``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from ..warp import Homography
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .beneath import composed, plane, sheet_of, sheet_shadow, under
from .fields import U8, Some
from .shapes import fill, shape_of
from .surfaces import SURFACES, paper


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
        sheet = sheet_of(page)
        if sheet is None:
            return page
        rng = self.rng()
        direction = rng.uniform(0, 2 * np.pi)
        shade = sheet_shadow(sheet, page.px_per_mm, self.shadow, self.lift, direction)
        lit = np.asarray(self.brightness * shade, np.float32)
        return replace(page, image=under(page, sheet, SURFACES[self.surface], rng, lit))


@dataclass(frozen=True, kw_only=True)
class ScannerBed(Effect):
    """A scanner's lid around the sheet, with a line of shadow along the sheet's edges."""

    stage: ClassVar[str] = "scene"
    lid: str = word(OneOf(("white", "white", "grey", "black")), ("white", "grey", "black"), "its colour")
    shadow: float = number(Grows(0.05, 0.6), 0, 1, "depth of the line of shadow")
    width: float = number(Range(0.5, 2.5), 0.1, 20, "of that line", "mm")

    def paint(self, page: Page) -> Page:
        sheet = sheet_of(page)
        if sheet is None:
            return page
        rng = self.rng()
        level = {"white": rng.uniform(236, 253), "grey": rng.uniform(150, 215), "black": rng.uniform(8, 40)}[self.lid]
        shade = sheet_shadow(sheet, page.px_per_mm, self.shadow, self.width, rng.uniform(0, 2 * np.pi))

        even = level / 255.0 * shade * (1.0 + 0.006 * fl.smooth(rng, shape_of(shade), 3))
        grey = fl.over(even, sheet)
        grain = fl.scaled(fl.grain(rng, shape_of(sheet), 0.4 * page.px_per_mm), 0.015)

        def lid(rows: slice, columns: slice) -> Some:
            return cv2.merge([cv2.subtract(grey[rows, columns], grain[rows, columns])] * 3)

        return replace(page, image=composed(page.image, sheet, lid))


@dataclass(frozen=True, kw_only=True)
class OtherSheet(Effect):
    """Another sheet that lies beneath and peeks out; list it after the desk."""

    stage: ClassVar[str] = "scene"
    shift: float = number(Grows(1.0, 30.0), 0, 300, "how far it peeks out", "mm")
    turn: float = number(Grows(0.0, 12.0, signed=True), -180, 180, "against the sheet", "degrees")
    paper: str = word(OneOf(("ecg", "text", "blank")), ("ecg", "text", "blank"), "what it is")

    def paint(self, page: Page) -> Page:
        sheet = sheet_of(page)
        if sheet is None:
            return page
        rng = self.rng()
        width, height = page.layout.width, page.layout.height
        angle = rng.uniform(0, 2 * np.pi)
        move = self.shift * np.array([np.cos(angle), np.sin(angle)]) + np.array([width, height]) / 2
        turn = Homography.rotation(self.turn)
        corners = turn(0.5 * np.array([[-width, -height], [width, -height], [width, height], [-width, height]])) + move
        cover = np.zeros_like(sheet)
        fill(cover, plane(page)(corners), soft=False)
        cover = fl.u8(cv2.GaussianBlur(cover, (3, 3), 0))
        k = page.px_per_mm
        shade = sheet_shadow(sheet, k, 0.35, 2.0, rng.uniform(0, 2 * np.pi))

        def surface(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
            other = paper(rng, (max(4, round(height * k)), max(4, round(width * k))), k, self.paper)
            top, left = ((n - m) // 2 for n, m in zip(shape, other.shape, strict=False))
            rest = (shape[0] - other.shape[0] - top, shape[1] - other.shape[1] - left)
            return fl.u8(cv2.copyMakeBorder(other, top, rest[0], left, rest[1], cv2.BORDER_REPLICATE))

        # Its own shadow falls on what is there so far.
        own = fl.multiply(page.image, sheet_shadow(cover, k, 0.35, 2.0, rng.uniform(0, 2 * np.pi)))
        around = cv2.copyTo(page.image, sheet, own)
        shown = replace(page, image=fl.u8(around))
        return replace(
            page,
            image=under(shown, sheet, surface, rng, shade, cover, (self.turn, float(move[0]), float(move[1]))),
        )
